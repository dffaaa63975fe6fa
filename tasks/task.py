"""The base class of the tasks, their batches, and the check of a task's contract."""

import abc
import contextlib
import dataclasses
import inspect
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ntm.errors import TaskError

Floats = npt.NDArray[np.float32]

# How large a sequence is: whole numbers by name, e.g. {"length": 20} or {"length": 10, "repeats": 3}.
Size = Mapping[str, int]


class Batch(NamedTuple):
    """B sequences of one size side by side; T steps, I numbers in and O numbers out at each; of any type of number."""

    x: npt.NDArray[Any]  # [T, B, I], what the network sees
    target: npt.NDArray[Any]  # [T, B, O], what it should output, each in [0, 1]
    mask: npt.NDArray[Any]  # [T, B], 1 where the output counts, else 0: the output phase


class Task(abc.ABC):
    """A task that a network learns. One object serves training, evaluation, export and pictures.

    A subclass is a frozen dataclass whose fields are the options of the task; a field holds a number, a text or a
    truth value. The class docstring should state how a sequence is encoded: model cards print it. A subclass must
    define ``input_size``, ``output_size``, ``training_sizes`` and ``batch``; a class attribute serves as well as a
    property. All else has a default.
    """

    @property
    def name(self) -> str:
        """The name of the task in a model's metadata; by default the name of the class."""
        return type(self).__name__

    @property
    @abc.abstractmethod
    def input_size(self) -> int:
        """I, the numbers that the network sees at each step."""

    @property
    @abc.abstractmethod
    def output_size(self) -> int:
        """O, the numbers that the network outputs at each step."""

    @property
    @abc.abstractmethod
    def training_sizes(self) -> Mapping[str, range]:
        """The ranges that the size of a training batch is drawn from, e.g. ``{"length": range(1, 21)}``."""

    @property
    def evaluation_sizes(self) -> Sequence[Size]:
        """The sizes that ``ntm-eval`` shows; by default the smallest and the largest of training."""
        ranges = self.training_sizes
        smallest, largest = ({name: end(values) for name, values in ranges.items()} for end in (min, max))
        return [smallest] if smallest == largest else [smallest, largest]

    @abc.abstractmethod
    def batch(self, rng: np.random.Generator, batch_size: int, size: Size) -> Batch:
        """Random sequences of one size, a pure function of the random numbers that ``rng`` gives.

        Args:
            rng: the only source of chance.
            batch_size: B.
            size: a number for every name of ``training_sizes``, which may be larger than in training.
        """

    @property
    def variant(self) -> Mapping[str, Any]:
        """Other options of the task, which make sequences that are right but rare, such as words of zeros.

        Some of the training sequences are drawn with these; none where it is empty, as it is by default.
        """
        return {}

    def memory_locations(self, size: Size) -> int:
        """N, the memory locations that sequences of a size need; by default one for each step."""
        return max(self.steps(size), 2)

    def steps(self, size: Size) -> int:
        """T, the steps of a sequence of a size."""
        return len(draw(self, np.random.default_rng(0), 1, size).x)

    def optimal(self, batch: Batch) -> Floats | None:  # noqa: ARG002  (a subclass may look at it)
        """The output of the best possible predictor, ``[T, B, O]``; None where it makes no mistake.

        The cost of a network is then compared with the cost of this output.
        """
        return None

    @property
    def encoding(self) -> str:
        """How sequences are encoded, for the model card; by default the class docstring."""
        text = inspect.cleandoc(type(self).__doc__ or "")
        made_by_dataclass = text.startswith(f"{type(self).__name__}(") and "\n" not in text
        return "" if made_by_dataclass else text

    @property
    def options(self) -> dict[str, Any]:
        """The fields by name, of JSON types."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]


def draw(task: Task, rng: np.random.Generator, batch_size: int, size: Size) -> Batch:
    """A batch of a task, checked, as float32.

    Raises:
        TaskError: the task raised an exception, or its batch breaks the contract.
    """
    with naming_errors(_batch_of(task, size)):
        x, target, mask = (np.asarray(values, np.float32) for values in task.batch(rng, batch_size, size))
    steps = len(x) if x.ndim else 0
    wanted = {
        "x": (x, (steps, batch_size, task.input_size)),
        "target": (target, (steps, batch_size, task.output_size)),
        "mask": (mask, (steps, batch_size)),
    }
    for name, (values, shape) in wanted.items():
        if values.shape != shape:
            expected = ", ".join(map(str, ("T", *shape[1:])))
            raise TaskError(f"{_batch_of(task, size)}: {name} must have the shape [{expected}], not {values.shape}")
        if not steps:
            raise TaskError(f"{_batch_of(task, size)}: {name} must have a step at least")
        if not np.isfinite(values).all():
            raise TaskError(f"{_batch_of(task, size)}: {name} holds NaN or infinity")
    if target.min() < 0 or target.max() > 1:
        found = f"{target.min():g} to {target.max():g}"
        raise TaskError(f"{_batch_of(task, size)}: target must be from 0 to 1, not {found}")
    if not ((mask == 0) | (mask == 1)).all():
        raise TaskError(f"{_batch_of(task, size)}: mask must hold nothing but 0 and 1")
    if not mask.any(axis=0).all():
        raise TaskError(f"{_batch_of(task, size)}: mask is 0 at every step of a sequence, so that no output counts")
    return Batch(x, target, mask)


def optimal_output(task: Task, batch: Batch) -> Floats | None:
    """The result of ``task.optimal`` for a batch, checked: ``[T, B, O]``, or None if every output is certain.

    Raises:
        TaskError: the task raised an exception, or the output is not of the target's shape.
    """
    with naming_errors(f"the task {task.name}, optimal"):
        y = task.optimal(batch)
        if y is not None and np.shape(y) != batch.target.shape:
            raise ValueError(f"the shape must be {batch.target.shape}, not {np.shape(y)}")
        return None if y is None else np.asarray(y, np.float32)


def check(task: Task) -> None:
    """Check that a task keeps the contract, with its smallest and its largest batches.

    Raises:
        TaskError: the task breaks the contract.
    """
    with naming_errors(f"the task {type(task).__name__}"):
        _check(task)


@contextlib.contextmanager
def naming_errors(where: str) -> Iterator[None]:
    """Turn an exception of a task's own code into a TaskError that says where it was raised.

    Raises:
        TaskError: the block raised an exception.
    """
    try:
        yield
    except TaskError:
        raise
    except Exception as error:
        raise TaskError(f"{where}: {type(error).__name__}: {error}") from error


def _check(task: Task) -> None:
    kind = type(task)
    if not dataclasses.is_dataclass(task) or not kind.__dataclass_params__.frozen:
        raise TaskError(
            f"the task {kind.__name__} must be a frozen dataclass: put @dataclasses.dataclass(frozen=True) above it"
        )
    if not isinstance(task.name, str) or not task.name.strip() or not task.name.isprintable():
        raise TaskError(f"the task {kind.__name__}: name must be a printable text")
    for name, value in task.options.items():
        if not isinstance(value, bool | int | float | str):
            raise TaskError(f"the task {task.name}: {name} must be a number, a text or a truth value, not {value!r}")
    for name in ("input_size", "output_size"):
        _check_whole(task, name, getattr(task, name))
    _check_ranges(task)
    for size in task.evaluation_sizes:
        check_size(task, size)
    if not isinstance(task.variant, Mapping) or not task.variant.keys() <= task.options.keys():
        raise TaskError(f"the task {task.name}: variant must hold options of the task by name, not {task.variant!r}")
    for size in corners(task.training_sizes):
        optimal_output(task, draw(task, np.random.default_rng(0), 2, size))
        _check_whole(task, f"memory_locations of {describe(size)}", task.memory_locations(size))


def _check_ranges(task: Task) -> None:
    ranges = task.training_sizes
    if not isinstance(ranges, Mapping) or not ranges:
        raise TaskError(f"the task {task.name}: training_sizes must name at least one size")
    for name, values in ranges.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise TaskError(f"the task {task.name}: training_sizes: {name!r} is not a name")
        if not isinstance(values, range) or not values or min(values) < 0:
            raise TaskError(f"the task {task.name}: training_sizes: {name} must be a range of whole numbers, not empty")
        if values.step != 1:
            raise TaskError(f"the task {task.name}: training_sizes: {name} must be a range of step 1, not {values}")


def check_size(task: Task, size: Size) -> None:
    """Check that a size has the names of the task's sizes, and whole numbers.

    Raises:
        TaskError: the size has other names, or other values than whole numbers.
    """
    names = list(task.training_sizes)
    if not isinstance(size, Mapping) or sorted(size) != sorted(names):
        given = describe(size) if isinstance(size, Mapping) and size else repr(size)
        raise TaskError(f"a size of the task {task.name} has {' and '.join(names)}, not {given}")
    for name, value in size.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise TaskError(f"the task {task.name}: {name} must be a whole number, not {value!r}")


def check_fits(task: Task, owner: str, input_size: int, output_size: int) -> None:
    """Check that a task has the I and O of a network.

    Raises:
        TaskError: the sizes differ; ``owner`` is the name of the network in the message.
    """
    for what, own, wanted in (("inputs", task.input_size, input_size), ("outputs", task.output_size, output_size)):
        if own != wanted:
            raise TaskError(f"the task {task.name} has {own} {what}, and {owner} {wanted}")


def check_positive(task: Task, *options: str) -> None:
    """Check in ``__post_init__`` that options are at least 1.

    Raises:
        ValueError: one is not.
    """
    for name in options:
        if getattr(task, name) < 1:
            raise ValueError(f"{name} must be at least 1, not {getattr(task, name)}")


def corners(ranges: Mapping[str, range]) -> list[dict[str, int]]:
    """The sizes at which every number is the least or the most of its range."""
    ends = [dict.fromkeys((min(values), max(values))) for values in ranges.values()]
    return [dict(zip(ranges, numbers, strict=True)) for numbers in itertools.product(*ends)]


def example_size(ranges: Mapping[str, range]) -> dict[str, int]:
    """A small size, but not the smallest."""
    return {name: values[min(2, len(values) - 1)] for name, values in ranges.items()}


def largest(ranges: Mapping[str, range]) -> dict[str, int]:
    """The size at which every number is the most of its range."""
    return {name: max(values) for name, values in ranges.items()}


def describe(size: Size) -> str:
    """A size as users write it: ``length=10,repeats=3``."""
    return ",".join(f"{name}={number}" for name, number in size.items())


def _check_whole(task: Task, name: str, value: Any) -> None:
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
        raise TaskError(f"the task {task.name}: {name} must be a whole number above 0, not {value!r}")


def _batch_of(task: Task, size: Size) -> str:
    return f"the task {task.name}, batch of {describe(size)}"
