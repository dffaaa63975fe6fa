"""The conformance matrix: every network in every way it can be computed, tensor by tensor, some for 1,001 steps."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from ntm.export import onnx_format, parity, savedmodel, tflite
from ntm.export.source import BATCHED_UNROLL, SPARSE_UNROLL, Source
from ntm.export.step import step_function
from ntm.models import Network, NTMCell
from ntm.tasks import Copy
from ntm.training.run import TrainedRun

pytestmark = pytest.mark.slow

BATCH, LOCATIONS, UNROLL = 2, 12, 13
TASK = Copy(bits=5)
HEADS = {"read_heads": 2, "write_heads": 2}
# Those with a memory, and how they start.
SIZES: dict[str, dict[str, Any]] = {
    "S3-R1-K1": {},
    "S5-R2-K2": {"shifts": 5, **HEADS},
    "LSTM-of-two-layers-R2-K2": {"controller": "lstm", "controller_sizes": (9, 8), **HEADS},
}
STARTS: dict[str, dict[str, Any]] = {
    "random memory, uniform weights": {
        "memory_locations": LOCATIONS,
        "initial_memory": "random",
        "initial_weights": "uniform",
    },
}
OFF = ", content addressing off"
WITH_MEMORY = [*SIZES, *(name + OFF for name in SIZES), *STARTS]
BASELINE = "LSTM"
# 1,001 steps, which are 77 chunks of 13; the others take 105.
LONG, SHORT = 500, 52
LONG_CASES = ("S5-R2-K2", "S3-R1-K1" + OFF)

Tensors = Mapping[str, Any]
Step = Callable[[Tensors], Tensors]


class Case(NamedTuple):
    """A network, the folder of its export, and what eager mode makes of the sequences x, ``[T, B, I]``."""

    network: Network
    folder: pathlib.Path
    x: np.ndarray
    state: dict[str, np.ndarray]
    expected: dict[str, np.ndarray]


def roll_out(step: Step, x: np.ndarray, state: Tensors) -> dict[str, np.ndarray]:
    """Every output of every step, or chunk of steps, along a new first axis."""
    steps = []
    for x_t in x:
        outputs = step({"x": x_t, **state})
        steps.append(outputs)
        state = {name: outputs[f"next_{name}"] for name in state}
    return {name: np.stack([np.asarray(outputs[name]) for outputs in steps]) for name in steps[0]}


@pytest.fixture(scope="module", params=[*WITH_MEMORY, BASELINE])
def case(
    request: pytest.FixtureRequest,
    make_network: Callable[..., Network],
    trained: Callable[..., TrainedRun],
    tmp_path_factory: pytest.TempPathFactory,
) -> Case:
    if request.param == BASELINE:
        network = make_network(TASK, model="lstm")
    else:
        network = make_network(TASK, **(SIZES | STARTS)[request.param.removesuffix(OFF)])
    if request.param.endswith(OFF):
        assert isinstance(network, NTMCell)
        use_location_addressing(network)
    folder = tmp_path_factory.mktemp("export")
    source = Source(trained(network, TASK), TASK, "conformance", UNROLL)
    for module in (onnx_format, savedmodel, tflite):
        module.write(source, folder)
    x = TASK.batch(np.random.default_rng(0), BATCH, {"length": LONG if request.param in LONG_CASES else SHORT}).x
    state = {name: value.numpy() for name, value in network.initial_state(BATCH, LOCATIONS).items()}
    eager = step_function(network).python_function
    return Case(network, folder, x, state, roll_out(lambda inputs: eager(**inputs), x, state))


def use_location_addressing(cell: NTMCell) -> None:
    """Turn content addressing off, and let the heads shift forward at each step.

    Without content addressing nothing brings a weighting back that a rounding has changed; less sensitive kernels and
    decided shifts keep the roundings small.
    """
    for layer in (*cell.layers, cell.output):
        layer.kernel.assign(layer.kernel * (2 / 3))
    cell.turn_content_addressing_off()
    each = cell.config.memory_vector_size + 3 + cell.config.shifts
    last_shifts = each * np.arange(1, cell.config.heads + 1) - 1
    bias = cell.heads.bias.numpy().copy()
    bias[last_shifts] = 10.0
    cell.heads.bias.assign(bias)


def as_function(case: Case) -> Step:
    function = step_function(case.network)
    return lambda inputs: function(**inputs)


def as_xla(case: Case) -> Step:
    function = tf.function(step_function(case.network).python_function, jit_compile=True, autograph=False)
    return lambda inputs: function(**{name: tf.constant(value) for name, value in inputs.items()})


def as_savedmodel(case: Case) -> Step:
    loaded = tf.saved_model.load(str(case.folder / "savedmodel" / "1"))
    return lambda inputs: loaded.signatures["step"](**{name: tf.constant(value) for name, value in inputs.items()})


def as_onnx(case: Case) -> Step:
    return onnx_format.session((case.folder / "step.onnx").read_bytes())


def as_onnx_not_optimised(case: Case) -> Step:
    return onnx_format.session((case.folder / "step.onnx").read_bytes(), optimised=False)


def as_tflite(case: Case) -> Step:
    runner = Interpreter(str(case.folder / "step.tflite")).get_signature_runner("step")
    return lambda inputs: runner(**inputs)


@pytest.mark.parametrize(
    "implementation", [as_function, as_xla, as_savedmodel, as_onnx, as_onnx_not_optimised, as_tflite]
)
def test_step_is_the_same_everywhere(case: Case, implementation: Callable[[Case], Step]) -> None:
    assert_equal(roll_out(implementation(case), case.x, case.state), case.expected)


@pytest.mark.parametrize("case", WITH_MEMORY, indirect=True)
@pytest.mark.parametrize("optimised", [True, False])
@pytest.mark.parametrize(
    ("file", "unroll"), [("unrolled.onnx", UNROLL), ("sparse.onnx", SPARSE_UNROLL), ("batched.onnx", BATCHED_UNROLL)]
)
def test_graphs_of_several_steps_are_the_same(case: Case, file: str, unroll: int, optimised: bool) -> None:
    if file == "sparse.onnx" and case.network.content_addressing:
        assert not (case.folder / file).exists()
        return
    graph = onnx_format.session((case.folder / file).read_bytes(), optimised=optimised)
    steps = len(case.x) // unroll * unroll
    chunks = case.x[:steps].reshape(-1, unroll, *case.x.shape[1:])
    actual = roll_out(graph, chunks, case.state)
    y = actual.pop("y").reshape(steps, *case.expected["y"].shape[1:])
    states = {f"next_{name}": case.expected[f"next_{name}"][unroll - 1 :: unroll] for name in case.state}
    assert_equal({"y": y, **actual}, {"y": case.expected["y"][:steps], **states})


def assert_equal(actual: Tensors, expected: Tensors) -> None:
    """To half of the tolerance, so that any two that equal the third equal each other."""
    assert set(actual) == set(expected)
    for name in expected:
        np.testing.assert_allclose(actual[name], expected[name], rtol=0, atol=parity.TOLERANCE / 2, err_msg=name)
    np.testing.assert_array_equal(actual["y"] > 0.5, expected["y"] > 0.5)


@pytest.mark.parametrize("length", [7, 70])
def test_savedmodel_runs_whole_sequences_in_as_many_locations_as_steps(case: Case, length: int) -> None:
    """But in no fewer than the network's own, and in these where their number is fixed."""
    loaded, config = tf.saved_model.load(str(case.folder / "savedmodel" / "1")), case.network.config
    x = TASK.batch(np.random.default_rng(1), 3, {"length": length}).x
    locations = LOCATIONS if config.fixed_locations else max(2 * length + 1, config.memory_locations)
    sizes = {"batch_size": tf.constant(3), "memory_locations": tf.constant(locations)}
    state = loaded.signatures["initial_state"](**sizes)
    outputs = roll_out(as_function(case), x, state)
    whole = loaded.signatures["serving_default"](x=tf.constant(x.swapaxes(0, 1)))
    assert set(whole) == {"y"}
    np.testing.assert_allclose(whole["y"], outputs["y"].swapaxes(0, 1), rtol=0, atol=5e-6)


def test_tflite_can_be_resized(case: Case) -> None:
    """As from C++ or Java: resized, allocated, set, invoked."""
    interpreter = Interpreter(str(case.folder / "step.tflite"))
    inputs = {"x": case.x[0], **case.state}
    details = {detail["name"].split("_")[-1].split(":")[0]: detail for detail in interpreter.get_input_details()}
    for name, value in inputs.items():
        interpreter.resize_tensor_input(details[name]["index"], value.shape)
    interpreter.allocate_tensors()
    for name, value in inputs.items():
        interpreter.set_tensor(details[name]["index"], value)
    interpreter.invoke()
    shapes = sorted(tuple(detail["shape"]) for detail in interpreter.get_output_details())
    assert shapes == sorted(values[0].shape for values in case.expected.values())
