"""The recipe: when it learns, when it sharpens, when it starts over."""

import dataclasses
import json
import math
import pathlib
from typing import Any, BinaryIO, cast

import numpy as np
import pytest
import tensorflow as tf

from ntm.console import CommandError
from ntm.models import NTMCell, NTMConfig
from ntm.training import run, task
from ntm.training import trainer as recipe
from ntm.training.config import TrainingConfig
from ntm.training.task import Batch
from ntm.training.train import train
from ntm.training.trainer import Check, Trainer

NETWORK = NTMConfig(memory_locations=4, memory_vector_size=3, word_bits=2, controller_sizes=(5,))
CONFIG = TrainingConfig(seed=3, max_length=2, batch_size=8, sharpening_batches=10, max_batches=1_000, xla=False)


class Scripted(Trainer):
    """A trainer whose batches, and checks, hold as many wrong bits as a test says."""

    checks_find = Check(wrong_bits=0, searches=0)

    def check(self) -> Check:
        self.progress.checks += 1
        return self.checks_find

    def train_on(self, *, wrong_bits: float, loss: float = 0.2) -> None:
        self._step = lambda *_: (loss, wrong_bits)
        self.train()


@pytest.fixture
def trainer() -> Scripted:
    return Scripted(NETWORK, CONFIG)


def test_sharpening_begins_after_1600_clean_sequences(trainer: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "_HALVING_BATCHES", 10)
    trainer.train_on(wrong_bits=1.0)
    for _ in range(199):
        trainer.train_on(wrong_bits=0.0)
        assert not trainer.sharpening
        assert trainer.learning_rate == CONFIG.learning_rate
    trainer.train_on(wrong_bits=0.0)
    assert trainer.sharpening
    assert trainer.learning_rate == CONFIG.sharpening_learning_rate
    for _ in range(10):
        assert not trainer.sharpened
        trainer.train_on(wrong_bits=0.0)
    assert trainer.sharpened
    assert trainer.learning_rate == CONFIG.sharpening_learning_rate / 2


def test_a_wrong_bit_is_followed_by_another_1600_clean_sequences(trainer: Scripted) -> None:
    for _ in range(199):
        trainer.train_on(wrong_bits=0.0)
    trainer.train_on(wrong_bits=1.0)
    for _ in range(199):
        trainer.train_on(wrong_bits=0.0)
    assert (trainer.sharpening, trainer.progress.checks) == (False, 0)
    trainer.train_on(wrong_bits=0.0)
    assert (trainer.sharpening, trainer.progress.checks) == (True, 1)


def test_a_network_that_fails_the_check_learns_on_and_is_checked_again(trainer: Scripted) -> None:
    trainer.checks_find = Check(wrong_bits=3, searches=5)
    for checks in (0, 1, 2):
        for _ in range(25 if checks else 200):
            assert trainer.progress.checks == checks
            trainer.train_on(wrong_bits=0.0)
        assert not trainer.sharpening
        assert trainer.learning_rate == CONFIG.learning_rate
    trainer.checks_find = Check(wrong_bits=0, searches=0)
    for _ in range(25):
        trainer.train_on(wrong_bits=0.0)
    assert (trainer.sharpening, trainer.progress.checks) == (True, 4)


def test_the_learning_rate_never_rises_while_sharpening(trainer: Scripted) -> None:
    for _ in range(200):
        trainer.train_on(wrong_bits=0.0)
    rates = []
    while not trainer.sharpened:
        rates.append(trainer.learning_rate)
        trainer.train_on(wrong_bits=1.0)
    assert len(rates) == CONFIG.sharpening_batches
    assert rates == sorted(rates, reverse=True)


def test_a_check_is_of_two_thousand_sequences_and_ends_with_the_first_wrong_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trainer = Trainer(NETWORK, CONFIG)
    found = {-1: (0, 0), -2: (0, 2), -3: (5, 0)}  # by the number that the sequences are made of
    monkeypatch.setattr(trainer, "_check", lambda number: found.pop(int(number)))
    assert [trainer.check(), trainer.check()] == [(0, 2), (5, 0)]
    assert found == {}


