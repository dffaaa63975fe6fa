"""Publishing: formats are written beside their folder, proven equal to TensorFlow, then moved into place at once."""

import contextlib
import pathlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping

from ntm.console import CommandError
from ntm.export import card, onnx_format, savedmodel, tflite
from ntm.export.parity import Agreement, table
from ntm.export.source import Source
from ntm.training.run import RunError, TrainedRun, load_run

__all__ = ["FORMATS", "DisagreementError", "FolderError", "load", "publish", "table", "verify"]

FORMATS = {"onnx": onnx_format, "savedmodel": savedmodel, "tflite": tflite}


class DisagreementError(Exception):
    """A graph disagrees with TensorFlow; the message is one line."""

    def __init__(self, agreements: Mapping[str, Agreement]) -> None:
        strayed = ", ".join(name for name, found in agreements.items() if not found.holds)
        worst = max(difference for found in agreements.values() for difference in found.difference.values())
        bits = sum(found.differing_bits for found in agreements.values())
        super().__init__(f"{strayed} disagrees with TensorFlow: by up to {worst:.1e}, and in {bits} bits")


class FolderError(CommandError):
    """A folder that cannot be written, replaced or checked."""


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
        formats: of ``FORMATS``.
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
    source = Source(load(run), model_name or folder.name, unroll)
    with _staged(folder) as staged:
        for name in formats:
            FORMATS[name].write(source, staged)
        agreements = verify(source.run, staged)
        (staged / card.FILE).write_text(card.text(source, agreements), encoding="utf-8")
    return agreements


def load(run: pathlib.Path) -> TrainedRun:
    """Read a run.

    Raises:
        CommandError: it cannot be read.
    """
    try:
        return load_run(run)
    except RunError as error:
        raise CommandError(str(error)) from error


def verify(run: TrainedRun, folder: pathlib.Path) -> dict[str, Agreement]:
    """Compare every graph of a folder with the network it was exported from.

    Raises:
        FolderError: there is no graph, or one was exported from another checkpoint.
        DisagreementError: a graph disagrees with TensorFlow.
    """
    try:
        candidates = [candidate for module in FORMATS.values() for candidate in module.candidates(folder)]
    except Exception as error:
        raise FolderError(f"cannot read the export {folder}: {error}") from error
    if not candidates:
        raise FolderError(f"{folder} is not an export: it holds no model")
    for candidate in candidates:
        if candidate.checkpoint_sha256 != run.checkpoint_sha256:
            raise FolderError(f"{folder / candidate.name} was exported from another checkpoint than the run's")
    agreements = {candidate.name: candidate.compare(run.cell) for candidate in candidates}
    if not all(found.holds for found in agreements.values()):
        raise DisagreementError(agreements)
    return agreements


def _check_free(folder: pathlib.Path, replace: bool) -> None:
    """Refuse a folder that exists, unless it may be replaced and holds nothing but an export."""
    if not folder.parent.is_dir():
        raise FolderError(f"{folder.parent} is not a folder")
    if not (folder.exists() or folder.is_symlink()):
        return
    if not replace:
        raise FolderError(f"{folder} exists (--force replaces an export)")
    ours = {card.FILE, *(file for module in FORMATS.values() for file in module.FILES)}
    if folder.is_symlink() or not folder.is_dir() or not {path.name for path in folder.iterdir()} <= ours:
        raise FolderError(f"{folder} holds more than an export, so it is not replaced")


@contextlib.contextmanager
def _staged(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder to fill, which takes the place of ``folder`` when the block ends without an exception."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.", ignore_cleanup_errors=True) as name:
        staged, replaced = pathlib.Path(name, "new"), pathlib.Path(name, "old")
        staged.mkdir()  # not the temporary folder itself, which nobody else may read
        yield staged
        if folder.exists():
            folder.rename(replaced)
        try:
            staged.rename(folder)
        except OSError:
            if replaced.exists():
                replaced.rename(folder)
            raise
