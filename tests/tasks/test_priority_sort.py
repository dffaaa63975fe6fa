"""The priority sort task by loops that look at nothing but x."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntm.errors import TaskError
from ntm.tasks import PrioritySort, find
from ntm.tasks.task import draw


def _written_out(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, target and mask of one sequence again, from the vectors and priorities that x ``[T, I]`` holds."""
    bits = x.shape[1] - 2
    delimiters = np.flatnonzero(x[:, bits + 1])
    assert len(delimiters) == 1
    count = int(delimiters[0])
    pairs = [(float(x[i, bits]), x[i, :bits].tolist()) for i in range(count)]
    best = sorted(pairs, key=lambda pair: pair[0], reverse=True)[: int(count * 0.8)]
    steps = count + 1 + len(best)
    again, target, mask = np.zeros((steps, bits + 2)), np.zeros((steps, bits)), np.zeros(steps)
    for i, (priority, vector) in enumerate(pairs):
        again[i] = [*vector, priority, 0]
    again[count, bits + 1] = 1
    for i, (_, vector) in enumerate(best):
        target[count + 1 + i] = vector
        mask[count + 1 + i] = 1
    return again, target, mask


def test_of_two_vectors_the_one_of_the_higher_priority_comes_out() -> None:
    x, target, mask = PrioritySort(bits=2).batch(np.random.default_rng(0), 50, {"vectors": 2})
    firsts = 0
    for b in range(50):
        (*one, first, _), (*two, second, _) = x[:2, b].tolist()
        assert x[2:, b].tolist() == [[0, 0, 0, 1], [0, 0, 0, 0]]
        assert target[:, b].tolist() == [[0, 0], [0, 0], [0, 0], one if first > second else two]
        assert mask[:, b].tolist() == [0, 0, 0, 1]
        firsts += first > second
    assert 10 < firsts < 40


@settings(deadline=None, max_examples=60)
@given(
    bits=st.integers(1, 12),
    batch_size=st.integers(1, 5),
    vectors=st.integers(2, 30),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_vectors_come_out_by_priority_the_highest_first(
    bits: int, batch_size: int, vectors: int, seed: int
) -> None:
    batch = PrioritySort(bits).batch(np.random.default_rng(seed), batch_size, {"vectors": vectors})
    assert set(np.unique(batch.x[:vectors, :, :bits])) <= {0, 1}
    assert np.abs(batch.x[:vectors, :, bits]).max() <= 1
    for b in range(batch_size):
        for actual, expected in zip(batch, _written_out(batch.x[:, b]), strict=True):
            np.testing.assert_array_equal(actual[:, b], expected)


@pytest.mark.parametrize(("vectors", "sorted_ones"), [(2, 1), (3, 2), (4, 3), (10, 8), (20, 16), (30, 24)])
def test_four_fifths_come_out_16_of_20(vectors: int, sorted_ones: int) -> None:
    batch = PrioritySort().batch(np.random.default_rng(0), 3, {"vectors": vectors})
    assert batch.mask.sum(axis=0).tolist() == [sorted_ones] * 3
    assert len(batch.x) == vectors + 1 + sorted_ones


def test_priorities_are_uniform_from_minus_1_to_1() -> None:
    priorities = np.sort(PrioritySort().batch(np.random.default_rng(4), 500, {"vectors": 20}).x[:20, :, 8].ravel())
    uniform = np.linspace(-1, 1, 10_000)
    assert np.abs(priorities - uniform).max() < 0.04  # Kolmogorov and Smirnov's distance, at 0.1 %
    assert len(np.unique(priorities)) > 9_900


def test_every_vector_is_as_likely_as_every_other_whatever_its_priority() -> None:
    x = PrioritySort(bits=3).batch(np.random.default_rng(5), 800, {"vectors": 20}).x[:20]
    numbers, high = (x[:, :, :3] @ [4, 2, 1]).astype(int), x[:, :, 3] > 0
    for some in (numbers[high], numbers[~high]):
        assert np.bincount(some, minlength=8) == pytest.approx(1000, abs=160)  # 5 standard deviations


def test_a_batch_is_a_pure_function_of_the_rng() -> None:
    first, again, other = (PrioritySort().batch(np.random.default_rng(seed), 3, {"vectors": 9}) for seed in (1, 1, 2))
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert (first.x != other.x).any()


def test_two_locations_for_each_vector() -> None:
    assert PrioritySort().memory_locations({"vectors": 20}) == 40


@pytest.mark.parametrize("vectors", [0, 1])
def test_a_list_of_which_nothing_comes_out_is_refused(vectors: int) -> None:
    with pytest.raises(TaskError, match=f"vectors must be at least 2, not {vectors}$"):
        draw(PrioritySort(), np.random.default_rng(0), 1, {"vectors": vectors})


@pytest.mark.parametrize("bits", [0, -1])
def test_vectors_without_bits_are_refused(bits: int) -> None:
    with pytest.raises(TaskError) as refused:
        find("priority-sort", {"bits": bits})
    assert str(refused.value) == f"the task priority-sort: bits must be at least 1, not {bits}"
