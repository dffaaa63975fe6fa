"""The schedule: when a network is checked, when it is annealed, when it restarts."""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ntm.training import schedule
from ntm.training.config import CONTENT, LOCATION, Lesson
from ntm.training.data import Padded
from ntm.training.schedule import Check, Progress
from ntm.training.trainer import Trainer

PASSED, FAILED = Check(True, 0, 0.0, 0), Check(False, 3, 9.0, 5)


class Scripted(Trainer):
    """A trainer whose batches hold as many wrong bits as a test says, and whose checks find what it says."""

    checks_find = PASSED

    def check(self) -> Check:
        self.progress.checks += 1
        return self.checks_find

    def train_on(self, *, wrong_bits: float, loss: float = 0.2) -> None:
        self._step = lambda x, *_: (tf.constant(loss), tf.fill(x.shape[1], wrong_bits), tf.ones(x.shape[1]))
        self.train()


@pytest.fixture(scope="session")
def make_scripted(make_trainer: Callable[..., Any]) -> Callable[..., Scripted]:
    return functools.partial(make_trainer, Scripted)


@pytest.fixture
def trainer(make_scripted: Callable[..., Scripted]) -> Scripted:
    return make_scripted()


def test_annealing_begins_after_1600_clean_sequences(make_scripted: Callable[..., Scripted]) -> None:
    trainer = make_scripted(annealing_halving_batches=10)
    trainer.train_on(wrong_bits=1.0)
    for _ in range(199):
        trainer.train_on(wrong_bits=0.0)
        assert not trainer.schedule.annealing
        assert trainer.schedule.learning_rate == trainer.config.learning_rate
    trainer.train_on(wrong_bits=0.0)
    assert trainer.schedule.annealing
    assert trainer.schedule.learning_rate == trainer.config.annealing_learning_rate
    for _ in range(10):
        assert not trainer.schedule.annealed
        trainer.train_on(wrong_bits=0.0)
    assert trainer.schedule.annealed
    assert trainer.schedule.learning_rate == trainer.config.annealing_learning_rate / 2


def test_a_wrong_bit_is_followed_by_another_1600_clean_sequences(trainer: Scripted) -> None:
    for _ in range(199):
        trainer.train_on(wrong_bits=0.0)
    trainer.train_on(wrong_bits=1.0)
    for _ in range(199):
        trainer.train_on(wrong_bits=0.0)
    assert (trainer.schedule.annealing, trainer.progress.checks) == (False, 0)
    trainer.train_on(wrong_bits=0.0)
    assert (trainer.schedule.annealing, trainer.progress.checks) == (True, 1)


def test_a_network_that_fails_the_check_learns_on_and_is_checked_again(trainer: Scripted) -> None:
    trainer.checks_find = FAILED
    for checks in (0, 1, 2):
        for _ in range(25 if checks else 200):
            assert trainer.progress.checks == checks
            trainer.train_on(wrong_bits=0.0)
        assert not trainer.schedule.annealing
        assert trainer.schedule.learning_rate == trainer.config.learning_rate
    trainer.checks_find = PASSED
    for _ in range(25):
        trainer.train_on(wrong_bits=0.0)
    assert (trainer.schedule.annealing, trainer.progress.checks) == (True, 4)


def test_the_more_checks_have_failed_the_later_is_the_next(make_scripted: Callable[..., Scripted]) -> None:
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


def test_the_learning_rate_falls_while_the_average_loss_is_small(make_scripted: Callable[..., Scripted]) -> None:
    trainer = make_scripted(learned_loss=0.02, halving_batches=10)
    for _ in range(50):
        trainer.train_on(wrong_bits=1.0, loss=0.03)
    assert trainer.schedule.learning_rate == 2e-3
    for _ in range(20):
        trainer.train_on(wrong_bits=1.0, loss=0.0)  # the average follows a while later
    assert 2e-3 > trainer.schedule.learning_rate > 1e-3
    for _ in range(30):
        trainer.train_on(wrong_bits=1.0, loss=0.0)
    learned = trainer.progress.learned_batches
    assert 30 < learned < 50
    assert trainer.schedule.learning_rate == pytest.approx(2e-3 / (1 + learned / 10))
    trainer.train_on(wrong_bits=1.0, loss=math.nan)
    assert trainer.schedule.learning_rate == 2e-3


