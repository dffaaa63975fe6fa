"""What a stranger does: train with default options, export, and use the result."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("default_settings")]

RANDOM = np.random.default_rng(7)
FILES = {
    "empty": b"",
    "one": b"\x80",
    "random": RANDOM.bytes(1 << 16),
    "zeros": bytes(1 << 14),
    "ones": b"\xff" * (1 << 14),
    "repeated": b"\x33" * (1 << 14),
    "counter": bytes(range(256)) * 64,
    "text": pathlib.Path(__file__).read_bytes(),
}


def run(command: str, *arguments: object) -> None:
    program = f"from ntm.commands import {command}; {command}()"
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stderr


def test_trains_exports_evaluates_runs_and_copies(tmp_path: pathlib.Path) -> None:
    model = tmp_path / "model"
    run("train", "--output", tmp_path / "run")
    run("export", "--format", "onnx", tmp_path / "run", "--output", model)
    run("evaluate", "--model", model)
    x = np.zeros((5, 41, 9))
    x[:, :20, :8], x[:, 20, 8] = RANDOM.integers(0, 2, (5, 20, 8)), 1
    np.save(tmp_path / "x.npy", x)
    run("run", tmp_path / "x.npy", "-o", tmp_path / "y.npy", "--bits", "--model", model)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy")[:, 21:], x[:, :20, :8])
    for name, content in FILES.items():
        source, target = tmp_path / name, tmp_path / f"{name}.copy"
        source.write_bytes(content)
        run("copy", source, "-o", target, "--model", model)
        assert target.read_bytes() == content
