"""Every row of docs/coming_from_the_original.md is exercised: its command is called, and asks for what it should."""

import pathlib
import re
import shlex
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from ntm import console
from ntm.runtime import eval_command
from ntm.training import command
from ntm.training import train as training

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "coming_from_the_original.md"
ROWS = dict(re.findall(r"^\| `--(\w+)` \| `([^`]+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
# What a row's command asks a training for.
ASKS: dict[str, dict[str, Any]] = {
    "train": {},
    "random_seq_len": {"sizes": {"length": (1, 20)}},
    "epochs": {"max_batches": 20_000, "early_stopping": False},
    "steps_per_epoch": {"checkpoint_batches": 500, "keep_checkpoints": 3},
    "batches": {"batch_size": 32},
    "learning_rate": {"learning_rate": 1e-4, "content_learning_rate": 1e-4},
    "momentum": {"optimizer": "rmsprop", "momentum": 0.9},
    "clip_grad_min": {"clip_element": 10.0},
    "clip_grad_max": {"clip_element": 10.0},
    "controller_size": {"controller": "lstm", "controller_sizes": (100,)},
    "memory_locations": {"memory_locations": 128},
    "memory_vector_size": {"memory_vector_size": 20},
    "maximum_shifts": {"shifts": 3},
    "learn_r_bias": {"initial_reads": "learned"},
    "learn_w_bias": {"initial_weights": "learned"},
    "learn_m_bias": {"initial_memory": "learned"},
    "max_sequence": {"sizes": {"length": (1, 20)}},
    "min_sequence": {"sizes": {"length": (5, 20)}},
    "in_bits": {},
    "out_bits": {},
    "checkpoint_dir": {},
    "max_to_keep": {"keep_checkpoints": 3},
    "report_interval": {"report_batches": 100},
    "train_log_dir": {},
}


def call(monkeypatch: pytest.MonkeyPatch, line: str, function: Callable[..., int | None]) -> int:
    """Call a command of these words in this process."""
    name, *arguments = shlex.split(line)
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    return console._invoke(name, function)


def test_the_page_has_every_flag_of_the_original() -> None:
    assert len(ROWS) == 26
    assert set(ROWS) == {*ASKS, "test", "visualize"}


@pytest.mark.parametrize("flag", ASKS)
def test_a_row_asks_the_training_for_it(flag: str, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    monkeypatch.chdir(tmp_path)
    asked: dict[str, Any] = {}

    def train(task: Any, output: pathlib.Path, **options: Any) -> SimpleNamespace:
        asked.update(options, task=task, output=output)
        training.configured(task, {name: options[name] for name in ASKS[flag]})  # or it raises
        return SimpleNamespace(converged=True, summary={"batches": 1})

    monkeypatch.setattr(training, "train", train)
    monkeypatch.setattr(console, "import_tensorflow", lambda: None)
    assert call(monkeypatch, f"{ROWS[flag]} --json", command.train) == 0
    assert asked["output"] == pathlib.Path("run")
    assert {name: asked[name] for name in ASKS[flag]} == ASKS[flag]
    assert (asked["task"].input_size, asked["task"].output_size) == (9, 8)
    assert asked["log_dir"] == (pathlib.Path("run/tensorboard") if flag == "train_log_dir" else None)


@pytest.mark.parametrize("flag", ["test", "visualize"])
def test_a_row_evaluates_and_draws(
    flag: str, tiny_model: pathlib.Path, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").symlink_to(tiny_model)
    few = "--lengths 3 --sequences 2 --quiet"
    assert call(monkeypatch, f"{ROWS[flag]} {few}", eval_command.evaluate) == 0
    assert (tmp_path / "trace.png").exists() == (flag == "visualize")
