"""A state as bytes, for a network, a file or a database, without pickle.

The bytes are a NumPy file, ``.npz``: an uncompressed array for each name of the state, with a checksum (CRC-32).
Foreign bytes cannot run code, since no pickle is read.
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
        Bytes from which ``state_from_bytes`` makes the same arrays, bit for bit.

    Raises:
        TypeError: ``state`` is no ``State``.
        ValueError: ``state`` holds something other than numbers.
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"state must hold arrays by name, not be a {type(state).__name__}")
    arrays: dict[str, Any] = {name: arguments.floats(name, value) for name, value in state.items()}
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def state_from_bytes(content: bytes) -> State:
    """The state from the bytes of ``state_to_bytes``.

    A model checks whether a state fits it when the state is used.

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
            if any(entry.comment for entry in entries):  # one flipped bit can turn later entries into a comment
                raise ValueError("an entry has a comment")
            files = {entry.filename.removesuffix(_SUFFIX): archive.read(entry) for entry in entries}
        state = {name: npy.read_array(io.BytesIO(file), allow_pickle=False) for name, file in files.items()}
    except Exception as error:  # of many classes without a common base
        raise ValueError(f"the bytes are no state, or damaged: {one_line(str(error))}") from error
    wrong = [f"{name} holds {array.dtype}" for name, array in state.items() if array.dtype != np.float32]
    if wrong:
        raise ValueError(f"the bytes are no state: {wrong[0]}, not float32")
    return state
