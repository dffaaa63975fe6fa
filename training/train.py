"""A training from beginning to end: the run folder, the checks, the checkpoints."""

import contextlib
import dataclasses
import math
import os
import pathlib
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import tensorflow as tf

from ntm import console
from ntm.models import NTMConfig
from ntm.training import run
from ntm.training.config import TrainingConfig
from ntm.training.trainer import Step, Trainer, least_bytes

_REPORT_BATCHES = 25
_CHECKPOINT_SECONDS = 5.0


def train(
    folder: pathlib.Path,
    network: NTMConfig,
    config: TrainingConfig,
    *,
    started: float,
    resume: bool = False,
    replace: bool = False,
    report: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """Train a network, and leave a run folder behind.

    The folder appears with the first batch: until then there is nothing to keep, and much that can go wrong.

    Args:
        folder: the run folder.
        network: the network's configuration.
        config: the recipe.
        started: when the process started, as ``time.monotonic`` counts.
        resume: go on from the checkpoint that is in the folder, or begin if there is none yet.
        replace: replace a run that is in the folder.
        report: called with every line of the history.

    Returns:
        The summary that is saved with the checkpoint.

    Raises:
        CommandError: the folder cannot be read, made or written.
        MemoryError: the network or a batch is too large.
        SignalError: the process has been asked to end; what was trained is saved.
    """
    with _within_memory(network, config):
        training = _Training(folder, network, config, started)
        if resume and training.resume():
            return training.summary
        begun = resume
        trainer = training.trainer
        last_save = time.monotonic()
        steps: list[Step] = []
        ended = False
        with console.unhurried() as interrupted:
            while not (ended or interrupted()):
                steps.append(trainer.train())
                if not begun:
                    training.begin(replace=replace)
                    begun = True
                ended = training.follow()
                if trainer.progress.batches % _REPORT_BATCHES and not ended:
                    continue
                if ended:
                    training.conclude()
                line = training.line(steps)
                steps = []
                if trainer.sharpened and not training.summary["converged"] and not training.exhausted:
                    trainer.relearn()
                    ended = False
                run.add_to_history(folder, line)
                report(line)
                if time.monotonic() - last_save > _CHECKPOINT_SECONDS:
                    training.save()
                    last_save = time.monotonic()
            if begun:
                training.save()
        return training.summary


class _Training:
    """A trainer, what it has reached so far, and the run folder that keeps both."""

    _BEGINNING: Final = {"converged": False, "seconds_to_converge": None, "sequences_to_converge": None}

    def __init__(self, folder: pathlib.Path, network: NTMConfig, config: TrainingConfig, started: float) -> None:
        self._folder, self._network, self._config = folder, network, config
        self._started = started
        self._before = 0.0  # seconds of earlier processes
        self.trainer = Trainer(network, config)
        self.summary: dict[str, Any] = self._BEGINNING | {"tries": self.trainer.progress.tries}
        self._checked: dict[str, int] = {}  # the wrong bits of a check since the last line

    @property
    def exhausted(self) -> bool:
        """Whether there has been every batch that is allowed."""
        return self.trainer.progress.batches >= self._config.max_batches

    def begin(self, *, replace: bool) -> None:
        """Make the run folder, with all that it takes to resume from it, or leave none behind."""
        is_new = not self._folder.exists()
        try:
            run.begin(self._folder, self._network, self._config, replace=replace)
            self.save()
        except BaseException:
            if is_new:
                shutil.rmtree(self._folder, ignore_errors=True)
            raise

    def resume(self) -> bool:
        """Go on from the checkpoint in the folder, if there is one; returns whether nothing is left to do."""
        if (self._folder / run.CHECKPOINT).exists():
            state, self.summary = run.load_state(self._folder)
            self.trainer.restore(state, self.summary.pop("progress"))
            self._before = self.summary["seconds"]
            if self.exhausted or (self.summary["converged"] and self.trainer.sharpened):
                return True
            self.summary["converged"] = False  # it was another network that passed the check
        run.save_config(self._folder, self._network, self._config)  # with the batches that are allowed now
        run.rewind_history(self._folder, self.trainer.progress.batches)
        return False

    def save(self) -> None:
        """Replace the checkpoint."""
        trainer, summary = self.trainer, self.summary
        summary.update(
            seconds=self._seconds(),
            batches=trainer.progress.batches,
            sequences=trainer.sequences,
            gates_shut=trainer.progress.gates_shut,
            seed=self._config.seed,
            tensorflow=tf.__version__,
        )
        progress = dataclasses.asdict(trainer.progress)
        run.save_checkpoint(self._folder, trainer.variables(), trainer.state(), summary | {"progress": progress})

    def follow(self) -> bool:
        """Note what the last batch has changed; returns whether it was the last of all."""
        if self.summary["tries"] != self.trainer.progress.tries:  # what had converged is gone
            self.summary |= self._BEGINNING | {"tries": self.trainer.progress.tries}
        if self.trainer.sharpening:
            self._note_convergence()
        return self.trainer.sharpened or self.exhausted

    def conclude(self) -> None:
        """Check the network that is kept: it is what counts, not one on the way to it."""
        self._checked["check_wrong_bits"] = self.trainer.conclude().wrong_bits
        self.summary["converged"] = self._checked["check_wrong_bits"] == 0
        if self.summary["converged"]:
            self._note_convergence()

    def line(self, steps: list[Step]) -> dict[str, Any]:
        """The line of the history that tells of the last steps."""
        loss = statistics.fmean(step.loss for step in steps)
        checked, self._checked = self._checked, {}
        return {
            "batches": self.trainer.progress.batches,
            "sequences": self.trainer.sequences,
            "seconds": self._seconds(),
            "loss": loss if math.isfinite(loss) else None,  # JSON has no NaN
            "wrong_bits": statistics.fmean(step.wrong_bits for step in steps),
            "learning_rate": self.trainer.learning_rate,
            "tries": self.trainer.progress.tries,
            **checked,
        }

    def _note_convergence(self) -> None:
        if self.summary["seconds_to_converge"] is None:
            self.summary.update(seconds_to_converge=self._seconds(), sequences_to_converge=self.trainer.sequences)
            self._checked["check_wrong_bits"] = 0

    def _seconds(self) -> float:
        return round(self._before + time.monotonic() - self._started, 3)


@contextlib.contextmanager
def _within_memory(network: NTMConfig, config: TrainingConfig) -> Iterator[None]:
    """Raise MemoryError for a training that is larger than the memory, at once where that can be told at once.

    The system promises more memory than there is, and then kills who uses it.
    """
    if hasattr(os, "sysconf"):
        there_is = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if least_bytes(network, config) > there_is:
            raise MemoryError
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise MemoryError from error
