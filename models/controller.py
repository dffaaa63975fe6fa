"""The base class of the controllers: the part of a network between its input and the heads (section 3.1)."""

import abc
from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

from ntm.models.dense import Dense

# Layer i as a function of its input. Training replaces it in the backward pass.
Apply = Callable[[int, tf.Tensor], tf.Tensor]


class Controller(abc.ABC):
    """The layers between the input of a step and the heads. It holds no variables: the network owns the layers.

    Args:
        sizes: the units of each layer.
    """

    default_sizes: tuple[int, ...]  # the sizes if a configuration names none
    visible: tuple[str, ...] = ()  # the tensors of the state that ``output`` or a loss uses

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = tuple(sizes)

    @property
    def output_size(self) -> int:
        """H, the size of ``output``."""
        return self.sizes[-1]

    @property
    def state_sizes(self) -> Mapping[str, int]:
        """The state of the controller: the sizes of its tensors ``[B, size]``, by name."""
        return {}

    @abc.abstractmethod
    def matrix_shapes(self, inputs: int) -> list[tuple[int, int]]:
        """The inputs and outputs of each layer; ``inputs`` is the size of ``seen`` of ``step``."""

    @abc.abstractmethod
    def make_layers(self, inputs: int, random: tf.random.Generator) -> list[Dense]:
        """The layers of these sizes, with initial variables."""

    @abc.abstractmethod
    def step(
        self, seen: tf.Tensor, state: Mapping[str, tf.Tensor], apply: Apply
    ) -> tuple[list[tf.Tensor], dict[str, tf.Tensor]]:
        """One time step.

        Args:
            seen: the input x[t] and the read vectors r[t-1], ``[B, inputs]``.
            state: the state of the controller after the step before.
            apply: the layers.

        Returns:
            The output of each layer before its activation, ``[B, ...]``; and the state after this step.
        """

    @abc.abstractmethod
    def output(self, layers: Sequence[tf.Tensor], state: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The input of the heads' layer and of the output layer, ``[B, H]``, from both results of ``step``."""
