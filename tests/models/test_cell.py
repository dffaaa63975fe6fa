"""The cell against the paper, written as explicit loops over one sequence."""

import inspect
import math
import re
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ntm.models import NTMCell, NTMConfig, State, addressing
from ntm.models.cell import Heads

SMALL: dict[str, Any] = {
    "input_size": 5,
    "output_size": 3,
    "memory_locations": 6,
    "memory_vector_size": 4,
    "controller_sizes": (7, 5),
}
CONFIGS = [
    NTMConfig(**SMALL),
    NTMConfig(**SMALL, shifts=5),
    NTMConfig(**SMALL, read_heads=2, write_heads=2),
    NTMConfig(**SMALL, shifts=5, read_heads=2, write_heads=3),
    NTMConfig(**SMALL, shifts=1, read_heads=3),
]


def identify(config: NTMConfig) -> str:
    return f"S{config.shifts}-R{config.read_heads}-K{config.write_heads}"


def make_cell(config: NTMConfig, seed: int = 0) -> NTMCell:
    """A cell with no parameter at zero."""
    cell, random = NTMCell(config), np.random.default_rng(seed)
    for variable in cell.trainable_variables:
        variable.assign(random.normal(size=variable.shape, scale=0.7))
    return cell


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def softplus(x: float) -> float:
    return math.log(1 + math.exp(x))


def softmax(values: list[float]) -> list[float]:
    return [math.exp(value) / sum(math.exp(other) for other in values) for value in values]


def norm(vector: list[float]) -> float:
    return math.sqrt(sum(value**2 for value in vector))


def dense(cell: NTMCell, name: str, inputs: list[float]) -> list[float]:
    variables = {variable.name: variable.numpy().astype(float) for variable in cell.variables}
    kernel, bias = variables[f"{name}/kernel:0"], variables[f"{name}/bias:0"]
    return [bias[j] + sum(inputs[i] * kernel[i, j] for i in range(len(inputs))) for j in range(len(bias))]


def reference_step(
    cell: NTMCell, x: list[float], memory: list[list[float]], previous: list[list[float]], reads: list[list[float]]
) -> tuple[list[float], list[list[float]], list[list[float]], list[list[float]], Heads]:
    """One step of one sequence; the memory is the paper's, N rows of M numbers."""
    config = cell.config
    n, m, shifts, writers = len(memory), config.memory_vector_size, config.shifts, config.write_heads

    hidden = x + [value for read in reads for value in read]
    for layer in range(len(config.controller_sizes)):
        hidden = [math.tanh(value) for value in dense(cell, f"hidden_{layer}", hidden)]
    parameters = dense(cell, "heads", hidden)

    weights = []
    told = Heads([], [], [], [], [], [], [])
    for head in range(config.heads):
        own = parameters[head * (m + 3 + shifts) :][: m + 3 + shifts]
        key, beta, gate, gamma = own[:m], softplus(own[m]), sigmoid(own[m + 1]), 1 + softplus(own[m + 2])
        shift = softmax(own[m + 3 :])
        for values, value in zip(told, (key, [beta], [gate], shift, [gamma]), strict=False):
            values.append(value)
        # Eq. (6), (5): the focus by content.
        similarity = [sum(key[j] * row[j] for j in range(m)) / (norm(key) * norm([*row, 0.1])) for row in memory]
        content = softmax([beta * value for value in similarity])
        # Eq. (7): interpolation with the previous weighting.
        gated = [gate * content[i] + (1 - gate) * previous[head][i] for i in range(n)]
        # Eq. (8): circular convolution; s(j) for j = -reach ... reach.
        reach = shifts // 2
        shifted = [sum(gated[(i - j) % n] * shift[j + reach] for j in range(-reach, reach + 1)) for i in range(n)]
        # Eq. (9): sharpening.
        powers = [value**gamma for value in shifted]
        weights.append([power / sum(powers) for power in powers])

    vectors = parameters[config.heads * (m + 3 + shifts) :]
    erase = [[sigmoid(vectors[j * writers + head]) for head in range(writers)] for j in range(m)]
    add = [[math.tanh(vectors[(m + j) * writers + head]) for head in range(writers)] for j in range(m)]
    written = [list(row) for row in memory]
    for head in range(writers):  # Eq. (3)
        for i in range(n):
            for j in range(m):
                written[i][j] *= 1 - weights[config.read_heads + head][i] * erase[j][head]
    for head in range(writers):  # Eq. (4)
        for i in range(n):
            for j in range(m):
                written[i][j] += weights[config.read_heads + head][i] * add[j][head]

    # Eq. (2), from the memory just written.
    reads = [[sum(weights[h][i] * written[i][j] for i in range(n)) for j in range(m)] for h in range(config.read_heads)]
    y = dense(cell, "output", hidden + [value for read in reads for value in read])
    return y, written, weights, reads, told._replace(erase=erase, add=add)


