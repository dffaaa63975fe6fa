"""``ntm-run`` as its users meet it."""

import contextlib
import io
import os
import pathlib
import pickle
import pty
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ntm
from ntm import commands
from ntm.runtime import folder, run_command
from ntm.runtime.folder import DEFAULT

Run = Callable[..., subprocess.CompletedProcess[bytes]]

_CODE = "from ntm.commands import run; run()"


@pytest.fixture
def command(tiny_model: pathlib.Path) -> list[str]:
    return [sys.executable, "-c", _CODE, "--model", str(tiny_model)]


@pytest.fixture
def ntm_run(command: list[str], tiny_model: pathlib.Path, in_process: Run) -> Run:
    """Run ``ntm-run`` with the tiny model and these arguments to its end; from file to file in this process."""

    def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[bytes]:
        if not options and "-" not in arguments:
            return in_process("ntm-run", commands.run, "--model", tiny_model, *arguments, text=False)
        streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        if "input" not in options:
            streams["stdin"] = subprocess.DEVNULL
        completed: subprocess.CompletedProcess[bytes] = subprocess.run(
            [*command, *map(str, arguments)], check=False, timeout=60, **streams | options
        )
        return completed

    return run


@pytest.fixture(scope="module")
def model(tiny_model: pathlib.Path) -> ntm.Model:
    return ntm.load(tiny_model)


def copies(batch: int, length: int) -> npt.NDArray[np.uint8]:
    """Sequences of the copy task, ``[B, T, I]``."""
    x = np.zeros((batch, 2 * length + 1, 9), np.uint8)
    x[:, :length, :8] = np.random.default_rng(0).integers(0, 2, (batch, length, 8))
    x[:, length, 8] = 1
    return x


def expected(model: ntm.Model, x: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """The outputs ``[B, T, O]``, as the library has them."""
    return model.run(x.transpose(1, 0, 2).astype(np.float32))[0].transpose(1, 0, 2)


def as_npy(array: npt.ArrayLike, **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def assert_trouble(result: subprocess.CompletedProcess[bytes], message: str) -> None:
    """Exit code 2, nothing on stdout, and one line on stderr that says why."""
    assert (result.returncode, result.stdout) == (2, b"")
    assert result.stderr.startswith(b"ntm-run: error: ")
    assert result.stderr.count(b"\n") == 1
    assert result.stderr.endswith(b"\n")
    assert message in result.stderr.decode()


# What it computes


def test_the_outputs_of_every_step(
    ntm_run: Run, model: ntm.Model, tmp_path: pathlib.Path, target: pathlib.Path
) -> None:
    x = copies(3, 5)
    np.save(tmp_path / "x.npy", x)
    result = ntm_run(tmp_path / "x.npy", "-o", target)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
    y = np.load(target)
    assert (y.shape, y.dtype) == ((3, 11, 8), np.float32)
    np.testing.assert_allclose(y, expected(model, x), atol=1e-5)
    np.testing.assert_array_equal(y[:, 6:] > 0.5, x[:, :5, :8])


def test_bits_from_standard_input_to_standard_output(ntm_run: Run) -> None:
    x = copies(3, 5)
    result = ntm_run("-", "-o", "-", "--bits", input=as_npy(x))
    assert (result.returncode, result.stderr) == (0, b"")
    y = np.load(io.BytesIO(result.stdout))
    assert (y.shape, y.dtype) == ((3, 11, 8), np.uint8)
    np.testing.assert_array_equal(y[:, 6:], x[:, :5, :8])


NUMBERS = ("?", "b", "h", "i", "q", "B", "H", "I", "Q", "e", "f", "d", "g")


@pytest.mark.parametrize("number", NUMBERS)
def test_every_type_of_number_in_every_order(
    tiny_model: pathlib.Path, target: pathlib.Path, tmp_path: pathlib.Path, number: str
) -> None:
    x = copies(2, 3)
    little, big = np.dtype(number).newbyteorder("<"), np.dtype(number).newbyteorder(">")
    for stored in (x.astype(little), x.astype(big), np.asfortranarray(x, little), np.asfortranarray(x, big)):
        np.save(tmp_path / "x.npy", stored)
        run_command.run(str(tmp_path / "x.npy"), output=str(target), model=str(tiny_model), bits=True, force=True)
        np.testing.assert_array_equal(np.load(target)[:, 4:], x[:, :3, :8])


def test_numbers_that_are_no_bits(ntm_run: Run, model: ntm.Model) -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (2, 20, 9)).astype(">f8")
    result = ntm_run("-", "-o", "-", input=as_npy(np.asfortranarray(x)))
    assert (result.returncode, result.stderr) == (0, b"")
    np.testing.assert_allclose(np.load(io.BytesIO(result.stdout)), expected(model, x), atol=1e-4)


def test_integers_of_any_size(ntm_run: Run) -> None:
    """They are rounded as float32 has them."""
    x = np.array([[[1 << 63, (1 << 64) - 1, 0, 1, 2, 3, 4, 5, 0]]], np.uint64)
    assert ntm_run("-", "-o", "-", input=as_npy(x)).returncode == 0


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batch=st.integers(0, 20),
    steps=st.integers(0, 30),
    threads=st.integers(1, 4),
    locations=st.none() | st.integers(1, 40),
    bits=st.booleans(),
)
def test_any_shape_and_options(  # noqa: PLR0917  (hypothesis)
    tiny_model: pathlib.Path,
    tmp_path: pathlib.Path,
    batch: int,
    steps: int,
    threads: int,
    locations: int | None,
    bits: bool,
) -> None:
    x = np.random.default_rng(0).integers(0, 2, (batch, steps, 9))
    np.save(tmp_path / "x.npy", x)
    code = run_command.run(
        str(tmp_path / "x.npy"),
        output=str(tmp_path / "y.npy"),
        model=str(tiny_model),
        bits=bits,
        threads=threads,
        memory_locations=locations,
        force=True,
    )
    y = np.load(tmp_path / "y.npy")
    wanted = expected(ntm.load(tiny_model, memory_locations=locations), x)
    assert (code, y.shape) == (0, (batch, steps, 8))
    assert y.dtype == (np.uint8 if bits else np.float32)
    undecided = np.abs(wanted - 0.5) < 1e-3
    np.testing.assert_allclose(y[~undecided], (wanted > 0.5 if bits else wanted)[~undecided], atol=1e-4)


