import numpy as np
import pytest
import tensorflow as tf

from ntm.models import NTMCell, NTMConfig
from ntm.tasks import find
from ntm.training.backpropagation import unroll
from ntm.training.losses import Sequences, blur, content_addressing, loss, sharpness, writing

CONFIGS = {
    "default": NTMConfig(9, 8, memory_locations=7),
    "one hidden layer": NTMConfig(9, 8, memory_locations=7, controller_sizes=(11,)),
    "five shifts, four heads": NTMConfig(
        9, 8, memory_locations=7, shifts=5, read_heads=2, write_heads=2, controller_sizes=(12, 13)
    ),
    "learned initial state": NTMConfig(
        9, 8, memory_locations=7, learn_r_bias=True, learn_w_bias=True, learn_m_bias=True, controller_sizes=(12, 13)
    ),
}
STEPS, TAKEN, LENGTHS = 11, 7, (2, 3, 1)  # T; the steps of the longest sequence; the words to copy


def copies() -> Sequences:
    """Sequences of several lengths, padded with zeros."""
    x, target, mask = (np.zeros([STEPS, 3, *numbers], np.float32) for numbers in ([9], [8], []))
    for b, length in enumerate(LENGTHS):
        sequence = find("copy").batch(np.random.default_rng(b), 1, {"length": length})
        for padded, array in zip((x, target, mask), sequence, strict=True):
            padded[: 2 * length + 1, b] = array[:, 0]
    return Sequences(tf.constant(x), tf.constant(target), tf.constant(mask), tf.constant(TAKEN))


def varied_cell(config: NTMConfig) -> NTMCell:
    """A cell without a bias of 0, which would hide mistakes."""
    cell = NTMCell(config, seed=1)
    for variable in cell.trainable_variables:
        variable.assign_add(tf.random.stateless_normal(variable.shape, [5, 6], stddev=0.1))
    return cell


@pytest.mark.parametrize(
    ("compiled", "memory_locations"),
    [(False, None), (False, 9), (True, 9)],
    ids=["eager", "eager, N = 9", "XLA, N = 9"],
)
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_is_the_gradient_that_automatic_differentiation_finds(
    config: NTMConfig, compiled: bool, memory_locations: int | None
) -> None:
    cell, batch = varied_cell(config), copies()
    variables = cell.trainable_variables

    def objective(logits: tf.Tensor, weights: tf.Tensor, *of_heads: tf.Tensor) -> tf.Tensor:
        strength, gate, sharpening, erase, add = of_heads
        # Of heads that begin with a beta and a gamma of 0.7 and 1.7.
        sharp = sharpness(10.0 * strength, 3.0 * sharpening, batch)
        penalties = blur(weights, batch) + content_addressing(gate, batch) + writing(erase, add, batch) + sharp
        return loss(logits, batch) + penalties

    def ours() -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            value = objective(*unroll(cell, batch.x, batch.steps, memory_locations))
        return value, tape.gradient(value, variables)

    with tf.GradientTape() as tape:
        state, steps = cell.initial_state(3, memory_locations), []
        for x in tf.unstack(batch.x)[:TAKEN]:
            y, state, heads = cell.step_with_heads(x, state)
            of_heads = heads.strength, heads.gate, heads.sharpening, heads.erase, heads.add
            steps.append((y, state.weights, *of_heads))
        until_end = [[0, STEPS - TAKEN], [0, 0], [0, 0]]
        columns = [tf.stack(column) for column in zip(*steps, strict=True)]
        expected_value = objective(*(tf.pad(c, [*until_end, [0, 0]][: len(c.shape)]) for c in columns))
    expected = tape.gradient(expected_value, variables)

    value, gradients = (tf.function(ours, jit_compile=True, autograph=False) if compiled else ours)()
    np.testing.assert_allclose(value, expected_value, rtol=1e-6)
    for variable, gradient, wanted in zip(variables, gradients, expected, strict=True):
        scale = max(float(tf.reduce_max(tf.abs(wanted))), 1e-6)
        np.testing.assert_allclose(gradient / scale, wanted / scale, atol=2e-4, err_msg=variable.name)


@pytest.mark.parametrize("memory_locations", [None, 9])
def test_the_weightings_are_over_the_memory_locations_that_are_given(memory_locations: int | None) -> None:
    batch = copies()
    weights = unroll(varied_cell(CONFIGS["default"]), batch.x, batch.steps, memory_locations).weights
    assert weights.shape == [STEPS, 3, 2, memory_locations or 7]
    np.testing.assert_allclose(np.sum(weights, axis=3)[:TAKEN], 1.0, rtol=1e-5)
    assert not np.any(weights[TAKEN:])
