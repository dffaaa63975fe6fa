"""The conformance matrix: one network in every way it can be computed, a thousand steps long, tensor by tensor."""

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
from ntm.models import NTMCell, NTMConfig
from ntm.runtime.metadata import INPUTS, OUTPUTS, STEP_OUTPUTS
from ntm.training.run import TrainedRun

LENGTH, BATCH, LOCATIONS, UNROLL = 500, 2, 12, 13  # 1,001 steps are 77 chunks of 13
CONFIGS = {
    "S3-R1-K1": NTMConfig(word_bits=5, memory_vector_size=6, controller_sizes=(20, 20)),
    "S5-R2-K2": NTMConfig(
        word_bits=5, memory_vector_size=6, controller_sizes=(20, 20), shifts=5, read_heads=2, write_heads=2
    ),
}
SHUT = ", gates shut"

Tensors = Mapping[str, Any]
Step = Callable[[Tensors], Tensors]


class Network(NamedTuple):
    """A network, the folder of its export, and what eager mode makes of the sequence x, ``[T, B, W+1]``."""

    cell: NTMCell
    folder: pathlib.Path
    x: np.ndarray
    state: dict[str, np.ndarray]
    expected: dict[str, np.ndarray]


def roll_out(step: Step, x: np.ndarray, state: Tensors) -> dict[str, np.ndarray]:
    """Every output of every step, or chunk of steps, along a new first axis."""
    steps = []
    for x_t in x:
        outputs = step({INPUTS[0]: x_t, **state})
        steps.append(outputs)
        state = {name: outputs[f"next_{name}"] for name in INPUTS[1:]}
    names = [name for name in STEP_OUTPUTS if name in steps[0]]
    return {name: np.stack([np.asarray(outputs[name]) for outputs in steps]) for name in names}


def batch_inputs(words: np.ndarray) -> np.ndarray:
    """What the network sees of words ``[B, L, W]``, ``[T, B, W+1]``."""
    return np.stack([parity.copy_inputs(sequence) for sequence in words], axis=1)


@pytest.fixture(scope="module", params=[*CONFIGS, *(name + SHUT for name in CONFIGS)])
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Network:
    cell, random = NTMCell(CONFIGS[request.param.removesuffix(SHUT)]), np.random.default_rng(0)
    walks = request.param.endswith(SHUT)
    for variable in cell.variables:  # as a trained network, it decides: no bit is a matter of rounding
        scale = 0.2 if walks else 0.3
        variable.assign(random.normal(size=variable.shape, scale=0.5 if "bias" in variable.name else scale))
    if walks:
        walk(cell)
    folder = tmp_path_factory.mktemp(request.param)
    source = Source(TrainedRun(cell, {}, "0" * 64), "conformance", UNROLL)
    for module in (onnx_format, savedmodel, tflite):
        module.write(source, folder)
    x = batch_inputs(random.integers(0, 2, [BATCH, LENGTH, cell.config.word_bits]))
    state = {name: value.numpy() for name, value in zip(INPUTS[1:], cell.initial_state(BATCH, LOCATIONS), strict=True)}
    eager = step_function(cell).python_function
    return Network(cell, folder, x, state, roll_out(lambda inputs: eager(**inputs), x, state))


def walk(cell: NTMCell) -> None:
    """Let the heads go by location alone, and on: who cannot search finds back by nothing where rounding leads away."""
    cell.shut_gates()
    each = cell.config.memory_vector_size + 3 + cell.config.shifts
    last_shifts = each * np.arange(1, cell.config.heads + 1) - 1
    bias = cell.heads.bias.numpy().copy()
    bias[last_shifts] = 10.0
    cell.heads.bias.assign(bias)


def as_function(network: Network) -> Step:
    function = step_function(network.cell)
    return lambda inputs: function(**inputs)


def as_xla(network: Network) -> Step:
    function = tf.function(step_function(network.cell).python_function, jit_compile=True, autograph=False)
    return lambda inputs: function(**{name: tf.constant(value) for name, value in inputs.items()})


