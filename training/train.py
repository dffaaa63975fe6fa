"""A training from beginning to end: the run folder, the checks, the checkpoints."""

import dataclasses
import json
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ntm.models import NTMConfig
from ntm.training import run
from ntm.training.config import TrainingConfig
from ntm.training.trainer import Step, Trainer

_REPORT_BATCHES = 25
_CHECKPOINT_SECONDS = 5.0


def train(
    folder: pathlib.Path,
    network: NTMConfig,
    config: TrainingConfig,
    *,
    started: float,
    resume: bool = False,
    report: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """Train a network, and leave a run folder behind.

    Args:
        folder: the run folder; it exists.
        network: the network's configuration.
        config: the recipe.
        started: when the process started, as ``time.monotonic`` counts.
        resume: go on from the checkpoint that is in the folder.
        report: called with every line of the history.

    Returns:
        The summary that is saved with the checkpoint.
    """
    trainer = Trainer(network, config)
    beginning = {"converged": False, "seconds_to_converge": None, "sequences_to_converge": None}
    summary: dict[str, Any] = beginning | {"tries": trainer.progress.tries}
    before = 0.0  # seconds of earlier processes
    if resume:
        state, summary = run.load_state(folder)
        trainer.restore(state, summary.pop("progress"))
        before = summary["seconds"]

    def seconds() -> float:
        return round(before + time.monotonic() - started, 3)

    def save() -> None:
        summary.update(
            seconds=seconds(),
            batches=trainer.progress.batches,
            sequences=trainer.sequences,
            seed=config.seed,
            tensorflow=tf.__version__,
        )
        progress = dataclasses.asdict(trainer.progress)
        run.save_checkpoint(folder, trainer.variables(), trainer.state(), summary | {"progress": progress})

    checked: dict[str, int] = {}  # the wrong bits of a check since the last line

    def note_convergence() -> None:
        if summary["seconds_to_converge"] is None:
            summary.update(seconds_to_converge=seconds(), sequences_to_converge=trainer.sequences)
            checked["check_wrong_bits"] = 0

    if summary["converged"] and trainer.sharpened:  # nothing is left to do
        return summary
    last_save = time.monotonic()
    steps: list[Step] = []
    ended = False
    with open(folder / run.HISTORY, "a" if resume else "w", encoding="utf-8", buffering=1) as history:
        while not ended:
            steps.append(trainer.train())
            if summary["tries"] != trainer.progress.tries:  # what had converged is gone
                summary |= beginning | {"tries": trainer.progress.tries}
            if trainer.sharpening:
                note_convergence()
            ended = trainer.sharpened or trainer.progress.batches >= config.max_batches
            if trainer.progress.batches % _REPORT_BATCHES and not ended:
                continue
            if ended:
                # What counts is the network that is kept, not one on the way to it.
                checked["check_wrong_bits"] = trainer.check().wrong_bits
                summary["converged"] = checked["check_wrong_bits"] == 0
                if summary["converged"]:
                    note_convergence()
            line: dict[str, Any] = {
                "batches": trainer.progress.batches,
                "sequences": trainer.sequences,
                "seconds": seconds(),
                "loss": statistics.fmean(step.loss for step in steps),
                "wrong_bits": statistics.fmean(step.wrong_bits for step in steps),
                "learning_rate": trainer.learning_rate,
                "tries": trainer.progress.tries,
                **checked,
            }
            steps, checked = [], {}
            if trainer.sharpened and not summary["converged"] and trainer.progress.batches < config.max_batches:
                trainer.relearn()
                ended = False
            history.write(json.dumps(line) + "\n")
            report(line)
            if time.monotonic() - last_save > _CHECKPOINT_SECONDS:
                save()
                last_save = time.monotonic()
    save()
    return summary
