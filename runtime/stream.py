"""Copying bytes by the network: in blocks, which run side by side in batches, several batches at a time."""

import collections
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ntm.runtime.model import Model

# Batches that are read ahead, for each thread: one at work and one waiting.
_AHEAD = 2


class CopiedBatch(NamedTuple):
    """The copy of one batch."""

    content: bytes
    wrong_bits: int
    first_wrong: int | None  # the offset in the batch of the first byte with a wrong bit


def copy_batches(model: Model, batches: Iterable[bytes], block_length: int, threads: int) -> Iterator[CopiedBatch]:
    """Copy batches of bytes in order, while later batches are read and computed; only a few are in memory at a time.

    Args:
        model: a model of the copy task with words of 8 bits.
        batches: the bytes of each batch, whose blocks run side by side.
        block_length: L, the bytes of one sequence.
        threads: the number of batches that are computed at a time.

    Raises:
        ModelError: the model cannot be run.
    """
    pending: collections.deque[Future[CopiedBatch]] = collections.deque()
    # onnxruntime releases the interpreter's lock while it computes, so threads suffice.
    pool = ThreadPoolExecutor(threads)
    try:
        for batch in batches:
            pending.append(pool.submit(copy_batch, model, batch, block_length))
            if len(pending) == _AHEAD * threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def copy_batch(model: Model, batch: bytes, block_length: int) -> CopiedBatch:
    """Copy bytes as blocks side by side, the rest as a shorter block, and compare the copy with the bytes."""
    original = np.frombuffer(batch, np.uint8)
    whole = len(original) - len(original) % block_length
    copied = np.concatenate(
        [_copy_blocks(model, original[:whole], block_length), _copy_blocks(model, original[whole:], len(batch) - whole)]
    )
    difference = original ^ copied
    wrong = np.flatnonzero(difference)
    first = int(wrong[0]) if wrong.size else None
    return CopiedBatch(copied.tobytes(), int(np.unpackbits(difference[wrong]).sum()), first)


def _copy_blocks(model: Model, blocks: npt.NDArray[np.uint8], block_length: int) -> npt.NDArray[np.uint8]:
    """Copy whole blocks; each byte is one word, the most significant bit first."""
    if not blocks.size:
        return blocks
    words = np.unpackbits(blocks).reshape(-1, block_length, 8)  # [B, L, W]
    return np.packbits(model.copy(words).reshape(-1))