def test_a_network_that_searches_is_given_up_three_times(trainer: Scripted) -> None:
    trainer.checks_find = Check(wrong_bits=0, searches=1)
    for tries in (1, 2, 3):
        for _ in range(tries * 1_100 - 200):  # so that it would be given up for its slowness, too
            trainer.train_on(wrong_bits=1.0)
        for _ in range(200):
            assert (trainer.sharpening, trainer.progress.tries) == (False, tries)
            trainer.train_on(wrong_bits=0.0)
    for _ in range(200):
        trainer.train_on(wrong_bits=0.0)
    assert (trainer.sharpening, trainer.progress.tries) == (True, 4)


@pytest.mark.parametrize(("loss", "allowed"), [(0.2, 1_100), (0.5, 450)])
def test_a_try_that_does_not_learn_is_given_up_and_the_next_may_take_longer(
    loss: float, allowed: int, trainer: Scripted
) -> None:
    """It is given up sooner where it has not even begun to learn."""
    for tries in (1, 2):
        for _ in range(tries * allowed):
            assert trainer.progress.tries == tries
            trainer.train_on(wrong_bits=1.0, loss=loss)
    assert trainer.progress.tries == 3


def test_a_try_that_forgets_again_is_given_up(trainer: Scripted) -> None:
    for _ in range(500):
        trainer.train_on(wrong_bits=1.0)
    assert trainer.progress.tries == 1
    for _ in range(25):
        trainer.train_on(wrong_bits=1.0, loss=0.7)
    assert trainer.progress.tries == 2


def test_sharpening_is_not_counted_as_learning(trainer: Scripted) -> None:
    for _ in range(3_000):
        trainer.train_on(wrong_bits=0.0)
    assert (trainer.progress.tries, trainer.progress.learning_batches) == (1, 200)


def test_a_network_of_nan_is_given_up_at_once(trainer: Scripted) -> None:
    for _ in range(201):
        trainer.train_on(wrong_bits=0.0)
    assert trainer.sharpening
    trainer.train_on(wrong_bits=0.0, loss=math.nan)
    assert (trainer.sharpening, trainer.progress.tries, trainer.progress.batches) == (False, 2, 202)
    trainer.train_on(wrong_bits=0.0)
    assert trainer.progress.tries == 2


@pytest.mark.parametrize("batch_size", [1, 3, 8, 20])
def test_one_sequence_in_eight_is_sparse(batch_size: int) -> None:
    config = dataclasses.replace(CONFIG, max_length=20)
    trainer = Trainer(dataclasses.replace(NETWORK, word_bits=8), config)
    zeros = []  # of each sequence, the share of words that are zero
    for number in range(60):
        batch = trainer._batch(tf.constant(number), batch_size, lambda *_: tf.fill([batch_size], 20))
        zeros += (batch.x.numpy()[:20, :, :8] == 0).all(axis=2).mean(axis=0).tolist()
    assert np.mean(zeros[::8]) == pytest.approx(0.5, abs=0.3)
    assert np.mean(np.delete(zeros, np.s_[::8])) < 0.1


@pytest.mark.parametrize("change", ["writing_penalty", "searching_penalty", "sparse_every", "blur_penalty"])
def test_every_part_of_the_recipe_is_applied(change: str) -> None:
    """Without it, the first steps while sharpening are others."""
    config = dataclasses.replace(CONFIG, max_length=4)
    made = []
    changes: list[dict[str, Any]] = [{}, {change: 0}]
    for changed in changes:
        trainer = Trainer(NETWORK, dataclasses.replace(config, **changed))
        trainer.progress.sharpening_since = 0
        for _ in range(5):
            trainer.train()
        made.append(np.concatenate([value.ravel() for value in trainer.variables().values()]))
    assert np.abs(made[0] - made[1]).max() > 1e-6


def test_a_check_looks_at_a_thousand_sequences_of_all_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def copy_batch(seed: tf.Tensor, lengths: tf.Tensor, *rest: Any) -> Batch:
        seen.append(lengths.numpy())
        return task.copy_batch(seed, lengths, *rest)

    monkeypatch.setattr(recipe, "copy_batch", copy_batch)
    Trainer(NETWORK, CONFIG)._examine(tf.constant(-1))
    (lengths,) = seen
    assert len(lengths) == 1_000
    assert set(lengths) == {1, 2}


