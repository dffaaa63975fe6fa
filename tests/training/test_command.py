"""``ntm-train`` as a user meets it."""

import fcntl
import json
import os
import pathlib
import pty
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from typing import Any

import pytest

from ntm.console import CommandError
from ntm.training.run import add_to_history, load_run

QUICK = ("--max-batches", "60", "--max-length", "3", "--memory-locations", "5", "--controller-sizes", "8", "--no-xla")
_SIZES = "controller-sizes must be up to 16 numbers from 1 to 4096 with commas between"


def ntm_train(*arguments: object, **options: Any) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", "from ntm.commands import train; train()", *map(str, arguments)]
    defaults = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.run(command, check=False, text=True, **defaults | options)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A run that has given up."""
    folder = tmp_path_factory.mktemp("train") / "run"
    done = ntm_train("--output", folder, *QUICK)
    assert done.returncode == 1
    assert done.stderr.startswith("ntm-train: not converged after 480 sequences")
    assert done.stderr.endswith(" s; --resume goes on with more --max-batches than 60\n")
    return folder


def test_a_run_holds_its_options_its_history_and_a_checkpoint_that_loads(run: pathlib.Path) -> None:
    config = json.loads((run / "config.json").read_text())
    assert config["training"]["max_length"] == 3
    assert config["network"]["controller_sizes"] == [8]
    history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert [line["sequences"] for line in history] == [200, 400, 480]
    trained = load_run(run)
    assert trained.summary["converged"] is False
    assert trained.summary["batches"] == 60


def test_every_option_reaches_the_run(tmp_path: pathlib.Path) -> None:
    network = {
        "word_bits": 3,
        "memory_locations": 6,
        "memory_vector_size": 4,
        "shifts": 5,
        "controller_sizes": [7, 8],
        "read_heads": 2,
        "write_heads": 3,
    }
    training = {
        "seed": 5,
        "max_length": 2,
        "batch_size": 4,
        "max_batches": 1,
        "learning_rate": 0.01,
        "sharpening_batches": 9,
    }
    switched_off = ("shut_gates", "xla")
    biases = ("learn_r_bias", "learn_w_bias", "learn_m_bias")
    options = [
        word
        for name, value in (network | training).items()
        for word in (f"--{name.replace('_', '-')}", ",".join(map(str, value)) if isinstance(value, list) else value)
    ]
    options += [f"--{name.replace('_', '-')}" for name in biases]
    options += [f"--no-{name.replace('_', '-')}" for name in switched_off]
    ntm_train("--output", tmp_path / "run", *options)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["network"] == network | dict.fromkeys(biases, True)
    assert config["training"].items() >= (training | dict.fromkeys(switched_off, False)).items()


def test_an_interrupted_run_resumes_as_if_it_had_not_been(run: pathlib.Path, tmp_path: pathlib.Path) -> None:
    half = tmp_path / "half"
    ntm_train("--output", half, *QUICK, "--max-batches", 25)
    assert ntm_train("--output", half, "--resume", "--max-batches", 60).returncode == 1
    assert [json.loads(line)["batches"] for line in (half / "history.jsonl").read_text().splitlines()] == [25, 50, 60]
    assert json.loads((half / "config.json").read_text()) == json.loads((run / "config.json").read_text())
    for resumed, whole in zip(
        load_run(half).cell.trainable_variables, load_run(run).cell.trainable_variables, strict=True
    ):
        assert resumed.numpy() == pytest.approx(whole.numpy(), abs=1e-6)


@pytest.mark.parametrize("limit", [(), ("--max-batches", "60"), ("--max-batches", "59")])
def test_a_run_that_has_reached_its_limit_is_not_trained_on(limit: tuple[str, ...], run: pathlib.Path) -> None:
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    done = ntm_train("--output", run, "--resume", *limit)
    assert done.returncode == 1
    assert done.stderr.startswith("ntm-train: nothing left to do: not converged after 480 sequences")
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_a_resumed_run_keeps_its_options(run: pathlib.Path) -> None:
    same = ("--controller-sizes", "8", "--no-xla", "--seed", "0")
    assert ntm_train("--output", run, "--resume", *same).returncode == 1
    done = ntm_train("--output", run, "--resume", "--seed", 3)
    assert done.returncode == 2
    assert done.stderr == f"ntm-train: error: --resume keeps the options of {run}: seed is 0, not 3\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--shifts", "4"), "shifts must be odd, not 4"),
        (("--learning-rate", "0"), "learning_rate must be above 0 and at most 1, not 0.0"),
        (("--learning-rate", "inf"), "learning_rate must be above 0 and at most 1, not inf"),
        *(
            (("--controller-sizes", sizes), f"{_SIZES}, not {sizes}")
            for sizes in ("a,b", "8,", "0", "4097", "999999999999", ",".join("1" * 17))
        ),
        (("--resume",), "{folder} is not a run of ntm-train: it has no config.json"),
        (("--resume", "-f"), "give either --resume or --force: one goes on with a run, the other replaces it"),
        (("--max-length", "60000"), "out of memory"),
    ],
)
def test_a_bad_option_is_one_line(arguments: tuple[str, ...], message: str, tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "run"
    done = ntm_train("--output", folder, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"ntm-train: error: {message.format(folder=folder)}\n"
    assert not folder.exists()


def test_a_run_is_not_overwritten(run: pathlib.Path) -> None:
    before = (run / "checkpoint.npz").read_bytes()
    done = ntm_train("--output", run, *QUICK)
    assert done.returncode == 2
    assert done.stderr == f"ntm-train: error: {run} exists; --force replaces it, --resume goes on with it\n"
    assert (run / "checkpoint.npz").read_bytes() == before


def test_a_folder_of_something_else_is_not_touched(tmp_path: pathlib.Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    done = ntm_train("--output", tmp_path, "--force", *QUICK)
    assert (done.returncode, done.stderr) == (2, f"ntm-train: error: {tmp_path} exists and is not a run\n")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    "name",
    [
        "batch-size",
        "max-batches",
        "max-length",
        "memory-locations",
        "memory-vector-size",
        "read-heads",
        "seed",
        "sharpening-batches",
        "shifts",
        "word-bits",
        "write-heads",
    ],
)
def test_a_huge_number_is_refused(name: str, tmp_path: pathlib.Path) -> None:
    done = ntm_train("--output", tmp_path / "run", f"--{name}", "99999999999999999999")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.lower().startswith(f"ntm-train: error: invalid value for '--{name}'")
    assert not (tmp_path / "run").exists()


def test_a_run_is_replaced_only_when_the_next_has_begun(run: pathlib.Path, tmp_path: pathlib.Path) -> None:
    folder = shutil.copytree(run, tmp_path / "run")
    (folder / "notes.txt").write_text("mine")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert ntm_train("--output", folder, "-f", "--max-length", "60000").stderr == "ntm-train: error: out of memory\n"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert ntm_train("--output", folder, "-f", *QUICK, "--max-batches", 1).returncode == 1
    assert load_run(folder).summary["batches"] == len((folder / "history.jsonl").read_text().splitlines()) == 1
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_folder_that_cannot_be_made(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    done = ntm_train("--output", tmp_path / "file" / "run")
    assert done.returncode == 2
    assert done.stderr == f"ntm-train: error: cannot make {tmp_path}/file/run: not a directory\n"


def test_a_full_disk_names_the_file_and_leaves_nothing_new(tmp_path: pathlib.Path) -> None:
    small = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))}
    done = ntm_train("--output", tmp_path / "new", *QUICK, **small)
    assert done.returncode == 2
    assert done.stderr == f"ntm-train: error: cannot write {tmp_path}/new/checkpoint.npz: file too large\n"
    assert not (tmp_path / "new").exists()

    (tmp_path / "history.jsonl").symlink_to("/dev/full")
    with pytest.raises(CommandError, match=f"^cannot write {tmp_path}/history.jsonl: no space left on device$"):
        add_to_history(tmp_path, {"batches": 25})


def test_it_compiles_without_a_cache(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    options = (*(option for option in QUICK if option != "--no-xla"), "--max-batches", "1")
    done = ntm_train("--output", tmp_path / "run", *options, env=os.environ | {"XDG_CACHE_HOME": f"{tmp_path}/file"})
    assert done.returncode == 1
    assert done.stderr.startswith("ntm-train: not converged after 8 sequences")
    assert done.stderr.count("\n") == 1


def test_progress_fits_80_columns(tmp_path: pathlib.Path) -> None:
    terminal, stderr = pty.openpty()
    fcntl.ioctl(stderr, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | {"TERM": "xterm"}
    arguments = ("--output", tmp_path / "run", *QUICK, "--max-batches", 100_000)
    command = [sys.executable, "-c", "from ntm.commands import train; train()", *map(str, arguments)]
    with subprocess.Popen(command, stderr=stderr, env=environment | {"NO_COLOR": "1"}) as process:
        os.close(stderr)
        shown = b""
        deadline = time.monotonic() + 120
        while not (found := re.findall(rb"batch [^\r\n]*", shown)[1:-1]) and time.monotonic() < deadline:
            shown += os.read(terminal, 1 << 16)
        process.terminate()
        os.close(terminal)
    assert re.search(rb"^batch [\d,]+, loss \S+, \S+ wrong bits, \S+ sequences/s *\d:\d\d:\d\d", found[0])
    assert b"%" not in shown


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_training_leaves_a_checkpoint_that_loads(number: signal.Signals, tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-c", "from ntm.commands import train; train()", "--output", str(folder), *QUICK]
    process = subprocess.Popen([*command, "--max-batches", "1000000"], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not (folder / "checkpoint.npz").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.2)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert errors == b""
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    batches = load_run(folder).summary["batches"]
    reported = [json.loads(line)["batches"] for line in (folder / "history.jsonl").read_text().splitlines()]
    if number == signal.SIGKILL:
        assert batches > 0
    else:  # nothing is lost
        assert reported[-1] <= batches < reported[-1] + 25
    assert ntm_train("--output", folder, "--resume", "--max-batches", batches + 30).returncode == 1
    resumed = [json.loads(line)["batches"] for line in (folder / "history.jsonl").read_text().splitlines()]
    assert resumed == [*range(25, batches + 30, 25), batches + 30]


def test_an_interrupt_before_the_first_batch_leaves_nothing(tmp_path: pathlib.Path) -> None:
    program = """
import os, signal
from ntm.training import trainer
def train(self):
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()  # as long as a signal waits
trainer.Trainer.train = train
from ntm.commands import train
train()
"""
    command = [sys.executable, "-c", program, "--output", str(tmp_path / "run"), *QUICK]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (143, b"")
    assert b"Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
