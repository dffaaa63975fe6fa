"""Static unrolling for large memories and content addressing: a step writes only to what a write head looks at.

Write heads of a trained network look at a few locations; at all others their weights are so close to 0 that Eq.
(3) and (4) change nothing there that matters. ``unrolled.onnx`` computes all of it, which is most of its
work where there are many locations. Here a step takes out those at which the write heads of all sequences together
look with more than ``NEGLIGIBLE``, erases, adds and computes the norms anew in these alone, and puts them back:

* What it leaves out of a number m in the memory is at most ``NEGLIGIBLE`` (|m| + 1) a step: a sixteenth of what float32
  may round away from a number as large as |m| + 1, and for an m near 0 far below the epsilon of Eq. (6). That holds for
  any weighting: where heads look everywhere, or at NaN, everything is written, only slower than by ``unrolled.onnx``.
* The sequences take out the same locations, as they write at the same step when they run side by side.
* The memory lies in rows, so that one location is one piece: row b N + i is location i of sequence b.
* What is read, and compared with the keys, is the whole memory.

All else is as in ``unrolled.onnx``, and the same proof stands before publication (``ntm.export.parity``).
"""

import numpy as np
import onnx
from onnx import numpy_helper

from ntm.export import unrolled
from ntm.export.graph import Graph, rewrite
from ntm.export.unrolled import BatchFirst
from ntm.models import NTMCell, NTMConfig, addressing
from ntm.runtime.metadata import MEMORY, NEGLIGIBLE, WEIGHTS, next_name


def unroll(cell: NTMCell, steps: int, opset: int) -> onnx.ModelProto:
    """Write U steps of a network as a graph for large memories; it takes and returns what ``unrolled.unroll`` does."""
    graph = Graph()
    sparse = _Sparse(graph, cell)
    rows, _ = sparse.unroll([state_after(cell.config, i, steps) for i in range(steps)])
    graph.node("Transpose", sparse.by_sequence(rows), perm=[0, 2, 1], name=next_name(MEMORY))
    return graph.model(cell, steps, opset)


def state_after(config: NTMConfig, step: int, steps: int) -> dict[str, str]:
    """What the tensors of the state after a step are called within a graph of so many; the memory lies in rows."""
    return unrolled.state_after(config, step, steps) | {MEMORY: f"step_{step}/rows"}


def as_state(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The state as the outputs have it, of what is so called."""
    rows, count = tensors[MEMORY], len(tensors[WEIGHTS])
    return tensors | {MEMORY: rows.reshape(count, -1, rows.shape[1]).transpose(0, 2, 1)}


class _Sparse(BatchFirst):
    """The memory in rows, ``[B * N, M]``, and their norms, which are carried along, ``[B * N]``."""

    def __init__(self, graph: Graph, cell: NTMCell) -> None:
        super().__init__(graph, cell)
        self.writers = [cell.config.write_heads]

    def lay_out(self, memory: str) -> tuple[str, ...]:
        graph = self.graph
        graph.part = "sizes"
        batch = graph.node("Shape", memory, start=0, end=1)
        locations = graph.node("Shape", memory, start=2)
        count = graph.node("Mul", batch, locations)
        one, rest = (graph.constant(f"size_{size}", [size], np.int64) for size in (1, -1))
        self._sizes_by_sequence = graph.node("Concat", batch, locations, rest, axis=0)
        self._sizes_of_norms = graph.node("Concat", batch, one, locations, axis=0)
        self._sizes_of_writing = graph.node("Concat", rest, locations, axis=0)
        writers = graph.node("Mul", batch, graph.constant("K", [self._config.write_heads], np.int64))
        self._ones = graph.node("ConstantOfShape", writers, value=numpy_helper.from_array(np.array([1.0], np.float32)))
        zero = graph.constant("zero", 0, np.int64)
        starts = graph.node("Range", zero, graph.node("Squeeze", count), graph.node("Squeeze", locations))
        self._starts = graph.reshape(starts, -1, 1)  # of each sequence in the rows, [B, 1]
        moved = graph.node("Transpose", memory, perm=[0, 2, 1])
        rows = graph.node("Reshape", moved, graph.node("Concat", count, rest, axis=0))
        return rows, self._norm(rows, 1)

    def _norm(self, rows: str, axis: int) -> str:
        """The norms of vectors along an axis, with the epsilon of Eq. (6)."""
        graph = self.graph
        axes = graph.constant(f"axis_{axis}", [axis], np.int64)
        square = graph.node("ReduceSum", graph.node("Mul", rows, rows), axes, keepdims=0)
        return graph.node("Sqrt", graph.node("Add", square, graph.constant("norm_epsilon", addressing.NORM_EPSILON)))

    def by_sequence(self, rows: str) -> str:
        """The rows as ``[B, N, M]``."""
        return self.graph.node("Reshape", rows, self._sizes_by_sequence)

    def similarity(self, key: str, *memory: str) -> str:
        rows, norms = memory
        graph = self.graph
        graph.part = "content"
        product = graph.node("MatMul", key, graph.node("Transpose", self.by_sequence(rows), perm=[0, 2, 1]))
        return graph.node("Div", product, graph.node("Reshape", norms, self._sizes_of_norms))

    def write(self, hidden: str, memory: tuple[str, ...], weights: list[str], name: str) -> tuple[str, ...]:
        rows, norms = memory
        (w_of_all,) = weights
        graph, writers = self.graph, self._config.write_heads
        graph.part = "write"
        one, two = (graph.constant(f"axis_{axis}", [axis], np.int64) for axis in (1, 2))
        looked_at = graph.node("MatMul", self._ones, graph.node("Reshape", w_of_all, self._sizes_of_writing))  # [N]
        passed_over = graph.node("LessOrEqual", looked_at, graph.constant("negligible", NEGLIGIBLE))
        active = graph.node("Not", passed_over)  # a sequence of NaN makes none of the others be left out
        locations = graph.reshape(graph.node("NonZero", active), -1)  # [A]
        indices = graph.node("Add", self._starts, locations)  # [B, A]
        m = graph.node("Gather", rows, indices, axis=0)  # [B, A, M]
        w_there = graph.node("Transpose", graph.node("Gather", w_of_all, locations, axis=2), perm=[0, 2, 1])
        of_each = [w_there]  # each [B, A, 1]
        if writers > 1:
            of_each = graph.nodes("Split", w_there, names=[None] * writers, axis=2, num_outputs=writers)
        vectors = [
            [graph.node("Unsqueeze", vector, one) for vector in self.erase_and_add(hidden, k)] for k in range(writers)
        ]
        erases, adds = zip(*vectors, strict=True)  # each [B, 1, M]
        m = rewrite(graph, m, of_each, erases, adds)
        indices = graph.node("Unsqueeze", indices, two)
        rows = graph.node("ScatterND", rows, indices, m, name=name)
        graph.part = "content"
        return rows, graph.node("ScatterND", norms, indices, self._norm(m, 2))

    def read(self, memory: str, weights: str, name: str) -> str:
        graph = self.graph
        graph.part = "read"
        return graph.node("MatMul", weights, self.by_sequence(memory), name=name)
