"""Serving where Python has none of what POSIX alone has, as on Windows; simulated."""

import pathlib
import subprocess
import sys

import pytest

_WITHOUT_POSIX = """
import os, signal, sys
for name in ("SIGHUP", "SIGALRM", "SIGKILL", "SIGQUIT", "SIGUSR1", "SIGUSR2", "setitimer", "getitimer", "ITIMER_REAL"):
    vars(signal).pop(name, None)
for name in ("fork", "register_at_fork", "fchmod", "sched_getaffinity", "O_TMPFILE", "O_PATH", "mkfifo", "getuid"):
    vars(os).pop(name, None)
for name in ("fcntl", "resource", "termios", "tty", "pty", "pwd", "grp"):
    sys.modules[name] = None
"""


def without_posix(program: str, *arguments: str | pathlib.Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _WITHOUT_POSIX + program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False, text=True, timeout=120)


MODULES = ["ntm", "ntm.api", "ntm.console", "ntm.commands", "ntm.files", "ntm.tasks", "ntm.runtime.evaluate"]
MODULES += [f"ntm.runtime.{name}_command" for name in ("copy", "eval", "run")]
MODULES += ["ntm.training.command", "ntm.export.command"]


@pytest.mark.parametrize("module", MODULES)
def test_an_import(module: str) -> None:
    done = without_posix(f"import {module}")
    assert (done.returncode, done.stderr) == (0, "")


def test_serving(tiny_model: pathlib.Path) -> None:
    program = """
import numpy as np, pickle
import ntm
model = pickle.loads(pickle.dumps(ntm.load(sys.argv[1])))
words = np.random.default_rng(0).integers(0, 2, (3, 9, 8), np.uint8)
assert (model.copy(words) == words).all()
assert ntm.evaluate(model, sizes=[{"length": 4}], sequences=5)[0].perfect
"""
    done = without_posix(program, tiny_model)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_commands_that_serve(tiny_model: pathlib.Path, tmp_path: pathlib.Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(bytes(range(100)))
    for arguments in ((), ("--force",)):  # a new file, and one that is replaced
        program = "from ntm import commands; commands.copy()"
        done = without_posix(program, source, "-o", copy, "--model", tiny_model, *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert copy.read_bytes() == source.read_bytes()
    assert set(tmp_path.iterdir()) == {source, copy}
    program = "from ntm import commands; commands.evaluate()"
    done = without_posix(program, "--model", tiny_model, "--lengths", "3", "--sequences", "2")
    assert (done.returncode, done.stderr) == (0, "")
    done = without_posix(program, "--lengths", "three")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("ntm-eval: error: lengths must be numbers")


def test_a_signal_that_windows_has() -> None:
    program = """
import time
from ntm import console
def command():
    try:
        signal.raise_signal(signal.SIGINT)
        time.sleep(60)
    finally:
        print("cleaned up")
console.run("ntm-test", command)
"""
    done = without_posix(f"signal.signal(signal.SIGINT, signal.default_int_handler)\n{program}")
    assert (done.returncode, done.stdout, done.stderr) == (130, "cleaned up\n", "")
