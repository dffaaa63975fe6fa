"""The contract of a task: what ``check`` and ``draw`` refuse, and what a task has by default."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from ntm.errors import TaskError
from ntm.tasks import BUILT_IN, Batch, Size, Task, find
from ntm.tasks.task import check, check_size, corners, describe, draw, largest, optimal_output


@dataclasses.dataclass(frozen=True)
class Echo(Task):
    """Repeat each number at once.

    Size: ``length``, the number of steps.
    """

    bits: int = 2
    title: str = "echo"

    output_size = 2
    training_sizes = {"length": range(3, 8)}  # noqa: RUF012

    @property
    def input_size(self) -> int:
        return self.bits

    def batch(self, rng: np.random.Generator, batch_size: int, size: Size) -> Batch:
        x = rng.integers(0, 2, (size["length"], batch_size, self.bits)).astype(np.float32)
        return Batch(x, x.copy(), np.ones(x.shape[:2], np.float32))


@dataclasses.dataclass(frozen=True)
class Two(Echo):
    """An Echo of two sizes."""

    training_sizes = {"length": range(3, 8), "repeats": range(2, 9)}  # noqa: RUF012


def _echo(**members: Any) -> Task:
    """An Echo with other members."""
    kind: type[Task] = type("Echo", (Echo,), members)
    return kind()


def _altered(alter: Callable[[Batch], Any]) -> Task:
    """An Echo with other batches."""
    return _echo(batch=lambda _, rng, batch_size, size: alter(Echo().batch(rng, batch_size, size)))


def _with(values: np.ndarray, index: tuple[int, ...], value: float) -> np.ndarray:
    """A copy with one other number."""
    values = values.copy()
    values[index] = value
    return values


def _without_output(mask: np.ndarray) -> np.ndarray:
    """A copy in which no output of the last sequence counts."""
    mask = mask.copy()
    mask[:, -1] = 0
    return mask


def _refusal(call: Callable[[], object]) -> str:
    """The message of the TaskError that a call raises."""
    with pytest.raises(TaskError) as refused:
        call()
    message = str(refused.value)
    assert len(message.splitlines()) == 1
    return message


def _raise(error: Exception) -> Any:
    raise error


def test_a_task_that_keeps_the_contract_passes() -> None:
    for task in (Echo(), Two(), _echo(), _altered(lambda batch: batch)):
        check(task)


BROKEN_BATCHES: dict[str, tuple[Callable[[Batch], Any], str]] = {
    "x of too few channels": (
        lambda b: b._replace(x=b.x[:, :, :1]),
        r"x must have the shape \[T, 2, 2\], not \(3, 2, 1\)",
    ),
    "x of one sequence": (
        lambda b: b._replace(x=b.x[:, 0]),
        r"x must have the shape \[T, 2, 2\], not \(3, 2\)",
    ),
    "x of a number": (lambda b: (1, b.target, b.mask), r"x must have the shape \[T, 2, 2\], not \(\)"),
    "no steps": (
        lambda b: Batch(b.x[:0], b.target[:0], b.mask[:0]),
        r"x must have a step at least",
    ),
    "target of too few steps": (
        lambda b: b._replace(target=b.target[1:]),
        r"target must have the shape \[T, 2, 2\], not \(2, 2, 2\)",
    ),
    "target of too many channels": (
        lambda b: (b.x, np.zeros((3, 2, 3)), b.mask),
        r"target must have the shape \[T, 2, 2\], not \(3, 2, 3\)",
    ),
    "target of too few sequences": (
        lambda b: b._replace(target=b.target[:, :1]),
        r"target must have the shape \[T, 2, 2\], not \(3, 1, 2\)",
    ),
    "mask with a channel": (
        lambda b: b._replace(mask=b.mask[:, :, np.newaxis]),
        r"mask must have the shape \[T, 2\], not \(3, 2, 1\)",
    ),
    "NaN in x": (lambda b: b._replace(x=_with(b.x, (2, 1, 0), np.nan)), "x holds NaN or infinity"),
    "infinity in x": (lambda b: b._replace(x=_with(b.x, (0, 0, 0), np.inf)), "x holds NaN or infinity"),
    "NaN in target": (lambda b: b._replace(target=_with(b.target, (0, 0, 0), np.nan)), "target holds NaN or infinity"),
    "NaN in mask": (lambda b: b._replace(mask=_with(b.mask, (0, 0), np.nan)), "mask holds NaN or infinity"),
    "target above 1": (
        lambda b: b._replace(target=_with(np.zeros_like(b.target), (1, 1, 1), 1.5)),
        "target must be from 0 to 1, not 0 to 1.5",
    ),
    "target below 0": (
        lambda b: b._replace(target=_with(np.ones_like(b.target), (1, 1, 1), -0.25)),
        "target must be from 0 to 1, not -0.25 to 1",
    ),
    "a half in mask": (
        lambda b: b._replace(mask=_with(b.mask, (1, 0), 0.5)),
        "mask must hold nothing but 0 and 1",
    ),
    "an empty mask": (
        lambda b: b._replace(mask=_without_output(b.mask)),
        "mask is 0 at every step of a sequence, so that no output counts",
    ),
    "two arrays": (lambda b: b[:2], "ValueError: not enough values to unpack .*"),
    "nothing": (lambda _: None, "TypeError: .*"),
    "text": (lambda b: ("abc", b.target, b.mask), "ValueError: .*"),
    "an exception": (lambda _: _raise(KeyError("width")), "KeyError: 'width'"),
    "an exception of two lines": (lambda _: _raise(RuntimeError("one\ntwo")), "RuntimeError: one two"),
}


@pytest.mark.parametrize(("alter", "wrong"), BROKEN_BATCHES.values(), ids=BROKEN_BATCHES)
def test_a_batch_that_breaks_the_contract_is_refused(alter: Callable[[Batch], Any], wrong: str) -> None:
    task = _altered(alter)
    for call in (lambda: check(task), lambda: draw(task, np.random.default_rng(0), 2, {"length": 3})):
        assert re.fullmatch(f"the task Echo, batch of length=3: {wrong}", _refusal(call))


def test_the_exception_of_a_batch_is_kept_as_the_cause() -> None:
    error = KeyError("width")
    with pytest.raises(TaskError) as refused:
        check(_altered(lambda _: _raise(error)))
    assert refused.value.__cause__ is error


def test_a_task_may_refuse_a_size_in_its_own_words() -> None:
    assert _refusal(lambda: check(_altered(lambda _: _raise(TaskError("too short"))))) == "too short"


def test_the_largest_batches_are_checked_too() -> None:
    def broken_when_large(batch: Batch) -> Any:
        return batch if len(batch.x) < 7 else (batch.x, batch.target, batch.mask / 2)

    message = _refusal(lambda: check(_altered(broken_when_large)))
    assert message == "the task Echo, batch of length=7: mask must hold nothing but 0 and 1"


BROKEN_MEMBERS: dict[str, tuple[dict[str, Any], str]] = {
    "no input": ({"input_size": 0}, "input_size must be a whole number above 0, not 0"),
    "input of a fraction": ({"input_size": 1.5}, "input_size must be a whole number above 0, not 1.5"),
    "input of a truth": ({"input_size": True}, "input_size must be a whole number above 0, not True"),
    "no output": ({"output_size": 0}, "output_size must be a whole number above 0, not 0"),
    "negative output": ({"output_size": -1}, "output_size must be a whole number above 0, not -1"),
    "no sizes": ({"training_sizes": {}}, "training_sizes must name at least one size"),
    "sizes without names": ({"training_sizes": [range(1, 3)]}, "training_sizes must name at least one size"),
    "a size that is no name": (
        {"training_sizes": {"a length": range(1, 3)}},
        "training_sizes: 'a length' is not a name",
    ),
    "an empty range": (
        {"training_sizes": {"length": range(3, 3)}},
        "training_sizes: length must be a range of whole numbers, not empty",
    ),
    "a negative range": (
        {"training_sizes": {"length": range(-1, 3)}},
        "training_sizes: length must be a range of whole numbers, not empty",
    ),
    "a range of every second number": (
        {"training_sizes": {"length": range(1, 20, 3)}},
        "training_sizes: length must be a range of step 1, not range(1, 20, 3)",
    ),
    "a range backwards": (
        {"training_sizes": {"length": range(5, 3, -1)}},
        "training_sizes: length must be a range of step 1, not range(5, 3, -1)",
    ),
    "a pair for a range": (
        {"training_sizes": {"length": (1, 3)}},
        "training_sizes: length must be a range of whole numbers, not empty",
    ),
    "a fraction to evaluate": (
        {"evaluation_sizes": ({"length": 2.5},)},
        "length must be a whole number, not 2.5",
    ),
    "a negative size to evaluate": (
        {"evaluation_sizes": ({"length": 4}, {"length": -1})},
        "length must be a whole number, not -1",
    ),
    "no memory": (
        {"memory_locations": lambda *_: 0},
        "memory_locations of length=3 must be a whole number above 0, not 0",
    ),
    "no memory for the largest": (
        {"memory_locations": lambda _, size: 7 - size["length"]},
        "memory_locations of length=7 must be a whole number above 0, not 0",
    ),
}


@pytest.mark.parametrize(("members", "wrong"), BROKEN_MEMBERS.values(), ids=BROKEN_MEMBERS)
def test_members_that_break_the_contract_are_refused(members: dict[str, Any], wrong: str) -> None:
    assert _refusal(lambda: check(_echo(**members))) == f"the task Echo: {wrong}"


@pytest.mark.parametrize(
    ("optimal", "wrong"),
    [
        (lambda *_: _raise(ZeroDivisionError("division by zero")), "ZeroDivisionError: division by zero"),
        (lambda *_: 0.5, "ValueError: the shape must be (3, 2, 2), not ()"),
        (lambda _, batch: batch.target[0], "ValueError: the shape must be (3, 2, 2), not (2, 2)"),
        (lambda *_: "half", "ValueError: the shape must be (3, 2, 2), not ()"),
    ],
)
def test_an_optimal_output_that_breaks_the_contract_is_refused(optimal: Any, wrong: str) -> None:
    task = _echo(optimal=optimal)
    expected = f"the task Echo, optimal: {wrong}"
    assert _refusal(lambda: check(task)) == expected
    assert _refusal(lambda: optimal_output(task, draw(task, np.random.default_rng(0), 2, {"length": 3}))) == expected


def test_an_optimal_output_may_be_a_list() -> None:
    task = _echo(optimal=lambda _, batch: (0.5 + 0 * batch.target).tolist())
    y = optimal_output(task, draw(task, np.random.default_rng(0), 2, {"length": 3}))
    assert y is not None
    assert y.dtype == np.float32
    assert y.shape == (3, 2, 2)


@pytest.mark.parametrize(
    ("size", "given"),
    [
        ({"width": 5}, "width=5"),
        ({"length": 5, "width": 6}, "length=5,width=6"),
        ({}, "{}"),
        (5, "5"),
    ],
)
def test_an_evaluation_size_of_other_names_is_refused(size: Any, given: str) -> None:
    expected = f"a size of the task Echo has length, not {given}"
    assert _refusal(lambda: check(_echo(evaluation_sizes=({"length": 5}, size)))) == expected
    assert _refusal(lambda: check_size(Echo(), size)) == expected


def test_a_size_has_all_names_in_any_order() -> None:
    check_size(Two(), {"repeats": 40, "length": 0})
    assert (
        _refusal(lambda: check_size(Two(), {"length": 3}))
        == "a size of the task Two has length and repeats, not length=3"
    )


@pytest.mark.parametrize("value", [True, 1.0, "3", None, -1])
def test_a_size_that_is_not_a_whole_number_is_refused(value: Any) -> None:
    message = _refusal(lambda: check_size(Echo(), {"length": value}))
    assert message == f"the task Echo: length must be a whole number, not {value!r}"


@pytest.mark.parametrize("name", ["", "  ", "two\nlines", 5])
def test_a_name_that_cannot_be_shown_is_refused(name: Any) -> None:
    assert _refusal(lambda: check(_echo(name=name))) == "the task Echo: name must be a printable text"


def test_a_task_that_is_no_frozen_dataclass_is_refused() -> None:
    class Plain(Task):
        input_size = output_size = 2
        training_sizes = {"length": range(3, 8)}  # noqa: RUF012

        def batch(self, rng: np.random.Generator, batch_size: int, size: Size) -> Batch:
            return Echo().batch(rng, batch_size, size)

    @dataclasses.dataclass
    class Thawed(Plain):
        bits: int = 2

    for task in (Plain(), Thawed()):
        assert _refusal(lambda task=task: check(task)) == (  # type: ignore[misc]
            f"the task {type(task).__name__} must be a frozen dataclass: "
            "put @dataclasses.dataclass(frozen=True) above it"
        )


def test_draw_gives_float32_whatever_a_task_makes() -> None:
    task = _altered(lambda b: (b.x.astype(int).tolist(), b.target.astype(bool), b.mask.astype(np.float64)))
    batch = draw(task, np.random.default_rng(3), 4, {"length": 6})
    for actual, expected in zip(batch, Echo().batch(np.random.default_rng(3), 4, {"length": 6}), strict=True):
        assert actual.dtype == np.float32
        np.testing.assert_array_equal(actual, expected)


def test_draw_does_not_mind_sizes_beyond_training() -> None:
    assert draw(Echo(), np.random.default_rng(0), 1, {"length": 100}).x.shape == (100, 1, 2)


def test_the_smallest_and_the_largest_size_of_training_are_evaluated_by_default() -> None:
    assert Echo().evaluation_sizes == [{"length": 3}, {"length": 7}]
    assert Two().evaluation_sizes == [{"length": 3, "repeats": 2}, {"length": 7, "repeats": 8}]
    assert _echo(training_sizes={"length": range(9, 3, -2)}).evaluation_sizes == [{"length": 5}, {"length": 9}]
    assert _echo(training_sizes={"length": range(4, 5)}).evaluation_sizes == [{"length": 4}]


def test_steps_are_counted_and_each_has_a_location_by_default() -> None:
    doubled = _altered(lambda b: Batch(*(np.concatenate([values, values]) for values in b)))
    assert Echo().steps({"length": 5}) == Echo().memory_locations({"length": 5}) == 5
    assert doubled.steps({"length": 5}) == doubled.memory_locations({"length": 5}) == 10


def test_there_are_two_locations_at_least() -> None:
    assert (Echo().steps({"length": 1}), Echo().memory_locations({"length": 1})) == (1, 2)


def test_a_task_says_what_it_is_by_default() -> None:
    task = Echo(title="other")
    assert task.name == "Echo"
    assert task.options == {"bits": 2, "title": "other"}
    assert task.encoding == "Repeat each number at once.\n\nSize: ``length``, the number of steps."
    assert task.optimal(task.batch(np.random.default_rng(0), 1, {"length": 3})) is None


def test_a_class_attribute_serves_as_a_property() -> None:
    sizes: Sequence[Mapping[str, int]] = ({"length": 4},)
    task = _echo(name="other", evaluation_sizes=sizes)
    check(task)
    assert (task.name, task.evaluation_sizes) == ("other", sizes)


def test_corners_are_every_least_with_every_most() -> None:
    assert corners(Two().training_sizes) == [
        {"length": 3, "repeats": 2},
        {"length": 3, "repeats": 8},
        {"length": 7, "repeats": 2},
        {"length": 7, "repeats": 8},
    ]
    assert corners({"length": range(4, 5), "repeats": range(2, 0, -1)}) == [
        {"length": 4, "repeats": 1},
        {"length": 4, "repeats": 2},
    ]
    assert largest(Two().training_sizes) == {"length": 7, "repeats": 8}


def test_a_size_is_described_as_users_write_it() -> None:
    assert describe({"length": 10, "repeats": 3}) == "length=10,repeats=3"


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_task_is_what_it_says(name: str) -> None:
    task = find(name)
    assert task.name == name
    assert type(task)(**task.options) == task
    assert re.search(r"\(section 4\.[1-5] of the paper\)", task.encoding)
    for size in (*corners(task.training_sizes), *task.evaluation_sizes):
        batch = draw(task, np.random.default_rng(0), 2, size)
        assert batch.x.shape[1:] == (2, task.input_size)
        assert task.steps(size) == len(batch.x)
        optimal = task.optimal(batch)
        assert (optimal is None) == (name != "dynamic-ngrams")


@pytest.mark.parametrize("variant", [{}, {"title": "loud"}])
def test_a_variant_has_options_of_the_task(variant: dict[str, Any]) -> None:
    check(_echo(variant=variant))


@pytest.mark.parametrize("variant", [{"quiet": True}, {"title": "loud", "quiet": 1}, None, ["title"], "title"])
def test_a_variant_of_unknown_options_is_refused(variant: Any) -> None:
    message = _refusal(lambda: check(_echo(variant=variant)))
    assert message == f"the task Echo: variant must hold options of the task by name, not {variant!r}"
