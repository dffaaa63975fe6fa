"""The example for Keras learns its task, and serves what it has learned."""

import re
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("default_settings")]


def test_the_example_learns_and_serves(start: Callable[..., Any]) -> None:
    with start("keras_model.py") as program:
        assert program.process.wait(300) == 0, program.stderr  # it takes some 30 s of a core
        *epochs, right, one, two, three, words, copy = program.stdout.splitlines()
    losses = [float(loss) for loss in re.findall(r" loss: (\S+)", "\n".join(epochs))]
    assert len(losses) % 3 == 0
    assert len(losses) >= 3
    assert losses[-1] < losses[0] / 10
    found = re.fullmatch(r"bits that Keras finds right: (\S+)%", right)
    assert found
    # Every kind of processor rounds otherwise and trains another network, which may err in a rare sequence.
    assert float(found[1]) >= 99.5
    for length, line in enumerate((one, two, three), 1):
        counted = re.fullmatch(rf"{length} words: (\d+) wrong bits in 1000 sequences", line)
        assert counted, line
        assert int(counted[1]) <= 0.01 * 1000 * length * 4
    pairs = zip(words.removeprefix("the words:"), copy.removeprefix("the copy: "), strict=True)
    assert sum(bit != copied for bit, copied in pairs) <= 1