def as_savedmodel(network: Network) -> Step:
    loaded = tf.saved_model.load(str(network.folder / "savedmodel" / "1"))
    step = loaded.signatures["step"]
    return lambda inputs: {**step(**{name: tf.constant(value) for name, value in inputs.items()}), "": loaded}


def as_onnx(network: Network) -> Step:
    return onnx_format.session((network.folder / "step.onnx").read_bytes())


def as_onnx_not_optimised(network: Network) -> Step:
    return onnx_format.session((network.folder / "step.onnx").read_bytes(), optimised=False)


def as_tflite(network: Network) -> Step:
    runner = Interpreter(str(network.folder / "step.tflite")).get_signature_runner("step")
    return lambda inputs: runner(**inputs)


@pytest.mark.parametrize(
    "implementation", [as_function, as_xla, as_savedmodel, as_onnx, as_onnx_not_optimised, as_tflite]
)
def test_step_is_the_same_everywhere(network: Network, implementation: Callable[[Network], Step]) -> None:
    assert_equal(roll_out(implementation(network), network.x, network.state), network.expected)


@pytest.mark.parametrize("optimised", [True, False])
@pytest.mark.parametrize(
    ("file", "unroll"), [("unrolled.onnx", UNROLL), ("sparse.onnx", SPARSE_UNROLL), ("batched.onnx", BATCHED_UNROLL)]
)
def test_graphs_of_several_steps_are_the_same(network: Network, file: str, unroll: int, optimised: bool) -> None:
    graph = onnx_format.session((network.folder / file).read_bytes(), optimised=optimised)
    steps = len(network.x) // unroll * unroll
    chunks = network.x[:steps].reshape(-1, unroll, *network.x.shape[1:])
    actual = roll_out(graph, chunks, network.state)
    y = actual.pop("y").reshape(steps, *network.expected["y"].shape[1:])
    states = {name: network.expected[name][unroll - 1 :: unroll] for name in OUTPUTS[1:]}
    assert_equal({"y": y, **actual}, {"y": network.expected["y"][:steps], **states})


def assert_equal(actual: Tensors, expected: Tensors) -> None:
    """To half of the tolerance, so that any two that equal the third equal each other."""
    assert set(actual) == set(expected)
    for name in expected:
        np.testing.assert_allclose(actual[name], expected[name], rtol=0, atol=parity.TOLERANCE / 2, err_msg=name)
    np.testing.assert_array_equal(actual["y"] > 0.5, expected["y"] > 0.5)


def test_savedmodel_copies_and_starts(network: Network) -> None:
    loaded = tf.saved_model.load(str(network.folder / "savedmodel" / "1"))
    words = np.random.default_rng(1).integers(0, 2, [3, 7, network.cell.config.word_bits], np.uint8)
    state = loaded.signatures["initial_state"](batch_size=tf.constant(3), memory_locations=tf.constant(9))
    outputs = roll_out(as_function(network), batch_inputs(words), state)
    copied = loaded.signatures["serving_default"](words=tf.constant(words))
    np.testing.assert_allclose(copied["y"], outputs["y"][8:].swapaxes(0, 1), atol=1e-6)
    np.testing.assert_array_equal(copied["copy"], np.asarray(copied["y"]) > 0.5)


def test_tflite_can_be_resized(network: Network) -> None:
    """As from C++ or Java: resized, allocated, set, invoked."""
    interpreter = Interpreter(str(network.folder / "step.tflite"))
    inputs = {INPUTS[0]: network.x[0], **network.state}
    details = {detail["name"].split("_")[-1].split(":")[0]: detail for detail in interpreter.get_input_details()}
    for name, value in inputs.items():
        interpreter.resize_tensor_input(details[name]["index"], value.shape)
    interpreter.allocate_tensors()
    for name, value in inputs.items():
        interpreter.set_tensor(details[name]["index"], value)
    interpreter.invoke()
    shapes = sorted(tuple(detail["shape"]) for detail in interpreter.get_output_details())
    assert shapes == sorted(network.expected[name][0].shape for name in STEP_OUTPUTS)