@pytest.mark.parametrize("shape", [(0, 5, 9), (5, 0, 9), (0, 0, 9)])
def test_nothing_comes_of_nothing(ntm_run: Run, shape: tuple[int, ...]) -> None:
    result = ntm_run("-", "-o", "-", input=as_npy(np.zeros(shape)))
    assert (result.returncode, result.stderr) == (0, b"")
    assert np.load(io.BytesIO(result.stdout)).shape == (*shape[:2], 8)


def test_many_sequences_are_cut_into_batches(
    tiny_model: pathlib.Path,
    model: ntm.Model,
    tmp_path: pathlib.Path,
    target: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ntm.Model, "batch_size", lambda *_: 7)
    x = copies(50, 3)
    np.save(tmp_path / "x.npy", x)
    run_command.run(str(tmp_path / "x.npy"), output=str(target), model=str(tiny_model), threads=2)
    np.testing.assert_allclose(np.load(target), expected(model, x), atol=1e-5)


def test_a_model_of_any_task(
    command: list[str], untrained: Callable[[str], pathlib.Path], tmp_path: pathlib.Path, target: pathlib.Path
) -> None:
    other = untrained("dynamic-ngrams")
    x = np.random.default_rng(0).integers(0, 2, (3, 30, 1))
    np.save(tmp_path / "x.npy", x)
    subprocess.run([*command, tmp_path / "x.npy", "-o", target, "--model", other], check=True, timeout=60)
    np.testing.assert_allclose(np.load(target), expected(ntm.load(other), x), atol=1e-4)


def test_the_bundled_model_is_the_default(tmp_path: pathlib.Path, target: pathlib.Path) -> None:
    x = copies(2, 10)
    np.save(tmp_path / "x.npy", x)
    subprocess.run([sys.executable, "-c", _CODE, tmp_path / "x.npy", "-o", target, "--bits"], check=True, timeout=60)
    np.testing.assert_array_equal(np.load(target)[:, 11:], x[:, :10, :8])