def test_a_new_try_has_new_variables_and_forgets_the_steps_of_the_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "_LEARNING_BATCHES", 2)
    trainer = Trainer(NETWORK, CONFIG)
    first = [variable.numpy() for variable in NTMCell(NETWORK, CONFIG.seed).trainable_variables]
    trainer.train()
    trainer.train()
    assert trainer.progress.tries == 2
    started = trainer.state()
    kernels = [value for value in started.values() if value.ndim == 2]
    assert not any(np.array_equal(ours, old) for ours in kernels for old in first)
    step, *moments, average, usual_norm = list(started.values())[-5:]  # of the optimiser
    assert not any(value.any() for value in (step, *moments, usual_norm))
    np.testing.assert_array_equal(average, np.concatenate([value.ravel() for value in list(started.values())[:-5]]))
    trainer.train()  # the average begins with the first step
    averaged, now = trainer.variables().values(), list(trainer.state().values())
    for value, variable in zip(averaged, now, strict=False):
        np.testing.assert_array_equal(value, variable)


@pytest.mark.parametrize(
    ("allowed", "wrong", "shut"),
    [
        (True, {True: 0, False: 0}, True),
        (True, {True: 7, False: 0}, False),  # it needs its search
        (True, {True: 7, False: 7}, False),
        (False, {True: 0, False: 0}, False),
    ],
)
def test_gates_are_shut_where_the_last_check_is_passed_so(
    allowed: bool, wrong: dict[bool, int], shut: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "check", lambda self: Check(wrong[not self.result().searches], 0))
    trainer = Trainer(NETWORK, dataclasses.replace(CONFIG, shut_gates=allowed))
    trainer.train()
    assert trainer.conclude().wrong_bits == wrong[shut]
    assert trainer.result().searches is not shut
    resumed = Trainer(NETWORK, CONFIG)
    resumed.restore(trainer.state(), dataclasses.asdict(trainer.progress))
    assert resumed.result().searches is not shut
    resumed.train()  # and so made another network, of which nobody knows whether it needs its search
    assert resumed.result().searches


def test_the_result_is_the_moving_average() -> None:
    trainer = Trainer(NETWORK, CONFIG)
    for _ in range(4):
        trainer.train()
    averaged, state = trainer.variables(), list(trainer.state().values())
    flat = np.concatenate([value.ravel() for value in averaged.values()])
    np.testing.assert_array_equal(flat, state[-2])  # the average of the optimiser
    assert not np.allclose(flat, np.concatenate([value.ravel() for value in state[: len(averaged)]]))
    for variable, value in zip(trainer.result().trainable_variables, averaged.values(), strict=True):
        np.testing.assert_array_equal(variable, value)


