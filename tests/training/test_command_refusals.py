"""What ``ntm-train`` refuses, in one line, and leaves as it was."""

import json
import pathlib
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from ntm.errors import FileError
from ntm.tasks import BUILT_IN
from ntm.training.run import add_to_history, load_run

_SIZES = "controller-sizes must be up to 16 numbers from 1 to 4096 with commas between"


Train = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_full_disk_names_the_file_and_leaves_nothing_new(
    fork_train: Callable[..., Any], quick: tuple[str, ...], tmp_path: pathlib.Path
) -> None:
    before = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))"
    done = fork_train("--output", tmp_path / "new", *quick, before=before).end()
    assert done.returncode == 2
    assert done.stderr == f"ntm-train: error: cannot write {tmp_path}/new/checkpoint.npz: file too large\n"
    assert not (tmp_path / "new").exists()

    (tmp_path / "history.jsonl").symlink_to("/dev/full")
    with pytest.raises(FileError, match=f"^cannot write {tmp_path}/history.jsonl: no space left on device$"):
        add_to_history(tmp_path, {"batches": 25})


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
