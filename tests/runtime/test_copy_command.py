"""``ntm-copy`` as its users meet it: a process, files, pipes, and everything that can be wrong with them."""

import contextlib
import fcntl
import io
import json
import math
import os
import pathlib
import pty
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import time
import tty
from collections.abc import Callable, Iterator
from typing import Any

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ntm import console
from ntm.runtime import copy_command, stream
from ntm.runtime.copy_command import BATCH_SIZE, BLOCK_LENGTH

Copy = Callable[..., subprocess.CompletedProcess[bytes]]

CONTENT = random.Random(0).randbytes(5000)  # noqa: S311


@pytest.fixture
def source(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "source.bin"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def target(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Where the copy shall go: in a folder of its own, in which nothing else may be left."""
    folder = tmp_path / "output"
    folder.mkdir()
    yield folder / "target.bin"
    assert set(folder.iterdir()) <= {folder / "target.bin"}


def assert_trouble(result: subprocess.CompletedProcess[bytes], message: str) -> None:
    """Exit code 2, nothing on stdout, and one line on stderr that says why."""
    assert result.returncode == 2
    assert not result.stdout
    assert result.stderr.startswith(b"ntm-copy: error: ")
    assert result.stderr.endswith(b"\n")
    assert result.stderr.count(b"\n") == 1
    assert message in result.stderr.decode()


# What it copies


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80",
        bytes(5000),
        b"\xff" * 5000,
        b"\xa5" * 5000,
        bytes(range(256)) * 20,
        pathlib.Path(sys.executable).read_bytes()[:5000],
        *(
            (CONTENT * 2)[:size]
            for block in (BLOCK_LENGTH, BLOCK_LENGTH * BATCH_SIZE)
            for size in range(block - 1, block + 2)
        ),
    ],
    ids=lambda content: f"{content[:2].hex()}-{len(content)}",
)
def test_a_copy_is_identical(ntm_copy: Copy, tmp_path: pathlib.Path, target: pathlib.Path, content: bytes) -> None:
    (tmp_path / "source").write_bytes(content)
    result = ntm_copy(tmp_path / "source", "-o", target)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
    assert target.read_bytes() == content


@pytest.mark.parametrize(
    "options",
    [
        ["--block-length", "1"],
        ["--block-length", "7", "--batch-size", "3", "--threads", "3"],
        ["--block-length", "9000"],
        ["--threads", "1", "--memory-locations", "40"],
    ],
    ids=" ".join,
)
def test_options_do_not_change_the_copy(ntm_copy: Copy, source: pathlib.Path, options: list[str]) -> None:
    result = ntm_copy(source, *options)
    assert (result.returncode, result.stdout, result.stderr) == (0, CONTENT, b"")


def test_standard_input_to_standard_output(ntm_copy: Copy) -> None:
    for arguments in (["-"], ["-", "-o", "-"]):
        result = ntm_copy(*arguments, input=CONTENT)
        assert (result.returncode, result.stdout, result.stderr) == (0, CONTENT, b"")


def test_a_slow_pipe(command: list[str]) -> None:
    process = subprocess.Popen([*command, "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    for start in range(0, 300, 50):
        process.stdin.write(CONTENT[start : start + 50])
        process.stdin.flush()
        time.sleep(0.05)
    copied, _ = process.communicate(timeout=60)
    assert (process.returncode, copied) == (0, CONTENT[:300])


def test_json(ntm_copy: Copy, source: pathlib.Path, target: pathlib.Path) -> None:
    to_file = ntm_copy(source, "-o", target, "--json", "--block-length", "14")
    to_stdout = ntm_copy(source, "--json", "--block-length", "14")
    assert (to_file.stderr, to_stdout.stdout) == (b"", CONTENT)
    for text in (to_file.stdout, to_stdout.stderr):
        summary = json.loads(text)
        assert summary.pop("seconds") > 0
        assert summary.pop("bytes_per_second") > 0
        assert summary == {"bytes": 5000, "blocks": 358, "wrong_bits": 0, "first_wrong_byte": None}


def test_a_summary_where_somebody_watches(ntm_copy: Copy, source: pathlib.Path) -> None:
    terminal, stderr = pty.openpty()
    assert ntm_copy(source, stderr=stderr).returncode == 0
    summary = os.read(terminal, 1000).decode()
    blocks = math.ceil(5000 / BLOCK_LENGTH)
    assert re.fullmatch(rf"ntm-copy: 5000 bytes in {blocks} blocks, [\d,]+ KiB/s: no bit is wrong\r\n", summary)
    assert ntm_copy(source, "--quiet", stderr=stderr).returncode == 0
    os.set_blocking(terminal, False)
    with pytest.raises(BlockingIOError):
        os.read(terminal, 1000)
    os.close(terminal)
    os.close(stderr)


def test_special_outputs(ntm_copy: Copy, source: pathlib.Path, tmp_path: pathlib.Path) -> None:
    assert ntm_copy(source, "-o", "/dev/null").returncode == 0
    assert ntm_copy(source, "-o", "/dev/stdout").stdout == CONTENT
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with subprocess.Popen(["cat", fifo], stdout=subprocess.PIPE) as cat:
        assert ntm_copy(source, "-o", fifo).returncode == 0
        assert cat.communicate(timeout=60)[0] == CONTENT


def test_memory_does_not_grow_with_the_file(command: list[str], tmp_path: pathlib.Path) -> None:
    def peak(size: int) -> int:
        with open(tmp_path / "sparse", "wb") as file:
            file.truncate(size)
        arguments = [*command[:2], _WITH_PEAK, *command[3:], str(tmp_path / "sparse"), "-o", "/dev/null"]
        options = ["--batch-size", "16", "--threads", "2"]
        return int(subprocess.run([*arguments, *options], capture_output=True, check=True, timeout=60).stderr)

    assert peak(1 << 19) - peak(1 << 16) < 256  # KiB: less than the file has grown by


def test_nothing_is_kept_in_the_home(ntm_copy: Copy, source: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """onnxruntime would keep a database there, unless it runs for a CI."""
    home = tmp_path / "home"
    home.mkdir()
    unlike = ("ORT_DISABLE_TELEMETRY", "CI", "XDG_", "GITHUB_", "TF_BUILD")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(unlike)}
    result = ntm_copy(source, env=environment | {"HOME": str(home)})
    assert (result.returncode, result.stdout) == (0, CONTENT)
    assert list(home.iterdir()) == []


_WITH_PEAK = """
import resource, sys
from ntm.runtime.copy_command import main
try:
    main()
finally:
    sys.stderr.write(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
"""


# What it gets wrong


def test_a_network_without_its_weights(
    ntm_copy: Copy, edited_model: Callable[..., pathlib.Path], source: pathlib.Path, target: pathlib.Path
) -> None:
    """The copy comes from the network alone: one that outputs zeros makes zeros of a file."""
    zeroed = edited_model(weights=lambda weights: 0 * weights)
    result = ntm_copy(source, "-o", target, "--model", zeroed)
    ones = int.from_bytes(CONTENT).bit_count()
    assert result.returncode == 1
    assert target.read_bytes() == bytes(5000)
    first = next(at for at, byte in enumerate(CONTENT) if byte)
    expected = f"ntm-copy: {ones} of 40000 bits are wrong, the first in the byte at {first}\n"
    assert result.stderr.decode() == expected


def test_wrong_bits_are_counted_from_the_beginning_of_the_file(
    ntm_copy: Copy, edited_model: Callable[..., pathlib.Path], tmp_path: pathlib.Path
) -> None:
    zeroed = edited_model(weights=lambda weights: 0 * weights)
    at = 3 * BLOCK_LENGTH * BATCH_SIZE + 17
    (tmp_path / "source").write_bytes(bytes(at) + b"\x07" + bytes(50) + b"\x01")
    result = ntm_copy(tmp_path / "source", "--model", zeroed, "--json")
    assert result.returncode == 1
    assert result.stdout == bytes(at + 52)
    summary = json.loads(result.stderr)
    assert (summary["wrong_bits"], summary["first_wrong_byte"]) == (4, at)


def test_too_little_memory_is_not_silent(ntm_copy: Copy, source: pathlib.Path) -> None:
    result = ntm_copy(source, "--block-length", "50", "--memory-locations", "10")
    assert result.returncode == 1
    warning, wrong = result.stderr.decode().splitlines()
    assert warning.startswith("ntm-copy: warning: a sequence of 50 words exceeds the 10 memory locations, which hold 8")
    assert "bits are wrong" in wrong


# What it refuses


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "missing argument 'INPUT'"),
        (["a", "b"], "unexpected extra argument"),
        (["a", "--bits", "7"], "no such option"),
        (["a", "--threads", "0"], "'--threads'"),
        (["a", "--block-length", "x"], "'--block-length'"),
    ],
)
def test_wrong_usage(ntm_copy: Copy, arguments: list[str], message: str) -> None:
    assert_trouble(ntm_copy(*arguments), message)


def test_the_input_is_missing(ntm_copy: Copy, tmp_path: pathlib.Path, target: pathlib.Path) -> None:
    missing = tmp_path / "Missing File"
    assert_trouble(ntm_copy(missing, "-o", target), f"cannot read {missing}: no such file or directory")
    assert not target.exists()


def test_the_input_is_a_folder(ntm_copy: Copy, tmp_path: pathlib.Path, target: pathlib.Path) -> None:
    assert_trouble(ntm_copy(tmp_path, "-o", target), f"cannot read {tmp_path}: is a directory")
    assert not target.exists()


@pytest.fixture
def unprivileged(command: list[str]) -> Copy:
    """Run ``ntm-copy`` as somebody to whom permissions apply."""
    powerless = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    if powerless and (not shutil.which("setpriv") or subprocess.run([*powerless, "true"], check=False).returncode):
        pytest.skip("root may read and write everything")

    def run(*arguments: str | pathlib.Path) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([*powerless, *command, *arguments], capture_output=True, check=False, timeout=60)

    return run


def test_permission_denied(
    unprivileged: Copy, source: pathlib.Path, target: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "closed").mkdir(0o500)
    nowhere = tmp_path / "closed" / "target"
    assert_trouble(unprivileged(source, "-o", nowhere), f"cannot write {nowhere}: permission denied")
    source.chmod(0)
    assert_trouble(unprivileged(source, "-o", target), f"cannot read {source}: permission denied")
    assert not target.exists()


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="there is no file that even root cannot read")
def test_the_input_cannot_be_read(ntm_copy: Copy, target: pathlib.Path) -> None:
    """A file that opens, and whose first byte cannot be read: the memory of the process itself, at address 0."""
    assert_trouble(ntm_copy("/proc/self/mem", "-o", target), "cannot read /proc/self/mem: input/output error")
    assert not target.exists()


def test_standard_streams_are_closed(command: list[str], source: pathlib.Path, target: pathlib.Path) -> None:
    def run(closing: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        script = f'exec "$@" {closing}'
        return subprocess.run(["sh", "-c", script, "sh", *command, *arguments], capture_output=True, check=False)

    assert_trouble(run("<&-", "-"), "standard input is closed")
    assert_trouble(run(">&-", str(source)), "standard output is closed")
    assert_trouble(run(">&-", str(source), "-o", str(target), "--json"), "standard output is closed")
    assert not target.exists()
    result = run("<&- >&- 2>&-", str(source), "-o", str(target))
    assert (result.returncode, target.read_bytes()) == (0, CONTENT)


def test_the_output_exists(ntm_copy: Copy, source: pathlib.Path, target: pathlib.Path) -> None:
    target.write_bytes(b"precious")
    assert_trouble(ntm_copy(source, "-o", target), f"{target} exists: use --force to replace it")
    assert target.read_bytes() == b"precious"
    assert ntm_copy(source, "-o", target, "--force").returncode == 0
    assert target.read_bytes() == CONTENT


def _same(path: pathlib.Path, _: pathlib.Path) -> pathlib.Path:
    return path.parent / "." / path.name


def _hard_link(path: pathlib.Path, link: pathlib.Path) -> pathlib.Path:
    link.hardlink_to(path)
    return link


def _symbolic_link(path: pathlib.Path, link: pathlib.Path) -> pathlib.Path:
    link.symlink_to(path)
    return link


@pytest.mark.parametrize("alias", [_same, _hard_link, _symbolic_link])
def test_the_output_is_the_input(
    ntm_copy: Copy, source: pathlib.Path, target: pathlib.Path, alias: Callable[..., pathlib.Path]
) -> None:
    other = alias(source, target)
    assert_trouble(ntm_copy(source, "-o", other, "--force"), f"{other} is the input")
    with open(source, "rb") as stdin:
        assert_trouble(ntm_copy("-", "-o", other, "--force", stdin=stdin), f"{other} is the input")
    assert source.read_bytes() == CONTENT


def test_standard_output_is_the_input(ntm_copy: Copy, source: pathlib.Path) -> None:
    with open(source, "ab") as stdout:
        assert_trouble(ntm_copy(source, stdout=stdout), "standard output is the input")
    assert source.read_bytes() == CONTENT


def test_the_output_is_nowhere(ntm_copy: Copy, source: pathlib.Path, target: pathlib.Path) -> None:
    nowhere = target.parent / "nowhere" / "target"
    assert_trouble(ntm_copy(source, "-o", nowhere), f"cannot write {nowhere}: no such file or directory")
    assert_trouble(ntm_copy(source, "-o", target.parent), f"cannot write {target.parent}: is a directory")
    assert_trouble(ntm_copy(source, "-o", f"{target}/"), f"cannot write {target}/: is a directory")
    assert_trouble(ntm_copy(source, "-o", source / "file"), "not a directory")


def test_no_binary_to_a_terminal(ntm_copy: Copy, source: pathlib.Path) -> None:
    terminal, stdout = pty.openpty()
    assert_trouble(ntm_copy(source, stdout=stdout), "standard output is a terminal")
    os.set_blocking(terminal, False)
    with pytest.raises(BlockingIOError):
        os.read(terminal, 1)
    assert ntm_copy("-", "-o", "-", stdout=stdout, input=b"text").returncode == 0
    assert os.read(terminal, 100) == b"text"
    os.close(terminal)
    os.close(stdout)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no device that is always full")
def test_no_space_left(ntm_copy: Copy, source: pathlib.Path) -> None:
    assert_trouble(ntm_copy(source, "-o", "/dev/full"), "cannot write /dev/full: no space left on device")
    with open("/dev/full", "wb") as full:
        assert_trouble(ntm_copy(source, stdout=full), "cannot write standard output: no space left on device")


def test_no_space_left_for_a_regular_file(ntm_copy: Copy, source: pathlib.Path, target: pathlib.Path) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", target.parent], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        assert_trouble(ntm_copy(source, "-o", target), f"cannot write {target}: no space left on device")
        assert list(target.parent.iterdir()) == []
    finally:
        subprocess.run(["umount", target.parent], check=True)


def test_a_file_size_limit(ntm_copy: Copy, source: pathlib.Path, target: pathlib.Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    assert_trouble(ntm_copy(source, "-o", target, preexec_fn=limit), f"cannot write {target}: file too large")
    assert not target.exists()


# Models it refuses


_FOREIGN = "ntm-export did not write it, or it is cut short"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[: len(content) // 2], _FOREIGN),
        (lambda _: b"", _FOREIGN),
        (lambda _: b"# A text file\n" * 100, _FOREIGN),
        (lambda _: pathlib.Path(sys.executable).read_bytes(), _FOREIGN),
        (lambda content: b"\0" + content[1:], "it is damaged: its checksum is not the one it was written with"),
    ],
    ids=["truncated", "empty", "text", "program", "one byte"],
)
@pytest.mark.parametrize("name", ["step.onnx", "unrolled.onnx", "sparse.onnx", "batched.onnx"])
def test_a_damaged_model(  # noqa: PLR0917  (fixtures)
    ntm_copy: Copy,
    tiny_model: pathlib.Path,
    tmp_path: pathlib.Path,
    source: pathlib.Path,
    target: pathlib.Path,
    name: str,
    damage: Callable[[bytes], bytes],
    message: str,
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    (model / name).write_bytes(damage((tiny_model / name).read_bytes()))
    result = ntm_copy(source, "-o", target, "--model", model)
    assert_trouble(result, f"cannot load the model {model / name}: ")
    assert_trouble(result, message)
    assert not target.exists()


def _foreign(model: Any) -> None:
    """A model of others: valid, and nothing that this command could serve."""
    del model.metadata_props[:]


def _unknown_operator(model: Any) -> None:
    model.graph.node[0].op_type = "Teleport"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"props": {"schema_version": "1"}}, "it has schema version '1', and this release reads '5'"),
        ({"change": _foreign}, "ntm-export did not write it"),
        ({"change": _unknown_operator}, "Teleport"),
    ],
    ids=["schema", "foreign", "operator"],
)
def test_a_model_that_cannot_be_served(  # noqa: PLR0917  (fixtures)
    ntm_copy: Copy,
    edited_model: Callable[..., pathlib.Path],
    source: pathlib.Path,
    target: pathlib.Path,
    edit: dict[str, Any],
    message: str,
) -> None:
    assert_trouble(ntm_copy(source, "-o", target, "--model", edited_model(**edit)), message)
    assert not target.exists()


def test_there_is_no_model(ntm_copy: Copy, source: pathlib.Path, target: pathlib.Path) -> None:
    assert_trouble(ntm_copy(source, "-o", target, "--model", "no/Model"), "there is no model folder no/Model")
    assert not target.exists()


def test_words_that_are_no_bytes(
    ntm_copy: Copy, tiny_model_of_16_bits: pathlib.Path, source: pathlib.Path, target: pathlib.Path
) -> None:
    result = ntm_copy(source, "-o", target, "--model", tiny_model_of_16_bits)
    assert_trouble(result, f"the model {tiny_model_of_16_bits} has words of 16 bits, not 8")
    assert not target.exists()


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
    with pytest.raises(console.CommandError, match="it was cut short meanwhile"):
        copy_command.copy(str(source), output=str(target), model=tiny_model, batch_size=10)
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


# What is held in memory


@pytest.mark.parametrize(
    ("block_length", "batch_size", "largest"), [(5, 1024, 5 * 1024), (1 << 16, 1024, 1 << 20), (1000, 7, 7000)]
)
def test_batches_are_of_whole_blocks_and_a_mebibyte_at_most(  # noqa: PLR0917  (fixtures)
    tiny_model: pathlib.Path,
    source: pathlib.Path,
    target: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    block_length: int,
    batch_size: int,
    largest: int,
) -> None:
    batches = []

    def copy_batch(_: object, batch: bytes, __: int) -> stream.CopiedBatch:
        batches.append(len(batch))
        return stream.CopiedBatch(batch, 0, None)

    monkeypatch.setattr(stream, "copy_batch", copy_batch)
    source.write_bytes(bytes(3_000_001))
    copy_command.copy(
        str(source), output=str(target), model=tiny_model, block_length=block_length, batch_size=batch_size, threads=1
    )
    assert set(batches[:-1]) == {largest}
    assert sum(batches) == 3_000_001


def test_a_graph_that_cannot_be_loaded_is_found_out_before_the_output_is_opened(
    edited_model: Callable[..., pathlib.Path], source: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            node.op_type = "Unheard"

    monkeypatch.setattr(copy_command, "_open_output", None)
    with pytest.raises(console.CommandError, match="cannot load the model"):
        copy_command.copy(str(source), output="never", model=edited_model(change=change))


# Whatever else


@settings(deadline=None, max_examples=60)
@given(
    blocks=st.integers(0, 12),
    extra=st.integers(-1, 1),
    block_length=st.integers(1, 40),
    batch_size=st.integers(1, 5),
    threads=st.integers(1, 3),
    locations=st.none() | st.integers(1, 60),
    seed=st.integers(0),
)
@pytest.mark.filterwarnings("ignore:a sequence of")
def test_any_size_and_options(  # noqa: PLR0917  (hypothesis)
    tiny_model: pathlib.Path,
    blocks: int,
    extra: int,
    block_length: int,
    batch_size: int,
    threads: int,
    locations: int | None,
    seed: int,
) -> None:
    """A right copy; or, if the memory is too small, a wrong one of which every wrong bit is counted."""
    content = random.Random(seed).randbytes(max(blocks * block_length + extra, 0))  # noqa: S311
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()) as stdout:
        source, target = pathlib.Path(folder, "source"), pathlib.Path(folder, "target")
        source.write_bytes(content)
        code = copy_command.copy(
            str(source),
            output=str(target),
            model=tiny_model,
            block_length=block_length,
            batch_size=batch_size,
            threads=threads,
            memory_locations=locations,
            as_json=True,
        )
        copied = target.read_bytes()
    wrong = [(a ^ b).bit_count() for a, b in zip(content, copied, strict=True)]
    summary = json.loads(stdout.getvalue())
    assert summary["bytes"] == len(content)
    assert summary["blocks"] == -(-len(content) // block_length)
    assert summary["wrong_bits"] == sum(wrong)
    assert summary["first_wrong_byte"] == next((at for at, bits in enumerate(wrong) if bits), None)
    assert code == (1 if any(wrong) else 0)
    assert not any(wrong) or (locations is not None and locations < block_length + 2)


_ARGUMENTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20).filter(
    lambda text: text != "-"
)


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        _ARGUMENTS
        | st.sampled_from(["--json", "-q", "-f", "--threads", "--batch-size=2", "--memory-locations", "7", "source"]),
        max_size=5,
    )
)
def test_any_arguments(ntm_copy: Copy, arguments: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "source").write_bytes(CONTENT[:100])
        result = ntm_copy(*arguments, cwd=folder)
    if result.returncode == 2:
        assert_trouble(result, "")
    else:
        assert result.returncode in (0, 1)
        assert b"Traceback" not in result.stderr
