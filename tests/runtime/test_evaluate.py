import dataclasses
import json
import math
import pathlib
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ntm
from ntm.runtime.evaluate import Case, cases_of, evaluate, run_case, table
from ntm.runtime.session import Floats
from ntm.tasks import Batch, Copy, DynamicNGrams, PrioritySort, RepeatCopy, Size, Task
from ntm.tasks.words import PATTERNS


@pytest.fixture
def half_deaf(edited_model: Callable[..., pathlib.Path]) -> pathlib.Path:
    """A model that answers 0.5 for the first bit of every word, which is not above 0.5: it never says 1."""

    def forget(weights: Any) -> Any:
        weights = weights.copy()
        weights[..., 0] = 0
        return weights

    return edited_model(weights=forget)


def recording(kind: type[Task]) -> tuple[Task, list[Batch]]:
    """A task of a kind, and the batches that it will have made."""
    batches: list[Batch] = []

    @dataclasses.dataclass(frozen=True)
    class Recording(kind):  # type: ignore[misc,valid-type]
        def batch(self, *arguments: Any) -> Batch:
            batches.append(super().batch(*arguments))
            return batches[-1]

    return Recording(), batches


def joined(batches: list[Batch], count: int) -> Batch:
    """The first sequences of several batches, side by side."""
    return Batch(*(np.concatenate(arrays, axis=1)[:, :count] for arrays in zip(*batches, strict=True)))


def cost_in_bits(target: float, chance: float) -> float:
    """Of one output that is 1 with a probability."""
    least = 2.0**-24
    ones, zeros = (math.log2(min(max(share, least), 1 - least)) for share in (chance, 1 - chance))
    return -(target * ones + (1 - target) * zeros)


def slowly(batch: Batch, output_of: Callable[[int], Floats]) -> tuple[list[int], list[float]]:
    """The wrong bits and the costs of the sequences, whose outputs are ``[T, O]``."""
    wrong, costs = [], []
    for b in range(batch.x.shape[1]):
        y, wrong_of_b, cost_of_b = output_of(b), 0, 0.0
        for t in range(len(batch.x)):
            for o in range(batch.target.shape[2]):
                if batch.mask[t, b]:
                    target, chance = float(batch.target[t, b, o]), float(y[t, o])
                    wrong_of_b += (chance > 0.5) != (target > 0.5)
                    cost_of_b += cost_in_bits(target, chance)
        wrong.append(wrong_of_b)
        costs.append(cost_of_b)
    return wrong, costs


def stepwise(model: ntm.Model, x: Floats, locations: int) -> Floats:
    """The outputs ``[T, O]`` of a sequence ``[T, I]``."""
    state, ys = model.initial_state(1, locations), []
    for x_t in x:
        y, state = model.step(x_t[np.newaxis], state)
        ys.append(y[0])
    return np.array(ys)


# What it counts


@pytest.mark.parametrize(
    ("kind", "name", "size"),
    [
        (Copy, None, {"length": 9}),
        (PrioritySort, "priority-sort", {"vectors": 7}),
        (RepeatCopy, "repeat-copy", {"length": 3, "repeats": 4}),
        (DynamicNGrams, "dynamic-ngrams", {"length": 40}),
    ],
)
def test_wrong_bits_and_costs_are_those_of_the_steps_one_by_one(
    half_deaf: pathlib.Path, untrained: Callable[[str], pathlib.Path], kind: type[Task], name: str | None, size: Size
) -> None:
    model, (task, batches) = ntm.load(untrained(name) if name else half_deaf), recording(kind)
    score = run_case(model, task, Case(size, 30, 20, seed=5))
    batch = joined(batches, 20)
    wrong, costs = slowly(batch, lambda b: stepwise(model, batch.x[:, b], 30))
    assert score.wrong_bits.tolist() == wrong
    np.testing.assert_allclose(score.cost, costs, rtol=1e-3)
    assert sum(wrong) > 0
    worst = int(np.argmax(wrong))
    np.testing.assert_array_equal(score.worst.x, batch.x[:, worst])
    np.testing.assert_array_equal(score.worst.target, batch.target[:, worst])
    np.testing.assert_array_equal(score.worst.mask, batch.mask[:, worst])
    np.testing.assert_allclose(score.worst.y, stepwise(model, batch.x[:, worst], 30), atol=1e-4)
    assert score.worst.wrong_bits == max(wrong)


def test_the_figures(half_deaf: pathlib.Path) -> None:
    """A probability of 0.5 costs a bit, and the others next to nothing."""
    model, (task, batches) = ntm.load(half_deaf), recording(Copy)
    score = run_case(model, task, Case({"length": 9}, 16, 7))
    ones = joined(batches, 7).x[:, :, 0].sum(axis=0).astype(int).tolist()
    assert score.wrong_bits.tolist() == ones
    assert score.as_dict() == {
        "length": 9,
        "memory_locations": 16,
        "sequences": 7,
        "perfect_sequences": ones.count(0),
        "wrong_bits": sum(ones),
        "wrong_bits_mean": pytest.approx(np.mean(ones)),
        "wrong_bits_worst": max(ones),
        "cost_mean": pytest.approx(9.0, abs=0.01),
    }
    assert not score.perfect


