"""The option ``--ray`` of the benchmarks: calls as tasks of Ray, with results in order and trouble in a line."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest

_BENCHMARKS = pathlib.Path(__file__).parents[1] / "benchmarks"

_PROGRAM = """
import os, sys, time
from on_ray import results

def call(number, seconds):
    time.sleep(seconds)
    if number == 7:
        raise SystemExit("the seed 7 is not trained")
    return number, os.getpid(), os.getcwd()

address = sys.argv[1] if sys.argv[1] != "none" else None
found = list(results(address, call, [(1, 0.5), (2, 0.0), (3, 0.0)]))
is_here = any(process == os.getpid() for _, process, _ in found)
print([number for number, *_ in found], is_here, {folder == os.getcwd() for *_, folder in found})
list(results(address, call, [(7, 0.0), (8, 0.0)]))
"""


def _run(address: str, folder: pathlib.Path, before: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", before + _PROGRAM, address]
    environment = os.environ | {"PYTHONPATH": str(_BENCHMARKS), "RAY_AUTH_MODE": "disabled"}
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder, env=environment)


def test_without_ray_calls_follow_each_other_in_this_process(tmp_path: pathlib.Path) -> None:
    done = _run("none", tmp_path)
    assert (done.returncode, done.stdout) == (1, "[1, 2, 3] True {True}\n")
    assert done.stderr == "the seed 7 is not trained\n"


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_calls_are_tasks_of_ray(tmp_path: pathlib.Path) -> None:
    done = _run("local", tmp_path)
    assert (done.returncode, done.stdout) == (1, "[1, 2, 3] False {True}\n"), done.stderr
    lines = [line for line in done.stderr.splitlines() if "tasks are done" in line]
    assert lines[:3] == [f"{count} of 3 tasks are done" for count in (1, 2, 3)]
    assert done.stderr.endswith("the seed 7 is not trained\n")


def test_ray_is_missing(tmp_path: pathlib.Path) -> None:
    done = _run("local", tmp_path, "import sys; sys.modules['ray'] = None")
    message = "ray is missing: pip install 'neural-turing-machine[ray]'"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"--ray: error: {message}\n")


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_no_cluster_is_at_an_address(tmp_path: pathlib.Path) -> None:
    done = _run("nonsense", tmp_path)
    *_, last = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, "")
    assert last.startswith("--ray: error: ")
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_ray_and_threads_contradict_each_other() -> None:
    command = [sys.executable, str(_BENCHMARKS / "tasks.py"), "--ray", "local", "--at-once", "2"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.endswith(
        "error: give either --at-once or --ray: Ray trains as many seeds at a time as it has cores\n"
    )
