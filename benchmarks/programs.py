"""The commands as the benchmarks call them, each a process of its own."""

import pathlib
import subprocess
import sys
import time
from collections.abc import Sequence

from ntm import console


def train(run: pathlib.Path, seed: int, options: Sequence[str] = ()) -> None:
    """Train with ``ntm-train``, unless the run folder is there.

    Raises:
        SystemExit: there was trouble.
    """
    if run.exists():
        return
    run.parent.mkdir(parents=True, exist_ok=True)
    command = ["ntm-train", "--seed", str(seed), "--output", str(run), "--quiet", *options]
    if _exit_code(command) not in (console.OK, console.WRONG):
        raise SystemExit(f"{run}: not trained")


def resume(run: pathlib.Path, max_batches: int) -> None:
    """Go on with a run until this many batches.

    Raises:
        SystemExit: there was trouble.
    """
    command = ["ntm-train", "--resume", "--output", str(run), "--max-batches", str(max_batches), "--quiet"]
    if _exit_code(command) not in (console.OK, console.WRONG):
        raise SystemExit(f"{run}: not resumed")


def export(run: pathlib.Path, model: pathlib.Path) -> bool:
    """Export with ``ntm-export --format onnx``; returns whether the model was published."""
    model.parent.mkdir(parents=True, exist_ok=True)
    return _exit_code(["ntm-export", "--format", "onnx", str(run), "--output", str(model), "--quiet"]) == console.OK


def seconds_to_import() -> float:
    """What ``import tensorflow`` takes in a new process: the unit of time of the benchmarks."""
    start = time.monotonic()
    subprocess.run([sys.executable, "-c", "import tensorflow"], check=True, capture_output=True)
    return time.monotonic() - start


def _exit_code(command: list[str]) -> int:
    program = pathlib.Path(sys.executable).with_name(command[0])
    return subprocess.run([program, *command[1:]], check=False).returncode
