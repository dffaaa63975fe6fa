"""The schedule: when a network is checked, when it is annealed, when it restarts."""

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
import tensorflow as tf

from ntm.models import NTMCell, NTMConfig
from ntm.tasks import Batch, Size, Task, find
from ntm.training import trainer as schedule
from ntm.training.config import CONTENT, LOCATION, Lesson, TrainingConfig
from ntm.training.data import Data, Padded
from ntm.training.recipes import configure
from ntm.training.trainer import Check, Trainer

COPY = find("copy", {"bits": 2})
NETWORK = NTMConfig(COPY.input_size, COPY.output_size, memory_locations=4, memory_vector_size=3, controller_sizes=(5,))
CONFIG = TrainingConfig(
    sizes={"length": (1, 2)},
    seed=3,
    batch_size=8,
    max_batches=1_000,
    learning_rate=2e-3,
    content_learning_rate=1e-3,
    halving_batches=0,
    addressing=(LOCATION,),
    gate_bias=-2.0,
    content_penalty=0.02,
    writing_penalty=0.1,
    blur_penalty=0.02,
    variant={"pattern": "sparse"},
    variant_every=8,
    clean_sequences=1_600,
    restart_batches=450,
    begun_loss=0.3,
    unsolved_batches=1_100,
    content_restarts=3,
    annealing_batches=10,
    annealing_learning_rate=1e-3,
    turn_content_off=True,
    xla=False,
)
PASSED, FAILED = Check(True, 0, 0.0, 0), Check(False, 3, 9.0, 5)


def make_trainer(**changes: Any) -> Trainer:
    return Trainer(NETWORK, dataclasses.replace(CONFIG, **changes), COPY)


class Scripted(Trainer):
    """A trainer whose batches hold as many wrong bits as a test says, and whose checks find what it says."""

    checks_find = PASSED

    def check(self) -> Check:
        self.progress.checks += 1
        return self.checks_find

    def train_on(self, *, wrong_bits: float, loss: float = 0.2) -> None:
        self._step = lambda x, *_: (tf.constant(loss), tf.fill(x.shape[1], wrong_bits), tf.ones(x.shape[1]))
        self.train()


def make_scripted(**changes: Any) -> Scripted:
    return Scripted(NETWORK, dataclasses.replace(CONFIG, **changes), COPY)


@pytest.fixture
def trainer() -> Scripted:
    return make_scripted()


def test_annealing_begins_after_1600_clean_sequences(trainer: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "_HALVING_BATCHES", 10)
    trainer.train_on(wrong_bits=1.0)
    for _ in range(199):
        trainer.train_on(wrong_bits=0.0)
        assert not trainer.annealing
        assert trainer.learning_rate == CONFIG.learning_rate
    trainer.train_on(wrong_bits=0.0)
    assert trainer.annealing
    assert trainer.learning_rate == CONFIG.annealing_learning_rate
    for _ in range(10):
        assert not trainer.annealed
        trainer.train_on(wrong_bits=0.0)
    assert trainer.annealed
    assert trainer.learning_rate == CONFIG.annealing_learning_rate / 2


def test_a_wrong_bit_is_followed_by_another_1600_clean_sequences(trainer: Scripted) -> None:
    for _ in range(199):
        trainer.train_on(wrong_bits=0.0)
    trainer.train_on(wrong_bits=1.0)
    for _ in range(199):
        trainer.train_on(wrong_bits=0.0)
    assert (trainer.annealing, trainer.progress.checks) == (False, 0)
    trainer.train_on(wrong_bits=0.0)
    assert (trainer.annealing, trainer.progress.checks) == (True, 1)


def test_a_network_that_fails_the_check_learns_on_and_is_checked_again(trainer: Scripted) -> None:
    trainer.checks_find = FAILED
    for checks in (0, 1, 2):
        for _ in range(25 if checks else 200):
            assert trainer.progress.checks == checks
            trainer.train_on(wrong_bits=0.0)
        assert not trainer.annealing
        assert trainer.learning_rate == CONFIG.learning_rate
    trainer.checks_find = PASSED
    for _ in range(25):
        trainer.train_on(wrong_bits=0.0)
    assert (trainer.annealing, trainer.progress.checks) == (True, 4)


