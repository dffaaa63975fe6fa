"""What a controller is: the part of the network between its input and the heads (section 3.1 of the paper)."""

import abc
from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

from ntm.models.dense import Dense

# Layer i as a function of its input: what a network does forward, and what training replaces on the way back.
Apply = Callable[[int, tf.Tensor], tf.Tensor]


class Controller(abc.ABC):
    """The layers between the input of a step and the heads. It holds no variables: the network owns the layers.

    Args:
        sizes: the units of each layer.
    """

    default_sizes: tuple[int, ...]  # where a configuration names none
    visible: tuple[str, ...] = ()  # tensors of the state that ``output``, or a loss, looks at

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = tuple(sizes)

    @property
    def output_size(self) -> int:
        """H, the numbers that the heads and the output layer see."""
        return self.sizes[-1]

    @property
    def state_sizes(self) -> Mapping[str, int]:
        """What the controller carries from one step to the next: tensors ``[B, size]`` by name."""
        return {}

    @abc.abstractmethod
    def matrix_shapes(self, inputs: int) -> list[tuple[int, int]]:
        """How many numbers each layer sees and outputs; ``inputs`` is what the first one sees of the step."""

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
            state: of the controller, after the step before.
            apply: the layers.

        Returns:
            What each layer outputs before its activation, ``[B, ...]``; and the state after this step.
        """

    @abc.abstractmethod
    def output(self, layers: Sequence[tf.Tensor], state: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """What the heads and the output layer see, ``[B, H]``, from both results of ``step``."""
