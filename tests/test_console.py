import gc
import itertools
import os
import pathlib
import pty
import resource
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from ntm import console
from ntm.runtime import folder

_PROGRAM = """
import os, sys, time, warnings
from ntm import console, errors

def command(what: str, quiet: console.Quiet = False, version: console.Version = False):
    if what == "sleep":
        try:
            sys.stdout.write("asleep\\n")
            sys.stdout.flush()
            time.sleep(60)
        finally:
            sys.stdout.write("cleaned up\\n")
    if what == "swallow":
        try:
            sys.stdout.write("asleep\\n")
            sys.stdout.flush()
            time.sleep(60)
        except BaseException:
            time.sleep(60)
    if what in ("progress", "spinner"):
        with console.Progress(60 if what == "progress" else None, quiet=quiet) as progress:
            for done in range(60):
                progress.update(done, "halfway" if done > 45 else "")
                time.sleep(0.015)
    exec(what if "(" in what or " " in what else "")
    return 1 if what == "wrong" else None

console.run("ntm-test", command)
"""


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _PROGRAM, *arguments]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.run(command, check=False, text=True, timeout=60, **streams)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["fine"], 0, ""),
        (["wrong"], 1, ""),
        ([], 2, "error: missing argument 'what'"),
        (["fine", "--colour"], 2, "error: no such option: --colour"),
        (["raise console.CommandError('the file\\nFoo is bad.')"], 2, "error: the file Foo is bad"),
        (["raise console.CommandError('a\\x1b[2Jb\\udcff')"], 2, r"error: a\x1b[2Jb\udcff"),
        (["open('/no/Such')"], 2, "error: /no/Such: no such file or directory"),
        (["raise MemoryError()"], 2, "error: out of memory"),
        (["raise console.CommandError('no  file a  b')"], 2, "error: no  file a  b"),
        (["raise BrokenPipeError()"], 0, ""),
        (
            ["raise ValueError('why?')"],
            2,
            "error: internal error, NTM_TRACEBACK=1 shows where: ValueError: why?",
        ),
        (
            ["raise RuntimeError('can\\'t start new thread')"],
            2,
            "error: cannot start a thread: the limit of processes (ulimit -u) or of memory is too small",
        ),
        (["warnings.warn('mind the gap.')"], 0, "warning: mind the gap"),
        (["console.fail('ntm-test', 'not converged', console.WRONG)"], 1, "error: not converged"),
        (["raise errors.TaskError('the task\\nFoo is bad.')"], 2, "error: the task Foo is bad"),
        (
            ["with errors.explaining('cannot read x'): open('/no/such')"],
            2,
            "error: cannot read x: no such file or directory",
        ),
        (["errors.require('train', 'numpy')"], 0, ""),
        (
            ["errors.require('train', 'no_such_module')"],
            2,
            "error: no_such_module is missing: pip install 'neural-turing-machine[train]'",
        ),
        (
            [
                "import platform, importlib.util; importlib.util.find_spec = lambda _: None; "
                "sys.version_info = (3, 12); sys.platform, platform.machine = 'darwin', lambda: 'x86_64'; "
                "errors.require('train', 'tensorflow')",
            ],
            2,
            "error: there is no TensorFlow for Python 3.12 on darwin x86_64: training and export need Python 3.11 to "
            "3.13 on Linux, Windows or a Mac with Apple silicon",
        ),
    ],
)
def test_one_line_and_the_exit_code(arguments: list[str], code: int, message: str) -> None:
    result = run(*arguments)
    assert (result.returncode, result.stdout) == (code, "")
    assert result.stderr == (f"ntm-test: {message}\n" if message else "")


