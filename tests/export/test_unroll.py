"""The graphs of several steps are the converted step repeated, however the network is made, and as small as meant."""

import dataclasses
import functools
import pathlib
from collections import Counter
from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ntm.export import batched, onnx_format, parity, sparse, unrolled
from ntm.export.graph import Graph
from ntm.export.onnx_format import OPSET
from ntm.models import NTMCell, NTMConfig
from ntm.runtime.metadata import NEGLIGIBLE, next_name

Unroll = Callable[[NTMCell, int, int], onnx.ModelProto]

FORMS: dict[str, Unroll] = {"unrolled": unrolled.unroll, "sparse": sparse.unroll, "batched": batched.unroll}
# The most nodes that a step of the default network takes, by form and by whether content addressing is on.
NODES = {
    ("unrolled", "content addressing"): 39,
    ("batched", "content addressing"): 73,
    ("unrolled", "location addressing"): 28,
    ("sparse", "location addressing"): 50,
    ("batched", "location addressing"): 45,
}
DEFAULT = NTMConfig(input_size=9, output_size=8)
SMALL = NTMConfig(input_size=4, output_size=3, memory_vector_size=4, controller_sizes=(5,))
LSTM = dataclasses.replace(SMALL, controller="lstm")
CONFIGS = {
    "default": DEFAULT,
    "one layer": SMALL,
    "I=7, O=2": dataclasses.replace(SMALL, input_size=7, output_size=2),
    "no shifts": dataclasses.replace(SMALL, shifts=1),
    "S=5": dataclasses.replace(SMALL, shifts=5, controller_sizes=(5, 6)),
    "R=2": dataclasses.replace(SMALL, read_heads=2),
    "K=2": dataclasses.replace(SMALL, write_heads=2),
    "R=2, K=3, S=5": dataclasses.replace(SMALL, read_heads=2, write_heads=3, shifts=5),
    "LSTM": LSTM,
    "LSTM, R=2, K=2": dataclasses.replace(LSTM, read_heads=2, write_heads=2),
    "LSTM of two layers": dataclasses.replace(LSTM, controller_sizes=(5, 6)),
    "LSTM of two layers, R=2, K=3, S=5": dataclasses.replace(
        LSTM, controller_sizes=(5, 6), read_heads=2, write_heads=3, shifts=5
    ),
    "learned memory": dataclasses.replace(SMALL, memory_locations=8, initial_memory="learned"),
    "random memory, uniform weights": dataclasses.replace(
        SMALL, memory_locations=8, initial_memory="random", initial_weights="uniform"
    ),
}


WITH_CONTENT = [FORMS[name] for name, addressing in NODES if addressing == "content addressing"]


@pytest.fixture(params=NODES, ids=", ".join)
def kind(request: pytest.FixtureRequest) -> tuple[str, str]:
    """A form, and what its network uses."""
    name, addressing = request.param
    return name, addressing


@pytest.fixture
def form(kind: tuple[str, str]) -> Unroll:
    """What writes such a graph."""
    return FORMS[kind[0]]


@pytest.fixture
def by_content(kind: tuple[str, str]) -> bool:
    """Whether content addressing is on."""
    return kind[1] == "content addressing"


def randomised(config: NTMConfig, scale: float = 0.2, *, by_content: bool = True) -> NTMCell:
    cell, random = NTMCell(config), np.random.default_rng(0)
    for variable in cell.variables:
        variable.assign(random.normal(size=variable.shape, scale=scale))
    if not by_content:
        cell.turn_content_addressing_off()
    return cell


@functools.cache
def network(name: str, scale: float = 0.2, *, by_content: bool = True) -> NTMCell:
    """The network of a configuration that tests share: none of them changes it."""
    return randomised(CONFIGS[name], scale, by_content=by_content)


def shifting(config: NTMConfig, *, by_content: bool = True) -> NTMCell:
    """A network of random variables whose heads look where they looked, shifted by one, with g = 0 and gamma = 1.

    With ``by_content`` g is so for the inputs there are, but might be otherwise.
    """
    cell = randomised(config)
    m, shifts = config.memory_vector_size, config.shifts
    kernel, bias = cell.heads.kernel.numpy(), cell.heads.bias.numpy()
    shift = 200.0 * (np.arange(shifts) == shifts // 2 + 1)
    for head in range(config.heads):
        first = head * (m + 3 + shifts)  # key, strength, g, sharpening, shift weighting
        kernel[:, first + m + 1 : first + m + 3 + shifts] = 0.0
        kernel[:, first + m + 1] = by_content
        bias[first + m + 1 : first + m + 3 + shifts] = [-200.0, -200.0, *shift]
    cell.heads.kernel.assign(kernel)
    cell.heads.bias.assign(bias)
    return cell


def initial_state(cell: NTMCell, batch: int, locations: int) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in cell.initial_state(batch, locations).items()}


