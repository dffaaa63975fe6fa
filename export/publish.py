"""Publishing: formats are written beside their folder, proven equal to TensorFlow, then moved into place at once."""

import contextlib
import dataclasses
import pathlib
import tempfile
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping

import numpy as np

from ntm.console import CommandError, explaining
from ntm.export import card, onnx_format, savedmodel, tflite, triton
from ntm.export.parity import Agreement, Candidate, prove, table
from ntm.export.source import LOCATIONS, Source
from ntm.runtime.metadata import Metadata, MetadataError
from ntm.training.run import TrainedRun, load_config, load_run

__all__ = ["FORMATS", "DisagreementError", "publish", "table", "verify"]

# A format is a module with FILES, the names it takes in the folder; write(source, folder); candidates(folder), what it
# finds of itself there; and describe(source, folder), what the model card says of it.
FORMATS = {"onnx": onnx_format, "savedmodel": savedmodel, "tflite": tflite, "triton": triton}

# L of the longest sequences that are compared, unless twice the longest of the training is more.
LONGEST = 120


class DisagreementError(Exception):
    """A graph disagrees with TensorFlow; the message is one line."""

    def __init__(self, agreements: Mapping[str, Agreement]) -> None:
        strayed = {graph: found for graph, found in agreements.items() if not found.holds}
        super().__init__(
            "not equal to TensorFlow: " + ", ".join(f"{graph} ({_shortly(found)})" for graph, found in strayed.items())
        )


def _shortly(found: Agreement) -> str:
    wrong = [f"{bits} wrong at length {length:,}" for length, bits in found.wrong_bits.items() if bits]
    largest = np.max([*found.difference.values()])  # which is NaN if one is
    return ", ".join([f"by up to {largest:.1e}", f"{found.differing_bits} bits differ", *wrong])


def publish(
    run: pathlib.Path,
    folder: pathlib.Path,
    formats: Collection[str],
    *,
    unroll: int,
    memory_locations: int | None = None,
    model_name: str | None = None,
    replace: bool = False,
) -> dict[str, Agreement]:
    """Export a run to a folder, which at every moment is absent, or whole and proven.

    Args:
        run: the run folder of a training.
        folder: the folder to make.
        formats: names of ``FORMATS``.
        unroll: U, the steps in ``unrolled.onnx``.
        memory_locations: N of a sequence that Triton keeps; by default 128, or the network's own if that is more.
        model_name: what the model is called; by default as the folder.
        replace: whether an export that is there already is replaced.

    Returns:
        What was measured, by graph.

    Raises:
        CommandError: the run cannot be read, the name cannot be printed, or the folder cannot be made.
        DisagreementError: a graph disagrees with TensorFlow; nothing was published.

    Warns:
        UserWarning: the network has not converged, or a quantised graph is not as good.
    """
    folder = folder.absolute()
    _check_free(folder, replace)
    trained = load_run(run)
    locations = memory_locations or max(LOCATIONS, trained.cell.config.memory_locations)
    source = Source(trained, folder.name if model_name is None else model_name, unroll, locations)
    try:
        least = len(source.metadata().initial_state.weights[0])
    except MetadataError as error:
        raise CommandError(str(error)) from error
    if locations < least:
        raise CommandError(f"this network needs at least {least} memory locations")
    if trained.summary.get("converged") is False:
        warnings.warn("the network has not converged: expect wrong bits", stacklevel=2)
    with explaining(f"cannot write {folder}"), _staged(folder, replace) as staged:
        for name in formats:
            FORMATS[name].write(source, staged)
        candidates = _candidates(staged)
        agreements = _measure(run, trained, candidates)
        for candidate in candidates:
            found = agreements[candidate.name]
            if candidate.quantised is not None and not found.holds:
                del agreements[candidate.name]
                (staged / candidate.name).unlink()
                warnings.warn(f"not published, since not as good: {candidate.name} ({_shortly(found)})", stacklevel=2)
        _demand(agreements)
        text = card.text(source, [FORMATS[name].describe(source, staged) for name in formats], agreements)
        (staged / card.FILE).write_text(text, encoding="utf-8")
    return agreements


