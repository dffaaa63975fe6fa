"""Evaluation: the wrong bits of a model, and its cost, by the size of a task's sequences."""

import dataclasses
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ntm import text
from ntm.errors import TaskError
from ntm.runtime import arguments
from ntm.runtime.cores import available_cores
from ntm.runtime.metadata import Metadata
from ntm.runtime.model import Model
from ntm.runtime.session import Floats
from ntm.tasks import metrics
from ntm.tasks.catalogue import build, find_class, recorded_class, title
from ntm.tasks.task import Batch, Size, Task, check, check_fits, check_size, draw, naming_errors, optimal_output

# The smallest default of N, as in the paper.
LEAST_LOCATIONS = 128

_REPORT_SECONDS = 0.1
# The sequences that one seed draws. So the sequences do not depend on the size of the batches.
_BLOCK = 16


class Case(NamedTuple):
    """Sequences to evaluate."""

    size: Size
    memory_locations: int  # N
    sequences: int
    seed: int = 0


class Output(NamedTuple):
    """A sequence of a task, and the output of the network."""

    x: Floats  # [T, I]
    target: Floats  # [T, O]
    mask: Floats  # [T]
    y: Floats  # [T, O], probabilities

    @property
    def wrong_bits(self) -> int:
        """The outputs on the wrong side of 0.5, over the output phase."""
        batch = Batch(*(values[:, np.newaxis] for values in (self.x, self.target, self.mask)))
        return int(metrics.wrong_bits(batch, self.y[:, np.newaxis])[0])


@dataclasses.dataclass(frozen=True)
class Score:
    """The wrong bits and the cost of a network on the sequences of a case.

    Attributes:
        case: the case.
        wrong_bits: the wrong bits of each sequence, ``[sequences]``; thresholded at 0.5, over the output phase.
        cost: the cross-entropy of each sequence in bits, ``[sequences]``, over the output phase, as the paper plots it.
        optimal_cost: the cost of the best possible predictor, ``[sequences]``; None if that predictor makes no mistake.
        worst: the first of the sequences with the most wrong bits.
    """

    case: Case
    wrong_bits: npt.NDArray[np.int64]
    cost: npt.NDArray[np.float64]
    optimal_cost: npt.NDArray[np.float64] | None
    worst: Output

    @property
    def perfect(self) -> bool:
        """Whether no bit is wrong; always True with an optimal predictor, since then no prediction is certain."""
        return self.optimal_cost is not None or not self.wrong_bits.any()

    def as_dict(self) -> dict[str, int | float]:
        """The figures and the numbers of the size, by name."""
        figures: dict[str, int | float] = {
            **self.case.size,
            "memory_locations": self.case.memory_locations,
            "sequences": len(self.wrong_bits),
            "perfect_sequences": int(np.count_nonzero(self.wrong_bits == 0)),
            "wrong_bits": int(self.wrong_bits.sum()),
            "wrong_bits_mean": float(self.wrong_bits.mean()),
            "wrong_bits_worst": int(self.wrong_bits.max()),
            "cost_mean": float(self.cost.mean()),
        }
        if self.optimal_cost is not None:
            figures["optimal_cost_mean"] = float(self.optimal_cost.mean())
            figures["cost_above_optimal"] = figures["cost_mean"] - figures["optimal_cost_mean"]
        return figures


def evaluate(
    model: Model,
    task: Task | str | None = None,
    sizes: Sequence[Size] | None = None,
    *,
    sequences: int = 100,
    memory_locations: int | None = None,
    seed: int = 0,
    threads: int = 1,
) -> list[Score]:
    """Evaluate a model on fresh sequences of a task; see ``ntm.evaluate``."""
    if isinstance(sizes, Mapping | str) or not isinstance(sizes, Iterable | None):
        raise TypeError(f"sizes must be a list of sizes, e.g. [{{'length': 20}}], not {sizes!r}")
    learned = task_of(model.metadata, task)
    sequences = arguments.whole_number("sequences", sequences, 1)
    seed = arguments.whole_number("seed", seed, 0)
    threads = min(arguments.whole_number("threads", threads, 1), available_cores())
    if memory_locations is not None:
        memory_locations = arguments.whole_number("memory_locations", memory_locations, model.metadata.least_locations)
    cases = cases_of(model.metadata, learned, sizes, sequences=sequences, memory_locations=memory_locations, seed=seed)
    return [run_case(model, learned, case, threads=threads) for case in cases]


def task_of(metadata: Metadata, given: Task | str | None, options: Mapping[str, Any] | None = None) -> Task:
    """The task that a model is to be evaluated on.

    Args:
        metadata: the metadata of the model.
        given: a task, or the text that ``ntm.tasks.find`` takes; by default the task that the model was trained on.
        options: the options of the task that differ from the model's.

    Raises:
        TaskError: there is no such task, or its sequences are not of the model's sizes.
    """
    name, trained, changes = metadata.task_name, metadata.task_options, dict(options or {})
    if isinstance(given, Task):
        task = given
    else:
        kind = recorded_class(name) if given is None else find_class(given)
        task = build(kind, (trained if title(kind) == name else {}) | changes)
    check_fits(task, f"the model {metadata.model_name}", metadata.input_size, metadata.output_size)
    check(task)  # last: the options in a foreign file may ask for sequences that do not fit the memory
    return task


