"""The paper's baseline: LSTM layers without a memory matrix (section 4 of the paper)."""

import dataclasses
from typing import Any, ClassVar

import tensorflow as tf

from ntm.models.config import Shape, check_sizes
from ntm.models.controller import Apply
from ntm.models.dense import Dense
from ntm.models.lstm import LSTM
from ntm.models.network import Network, State


@dataclasses.dataclass(frozen=True)
class LSTMConfig:
    """The configuration of an LSTM network.

    Raises:
        ValueError: a size is below 1.
    """

    input_size: int  # I
    output_size: int  # O
    layer_sizes: tuple[int, ...] = (256, 256, 256)  # units of each layer

    model: ClassVar[str] = "lstm"
    kind: ClassVar[str] = "lstm"
    description: ClassVar[str] = (
        "An LSTM network without a memory matrix, the baseline of Graves et al. (2014, arXiv:1410.5401)"
    )
    memory_locations: ClassVar[int] = 1  # N: without a memory, nothing depends on it
    least_locations: ClassVar[int] = 1
    fixed_locations: ClassVar[bool] = True
    heads: ClassVar[int] = 0
    read_heads: ClassVar[int] = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "layer_sizes", tuple(self.layer_sizes))  # JSON has no tuples
        check_sizes(self, ("input_size", "output_size", "layer_sizes"))

    @property
    def matrix_shapes(self) -> list[tuple[int, int]]:
        """The inputs and outputs of every layer; the output layer is the last."""
        return [*LSTM(self.layer_sizes).matrix_shapes(self.input_size), (self.layer_sizes[-1], self.output_size)]

    @property
    def state_shapes(self) -> dict[str, Shape]:
        """The shapes of h and c of all layers."""
        return {name: ("B", size) for name, size in LSTM(self.layer_sizes).state_sizes.items()}


class LSTMNetwork(Network):
    """The paper's baseline: LSTM layers, and an output layer on the last one.

    Args:
        config: the sizes.
        seed: the seed of the initial variables; equal seeds make equal variables.
    """

    def __init__(self, config: LSTMConfig, seed: int = 0, **_: Any) -> None:
        super().__init__(name="lstm")
        self.config = config
        self._controller = LSTM(config.layer_sizes)
        random = tf.random.Generator.from_seed(seed, alg="philox")
        self.layers = self._controller.make_layers(config.input_size, random)
        self.output = Dense("output", *config.matrix_shapes[-1], random)

    @property
    def visible(self) -> tuple[str, ...]:
        """H and c."""
        return self._controller.visible

    def initial_state(
        self,
        batch_size: int | tf.Tensor,
        memory_locations: int | tf.Tensor | None = None,  # noqa: ARG002  (there are none)
    ) -> State:
        """Zeros."""
        return {name: tf.zeros([batch_size, size]) for name, size in self._controller.state_sizes.items()}

    def control(self, x: tf.Tensor, state: State, apply: Apply) -> tuple[list[tf.Tensor], State]:
        """All LSTM layers."""
        return self._controller.step(x, state, apply)

    def output_input(self, layers: list[tf.Tensor], state: State) -> tf.Tensor:
        """H of the last layer, ``[B, H]``."""
        return self._controller.output(layers, state)
