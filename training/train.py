"""A training from beginning to end: the run folder, the checks, the checkpoints."""

import contextlib
import dataclasses
import json
import math
import os
import pathlib
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import tensorflow as tf

from ntm.errors import FileError, RunError, TaskError
from ntm.models import NetworkConfig
from ntm.tasks.catalogue import find, recorded
from ntm.tasks.task import Task, check_fits
from ntm.training import compilation, devices, run
from ntm.training.beyond import look_beyond
from ntm.training.board import Board
from ntm.training.config import TrainingConfig
from ntm.training.distribution import MULTIWORKER, Replicas
from ntm.training.recipes import FURTHER, configure, misfits
from ntm.training.run import RunConfig, TrainedRun
from ntm.training.schedule import Progress, Step
from ntm.training.trainer import Trainer, least_bytes

_CHECKPOINT_SECONDS = 5.0
_LARGE_SIZE = 1 << 10  # beyond this size, the memory of a sequence is estimated before it is drawn
_STEPS = "steps"  # the figures of each batch since the last line of the history, in the checkpoint

# The errors of a sum over all workers if one of them has ended.
_LOST = (
    *(tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError),
    *(tf.errors.InternalError, tf.errors.FailedPreconditionError),
)

Report = Callable[[dict[str, Any]], None]


def train(
    task: Task | str | None,
    output: str | os.PathLike[str] | None = None,
    *,
    resume: bool = False,
    replace: bool = False,
    initial: str | os.PathLike[str] | TrainedRun | None = None,
    log_dir: str | os.PathLike[str] | None = None,
    device: str | None = None,
    distribute: str | None = None,
    began: Callable[[str], None] = lambda _: None,
    report: Report = lambda _: None,
    interrupted: Callable[[], bool] = lambda: False,
    started: float | None = None,
    **options: Any,
) -> TrainedRun:
    """Train a network on a task, and write a run folder; see ``ntm.train``.

    The folder appears with the first batch. An earlier error leaves no folder behind.

    Args:
        task: the task to learn; None for a resumed run whose task is built in.
        output: the run folder; None for a folder that is deleted at the end.
        resume: go on from the checkpoint in the folder; begin if there is no checkpoint yet.
        replace: replace a run in the folder.
        initial: a run, or its folder. The training begins with the network of this run, with sequences of this task and
            with these options. The network has the run's configuration; there are no lessons and no restarts.
        log_dir: a folder for the event files of TensorBoard; needs the extra ``tensorboard``.
        device: ``"cpu"``, ``"gpu"``, or one of several GPUs such as ``"gpu:1"``; by default the first GPU, or else the
            CPU. The device does not belong to the run: another device may resume it.
        distribute: share every batch among devices: ``"mirrored"``, all GPUs of this machine; or ``"multiworker"``, all
            devices of the processes in ``TF_CONFIG``, each of which makes this call. Only the chief writes the folder;
            all processes read the folder of a resumed run. This does not belong to the run either.
        began: called with the name of the device, before TensorFlow compiles.
        report: called with every line of the history.
        interrupted: called after every batch; if it returns True, the training saves a checkpoint and ends.
        started: the start of the process by ``time.monotonic``; by default now.
        **options: the ``model``, and fields of its configuration and of ``TrainingConfig`` that differ from the recipe.

    Returns:
        The trained network.

    Raises:
        TaskError: there is no such task, or it breaks its contract.
        RunError: an option cannot be used; the folder is not free, not a run, or trained by another process; or another
            process that shares the training has ended.
        FileError: the folder cannot be read, made or written.
        MissingExtraError: ``log_dir`` is given, and TensorBoard is missing.
        MemoryError: the network or a batch is too large.

    Warns:
        UserWarning: the memory is too small for the sequences.
    """
    started = time.monotonic() if started is None else started
    if output is None and resume:
        raise RunError("give the run folder to resume")
    if device is not None and distribute is not None:
        raise RunError("give either a device or how to distribute: a distributed training takes all devices")
    replicas = None if distribute is None else Replicas(distribute, interrupted)
    source = initial if isinstance(initial, TrainedRun) or initial is None else run.load_run(pathlib.Path(initial))
    with _folder(output, resume, replicas) as folder, run.Lock(folder) as lock:
        if (resume or replace) and (folder / run.CONFIG).exists():
            lock.take()
        if resume:
            if source is not None:
                raise RunError("a resumed run goes on with its own network: leave out the one to begin with")
            config, learned = _resumed(folder, task, options)
        else:
            if task is None:
                raise RunError("give a task to learn")
            learned = find(task) if isinstance(task, str) else task
            config = configured(learned, options if source is None else _further(source, learned, options))
            run.check_free(folder, replace=replace)
            for misfit in misfits(learned, config.network, config.training):
                warnings.warn(misfit, stacklevel=2)
        _check_locations(config)
        with _within_memory(config, learned), _explaining_lost_workers(distribute), devices.on(device) as one:
            where = one if replicas is None else f"{replicas.count} devices ({distribute})"
            began(where)
            training = _Training(
                folder, lock, config, learned, started=started, source=source, device=where, replicas=replicas
            )
            if log_dir is not None and (replicas is None or replicas.is_chief):
                report = _both(report, Board(log_dir, config, learned, training.trainer).report)
            stopping = interrupted if replicas is None else lambda: replicas.stopping
            _train(training, resume, replace, report, stopping)
            if replicas is not None:
                replicas.wait()  # until the chief has written the last checkpoint, which the next call may resume
            return run.load_run(folder)


