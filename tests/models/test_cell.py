"""The cell against the paper, written as explicit loops over one sequence."""

import inspect
import math
import re
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ntm.models import LSTMConfig, LSTMNetwork, NetworkConfig, NTMCell, NTMConfig, addressing, make_network
from ntm.models.cell import INITIAL_MEMORY, Heads

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
    NTMConfig(**SMALL | {"controller_sizes": (4,)}, controller="lstm"),
    NTMConfig(**SMALL, controller="lstm", read_heads=2, write_heads=2),
]
NETWORKS = [*CONFIGS, LSTMConfig(5, 3, layer_sizes=(4,)), LSTMConfig(5, 3, layer_sizes=(4, 3, 2))]


def identify(config: NetworkConfig) -> str:
    if isinstance(config, LSTMConfig):
        return f"lstm-{len(config.layer_sizes)}"
    heads = f"S{config.shifts}-R{config.read_heads}-K{config.write_heads}"
    return heads if config.controller == "feedforward" else f"{config.controller}-{heads}"


def make_varied(config: NetworkConfig, seed: int = 0) -> Any:
    """A network with no parameter at zero."""
    network, random = make_network(config), np.random.default_rng(seed)
    for variable in network.trainable_variables:
        variable.assign(random.normal(size=variable.shape, scale=0.7))
    return network


def random_state(config: NetworkConfig, batch: int, n: int) -> dict[str, np.ndarray]:
    """A state of numbers at random; weightings have the sum 1."""
    random, sizes = np.random.default_rng(3), {"B": batch, "N": n}
    state = {
        name: random.normal(size=[sizes[size] if isinstance(size, str) else size for size in shape]).astype(np.float32)
        for name, shape in config.state_shapes.items()
    }
    if "weights" in state:
        weights = np.abs(state["weights"])
        state["weights"] = weights / weights.sum(axis=2, keepdims=True)
    return state


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


def reference_feedforward(cell: NTMCell, seen: list[float]) -> list[float]:
    """The hidden layers."""
    for layer in range(len(cell.config.controller_sizes)):
        seen = [math.tanh(value) for value in dense(cell, f"hidden_{layer}", seen)]
    return seen


def reference_lstm(
    network: Any, sizes: tuple[int, ...], seen: list[float], hidden: list[float], cell: list[float]
) -> tuple[list[float], dict[str, list[float]]]:
    """What the last layer of LSTM units outputs, and h and c of all layers."""
    first = 0
    after: dict[str, list[float]] = {"hidden": [], "cell": []}
    for layer, units in enumerate(sizes):
        own = range(first, first + units)
        said = dense(network, f"lstm_{layer}", [*seen, *(hidden[i] for i in own)])
        write, keep, show = ([sigmoid(value) for value in said[k * units : (k + 1) * units]] for k in range(3))
        cells = [keep[i] * cell[first + i] + write[i] * math.tanh(value) for i, value in enumerate(said[3 * units :])]
        seen = [show[i] * math.tanh(cells[i]) for i in range(units)]
        after["hidden"] += seen
        after["cell"] += cells
        first += units
    return seen, after


def reference_step(cell: NTMCell, x: list[float], state: dict[str, Any]) -> tuple[list[float], dict[str, Any], Heads]:
    """One step of one sequence; the memory is the paper's, N rows of M numbers."""
    config = cell.config
    memory, previous = state["memory"], state["weights"]
    n, m, shifts, writers = len(memory), config.memory_vector_size, config.shifts, config.write_heads

    seen = x + [value for read in state["reads"] for value in read]
    carried: dict[str, list[float]] = {}
    if config.controller == "lstm":
        hidden, carried = reference_lstm(cell, config.controller_sizes, seen, state["hidden"], state["cell"])
    else:
        hidden = reference_feedforward(cell, seen)
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
    state = {"memory": written, "weights": weights, "reads": reads, **carried}
    return y, state, told._replace(erase=erase, add=add)


