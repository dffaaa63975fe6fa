"""``ntm-train`` as a user meets it."""

import json
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from ntm.training.run import load_run

QUICK = ("--max-batches", "60", "--max-length", "3", "--memory-locations", "5", "--controller-sizes", "8", "--no-xla")


def ntm_train(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", "from ntm.commands import train; train()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False, text=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A run that has given up."""
    folder = tmp_path_factory.mktemp("train") / "run"
    done = ntm_train("--output", folder, *QUICK)
    assert done.returncode == 1
    assert done.stderr.startswith("ntm-train: not converged after 480 sequences")
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


def test_an_interrupted_run_resumes_as_if_it_had_not_been(run: pathlib.Path, tmp_path: pathlib.Path) -> None:
    half = tmp_path / "half"
    ntm_train("--output", half, *QUICK, "--max-batches", 25)
    config = json.loads((half / "config.json").read_text())
    config["training"]["max_batches"] = 60
    (half / "config.json").write_text(json.dumps(config))
    assert ntm_train("--output", half, "--resume").returncode == 1
    for resumed, whole in zip(
        load_run(half).cell.trainable_variables, load_run(run).cell.trainable_variables, strict=True
    ):
        assert resumed.numpy() == pytest.approx(whole.numpy(), abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--shifts", "4"), "shifts must be odd, not 4"),
        (("--learning-rate", "0"), "learning_rate must be above 0, not 0.0"),
        (("--controller-sizes", "a,b"), "controller-sizes must be whole numbers with commas between, not a,b"),
        (("--resume",), "{folder} is not a run of ntm-train: it has no config.json"),
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
    assert b"Traceback" not in errors
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    assert load_run(folder).summary["batches"] > 0
