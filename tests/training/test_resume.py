"""A training that is killed and resumed ends as if it had not been killed."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from ntm.training import run

pytestmark = pytest.mark.slow

KILLS = 10
# A process that has imported TensorFlow, and done nothing else with it, starts one process after another: the import
# takes longer than all the rest. It reads run folders and what to train, and writes the number of the process and its
# exit code.
# Every fifth batch is reported, and followed by a checkpoint: kills hit between many of them, and amid them.
PROGRAM = """
import json, os, pathlib, sys
from ntm import console
console.import_tensorflow()
from ntm.tasks import find
from ntm.training import train as training
training._CHECKPOINT_SECONDS = 0.0
for line in sys.stdin:
    child = os.fork()
    if not child:
        folder, task, task_options, options = json.loads(line)
        folder = pathlib.Path(folder)
        training.train(find(task, task_options), folder, resume=folder.exists(), **options)
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
# Small networks that learn at once, so that a few hundred batches see restarts, checks and a falling learning rate.
OPTIONS: dict[str, Any] = {
    "controller_sizes": [8],
    "memory_vector_size": 4,
    "train_locations": [16],
    "batch_size": 4,
    "learning_rate": 0.01,
    "content_learning_rate": 0.01,
    "begun_loss": 0.0,
    "learned_loss": 0.6,
    "halving_batches": 100,
    "annealing_batches": 50,
    "max_batches": 275,
    "report_batches": 5,
    "xla": False,
}
RUNS = {
    "copy": ({"bits": 1}, {"sizes": {"length": [1, 2]}, "clean_sequences": 20, "restart_batches": 20}),
    "associative-recall": (
        {"bits": 3, "vectors": 1},
        {"sizes": {"items": [2, 2]}, "clean_sequences": 4, "restart_batches": 50, "setback": 1.0},
    ),
}


class Starter:
    """The process that starts trainings."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def start(self, folder: pathlib.Path, task: str) -> int:
        """Begin, or resume, a training on a task; returns the number of its process."""
        task_options, options = RUNS[task]
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([str(folder), task, task_options, OPTIONS | options]) + "\n")
        self._process.stdin.flush()
        return self._read()

    def exit_code(self) -> int:
        """Wait for the end of the training."""
        return self._read()

    def _read(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


@pytest.fixture(scope="module")
def starter() -> Iterator[Starter]:
    program = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Starter(process)
        assert process.stdin is not None
        process.stdin.close()


def history(folder: pathlib.Path) -> list[dict[str, Any]]:
    """What has been reported, but for the time; a line that is being written is left out."""
    path = folder / "history.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) | {"seconds": 0} for line in lines if line.endswith("\n")]


def wait_for(folder: pathlib.Path, batches: int) -> None:
    """Wait until a training has reported so many batches."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        reported = history(folder)
        if reported and reported[-1]["batches"] >= batches:
            return
        time.sleep(0.002)
    pytest.fail(f"no {batches} batches in two minutes")


@pytest.mark.parametrize("task", RUNS)
def test_a_run_that_is_killed_ten_times_ends_with_the_same_bytes(
    starter: Starter, task: str, tmp_path: pathlib.Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    starter.start(whole, task)
    assert starter.exit_code() == 0
    expected = history(whole)

    random = np.random.default_rng(sum(map(ord, task)))
    moments = np.sort(random.choice(np.arange(1, expected[-1]["batches"] // 10 - 3), KILLS, replace=False))
    for moment in moments.tolist():
        number = starter.start(killed, task)
        wait_for(killed, 10 * moment)
        time.sleep(random.uniform(0.0, 0.05))
        os.kill(number, signal.SIGKILL)
        assert starter.exit_code() == -signal.SIGKILL
    starter.start(killed, task)
    assert starter.exit_code() == 0

    arrays = [dict(np.load(folder / "checkpoint.npz")) for folder in (whole, killed)]
    assert arrays[0].keys() == arrays[1].keys()
    states = [name for name in arrays[0] if name != "summary"]
    assert {name.partition("/")[0] for name in states} == {"model", "state"}
    for name in states:
        one, other = (array[name] for array in arrays)
        assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes()), name
    assert history(killed) == expected
    summaries = [run.load_run(folder).summary for folder in (whole, killed)]
    times = {"seconds": 0, "seconds_to_converge": 0}
    assert summaries[0] | times == summaries[1] | times
    assert expected[-1]["restarts"] > 0  # or the run would prove little
    assert min(line["learning_rate"] for line in expected) < 0.01
    assert summaries[0]["progress"]["checks"] > 2
