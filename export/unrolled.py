"""Static unrolling: U time steps in one ONNX graph, with as few and as cheap nodes as possible.

``step.onnx`` is the converted cell; this graph is the same network, written for speed. For a small node, onnxruntime
takes about as long to call it as to compute it. So algebra reduces a step from some 60 nodes to 39, and to 28 without
content addressing, all of standard ONNX:

* The terms that depend on x alone are computed once for all U steps, and so is the output, since no next state depends
  on it. For these nodes the steps of a chunk are one batch of U * B sequences.
* Eq. (7) and (8) are one product with 2 S weights: one for each pair of a focus, by content or previous, and a shift.
  These weights are one softmax, since sigmoid(g) softmax(s) = softmax over both of (g, 0) + s.
* Eq. (3) and (4) of one head are M - w (e M - a), and BatchNormalization of B * M channels computes e M - a.
* One node normalises a key to the length 1, without the least length that TensorFlow has. The results differ for keys
  shorter than 1e-6, which no trained network was seen to have.
* If content addressing is turned off, g = 0, Eq. (5) to (7) do not change the weightings and are left out.
* Eq. (9) needs no epsilon without differentiation: the logarithm of 0 is -inf, and its softmax is 0.

``ntm.export.parity`` proves that the graph is the same network before its publication.
"""

import itertools
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from ntm.export.controllers import Layout, controller_nodes
from ntm.export.graph import Graph, heads, matrix, orders, pieces
from ntm.models import NTMCell, NTMConfig, addressing
from ntm.runtime.metadata import MEMORY, READS, WEIGHTS, X, Y, next_name

_NEVER = -1e4  # the logit of the weight 0


def unroll(cell: NTMCell, steps: int, opset: int) -> onnx.ModelProto:
    """Write U steps of a network as a graph.

    Args:
        cell: the network.
        steps: U, at least 1.
        opset: the ONNX opset of the graph.

    Returns:
        The graph: it takes x, ``[U, B, I]``, and the state; it gives y, ``[U, B, O]``, and the next state. N is at
        least S - 1. The names of its nodes begin with ``step_<i>/<part>/``, or with ``all/`` for nodes of all steps.
    """
    graph = Graph()
    _Unrolled(graph, cell).unroll([state_after(cell.config, i, steps) for i in range(steps)])
    return graph.model(cell, steps, opset)


def state_after(config: NTMConfig, step: int, steps: int) -> dict[str, str]:
    """The names of the tensors of the state after a step inside a graph of this many steps, by name."""
    scope = "" if step == steps - 1 else f"step_{step}/"
    return {name: f"{scope}{next_name(name)}" for name in config.state_shapes}


