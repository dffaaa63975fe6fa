"""What cannot be loaded as a model: folders without one, damaged files, files of others, a missing onnxruntime."""

import pathlib
import shutil
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import onnx
import pytest

import ntm
from ntm.runtime import folder, onnx_file
from ntm.runtime.metadata import SCHEMA_VERSION


def test_an_empty_folder_goes_before_a_bundled_name(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pathlib.Path(folder.DEFAULT).mkdir()
    assert (
        refused(pathlib.Path(folder.DEFAULT))
        == f"cannot load the model {folder.DEFAULT}/step.onnx: no such file or directory"
    )


@pytest.mark.parametrize("name", ["", ".", "..", "copy-8bit/", "copy-8bit/..", "COPY-8BIT", "\0", "x" * 5000, "a\nb"])
def test_what_is_no_name(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert refused(name)


def refused(path: str | pathlib.Path) -> str:
    """The message of the error, which neither loading nor the first use may hide."""
    with pytest.raises(ntm.ModelError) as error:
        ntm.load(path).copy(np.zeros((1, 2, 8), np.uint8))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_there_is_no_model(tmp_path: pathlib.Path, tiny_model: pathlib.Path) -> None:
    nowhere = tmp_path / "nowhere"
    assert refused(nowhere) == f"there is no model folder {nowhere}; bundled models: {', '.join(folder.bundled())}"
    assert "is not a model folder" in refused(tiny_model / "step.onnx")
    assert refused(tmp_path) == f"cannot load the model {tmp_path / 'step.onnx'}: no such file or directory"
    (tmp_path / "step.onnx").mkdir()
    assert "is not a regular file" in refused(tmp_path)


@pytest.mark.parametrize("content", [b"", b"# A text file\n" * 100, b"\x7fELF" + bytes(100), bytes(100)])
@pytest.mark.parametrize("name", ["step.onnx", "unrolled.onnx", "sparse.onnx", "batched.onnx"])
def test_a_foreign_file(tiny_model: pathlib.Path, tmp_path: pathlib.Path, name: str, content: bytes) -> None:
    shutil.copytree(tiny_model, tmp_path / "model")
    (tmp_path / "model" / name).write_bytes(content)
    assert "ntm-export did not write it, or it is cut short" in refused(tmp_path / "model")


@pytest.mark.parametrize("name", ["step.onnx", "unrolled.onnx", "sparse.onnx", "batched.onnx"])
def test_a_flipped_bit(tiny_model: pathlib.Path, tmp_path: pathlib.Path, name: str) -> None:
    shutil.copytree(tiny_model, tmp_path / "model")
    content = bytearray((tiny_model / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "model" / name).write_bytes(content)
    assert "it is damaged: its checksum" in refused(tmp_path / "model")


def test_a_file_too_large(tiny_model: pathlib.Path, tmp_path: pathlib.Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "model")
    with open(tmp_path / "model" / "step.onnx", "wb") as file:
        file.truncate(1 << 40)
    assert "larger than" in refused(tmp_path / "model")


def test_a_model_of_others(edited_model: Callable[..., pathlib.Path]) -> None:
    def forget(model: onnx.ModelProto) -> None:
        del model.metadata_props[:]

    assert "no schema version" in refused(edited_model(change=forget))


def _forget_seal(model: onnx.ModelProto) -> None:
    """Forget the seal that the file was read with; it gets a new one."""
    seal = next(prop for prop in model.metadata_props if prop.key == "sha256")
    model.metadata_props.remove(seal)


def _cut_seal(model: pathlib.Path) -> None:
    for path in model.iterdir():
        path.write_bytes(path.read_bytes()[: -len(onnx_file.sealed(b""))])


@pytest.mark.parametrize("seal", [True, False])
@pytest.mark.parametrize(
    ("version", "advice"),
    [
        (str(int(SCHEMA_VERSION) - 1), "export it again: ntm-export RUN --output DIR --force"),
        ("", "export it again: ntm-export RUN --output DIR --force"),
        (str(int(SCHEMA_VERSION) + 1), "install a newer one"),
    ],
)
def test_a_model_of_another_schema(
    edited_model: Callable[..., pathlib.Path], version: str, advice: str, seal: bool
) -> None:
    """Early releases did not seal their files."""
    model = edited_model(props={"schema_version": version}, change=_forget_seal)
    if not seal:
        _cut_seal(model)
    message = f"it has schema version '{version}', and this release reads '{SCHEMA_VERSION}': {advice}"
    assert refused(model) == f"cannot load the model {model / 'step.onnx'}: {message}"


def test_a_file_whose_seal_is_cut_off(edited_model: Callable[..., pathlib.Path]) -> None:
    model = edited_model(change=_forget_seal)
    _cut_seal(model)
    assert "ntm-export did not write it, or it is cut short" in refused(model)


@pytest.mark.parametrize(
    ("props", "message"),
    [
        ({"schema_version": "1"}, "schema version '1'"),
        ({"unroll": "1"}, "its x must be float32 of shape [1, *, 9]"),
        ({"graph": "step", "unroll": "1"}, "its graph is 'step', not 'unrolled'"),
        ({"config": "{}"}, "input_size must be"),
    ],
)
def test_metadata_of_another_model(
    edited_model: Callable[..., pathlib.Path], props: dict[str, str], message: str
) -> None:
    assert message in refused(edited_model(props=props))


@pytest.mark.parametrize("name", ["step.onnx", "unrolled.onnx", "sparse.onnx", "batched.onnx"])
def test_files_of_two_models(tiny_model: pathlib.Path, edited_model: Callable[..., pathlib.Path], name: str) -> None:
    mixed = edited_model(props={"checkpoint_sha256": "1" * 64})
    shutil.copy(tiny_model / name, mixed)
    assert "not of the same model" in refused(mixed)


def _rename(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        node.output[:] = ["state" if name == "next_memory" else name for name in node.output]
    model.graph.output[1].name = "state"


def _shape(model: onnx.ModelProto) -> None:
    model.graph.input[1].type.tensor_type.shape.dim[1].dim_value = 5


def _fixed_batch(model: onnx.ModelProto) -> None:
    model.graph.input[1].type.tensor_type.shape.dim[0].dim_value = 4


def _element(model: onnx.ModelProto) -> None:
    model.graph.input[3].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE


def _operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "Teleport"


def _no_nodes(model: onnx.ModelProto) -> None:
    del model.graph.node[:]


def _opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 1_000


def _weights_elsewhere(model: onnx.ModelProto) -> None:
    """A file that makes onnxruntime read another one."""
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "kernel")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def _wrong_output(model: onnx.ModelProto) -> None:
    """The declared shapes are right, and what comes out is not."""
    dims = model.graph.output[3].type.tensor_type.shape.dim
    for dim in dims:
        dim.dim_param = "any"
    next(node for node in model.graph.node if node.output[0] == "next_reads").input[0] = "memory"


@pytest.mark.parametrize(
    "change",
    [_rename, _shape, _fixed_batch, _element, _operator, _no_nodes, _opset, _weights_elsewhere, _wrong_output],
)
def test_a_broken_graph(
    edited_model: Callable[..., pathlib.Path],
    change: Callable[[onnx.ModelProto], None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert "the model" in refused(edited_model(change=change))
    assert capfd.readouterr() == ("", "")  # onnxruntime has its own ideas of what to print


def _where_onnxruntime_is(replaced_by: str, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys, types; sys.modules['onnxruntime'] = {replaced_by}\n{program}"
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, check=False, text=True, timeout=60)


@pytest.mark.parametrize(
    ("replaced_by", "message"),
    [
        ("None", "cannot import onnxruntime (import of onnxruntime halted; None in sys.modules): pip install "),
        ("types.ModuleType('onnxruntime')", "onnxruntime is incomplete, as after two distributions of it "),
    ],
    ids=["missing", "removed in part"],
)
def test_onnxruntime_is_missing(tmp_path: pathlib.Path, replaced_by: str, message: str) -> None:
    program = """
import ntm
model = ntm.load()  # which needs none yet
try:
    model.copy([[[0] * 8]])
except ntm.ModelError as error:
    print(error)
"""
    done = _where_onnxruntime_is(replaced_by, program)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(message)
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(b"bytes")
    program = "from ntm import commands; commands.copy()"
    done = _where_onnxruntime_is(replaced_by, program, str(source), "-o", str(copy))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"ntm-copy: error: {message}")
    assert done.stderr.count("\n") == 1
    assert not copy.exists()


def test_any_distribution_with_the_module_will_do() -> None:
    """As where onnxruntime-gpu is installed, and a distribution of the name onnxruntime is not."""
    program = """
import importlib.metadata, sys
def distribution(name):
    raise importlib.metadata.PackageNotFoundError(name)
importlib.metadata.distribution = importlib.metadata.Distribution.from_name = distribution
import numpy as np
import ntm
words = np.random.default_rng(0).integers(0, 2, (1, 9, 8))
assert (ntm.load().copy(words) == words).all()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
