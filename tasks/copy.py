"""The copy task: section 4.1 of the paper."""

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ntm.tasks.task import Batch, Floats, Size, Task, check_positive

# Ada Lovelace on the Analytical Engine, 1843.
TEXT = (
    b"The Analytical Engine has no pretensions whatever to originate anything. It can do whatever we know how to order "
    b"it to perform. It can follow analysis; but it has no power of anticipating any analytical relations or truths. "
    b"Its province is to assist us in making available what we are already acquainted with. "
)


@dataclasses.dataclass(frozen=True)
class Copy(Task):
    """Remember a sequence of words and repeat it (section 4.1 of the paper).

    A word is a vector of ``bits`` bits. Size: ``length``, the number of words L.

    - Steps 1 to L: the network sees a word in the first ``bits`` channels; the last channel is 0.
    - Step L + 1: the delimiter. The last channel is 1, all others are 0.
    - Steps L + 2 to 2 L + 1: all channels are 0. The output should be the words again, in the same order.

    Options:
        bits: bits in a word.
        pattern: what the words hold. ``random`` bits; ``sparse``: random, but half of the words are zero; ``zeros``;
            ``ones``; ``repeat``: one random word again and again; ``counter``: each word is the one before plus one;
            ``text``: the characters of a text.
    """

    bits: int = 8
    pattern: str = "random"

    name = "copy"
    training_sizes = {"length": range(1, 21)}  # noqa: RUF012  (every task has its own, and none changes it)
    evaluation_sizes = ({"length": 20}, {"length": 120}, {"length": 1000})
    variant = {"pattern": "sparse"}  # noqa: RUF012

    def __post_init__(self) -> None:
        check_positive(self, "bits")
        if self.pattern not in PATTERNS:
            raise ValueError(f"pattern must be one of {', '.join(PATTERNS)}, not {self.pattern}")

    @property
    def input_size(self) -> int:
        """The word and the delimiter's channel."""
        return self.bits + 1

    @property
    def output_size(self) -> int:
        """The word."""
        return self.bits

    def memory_locations(self, size: Size) -> int:
        """One for each word, one for the delimiter and one to spare."""
        return size["length"] + 2

    def batch(self, rng: np.random.Generator, batch_size: int, size: Size) -> Batch:
        """Words, the delimiter, and the words again."""
        words = PATTERNS[self.pattern](rng, size["length"], batch_size, self.bits)  # [L, B, bits]
        length = len(words)
        x = inputs(words)
        target, mask = np.zeros(x[:, :, 1:].shape, np.float32), np.zeros(x.shape[:2], np.float32)
        target[length + 1 :], mask[length + 1 :] = words, 1.0
        return Batch(x, target, mask)


def inputs(words: npt.NDArray[np.generic], padding: int = 0) -> Floats:
    """The inputs of a network that copies words.

    Args:
        words: ``[L, B, bits]``, of 0 and 1.
        padding: how many steps of zeros to add at the end.

    Returns:
        ``[2 L + 1 + padding, B, bits + 1]``.
    """
    length, batch_size, bits = words.shape
    x = np.zeros((2 * length + 1 + padding, batch_size, bits + 1), np.float32)
    x[:length, :, :bits] = words
    x[length, :, bits] = 1.0
    return x


Words = npt.NDArray[np.uint8]  # [L, B, bits]


def _random(rng: np.random.Generator, length: int, batch_size: int, bits: int) -> Words:
    return rng.integers(0, 2, (length, batch_size, bits), np.uint8)


def _sparse(rng: np.random.Generator, length: int, batch_size: int, bits: int) -> Words:
    return _random(rng, length, batch_size, bits) * _random(rng, length, batch_size, 1)


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


PATTERNS: dict[str, Callable[[np.random.Generator, int, int, int], Words]] = {
    "random": _random,
    "sparse": _sparse,
    "zeros": _zeros,
    "ones": _ones,
    "repeat": _repeat,
    "counter": _counter,
    "text": _text,
}
