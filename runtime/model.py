"""A trained network, run by onnxruntime: Graves et al. (2014, arXiv:1410.5401) without TensorFlow.

Shapes are those of the legend in ``ntm.models``: B sequences side by side, L words of W bits, N memory locations of
M numbers, R read and K write heads. Everything but N follows from the metadata of the model's files.
"""

import os
import threading
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from ntm.runtime import folder
from ntm.runtime.folder import ModelError
from ntm.runtime.metadata import INPUTS, Metadata

__all__ = ["Model", "ModelError", "State", "Trace", "load"]

# By measurement (benchmarks/RESULTS.md), of networks that search and of those that never do. The batched graph is the
# fastest where N is at most this, and B at least so many times N.
_BATCHED_LOCATIONS, _BATCHED_RATIO = {True: 32, False: 24}, {True: 3, False: 2}
# The sparse graph is the faster one of the others where B * N, or B, is at least this, and heads look at no more than
# a share of the N locations; where they search, only write heads count.
_SPARSE_LOCATIONS, _SPARSE_SEQUENCES = 2048, 32
_SPARSE_SHARE = {True: 1 / 10, False: 1 / 3}
# Locations side by side, B * N, in the batched graph and in the others. More run no faster, and take memory.
_BATCHED_AT_ONCE, _AT_ONCE = 1 << 13, 1 << 15

# What heads look at with so small a weight is left alone by the sparse graph, which says why it may.
NEGLIGIBLE = 2.0**-28

Floats = npt.NDArray[np.float32]
Words = TypeVar("Words", npt.NDArray[np.uint8], npt.NDArray[np.bool_])


class State(NamedTuple):
    """What the network carries from one step to the next."""

    memory: Floats  # [B, M, N]
    weights: Floats  # [B, R+K, N], the weightings of the read heads, then those of the write heads
    reads: Floats  # [B, R, M]


class Trace(NamedTuple):
    """What the network did at each of the T = 2 L + 1 steps of the copy of one sequence."""

    x: Floats  # [T, W+1]
    y: Floats  # [T, W], probabilities
    adds: Floats  # [T, K, M], the vectors that the write heads added
    weights: Floats  # [T, R+K, N], the weightings of the read heads, then those of the write heads
    reads: Floats  # [T, R, M]
    memory: Floats  # [M, N], after the delimiter, between the last word seen and the first one recalled


def load(
    path: str | os.PathLike[str] | None = None,
    *,
    memory_locations: int | None = None,
    batch_size: int | None = None,
    threads: int = 1,
) -> "Model":
    """Load an exported model.

    A file that differs in one bit from what was exported is refused. That is no protection from those who mean harm,
    since onnxruntime can be crashed by a graph that is made for it: load models only of those whom you trust.

    Args:
        path: its folder, by default the bundled model's.
        memory_locations: N, by default the configuration's, or more where ``Model.copy`` needs more. Nothing that is
            learned depends on it.
        batch_size: B, the most sequences that ``Model.copy`` runs side by side. By default as many as run fastest;
            either way it takes any number, and cuts them.
        threads: the threads that share the work of one step. Several rarely help: sequences are better divided
            among calls of ``Model.copy`` in threads of the caller's, which do not hold each other up.

    Raises:
        ModelError: there is no such model, or it is damaged or of another schema; the message is one line.
        ValueError: ``memory_locations``, ``batch_size`` or ``threads`` is too small.
    """
    files = folder.read(folder.BUNDLED if path is None else path)
    return Model(files, memory_locations, batch_size=batch_size, threads=threads)


def locations_for(length: int) -> int:
    """N that sequences of so many words need: one location each, one for the delimiter, and one of slack."""
    return length + 2


def warn_if_exceeded(length: int, locations: int) -> None:
    """Warn the caller's caller of sequences that so many memory locations do not hold."""
    if locations < locations_for(length):
        warnings.warn(
            f"a sequence of {length:,} words exceeds the {locations:,} memory locations, which hold "
            f"{max(locations - 2, 0):,}: expect wrong bits",
            stacklevel=3,
        )


