"""The publish gate: what ``ntm-export`` refuses to publish, and on which sequences it looks."""

import functools
import pathlib
import re
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import helper, numpy_helper

from ntm.export import (
    batched,
    compiler,
    onnx_format,
    parity,
    publish,
    savedmodel,
    sparse,
    tflite,
    unrolled,
)
from ntm.export.source import Source
from ntm.export.step import Sizes
from ntm.models import NTMCell
from ntm.runtime import native_library, onnx_file
from ntm.runtime.metadata import UNROLLED
from ntm.tasks import Copy, Task, find
from ntm.tasks.task import describe
from ntm.training.run import TrainedRun

pytestmark = pytest.mark.slow


def constant_of(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    (constant,) = (constant for constant in model.graph.initializer if constant.name == name)
    return constant


def patch(model: onnx.ModelProto, name: str, amount: float) -> None:
    """Change one number of one constant."""
    constant = constant_of(model, name)
    values = numpy_helper.to_array(constant).copy()
    values.flat[0] += amount
    constant.CopyFrom(numpy_helper.from_array(values, name))


@pytest.mark.usefixtures("short_gate")
@pytest.mark.parametrize(("constant", "amount"), [("heads/kernel", 0.1), ("output/bias", 1e-4), ("heads/bias", np.nan)])
def test_gate_refuses_a_conversion_that_is_off_by_one_number(  # noqa: PLR0917
    ntm_export: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    run: pathlib.Path,
    tmp_path: pathlib.Path,
    constant: str,
    amount: float,
) -> None:
    convert = onnx_format.convert

    def convert_wrongly(cell: NTMCell, sizes: Sizes | None) -> onnx.ModelProto:
        model = convert(cell, sizes)
        patch(model, constant, amount)
        return model

    monkeypatch.setattr(onnx_format, "convert", convert_wrongly)
    assert ntm_export(run, "--output", tmp_path / "out") == 1
    assert list(tmp_path.iterdir()) == []
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("ntm-export: error: not equal to TensorFlow: step.onnx (by up to ")
    assert printed.err.count("\n") == 1


def spoil_savedmodel(source: Source, folder: pathlib.Path) -> None:
    """Convert a network of which one number is off."""
    shutil.rmtree(folder / "savedmodel")
    bias = source.run.network.output.bias
    bias.assign_add([1e-4, 0, 0, 0, 0])
    savedmodel.write(source, folder)
    bias.assign_sub([1e-4, 0, 0, 0, 0])


def spoil_tflite(_: Source, folder: pathlib.Path) -> None:
    path = folder / "step.tflite"
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes())
    (kernel,) = (tensor for tensor in model.subgraphs[0].tensors if list(tensor.shape) == [5, 26])  # of the output
    values = np.frombuffer(bytes(model.buffers[kernel.buffer].data), np.float32).copy()
    values[0] += 0.01
    model.buffers[kernel.buffer].data = values.tobytes()
    path.write_bytes(tflite.packed(model))


def spoil_triton_graph(_: Source, folder: pathlib.Path) -> None:
    path = folder / "triton" / "step" / "1" / "model.onnx"
    model = onnx.load(path)
    patch(model, "heads/kernel", 0.1)
    path.write_bytes(onnx_file.sealed(model.SerializeToString()))


def spoil_triton_state(_: Source, folder: pathlib.Path) -> None:
    path = folder / "triton" / "step" / "initial_state" / "weights"
    weights = np.fromfile(path, np.float32)
    weights[1] = 1e-4
    weights.tofile(path)


def spoil_native(_: Source, folder: pathlib.Path) -> None:
    rebuild_native(folder, r"(of_output_bias\[\d+\] = \{\s*)[^,]+", "0.5f")


def spoil_native_state(_: Source, folder: pathlib.Path) -> None:
    rebuild_native(folder, r"(first_weights\[\] = \{\s*)1.0f", "1.1f")


def rebuild_native(folder: pathlib.Path, number: str, changed: str) -> None:
    """Compile the source with another number, the one behind the group of a regular expression."""
    source = folder / "native" / "ntm.c"
    text, count = re.subn(number, rf"\g<1>{changed}", source.read_text())
    assert count == 1
    source.write_text(text)
    library = source.with_name(native_library.shared_name())
    compiler.build_here(source, library)
    library.write_bytes(onnx_file.sealed(library.read_bytes()))


