"""The repeat copy task: section 4.2 of the paper."""

import dataclasses

import numpy as np

from ntm.tasks.task import Batch, Size, Task, check_positive
from ntm.tasks.words import PATTERNS, check_pattern

# The mean and the deviation of the repeat counts 1 to 10, with which the paper normalises the count.
MEAN_REPEATS, DEVIATION_OF_REPEATS = 5.5, 8.25**0.5


@dataclasses.dataclass(frozen=True)
class RepeatCopy(Task):
    """Repeat a sequence of words a given number of times, then say that it is over (section 4.2 of the paper).

    A word is a vector of ``bits`` bits. Sizes: ``length``, the number of words L, and ``repeats``, R.

    - Steps 1 to L: the network sees a word in the first ``bits`` channels; the last two channels are 0.
    - Step L + 1: the delimiter. Channel ``bits`` + 1 is 1; the last channel holds the count, normalised to mean 0 and
      variance 1 over the counts 1 to 10: (R - 5.5) / 2.8723. All other channels are 0.
    - The next R L steps: all channels are 0. The output should be the words, R times over, and 0 in its last channel.
    - The last step: all channels are 0. The output should be the end marker: 1 in its last channel, 0 in all others.

    Options:
        bits: bits in a word.
        pattern: what the words hold, a name of ``ntm.tasks.words.PATTERNS``.
    """

    bits: int = 8
    pattern: str = "random"

    name = "repeat-copy"
    training_sizes = {"length": range(1, 11), "repeats": range(1, 11)}  # noqa: RUF012
    evaluation_sizes = (
        {"length": 10, "repeats": 10},
        {"length": 20, "repeats": 10},
        {"length": 10, "repeats": 20},
    )
    variant = {"pattern": "sparse"}  # noqa: RUF012

    def __post_init__(self) -> None:
        check_positive(self, "bits")
        check_pattern(self.pattern)

    @property
    def input_size(self) -> int:
        """The word, the delimiter and the count."""
        return self.bits + 2

    @property
    def output_size(self) -> int:
        """The word and the end marker."""
        return self.bits + 1

    def memory_locations(self, size: Size) -> int:
        """Two for each word and two to spare: heads that go round the circle do not reach what they wrote before."""
        return 2 * size["length"] + 2

    def batch(self, rng: np.random.Generator, batch_size: int, size: Size) -> Batch:
        """Words, the delimiter with the count, and the words again and again."""
        length, repeats, bits = size["length"], size["repeats"], self.bits
        words = PATTERNS[self.pattern](rng, length, batch_size, bits)  # [L, B, bits]
        steps = length + 1 + repeats * length + 1
        x = np.zeros((steps, batch_size, bits + 2), np.float32)
        x[:length, :, :bits] = words
        x[length, :, bits] = 1.0
        x[length, :, bits + 1] = (repeats - MEAN_REPEATS) / DEVIATION_OF_REPEATS
        target, mask = np.zeros((steps, batch_size, bits + 1), np.float32), np.zeros((steps, batch_size), np.float32)
        target[length + 1 : -1, :, :bits] = np.tile(words, (repeats, 1, 1))
        target[-1, :, bits] = 1.0
        mask[length + 1 :] = 1.0
        return Batch(x, target, mask)
