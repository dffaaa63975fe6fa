"""The common parts of the commands that serve a model: options, the model, and the files to read and write."""

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

from typer import Argument, Option

from ntm import console
from ntm.errors import FileError, explaining
from ntm.files import atomic_output
from ntm.runtime import folder
from ntm.runtime.metadata import LARGEST_SIZE

if TYPE_CHECKING:
    from ntm.runtime.model import Model as RunnableModel

STANDARD = "-"  # the name of standard input, or of standard output


def _bundled(incomplete: str) -> list[str]:
    """The bundled models whose names begin with what the user has typed."""
    return console.words(*folder.bundled())(incomplete)


_MODEL: dict[str, Any] = {
    "help": "A bundled model's name, or the folder of an exported model.",
    "autocompletion": _bundled,
}
Model = Annotated[str, Option("--model", metavar="MODEL", **_MODEL)]
ModelArgument = Annotated[str, Argument(metavar="[MODEL]", **_MODEL)]
Threads = Annotated[
    int | None,
    Option("--threads", min=1, max=1 << 10, metavar="T", help="Worker threads.", show_default="one per core"),
]


def memory_locations(default: str) -> Any:
    """The option ``--memory-locations``; ``default`` describes its default."""
    return Option(min=1, max=LARGEST_SIZE, metavar="N", help="Memory locations.", show_default=default)


def make_model(files: folder.ModelFolder, locations: int | None, *, batch_size: int | None = None) -> "RunnableModel":
    """The model that a command runs.

    Raises:
        CommandError: the model needs more memory locations.
    """
    from ntm.runtime.model import Model as RunnableModel  # noqa: PLC0415  (it imports NumPy)

    try:
        return RunnableModel(files, locations, batch_size=batch_size, own_process=True)
    except ValueError as error:
        raise console.CommandError(str(error)) from error


def input_name(source: str) -> str:
    """The name of an input in messages."""
    return "standard input" if source == STANDARD else source


@contextlib.contextmanager
def open_input(source: str) -> Iterator[BinaryIO]:
    """A file to read, or standard input.

    Raises:
        FileError: the file cannot be opened.
    """
    if source == STANDARD and sys.stdin is None:
        raise FileError("standard input is closed")
    with explaining(f"cannot read {input_name(source)}"):
        reader = open(0, "rb", closefd=False) if source == STANDARD else open(source, "rb")  # noqa: SIM115
    with reader:
        yield reader


@contextlib.contextmanager
def open_output(output: str, *, force: bool) -> Iterator[BinaryIO]:
    """A file to write, or standard output; a regular file appears when the block ends without an exception.

    Raises:
        FileError: the file cannot be written.
    """
    name = "standard output" if output == STANDARD else output
    with explaining(f"cannot write {name}"), contextlib.ExitStack() as stack:
        if output == STANDARD:
            # Not sys.stdout.buffer: after an error, Python would write the buffered rest again at the end.
            yield stack.enter_context(open(1, "wb", buffering=0, closefd=False))
        else:
            yield stack.enter_context(atomic_output(output, replace=force))


def output_status(path: str | os.PathLike[str]) -> os.stat_result | None:
    """The status of an output file; None if it does not exist.

    Raises:
        CommandError: it is a folder.
        FileError: its folder does not exist.
    """
    with explaining(f"cannot write {path}"):
        try:
            status = os.stat(path)
        except FileNotFoundError:
            os.stat(os.path.dirname(os.path.realpath(path)))  # the folder of the new file
            if not os.path.basename(path):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)) from None
            return None
    if stat.S_ISDIR(status.st_mode):
        raise console.CommandError(f"cannot write {path}: is a directory")
    return status


def check_free(path: str | os.PathLike[str], status: os.stat_result | None, *, force: bool) -> None:
    """Refuse to replace a regular file without ``force``.

    Raises:
        CommandError: the file exists.
    """
    if status is not None and stat.S_ISREG(status.st_mode) and not force:
        raise console.CommandError(f"{path} exists: use --force to replace it")