def cases_of(
    metadata: Metadata,
    task: Task,
    sizes: Sequence[Size] | None,
    *,
    sequences: int,
    memory_locations: int | None = None,
    seed: int = 0,
) -> list[Case]:
    """A case for each size, by default those of the task.

    N is the need of the size, and at least 128 unless the network works with its own N only.

    Raises:
        TaskError: a size does not fit the task, or there is no size.
    """
    if sizes is None:
        sizes = task.evaluation_sizes
        if not sizes:
            raise TaskError(f"the task {task.name} has no evaluation_sizes: give a size")
    least = metadata.least_locations if metadata.fixed_locations else max(LEAST_LOCATIONS, metadata.least_locations)
    cases = []
    for size in sizes:
        check_size(task, size)
        locations = memory_locations
        if locations is None:
            with naming_errors(f"the task {task.name}, memory_locations"):
                locations = max(task.memory_locations(size), least)
        cases.append(Case(size, locations, sequences, seed))
    return cases


def run_case(
    model: Model, task: Task, case: Case, *, threads: int = 1, report: Callable[[float], None] = lambda _: None
) -> Score:
    """Run a network on the sequences of a case, and compare.

    Args:
        model: the network; its ``batch_size`` limits the memory of the evaluation.
        task: the task that makes the sequences.
        case: the case.
        threads: the batches that are computed at a time; the sequences do not depend on the batches.
        report: called several times a second with the number of finished sequences, which may be a fraction.

    Raises:
        ModelError: the model cannot be run.
        TaskError: the task breaks its contract.
        ValueError: the case has fewer locations than the heads start from.
    """
    size = min(model.batch_size(case.memory_locations), -(-case.sequences // threads))
    batches = [range(start, min(start + size, case.sequences)) for start in range(0, case.sequences, size)]
    done = [0.0] * len(batches)  # the finished sequences of each batch
    stopped = threading.Event()

    def run(index: int) -> Score:
        batch = _sequences(task, case, batches[index])
        steps, count, _ = batch.x.shape
        y: list[Floats] = []
        for chunk in model.chunks(batch.x, model.initial_state(count, case.memory_locations)):
            if stopped.is_set():
                raise CancelledError
            y.append(chunk)
            done[index] += count * len(chunk) / steps
        return _score(task, case, batch, np.concatenate(y))

    # onnxruntime releases the interpreter's lock while it computes, so threads suffice.
    pool = ThreadPoolExecutor(threads)
    scores: list[Score] = []
    try:
        jobs = deque(pool.submit(run, index) for index in range(len(batches)))
        while jobs:
            wait([jobs[0]], _REPORT_SECONDS)
            report(sum(done))
            while jobs and jobs[0].done():
                scores = [_joined(*scores, jobs.popleft().result())]
    finally:
        stopped.set()
        pool.shutdown(cancel_futures=True)
    return scores[0]


def table(scores: Sequence[Score]) -> str:
    """The figures for people: a Markdown table with a row for each case, and a legend."""
    figures = [score.as_dict() for score in scores]
    columns = {
        **{name: name for name in scores[0].case.size},
        "N": "memory_locations",
        "sequences": "sequences",
        "perfect": "perfect_sequences",
        "wrong bits": "wrong_bits_mean",
        "worst": "wrong_bits_worst",
        "cost": "cost_mean",
        "optimal": "optimal_cost_mean",
        "above optimal": "cost_above_optimal",
    }
    columns = {title: name for title, name in columns.items() if name in figures[0]}
    rows = [[readable(row[name]) for name in columns.values()] for row in figures]
    legend = "N: memory locations; wrong bits: per sequence, and in the worst; cost: bits per sequence"
    if "optimal" in columns:
        legend += ",\nand that of the optimal predictor"
    return f"{text.table([list(columns), *rows])}\n\n{legend}"


def readable(value: float) -> str:
    """A figure for people: three digits, or all digits before the point."""
    return f"{value:.3g}" if isinstance(value, float) and value < 100 else f"{value:,.0f}"


def _sequences(task: Task, case: Case, numbers: range) -> Batch:
    """The sequences of a case with these numbers, side by side."""
    parts = []
    for block in range(numbers.start // _BLOCK, -(-numbers.stop // _BLOCK)):
        rng = np.random.default_rng([case.seed, *case.size.values(), block])
        first = block * _BLOCK
        wanted = slice(max(numbers.start - first, 0), numbers.stop - first)
        parts.append([values[:, wanted] for values in draw(task, rng, _BLOCK, case.size)])
    return Batch(*(np.concatenate(arrays, axis=1) for arrays in zip(*parts, strict=True)))


def _score(task: Task, case: Case, batch: Batch, y: Floats) -> Score:
    """Compare a batch with the output of the network, ``[T, B, O]``."""
    wrong = metrics.wrong_bits(batch, y)
    b = int(wrong.argmax())
    worst = Output(batch.x[:, b], batch.target[:, b], batch.mask[:, b], y[:, b].copy())
    optimal = optimal_output(task, batch)
    optimal_cost = None if optimal is None else metrics.cost(batch, optimal)
    return Score(case, wrong, metrics.cost(batch, y), optimal_cost, worst)


def _joined(*scores: Score) -> Score:
    """The scores of several batches of a case as one."""

    def concatenated(parts: Iterable[npt.NDArray[Any] | None]) -> Any:
        arrays = [part for part in parts if part is not None]
        return np.concatenate(arrays) if arrays else None

    return dataclasses.replace(
        scores[0],
        wrong_bits=concatenated(score.wrong_bits for score in scores),
        cost=concatenated(score.cost for score in scores),
        optimal_cost=concatenated(score.optimal_cost for score in scores),
        worst=max((score.worst for score in scores), key=lambda worst: worst.wrong_bits),
    )
