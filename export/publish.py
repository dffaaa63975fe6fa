"""Publishing: formats are written beside their folder, proven equal to TensorFlow, then moved into place at once."""

import contextlib
import pathlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping

from ntm.console import CommandError, explaining
from ntm.export import card, onnx_format, savedmodel, tflite
from ntm.export.parity import Agreement, Candidate, prove, table
from ntm.export.source import Source
from ntm.runtime.metadata import MetadataError
from ntm.training.run import TrainedRun, load_config, load_run

__all__ = ["FORMATS", "DisagreementError", "publish", "table", "verify"]

# A format is a module with FILES, the names it takes in the folder; write(source, folder); and candidates(folder),
# what it finds of itself there.
FORMATS = {"onnx": onnx_format, "savedmodel": savedmodel, "tflite": tflite}

# L of the longest sequences that are compared, unless twice the longest of the training is more.
LONGEST = 120


class DisagreementError(Exception):
    """A graph disagrees with TensorFlow; the message is one line."""

    def __init__(self, agreements: Mapping[str, Agreement]) -> None:
        strayed = {graph: found for graph, found in agreements.items() if not found.holds}
        super().__init__(
            "not equal to TensorFlow: "
            + ", ".join(
                f"{graph} (by up to {max(found.difference.values()):.1e}, {found.differing_bits} bits differ)"
                for graph, found in strayed.items()
            )
        )


def publish(
    run: pathlib.Path,
    folder: pathlib.Path,
    formats: Iterable[str],
    *,
    unroll: int,
    model_name: str | None = None,
    replace: bool = False,
) -> dict[str, Agreement]:
    """Export a run to a folder, which at every moment is absent, or whole and proven.

    Args:
        run: the run folder of a training.
        folder: the folder to make.
        formats: names of ``FORMATS``.
        unroll: U, the steps in the unrolled graph.
        model_name: what the model is called; by default as the folder.
        replace: whether an export that is there already is replaced.

    Returns:
        What was measured, by graph.

    Raises:
        CommandError: the run cannot be read, or the folder cannot be made.
        DisagreementError: a graph disagrees with TensorFlow; nothing was published.
    """
    folder = folder.absolute()
    _check_free(folder, replace)
    trained = load_run(run)
    source = Source(trained, model_name or folder.name, unroll)
    try:
        source.metadata()
    except MetadataError as error:
        raise CommandError(str(error)) from error
    with explaining(f"cannot write {folder}"), _staged(folder) as staged:
        for name in formats:
            FORMATS[name].write(source, staged)
        agreements = _prove(run, trained, _candidates(staged))
        (staged / card.FILE).write_text(card.text(source, agreements), encoding="utf-8")
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
        if candidate.checkpoint_sha256 != trained.checkpoint_sha256:
            raise CommandError(f"{candidate.name} in {folder} was exported from another checkpoint than that of {run}")
    return _prove(run, trained, candidates)


def _candidates(folder: pathlib.Path) -> list[Candidate]:
    return [candidate for module in FORMATS.values() for candidate in module.candidates(folder)]


def _prove(run: pathlib.Path, trained: TrainedRun, candidates: Iterable[Candidate]) -> dict[str, Agreement]:
    _, training = load_config(run)
    agreements = prove(trained.cell, max(LONGEST, 2 * training.max_length), candidates)
    if not all(found.holds for found in agreements.values()):
        raise DisagreementError(agreements)
    return agreements


def _check_free(folder: pathlib.Path, replace: bool) -> None:
    """Refuse a folder that exists, unless it may be replaced and holds nothing but an export."""
    if not folder.parent.is_dir():
        raise CommandError(f"{folder.parent} is not a folder")
    if not (folder.exists() or folder.is_symlink()):
        return
    if not replace:
        raise CommandError(f"{folder} exists (--force replaces an export)")
    ours = {card.FILE, *(file for module in FORMATS.values() for file in module.FILES)}
    if folder.is_symlink() or not folder.is_dir() or not {path.name for path in folder.iterdir()} <= ours:
        raise CommandError(f"{folder} is not an export, or holds more than one, so it is not replaced")


@contextlib.contextmanager
def _staged(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder to fill, which takes the place of ``folder`` when the block ends without an exception."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.", ignore_cleanup_errors=True) as name:
        staged, replaced = pathlib.Path(name, "new"), pathlib.Path(name, "old")
        staged.mkdir()  # within the temporary folder, which is nobody else's to read
        yield staged
        if folder.exists():
            folder.rename(replaced)
        try:
            staged.rename(folder)
        except OSError:
            if replaced.exists():
                replaced.rename(folder)
            raise
