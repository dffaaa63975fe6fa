"""Words for the tasks that copy: vectors of bits, drawn from a pattern."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

# Ada Lovelace on the Analytical Engine, 1843.
TEXT = (
    b"The Analytical Engine has no pretensions whatever to originate anything. It can do whatever we know how to order "
    b"it to perform. It can follow analysis; but it has no power of anticipating any analytical relations or truths. "
    b"Its province is to assist us in making available what we are already acquainted with. "
)

Words = npt.NDArray[np.uint8]  # [L, B, bits]


def _random(rng: np.random.Generator, length: int, batch_size: int, bits: int) -> Words:
    return rng.integers(0, 2, (length, batch_size, bits), np.uint8)


def _sparse(rng: np.random.Generator, length: int, batch_size: int, bits: int) -> Words:
    return _random(rng, length, batch_size, bits) * _random(rng, length, batch_size, 1)


def _uneven(rng: np.random.Generator, length: int, batch_size: int, bits: int) -> Words:
    ones: Words = (rng.random((length, batch_size, bits)) < rng.random((length, batch_size, 1))).astype(np.uint8)
    return ones


def _zeros(_: np.random.Generator, length: int, batch_size: int, bits: int) -> Words:
    return np.zeros((length, batch_size, bits), np.uint8)


def _ones(_: np.random.Generator, length: int, batch_size: int, bits: int) -> Words:
    return np.ones((length, batch_size, bits), np.uint8)


def _repeat(rng: np.random.Generator, length: int, batch_size: int, bits: int) -> Words:
    return np.repeat(_random(rng, 1, batch_size, bits), length, axis=0)


def _counter(rng: np.random.Generator, length: int, batch_size: int, bits: int) -> Words:
    first = rng.integers(1 << min(bits, 32), size=batch_size)
    return _bits(first + np.arange(length)[:, np.newaxis], bits)


def _text(rng: np.random.Generator, length: int, batch_size: int, bits: int) -> Words:
    first = rng.integers(len(TEXT), size=batch_size)
    characters = np.frombuffer(TEXT, np.uint8).astype(np.int64)
    return _bits(characters[(first + np.arange(length)[:, np.newaxis]) % len(TEXT)], bits)


def _bits(numbers: npt.NDArray[np.int64], bits: int) -> Words:
    """The low bits of numbers ``[L, B]``, the most significant bit first."""
    shifts = np.arange(bits)[::-1].clip(max=62)
    words: Words = (numbers[:, :, np.newaxis] >> shifts & 1).astype(np.uint8)
    return words


# ``random`` bits; ``sparse``: random, but half of the words are zero; ``uneven``: each word has its own share of ones,
# drawn from 0 to 1; ``zeros``; ``ones``; ``repeat``: one random word again and again; ``counter``: each word is the one
# before plus one; ``text``: the characters of a text.
PATTERNS: dict[str, Callable[[np.random.Generator, int, int, int], Words]] = {
    "random": _random,
    "sparse": _sparse,
    "uneven": _uneven,
    "zeros": _zeros,
    "ones": _ones,
    "repeat": _repeat,
    "counter": _counter,
    "text": _text,
}


def check_pattern(pattern: str) -> None:
    """Check the option of a task that names a pattern.

    Raises:
        ValueError: there is no such pattern.
    """
    if pattern not in PATTERNS:
        raise ValueError(f"pattern must be one of {', '.join(PATTERNS)}, not {pattern}")
