"""The examples of a native library work as they stand, in the languages whose compilers are there."""

import pathlib
import shutil
import subprocess

import numpy as np
import pytest

from ntm.export import native
from ntm.export.source import Source
from ntm.models import NTMCell, NTMConfig
from ntm.runtime.folder import DEFAULT, read
from ntm.tasks import Copy
from ntm.training.config import TrainingConfig
from ntm.training.run import RunConfig, TrainedRun

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
TEXTS = ["a text", "", "Grüße", "x" * 126]


@pytest.fixture(scope="module")
def model(bundled_variables: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The bundled network as a native library of N = 128."""
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    cell = NTMCell(NTMConfig(**read(DEFAULT).metadata.config))
    for variable in cell.trainable_variables:
        variable.assign(bundled_variables[variable.name.removesuffix(":0")])
    task = Copy()
    config = RunConfig(task.name, task.options, cell.config, TrainingConfig(sizes={"length": (1, 20)}))
    folder = tmp_path_factory.mktemp("models") / "model"
    folder.mkdir()
    native.write(Source(TrainedRun(cell, config, {}, "0" * 64), task, DEFAULT), folder)
    return folder


_C = "cc -O2 -Wall -Wextra -Werror -I model/native {}/native_copy.c"
COMMANDS = {
    "C": f"{_C} model/native/libntm.a -lm -o native_copy",
    "C, with the shared library": f"{_C} -L model/native -Wl,-rpath,model/native -lntm -o native_copy",
    "C, with the source": f"{_C} -fopenmp-simd model/native/ntm.c -lm -o native_copy",
    "Rust": "rustc -O -D warnings -L native=model/native {}/native_copy.rs -o native_copy",
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=list(COMMANDS))
def test_a_program_copies(model: pathlib.Path, tmp_path: pathlib.Path, command: str) -> None:
    compiler, *arguments = command.format(EXAMPLES).split()
    if shutil.which(compiler) is None:
        pytest.skip(f"there is no {compiler}")
    (tmp_path / "model").symlink_to(model)
    made = subprocess.run([compiler, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    program = tmp_path / "native_copy"
    done = subprocess.run([program, *TEXTS], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0
    assert done.stdout.decode().splitlines() == TEXTS
    long = subprocess.run([program, "x" * 127], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (long.returncode, long.stderr) == (2, "native_copy: the memory holds 126 bytes, not 127\n")


@pytest.mark.parametrize(
    ("file", "compiled"), [("native_copy.c", "cc -O2 -I model/native"), ("native_copy.rs", "rustc")]
)
def test_an_example_says_how_it_is_compiled(file: str, compiled: str) -> None:
    text = (EXAMPLES / file).read_text(encoding="utf-8")
    assert "ntm-export --format native RUN --output model" in text
    assert f" {compiled}" in text
