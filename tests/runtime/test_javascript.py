"""A program in another language, written by the model card, gets the bits that the runtime gets."""

import json
import pathlib
import shutil
import subprocess

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import ntm
from ntm.runtime import onnx_file
from ntm.runtime.folder import DEFAULT, bundled, find

BUNDLED = find(DEFAULT)
FOLDER = pathlib.Path(__file__).parents[2] / "examples" / "javascript"
TEXT = b"a machine that remembers, asked by another than the one it was made for"


@pytest.fixture(scope="module", autouse=True)
def onnxruntime_for_node() -> None:
    """Skip where there is none; NODE_PATH may name the folder of modules that has it."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    found = subprocess.run(["node", "-e", "require('onnxruntime-node')"], cwd=FOLDER, check=False, capture_output=True)
    if found.returncode:
        pytest.skip("onnxruntime-node is not installed: npm install, in examples/javascript")


def copied_by_javascript(model: pathlib.Path, content: bytes, locations: int) -> bytes:
    command = ["node", str(FOLDER / "copy.cjs"), str(model), str(locations)]
    done = subprocess.run(command, input=content, check=False, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


def copied_by_the_runtime(model: pathlib.Path, content: bytes, locations: int) -> bytes:
    words = np.unpackbits(np.frombuffer(content, np.uint8)).reshape(1, -1, 8)
    return np.packbits(ntm.load(model, memory_locations=locations).copy(words)).tobytes()


def check(model: pathlib.Path) -> tuple[int, str]:
    """What the program says that checks the runtime with the known answer."""
    command = ["node", str(FOLDER / "check.cjs"), str(model)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.mark.parametrize("name", bundled())
def test_gives_the_known_answer(name: str) -> None:
    code, said = check(find(name))
    assert code == 0, said


def test_notices_another_answer(tmp_path: pathlib.Path) -> None:
    shutil.copy(BUNDLED / "step.onnx", tmp_path)
    answer = json.loads((BUNDLED / "known_answer.json").read_text(encoding="utf-8"))
    answer["steps"][-1]["outputs"]["next_reads"]["data"][-1] += 1e-3
    (tmp_path / "known_answer.json").write_text(json.dumps(answer), encoding="utf-8")
    assert check(tmp_path)[0] == 1


@pytest.mark.parametrize("length", [1, 20, len(TEXT)])
def test_copies(length: int) -> None:
    assert copied_by_javascript(BUNDLED, TEXT[:length], length + 2) == TEXT[:length]


def test_errs_as_the_runtime_errs(tmp_path: pathlib.Path) -> None:
    """So it is the network that copies: here one that turns a bit round."""
    damaged = tmp_path / "damaged"
    shutil.copytree(BUNDLED, damaged)
    for path in (damaged / "step.onnx", damaged / "unrolled.onnx"):
        model = onnx.load(path)
        constants = {tensor.name: tensor for tensor in model.graph.initializer}
        kernels = {"step.onnx": ["output/kernel"], "unrolled.onnx": ["output/hidden/kernel", "output/reads/kernel"]}
        for name in kernels[path.name]:
            values = numpy_helper.to_array(constants[name]).copy()
            values[:, 3] *= -1
            constants[name].CopyFrom(numpy_helper.from_array(values, name))
        path.write_bytes(onnx_file.sealed(model.SerializeToString()))
    expected = copied_by_the_runtime(damaged, TEXT, 100)
    assert expected != TEXT
    assert copied_by_javascript(damaged, TEXT, 100) == expected


def test_a_network_with_an_lstm_controller_carries_its_state(tmp_path: pathlib.Path) -> None:
    """It has learned nothing, and so it errs; but as the runtime does."""
    run = ntm.train("copy", tmp_path / "run", controller="lstm", max_batches=1, xla=False)
    with pytest.warns(UserWarning, match="not converged"):
        ntm.export(run, tmp_path / "model")
    expected = copied_by_the_runtime(tmp_path / "model", TEXT, 100)
    assert expected != TEXT
    assert copied_by_javascript(tmp_path / "model", TEXT, 100) == expected