NATIVE = f"native/{native_library.shared_name()}"
needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="the format native needs a C compiler")


@pytest.mark.usefixtures("short_gate")
@pytest.mark.parametrize(
    ("format_", "graph", "spoil"),
    [
        ("savedmodel", "savedmodel step", spoil_savedmodel),
        ("tflite", "step.tflite", spoil_tflite),
        ("triton", "triton step", spoil_triton_graph),
        ("triton", "triton step", spoil_triton_state),
        pytest.param("native", NATIVE, spoil_native, marks=needs_compiler),
        pytest.param("native", NATIVE, spoil_native_state, marks=needs_compiler),
    ],
)
def test_gate_refuses_any_format_that_is_off_by_one_number(  # noqa: PLR0917
    ntm_export: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    run: pathlib.Path,
    tmp_path: pathlib.Path,
    format_: str,
    graph: str,
    spoil: Callable[[Source, pathlib.Path], None],
) -> None:
    write = publish.FORMATS[format_].write

    def write_wrongly(source: Source, folder: pathlib.Path) -> None:
        write(source, folder)
        monkeypatch.setattr(publish.FORMATS[format_], "write", write)
        spoil(source, folder)

    monkeypatch.setattr(publish.FORMATS[format_], "write", write_wrongly)
    assert ntm_export(run, "--format", format_, "--output", tmp_path / "out") == 1
    assert list(tmp_path.iterdir()) == []
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"ntm-export: error: not equal to TensorFlow: {graph} (by up to ")
    assert printed.err.count("\n") == 1


@pytest.mark.usefixtures("short_gate")
@pytest.mark.parametrize("steps", ["step_", "step_0/", "step_5/"])
@pytest.mark.parametrize(
    ("file", "module", "constant"),
    [
        ("unrolled.onnx", unrolled, "heads/addressing/kernel"),
        ("sparse.onnx", sparse, "heads_and_output/kernel"),
        ("batched.onnx", batched, "heads_and_output/kernel"),
    ],
)
def test_gate_compares_every_step_of_a_graph_of_several(  # noqa: PLR0917  (fixtures)
    monkeypatch: pytest.MonkeyPatch,
    run: pathlib.Path,
    run_without_content_addressing: pathlib.Path,
    tmp_path: pathlib.Path,
    file: str,
    module: Any,
    constant: str,
    steps: str,
) -> None:
    """Here some of them have another constant."""
    write = module.unroll

    def write_wrongly(cell: NTMCell, unroll_: int, opset: int) -> onnx.ModelProto:
        model = write(cell, unroll_, opset)
        right = numpy_helper.to_array(constant_of(model, constant))
        model.graph.initializer.append(numpy_helper.from_array(-right, "wrong"))
        for node in model.graph.node:
            if node.name.startswith(steps):
                node.input[:] = ["wrong" if tensor == constant else tensor for tensor in node.input]
        return model

    monkeypatch.setattr(module, "unroll", write_wrongly)
    network = run_without_content_addressing if module is sparse else run
    with pytest.raises(publish.DisagreementError, match=rf"^not equal to TensorFlow: {file} "):
        publish.publish(network, tmp_path / "out", ["onnx"], unroll=8)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("short_gate")
@pytest.mark.parametrize(
    ("file", "module", "constant"),
    [
        ("unrolled.onnx", unrolled, "lstm_0/others/kernel"),
        ("sparse.onnx", sparse, "lstm_0/kernel"),
        ("batched.onnx", batched, "lstm_0/kernel"),
    ],
)
def test_gate_compares_what_an_lstm_controller_carries(  # noqa: PLR0917
    make_cell: Callable[..., NTMCell],
    trained: Callable[..., TrainedRun],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: pathlib.Path,
    file: str,
    module: Any,
    constant: str,
) -> None:
    """Here the controller carries other numbers, of which the heads and the output see next to nothing."""
    task, write = Copy(bits=5), module.unroll
    cell = make_cell(task, controller="lstm", controller_sizes=(9,), content_addressing=module is not sparse)
    for layer, rows in ((cell.heads, slice(None)), (cell.output, slice(9))):
        kernel = layer.kernel.numpy().copy()
        kernel[rows] *= 1e-6
        layer.kernel.assign(kernel)

    def write_wrongly(cell: NTMCell, unroll_: int, opset: int) -> onnx.ModelProto:
        model = write(cell, unroll_, opset)
        patch(model, constant, 0.01)
        return model

    monkeypatch.setattr(module, "unroll", write_wrongly)
    with pytest.raises(publish.DisagreementError, match=rf"^not equal to TensorFlow: {file} .*, 0 bits differ"):
        publish.publish(trained(cell, task), tmp_path / "out", ["onnx"], unroll=8)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("short_gate")
