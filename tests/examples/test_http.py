"""The HTTP server serves two clients at once, whole sequences and steps; what it cannot serve is one clear error."""

import base64
import contextlib
import http.client
import json
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import ntm

Ask = Callable[..., tuple[int, Any]]


@pytest.fixture(scope="module")
def port(start: Callable[..., Any], need: Callable[..., None]) -> Iterator[int]:
    """The server's."""
    need("starlette", "uvicorn")
    with start("http_server.py", "--port", "0") as server:
        found = server.wait_for(lambda: re.search(r"running on http://127\.0\.0\.1:(\d+)", server.stderr))
        yield int(found[1])
        assert server.process.poll() is None, server.stderr
        server.process.send_signal(signal.SIGINT)
        server.wait()
        assert "Traceback" not in server.stderr


@pytest.fixture(scope="module")
def ask(port: int) -> Ask:
    """Send a question, over a connection of its own; returns the status and the answer."""

    def send(path: str, question: Any, method: str = "POST") -> tuple[int, Any]:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            connection.request(method, path, question if isinstance(question, str) else json.dumps(question))
            answer = connection.getresponse()
            content = answer.read()
            return answer.status, json.loads(content) if content.startswith(b"{") else content

    return send


@pytest.fixture(scope="module")
def model() -> ntm.Model:
    """As the server has it."""
    return ntm.load(memory_locations=128)


def random_inputs(seed: int, *lengths: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.integers(0, 2, (length, 9)) for length in lengths]


def test_two_clients_at_once_have_everything_copied(port: int, run: Callable[..., str]) -> None:
    with ThreadPoolExecutor(2) as pool:
        clients = [pool.submit(run, "http_client.py", "--port", str(port)) for _ in range(2)]
        for client in clients:
            assert client.result() == "whole sequences: 0 wrong bits\nstep by step: 0 wrong bits\n"


def test_each_client_gets_what_its_sequences_get_alone(ask: Ask, model: ntm.Model) -> None:
    """Lengths differ, and the steps of two sequences come in turn."""

    def whole(seed: int) -> None:
        sequences = random_inputs(seed, 30, 1, 12, 150)
        status, answer = ask("/run", {"sequences": [x.tolist() for x in sequences]})
        assert status == 200
        for x, y in zip(sequences, answer["outputs"], strict=True):
            np.testing.assert_allclose(y, model.run(x[:, np.newaxis])[0][:, 0], atol=1e-5)

    def by_steps(seed: int) -> None:
        (x,) = random_inputs(seed, 12)
        expected = model.run(x[:, np.newaxis], model.initial_state(1))[0][:, 0]
        state: dict[str, str] = {}
        for x_t, y in zip(x, expected, strict=True):
            status, answer = ask("/step", {"x": x_t.tolist()} | state)
            assert status == 200
            np.testing.assert_allclose(answer["y"], y, atol=1e-5)
            state = {"state": answer["state"]}

    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(work, seed) for seed in (1, 2) for work in (whole, by_steps)]
        for job in jobs:
            job.result()


def test_a_long_sequence_makes_nobody_wait(ask: Ask) -> None:
    """The event loop goes on while the network computes."""
    ended: list[float] = []

    def long() -> None:
        assert ask("/run", {"sequences": np.zeros((1, 40_000, 9), int).tolist()})[0] == 200
        ended.append(time.monotonic())

    ask("/step", {"x": [0] * 9})  # which makes the session
    thread = threading.Thread(target=long)
    thread.start()
    time.sleep(0.3)
    for _ in range(3):
        assert ask("/step", {"x": [0] * 9})[0] == 200
    between = time.monotonic()
    thread.join()
    assert between < ended[0]


@pytest.mark.parametrize(
    ("path", "question", "message"),
    [
        ("/run", "words", "Expecting value: line 1 column 1 (char 0)"),
        ("/run", {}, "'sequences' is missing"),
        ("/run", {"sequences": 3}, "'int' object is not iterable"),
        ("/run", {"sequences": [[[0] * 9], [[0] * 8]]}, "sequences[1] must have the shape [T, 9], not (1, 8)"),
        ("/run", f'{{"sequences": [[[NaN{", 0" * 8}]]]}}', "Out of range float values are not JSON compliant"),
        ("/step", {}, "'x' is missing"),
        ("/step", {"x": [0] * 8}, "x must have the shape (1, 9), not (1, 8)"),
        ("/step", {"x": [0] * 9, "state": "no"}, "Incorrect padding"),
        ("/step", {"x": [0] * 9, "state": ""}, "the bytes are no state, or damaged: File is not a zip file"),
    ],
)
def test_what_cannot_be_served_is_one_clear_error(ask: Ask, path: str, question: Any, message: str) -> None:
    assert ask(path, question) == (400, {"error": message})


def test_a_state_of_another_model_or_a_damaged_one_is_refused(ask: Ask, model: ntm.Model) -> None:
    state = model.initial_state(1)
    for wrong, message in (
        ({"memory": state["memory"]}, "state must hold arrays by name: memory, weights, reads"),
        (model.initial_state(2), "memory must have the shape (1, 20, 128), not (2, 20, 128)"),
    ):
        sent = base64.b64encode(ntm.state_to_bytes(wrong)).decode()
        assert ask("/step", {"x": [0] * 9, "state": sent}) == (400, {"error": message})
    damaged = bytearray(ntm.state_to_bytes(state))
    damaged[500] ^= 1
    status, answer = ask("/step", {"x": [0] * 9, "state": base64.b64encode(damaged).decode()})
    assert (status, answer["error"]) == (400, "the bytes are no state, or damaged: Bad CRC-32 for file 'memory.npy'")
