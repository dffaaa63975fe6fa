"""Static unrolling for large memories and content addressing: a step writes only where a write head has weight.

The write heads of a trained network use a few locations; everywhere else their weights are so close to 0 that Eq. (3)
and (4) change almost nothing. ``unrolled.onnx`` computes all locations, which is most of its work if there are many.
Here a step takes out the locations where the write heads of all sequences together have a weight of more than
``NEGLIGIBLE``. It erases, adds and computes the norms in these locations alone, and puts them back:

* The error of a number m in the memory is at most ``NEGLIGIBLE`` (|m| + 1) per step. This is a sixteenth of the largest
  rounding error of float32 for |m| + 1, and for m near 0 far below the epsilon of Eq. (6). It holds for any weighting:
  if heads use all locations, or if a weight is NaN, all locations are written, only slower than by ``unrolled.onnx``.
* All sequences of a batch take out the same locations, since sequences that run side by side write at the same steps.
* The memory is a matrix of rows, so that a location is contiguous: row b N + i is location i of sequence b.
* Reading and content addressing use the whole memory.

The rest is as in ``unrolled.onnx``. ``ntm.export.parity`` proves the graph before its publication.
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
    """Write U steps of a network as a graph for large memories; arguments and result as in ``unrolled.unroll``."""
    graph = Graph()
    sparse = _Sparse(graph, cell)
    rows, _ = sparse.unroll([state_after(cell.config, i, steps) for i in range(steps)])
    graph.node("Transpose", sparse.by_sequence(rows), perm=[0, 2, 1], name=next_name(MEMORY))
    return graph.model(cell, steps, opset)


def state_after(config: NTMConfig, step: int, steps: int) -> dict[str, str]:
    """The names of the tensors of the state after a step inside the graph; the memory is a matrix of rows."""
    return unrolled.state_after(config, step, steps) | {MEMORY: f"step_{step}/rows"}


def as_state(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors of ``state_after`` with the axes of the graph's outputs."""
    rows, count = tensors[MEMORY], len(tensors[WEIGHTS])
    return tensors | {MEMORY: rows.reshape(count, -1, rows.shape[1]).transpose(0, 2, 1)}


class _Sparse(BatchFirst):
    """The memory in rows, ``[B * N, M]``, and the norms of the rows, ``[B * N]``."""

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
        self._starts = graph.reshape(starts, -1, 1)  # the first row of each sequence, [B, 1]
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
        active = graph.node("Not", passed_over)  # NaN in one sequence leaves out no location of the others
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
