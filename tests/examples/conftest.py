"""What the tests of the examples share: programs in processes of their own, of which none may be left."""

import contextlib
import importlib.util
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
_MARK = "NTM_TEST_OF_EXAMPLES"  # an environment variable: all processes that a program starts inherit it
_SECONDS = 120  # for a whole program; the slowest take some 5 s of a core


class Program:
    """An example that runs; what it prints goes to files."""

    def __init__(self, process: subprocess.Popen[bytes], folder: pathlib.Path, mark: str) -> None:
        self.process = process
        self._folder = folder
        self._mark = mark

    @property
    def stdout(self) -> str:
        return (self._folder / "stdout").read_text()

    @property
    def stderr(self) -> str:
        return (self._folder / "stderr").read_text()

    def wait_for(self, condition: Callable[[], Any]) -> Any:
        """Return what the condition is, once it is true."""
        deadline = time.monotonic() + _SECONDS
        while not (found := condition()):
            assert self.process.poll() is None, self.stderr
            assert time.monotonic() < deadline, self.stderr
            time.sleep(0.05)
        return found

    def processes(self, title: str) -> list[int]:
        """Those of the program whose command line matches a regular expression from its beginning."""
        return [pid for pid in _marked(self._mark) if re.match(title, _title(pid))]

    def wait(self) -> int:
        """Return the exit code."""
        return self.process.wait(_SECONDS)


Start = Callable[..., contextlib.AbstractContextManager[Program]]


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start an example; at the end it is stopped, and nothing that it started may be left."""
    with tempfile.TemporaryDirectory(prefix="ntm") as short:  # for sockets of Ray, whose paths may not be long
        settings = {
            "RAY_TMPDIR": short,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "disabled",  # which writes a token into the home
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # to stay on the loopback interface, as it does on those systems
            "SPARK_LOCAL_IP": "127.0.0.1",
        }

        @contextlib.contextmanager
        def run(script: str, *arguments: str | pathlib.Path) -> Iterator[Program]:
            mark = uuid.uuid4().hex
            folder = tmp_path_factory.mktemp(pathlib.Path(script).stem)
            with open(folder / "stdout", "wb") as stdout, open(folder / "stderr", "wb") as stderr:
                process = subprocess.Popen(
                    [sys.executable, EXAMPLES / script, *arguments],
                    cwd=folder,
                    env=os.environ | settings | {_MARK: mark},
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=stderr,
                )
            try:
                yield Program(process, folder, mark)
            finally:
                process.kill()
                process.wait()
                left = _end(mark)
            assert not left, f"{script} left {left}"

        yield run


@pytest.fixture(scope="session")
def run(start: Start) -> Callable[..., str]:
    """Run an example to its end, and return what it printed."""

    def to_its_end(script: str, *arguments: str | pathlib.Path) -> str:
        with start(script, *arguments) as program:
            assert program.wait() == 0, program.stderr
            return program.stdout

    return to_its_end


@pytest.fixture(scope="session")
def need() -> Callable[..., None]:
    """Skip a test where a package is missing. Nothing is imported: some of them take seconds."""

    def skip(*modules: str) -> None:
        missing = [module for module in modules if importlib.util.find_spec(module) is None]
        if missing:
            pytest.skip(f"missing: {', '.join(missing)} (pip install '.[examples]')")

    return skip


def _end(mark: str) -> list[str]:
    """Wait for the processes of a program to end; then kill those that have not, and return what they are."""
    deadline = time.monotonic() + 30
    while (left := _marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.1)
    titles = [_title(pid) for pid in left]
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return titles


def _marked(mark: str) -> list[int]:
    """The processes with this mark in their environment; nothing where the system has no /proc."""
    mark = f"{_MARK}={mark}"
    return [int(path.parent.name) for path in pathlib.Path("/proc").glob("[0-9]*/environ") if mark in _read(path)]


def _title(pid: int) -> str:
    return _read(f"/proc/{pid}/cmdline").replace("\0", " ")


def _read(path: str | pathlib.Path) -> str:
    try:
        return pathlib.Path(path).read_text(errors="replace")
    except OSError:  # it has ended
        return ""