def test_special_outputs(ntm_run: Run, tmp_path: pathlib.Path) -> None:
    x = as_npy(copies(200, 20))
    assert ntm_run("-", "-o", "/dev/null", input=x).returncode == 0
    os.mkfifo(tmp_path / "fifo")
    with open(tmp_path / "y.npy", "wb") as file, subprocess.Popen(["cat", tmp_path / "fifo"], stdout=file) as cat:
        assert ntm_run("-", "-o", tmp_path / "fifo", input=x).returncode == 0
        assert cat.wait(timeout=60) == 0
    assert np.load(tmp_path / "y.npy").shape == (200, 41, 8)


# What it refuses


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3, 8)), "must have the shape [B, T, 9] for the model {model}, not [2, 3, 8]"),
        (np.zeros((2, 3)), "must have the shape [B, T, 9] for the model {model}, not [2, 3]"),
        (np.zeros(()), "must have the shape [B, T, 9] for the model {model}, not []"),
        (np.zeros((1, 2, 3, 9)), "not [1, 2, 3, 9]"),
        (np.zeros((2, 3, 9), complex), "must hold numbers, not complex128"),
        (np.zeros((2, 3, 9), "U4"), "must hold numbers, not <U4"),
        (np.zeros((2, 3, 9), "M8[s]"), "must hold numbers, not datetime64[s]"),
        (np.zeros((2, 3, 9), [("a", "f4")]), "must hold numbers, not [('a', '<f4')]"),
        (np.full((2, 3, 9), np.nan), "holds NaN, infinity, or a number beyond float32"),
        (np.full((2, 3, 9), -np.inf), "holds NaN, infinity, or a number beyond float32"),
        (np.full((2, 3, 9), 1e39), "holds NaN, infinity, or a number beyond float32"),
    ],
    ids=lambda value: f"{value.dtype} of {value.shape}" if isinstance(value, np.ndarray) else "",
)
def test_sequences_that_are_not_the_models(  # noqa: PLR0917  (fixtures)
    ntm_run: Run,
    tiny_model: pathlib.Path,
    tmp_path: pathlib.Path,
    target: pathlib.Path,
    array: npt.NDArray[Any],
    message: str,
) -> None:
    path = tmp_path / "x.npy"
    np.save(path, array)
    assert_trouble(
        ntm_run(path, "-o", target), f"{path} {message.format(model=tiny_model)}" if message[0] != "n" else message
    )
    assert not target.exists()


