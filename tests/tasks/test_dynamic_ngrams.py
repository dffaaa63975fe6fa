"""The dynamic n-grams task against loops that count in dictionaries, and against what probability theory says."""

import collections

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntm.errors import TaskError
from ntm.tasks import Batch, DynamicNGrams, find
from ntm.tasks.task import draw


def _bits(batch: Batch) -> list[list[int]]:
    """Every sequence of a batch, from x and the last target."""
    return [[*map(int, batch.x[:, b, 0]), int(batch.target[-1, b, 0])] for b in range(batch.x.shape[1])]


def _estimates(bits: list[int], context: int, pseudo: float) -> list[float]:
    """For every bit after the first ``context``: (N1 + pseudo) / (N0 + N1 + 2 pseudo), counted in a dictionary."""
    counts: dict[tuple[int, ...], list[int]] = collections.defaultdict(lambda: [0, 0])
    estimates = []
    for t in range(context, len(bits)):
        seen = counts[tuple(bits[t - context : t])]
        estimates.append((seen[1] + pseudo) / (sum(seen) + 2 * pseudo))
        seen[bits[t]] += 1
    return estimates


def _cost(bits: list[int], estimates: list[float]) -> float:
    """The cross-entropy in bits of the last bits of a sequence, one for each estimate."""
    following = bits[len(bits) - len(estimates) :]
    return float(-np.log2([p if bit else 1 - p for bit, p in zip(following, estimates, strict=True)]).sum())


@pytest.fixture(scope="module")
def thousand() -> Batch:
    return DynamicNGrams().batch(np.random.default_rng(0), 1000, {"length": 200})


def test_the_optimal_estimator_by_hand() -> None:
    bits = np.array([0, 0, 1, 0, 0, 0], np.float32)[:, np.newaxis, np.newaxis]
    batch = Batch(bits[:-1], bits[1:], np.ones((5, 1), np.float32))
    # Contexts of one bit: 0 -> 0; 0 -> 1 after one 0; 1 -> 0; 0 -> 0 after a 0 and a 1; 0 -> 0 after two 0 and a 1.
    assert DynamicNGrams(n=2).optimal(batch).ravel().tolist() == pytest.approx([1 / 2, 1 / 4, 1 / 2, 1 / 2, 3 / 8])


@settings(deadline=None, max_examples=60)
@given(n=st.integers(2, 8), batch_size=st.integers(1, 5), more=st.integers(0, 60), seed=st.integers(0, 2**32 - 1))
def test_targets_are_the_next_bits_and_the_optimum_counts_in_a_dictionary(
    n: int, batch_size: int, more: int, seed: int
) -> None:
    task, length = DynamicNGrams(n), n + more
    batch = task.batch(np.random.default_rng(seed), batch_size, {"length": length})
    assert batch.x.shape == batch.target.shape == (length - 1, batch_size, 1)
    assert batch.mask.shape == (length - 1, batch_size)
    optimal = task.optimal(batch)
    assert optimal.shape == batch.target.shape
    for b, bits in enumerate(_bits(batch)):
        assert set(bits) <= {0, 1}
        assert batch.x[:, b, 0].tolist() == bits[:-1]
        assert batch.target[:, b, 0].tolist() == bits[1:]
        assert batch.mask[:, b].tolist() == [0] * (n - 2) + [1] * (length - n + 1)
        expected = [0.5] * (n - 2) + _estimates(bits, n - 1, 0.5)
        np.testing.assert_allclose(optimal[:, b, 0], expected, rtol=1e-6)


def test_the_optimal_cost_of_200_bits_is_128_bits() -> None:
    task = DynamicNGrams()
    batch = task.batch(np.random.default_rng(0), 10_000, {"length": 200})  # the standard error is 0.35 bits
    chosen = np.where(batch.target > 0.5, task.optimal(batch), 1 - task.optimal(batch)).astype(float)[:, :, 0]
    cost = -(np.log2(chosen) * batch.mask).sum(axis=0)
    assert cost.mean() == pytest.approx(128.3, abs=1)


