"""Static unrolling for large memories: a step computes the locations in reach of a head, and no others.

The graph is for networks whose content addressing is turned off. Their heads shift by (S - 1) / 2 locations per step at
most. Everywhere else the weight of a head is 0, and it neither writes nor reads there. So a step finds the locations
that the heads of all sequences together can reach with a weight of more than ``NEGLIGIBLE``, takes these locations out
of the memory, computes with them alone, and puts them back. Only a sum of the weightings and a copy of the memory still
grow with N.

* At any other location a step leaves out a weight of at most ``NEGLIGIBLE`` before sharpening, for each head. This
  holds for any weighting: if heads use all locations, nothing is left out, and the graph is only slower than
  ``unrolled.onnx``. The total effect is measured before publication. It is tiny if heads use a few locations, since
  Eq. (9) makes small weights smaller from step to step.
* All sequences of a batch share these locations, since sequences that run side by side shift at the same steps.
* The batch is the last axis, as in ``batched.onnx``, and the location is the first axis, so that one location of all
  sequences is contiguous.

The inputs and outputs are those of ``unrolled.onnx``. ``ntm.export.parity`` proves the graph before its publication.
"""

import numpy as np
import onnx
from onnx import numpy_helper

from ntm.export import batched
from ntm.export.batched import BatchLast, state_after
from ntm.export.graph import Graph, rewrite
from ntm.models import NTMCell
from ntm.runtime.metadata import MEMORY, NEGLIGIBLE, READS, WEIGHTS


def unroll(cell: NTMCell, steps: int, opset: int) -> onnx.ModelProto:
    """Write U steps of a network without content addressing as a graph, with the interface of ``unrolled.unroll``."""
    graph = Graph()
    _Sparse(graph, cell).unroll([state_after(cell.config, i, steps) for i in range(steps)])
    return graph.model(cell, steps, opset)


def as_state(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors of ``state_after`` with the axes of the graph's outputs."""
    locations_first = {name: np.moveaxis(tensors[name], 0, 1) for name in (MEMORY, WEIGHTS)}
    return batched.as_state(tensors | locations_first)


class _Sparse(BatchLast):
    """The memory as ``[N, M, B]``. "There" means: at the A locations in reach of a head."""

    def lay_out(self, tensor: str) -> str:
        """The memory, ``[M, N, B]``, or the weightings, ``[R+K, N, B]``, in this layout."""
        return self.transposed(tensor, 1, 0, 2)

    lay_back = lay_out

    def begin(self, steps: int) -> list[str]:
        """The nodes that run once per chunk; returns the input of each step, ``[I, B]``."""
        words = super().begin(steps)
        graph = self.graph
        graph.part = "sizes"
        zero = numpy_helper.from_array(np.zeros(1, np.float32))
        batch, heads, self._locations = (graph.node("Shape", WEIGHTS, start=axis, end=axis + 1) for axis in range(3))
        self._nowhere = graph.node(
            "ConstantOfShape", graph.node("Concat", self._locations, heads, batch, axis=0), value=zero
        )
        return words

    def memory_step(self, parameters: dict[str, str], memory: str, weights: str, state: dict[str, str]) -> None:
        graph = self.graph
        locations = self._within_reach(weights)
        there = self.sharpen(self._shift(parameters, weights, locations), self.sharpening(parameters), 0)
        graph.part = "location"
        indices = graph.node("Unsqueeze", locations, self._axes[1])  # [A, 1]
        weights = graph.node("ScatterND", self._nowhere, indices, there, name=state[WEIGHTS])
        reading, *writing = self.split_weights(there, 1)
        erases, adds = self.erase_and_add(parameters)
        memory_there = rewrite(graph, graph.node("Gather", memory, locations, axis=0), writing, erases, adds)
        memory = graph.node("ScatterND", memory, indices, memory_there, name=state[MEMORY])
        self._read(memory_there, reading, state[READS])

    def _within_reach(self, weights: str) -> str:
        """The locations in reach of a head, ``[A]``, from w[t-1], ``[N, R+K, B]``."""
        graph = self.graph
        graph.part = "location"
        axes = graph.constant("axes_of_looking", [1, 2], np.int64)
        looked_at = graph.node("ReduceSum", weights, axes, keepdims=0)  # [N]
        if self._config.shifts > 1:
            looked_at = graph.node("Sum", *self.in_all_shifts(looked_at, 0))
        passed_over = graph.node("LessOrEqual", looked_at, graph.constant("negligible", NEGLIGIBLE))
        active = graph.node("Not", passed_over)  # NaN in one sequence leaves out no location of the others
        return graph.reshape(graph.node("NonZero", active), -1)

    def _shift(self, parameters: dict[str, str], weights: str, locations: str) -> str:
        """Eq. (8) there, up to a factor, which Eq. (9) cancels; ``[A, R+K, B]``."""
        graph, shifts = self.graph, self._config.shifts
        steps = np.arange(shifts // 2, -(shifts // 2) - 1, -1)[:, np.newaxis]
        moved = graph.node("Add", locations, graph.constant("steps", steps, np.int64))
        come_from = graph.node("Mod", moved, self._locations)  # [S, A]
        focus = graph.node("Gather", weights, come_from, axis=0)  # [S, A, R+K, B]
        return self._sum(graph.node("Mul", focus, self.shift_weighting(parameters, 1, self._config.heads)), 0)

    def _read(self, memory: str, weights: str, name: str) -> str:
        """Eq. (2), ``[R, M, B]``, from M[t] there."""
        graph = self.graph
        graph.part = "read"
        each = graph.node("Unsqueeze", weights, self._axes[2])  # [A, R, 1, B]
        return self._sum(graph.node("Mul", each, graph.node("Unsqueeze", memory, self._axes[1])), 0, name=name)
