"""The measures of an output: wrong bits, and the cost in bits that the paper plots."""

import numpy as np
import numpy.typing as npt

from ntm.tasks.task import Batch, Floats

# The distance to 1 of the largest float32 below 1. So an output of exactly 0 or 1 that is wrong costs 24 bits.
_LEAST_CHANCE = 2.0**-24


def wrong_bits(batch: Batch, y: Floats) -> npt.NDArray[np.int64]:
    """The outputs of each sequence on the wrong side of 0.5, over the output phase, ``[B]``.

    Args:
        batch: the sequences.
        y: the output, probabilities, ``[T, B, O]``.
    """
    wrong = ((y > 0.5) != (batch.target > 0.5)) & (batch.mask[:, :, np.newaxis] > 0)
    counts: npt.NDArray[np.int64] = np.count_nonzero(wrong, axis=(0, 2))
    return counts


def cost(batch: Batch, y: Floats) -> npt.NDArray[np.float64]:
    """The cross-entropy of each sequence in bits, over the output phase, ``[B]``.

    Args:
        batch: the sequences.
        y: the output, probabilities, ``[T, B, O]``.
    """
    counts = batch.mask > 0  # [T, B]
    chance = y[counts].astype(np.float64).clip(_LEAST_CHANCE, 1 - _LEAST_CHANCE)  # [steps that count, O]
    target = batch.target[counts]
    bits = np.zeros(counts.shape)
    bits[counts] = -(target * np.log2(chance) + (1 - target) * np.log2(1 - chance)).sum(axis=1)
    total: npt.NDArray[np.float64] = bits.sum(axis=0)
    return total
