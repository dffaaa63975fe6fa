"""The copy task by hand, and by loops that look at nothing but x."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntm.errors import TaskError
from ntm.tasks import Copy, find
from ntm.tasks.copy import inputs
from ntm.tasks.words import PATTERNS, TEXT

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


def _words(x: np.ndarray) -> np.ndarray:
    """The words of a batch, ``[L, B, bits]``: what comes before the one delimiter."""
    delimiters = np.flatnonzero(x[:, 0, -1])
    assert len(delimiters) == 1
    return x[: delimiters[0], :, :-1]


def _written_out(words: np.ndarray) -> Arrays:
    """x, target and mask of words, one number after the other."""
    length, batch_size, bits = words.shape
    x = np.zeros((2 * length + 1, batch_size, bits + 1))
    target, mask = np.zeros((2 * length + 1, batch_size, bits)), np.zeros((2 * length + 1, batch_size))
    for b in range(batch_size):
        for i in range(length):
            for bit in range(bits):
                x[i, b, bit] = words[i, b, bit]
                target[length + 1 + i, b, bit] = words[i, b, bit]
            mask[length + 1 + i, b] = 1
        x[length, b, bits] = 1
    return x, target, mask


def _numbers(pattern: str, bits: int, length: int, batch_size: int = 50) -> list[list[int]]:
    """For every sequence, its words as numbers, the most significant bit first."""
    words = _words(Copy(bits, pattern).batch(np.random.default_rng(7), batch_size, {"length": length}).x)
    return [[int("".join(str(int(bit)) for bit in word), 2) for word in words[:, b]] for b in range(batch_size)]


def test_two_words_of_ones_by_hand() -> None:
    x, target, mask = Copy(bits=2, pattern="ones").batch(np.random.default_rng(0), 1, {"length": 2})
    assert x.tolist() == [[[1, 1, 0]], [[1, 1, 0]], [[0, 0, 1]], [[0, 0, 0]], [[0, 0, 0]]]
    assert target.tolist() == [[[0, 0]], [[0, 0]], [[0, 0]], [[1, 1]], [[1, 1]]]
    assert mask.tolist() == [[0], [0], [0], [1], [1]]


@settings(deadline=None, max_examples=60)
@given(
    bits=st.integers(1, 70),
    pattern=st.sampled_from(sorted(PATTERNS)),
    batch_size=st.integers(1, 5),
    length=st.integers(1, 12),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_words_come_again_after_the_delimiter(
    bits: int, pattern: str, batch_size: int, length: int, seed: int
) -> None:
    batch = Copy(bits, pattern).batch(np.random.default_rng(seed), batch_size, {"length": length})
    words = _words(batch.x)
    assert words.shape == (length, batch_size, bits)
    assert set(np.unique(words)) <= {0, 1}
    for actual, expected in zip(batch, _written_out(words), strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_inputs_are_what_a_batch_shows_and_padding() -> None:
    batch = Copy(bits=3).batch(np.random.default_rng(1), 4, {"length": 5})
    words = _words(batch.x).astype(np.uint8)
    np.testing.assert_array_equal(inputs(words), batch.x)
    padded = inputs(words, padding=2)
    assert padded.shape == (13, 4, 4)
    np.testing.assert_array_equal(padded[:11], batch.x)
    assert not padded[11:].any()


def test_a_batch_is_a_pure_function_of_the_rng() -> None:
    first, again, other = (Copy().batch(np.random.default_rng(seed), 3, {"length": 9}) for seed in (1, 1, 2))
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert (first.x != other.x).any()


def test_every_word_is_as_likely_as_every_other() -> None:
    numbers = np.ravel(_numbers("random", bits=3, length=20, batch_size=400))
    assert np.bincount(numbers, minlength=8) == pytest.approx(1000, abs=150)  # 5 standard deviations


def test_half_of_sparse_words_are_zero() -> None:
    numbers = np.ravel(_numbers("sparse", bits=3, length=20, batch_size=400))
    counts = np.bincount(numbers, minlength=8)
    assert counts[0] == pytest.approx(8000 * (1 / 2 + 1 / 16), abs=225)
    assert counts[1:] == pytest.approx(500, abs=110)


def test_every_share_of_ones_is_as_likely_in_uneven_words() -> None:
    numbers = np.ravel(_numbers("uneven", bits=9, length=20, batch_size=500))
    ones = np.bincount([number.bit_count() for number in numbers.tolist()], minlength=10)
    assert ones == pytest.approx(1000, abs=150)  # 5 standard deviations


def test_words_of_zeros_are_zero_and_of_ones_one() -> None:
    assert np.unique(_numbers("zeros", bits=5, length=4)) == [0]
    assert np.unique(_numbers("ones", bits=5, length=4)) == [31]


def test_a_repeated_word_stays_the_same_and_differs_between_sequences() -> None:
    sequences = _numbers("repeat", bits=8, length=6)
    assert all(len(set(sequence)) == 1 for sequence in sequences)
    assert len({sequence[0] for sequence in sequences}) > 25


@pytest.mark.parametrize("bits", [1, 3, 8, 33, 70])
def test_a_counter_adds_one_and_wraps(bits: int) -> None:
    sequences = _numbers("counter", bits, length=20)
    for sequence in sequences:
        assert sequence == [(sequence[0] + i) % (1 << bits) for i in range(20)]
    assert len({sequence[0] for sequence in sequences}) > min(1 << bits, 50) / 2  # it begins anywhere


def test_a_text_is_read_from_anywhere_and_begins_again_at_its_end() -> None:
    endless = TEXT * 3
    texts = [bytes(sequence) for sequence in _numbers("text", bits=8, length=len(TEXT) + 5)]
    assert all(text in endless for text in texts)
    assert len(set(texts)) > 25
    wide = [bytes(sequence) for sequence in _numbers("text", bits=70, length=30)]
    assert all(text in endless for text in wide)
    narrow = [bytes(sequence) for sequence in _numbers("text", bits=5, length=30)]
    assert all(text in bytes(character & 31 for character in endless) for text in narrow)


def test_a_location_for_each_word_one_for_the_delimiter_and_one_to_spare() -> None:
    assert Copy().memory_locations({"length": 20}) == 22


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"bits": 0}, "bits must be at least 1, not 0"),
        ({"bits": -3}, "bits must be at least 1, not -3"),
        ({"pattern": "stripes"}, f"pattern must be one of {', '.join(PATTERNS)}, not stripes"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], reason: str) -> None:
    with pytest.raises(TaskError) as refused:
        find("copy", options)
    assert str(refused.value) == f"the task copy: {reason}"
