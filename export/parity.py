"""The publish gate: a format is published only if it agrees with TensorFlow, tensor by tensor and step by step."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from ntm.export.step import step_function
from ntm.models import NTMCell
from ntm.runtime.metadata import INPUTS, OUTPUTS

_X, _Y = INPUTS[0], OUTPUTS[0]

TOLERANCE = 1e-5

# (L, B): sequences to copy, of length L, B side by side. The last are 1,001 steps.
TRIALS = ((1, 8), (20, 8), (120, 4), (500, 2))

# Tensors by name in, tensors by name out.
Graph = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A graph to compare with TensorFlow.

    Attributes:
        name: what the table calls it.
        graph: takes the ``INPUTS`` and returns the ``OUTPUTS``.
        unroll: U if it takes x as ``[U, B, W+1]``; None if it takes one step ``[B, W+1]``.
        checkpoint_sha256: of the checkpoint that it says it was exported from.
    """

    name: str
    graph: Graph
    unroll: int | None
    checkpoint_sha256: str


@dataclasses.dataclass
class Agreement:
    """How far a graph has strayed from TensorFlow.

    Attributes:
        steps: the steps compared.
        difference: the largest absolute difference by output.
        differing_bits: the bits of the copies, y > 0.5, that differ.
    """

    steps: int = 0
    difference: dict[str, float] = dataclasses.field(default_factory=lambda: dict.fromkeys(OUTPUTS, 0.0))
    differing_bits: int = 0

    @property
    def holds(self) -> bool:
        """No bit differs and no tensor by more than ``TOLERANCE``."""
        return self.differing_bits == 0 and all(d <= TOLERANCE for d in self.difference.values())  # NaN is no agreement

    def note(self, name: str, expected: np.ndarray, actual: np.ndarray) -> None:
        """Take two values of an output into account."""
        difference = np.max(np.abs(expected - actual)) if expected.shape == actual.shape else np.inf
        self.difference[name] = float(np.maximum(self.difference[name], difference))  # a NaN stays


def agreement(cell: NTMCell, candidate: Candidate, trials: Iterable[tuple[int, int]] = TRIALS) -> Agreement:
    """Run a graph and the cell side by side, each on its own state, over whole copies of random words."""
    result = Agreement()
    step = step_function(cell)
    random = np.random.default_rng(0)
    u = candidate.unroll or 1
    for length, batch in trials:
        inputs = copy_inputs(random.integers(0, 2, [batch, length, cell.config.word_bits]))
        x = np.concatenate([inputs, np.zeros([-len(inputs) % u, *inputs.shape[1:]], np.float32)])
        copying = np.arange(len(x)) // (length + 1) == 1
        expected = actual = _initial_state(cell, batch, length)
        for start in range(0, len(x), u):
            chunk = slice(start, start + u)
            steps = []
            for x_t in x[chunk]:
                steps.append({name: tensor.numpy() for name, tensor in step(x_t, **expected).items()})
                expected = _next_state(steps[-1])
            outputs = candidate.graph({_X: x[start] if candidate.unroll is None else x[chunk], **actual})
            actual = _next_state(outputs)

            y = np.stack([step[_Y] for step in steps])  # [U, B, W]
            actual_y = outputs[_Y].reshape(y.shape)
            result.note(_Y, y, actual_y)
            result.differing_bits += int(np.count_nonzero(((y > 0.5) != (actual_y > 0.5))[copying[chunk]]))
            for name in OUTPUTS[1:]:
                result.note(name, steps[-1][name], outputs[name])
        result.steps += len(x)
    return result


def copy_inputs(words: np.ndarray) -> np.ndarray:
    """What the network sees of words ``[B, L, W]`` while it copies them: them, the delimiter, then zeros.

    Returns:
        ``[2 L + 1, B, W+1]``.
    """
    batch, length, width = words.shape
    x = np.zeros([2 * length + 1, batch, width + 1], np.float32)
    x[:length, :, :width] = words.swapaxes(0, 1)
    x[length, :, width] = 1.0
    return x


def table(agreements: Mapping[str, Agreement]) -> str:
    """The largest differences, one row a graph; a Markdown table that is easy to read as it stands."""
    rows: list[tuple[str, ...]] = [("graph", "steps", *OUTPUTS, "differing bits")]
    for name, found in agreements.items():
        differences = (f"{found.difference[output]:.1e}" for output in OUTPUTS)
        rows.append((name, f"{found.steps:,}", *differences, f"{found.differing_bits:,}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, tuple("-" * width for width in widths))
    return "\n".join(f"| {' | '.join(map(str.ljust, row, widths))} |" for row in rows)


def _initial_state(cell: NTMCell, batch: int, length: int) -> dict[str, np.ndarray]:
    """With a location for every word and two to spare; never fewer than the learned weightings need."""
    locations = length + 2 if cell.w_bias is None else max(length + 2, cell.config.memory_locations)
    state = cell.initial_state(batch, locations)
    return {name: tensor.numpy() for name, tensor in zip(INPUTS[1:], state, strict=True)}


def _next_state(outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: outputs[next_name] for name, next_name in zip(INPUTS[1:], OUTPUTS[1:], strict=True)}
