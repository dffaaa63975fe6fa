"""A training that is interrupted or killed: what is left, and how it goes on."""

import json
import pathlib
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ntm.training.run import load_run

pytestmark = pytest.mark.slow


Train = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., Any]


@pytest.fixture
def endless(fork_train: Start, quick: tuple[str, ...], tmp_path: pathlib.Path) -> Iterator[Any]:
    """A training in the folder ``run`` that has reported something, and goes on until it is stopped."""
    process = fork_train("--output", tmp_path / "run", *quick, "--max-batches", 1_000_000)
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "history.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    yield process
    if process.is_running:
        process.send_signal(signal.SIGKILL)
        process.end()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_training_leaves_a_checkpoint_that_loads(
    ntm_train: Train, endless: Any, number: signal.Signals, tmp_path: pathlib.Path
) -> None:
    folder = tmp_path / "run"
    time.sleep(0.2)
    endless.send_signal(number)
    done = endless.end()
    assert done.returncode == (-number if number == signal.SIGKILL else 128 + number)
    batches = load_run(folder).summary["batches"]
    told = f"ntm-train: interrupted; to go on: ntm-train --output {folder} --resume\n"
    assert done.stderr == ("" if number == signal.SIGKILL else told)
    reported = [json.loads(line)["batches"] for line in (folder / "history.jsonl").read_text().splitlines()]
    if number == signal.SIGKILL:
        assert batches > 0
    else:  # nothing is lost
        assert reported[-1] <= batches < reported[-1] + 25
    assert ntm_train("--output", folder, "--resume", "--max-batches", batches + 30).returncode == 1
    resumed = [json.loads(line)["batches"] for line in (folder / "history.jsonl").read_text().splitlines()]
    assert resumed == [*range(25, batches + 30, 25), batches + 30]


# The third batch of a training sends an interrupt, and then may sleep.
_INTERRUPT = """
import os, signal, time
from ntm.training.data import Data
def training(self, number, lesson, training=Data.training):
    if number == 2:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(pause)
    return training(self, number, lesson)
Data.training, pause = training, 0
"""


_SLEEP = "pause = 30"


@pytest.mark.parametrize("quiet", [False, True])
def test_the_command_that_an_interrupted_training_tells_goes_on_with_it(  # noqa: PLR0917
    ntm_train: Train,
    fork_train: Start,
    quick: tuple[str, ...],
    parity: pathlib.Path,
    quiet: bool,
    tmp_path: pathlib.Path,
) -> None:
    folder = tmp_path / "my run"
    options = ("--task", f"{parity}:Parity", *quick, *(["--quiet"] if quiet else []))
    done = fork_train("--output", folder, *options, before=_INTERRUPT).end()
    assert (done.returncode, done.stdout) == (130, "")
    if quiet:
        assert done.stderr == ""
        return
    told, _, command_line = done.stderr.rstrip("\n").partition("; to go on: ")
    assert told == "ntm-train: interrupted"
    name, *words = shlex.split(command_line)
    assert (name, words) == ("ntm-train", ["--output", str(folder), "--task", f"{parity}:Parity", "--resume"])
    done = ntm_train(*words)
    assert (done.returncode, done.stdout) == (1, "")
    assert load_run(folder).summary["batches"] == 60


def test_an_interrupt_that_a_training_is_slow_to_heed_tells_how_to_go_on(
    ntm_train: Train, fork_train: Start, quick: tuple[str, ...], tmp_path: pathlib.Path
) -> None:
    """After a second it is interrupted wherever it is, here in the next batch."""
    folder = tmp_path / "run"
    for options in ((), ("--force",)):
        done = fork_train("--output", folder, *quick, *options, before=_INTERRUPT + _SLEEP).end()
        assert (done.returncode, done.stdout) == (130, "")
        # Of a run that was to be replaced nobody can tell whether it has been.
        told = "" if options else f"ntm-train: interrupted; to go on: ntm-train --output {folder} --resume\n"
        assert done.stderr == told
    assert ntm_train("--output", folder, "--resume").returncode == 1


def test_a_run_has_one_writer_at_a_time(
    ntm_train: Train, endless: Any, quick: tuple[str, ...], tmp_path: pathlib.Path
) -> None:
    folder = tmp_path / "run"
    config = (folder / "config.json").read_bytes()
    for options in (("--resume",), ("--resume", "--max-batches", "70"), ("--force", *quick, "--seed", "1")):
        done = ntm_train("--output", folder, *options)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"ntm-train: error: {folder} is being trained by another process\n"
    assert endless.is_running
    endless.send_signal(signal.SIGKILL)
    endless.end()
    assert (folder / "config.json").read_bytes() == config
    batches = load_run(folder).summary["batches"]
    assert ntm_train("--output", folder, "--resume", "--max-batches", batches + 30).returncode == 1
    reported = [json.loads(line)["batches"] for line in (folder / "history.jsonl").read_text().splitlines()]
    assert reported == [*range(25, batches + 30, 25), batches + 30]
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint.npz", "config.json", "history.jsonl"]


def test_an_interrupt_before_the_first_batch_leaves_nothing(
    fork_train: Start, quick: tuple[str, ...], tmp_path: pathlib.Path
) -> None:
    before = """
import os, signal
from ntm.training.trainer import Trainer
def train(self):
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()  # as long as a signal waits
Trainer.train = train
"""
    done = fork_train("--output", tmp_path / "run", *quick, before=before).end()
    assert (done.returncode, done.stdout) == (143, "")
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