def test_the_more_checks_have_failed_the_later_is_the_next() -> None:
    trainer = make_scripted(unsolved_batches=2_000)
    trainer.checks_find = FAILED
    batches = []
    for _ in range(7):
        checks, before = trainer.progress.checks, trainer.progress.batches
        while trainer.progress.checks == checks:
            trainer.train_on(wrong_bits=0.0)
        batches.append(trainer.progress.batches - before)
    assert [8 * count for count in batches] == [1_600, 200, 200, 200, 200, 256, 296]  # 250 and 300, in whole batches
    trainer.train_on(wrong_bits=0.0, loss=math.nan)
    for _ in range(200 + 25):
        trainer.train_on(wrong_bits=0.0)
    assert trainer.progress.checks == 9  # a restart forgets the failures


def test_the_learning_rate_falls_while_the_average_loss_is_small() -> None:
    trainer = make_scripted(learned_loss=0.02, halving_batches=10)
    for _ in range(50):
        trainer.train_on(wrong_bits=1.0, loss=0.03)
    assert trainer.learning_rate == 2e-3
    for _ in range(20):
        trainer.train_on(wrong_bits=1.0, loss=0.0)  # the average follows a while later
    assert 2e-3 > trainer.learning_rate > 1e-3
    for _ in range(30):
        trainer.train_on(wrong_bits=1.0, loss=0.0)
    learned = trainer.progress.learned_batches
    assert 30 < learned < 50
    assert trainer.learning_rate == pytest.approx(2e-3 / (1 + learned / 10))
    trainer.train_on(wrong_bits=1.0, loss=math.nan)
    assert trainer.learning_rate == 2e-3


@pytest.mark.parametrize(("annealing_learning_rate", "expected"), [(1e-4, 1e-4), (1e-2, 2e-3 / 3)])
def test_annealing_begins_with_no_higher_a_learning_rate_than_before(
    annealing_learning_rate: float, expected: float
) -> None:
    trainer = make_scripted(halving_batches=100, annealing_learning_rate=annealing_learning_rate)
    for _ in range(200):
        assert not trainer.annealing
        trainer.train_on(wrong_bits=0.0, loss=0.0)
    assert trainer.annealing
    assert trainer.learning_rate == pytest.approx(expected)


