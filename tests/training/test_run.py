"""The run folder of a training: its lock, its configuration, its history and its checkpoints."""

import fcntl
import pathlib
import re
import shutil
from typing import Any, BinaryIO

import numpy as np
import pytest

from ntm.errors import FileError, RunError
from ntm.tasks import BUILT_IN, find
from ntm.training import run
from ntm.training.config import Lesson
from ntm.training.recipes import configure
from ntm.training.run import RunConfig
from ntm.training.train import train

pytestmark = pytest.mark.slow


COPY = find("copy", {"bits": 2})


def files(folder: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_run_without_a_checkpoint_begins_when_it_is_resumed(tiny: dict[str, Any], tmp_path: pathlib.Path) -> None:
    """As a kill leaves it at the worst moment."""
    run.save_config(tmp_path, RunConfig("copy", COPY.options, *configure(COPY, options=tiny)))
    assert train(None, tmp_path, resume=True).summary["batches"] == 3


@pytest.mark.parametrize("knows_locks", [True, False])
def test_a_run_is_locked_until_its_training_ends(
    knows_locks: bool, finished: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not knows_locks:
        monkeypatch.setattr(run, "fcntl", None)
    before = files(finished)
    with run.Lock(finished) as lock:
        lock.take()
        lock.take()
        for options in ({"resume": True}, {"replace": True}):
            with pytest.raises(RunError, match=f"^{re.escape(str(finished))} is being trained by another process"):
                train(COPY, finished, max_batches=5, **options)  # type: ignore[arg-type]
        assert lock.held
    assert files(finished) == before
    assert train(COPY, finished, resume=True, max_batches=5).summary["batches"] == 5
    assert sorted(files(finished)) == sorted(before)


def test_a_run_that_another_training_has_made_meanwhile_is_left_alone(
    tiny: dict[str, Any], finished: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "new"
    other = run.Lock(folder)
    begin = run.begin

    def begin_too_late(*arguments: Any, **options: Any) -> None:
        shutil.copytree(finished, folder)
        other.take()
        begin(*arguments, **options)

    monkeypatch.setattr(run, "begin", begin_too_late)
    monkeypatch.setattr(run, "check_free", lambda *_, **__: None)
    with pytest.raises(RunError, match=r"new is being trained by another process$"):
        train(COPY, folder, **tiny)
    other.release()
    assert files(folder) == files(finished)


def test_a_lock_that_is_released_meanwhile_is_taken_anew(tmp_path: pathlib.Path) -> None:
    """The file that was opened is gone once it is locked."""
    flock = fcntl.flock
    with pytest.MonkeyPatch.context() as monkeypatch:
        released = iter([True, False])

        def flock_late(file: int, operation: int) -> None:
            if next(released):
                (tmp_path / ".lock").unlink()
            flock(file, operation)

        monkeypatch.setattr(fcntl, "flock", flock_late)
        lock = run.Lock(tmp_path)
        lock.take()
    assert lock.held
    with pytest.raises(RunError, match="is being trained by another process"):
        run.Lock(tmp_path).take()
    lock.release()
    assert files(tmp_path) == {}


@pytest.mark.parametrize("rest", [b"", b'{"batches": 75}\n', b'{"batches": 75}\n{"batches": 100}\n', b'{"bat'])
def test_history_is_rewound_to_the_checkpoint(rest: bytes, tmp_path: pathlib.Path) -> None:
    kept = b'{"batches": 25}\n{"batches": 50}\n'
    (tmp_path / "history.jsonl").write_bytes(kept + rest)
    run.rewind_history(tmp_path, 60)
    assert (tmp_path / "history.jsonl").read_bytes() == kept


def test_a_checkpoint_is_replaced_whole_or_not_at_all(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run.save_checkpoint(tmp_path, {"a": np.ones(3)}, {"b": np.ones(2)}, {"batches": 1})

    def savez(file: BinaryIO, **_: object) -> None:
        file.write(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(np, "savez", savez)
    with pytest.raises(FileError, match="no space left"):
        run.save_checkpoint(tmp_path, {"a": np.zeros(3)}, {"b": np.zeros(2)}, {"batches": 2})
    state, summary = run.load_state(tmp_path)
    assert state["b"].tolist() == [1, 1]
    assert summary == {"batches": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.npz"]


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_configuration_is_read_as_it_was_written(name: str, tmp_path: pathlib.Path) -> None:
    task = find(name)
    sizes = {size: (min(values), max(values)) for size, values in task.training_sizes.items()}
    changes = {
        "train_locations": (64, 99),
        "controller_sizes": (7, 8),
        "goal": 2,
        "lessons": (Lesson(3, 0.5, 7, sizes),),
    }
    config = RunConfig(task.name, task.options, *configure(task, options=changes))
    run.save_config(tmp_path, config)
    assert run.load_config(tmp_path) == config
    assert find(config.task, config.task_options) == task


def test_checkpoints_are_kept_as_runs_of_their_own(tiny: dict[str, Any], tmp_path: pathlib.Path) -> None:
    options = tiny | {"keep_checkpoints": 2, "checkpoint_batches": 2}
    train(COPY, tmp_path / "run", **options | {"max_batches": 7})
    kept = tmp_path / "run" / "checkpoints"
    assert sorted(path.name for path in kept.iterdir()) == ["batch-000000004", "batch-000000006"]
    fourth = run.load_run(kept / "batch-000000004")
    assert fourth.summary["batches"] == 4
    alone = train(COPY, **tiny | {"max_batches": 4})
    for ours, theirs in zip(fourth.network.variables, alone.network.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    gone_on = train(None, kept / "batch-000000004", resume=True, max_batches=7)
    whole = run.load_run(tmp_path / "run")
    for ours, theirs in zip(gone_on.network.variables, whole.network.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    train(COPY, tmp_path / "run", replace=True, **tiny)
    assert not kept.exists()
