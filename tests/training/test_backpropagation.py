import numpy as np
import pytest
import tensorflow as tf

from ntm.models import LSTMConfig, Network, NetworkConfig, NTMConfig, make_network
from ntm.tasks import find
from ntm.training.backpropagation import Unrolled, unroll
from ntm.training.losses import Sequences, blur, content_addressing, drift, loss, sharpness, writing

CONFIGS: dict[str, NetworkConfig] = {
    "default": NTMConfig(9, 8, memory_locations=7),
    "one hidden layer": NTMConfig(9, 8, memory_locations=7, controller_sizes=(11,)),
    "five shifts, four heads": NTMConfig(
        9, 8, memory_locations=7, shifts=5, read_heads=2, write_heads=2, controller_sizes=(12, 13)
    ),
    "learned initial state": NTMConfig(
        9,
        8,
        memory_locations=7,
        initial_memory="learned",
        initial_weights="learned",
        initial_reads="learned",
        controller_sizes=(12, 13),
    ),
    "random memory, uniform weights": NTMConfig(
        9, 8, memory_locations=7, initial_memory="random", initial_weights="uniform", controller_sizes=(12,)
    ),
    "LSTM controller": NTMConfig(9, 8, memory_locations=7, controller="lstm", controller_sizes=(11,)),
    "LSTM controller of two layers, four heads": NTMConfig(
        9, 8, memory_locations=7, controller="lstm", controller_sizes=(7, 6), read_heads=2, write_heads=2
    ),
    "LSTM": LSTMConfig(9, 8, layer_sizes=(7, 6, 5)),
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


def varied_network(config: NetworkConfig) -> Network:
    """A network without a bias of 0, which would hide mistakes."""
    network = make_network(config, seed=1)
    for variable in network.trainable_variables:
        variable.assign_add(tf.random.stateless_normal(variable.shape, [5, 6], stddev=0.1))
    return network


@pytest.mark.parametrize(
    ("compiled", "memory_locations"),
    [(False, None), (False, 9), pytest.param(True, 9, marks=pytest.mark.slow)],
    ids=["eager", "eager, N = 9", "XLA, N = 9"],
)
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_is_the_gradient_that_automatic_differentiation_finds(
    config: NetworkConfig, compiled: bool, memory_locations: int | None
) -> None:
    network, batch = varied_network(config), copies()
    variables = network.trainable_variables

    def objective(unrolled: Unrolled) -> tf.Tensor:
        value = loss(unrolled.logits, batch)
        if "cell" in unrolled.state:
            value += drift(unrolled.state["cell"], batch)
        if unrolled.heads is None:
            return value
        heads = unrolled.heads
        # Of heads that begin with a beta and a gamma of 0.7 and 1.7.
        value += sharpness(10.0 * heads.strength, 3.0 * heads.sharpening, batch)
        value += content_addressing(heads.gate, batch) + writing(heads.erase, heads.add, batch)
        return value + blur(unrolled.state["weights"], batch)

    def ours() -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            value = objective(unroll(network, batch.x, batch.steps, memory_locations))
        return value, tape.gradient(value, variables)

    with tf.GradientTape() as tape:
        state, steps = network.initial_state(3, memory_locations), []
        for x in tf.unstack(batch.x)[:TAKEN]:
            y, state, heads = network.step_with_heads(x, state)
            visible = {name: state[name] for name in network.visible}
            steps.append(Unrolled(y, visible, heads))
        expected_value = objective(tf.nest.map_structure(_padded, *steps))
    expected = tape.gradient(expected_value, variables)

    value, gradients = (tf.function(ours, jit_compile=True, autograph=False) if compiled else ours)()
    np.testing.assert_allclose(value, expected_value, rtol=1e-6)
    for variable, gradient, wanted in zip(variables, gradients, expected, strict=True):
        scale = max(float(tf.reduce_max(tf.abs(wanted))), 1e-6)
        np.testing.assert_allclose(gradient / scale, wanted / scale, atol=2e-4, err_msg=variable.name)


def _padded(*steps: tf.Tensor | None) -> tf.Tensor | None:
    """Steps as one tensor, with zeros behind; None of None."""
    if steps[0] is None:
        return None
    together = tf.stack(steps)
    return tf.pad(together, [[0, STEPS - TAKEN], *[[0, 0]] * (len(together.shape) - 1)])


@pytest.mark.parametrize("memory_locations", [None, 9])
def test_the_weightings_are_over_the_memory_locations_that_are_given(memory_locations: int | None) -> None:
    batch = copies()
    weights = unroll(varied_network(CONFIGS["default"]), batch.x, batch.steps, memory_locations).state["weights"]
    assert weights.shape == [STEPS, 3, 2, memory_locations or 7]
    np.testing.assert_allclose(np.sum(weights, axis=3)[:TAKEN], 1.0, rtol=1e-5)
    assert not np.any(weights[TAKEN:])