def test_gate_refuses_a_graph_of_several_steps_of_which_the_state_alone_is_wrong(
    monkeypatch: pytest.MonkeyPatch, run: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """It erases otherwise, in every step, and y is right for the memory that it then has."""
    write = unrolled.unroll

    def write_wrongly(cell: NTMCell, unroll_: int, opset: int) -> onnx.ModelProto:
        model = write(cell, unroll_, opset)
        patch(model, "heads/erase_0/bias", 0.01)
        return model

    monkeypatch.setattr(unrolled, "unroll", write_wrongly)
    with pytest.raises(publish.DisagreementError, match=r"^not equal to TensorFlow: unrolled.onnx .*, 0 bits differ"):
        publish.publish(run, tmp_path / "out", ["onnx"], unroll=8)
    assert list(tmp_path.iterdir()) == []


# The sizes that each task is compared on if it was trained on its own: the smallest, the largest, and larger ones.
SIZES = {
    "copy": ["length=1", "length=20", "length=120"],
    "repeat-copy": ["length=1,repeats=1", "length=10,repeats=10", "length=20,repeats=10", "length=10,repeats=20"],
    "associative-recall": ["items=2", "items=6", "items=10", "items=15", "items=20"],
    "dynamic-ngrams": ["length=200"],
    "priority-sort": ["vectors=2", "vectors=20", "vectors=10", "vectors=30"],
}


@pytest.mark.parametrize("name", SIZES)
def test_the_largest_sizes_are_compared(name: str) -> None:
    task = find(name)
    assert [describe(size) for size in parity.sizes_to_compare(task, task.training_sizes)] == SIZES[name]


def test_the_largest_size_of_the_training_is_compared_however_large() -> None:
    sizes = parity.sizes_to_compare(Copy(), {"length": range(5, 701)})
    assert [size["length"] for size in sizes] == [5, 700, 20, 120]


def trajectories(run: TrainedRun, task: Task, unroll: int = 1) -> list[parity.Trajectory]:
    """What the gate shows to a graph of so many steps."""
    seen: list[parity.Trajectory] = []

    def look(trajectory: parity.Trajectory, agreement: parity.Agreement) -> None:
        seen.append(trajectory)
        agreement.steps += len(trajectory.x)

    metadata = Source(run, task, "seen").metadata(UNROLLED, unroll=unroll)
    found = parity.prove(run.network, task, task.training_sizes, [parity.Candidate("seen", metadata, look)])
    assert found["seen"].steps == sum(len(trajectory.x) for trajectory in seen)
    return seen


@pytest.mark.parametrize("name", ["repeat-copy", "associative-recall"])
def test_a_thousand_steps_of_sequences_of_the_task_are_compared(
    make_cell: Callable[..., NTMCell], trained: Callable[..., TrainedRun], name: str
) -> None:
    task, unroll = find(name), 17
    seen = trajectories(trained(make_cell(task, controller_sizes=(5,)), task), task, unroll)
    assert sum(len(trajectory.x) for trajectory in seen) >= 1000
    assert len({trajectory.x.tobytes() for trajectory in seen}) == len(seen)  # not the same sequences again
    sizes = parity.sizes_to_compare(task, task.training_sizes)
    assert len(seen) % len(sizes) == 0
    padded = False
    for trajectory, size in zip(seen, sizes * (len(seen) // len(sizes)), strict=True):
        steps, batch_size, _ = trajectory.x.shape
        length = task.steps(size)
        assert steps == max(length, unroll)
        padded |= steps > length
        assert trajectory.y.shape == (steps, batch_size, task.output_size)
        assert len(trajectory.states) == steps + 1
        np.testing.assert_array_equal(trajectory.x[:length], np.stack(trajectory.sequences, axis=1))
        assert not trajectory.x[length:].any()
        mask = task.batch(np.random.default_rng(1), batch_size, size).mask  # which here follows from the size
        np.testing.assert_array_equal(trajectory.counts[:length], mask > 0)
        assert not trajectory.counts[length:].any()
        assert trajectory.states[0]["memory"].shape[2] == task.memory_locations(size)
    assert padded


def test_tensorflow_computes_in_float64(make_cell: Callable[..., NTMCell], trained: Callable[..., TrainedRun]) -> None:
    """The output is a sum of three numbers, of which two are large and cancel each other: in float32 little is left."""
    task = Copy(bits=1)
    cell = make_cell(task, controller_sizes=(3,))
    hidden = cell.layers[0]
    for variable in (hidden.kernel, hidden.bias):
        values = variable.numpy()
        values[..., 2] = values[..., 0]
        variable.assign(values)
    kernel = np.zeros(cell.output.kernel.shape, np.float32)
    kernel[:3, 0] = [1e7, 1.0, -1e7]
    cell.output.kernel.assign(kernel)
    cell.output.bias.assign([0.0])
    for trajectory in trajectories(trained(cell, task), task):
        for x, y, state in zip(trajectory.x, trajectory.y, trajectory.states[:-1], strict=True):
            seen = np.concatenate([x, state["reads"].reshape(len(x), -1)], axis=1)
            left = np.tanh(hidden(seen))[:, 1:2]
            np.testing.assert_allclose(y, 1 / (1 + np.exp(-left)), rtol=0, atol=1e-6)


@pytest.mark.usefixtures("short_gate")
@pytest.mark.filterwarnings("ignore:the network has not converged")
@pytest.mark.parametrize("converged", [False, True, None])
def test_gate_says_that_a_network_has_diverged_and_in_which_tensor_it_shows(
    make_cell: Callable[..., NTMCell],
    trained: Callable[..., TrainedRun],
    converged: bool | None,
    tmp_path: pathlib.Path,
) -> None:
    task = Copy(bits=5)
    cell = make_cell(task)
    for variable in cell.trainable_variables:  # as a learning rate of 1 leaves them
        variable.assign(100 * variable)
    summary = {} if converged is None else {"converged": converged}
    said = (
        r"^the network has not converged and is numerically unstable, so that no export equals TensorFlow: "
        if converged is False
        else r"^not equal to TensorFlow: "
    )
    with pytest.raises(
        publish.DisagreementError, match=said + r"step.onnx \(by up to \S+ in [a-z_]+, \d+ bits"
    ) as error:
        publish.publish(trained(cell, task, summary), tmp_path / "out", ["onnx"], unroll=8)
    assert ("train it until it converges" in str(error.value)) is (converged is False)
    assert list(tmp_path.iterdir()) == []


LATE = 100  # no sequence of fewer steps moves a head to this location


def convert_wrongly_from_location(
    convert: Callable[[NTMCell, Sizes | None], onnx.ModelProto], cell: NTMCell, sizes: Sizes | None
) -> onnx.ModelProto:
    """A step of which y is 0.002 too large while both heads are beyond a location."""
    model = convert(cell, sizes)
    graph = model.graph
    for node in graph.node:
        node.output[:] = ["right" if tensor == "y" else tensor for tensor in node.output]
    constants = {"late": np.array([LATE]), "end": np.array([1 << 30]), "axis": np.array([2]), "axes": np.array([1, 2])}
    constants["amount"] = np.array(0.001, np.float32)
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    graph.node.extend(
        [
            helper.make_node("Slice", ["next_weights", "late", "end", "axis"], ["there"], "mutant/Slice"),
            helper.make_node("ReduceSum", ["there", "axes"], ["looked_at"], "mutant/ReduceSum", keepdims=0),
            helper.make_node("Mul", ["looked_at", "amount"], ["wrong"], "mutant/Mul"),
            helper.make_node("Unsqueeze", ["wrong", "one_axis"], ["column"], "mutant/Unsqueeze"),
            helper.make_node("Add", ["right", "column"], ["y"], "mutant/Add"),
        ]
    )
    graph.initializer.append(numpy_helper.from_array(np.array([1]), "one_axis"))
    return model


def test_gate_refuses_a_graph_that_is_wrong_only_late_in_the_longest_sequences(
    make_cell: Callable[..., NTMCell],
    trained: Callable[..., TrainedRun],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: pathlib.Path,
) -> None:
    task = Copy(bits=5)
    cell = make_cell(task, content_addressing=False)
    shift_forward(cell)
    monkeypatch.setattr(onnx_format, "convert", functools.partial(convert_wrongly_from_location, onnx_format.convert))
    with pytest.raises(publish.DisagreementError, match=r"^not equal to TensorFlow: step.onnx \(by up to 2.0e-03"):
        publish.publish(trained(cell, task), tmp_path / "out", ["onnx"], unroll=8)
    assert list(tmp_path.iterdir()) == []
    # It is right in all shorter sequences: compared on these alone, it would pass.
    monkeypatch.setattr(parity, "_MOST_STEPS", LATE - 1)
    publish.publish(trained(cell, task), tmp_path / "out", ["onnx"], unroll=8)
    assert (tmp_path / "out" / "step.onnx").is_file()


def shift_forward(cell: NTMCell) -> None:
    """Let every head move on by one location at each step."""
    each = cell.config.memory_vector_size + 3 + cell.config.shifts
    bias = cell.heads.bias.numpy().copy()
    bias[each * np.arange(1, cell.config.heads + 1) - 1] = 10.0
    cell.heads.bias.assign(bias)


@pytest.mark.parametrize(
    ("expected", "actual", "holds"),
    [
        ([0.5], [0.5 + 2e-5], False),
        ([0.3], [0.3 + 5e-6], True),
        ([0.5 - 1e-6], [0.5 + 1e-6], True),  # another bit, but so near to 0.5 that rounding decides
        ([0.5 - 1.2e-5], [0.5 + 1e-6], False),
        ([2.0], [2.0 + 5e-5], False),
        ([200.0], [200.0 + 5e-5], True),  # the next floats are 1.5e-5 apart
        ([0.3], [np.nan], False),
        ([0.3], [[0.3]], False),
    ],
)
def test_agreement_holds_only_within_the_tolerance(expected: list[float], actual: list[float], holds: bool) -> None:
    found = parity.Agreement()
    found.note_y(np.array([0.25]), np.array([0.25]))
    found.note_y(np.array(expected), np.array(actual))
    found.note_y(np.array([0.25]), np.array([0.25]))
    assert found.holds is holds


def test_a_difference_of_nan_is_reported() -> None:
    found = parity.Agreement()
    found.note("y", np.zeros(1), np.zeros(1))
    found.note("next_memory", np.zeros(1), np.array([np.nan]))
    assert "by up to nan in next_memory" in str(publish.DisagreementError({"step.onnx": found}))


@pytest.mark.parametrize(
    ("expected", "actual", "counts", "bits"),
    [
        ([0.6, 0.4], [0.4, 0.6], [True, True], 2),
        ([0.6, 0.4], [0.4, 0.6], [True, False], 1),  # not in the output phase
        ([0.6, 0.4], [0.7, 0.3], [True, True], 0),
        ([0.5 + 9e-6, 0.5 - 9e-6], [0.4, 0.6], [True, True], 0),  # TensorFlow's own y is a matter of rounding
        ([0.5 + 2e-5, 0.5 - 2e-5], [0.5 - 9e-6, 0.5 + 9e-6], [True, True], 2),
        ([0.6, 0.4], [np.nan, np.nan], [True, True], 1),  # NaN is not above 0.5
    ],
)
def test_bits_that_count_differ(expected: list[float], actual: list[float], counts: list[bool], bits: int) -> None:
    found = parity.Agreement(tolerance=None)
    found.note_y(np.array(expected), np.array(actual), np.array(counts))
    assert found.differing_bits == bits
    assert found.holds is (bits == 0)


@pytest.mark.parametrize(
    ("difference", "differing_bits", "advised"),
    [
        ({"y": 2e-5}, 0, True),
        ({"y": 0.0, "next_memory": 9e-4}, 0, True),
        ({"y": 2e-5}, 1, False),
        ({"y": 0.0, "next_memory": 2e-3}, 0, False),
        ({"y": 0.0, "next_memory": np.nan}, 0, False),
    ],
)
def test_another_training_is_advised_where_rounding_alone_is_magnified(
    difference: dict[str, float], differing_bits: int, advised: bool
) -> None:
    strayed = parity.Agreement(difference=difference, differing_bits=differing_bits)
    error = publish.DisagreementError({"right": parity.Agreement(), "step.onnx": strayed})
    assert str(error).startswith("not equal to TensorFlow: step.onnx (by up to ")
    assert ("--sharpness-penalty" in str(error)) is advised