def as_state(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors of ``state_after`` with the axes of the graph's outputs."""
    return tensors


class _Unrolled(Layout):
    """The nodes, with the memory as in the inputs, ``[B, M, N]``."""

    axis = 1

    def __init__(self, graph: Graph, cell: NTMCell) -> None:
        self.graph = graph
        self._config, self._by_content = cell.config, cell.content_addressing
        self._controller = controller_nodes(cell)
        self._output = matrix(cell.output)
        parts, self._erase, self._add = heads(cell)
        self._addressing = _addressing(cell, parts)

    def unroll(self, states: Sequence[dict[str, str]]) -> None:
        """Write all steps; ``states`` has the names of the state after each step."""
        graph = self.graph
        chunk = self._begin(len(states))
        before = {name: name for name in self._config.state_shapes}
        hidden_of_all, reads_of_all = [], []
        for i, (projected, state) in enumerate(zip(chunk, states, strict=True)):
            graph.scope, graph.part = f"step_{i}", "controller"
            hidden = self._controller.step(self, projected, self._flat(before[READS]), before, state)
            *keys, sharpening, mixture = self._addressing_parameters(hidden)
            similarities = [self._similarity(key, before[MEMORY]) for key in keys]
            weights = self._focus(similarities, before[WEIGHTS], sharpening, mixture, state[WEIGHTS])
            reading, *writing = self._split_weights(weights)
            memory = self._write(hidden, before[MEMORY], writing, state[MEMORY])
            reads_of_all.append(self._read(memory, reading, state[READS]))
            hidden_of_all.append(hidden)
            before = state
        graph.scope = "all"
        self._output_of_all(hidden_of_all, reads_of_all)

    def layer(self, name: str, weights: np.ndarray, x: str) -> str:
        """X W + b; the last row of ``weights`` is b."""
        return self._gemm(name, weights, x)

    def first_layer(self, name: str, weights: np.ndarray, word: str, others: Sequence[str]) -> str:
        """The layer of the other tensors; ``word`` is added, the part of the input with b."""
        of_others = weights[self._config.input_size : -1]
        return self._gemm(f"{name}/others", of_others, self.concat(others), word)

    def _gemm(self, name: str, weights: np.ndarray, x: str, bias: str | None = None) -> str:
        """X W + b; b is the tensor ``bias``, or else the last row of ``weights``."""
        if bias is None:
            bias = self.graph.constant(f"{name}/bias", weights[-1])
            weights = weights[:-1]
        return self.graph.node("Gemm", x, self.graph.constant(f"{name}/kernel", weights), bias)

    def _begin(self, steps: int) -> list[str]:
        """The nodes that run once per chunk; returns the part of x in the first layer of each step, ``[B, units]``."""
        graph, config = self.graph, self._config
        graph.part = "sizes"
        batch = graph.node("Shape", MEMORY, start=0, end=1)
        channels = graph.node("Mul", batch, graph.constant("M", [config.memory_vector_size], np.int64))
        self._zeros, self._ones = (
            graph.node("ConstantOfShape", channels, value=numpy_helper.from_array(np.array([value], np.float32)))
            for value in (0.0, 1.0)
        )
        self._pieces = pieces(graph, config.shifts) if config.shifts > 1 else ""
        graph.part = "controller"
        inputs = graph.reshape(X, -1, config.input_size)
        first = self._controller.matrices[0]
        of_x = np.vstack([first[: config.input_size], first[-1:]])
        projected = self._gemm("first/x", of_x, inputs)  # [U * B, units]
        return graph.nodes("Split", projected, names=[None] * steps, axis=0, num_outputs=steps)

    def _flat(self, reads: str) -> str:
        """``[B, R, M]`` as ``[B, R * M]``."""
        return self.graph.reshape(reads, -1, self._config.read_heads * self._config.memory_vector_size)

    def _addressing_parameters(self, hidden: str) -> list[str]:
        """The parameters of addressing: keys, ``[B, R+K, M]``, each as long as its strength; sharpening; mixture.

        There are no keys if content addressing is turned off.
        """
        graph, count, m = self.graph, self._config.heads, self._config.memory_vector_size
        graph.part = "heads"
        shifts = self._config.shifts * count
        sizes = [m, 1, 1, 2 * shifts] if self._by_content else [1, shifts]
        parameters = graph.reshape(self._gemm("heads/addressing", self._addressing, hidden), -1, count, sum(sizes))
        split = graph.constant("heads/addressing/split", sizes, np.int64)
        parts = graph.nodes("Split", parameters, split, names=[None] * len(sizes), axis=2)
        if not self._by_content:
            return parts
        key, strength, *others = parts
        graph.part = "content"
        key = graph.node("Mul", graph.node("LpNormalization", key, axis=2, p=2), graph.node("Softplus", strength))
        return [key, *others]

    def _focus(self, similarities: list[str], previous: str, sharpening: str, mixture: str, name: str) -> str:
        """Eq. (5) and (7) to (9): w[t] of all heads, ``[B, R+K, N]``, from beta K[k, M], if any, and w[t-1]."""
        graph, count, shifts = self.graph, self._config.heads, self._config.shifts
        graph.part = "content"  # Eq. (5)
        contents = [graph.node("Softmax", similarity, axis=2) for similarity in similarities]
        graph.part = "interpolation"
        focus = graph.node("Concat", *contents, previous, axis=1) if contents else previous  # [B, 2 (R+K) or R+K, N]

        graph.part = "location"  # Eq. (7) and (8)
        if shifts > 1:
            cut = graph.nodes("Split", focus, self._pieces, names=[None] * shifts, axis=2)
            shifted = itertools.chain(*orders(cut))
            rows = (len(contents) + 1) * count * shifts
            focus = graph.reshape(graph.node("Concat", *shifted, axis=2), 0, rows, -1)
        mixed = graph.node("MatMul", graph.node("Softmax", mixture, axis=2), focus)  # [B, R+K, N]

        graph.part = "sharpen"  # Eq. (9)
        gamma = graph.node("Add", graph.node("Softplus", sharpening), graph.constant("least_sharpening", 1.0))
        return graph.node("Softmax", graph.node("Mul", graph.node("Log", mixed), gamma), axis=2, name=name)

    def _split_weights(self, weights: str) -> list[str]:
        """The weightings of the read heads, ``[B, R, N]``, and of each write head, ``[B, 1, N]``."""
        graph, writers = self.graph, self._config.write_heads
        graph.part = "write"
        split = graph.constant("heads/split", [self._config.read_heads, *[1] * writers], np.int64)
        return graph.nodes("Split", weights, split, names=[None] * (1 + writers), axis=1)

    def _erase_and_add(self, hidden: str, k: int) -> tuple[str, str]:
        """Erase and -add of write head k, ``[B, M]``."""
        graph = self.graph
        graph.part = "write"
        erase = graph.node("Sigmoid", self._gemm(f"heads/erase_{k}", self._erase[k], hidden))
        return erase, graph.node("Tanh", self._gemm(f"heads/add_{k}", self._add[k], hidden))

    def _output_of_all(self, hidden: list[str], reads: list[str]) -> None:
        """The outputs of all steps, ``[U, B, O]``."""
        graph, config = self.graph, self._config
        graph.part = "output"
        units = self._controller.sizes[-1]
        of_hidden, of_reads = np.vstack([self._output[:units], self._output[-1:]]), self._output[units:-1]
        logits = self._gemm("output/hidden", of_hidden, graph.node("Concat", *hidden, axis=0))
        logits = self._gemm("output/reads", of_reads, self._flat(graph.node("Concat", *reads, axis=0)), logits)
        graph.reshape(graph.node("Sigmoid", logits), len(hidden), -1, config.output_size, name=Y)

    def _similarity(self, key: str, m: str) -> str:
        """Eq. (6) times the strength, ``[B, R+K, N]``, from M[t-1]."""
        graph = self.graph
        graph.part = "content"
        ones = graph.constant("ones", np.ones([1, self._config.memory_vector_size]))
        square = graph.node("MatMul", ones, graph.node("Mul", m, m))  # [B, 1, N]
        norm = graph.node("Sqrt", graph.node("Add", square, graph.constant("norm_epsilon", addressing.NORM_EPSILON)))
        return graph.node("Div", graph.node("MatMul", key, m), norm)

    def _write(self, hidden: str, m: str, weights: list[str], name: str) -> str:
        """Eq. (3) and (4): M[t], from M[t-1]; first all heads erase, then all heads add."""
        graph, config = self.graph, self._config
        graph.part = "write"
        last = config.write_heads - 1
        adds = []
        for k, w in enumerate(weights):
            erase, add = self._erase_and_add(hidden, k)
            channels = graph.reshape(m, 1, -1, 0)  # [1, B * M, N]
            bias = graph.reshape(add, -1) if k == last else self._zeros
            too_much = graph.node(
                "BatchNormalization", channels, graph.reshape(erase, -1), bias, self._zeros, self._ones, epsilon=0.0
            )
            too_much = graph.node("Mul", graph.reshape(too_much, -1, config.memory_vector_size, 0), w)
            m = graph.node("Sub", m, too_much, name=name if k == last == 0 else None)
            adds.append(add)
        for k in range(last):  # -a of the heads before the last
            added = graph.node("Mul", graph.reshape(adds[k], -1, config.memory_vector_size, 1), weights[k])
            m = graph.node("Sub", m, added, name=name if k == last - 1 else None)
        return m

    def _read(self, memory: str, weights: str, name: str) -> str:
        """Eq. (2): r[t], ``[B, R, M]``, from M[t]."""
        graph = self.graph
        graph.part = "read"
        return graph.node("MatMul", weights, graph.node("Transpose", memory, perm=[0, 2, 1]), name=name)


def _addressing(cell: NTMCell, parts: dict[str, np.ndarray]) -> np.ndarray:
    """The parameters of addressing as one layer, ``[H+1, (R+K) * (M + 2 + 2 S (R+K))]``.

    Each head has key, strength, sharpening, and the logits of its mixture, in which other heads have the weight 0.
    Without content addressing there are neither keys nor strengths, and half as many logits.
    """
    count, shifts, rows = cell.config.heads, cell.config.shifts, len(parts["key"])
    mixture = np.zeros([rows, count, 2, count, shifts], np.float32)
    mixture[-1] = _NEVER
    for i in range(count):
        mixture[:, i, 0, i] = parts["gate"][:, i] + parts["shift"][:, i]
        mixture[:, i, 1, i] = parts["shift"][:, i]
    if cell.content_addressing:
        parameters = [parts["key"], parts["strength"], parts["sharpening"], mixture.reshape(rows, count, -1)]
    else:
        parameters = [parts["sharpening"], mixture[:, :, 1].reshape(rows, count, -1)]
    return np.concatenate(parameters, axis=2).reshape(rows, -1)
