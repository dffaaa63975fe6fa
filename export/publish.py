"""Publishing: formats are written to a temporary folder, proven equal to TensorFlow, then moved into place at once."""

import contextlib
import dataclasses
import os
import pathlib
import tempfile
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ntm.errors import ExportError, TaskError, explaining
from ntm.export import card, known_answer, native, onnx_format, options, runtimes, savedmodel, tflite, triton, web
from ntm.export import fixed as of_fixed
from ntm.export.compiler import Machine
from ntm.export.parity import Agreement, Candidate, prove, table
from ntm.export.source import Source
from ntm.models import NTMConfig
from ntm.runtime.metadata import Metadata, MetadataError
from ntm.tasks.catalogue import recorded
from ntm.tasks.task import Task, check_fits, check_size, corners
from ntm.training.devices import full_float32
from ntm.training.run import TrainedRun, load_run

__all__ = ["FORMATS", "DisagreementError", "publish", "table", "verify"]

# A format is a module with FILES, its names in the folder; write(source, folder); candidates(folder), its graphs in the
# folder, to be compared with TensorFlow; and describe(source, folder), its section of the model card.
FORMATS = dict(zip(options.FORMATS, (onnx_format, savedmodel, tflite, triton, web, native), strict=True))


class DisagreementError(ExportError):
    """A graph disagrees with TensorFlow; the message is one line."""

    def __init__(self, agreements: Mapping[str, Agreement], *, converged: bool = True) -> None:
        different = {graph: found for graph, found in agreements.items() if not found.holds}
        graphs = ", ".join(f"{graph} ({_shortly(found)})" for graph, found in different.items())
        if not converged:
            super().__init__(
                "the network has not converged and is numerically unstable, so that no export equals TensorFlow: "
                f"{graphs}; train it until it converges, with a smaller --learning-rate if its loss grows"
            )
            return
        rounding = all(found.only_rounding for found in different.values())
        advice = (
            "; no bit differs, but the network magnifies rounding: train it with --sharpness-penalty 1e-3, or longer"
        )
        super().__init__(f"not equal to TensorFlow: {graphs}{advice if rounding else ''}")


def _shortly(found: Agreement) -> str:
    wrong = [f"{bits} more wrong at {size}" for size, bits in found.wrong_bits.items() if bits]
    tensor = max(found.difference, key=lambda name: np.nan_to_num(found.difference[name], nan=np.inf))
    return ", ".join(
        [f"by up to {found.difference[tensor]:.1e} in {tensor}", f"{found.differing_bits} bits differ", *wrong]
    )


