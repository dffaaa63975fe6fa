"""A graph in a native library."""

import numpy as np

from ntm.errors import ModelError
from ntm.runtime import folder
from ntm.runtime.metadata import X
from ntm.runtime.native_library import Instance, NativeLibrary
from ntm.runtime.session import Floats, Session, State, locations_of


class NativeSession(Session):
    """A step of fixed sizes in a native library.

    Each thread takes an idle instance; there are as many instances as there were simultaneous calls. A batch of another
    size than B is computed in parts of B, the last one filled up with zeros.
    """

    _engine: "_Engine"

    def _make(self) -> "_Engine":
        return _Engine(self._graph)

    def _compute(self, inputs: State) -> list[Floats]:
        batch_size, locations = self._graph.sizes or (1, 1)
        if locations_of(inputs) != locations:
            raise ModelError(
                f"it is compiled for N = {locations}, not {locations_of(inputs)}: ntm-export --memory-locations"
            )
        given = len(inputs[X])
        if given == batch_size:
            outputs = self._engine.compute(inputs)
            return [outputs[name] for name in self._outputs]
        shapes = self.shapes(given, locations)
        whole = {name: np.empty([size or 0 for size in shapes[name]], np.float32) for name in self._outputs}
        for start in range(0, given, batch_size):
            part = slice(start, start + batch_size)
            missing = max(start + batch_size - given, 0)
            found = self._engine.compute({name: _filled_up(value[part], missing) for name, value in inputs.items()})
            for name, value in whole.items():
                value[part] = found[name][: batch_size - missing]
        return list(whole.values())


class _Engine:
    """A library and its idle instances."""

    def __init__(self, graph: folder.Graph) -> None:
        try:
            self._library = NativeLibrary(graph.content, graph.metadata, folder.fixed_shapes(graph))
            self._idle: list[Instance] = [self._library.instance()]
        except (OSError, AttributeError, MemoryError) as error:
            raise ModelError(f"cannot load the model {graph.path}: {error}") from error

    def compute(self, inputs: State) -> dict[str, Floats]:
        """A step of B sequences."""
        try:
            instance = self._idle.pop()  # atomic: no other thread takes the same instance
        except IndexError:
            instance = self._library.instance()
        outputs = self._library.compute(instance, inputs)
        self._idle.append(instance)
        return outputs


def _filled_up(array: Floats, missing: int) -> Floats:
    """An array with this many sequences of zeros added, contiguous."""
    if not missing:
        return np.ascontiguousarray(array)
    return np.concatenate([array, np.zeros((missing, *array.shape[1:]), np.float32)])