def verify(run: pathlib.Path, folder: pathlib.Path) -> dict[str, Agreement]:
    """Prove an export again.

    Args:
        run: the run folder that it was exported from.
        folder: the export.

    Returns:
        What was measured, by graph.

    Raises:
        CommandError: the run or a graph cannot be read, or the graph was exported from another checkpoint.
        DisagreementError: a graph disagrees with TensorFlow.
    """
    try:
        candidates = _candidates(folder)
    except Exception as error:  # every format has errors of its own for a damaged file
        raise CommandError(f"cannot read the export {folder}: {error}") from error
    if not candidates:
        raise CommandError(f"{folder} is not an export: there is no model in it")
    trained = load_run(run)
    for candidate in candidates:
        said = candidate.metadata
        if said.checkpoint_sha256 != trained.checkpoint_sha256:
            raise CommandError(f"{candidate.name} in {folder} was exported from another checkpoint than that of {run}")
        if not _same(said, Source(trained, said.model_name).metadata(said.graph, unroll=said.unroll)):
            raise CommandError(f"what {candidate.name} in {folder} says of itself is not what {run} holds")
    agreements = _measure(run, trained, candidates)
    _demand(agreements)
    return agreements


def _same(said: Metadata, expected: Metadata) -> bool:
    """Whether two say the same; the numbers of the initial state may differ by what two processors make of them."""
    starts = (dataclasses.astuple(metadata.initial_state) for metadata in (said, expected))
    close = all(np.shape(a) == np.shape(b) and np.allclose(a, b, rtol=1e-6) for a, b in zip(*starts, strict=True))
    return close and dataclasses.replace(said, initial_state=expected.initial_state) == expected


def _candidates(folder: pathlib.Path) -> list[Candidate]:
    return [candidate for module in FORMATS.values() for candidate in module.candidates(folder)]


def _measure(run: pathlib.Path, trained: TrainedRun, candidates: Iterable[Candidate]) -> dict[str, Agreement]:
    _, training = load_config(run)
    return prove(trained.cell, max(LONGEST, 2 * training.max_length), candidates)


def _demand(agreements: Mapping[str, Agreement]) -> None:
    if not all(found.holds for found in agreements.values()):
        raise DisagreementError(agreements)


def _check_free(folder: pathlib.Path, replace: bool) -> None:
    """Refuse a folder that exists, unless it may be replaced and holds nothing but an export."""
    if not folder.parent.is_dir():
        raise CommandError(f"{folder.parent} is not a folder")
    if not (folder.exists() or folder.is_symlink()):
        return
    if not replace:
        raise CommandError(f"{folder} exists (--force replaces an export)")
    ours = {card.FILE, *(file for module in FORMATS.values() for file in module.FILES)}
    names = set() if folder.is_symlink() or not folder.is_dir() else {path.name for path in folder.iterdir()}
    if card.FILE not in names or not names <= ours:
        raise CommandError(f"{folder} is not an export, or holds more than one, so it is not replaced")


@contextlib.contextmanager
def _staged(folder: pathlib.Path, replace: bool) -> Iterator[pathlib.Path]:
    """A folder to fill, which takes the place of ``folder`` when the block ends without an exception."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.", ignore_cleanup_errors=True) as name:
        staged, replaced = pathlib.Path(name, "new"), pathlib.Path(name, "old")
        staged.mkdir()  # within the temporary folder, which is nobody else's to read
        yield staged
        _check_free(folder, replace)  # once more: it took its time
        try:
            if folder.exists():
                folder.rename(replaced)
            staged.rename(folder)
        except BaseException:  # a signal may come between the two
            if replaced.exists() and not folder.exists():
                replaced.rename(folder)
            raise