def publish(
    run: str | os.PathLike[str] | TrainedRun,
    folder: str | os.PathLike[str],
    formats: Collection[str] = ("onnx",),
    *,
    task: Task | str | None = None,
    unroll: int = options.DEFAULT_UNROLL,
    memory_locations: int | None = None,
    batch_size: int = 1,
    target: str | None = None,
    cpu: str | None = None,
    fixed: Iterable[Sequence[int]] = (),
    model_name: str | None = None,
    replace: bool = False,
) -> dict[str, Agreement]:
    """Export a run to a folder. At every moment the folder is absent, or complete and proven.

    Args:
        run: the run folder of a training, or the trained network.
        folder: the folder to make.
        formats: names of ``FORMATS``.
        task: the task that the network was trained on; a built-in task need not be given.
        unroll: U, the steps in ``unrolled.onnx``.
        memory_locations: N of a sequence in Triton and of a native library; by default 128, or the network's own if
            that is more.
        batch_size: B of a native library.
        target: the compiler's name of the system of a native library, such as ``aarch64-linux-gnu``; by default this
            system.
        cpu: the compiler's name of the processor of a native library, such as ``x86-64-v3`` or ``native``; by default
            every processor of the architecture.
        fixed: B and N of further steps of fixed sizes, such as ``[(1, 128)]``; B alone for a network without a memory.
            Each becomes a folder ``fixed/<B>x<N>`` with the formats ONNX, SavedModel and TF-Lite.
        model_name: the name of the model; by default that of the folder.
        replace: whether to replace an existing export.

    Returns:
        The differences from TensorFlow, by graph.

    Raises:
        RunError: the run cannot be read.
        TaskError: the task is not built in and not given, or another task is given.
        ExportError: an argument cannot be used, or the folder is not free.
        FileError: the folder cannot be made.
        DisagreementError: a graph disagrees with TensorFlow; nothing was published.

    Warns:
        UserWarning: the network has not converged, or a quantised graph was left out.
    """
    folder = pathlib.Path(folder).absolute()
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown or not formats:
        raise ExportError(f"formats are {', '.join(FORMATS)}, not {', '.join(unknown) or 'none'}")
    for name, number in (("unroll", unroll), ("batch_size", batch_size)):
        if number < 1:
            raise ExportError(f"{name} must be at least 1, not {number}")
    _check_free(folder, replace)
    trained, learned = _load(run, task)
    least = trained.network.config.least_locations
    locations = memory_locations or max(NTMConfig.memory_locations, trained.network.config.memory_locations)
    source = Source(
        trained,
        learned,
        folder.name if model_name is None else model_name,
        unroll,
        locations,
        batch_size,
        Machine(target, cpu),
    )
    try:
        source.metadata()
    except MetadataError as error:
        raise ExportError(str(error)) from error
    if locations < least:
        raise ExportError(f"this network needs at least {least} memory locations")
    if trained.summary.get("converged") is False:
        warnings.warn("the network has not converged: expect wrong bits", stacklevel=2)
    sizes = of_fixed.checked(fixed, formats, trained.network.config)
    with explaining(f"cannot write {folder}"), _staged(folder, replace) as staged:
        for name in formats:
            FORMATS[name].write(source, staged)
        known_answer.write(source, staged)
        of_fixed.write(source, staged, formats, sizes)
        candidates = _candidates(staged)
        agreements = _measure(trained, learned, candidates, staged)
        for candidate in candidates:
            found = agreements[candidate.name]
            if candidate.quantised is not None and not found.holds:
                del agreements[candidate.name]
                (staged / candidate.name).unlink()
                warnings.warn(f"not published, since not as good: {candidate.name} ({_shortly(found)})", stacklevel=2)
        _demand(agreements, trained)
        sections = [FORMATS[name].describe(source, staged) for name in formats]
        sections += of_fixed.describe(staged, formats, sizes)
        sections += runtimes.describe([path.name for path in staged.iterdir()])
        text = card.text(source, sections, known_answer.describe(staged), agreements)
        (staged / options.CARD).write_text(text, encoding="utf-8")
    return agreements


def verify(
    run: str | os.PathLike[str] | TrainedRun, folder: str | os.PathLike[str], *, task: Task | str | None = None
) -> dict[str, Agreement]:
    """Prove an export again.

    Args:
        run: the run folder that was exported, or the trained network.
        folder: the export.
        task: the task that the network was trained on; a built-in task need not be given.

    Returns:
        The differences from TensorFlow, by graph.

    Raises:
        RunError: the run cannot be read.
        TaskError: the task is not built in and not given, or another task is given.
        ExportError: a graph cannot be read, or was exported from another checkpoint.
        DisagreementError: a graph disagrees with TensorFlow.
    """
    folder = pathlib.Path(folder)
    try:
        candidates = _candidates(folder)
    except Exception as error:  # every format has errors of its own for a damaged file
        raise ExportError(f"cannot read the export {folder}: {error}") from error
    if not candidates:
        raise ExportError(f"{folder} is not an export: there is no model in it")
    trained, learned = _load(run, task)
    for candidate in candidates:
        metadata = candidate.metadata
        if metadata.checkpoint_sha256 != trained.checkpoint_sha256:
            raise ExportError(f"{candidate.name} in {folder} was exported from another checkpoint")
        source = Source(trained, learned, metadata.model_name, sizes=candidate.sizes)
        if not _same(metadata, source.metadata(metadata.graph, unroll=metadata.unroll)):
            raise ExportError(f"what {candidate.name} in {folder} says of itself is not what the run holds")
    agreements = _measure(trained, learned, candidates, folder)
    _demand(agreements, trained)
    return agreements


