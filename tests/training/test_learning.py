"""Learning: every part of the recipe is applied, a restart begins anew, and the result is the averaged network."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ntm.models import NTMCell
from ntm.tasks import find
from ntm.training.config import CONTENT, LOCATION, Lesson
from ntm.training.data import Data
from ntm.training.schedule import Check, Progress
from ntm.training.trainer import Trainer

pytestmark = pytest.mark.slow


def flat(trainer: Trainer) -> np.ndarray:
    """The averaged network's variables."""
    return np.concatenate([value.ravel() for value in trainer.variables().values()])


@pytest.fixture(scope="module")
def annealed_for_5_batches(make_trainer: Callable[..., Trainer]) -> Callable[..., np.ndarray]:
    def anneal(**changes: Any) -> np.ndarray:
        trainer = make_trainer(**{"sizes": {"length": (1, 4)}} | changes)
        trainer.progress.annealing_since = 0
        for _ in range(5):
            trainer.train()
        return flat(trainer)

    return anneal


@pytest.fixture(scope="module")
def by_the_recipe(annealed_for_5_batches: Callable[..., np.ndarray]) -> np.ndarray:
    return annealed_for_5_batches()


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
def test_every_part_of_the_recipe_is_applied(
    annealed_for_5_batches: Callable[..., np.ndarray], change: dict[str, Any], by_the_recipe: np.ndarray
) -> None:
    """With another value, the first steps of annealing are others."""
    assert np.abs(annealed_for_5_batches(**change) - by_the_recipe).max() > 1e-6


@pytest.mark.parametrize("change", [{"strength_bias": 8.0}, {"sharpness_penalty": 0.0}], ids=str)
def test_the_recipe_of_a_start_that_prefers_content_addressing_is_applied(
    annealed_for_5_batches: Callable[..., np.ndarray], change: dict[str, Any]
) -> None:
    recipe = {"addressing": (CONTENT,), "strength_bias": 9.0, "sharpness_penalty": 1.0}
    assert np.abs(annealed_for_5_batches(**recipe | change) - annealed_for_5_batches(**recipe)).max() > 1e-6


def test_equal_recipes_train_alike(
    annealed_for_5_batches: Callable[..., np.ndarray], by_the_recipe: np.ndarray
) -> None:
    np.testing.assert_array_equal(annealed_for_5_batches(), by_the_recipe)


def test_a_restart_has_new_variables_and_forgets_the_steps_before(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer(restart_batches=2)
    biases: dict[str, Any] = {"gate_bias": trainer.config.gate_bias, "shift_bias": trainer.config.shift_bias}
    first = [
        variable.numpy()
        for variable in NTMCell(trainer.result().config, trainer.config.seed, **biases).trainable_variables
    ]
    trainer.train()
    trainer.train()
    assert trainer.progress == Progress(batches=2, restarts=1)
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


def test_restarts_are_the_same_for_equal_seeds_and_others_for_other_seeds(make_trainer: Callable[..., Trainer]) -> None:
    def restarted(**changes: Any) -> np.ndarray:
        trainer = make_trainer(restart_batches=1, **changes)
        trainer.train()
        return flat(trainer)

    first = restarted()
    np.testing.assert_array_equal(restarted(), first)
    assert not np.allclose(restarted(seed=4), first)


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
    make_trainer: Callable[..., Trainer],
    allowed: bool,
    passes: dict[bool, bool],
    off: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def check(self: Trainer) -> Check:
        return Check(passes[not self.result().content_addressing], 0, 0.0, 0)

    def step(x: tf.Tensor, *_: Any) -> tuple[tf.Tensor, ...]:
        return tf.constant(0.2), tf.ones(x.shape[1]), tf.ones(x.shape[1])

    monkeypatch.setattr(Trainer, "check", check)
    trainer = make_trainer(turn_content_off=allowed)
    trainer._step = step
    trainer.train()
    assert trainer.conclude().passed == passes[off]
    assert trainer.result().content_addressing is not off
    resumed = make_trainer()
    resumed._step = step
    resumed.restore(trainer.state(), dataclasses.asdict(trainer.progress))
    assert resumed.result().content_addressing is not off
    resumed.train()  # which makes another network, of which nobody knows whether it needs content addressing
    assert resumed.result().content_addressing


def test_the_result_is_the_moving_average(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer()
    for _ in range(4):
        trainer.train()
    averaged, state = trainer.variables(), list(trainer.state().values())
    values = np.concatenate([value.ravel() for value in averaged.values()])
    np.testing.assert_array_equal(values, state[-2])  # the average of the optimiser
    assert not np.allclose(values, np.concatenate([value.ravel() for value in state[: len(averaged)]]))
    for variable, value in zip(trainer.result().trainable_variables, averaged.values(), strict=True):
        np.testing.assert_array_equal(variable, value)


def test_a_step_tells_the_figures_of_its_batch(make_trainer: Callable[..., Trainer]) -> None:
    """Before the first step the variables are those of the seed."""
    trainer = make_trainer(average_decay=0.0, batch_size=1, variant_every=0)
    biases: dict[str, Any] = {"gate_bias": trainer.config.gate_bias, "shift_bias": trainer.config.shift_bias}
    cell = NTMCell(trainer.result().config, trainer.config.seed, **biases)
    x, target, mask, steps, *_ = Data(find("copy", {"bits": 2}), trainer.config).training(0)
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


@pytest.mark.parametrize("annealing_since", [None, 1])
def test_a_restored_trainer_goes_on_as_if_it_had_not_been_interrupted(
    make_trainer: Callable[..., Trainer], annealing_since: int | None
) -> None:
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
        assert restored.schedule.learning_rate == trainer.schedule.learning_rate < 2e-3
        assert restored.train() == trainer.train()
    assert restored.progress == trainer.progress
    assert trainer.progress.restarts == (0 if annealing_since else 1)
    for name, value in trainer.state().items():
        np.testing.assert_array_equal(restored.state()[name], value)
