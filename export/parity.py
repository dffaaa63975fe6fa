"""The publish gate: a format is published only if it agrees with TensorFlow, tensor by tensor and step by step.

Every step of a graph starts from the state that TensorFlow has. A graph of several steps is compared so in the state
after its first step, and then all its steps with that one repeated, and with y of the graph of one step. TensorFlow
computes in float64, and whole runs in float32; on the CPU, since a GPU would round the factors of a float32 product to
TF32. So the error of the graph is measured and nothing else: left to itself over many steps one rounding can grow, and
TensorFlow with XLA and TensorFlow without part just as far from each other.

A quantised graph has other numbers by intent. No bit may differ all the same, and left to itself it may not get more
bits wrong than TensorFlow, at any size.
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
_ROUNDING = 1e-3  # no rounding was seen to grow beyond this in a step
LEAST_STEPS = 1000
# Sequences side by side in a comparison, and of each size that a quantised graph is tested on.
_SIDE_BY_SIDE, SEQUENCES = 4, 8
# Sizes beyond the training's are compared up to so many steps.
_MOST_STEPS = 500
# Steps of a trajectory of fixed sizes, of which the states may be large.
_AT_A_TIME = 64

Tensors = Mapping[str, np.ndarray]
Graph = Callable[[Tensors], Tensors]


@dataclasses.dataclass
class Agreement:
    """How far a graph has strayed from TensorFlow.

    Attributes:
        tolerance: how far a tensor may stray, None where only bits count.
        steps: the steps compared.
        difference: the largest difference by output, of those compared: absolute, and relative to numbers above 1.
        differing_bits: the output bits, y > 0.5 in the output phase, that differ; but for those of which TensorFlow's
            y is within the tolerance of 0.5, where rounding decides.
        wrong_bits: the output bits that the graph gets wrong beyond those that TensorFlow does, by size, where counted.
    """

    tolerance: float | None = TOLERANCE
    steps: int = 0
    difference: dict[str, float] = dataclasses.field(default_factory=dict)
    differing_bits: int = 0
    wrong_bits: dict[str, int] = dataclasses.field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """No bit differs or is wrong, and no tensor strays too far."""
        tolerance = np.inf if self.tolerance is None else self.tolerance
        close = all(difference <= tolerance for difference in self.difference.values())  # a NaN is not
        return close and self.differing_bits == 0 and not any(self.wrong_bits.values())

    @property
    def only_rounding(self) -> bool:
        """Whether no bit differs or is wrong, and a tensor strays no farther than what rounding may grow to."""
        bits = self.differing_bits or any(self.wrong_bits.values())
        return not bits and all(difference <= _ROUNDING for difference in self.difference.values())  # a NaN is not

    def note(self, name: str, expected: np.ndarray, actual: np.ndarray) -> None:
        """Take two values of an output into account."""
        # Where a head stays for long after the sequence the memory grows beyond 100, where floats are 1e-5 apart.
        scale = np.maximum(np.abs(expected), 1.0)
        difference = np.max(np.abs(expected - actual) / scale) if expected.shape == actual.shape else np.inf
        self.difference[name] = float(np.maximum(self.difference.get(name, 0.0), difference))  # a NaN stays

    def note_y(self, expected: np.ndarray, actual: np.ndarray, counts: np.ndarray | slice = slice(None)) -> None:
        """Take two values of y into account, and the bits of those that count."""
        self.note(Y, expected, actual)
        if expected.shape == actual.shape:
            differs = ((expected > 0.5) != (actual > 0.5)) & (np.abs(expected - 0.5) > TOLERANCE)
            self.differing_bits += int(np.count_nonzero(differs[counts]))


@dataclasses.dataclass(frozen=True)
class Trajectory:
    """What TensorFlow makes of a batch of sequences of a task.

    Attributes:
        sequences: the inputs of each, ``[T', I]``.
        x: all of them, ``[T, B, I]``; with zeros behind where a graph takes more steps than they have.
        counts: ``[T, B]``, whether the output counts.
        y: ``[T, B, O]``.
        adds: ``[T, B, K, M]``; None of a network without heads.
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
        name: what the table calls it.
        metadata: what it says of itself.
        compare: compares it with a trajectory and notes what it finds.
        start: the initial state, if it brings one.
        quantised: the graph of a step, if its numbers are other than TensorFlow's by intent.
        sizes: B and N, if it takes no others.
    """

    name: str
    metadata: Metadata
    compare: Callable[[Trajectory, Agreement], None]
    start: Tensors | None = None
    quantised: Graph | None = None
    sizes: Sizes | None = None


@dataclasses.dataclass(frozen=True)
class KnownAnswer:
    """Steps of TensorFlow that were written down, to be compared with TensorFlow as every graph is.

    Attributes:
        name: what the table calls them.
        sizes: those of the graphs that they are for; None for graphs of open sizes.
        steps: the inputs and the outputs of each, by name.
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
    """Compare graphs with TensorFlow on sequences of a task, until ``LEAST_STEPS`` were compared.

    Args:
        network: the network. TensorFlow computes it in float64: in float32 it is itself wrong by up to the tolerance,
            where heads use content addressing with a large strength and sharpen a lot.
        task: what it was trained on.
        trained: the sizes of the training.
        candidates: the graphs.
        answers: steps that the graphs of a step are compared with too.

    Returns:
        What was found by graph; and by known answer where one is not what TensorFlow computes.
    """
    candidates, compared = list(candidates), sizes_to_compare(task, trained)
    agreements = {c.name: Agreement(None if c.quantised else TOLERANCE) for c in candidates}
    reference = _in_float64(network)
    for sizes in dict.fromkeys(candidate.sizes for candidate in candidates):
        alike = [candidate for candidate in candidates if candidate.sizes == sizes]
        least, rng = max(candidate.metadata.unroll for candidate in alike), np.random.default_rng(0)
        fitting = _fitting(network, task, compared, sizes) or compared[:1]
        rounds = -(-LEAST_STEPS // sum(map(task.steps, fitting)))
        for size in fitting * rounds:
            for trajectory in _trajectories(network, reference, task, size, rng, sizes, least):
                for candidate in alike:
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
    """The inputs and the outputs of steps of TensorFlow at these times, by name, over sequences of a size."""
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
    """Compare steps that were written down with TensorFlow, and the graphs of a step with them."""
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
    """Compare a graph of U steps, of x ``[U, B, I]``: its first step with TensorFlow, and all with that repeated.

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
    """The state to go on from, of what a step gives."""
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
    """Those that N is large enough for, if it is fixed."""
    n = None if sizes is None else sizes.locations
    return [size for size in compared if n is None or locations_for(network, task, size) <= n]


def count_wrong_bits(
    network: Network, task: Task, step: Graph, compared: Iterable[Size], sizes: Sizes | None = None
) -> dict[str, int]:
    """Let a graph of one step run free; the bits that it gets wrong beyond those that TensorFlow does, by size.

    Args:
        network: the network.
        task: what it was trained on.
        step: the graph.
        compared: the sizes of the sequences; those that a fixed N is too small for are left out.
        sizes: B and N of the graph, if it takes no others.
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
    """One step as TensorFlow computes it in float64; what it takes and returns is float32 all the same."""
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
    """The largest differences, one row a graph; a Markdown table that is easy to read as it stands."""
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
    """What TensorFlow makes of sequences of a size, in so many steps at least.

    It is one trajectory, or one after the other where B and N are fixed.
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
