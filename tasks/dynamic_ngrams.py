"""The dynamic n-grams task: section 4.4 of the paper."""

import dataclasses

import numpy as np

from ntm.tasks.task import Batch, Floats, Size, Task


@dataclasses.dataclass(frozen=True)
class DynamicNGrams(Task):
    """Predict the next bit of a sequence whose statistics are new each time (section 4.4 of the paper).

    For every sequence a table is drawn anew: for each of the 2^(n-1) contexts, which are the n - 1 bits before, the
    probability that the next bit is 1, from Beta(1/2, 1/2). The first n - 1 bits are fair, and every later one is drawn
    by the table. Size: ``length``, the bits of a sequence L.

    - Steps 1 to L - 1: the one channel holds the bit of the step; the output should be the probability that the next
      bit is 1. It counts from step n - 1 on, when the first context is complete.

    No prediction is certain. The optimal one is (N1 + 1/2) / (N0 + N1 + 1), where N0 and N1 count the zeros and ones
    seen so far in the same context (Eq. 10).

    Options:
        n: bits in an n-gram, the context and the next bit.
    """

    n: int = 6

    name = "dynamic-ngrams"
    input_size = 1
    output_size = 1
    training_sizes = {"length": range(200, 201)}  # noqa: RUF012
    evaluation_sizes = ({"length": 200},)

    def __post_init__(self) -> None:
        if not 2 <= self.n <= 12:
            raise ValueError(f"n must be from 2 to 12, not {self.n}")

    def memory_locations(self, size: Size) -> int:  # noqa: ARG002  (every size has the same contexts)
        """Two for each context."""
        return 1 << self.n

    def batch(self, rng: np.random.Generator, batch_size: int, size: Size) -> Batch:
        """The bits, and the bits that follow them."""
        length, order = size["length"], self.n - 1
        if length <= order:
            raise ValueError(f"length must be at least {self.n}, not {length}")
        table = rng.beta(0.5, 0.5, (1 << order, batch_size))
        chance = rng.random((length, batch_size))
        bits = np.zeros((length, batch_size), np.int64)
        bits[:order] = chance[:order] < 0.5
        context, sequence = _first_contexts(bits[:order]), np.arange(batch_size)
        for t in range(order, length):
            bits[t] = chance[t] < table[context, sequence]
            context = (2 * context + bits[t]) % (1 << order)
        x, target = (part[:, :, np.newaxis].astype(np.float32) for part in (bits[:-1], bits[1:]))
        mask = np.zeros((length - 1, batch_size), np.float32)
        mask[order - 1 :] = 1.0
        return Batch(x, target, mask)

    def optimal(self, batch: Batch) -> Floats:
        """The optimal Bayesian estimator, Eq. (10), ``[T, B, 1]``; 1/2 before the first context is complete."""
        steps, batch_size, _ = batch.x.shape
        order = self.n - 1
        seen, following = batch.x[:, :, 0].astype(np.int64), batch.target[:, :, 0].astype(np.int64)
        counts = np.zeros((1 << order, 2, batch_size))
        estimate = np.full((steps, batch_size, 1), 0.5, np.float32)
        context, sequence = _first_contexts(seen[:order]), np.arange(batch_size)
        for t in range(order - 1, steps):
            if t >= order:
                context = (2 * context + seen[t]) % (1 << order)
            zeros, ones = counts[context, 0, sequence], counts[context, 1, sequence]
            estimate[t, :, 0] = (ones + 0.5) / (zeros + ones + 1.0)
            counts[context, following[t], sequence] += 1
        return estimate


def _first_contexts(bits: np.ndarray) -> np.ndarray:
    """The number of a context, ``[B]``, from its bits in order, ``[n - 1, B]``."""
    numbers: np.ndarray = (1 << np.arange(len(bits))[::-1]) @ bits
    return numbers
