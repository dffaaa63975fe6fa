import pathlib
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ntm
from ntm.runtime.evaluate import Case, evaluate, table
from ntm.runtime.patterns import PATTERNS, sequence


@pytest.fixture
def half_deaf(edited_model: Callable[..., pathlib.Path]) -> pathlib.Path:
    """A model that answers 0.5 for the first bit of every word, which is not above 0.5: it never says 1."""

    def forget(weights: Any) -> Any:
        weights = weights.copy()
        weights[..., 0] = 0
        return weights

    return edited_model(weights=forget)


def test_it_counts_bits_and_costs(half_deaf: pathlib.Path) -> None:
    case = Case(length=9, memory_locations=16, sequences=7, seed=5)
    score = evaluate(ntm.load(half_deaf), case)
    ones = [int(sequence("random", 9, 8, seed=5, number=i)[:, 0].sum()) for i in range(7)]
    assert score.wrong_bits.tolist() == ones
    np.testing.assert_allclose(score.soft_cost, 9 * 0.5, atol=0.01)  # a probability of 0.5 is half a bit off
    assert score.worst.wrong_bits == max(ones)
    np.testing.assert_array_equal(score.worst.words, sequence("random", 9, 8, seed=5, number=int(np.argmax(ones))))
    assert score.as_dict() == {
        "pattern": "random",
        "length": 9,
        "memory_locations": 16,
        "sequences": 7,
        "perfect_sequences": ones.count(0),
        "wrong_bits": sum(ones),
        "wrong_bits_mean": pytest.approx(np.mean(ones)),
        "wrong_bits_worst": max(ones),
        "soft_cost_mean": pytest.approx(4.5, abs=0.01),
    }


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 4, 100, None])
def test_batches_and_threads_change_nothing(half_deaf: pathlib.Path, threads: int, batch_size: int | None) -> None:
    case = Case(length=6, memory_locations=8, sequences=10)
    score = evaluate(ntm.load(half_deaf, batch_size=batch_size), case, threads=threads)
    expected = evaluate(ntm.load(half_deaf), case)
    np.testing.assert_array_equal(score.wrong_bits, expected.wrong_bits)
    np.testing.assert_allclose(score.soft_cost, expected.soft_cost, rtol=1e-5)
    np.testing.assert_array_equal(score.worst.words, expected.worst.words)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_pattern(tiny_model: pathlib.Path, pattern: str) -> None:
    score = evaluate(ntm.load(tiny_model), Case(20, 22, 5, pattern))
    assert not score.wrong_bits.any()
    assert score.as_dict()["perfect_sequences"] == 5


def test_words_of_any_width(tiny_model_of_16_bits: pathlib.Path) -> None:
    score = evaluate(ntm.load(tiny_model_of_16_bits), Case(5, 7, 3, "text"))
    assert score.worst.words.shape == score.worst.y.shape == (5, 16)
    assert not score.wrong_bits.any()


def test_it_reports_how_far_it_is(tiny_model: pathlib.Path) -> None:
    done: list[float] = []
    evaluate(ntm.load(tiny_model, batch_size=2), Case(100, 102, 11), threads=2, report=done.append)
    assert done == sorted(done)
    assert done[-1] == pytest.approx(11)


def test_an_interrupt_stops_it_at_once(tiny_model: pathlib.Path) -> None:
    """What is under way ends at its next chunk, and what has not begun never begins."""

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    model, chunks = ntm.load(tiny_model), 0
    run = model._sparse.run

    def count(*inputs: Any) -> Any:
        nonlocal chunks
        chunks += 1
        return run(*inputs)

    model._sparse.run = count  # type: ignore[method-assign]
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, Case(20_000, 20_002, 100), threads=2, report=interrupt)
    assert threading.active_count() == before
    assert 0 < chunks < 5_000  # one sequence alone is more


def test_an_error_ends_it(tiny_model: pathlib.Path, edited_model: Callable[..., pathlib.Path]) -> None:
    def teleport(graph: Any) -> None:
        graph.graph.node[0].op_type = "Teleport"

    before = threading.active_count()
    with pytest.raises(ntm.ModelError, match="Teleport"):
        evaluate(ntm.load(edited_model(change=teleport)), Case(3, 5, 20), threads=2)
    assert threading.active_count() == before
    with pytest.raises(ValueError, match="memory_locations must be at least 1"):
        evaluate(ntm.load(tiny_model), Case(3, 0, 2))


def test_the_table(half_deaf: pathlib.Path) -> None:
    scores = [evaluate(ntm.load(half_deaf), Case(9, 1_024, 1_000, pattern)) for pattern in ("ones", "zeros")]
    rows, legend = table(scores).split("\n\n")
    assert rows.splitlines() == [
        "| pattern | length |     N | sequences | perfect | wrong bits | worst | soft cost |",
        "| ------- | -----: | ----: | --------: | ------: | ---------: | ----: | --------: |",
        "| ones    |      9 | 1,024 |     1,000 |       0 |          9 |     9 |       4.5 |",
        "| zeros   |      9 | 1,024 |     1,000 |   1,000 |          0 |     0 |       4.5 |",
    ]
    assert "soft cost: the sum of\n|target - output| over the output phase, in bits per sequence" in legend
