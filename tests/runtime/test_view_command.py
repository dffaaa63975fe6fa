"""``ntm-view``: it serves the page of a model on this machine alone, until a signal."""

import http.client
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ntm.runtime import site
from ntm.runtime.folder import DEFAULT, find

VIEW = [sys.executable, "-c", "from ntm.commands import view; view()", "--no-browser"]


@pytest.fixture
def start(tmp_path: pathlib.Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start ``ntm-view`` with these arguments, where nothing but its own temporary files are in ``tmp_path``."""
    started = []

    def begin(*arguments: str | pathlib.Path, **environment: str) -> subprocess.Popen[str]:
        temporary = {name: str(tmp_path) for name in ("TMPDIR", "TEMP", "TMP")}
        process = subprocess.Popen(
            [*VIEW, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | temporary | environment,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def get(address: str, path: str) -> tuple[int, str | None, bytes]:
    """Status, type and content."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(address).netloc, timeout=60)
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.getheader("Content-Type"), answer.read()


def address_of(process: subprocess.Popen[Any]) -> str:
    assert process.stdout is not None
    return str(process.stdout.readline()).strip()


def test_serves_the_page_of_the_bundled_model_until_ctrl_c(
    start: Callable[..., subprocess.Popen[str]], tmp_path: pathlib.Path
) -> None:
    process = start()
    address = address_of(process)
    assert address.startswith("http://127.0.0.1:")
    status, kind, page = get(address, "/")
    assert (status, kind) == (200, "text/html; charset=utf-8")
    assert b"<h1>Neural Turing Machine</h1>" in page
    for path, wanted in (("main.js", "text/javascript"), ("style.css", "text/css"), ("model.json", "application/json")):
        assert get(address, f"/page/{path}")[:2] == (200, wanted)
    assert get(address, "/page/step.onnx")[2] == (find(DEFAULT) / "step.onnx").read_bytes()
    assert json.loads(get(address, "/page/model.json")[2])["name"] == DEFAULT
    assert get(address, "/page/")[0] == 404
    assert get(address, "/../../etc/passwd")[0] == 404
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.startswith(f"ntm-view: {site.PACKAGE} ")
    assert len(said.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_serves_a_model_of_the_users(start: Callable[..., subprocess.Popen[str]], tiny_model: pathlib.Path) -> None:
    address = address_of(start(tiny_model, "--quiet"))
    assert json.loads(get(address, "/page/model.json")[2])["name"] == "tiny"


OWN = """
import dataclasses
from ntm.tasks import Copy

class Own(Copy):
    name = "own"
"""


def test_shows_sequences_of_a_task_of_the_users(
    start: Callable[..., subprocess.Popen[str]],
    edited_model: Callable[..., pathlib.Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    model = edited_model(props={"task": json.dumps({"name": "own", "options": {"bits": 8, "pattern": "random"}})})
    file = tmp_path_factory.mktemp("task") / "own.py"
    file.write_text(OWN, encoding="utf-8")
    address = address_of(start(model, "--task", f"{file}:Own"))
    shown = json.loads(get(address, "/page/model.json")[2])
    assert shown["task"]["name"] == "own"
    sizes = [one["size"]["length"] for one in shown["sequences"]]
    assert {1, 20, 120} <= set(sizes)
    assert sizes == sorted(sizes)
    assert all(2 * size + 1 == len(one["x"]) <= 600 for size, one in zip(sizes, shown["sequences"], strict=True))
    process = start(model)
    assert process.communicate(timeout=60)[1] == (
        "ntm-view: error: its task own is not built in: give --task FILE.py:own\n"
    )
    assert process.returncode == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-such-model"], "there is no model folder no-such-model; bundled models:"),
        (["--port", "99999"], "invalid value for '--port': "),
        (["--task", "own.py:Own"], "there is no file own.py"),
    ],
)
def test_refuses_in_a_line(start: Callable[..., subprocess.Popen[str]], arguments: list[str], message: str) -> None:
    process = start(*arguments)
    output, error = process.communicate(timeout=60)
    assert (process.returncode, output) == (2, "")
    assert error.startswith(f"ntm-view: error: {message}")
    assert len(error.splitlines()) == 1


def test_refuses_a_port_that_is_taken(start: Callable[..., subprocess.Popen[str]]) -> None:
    port = urllib.parse.urlsplit(address_of(start())).port
    second = start("--port", str(port), "--quiet")
    error = second.communicate(timeout=60)[1]
    assert error == f"ntm-view: error: cannot serve on port {port}: address already in use\n"
    assert second.returncode == 2


def test_opens_the_browser(tmp_path: pathlib.Path) -> None:
    program = (
        "import sys, webbrowser; webbrowser.open = lambda address: print('opened', address, flush=True)\n"
        "from ntm.commands import view; view()"
    )
    with tempfile.TemporaryDirectory(dir=tmp_path):
        process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        address = address_of(process)
        assert address_of(process) == f"opened {address}"
        process.kill()
        process.communicate()
