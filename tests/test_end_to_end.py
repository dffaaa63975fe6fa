"""What a stranger does: train with default options, export, and copy files with the result."""

import pathlib
import subprocess
import sys

import numpy as np

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


def test_trains_exports_and_copies(tmp_path: pathlib.Path) -> None:
    run("train", "--output", tmp_path / "run")
    run("export", "--format", "onnx", tmp_path / "run", "--output", tmp_path / "model")
    for name, content in FILES.items():
        source, target = tmp_path / name, tmp_path / f"{name}.copy"
        source.write_bytes(content)
        run("copy", source, "-o", target, "--model", tmp_path / "model")
        assert target.read_bytes() == content
