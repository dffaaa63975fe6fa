"""A client of ``http_server.py``: it has words copied, in whole sequences of unequal lengths, and then step by step.

Run it beside the server: ``python examples/http_client.py``. It needs NumPy alone.
"""

import argparse
import http.client
import json
from typing import Any

import numpy as np
import numpy.typing as npt


def inputs(words: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The inputs of the network, ``[2 L + 1, 9]``: the words, the delimiter, and zeros while it outputs the words."""
    x = np.zeros((2 * len(words) + 1, 9))
    x[: len(words), :8] = words
    x[len(words), 8] = 1
    return x


def wrong_bits(words: npt.NDArray[Any], y: Any) -> int:
    """The bits of the copy that differ."""
    return int(np.count_nonzero((np.array(y)[len(words) + 1 :] > 0.5) != words))


def main(port: int) -> None:
    """Ask for both, count the wrong bits."""
    connection = http.client.HTTPConnection("127.0.0.1", port)

    def ask(path: str, question: dict[str, Any]) -> dict[str, Any]:
        connection.request("POST", path, json.dumps(question), {"Content-Type": "application/json"})
        answer: dict[str, Any] = json.load(connection.getresponse())
        return answer

    random = np.random.default_rng()
    several = [random.integers(0, 2, (length, 8)) for length in (20, 3, 7)]
    outputs = ask("/run", {"sequences": [inputs(words).tolist() for words in several]})["outputs"]
    print(f"whole sequences: {sum(map(wrong_bits, several, outputs))} wrong bits")

    words, y = random.integers(0, 2, (9, 8)), []
    state: dict[str, str] = {}
    for x in inputs(words):
        answer = ask("/step", {"x": x.tolist()} | state)
        y.append(answer["y"])
        state = {"state": answer["state"]}  # as it came: the server alone reads it
    print(f"step by step: {wrong_bits(words, y)} wrong bits")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Have words copied by http_server.py.")
    parser.add_argument("--port", type=int, default=8000)
    main(parser.parse_args().port)
