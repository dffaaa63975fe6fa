"""The batches of a training and the sequences of its checks."""

import dataclasses
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntm.errors import TaskError
from ntm.tasks import BUILT_IN, Batch, Size, Task, find, metrics
from ntm.training.config import Lesson, TrainingConfig
from ntm.training.data import Data, Padded

COPY = find("copy", {"bits": 5})


def make_data(task: Task = COPY, **options: Any) -> Data:
    defaults: dict[str, Any] = {"sizes": {"length": (1, 6)}, "seed": 3, "batch_size": 4}
    return Data(task, TrainingConfig(**defaults | options))


def assert_equal(one: Padded, other: Padded) -> None:
    for value, wanted in zip(one, other, strict=True):
        np.testing.assert_array_equal(value, wanted)


def lengths_of(batch: Padded) -> np.ndarray:
    """How many words each sequence of a copy task has."""
    return np.asarray(batch.mask.sum(axis=0).astype(int))


questions = st.one_of(st.tuples(st.just("training"), st.integers(0, 6)), st.tuples(st.just("check"), st.integers(1, 4)))


@settings(deadline=None, max_examples=40)
@given(st.lists(questions, max_size=8), questions)
def test_batches_are_functions_of_their_number_whatever_was_asked_for_before(
    before: list[tuple[str, int]], question: tuple[str, int]
) -> None:
    def ask(data: Data, kind: str, number: int) -> Padded:
        return data.training(number) if kind == "training" else data.check(number, 30)

    options: dict[str, Any] = {"variant": {"pattern": "ones"}, "variant_every": 3}
    asked, fresh = make_data(**options), make_data(**options)
    for earlier in before:
        ask(asked, *earlier)
    assert_equal(ask(asked, *question), ask(fresh, *question))


def test_no_training_batch_equals_another_or_a_check_or_one_of_another_seed() -> None:
    """The sequences are long enough that none is equal by chance."""
    sizes = {"length": (20, 20)}
    data, other = (make_data(sizes=sizes, batch_size=20, seed=seed) for seed in (3, 4))
    batches = [data.training(number) for number in range(40)]
    checks = [data.check(number, 20) for number in range(40)]
    others = [other.training(number) for number in range(40)]
    sequences = [batch.x[:, b].tobytes() for batch in (*batches, *checks, *others) for b in range(20)]
    assert len(set(sequences)) == 120 * 20


def test_a_training_batch_is_the_task_of_one_size_padded_with_zeros() -> None:
    data = make_data()
    assert data.steps == 13
    for number in range(20):
        batch = data.training(number)
        (length,) = set(lengths_of(batch))
        assert [array.shape for array in batch[:3]] == [(13, 4, 6), (13, 4, 5), (13, 4)]
        assert all(array.dtype == np.float32 for array in batch[:3])
        assert batch.steps == 2 * length + 1
        assert not any(array[batch.steps :].any() for array in batch[:3])
        np.testing.assert_array_equal(batch.target[length + 1 : batch.steps], batch.x[:length, :, :5])
        np.testing.assert_array_equal(batch.mask[:, 0], [length < t <= 2 * length for t in range(13)])


