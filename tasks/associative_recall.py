"""The associative recall task: section 4.3 of the paper."""

import dataclasses
import itertools

import numpy as np

from ntm.tasks.task import Batch, Floats, Size, Task, check_positive


@dataclasses.dataclass(frozen=True)
class AssociativeRecall(Task):
    """See a list of items, then one of them again: the output should be the item after it (section 4.3 of the paper).

    An item is ``vectors`` vectors of ``bits`` bits. Size: ``items``, the number of items in the list, at least 2. No
    two items of a list are equal, and the last one is never asked for.

    - Each item: one step in which channel ``bits`` + 1, the item delimiter, is 1 and all others are 0; then one step
      for each of its vectors, in the first ``bits`` channels.
    - The query: one step in which the last channel, the query delimiter, is 1 and all others are 0; then one step for
      each vector of the queried item; then the query delimiter again.
    - One step for each vector of the answer: all channels are 0, and the output should be the vector.

    Options:
        bits: bits in a vector.
        vectors: vectors in an item.
        similar: draw the items of a list from so few vectors that many have all but one in common.
    """

    bits: int = 6
    vectors: int = 3
    similar: bool = False

    name = "associative-recall"
    training_sizes = {"items": range(2, 7)}  # noqa: RUF012
    variant = {"similar": True}  # noqa: RUF012
    evaluation_sizes = ({"items": 6}, {"items": 10}, {"items": 15}, {"items": 20})

    def __post_init__(self) -> None:
        check_positive(self, "bits", "vectors")

    @property
    def input_size(self) -> int:
        """The vector and the two delimiters."""
        return self.bits + 2

    @property
    def output_size(self) -> int:
        """The vector."""
        return self.bits

    def memory_locations(self, size: Size) -> int:
        """Two for each step: heads that go round the circle of locations do not reach what they wrote before."""
        return 2 * self.steps(size)

    def steps(self, size: Size) -> int:
        """The items, the query and the answer."""
        return size["items"] * (self.vectors + 1) + 2 * self.vectors + 2

    def batch(self, rng: np.random.Generator, batch_size: int, size: Size) -> Batch:
        """The items, the query and the answer."""
        count, bits, vectors = size["items"], self.bits, self.vectors
        if count < 2:
            raise ValueError(f"items must be at least 2, not {count}")
        items = self._items(rng, batch_size, count)  # [B, items, vectors, bits]
        sequence = np.arange(batch_size)
        asked = rng.integers(0, count - 1, batch_size)
        x = np.zeros((self.steps(size), batch_size, bits + 2), np.float32)
        target, mask = np.zeros((len(x), batch_size, bits), np.float32), np.zeros((len(x), batch_size), np.float32)
        listed = x[: count * (vectors + 1)].reshape(count, vectors + 1, batch_size, bits + 2)
        listed[:, 0, :, bits] = 1.0
        listed[:, 1:, :, :bits] = items.transpose(1, 2, 0, 3)
        query = x[count * (vectors + 1) :]
        query[[0, vectors + 1], :, bits + 1] = 1.0
        query[1 : vectors + 1, :, :bits] = items[sequence, asked].transpose(1, 0, 2)
        target[-vectors:] = items[sequence, asked + 1].transpose(1, 0, 2)
        mask[-vectors:] = 1.0
        return Batch(x, target, mask)

    def _items(self, rng: np.random.Generator, batch_size: int, count: int) -> Floats:
        """Lists of different items, ``[B, items, vectors, bits]``."""
        vectors, bits = self.vectors, self.bits
        if vectors * bits < _MANY_BITS and count > 1 << vectors * bits:
            raise ValueError(f"there are not {count} different items of {vectors} vectors of {bits} bits")
        if not self.similar:
            return _distinct(rng, batch_size, count, vectors * bits).reshape(batch_size, count, vectors, bits)
        enough = next(size for size in itertools.count(2) if size**vectors >= _SPARE * count)
        pool = min(enough, 1 << min(bits, _MANY_BITS))
        words = _distinct(rng, batch_size, pool, bits)  # [B, pool, bits]
        chosen = np.stack([rng.choice(pool**vectors, count, replace=False) for _ in range(batch_size)])
        indices = chosen[:, :, np.newaxis] // pool ** np.arange(vectors) % pool  # [B, items, vectors]
        return words[np.arange(batch_size)[:, np.newaxis, np.newaxis], indices]


# Random vectors of this many bits are never equal in practice.
_MANY_BITS = 63
# The vectors of similar items can form at least this many times as many items as the list has.
_SPARE = 4


def _distinct(rng: np.random.Generator, batch_size: int, count: int, bits: int) -> Floats:
    """Random vectors that differ within each sequence, ``[B, count, bits]``."""
    if bits >= _MANY_BITS:
        return rng.integers(0, 2, (batch_size, count, bits), np.uint8).astype(np.float32)
    numbers = rng.integers(0, 1 << bits, (batch_size, count))
    for row in np.flatnonzero((np.diff(np.sort(numbers, axis=1), axis=1) == 0).any(axis=1)):
        numbers[row] = rng.choice(1 << bits, count, replace=False)
    vectors: Floats = (numbers[:, :, np.newaxis] >> np.arange(bits) & 1).astype(np.float32)
    return vectors
