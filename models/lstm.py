"""The LSTM controller."""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from ntm.models.controller import Apply, Controller
from ntm.models.dense import Dense

# The initial bias of the forget gate, with which cells keep their values before training (Jozefowicz et al. 2015).
_FORGET_BIAS = 1.0


class LSTM(Controller):
    """Layers of LSTM units (Hochreiter & Schmidhuber 1997) without peepholes.

    The input of each layer is the output of the layer below, and its own output h[t-1]:

    - i, f, o = sigmoid of the input, forget and output gate; g = tanh of the candidate;
    - c[t] = f c[t-1] + i g; h[t] = o tanh(c[t]).

    The state is ``hidden`` and ``cell``: h and c, each of all layers side by side.
    """

    default_sizes = (100,)
    visible = ("hidden", "cell")

    @property
    def state_sizes(self) -> Mapping[str, int]:
        """H and c of all layers side by side."""
        return {"hidden": sum(self.sizes), "cell": sum(self.sizes)}

    def matrix_shapes(self, inputs: int) -> list[tuple[int, int]]:
        """One layer per size: from the layer below and its own h to the columns of i, f, o and g."""
        below = (inputs, *self.sizes)
        return [(below[i] + units, 4 * units) for i, units in enumerate(self.sizes)]

    def make_layers(self, inputs: int, random: tf.random.Generator) -> list[Dense]:
        """The layers, ``lstm_0`` and on."""
        layers = [Dense(f"lstm_{i}", *sizes, random) for i, sizes in enumerate(self.matrix_shapes(inputs))]
        for layer, units in zip(layers, self.sizes, strict=True):
            layer.bias.assign(np.repeat([0.0, _FORGET_BIAS, 0.0, 0.0], units).astype(np.float32))
        return layers

    def step(
        self, seen: tf.Tensor, state: Mapping[str, tf.Tensor], apply: Apply
    ) -> tuple[list[tf.Tensor], dict[str, tf.Tensor]]:
        """One time step."""
        layers, hidden, cells = [], [], []
        before = zip(*(tf.split(state[name], self.sizes, axis=1) for name in ("hidden", "cell")), strict=True)
        for i, (h, c) in enumerate(before):
            layers.append(apply(i, tf.concat([seen, h], axis=1)))  # [B, 4 units]
            gates, candidate = tf.split(layers[-1], [3 * self.sizes[i], self.sizes[i]], axis=1)
            input_gate, forget, output_gate = tf.split(tf.sigmoid(gates), 3, axis=1)  # i, f and o
            c = forget * c + input_gate * tf.tanh(candidate)  # noqa: PLW2901
            seen = output_gate * tf.tanh(c)
            hidden.append(seen)
            cells.append(c)
        return layers, {"hidden": tf.concat(hidden, axis=1), "cell": tf.concat(cells, axis=1)}

    def output(self, layers: Sequence[tf.Tensor], state: Mapping[str, tf.Tensor]) -> tf.Tensor:  # noqa: ARG002
        """H of the last layer, ``[B, H]``."""
        return state["hidden"][:, -self.sizes[-1] :]
