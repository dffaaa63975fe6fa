"""The errors of the library. Every message is one line; the commands print it and exit with 2."""

import contextlib
import importlib.util
import platform
import sys
from collections.abc import Iterator

from ntm.text import DISTRIBUTION, one_line


class Error(Exception):
    """An error that the caller can understand and correct. The subclasses name its subject."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class TaskError(Error):
    """A task that cannot be found, breaks the contract of ``ntm.tasks.Task``, or raised an exception of its own."""


class RunError(Error):
    """A run folder, or an option of a training, that cannot be used."""


class ModelError(Error):
    """A model that cannot be loaded or run, or that was trained on another task."""


class ExportError(Error):
    """An export that cannot be made or read."""


class FileError(Error):
    """A file or folder that cannot be read or written."""


class MissingExtraError(Error):
    """A package that an extra of the distribution installs is missing."""


@contextlib.contextmanager
def explaining(what: str) -> Iterator[None]:
    """Turn an OSError of a block into a FileError ``what: reason``, e.g. ``cannot read x.bin: is a directory``.

    Raises:
        FileError: the block raised an OSError other than BrokenPipeError.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise FileError(f"{what}: {lowered(error.strerror or str(error))}") from error


def lowered(sentence: str) -> str:
    """A sentence with a small first letter, to follow a colon."""
    return sentence[:1].lower() + sentence[1:]


def require(extra: str, *modules: str) -> None:
    """Check that an extra of the distribution is installed, without importing it.

    Raises:
        MissingExtraError: a module is missing. The message has the pip command that installs it.
    """
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if "tensorflow" in missing and not has_tensorflow(sys.version_info[:2], sys.platform, platform.machine()):
        system = f"Python {sys.version_info[0]}.{sys.version_info[1]} on {sys.platform} {platform.machine()}"
        raise MissingExtraError(
            f"there is no TensorFlow for {system}: training and export need Python 3.11 to 3.13 on Linux, Windows or a "
            "Mac with Apple silicon"
        )
    if missing:
        raise MissingExtraError(f"{', '.join(missing)} is missing: pip install '{DISTRIBUTION}[{extra}]'")


def has_tensorflow(python: tuple[int, int], system: str, machine: str) -> bool:
    """Whether TensorFlow is released for a Python, a ``sys.platform`` and a ``platform.machine()``.

    The extra ``train`` has the same condition in pyproject.toml.
    """
    return python < (3, 14) and (system != "darwin" or machine == "arm64")
