"""What the commands that serve a model share: options, and the file that a command is to write."""

import errno
import os
import stat
from typing import Annotated

from typer import Option

from ntm import console
from ntm.errors import explaining
from ntm.runtime import folder


def bundled(incomplete: str) -> list[str]:
    """The ``autocompletion`` of a model: the bundled models whose names begin so."""
    return console.words(*folder.bundled())(incomplete)


Model = Annotated[
    str,
    Option(
        "--model",
        metavar="MODEL",
        help="A bundled model's name, or the folder of an exported model.",
        autocompletion=bundled,
    ),
]
Threads = Annotated[
    int | None,
    Option("--threads", min=1, max=1 << 10, metavar="T", help="Worker threads.", show_default="one a core"),
]


def output_status(path: str | os.PathLike[str]) -> os.stat_result | None:
    """The status of a file that is to be written; None where there is none yet.

    Raises:
        CommandError: it is a folder, or in none.
    """
    with explaining(f"cannot write {path}"):
        try:
            status = os.stat(path)
        except FileNotFoundError:
            os.stat(os.path.dirname(os.path.realpath(path)))  # in which it shall appear
            if not os.path.basename(path):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)) from None
            return None
    if stat.S_ISDIR(status.st_mode):
        raise console.CommandError(f"cannot write {path}: is a directory")
    return status


def check_free(path: str | os.PathLike[str], status: os.stat_result | None, *, force: bool) -> None:
    """Refuse to replace a regular file, unless it is asked for.

    Raises:
        CommandError: there is such a file.
    """
    if status is not None and stat.S_ISREG(status.st_mode) and not force:
        raise console.CommandError(f"{path} exists: use --force to replace it")
