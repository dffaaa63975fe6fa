"""The copy task: section 4.1 of the paper."""

import dataclasses

import numpy as np
import numpy.typing as npt

from ntm.tasks.task import Batch, Floats, Size, Task, check_positive
from ntm.tasks.words import PATTERNS, check_pattern


@dataclasses.dataclass(frozen=True)
class Copy(Task):
    """Remember a sequence of words and repeat it (section 4.1 of the paper).

    A word is a vector of ``bits`` bits. Size: ``length``, the number of words L.

    - Steps 1 to L: the network sees a word in the first ``bits`` channels; the last channel is 0.
    - Step L + 1: the delimiter. The last channel is 1, all others are 0.
    - Steps L + 2 to 2 L + 1: all channels are 0. The output should be the words again, in the same order.

    Options:
        bits: bits in a word.
        pattern: what the words hold, a name of ``ntm.tasks.words.PATTERNS``.
    """

    bits: int = 8
    pattern: str = "random"

    name = "copy"
    training_sizes = {"length": range(1, 21)}  # noqa: RUF012  (every task has its own, and none changes it)
    evaluation_sizes = ({"length": 20}, {"length": 120}, {"length": 1000})
    variant = {"pattern": "sparse"}  # noqa: RUF012

    def __post_init__(self) -> None:
        check_positive(self, "bits")
        check_pattern(self.pattern)

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
