"""The feedforward controller."""

import itertools
from collections.abc import Mapping, Sequence

import tensorflow as tf

from ntm.models.controller import Apply, Controller
from ntm.models.dense import Dense


class Feedforward(Controller):
    """Hidden layers of tanh units, without a state: only the memory of the network holds what it has seen."""

    default_sizes = (100, 100, 100)

    def matrix_shapes(self, inputs: int) -> list[tuple[int, int]]:
        """One layer per size."""
        return list(itertools.pairwise((inputs, *self.sizes)))

    def make_layers(self, inputs: int, random: tf.random.Generator) -> list[Dense]:
        """The layers, ``hidden_0`` and on."""
        return [Dense(f"hidden_{i}", *sizes, random) for i, sizes in enumerate(self.matrix_shapes(inputs))]

    def step(
        self,
        seen: tf.Tensor,
        state: Mapping[str, tf.Tensor],  # noqa: ARG002  (there is none)
        apply: Apply,
    ) -> tuple[list[tf.Tensor], dict[str, tf.Tensor]]:
        """One time step."""
        layers: list[tf.Tensor] = []
        for i in range(len(self.sizes)):
            layers.append(apply(i, tf.tanh(layers[-1]) if layers else seen))
        return layers, {}

    def output(self, layers: Sequence[tf.Tensor], state: Mapping[str, tf.Tensor]) -> tf.Tensor:  # noqa: ARG002
        """The activations of the last layer, ``[B, H]``."""
        return tf.tanh(layers[len(self.sizes) - 1])
