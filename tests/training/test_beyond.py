"""The look at a converged network beyond the sizes of its training."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from ntm.tasks import Batch, Size, Task, find
from ntm.tasks.task import draw
from ntm.training.beyond import look_beyond, sentence
from ntm.training.recipes import configure
from ntm.training.schedule import Check
from ntm.training.train import train
from ntm.training.trainer import Trainer

COPY = find("copy", {"bits": 2})
OPTIONS: dict[str, Any] = {
    "sizes": {"length": (1, 3)},
    "memory_vector_size": 3,
    "controller_sizes": (5,),
    "xla": False,
}


@dataclasses.dataclass(frozen=True)
class Stubborn(Task):
    """Output what is seen; it makes sequences of some sizes alone, and needs many locations for one."""

    input_size = output_size = 1
    training_sizes = {"length": range(1, 4)}  # noqa: RUF012
    evaluation_sizes = tuple({"length": length} for length in (9, 3, 5, 6, 7, 8, 590))

    def memory_locations(self, size: Size) -> int:
        if size["length"] == 7:
            raise ZeroDivisionError
        return 10**9 if size["length"] == 8 else 4

    def batch(self, rng: np.random.Generator, batch_size: int, size: Size) -> Batch:
        x = rng.integers(0, 2, (size["length"], batch_size, 1)).astype(np.float32)
        return Batch(x, x + (size["length"] == 6 and batch_size > 1), np.ones(x.shape[:2]))


def look(task: Task, found: Mapping[int, Check] | None, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Look beyond the training of a network that makes of a length what a test says; or of an untrained one."""
    network, config = configure(task, options=OPTIONS)
    trainer = Trainer(network, config, task)
    if found is not None:

        def check_at(size: Size, sequences: int, _: int) -> Check:
            draw(task, np.random.default_rng(0), sequences, size)
            return found[size["length"]]

        monkeypatch.setattr(trainer, "check_at", check_at)
    return look_beyond(trainer, task, network)


RIGHT, WRONG = Check(True, 0, 0.25, 0), Check(False, 1_229, float("nan"), 0)


def test_the_network_runs_on_the_sizes_beyond_training_with_the_locations_they_need(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = look(COPY, None, monkeypatch)
    assert seen["right_up_to"] == {"length": 3}
    rows = seen["beyond_training"]
    assert [(row["size"], row["memory_locations"], row["sequences"]) for row in rows] == [
        ({"length": 20}, 22, 8),
        ({"length": 120}, 122, 8),
    ]
    assert not any(row["right"] for row in rows)
    expected = [8 * 2 * length / 2 for length in (20, 120)]  # a network that guesses
    np.testing.assert_allclose([row["wrong_bits"] for row in rows], expected, rtol=0.3)


def test_what_the_task_cannot_make_and_what_takes_too_long_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {5: RIGHT, 9: WRONG}
    seen = look(Stubborn(), found, monkeypatch)
    assert seen["right_up_to"] == {"length": 5}
    assert [(row["size"]["length"], row["memory_locations"]) for row in seen["beyond_training"]] == [(5, 4), (9, 4)]
    assert seen["beyond_training"][1] == {
        "size": {"length": 9},
        "memory_locations": 4,
        "sequences": 8,
        "wrong_bits": 1_229,
        "cost": None,
        "right": False,
    }


@pytest.mark.parametrize(
    ("found", "right_up_to", "said"),
    [
        ([RIGHT, RIGHT], 120, "no wrong bit seen up to length=120"),
        ([RIGHT, WRONG], 20, "no wrong bit seen up to length=20; 1,229 wrong bits in 8 sequences of length=120"),
        ([WRONG, RIGHT], 3, "no wrong bit seen up to length=3; 1,229 wrong bits in 8 sequences of length=20"),
    ],
)
def test_a_network_is_right_up_to_the_size_before_the_first_that_is_not(
    found: list[Check], right_up_to: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = look(COPY, dict(zip((20, 120), found, strict=True)), monkeypatch)
    assert seen["right_up_to"] == {"length": right_up_to}
    assert sentence(seen, 0.0) == said


def test_with_a_goal_the_cost_is_told() -> None:
    row = {"size": {"items": 9}, "sequences": 8, "wrong_bits": 5, "cost": 12.25, "right": False}
    seen = {"right_up_to": {"items": 6}, "beyond_training": [row]}
    assert (
        sentence(seen, 1.5)
        == "a cost within 1.5 bits seen up to items=6; a cost of 12.2 bits in 8 sequences of items=9"
    )
    seen["beyond_training"] = [row | {"cost": None}]
    assert sentence(seen, 1.5).endswith("; no finite cost in 8 sequences of items=9")
    assert sentence({"right_up_to": {"items": 6}, "beyond_training": []}, 0) == (
        "no wrong bit seen up to items=6; larger sizes were not tested"
    )
    assert sentence({"right_up_to": None, "beyond_training": []}, 0) == sentence({}, 0) == ""


@pytest.mark.slow
@pytest.mark.parametrize("passed", [True, False])
def test_a_network_that_has_converged_is_looked_at(
    passed: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setattr(Trainer, "check", lambda _: RIGHT if passed else WRONG)
    monkeypatch.setattr(Trainer, "check_at", lambda *_: RIGHT)
    summary = train(COPY, tmp_path / "run", **OPTIONS, max_batches=2).summary
    assert summary["right_up_to"] == ({"length": 120} if passed else None)
    assert len(summary["beyond_training"]) == (2 if passed else 0)
    if not passed:
        return
    resumed = train(None, tmp_path / "run", resume=True, max_batches=3, interrupted=lambda: True).summary
    assert (resumed["converged"], resumed["right_up_to"], resumed["beyond_training"]) == (False, None, [])
