"""One time step as a function of named tensors: what every format is made of, and what each is compared with."""

from typing import Any

import tensorflow as tf

from ntm.models import NTMCell, NTMConfig, State
from ntm.runtime.metadata import INPUTS, STEP_OUTPUTS, InitialState


def shapes(config: NTMConfig) -> dict[str, tuple[str | int, ...]]:
    """The shape of every input and output by name; ``"B"`` and ``"N"`` stand for the sizes left open."""
    memory = ("B", config.memory_vector_size, "N")
    weights = ("B", config.heads, "N")
    reads = ("B", config.read_heads, config.memory_vector_size)
    inputs = (("B", config.input_size), memory, weights, reads)
    outputs = (("B", config.output_size), memory, weights, reads, ("B", config.write_heads, config.memory_vector_size))
    return dict(zip((*INPUTS, *STEP_OUTPUTS), (*inputs, *outputs), strict=True))


def step_function(cell: NTMCell) -> Any:
    """The cell as a ``tf.function`` of the ``INPUTS`` that returns a dictionary of the ``STEP_OUTPUTS``.

    y holds probabilities: the sigmoid of the cell's logits.
    """

    def step(x: tf.Tensor, memory: tf.Tensor, weights: tf.Tensor, reads: tf.Tensor) -> dict[str, tf.Tensor]:
        logits, state, heads = cell.step_with_heads(x, State(memory, weights, reads))
        adds = tf.transpose(heads.add, [0, 2, 1])  # [B, K, M]
        return dict(zip(STEP_OUTPUTS, (tf.sigmoid(logits), *state, adds), strict=True))

    return tf.function(step, input_signature=input_signature(cell.config), autograph=False)


def input_signature(config: NTMConfig) -> list[tf.TensorSpec]:
    """The specifications of the ``INPUTS``."""
    return [
        tf.TensorSpec([size if isinstance(size, int) else None for size in shapes(config)[name]], tf.float32, name)
        for name in INPUTS
    ]


def least_locations(config: NTMConfig) -> int:
    """The fewest memory locations that the network can be given."""
    return config.memory_locations if config.learn_w_bias else max(config.shifts - 1, 1)


def initial_state(cell: NTMCell) -> InitialState:
    """The state of one sequence before the first step, for any N.

    It holds the vector that fills every location, and the weightings up to the last location any head looks at, or up
    to the fewest locations that an unrolled graph can shift over.
    """
    state = cell.initial_state(batch_size=1)
    weights = state.weights[0].numpy()  # [R+K, N]
    looked_at = max(weights.any(axis=0).nonzero()[0].max() + 1, cell.config.shifts - 1)
    return InitialState(
        memory=state.memory[0, :, 0].numpy().tolist(),
        weights=weights[:, :looked_at].tolist(),
        reads=state.reads[0].numpy().tolist(),
    )