class Evil:
    """What makes a program run when it is unpickled."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return pathlib.Path.touch, (self.path,)


def test_no_pickle_is_opened(ntm_run: Run, tmp_path: pathlib.Path, target: pathlib.Path) -> None:
    ran = tmp_path / "ran"
    objects = np.array([[[Evil(ran)] * 9]], object)
    for name, content in (("object array", as_npy(objects, allow_pickle=True)), ("pickle", pickle.dumps(Evil(ran)))):
        (tmp_path / name).write_bytes(content)
        result = ntm_run(tmp_path / name, "-o", target)
        assert_trouble(result, f"cannot read {tmp_path / name}: it is not a .npy file, or is damaged")
    assert not ran.exists()
    assert not target.exists()
    np.load(tmp_path / "object array", allow_pickle=True)
    assert ran.exists()  # it is as evil as it says


def test_an_archive_of_arrays(ntm_run: Run, tmp_path: pathlib.Path, target: pathlib.Path) -> None:
    np.savez(tmp_path / "x.npz", copies(1, 2))
    assert_trouble(ntm_run(tmp_path / "x.npz", "-o", target), "it is not a .npy file, or is damaged")


def test_damaged_standard_input(ntm_run: Run) -> None:
    assert_trouble(ntm_run("-", "-o", "-", input=b"damaged"), "cannot read standard input: it is not a .npy file")
    assert_trouble(ntm_run("-", "-o", "-", input=b""), "cannot read standard input: it is not a .npy file")
    with_nan = as_npy(np.full((1, 1, 9), np.nan))
    assert_trouble(ntm_run("-", "-o", "-", input=with_nan), "standard input holds NaN")


WHOLE = as_npy(copies(2, 3))


@settings(deadline=None, max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=100) | st.integers(0, len(WHOLE) - 1).map(lambda size: WHOLE[:size]))
def test_a_damaged_file_is_one_line_of_error(ntm_run: Run, tmp_path: pathlib.Path, content: bytes) -> None:
    (tmp_path / "x.npy").write_bytes(content)
    result = ntm_run(tmp_path / "x.npy", "-o", tmp_path / "y.npy")
    assert_trouble(result, f"cannot read {tmp_path / 'x.npy'}: it is not a .npy file, or is damaged")
    assert not (tmp_path / "y.npy").exists()


def test_files_that_cannot_be_read_or_written(ntm_run: Run, tmp_path: pathlib.Path, target: pathlib.Path) -> None:
    x = tmp_path / "x.npy"
    assert_trouble(ntm_run(x, "-o", target), f"cannot read {x}: no such file or directory")
    assert_trouble(ntm_run(tmp_path, "-o", target), f"cannot read {tmp_path}: is a directory")
    np.save(x, copies(1, 2))
    nowhere = tmp_path / "nowhere" / "y.npy"
    assert_trouble(ntm_run(x, "-o", nowhere), f"cannot write {nowhere}: no such file or directory")
    assert_trouble(ntm_run(x, "-o", tmp_path), f"cannot write {tmp_path}: is a directory")
    assert not target.exists()


def test_an_output_that_exists(ntm_run: Run, tmp_path: pathlib.Path, target: pathlib.Path) -> None:
    np.save(tmp_path / "x.npy", copies(1, 2))
    target.write_bytes(b"precious")
    assert_trouble(ntm_run(tmp_path / "x.npy", "-o", target), f"{target} exists: use --force to replace it")
    assert target.read_bytes() == b"precious"
    assert ntm_run(tmp_path / "x.npy", "-o", target, "--force").returncode == 0
    assert np.load(target).shape == (1, 5, 8)


def test_the_input_may_be_replaced(ntm_run: Run, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, copies(1, 2))
    assert_trouble(ntm_run(path, "-o", path), "exists: use --force to replace it")
    assert ntm_run(path, "-o", path, "--force").returncode == 0
    assert np.load(path).shape == (1, 5, 8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "missing argument 'X.npy'"),
        (["x.npy"], "missing option '--output'"),
        (["x.npy", "y.npy", "-o", "z.npy"], "unexpected extra argument"),
        (["-", "-o", "y.npy", "--threads", "0"], "'--threads'"),
        (["-", "-o", "y.npy", "--memory-locations", "0"], "'--memory-locations'"),
    ],
)
def test_wrong_usage(ntm_run: Run, tmp_path: pathlib.Path, arguments: list[str], message: str) -> None:
    assert_trouble(ntm_run(*arguments, cwd=tmp_path), message)
    assert not list(tmp_path.iterdir())


def test_fewer_locations_than_the_heads_start_from(ntm_run: Run, edited_model: Callable[..., pathlib.Path]) -> None:
    other = edited_model(first={"weights": [[0.5, 0.5]] * 2})
    result = ntm_run("-", "-o", "-", "--model", other, "--memory-locations", "1", input=WHOLE)
    assert_trouble(result, "memory_locations must be at least 2, not 1")


def test_an_unknown_model(ntm_run: Run, target: pathlib.Path) -> None:
    bundled = ", ".join(folder.bundled())
    assert DEFAULT in bundled
    result = ntm_run("-", "-o", target, "--model", "copy-9bit", input=WHOLE)
    assert_trouble(result, f"there is no model folder copy-9bit; bundled models: {bundled}\n")


def test_a_damaged_model(ntm_run: Run, tiny_model: pathlib.Path, tmp_path: pathlib.Path, target: pathlib.Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "model")
    (tmp_path / "model" / "sparse.onnx").write_bytes((tiny_model / "sparse.onnx").read_bytes()[:-1])
    result = ntm_run("-", "-o", target, "--model", tmp_path / "model", input=WHOLE)
    assert_trouble(result, f"cannot load the model {tmp_path / 'model' / 'sparse.onnx'}: ")


def test_a_graph_that_does_not_run(
    ntm_run: Run, edited_model: Callable[..., pathlib.Path], target: pathlib.Path
) -> None:
    def teleport(graph: Any) -> None:
        graph.graph.node[0].op_type = "Teleport"

    result = ntm_run("-", "-o", target, "--model", edited_model(change=teleport), input=WHOLE)
    assert_trouble(result, "Teleport")
    assert not target.exists()


# The output is whole, or there is none


def test_standard_streams_are_closed(command: list[str], tmp_path: pathlib.Path, target: pathlib.Path) -> None:
    np.save(tmp_path / "x.npy", copies(1, 2))

    def run(closing: str, *arguments: object) -> subprocess.CompletedProcess[bytes]:
        script = ["sh", "-c", f'exec "$@" {closing}', "sh", *command, *map(str, arguments)]
        return subprocess.run(script, capture_output=True, check=False, timeout=60)

    assert_trouble(run(">&-", tmp_path / "x.npy", "-o", "-"), "standard output is closed")
    assert_trouble(run("<&-", "-", "-o", target), "standard input is closed")
    assert not target.exists()
    assert run("<&- >&- 2>&-", tmp_path / "x.npy", "-o", target).returncode == 0
    assert np.load(target).shape == (1, 5, 8)


def test_no_binary_to_a_terminal(ntm_run: Run) -> None:
    terminal, stdout = pty.openpty()
    result = ntm_run("-", "-o", "-", input=WHOLE, stdout=stdout)
    message = b"ntm-run: error: standard output is a terminal: use -o FILE\n"
    assert (result.returncode, result.stderr) == (2, message)
    os.set_blocking(terminal, False)
    with pytest.raises(BlockingIOError):
        os.read(terminal, 1)
    os.close(terminal)
    os.close(stdout)


def test_nobody_reads_the_output(ntm_run: Run) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    result = ntm_run("-", "-o", "-", input=as_npy(copies(100, 20)), stdout=write_end)
    os.close(write_end)
    assert (result.returncode, result.stderr) == (0, b"")


def test_an_output_that_does_not_block(command: list[str]) -> None:
    """A pipe that is full before its reader begins."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    process = subprocess.Popen([*command, "-", "-o", "-"], stdin=subprocess.PIPE, stdout=write_end)
    os.close(write_end)
    assert process.stdin is not None
    process.stdin.write(as_npy(copies(300, 20)))
    process.stdin.close()
    select.select([read_end], [], [])
    time.sleep(0.3)
    content = b""
    while more := os.read(read_end, 1 << 16):
        content += more
    os.close(read_end)
    assert process.wait(timeout=60) == 0
    assert np.load(io.BytesIO(content)).shape == (300, 41, 8)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no device that is always full")