@pytest.mark.parametrize(("annealing_learning_rate", "expected"), [(1e-4, 1e-4), (1e-2, 2e-3 / 3)])
def test_annealing_begins_with_no_higher_a_learning_rate_than_before(
    make_scripted: Callable[..., Scripted], annealing_learning_rate: float, expected: float
) -> None:
    trainer = make_scripted(halving_batches=100, annealing_learning_rate=annealing_learning_rate)
    for _ in range(200):
        assert not trainer.schedule.annealing
        trainer.train_on(wrong_bits=0.0, loss=0.0)
    assert trainer.schedule.annealing
    assert trainer.schedule.learning_rate == pytest.approx(expected)


@pytest.mark.slow
def test_a_task_with_a_goal_is_checked_every_500_batches_whatever_its_wrong_bits(
    make_scripted: Callable[..., Scripted],
) -> None:
    trainer = make_scripted(goal=1.0, unsolved_batches=2_000)
    trainer.checks_find = FAILED
    for batches in range(1_000):
        assert (trainer.schedule.annealing, trainer.progress.checks) == (False, batches // 500)
        trainer.train_on(wrong_bits=batches % 2)
    trainer.train_on(wrong_bits=0.0, loss=math.nan)  # the batches since the restart count
    trainer.checks_find = PASSED
    for _ in range(500):
        assert (trainer.schedule.annealing, trainer.progress.checks) == (False, 2)
        trainer.train_on(wrong_bits=1.0)
    assert (trainer.schedule.annealing, trainer.progress.checks) == (True, 3)
    trainer.train_on(wrong_bits=1.0)
    assert (trainer.schedule.annealing, trainer.progress.checks) == (True, 3)


def test_the_learning_rate_never_rises_while_annealing(trainer: Scripted) -> None:
    for _ in range(200):
        trainer.train_on(wrong_bits=0.0)
    rates = []
    while not trainer.schedule.annealed:
        rates.append(trainer.schedule.learning_rate)
        trainer.train_on(wrong_bits=1.0)
    assert len(rates) == trainer.config.annealing_batches
    assert rates == sorted(rates, reverse=True)


def test_after_a_failed_last_check_annealing_goes_on_as_long_again(
    make_scripted: Callable[..., Scripted], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "_FURTHER_ANNEALING", 4)
    trainer = make_scripted(annealing_batches=10, content_restarts=0)
    for _ in range(200):
        trainer.train_on(wrong_bits=0.0)
    ends, rates = [], []
    while trainer.schedule.annealing:
        rates.append(trainer.schedule.learning_rate)
        trainer.train_on(wrong_bits=1.0)
        if trainer.schedule.annealed:
            ends.append(trainer.progress.batches - 200)
            trainer.go_on()
    assert ends == [10, 14, 18, 22]
    assert rates == sorted(rates, reverse=True)
    assert (trainer.schedule.annealed, trainer.schedule.learning_rate) == (False, trainer.config.learning_rate)
    for _ in range(200):
        trainer.train_on(wrong_bits=0.0)
    for _ in range(9):
        trainer.train_on(wrong_bits=1.0)
        assert not trainer.schedule.annealed
    trainer.train_on(wrong_bits=1.0)
    assert trainer.schedule.annealed


def test_after_failed_last_checks_the_learning_rate_rises(make_scripted: Callable[..., Scripted]) -> None:
    options = {"learned_loss": 0.1, "halving_batches": 50, "setback": 2.0, "annealing_batches": 0}
    trainer = make_scripted(**options, content_restarts=0)
    for _ in range(199):
        trainer.train_on(wrong_bits=0.0, loss=0.0)
    trainer.progress.setbacks = 2
    learned, before = trainer.progress.learned_batches, trainer.schedule.learning_rate
    trainer.train_on(wrong_bits=0.0, loss=0.0)
    assert trainer.schedule.annealing
    trainer.go_on()
    assert before == pytest.approx(trainer.config.learning_rate / (1 + learned / 50) / 4)
    assert trainer.schedule.learning_rate == pytest.approx(trainer.config.learning_rate / (1 + (learned + 1) // 2 / 50))


def test_after_failed_last_checks_the_network_restarts_as_often_as_the_recipe_says(
    make_scripted: Callable[..., Scripted],
) -> None:
    trainer = make_scripted(annealing_batches=4, content_restarts=1)
    before = trainer.variables()
    for restarts in (0, 1, 1):
        for _ in range(200):
            trainer.train_on(wrong_bits=0.0)
        while trainer.schedule.annealing:
            assert trainer.progress.restarts == restarts
            trainer.train_on(wrong_bits=1.0)
            if trainer.schedule.annealed:
                trainer.go_on()
    after = trainer.variables()
    assert any((after[name] != before[name]).any() for name in before)


@pytest.mark.slow
@pytest.mark.parametrize("allowed", [3, 0])
def test_a_network_that_relies_on_content_addressing_restarts_as_often_as_the_recipe_says(
    make_scripted: Callable[..., Scripted], allowed: int
) -> None:
    trainer = make_scripted(content_restarts=allowed, unsolved_batches=220)
    trainer.checks_find = PASSED._replace(content_users=1)
    for restarts in range(allowed):
        for _ in range((restarts + 1) * 220 - 200):  # so that it would restart for its slowness, too
            trainer.train_on(wrong_bits=1.0)
        for _ in range(200):
            assert (trainer.schedule.annealing, trainer.progress.restarts) == (False, restarts)
            trainer.train_on(wrong_bits=0.0)
    for _ in range(200):
        assert not trainer.schedule.annealing
        trainer.train_on(wrong_bits=0.0)
    assert (trainer.schedule.annealing, trainer.progress.restarts) == (True, allowed)


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "allowed"), [(0.5, 45), (0.2, 110), (0.01, 330)])
def test_a_network_that_does_not_learn_restarts_and_may_take_longer_then(
    make_scripted: Callable[..., Scripted], loss: float, allowed: int
) -> None:
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
def test_the_average_loss_begins_with_the_first_batch(
    make_scripted: Callable[..., Scripted], first: float, restarts: int
) -> None:
    trainer = make_scripted(restart_batches=1)
    trainer.train_on(wrong_bits=1.0, loss=first)
    assert trainer.progress.restarts == restarts


def test_every_restart_prefers_the_next_addressing(make_scripted: Callable[..., Scripted]) -> None:
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
        seen.append((round(float(heads.gate[0, 0, 0]), 3), trainer.schedule.learning_rate))
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


def test_lessons_come_first_and_no_network_is_checked_in_them(make_scripted: Callable[..., Scripted]) -> None:
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


def test_a_lesson_may_end_after_clean_sequences(make_scripted: Callable[..., Scripted]) -> None:
    trainer = make_scripted(lessons=(Lesson(500, clean_sequences=80),))
    for wrong_bits in [0.0] * 9 + [1.0] + [0.0] * 10:
        assert trainer.progress.lesson == 0
        trainer.train_on(wrong_bits=wrong_bits)
    assert trainer.progress.lesson == 1
    assert trainer.progress.clean_sequences == 0


def test_a_training_without_early_stopping_goes_on_after_annealing(make_scripted: Callable[..., Scripted]) -> None:
    trainer = make_scripted(early_stopping=False, annealing_batches=2)
    for _ in range(200 + 10):
        trainer.train_on(wrong_bits=0.0)
    assert trainer.schedule.annealing
    assert not trainer.schedule.annealed
    rates = []
    for _ in range(3):
        rates.append(trainer.schedule.learning_rate)
        trainer.train_on(wrong_bits=0.0)
    assert rates == sorted(rates, reverse=True)


def test_a_trainer_begins_with_another_network(make_trainer: Callable[..., Trainer]) -> None:
    source = make_trainer(seed=8)
    source.train()
    trainer = make_trainer(initial=source.result())
    for ours, theirs in zip(trainer.result().trainable_variables, source.result().trainable_variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_lesson_lasts_until_the_average_loss_tells_something(make_scripted: Callable[..., Scripted]) -> None:
    trainer = make_scripted(lessons=(Lesson(200, loss=0.5),))
    for _ in range(100):
        assert trainer.progress.lesson == 0
        trainer.train_on(wrong_bits=1.0, loss=0.01)
    assert trainer.progress.lesson == 1


def test_a_network_that_does_not_learn_a_lesson_restarts_and_may_take_longer_then(
    make_scripted: Callable[..., Scripted],
) -> None:
    trainer = make_scripted(lessons=(Lesson(150, loss=0.1),), restart_batches=10_000)
    for restarts in (0, 1, 2):
        for _ in range((restarts + 1) * 150):
            assert trainer.progress.restarts == restarts
            trainer.train_on(wrong_bits=1.0, loss=0.2)
    assert (trainer.progress.restarts, trainer.progress.lesson) == (3, 0)


def test_every_lesson_begins_with_the_full_learning_rate_and_every_start_with_the_first_lesson(
    make_scripted: Callable[..., Scripted],
) -> None:
    trainer = make_scripted(
        lessons=(Lesson(120),), setback=2.0, learned_loss=0.1, halving_batches=10, unsolved_batches=220
    )
    rates = []
    for loss in [0.05] * 100 + [0.3] * 20 + [0.2] * 100:
        rates.append(trainer.schedule.learning_rate)
        trainer.train_on(wrong_bits=1.0, loss=loss)
    assert rates[0] == rates[120] == trainer.config.learning_rate > rates[119]
    assert (trainer.progress.restarts, trainer.progress.lesson) == (1, 0)


def test_a_setback_takes_the_network_back_to_its_lowest_loss_and_halves_the_learning_rate(
    make_scripted: Callable[..., Scripted],
) -> None:
    trainer = make_scripted(setback=2.0)
    for _ in range(100):
        trainer.train_on(wrong_bits=1.0, loss=0.2)
    best = {name: value.copy() for name, value in trainer.variables().items()}
    for variable in trainer._tensors():
        variable.assign(tf.ones_like(variable))
    batches = 0
    while trainer.progress.setbacks == 0:
        trainer.train_on(wrong_bits=1.0, loss=1.2)
        batches += 1
    assert 0.97 ** (batches - 1) > (1.2 - 0.41) > 0.97**batches  # the average loss has passed 2 * 0.2 + 0.01
    for name, value in trainer.variables().items():
        np.testing.assert_array_equal(value, best[name])
    assert trainer.schedule.learning_rate == trainer.config.learning_rate / 2
    assert trainer.progress.loss == pytest.approx((0.2 + 0.41) / 2)
    assert trainer.progress.restarts == 0


@pytest.mark.slow
def test_a_lowest_loss_that_was_luck_does_not_take_the_network_back_for_ever(
    make_scripted: Callable[..., Scripted],
) -> None:
    trainer = make_scripted(setback=1.5, unsolved_batches=10_000)
    for loss in [0.2] * 50 + [0.04] * 150 + [0.1] * 3_000:
        trainer.train_on(wrong_bits=1.0, loss=loss)
    assert 1 <= trainer.progress.setbacks <= 3


def test_a_network_of_nan_goes_back_if_there_is_one_to_go_back_to(make_scripted: Callable[..., Scripted]) -> None:
    trainer = make_scripted(setback=2.0)
    trainer.train_on(wrong_bits=1.0, loss=math.nan)
    assert (trainer.progress.restarts, trainer.progress.setbacks) == (1, 0)
    for _ in range(100):
        trainer.train_on(wrong_bits=1.0)
    trainer.train_on(wrong_bits=1.0, loss=math.nan)
    assert (trainer.progress.restarts, trainer.progress.setbacks) == (1, 1)
    assert trainer.progress.loss == pytest.approx((0.2 + 0.41) / 2)


@pytest.mark.parametrize(("practice", "setbacks"), [({"length": (1, 6)}, 0), ({}, 1)])
def test_the_higher_loss_of_larger_sizes_in_annealing_is_no_setback(
    make_scripted: Callable[..., Scripted], practice: dict[str, Any], setbacks: int
) -> None:
    trainer = make_scripted(setback=2.0, annealing_practice=practice)
    for _ in range(200):
        trainer.train_on(wrong_bits=0.0, loss=0.1)
    assert trainer.schedule.annealing
    trainer.progress.setbacks = 3
    assert trainer.schedule.learning_rate == (1e-3 if practice else 2e-3 / 8)
    trainer.progress.setbacks = 0
    for _ in range(40):
        trainer.train_on(wrong_bits=1.0, loss=0.5)
        if trainer.progress.setbacks:
            break
    assert trainer.progress.setbacks == setbacks
    trainer.train_on(wrong_bits=1.0, loss=math.nan)
    assert trainer.progress.setbacks == setbacks + 1
    assert math.isfinite(trainer.progress.loss)


def test_without_setbacks_none_is_minded(make_scripted: Callable[..., Scripted]) -> None:
    trainer = make_scripted()
    for loss in [0.1] * 100 + [5.0] * 100:
        trainer.train_on(wrong_bits=1.0, loss=loss)
    assert trainer.schedule.learning_rate == trainer.config.learning_rate


def test_annealing_is_not_counted_as_learning(make_scripted: Callable[..., Scripted]) -> None:
    trainer = make_scripted(unsolved_batches=220)
    for _ in range(600):
        trainer.train_on(wrong_bits=0.0)
    assert (trainer.progress.restarts, trainer.progress.learning_batches) == (0, 200)


def test_a_network_of_nan_restarts_at_once(trainer: Scripted) -> None:
    for _ in range(201):
        trainer.train_on(wrong_bits=0.0)
    assert trainer.schedule.annealing
    trainer.train_on(wrong_bits=0.0, loss=math.nan)
    assert (trainer.schedule.annealing, trainer.progress.restarts, trainer.progress.batches) == (False, 1, 202)
    trainer.train_on(wrong_bits=0.0)
    assert trainer.progress.restarts == 1


@pytest.mark.parametrize("batch_size", [1, 8])
def test_wrong_bits_in_sequences_of_the_variant_do_not_count(
    make_scripted: Callable[..., Scripted], batch_size: int
) -> None:
    """Also where a batch holds no other sequence."""
    trainer = make_scripted(batch_size=batch_size, clean_sequences=16)

    def step(x: tf.Tensor, *_: Any) -> tuple[tf.Tensor, ...]:
        own = trainer._data.training(trainer.progress.batches).own
        wrong = np.where(np.arange(x.shape[1]) < own, 0.0, 9.0)
        return tf.constant(0.2), tf.constant(wrong), tf.constant(wrong)

    trainer._step = step
    steps = [trainer.train() for _ in range(19 // batch_size)]  # the first of every eight is of the variant
    assert {(float(one.wrong_bits), float(one.cost)) for one in steps} == {(0.0, 0.0)}
    assert trainer.schedule.annealing


def test_memory_locations_are_drawn_from_those_of_the_recipe(make_scripted: Callable[..., Scripted]) -> None:
    trainer = make_scripted(train_locations=(7,), annealing_locations=(9,))
    seen: list[int] = []

    def step(x: tf.Tensor, *others: Any) -> tuple[tf.Tensor, ...]:
        seen.append(others[-1])
        return tf.constant(0.2), tf.ones(x.shape[1]), tf.ones(x.shape[1])

    trainer._step = step
    for annealing_since in (None, 0):
        seen.clear()
        for _ in range(40):
            trainer.schedule.progress = Progress(batches=len(seen), annealing_since=annealing_since)
            trainer.train()
        assert set(seen) == ({4, 7} if annealing_since is None else {4, 7, 9})


def test_longer_sequences_in_annealing_have_more_memory_locations(make_scripted: Callable[..., Scripted]) -> None:
    """Copy of 6 words needs 8 locations where the training sizes, 1 and 2 words, need 4."""
    trainer = make_scripted(train_locations=(7, 9), annealing_practice={"length": (1, 6)})
    seen: set[tuple[int, int]] = set()

    def step(x: tf.Tensor, *others: Any) -> tuple[tf.Tensor, ...]:
        seen.add((int(others[2]) // 2, others[-1]))
        return tf.constant(0.2), tf.ones(x.shape[1]), tf.ones(x.shape[1])

    trainer._step = step
    trainer.schedule.progress = Progress(annealing_since=0)
    for _ in range(200):
        trainer.train()
    assert seen == {(words, n) for words in range(1, 7) for n in (4, 7, 9) if words <= 2 or n >= words + 2}
