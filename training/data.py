"""The batches of a training and the sequences of its checks: pure functions of the seed and a number."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from ntm.errors import TaskError
from ntm.tasks import metrics
from ntm.tasks.catalogue import make
from ntm.tasks.task import Batch, Floats, Size, Task, check_fits, corners, describe, draw, largest, optimal_output
from ntm.training.config import TrainingConfig, as_ranges

# Training batches, checks and others have their own streams of random numbers, and so different sequences.
_TRAINING, _CHECKS, _LOCATIONS, _OF_A_SIZE = 0, 1, 2, 3
# Sequences of one size in a check.
_GROUP = 20


class Padded(NamedTuple):
    """Sequences side by side, of one size or of several, padded with zeros to T steps."""

    x: Floats  # [T, B, I]
    target: Floats  # [T, B, O]
    mask: Floats  # [T, B]
    steps: int  # the steps of the longest sequence
    own: int  # the number of sequences of the task itself and its sizes; the others come behind them
    optimal: float  # the cost of the task's optimal predictor in bits per sequence; 0 if it makes no mistake
    larger: float = 1.0  # how many times the locations of the largest training sequence these sequences need


class _Source(NamedTuple):
    """The source of training batches."""

    task: Task
    ranges: dict[str, range]
    variant_every: int
    steps: int  # T, the steps of the longest sequence


class Data:
    """The sequences of a training and of its checks.

    Args:
        task: the task.
        config: the seed, the sizes, B, the lessons, and the share of the sequences that are of the variant.

    Raises:
        TaskError: the variant has unknown options, or the task breaks its contract.
    """

    def __init__(self, task: Task, config: TrainingConfig) -> None:
        self._task, self._config = task, config
        self._variant = make(type(task), task.options | dict(config.variant)) if config.variant_every else task
        sources: list[tuple[Task, dict[str, range], int]] = []
        for lesson in config.lessons:
            easier = make(type(task), task.options | dict(lesson.options))
            check_fits(easier, f"the task {task.name}", task.input_size, task.output_size)
            sources.append((easier, config.ranges | as_ranges(lesson.sizes), 0))
        practice = config.ranges | as_ranges(config.practice)
        sources.append((task, practice, config.variant_every))
        # All of these have one T, since XLA compiles for each T.
        self._steps = _most_steps([*((kind, ranges) for kind, ranges, _ in sources), (task, config.ranges)])
        annealing = practice | as_ranges(config.annealing_practice)
        self.steps = max(self._steps, _most_steps([(task, annealing)]))  # the largest T
        self._sources = [_Source(*source, self._steps) for source in sources]
        self._sources.append(_Source(task, annealing, config.variant_every, self.steps))
        self._ahead: tuple[tuple[int, int], Future[Padded]] | None = None
        self._pool = ThreadPoolExecutor(1)

    def training(self, number: int, lesson: int = 0) -> Padded:
        """A training batch: sequences of one size, but for the sizes that are mixed.

        Another thread already makes the next batch of the lesson.

        Args:
            number: the number of the batch.
            lesson: the number of the lesson; the number after the last lesson is the task itself, the next one the
                task in annealing.
        """
        ahead, self._ahead = self._ahead, None
        this, following = (number, lesson), (number + 1, lesson)
        batch = ahead[1].result() if ahead is not None and ahead[0] == this else self._training(*this)
        self._ahead = following, self._pool.submit(self._training, *following)
        return batch

    def locations(self, number: int, choices: Sequence[int]) -> int:
        """N of a training batch, drawn from several."""
        return choices[int(self._rng(_LOCATIONS, number).integers(len(choices)))] if len(choices) > 1 else choices[0]

    def check(self, number: int, sequences: int) -> Padded:
        """The sequences of a check, of all sizes; with a goal, of the largest size."""
        rng = self._rng(_CHECKS, number)
        ranges = self._config.ranges
        hardest = largest(ranges) if self._config.goal else None
        starts = range(0, sequences, _GROUP)
        groups = [
            _draw_at_most(self._steps, self._task, rng, min(_GROUP, sequences - start), hardest or _size(rng, ranges))
            for start in starts
        ]
        return _padded(self._steps, self._task, groups, sequences)

    def of_size(self, size: Size, sequences: int) -> Padded:
        """Sequences of any size, without padding; equal arguments give equal sequences.

        Raises:
            TaskError: the task raised an exception, or its batch breaks the contract.
        """
        batch = draw(self._task, self._rng(_OF_A_SIZE, 0), sequences, size)
        return Padded(*batch, len(batch.x), sequences, _optimal(self._task, [batch]))

    def _training(self, number: int, lesson: int) -> Padded:
        task, ranges, every, steps = self._sources[lesson]
        rng = self._rng(_TRAINING, number)
        count, size = self._config.batch_size, _size(rng, ranges)
        first = number * count
        varied = -(-(first + count) // every) - -(-first // every) if every else 0
        parts = [(task, count - varied, size), (self._variant, varied, size)]
        if self._config.mixed:
            mixed = {name: ranges[name] for name in self._config.mixed}
            parts = [(kind, 1, size | _size(rng, mixed)) for kind, part, _ in parts for _ in range(part)]
        in_lesson = lesson < len(self._config.lessons)

        def is_practice(size: Size) -> bool:
            return not in_lesson and any(size[name] not in r for name, r in self._config.ranges.items())

        def is_own(part: tuple[Task, int, Size]) -> bool:  # neither of the variant nor practice
            kind, _, size = part
            return kind is task and not is_practice(size)

        parts.sort(key=is_own, reverse=True)
        own = sum(part[1] for part in parts if is_own(part))
        batches = [_draw_at_most(steps, kind, rng, part, size) for kind, part, size in parts if part]
        practised = [size for _, part, size in parts if part and is_practice(size)]
        return _padded(steps, task, batches, own)._replace(larger=self._larger(practised))

    def _larger(self, sizes: Sequence[Size]) -> float:
        """How many times the locations of the largest training sequence sizes need; at least 1."""
        if not sizes:
            return 1.0
        usual = self._task.memory_locations(largest(self._config.ranges))
        return max(1.0, *(self._task.memory_locations(size) / usual for size in sizes))

    def _rng(self, stream: int, number: int) -> np.random.Generator:
        return np.random.default_rng([self._config.seed, stream, number])


def _most_steps(sources: Iterable[tuple[Task, Mapping[str, range]]]) -> int:
    """The most steps of a sequence, for tasks and the ranges of their sizes."""
    rng = np.random.default_rng(0)
    return max(len(draw(task, rng, 1, size).x) for task, ranges in sources for size in corners(ranges))


def _draw_at_most(steps: int, task: Task, rng: np.random.Generator, count: int, size: Size) -> Batch:
    batch = draw(task, rng, count, size)
    if len(batch.x) > steps:
        raise TaskError(
            f"the task {task.name}: {describe(size)} takes {len(batch.x)} steps, and the largest sizes {steps}"
        )
    return batch


def _padded(steps: int, task: Task, batches: Sequence[Batch], own: int) -> Padded:
    def joined(arrays: Sequence[Floats]) -> Floats:
        width = sum(array.shape[1] for array in arrays)
        padded = np.zeros((steps, width, *arrays[0].shape[2:]), np.float32)
        start = 0
        for array in arrays:
            padded[: len(array), start : start + array.shape[1]] = array
            start += array.shape[1]
        return padded

    x, target, mask = map(joined, zip(*batches, strict=True))
    return Padded(x, target, mask, max(len(batch.x) for batch in batches), own, _optimal(task, batches))


def _size(rng: np.random.Generator, ranges: Mapping[str, range]) -> dict[str, int]:
    return {name: values[int(rng.integers(len(values)))] for name, values in ranges.items()}


def _optimal(task: Task, batches: Sequence[Batch]) -> float:
    """The cost of the optimal predictor in bits per sequence."""
    predictions = [optimal_output(task, batch) for batch in batches]
    costs = [metrics.cost(b, y).sum() for b, y in zip(batches, predictions, strict=True) if y is not None]
    return float(sum(costs) / sum(batch.x.shape[1] for batch in batches))