def test_a_task_with_a_goal_is_checked_every_500_batches_whatever_its_wrong_bits() -> None:
    trainer = make_scripted(goal=1.0, unsolved_batches=2_000)
    trainer.checks_find = FAILED
    for batches in range(1_000):
        assert (trainer.annealing, trainer.progress.checks) == (False, batches // 500)
        trainer.train_on(wrong_bits=batches % 2)
    trainer.train_on(wrong_bits=0.0, loss=math.nan)  # the batches since the restart count
    trainer.checks_find = PASSED
    for _ in range(500):
        assert (trainer.annealing, trainer.progress.checks) == (False, 2)
        trainer.train_on(wrong_bits=1.0)
    assert (trainer.annealing, trainer.progress.checks) == (True, 3)
    trainer.train_on(wrong_bits=1.0)
    assert (trainer.annealing, trainer.progress.checks) == (True, 3)


def test_the_learning_rate_never_rises_while_annealing(trainer: Scripted) -> None:
    for _ in range(200):
        trainer.train_on(wrong_bits=0.0)
    rates = []
    while not trainer.annealed:
        rates.append(trainer.learning_rate)
        trainer.train_on(wrong_bits=1.0)
    assert len(rates) == CONFIG.annealing_batches
    assert rates == sorted(rates, reverse=True)
    trainer.relearn()
    assert (trainer.annealing, trainer.learning_rate) == (False, CONFIG.learning_rate)


@pytest.mark.parametrize("allowed", [3, 0])
def test_a_network_that_relies_on_content_addressing_restarts_as_often_as_the_recipe_says(allowed: int) -> None:
    trainer = make_scripted(content_restarts=allowed, unsolved_batches=220)
    trainer.checks_find = PASSED._replace(content_users=1)
    for restarts in range(allowed):
        for _ in range((restarts + 1) * 220 - 200):  # so that it would restart for its slowness, too
            trainer.train_on(wrong_bits=1.0)
        for _ in range(200):
            assert (trainer.annealing, trainer.progress.restarts) == (False, restarts)
            trainer.train_on(wrong_bits=0.0)
    for _ in range(200):
        assert not trainer.annealing
        trainer.train_on(wrong_bits=0.0)
    assert (trainer.annealing, trainer.progress.restarts) == (True, allowed)


@pytest.mark.parametrize(("loss", "allowed"), [(0.5, 45), (0.2, 110), (0.01, 330)])
def test_a_network_that_does_not_learn_restarts_and_may_take_longer_then(loss: float, allowed: int) -> None:
    """It restarts sooner if it has not even begun to learn, and later if it has all but learned."""
    trainer = make_scripted(restart_batches=45, begun_loss=0.3, unsolved_batches=110, learned_loss=0.02)
    for restarts in (0, 1):
        for _ in range((restarts + 1) * allowed):
            assert trainer.progress.restarts == restarts
            trainer.train_on(wrong_bits=1.0, loss=loss)
    assert trainer.progress.restarts == 2


def test_a_network_that_forgets_again_restarts(trainer: Scripted) -> None:
    for _ in range(500):
        trainer.train_on(wrong_bits=1.0)
    assert trainer.progress.restarts == 0
    for _ in range(25):
        trainer.train_on(wrong_bits=1.0, loss=0.7)
    assert trainer.progress.restarts == 1


@pytest.mark.parametrize(("first", "restarts"), [(0.31, 1), (0.29, 0)])
def test_the_average_loss_begins_with_the_first_batch(first: float, restarts: int) -> None:
    trainer = make_scripted(restart_batches=1)
    trainer.train_on(wrong_bits=1.0, loss=first)
    assert trainer.progress.restarts == restarts


def test_every_restart_prefers_the_next_addressing() -> None:
    """With another bias of the gate, another learning rate, and penalties where location addressing is preferred."""
    trainer = make_scripted(
        addressing=(LOCATION, LOCATION, CONTENT), blur_penalty=0.5, sharpness_penalty=0.25, drift_penalty=0.125
    )
    penalties: list[list[float]] = []

    def step(x: tf.Tensor, *others: Any) -> tuple[tf.Tensor, ...]:
        penalties.append(others[-2].numpy().tolist())
        return tf.constant(math.nan), tf.ones(x.shape[1]), tf.ones(x.shape[1])

    trainer._step = step
    seen = []
    for _ in range(5):
        heads = trainer._network.in_range(trainer._network.heads(tf.zeros([1, 5])))
        seen.append((round(float(heads.gate[0, 0, 0]), 3), trainer.learning_rate))
        trainer.train()
    location, content = (0.119, 2e-3), (0.5, 1e-3)  # 0.119 is the sigmoid of -2
    assert seen == [location, location, content, location, location]
    of_location, of_content = [0.02, 0.1, 0.0, 0.0, 0.125], [0.0, 0.0, 0.0, 0.25, 0.125]
    expected = [of_location, of_location, of_content, of_location, of_location]
    np.testing.assert_allclose(penalties, expected, rtol=1e-6)
    trainer.progress.annealing_since = trainer.progress.batches
    trainer.train()
    trainer.train()
    np.testing.assert_allclose(penalties[-2:], [of_content, of_location], rtol=1e-6)
    trainer.progress.annealing_since = trainer.progress.batches
    trainer.train()
    np.testing.assert_allclose(penalties[-1], [0.02, 0.1, 0.5, 0.0, 0.125], rtol=1e-6)


def test_lessons_come_first_and_no_network_is_checked_in_them() -> None:
    lessons = Lesson(150, sizes={"length": (1, 1)}), Lesson(200, loss=0.1, sizes={"length": (2, 2)})
    trainer = make_scripted(lessons=lessons, clean_sequences=8, content_restarts=0)
    trainer.checks_find = FAILED
    lesson_of: list[int] = []
    asked = trainer._data.training

    def training(number: int, lesson: int) -> Padded:
        lesson_of.append(lesson)
        return asked(number, lesson)

    trainer._data.training = training  # type: ignore[method-assign, assignment]
    for _ in range(150):
        trainer.train_on(wrong_bits=0.0, loss=0.01)
        assert trainer.progress.checks == 0
    for loss in [0.2] * 120 + [0.01] * 100:
        trainer.train_on(wrong_bits=0.0, loss=loss)
    assert set(lesson_of[:150]) == {0}
    assert set(lesson_of[150:270]) == {1}
    assert lesson_of[-1] == 2
    assert lesson_of == sorted(lesson_of)
    second = lesson_of.count(1)
    assert 0.97 ** (second - 120) * 0.19 + 0.01 < 0.1 < 0.97 ** (second - 121) * 0.19 + 0.01
    assert trainer.progress.checks > 0


def test_a_lesson_may_end_after_clean_sequences() -> None:
    trainer = make_scripted(lessons=(Lesson(500, clean_sequences=80),))
    for wrong_bits in [0.0] * 9 + [1.0] + [0.0] * 10:
        assert trainer.progress.lesson == 0
        trainer.train_on(wrong_bits=wrong_bits)
    assert trainer.progress.lesson == 1
    assert trainer.progress.clean_sequences == 0


def test_a_training_without_early_stopping_goes_on_after_annealing() -> None:
    trainer = make_scripted(early_stopping=False, annealing_batches=2)
    for _ in range(200 + 10):
        trainer.train_on(wrong_bits=0.0)
    assert trainer.annealing
    assert not trainer.annealed
    rates = []
    for _ in range(3):
        rates.append(trainer.learning_rate)
        trainer.train_on(wrong_bits=0.0)
    assert rates == sorted(rates, reverse=True)


def test_a_trainer_begins_with_another_network() -> None:
    source = make_trainer(seed=8)
    source.train()
    trainer = Trainer(NETWORK, CONFIG, COPY, source.result())
    for ours, theirs in zip(trainer.result().trainable_variables, source.result().trainable_variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_lesson_lasts_until_the_average_loss_tells_something() -> None:
    trainer = make_scripted(lessons=(Lesson(200, loss=0.5),))
    for _ in range(100):
        assert trainer.progress.lesson == 0
        trainer.train_on(wrong_bits=1.0, loss=0.01)
    assert trainer.progress.lesson == 1


def test_a_network_that_does_not_learn_a_lesson_restarts_and_may_take_longer_then() -> None:
    trainer = make_scripted(lessons=(Lesson(150, loss=0.1),), restart_batches=10_000)
    for restarts in (0, 1, 2):
        for _ in range((restarts + 1) * 150):
            assert trainer.progress.restarts == restarts
            trainer.train_on(wrong_bits=1.0, loss=0.2)
    assert (trainer.progress.restarts, trainer.progress.lesson) == (3, 0)


def test_every_lesson_begins_with_the_full_learning_rate_and_every_start_with_the_first_lesson() -> None:
    trainer = make_scripted(
        lessons=(Lesson(120),), setback=2.0, learned_loss=0.1, halving_batches=10, unsolved_batches=220
    )
    rates = []
    for loss in [0.05] * 100 + [0.3] * 20 + [0.2] * 100:
        rates.append(trainer.learning_rate)
        trainer.train_on(wrong_bits=1.0, loss=loss)
    assert rates[0] == rates[120] == CONFIG.learning_rate > rates[119]
    assert (trainer.progress.restarts, trainer.progress.lesson) == (1, 0)


def test_a_setback_takes_the_network_back_to_its_lowest_loss_and_halves_the_learning_rate() -> None:
    trainer = make_scripted(setback=2.0)
    for _ in range(100):
        trainer.train_on(wrong_bits=1.0, loss=0.2)
    best = flat(trainer)
    for variable in trainer._tensors():
        variable.assign(tf.ones_like(variable))
    batches = 0
    while trainer.progress.setbacks == 0:
        trainer.train_on(wrong_bits=1.0, loss=1.2)
        batches += 1
    assert 0.97 ** (batches - 1) > (1.2 - 0.41) > 0.97**batches  # the average loss has passed 2 * 0.2 + 0.01
    np.testing.assert_array_equal(flat(trainer), best)
    assert trainer.learning_rate == CONFIG.learning_rate / 2
    assert trainer.progress.loss == pytest.approx((0.2 + 0.41) / 2)
    assert trainer.progress.restarts == 0


def test_a_lowest_loss_that_was_luck_does_not_take_the_network_back_for_ever() -> None:
    trainer = make_scripted(setback=1.5, unsolved_batches=10_000)
    for loss in [0.2] * 50 + [0.04] * 150 + [0.1] * 3_000:
        trainer.train_on(wrong_bits=1.0, loss=loss)
    assert 1 <= trainer.progress.setbacks <= 3


def test_a_network_of_nan_goes_back_if_there_is_one_to_go_back_to() -> None:
    trainer = make_scripted(setback=2.0)
    trainer.train_on(wrong_bits=1.0, loss=math.nan)
    assert (trainer.progress.restarts, trainer.progress.setbacks) == (1, 0)
    for _ in range(100):
        trainer.train_on(wrong_bits=1.0)
    trainer.train_on(wrong_bits=1.0, loss=math.nan)
    assert (trainer.progress.restarts, trainer.progress.setbacks) == (1, 1)
    assert trainer.progress.loss == pytest.approx((0.2 + 0.41) / 2)


def test_without_setbacks_none_is_minded() -> None:
    trainer = make_scripted()
    for loss in [0.1] * 100 + [5.0] * 100:
        trainer.train_on(wrong_bits=1.0, loss=loss)
    assert trainer.learning_rate == CONFIG.learning_rate


def test_annealing_is_not_counted_as_learning(trainer: Scripted) -> None:
    for _ in range(3_000):
        trainer.train_on(wrong_bits=0.0)
    assert (trainer.progress.restarts, trainer.progress.learning_batches) == (0, 200)


def test_a_network_of_nan_restarts_at_once(trainer: Scripted) -> None:
    for _ in range(201):
        trainer.train_on(wrong_bits=0.0)
    assert trainer.annealing
    trainer.train_on(wrong_bits=0.0, loss=math.nan)
    assert (trainer.annealing, trainer.progress.restarts, trainer.progress.batches) == (False, 1, 202)
    trainer.train_on(wrong_bits=0.0)
    assert trainer.progress.restarts == 1


@pytest.mark.parametrize("batch_size", [1, 8])
def test_wrong_bits_in_sequences_of_the_variant_do_not_count(batch_size: int) -> None:
    """Also where a batch holds no other sequence."""
    trainer = make_scripted(batch_size=batch_size, clean_sequences=16)

    def step(x: tf.Tensor, *_: Any) -> tuple[tf.Tensor, ...]:
        own = trainer._data.training(trainer.progress.batches).own
        wrong = np.where(np.arange(x.shape[1]) < own, 0.0, 9.0)
        return tf.constant(0.2), tf.constant(wrong), tf.constant(wrong)

    trainer._step = step
    steps = [trainer.train() for _ in range(19 // batch_size)]  # the first of every eight is of the variant
    assert {(float(one.wrong_bits), float(one.cost)) for one in steps} == {(0.0, 0.0)}
    assert trainer.annealing


def flat(trainer: Trainer) -> np.ndarray:
    """The averaged network's variables."""
    return np.concatenate([value.ravel() for value in trainer.variables().values()])


def annealed_for_5_batches(**changes: Any) -> np.ndarray:
    trainer = make_trainer(**{"sizes": {"length": (1, 4)}} | changes)
    trainer.progress.annealing_since = 0
    for _ in range(5):
        trainer.train()
    return flat(trainer)


@pytest.fixture(scope="module")
def by_the_recipe() -> np.ndarray:
    return annealed_for_5_batches()


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {"seed": 4},
        {"batch_size": 9},
        {"addressing": (CONTENT,)},
        {"annealing_learning_rate": 5e-4},
        {"clip_norm": 1e-3},
        {"clip_element": 1e-4},
        {"optimizer": "rmsprop"},
        {"average_decay": 0.0},
        {"gate_bias": -1.0},
        {"shift_bias": 0.5},
        {"train_locations": (9,)},
        {"variant": {"pattern": "ones"}},
        {"variant_every": 0},
        {"blur_penalty": 0.0},
        {"writing_penalty": 0.0},
        {"content_penalty": 0.0},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_part_of_the_recipe_is_applied(change: dict[str, Any], by_the_recipe: np.ndarray) -> None:
    """With another value, the first steps of annealing are others."""
    assert np.abs(annealed_for_5_batches(**change) - by_the_recipe).max() > 1e-6


@pytest.mark.parametrize("change", [{"strength_bias": 8.0}, {"sharpness_penalty": 0.0}], ids=str)
def test_the_recipe_of_a_start_that_prefers_content_addressing_is_applied(change: dict[str, Any]) -> None:
    recipe = {"addressing": (CONTENT,), "strength_bias": 9.0, "sharpness_penalty": 1.0}
    assert np.abs(annealed_for_5_batches(**recipe | change) - annealed_for_5_batches(**recipe)).max() > 1e-6


def test_equal_recipes_train_alike(by_the_recipe: np.ndarray) -> None:
    np.testing.assert_array_equal(annealed_for_5_batches(), by_the_recipe)


def test_memory_locations_are_drawn_from_those_of_the_recipe() -> None:
    trainer = make_scripted(train_locations=(7,))
    seen: list[int] = []

    def step(x: tf.Tensor, *others: Any) -> tuple[tf.Tensor, ...]:
        seen.append(others[-1])
        return tf.constant(0.2), tf.ones(x.shape[1]), tf.ones(x.shape[1])

    trainer._step = step
    for annealing_since in (None, 0):
        seen.clear()
        for _ in range(40):
            trainer.progress = schedule.Progress(batches=len(seen), annealing_since=annealing_since)
            trainer.train()
        assert set(seen) == {4, 7}


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
    wrong_bits: dict[int, int], expected: tuple[bool, int, int]
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


def test_the_other_n_of_a_check_is_none_of_the_training() -> None:
    trainer = make_trainer(train_locations=(7,))
    seen = script_examinations(trainer, dict.fromkeys(range(100), 0))
    assert trainer.check().passed
    assert [locations for _, locations, *_ in seen] == [4, 6]  # one and a half times the network's


def test_a_network_for_one_n_is_checked_with_it_alone() -> None:
    trainer = Trainer(dataclasses.replace(NETWORK, initial_memory="learned"), CONFIG, COPY)
    seen = script_examinations(trainer, dict.fromkeys(range(100), 0))
    assert trainer.check().passed
    assert [locations for _, locations, *_ in seen] == [4]


@pytest.mark.parametrize(("cost", "passed"), [(0.49, True), (0.51, False)])
def test_with_a_goal_the_cost_decides_and_not_the_wrong_bits(cost: float, passed: bool) -> None:
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


@pytest.mark.parametrize(("goal", "number", "memory_locations"), [(0.0, 1, 4), (1e9, 2, 6)])
def test_a_check_counts_what_the_averaged_network_does(
    goal: float, number: int, memory_locations: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A goal that is always reached shows the second part of the check."""
    monkeypatch.setattr(schedule, "_CHECK_SEQUENCES", 40)
    network = dataclasses.replace(NETWORK, read_heads=2)
    numbers = (3 + 3) * memory_locations + 2 * 3  # in the state of a sequence
    monkeypatch.setattr(schedule, "_CHECKED_AT_ONCE", 7 * numbers)  # seven side by side
    config = dataclasses.replace(CONFIG, goal=goal)
    trainer = Trainer(network, config, COPY)
    values = np.random.default_rng(20).normal(size=trainer._optimizer.average.shape)
    trainer._optimizer.average.assign(values.astype(np.float32))
    found = trainer.check()
    wrong, cost, users = examined_in_turn(trainer.result(), Data(COPY, config), number, memory_locations)
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
    monkeypatch.setattr(schedule, "_CHECK_SEQUENCES", 40)
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
    monkeypatch.setattr(schedule, "_CHECK_SEQUENCES", 40)
    trainer = Trainer(*configure(Coin(), options={"goal": 0.01, "controller_sizes": (5,), "xla": False}), Coin())
    average = trainer._optimizer.average
    average.assign(tf.zeros_like(average))
    chances = Data(Coin(), trainer.config).check(1, 40).target[1:].ravel().tolist()
    entropies = [-sum(p * math.log2(p) for p in (chance, 1 - chance) if p > 0) for chance in chances]
    assert trainer.check().cost == pytest.approx(3 - sum(entropies) / 40, rel=1e-4)


def test_a_restart_has_new_variables_and_forgets_the_steps_before() -> None:
    trainer = make_trainer(restart_batches=2)
    biases: dict[str, Any] = {"gate_bias": CONFIG.gate_bias, "shift_bias": CONFIG.shift_bias}
    first = [variable.numpy() for variable in NTMCell(NETWORK, CONFIG.seed, **biases).trainable_variables]
    trainer.train()
    trainer.train()
    assert trainer.progress == schedule.Progress(batches=2, restarts=1)
    started = trainer.state()
    kernels = [value for value in started.values() if value.ndim == 2]
    assert not any(np.array_equal(ours, old) for ours in kernels for old in first)
    assert any(np.array_equal(ours, old) for ours in started.values() for old in first)  # the biases of the heads
    step, *moments, average, usual_norm = list(started.values())[-5:]  # of the optimiser
    assert not any(value.any() for value in (step, *moments, usual_norm))
    np.testing.assert_array_equal(average, np.concatenate([value.ravel() for value in list(started.values())[:-5]]))
    trainer.train()  # the average begins with the first step
    averaged, now = trainer.variables().values(), list(trainer.state().values())
    for value, variable in zip(averaged, now, strict=False):
        np.testing.assert_array_equal(value, variable)


def test_restarts_are_the_same_for_equal_seeds_and_others_for_other_seeds() -> None:
    def restarted(**changes: Any) -> np.ndarray:
        trainer = make_trainer(restart_batches=1, **changes)
        trainer.train()
        return flat(trainer)

    first = restarted()
    np.testing.assert_array_equal(restarted(), first)
    assert not np.allclose(restarted(seed=4), first)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("allowed", "passes", "off"),
    [
        (True, {True: True, False: True}, True),
        (True, {True: False, False: True}, False),  # it needs content addressing
        (True, {True: False, False: False}, False),
        (False, {True: True, False: True}, False),
    ],
)
def test_content_addressing_is_turned_off_if_the_last_check_is_passed_without_it(
    allowed: bool, passes: dict[bool, bool], off: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(self: Trainer) -> Check:
        return PASSED if passes[not self.result().content_addressing] else FAILED

    monkeypatch.setattr(Trainer, "check", check)
    trainer = make_trainer(turn_content_off=allowed)
    trainer.train()
    assert trainer.conclude().passed == passes[off]
    assert trainer.result().content_addressing is not off
    resumed = make_trainer()
    resumed.restore(trainer.state(), dataclasses.asdict(trainer.progress))
    assert resumed.result().content_addressing is not off
    resumed.train()  # which makes another network, of which nobody knows whether it needs content addressing
    assert resumed.result().content_addressing


def test_the_result_is_the_moving_average() -> None:
    trainer = make_trainer()
    for _ in range(4):
        trainer.train()
    averaged, state = trainer.variables(), list(trainer.state().values())
    values = np.concatenate([value.ravel() for value in averaged.values()])
    np.testing.assert_array_equal(values, state[-2])  # the average of the optimiser
    assert not np.allclose(values, np.concatenate([value.ravel() for value in state[: len(averaged)]]))
    for variable, value in zip(trainer.result().trainable_variables, averaged.values(), strict=True):
        np.testing.assert_array_equal(variable, value)


def test_a_step_tells_the_figures_of_its_batch() -> None:
    """Before the first step the variables are those of the seed."""
    trainer = make_trainer(average_decay=0.0, batch_size=1, variant_every=0)
    biases: dict[str, Any] = {"gate_bias": CONFIG.gate_bias, "shift_bias": CONFIG.shift_bias}
    cell = NTMCell(NETWORK, CONFIG.seed, **biases)
    x, target, mask, steps, *_ = Data(COPY, trainer.config).training(0)
    state, nats, wrong = cell.initial_state(1), 0.0, 0
    for t in range(steps):
        y, state = cell(x[t], state)
        for logit, bit in zip(y[0].numpy().tolist(), target[t, 0].tolist(), strict=True):
            if mask[t, 0]:
                nats += math.log(1 + math.exp(-logit if bit else logit))
                wrong += (logit > 0) != (bit > 0.5)
    step = trainer.train()
    assert step.wrong_bits == wrong
    assert step.cost == pytest.approx(nats / math.log(2), rel=1e-5)
    assert step.loss == pytest.approx(nats / (2 * mask.sum()), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("annealing_since", [None, 1])
def test_a_restored_trainer_goes_on_as_if_it_had_not_been_interrupted(annealing_since: int | None) -> None:
    changes: dict[str, Any] = {
        "train_locations": (6,),
        "addressing": (LOCATION, CONTENT),
        "restart_batches": 2,  # or three times as many, since the loss is as small as is asked for
        "variant_every": 3,
        "learned_loss": 1.0,
        "halving_batches": 2,
        "setback": 1.0,
        "lessons": (Lesson(2, sizes={"length": (1, 1)}),),
    }
    trainer, restored = make_trainer(**changes), make_trainer(**changes)
    for _ in range(3):
        trainer.train()
    trainer.progress.annealing_since = annealing_since
    restored.restore(trainer.state(), dataclasses.asdict(trainer.progress))
    for _ in range(5):
        assert restored.learning_rate == trainer.learning_rate < 2e-3
        assert restored.train() == trainer.train()
    assert restored.progress == trainer.progress
    assert trainer.progress.restarts == (0 if annealing_since else 1)
    for name, value in trainer.state().items():
        np.testing.assert_array_equal(restored.state()[name], value)


@pytest.mark.parametrize("value", [math.inf, math.nan, -1.0])
@pytest.mark.parametrize(
    "name",
    [
        "learning_rate",
        "content_learning_rate",
        "annealing_learning_rate",
        "learned_loss",
        "halving_batches",
        "clip_norm",
        "clip_element",
        "momentum",
        "average_decay",
        "goal",
        "begun_loss",
        "blur_penalty",
        "writing_penalty",
        "content_penalty",
        "sharpness_penalty",
        "setback",
    ],
)
def test_a_number_out_of_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be"):
        TrainingConfig(sizes={}, **cast(dict[str, Any], {name: value}))


@pytest.mark.parametrize(
    "wrong",
    [
        {"gate_bias": math.nan},
        {"shift_bias": -math.inf},
        {"strength_bias": math.nan},
        {"learning_rate": 1.5},
        {"average_decay": 1.0},
        {"momentum": 1.0},
        {"optimizer": "sgd"},
        {"report_batches": 0},
        {"keep_checkpoints": -1},
        {"checkpoint_batches": 0},
        {"addressing": ()},
        {"addressing": (LOCATION, "both")},
        {"batch_size": 0},
        {"max_batches": 0},
        {"clean_sequences": 0},
        {"restart_batches": 0},
        {"unsolved_batches": 0},
        {"annealing_batches": -1},
        {"content_restarts": -1},
        {"variant_every": -1},
        {"train_locations": (8, 0)},
        {"seed": -1},
        {"seed": 1 << 31},
    ],
    ids=str,
)
def test_config_refuses(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=f"^{name} must be"):
        TrainingConfig(sizes={}, **wrong)


def test_config_refuses_a_lesson_without_a_batch_or_of_sizes_that_are_no_range() -> None:
    with pytest.raises(ValueError, match=r"^the batches of a lesson must be at least 1, not 0$"):
        Lesson(0)
    with pytest.raises(ValueError, match=r"^the loss of a lesson must be at least 0, not -1\.0$"):
        Lesson(1, loss=-1.0)
    with pytest.raises(ValueError, match=r"^length must not go from a larger number to a smaller one: 2 to 1$"):
        Lesson(1, sizes={"length": (2, 1)})


@pytest.mark.parametrize("ends", [(2, 1), (-1, 1)])
def test_config_refuses_sizes_that_are_no_range(ends: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"^length must .*{ends[0]} to {ends[1]}$"):
        TrainingConfig(sizes={"length": ends})


@pytest.mark.parametrize(
    ("task", "network", "training"),
    [
        (COPY, {}, {"sizes": {"length": (1, 1 << 16)}}),
        (COPY, {"memory_locations": 1 << 20}, {"batch_size": 1 << 16}),
        (COPY, {}, {"train_locations": (1 << 20,), "batch_size": 1 << 16}),
        (COPY, {"controller_sizes": (1 << 17, 1 << 17)}, {}),
        (find("repeat-copy"), {}, {"sizes": {"length": (1, 10), "repeats": (1, 1 << 18)}, "batch_size": 64}),
    ],
)
def test_a_training_that_does_not_fit_the_memory_is_told_beforehand(
    task: Task, network: dict[str, Any], training: dict[str, Any]
) -> None:
    """8 GiB are too little; what each of them changes is what takes them."""
    largest = configure(task, options={"sizes": training.get("sizes", {})} | network | training)
    assert schedule.least_bytes(*largest, task) > 8 << 30
    assert schedule.least_bytes(*configure(task), task) < 1 << 30


def test_the_least_bytes_grow_with_every_size() -> None:
    def bytes_of(change: Callable[[NTMConfig, TrainingConfig], tuple[NTMConfig, TrainingConfig]]) -> int:
        return schedule.least_bytes(*change(NETWORK, CONFIG), COPY)

    least = bytes_of(lambda *both: both)
    steps, kept = 5 * 8, 3 * 4 + 2 * 4 + 3 + (5 + 24 + 2)  # the numbers that a step of a sequence leaves behind
    assert least == 4 * (steps * kept + 6 * (6 * 5 + 5 * 24 + 8 * 2))
    assert bytes_of(lambda n, t: (n, dataclasses.replace(t, batch_size=16))) == least + 4 * steps * kept