@functools.cache
def converted(cell: NTMCell) -> parity.Graph:
    """The step of a network as tf2onnx converts it, which takes half a second."""
    return onnx_format.session(onnx_format.convert(cell).SerializeToString())


def compare(form: Unroll, cell: NTMCell, steps: int, batch: int, locations: int, *, chunks: int = 3) -> None:
    """Run such a graph beside the converted step; each chunk starts from the state of the steps."""
    model = form(cell, steps, OPSET)
    onnx.checker.check_model(model, full_check=True)
    chunk = onnx_format.session(model.SerializeToString())
    step = converted(cell)
    random = np.random.default_rng(1)
    state = initial_state(cell, batch, locations)
    for _ in range(chunks):
        x = random.integers(0, 2, [steps, batch, cell.config.input_size]).astype(np.float32)
        actual = chunk({"x": x, **state})
        for t in range(steps):
            expected = step({"x": x[t], **state})
            state = {name: expected[f"next_{name}"] for name in state}
            np.testing.assert_allclose(actual["y"][t], expected["y"], rtol=0, atol=5e-6, err_msg=f"y of step {t}")
        for name in state:
            np.testing.assert_allclose(actual[f"next_{name}"], state[name], rtol=0, atol=5e-6, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("name", CONFIGS)
def test_it_is_the_step_repeated(form: Unroll, name: str, steps: int, by_content: bool) -> None:
    compare(form, network(name, by_content=by_content), steps, batch=2, locations=12)


@pytest.mark.slow
@pytest.mark.parametrize(("batch", "locations"), [(1, 128), (7, 12), (2, 5), (100, 7)])
def test_b_and_n_are_open(form: Unroll, batch: int, locations: int, by_content: bool) -> None:
    compare(form, network("R=2, K=3, S=5", by_content=by_content), 2, batch, locations)


@pytest.mark.parametrize("name", ["default", "R=2, K=3, S=5", "no shifts", "LSTM of two layers"])
def test_b_and_n_may_be_fixed(form: Unroll, name: str, by_content: bool) -> None:
    """As a program does that always takes the same; onnxruntime then computes all sizes while it loads the graph."""
    cell, steps, batch, locations = network(name, by_content=by_content), 2, 3, 12
    graph = form(cell, steps, OPSET).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.add_free_dimension_override_by_name("B", batch)
    options.add_free_dimension_override_by_name("N", locations)
    fixed = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    state = initial_state(cell, batch, locations)
    inputs = {"x": np.ones([steps, batch, cell.config.input_size], np.float32), **state}
    for output, expected in onnx_format.session(graph)(inputs).items():
        (actual,) = fixed.run([output], inputs)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6, err_msg=output)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["one layer", "S=5"])
def test_the_fewest_locations_to_shift_over_suffice(form: Unroll, name: str, by_content: bool) -> None:
    cell = network(name, by_content=by_content)
    compare(form, cell, 2, batch=2, locations=cell.config.shifts - 1)


def test_heads_may_go_to_extremes(form: Unroll, by_content: bool) -> None:
    compare(form, network("one layer", scale=2.0, by_content=by_content), 1, batch=4, locations=9, chunks=30)


@pytest.mark.slow
def test_weights_of_zero_stay_zero_and_make_no_nan(form: Unroll, by_content: bool) -> None:
    """The heads begin at one location, and shift forward."""
    cell = shifting(CONFIGS["one layer"], by_content=by_content)
    assert cell.content_addressing is by_content
    compare(form, cell, 2, batch=4, locations=9, chunks=10)
    chunk = onnx_format.session(form(cell, 2, OPSET).SerializeToString())
    state = initial_state(cell, 4, 9)
    weights = chunk({"x": np.ones([2, 4, cell.config.input_size], np.float32), **state})["next_weights"]
    np.testing.assert_array_equal(weights, np.broadcast_to(np.eye(9)[2], weights.shape))