@contextlib.contextmanager
def _folder(output: str | os.PathLike[str] | None, resume: bool, replicas: Replicas | None) -> Iterator[pathlib.Path]:
    """The run folder; a temporary one if ``output`` is None, and in a process that is not the chief.

    Raises:
        RunError: the folder to resume is not a run.
    """
    if output is not None and (replicas is None or replicas.is_chief):
        yield pathlib.Path(output)
        return
    with tempfile.TemporaryDirectory() as temporary:
        if output is not None and resume:
            run.load_config(pathlib.Path(output))
            for name in (run.CONFIG, run.CHECKPOINT):
                if (path := pathlib.Path(output, name)).exists():
                    shutil.copyfile(path, pathlib.Path(temporary, name))
        yield pathlib.Path(temporary)


def _both(first: Report, second: Report) -> Report:
    def report(line: dict[str, Any]) -> None:
        first(line)
        second(line)

    return report


def configured(task: Task, options: dict[str, Any]) -> RunConfig:
    """The configuration of a run: the recipe of the task, and the options that differ.

    Raises:
        RunError: an option is unknown, or out of its range.
        MemoryError: the sequences are too large for the memory.
    """
    try:
        for smaller in _smaller_sizes(options.get("sizes") or {}):
            with contextlib.suppress(TaskError):  # the task has no such sizes
                _demand_memory(*configure(task, options=options | {"sizes": smaller}), task)
        return RunConfig(task.name, task.options, *configure(task, options=options))
    except (ValueError, TypeError) as error:
        raise RunError(str(error)) from error


