"""The publish gate: a format is published only if it agrees with TensorFlow, tensor by tensor and step by step.

Every step of a graph starts from the state that TensorFlow has. A graph of several steps is compared so in the state
after its first step, and then all its steps with that one repeated, and with y of the graph of one step. So the error
of the graph is measured and nothing else: left to itself over many steps one rounding can grow, and TensorFlow with XLA
and TensorFlow without part just as far from each other.

A quantised graph has other numbers by intent. No bit may differ all the same, and left to itself it may get none
wrong, at any length.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import tensorflow as tf

from ntm import text
from ntm.export.step import locations_for, step_function
from ntm.models import NTMCell
from ntm.runtime.metadata import INPUTS, STEP_OUTPUTS, Metadata

TOLERANCE = 1e-5
LEAST_STEPS = 1000
# What a quantised graph has to copy: L, and how many sequences of each.
LENGTHS, SEQUENCES = (1, 20, 120, 1000), 8

_X, _Y, _ADDS = INPUTS[0], STEP_OUTPUTS[0], STEP_OUTPUTS[-1]

Tensors = Mapping[str, np.ndarray]
Graph = Callable[[Tensors], Tensors]


@dataclasses.dataclass
class Agreement:
    """How far a graph has strayed from TensorFlow.

    Attributes:
        tolerance: how far a tensor may stray, None where only bits count.
        steps: the steps compared.
        difference: the largest difference by output, of those compared: absolute, and relative to numbers above 1.
        differing_bits: the bits of the copies, y > 0.5, that differ.
        wrong_bits: the bits of the graph's own copies that are not those of the words, by length, where counted.
    """

    tolerance: float | None = TOLERANCE
    steps: int = 0
    difference: dict[str, float] = dataclasses.field(default_factory=dict)
    differing_bits: int = 0
    wrong_bits: dict[int, int] = dataclasses.field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """No bit differs or is wrong, and no tensor strays too far."""
        tolerance = np.inf if self.tolerance is None else self.tolerance
        close = all(difference <= tolerance for difference in self.difference.values())  # a NaN is not
        return close and self.differing_bits == 0 and not any(self.wrong_bits.values())

    def note(self, name: str, expected: np.ndarray, actual: np.ndarray) -> None:
        """Take two values of an output into account."""
        # Where a head stays long after a copy memory grows beyond 100, and two floats of there are 1e-5 apart.
        scale = np.maximum(np.abs(expected), 1.0)
        difference = np.max(np.abs(expected - actual) / scale) if expected.shape == actual.shape else np.inf
        self.difference[name] = float(np.maximum(self.difference.get(name, 0.0), difference))  # a NaN stays

    def note_y(self, expected: np.ndarray, actual: np.ndarray, copying: np.ndarray | slice = slice(None)) -> None:
        """Take two values of y into account, and the bits of those that are the copy."""
        self.note(_Y, expected, actual)
        if expected.shape == actual.shape:
            self.differing_bits += int(np.count_nonzero(((expected > 0.5) != (actual > 0.5))[copying]))


@dataclasses.dataclass(frozen=True)
class Trajectory:
    """What TensorFlow makes of a batch of sequences to copy.

    Attributes:
        words: of each sequence, ``[L, W]``, of various L.
        x: ``[T, B, W+1]``.
        copying: ``[T, B]``, where y is the copy.
        y: ``[T, B, W]``.
        adds: ``[T, B, K, M]``.
        states: the T + 1 states before each step and after the last, by the name of the input.
    """

    words: list[np.ndarray]
    x: np.ndarray
    copying: np.ndarray
    y: np.ndarray
    adds: np.ndarray
    states: list[dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A graph to be compared with TensorFlow.

    Attributes:
        name: what the table calls it.
        metadata: what it says of itself.
        compare: compares it with a trajectory and notes what it finds.
        start: the initial state of one sequence, if it brings one.
        quantised: the graph of a step, if its numbers are other than TensorFlow's by intent.
    """

    name: str
    metadata: Metadata
    compare: Callable[[Trajectory, Agreement], None]
    start: Tensors | None = None
    quantised: Graph | None = None