@pytest.mark.parametrize("form", WITH_CONTENT)
def test_keys_of_zero_make_no_nan(form: Unroll) -> None:
    cell = randomised(CONFIGS["one layer"])
    cell.heads.kernel.assign(tf.zeros_like(cell.heads.kernel))
    cell.heads.bias.assign(tf.zeros_like(cell.heads.bias))
    compare(form, cell, 2, batch=4, locations=9)


def opening(bias: float) -> NTMCell:
    """A network whose heads leave their location for where a key leads them, the gate's logit being ``bias``."""
    config = CONFIGS["one layer"]
    cell, m = randomised(config), config.memory_vector_size
    kernel, biases = cell.heads.kernel.numpy(), cell.heads.bias.numpy()
    for head in range(config.heads):
        first = head * (m + 3 + config.shifts)
        kernel[:, first : first + m + 2] = 0.0
        biases[first : first + m + 2] = [*[1.0] * m, 200.0, bias]  # key, strength, g
    cell.heads.kernel.assign(kernel)
    cell.heads.bias.assign(biases)
    return cell


# onnxruntime's sigmoid of these is 1.0000001, on some processors.
@pytest.mark.parametrize("form", WITH_CONTENT)
@pytest.mark.parametrize("bias", [17.482065, 17.87294])
def test_a_gate_is_never_more_than_open(form: Unroll, bias: float) -> None:
    cell, locations = opening(bias), 9
    memory = np.full([1, 4, locations], -1.0, np.float32)
    memory[:, :, 6] = 1.0
    inputs = {
        "x": np.zeros([1, 1, cell.config.input_size], np.float32),
        "memory": memory,
        "weights": np.tile(np.eye(locations, dtype=np.float32)[2], [1, cell.config.heads, 1]),
        "reads": np.zeros([1, 1, 4], np.float32),
    }
    state = {name: tf.constant(value) for name, value in inputs.items() if name != "x"}
    expected = cell(tf.constant(inputs["x"][0]), state)[1]["weights"].numpy()
    chunk = onnx_format.session(form(cell, 1, OPSET).SerializeToString())
    step = onnx_format.session(onnx_format.convert(cell).SerializeToString())
    for actual in (chunk(inputs), step({**inputs, "x": inputs["x"][0]})):
        np.testing.assert_allclose(actual["next_weights"], expected, rtol=0, atol=1e-6)


def test_constants_of_one_name_are_the_same() -> None:
    graph = Graph()
    assert graph.constant("one", 1.0) == graph.constant("one", 1.0) == "one"
    with pytest.raises(ValueError, match="there is another constant one"):
        graph.constant("one", [1.0])


def test_every_step_is_the_same_nodes(form: Unroll, by_content: bool) -> None:
    cell = network("default", by_content=by_content)
    seven, eight = (
        Counter(node.name.partition("/")[0] for node in form(cell, steps, OPSET).graph.node) for steps in (7, 8)
    )
    assert seven["all"] == eight["all"]
    assert eight - seven == Counter({"step_7": seven["step_0"]})
    assert {seven[f"step_{i}"] for i in range(7)} == {seven["step_0"]}


@pytest.mark.parametrize(("config", "carried"), [(DEFAULT, ()), (CONFIGS["LSTM"], ("hidden", "cell"))])
def test_interface_is_the_contract(form: Unroll, by_content: bool, config: NTMConfig, carried: tuple[str, ...]) -> None:
    graph = form(randomised(config, by_content=by_content), 3, OPSET).graph
    outputs = ("y", "next_memory", "next_weights", "next_reads", *map(next_name, carried))
    assert tuple(value.name for value in graph.input) == ("x", "memory", "weights", "reads", *carried)
    assert tuple(value.name for value in graph.output) == outputs
    names = [node.name for node in graph.node]
    assert len(set(names)) == len(names)
    used = {tensor for node in graph.node for tensor in node.input}
    assert {constant.name for constant in graph.initializer} <= used
    shared = {tensor for node in graph.node if node.name.startswith("all/") for tensor in node.output}
    assert shared <= used | set(outputs)