def _further(source: TrainedRun, task: Task, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a training that begins with a trained network.

    Raises:
        RunError: an option asks for another network.
        TaskError: the task does not fit the network.
    """
    network = source.config.network
    check_fits(task, "the network to begin with", network.input_size, network.output_size)
    own = {"model": network.model} | dataclasses.asdict(network)
    fixed = [name for name in own if name != "memory_locations" or network.fixed_locations]
    for name in fixed:
        if name in options and json.loads(json.dumps(options[name])) != json.loads(json.dumps(own[name])):
            raise RunError(f"{name} is that of the network to begin with, {own[name]}, not {options[name]}")
    return {**FURTHER, **{name: own[name] for name in fixed}, **options}


def _smaller_sizes(sizes: Mapping[str, Sequence[int]]) -> Iterator[dict[str, tuple[int, int]]]:
    """The sizes limited to 1,024, to twice that, and so on, up to the sizes themselves, which are left out."""
    most = max((max(ends) for ends in sizes.values()), default=0)
    limit = _LARGE_SIZE
    while limit < most:
        yield {name: (min(least, limit), min(most, limit)) for name, (least, most) in sizes.items()}
        limit *= 2


def _check_locations(config: RunConfig) -> None:
    """Refuse training batches with fewer memory locations than the network needs.

    Raises:
        RunError: a number in ``train_locations`` or ``annealing_locations`` is too small.
    """
    needed = config.network.least_locations
    for name in ("train_locations", "annealing_locations"):
        fewest = min(getattr(config.training, name), default=math.inf)
        if fewest < needed:
            raise RunError(f"{name} must be at least {needed}, as many as this network needs, not {fewest}")


def _resumed(folder: pathlib.Path, given: Task | str | None, options: dict[str, Any]) -> tuple[RunConfig, Task]:
    """The configuration of the run in a folder, and its task. Options other than ``max_batches`` may not change.

    Raises:
        RunError: the run cannot be read, or an option differs.
    """
    config = run.load_config(folder)
    if isinstance(given, str) and given == config.task:
        given = None
    try:
        task = recorded(config.task, config.task_options, given)
    except Exception as error:
        raise RunError(f"cannot resume {folder}: {error}") from error
    own = {"model": config.network.model} | dataclasses.asdict(config.network) | dataclasses.asdict(config.training)
    options = dict(options)
    most = options.pop("max_batches", config.training.max_batches)
    for name, value in options.items():
        if name not in own:
            raise RunError(f"there is no option {name}")
        kept = own[name] | value if name == "sizes" else value
        if json.loads(json.dumps(kept)) != json.loads(json.dumps(own[name])):  # JSON turns tuples into lists
            raise RunError(f"--resume keeps the options of {folder}: {name} is {own[name]}, not {value}")
    return dataclasses.replace(config, training=dataclasses.replace(config.training, max_batches=most)), task


def _train(training: "_Training", resume: bool, replace: bool, report: Report, interrupted: Callable[[], bool]) -> None:
    if resume and training.resume():
        return
    training.check_alike()
    begun = resume
    trainer, config = training.trainer, training.trainer.config
    last_save = time.monotonic()
    ended = False
    while not (ended or interrupted()):
        training.train()
        if not begun:
            training.begin(replace=replace)
            begun = True
        ended = training.follow()
        if config.keep_checkpoints and trainer.progress.batches % config.checkpoint_batches == 0:
            training.keep_checkpoint()
        if trainer.progress.batches % config.report_batches and not ended:
            continue
        if ended:
            training.conclude()
        line = training.line()
        if trainer.schedule.annealed and not training.summary["converged"] and not training.exhausted:
            trainer.go_on()
            ended = False
        training.report(line)
        report(line)
        if time.monotonic() - last_save > _CHECKPOINT_SECONDS:
            training.save()
            last_save = time.monotonic()
    if begun:
        training.save()


class _Training:
    """A trainer, its results so far, and the run folder."""

    _BEGINNING: Final[dict[str, Any]] = {
        "converged": False,
        "seconds_to_converge": None,
        "sequences_to_converge": None,
        "right_up_to": None,
        "beyond_training": [],
    }

    def __init__(
        self,
        folder: pathlib.Path,
        lock: run.Lock,
        config: RunConfig,
        task: Task,
        *,
        started: float,
        source: TrainedRun | None,
        device: str,
        replicas: Replicas | None,
    ) -> None:
        self._folder, self._lock, self._config, self._task = folder, lock, config, task
        self._started, self._device = started, device
        self._before = 0.0  # the seconds of earlier processes
        self._replicas = replicas
        initial = None if source is None else source.network
        self.trainer = Trainer(config.network, config.training, task, initial, replicas)
        self.summary: dict[str, Any] = self._BEGINNING | {"restarts": self.trainer.progress.restarts}
        if source is not None:
            self.summary["from_checkpoint_sha256"] = source.checkpoint_sha256
        self._checked: dict[str, float | None] = {}  # the results of a check since the last line
        self._steps: list[Step] = []  # the steps since the last line

    @property
    def exhausted(self) -> bool:
        """Whether the training has reached ``max_batches``."""
        return self.trainer.progress.batches >= self._config.training.max_batches

    def begin(self, *, replace: bool) -> None:
        """Make the run folder with a checkpoint; an error leaves no folder behind."""
        is_new = not self._folder.exists()
        try:
            run.begin(self._folder, self._config, self._lock, replace=replace)
            self.save()
        except BaseException:
            if is_new and self._lock.held:  # else the folder belongs to another process
                shutil.rmtree(self._folder, ignore_errors=True)
            raise

    def resume(self) -> bool:
        """Go on from the checkpoint in the folder, if there is one; returns whether the training is complete."""
        if (self._folder / run.CHECKPOINT).exists():
            state, summary = run.load_state(self._folder)
            try:
                self._restore(state, summary)
            except (KeyError, TypeError, ValueError) as error:
                raise RunError(
                    f"cannot resume {self._folder}: {run.CHECKPOINT} does not fit {run.CONFIG} or this release: {error}"
                ) from error
            if self.exhausted or (self.summary["converged"] and self.trainer.schedule.annealed):
                return True
            # A network with other variables has passed the check.
            self.summary |= {"converged": False, "right_up_to": None, "beyond_training": []}
        run.save_config(self._folder, self._config)  # ``max_batches`` may have changed
        run.rewind_history(self._folder, self.trainer.progress.batches)
        return False

    def check_alike(self) -> None:
        """Refuse a shared training if this process begins differently from the chief.

        Raises:
            RunError: the chief has other options, or another checkpoint.
        """
        if self._replicas is not None:
            self._replicas.check_alike(f"{json.dumps(self._config.as_dict())}, {self.trainer.progress}")

    def _restore(self, state: dict[str, np.ndarray], summary: dict[str, Any]) -> None:
        """Go on from the content of a checkpoint.

        Raises:
            KeyError, TypeError, ValueError: the content does not fit.
        """
        steps = state.pop(_STEPS, np.zeros([0, len(Step._fields)]))  # older checkpoints have none
        self._steps = [Step(*figures) for figures in steps.tolist()]
        progress, lessons = summary.pop("progress"), self._config.training.lessons
        run.check_fields("progress", Progress, progress)
        if not (0 <= progress["lesson"] <= len(lessons) and min(progress["batches"], progress["restarts"]) >= 0):
            raise ValueError("its progress is not one of this training")
        expected = {name: (value.shape, value.dtype) for name, value in self.trainer.state().items()}
        if {name: (value.shape, value.dtype) for name, value in state.items()} != expected:
            raise ValueError("its variables are others")
        self._before = float(summary["seconds"])
        self.trainer.restore(state, progress)
        self.summary |= summary

    def save(self) -> None:
        """Replace the checkpoint."""
        self._save(self._folder)
        compilation.keep()

    def keep_checkpoint(self) -> None:
        """Save a checkpoint as a run of its own, and delete the oldest ones."""
        with run.kept_checkpoint(self._folder, self._config, self.trainer.progress.batches) as folder:
            self._save(folder)

    def _save(self, folder: pathlib.Path) -> None:
        trainer, summary = self.trainer, self.summary
        summary.update(
            seconds=self._seconds(),
            batches=trainer.progress.batches,
            sequences=trainer.sequences,
            content_addressing_off=trainer.progress.content_off,
            parameters=trainer.parameters,
            seed=self._config.training.seed,
            tensorflow=tf.__version__,
            device=self._device,
        )
        progress = dataclasses.asdict(trainer.progress)
        state = trainer.state() | {_STEPS: np.array(self._steps, np.float64).reshape([-1, len(Step._fields)])}
        run.save_checkpoint(folder, trainer.variables(), state, summary | {"progress": progress})

    def train(self) -> None:
        """Train on one batch; again, without the cache of compiled trainings, if XLA fails."""
        try:
            step = self.trainer.train()
        except tf.errors.OpError as error:
            out_of_memory = isinstance(error, tf.errors.ResourceExhaustedError)
            if self._replicas is not None:  # the other processes would not repeat the batch
                raise
            if (out_of_memory and not compilation.is_to_blame(error.message)) or not compilation.discard():
                raise
            self.trainer.recompile()  # else XLA would remember the failure
            step = self.trainer.train()
        self._steps.append(step)

    def follow(self) -> bool:
        """Update the summary after a batch; returns whether it was the last batch of the training."""
        if self.summary["restarts"] != self.trainer.progress.restarts:  # the earlier network is gone
            self.summary |= self._BEGINNING | {"restarts": self.trainer.progress.restarts}
        if self.trainer.schedule.annealing:
            self._note_convergence()
        return self.trainer.schedule.annealed or self.exhausted

    def conclude(self) -> None:
        """Check the final network; its result alone decides whether the training has converged."""
        found = self.trainer.conclude()
        cost = found.cost if math.isfinite(found.cost) else None  # JSON has no NaN
        self._checked = {"check_wrong_bits": found.wrong_bits, "check_cost": cost}
        self.summary |= self._checked | {"converged": found.passed}
        if found.passed:
            self._note_convergence()
            self.summary |= look_beyond(self.trainer, self._task, self._config.network)

    def line(self) -> dict[str, Any]:
        """The line of the history about the steps since the last line, including those before a resume."""
        steps, self._steps = self._steps, []
        checked, self._checked = self._checked, {}
        own = [step for step in steps if step.sequences] or steps
        figures = {
            "loss": [step.loss for step in steps],
            "wrong_bits": [step.wrong_bits for step in own],
            "cost": [step.cost for step in own],
        }
        means = {name: statistics.fmean(values) for name, values in figures.items()}
        return {
            "batches": self.trainer.progress.batches,
            "sequences": self.trainer.sequences,
            "seconds": self._seconds(),
            **{name: mean if math.isfinite(mean) else None for name, mean in means.items()},
            "learning_rate": self.trainer.schedule.learning_rate,
            "restarts": self.trainer.progress.restarts,
            **checked,
        }

    def report(self, line: dict[str, Any]) -> None:
        """Write a line of the history."""
        run.add_to_history(self._folder, line)

    def _note_convergence(self) -> None:
        if self.summary["seconds_to_converge"] is None:
            self.summary.update(seconds_to_converge=self._seconds(), sequences_to_converge=self.trainer.sequences)

    def _seconds(self) -> float:
        return round(self._before + time.monotonic() - self._started, 3)


@contextlib.contextmanager
def _explaining_lost_workers(distribute: str | None) -> Iterator[None]:
    """Raise RunError if a process that shares the training cannot be reached."""
    try:
        yield
    except _LOST as error:
        if distribute != MULTIWORKER or compilation.is_to_blame(error.message):
            raise
        raise RunError("another worker has ended, or cannot be reached; its own message may say why") from error


@contextlib.contextmanager
def _within_memory(config: RunConfig, task: Task) -> Iterator[None]:
    """Raise MemoryError for a training that needs too much memory: by an estimate at once, or during the training."""
    _demand_memory(config.network, config.training, task)
    try:
        yield
    except tf.errors.OpError as error:
        if compilation.is_to_blame(error.message):
            raise FileError(f"cannot use the cache of compiled trainings: {error.message}") from error
        if isinstance(error, tf.errors.ResourceExhaustedError):
            raise MemoryError from error
        raise


def _demand_memory(network: NetworkConfig, training: TrainingConfig, task: Task) -> None:
    """Raise MemoryError for a training that needs more memory than the machine has.

    The system grants more memory than the machine has, and later kills the process that uses it.
    """
    if hasattr(os, "sysconf"):
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if least_bytes(network, training, task) > memory:
            raise MemoryError
