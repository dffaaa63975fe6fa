"""``ntm-copy`` as its users meet it: a process, files and pipes. What it copies, and what it gets wrong."""

import contextlib
import io
import json
import math
import os
import pathlib
import pty
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ntm.runtime import copy_command, stream
from ntm.runtime.copy_command import BATCH_SIZE, BLOCK_LENGTH

Copy = Callable[..., subprocess.CompletedProcess[bytes]]

CONTENT = random.Random(0).randbytes(5000)  # noqa: S311


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


@pytest.mark.slow
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


@pytest.mark.slow
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
        str(source),
        output=str(target),
        model=str(tiny_model),
        block_length=block_length,
        batch_size=batch_size,
        threads=1,
    )
    assert set(batches[:-1]) == {largest}
    assert sum(batches) == 3_000_001


# Whatever else


@pytest.mark.slow
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
            model=str(tiny_model),
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


@pytest.mark.slow
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