def optimised(form: Unroll, steps: int, folder: pathlib.Path, *, by_content: bool = True) -> list[onnx.NodeProto]:
    """The nodes of the default network's graph as onnxruntime runs them."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 3
    model = form(network("default", by_content=by_content), steps, OPSET)
    onnxruntime.InferenceSession(model.SerializeToString(), options)
    return list(onnx.load(folder / "optimised.onnx").graph.node)


def test_default_network_takes_few_nodes_a_step(
    tmp_path: pathlib.Path, form: Unroll, by_content: bool, kind: tuple[str, str]
) -> None:
    three, four = (len(optimised(form, steps, tmp_path, by_content=by_content)) for steps in (3, 4))
    assert four - three <= NODES[kind]


@functools.cache
def sparse_graphs(name: str) -> tuple[NTMConfig, parity.Graph, parity.Graph]:
    """The converted step and a step of the graph for large memories of a network whose heads shift."""
    cell = shifting(CONFIGS[name], by_content=False)
    step, chunk = onnx_format.convert(cell), sparse.unroll(cell, 1, OPSET)
    return cell.config, onnx_format.session(step.SerializeToString()), onnx_format.session(chunk.SerializeToString())


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["one layer", "K=2", "R=2, K=3, S=5"]), st.integers(1, 3))
def test_the_graph_for_large_memories_writes_to_what_heads_may_have_shifted_to(
    seed: int, name: str, batch: int
) -> None:
    """To all of that as the step does, and to nothing else."""
    config, step, chunk = sparse_graphs(name)
    random, locations = np.random.default_rng(seed), 40
    share = 0.5 / (batch * config.heads * config.shifts)  # so that some locations are within no head's reach
    weights = random.choice(
        [0.0, 1e-12, NEGLIGIBLE / 4, 4 * NEGLIGIBLE, 1e-3, 1.0],
        (batch, config.heads, locations),
        p=[0.8 - 3 * share, 0.1, 0.1, share, share, share],
    )
    weights[:, :, random.integers(locations)] += 1.0
    inputs = {
        "x": random.normal(size=[batch, config.input_size]),
        "memory": random.normal(size=[batch, config.memory_vector_size, locations]),
        "weights": weights / weights.sum(axis=2, keepdims=True),
        "reads": random.normal(size=[batch, config.read_heads, config.memory_vector_size]),
    }
    inputs = {key: value.astype(np.float32) for key, value in inputs.items()}
    expected = step(inputs)
    actual = chunk({**inputs, "x": inputs["x"][np.newaxis]})
    reach = config.shifts // 2
    before = inputs["weights"].sum(axis=(0, 1))
    looked_at = np.sum([np.roll(before, shift) for shift in range(-reach, reach + 1)], axis=0)
    clear = np.abs(np.log2(np.maximum(looked_at, 1e-30) / NEGLIGIBLE)) > 0.1  # and no matter of rounding
    written, left = (np.flatnonzero(clear & which) for which in (looked_at > NEGLIGIBLE, looked_at <= NEGLIGIBLE))
    assume(len(left))
    assert len(written)
    assert NEGLIGIBLE <= 2**-28  # which what it leaves out is claimed to be
    memory, before = actual["next_memory"], inputs["memory"]
    np.testing.assert_array_equal(memory[:, :, left], before[:, :, left])
    np.testing.assert_allclose(memory[:, :, written], expected["next_memory"][:, :, written], rtol=0, atol=1e-6)
    assert not actual["next_weights"][:, :, left].any()
    for output, value in actual.items():
        np.testing.assert_allclose(value.reshape(expected[output].shape), expected[output], rtol=0, atol=2e-6)


def test_a_sequence_of_nan_leaves_the_others_alone() -> None:
    """Where the sparse graph decides for all sequences at once."""
    config, step, chunk = sparse_graphs("one layer")
    state = initial_state(NTMCell(config), 3, 5)
    state["weights"] = state["weights"].copy()
    state["weights"][1] = np.nan
    inputs = {"x": np.ones([3, config.input_size], np.float32), **state}
    expected, actual = step(inputs), chunk({**inputs, "x": inputs["x"][np.newaxis]})
    for name in map(next_name, state):
        np.testing.assert_allclose(actual[name], expected[name], rtol=0, atol=1e-6, err_msg=name)
    assert np.isnan(actual["y"][0, 1]).all()
    assert not np.isnan(actual["y"][0, ::2]).any()


@pytest.mark.parametrize(
    ("form", "by_content"), [(batched.unroll, True), (batched.unroll, False), (sparse.unroll, False)]
)
def test_where_the_batch_is_last_nothing_works_with_it_first(
    tmp_path: pathlib.Path, form: Unroll, by_content: bool
) -> None:
    """onnxruntime would carry the first Transpose on to all that follows, if it could."""
    nodes = optimised(form, 3, tmp_path, by_content=by_content)
    assert all(node.name.startswith("all/") for node in nodes if node.op_type == "Transpose")
