"""``ntm-train`` as a user meets it."""

import dataclasses
import fcntl
import inspect
import json
import os
import pathlib
import pty
import re
import struct
import subprocess
import termios
import time
from collections.abc import Callable

import pytest

from ntm.tasks import BUILT_IN
from ntm.training import command
from ntm.training.run import load_run

pytestmark = pytest.mark.slow


Train = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., list[str]]


def test_a_memory_that_is_too_small_is_said_before_the_training(
    ntm_train: Train, quick: tuple[str, ...], tmp_path: pathlib.Path
) -> None:
    done = ntm_train("--output", tmp_path / "run", *quick, "--memory-locations", "3", "--max-batches", "1")
    assert done.returncode == 1
    first, *_ = done.stderr.splitlines()
    assert first.startswith("ntm-train: warning: 3 memory locations are fewer than the 5 that length=3 needs")


def test_a_run_holds_its_options_its_history_and_a_checkpoint_that_loads(run: pathlib.Path) -> None:
    config = json.loads((run / "config.json").read_text())
    assert config["task"] == {"name": "copy", "options": {"bits": 8, "pattern": "random"}}
    assert config["training"]["sizes"] == {"length": [1, 3]}
    assert config["training"]["turn_content_off"] is True  # by the recipe of copy
    assert config["network"]["controller_sizes"] == [8]
    assert config["network"]["memory_locations"] == 5
    history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert [line["sequences"] for line in history] == [200, 400, 480]
    trained = load_run(run)
    assert trained.summary["converged"] is False
    assert trained.summary["batches"] == 60


def test_every_option_reaches_the_run(ntm_train: Train, tmp_path: pathlib.Path) -> None:
    network = {
        "memory_locations": 6,
        "memory_vector_size": 4,
        "shifts": 5,
        "controller": "lstm",
        "controller_sizes": [7, 8],
        "read_heads": 2,
        "write_heads": 3,
        "initial_memory": "random",
        "initial_weights": "uniform",
        "initial_reads": "learned",
    }
    training = {
        "seed": 5,
        "batch_size": 6,
        "max_batches": 1,
        "learning_rate": 0.01,
        "addressing": ["content", "location"],
        "annealing_batches": 9,
        "annealing_learning_rate": 0.02,
        "goal": 0.5,
        "sharpness_penalty": 0.25,
        "optimizer": "rmsprop",
        "momentum": 0.8,
        "clip_norm": 2.0,
        "clip_element": 3.0,
        "report_batches": 7,
        "keep_checkpoints": 2,
        "checkpoint_batches": 11,
    }
    options = [
        word
        for name, value in (network | training).items()
        for word in (f"--{name.replace('_', '-')}", ",".join(map(str, value)) if isinstance(value, list) else value)
    ]
    options += ["--turn-content-off", "--no-xla", "--no-early-stopping"]
    task = ("--task", "repeat-copy", "--option", "bits=3", "--size", "length=1-2", "--size", "repeats=2")
    done = ntm_train("--output", tmp_path / "run", *task, *options)
    assert done.returncode in (0, 1), done.stderr
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["task"] == {"name": "repeat-copy", "options": {"bits": 3, "pattern": "random", "count": "number"}}
    own = {"input_size": 5, "output_size": 4}
    assert config["network"] == {"model": "ntm"} | network | own
    given = training | {"sizes": {"length": [1, 2], "repeats": [2, 2]}, "turn_content_off": True, "xla": False}
    given["early_stopping"] = False
    assert config["training"].items() >= (given | {"content_learning_rate": 0.01}).items()
    others = {"output", "task", "option", "size", "resume", "force", "as_json", "quiet", "version"}
    others |= {"curriculum", "config", "initial", "log_dir", "device", "distribute"}
    assert set(inspect.signature(command.train).parameters) == others | {*network, *training} | {
        "model",
        "layer_sizes",
        "turn_content_off",
        "early_stopping",
        "xla",
    }


