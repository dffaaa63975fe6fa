"""Steps of fixed sizes: the files, their shapes and their order, that the gate proves them, and what is refused."""

import json
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from onnx import numpy_helper

import ntm
from ntm.errors import ExportError
from ntm.export import onnx_format, parity, publish
from ntm.export.options import parse_sizes
from ntm.export.step import Sizes, inputs, outputs
from ntm.models import Network, NTMCell
from ntm.runtime import onnx_file
from ntm.tasks import Copy
from ntm.training.run import TrainedRun, load_run

pytestmark = pytest.mark.slow

FORMATS = ("onnx", "savedmodel", "tflite")
NAMES = ("x", "memory", "weights", "reads"), ("y", "next_memory", "next_weights", "next_reads", "adds")
SIZES = Sizes(2, 24)


@pytest.fixture(scope="module")
def fixed(run: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """An export with a step of B = 2 and N = 24."""
    folder = tmp_path_factory.mktemp("exports") / "tiny"
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(parity, "LEAST_STEPS", 1)
        monkeypatch.setattr(parity, "_MOST_STEPS", 50)
        monkeypatch.setattr(parity, "count_wrong_bits", lambda *_: {})
        found = publish.publish(run, folder, FORMATS, unroll=2, fixed=[(2, 24), [2, 24]])
    compared = {name for name in found if name.startswith("fixed/2x24/")}
    graphs = {"step.onnx", "savedmodel", "step.tflite", "step_dynamic_range.tflite"}
    assert compared == {f"fixed/2x24/{graph}" for graph in graphs}
    for name in compared - {"fixed/2x24/step_dynamic_range.tflite"}:
        assert found[name].tolerance == parity.TOLERANCE
        assert set(found[name].difference) == set(NAMES[1])
    return folder


def test_a_folder_holds_the_files_of_a_step(fixed: pathlib.Path) -> None:
    assert [path.name for path in (fixed / "fixed").iterdir()] == ["2x24"]
    assert sorted(path.name for path in (fixed / "fixed" / "2x24").iterdir()) == [
        "known_answer.json",
        "savedmodel",
        "step.onnx",
        "step.tflite",
        "step_dynamic_range.tflite",
    ]
    card = " ".join((fixed / "card.md").read_text(encoding="utf-8").split())
    assert "`fixed/2x24` is of B = 2 and N = 24 (`known_answer.json`, `savedmodel`, `step.onnx`, `step.tflite`" in card
    assert ntm.load(fixed).step(np.zeros((3, 6)), ntm.load(fixed).initial_state(3, 7))[0].shape == (3, 5)


def test_every_size_is_fixed_and_the_order_is_that_of_the_card(fixed: pathlib.Path, run: pathlib.Path) -> None:
    config = load_run(run).network.config
    graph = onnx.load(fixed / "fixed" / "2x24" / "step.onnx").graph
    interpreter = Interpreter(str(fixed / "fixed" / "2x24" / "step.tflite"))
    interpreter.allocate_tensors()
    details = interpreter.get_input_details(), interpreter.get_output_details()
    for i, shapes in enumerate((inputs(config, SIZES), outputs(config, SIZES))):
        values = (graph.input, graph.output)[i]
        assert [value.name for value in values] == list(shapes) == list(NAMES[i])
        found = [tuple(size.dim_value for size in value.type.tensor_type.shape.dim) for value in values]
        assert found == list(shapes.values())
        assert [detail["name"] for detail in details[i]] == list(shapes)
        assert [tuple(detail["shape_signature"]) for detail in details[i]] == list(shapes.values())
    loaded = tf.saved_model.load(str(fixed / "fixed" / "2x24" / "savedmodel" / "1"))
    assert list(loaded.signatures) == ["serving_default"]
    signature = loaded.signatures["serving_default"]
    assert {name: tuple(y.shape) for name, y in signature.structured_outputs.items()} == outputs(config, SIZES)


def test_the_known_answer_of_these_sizes_is_that_of_the_graph(fixed: pathlib.Path) -> None:
    step = onnx_format.session((fixed / "fixed" / "2x24" / "step.onnx").read_bytes())
    said = json.loads((fixed / "fixed" / "2x24" / "known_answer.json").read_text(encoding="utf-8"))
    assert len(said["steps"]) == 4
    for one in said["steps"]:
        given, expected = (
            {name: np.reshape(np.float32(t["data"]), t["shape"]) for name, t in one[key].items()}
            for key in ("inputs", "outputs")
        )
        found = step(given)
        for name, y in expected.items():
            np.testing.assert_allclose(found[name], y, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("short_gate")
def test_the_gate_proves_them_again(fixed: pathlib.Path, run: pathlib.Path, tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "fixed" / "2x24").mkdir(parents=True)
    path = folder / "fixed" / "2x24" / "step.onnx"
    shutil.copy(fixed / "fixed" / "2x24" / "step.onnx", path)
    assert list(publish.verify(run, folder)) == ["fixed/2x24/step.onnx"]
    model = onnx.load(path)
    (kernel,) = (constant for constant in model.graph.initializer if constant.name == "output/kernel")
    kernel.CopyFrom(numpy_helper.from_array(1.01 * numpy_helper.to_array(kernel), kernel.name))
    content = model.SerializeToString()
    path.write_bytes(onnx_file.sealed(content))
    with pytest.raises(publish.DisagreementError, match=r"fixed/2x24/step\.onnx \(by up to .* in y"):
        publish.verify(run, folder)
    path.write_bytes(content)
    with pytest.raises(ExportError, match="it is damaged: its checksum is not the one it was written with"):
        publish.verify(run, folder)
    shutil.copy(fixed / "fixed" / "2x24" / "step.onnx", path)
    path.parent.rename(folder / "fixed" / "2x25")
    with pytest.raises(ExportError, match=r"its memory must be float32 of shape \[2, 6, 25\]"):
        publish.verify(run, folder)


@pytest.mark.usefixtures("short_gate")
def test_a_network_without_a_memory_has_b_alone(
    make_network: Callable[..., Network], trained: Callable[..., TrainedRun], tmp_path: pathlib.Path
) -> None:
    task = Copy(bits=3)
    network = make_network(task, model="lstm")
    assert "fixed/3/step.onnx" in publish.publish(trained(network, task), tmp_path / "out", fixed=[(3,)])
    graph = onnx.load(tmp_path / "out" / "fixed" / "3" / "step.onnx").graph
    assert [size.dim_value for size in graph.input[0].type.tensor_type.shape.dim] == [3, 4]
    with pytest.raises(ExportError, match=r"^fixed sizes are B, since this network has no memory locations; not 3,7$"):
        publish.publish(trained(network, task), tmp_path / "refused", fixed=[(3, 7)])
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("fixed", "message"),
    [
        ([(1,)], "fixed sizes are B,N, since this network has memory locations; not 1"),
        ([(1, 2, 3)], "fixed sizes are B,N, since this network has memory locations; not 1,2,3"),
        ([(0, 8)], "fixed sizes must be whole numbers from 1, not 0,8"),
        ([(1, 8.5)], "fixed sizes must be whole numbers from 1, not 1,8.5"),
        ([(1, "8")], "fixed sizes must be whole numbers from 1, not 1,8"),
        ([(1, 1)], "this network needs at least 2 memory locations, not 1"),
        ([(1, 8), (2, 16385)], "fixed sizes may have 32,768 locations in all sequences together, not 2,16385"),
        (
            [(10**99, 2)],
            f"fixed sizes may have 32,768 locations in all sequences together, not {10**99},2",
        ),
    ],
)
def test_sizes_that_cannot_be_are_refused(
    make_cell: Callable[..., NTMCell],
    trained: Callable[..., TrainedRun],
    tmp_path: pathlib.Path,
    fixed: Any,
    message: str,
) -> None:
    task = Copy(bits=3)
    with pytest.raises(ExportError) as refused:
        publish.publish(trained(make_cell(task), task), tmp_path / "out", fixed=fixed)
    assert str(refused.value) == message
    assert list(tmp_path.iterdir()) == []


def test_a_format_without_fixed_sizes_alone_is_refused(run: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with pytest.raises(ExportError, match=r"^fixed sizes are for the formats onnx, savedmodel, tflite$"):
        publish.publish(run, tmp_path / "out", ["triton"], fixed=[(1, 8)])
    assert list(tmp_path.iterdir()) == []


def test_sizes_on_the_command_line() -> None:
    assert parse_sizes("1,128") == (1, 128)
    assert parse_sizes("8") == (8,)
    for text in ("", ",", "1,", "1 ,2", "-1,2", "1.0,2", "1,128,x", "٣,4", "9" * 5000):
        with pytest.raises(ExportError, match=r"^--fixed takes whole numbers B,N, such as 1,128, not "):
            parse_sizes(text)


def test_a_quantised_graph_of_fixed_sizes_is_tested_on_what_fits(make_cell: Callable[..., NTMCell]) -> None:
    """Eight sequences, one after the other where B is 1; and no size that N is too small for."""
    task = Copy(bits=3)
    seen: list[tuple[int, ...]] = []

    def zeros(given: parity.Tensors) -> parity.Tensors:
        seen.append(given["memory"].shape)
        return {"y": np.zeros([1, 3]), **{f"next_{name}": given[name] for name in ("memory", "weights", "reads")}}

    sizes = [{"length": length} for length in (1, 5, 50)]
    found = parity.count_wrong_bits(make_cell(task), task, zeros, sizes, Sizes(1, 7))
    assert list(found) == ["length=1", "length=5"]
    assert set(seen) == {(1, 6, 7)}
    assert len(seen) == 8 * (3 + 11)