@pytest.mark.parametrize("kibibytes", [100_000, 250_000])
@pytest.mark.parametrize("name", ["train", "copy", "evaluate"])
def test_a_small_limit_of_the_address_space_is_one_line(name: str, kibibytes: int, tmp_path: pathlib.Path) -> None:
    arguments = {"train": ["--output", "run"], "copy": [__file__, "-o", "copy"], "evaluate": []}[name]
    program = [sys.executable, "-c", f"from ntm.commands import {name}; {name}()", *arguments]

    def limited(*arguments: str) -> subprocess.CompletedProcess[str]:
        limit = (kibibytes << 10, kibibytes << 10)
        return subprocess.run(
            [*program, *arguments],
            capture_output=True,
            check=False,
            text=True,
            cwd=tmp_path,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, limit),
        )

    result = limited()
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert ": error: out of memory: the limit of the address space (ulimit -v) must leave 300 MiB" in result.stderr
    assert limited("--help").returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_the_limits_that_tensorflow_needs_are_checked_before_it_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow ends the process where it cannot start a thread or map its memory."""
    with pytest.raises(console.CommandError, match=r"^out of memory: the limit of the address space \(ulimit -v\)"):
        console._require_address_space(1 << 30)
    console._require_address_space(1)
    console._require_threads(50)
    start = threading.Thread.start
    started = itertools.count()

    def start_few(thread: threading.Thread) -> None:
        if next(started) >= 4:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_few)
    before = threading.active_count()
    with pytest.raises(console.CommandError, match=r"^the limit of processes \(ulimit -u\) must leave \d+ threads$"):
        console.import_tensorflow()
    assert threading.active_count() == before


def test_a_traceback_on_demand() -> None:
    assert "Traceback" in run("raise ValueError('why?')", env=os.environ | {"NTM_TRACEBACK": "1"}).stderr


def test_help_and_version_need_no_extra() -> None:
    assert run("--help").stdout.startswith("Usage: ntm-test")
    result = run("--version")
    assert (result.returncode, result.stderr) == (0, "")
    version, *models = result.stdout.splitlines()
    assert version.startswith("ntm-test 0.")
    expected = [folder.read(name).metadata for name in folder.bundled()]
    assert models == [f"model {data.model_name}, checkpoint {data.checkpoint_sha256[:12]}" for data in expected]


@pytest.mark.parametrize(
    ("name", "package", "extra", "arguments"),
    [
        ("ntm-train", "training", "train", ["--output", "{}"]),
        ("ntm-export", "export", "export", ["{}", "--output", "{}/model"]),
    ],
)
def test_an_extra_is_missing(tmp_path: pathlib.Path, name: str, package: str, extra: str, arguments: list[str]) -> None:
    """The commands themselves, where TensorFlow is not: one line that says what to do, and nothing is made."""
    program = f"import sys; sys.modules['tensorflow'] = None; from ntm.{package}.command import main; main()"

    def run_without(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", program, *arguments]
        return subprocess.run(command, capture_output=True, check=False, text=True, timeout=60)

    result = run_without(*(argument.format(tmp_path / "run") for argument in arguments))
    assert (result.returncode, result.stdout) == (2, "")
    message = f"error: tensorflow is missing: pip install 'neural-turing-machine[{extra}]'"
    assert result.stderr == f"{name}: {message}\n"
    assert not (tmp_path / "run").exists()
    assert run_without("--help").returncode == run_without("--version").returncode == 0


def test_no_space_for_the_result() -> None:
    with open("/dev/full", "w") as full:
        result = run("--version", stdout=full)
    message = "ntm-test: error: cannot write standard output: no space left on device\n"
    assert (result.returncode, result.stderr) == (2, message)


def test_nobody_reads_the_result() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    result = run("--version", stdout=write_end)
    os.close(write_end)
    assert (result.returncode, result.stderr) == (0, "")


def test_closed_standard_streams() -> None:
    for closing in (">&-", "2>&-"):
        command = ["sh", "-c", f'exec "$0" "$@" {closing}', sys.executable, "-c", _PROGRAM]
        for argument in ("fine", "--version", "--help"):
            result = subprocess.run([*command, argument], capture_output=True, check=False, text=True)
            assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("train", ["--json", "--output", "made"]),
        ("train", ["--task", "help"]),
        ("export", ["run", "--output", "made"]),
        ("export", ["run", "--output", "made", "--json", "--quiet"]),
        ("export", ["run", "--check", "made"]),
        ("evaluate", ["--lengths", "3", "--plot", "made.png"]),
        ("copy", ["--json", "source", "--output", "made"]),
        ("copy", ["source"]),
        ("run", ["source", "--output", "-"]),
    ],
)
def test_a_command_that_could_not_show_its_result_does_not_begin(
    tmp_path: pathlib.Path, name: str, arguments: list[str]
) -> None:
    (tmp_path / "source").write_bytes(b"bytes")
    program = f"from ntm import commands; commands.{name}()"
    command = ["sh", "-c", 'exec "$0" "$@" >&-', sys.executable, "-c", program, *arguments]
    result = subprocess.run(command, capture_output=True, check=False, text=True, timeout=60, cwd=tmp_path)
    command_name = {"evaluate": "ntm-eval"}.get(name, f"ntm-{name}")
    assert (result.returncode, result.stderr) == (2, f"{command_name}: error: standard output is closed\n")
    assert os.listdir(tmp_path) == ["source"]


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "nonsense", ""])
def test_a_backend_of_matplotlib_that_is_missing(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a notebook starts a command in another environment."""
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("MPLBACKEND", backend)
    result = run("import matplotlib; sys.stdout.write(matplotlib.get_backend())")
    assert (result.returncode, result.stdout.lower(), result.stderr) == (0, "agg", "")


