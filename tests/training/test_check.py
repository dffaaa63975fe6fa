"""The check of a network: on which sequences, in how many memory locations, and what it counts."""

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ntm.models import NTMCell
from ntm.tasks import Batch, Size, Task, find
from ntm.training.data import Data
from ntm.training.recipes import configure
from ntm.training.trainer import Trainer


def script_examinations(
    trainer: Trainer, wrong_bits: dict[int, int], cost: float = 0.0
) -> list[tuple[int, int, set[int], bytes]]:
    """Let the first sequence of a check have as many wrong bits as given for the N in question; returns what is seen.

    That is, of every call: sequences, N, lengths, and the input.
    """
    seen = []

    def examine(x: tf.Tensor, _: tf.Tensor, mask: tf.Tensor, steps: tf.Tensor, memory_locations: tf.Tensor) -> Any:
        sequences, locations = x.shape[1], int(memory_locations)
        lengths = set(mask.numpy().sum(axis=0).astype(int).tolist())
        assert int(steps) == 5
        seen.append((sequences, locations, lengths, x.numpy().tobytes()))
        wrong = np.zeros(sequences)
        wrong[0] = wrong_bits[locations]
        return tf.constant(wrong), tf.fill([sequences], cost), tf.fill([sequences], True)

    trainer._examine = examine
    return seen


@pytest.mark.parametrize(
    ("wrong_bits", "expected"),
    [({4: 0, 6: 0}, (True, 0, 2)), ({4: 0, 6: 1}, (False, 1, 2)), ({4: 5, 6: 0}, (False, 5, 1))],
)
def test_a_check_is_of_1000_sequences_with_each_of_two_n_and_ends_with_the_first_failure(
    make_trainer: Callable[..., Trainer], wrong_bits: dict[int, int], expected: tuple[bool, int, int]
) -> None:
    trainer = make_trainer()
    seen = script_examinations(trainer, wrong_bits)
    found = trainer.check()
    assert (found.passed, found.wrong_bits, trainer.progress.checks) == expected
    assert [(sequences, locations) for sequences, locations, *_ in seen] == [(1_000, 4), (1_000, 6)][: expected[2]]
    assert all(lengths == {1, 2} for *_, lengths, _ in seen)
    assert found.content_users == 1_000
    trainer.check()
    inputs = [x for *_, x in seen]
    assert len(set(inputs)) == len(inputs)  # fresh sequences every time