class Model:
    """A network that copies; made by ``load``. One object may serve several threads at a time.

    With ``own_process``, as a command has it, onnxruntime is also asked for what it does to the whole process: to be
    silent in all of it, and to take denormal numbers for 0 in every thread from the first session on.

    Attributes:
        metadata: what the model's files say of it.
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
        if threads < 1:
            raise ValueError(f"threads must be at least 1, not {threads}")
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        self.metadata = files.metadata
        self._given_locations = memory_locations
        self._given_batch_size = batch_size
        self._check_locations(self.memory_locations)
        sessions = [_Session(graph, threads, own_process=own_process) for graph in files]
        self._step, self._unrolled, self._sparse, self._batched = sessions
        self._most_steps = max(graph.metadata.unroll for graph in files)

    @property
    def config(self) -> dict[str, Any]:
        """The fields of ``ntm.models.NTMConfig``, of JSON types."""
        return dict(self.metadata.config)

    @property
    def memory_locations(self) -> int:
        """N of a state, unless another is asked for."""
        return self.metadata.memory_locations if self._given_locations is None else self._given_locations

    def unroll(self, batch_size: int, memory_locations: int) -> int:
        """U, the time steps that ``recall`` takes at first of so many sequences in so many locations."""
        return self._session(batch_size, self._initial_weights(1, memory_locations)).metadata.unroll

    def batch_size(self, memory_locations: int) -> int:
        """B, the most sequences that run side by side in so many locations."""
        self._check_locations(memory_locations)
        most = _BATCHED_LOCATIONS[self.metadata.searches]
        at_once = _BATCHED_AT_ONCE if memory_locations <= most else _AT_ONCE
        return self._given_batch_size or max(1, at_once // memory_locations)

    def initial_state(self, batch_size: int, memory_locations: int | None = None) -> State:
        """The state before the first step.

        Args:
            batch_size: B.
            memory_locations: N, by default ``self.memory_locations``.

        Raises:
            ValueError: B is negative, or N smaller than the number of locations that the heads start from, or need to
                shift over.
        """
        locations = self.memory_locations if memory_locations is None else memory_locations
        self._check_locations(locations)
        if batch_size < 0:
            raise ValueError(f"batch_size must be at least 0, not {batch_size}")
        initial, m = self.metadata.initial_state, self.metadata.memory_vector_size
        memory = np.empty((batch_size, m, locations), np.float32)
        memory[:] = np.array(initial.memory, np.float32)[:, np.newaxis]
        weights = self._initial_weights(batch_size, locations)
        reads = np.empty((batch_size, self.metadata.read_heads, m), np.float32)
        reads[:] = np.array(initial.reads, np.float32)
        return State(memory, weights, reads)

    def step(self, x: npt.ArrayLike, state: State) -> tuple[Floats, State]:
        """One time step.

        Args:
            x: the input, ``[B, W+1]``: a word, and 1 in the last channel for the delimiter.
            state: the state after the step before, or ``initial_state``.

        Returns:
            y, ``[B, W]``, the probability of each output bit; and the state after this step.

        Raises:
            ValueError: a shape is not the model's.
            ModelError: onnxruntime cannot run the graph.
        """
        x = np.ascontiguousarray(x, np.float32)
        batch = x.shape[0] if x.ndim else 0
        if x.shape != (batch, self.metadata.word_bits + 1):
            raise ValueError(f"x must have the shape {(batch, self.metadata.word_bits + 1)}, not {x.shape}")
        y, *next_state, _ = self._step.run(x, *self._checked(state, batch))
        return y, State(*next_state)

    def copy(self, words: Words) -> Words:
        """Show the network a batch of sequences, and return what it then recalls.

        The copy task of section 4.1 of the paper: the words, a delimiter, then silence, while the network gives the
        words back from its memory. Nothing else carries them from the argument to the result.

        Args:
            words: ``[B, L, W]`` of uint8 or bool, each element 0 or 1.

        Returns:
            The same shape and dtype: the output bits, thresholded at 0.5.

        Raises:
            ValueError: ``words`` is not as described.
            ModelError: onnxruntime cannot run the graph.

        Warns:
            UserWarning: the memory was given too few locations to hold such a sequence.
        """
        words = self._checked_words(words)
        copied = np.empty_like(words)
        if not words.size:
            return copied
        length = words.shape[1]
        locations = self._given_locations or max(self.memory_locations, locations_for(length))
        warn_if_exceeded(length, locations)
        batch_size = self.batch_size(locations)
        for start in range(0, len(words), batch_size):
            batch = words[start : start + batch_size]
            y = np.concatenate(list(self.recall(batch, self.initial_state(len(batch), locations))))  # [L, B, W]
            copied[start : start + batch_size] = y.transpose(1, 0, 2) > 0.5
        return copied

    def recall(self, words: Words, state: State) -> Iterator[Floats]:
        """Like ``copy``, but as probabilities, and chunk by chunk: the caller can watch, and stop.

        Args:
            words: ``[B, L, W]`` of uint8 or bool, each element 0 or 1; neither B nor L is 0.
            state: the state to start from, for B sequences side by side, and N of the caller's choice.

        Returns:
            An iterator: after every chunk, as long as suits the graph, the probabilities of the output words it gave,
            ``[n, B, W]``. n is 0 while the network still listens; all together are L.

        Raises:
            ValueError: ``words`` or ``state`` is not as described.
            ModelError: onnxruntime cannot run the graph.
        """
        words = self._checked_words(words)
        if not words.size:
            raise ValueError(f"words must hold a sequence of a word at least, not {words.shape}")
        state = self._checked(state, len(words))
        steps, first = 2 * words.shape[1] + 1, words.shape[1] + 1
        # To the end of any graph's last chunk: steps beyond the last output word change nothing that is looked at.
        x = self._inputs(words, steps + self._most_steps - 1)

        def chunks(state: State) -> Iterator[Floats]:
            start = 0
            while start < steps:
                session = self._session(len(words), state.weights)
                end = start + session.metadata.unroll
                y, *next_state = session.run(x[start:end], *state)
                state = State(*next_state)
                yield y[max(first - start, 0) : steps - start]
                start = end

        return chunks(state)

    def trace(self, words: Words, state: State) -> Trace:
        """Copy one sequence step by step, and keep what can be seen inside the network.

        Args:
            words: ``[1, L, W]`` of uint8 or bool, each element 0 or 1.
            state: the state to start from, with N of the caller's choice.

        Raises:
            ValueError: ``words`` or ``state`` is not as described.
            ModelError: onnxruntime cannot run the graph.
        """
        words = self._checked_words(words)
        if len(words) != 1:
            raise ValueError(f"words must hold one sequence, not {len(words)}")
        state = self._checked(state, 1)
        length = words.shape[1]
        x = self._inputs(words, 2 * length + 1)
        rows, memory = [], state.memory
        for t, x_t in enumerate(x):
            y, *next_state, adds = self._step.run(x_t, *state)
            state = State(*next_state)
            rows.append((x_t[0], y[0], adds[0], state.weights[0], state.reads[0]))
            if t == length:
                memory = state.memory
        x, y, adds, weights, reads = (np.stack(column) for column in zip(*rows, strict=True))
        return Trace(x, y, adds, weights, reads, memory[0])

    def prepare(self, batch_size: int, memory_locations: int) -> None:
        """Do now what ``copy`` would do first when it is called with so many sequences, or one, and raise its errors.

        Raises:
            ModelError: onnxruntime cannot load the graph.
        """
        for size in (min(batch_size, self.batch_size(memory_locations)), 1):  # a batch, and the least that may remain
            self._session(size, self._initial_weights(1, memory_locations)).prepare()

    def _session(self, batch_size: int, weights: Floats) -> "_Session":
        """The graph that is the fastest for so many sequences, as the heads now look: ``[B or 1, R+K, N]``."""
        locations, searches = weights.shape[2], self.metadata.searches
        if locations <= _BATCHED_LOCATIONS[searches] and batch_size >= _BATCHED_RATIO[searches] * locations:
            return self._batched
        if batch_size * locations < _SPARSE_LOCATIONS and batch_size < _SPARSE_SEQUENCES:
            return self._unrolled
        few = self._looked_at(weights) <= _SPARSE_SHARE[searches] * locations
        return self._sparse if few else self._unrolled

    def _looked_at(self, weights: Floats) -> int:
        """The number of locations that heads look at, of all sequences together; where they search, the write heads."""
        looking = weights[:, self.metadata.read_heads :] if self.metadata.searches else weights
        return int(np.count_nonzero(~(looking.sum((0, 1)) <= NEGLIGIBLE)))  # NaN counts, as in the graph

    def _initial_weights(self, batch_size: int, locations: int) -> Floats:
        first = np.array(self.metadata.initial_state.weights, np.float32)  # [R+K, P]
        weights = np.zeros((batch_size, len(first), locations), np.float32)
        weights[:, :, : first.shape[1]] = first
        return weights

    def _checked(self, state: State, batch_size: int) -> State:
        """A state for so many sequences, as onnxruntime takes it."""
        arrays = [np.ascontiguousarray(value, np.float32) for value in state]
        locations = arrays[0].shape[-1] if arrays[0].ndim else 0
        self._check_locations(locations)
        expected = folder.shapes(self.metadata, batch_size, locations)
        for name, value in zip(INPUTS[1:], arrays, strict=True):
            if value.shape != expected[name]:
                raise ValueError(f"{name} must have the shape {expected[name]}, not {value.shape}")
        return State(*arrays)

    def _checked_words(self, words: Words) -> Words:
        words = np.asarray(words)
        w = self.metadata.word_bits
        if words.dtype not in (np.uint8, np.bool_) or words.ndim != 3 or words.shape[2] != w:
            raise ValueError(f"words must be uint8 or bool of shape [B, L, {w}], not {words.dtype} of {words.shape}")
        if words.dtype == np.uint8 and words.max(initial=0) > 1:
            raise ValueError("words must hold nothing but 0 and 1")
        return words

    def _inputs(self, words: npt.NDArray[Any], steps: int) -> Floats:
        """What the network sees of words ``[B, L, W]``: them, the delimiter, then zeros; ``[steps, B, W+1]``."""
        batch, length, w = words.shape
        x = np.zeros((steps, batch, w + 1), np.float32)
        x[:length, :, :w] = words.transpose(1, 0, 2)
        x[length, :, w] = 1.0
        return x

    def _check_locations(self, locations: int) -> None:
        least = self.metadata.least_locations
        if locations < least:
            raise ValueError(f"memory_locations must be at least {least}, not {locations}")


class _Session:
    """A graph and its onnxruntime session, which is made when it is first needed: that takes most of the loading."""

    def __init__(self, graph: folder.Graph, threads: int, *, own_process: bool = False) -> None:
        self.metadata: Metadata = graph.metadata
        self._graph = graph
        self._threads = threads
        self._own_process = own_process
        self._lock = threading.Lock()
        self._session: Any = None
        self._run_options: Any = None

    def prepare(self) -> None:
        with self._lock:
            if self._session is None:
                self._session = self._make()

    def run(self, *inputs: Floats) -> list[Floats]:
        """Take the INPUTS to the graph's outputs, each in their order."""
        self.prepare()
        try:
            feed = dict(zip(INPUTS, inputs, strict=True))
            outputs = self._session.run(self.metadata.outputs, feed, self._run_options)
        except Exception as error:  # of several classes without a common base
            raise ModelError(f"cannot run the model {self._graph.path}: {_first_line(error)}") from error
        expected = folder.shapes(self.metadata, inputs[1].shape[0], inputs[1].shape[2])
        for name, value in zip(self.metadata.outputs, outputs, strict=True):
            if value.shape != expected[name]:
                raise ModelError(f"cannot run the model {self._graph.path}: its {name} is of shape {value.shape}")
        return outputs  # type: ignore[no-any-return]

    def _make(self) -> Any:
        import onnxruntime  # noqa: PLC0415  (as slow to import as all else together)

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = _FATAL
        if self._own_process:
            onnxruntime.set_default_logger_severity(_FATAL)
            # Weightings underflow into denormals, on which some processors are many times slower.
            options.add_session_config_entry("session.set_denormal_as_zero", "1")
        self._run_options = onnxruntime.RunOptions()
        self._run_options.log_severity_level = _FATAL
        try:
            # From bytes: the file that was checked is the one that runs, and it can name no other file as its data.
            # Without the fallback, which prints on stdout, where a copy may be going.
            return onnxruntime.InferenceSession(
                self._graph.content, options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
        except Exception as error:  # of several classes without a common base
            raise ModelError(f"cannot load the model {self._graph.path}: {_first_line(error)}") from error


_FATAL = 4  # the only messages that onnxruntime may print: what it raises is in our own words


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]
