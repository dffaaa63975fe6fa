import numpy as np
import pytest
import tensorflow as tf

from ntm.models import NTMCell, NTMConfig
from ntm.training.backpropagation import unroll
from ntm.training.task import blur, copy_batch, loss, searching, writing

CONFIGS = {
    "default": NTMConfig(memory_locations=7),
    "one hidden layer": NTMConfig(memory_locations=7, controller_sizes=(11,)),
    "five shifts, four heads": NTMConfig(
        memory_locations=7, shifts=5, read_heads=2, write_heads=2, controller_sizes=(12, 13)
    ),
    "learned initial state": NTMConfig(
        memory_locations=7, learn_r_bias=True, learn_w_bias=True, learn_m_bias=True, controller_sizes=(12, 13)
    ),
}


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "xla"])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_is_the_gradient_that_automatic_differentiation_finds(config: NTMConfig, compiled: bool) -> None:
    cell = NTMCell(config, seed=1)
    for variable in cell.trainable_variables:  # biases begin at 0 and would hide mistakes
        variable.assign_add(tf.random.stateless_normal(variable.shape, [5, 6], stddev=0.1))
    batch = copy_batch(tf.constant([1, 2]), tf.constant([2, 3, 1]), 5, 8)  # 7 steps of 11
    variables = cell.trainable_variables

    def objective(
        logits: tf.Tensor, weights: tf.Tensor, gate: tf.Tensor, erase: tf.Tensor, add: tf.Tensor
    ) -> tf.Tensor:
        penalties = blur(weights, batch) + searching(gate, batch) + writing(erase, add, batch)
        return loss(logits, batch) + penalties

    def ours() -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            value = objective(*unroll(cell, batch.x, batch.steps))
        return value, tape.gradient(value, variables)

    with tf.GradientTape() as tape:
        state, steps = cell.initial_state(3), []
        for x in tf.unstack(batch.x)[:7]:
            heads = cell.in_range(cell.heads(cell.controller(x, state.reads)[-1]))
            y, state = cell(x, state)
            steps.append((y, state.weights, heads.gate, heads.erase, heads.add))
        until_end = [[0, 4], [0, 0], [0, 0]]
        columns = [tf.stack(column) for column in zip(*steps, strict=True)]
        expected_value = objective(*(tf.pad(c, [*until_end, [0, 0]][: len(c.shape)]) for c in columns))
    expected = tape.gradient(expected_value, variables)

    value, gradients = (tf.function(ours, jit_compile=True, autograph=False) if compiled else ours)()
    np.testing.assert_allclose(value, expected_value, rtol=1e-6)
    for variable, gradient, wanted in zip(variables, gradients, expected, strict=True):
        scale = max(float(tf.reduce_max(tf.abs(wanted))), 1e-6)
        np.testing.assert_allclose(gradient / scale, wanted / scale, atol=2e-4, err_msg=variable.name)