@pytest.mark.parametrize("config", CONFIGS, ids=identify)
def test_cell_is_the_paper(config: NTMConfig) -> None:
    cell, random, batch, n = make_cell(config), np.random.default_rng(1), 2, 9
    start = random.random([batch, config.heads, n])
    state = State(
        random.normal(size=[batch, config.memory_vector_size, n]).astype(np.float32),
        (start / start.sum(axis=2, keepdims=True)).astype(np.float32),
        random.normal(size=[batch, config.read_heads, config.memory_vector_size]).astype(np.float32),
    )
    expected: list[Any] = [
        (state.memory[b].T.tolist(), state.weights[b].tolist(), state.reads[b].tolist()) for b in range(batch)
    ]
    for _ in range(6):
        x = random.integers(0, 2, [batch, config.input_size]).astype(np.float32)
        *outputs, heads = cell.step_with_heads(x, state)
        y, state = cell(x, state)
        tf.nest.map_structure(np.testing.assert_array_equal, outputs, [y, state])
        for b in range(batch):
            expected_y, *expected[b], expected_heads = reference_step(cell, x[b].tolist(), *expected[b])
            memory, weights, reads = expected[b]
            np.testing.assert_allclose(y[b], expected_y, atol=2e-5)
            np.testing.assert_allclose(state.memory[b], np.transpose(memory), atol=2e-5)
            np.testing.assert_allclose(state.weights[b], weights, atol=2e-5)
            np.testing.assert_allclose(state.reads[b], reads, atol=2e-5)
            for name, wanted in expected_heads._asdict().items():
                np.testing.assert_allclose(getattr(heads, name)[b], wanted, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("config", CONFIGS, ids=identify)
def test_heads_use_location_addressing_alone_once_content_addressing_is_off(config: NTMConfig) -> None:
    cell, random, batch, n = make_cell(config), np.random.default_rng(1), 3, 9
    inputs = random.normal(size=[batch, config.controller_sizes[-1]]).astype(np.float32)
    before = cell.in_range(cell.heads(inputs))
    assert cell.content_addressing
    cell.turn_content_addressing_off()
    assert not cell.content_addressing
    heads = cell.in_range(cell.heads(inputs))
    assert heads.gate.numpy().max() < 1e-30
    for name, value in before._asdict().items():  # and nothing else has changed
        if name != "gate":
            np.testing.assert_array_equal(getattr(heads, name), value)
    memory = random.normal(size=[batch, config.memory_vector_size, n]).astype(np.float32)
    start = random.random([batch, config.heads, n]).astype(np.float32)
    start /= start.sum(axis=2, keepdims=True)
    weights = cell.memory_step(heads, memory, start).weights
    shifted = addressing.circular_shift(start, heads.shift_weighting)
    np.testing.assert_allclose(weights, addressing.sharpen(shifted, heads.sharpening), atol=1e-7)


def test_one_head_is_enough_for_content_addressing() -> None:
    config = CONFIGS[2]
    cell = make_cell(config)
    cell.turn_content_addressing_off()
    kernel, bias = cell.heads.kernel.numpy().copy(), cell.heads.bias.numpy().copy()
    last_gate = config.heads * (config.memory_vector_size + 3 + config.shifts) - config.shifts - 2
    for value in (0.0, -99.0, math.nan):
        changed = bias.copy()
        changed[last_gate] = value
        cell.heads.bias.assign(changed)
        assert cell.content_addressing
    cell.heads.bias.assign(bias)
    assert not cell.content_addressing
    kernel[-1, last_gate] = 1e-3
    cell.heads.kernel.assign(kernel)
    assert cell.content_addressing


@pytest.mark.parametrize("config", CONFIGS, ids=identify)
@pytest.mark.parametrize("memory", [None, 0.0], ids=["initial", "zero"])
def test_gradients_are_finite_and_reach_every_variable(config: NTMConfig, memory: float | None) -> None:
    cell = make_cell(config)
    state = cell.initial_state(batch_size=2)
    if memory is not None:
        state = state._replace(memory=tf.fill(tf.shape(state.memory), memory))
    x = np.random.default_rng(2).integers(0, 2, [4, 2, config.input_size]).astype(np.float32)
    with tf.GradientTape() as tape:
        loss = tf.constant(0.0)
        for x_t in x:
            y, state = cell(x_t, state)
            loss += tf.reduce_sum(tf.square(y))
    for variable, gradient in zip(cell.trainable_variables, tape.gradient(loss, cell.trainable_variables), strict=True):
        assert gradient is not None, variable.name
        assert np.isfinite(gradient).all(), variable.name
        assert np.any(gradient), variable.name


def test_learned_initial_state_is_learned_and_used() -> None:
    config = NTMConfig(**SMALL, learn_r_bias=True, learn_w_bias=True, learn_m_bias=True)
    cell = make_cell(config)
    with tf.GradientTape() as tape:
        state = cell.initial_state(batch_size=2, memory_locations=8)
        y, _ = cell(tf.ones([2, config.input_size]), state)
        loss = tf.reduce_sum(y)
    gradients = tape.gradient(loss, [cell.r_bias, cell.w_bias, cell.m_bias])
    assert all(np.any(gradient) for gradient in gradients)
    np.testing.assert_allclose(np.sum(state.weights, axis=2), 1, rtol=1e-6)
    np.testing.assert_array_equal(state.weights[:, :, config.memory_locations :], 0)
    np.testing.assert_array_equal(state.memory[1, :, 3], cell.m_bias)
    np.testing.assert_array_equal(state.reads[1], cell.r_bias)


def test_initial_state_looks_at_the_first_location() -> None:
    state = NTMCell(CONFIGS[0]).initial_state(batch_size=3, memory_locations=11)
    np.testing.assert_array_equal(state.weights, np.broadcast_to(np.eye(11)[0], [3, 2, 11]))
    assert np.ptp(state.memory) == 0
    assert not np.any(state.reads)


@pytest.mark.parametrize(
    ("biases", "gate", "strength", "shifts"),
    [
        ({}, 0.5, math.log(2), [0, 0, 1]),
        ({"gate_bias": -2.0}, 1 / (1 + math.exp(2)), math.log(2), [0, 0, 1]),
        ({"strength_bias": 3.0}, 0.5, math.log(1 + math.exp(3)), [0, 0, 1]),
        ({"shift_bias": 3.0}, 0.5, math.log(2), [0, 0, 3]),
        ({"shift_bias": 3.0}, 0.5, math.log(2), [0, 0, 0, 3 + math.log(2), 0]),  # S = 5
        ({"shift_bias": 1.0}, 0.5, math.log(2), [0, 0, 0, 0, 1 + math.log(3), 0, 0]),
        ({"shift_bias": 1.0}, 0.5, math.log(2), [0]),
    ],
    ids=str,
)
def test_heads_begin_with_the_biases_of_the_gate_of_beta_and_of_the_shift_forward(
    biases: dict[str, float], gate: float, strength: float, shifts: list[float]
) -> None:
    cell = NTMCell(NTMConfig(9, 8, read_heads=2, shifts=len(shifts)), seed=0, **biases)
    heads = cell.in_range(cell.heads(tf.zeros([1, cell.config.controller_sizes[-1]])))
    np.testing.assert_allclose(heads.gate, np.full([1, 3, 1], gate), rtol=1e-6)
    np.testing.assert_allclose(heads.strength, np.full([1, 3, 1], strength), rtol=1e-6)
    shares = np.exp(shifts) / np.exp(shifts).sum()
    np.testing.assert_allclose(heads.shift_weighting, np.tile(shares, [1, 3, 1]), rtol=1e-6)
    others = NTMCell(
        cell.config, shift_bias=0.0 if len(shifts) > 3 else 1.0
    ).variables  # no other depends on the biases
    differing = [v.name for v, other in zip(cell.variables, others, strict=True) if np.any(v != other)]
    assert differing == (["heads/bias:0"] if biases and len(shifts) > 1 else [])


def test_learned_initial_weightings_begin_near_the_first_location() -> None:
    cell = NTMCell(NTMConfig(9, 8, learn_w_bias=True))
    assert (cell.initial_state(1).weights.numpy()[:, :, 0] > 0.5).all()  # of 128 locations


def test_equal_seeds_make_equal_cells() -> None:
    first, same, other = (NTMCell(CONFIGS[0], seed=seed) for seed in (1, 1, 2))
    for a, b in zip(first.variables, same.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(np.any(a != b) for a, b in zip(first.variables, other.variables, strict=True))


def test_cell_changes_nothing() -> None:
    cell, config = NTMCell(CONFIGS[0]), CONFIGS[0]
    before = [variable.numpy() for variable in cell.variables]
    state, x = cell.initial_state(batch_size=1), tf.ones([1, config.input_size])
    first, second = cell(x, state), cell(x, state)
    tf.nest.map_structure(np.testing.assert_array_equal, first, second)
    for variable, value in zip(cell.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


@pytest.mark.parametrize("config", CONFIGS, ids=identify)
def test_source_tells_the_shapes(config: NTMConfig) -> None:
    sizes = {
        "B": 2,
        "I": config.input_size,
        "O": config.output_size,
        "N": 9,
        "M": config.memory_vector_size,
        "S": config.shifts,
        "R": config.read_heads,
        "K": config.write_heads,
    }

    def evaluated(shape: str) -> list[int]:
        return [eval(size, dict(sizes)) for size in shape.split(", ")]  # noqa: S307

    def check(tensors: Any, source: str) -> None:
        for name, shape in re.findall(r"(\w+): tf.Tensor  # \[(.*?)\]", source):
            assert getattr(tensors, name).shape == evaluated(shape), name

    cell = NTMCell(config)
    state = cell.initial_state(batch_size=2, memory_locations=9)
    x_shape, y_shape = re.findall(r"``\[(.*?)\]``", NTMCell.__call__.__doc__ or "")
    y, next_state, heads = cell.step_with_heads(tf.ones(evaluated(x_shape)), state)
    assert y.shape == evaluated(y_shape)
    check(state, inspect.getsource(State))
    check(next_state, inspect.getsource(State))
    check(heads, inspect.getsource(Heads))


@pytest.mark.parametrize(
    "wrong",
    [
        {"shifts": 2},
        {"input_size": 0},
        {"output_size": 0},
        {"memory_locations": -1},
        {"memory_locations": 5, "shifts": 7},
        {"controller_sizes": ()},
        {"controller_sizes": (3, 0)},
    ],
    ids=str,
)
def test_config_refuses(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        NTMConfig(**{"input_size": 9, "output_size": 8} | wrong)