def test_no_other_estimator_beats_the_optimal_one(thousand: Batch) -> None:
    sequences, optimal = _bits(thousand), DynamicNGrams().optimal(thousand)

    def excess(context: int, pseudo: float) -> float:
        """The mean cost above that of the optimal estimator, over the bits that both predict."""
        excesses = []
        for b, bits in enumerate(sequences):
            rival = _estimates(bits, context, pseudo)[-195:]
            excesses.append(_cost(bits, rival) - _cost(bits, optimal[-len(rival) :, b, 0].tolist()))
        return float(np.mean(excesses))

    assert excess(5, 0.5) == pytest.approx(0, abs=1e-4)  # the optimal one itself
    assert excess(5, 1e9) > 60  # always 1/2
    assert excess(5, 1.0) > 1  # Laplace's rule of succession
    assert excess(5, 0.1) > 1
    assert excess(4, 0.5) > 10  # too short a context
    assert excess(6, 0.5) > 3  # too long a context


def test_the_optimal_estimator_is_right_as_often_as_it_says(thousand: Batch) -> None:
    """It would not be, if the table came from another distribution than Beta(1/2, 1/2)."""
    estimates, ones = DynamicNGrams().optimal(thousand)[4:].astype(float), thousand.target[4:]
    checked = 0
    for estimate in np.unique(estimates):
        some = ones[estimates == estimate]
        if len(some) >= 1000:
            deviation = (estimate * (1 - estimate) / len(some)) ** 0.5
            assert some.mean() == pytest.approx(estimate, abs=4.5 * deviation)
            checked += 1
    assert checked >= 20


def test_frequencies_follow_the_distribution_of_the_table() -> None:
    batch = DynamicNGrams(n=2).batch(np.random.default_rng(6), 1000, {"length": 2000})
    seen, following = batch.x[:, :, 0] == 1, batch.target[:, :, 0]
    frequencies = []
    for context in (seen, ~seen):
        visits = context.sum(axis=0)
        frequencies.append(((following * context).sum(axis=0) / np.maximum(visits, 1))[visits > 0])
    ordered = np.sort(np.concatenate(frequencies))
    assert len(ordered) > 1900
    arcsine = 2 / np.pi * np.arcsin(np.sqrt(ordered))  # the distribution function of Beta(1/2, 1/2)
    assert np.abs(arcsine - np.linspace(0, 1, len(ordered))).max() < 0.06
    assert np.abs(ordered - np.linspace(0, 1, len(ordered))).max() > 0.09  # it is not uniform


def test_every_first_context_is_as_likely_as_every_other() -> None:
    first = DynamicNGrams(n=4).batch(np.random.default_rng(8), 8000, {"length": 4}).x[:, :, 0]
    numbers = ([4, 2, 1] @ first).astype(int)
    assert np.bincount(numbers, minlength=8) == pytest.approx(1000, abs=150)  # 5 standard deviations


def test_ones_are_as_frequent_as_zeros(thousand: Batch) -> None:
    # Bits of a sequence depend on each other: a sequence counts as one draw, of a variance below 1/4.
    assert thousand.target.mean() == pytest.approx(0.5, abs=5 * (0.25 / 1000) ** 0.5)
    assert 0.05 < thousand.target.mean(axis=(0, 2)).std() < 0.5


def test_a_batch_is_a_pure_function_of_the_rng() -> None:
    first, again, other = (DynamicNGrams().batch(np.random.default_rng(seed), 3, {"length": 50}) for seed in (1, 1, 2))
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert (first.x != other.x).any()


def test_two_locations_for_each_context() -> None:
    assert DynamicNGrams().memory_locations({"length": 200}) == 64
    assert DynamicNGrams(n=3).memory_locations({"length": 200}) == 8


@pytest.mark.parametrize("n", [-1, 0, 1, 13])
def test_an_n_out_of_range_is_refused(n: int) -> None:
    with pytest.raises(TaskError) as refused:
        find("dynamic-ngrams", {"n": n})
    assert str(refused.value) == f"the task dynamic-ngrams: n must be from 2 to 12, not {n}"


def test_a_sequence_without_a_complete_context_is_refused() -> None:
    assert draw(DynamicNGrams(), np.random.default_rng(0), 2, {"length": 6}).mask.sum() == 2
    with pytest.raises(TaskError, match=r"length must be at least 6, not 5$"):
        draw(DynamicNGrams(), np.random.default_rng(0), 2, {"length": 5})
