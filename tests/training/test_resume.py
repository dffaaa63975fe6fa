"""A training that is killed and resumed ends as if it had not been killed."""

import json
import pathlib
import signal
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ntm.training import run

pytestmark = pytest.mark.slow

KILLS = 10
# Every fifth batch is reported, and followed by a checkpoint: kills hit between many of them, and amid them.
PROGRAM = """
import pathlib
from ntm.tasks import find
from ntm.training import train as training
training._CHECKPOINT_SECONDS = 0.0
folder, task, task_options, options = {}
folder = pathlib.Path(folder)
training.train(find(task, task_options), folder, resume=folder.exists(), **options)
"""
# Small networks that learn at once, so that a few hundred batches see restarts, checks and a falling learning rate.
OPTIONS: dict[str, Any] = {
    "controller_sizes": [8],
    "memory_vector_size": 4,
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
    "copy": (
        {"bits": 1},
        {"sizes": {"length": [1, 2]}, "clean_sequences": 20, "restart_batches": 20, "train_locations": [16]},
    ),
    "associative-recall": (
        {"bits": 3, "vectors": 1},
        {"sizes": {"items": [2, 2]}, "clean_sequences": 4, "restart_batches": 50, "setback": 1.0},
    ),
}


def begin(fork: Callable[[str], Any], folder: pathlib.Path, task: str) -> Any:
    """Begin, or resume, a training on a task in a process of its own."""
    task_options, options = RUNS[task]
    return fork(PROGRAM.format((str(folder), task, task_options, OPTIONS | options)))


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
        time.sleep(0.01)
    pytest.fail(f"no {batches} batches in two minutes")


@pytest.mark.parametrize("task", RUNS)
def test_a_run_that_is_killed_ten_times_ends_with_the_same_bytes(
    fork: Callable[[str], Any], task: str, tmp_path: pathlib.Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert begin(fork, whole, task).end().returncode == 0
    expected = history(whole)

    random = np.random.default_rng(sum(map(ord, task)))
    moments = np.sort(random.choice(np.arange(1, expected[-1]["batches"] // 10 - 3), KILLS, replace=False))
    for moment in moments.tolist():
        process = begin(fork, killed, task)
        wait_for(killed, 10 * moment)
        time.sleep(random.uniform(0.0, 0.05))
        process.send_signal(signal.SIGKILL)
        assert process.end().returncode == -signal.SIGKILL
    assert begin(fork, killed, task).end().returncode == 0

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
