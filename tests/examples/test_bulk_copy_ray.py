"""A copy by Ray Data is whole and right, also where a worker is killed; without that it does not appear."""

import contextlib
import os
import pathlib
import signal
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

SCRIPT = "bulk_copy_ray.py"
RANGE = 1 << 15
Start = Callable[..., contextlib.AbstractContextManager[Any]]


@pytest.fixture
def place(tmp_path: pathlib.Path, need: Callable[..., None]) -> Iterator[pathlib.Path]:
    """A folder with a file and a folder to copy. Nothing may appear in it but the copy."""
    need("ray", "pyarrow")
    random, place = np.random.default_rng(0), tmp_path / "place"
    (place / "folder" / "below").mkdir(parents=True)
    (place / "file").write_bytes(random.bytes(90 * RANGE + 1234))
    (place / "folder" / "three ranges").write_bytes(random.bytes(2 * RANGE + 3))
    (place / "folder" / "below" / "one byte").write_bytes(b"\xa5")
    (place / "folder" / "below" / "nothing").touch()
    yield place
    assert {path.name for path in place.iterdir()} <= {"file", "folder", "copy"}


def contents(folder: pathlib.Path) -> dict[str, bytes | None]:
    """What lies below a folder: bytes of files, None of folders."""
    paths = folder.rglob("*")
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}


def copied(place: pathlib.Path) -> int:
    """How many ranges the workers have written so far."""
    (target,) = place.glob(".copy.*/copy")
    content = target.read_bytes()
    return sum(any(content[start : start + RANGE]) for start in range(0, len(content), RANGE))


def stopped_at_work(program: Any) -> int | None:
    """Stop a worker that has not finished its range, and return its number."""
    working = r"ray::MapWorker\(.*\.submit"  # Ray tells in the title of a process what it does
    for worker in program.processes(working):
        os.kill(worker, signal.SIGSTOP)
        if worker in program.processes(working):
            return int(worker)
        os.kill(worker, signal.SIGCONT)
    return None


def test_a_folder_is_copied(place: pathlib.Path, run: Callable[..., str]) -> None:
    output = run(SCRIPT, place / "folder", place / "copy", "--range-bytes", str(RANGE))
    assert f"{2 * RANGE + 4} bytes in 4 ranges, 0 wrong bits" in output.splitlines()
    assert contents(place / "copy") == contents(place / "folder")


@pytest.mark.skipif(not pathlib.Path("/proc").exists(), reason="a worker is found in /proc")
def test_a_worker_that_is_killed_costs_nothing(
    place: pathlib.Path, start: Start, edited_model: Callable[..., pathlib.Path]
) -> None:
    """The network never outputs the first bit of a byte, so what is right and how many bits are wrong is known."""

    def forget(weights: Any) -> Any:
        weights = weights.copy()
        weights[..., 0] = 0
        return weights

    original = np.fromfile(place / "file", np.uint8)
    model = edited_model(weights=forget)
    with start(SCRIPT, place / "file", place / "copy", "--range-bytes", str(RANGE), "--model", model) as program:
        program.wait_for(lambda: list(place.glob(".copy.*/copy")) and copied(place) >= 2)
        os.kill(program.wait_for(lambda: stopped_at_work(program)), signal.SIGKILL)
        assert copied(place) < 80  # of 91: much was still to do
        assert program.wait() == 1, program.stderr
        wrong = np.count_nonzero(original & 0x80)
        assert f"{len(original)} bytes in 91 ranges, {wrong} wrong bits" in program.stdout.splitlines()
    np.testing.assert_array_equal(np.fromfile(place / "copy", np.uint8), original & 0x7F)


def test_an_interrupted_copy_does_not_appear(place: pathlib.Path, start: Start) -> None:
    with start(SCRIPT, place / "file", place / "copy", "--range-bytes", str(RANGE)) as program:
        program.wait_for(lambda: list(place.glob(".copy.*/copy")) and copied(place) >= 2)
        program.process.send_signal(signal.SIGTERM)
        assert program.wait() == 130, program.stderr
    assert not (place / "copy").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing", "copy"], "{place}/nothing is neither a file nor a folder"),
        (["file", "folder"], "{place}/folder is there already"),
        (["folder", "folder/below/copy"], "{place}/folder/below/copy lies in {place}/folder"),
        (["file", "copy", "--model", "repeat-copy"], "the model repeat-copy was trained on repeat-copy, not on copy"),
    ],
)
def test_what_cannot_be_copied_is_refused(
    place: pathlib.Path, start: Start, arguments: list[str], message: str
) -> None:
    with start(SCRIPT, *(place / name for name in arguments[:2]), *arguments[2:]) as program:
        assert program.wait() == 2
        assert program.stderr == f"{SCRIPT}: {message.format(place=place)}\n"
        assert program.stdout == ""