def _same(actual: Metadata, expected: Metadata) -> bool:
    """Whether two metadata are equal; the numbers of the initial state may differ by rounding."""
    if dataclasses.replace(actual, state=expected.state) != expected or list(actual.state) != list(expected.state):
        return False
    pairs = zip(actual.state.values(), expected.state.values(), strict=True)
    return all(
        ours.shape == theirs.shape and _are_close(ours.first, theirs.first) and _are_close(ours.beyond, theirs.beyond)
        for ours, theirs in pairs
    )


def _are_close(actual: Any, expected: Any) -> bool:
    """Whether two values are equal; the numbers of tuples may differ by rounding."""
    if isinstance(actual, tuple) and isinstance(expected, tuple):
        return np.shape(actual) == np.shape(expected) and np.allclose(actual, expected, rtol=1e-6)
    return bool(actual == expected)


@full_float32()
def _candidates(folder: pathlib.Path) -> list[Candidate]:
    of_format = (candidate for module in FORMATS.values() for candidate in module.candidates(folder))
    return [*of_format, *of_fixed.candidates(folder)]


def _load(run: str | os.PathLike[str] | TrainedRun, given: Task | str | None) -> tuple[TrainedRun, Task]:
    """A trained network and its task."""
    trained = run if isinstance(run, TrainedRun) else load_run(pathlib.Path(run))
    try:
        task = recorded(trained.config.task, trained.config.task_options, given)
        _check_fits(trained, task)
    except TaskError as error:
        where = "the network" if isinstance(run, TrainedRun) else run
        raise TaskError(f"cannot export {where}: {error}") from error
    return trained, task


def _check_fits(trained: TrainedRun, task: Task) -> None:
    """Refuse a task whose sizes differ from those of the training, since its file may have changed."""
    network = trained.network.config
    check_fits(task, "the network", network.input_size, network.output_size)
    for size in corners(trained.config.training.ranges):
        check_size(task, size)


def _measure(
    trained: TrainedRun, task: Task, candidates: Iterable[Candidate], folder: pathlib.Path
) -> dict[str, Agreement]:
    """Compare the graphs and the known answers in a folder with TensorFlow.

    Raises:
        ExportError: a known answer cannot be read.
    """
    config = trained.network.config
    try:
        answers = [*of_fixed.answers(folder, config), *native.answers(folder, config)]
        if (folder / known_answer.FILE).exists():
            answers.insert(0, known_answer.read(folder, config, known_answer.FILE))
    except ValueError as error:
        raise ExportError(f"cannot read the export {folder}: {error}") from error
    return prove(trained.network, task, trained.config.training.ranges, candidates, answers)


def _demand(agreements: Mapping[str, Agreement], trained: TrainedRun) -> None:
    if not all(found.holds for found in agreements.values()):
        raise DisagreementError(agreements, converged=trained.summary.get("converged") is not False)


def _check_free(folder: pathlib.Path, replace: bool) -> None:
    """Refuse an existing folder, unless it may be replaced and holds nothing but an export."""
    if not folder.parent.is_dir():
        raise ExportError(f"{folder.parent} is not a folder")
    if not (folder.exists() or folder.is_symlink()):
        return
    if not replace:
        raise ExportError(f"{folder} exists (--force replaces an export)")
    ours = {
        options.CARD,
        known_answer.FILE,
        of_fixed.FOLDER,
        *(file for module in FORMATS.values() for file in module.FILES),
    }
    names = set() if folder.is_symlink() or not folder.is_dir() else {path.name for path in folder.iterdir()}
    if options.CARD not in names or not names <= ours:
        raise ExportError(f"{folder} is not an export, or holds more than one, so it is not replaced")


@contextlib.contextmanager
def _staged(folder: pathlib.Path, replace: bool) -> Iterator[pathlib.Path]:
    """A folder to fill, which becomes ``folder`` when the block ends without an exception."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.", ignore_cleanup_errors=True) as name:
        staged, replaced = pathlib.Path(name, "new"), pathlib.Path(name, "old")
        staged.mkdir()  # other users cannot read the temporary folder around it
        yield staged
        _check_free(folder, replace)  # again: the folder may have appeared during the block
        try:
            if folder.exists():
                folder.rename(replaced)
            staged.rename(folder)
        except BaseException:  # a signal may come between the two renames
            if replaced.exists() and not folder.exists():
                replaced.rename(folder)
            raise
