"""Files that appear whole or not at all."""

import contextlib
import errno
import os
import pathlib
import secrets
import stat
from collections.abc import Iterator
from typing import BinaryIO


@contextlib.contextmanager
def atomic_output(path: str | os.PathLike[str], *, replace: bool = True) -> Iterator[BinaryIO]:
    """A file to write, which takes its name only when the block ends without an exception.

    The bytes go to a temporary file in the same folder, which is then renamed: a kill at any moment leaves under
    the name what was there before, or everything. A symbolic link is followed, and a file that is replaced keeps
    its permissions. What is not a regular file (a FIFO, ``/dev/null``) cannot be renamed to, and is written as is.

    Args:
        path: the file.
        replace: whether a regular file of this name may be replaced.

    Raises:
        FileExistsError: there is such a file, and it may not be replaced.
        OSError: it cannot be written.
    """
    final = pathlib.Path(os.path.realpath(path))
    mode = _mode(final)
    if mode is not None and not stat.S_ISREG(mode):
        with open(final, "wb", buffering=0) as file:
            yield file
        return
    temporary = final.with_name(f".{final.name[:200]}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            if mode is not None:
                os.fchmod(file.fileno(), stat.S_IMODE(mode))
            file.flush()
            os.fsync(file.fileno())
        if not replace and _mode(final) is not None:  # asked at the last moment: the writing took its time
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        temporary.replace(final)
    except BaseException:
        # The folder may have gone meanwhile; what counts is why the block ended.
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _mode(path: pathlib.Path) -> int | None:
    """The kind and the permissions of a file, None where there is none."""
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None
