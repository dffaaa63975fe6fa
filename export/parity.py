"""The publish gate: a format is published only if it agrees with TensorFlow, tensor by tensor and step by step."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from ntm.export.step import locations_for, step_function
from ntm.models import NTMCell
from ntm.runtime.metadata import INPUTS, OUTPUTS

_X, _Y = INPUTS[0], OUTPUTS[0]

TOLERANCE = 1e-5

# (L, B): sequences to copy, of length L, B side by side. The last are 1,001 steps.
TRIALS = ((1, 8), (20, 8), (120, 4), (500, 2))

Tensors = Mapping[str, np.ndarray]


@dataclasses.dataclass
class Agreement:
    """How far a graph has strayed from TensorFlow.

    Attributes:
        steps: the steps compared.
        difference: the largest absolute difference by output, of those compared.
        differing_bits: the bits of the copies, y > 0.5, that differ.
    """

    steps: int = 0
    difference: dict[str, float] = dataclasses.field(default_factory=dict)
    differing_bits: int = 0

    @property
    def holds(self) -> bool:
        """No bit differs and no tensor by more than ``TOLERANCE``."""
        return self.differing_bits == 0 and all(d <= TOLERANCE for d in self.difference.values())  # NaN is not

    def note(self, name: str, expected: np.ndarray, actual: np.ndarray) -> None:
        """Take two values of an output into account."""
        difference = np.max(np.abs(expected - actual)) if expected.shape == actual.shape else np.inf
        self.difference[name] = float(np.maximum(self.difference.get(name, 0.0), difference))  # a NaN stays

    def note_y(self, expected: np.ndarray, actual: np.ndarray, copying: np.ndarray | slice = slice(None)) -> None:
        """Take two values of y into account, and the bits of those that are the copy."""
        self.note(_Y, expected, actual)
        if expected.shape == actual.shape:
            self.differing_bits += int(np.count_nonzero(((expected > 0.5) != (actual > 0.5))[copying]))


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A graph to be compared with TensorFlow.

    Attributes:
        name: what the table calls it.
        checkpoint_sha256: of the checkpoint that it says it was exported from.
        compare: compares it with the network.
    """

    name: str
    checkpoint_sha256: str
    compare: Callable[[NTMCell], Agreement]


def of_steps(
    cell: NTMCell,
    graph: Callable[[Tensors], Tensors],
    unroll: int | None = None,
    trials: Iterable[tuple[int, int]] = TRIALS,
) -> Agreement:
    """Run a graph and the network side by side, each on its own state, over whole copies of random words.

    Args:
        cell: the network.
        graph: takes the ``INPUTS`` and returns the ``OUTPUTS``.
        unroll: U if the graph takes x as ``[U, B, W+1]``; None if it takes one step ``[B, W+1]``.
        trials: (L, B) of each batch of copies.
    """
    result = Agreement()
    step = step_function(cell)
    u = unroll or 1
    for words in _words(cell, trials):
        inputs = copy_inputs(words)
        x = np.concatenate([inputs, np.zeros([-len(inputs) % u, *inputs.shape[1:]], np.float32)])
        copying = np.arange(len(x)) // (words.shape[1] + 1) == 1
        expected = actual = _initial_state(cell, words)
        for start in range(0, len(x), u):
            chunk = slice(start, start + u)
            steps = []
            for x_t in x[chunk]:
                steps.append({name: tensor.numpy() for name, tensor in step(x_t, **expected).items()})
                expected = _next_state(steps[-1])
            outputs = graph({_X: x[start] if unroll is None else x[chunk], **actual})
            actual = _next_state(outputs)

            y = np.stack([outputs[_Y] for outputs in steps])  # [U, B, W]
            result.note_y(y, outputs[_Y] if unroll else outputs[_Y][np.newaxis], copying[chunk])
            for name in OUTPUTS[1:]:
                result.note(name, steps[-1][name], outputs[name])
        result.steps += len(x)
    return result


def of_copies(
    cell: NTMCell, copy: Callable[[np.ndarray], np.ndarray], trials: Iterable[tuple[int, int]] = TRIALS
) -> Agreement:
    """Compare whole copies of random words; ``copy`` takes them as uint8 ``[B, L, W]`` and returns y alike."""
    result = Agreement()
    step = step_function(cell)
    for words in _words(cell, trials):
        state = _initial_state(cell, words)
        ys = []
        for x_t in copy_inputs(words):
            outputs = {name: tensor.numpy() for name, tensor in step(x_t, **state).items()}
            state = _next_state(outputs)
            ys.append(outputs[_Y])
        y = np.stack(ys[words.shape[1] + 1 :], axis=1)  # [B, L, W]
        result.note_y(y, copy(words))
        result.steps += len(ys)
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
    for graph, found in agreements.items():
        differences = (f"{found.difference[name]:.1e}" if name in found.difference else "" for name in OUTPUTS)
        rows.append((graph, f"{found.steps:,}", *differences, f"{found.differing_bits:,}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, tuple("-" * width for width in widths))
    return "\n".join(f"| {' | '.join(map(str.ljust, row, widths))} |" for row in rows)


def _words(cell: NTMCell, trials: Iterable[tuple[int, int]]) -> Iterator[np.ndarray]:
    """Random words ``[B, L, W]`` for each trial."""
    random = np.random.default_rng(0)
    for length, batch in trials:
        yield random.integers(0, 2, [batch, length, cell.config.word_bits], np.uint8)


def _initial_state(cell: NTMCell, words: np.ndarray) -> dict[str, np.ndarray]:
    batch, length, _ = words.shape
    state = cell.initial_state(batch, locations_for(cell.config, length))
    return {name: tensor.numpy() for name, tensor in zip(INPUTS[1:], state, strict=True)}


def _next_state(outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: outputs[next_name] for name, next_name in zip(INPUTS[1:], OUTPUTS[1:], strict=True)}
