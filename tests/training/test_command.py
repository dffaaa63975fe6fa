"""``ntm-train`` as a user meets it."""

import dataclasses
import fcntl
import inspect
import json
import os
import pathlib
import pty
import re
import shlex
import shutil
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator

import pytest

from ntm.errors import FileError
from ntm.tasks import BUILT_IN
from ntm.training import command
from ntm.training.run import add_to_history, load_run

pytestmark = pytest.mark.slow

_SIZES = "controller-sizes must be up to 16 numbers from 1 to 4096 with commas between"


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
    assert config["task"] == {"name": "repeat-copy", "options": {"bits": 3}}
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--size", "length=1-4"),
            "--resume keeps the options of {run}: sizes is {{'length': (1, 3)}}, not {{'length': (1, 4)}}",
        ),
        (
            ("--option", "bits=4"),
            'cannot resume {run}: it was trained on copy with bits=8, pattern="random", '
            'not with bits=4, pattern="random"',
        ),
    ],
)
def test_a_contradiction_to_a_resumed_run_is_one_line(
    ntm_train: Train, arguments: tuple[str, ...], message: str, run: pathlib.Path
) -> None:
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    done = ntm_train("--output", run, "--resume", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"ntm-train: error: {message.format(run=run)}\n"
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--shifts", "4"), "shifts must be odd, not 4"),
        (("--learning-rate", "0"), "learning_rate must be above 0 and at most 1, not 0.0"),
        (("--addressing", "content,both"), "addressing must be of location and content, not content, both"),
        *(
            (("--controller-sizes", sizes), f"{_SIZES}, not {sizes}")
            for sizes in ("a,b", "8,", "0", "4097", "999999999999", ",".join("1" * 17))
        ),
        (("--resume",), "{folder} is not a run of ntm-train: it has no config.json"),
        (("--resume", "-f"), "give either --resume or --force: one goes on with a run, the other replaces it"),
        (("--size", "length=1-60000"), "out of memory"),
        (("--size", "length=999999999"), "out of memory"),
        (("--task", "cpoy"), f"there is no task 'cpoy': give one of {', '.join(BUILT_IN)}, or FILE.py:CLASS"),
        (("--task", "nowhere.py:Parity"), "there is no file nowhere.py"),
        (("--option", "colour=red"), "the task copy has no option 'colour'; its options: bits, pattern"),
        (("--option", "bits=many"), "the task copy: bits must be a whole number, not 'many'"),
        (("--option", "bits"), "an option of a task is NAME=VALUE, not 'bits'"),
        (("--task", "repeat-copy", "--option", "bits=0"), "the task repeat-copy: bits must be at least 1, not 0"),
        (("--size", "items=2-3"), "the task copy has no size items; its sizes: length"),
        (("--size", "20"), "a size is NAME=LEAST-MOST, not '20'"),
        (
            ("--size", "length=0-3"),
            "the task copy, batch of length=0: mask is 0 at every step of a sequence, so that no output counts",
        ),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else "",
)
def test_a_bad_option_is_one_line(
    ntm_train: Train, arguments: tuple[str, ...], message: str, tmp_path: pathlib.Path
) -> None:
    folder = tmp_path / "run"
    done = ntm_train("--output", folder, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"ntm-train: error: {message.format(folder=folder)}\n"
    assert not folder.exists()


def test_without_a_run_folder_there_is_no_training(ntm_train: Train, quick: tuple[str, ...]) -> None:
    done = ntm_train(*quick)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "ntm-train: error: give the run folder to make: --output RUN\n"


def test_a_run_is_not_overwritten(ntm_train: Train, quick: tuple[str, ...], run: pathlib.Path) -> None:
    before = (run / "checkpoint.npz").read_bytes()
    done = ntm_train("--output", run, *quick)
    assert done.returncode == 2
    assert done.stderr == f"ntm-train: error: {run} exists; --force replaces it, --resume goes on with it\n"
    assert (run / "checkpoint.npz").read_bytes() == before


def test_a_folder_of_something_else_is_not_touched(
    ntm_train: Train, quick: tuple[str, ...], tmp_path: pathlib.Path
) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    done = ntm_train("--output", tmp_path, "--force", *quick)
    assert (done.returncode, done.stderr) == (2, f"ntm-train: error: {tmp_path} exists and is not a run\n")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    "name",
    [
        "annealing-batches",
        "batch-size",
        "max-batches",
        "memory-locations",
        "memory-vector-size",
        "read-heads",
        "seed",
        "shifts",
        "write-heads",
    ],
)
def test_a_huge_number_is_refused(ntm_train: Train, name: str, tmp_path: pathlib.Path) -> None:
    done = ntm_train("--output", tmp_path / "run", f"--{name}", "99999999999999999999")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.lower().startswith(f"ntm-train: error: invalid value for '--{name}'")
    assert not (tmp_path / "run").exists()


