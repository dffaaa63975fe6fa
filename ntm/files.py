"""Files that appear whole or not at all."""

import contextlib
import errno
import os
import pathlib
import select
import stat
from collections.abc import Iterator
from typing import BinaryIO


@contextlib.contextmanager
def atomic_output(path: str | os.PathLike[str], *, replace: bool = True) -> Iterator[BinaryIO]:
    """A file to write, which takes its name only when the block ends without an exception.

    A kill at any moment leaves the old file or the whole new file. Until the end the new file has no name, so a kill
    leaves no other file behind; only a file that replaces another has a temporary name in the same folder for a moment.
    On a system without unnamed files, every new file has a temporary name. A symbolic link is followed, and a replaced
    file keeps its permissions. A special file (a FIFO, ``/dev/null``) is written directly.

    Args:
        path: the file.
        replace: whether a regular file of this name may be replaced.

    Raises:
        FileExistsError: there is such a file, and it may not be replaced.
        OSError: it cannot be written.
    """
    mode = _mode(path)
    if mode is not None and not stat.S_ISREG(mode):
        with open(path, "wb", buffering=0) as file:
            yield file
        return
    final = pathlib.Path(os.path.realpath(path))
    temporary = final.with_name(f".{os.urandom(8).hex()}.tmp")
    try:
        unnamed = _open_unnamed(final.parent)
        with unnamed or open(temporary, "xb") as file:
            yield file
            if mode is not None and hasattr(os, "fchmod"):  # Windows has no permissions that a file could keep
                os.fchmod(file.fileno(), stat.S_IMODE(mode))
            file.flush()
            os.fsync(file.fileno())
            if unnamed:
                try:
                    _name(unnamed, final)  # fails if the name exists
                except FileExistsError:
                    if not replace:
                        raise
                    _name(unnamed, temporary)
                else:
                    return
        if not replace and _mode(final) is not None:  # the file may have appeared during the block
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        temporary.replace(final)
    except BaseException:
        # The folder may be gone too; the first error is the one to report.
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def write_all(file: BinaryIO, content: bytes | memoryview) -> None:
    """Write all bytes to a file, which may be unbuffered or non-blocking.

    Raises:
        OSError: it cannot be written.
    """
    rest = memoryview(content)
    while rest:
        written = file.write(rest)
        if written is None:  # the file is non-blocking, and its reader is slow
            select.select([], [file], [])
        rest = rest[written or 0 :]


def _open_unnamed(folder: pathlib.Path) -> BinaryIO | None:
    """A new file without a name, which the system deletes with the process; None where that is not possible."""
    if not hasattr(os, "O_TMPFILE"):
        return None
    try:
        file = open(os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o666), "wb")  # noqa: SIM115
    except OSError:  # the file system has no unnamed files; or the folder is read-only, as the next attempt reports
        return None
    if os.path.exists(_descriptor(file)):
        return file
    file.close()
    return None


def _name(file: BinaryIO, path: pathlib.Path) -> None:
    folder = os.open(path.parent, os.O_PATH)
    try:
        # Given a folder, Python calls linkat, which follows the link to the file; link does not.
        os.link(_descriptor(file), path.name, dst_dir_fd=folder)
    finally:
        os.close(folder)


def _descriptor(file: BinaryIO) -> str:
    return f"/proc/self/fd/{file.fileno()}"


def _mode(path: str | os.PathLike[str]) -> int | None:
    """The kind and the permissions of a file, None where there is none."""
    try:
        return os.stat(path).st_mode
    except FileNotFoundError:
        return None
