"""A trained network, run without TensorFlow: Graves et al. (2014, arXiv:1410.5401).

The legend of the shapes is in ``ntm.models``: B sequences side by side; T steps; I inputs and O outputs at a step; N
memory locations of M numbers; R read heads and K write heads. B, T and N are free; the metadata of the model's files
has the other sizes.
"""

import itertools
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, overload

import numpy as np
import numpy.typing as npt

from ntm.errors import ModelError
from ntm.runtime import arguments, folder
from ntm.runtime.litert_session import LiteRTSession
from ntm.runtime.metadata import (
    ADDS,
    BATCHED,
    MEMORY,
    NEGLIGIBLE,
    READS,
    SPARSE,
    STEP,
    UNIFORM,
    UNROLLED,
    WEIGHTS,
    StateTensor,
    X,
    Y,
)
from ntm.runtime.native_session import NativeSession
from ntm.runtime.onnxruntime_session import OnnxruntimeSession
from ntm.runtime.session import Floats, Session, State, locations_of
from ntm.tasks import copy as copying

__all__ = ["Model", "ModelError", "State", "Trace", "load"]

# Which graph is the fastest was measured (docs/results/runtimes.md), for networks with content addressing and without.
# Use batched.onnx if N <= _BATCHED_LOCATIONS and B >= _BATCHED_RATIO * N.
_BATCHED_LOCATIONS, _BATCHED_RATIO = {True: 32, False: 24}, {True: 3, False: 2}
# Else use sparse.onnx, which networks without content addressing have, if B * N >= _SPARSE_LOCATIONS or
# B >= _SPARSE_SEQUENCES, and the heads use at most the share _SPARSE_SHARE of the N locations.
_SPARSE_LOCATIONS, _SPARSE_SEQUENCES, _SPARSE_SHARE = 2048, 32, 1 / 3
# The largest B * N of a run of batched.onnx, and of the other graphs. More sequences at once run no faster.
_BATCHED_AT_ONCE, _AT_ONCE = 1 << 13, 1 << 15

# The session that runs the graphs, by backend.
_SESSIONS: dict[str, type[Session]] = {
    folder.ONNXRUNTIME: OnnxruntimeSession,
    folder.LITERT: LiteRTSession,
    folder.NATIVE: NativeSession,
}

Words = TypeVar("Words", bound=npt.NDArray[Any])
GivenState = Mapping[str, npt.ArrayLike]


class Trace(NamedTuple):
    """The inside of the network at each step of one sequence."""

    x: Floats  # [T, I]
    y: Floats  # [T, O], probabilities
    adds: Floats  # [T, K, M], the vectors that the write heads added
    weights: Floats  # [T, R+K, N], the weightings of the read heads, then those of the write heads
    reads: Floats  # [T, R, M]
    memory: Floats  # [M, N], after the last step whose input is not zero
    carried: dict[str, Floats]  # [T, units], by name: the state of the controller


def load(
    model: str | os.PathLike[str] | None = None,
    *,
    memory_locations: int | None = None,
    batch_size: int | None = None,
    threads: int = 1,
    backend: str = folder.ONNXRUNTIME,
) -> "Model":
    """Load an exported model.

    A file that differs in one bit from the exported file is refused. This is no protection from attacks, since a graph
    can be made to crash onnxruntime: load only models that you trust.

    Args:
        model: its folder, or the name of a bundled model; by default ``copy-8bit``.
        memory_locations: N. By default that of the training, or more if a sequence needs more; no variable depends
            on N.
        batch_size: B, the most sequences that ``Model.run`` and ``Model.copy`` run side by side; by default the fastest
            number. Both methods take any number of sequences, and run them in batches.
        threads: the threads that share the work of one step; at most one per core that the process may use. Several
            rarely help: better divide the sequences among simultaneous calls of ``Model.run`` in several threads.
        backend: ``onnxruntime`` runs the fastest of the ONNX graphs, and is the fastest backend for many sequences side
            by side. ``litert`` runs ``step.tflite``, and is faster for single steps of one sequence; it needs the extra
            ``litert``. ``native`` runs the library in the folder ``native``; it is the fastest backend for one
            sequence, and has a fixed N. A library is a program and may do anything: load only one that you trust.

    Raises:
        ModelError: there is no such model, it is damaged or of another schema, the backend or its file is missing, or
            the native library is for another N; the message is one line.
        TypeError: ``model`` is no path, or another argument no whole number.
        ValueError: ``memory_locations``, ``batch_size`` or ``threads`` is too small, or there is no such backend.
    """
    if not isinstance(model, str | os.PathLike | None):
        raise TypeError(f"model must be the path of a folder or the name of a bundled model, not {model!r}")
    files = folder.read(folder.DEFAULT if model is None else model, backend)
    return Model(files, memory_locations, batch_size=batch_size, threads=threads)