def test_the_other_n_of_a_check_is_none_of_the_training(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer(train_locations=(7,))
    seen = script_examinations(trainer, dict.fromkeys(range(100), 0))
    assert trainer.check().passed
    assert [locations for _, locations, *_ in seen] == [4, 6]  # one and a half times the network's


def test_a_network_for_one_n_is_checked_with_it_alone(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer(network={"initial_memory": "learned"})
    seen = script_examinations(trainer, dict.fromkeys(range(100), 0))
    assert trainer.check().passed
    assert [locations for _, locations, *_ in seen] == [4]


@pytest.mark.parametrize(("cost", "passed"), [(0.49, True), (0.51, False)])
def test_with_a_goal_the_cost_decides_and_not_the_wrong_bits(
    make_trainer: Callable[..., Trainer], cost: float, passed: bool
) -> None:
    trainer = make_trainer(goal=0.5)
    seen = script_examinations(trainer, {4: 7, 6: 7}, cost)
    found = trainer.check()
    assert (found.passed, found.wrong_bits) == (passed, 7)
    assert found.cost == pytest.approx(cost)
    assert len(seen) == (2 if passed else 1)


def examined_in_turn(cell: NTMCell, data: Data, number: int, memory_locations: int) -> tuple[int, float, int]:
    """Wrong bits, mean cost and content users of a check, sequence by sequence and step by step."""
    batch = data.check(number, 40)
    wrong, cost, users = 0, 0.0, 0
    for b in range(40):
        output_phase = np.flatnonzero(batch.mask[:, b])
        state, relies = cell.initial_state(1, memory_locations), False
        for t in range(output_phase[-1] + 1):
            y, state, heads = cell.step_with_heads(batch.x[t, b : b + 1], state)
            looks = batch.mask[t, b] or (t + 1 < len(batch.mask) and batch.mask[t + 1, b])
            relies |= bool(looks) and bool(np.any(heads.gate[0, : cell.config.read_heads] > 0.5))
            if batch.mask[t, b]:
                for logit, target in zip(y[0].numpy().tolist(), batch.target[t, b].tolist(), strict=True):
                    wrong += (logit > 0) != (target > 0.5)
                    cost += math.log2(1 + math.exp(-logit if target else logit))
        users += relies
    return wrong, cost / 40, users


@pytest.mark.slow
@pytest.mark.parametrize(("goal", "number", "memory_locations"), [(0.0, 1, 4), (1e9, 2, 6)])
def test_a_check_counts_what_the_averaged_network_does(
    make_trainer: Callable[..., Trainer],
    goal: float,
    number: int,
    memory_locations: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A goal that is always reached shows the second part of the check."""
    monkeypatch.setattr("ntm.training.trainer._CHECK_SEQUENCES", 40)
    numbers = (3 + 3) * memory_locations + 2 * 3  # in the state of a sequence
    monkeypatch.setattr("ntm.training.trainer._CHECKED_AT_ONCE", 7 * numbers)  # seven side by side
    trainer = make_trainer(network={"read_heads": 2}, goal=goal)
    values = np.random.default_rng(20).normal(size=trainer._optimizer.average.shape)
    trainer._optimizer.average.assign(values.astype(np.float32))
    found = trainer.check()
    data = Data(find("copy", {"bits": 2}), trainer.config)
    wrong, cost, users = examined_in_turn(trainer.result(), data, number, memory_locations)
    assert (found.wrong_bits, found.content_users) == (wrong, users)
    assert found.cost == pytest.approx(cost, rel=1e-4)
    assert found.passed == bool(goal)
    assert 0 < users < 40


def nats_of_the_best(bits: list[int]) -> float:
    """The cost of Eq. (10) for n = 2, where the context is the bit before."""
    seen, total = {0: [0.5, 0.5], 1: [0.5, 0.5]}, 0.0
    for context, following in itertools.pairwise(bits):
        total -= math.log(seen[context][following] / sum(seen[context]))
        seen[context][following] += 1
    return total


def test_cost_is_measured_above_the_optimal_predictor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ntm.training.trainer._CHECK_SEQUENCES", 40)
    task = find("dynamic-ngrams", {"n": 2})
    options = {"sizes": {"length": (4, 9)}, "goal": 0.01, "controller_sizes": (5,), "xla": False}
    trainer = Trainer(*configure(task, options=options), task)
    average = trainer._optimizer.average
    average.assign(tf.zeros_like(average))  # every bit is output with a probability of 1/2
    found = trainer.check()
    batch = Data(task, trainer.config).check(1, 40)
    excess = 0.0
    for b in range(40):
        predictions = int(batch.mask[:, b].sum())
        bits = [*batch.x[:predictions, b, 0], batch.target[predictions - 1, b, 0]]
        excess += predictions - nats_of_the_best([int(bit) for bit in bits]) / math.log(2)
    assert found.cost == pytest.approx(excess / 40, rel=1e-4)
    assert not found.passed
    assert trainer.progress.checks == 1


@dataclasses.dataclass(frozen=True)
class Coin(Task):
    """A task of a user's: output the chance of heads; the first step does not count."""

    input_size = output_size = 1
    training_sizes = {"length": range(4, 5)}  # noqa: RUF012

    def batch(self, rng: np.random.Generator, batch_size: int, size: Size) -> Batch:
        shape = (size["length"], batch_size)
        x = rng.random((*shape, 1), np.float32).round(1)
        mask = np.ones(shape, np.float32)
        mask[0] = 0.0
        return Batch(x, x, mask)

    def optimal(self, batch: Batch) -> np.ndarray:
        y = batch.target.copy()
        y[0] = 1.0 - y[0].round()  # as wrong as can be, where nothing counts
        return y


@pytest.mark.filterwarnings("error")
def test_the_cost_of_the_optimal_predictor_is_a_cross_entropy_of_what_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ntm.training.trainer._CHECK_SEQUENCES", 40)
    trainer = Trainer(*configure(Coin(), options={"goal": 0.01, "controller_sizes": (5,), "xla": False}), Coin())
    average = trainer._optimizer.average
    average.assign(tf.zeros_like(average))
    chances = Data(Coin(), trainer.config).check(1, 40).target[1:].ravel().tolist()
    entropies = [-sum(p * math.log2(p) for p in (chance, 1 - chance) if p > 0) for chance in chances]
    assert trainer.check().cost == pytest.approx(3 - sum(entropies) / 40, rel=1e-4)
