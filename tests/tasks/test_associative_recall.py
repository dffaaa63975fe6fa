"""The associative recall task by loops that look at nothing but x."""

import collections
import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ntm.errors import TaskError
from ntm.tasks import AssociativeRecall, find
from ntm.tasks.task import draw

Item = tuple[tuple[float, ...], ...]


def _read(x: np.ndarray, vectors: int) -> tuple[list[Item], Item]:
    """The items and the query of one sequence ``[T, I]``, found by the delimiters."""
    bits = x.shape[1] - 2
    items: list[Item] = []
    query: Item | None = None
    t = 0
    while query is None:
        item = tuple(tuple(map(float, x[t + 1 + i, :bits])) for i in range(vectors))
        if x[t, bits]:
            items.append(item)
        else:
            assert x[t, bits + 1]
            query = item
        t += 1 + vectors
    return items, query


def _written_out(items: list[Item], query: Item) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x ``[T, I]``, target ``[T, O]`` and mask ``[T]`` of one sequence, step after step."""
    vectors, bits = len(query), len(query[0])
    answer = items[items.index(query) + 1]
    nothing = (0.0,) * bits
    steps: list[tuple[tuple[float, ...], tuple[float, ...], int]] = []  # x, target, mask
    for item in items:
        steps.append(((*nothing, 1, 0), nothing, 0))
        steps += [((*vector, 0, 0), nothing, 0) for vector in item]
    steps.append(((*nothing, 0, 1), nothing, 0))
    steps += [((*vector, 0, 0), nothing, 0) for vector in query]
    steps.append(((*nothing, 0, 1), nothing, 0))
    steps += [((*nothing, 0, 0), vector, 1) for vector in answer]
    assert len(steps) == len(items) * (vectors + 1) + 2 * vectors + 2
    x, target, mask = zip(*steps, strict=True)
    return np.array(x), np.array(target), np.array(mask)


def _lists(task: AssociativeRecall, batch_size: int, items: int, seed: int = 0) -> list[tuple[list[Item], Item]]:
    """The items and the query of every sequence of a batch."""
    x = task.batch(np.random.default_rng(seed), batch_size, {"items": items}).x
    return [_read(x[:, b], task.vectors) for b in range(batch_size)]


def test_two_items_of_one_bit_by_hand() -> None:
    x, target, mask = AssociativeRecall(bits=1, vectors=1).batch(np.random.default_rng(0), 1, {"items": 2})
    first = x[1, 0, 0]  # the two items are 0 and 1, or 1 and 0
    second = 1 - first
    assert x[:, 0].tolist() == [
        *[[0, 1, 0], [first, 0, 0]],
        *[[0, 1, 0], [second, 0, 0]],
        *[[0, 0, 1], [first, 0, 0], [0, 0, 1]],
        [0, 0, 0],
    ]
    assert target[:, 0].tolist() == [*[[0]] * 7, [second]]
    assert mask[:, 0].tolist() == [0] * 7 + [1]


@settings(deadline=None, max_examples=60)
@given(
    bits=st.integers(1, 35),
    vectors=st.integers(1, 4),
    batch_size=st.integers(1, 5),
    items=st.integers(2, 20),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_answer_is_the_item_after_the_query(
    bits: int, vectors: int, batch_size: int, items: int, seed: int
) -> None:
    assume(items <= 2 ** (bits * vectors))
    task, size = AssociativeRecall(bits, vectors), {"items": items}
    batch = task.batch(np.random.default_rng(seed), batch_size, size)
    assert len(batch.x) == task.steps(size)
    assert task.memory_locations(size) == 2 * len(batch.x)
    for b in range(batch_size):
        listed, query = _read(batch.x[:, b], vectors)
        assert len(set(listed)) == len(listed) == items
        assert set(itertools.chain.from_iterable(itertools.chain.from_iterable(listed))) <= {0, 1}
        for actual, expected in zip(batch, _written_out(listed, query), strict=True):
            np.testing.assert_array_equal(actual[:, b], expected)


@pytest.mark.parametrize(("bits", "vectors"), [(3, 1), (1, 3)])
def test_all_8_items_that_there_are_make_a_list(bits: int, vectors: int) -> None:
    for items, _ in _lists(AssociativeRecall(bits, vectors), 200, 8):
        assert len(set(items)) == 8


def test_every_order_of_hardly_enough_items_is_as_likely_as_every_other() -> None:
    orders = collections.Counter(tuple(items) for items, _ in _lists(AssociativeRecall(1, 2), 4800, 4))
    assert len(orders) == 24
    assert list(orders.values()) == pytest.approx([200] * 24, abs=70)  # 5 standard deviations


def test_every_item_but_the_last_is_asked_for_as_often_as_every_other() -> None:
    asked = [items.index(query) for items, query in _lists(AssociativeRecall(), 3000, 4)]
    assert np.bincount(asked, minlength=4) == pytest.approx([1000, 1000, 1000, 0], abs=130)
    assert sum(asked.count(i) for i in range(3)) == 3000


@pytest.mark.parametrize(("bits", "vectors"), [(6, 3), (31, 2), (21, 3), (8, 8)])
def test_every_bit_is_fair_and_independent_of_the_others(bits: int, vectors: int) -> None:
    items = np.array([items for items, _ in _lists(AssociativeRecall(bits, vectors), 1000, 4)])
    assert items.shape == (1000, 4, vectors, bits)
    assert items.mean(axis=(0, 1)) == pytest.approx(0.5, abs=0.045)  # more than 5 standard deviations
    correlations = np.corrcoef(items.reshape(4000, -1), rowvar=False) - np.eye(vectors * bits)
    assert np.abs(correlations).max() < 0.09


def test_a_batch_is_a_pure_function_of_the_rng() -> None:
    task = AssociativeRecall(bits=2, vectors=2)  # 16 items, so that some lists are drawn again
    first, again, other = (task.batch(np.random.default_rng(seed), 20, {"items": 12}) for seed in (1, 1, 2))
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert (first.x != other.x).any()


@pytest.mark.parametrize(("bits", "vectors", "items"), [(1, 1, 3), (2, 1, 5), (1, 3, 9)])
def test_more_items_than_there_are_different_ones_are_refused(bits: int, vectors: int, items: int) -> None:
    with pytest.raises(TaskError) as refused:
        draw(AssociativeRecall(bits, vectors), np.random.default_rng(0), 1, {"items": items})
    assert str(refused.value) == (
        f"the task associative-recall, batch of items={items}: ValueError: "
        f"there are not {items} different items of {vectors} vectors of {bits} bits"
    )


@pytest.mark.parametrize("items", [0, 1])
def test_a_list_without_a_next_item_is_refused(items: int) -> None:
    with pytest.raises(TaskError, match=f"items must be at least 2, not {items}$"):
        draw(AssociativeRecall(), np.random.default_rng(0), 1, {"items": items})


@pytest.mark.parametrize("name", ["bits", "vectors"])
def test_items_without_bits_are_refused(name: str) -> None:
    with pytest.raises(TaskError) as refused:
        find("associative-recall", {name: 0})
    assert str(refused.value) == f"the task associative-recall: {name} must be at least 1, not 0"