def test_a_result_that_cannot_be_shown_is_one_line() -> None:
    command = ["sh", "-c", 'exec "$0" "$@" >&-', sys.executable, "-c", _PROGRAM, "console.show('a result')"]
    result = subprocess.run(command, capture_output=True, check=False, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (2, "ntm-test: error: standard output is closed\n")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
@pytest.mark.parametrize(
    ("arguments", "stdout", "stderr"),
    [
        (["--help"], r"how much\u2800", ""),  # an ellipsis of click's, or whatever comes
        (["--version"], "ntm-test 0.", ""),
        (["console.show('a\u2800b\\udcff')"], "a\\u2800b\\udcff\n", ""),
        (["console.say('a\u2800b\\udcff')"], "", "a\\u2800b\\udcff\n"),
        (["console.silence_libraries(); console.say('a\u2800b')"], "", "a\\u2800b\n"),
        (["console.silence_libraries(); console.warn('a\u2800b')"], "", "ntm-test: warning: a\\u2800b\n"),
    ],
)
def test_what_a_command_prints_is_printable(
    encoding: str, arguments: list[str], stdout: str, stderr: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = _PROGRAM.replace("what: str,", "what: typing.Annotated[str, typer.Argument(metavar='how much\u2800')],")
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    command = [sys.executable, "-c", f"import typer, typing\n{program}", *arguments]
    result = subprocess.run(command, check=False, capture_output=True, timeout=60)
    assert result.returncode == 0
    assert stdout in result.stdout.decode("ascii")
    assert result.stderr.decode("ascii") == stderr


@pytest.mark.parametrize("name", ["train", "export", "copy", "evaluate", "run"])
def test_the_help_of_every_command_is_ascii(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    command = [sys.executable, "-c", f"from ntm import commands; commands.{name}()", "--help"]
    result = subprocess.run(command, check=False, capture_output=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.isascii()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal(number: signal.Signals, code: int) -> None:
    # The tests may run under nohup, which a command obeys.
    program = f"import signal; signal.signal({int(number)}, signal.default_int_handler)\n{_PROGRAM}"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "sleep"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "asleep\n"
    process.send_signal(number)
    rest, errors = process.communicate(timeout=60)
    assert (process.returncode, rest, errors) == (code, "cleaned up\n", "")


def test_a_signal_that_a_library_swallows() -> None:
    process = subprocess.Popen([sys.executable, "-c", _PROGRAM, "swallow"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "asleep\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130


def test_a_signal_in_a_destructor_is_obeyed_without_a_word() -> None:
    program = """
import os, signal, time
from ntm import console
class Fragile:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
def command():
    Fragile()
    time.sleep(60)
console.run("ntm-test", command)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, timeout=30)
    assert (result.returncode, result.stdout, result.stderr) == (143, b"", b"")


def test_no_thread_is_waited_for_after_a_signal() -> None:
    """A thread in a library, which nobody can stop, and which may take offence at the interpreter's end."""
    program = f"import threading, time\nthreading.Thread(target=time.sleep, args=[60]).start()\n{_PROGRAM}"
    process = subprocess.Popen([sys.executable, "-c", program, "sleep"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "asleep\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30)[0] == "cleaned up\n"
    assert process.returncode == 143


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_while_the_command_is_imported(number: signal.Signals, code: int) -> None:
    program = f"""
import os, signal, sys
signal.signal({int(number)}, signal.default_int_handler)
from ntm import commands
class Slow:
    def find_spec(self, name, *_):
        if name == "ntm.runtime.copy_command":
            os.kill(os.getpid(), {int(number)})
            import time
            time.sleep(60)
sys.meta_path.insert(0, Slow())
commands.copy()
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, timeout=30)
    assert (result.returncode, result.stdout, result.stderr) == (code, b"", b"")


def _on_terminal(*arguments: str, **environment: str) -> bytes:
    """What a terminal as stderr is shown."""
    terminal, stderr = pty.openpty()
    result = run(*arguments, stderr=stderr, env=os.environ | {"TERM": "xterm"} | environment)
    assert result.returncode == 0
    os.close(stderr)
    shown = b""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            shown += os.read(terminal, 1 << 16)
        except OSError:  # all has been read
            break
    os.close(terminal)
    return shown


def test_progress_on_a_terminal() -> None:
    shown = _on_terminal("progress")
    assert b"halfway" in shown
    assert b"\x1b[35m" in shown  # in colour
    assert b" left" in shown  # what the time means
    assert b"\x1b[35m" not in _on_terminal("progress", NO_COLOR="1")


@pytest.mark.parametrize("kind", ["progress", "spinner"])
def test_progress_is_printable(kind: str) -> None:
    shown = _on_terminal(kind, PYTHONIOENCODING="ascii")
    assert b"halfway" in shown
    assert shown.isascii()
    assert b"\\u" not in shown


def test_no_progress_where_nobody_watches() -> None:
    assert _on_terminal("progress", "--quiet") == b""
    assert _on_terminal("progress", TERM="dumb") == b""
    assert run("progress").stderr == ""


@pytest.mark.slow
def test_tensorflow_is_imported_while_no_garbage_is_collected() -> None:
    code = (
        "import gc, sys; from ntm import console; "
        "searching = lambda *_: 'tensorflow' in sys.modules and not gc.get_freeze_count() and print('searching'); "
        "gc.callbacks.append(searching); "
        "console.import_tensorflow(); print(gc.isenabled(), 'tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("True True\n", "")


def test_garbage_is_collected_again_where_tensorflow_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "silence_libraries", lambda: None)
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ImportError):
        console.import_tensorflow()
    assert gc.isenabled()