def test_the_baseline_has_options_of_its_own(ntm_train: Train, tmp_path: pathlib.Path) -> None:
    options = ("--model", "lstm", "--layer-sizes", "7,6", "--max-batches", "1")
    done = ntm_train("--output", tmp_path / "run", *options, "--json")
    assert done.returncode == 1, done.stderr
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["network"] == {"model": "lstm", "input_size": 9, "output_size": 8, "layer_sizes": [7, 6]}
    assert json.loads(done.stdout)["parameters"] == (9 + 7 + 1) * 28 + (7 + 6 + 1) * 24 + 7 * 8
    done = ntm_train("--output", tmp_path / "other", *options, "--read-heads", "2")
    assert (done.returncode, done.stderr) == (
        2,
        "ntm-train: error: there is no option read_heads of the model lstm\n",
    )


def test_the_tasks_are_listed(ntm_train: Train) -> None:
    done = ntm_train("--task", "help")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [*BUILT_IN, "FILE.py:CLASS"]
    assert "section 4.3 of the paper" in lines[2]


def test_the_result_is_printed_as_json(ntm_train: Train, run: pathlib.Path) -> None:
    done = ntm_train("--output", run, "--resume", "--json")
    assert (done.returncode, done.stderr) == (1, "")
    summary = load_run(run).summary
    assert json.loads(done.stdout) == summary
    assert (summary["converged"], summary["batches"], summary["sequences"]) == (False, 60, 480)


