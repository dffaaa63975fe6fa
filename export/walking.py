"""Static unrolling for large memories and heads that never search: a step works only where they can be.

A head that goes by location alone walks at most (S - 1) / 2 locations a step. Wherever no head can walk to, all
weightings are 0, nothing is written, and nothing read. So a step finds the locations to which the heads of all
sequences together may walk with a weight of more than ``NEGLIGIBLE``, takes the memory out there, does all that is to
be done, and puts it back; but for that, its work does not grow with N.

* What it leaves out is a weight of at most ``NEGLIGIBLE`` before sharpening. That holds for any weighting: where heads
  look everywhere, or at NaN, nothing is left out, and it is only slower than ``unrolled.onnx``.
* The sequences have their locations in common, as they walk in step when they are copied side by side.
* The batch is the last axis, as in ``batched.onnx``, and the location the first: one location of all sequences is one
  piece.

Inputs and outputs are those of ``unrolled.onnx``, and the same proof stands before publication (``ntm.export.parity``).
"""

import numpy as np
import onnx

from ntm.export.batched import BatchLast
from ntm.export.graph import Graph, orders
from ntm.models import NTMCell
from ntm.runtime.metadata import INPUTS, OUTPUTS
from ntm.runtime.model import NEGLIGIBLE


def unroll(cell: NTMCell, steps: int, opset: int) -> onnx.ModelProto:
    """Write U steps of a network that never searches as a graph; it takes and returns what ``unrolled.unroll`` does."""
    graph = Graph()
    _Walking(graph, cell).unroll([state_after(i, steps) for i in range(steps)])
    return graph.model(cell, steps, opset)


def state_after(step: int, _: int) -> tuple[str, ...]:
    """What the state after a step is called within a graph of so many; there the location is the first axis."""
    return tuple(f"step_{step}/{name}_by_location" for name in OUTPUTS[1:])


def as_state(memory: np.ndarray, weights: np.ndarray, reads: np.ndarray) -> tuple[np.ndarray, ...]:
    """The state as the outputs have it, of what is so called."""
    return memory.T, weights.T, np.moveaxis(reads, -1, 0)


class _Walking(BatchLast):
    """The memory as ``[N, M, B]``; "there" is at the A locations that heads may walk to."""

    def lay_out(self, tensor: str) -> str:
        """The memory, ``[M, N, B]``, or the weightings, ``[R+K, N, B]``, in this layout."""
        return self.transposed(tensor, 1, 0, 2)

    lay_back = lay_out

    def begin(self, steps: int) -> list[str]:
        """What is computed once a chunk; returns the words of each step, ``[W+1, B]``."""
        words = super().begin(steps)
        graph = self._graph
        graph.part = "sizes"
        batch, heads, self._locations = (graph.node("Shape", INPUTS[2], start=axis, end=axis + 1) for axis in range(3))
        self._nowhere = graph.node("ConstantOfShape", graph.node("Concat", self._locations, heads, batch, axis=0))
        return words

    def memory_step(
        self, parameters: dict[str, str], memory: str, weights: str, state: tuple[str, ...]
    ) -> tuple[str, str, str]:
        graph = self._graph
        next_memory, next_weights, next_reads = state
        locations = self._within_reach(weights)
        there = self._sharpen(self._shift(parameters, weights, locations), parameters)
        graph.part = "location"
        indices = graph.node("Unsqueeze", locations, self._axes[1])  # [A, 1]
        weights = graph.node("ScatterND", self._nowhere, indices, there, name=next_weights)
        reading, *writing = self.split(there, 1)
        memory_there = self._write(parameters, graph.node("Gather", memory, locations, axis=0), writing)
        memory = graph.node("ScatterND", memory, indices, memory_there, name=next_memory)
        return memory, weights, self._read(memory_there, reading, next_reads)

    def _within_reach(self, weights: str) -> str:
        """The locations to which a head may walk, ``[A]``, from w[t-1], ``[N, R+K, B]``."""
        graph, shifts = self._graph, self._config.shifts
        graph.part = "location"
        axes = graph.constant("axes_of_looking", [1, 2], np.int64)
        looked_at = graph.node("ReduceSum", weights, axes, keepdims=0)  # [N]
        if shifts > 1:
            cut = graph.nodes("Split", looked_at, self._pieces, names=[None] * shifts, axis=0)
            moved = [looked_at if order == cut else graph.node("Concat", *order, axis=0) for order in orders(cut)]
            looked_at = graph.node("Sum", *moved)
        passed_over = graph.node("LessOrEqual", looked_at, graph.constant("negligible", NEGLIGIBLE))
        active = graph.node("Not", passed_over)  # a sequence of NaN makes none of the others be left out
        return graph.reshape(graph.node("NonZero", active), -1)

    def _shift(self, parameters: dict[str, str], weights: str, locations: str) -> str:
        """Eq. (8) there, but for a factor that Eq. (9) takes out again; ``[A, R+K, B]``."""
        graph, shifts = self._graph, self._config.shifts
        steps = np.arange(shifts // 2, -(shifts // 2) - 1, -1)[:, np.newaxis]
        moved = graph.node("Add", locations, graph.constant("steps", steps, np.int64))
        come_from = graph.node("Mod", moved, self._locations)  # [S, A]
        focus = graph.node("Gather", weights, come_from, axis=0)  # [S, A, R+K, B]
        return self._sum(graph.node("Mul", focus, self.shift_weighting(parameters, 1, self._config.heads)), 0)

    def _sharpen(self, shifted: str, parameters: dict[str, str]) -> str:
        """Eq. (9) there, ``[A, R+K, B]``, without epsilon as in ntm.export.unrolled."""
        graph = self._graph
        graph.part = "sharpen"
        gamma = graph.node("Add", graph.node("Softplus", parameters["sharpening"]), graph.constant("one_more", 1.0))
        return self._softmax(graph.node("Mul", graph.node("Log", shifted), gamma), 0)

    def _write(self, parameters: dict[str, str], memory: str, weights: list[str]) -> str:
        """Eq. (3) and (4) there, ``[A, M, B]``; first every head erases, then every head adds."""
        graph, writers = self._graph, self._config.write_heads
        graph.part = "write"
        adds = [graph.node("Tanh", parameters[f"add_{k}"]) for k in range(writers)]  # of -a
        for k, w in enumerate(weights):
            too_much = graph.node("Mul", memory, graph.node("Sigmoid", parameters[f"erase_{k}"]))
            if k == writers - 1:
                too_much = graph.node("Add", too_much, adds[k])
            memory = graph.node("Sub", memory, graph.node("Mul", too_much, w))
        for add, w in zip(adds[:-1], weights[:-1], strict=True):
            memory = graph.node("Sub", memory, graph.node("Mul", add, w))
        return memory

    def _read(self, memory: str, weights: str, name: str) -> str:
        """Eq. (2), ``[R, M, B]``, from what M[t] holds there."""
        graph = self._graph
        graph.part = "read"
        each = graph.node("Unsqueeze", weights, self._axes[2])  # [A, R, 1, B]
        return self._sum(graph.node("Mul", each, graph.node("Unsqueeze", memory, self._axes[1])), 0, name=name)