class Model:
    """A trained network; made by ``load``. One object may serve several threads at a time.

    A model can be pickled and copied, and works in a child process after a fork; each copy makes its own sessions. A
    pickle holds the options of ``load``, and the name and the checksum of a bundled model, in some 200 bytes, or else
    the content of the model's files. Unpickling raises ``ModelError`` if the bundled model of that name is another one.

    With ``own_process``, which the commands set, onnxruntime also changes settings of the whole process: it prints no
    messages, and treats denormal numbers as 0 in every thread.

    Attributes:
        metadata: the metadata of the model's files.
    """

    def __init__(
        self,
        files: folder.ModelFolder,
        memory_locations: int | None = None,
        *,
        batch_size: int | None = None,
        threads: int = 1,
        own_process: bool = False,
    ) -> None:
        threads = arguments.whole_number("threads", threads, 1)
        if batch_size is not None:
            batch_size = arguments.whole_number("batch_size", batch_size, 1)
        self.metadata = files.metadata
        self._files = files
        self._options = {"batch_size": batch_size, "threads": threads, "own_process": own_process}
        self._given_locations = None if memory_locations is None else self._checked_locations(memory_locations)
        if files.step.sizes is not None:
            self._given_locations = self._compiled_locations(files.step.sizes[1])
        self._given_batch_size = batch_size
        kind = _SESSIONS[files.backend]
        self._sessions: dict[str, Session] = {
            graph.metadata.graph: kind(graph, threads, own_process=own_process) for graph in files.graphs
        }
        self._step = self._sessions[STEP]
        self._most_steps = max(graph.metadata.unroll for graph in files.graphs)

    def __reduce__(self) -> tuple[Callable[..., "Model"], tuple[Any, ...]]:
        return _restored, (type(self), self._files, self._given_locations, self._options)

    def __repr__(self) -> str:
        data = self.metadata
        return (
            f"<Model {data.model_name}: task {data.task_name}, I={data.input_size}, O={data.output_size}, "
            f"N={self.memory_locations}, U={self._most_steps}, {self._files.backend}, checksum {self.checksum[:12]}>"
        )

    @property
    def checksum(self) -> str:
        """The SHA-256 of the model's files, 64 hexadecimal digits."""
        return self._files.checksum

    @property
    def config(self) -> dict[str, Any]:
        """The fields of ``ntm.models.NTMConfig``, of JSON types."""
        return dict(self.metadata.config)

    @property
    def memory_locations(self) -> int:
        """The default of N."""
        return self.metadata.memory_locations if self._given_locations is None else self._given_locations

    def locations_for(self, steps: int) -> int:
        """N of a sequence of this many steps.

        It is the N that ``load`` was given; or else one location for each step or more, except for a network that works
        with its own N only.
        """
        steps = 0 if self.metadata.fixed_locations else arguments.whole_number("steps", steps, 0)
        return self._given_locations or max(self.memory_locations, steps)

    def batch_size(self, memory_locations: int) -> int:
        """B, the most sequences that run side by side with this N."""
        memory_locations = self._checked_locations(memory_locations)
        most = _BATCHED_LOCATIONS[self.metadata.content_addressing]
        at_once = _BATCHED_AT_ONCE if memory_locations <= most else _AT_ONCE
        return self._given_batch_size or max(1, at_once // memory_locations)

    def initial_state(self, batch_size: int, memory_locations: int | None = None) -> State:
        """The state before the first step.

        Args:
            batch_size: B.
            memory_locations: N, by default ``self.memory_locations``.

        Raises:
            TypeError: B or N is no whole number.
            ValueError: B is negative, or N below ``metadata.least_locations``.
        """
        locations = self._checked_locations(self.memory_locations if memory_locations is None else memory_locations)
        batch_size = arguments.whole_number("batch_size", batch_size, 0)
        return {name: _initial(tensor, batch_size, locations) for name, tensor in self.metadata.state.items()}

    def step(self, x: npt.ArrayLike, state: GivenState) -> tuple[Floats, State]:
        """One time step.

        Args:
            x: the input, ``[B, I]``.
            state: the state after the step before, or ``initial_state``.

        Returns:
            y, ``[B, O]``, the probability of each output bit; and the state after this step.

        Raises:
            TypeError: ``state`` is no ``State``.
            ValueError: a shape is not the model's, or something else than numbers is given.
            ModelError: the backend cannot run the graph.
        """
        x = arguments.floats("x", x)
        batch = x.shape[0] if x.ndim else 0
        if x.shape != (batch, self.metadata.input_size):
            raise ValueError(f"x must have the shape {(batch, self.metadata.input_size)}, not {x.shape}")
        return self._step.run(x, self._checked(state, batch))[:2]

    def run(self, x: npt.ArrayLike, state: GivenState | None = None) -> tuple[Floats, State]:
        """Whole sequences, or the next steps of them, through the fastest graph.

        Args:
            x: the inputs, ``[T, B, I]``.
            state: the state after the step before; by default the initial state, with N = T or more.

        Returns:
            y, ``[T, B, O]``, the probability of each output bit; and the state after the last step.

        Raises:
            TypeError: ``state`` is no ``State``.
            ValueError: a shape is not the model's, or something else than numbers is given.
            ModelError: the backend cannot run the graph.
        """
        x = self._checked_inputs(x)
        steps, batch, _ = x.shape
        if state is None:
            state = self.initial_state(batch, self.locations_for(steps))
        before = self._checked(state, batch)
        y = np.empty((steps, batch, self.metadata.output_size), np.float32)
        after = {name: np.empty_like(tensor) for name, tensor in before.items()}
        size = self.batch_size(locations_of(before))
        for start in range(0, batch, size):
            part = slice(start, start + size)
            state_of_part = {name: tensor[part] for name, tensor in before.items()}
            at = 0
            while at < steps:
                session = self._session(state_of_part)
                if at + session.metadata.unroll > steps:
                    session = self._step  # so that the state is the state after the last step
                end = at + session.metadata.unroll
                y[at:end, part], state_of_part = session.run_chunk(np.ascontiguousarray(x[at:end, part]), state_of_part)
                at = end
            for name, tensor in state_of_part.items():
                after[name][part] = tensor
        return y, after

    def run_each(self, sequences: Iterable[npt.ArrayLike]) -> list[Floats]:
        """Whole sequences of unequal lengths, side by side.

        The outputs equal those of ``run`` for each sequence alone, but for rounding. Each sequence has the N that
        ``run`` would choose. So sequences with more steps than ``memory_locations`` run beside sequences of their own
        length only, unless ``load`` was given ``memory_locations``. Zeros are added behind the shorter sequences of a
        batch; no output depends on later inputs.

        Args:
            sequences: the inputs of each, ``[T, I]``; T differs, and may be 0.

        Returns:
            y of each, ``[T, O]``, in the order of the sequences: the probability of each output bit.

        Raises:
            TypeError: ``sequences`` is not iterable.
            ValueError: a shape is not the model's, or something else than numbers is given.
            ModelError: onnxruntime cannot run the graph.
        """
        inputs = [self._checked_sequence(f"sequences[{i}]", x) for i, x in enumerate(sequences)]
        outputs: dict[int, Floats] = {}
        longest_first = sorted(range(len(inputs)), key=lambda i: len(inputs[i]), reverse=True)
        for locations, group in itertools.groupby(longest_first, lambda i: self.locations_for(len(inputs[i]))):
            numbers, size = list(group), self.batch_size(locations)
            for start in range(0, len(numbers), size):
                batch = numbers[start : start + size]
                outputs.update(zip(batch, self._run_padded([inputs[i] for i in batch], locations), strict=True))
        return [outputs[i] for i in range(len(inputs))]

    def _run_padded(self, inputs: Sequence[Floats], locations: int) -> list[Floats]:
        """Run sequences side by side, the longest first. A sequence that has ended leaves the batch after its chunk."""
        x = np.zeros((len(inputs[0]) + self._most_steps - 1, len(inputs), self.metadata.input_size), np.float32)
        for b, sequence in enumerate(inputs):
            x[: len(sequence), b] = sequence
        y = np.empty((*x.shape[:2], self.metadata.output_size), np.float32)
        state, start = self.initial_state(len(inputs), locations), 0
        while running := sum(len(sequence) > start for sequence in inputs):
            state = {name: tensor[:running] for name, tensor in state.items()}
            session = self._session(state)
            chunk = slice(start, start + session.metadata.unroll)
            y[chunk, :running], state = session.run_chunk(np.ascontiguousarray(x[chunk, :running]), state)
            start = chunk.stop
        return [y[: len(sequence), b].copy() for b, sequence in enumerate(inputs)]

    def chunks(self, x: npt.ArrayLike, state: GivenState) -> Iterator[Floats]:
        """Whole sequences like ``run``, but chunk by chunk, so that the caller can stop; without the last state.

        Args:
            x: the inputs, ``[T, B, I]``; neither T nor B is 0.
            state: the state to start from.

        Returns:
            An iterator over the outputs of the next n steps, ``[n, B, O]``; n depends on the graph.

        Raises:
            TypeError: ``state`` is no ``State``.
            ValueError: a shape is not the model's, or something else than numbers is given.
            ModelError: the backend cannot run the graph.
        """
        x = self._checked_inputs(x)
        if not x.size:
            raise ValueError(f"x must hold a step of a sequence at least, not {x.shape}")
        padding = np.zeros((self._most_steps - 1, *x.shape[1:]), np.float32)
        return self._chunks(np.concatenate([x, padding]), len(x), self._checked(state, x.shape[1]))

    def _chunks(self, x: Floats, steps: int, state: State) -> Iterator[Floats]:
        """The outputs of the first steps; x has zeros behind these steps, enough for the last chunk of any graph."""
        start = 0
        while start < steps:
            session = self._session(state)
            end = start + session.metadata.unroll
            y, state = session.run_chunk(x[start:end], state)
            yield y[: steps - start]
            start = end

    @overload
    def copy(self, words: Words) -> Words: ...

    @overload
    def copy(self, words: Sequence[Any]) -> npt.NDArray[Any]: ...

    def copy(self, words: Words | Sequence[Any]) -> npt.NDArray[Any]:
        """Copy sequences of words by a model of the copy task (``ntm.tasks.Copy``).

        The network sees the words, then the delimiter; then it outputs the words from its memory.

        Args:
            words: ``[B, L, bits]``, an array or nested lists of numbers or booleans; each element is 0 or 1.

        Returns:
            An array of the same shape and dtype: the output bits, thresholded at 0.5.

        Raises:
            ValueError: ``words`` is not as described.
            ModelError: the model was trained on another task, or the backend cannot run the graph.

        Warns:
            UserWarning: the memory has too few locations for the sequences.
        """
        if self.metadata.task_name != copying.Copy.name:
            model = self.metadata
            raise ModelError(f"the model {model.model_name} was trained on {model.task_name}, not on copy")
        checked = self._checked_words(words)
        copied = np.empty_like(checked)
        if not checked.size:
            return copied
        length = checked.shape[1]
        needed = copying.Copy().memory_locations({"length": length})
        locations = self._given_locations or max(self.memory_locations, needed)
        if locations < needed:
            warnings.warn(
                f"a sequence of {length:,} words exceeds the {locations:,} memory locations, which hold "
                f"{max(locations - 2, 0):,}: expect wrong bits",
                stacklevel=2,
            )
        size = self.batch_size(locations)
        for start in range(0, len(checked), size):
            batch = checked[start : start + size]
            x = copying.inputs(batch.transpose(1, 0, 2), padding=self._most_steps - 1)
            steps = 2 * length + 1
            y = np.concatenate(list(self._chunks(x, steps, self.initial_state(len(batch), locations))))
            copied[start : start + size] = y[length + 1 :].transpose(1, 0, 2) > 0.5
        return copied

    def trace(self, x: npt.ArrayLike, state: GivenState) -> Trace:
        """Run one sequence step by step, and record the inside of the network.

        Args:
            x: the inputs, ``[T, 1, I]``; T is not 0.
            state: the state to start from, of one sequence.

        Raises:
            TypeError: ``state`` is no state.
            ValueError: a shape is not the model's, or something else than numbers is given.
            ModelError: the network has no memory, or the backend cannot run the graph.
        """
        self.check_heads()
        x = self._checked_inputs(x)
        if x.shape[1] != 1 or not len(x):
            raise ValueError(f"x must hold one sequence of a step at least, not {x.shape}")
        now = self._checked(state, 1)
        last_input = np.flatnonzero(x.any(axis=(1, 2))).max(initial=0)
        steps, memory = [], now[MEMORY]
        for t, x_t in enumerate(x):
            y, now, adds = self._step.run(x_t, now)
            steps.append({X: x_t, Y: y, ADDS: adds} | {name: now[name] for name in now if name != MEMORY})
            if t == last_input:
                memory = now[MEMORY]
        rows = {name: np.stack([step[name][0] for step in steps]) for name in steps[0]}
        x, y, adds, weights, reads = (rows.pop(name) for name in (X, Y, ADDS, WEIGHTS, READS))
        return Trace(x, y, adds, weights, reads, memory[0], carried=rows)

    def check_heads(self) -> None:
        """Refuse a network without heads, which ``trace`` cannot record.

        Raises:
            ModelError: it has no memory and no heads.
        """
        if not self.metadata.has_heads:
            raise ModelError(f"the model {self.metadata.model_name} has no memory and no heads to trace")

    def prepare(self, batch_size: int, memory_locations: int) -> None:
        """Load the graphs that ``run`` will use for this many sequences, and for one.

        Raises:
            ModelError: the backend cannot load a graph.
        """
        for size in (min(batch_size, self.batch_size(memory_locations)), 1):
            self._session(self.initial_state(size, memory_locations)).prepare()

    def _session(self, state: State) -> Session:
        """The session of the fastest graph for this state."""
        sessions = self._sessions
        if WEIGHTS not in state or len(sessions) == 1:
            return sessions.get(UNROLLED, self._step)
        weights = state[WEIGHTS]
        batch_size, _, locations = weights.shape
        by_content = self.metadata.content_addressing
        fits = locations <= _BATCHED_LOCATIONS[by_content] and batch_size >= _BATCHED_RATIO[by_content] * locations
        if fits and BATCHED in sessions:
            return sessions[BATCHED]
        large = batch_size * locations >= _SPARSE_LOCATIONS or batch_size >= _SPARSE_SEQUENCES
        if large and SPARSE in sessions and _looked_at(weights) <= _SPARSE_SHARE * locations:
            return sessions[SPARSE]
        return sessions.get(UNROLLED, self._step)

    def _checked(self, state: GivenState, batch_size: int) -> State:
        """A state of B sequences, checked, as float32 arrays."""
        names = self.metadata.state
        if not isinstance(state, Mapping) or state.keys() != names.keys():
            raise TypeError(f"state must hold arrays by name: {', '.join(names)}")
        arrays = {name: arguments.floats(name, state[name]) for name in names}
        locations = locations_of(arrays)
        if locations < self.metadata.least_locations:
            self._checked_locations(locations)
        expected = self._step.shapes(batch_size, locations)
        for name, value in arrays.items():
            if value.shape != expected[name]:
                raise ValueError(f"{name} must have the shape {expected[name]}, not {value.shape}")
        return arrays

    def _checked_inputs(self, x: npt.ArrayLike) -> Floats:
        x = np.asarray(arguments.numbers("x", x), np.float32)
        if x.ndim != 3 or x.shape[2] != self.metadata.input_size:
            raise ValueError(f"x must have the shape [T, B, {self.metadata.input_size}], not {x.shape}")
        return x

    def _checked_sequence(self, name: str, x: npt.ArrayLike) -> Floats:
        x = np.asarray(arguments.numbers(name, x), np.float32)
        if x.ndim != 2 or x.shape[1] != self.metadata.input_size:
            raise ValueError(f"{name} must have the shape [T, {self.metadata.input_size}], not {x.shape}")
        return x

    def _checked_words(self, words: npt.ArrayLike) -> npt.NDArray[Any]:
        array, bits = arguments.numbers("words", words), self.metadata.output_size
        if array.ndim != 3 or array.shape[2] != bits:
            raise ValueError(f"words must have the shape [B, L, {bits}], not {array.shape}")
        wrong = array[array > 1 if array.dtype.kind in "bu" else (array != 0) & (array != 1)]
        if wrong.size:
            raise ValueError(f"words must hold nothing but 0 and 1, not {wrong[0]}")
        return array

    def _compiled_locations(self, compiled: int) -> int:
        """N of a native library, unless another N was asked for.

        Raises:
            ModelError: another N was asked for.
        """
        if self._given_locations not in (None, compiled) and self.metadata.has_heads:
            raise ModelError(
                f"the model {self._files.step.path} is compiled for N = {compiled}, not {self._given_locations}: "
                "ntm-export --format native --memory-locations"
            )
        return compiled

    def _checked_locations(self, locations: int) -> int:
        return arguments.whole_number("memory_locations", locations, self.metadata.least_locations)


def _restored(
    kind: type[Model], files: folder.ModelFolder, memory_locations: int | None, options: dict[str, Any]
) -> Model:
    """A model, from its pickle."""
    return kind(files, memory_locations, **options)


def _looked_at(weights: Floats) -> int:
    """The number of locations that the heads of all sequences together use; see ``_SPARSE_SHARE``."""
    return int(np.count_nonzero(~(weights.sum((0, 1)) <= NEGLIGIBLE)))  # NaN counts, as in the graph


def _initial(tensor: StateTensor, batch_size: int, locations: int) -> Floats:
    """A tensor of the initial state, ``[B, ...]``."""
    first = np.array(tensor.first, np.float32)
    if tensor.beyond is None:
        return np.tile(first, (batch_size, *[1] * first.ndim))
    values = np.empty((batch_size, len(tensor.first), locations), np.float32)
    values[:] = 1 / locations if tensor.beyond == UNIFORM else np.array(tensor.beyond, np.float32)[:, np.newaxis]
    values[:, :, : tensor.first_locations] = first
    return values