def test_a_run_is_replaced_only_when_the_next_has_begun(
    ntm_train: Train, quick: tuple[str, ...], run: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    folder = shutil.copytree(run, tmp_path / "run")
    (folder / "notes.txt").write_text("mine")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert ntm_train("--output", folder, "-f", "--size", "length=1-60000").stderr == "ntm-train: error: out of memory\n"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert ntm_train("--output", folder, "-f", *quick, "--max-batches", 1, "--keep-content").returncode == 1
    assert json.loads((folder / "config.json").read_text())["training"]["turn_content_off"] is False
    assert load_run(folder).summary["batches"] == len((folder / "history.jsonl").read_text().splitlines()) == 1
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_folder_that_cannot_be_made(ntm_train: Train, tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    done = ntm_train("--output", tmp_path / "file" / "run")
    assert done.returncode == 2
    assert done.stderr == f"ntm-train: error: cannot make {tmp_path}/file/run: not a directory\n"


def test_a_full_disk_names_the_file_and_leaves_nothing_new(
    new_process: Start, quick: tuple[str, ...], tmp_path: pathlib.Path
) -> None:
    before = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))"
    arguments = new_process("--output", tmp_path / "new", *quick, before=before)
    done = subprocess.run(arguments, capture_output=True, check=False, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == f"ntm-train: error: cannot write {tmp_path}/new/checkpoint.npz: file too large\n"
    assert not (tmp_path / "new").exists()

    (tmp_path / "history.jsonl").symlink_to("/dev/full")
    with pytest.raises(FileError, match=f"^cannot write {tmp_path}/history.jsonl: no space left on device$"):
        add_to_history(tmp_path, {"batches": 25})


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


@pytest.fixture
def endless(new_process: Start, quick: tuple[str, ...], tmp_path: pathlib.Path) -> Iterator["subprocess.Popen[str]"]:
    """A training in the folder ``run`` that has reported something, and goes on until it is stopped."""
    program = new_process("--output", tmp_path / "run", *quick, "--max-batches", 1_000_000)
    with subprocess.Popen(program, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while not (tmp_path / "run" / "history.jsonl").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_training_leaves_a_checkpoint_that_loads(
    ntm_train: Train, endless: "subprocess.Popen[str]", number: signal.Signals, tmp_path: pathlib.Path
) -> None:
    folder = tmp_path / "run"
    time.sleep(0.2)
    endless.send_signal(number)
    _, errors = endless.communicate(timeout=60)
    assert endless.returncode == (-number if number == signal.SIGKILL else 128 + number)
    batches = load_run(folder).summary["batches"]
    told = f"ntm-train: interrupted; to go on: ntm-train --output {folder} --resume\n"
    assert errors == ("" if number == signal.SIGKILL else told)
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
    new_process: Start,
    quick: tuple[str, ...],
    parity: pathlib.Path,
    quiet: bool,
    tmp_path: pathlib.Path,
) -> None:
    folder = tmp_path / "my run"
    options = ("--task", f"{parity}:Parity", *quick, *(["--quiet"] if quiet else []))
    arguments = new_process("--output", folder, *options, before=_INTERRUPT)
    done = subprocess.run(arguments, capture_output=True, check=False, text=True, timeout=60)
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
    ntm_train: Train, new_process: Start, quick: tuple[str, ...], tmp_path: pathlib.Path
) -> None:
    """After a second it is interrupted wherever it is, here in the next batch."""
    folder = tmp_path / "run"
    for options in ((), ("--force",)):
        arguments = new_process("--output", folder, *quick, *options, before=_INTERRUPT + _SLEEP)
        done = subprocess.run(arguments, capture_output=True, check=False, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (130, "")
        # Of a run that was to be replaced nobody can tell whether it has been.
        told = "" if options else f"ntm-train: interrupted; to go on: ntm-train --output {folder} --resume\n"
        assert done.stderr == told
    assert ntm_train("--output", folder, "--resume").returncode == 1


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


def test_a_run_has_one_writer_at_a_time(
    ntm_train: Train, endless: "subprocess.Popen[str]", quick: tuple[str, ...], tmp_path: pathlib.Path
) -> None:
    folder = tmp_path / "run"
    config = (folder / "config.json").read_bytes()
    for options in (("--resume",), ("--resume", "--max-batches", "70"), ("--force", *quick, "--seed", "1")):
        done = ntm_train("--output", folder, *options)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"ntm-train: error: {folder} is being trained by another process\n"
    assert endless.poll() is None
    endless.kill()
    endless.communicate()
    assert (folder / "config.json").read_bytes() == config
    batches = load_run(folder).summary["batches"]
    assert ntm_train("--output", folder, "--resume", "--max-batches", batches + 30).returncode == 1
    reported = [json.loads(line)["batches"] for line in (folder / "history.jsonl").read_text().splitlines()]
    assert reported == [*range(25, batches + 30, 25), batches + 30]
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint.npz", "config.json", "history.jsonl"]


def test_an_interrupt_before_the_first_batch_leaves_nothing(
    new_process: Start, quick: tuple[str, ...], tmp_path: pathlib.Path
) -> None:
    before = """
import os, signal
from ntm.training.trainer import Trainer
def train(self):
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()  # as long as a signal waits
Trainer.train = train
"""
    arguments = new_process("--output", tmp_path / "run", *quick, before=before)
    done = subprocess.run(arguments, capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (143, b"")
    assert b"Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("controler = 'lstm'", "there is no option controler"),
        ("config = 'x.toml'", "there is no option config"),
        ("seed = ", "Invalid value"),
        ("seed.a = 1", "seed must be one value, not a table"),
        ("seed = 1979-05-27", "seed must hold numbers, texts and truth values"),
        ("seed = 'many'", "invalid value for '--seed'"),
        ("batch-size = 0", "invalid value for '--batch-size'"),
    ],
)
def test_a_file_of_options_that_cannot_be_used_is_one_line(
    ntm_train: Train, content: str, message: str, tmp_path: pathlib.Path
) -> None:
    file = tmp_path / "options.toml"
    file.write_text(content, encoding="utf-8")
    done = ntm_train("--config", file, "--output", tmp_path / "run")
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_missing_file_of_options_is_one_line(ntm_train: Train, tmp_path: pathlib.Path) -> None:
    for name, reason in (("a.toml", "no such file or directory"), ("run", "is not a run of ntm-train")):
        done = ntm_train("--config", tmp_path / name, "--output", tmp_path / "run")
        assert done.returncode == 2
        assert reason in done.stderr
        assert done.stderr.count("\n") == 1