def test_no_space_left(ntm_run: Run) -> None:
    assert_trouble(ntm_run("-", "-o", "/dev/full", input=WHOLE), "cannot write /dev/full: no space left on device")
    with open("/dev/full", "wb") as full:
        result = ntm_run("-", "-o", "-", input=WHOLE, stdout=full)
    message = b"ntm-run: error: cannot write standard output: no space left on device\n"
    assert (result.returncode, result.stderr) == (2, message)


def test_a_file_that_cannot_be_whole_is_not_there(ntm_run: Run, target: pathlib.Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    result = ntm_run("-", "-o", target, input=as_npy(copies(100, 20)), preexec_fn=limit)
    assert_trouble(result, f"cannot write {target}: file too large")
    assert not target.exists()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_leaves_nothing_behind(
    command: list[str], tmp_path: pathlib.Path, target: pathlib.Path, number: signal.Signals, code: int
) -> None:
    """In the middle of many sequences, with progress on a terminal so that the test knows of it."""
    np.save(tmp_path / "x.npy", np.zeros((600, 2_000, 9), np.uint8))
    terminal, stderr = pty.openpty()
    process = subprocess.Popen(
        [*command, tmp_path / "x.npy", "-o", target, "--threads", "2"],
        stderr=stderr,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(stderr)
    shown, deadline = b"", time.monotonic() + 60
    while b" of 600 sequences" not in shown:
        assert time.monotonic() < deadline
        shown += os.read(terminal, 1 << 16)
    interrupted = time.monotonic()
    process.send_signal(number)
    with contextlib.suppress(OSError):  # the end of the process is the end of the terminal
        while more := os.read(terminal, 1 << 16):
            shown += more
    os.close(terminal)
    assert process.wait(timeout=60) == code
    assert time.monotonic() - interrupted < 20
    assert b"Traceback" not in shown
    assert not target.exists()


def test_help_and_version_need_neither_numpy_nor_onnxruntime() -> None:
    code = f"import sys; sys.modules['numpy'] = sys.modules['onnxruntime'] = None; {_CODE}"
    for option, start in (("--help", "Usage: ntm-run"), ("--version", "ntm-run ")):
        done = subprocess.run([sys.executable, "-c", code, option], capture_output=True, check=False, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(start)