def test_a_checkpoint_is_replaced_whole_or_not_at_all(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run.save_checkpoint(tmp_path, {"a": np.ones(3)}, {"b": np.ones(2)}, {"batches": 1})

    def savez(file: BinaryIO, **_: object) -> None:
        file.write(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(np, "savez", savez)
    with pytest.raises(CommandError, match="no space left"):
        run.save_checkpoint(tmp_path, {"a": np.zeros(3)}, {"b": np.zeros(2)}, {"batches": 2})
    state, summary = run.load_state(tmp_path)
    assert state["b"].tolist() == [1, 1]
    assert summary == {"batches": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.npz"]


def test_equal_seeds_start_over_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "_LEARNING_BATCHES", 1)
    one, other = Trainer(NETWORK, CONFIG), Trainer(NETWORK, CONFIG)
    for trainer in (one, other):
        trainer.train()
    for name, value in one.state().items():
        np.testing.assert_array_equal(value, other.state()[name])


def test_history_tells_of_checks_and_a_finished_run_is_not_trained_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setattr(Trainer, "_train_step", lambda *_: (tf.constant(0.1), tf.constant(0.0)))
    monkeypatch.setattr(Trainer, "check", lambda _: Check(0, 0))
    config = TrainingConfig(max_length=2, sharpening_batches=50, xla=False)
    lines: list[dict[str, Any]] = []
    summary = train(tmp_path, NETWORK, config, started=0.0, report=lines.append)
    assert [line["batches"] for line in lines if line.get("check_wrong_bits") == 0] == [200, 250]
    assert summary["gates_shut"]
    assert not run.load_run(tmp_path).cell.searches
    count = len(lines)
    again = train(tmp_path, NETWORK, config, started=0.0, resume=True, report=lines.append)
    assert (again, len(lines)) == (summary, count)


def test_what_an_abandoned_try_has_reached_does_not_count(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    """The first try converges and then errs: the summary tells of the last try, the history of all."""
    monkeypatch.setattr(recipe, "_LEARNING_BATCHES", 210)
    wrong = iter([0.0] * 200 + [1.0] * 10_000)
    monkeypatch.setattr(Trainer, "_train_step", lambda *_: (tf.constant(0.2), tf.constant(0.0)))
    advance = Trainer._advance
    monkeypatch.setattr(Trainer, "_advance", lambda self, step: advance(self, step._replace(wrong_bits=next(wrong))))
    checks = iter([Check(0, 0)] + [Check(7, 0)] * 1_000)
    monkeypatch.setattr(Trainer, "check", lambda _: next(checks))
    config = TrainingConfig(seed=3, max_length=2, sharpening_batches=50, max_batches=600, xla=False)
    lines: list[dict[str, Any]] = []
    summary = train(tmp_path, NETWORK, config, started=0.0, report=lines.append)
    assert any(line["learning_rate"] < config.learning_rate for line in lines)
    assert [line["tries"] for line in lines][:: len(lines) - 1] == [1, summary["tries"]]
    assert summary["tries"] > 1
    assert (summary["converged"], summary["sequences_to_converge"]) == (False, None)
    history = (tmp_path / "history.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in history] == lines


def test_nan_is_bounded_by_the_limit_and_never_written(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    monkeypatch.setattr(Trainer, "_train_step", lambda *_: (tf.constant(math.nan), tf.constant(9.0)))
    config = dataclasses.replace(CONFIG, max_batches=30)
    summary = train(tmp_path, NETWORK, config, started=0.0, report=lambda _: None)
    assert (summary["converged"], summary["batches"], summary["tries"]) == (False, 30, 31)
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    assert [json.loads(line, parse_constant=pytest.fail)["loss"] for line in lines] == [None, None]


def test_what_does_not_fit_the_memory_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    def exhaust(*_: Any) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "OOM")

    monkeypatch.setattr(Trainer, "train", exhaust)
    with pytest.raises(MemoryError):
        train(tmp_path / "run", NETWORK, CONFIG, started=0.0, report=lambda _: None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("network", "training"),
    [
        ({}, {"max_length": 1 << 16}),
        ({"memory_locations": 1 << 20}, {"batch_size": 1 << 16}),
        ({"controller_sizes": (1 << 17, 1 << 17)}, {}),
    ],
)
def test_what_cannot_fit_the_memory_is_not_tried(
    network: dict[str, Any], training: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    there_is = {"SC_PAGE_SIZE": 1 << 12, "SC_PHYS_PAGES": 1 << 21}  # 8 GiB
    monkeypatch.setattr("os.sysconf", there_is.__getitem__)
    changed = dataclasses.replace(NETWORK, **network), dataclasses.replace(CONFIG, **training)
    with pytest.raises(MemoryError):
        train(tmp_path / "run", *changed, started=0.0, report=lambda _: None)
    assert recipe.least_bytes(NTMConfig(), TrainingConfig()) < 1 << 30


def test_a_run_without_a_checkpoint_begins_when_it_is_resumed(tmp_path: pathlib.Path) -> None:
    """As a kill leaves it at the worst moment."""
    config = dataclasses.replace(CONFIG, max_batches=3)
    run.save_config(tmp_path, NETWORK, config)
    assert train(tmp_path, NETWORK, config, started=0.0, resume=True, report=lambda _: None)["batches"] == 3


@pytest.mark.parametrize("rest", [b"", b'{"batches": 75}\n', b'{"batches": 75}\n{"batches": 100}\n', b'{"bat'])
def test_history_is_rewound_to_the_checkpoint(rest: bytes, tmp_path: pathlib.Path) -> None:
    kept = b'{"batches": 25}\n{"batches": 50}\n'
    (tmp_path / "history.jsonl").write_bytes(kept + rest)
    run.rewind_history(tmp_path, 60)
    assert (tmp_path / "history.jsonl").read_bytes() == kept


@pytest.mark.parametrize("value", [math.inf, math.nan, -1.0])
@pytest.mark.parametrize(
    "name",
    [
        "learning_rate",
        "sharpening_learning_rate",
        "clip_norm",
        "average_decay",
        "blur_penalty",
        "writing_penalty",
        "searching_penalty",
    ],
)
def test_a_number_out_of_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be"):
        TrainingConfig(**cast(dict[str, Any], {name: value}))
