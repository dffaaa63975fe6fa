import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from ntm.runtime.eval_command import Pattern
from ntm.runtime.patterns import PATTERNS, TEXT, sequence


def as_numbers(words: np.ndarray) -> list[int]:
    return [int("".join(map(str, word)), 2) for word in words]


def test_the_command_knows_every_pattern() -> None:
    assert {pattern.value for pattern in Pattern} == set(PATTERNS)


@hypothesis.given(
    pattern=st.sampled_from(list(PATTERNS)),
    length=st.integers(1, 300),
    word_bits=st.integers(1, 70),
    seed=st.integers(0, 1 << 70),
    number=st.integers(0, 1 << 40),
)
def test_a_sequence_is_bits_and_depends_on_nothing_else(
    pattern: str, length: int, word_bits: int, seed: int, number: int
) -> None:
    words = sequence(pattern, length, word_bits, seed=seed, number=number)
    assert words.shape == (length, word_bits)
    assert words.dtype == np.uint8
    assert set(words.flat) <= {0, 1}
    np.testing.assert_array_equal(words, sequence(pattern, length, word_bits, seed=seed, number=number))


@pytest.mark.parametrize("pattern", ["random", "repeat", "counter", "text"])
def test_numbers_seeds_and_lengths_make_others(pattern: str) -> None:
    starts = {
        sequence(pattern, length, 8, seed=seed, number=number)[:20].tobytes()
        for length in (20, 21)
        for seed in (0, 1)
        for number in (0, 1)
    }
    assert len(starts) == 8


def test_what_the_patterns_are() -> None:
    drawn = {pattern: as_numbers(sequence(pattern, 700, 8, seed=0, number=0)) for pattern in PATTERNS}
    assert set(drawn["zeros"]) == {0}
    assert set(drawn["ones"]) == {255}
    assert len(set(drawn["repeat"])) == 1
    assert {(b - a) % 256 for a, b in zip(drawn["counter"], drawn["counter"][1:], strict=False)} == {1}
    assert bytes(drawn["text"]) in TEXT * 4
    assert len(set(drawn["random"])) > 200


def test_narrow_words_hold_the_low_bits() -> None:
    wide, narrow = (as_numbers(sequence("text", 50, bits, seed=3, number=4)) for bits in (8, 5))
    assert narrow == [number % 32 for number in wide]
