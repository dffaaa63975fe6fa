"""The repeat copy task: section 4.2 of the paper."""

import dataclasses

import numpy as np

from ntm.tasks.task import Batch, Size, Task, check_positive
from ntm.tasks.words import PATTERNS, check_pattern

# The mean and the deviation of the repeat counts 1 to 10, with which the paper normalises the count.
MEAN_REPEATS, DEVIATION_OF_REPEATS = 5.5, 8.25**0.5

COUNTS = NUMBER, STEPS = "number", "steps"


@dataclasses.dataclass(frozen=True)
class RepeatCopy(Task):
    """Repeat a sequence of words a given number of times, then say that it is over (section 4.2 of the paper).

    A word is a vector of ``bits`` bits. Sizes: ``length``, the number of words L, and ``repeats``, R.

    - Steps 1 to L: the network sees a word in the first ``bits`` channels; the last two channels are 0.
    - Step L + 1: the delimiter. Channel ``bits`` + 1 is 1; the last channel holds the count, normalised to mean 0 and
      variance 1 over the counts 1 to 10: (R - 5.5) / 2.8723. All other channels are 0.
    - With the count in steps, which is not the paper's encoding, the last channel is 0 at the delimiter. R steps follow
      it in which the last channel is 1 and all others are 0.
    - The next R L steps: all channels are 0. The output should be the words, R times over, and 0 in its last channel.
    - The last step: all channels are 0. The output should be the end marker: 1 in its last channel, 0 in all others.

    Options:
        bits: bits in a word.
        pattern: what the words hold, a name of ``ntm.tasks.words.PATTERNS``.
        count: how the network sees the count: as a ``number``, or as so many ``steps``.
    """

    bits: int = 8
    pattern: str = "random"
    count: str = NUMBER

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
        if self.count not in COUNTS:
            raise ValueError(f"count must be one of {', '.join(COUNTS)}, not {self.count}")

    @property
    def input_size(self) -> int:
        """The word, the delimiter and the count."""
        return self.bits + 2

    @property
    def output_size(self) -> int:
        """The word and the end marker."""
        return self.bits + 1

    def memory_locations(self, size: Size) -> int:
        """Two for each word, one for each step of the count, and two to spare.

        Heads that go round the circle do not reach what they wrote before.
        """
        return 2 * size["length"] + 2 + self._counting_steps(size)

    def _counting_steps(self, size: Size) -> int:
        return size["repeats"] if self.count == STEPS else 0

    def batch(self, rng: np.random.Generator, batch_size: int, size: Size) -> Batch:
        """Words, the delimiter with the count, and the words again and again."""
        length, repeats, bits = size["length"], size["repeats"], self.bits
        words = PATTERNS[self.pattern](rng, length, batch_size, bits)  # [L, B, bits]
        first = length + 1 + self._counting_steps(size)  # of the output phase
        steps = first + repeats * length + 1
        x = np.zeros((steps, batch_size, bits + 2), np.float32)
        x[:length, :, :bits] = words
        x[length, :, bits] = 1.0
        if self.count == STEPS:
            x[length + 1 : first, :, bits + 1] = 1.0
        else:
            x[length, :, bits + 1] = (repeats - MEAN_REPEATS) / DEVIATION_OF_REPEATS
        target, mask = np.zeros((steps, batch_size, bits + 1), np.float32), np.zeros((steps, batch_size), np.float32)
        target[first:-1, :, :bits] = np.tile(words, (repeats, 1, 1))
        target[-1, :, bits] = 1.0
        mask[first:] = 1.0
        return Batch(x, target, mask)
