"""A graph of a model that is ready to run: the common part of all backends."""

import abc
import ctypes
import os
import threading
import weakref
from typing import Any

import numpy as np
import numpy.typing as npt

from ntm.errors import ModelError
from ntm.runtime import folder
from ntm.runtime.metadata import MEMORY, STEP, Metadata, X

Floats = npt.NDArray[np.float32]

# The state of a network: arrays by name. The state of an NTM is the ``memory``, ``[B, M, N]``; the ``weights``,
# ``[B, R+K, N]``, those of the read heads first; and the ``reads``, ``[B, R, M]``. An LSTM adds ``hidden`` and
# ``cell``, ``[B, units]``.
State = dict[str, Floats]


class Session(abc.ABC):
    """A graph, and the engine that runs it. The engine is made at its first use, since this takes most of the loading.

    A child process after a fork makes a new engine, since the threads of the old one are missing there and its locks
    may be held for ever.

    Args:
        graph: the file.
        threads: the threads that share the work of one step.
        own_process: whether the engine may change settings of the whole process.
    """

    def __init__(self, graph: folder.Graph, threads: int, *, own_process: bool = False) -> None:
        self.metadata: Metadata = graph.metadata
        self._graph = graph
        self._outputs = graph.metadata.outputs
        self._shapes: tuple[tuple[int, int], dict[str, tuple[int | None, ...]]] | None = None
        self._threads = threads
        self._own_process = own_process
        self._lock = threading.Lock()
        self._engine: Any = None
        _sessions.add(self)

    @abc.abstractmethod
    def _make(self) -> Any:
        """The engine.

        Raises:
            ModelError: the engine is not installed, or cannot load the graph.
        """

    @abc.abstractmethod
    def _compute(self, inputs: State) -> list[Floats]:
        """The outputs of the graph, in the order of ``self._outputs``.

        Raises:
            Exception: any exception if the engine cannot run the graph, or the shape of an output is wrong.
        """

    def prepare(self) -> None:
        """Make the engine, if there is none."""
        with self._lock:
            if self._engine is None:
                self._engine = self._make()

    def forget(self) -> None:
        """Begin again in a child process, without the engine of the parent."""
        if self._engine is not None:
            # Keep the engine for ever: its destructor would wait for the missing threads, or crash.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._engine))
        self._engine = None
        self._lock = threading.Lock()

    def shapes(self, batch_size: int, locations: int) -> dict[str, tuple[int | None, ...]]:
        """The shapes of the graph's inputs and outputs by name; the result of the last call is cached."""
        kept = self._shapes
        if kept is None or kept[0] != (batch_size, locations):
            kept = self._shapes = (batch_size, locations), folder.shapes(self.metadata, batch_size, locations)
        return kept[1]

    def run(self, x: Floats, state: State) -> tuple[Floats, State, Floats | None]:
        """One run of the graph: y, the next state, and the vectors that the write heads add, or None."""
        if self._engine is None:
            self.prepare()
        try:
            y, *outputs = self._compute({X: x, **state})
        except Exception as error:  # of several classes without a common base
            raise ModelError(f"cannot run the model {self._graph.path}: {first_line(error)}") from error
        adds = outputs.pop() if len(outputs) > len(state) else None
        return y, dict(zip(self.metadata.state, outputs, strict=True)), adds

    def run_chunk(self, x: Floats, state: State) -> tuple[Floats, State]:
        """The U steps of the graph, x ``[U, B, I]``: y, ``[U, B, O]``, and the state after the last."""
        if self.metadata.graph == STEP:
            y, state, _ = self.run(x[0], state)
            return y[np.newaxis], state
        return self.run(x, state)[:2]

    def _refused(self, error: Exception) -> ModelError:
        """The error to raise if the engine cannot load the graph."""
        return ModelError(f"cannot load the model {self._graph.path}: {first_line(error)}")


def locations_of(state: State) -> int:
    """N of a state; 1 without a memory."""
    memory = state.get(MEMORY)
    return memory.shape[-1] if memory is not None and memory.ndim else 1


def first_line(error: Exception) -> str:
    """The first line of the message of another library's error."""
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]


_sessions: weakref.WeakSet[Session] = weakref.WeakSet()


def _after_fork() -> None:
    for session in _sessions:
        session.forget()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_after_fork)
