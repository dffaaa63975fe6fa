"""How ``ntm-copy`` ends before its time, and what it makes of slow and changing files."""

import contextlib
import fcntl
import os
import pathlib
import pty
import random
import shutil
import signal
import subprocess
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import ntm
from ntm.runtime import copy_command, stream

pytestmark = pytest.mark.slow

Copy = Callable[..., subprocess.CompletedProcess[bytes]]

CONTENT = random.Random(0).randbytes(5000)  # noqa: S311


# How it ends before its time


@pytest.fixture
def under_way(command: list[str], target: pathlib.Path) -> Iterator[subprocess.Popen[bytes]]:
    """A copy to a file of what the test writes; the first part has been read."""
    process = subprocess.Popen([*command, "-", "-o", str(target)], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(CONTENT * 50)  # more than a pipe holds
    process.stdin.flush()
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_leaves_nothing_behind(
    under_way: subprocess.Popen[bytes], target: pathlib.Path, number: signal.Signals, code: int
) -> None:
    under_way.send_signal(number)
    assert under_way.stderr is not None
    assert (under_way.stderr.read(), under_way.wait(timeout=60)) == (b"", code)
    assert list(target.parent.iterdir()) == []


def test_impatience(command: list[str], target: pathlib.Path) -> None:
    """Ctrl-C again and again, while the first is being obeyed."""
    process = subprocess.Popen([*command, "/dev/zero", "-o", str(target)], stderr=subprocess.PIPE)
    time.sleep(1)
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(0.002)
    assert (process.communicate()[1], process.returncode) == (b"", 130)
    assert list(target.parent.iterdir()) == []


def test_ctrl_c_on_a_terminal(command: list[str], target: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """A GiB, and the key itself once the progress is shown; the cursor comes back."""
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(1 << 30)
    terminal, stderr = pty.openpty()
    process = subprocess.Popen(
        [*command, str(tmp_path / "sparse"), "-o", str(target)],
        stderr=stderr,
        env=os.environ | {"TERM": "xterm"},
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(stderr, termios.TIOCSCTTY, 0),  # noqa: PLW1509
    )
    os.close(stderr)
    shown = b""
    while b"left" not in shown:
        shown += os.read(terminal, 1 << 16)
    os.write(terminal, b"\x03")
    shown = b""
    with contextlib.suppress(OSError):  # the end
        while True:
            shown += os.read(terminal, 1 << 16)
    os.close(terminal)
    assert process.wait(timeout=60) == 130
    assert b"Traceback" not in shown
    assert b"\x1b[?25h" in shown
    assert list(target.parent.iterdir()) == []


def test_a_kill_leaves_nothing_under_the_name(command: list[str], source: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """At any moment there is no copy, or all of it; and nothing else, if the file system has files without a name."""
    source.write_bytes(CONTENT * 10)
    start = time.monotonic()
    subprocess.run([*command, source, "-o", tmp_path / "whole"], check=True)
    duration = time.monotonic() - start
    moments = random.Random(1)  # noqa: S311
    folder = tmp_path / "folder"
    for _ in range(10):
        folder.mkdir()
        process = subprocess.Popen([*command, source, "-o", folder / "target"], stderr=subprocess.PIPE)
        time.sleep(moments.uniform(0, 1.2 * duration))
        process.kill()
        assert process.communicate()[1] == b""
        left = {path.name: path.read_bytes() for path in folder.iterdir()}
        assert left.get("target") in (None, CONTENT * 10)
        assert set(left.values()) <= {CONTENT * 10} or not hasattr(os, "O_TMPFILE")
        shutil.rmtree(folder)


def test_the_folder_of_the_output_goes_away(under_way: subprocess.Popen[bytes], target: pathlib.Path) -> None:
    shutil.rmtree(target.parent)
    _, errors = under_way.communicate(timeout=60)
    assert errors.decode() == f"ntm-copy: error: cannot write {target}: no such file or directory\n"
    assert under_way.returncode == 2
    target.parent.mkdir()


def test_nobody_reads_the_copy(command: list[str]) -> None:
    process = subprocess.Popen([*command, "/dev/zero"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.read(100) == bytes(100)
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert process.wait(timeout=60) == 0


def test_nobody_reads_a_wrong_copy(
    command: list[str], source: pathlib.Path, edited_model: Callable[..., pathlib.Path]
) -> None:
    """Who stops reading is told of the wrong bits all the same."""
    zeroed = edited_model(weights=lambda weights: 0 * weights)
    source.write_bytes(b"\xff" * (1 << 17))
    process = subprocess.Popen(
        [*command, source, "--model", str(zeroed)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.read(100) == bytes(100)
    process.stdout.close()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b" bits are wrong, the first in the byte at 0\n" in errors


def test_nobody_reads_the_figures_of_a_wrong_copy(
    command: list[str], source: pathlib.Path, target: pathlib.Path, edited_model: Callable[..., pathlib.Path]
) -> None:
    zeroed = edited_model(weights=lambda weights: 0 * weights)
    read_end, write_end = os.pipe()
    os.close(read_end)
    process = subprocess.run(
        [*command, source, "-o", target, "--json", "--model", str(zeroed)], check=False, stdout=write_end, timeout=60
    )
    os.close(write_end)
    assert process.returncode == 1
    assert target.read_bytes() == bytes(len(CONTENT))


def test_a_summary_is_of_a_whole_copy(command: list[str], source: pathlib.Path) -> None:
    """On a terminal, where there is one to be seen."""
    source.write_bytes(bytes(1 << 20))
    terminal, ours = pty.openpty()
    process = subprocess.Popen([*command, source], stdout=subprocess.PIPE, stderr=ours)
    os.close(ours)
    assert process.stdout is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    said = b""
    with contextlib.suppress(OSError):  # the end of a terminal is an error
        while more := os.read(terminal, 1000):
            said += more
    os.close(terminal)
    assert b"no bit is wrong" not in said


# Descriptors that do not block


def test_an_input_that_does_not_block(command: list[str]) -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    process = subprocess.Popen([*command, "-"], stdin=read_end, stdout=subprocess.PIPE)
    for start in range(0, len(CONTENT), 2003):
        time.sleep(0.3)
        os.write(write_end, CONTENT[start : start + 2003])
    os.close(write_end)
    assert process.communicate(timeout=60)[0] == CONTENT
    assert process.returncode == 0
    os.close(read_end)


@pytest.mark.skipif(not hasattr(fcntl, "F_SETPIPE_SZ"), reason="pipes are as large as they are here")
def test_an_output_that_does_not_block_and_takes_a_part_at_a_time(command: list[str], source: pathlib.Path) -> None:
    read_end, write_end = os.pipe()
    fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(write_end, False)
    process = subprocess.Popen([*command, source, "--batch-size", "3000"], stdout=write_end)
    os.close(write_end)
    copied = b""
    while more := os.read(read_end, 1500):
        copied += more
        time.sleep(0.01)
    assert process.wait(timeout=60) == 0
    assert copied == CONTENT
    os.close(read_end)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a terminal is another")
def test_a_terminal_is_ended_once(command: list[str]) -> None:
    terminal, theirs = pty.openpty()
    process = subprocess.Popen([*command, "-"], stdin=theirs, stdout=subprocess.PIPE)
    os.write(terminal, b"typed\n\x04")
    assert process.communicate(timeout=60)[0] == b"typed\n"
    os.close(theirs)
    os.close(terminal)


# An input that changes while it is read


@pytest.fixture
def held_back(command: list[str], source: pathlib.Path, tmp_path: pathlib.Path) -> Iterator[Callable[..., bytes]]:
    """Begin to copy a file to a FIFO, more than is held on the way; do something to the file; read the copy."""
    source.write_bytes(CONTENT * 40)
    os.mkfifo(tmp_path / "fifo")
    process = subprocess.Popen([*command, source, "-o", tmp_path / "fifo"], stderr=subprocess.PIPE)

    def read(happening: Callable[[], object], code: int, errors: str) -> bytes:
        with open(tmp_path / "fifo", "rb") as reader:  # from here on the command waits for nobody but us
            happening()
            copied = reader.read()
        assert process.communicate(timeout=60)[1].decode() == errors
        assert process.returncode == code
        return copied

    yield read
    process.kill()
    process.communicate()


@pytest.mark.parametrize("length", [10, len(CONTENT) * 40 - 1])
def test_the_input_shrinks(held_back: Callable[..., bytes], source: pathlib.Path, length: int) -> None:
    error = f"ntm-copy: error: cannot read {source}: it was cut short meanwhile\n"
    copied = held_back(lambda: os.truncate(source, length), 2, error)
    assert (CONTENT * 40).startswith(copied)


def test_the_input_grows(held_back: Callable[..., bytes], source: pathlib.Path) -> None:
    def append() -> None:
        with open(source, "ab") as file:
            file.write(b"more")

    assert held_back(append, 0, "") == CONTENT * 40 + b"more"


def test_the_input_is_deleted(held_back: Callable[..., bytes], source: pathlib.Path) -> None:
    assert held_back(source.unlink, 0, "") == CONTENT * 40


def test_nothing_is_written_of_an_input_that_shrinks(
    tiny_model: pathlib.Path, source: pathlib.Path, target: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_batch = stream.copy_batch

    def shrink_and_copy_batch(*arguments: Any) -> stream.CopiedBatch:
        os.truncate(source, 10)
        return copy_batch(*arguments)

    monkeypatch.setattr(stream, "copy_batch", shrink_and_copy_batch)
    with pytest.raises(ntm.FileError, match="it was cut short meanwhile"):
        copy_command.copy(str(source), output=str(target), model=str(tiny_model), batch_size=10)
    assert list(target.parent.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a terminal just ends")
def test_the_input_fails_on_the_way(command: list[str], target: pathlib.Path) -> None:
    """A terminal whose other side is closed: what it holds can be read, then there is an input/output error."""
    terminal, writer = pty.openpty()
    tty.setraw(writer)
    process = subprocess.Popen([*command, "-", "-o", target], stdin=terminal, stderr=subprocess.PIPE)
    os.write(writer, CONTENT[:3000])
    os.close(writer)
    _, errors = process.communicate(timeout=60)
    assert errors == b"ntm-copy: error: cannot read standard input: input/output error\n"
    assert process.returncode == 2
    assert list(target.parent.iterdir()) == []
    os.close(terminal)
