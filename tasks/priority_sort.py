"""The priority sort task: section 4.5 of the paper."""

import dataclasses

import numpy as np

from ntm.tasks.task import Batch, Size, Task, check_positive


@dataclasses.dataclass(frozen=True)
class PrioritySort(Task):
    """Sort vectors by their priorities, and output those of the highest ones (section 4.5 of the paper).

    A vector has ``bits`` bits; its priority is a number drawn uniformly from [-1, 1]. Size: ``vectors``, the length V
    of the list; four fifths of them come out, 16 of 20. (The paper trains with 20 vectors alone.)

    - Steps 1 to V: the network sees a vector in the first ``bits`` channels, its priority in the next; the last is 0.
    - Step V + 1: the delimiter. The last channel is 1, all others are 0.
    - The next 4 V / 5 steps, rounded down: all channels are 0. The output should be the vectors with the highest
      priorities, the highest first.

    Options:
        bits: bits in a vector.
    """

    bits: int = 8

    name = "priority-sort"
    training_sizes = {"vectors": range(2, 21)}  # noqa: RUF012
    evaluation_sizes = ({"vectors": 10}, {"vectors": 20}, {"vectors": 30})

    def __post_init__(self) -> None:
        check_positive(self, "bits")

    @property
    def input_size(self) -> int:
        """The vector, its priority and the delimiter."""
        return self.bits + 2

    @property
    def output_size(self) -> int:
        """The vector."""
        return self.bits

    def memory_locations(self, size: Size) -> int:
        """Two for each vector: a network may choose the location by the priority."""
        return 2 * size["vectors"]

    def batch(self, rng: np.random.Generator, batch_size: int, size: Size) -> Batch:
        """The vectors with their priorities, and the sorted ones."""
        count, bits = size["vectors"], self.bits
        if count < 2:
            raise ValueError(f"vectors must be at least 2, not {count}")
        sorted_count = 4 * count // 5
        vectors = rng.integers(0, 2, (count, batch_size, bits), np.uint8)
        priorities = rng.uniform(-1, 1, (count, batch_size)).astype(np.float32)
        steps = count + 1 + sorted_count
        x = np.zeros((steps, batch_size, bits + 2), np.float32)
        x[:count, :, :bits], x[:count, :, bits] = vectors, priorities
        x[count, :, bits + 1] = 1.0
        order = np.argsort(-priorities, axis=0, kind="stable")[:sorted_count]  # [sorted, B]
        target, mask = np.zeros((steps, batch_size, bits), np.float32), np.zeros((steps, batch_size), np.float32)
        target[count + 1 :] = np.take_along_axis(vectors, order[:, :, np.newaxis], axis=0)
        mask[count + 1 :] = 1.0
        return Batch(x, target, mask)
