"""The publish gate: a format is published only if it agrees with TensorFlow, tensor by tensor and step by step.

Every step of a graph starts from TensorFlow's state. Of a graph of several steps, the state after the first step is
compared with TensorFlow; then all steps are compared with the first step repeated, and with y of the graph of one step.
TensorFlow computes a step in float64, and whole runs in float32; always on the CPU, since a GPU rounds the factors of a
float32 product to TF32. So only the error of the graph is measured: over many steps from its own states, one rounding
error can grow, just as TensorFlow with XLA differs from TensorFlow without XLA.

The numbers of a quantised graph differ on purpose. Still no bit may differ; and from its own states the graph may not
output more wrong bits than TensorFlow, at any size.
"""

import copy
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ntm import text
from ntm.export.step import Sizes, step_function
from ntm.models import Network
from ntm.runtime.metadata import ADDS, MEMORY, STEP, Metadata, X, Y, next_name
from ntm.tasks.task import Size, Task, corners, describe, draw
from ntm.training.devices import full_float32

TOLERANCE = 1e-5
_ROUNDING = 1e-3  # the largest growth of rounding in a step that was ever measured is below this
LEAST_STEPS = 1000
# The sequences side by side in a comparison; and the sequences of each size that a quantised graph is tested on.
_SIDE_BY_SIDE, SEQUENCES = 4, 8
# Sizes beyond those of the training are compared up to this many steps.
_MOST_STEPS = 500
# The steps of a trajectory of fixed sizes, whose states may be large.
_AT_A_TIME = 64

Tensors = Mapping[str, np.ndarray]
Graph = Callable[[Tensors], Tensors]


