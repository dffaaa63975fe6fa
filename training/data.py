"""The batches of a training and the sequences of its checks: pure functions of the seed and a number."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from ntm.errors import TaskError
from ntm.tasks.catalogue import make
from ntm.tasks.task import Batch, Floats, Size, Task, corners, describe, draw
from ntm.training.config import TrainingConfig

# No training batch and no check are the same sequences: each has a stream of random numbers of its own.
_TRAINING, _CHECKS, _LOCATIONS = 0, 1, 2
# Sequences of one size in a check.
_GROUP = 20


class Padded(NamedTuple):
    """Sequences side by side, of one size or of several, padded with zeros to T steps."""

    x: Floats  # [T, B, I]
    target: Floats  # [T, B, O]
    mask: Floats  # [T, B]
    steps: int  # of the longest sequence
    own: int  # how many are of the task; behind them those of its variant


class Data:
    """What a network is trained and checked on.

    Args:
        task: what makes the sequences.
        config: the seed, the sizes, B, and which share of the sequences is drawn from a variant of the task.

    Raises:
        TaskError: the variant has unknown options, or the task breaks its contract.
    """

    def __init__(self, task: Task, config: TrainingConfig) -> None:
        self._task, self._config = task, config
        self._variant = make(type(task), task.options | dict(config.variant)) if config.variant_every else task
        self._ranges = config.ranges
        rng = np.random.default_rng(0)
        self.steps = max(len(draw(task, rng, 1, size).x) for size in corners(self._ranges))  # T
        self._ahead: tuple[int, Future[Padded]] | None = None
        self._pool = ThreadPoolExecutor(1)

    def training(self, number: int) -> Padded:
        """The training batch of a number: sequences of one size. The next one is made meanwhile."""
        ahead, self._ahead = self._ahead, None
        batch = ahead[1].result() if ahead is not None and ahead[0] == number else self._training(number)
        self._ahead = number + 1, self._pool.submit(self._training, number + 1)
        return batch

    def locations(self, number: int, choices: Sequence[int]) -> int:
        """N of the training batch of a number, drawn from several."""
        return choices[int(self._rng(_LOCATIONS, number).integers(len(choices)))] if len(choices) > 1 else choices[0]

    def check(self, number: int, sequences: int) -> Padded:
        """The sequences of the check of a number, of all sizes."""
        rng = self._rng(_CHECKS, number)
        starts = range(0, sequences, _GROUP)
        groups = [self._draw_from(self._task, rng, min(_GROUP, sequences - start), self._size(rng)) for start in starts]
        return self._padded(groups, sequences)

    def _training(self, number: int) -> Padded:
        rng = self._rng(_TRAINING, number)
        count, every, size = self._config.batch_size, self._config.variant_every, self._size(rng)
        first = number * count
        varied = -(-(first + count) // every) - -(-first // every) if every else 0
        parts = [(self._task, count - varied), (self._variant, varied)]
        drawn = [self._draw_from(task, rng, part, size) for task, part in parts if part]
        return self._padded(drawn, count - varied)

    def _size(self, rng: np.random.Generator) -> dict[str, int]:
        return {name: values[int(rng.integers(len(values)))] for name, values in self._ranges.items()}

    def _draw_from(self, task: Task, rng: np.random.Generator, count: int, size: Size) -> Batch:
        batch = draw(task, rng, count, size)
        if len(batch.x) > self.steps:
            raise TaskError(
                f"the task {task.name}: {describe(size)} takes {len(batch.x)} steps, and the largest sizes {self.steps}"
            )
        return batch

    def _padded(self, batches: Sequence[Batch], own: int) -> Padded:
        def joined(arrays: Sequence[Floats]) -> Floats:
            width = sum(array.shape[1] for array in arrays)
            padded = np.zeros((self.steps, width, *arrays[0].shape[2:]), np.float32)
            start = 0
            for array in arrays:
                padded[: len(array), start : start + array.shape[1]] = array
                start += array.shape[1]
            return padded

        x, target, mask = map(joined, zip(*batches, strict=True))
        return Padded(x, target, mask, max(len(batch.x) for batch in batches), own)

    def _rng(self, stream: int, number: int) -> np.random.Generator:
        return np.random.default_rng([self._config.seed, stream, number])
