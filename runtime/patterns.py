"""The sequences that a network is tested on: each a pure function of its pattern, length, seed and number."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint8]

# Ada Lovelace on the Analytical Engine, 1843.
TEXT = (
    b"The Analytical Engine has no pretensions whatever to originate anything. It can do whatever we know how to order "
    b"it to perform. It can follow analysis; but it has no power of anticipating any analytical relations or truths. "
    b"Its province is to assist us in making available what we are already acquainted with. "
)


def sequence(pattern: str, length: int, word_bits: int, *, seed: int, number: int) -> Words:
    """The sequence of this number among all of a seed, whatever others are asked for.

    Args:
        pattern: a name of ``PATTERNS``.
        length: L.
        word_bits: W.
        seed: at least 0, as the number.
        number: which.

    Returns:
        ``[L, W]``, of 0 and 1.
    """
    return PATTERNS[pattern](np.random.default_rng([seed, length, number]), length, word_bits)


def _random(random: np.random.Generator, length: int, word_bits: int) -> Words:
    return random.integers(0, 2, (length, word_bits), np.uint8)


def _zeros(_: np.random.Generator, length: int, word_bits: int) -> Words:
    return np.zeros((length, word_bits), np.uint8)


def _ones(_: np.random.Generator, length: int, word_bits: int) -> Words:
    return np.ones((length, word_bits), np.uint8)


def _repeat(random: np.random.Generator, length: int, word_bits: int) -> Words:
    """One random word, again and again."""
    return np.tile(_random(random, 1, word_bits), (length, 1))


def _counter(random: np.random.Generator, length: int, word_bits: int) -> Words:
    """Words that count up from a random one."""
    return _bits(random.integers(1 << min(word_bits, 32)) + np.arange(length), word_bits)


def _text(random: np.random.Generator, length: int, word_bits: int) -> Words:
    """A text from a random place on, a character a word."""
    start = random.integers(len(TEXT))
    return _bits(np.resize(np.roll(np.frombuffer(TEXT, np.uint8), -start), length).astype(np.int64), word_bits)


def _bits(numbers: npt.NDArray[np.int64], word_bits: int) -> Words:
    """The low bits of numbers, the most significant one first."""
    shifts = np.arange(word_bits)[::-1].clip(max=62)
    bits: Words = (numbers[:, np.newaxis] >> shifts & 1).astype(np.uint8)
    return bits


PATTERNS: dict[str, Callable[[np.random.Generator, int, int], Words]] = {
    "random": _random,
    "zeros": _zeros,
    "ones": _ones,
    "repeat": _repeat,
    "counter": _counter,
    "text": _text,
}
