"""A trained network, run by onnxruntime: Graves et al. (2014, arXiv:1410.5401) without TensorFlow.

Shapes are those of the legend in ``ntm.models``: B sequences side by side, L words of W bits, N memory locations of
M numbers, R read and K write heads. Everything but N follows from the metadata of the model's files.
"""

import os
import threading
import warnings
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from ntm.runtime import folder
from ntm.runtime.folder import ModelError
from ntm.runtime.metadata import INPUTS, OUTPUTS, Metadata

__all__ = ["Model", "ModelError", "State", "load"]

Floats = npt.NDArray[np.float32]
Words = TypeVar("Words", npt.NDArray[np.uint8], npt.NDArray[np.bool_])


class State(NamedTuple):
    """What the network carries from one step to the next."""

    memory: Floats  # [B, M, N]
    weights: Floats  # [B, R+K, N], the weightings of the read heads, then those of the write heads
    reads: Floats  # [B, R, M]


def load(
    path: str | os.PathLike[str] | None = None, *, memory_locations: int | None = None, threads: int = 1
) -> "Model":
    """Load an exported model.

    A file that differs in one bit from what was exported is refused. That is no protection from those who mean harm,
    since onnxruntime can be crashed by a graph that is made for it: load models only of those whom you trust.

    Args:
        path: its folder, by default the bundled model's.
        memory_locations: N, by default the configuration's, or more where ``Model.copy`` needs more. Nothing that is
            learned depends on it.
        threads: the threads that share the work of one step. Several rarely help: sequences are better divided
            among calls of ``Model.copy`` in threads of the caller's, which do not hold each other up.

    Raises:
        ModelError: there is no such model, or it is damaged or of another schema; the message is one line.
        ValueError: ``memory_locations`` or ``threads`` is too small.
    """
    return Model(folder.read(folder.BUNDLED if path is None else path), memory_locations, threads)


