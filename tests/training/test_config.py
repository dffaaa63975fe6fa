"""The configuration of a training: what it refuses, and the memory that a training takes."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, cast

import pytest

from ntm.models import NTMConfig
from ntm.tasks import Task, find
from ntm.training.config import LOCATION, Lesson, TrainingConfig
from ntm.training.recipes import configure
from ntm.training.trainer import Trainer, least_bytes

COPY = find("copy", {"bits": 2})


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
        "clip_outlier",
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
        {"annealing_locations": (0,)},
        {"mixed": ("items",)},
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
        (COPY, {}, {"annealing_locations": (1 << 20,), "batch_size": 1 << 16}),
        (COPY, {"controller_sizes": (1 << 17, 1 << 17)}, {}),
        (find("repeat-copy"), {}, {"sizes": {"length": (1, 10), "repeats": (1, 1 << 18)}, "batch_size": 64}),
    ],
)
def test_a_training_that_does_not_fit_the_memory_is_told_beforehand(
    task: Task, network: dict[str, Any], training: dict[str, Any]
) -> None:
    """8 GiB are too little; what each of them changes is what takes them."""
    largest = configure(task, options={"sizes": training.get("sizes", {})} | network | training)
    assert least_bytes(*largest, task) > 8 << 30
    assert least_bytes(*configure(task), task) < 1 << 30


def test_the_least_bytes_grow_with_every_size(make_trainer: Callable[..., Trainer]) -> None:
    network, config = make_trainer().result().config, make_trainer().config

    def bytes_of(change: Callable[[NTMConfig, TrainingConfig], tuple[NTMConfig, TrainingConfig]]) -> int:
        return least_bytes(*change(network, config), COPY)

    least = bytes_of(lambda *both: both)
    steps, kept = 5 * 8, 3 * 4 + 2 * 4 + 3 + (5 + 24 + 2)  # the numbers that a step of a sequence leaves behind
    assert least == 4 * (steps * kept + 6 * (6 * 5 + 5 * 24 + 8 * 2))
    assert bytes_of(lambda n, t: (n, dataclasses.replace(t, batch_size=16))) == least + 4 * steps * kept