@pytest.mark.parametrize("config", CONFIGS, ids=identify)
def test_cell_is_the_paper(config: NTMConfig) -> None:
    cell, random, batch = make_varied(config), np.random.default_rng(1), 2
    state: Any = random_state(config, batch, 9)
    expected: list[Any] = [{name: tensor[b].tolist() for name, tensor in state.items()} for b in range(batch)]
    for b in range(batch):
        expected[b]["memory"] = state["memory"][b].T.tolist()
    for _ in range(6):
        x = random.integers(0, 2, [batch, config.input_size]).astype(np.float32)
        *outputs, heads = cell.step_with_heads(x, state)
        y, state = cell(x, state)
        tf.nest.map_structure(np.testing.assert_array_equal, outputs, [y, state])
        for b in range(batch):
            expected_y, expected[b], expected_heads = reference_step(cell, x[b].tolist(), expected[b])
            np.testing.assert_allclose(y[b], expected_y, atol=2e-5)
            for name, wanted in expected[b].items():
                wanted = np.transpose(wanted) if name == "memory" else wanted  # noqa: PLW2901
                np.testing.assert_allclose(state[name][b], wanted, atol=2e-5, err_msg=name)
            for name, wanted in expected_heads._asdict().items():
                np.testing.assert_allclose(getattr(heads, name)[b], wanted, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("config", NETWORKS[len(CONFIGS) :], ids=identify)
def test_the_baseline_is_lstm_layers_and_an_output_layer(config: LSTMConfig) -> None:
    network, random = make_varied(config), np.random.default_rng(1)
    state: Any = random_state(config, 2, 1)
    expected = [{name: tensor[b].tolist() for name, tensor in state.items()} for b in range(2)]
    for _ in range(4):
        x = random.normal(size=[2, config.input_size]).astype(np.float32)
        y, state, heads = network.step_with_heads(x, state)
        assert heads is None
        for b in range(2):
            seen, expected[b] = reference_lstm(network, config.layer_sizes, x[b].tolist(), **expected[b])
            np.testing.assert_allclose(y[b], dense(network, "output", seen), atol=1e-5)
            for name, wanted in expected[b].items():
                np.testing.assert_allclose(state[name][b], wanted, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("config", CONFIGS, ids=identify)
def test_heads_use_location_addressing_alone_once_content_addressing_is_off(config: NTMConfig) -> None:
    cell, random, batch, n = make_varied(config), np.random.default_rng(1), 3, 9
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
    weights = cell.memory_step(heads, memory, start)["weights"]
    shifted = addressing.circular_shift(start, heads.shift_weighting)
    np.testing.assert_allclose(weights, addressing.sharpen(shifted, heads.sharpening), atol=1e-7)


def test_one_head_is_enough_for_content_addressing() -> None:
    config = CONFIGS[2]
    cell = make_varied(config)
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


@pytest.mark.parametrize("config", NETWORKS, ids=identify)
@pytest.mark.parametrize("memory", [None, 0.0], ids=["initial", "zero"])
def test_gradients_are_finite_and_reach_every_variable(config: NetworkConfig, memory: float | None) -> None:
    cell = make_varied(config)
    state = cell.initial_state(batch_size=2)
    if memory is not None and "memory" in state:
        state["memory"] = tf.fill(tf.shape(state["memory"]), memory)
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
    config = NTMConfig(**SMALL, initial_memory="learned", initial_weights="learned", initial_reads="learned")
    cell = make_varied(config)
    with tf.GradientTape() as tape:
        state = cell.initial_state(batch_size=2, memory_locations=8)
        y, _ = cell(tf.ones([2, config.input_size]), state)
        loss = tf.reduce_sum(y)
    gradients = tape.gradient(loss, [cell.initial_memory, cell.initial_weights, cell.initial_reads])
    assert all(np.any(gradient) for gradient in gradients)
    np.testing.assert_allclose(np.sum(state["weights"], axis=2), 1, rtol=1e-6)
    n = config.memory_locations
    np.testing.assert_array_equal(state["weights"][:, :, n:], 0)
    np.testing.assert_array_equal(state["memory"][1, :, :n], cell.initial_memory)
    np.testing.assert_array_equal(state["memory"][:, :, n:], np.float32(INITIAL_MEMORY))
    np.testing.assert_array_equal(state["reads"][1], cell.initial_reads)
    assert config.least_locations == n


def test_a_random_initial_memory_differs_by_location_and_by_seed_and_is_not_trained() -> None:
    config = NTMConfig(**SMALL, initial_memory="random")
    first, other = NTMCell(config, seed=1), NTMCell(config, seed=2)
    memory = first.initial_state(2)["memory"].numpy()
    np.testing.assert_array_equal(memory[0], memory[1])
    assert 0.3 < memory.std() < 0.7
    assert np.any(memory != other.initial_state(2)["memory"])
    assert "initial_memory:0" in [variable.name for variable in first.variables]
    assert "initial_memory:0" not in [variable.name for variable in first.trainable_variables]
    assert config.least_locations == config.memory_locations


@pytest.mark.parametrize("n", [6, 11])
def test_uniform_initial_weightings_are_so_for_any_number_of_locations(n: int) -> None:
    config = NTMConfig(**SMALL, initial_weights="uniform")
    np.testing.assert_allclose(NTMCell(config).initial_state(3, n)["weights"], np.full([3, 2, n], 1 / n))
    assert config.least_locations == 2


def test_initial_state_looks_at_the_first_location() -> None:
    state = NTMCell(CONFIGS[0]).initial_state(batch_size=3, memory_locations=11)
    np.testing.assert_array_equal(state["weights"], np.broadcast_to(np.eye(11)[0], [3, 2, 11]))
    assert np.ptp(state["memory"]) == 0
    assert not np.any(state["reads"])


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
    cell = NTMCell(NTMConfig(9, 8, initial_weights="learned"))
    assert (cell.initial_state(1)["weights"].numpy()[:, :, 0] > 0.5).all()  # of 128 locations


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

    cell = NTMCell(config)
    state = cell.initial_state(batch_size=2, memory_locations=9)
    x_shape, y_shape = re.findall(r"``\[(.*?)\]``", NTMCell.__call__.__doc__ or "")
    y, next_state, heads = cell.step_with_heads(tf.ones(evaluated(x_shape)), state)
    assert y.shape == evaluated(y_shape)
    for name, shape in config.state_shapes.items():
        assert state[name].shape == next_state[name].shape == [{"B": 2, "N": 9}.get(str(size), size) for size in shape]
    told = re.findall(r"``(\w+)`` \w\[t\], ``\[(.*?)\]``", re.sub(r"\s+", " ", NTMCell.__doc__ or ""))
    assert [name for name, _ in told] == ["memory", "weights", "reads"]
    for name, shape in told:
        assert state[name].shape == evaluated(shape), name
    for name, shape in re.findall(r"(\w+): tf.Tensor  # \[(.*?)\]", inspect.getsource(Heads)):
        assert getattr(heads, name).shape == evaluated(shape), name


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (NTMConfig(9, 8), 4 * 100 + 29 * 100 + 2 * 100 * 100 + 101 * 92 + 120 * 8 + 8 - 100),
        (NTMConfig(9, 8, controller="lstm"), (29 + 100 + 1) * 400 + 101 * 92 + 121 * 8),
        (LSTMConfig(9, 8), (9 + 257) * 1024 + 2 * 513 * 1024 + 257 * 8),
    ],
    ids=["feedforward", "LSTM controller", "LSTM"],
)
def test_counts_its_parameters(config: NetworkConfig, expected: int) -> None:
    network = make_network(config)
    assert network.parameters == expected
    assert expected == sum(inputs * outputs + outputs for inputs, outputs in config.matrix_shapes)


def test_a_network_without_heads_has_no_content_addressing() -> None:
    network = LSTMNetwork(LSTMConfig(9, 8, (3,)))
    network.turn_content_addressing_off()
    assert not network.content_addressing


@pytest.mark.parametrize(
    "wrong",
    [
        {"shifts": 2},
        {"input_size": 0},
        {"output_size": 0},
        {"memory_locations": -1},
        {"memory_locations": 5, "shifts": 7},
        {"controller_sizes": (3, 0)},
        {"controller": "gru"},
        {"initial_memory": "uniform"},
        {"initial_weights": "zero"},
        {"initial_reads": "random"},
    ],
    ids=str,
)
def test_config_refuses(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        NTMConfig(**{"input_size": 9, "output_size": 8} | wrong)