class Model:
    """A network that copies; made by ``load``. One object may serve several threads at a time.

    Attributes:
        metadata: what the model's files say of it.
    """

    def __init__(self, files: folder.ModelFolder, memory_locations: int | None = None, threads: int = 1) -> None:
        if threads < 1:
            raise ValueError(f"threads must be at least 1, not {threads}")
        self.metadata = files.metadata
        self._given_locations = memory_locations
        self._check_locations(self.memory_locations)
        self._step = _Session(files.step, threads)
        self._unrolled = _Session(files.unrolled, threads)

    @property
    def config(self) -> dict[str, Any]:
        """The fields of ``ntm.models.NTMConfig``, of JSON types."""
        return dict(self.metadata.config)

    @property
    def memory_locations(self) -> int:
        """N of a state, unless another is asked for."""
        return self.metadata.memory_locations if self._given_locations is None else self._given_locations

    def initial_state(self, batch_size: int, memory_locations: int | None = None) -> State:
        """The state before the first step.

        Args:
            batch_size: B.
            memory_locations: N, by default ``self.memory_locations``.

        Raises:
            ValueError: B is negative, or N smaller than the number of locations that the heads start from.
        """
        locations = self.memory_locations if memory_locations is None else memory_locations
        self._check_locations(locations)
        if batch_size < 0:
            raise ValueError(f"batch_size must be at least 0, not {batch_size}")
        initial, m = self.metadata.initial_state, self.metadata.memory_vector_size
        memory = np.empty((batch_size, m, locations), np.float32)
        memory[:] = np.array(initial.memory, np.float32)[:, np.newaxis]
        first = np.array(initial.weights, np.float32)  # [R+K, P]
        weights = np.zeros((batch_size, len(first), locations), np.float32)
        weights[:, :, : first.shape[1]] = first
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
        inputs = [np.ascontiguousarray(value, np.float32) for value in (x, *state)]
        batch = inputs[0].shape[0] if inputs[0].ndim else 0
        locations = inputs[1].shape[-1] if inputs[1].ndim else 0
        expected = folder.shapes(self._step.metadata, batch, locations)
        for name, value in zip(INPUTS, inputs, strict=True):
            if value.shape != expected[name]:
                raise ValueError(f"{name} must have the shape {expected[name]}, not {value.shape}")
        y, *next_state = self._step.run(*inputs)
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
        w = self.metadata.word_bits
        if words.dtype not in (np.uint8, np.bool_) or words.ndim != 3 or words.shape[2] != w:
            raise ValueError(f"words must be uint8 or bool of shape [B, L, {w}], not {words.dtype} of {words.shape}")
        if words.dtype == np.uint8 and words.max(initial=0) > 1:
            raise ValueError("words must hold nothing but 0 and 1")
        batch, length = words.shape[:2]
        if not words.size:
            return words.copy()

        unroll, steps = self._unrolled.metadata.unroll, 2 * length + 1
        # In whole chunks of the graph: steps beyond the last output word change nothing that is looked at.
        padded = -(-steps // unroll) * unroll
        x = np.zeros((padded, batch, w + 1), np.float32)
        x[:length, :, :w] = words.transpose(1, 0, 2)
        x[length, :, w] = 1.0
        bits = np.empty((padded, batch, w), np.bool_)
        state = list(self.initial_state(batch, self._locations_for(length)))
        for start in range(0, padded, unroll):
            y, *state = self._unrolled.run(x[start : start + unroll], *state)
            np.greater(y, 0.5, out=bits[start : start + unroll])
        return bits[length + 1 : steps].transpose(1, 0, 2).astype(words.dtype)

    def prepare(self) -> None:
        """Do now what ``copy`` would do when it is first called, and raise its ``ModelError``."""
        self._unrolled.prepare()

    def _locations_for(self, length: int) -> int:
        """N for sequences of so many words: one location each, one for the delimiter, and one of slack."""
        if self._given_locations is None:
            return max(self.memory_locations, length + 2)
        if self._given_locations < length + 2:
            warnings.warn(
                f"a sequence is longer than the {self._given_locations - 2} words that {self._given_locations} "
                "memory locations hold: expect wrong bits",
                stacklevel=3,
            )
        return self._given_locations

    def _check_locations(self, locations: int) -> None:
        least = len(self.metadata.initial_state.weights[0])
        if locations < least:
            raise ValueError(f"memory_locations must be at least {least}, not {locations}")


class _Session:
    """A graph and its onnxruntime session, which is made when it is first needed: that takes most of the loading."""

    def __init__(self, graph: folder.Graph, threads: int) -> None:
        self.metadata: Metadata = graph.metadata
        self._graph = graph
        self._threads = threads
        self._lock = threading.Lock()
        self._session: Any = None
        self._run_options: Any = None

    def prepare(self) -> None:
        with self._lock:
            if self._session is None:
                self._session = self._make()

    def run(self, *inputs: Floats) -> list[Floats]:
        """Take x and the state to y and the next state, in the order of INPUTS and OUTPUTS."""
        self.prepare()
        try:
            outputs = self._session.run(OUTPUTS, dict(zip(INPUTS, inputs, strict=True)), self._run_options)
        except Exception as error:  # of several classes without a common base
            raise ModelError(f"cannot run the model {self._graph.path}: {_first_line(error)}") from error
        expected = folder.shapes(self.metadata, inputs[1].shape[0], inputs[1].shape[2])
        for name, value in zip(OUTPUTS, outputs, strict=True):
            if value.shape != expected[name]:
                raise ModelError(f"cannot run the model {self._graph.path}: its {name} is of shape {value.shape}")
        return outputs  # type: ignore[no-any-return]

    def _make(self) -> Any:
        import onnxruntime  # noqa: PLC0415  (as slow to import as all else together)

        onnxruntime.set_default_logger_severity(_FATAL)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = _FATAL
        # Weightings underflow into denormals, on which a processor is many times slower.
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