def test_the_cost_of_what_is_certain_and_wrong_is_finite(edited_model: Callable[..., pathlib.Path]) -> None:
    """24 bits each: no number of float32 is nearer to 1."""
    model = ntm.load(edited_model(weights=lambda weights: -1000 * weights))
    (score,) = evaluate(model, sizes=[{"length": 3}], sequences=2)
    assert score.cost.tolist() == pytest.approx([24 * 24.0] * 2)
    assert score.wrong_bits.tolist() == [24, 24]


# The optimal predictor


def optimal_estimates(x: Floats, target: Floats, n: int) -> Floats:
    """Eq. (10) of the paper for the bits of one sequence, by dictionaries."""
    seen: dict[tuple[float, ...], list[int]] = {}
    estimates = np.full((len(x), 1), 0.5, np.float32)
    for t in range(n - 2, len(x)):
        counts = seen.setdefault(tuple(x[t - n + 2 : t + 1, 0]), [0, 0])
        estimates[t] = (counts[1] + 0.5) / (counts[0] + counts[1] + 1)
        counts[int(target[t, 0])] += 1
    return estimates


def test_the_cost_of_the_optimal_predictor(untrained: Callable[[str], pathlib.Path]) -> None:
    model, (task, batches) = ntm.load(untrained("dynamic-ngrams")), recording(DynamicNGrams)
    score = run_case(model, task, Case({"length": 100}, 128, 20))
    batch = joined(batches, 20)
    _, costs = slowly(batch, lambda b: optimal_estimates(batch.x[:, b], batch.target[:, b], 6))
    assert score.optimal_cost is not None
    np.testing.assert_allclose(score.optimal_cost, costs, rtol=1e-5)
    figures = score.as_dict()
    assert figures["optimal_cost_mean"] == pytest.approx(np.mean(costs))
    assert figures["cost_above_optimal"] == pytest.approx(score.cost.mean() - np.mean(costs))
    assert figures["cost_above_optimal"] > 0  # it was never trained
    assert score.wrong_bits.any()
    assert score.perfect  # no better one is to be had


def test_the_table_has_the_optimal_cost(untrained: Callable[[str], pathlib.Path]) -> None:
    scores = evaluate(ntm.load(untrained("dynamic-ngrams")), sizes=[{"length": 20}, {"length": 30}], sequences=3)
    header, _, *rows = table(scores).partition("\n\n")[0].splitlines()
    assert cells(header)[-3:] == ["cost", "optimal", "above optimal"]
    assert len(rows) == 2
    for row, score in zip(rows, scores, strict=True):
        cost, optimal, above = map(float, cells(row)[-3:])
        assert above == pytest.approx(cost - optimal, abs=0.1)
        assert score.as_dict()["optimal_cost_mean"] == pytest.approx(optimal, rel=0.01)
    assert table(scores).endswith("and that of the optimal predictor")


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.split("|")[1:-1]]


def test_the_table(half_deaf: pathlib.Path) -> None:
    model = ntm.load(half_deaf)
    scores = [
        run_case(model, Copy(pattern=pattern), Case({"length": 9}, 1_024, 1_000)) for pattern in ("ones", "zeros")
    ]
    rows, legend = table(scores).split("\n\n")
    assert rows.splitlines() == [
        "| length |     N | sequences | perfect | wrong bits | worst | cost |",
        "| -----: | ----: | --------: | ------: | ---------: | ----: | ---: |",
        "|      9 | 1,024 |     1,000 |       0 |          9 |     9 |    9 |",
        "|      9 | 1,024 |     1,000 |   1,000 |          0 |     0 |    9 |",
    ]
    assert legend == "N: memory locations; wrong bits: per sequence, and in the worst; cost: bits per sequence"


# The sequences


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 4, 16, 17, 100, None])
def test_batches_and_threads_change_nothing(half_deaf: pathlib.Path, threads: int, batch_size: int | None) -> None:
    case = Case({"length": 6}, 8, 35)
    score = run_case(ntm.load(half_deaf, batch_size=batch_size), Copy(), case, threads=threads)
    expected = run_case(ntm.load(half_deaf), Copy(), case)
    np.testing.assert_array_equal(score.wrong_bits, expected.wrong_bits)
    np.testing.assert_allclose(score.cost, expected.cost, rtol=1e-5)
    np.testing.assert_array_equal(score.worst.x, expected.worst.x)


def test_fewer_sequences_are_the_first_ones_of_many(half_deaf: pathlib.Path) -> None:
    model = ntm.load(half_deaf)
    few, many = (run_case(model, Copy(), Case({"length": 6}, 8, count)) for count in (19, 40))
    np.testing.assert_array_equal(few.wrong_bits, many.wrong_bits[:19])
    assert len(many.wrong_bits) == 40


