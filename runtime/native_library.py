"""A native library: a step of fixed sizes as machine code, which ``ntm-export --format native`` made.

A library is a program. Loading the library runs it, and a checksum does not tell what the library does. So the runtime
loads a library only for the backend ``native``; ``ntm.runtime.native_file`` reads the metadata without loading it.
"""

import ctypes
import hashlib
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ntm.runtime.metadata import Metadata, X
from ntm.runtime.native_file import shared_name

__all__ = ["Instance", "NativeLibrary", "shared_name"]

Floats = npt.NDArray[np.float32]

_FLOATS = ctypes.POINTER(ctypes.c_float)


class NativeLibrary:
    """A loaded library. It has no state of its own, so several threads may use it, each with its own instance.

    Args:
        content: the bytes of the file. These bytes run, even if the file changes.
        metadata: the metadata of the library.
        shapes: the shapes of its inputs and outputs, by name.

    Raises:
        OSError: the library is for another system or processor.
        AttributeError: a function is missing.
    """

    def __init__(self, content: bytes, metadata: Metadata, shapes: Mapping[str, tuple[int, ...]]) -> None:
        library = _loaded(content)
        self._inputs = {name: shapes[name] for name in metadata.inputs}
        self._state = {name: shapes[name] for name in metadata.state}
        self._outputs, at = [], 0  # of each output: name, shape, and start and end in the array of all outputs
        for name in metadata.outputs:
            size = math.prod(shapes[name])
            self._outputs.append((name, shapes[name], at, at + size))
            at += size
        self._as_inputs, self._as_outputs = _pointers(self._inputs), _pointers(metadata.outputs)
        self._create, self._free = library.ntm_create, library.ntm_free
        self._compute, self._current, self._run = library.ntm_compute, library.ntm_current, library.ntm_run
        self._create.argtypes, self._create.restype = [], ctypes.c_void_p
        self._free.argtypes, self._free.restype = [ctypes.c_void_p], None
        taken, given = ctypes.POINTER(self._as_inputs), ctypes.POINTER(self._as_outputs)
        self._compute.argtypes, self._compute.restype = [ctypes.c_void_p, taken, given], None
        self._current.argtypes, self._current.restype = [ctypes.c_void_p], _pointers(self._state)
        self._run.restype = None
        self._run.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]

    def instance(self) -> "Instance":
        """A new instance, in the state before the first step.

        Raises:
            MemoryError: there is no memory for it.
        """
        pointer = self._create()
        if not pointer:
            raise MemoryError("no memory for an instance of a native library")
        inputs = {name: np.zeros(shape, np.float32) for name, shape in self._inputs.items()}
        outputs = np.zeros(self._outputs[-1][-1], np.float32)
        start, each = _address(outputs, outputs.shape), outputs.itemsize
        taken = self._as_inputs(*(_address(array, array.shape) for array in inputs.values()))
        given = self._as_outputs(*(start + each * first for *_, first, _ in self._outputs))
        return Instance(pointer, self._free, inputs, outputs, (ctypes.byref(taken), ctypes.byref(given)))

    def compute(self, instance: "Instance", inputs: Mapping[str, Floats]) -> dict[str, Floats]:
        """One step from a state of the caller; the instance is only working memory.

        Args:
            instance: an instance that no other thread uses during the call.
            inputs: x and the state by name.

        Returns:
            Every output by name, in a new array.

        Raises:
            ValueError: an input has another shape.
        """
        for name, own in instance.inputs.items():  # a copy is faster than the address of an array
            given = inputs[name]
            if given.shape != own.shape:
                raise ValueError(f"{name} must have the shape {own.shape}, not {given.shape}")
            own[...] = given
        self._compute(instance.pointer, *instance.by_name)
        numbers = instance.outputs.copy()
        return {name: numbers[first:end].reshape(shape) for name, shape, first, end in self._outputs}

    def run(self, instance: "Instance", x: Floats) -> Floats:
        """The next steps of an instance, x ``[T, B, I]``: y, ``[T, B, O]``.

        Raises:
            ValueError: x has another shape or type.
        """
        y = np.empty((len(x), *self._outputs[0][1]), np.float32)
        self._run(instance.pointer, _address(x, (len(x), *self._inputs[X])), _address(y, y.shape), len(x))
        return y

    def state(self, instance: "Instance") -> dict[str, Floats]:
        """The state of an instance after its last step, by name."""
        found = self._current(instance.pointer)
        numbers = {name: ctypes.cast(getattr(found, name), _FLOATS) for name in self._state}
        return {name: np.ctypeslib.as_array(numbers[name], shape).copy() for name, shape in self._state.items()}


class Instance:
    """A state, and the working memory of a step; the object frees both at its end.

    Attributes:
        pointer: the address of the instance.
        inputs: the arrays of a step's inputs, by name.
        outputs: one array with the numbers of all outputs of a step.
        by_name: the structs of pointers to both, which the library takes.
    """

    def __init__(
        self,
        pointer: int,
        free: Callable[[int], None],
        inputs: dict[str, Floats],
        outputs: Floats,
        by_name: tuple[Any, Any],
    ) -> None:
        self.pointer, self.inputs, self.outputs, self.by_name = pointer, inputs, outputs, by_name
        self._free = free

    def __del__(self) -> None:
        self._free(self.pointer)


def _loaded(content: bytes) -> ctypes.CDLL:
    """The library with these bytes. Each library is loaded once; every call returns new function objects."""
    checksum = hashlib.sha256(content).hexdigest()
    library = _libraries.get(checksum) or _libraries.setdefault(checksum, _load(content))
    return ctypes.CDLL(library._name, handle=library._handle)


_libraries: dict[str, ctypes.CDLL] = {}


def _load(content: bytes) -> ctypes.CDLL:
    if hasattr(os, "memfd_create"):
        # A file in memory, since the folder for temporary files may forbid execution. The file stays open, since the
        # system identifies a library by its path and would take the next file with this path for the same library.
        number = os.memfd_create(shared_name())
        try:
            with os.fdopen(number, "wb", closefd=False) as file:
                file.write(content)
            return ctypes.CDLL(f"/proc/self/fd/{number}")
        except BaseException:
            os.close(number)
            raise
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # Windows cannot delete a loaded library
        path = os.path.join(folder, shared_name())
        with open(path, "wb") as file:
            file.write(content)
        return ctypes.CDLL(path)


def _pointers(names: Iterable[str]) -> type[ctypes.Structure]:
    """A struct of pointers by name."""
    return type("Pointers", (ctypes.Structure,), {"_fields_": [(name, ctypes.c_void_p) for name in names]})


def _address(array: Floats, shape: tuple[int, ...]) -> int:
    """The address of an array's numbers.

    Raises:
        ValueError: the array has another shape or type, or is not contiguous.
    """
    if array.shape != shape or array.dtype != np.float32 or not array.flags.c_contiguous:
        raise ValueError(f"an array must be float32 of the shape {shape}, not {array.dtype} of {array.shape}")
    return int(array.ctypes.data)