def test_a_task_of_the_users_own_is_trained_and_resumed(
    ntm_train: Train, parity: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    folder = tmp_path / "run"
    options = ("--size", "length=1-3", "--batch-size", "16", "--controller-sizes", "8", "--no-xla")
    task = ("--task", f"{parity}:Parity")
    done = ntm_train("--output", folder, *task, "--option", "channels=2", *options, "--max-batches", 30)
    assert done.returncode == 1
    assert done.stderr.startswith("ntm-train: not converged after 480 sequences")
    config = json.loads((folder / "config.json").read_text())
    assert config["task"] == {"name": "Parity", "options": {"channels": 2}}
    assert (config["network"]["input_size"], config["network"]["output_size"]) == (3, 1)
    assert config["network"]["memory_locations"] == 4  # one for each step

    before = (folder / "checkpoint.npz").read_bytes()
    done = ntm_train("--output", folder, "--resume", "--max-batches", 31)
    assert (done.returncode, done.stdout) == (2, "")
    message = f"cannot resume {folder}: its task Parity is not built in: give --task FILE.py:Parity"
    assert done.stderr == f"ntm-train: error: {message}\n"
    assert (folder / "checkpoint.npz").read_bytes() == before

    done = ntm_train("--output", folder, "--resume", *task, "--max-batches", 31)
    assert done.returncode == 1
    assert done.stderr.startswith("ntm-train: not converged after 496 sequences")
    assert load_run(folder).summary["batches"] == 31


def test_an_interrupted_run_resumes_as_if_it_had_not_been(
    ntm_train: Train, quick: tuple[str, ...], run: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    half = tmp_path / "half"
    ntm_train("--output", half, *quick, "--max-batches", 25)
    assert ntm_train("--output", half, "--resume", "--max-batches", 60).returncode == 1
    assert [json.loads(line)["batches"] for line in (half / "history.jsonl").read_text().splitlines()] == [25, 50, 60]
    assert json.loads((half / "config.json").read_text()) == json.loads((run / "config.json").read_text())
    for resumed, whole in zip(
        load_run(half).network.trainable_variables, load_run(run).network.trainable_variables, strict=True
    ):
        assert resumed.numpy().tobytes() == whole.numpy().tobytes()


@pytest.mark.parametrize("limit", [(), ("--max-batches", "59")])
def test_a_run_that_has_reached_its_limit_is_not_trained_on(
    ntm_train: Train, limit: tuple[str, ...], run: pathlib.Path
) -> None:
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    done = ntm_train("--output", run, "--resume", *limit)
    assert done.returncode == 1
    assert done.stderr.startswith("ntm-train: nothing left to do: not converged after 480 sequences")
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_the_options_of_a_resumed_run_may_be_repeated(ntm_train: Train, run: pathlib.Path) -> None:
    same = ("--task", "copy", "--controller-sizes", "8", "--no-xla", "--seed", "0", "--size", "length=1-3")
    done = ntm_train("--output", run, "--resume", *same, "--option", "bits=8", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_it_compiles_without_a_cache(new_process: Start, quick: tuple[str, ...], tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    arguments = new_process("--output", tmp_path / "run", *quick, "--xla", "--max-batches", "1")
    environment = os.environ | {"XDG_CACHE_HOME": f"{tmp_path}/file"}
    done = subprocess.run(arguments, capture_output=True, check=False, env=environment, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("ntm-train: not converged after 8 sequences")
    assert done.stderr.count("\n") == 1


def test_progress_fits_80_columns(new_process: Start, quick: tuple[str, ...], tmp_path: pathlib.Path) -> None:
    terminal, stderr = pty.openpty()
    fcntl.ioctl(stderr, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | {"TERM": "xterm"}
    program = new_process("--output", tmp_path / "run", *quick, "--max-batches", 100_000)
    with subprocess.Popen(program, stderr=stderr, env=environment | {"NO_COLOR": "1"}) as process:
        os.close(stderr)
        shown = b""
        deadline = time.monotonic() + 120
        while not (found := re.findall(rb"batch [^\r\n]*", shown)[1:-1]) and time.monotonic() < deadline:
            shown += os.read(terminal, 1 << 16)
        process.terminate()
        os.close(terminal)
    assert re.search(rb"^batch [\d,]+, loss \S+, \S+ wrong bits, \S+ sequences/s *\d:\d\d:\d\d", found[0])
    assert b"%" not in shown


def test_without_a_terminal_there_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = iter(range(0, 400, 4))
    monkeypatch.setattr(time, "monotonic", lambda: 1_000 + next(seconds))
    lines, silent = command._Lines(enabled=True), command._Lines(enabled=False)
    for second in range(0, 200, 4):
        lines.update(f"after {second} s")
    for second in range(0, 200, 4):
        silent.update(f"after {second} s")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [f"ntm-train: after {second} s" for second in (12, 24, 48, 96, 156)]


@pytest.mark.parametrize("quiet", [False, True])
def test_a_long_training_without_a_terminal_tells_of_its_progress(
    ntm_train: Train, quick: tuple[str, ...], quiet: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setattr(command, "_FIRST_WAIT", 0.01)
    done = ntm_train("--output", tmp_path / "run", *quick, "--quiet" if quiet else "--json")
    assert done.returncode == 1
    if quiet:
        assert (done.stdout, done.stderr) == ("", "")
    else:
        assert json.loads(done.stdout)["batches"] == 60
        assert re.match(r"ntm-train: batch 50, loss \S+, \S+ wrong bits, \d+ sequences/s\n", done.stderr)


def test_options_come_from_a_file_and_the_command_line_wins(ntm_train: Train, tmp_path: pathlib.Path) -> None:
    file = tmp_path / "options.toml"
    file.write_text(
        f"""
        output = "{tmp_path / "run"}"
        task = "copy"
        max-batches = 60
        batch_size = 4
        controller-sizes = [8, 9]
        xla = false
        json = true
        optimizer = "rmsprop"
        size.length = [1, 3]
        option.bits = 5
        """,
        encoding="utf-8",
    )
    done = ntm_train("--config", file, "--max-batches", "2")
    assert (done.returncode, done.stderr) == (1, "")
    assert json.loads(done.stdout)["sequences"] == 8
    config = load_run(tmp_path / "run").config
    assert config.task_options["bits"] == 5
    assert dataclasses.asdict(config.network)["controller_sizes"] == (8, 9)
    assert config.training.ranges == {"length": range(1, 4)}
    assert (config.training.optimizer, config.training.xla) == ("rmsprop", False)

    for path in (tmp_path / "run", tmp_path / "run" / "config.json"):
        again = tmp_path / f"as-{path.name}"
        done = ntm_train("--config", path, "--seed", "1", "--output", again)
        assert done.returncode == 1
        repeated = load_run(again).config
        seeded = dataclasses.replace(config.training, seed=1)
        assert repeated == dataclasses.replace(config, training=seeded)