def test_a_seed_and_a_size_make_other_sequences(half_deaf: pathlib.Path) -> None:
    model = ntm.load(half_deaf)

    def worst(seed: int, length: int) -> list[float]:
        (score,) = evaluate(model, sizes=[{"length": length}], sequences=1, seed=seed)
        return score.worst.x[:6].ravel().tolist()

    assert worst(0, 6) == worst(0, 6)
    assert len({tuple(worst(seed, length)) for seed, length in ((0, 6), (1, 6), (0, 7), (6, 1))}) == 4


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_pattern(tiny_model: pathlib.Path, pattern: str) -> None:
    (score,) = evaluate(ntm.load(tiny_model), Copy(pattern=pattern), [{"length": 20}], sequences=5)
    assert not score.wrong_bits.any()
    assert score.perfect
    assert score.as_dict()["perfect_sequences"] == 5


def test_words_of_any_width(tiny_model_of_16_bits: pathlib.Path) -> None:
    (score,) = evaluate(ntm.load(tiny_model_of_16_bits), sizes=[{"length": 5}], sequences=3)
    assert (score.worst.x.shape, score.worst.y.shape) == ((11, 17), (11, 16))
    assert not score.wrong_bits.any()


# What it refuses


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sequences": 0}, "sequences must be at least 1, not 0"),
        ({"sequences": -1}, "sequences must be at least 1, not -1"),
        ({"threads": 0}, "threads must be at least 1, not 0"),
        ({"threads": -3}, "threads must be at least 1, not -3"),
        ({"memory_locations": 0}, "memory_locations must be at least 1, not 0"),
        ({"memory_locations": -3}, "memory_locations must be at least 1, not -3"),
        ({"seed": -1}, "seed must be at least 0, not -1"),
    ],
    ids=str,
)
def test_a_number_that_is_too_small(tiny_model: pathlib.Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        evaluate(ntm.load(tiny_model), sizes=[{"length": 3}], **{"sequences": 2} | options)


@pytest.mark.parametrize(
    "size",
    [
        {},
        {"items": 3},
        {"length": 3, "repeats": 2},
        {"length": -1},
        {"length": 0},
        {"length": 2.5},
        {"length": True},
        3,
    ],
)
def test_a_size_that_is_not_of_the_task(tiny_model: pathlib.Path, size: Any) -> None:
    with pytest.raises(ntm.TaskError):
        evaluate(ntm.load(tiny_model), sizes=[{"length": 3}, size], sequences=2)


def test_the_locations_of_a_case(tiny_model: pathlib.Path, edited_model: Callable[..., pathlib.Path]) -> None:
    def locations(model: ntm.Model, given: int | None = None) -> list[int]:
        sizes = [{"length": 20}, {"length": 126}, {"length": 127}, {"length": 1000}]
        cases = cases_of(model.metadata, Copy(), sizes, sequences=1, memory_locations=given)
        return [case.memory_locations for case in cases]

    assert locations(ntm.load(tiny_model)) == [128, 128, 129, 1002]
    assert locations(ntm.load(tiny_model), given=50) == [50] * 4
    config = dict(ntm.load(tiny_model).config, memory_locations=300)
    weights = [[1 / 300] * 300] * 2  # its heads start from everywhere
    wide = edited_model(props={"config": json.dumps(config)}, first={"weights": weights})
    assert locations(ntm.load(wide)) == [300, 300, 300, 1002]


# How it ends


def test_it_reports_how_far_it_is(tiny_model: pathlib.Path) -> None:
    done: list[float] = []
    run_case(ntm.load(tiny_model, batch_size=2), Copy(), Case({"length": 100}, 102, 11), threads=2, report=done.append)
    assert done == sorted(done)
    assert done[-1] == pytest.approx(11)


def test_an_interrupt_stops_it_at_once(tiny_model: pathlib.Path) -> None:
    """What is under way ends at its next chunk, and what has not begun never begins."""

    model, chunks = ntm.load(tiny_model), 0
    sparse = model._sessions["sparse"]
    run = sparse.run

    def interrupt(_: float) -> None:
        if chunks:
            raise KeyboardInterrupt

    def count(*inputs: Any) -> Any:
        nonlocal chunks
        chunks += 1
        return run(*inputs)

    sparse.run = count  # type: ignore[method-assign, assignment]
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        run_case(model, Copy(), Case({"length": 20_000}, 20_002, 100), threads=2, report=interrupt)
    assert threading.active_count() == before
    assert 0 < chunks < 5_000  # one sequence alone is more


def test_an_error_ends_it(tiny_model: pathlib.Path, edited_model: Callable[..., pathlib.Path]) -> None:
    def teleport(graph: Any) -> None:
        graph.graph.node[0].op_type = "Teleport"

    before = threading.active_count()
    with pytest.raises(ntm.ModelError, match="Teleport"):
        run_case(ntm.load(edited_model(change=teleport)), Copy(), Case({"length": 3}, 5, 20), threads=2)
    assert threading.active_count() == before
    with pytest.raises(ValueError, match="memory_locations must be at least 1, not 0"):
        run_case(ntm.load(tiny_model), Copy(), Case({"length": 3}, 0, 2))