@dataclasses.dataclass
class Agreement:
    """The differences between a graph and TensorFlow.

    Attributes:
        tolerance: the largest difference allowed; None if only bits count.
        steps: the number of compared steps.
        difference: the largest difference, by output; absolute, and relative for numbers above 1.
        differing_bits: the number of output bits, y > 0.5 in the output phase, that differ. A bit does not count if
            TensorFlow's y is within the tolerance of 0.5, since rounding decides it.
        wrong_bits: the number of wrong output bits beyond those of TensorFlow, by size; empty if not counted.
    """

    tolerance: float | None = TOLERANCE
    steps: int = 0
    difference: dict[str, float] = dataclasses.field(default_factory=dict)
    differing_bits: int = 0
    wrong_bits: dict[str, int] = dataclasses.field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether no bit differs or is wrong, and no difference exceeds the tolerance."""
        tolerance = np.inf if self.tolerance is None else self.tolerance
        close = all(difference <= tolerance for difference in self.difference.values())  # False for NaN
        return close and self.differing_bits == 0 and not any(self.wrong_bits.values())

    @property
    def only_rounding(self) -> bool:
        """Whether no bit differs or is wrong, and all differences may come from rounding."""
        bits = self.differing_bits or any(self.wrong_bits.values())
        return not bits and all(difference <= _ROUNDING for difference in self.difference.values())  # False for NaN

    def note(self, name: str, expected: np.ndarray, actual: np.ndarray) -> None:
        """Compare two values of an output."""
        # If a head stays at a location after the sequence, the memory there grows beyond 100, where floats are 1e-5
        # apart.
        scale = np.maximum(np.abs(expected), 1.0)
        difference = np.max(np.abs(expected - actual) / scale) if expected.shape == actual.shape else np.inf
        self.difference[name] = float(np.maximum(self.difference.get(name, 0.0), difference))  # a NaN stays

    def note_y(self, expected: np.ndarray, actual: np.ndarray, counts: np.ndarray | slice = slice(None)) -> None:
        """Compare two values of y, and the bits at the steps that count."""
        self.note(Y, expected, actual)
        if expected.shape == actual.shape:
            differs = ((expected > 0.5) != (actual > 0.5)) & (np.abs(expected - 0.5) > TOLERANCE)
            self.differing_bits += int(np.count_nonzero(differs[counts]))


@dataclasses.dataclass(frozen=True)
class Trajectory:
    """The results of TensorFlow for a batch of sequences of a task.

    Attributes:
        sequences: the inputs of each sequence, ``[T', I]``.
        x: the inputs of all sequences, ``[T, B, I]``; with zeros behind them if a graph has more steps.
        counts: whether the output counts, ``[T, B]``.
        y: ``[T, B, O]``.
        adds: ``[T, B, K, M]``; None for a network without heads.
        states: the T + 1 states before each step and after the last, by the name of the input.
    """

    sequences: list[np.ndarray]
    x: np.ndarray
    counts: np.ndarray
    y: np.ndarray
    adds: np.ndarray | None
    states: list[dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A graph to be compared with TensorFlow.

    Attributes:
        name: its name in the table.
        metadata: its metadata.
        compare: the function that compares it with a trajectory and adds the differences to an ``Agreement``.
        start: its initial state, if the format contains one.
        quantised: the graph of a step, if it is quantised.
        sizes: B and N, if they are fixed.
    """

    name: str
    metadata: Metadata
    compare: Callable[[Trajectory, Agreement], None]
    start: Tensors | None = None
    quantised: Graph | None = None
    sizes: Sizes | None = None


@dataclasses.dataclass(frozen=True)
class KnownAnswer:
    """Recorded steps of TensorFlow, to be compared with TensorFlow like a graph.

    Attributes:
        name: its name in the table.
        sizes: the sizes of the graphs that it is for; None for graphs of open sizes.
        steps: the inputs and the outputs of each step, by name.
    """

    name: str
    sizes: Sizes | None
    steps: Sequence[tuple[Tensors, Tensors]]


def sizes_to_compare(task: Task, trained: Mapping[str, range]) -> list[Size]:
    """The smallest and the largest size of the training, and larger ones."""
    of_training = corners(trained)
    beyond = [size for size in task.evaluation_sizes if task.steps(size) <= _MOST_STEPS]
    sizes = [of_training[0], of_training[-1], *beyond]
    return [size for i, size in enumerate(sizes) if size not in sizes[:i]]


@full_float32()
def prove(
    network: Network,
    task: Task,
    trained: Mapping[str, range],
    candidates: Iterable[Candidate],
    answers: Iterable[KnownAnswer] = (),
) -> dict[str, Agreement]:
    """Compare graphs with TensorFlow on sequences of a task, for ``LEAST_STEPS`` steps or more.

    Args:
        network: the network. TensorFlow computes it in float64, since in float32 its own error reaches the tolerance if
            heads use content addressing with a large strength and sharpen a lot.
        task: the task that the network was trained on.
        trained: the sizes of the training.
        candidates: the graphs.
        answers: known answers, with which the graphs of a step are compared too.

    Returns:
        The differences by graph; and by known answer if an answer differs from TensorFlow.
    """
    candidates, compared = list(candidates), sizes_to_compare(task, trained)
    agreements = {c.name: Agreement(None if c.quantised else TOLERANCE) for c in candidates}
    reference = _in_float64(network)
    for sizes in dict.fromkeys(candidate.sizes for candidate in candidates):
        group = [candidate for candidate in candidates if candidate.sizes == sizes]
        least, rng = max(candidate.metadata.unroll for candidate in group), np.random.default_rng(0)
        fitting = _fitting(network, task, compared, sizes) or compared[:1]
        rounds = -(-LEAST_STEPS // sum(map(task.steps, fitting)))
        for size in fitting * rounds:
            for trajectory in _trajectories(network, reference, task, size, rng, sizes, least):
                for candidate in group:
                    candidate.compare(trajectory, agreements[candidate.name])
    for candidate in candidates:
        if candidate.start is not None:
            _compare_start(network, candidate.start, agreements[candidate.name])
        if candidate.quantised is not None:
            tested = [corners(trained)[0], *task.evaluation_sizes]
            agreements[candidate.name].wrong_bits = count_wrong_bits(
                network, task, candidate.quantised, tested, candidate.sizes
            )
    for answer in answers:
        found = _compare_answer(answer, reference, candidates, agreements)
        if not found.holds:
            agreements[answer.name] = found
    return agreements


@full_float32()
def write_down(
    network: Network, task: Task, size: Size, times: Sequence[int], sizes: Sizes
) -> list[tuple[Tensors, Tensors]]:
    """The inputs and the outputs of TensorFlow at these steps of sequences of a size, by name."""
    reference = _in_float64(network)
    steps: list[tuple[Tensors, Tensors]] = []
    at = itertools.count()
    for trajectory in _trajectories(network, reference, task, size, np.random.default_rng(0), sizes):
        for x, state in zip(trajectory.x, trajectory.states, strict=False):
            if next(at) in times:
                inputs = {X: x, **state}
                steps.append((inputs, reference(inputs)))
    return steps


def _compare_answer(
    answer: KnownAnswer, reference: Graph, candidates: Iterable[Candidate], agreements: Mapping[str, Agreement]
) -> Agreement:
    """Compare a known answer with TensorFlow, and the graphs of a step with the known answer."""
    agreement = Agreement()
    for inputs, outputs in answer.steps:
        expected = reference(inputs)
        before = {name: value for name, value in inputs.items() if name != X}
        after = {name: outputs[next_name(name)] for name in before}
        adds = outputs[ADDS][np.newaxis] if ADDS in outputs else None
        counts = np.ones((1, len(inputs[X])), bool)
        step = Trajectory([], inputs[X][np.newaxis], counts, outputs[Y][np.newaxis], adds, [before, after])
        compare_steps(step, agreement, lambda _, found=expected: found)  # type: ignore[misc]
        for candidate in candidates:
            if candidate.sizes == answer.sizes and candidate.metadata.graph == STEP and candidate.quantised is None:
                candidate.compare(step, agreements[candidate.name])
    return agreement


def compare_steps(trajectory: Trajectory, agreement: Agreement, step: Graph) -> None:
    """Compare every output of a graph of one step, by name."""
    for t, x in enumerate(trajectory.x):
        found = step({X: x, **trajectory.states[t]})
        agreement.note_y(trajectory.y[t], found[Y], trajectory.counts[t])
        if trajectory.adds is not None:
            agreement.note(ADDS, trajectory.adds[t], found[ADDS])
        _note_state(agreement, trajectory.states[t + 1], found)
    agreement.steps += len(trajectory.x)


def compare_chunks(
    trajectory: Trajectory, agreement: Agreement, *, chunk: Graph, first: Graph, step: Graph, unroll: int
) -> None:
    """Compare a graph of U steps, of x ``[U, B, I]``: its first step with TensorFlow, and all with the first repeated.

    All chunks of the trajectory run side by side.

    Args:
        trajectory: the results of TensorFlow.
        agreement: the differences so far; this function adds to them.
        chunk: the graph.
        first: the first step of the graph, without y.
        step: the graph of one step, which was compared with TensorFlow; it computes y.
        unroll: U.
    """
    steps = len(trajectory.x)
    starts = [*range(0, steps - unroll, unroll), steps - unroll]  # the last two chunks may overlap
    x, counts = (
        np.concatenate([values[start : start + unroll] for start in starts], axis=1)
        for values in (trajectory.x, trajectory.counts)
    )
    state = _side_by_side(trajectory, starts)
    actual, y = chunk({X: x, **state}), []
    for i, x_i in enumerate(x):
        at = [start + i for start in starts]
        expected = _side_by_side(trajectory, [t + 1 for t in at])
        _note_state(agreement, expected, first({X: x_i, **_side_by_side(trajectory, at)}))
        y.append(step({X: x_i, **state})[Y])
        state = _next_state(first({X: x_i, **state}), state)
    agreement.note_y(np.stack(y), actual[Y], counts)
    _note_state(agreement, state, actual)
    agreement.steps += unroll * len(starts)


def _side_by_side(trajectory: Trajectory, times: Iterable[int]) -> Tensors:
    """The states at these times as one batch."""
    states = [trajectory.states[t] for t in times]
    return {name: np.concatenate([state[name] for state in states]) for name in states[0]}


def _note_state(agreement: Agreement, expected: Tensors, outputs: Tensors) -> None:
    for name, value in expected.items():
        agreement.note(next_name(name), value, outputs[next_name(name)])


def _next_state(outputs: Tensors, state: Tensors) -> dict[str, np.ndarray]:
    """The next state, from the outputs of a step."""
    return {name: outputs[next_name(name)] for name in state}


def _compare_start(network: Network, start: Tensors, agreement: Agreement) -> None:
    locations = start[MEMORY].shape[2] if MEMORY in start else None
    batch_size = len(next(iter(start.values())))
    for name, expected in network.initial_state(batch_size, locations).items():
        agreement.note(next_name(name), expected.numpy(), start[name])


def locations_for(network: Network, task: Task, size: Size) -> int:
    """N for sequences of a size."""
    return max(task.memory_locations(size), int(network.config.least_locations))


def _fitting(network: Network, task: Task, compared: Iterable[Size], sizes: Sizes | None) -> list[Size]:
    """The sizes that need no more memory locations than a fixed N."""
    n = None if sizes is None else sizes.locations
    return [size for size in compared if n is None or locations_for(network, task, size) <= n]


def count_wrong_bits(
    network: Network, task: Task, step: Graph, compared: Iterable[Size], sizes: Sizes | None = None
) -> dict[str, int]:
    """Run a graph of one step from its own states; returns the wrong bits beyond those of TensorFlow, by size.

    Args:
        network: the network.
        task: the task that the network was trained on.
        step: the graph.
        compared: the sizes of the sequences; sizes that need more than a fixed N are left out.
        sizes: B and N of the graph, if they are fixed.
    """
    at_once, locations = sizes or (SEQUENCES, None)
    excess = {}
    for size in _fitting(network, task, compared, sizes):
        batch = draw(task, np.random.default_rng(0), -(-SEQUENCES // at_once) * at_once, size)
        wrong = []
        for run in (step, _as_graph(step_function(network))):
            bits = np.empty(batch.target.shape, bool)
            for start in range(0, batch.x.shape[1], at_once):
                part = slice(start, start + at_once)
                state = _as_numpy(network.initial_state(at_once, locations or locations_for(network, task, size)))
                for t, x in enumerate(batch.x[:, part]):
                    values = run({X: x, **state})
                    state = _next_state(values, state)
                    bits[t, part] = values[Y] > 0.5
            differs = (bits != (batch.target > 0.5)) & (batch.mask[:, :, np.newaxis] > 0)
            wrong.append(int(np.count_nonzero(differs)))
            if not wrong[0]:
                break
        excess[describe(size)] = max(wrong[0] - sum(wrong[1:]), 0)
    return excess


def _in_float64(network: Network) -> Graph:
    """One step that TensorFlow computes in float64, with float32 inputs and outputs."""
    exact = copy.copy(network)
    exact.layers, exact.output = [_cast(layer) for layer in network.layers], _cast(network.output)
    step = tf.function(step_function(exact).python_function, autograph=False)

    def run(inputs: Tensors) -> Tensors:
        found = step(**{name: tf.constant(value, tf.float64) for name, value in inputs.items()})
        return {name: tensor.numpy().astype(np.float32) for name, tensor in found.items()}

    return run


def _cast(layer: Any) -> Any:
    """A layer whose kernel and bias are float64."""
    exact = copy.copy(layer)
    exact.kernel, exact.bias = tf.cast(layer.kernel, tf.float64), tf.cast(layer.bias, tf.float64)
    return exact


def _as_graph(step: Callable[..., Mapping[str, tf.Tensor]]) -> Graph:
    return lambda inputs: _as_numpy(step(**{name: tf.constant(value) for name, value in inputs.items()}))


def table(agreements: Mapping[str, Agreement]) -> str:
    """The largest differences as a Markdown table, one row per graph."""
    names = dict.fromkeys(name for found in agreements.values() for name in found.difference)
    rows: list[tuple[str, ...]] = [("graph", "steps", *names, "differing bits", "wrong bits")]
    for graph, found in agreements.items():
        differences = (f"{found.difference[name]:.1e}" if name in found.difference else "" for name in names)
        wrong = f"{sum(found.wrong_bits.values()):,}" if found.wrong_bits else ""
        rows.append((graph, f"{found.steps:,}", *differences, f"{found.differing_bits:,}", wrong))
    if not any(row[-1] for row in rows[1:]):
        rows = [row[:-1] for row in rows]
    return text.table(rows, left=1)


def _trajectories(  # noqa: PLR0917
    network: Network,
    step: Graph,
    task: Task,
    size: Size,
    rng: np.random.Generator,
    sizes: Sizes | None = None,
    least_steps: int = 1,
) -> Iterator[Trajectory]:
    """The results of TensorFlow for sequences of a size, with at least ``least_steps`` steps.

    It is one trajectory; or several, one after the other, if B and N are fixed.
    """
    side_by_side, locations = (_SIDE_BY_SIDE, None) if sizes is None else sizes
    batch = draw(task, rng, side_by_side, size)
    padding = [(0, max(least_steps - len(batch.x), 0)), (0, 0)]
    x, counts = np.pad(batch.x, [*padding, (0, 0)]), np.pad(batch.mask, padding) > 0
    sequences = list(batch.x.transpose(1, 0, 2))
    state = _as_numpy(network.initial_state(side_by_side, locations or locations_for(network, task, size)))
    at_a_time = len(x) if sizes is None else _AT_A_TIME
    for start in range(0, len(x), at_a_time):
        part = slice(start, start + at_a_time)
        states, y, adds = [state], [], []
        for x_t in x[part]:
            found = step({X: x_t, **state})
            state = _next_state(found, state)
            y.append(found[Y])
            states.append(state)
            if ADDS in found:
                adds.append(found[ADDS])
        yield Trajectory(sequences, x[part], counts[part], np.stack(y), np.stack(adds) if adds else None, states)


def _as_numpy(tensors: Mapping[str, tf.Tensor]) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in tensors.items()}
