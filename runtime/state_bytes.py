"""A state as bytes: for a wire, a file or a database, and for programs that share no pickles.

The bytes are a NumPy file, ``.npz``: an array for each name of the state, not compressed, with a checksum (CRC-32).
Nothing but NumPy is needed. No pickle is read, so the bytes of a stranger run no code.
"""

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.lib import format as npy

from ntm.runtime import arguments
from ntm.runtime.model import GivenState, State
from ntm.text import one_line

_SUFFIX = ".npy"


def state_to_bytes(state: GivenState) -> bytes:
    """A state as the bytes of an ``.npz`` file.

    Args:
        state: arrays by name, as ``Model.step`` and ``Model.run`` return them.

    Returns:
        Bytes of which ``state_from_bytes`` makes the same arrays, bit for bit.

    Raises:
        TypeError: ``state`` is no ``State``.
        ValueError: it holds something else than numbers.
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"state must hold arrays by name, not be a {type(state).__name__}")
    arrays: dict[str, Any] = {name: arguments.floats(name, value) for name, value in state.items()}
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def state_from_bytes(content: bytes) -> State:
    """The state of which ``state_to_bytes`` made these bytes.

    Whether it is a state of a certain model is checked where the model is given it.

    Raises:
        TypeError: ``content`` is not bytes.
        ValueError: the bytes are no state, or damaged.
    """
    received = io.BytesIO(content)
    try:
        with zipfile.ZipFile(received) as archive:
            entries = archive.infolist()
            if sum(entry.file_size for entry in entries) > len(content):  # a few bytes could fill the memory
                raise ValueError("they are compressed")
            if any(entry.comment for entry in entries):  # where one flipped bit can hide the entries behind it
                raise ValueError("an entry has a comment")
            files = {entry.filename.removesuffix(_SUFFIX): archive.read(entry) for entry in entries}
        state = {name: npy.read_array(io.BytesIO(file), allow_pickle=False) for name, file in files.items()}
    except Exception as error:  # of many classes without a common base
        raise ValueError(f"the bytes are no state, or damaged: {one_line(str(error))}") from error
    wrong = [f"{name} holds {array.dtype}" for name, array in state.items() if array.dtype != np.float32]
    if wrong:
        raise ValueError(f"the bytes are no state: {wrong[0]}, not float32")
    return state
