"""Bytes through the network: cut into blocks, copied side by side in batches, several batches at a time."""

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
    """What the network gave back of one batch."""

    content: bytes
    wrong_bits: int
    first_wrong: int | None  # the offset in the batch of the first byte with a wrong bit


def copy_batches(model: Model, batches: Iterable[bytes], block_length: int, threads: int) -> Iterator[CopiedBatch]:
    """Copy batches of bytes in order, while later ones are read and computed; only a few are held at a time.

    Args:
        model: of words of 8 bits.
        batches: each is run at once, its blocks side by side.
        block_length: L, the bytes that make one sequence.
        threads: how many batches are computed at a time.

    Raises:
        ModelError: the model cannot be run.
    """
    pending: collections.deque[Future[CopiedBatch]] = collections.deque()
    # onnxruntime gives up the interpreter's lock while it computes, so threads suffice.
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
    """Copy bytes as blocks side by side, and a shorter one for what remains; then compare."""
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