def prove(cell: NTMCell, longest: int, candidates: Iterable[Candidate]) -> dict[str, Agreement]:
    """Compare graphs with TensorFlow on copies of random words, until ``LEAST_STEPS`` were compared.

    Args:
        cell: the network. It is compiled by XLA, as in training: without, TensorFlow adds up a read vector location
            by location, and at 500 locations is itself wrong by more than the tolerance.
        longest: L of the longest sequences, beyond those of the training.
        candidates: the graphs.
    """
    candidates = list(candidates)
    agreements = {c.name: Agreement(None if c.quantised else TOLERANCE) for c in candidates}
    steps = max([2 * longest + 1, *(candidate.metadata.unroll for candidate in candidates)])
    compiled = tf.function(step_function(cell).python_function, jit_compile=True, autograph=False)
    random = np.random.default_rng(0)
    for _ in range(-(-LEAST_STEPS // steps)):
        lengths = (1, longest // 6, longest // 2, longest)
        words = [random.integers(0, 2, [length, cell.config.word_bits], np.uint8) for length in lengths]
        trajectory = _trajectory(cell, compiled, words, steps)
        for candidate in candidates:
            candidate.compare(trajectory, agreements[candidate.name])
    for candidate in candidates:
        if candidate.start is not None:
            _compare_start(cell, candidate.start, agreements[candidate.name])
        if candidate.quantised is not None:
            agreements[candidate.name].wrong_bits = count_wrong_bits(cell, candidate.quantised, LENGTHS)
    return agreements


def compare_steps(trajectory: Trajectory, agreement: Agreement, step: Graph) -> None:
    """Compare every output of a graph of one step, which takes the ``INPUTS`` and returns the ``STEP_OUTPUTS``."""
    for t, x in enumerate(trajectory.x):
        outputs = step({_X: x, **trajectory.states[t]})
        agreement.note_y(trajectory.y[t], outputs[_Y], trajectory.copying[t])
        agreement.note(_ADDS, trajectory.adds[t], outputs[_ADDS])
        _note_state(agreement, trajectory.states[t + 1], outputs)
    agreement.steps += len(trajectory.x)


def compare_chunks(
    trajectory: Trajectory, agreement: Agreement, *, chunk: Graph, first: Graph, step: Graph, unroll: int
) -> None:
    """Compare a graph of U steps, of x ``[U, B, W+1]``: its first step with TensorFlow, and all with that repeated.

    All chunks of the trajectory run side by side.

    Args:
        trajectory: what TensorFlow makes.
        agreement: where it is noted.
        chunk: the graph.
        first: its first step, as far as the next state goes.
        step: a graph of one step that was compared, for the y of a state.
        unroll: U.
    """
    steps = len(trajectory.x)
    starts = [*range(0, steps - unroll, unroll), steps - unroll]  # the last two chunks may overlap
    x, copying = (
        np.concatenate([values[start : start + unroll] for start in starts], axis=1)
        for values in (trajectory.x, trajectory.copying)
    )
    state = _side_by_side(trajectory, starts)
    actual, y = chunk({_X: x, **state}), []
    for i, x_i in enumerate(x):
        at = [start + i for start in starts]
        expected = _side_by_side(trajectory, [t + 1 for t in at])
        _note_state(agreement, expected, first({_X: x_i, **_side_by_side(trajectory, at)}))
        y.append(step({_X: x_i, **state})[_Y])
        outputs = first({_X: x_i, **state})
        state = {name: outputs[f"next_{name}"] for name in state}
    agreement.note_y(np.stack(y), actual[_Y], copying)
    _note_state(agreement, state, actual)
    agreement.steps += unroll * len(starts)


def _side_by_side(trajectory: Trajectory, times: Iterable[int]) -> Tensors:
    """The states at these times as one batch."""
    states = [trajectory.states[t] for t in times]
    return {name: np.concatenate([state[name] for state in states]) for name in INPUTS[1:]}


def _note_state(agreement: Agreement, expected: Tensors, outputs: Tensors) -> None:
    for name, value in expected.items():
        agreement.note(f"next_{name}", value, outputs[f"next_{name}"])


def _compare_start(cell: NTMCell, start: Tensors, agreement: Agreement) -> None:
    state = cell.initial_state(1, start["memory"].shape[2])
    for name, expected in zip(INPUTS[1:], state, strict=True):
        agreement.note(f"next_{name}", expected.numpy(), start[name])


def count_wrong_bits(cell: NTMCell, step: Graph, lengths: Iterable[int]) -> dict[int, int]:
    """Let a graph of one step copy random words, left to itself; the bits that it gets wrong, by length."""
    random = np.random.default_rng(0)
    wrong = dict.fromkeys(lengths, 0)
    for length in wrong:
        words = random.integers(0, 2, [SEQUENCES, length, cell.config.word_bits], np.uint8)
        initial = cell.initial_state(SEQUENCES, locations_for(cell.config, length))
        state: Tensors = _as_numpy(dict(zip(INPUTS[1:], initial, strict=True)))
        for t, x in enumerate(np.stack([copy_inputs(sequence) for sequence in words], axis=1)):
            outputs = step({_X: x, **state})
            state = {name: outputs[f"next_{name}"] for name in state}
            if t > length:
                wrong[length] += int(np.count_nonzero((outputs[_Y] > 0.5) != words[:, t - length - 1]))
    return wrong


def copy_inputs(words: np.ndarray) -> np.ndarray:
    """What the network sees of words ``[L, W]`` while it copies them: them, the delimiter, then zeros.

    Returns:
        ``[2 L + 1, W+1]``.
    """
    length, width = words.shape
    x = np.zeros([2 * length + 1, width + 1], np.float32)
    x[:length, :width] = words
    x[length, width] = 1.0
    return x


def table(agreements: Mapping[str, Agreement]) -> str:
    """The largest differences, one row a graph; a Markdown table that is easy to read as it stands."""
    rows: list[tuple[str, ...]] = [("graph", "steps", *STEP_OUTPUTS, "differing bits", "wrong bits")]
    for graph, found in agreements.items():
        differences = (f"{found.difference[name]:.1e}" if name in found.difference else "" for name in STEP_OUTPUTS)
        wrong = f"{sum(found.wrong_bits.values()):,}" if found.wrong_bits else ""
        rows.append((graph, f"{found.steps:,}", *differences, f"{found.differing_bits:,}", wrong))
    if not any(row[-1] for row in rows[1:]):
        rows = [row[:-1] for row in rows]
    return text.table(rows, left=1)


def _trajectory(
    cell: NTMCell, step: Callable[..., Mapping[str, tf.Tensor]], words: list[np.ndarray], steps: int
) -> Trajectory:
    x = np.zeros([steps, len(words), cell.config.input_size], np.float32)
    copying = np.zeros([steps, len(words)], np.bool_)
    for b, sequence in enumerate(words):
        length = len(sequence)
        x[: 2 * length + 1, b] = copy_inputs(sequence)
        copying[length + 1 : 2 * length + 1, b] = True
    locations = locations_for(cell.config, max(map(len, words)))
    state = dict(zip(INPUTS[1:], cell.initial_state(len(words), locations), strict=True))
    states, y, adds = [_as_numpy(state)], [], []
    for x_t in x:
        outputs = step(tf.constant(x_t), **state)
        state = {name: outputs[f"next_{name}"] for name in state}
        y.append(outputs[_Y].numpy())
        adds.append(outputs[_ADDS].numpy())
        states.append(_as_numpy(state))
    return Trajectory(words, x, copying, np.stack(y), np.stack(adds), states)


def _as_numpy(tensors: Mapping[str, tf.Tensor]) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in tensors.items()}