def test_the_sizes_of_training_batches_are_uniform() -> None:
    task = find("repeat-copy", {"bits": 1})
    data = make_data(task, sizes={"length": (2, 4), "repeats": (1, 2)}, batch_size=1)
    counts = np.zeros([5, 3], int)
    for number in range(600):
        x, _, _, steps, *_ = data.training(number)
        length = int(np.flatnonzero(x[:, 0, 1])[0])
        counts[length, (steps - length - 2) // length] += 1
    drawn = counts[2:, 1:]
    assert drawn.sum() == 600
    assert 65 <= drawn.min() <= drawn.max() <= 135  # 100 expected; 4 standard deviations


def test_a_check_holds_sequences_of_all_sizes_padded_with_zeros() -> None:
    batch = make_data().check(1, 1_000)
    assert [array.shape for array in batch[:3]] == [(13, 1_000, 6), (13, 1_000, 5), (13, 1_000)]
    assert batch.steps == 13
    lengths = lengths_of(batch)
    assert set(lengths) == {1, 2, 3, 4, 5, 6}
    assert np.bincount(lengths)[1:].max() < 500
    for b, length in enumerate(lengths):
        np.testing.assert_array_equal(np.flatnonzero(batch.x[:, b, 5]), [length])  # the delimiter
        np.testing.assert_array_equal(np.flatnonzero(batch.mask[:, b]), np.arange(length + 1, 2 * length + 1))
        np.testing.assert_array_equal(batch.target[length + 1 : 2 * length + 1, b], batch.x[:length, b, :5])
        assert not batch.x[2 * length + 1 :, b].any()
        assert not batch.target[2 * length + 1 :, b].any()


@pytest.mark.parametrize("name", BUILT_IN)
def test_checks_are_the_same_task_as_training(name: str) -> None:
    """Of one size, to compare."""
    task = find(name)
    sizes = {key: (max(values), max(values)) for key, values in task.training_sizes.items()}
    data = make_data(task, sizes=sizes, batch_size=7)
    training, check = data.training(0), data.check(1, 7)
    assert [array.shape for array in training[:3]] == [array.shape for array in check[:3]]
    np.testing.assert_array_equal(training.mask, check.mask)
    assert training.steps == check.steps == task.steps({key: most for key, (_, most) in sizes.items()})


@pytest.mark.parametrize("batch_size", [1, 3, 8, 20])
def test_one_sequence_in_so_many_is_of_the_variant_whatever_the_batch_size(batch_size: int) -> None:
    options: dict[str, Any] = {"variant": {"pattern": "zeros"}, "variant_every": 8, "sizes": {"length": (20, 20)}}
    data = make_data(batch_size=batch_size, **options)

    seen = 0
    for number in range(16):
        batch = data.training(number)
        varied = ~batch.target.any(axis=(0, 2))
        np.testing.assert_array_equal(varied, np.arange(batch_size) >= batch.own)  # they come last
        seen += int(varied.sum())
        assert seen == -(-(number + 1) * batch_size // 8)  # the first of every eight


def test_the_sequences_of_a_check_are_of_the_task_itself() -> None:
    options: dict[str, Any] = {"variant": {"pattern": "zeros"}, "variant_every": 2, "sizes": {"length": (20, 20)}}
    check = make_data(**options).check(1, 100)
    assert check.own == 100
    assert check.target.any(axis=(0, 2)).all()


def test_without_a_variant_there_is_none() -> None:
    data = make_data(variant={"pattern": "zeros"}, sizes={"length": (20, 20)})
    for number in range(16):
        batch = data.training(number)
        assert batch.own == 4
        assert batch.target.any(axis=(0, 2)).all()


def test_the_memory_locations_of_a_batch_are_drawn_from_those_that_are_given() -> None:
    data, other = make_data(), make_data(seed=4)
    drawn = [data.locations(number, (8, 16, 40)) for number in range(300)]
    counts = np.bincount(drawn)
    assert np.flatnonzero(counts).tolist() == [8, 16, 40]
    assert counts[[8, 16, 40]].min() > 65  # 100 expected; 4 standard deviations
    assert [data.locations(number, (8, 16, 40)) for number in reversed(range(300))] == drawn[::-1]
    assert [other.locations(number, (8, 16, 40)) for number in range(300)] != drawn
    assert {data.locations(number, (8,)) for number in range(20)} == {8}


def test_the_sequences_of_a_batch_do_not_depend_on_its_memory_locations() -> None:
    asked, fresh = make_data(), make_data()
    for number in range(5):
        asked.locations(number, (8, 16))
        assert_equal(asked.training(number), fresh.training(number))


@dataclasses.dataclass(frozen=True)
class Swelling(Task):
    """A task whose sequences of length 3 are longer than those of the largest length."""

    input_size = output_size = 1
    training_sizes = {"length": range(1, 6)}  # noqa: RUF012

    def batch(self, rng: np.random.Generator, batch_size: int, size: Size) -> Batch:
        steps = 9 if size["length"] == 3 else size["length"]
        x = rng.random((steps, batch_size, 1), np.float32)
        return Batch(x, x, np.ones((steps, batch_size), np.float32))


def test_sequences_longer_than_those_of_the_largest_size_are_refused() -> None:
    data = make_data(Swelling(), sizes={"length": (1, 5)})
    assert data.steps == 5
    message = "^the task Swelling: length=3 takes 9 steps, and the largest sizes 5$"
    with pytest.raises(TaskError, match=message):
        all(data.training(number) for number in range(100))
    with pytest.raises(TaskError, match=message):
        data.check(1, 1_000)


def test_a_lesson_has_its_own_sizes_and_options_and_a_check_those_of_the_task() -> None:
    lessons = Lesson(5, sizes={"length": (8, 9)}, options={"pattern": "ones"}), Lesson(5)
    data = make_data(lessons=lessons, variant={"pattern": "zeros"}, variant_every=2)
    assert data.steps == 19
    first, second, task = ([data.training(number, lesson) for number in range(20)] for lesson in (0, 1, 2))
    assert {int(lengths_of(batch)[0]) for batch in first} == {8, 9}
    assert all(batch.x[0, :, :5].all() and batch.own == 4 for batch in first)
    assert {int(lengths_of(batch)[0]) for batch in second} <= {1, 2, 3, 4, 5, 6}
    assert all(batch.own == 4 for batch in second)
    assert all(batch.own == 2 for batch in task)
    check = data.check(1, 200)
    assert set(lengths_of(check)) <= {1, 2, 3, 4, 5, 6}
    assert 0.4 < check.x[0, :, :5].mean() < 0.6


def test_practice_is_drawn_from_its_own_sizes_and_checks_are_not() -> None:
    data = make_data(find("repeat-copy"), sizes={"length": (1, 2), "repeats": (2, 3)}, practice={"repeats": (4, 5)})
    assert data.steps == 2 + 2 + 2 * 5
    batches = [data.training(number) for number in range(60)]
    assert {batch.own for batch in batches} == {0}
    lengths, practised = zip(*map(_size_of, batches), strict=True)
    assert (set(lengths), set(practised)) == ({1, 2}, {4, 5})
    check = data.check(1, 400)
    assert set(check.mask.sum(axis=0)) == {3, 4, 5, 7}  # words and the end marker


def test_annealing_may_practise_longer_sequences_than_the_training() -> None:
    sizes, practice = {"length": (1, 2), "repeats": (2, 3)}, {"repeats": (2, 5)}
    data = make_data(find("repeat-copy"), sizes=sizes, practice=practice, annealing_practice={"length": (1, 4)})
    assert data.steps == 4 + 2 + 4 * 5
    for lesson, longest in ((0, 2), (1, 4)):
        batches = [data.training(number, lesson) for number in range(120)]
        assert {len(batch.x) for batch in batches} == {longest + 2 + longest * 5}
        lengths, repeats = zip(*map(_size_of, batches), strict=True)
        assert (set(lengths), set(repeats)) == (set(range(1, longest + 1)), {2, 3, 4, 5})
        own = [length <= 2 and count <= 3 for length, count in zip(lengths, repeats, strict=True)]
        assert [batch.own for batch in batches] == [4 * is_own for is_own in own]
        needed = [2 * length + 2 for length in lengths]
        assert [batch.larger for batch in batches] == [max(1, locations / 6) for locations in needed]
    assert len(data.check(1, 20).x) == 2 + 2 + 2 * 5


def test_the_sequences_of_a_batch_draw_their_mixed_sizes_one_by_one() -> None:
    """The number of output steps is words times repeats and one, and the delimiter follows the words."""
    task = find("repeat-copy", {"bits": 1})
    options: dict[str, Any] = {"sizes": {"length": (2, 5), "repeats": (1, 3)}, "mixed": ("repeats",), "batch_size": 8}
    data = make_data(task, **options)
    batches = [data.training(number) for number in range(40)]
    for batch in batches:
        (words,) = set(np.argmax(batch.x[:, :, 1], axis=0))
        repeats = (batch.mask.sum(axis=0) - 1) / words
        assert batch.steps == words + 1 + repeats.max() * words + 1
        assert set(repeats) <= {1, 2, 3}
    counts = np.concatenate([(b.mask.sum(axis=0) - 1) / np.argmax(b.x[:, 0, 1]) for b in batches])
    assert all(80 <= (counts == repeats).sum() <= 135 for repeats in (1, 2, 3))  # 320 / 3 = 107 each
    assert {batch.own for batch in batches} == {8}
    assert_equal(batches[7], make_data(task, **options).training(7))


def test_the_practice_of_a_mixed_batch_comes_behind_its_other_sequences() -> None:
    task = find("repeat-copy", {"bits": 1})
    sizes = {"length": (2, 2), "repeats": (1, 3)}
    data = make_data(task, sizes=sizes, practice={"repeats": (1, 6)}, mixed=("repeats",), batch_size=8)
    for number in range(20):
        batch = data.training(number)
        repeats = (batch.mask.sum(axis=0) - 1) / 2
        assert (repeats[: batch.own] <= 3).all()
        assert (repeats[batch.own :] > 3).all()


def test_mixed_sequences_keep_the_share_of_the_variant() -> None:
    data = make_data(mixed=("length",), variant={"pattern": "ones"}, variant_every=4, batch_size=6)
    batches = [data.training(number) for number in range(20)]
    varied = [batch.x[: batch.steps, b, :5].sum() / (batch.mask[:, b].sum() * 5) for batch in batches for b in range(6)]
    assert sum(share == 1.0 for share in varied) >= 30  # a random word may be of ones too
    assert sum(6 - batch.own for batch in batches) == 30


def _size_of(batch: Padded) -> tuple[int, int]:
    """The words and the repeats of a batch of repeat copy."""
    length = int(np.flatnonzero(batch.x[:, 0, 8])[0])
    return length, (batch.steps - length - 2) // length


def test_with_a_goal_a_check_is_of_the_largest_size() -> None:
    check = make_data(find("repeat-copy"), sizes={"length": (1, 3), "repeats": (1, 2)}, goal=1.0).check(1, 50)
    np.testing.assert_array_equal(check.mask.sum(axis=0), 3 * 2 + 1)


def test_a_lesson_with_other_inputs_is_refused() -> None:
    with pytest.raises(TaskError, match=r"^the task copy has 8 inputs, and the task copy 6$"):
        make_data(lessons=(Lesson(5, options={"bits": 7}),))


def test_a_batch_tells_the_cost_of_the_optimal_predictor() -> None:
    task = find("dynamic-ngrams", {"n": 2})
    data = make_data(task, sizes={"length": (9, 9)}, lessons=(Lesson(5, options={"n": 3}),))
    for lesson, kind in enumerate([find("dynamic-ngrams", {"n": 3}), task]):
        batch = data.training(4, lesson)
        sequences = Batch(*batch[:3])
        y = kind.optimal(sequences)
        assert y is not None
        assert batch.optimal == pytest.approx(metrics.cost(sequences, y).mean())
    assert make_data().training(0).optimal == 0.0


def test_an_unknown_option_of_a_variant_is_refused() -> None:
    with pytest.raises(TaskError, match=r"^the task copy has no option 'colour'; its options: bits, pattern$"):
        make_data(variant={"colour": "red"}, variant_every=8)


threads: list[threading.Thread] = []


@dataclasses.dataclass(frozen=True)
class Breaking(Task):
    """A task that fails at its third training batch."""

    input_size = output_size = 1
    training_sizes = {"length": range(1, 6)}  # noqa: RUF012

    def batch(self, rng: np.random.Generator, batch_size: int, size: Size) -> Batch:
        x = rng.random((size["length"], batch_size, 1), np.float32)
        if batch_size == 4:
            threads.append(threading.current_thread())
            if len(threads) == 3:
                raise LookupError("no third batch")
        return Batch(x, x, np.ones((size["length"], batch_size), np.float32))


def test_an_error_in_the_background_arrives_with_its_batch_as_it_is() -> None:
    threads.clear()
    data = make_data(Breaking(), sizes={"length": (5, 5)})
    first = [data.training(number) for number in (0, 1)]
    with pytest.raises(
        TaskError, match=r"^the task Breaking, batch of length=5: LookupError: no third batch$"
    ) as caught:
        data.training(2)
    assert isinstance(caught.value.__cause__, LookupError)
    assert threads[0] is threading.main_thread()
    assert threading.main_thread() not in threads[1:]
    assert_equal(data.training(1), first[1])  # and the next ones are made all the same
