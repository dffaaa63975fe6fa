"""``ntm-export --seal``: what a user changed on purpose loads again, and the card says that nothing proves it."""

import json
import pathlib
import shutil
from collections.abc import Callable

import onnx
import pytest
from onnx import helper, numpy_helper

import ntm
from ntm.errors import ModelError

pytestmark = pytest.mark.slow

Change = Callable[[onnx.ModelProto], object]


@pytest.fixture
def model(exported: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """An export that a user may change."""
    folder = tmp_path / "model"
    folder.mkdir()
    for path in (*exported.glob("*.onnx"), exported / "card.md"):
        shutil.copy(path, folder)
    return folder


def scale(graph: onnx.ModelProto) -> None:
    """Change a number, as a program of a user may."""
    (kernel,) = (constant for constant in graph.graph.initializer if constant.name == "output/kernel")
    kernel.CopyFrom(numpy_helper.from_array(1.5 * numpy_helper.to_array(kernel), kernel.name))


def change(path: pathlib.Path, how: Change = scale) -> bytes:
    loaded = onnx.load(path)
    how(loaded)
    onnx.save(loaded, path)
    return path.read_bytes()


def test_a_changed_graph_is_sealed_and_the_card_says_so(
    ntm_export: Callable[..., int], model: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    checksum = ntm.load(model).checksum
    changed = change(model / "step.onnx")
    with pytest.raises(ModelError, match="it is damaged"):
        ntm.load(model)
    assert ntm_export("--seal", model) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        "ntm-export: warning: sealed step.onnx; nothing proves any more that this equals TensorFlow: "
        f"ntm-export RUN --check {model} compares it\n"
    )
    assert ntm.load(model).checksum != checksum
    sealed = (model / "step.onnx").read_bytes()
    assert len(sealed) == len(changed) == len(before["step.onnx"])  # one seal, not two
    for name in before.keys() - {"step.onnx", "card.md"}:
        assert (model / name).read_bytes() == before[name]
    card = (model / "card.md").read_bytes()
    assert card.startswith(before["card.md"])
    assert b"`step.onnx`. Nothing proves any more that they equal" in card.removeprefix(before["card.md"])

    change(model / "batched.onnx", lambda graph: graph.graph.node[0].__setattr__("doc_string", "changed"))
    assert ntm_export("--seal", model, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"sealed": ["batched.onnx"]}
    twice = (model / "card.md").read_text(encoding="utf-8")
    assert twice.count("## Changed after the export") == 1
    assert "sealed again: `step.onnx`, `batched.onnx`." in twice
    assert ntm.load(model).metadata.model_name == "tiny-copy"


@pytest.mark.usefixtures("short_gate")
def test_the_gate_finds_what_was_changed(
    ntm_export: Callable[..., int], model: pathlib.Path, run: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(model / "step.onnx")
    assert ntm_export("--seal", model, "--quiet") == 0
    capsys.readouterr()
    assert ntm_export(run, "--check", model) == 1
    assert "not equal to TensorFlow: step.onnx (by up to " in capsys.readouterr().err


def test_nothing_is_written_where_nothing_was_changed(
    ntm_export: Callable[..., int], model: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.stat() for path in model.iterdir()}
    assert ntm_export("--seal", model) == 0
    assert capsys.readouterr().err == f"ntm-export: nothing to seal: no ONNX file in {model} was changed\n"
    assert ntm_export("--seal", model, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"sealed": []}
    assert {path.name: path.stat() for path in model.iterdir()} == before


def rename_output(graph: onnx.ModelProto) -> None:
    graph.graph.output[0].name = "z"


def forget_task(graph: onnx.ModelProto) -> None:
    helper.set_model_props(graph, {p.key: p.value for p in graph.metadata_props if p.key != "task"})


def of_another_model(graph: onnx.ModelProto) -> None:
    helper.set_model_props(graph, {p.key: p.value for p in graph.metadata_props} | {"model_name": "another"})


def use_unknown_operation(graph: onnx.ModelProto) -> None:
    graph.graph.node[0].op_type = "Unheard"


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (rename_output, "cannot load the model MODEL/step.onnx: its outputs must be y, "),
        (forget_task, "cannot load the model MODEL/step.onnx: it has no metadata 'task'"),
        (of_another_model, "step.onnx and unrolled.onnx in MODEL are not of the same model"),
        (use_unknown_operation, "cannot load the model MODEL/step.onnx: "),
    ],
)
def test_what_no_model_can_have_is_not_sealed(
    ntm_export: Callable[..., int],
    model: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    how: Change,
    message: str,
) -> None:
    change(model / "step.onnx", how)
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    assert ntm_export("--seal", model) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"ntm-export: error: {message.replace('MODEL', str(model))}")
    assert error.count("\n") == 1
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before


def test_a_folder_of_something_else_is_refused(
    ntm_export: Callable[..., int], tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "step.onnx").write_bytes(b"something else")
    for folder, message in (
        (tmp_path, f"cannot load the model {tmp_path}/step.onnx: it is not an ONNX file"),
        (tmp_path / "none", f"{tmp_path}/none is not a folder"),
        (tmp_path / "step.onnx", f"{tmp_path}/step.onnx is not a folder"),
    ):
        assert ntm_export("--seal", folder) == 2
        assert capsys.readouterr().err.startswith(f"ntm-export: error: {message}")
    assert (tmp_path / "step.onnx").read_bytes() == b"something else"
    assert [path.name for path in tmp_path.iterdir()] == ["step.onnx"]
