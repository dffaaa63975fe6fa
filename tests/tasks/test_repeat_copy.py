"""The repeat copy task by hand, and by loops that look at nothing but x."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntm.errors import TaskError
from ntm.tasks import RepeatCopy, find
from ntm.tasks.repeat_copy import COUNTS
from ntm.tasks.words import PATTERNS


def _count(bits: int, repeats: int) -> float:
    """What the last channel holds at the delimiter."""
    return float(RepeatCopy(bits).batch(np.random.default_rng(0), 1, {"length": 2, "repeats": repeats}).x[2, 0, -1])


def _written_out(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, target and mask again, from the words and the count that x holds, as a number or as steps."""
    _, batch_size, channels = x.shape
    bits = channels - 2
    delimiters = np.flatnonzero(x[:, 0, bits])
    assert len(delimiters) == 1
    length = int(delimiters[0])
    counting = int((x[length + 1 :, 0, -1] == 1).sum())
    repeats = counting or round(float(x[length, 0, -1]) * 8.25**0.5 + 5.5)
    steps = length + 1 + counting + length * repeats + 1
    again = np.zeros((steps, batch_size, channels))
    target, mask = np.zeros((steps, batch_size, bits + 1)), np.zeros((steps, batch_size))
    for b in range(batch_size):
        for i in range(length):
            again[i, b, :bits] = x[i, b, :bits]
        again[length, b, bits] = 1
        if counting:
            for i in range(counting):
                again[length + 1 + i, b, bits + 1] = 1
        else:
            again[length, b, bits + 1] = (repeats - 5.5) / 8.25**0.5
        t = length + 1 + counting
        for _ in range(repeats):
            for i in range(length):
                target[t, b, :bits] = x[i, b, :bits]
                mask[t, b] = 1
                t += 1
        target[t, b, bits] = 1  # the end marker
        mask[t, b] = 1
        assert t == steps - 1
    return again, target, mask


def test_one_word_three_times_by_hand() -> None:
    x, target, mask = RepeatCopy(bits=2).batch(np.random.default_rng(0), 1, {"length": 1, "repeats": 3})
    first, second = x[0, 0, :2].tolist()
    nothing = [[0, 0, 0, 0]]
    assert x.tolist() == [[[first, second, 0, 0]], [[0, 0, 1, pytest.approx(-0.8704, abs=1e-4)]], *[nothing] * 4]
    assert target.tolist() == [[[0, 0, 0]], [[0, 0, 0]], *[[[first, second, 0]]] * 3, [[0, 0, 1]]]
    assert mask.tolist() == [[0], [0], [1], [1], [1], [1]]


@settings(deadline=None, max_examples=60)
@given(
    task=st.builds(RepeatCopy, st.integers(1, 12), st.sampled_from(sorted(PATTERNS)), st.sampled_from(COUNTS)),
    batch_size=st.integers(1, 5),
    size=st.tuples(st.integers(1, 8), st.integers(1, 25)),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_words_come_again_as_often_as_the_count_says(
    task: RepeatCopy, batch_size: int, size: tuple[int, int], seed: int
) -> None:
    length, repeats = size
    batch = task.batch(np.random.default_rng(seed), batch_size, {"length": length, "repeats": repeats})
    counting = repeats if task.count == "steps" else 0
    assert batch.x.shape == (length * (repeats + 1) + counting + 2, batch_size, task.bits + 2)
    assert task.steps({"length": length, "repeats": repeats}) == len(batch.x)
    assert set(np.unique(batch.x[:length])) <= {0, 1}
    again, target, mask = _written_out(batch.x)
    np.testing.assert_allclose(batch.x, again, rtol=1e-6)
    np.testing.assert_array_equal(batch.target, target)
    np.testing.assert_array_equal(batch.mask, mask)


def test_two_words_twice_with_the_count_in_steps_by_hand() -> None:
    task = RepeatCopy(bits=1, pattern="ones", count="steps")
    x, target, mask = task.batch(np.random.default_rng(0), 1, {"length": 2, "repeats": 2})
    word, delimiter, one, nothing = [[1, 0, 0]], [[0, 1, 0]], [[0, 0, 1]], [[0, 0, 0]]
    assert x.tolist() == [word, word, delimiter, one, one, *[nothing] * 5]
    assert target.tolist() == [*[[[0, 0]]] * 5, *[[[1, 0]]] * 4, [[0, 1]]]
    assert mask.ravel().tolist() == [0] * 5 + [1] * 5


def test_the_count_has_mean_0_and_variance_1() -> None:
    counts = np.array([_count(bits=4, repeats=repeats) for repeats in range(1, 11)])
    assert counts.mean() == pytest.approx(0, abs=1e-6)
    assert counts.var() == pytest.approx(1, abs=1e-6)
    assert np.diff(counts) == pytest.approx(1 / 2.8723, abs=1e-4)


@pytest.mark.parametrize(("length", "repeats"), [(1, 1), (3, 2), (10, 10)])
def test_the_end_marker_is_the_last_step_alone(length: int, repeats: int) -> None:
    batch = RepeatCopy().batch(np.random.default_rng(0), 3, {"length": length, "repeats": repeats})
    for b in range(3):
        assert np.flatnonzero(batch.target[:, b, -1]).tolist() == [len(batch.x) - 1]
        assert batch.target[-1, b].tolist() == [0] * 8 + [1]


def test_a_batch_is_a_pure_function_of_the_rng() -> None:
    size = {"length": 5, "repeats": 2}
    first, again, other = (RepeatCopy().batch(np.random.default_rng(seed), 3, size) for seed in (1, 1, 2))
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert (first.x != other.x).any()


def test_every_word_is_as_likely_as_every_other() -> None:
    words = RepeatCopy(bits=3).batch(np.random.default_rng(3), 800, {"length": 10, "repeats": 1}).x[:10, :, :3]
    numbers = (words @ [4, 2, 1]).astype(int)
    assert np.bincount(numbers.ravel(), minlength=8) == pytest.approx(1000, abs=150)  # 5 standard deviations


def test_half_of_the_words_of_the_variant_are_zero() -> None:
    task = find("repeat-copy", {"bits": 8, **RepeatCopy.variant})
    words = task.batch(np.random.default_rng(3), 800, {"length": 10, "repeats": 1}).x[:10, :, :8]
    assert (~words.any(axis=2)).mean() == pytest.approx(0.5, abs=0.03)


def test_a_location_for_each_word_one_for_the_delimiter_and_one_to_spare() -> None:
    assert RepeatCopy().memory_locations({"length": 10, "repeats": 7}) == 22
    assert RepeatCopy(count="steps").memory_locations({"length": 10, "repeats": 7}) == 29


@pytest.mark.parametrize("bits", [0, -1])
def test_words_without_bits_are_refused(bits: int) -> None:
    with pytest.raises(TaskError) as refused:
        find("repeat-copy", {"bits": bits})
    assert str(refused.value) == f"the task repeat-copy: bits must be at least 1, not {bits}"


def test_an_unknown_kind_of_count_is_refused() -> None:
    with pytest.raises(TaskError) as refused:
        find("repeat-copy", {"count": "roman"})
    assert str(refused.value) == "the task repeat-copy: count must be one of number, steps, not roman"


def test_an_unknown_pattern_is_refused() -> None:
    with pytest.raises(TaskError, match=r"pattern must be one of random, sparse, .*, not stripes"):
        find("repeat-copy", {"pattern": "stripes"})
