"""Static unrolling for many short sequences side by side: inside the graph, the batch is the last axis.

``unrolled.onnx`` has few nodes, but its matrix products work on one sequence, and its vectors on one location. With a
hundred sequences of a dozen locations these are too small to be fast. Here the same network has 73 nodes per step, 45
without content addressing, and the innermost loop of each node runs over the batch. The products of the controller are
the same, with the batch as their columns.

The inputs and outputs are those of ``unrolled.onnx``. ``ntm.export.parity`` proves the graph before its publication.
"""

import abc
from collections.abc import Iterator, Sequence

import numpy as np
import onnx

from ntm.export.controllers import Layout, controller_nodes
from ntm.export.graph import Graph, heads, matrix, orders, pieces, rewrite
from ntm.models import NTMCell, NTMConfig, addressing
from ntm.runtime.metadata import MEMORY, READS, WEIGHTS, X, Y, next_name

_LEAST_SQUARE = 1e-12  # the least square of a key's norm, as in tf.math.l2_normalize


def unroll(cell: NTMCell, steps: int, opset: int) -> onnx.ModelProto:
    """Write U steps of a network as a graph for many sequences; arguments and result as in ``unrolled.unroll``."""
    graph = Graph()
    _Batched(graph, cell).unroll([state_after(cell.config, i, steps) for i in range(steps)])
    return graph.model(cell, steps, opset)


def state_after(config: NTMConfig, step: int, _: int) -> dict[str, str]:
    """The names of the tensors of the state after a step inside the graph; the last axis of these is the batch."""
    return {name: f"step_{step}/{next_name(name)}" for name in config.state_shapes}


def as_state(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors of ``state_after`` with the axes of the graph's outputs."""
    return {name: np.moveaxis(tensor, -1, 0) for name, tensor in tensors.items()}


class BatchLast(Layout):
    """The nodes that do not depend on the layout of the memory; a subclass adds the others.

    N and B are open, and B is the last axis.
    """

    axis = 0

    def __init__(self, graph: Graph, cell: NTMCell) -> None:
        self.graph = graph
        self._config, self._by_content = cell.config, cell.content_addressing
        self._controller = controller_nodes(cell)
        output, units = matrix(cell.output), cell.controller.output_size
        of_hidden, self._output_of_reads = np.vstack([output[:units], output[-1:]]), output[units:-1]
        parts, erases, adds = heads(cell)
        if not self._by_content:
            parts = {name: parts[name] for name in ("sharpening", "shift")}
        # The parameters of the heads and the hidden layer's part of the output are one product.
        parameters = {
            **{name: part.transpose(0, 2, 1).reshape(len(part), -1) for name, part in parts.items()},
            **{f"erase_{k}": erase for k, erase in enumerate(erases)},
            **{f"add_{k}": add for k, add in enumerate(adds)},  # -a
            "output": of_hidden,
        }
        self._sizes = {name: part.shape[1] for name, part in parameters.items()}
        self._parameters = np.hstack(list(parameters.values()))
        self._axes = [graph.constant(f"axis_{axis}", [axis], np.int64) for axis in range(3)]

    @abc.abstractmethod
    def memory_step(self, parameters: dict[str, str], memory: str, weights: str, state: dict[str, str]) -> None:
        """Address, write and read. ``state`` has the names for M[t], w[t] and r[t], ``[R, M, B]``."""

    def unroll(self, states: Sequence[dict[str, str]]) -> None:
        """Write all steps; ``states`` has the names of the state after each step."""
        graph, config, steps = self.graph, self._config, len(states)
        words = self.begin(steps)
        before = {name: self.batch_last(name, len(shape)) for name, shape in config.state_shapes.items()}
        before |= {name: self.lay_out(before[name]) for name in (MEMORY, WEIGHTS)}
        logits = []
        for i, (word, state) in enumerate(zip(words, states, strict=True)):
            graph.scope = f"step_{i}"
            parameters = self.heads_and_output(word, before, state)
            self.memory_step(parameters, before[MEMORY], before[WEIGHTS], state)
            logits.append(self.output(parameters, state[READS]))
            before = dict(state)
        graph.scope, graph.part = "all", "output"
        y = graph.reshape(graph.node("Sigmoid", graph.node("Concat", *logits, axis=0)), steps, config.output_size, -1)
        graph.node("Transpose", y, perm=[0, 2, 1], name=Y)
        before |= {name: self.lay_back(before[name]) for name in (MEMORY, WEIGHTS)}
        for name, shape in config.state_shapes.items():
            last = len(shape) - 1
            graph.node("Transpose", before[name], perm=[last, *range(last)], name=next_name(name))

    def lay_out(self, tensor: str) -> str:
        """The memory, ``[M, N, B]``, or the weightings, ``[R+K, N, B]``, in this layout."""
        return tensor

    def lay_back(self, tensor: str) -> str:
        """The inverse of ``lay_out``."""
        return tensor

    def _product(self, name: str, weights: np.ndarray, x: str, bias: str) -> str:
        """W^T x + b."""
        kernel = self.graph.constant(f"{name}/kernel", weights.T)
        return self.graph.node("Gemm", kernel, x, bias)

    def layer(self, name: str, weights: np.ndarray, x: str) -> str:
        """W^T x + b; the last row of ``weights`` is b."""
        bias = self.graph.constant(f"{name}/bias", weights[-1][:, np.newaxis])
        return self._product(name, weights[:-1], x, bias)

    def _sum(self, tensor: str, axis: int, name: str | None = None) -> str:
        return self.graph.node("ReduceSum", tensor, self._axes[axis], name=name, keepdims=0)

    def _power(self, logits: str, axis: int) -> str:
        """Softmax up to a factor: the largest element along the axis is 1."""
        graph = self.graph
        return graph.node(
            "Exp", graph.node("Sub", logits, graph.node("ReduceMax", logits, self._axes[axis], keepdims=1))
        )

    def _softmax(self, logits: str, axis: int, name: str | None = None) -> str:
        """Softmax as several nodes, since the node of onnxruntime transposes if the axis is not the last."""
        graph = self.graph
        power = self._power(logits, axis)
        return graph.node("Div", power, graph.node("ReduceSum", power, self._axes[axis], keepdims=1), name=name)

    def first_layer(self, name: str, weights: np.ndarray, word: str, others: Sequence[str]) -> str:
        """The layer of the step's input, ``[I, B]``, and of other tensors."""
        return self.layer(name, weights, self.concat([word, *others]))

    def batch_last(self, tensor: str, axes: int) -> str:
        """``[B, ...]`` as ``[..., B]``."""
        graph = self.graph
        graph.part = "sizes"
        return self.transposed(tensor, *range(1, axes), 0)

    def transposed(self, tensor: str, *perm: int) -> str:
        """A tensor with its axes in this order.

        A reshaping to the same shape follows. It keeps onnxruntime from moving the transposition behind later nodes,
        which would then work with the batch first, and from merging two transpositions into a slower one.
        """
        graph = self.graph
        shape = graph.node("Shape", tensor)
        sizes = graph.node("Gather", shape, graph.constant("perm_" + "_".join(map(str, perm)), perm, np.int64), axis=0)
        return graph.node("Reshape", graph.node("Transpose", tensor, perm=perm), sizes)

    def begin(self, steps: int) -> list[str]:
        """The nodes that run once per chunk; returns the input of each step, ``[I, B]``."""
        graph, config = self.graph, self._config
        graph.part = "sizes"
        self._pieces = pieces(graph, config.shifts) if config.shifts > 1 else ""
        graph.part = "controller"
        words = graph.reshape(graph.node("Transpose", X, perm=[0, 2, 1]), steps * config.input_size, -1)
        return graph.nodes("Split", words, names=[None] * steps, axis=0, num_outputs=steps)

    def heads_and_output(self, word: str, before: dict[str, str], state: dict[str, str]) -> dict[str, str]:
        """The parameters of the heads, and the hidden layer's part of the output, by name."""
        graph = self.graph
        graph.part = "controller"
        hidden = self._controller.step(self, word, self._flat(before[READS]), before, state)
        graph.part = "heads"
        parameters = self.layer("heads_and_output", self._parameters, hidden)
        split = graph.constant("heads_and_output/split", list(self._sizes.values()), np.int64)
        parts = graph.nodes("Split", parameters, split, names=[None] * len(self._sizes), axis=0)
        return dict(zip(self._sizes, parts, strict=True))

    def _flat(self, reads: str) -> str:
        """``[R, M, B]`` as ``[R * M, B]``."""
        return self.graph.reshape(reads, self._config.read_heads * self._config.memory_vector_size, -1)

    def _of_heads(self, numbers: str) -> str:
        """``[R+K, B]`` as ``[R+K, 1, B]``, which is broadcast to all locations."""
        return self.graph.reshape(numbers, self._config.heads, 1, -1)

    def split_weights(self, weights: str, axis: int) -> list[str]:
        """The weightings of the read heads, and the weighting of each write head; ``axis`` is that of the heads."""
        graph, config = self.graph, self._config
        graph.part = "write"
        sizes = graph.constant("heads/weights", [config.read_heads, *[1] * config.write_heads], np.int64)
        return graph.nodes("Split", weights, sizes, names=[None] * (1 + config.write_heads), axis=axis)

    def shift_weighting(self, parameters: dict[str, str], *sizes: int) -> str:
        """S up to a factor, which Eq. (9) cancels: ``[S, *sizes, B]``."""
        graph = self.graph
        graph.part = "location"
        return self._power(graph.reshape(parameters["shift"], self._config.shifts, *sizes, -1), 0)

    def sharpen(self, weights: str, gamma: str, axis: int, name: str | None = None) -> str:
        """Eq. (9) over the locations, which are this axis; without epsilon as in ``ntm.export.unrolled``."""
        graph = self.graph
        graph.part = "sharpen"
        return self._softmax(graph.node("Mul", graph.node("Log", weights), gamma), axis, name=name)

    def sharpening(self, parameters: dict[str, str]) -> str:
        """gamma, ``[R+K, B]``."""
        graph = self.graph
        graph.part = "sharpen"
        return graph.node("Add", graph.node("Softplus", parameters["sharpening"]), graph.constant("one_more", 1.0))

    def erase_and_add(self, parameters: dict[str, str]) -> tuple[list[str], list[str]]:
        """E of each write head, and -a of each write head, ``[M, B]``."""
        graph, writers = self.graph, range(self._config.write_heads)
        graph.part = "write"
        erases = [graph.node("Sigmoid", parameters[f"erase_{k}"]) for k in writers]
        return erases, [graph.node("Tanh", parameters[f"add_{k}"]) for k in writers]

    def in_all_shifts(self, tensor: str, axis: int) -> Iterator[str]:
        """A tensor moved along its locations, which are this axis, by each shift from backward to forward."""
        graph, shifts = self.graph, self._config.shifts
        cut = graph.nodes("Split", tensor, self._pieces, names=[None] * shifts, axis=axis)
        for order in orders(cut):
            yield tensor if order == cut else graph.node("Concat", *order, axis=axis)

    def output(self, parameters: dict[str, str], reads: str) -> str:
        """The logits of the output, ``[O, B]``."""
        self.graph.part = "output"
        return self._product("output/reads", self._output_of_reads, self._flat(reads), parameters["output"])


class _Batched(BatchLast):
    """The memory as ``[M, N, B]``."""

    def memory_step(self, parameters: dict[str, str], memory: str, weights: str, state: dict[str, str]) -> None:
        weights = self.address(parameters, memory, weights, state[WEIGHTS])
        reading, *writing = self.split_weights(weights, 0)
        memory = self.write(parameters, memory, writing, state[MEMORY])
        self.read(memory, reading, state[READS])

    def address(self, parameters: dict[str, str], memory: str, previous: str, name: str) -> str:
        """Eq. (5) to (9): w[t] of all heads, ``[R+K, N, B]``, from M[t-1] and w[t-1]."""
        graph, shifts = self.graph, self._config.shifts
        weights = self._address_by_content(parameters, memory, previous) if self._by_content else previous

        graph.part = "location"  # Eq. (8)
        if shifts > 1:
            shift = self.shift_weighting(parameters, self._config.heads, 1)
            shares = graph.nodes("Split", shift, names=[None] * shifts, axis=0, num_outputs=shifts)
            moved = self.in_all_shifts(weights, 1)
            shifted = [graph.node("Mul", m, self._of_heads(share)) for m, share in zip(moved, shares, strict=True)]
            weights = graph.node("Sum", *shifted)

        return self.sharpen(weights, self._of_heads(self.sharpening(parameters)), 1, name)

    def _address_by_content(self, parameters: dict[str, str], memory: str, previous: str) -> str:
        """Eq. (5) to (7): w_g of all heads, ``[R+K, N, B]``, from M[t-1] and w[t-1]."""
        graph, config = self.graph, self._config
        m = config.memory_vector_size
        graph.part = "content"  # Eq. (5) and (6); the strength is divided by the norm of the key
        key = graph.reshape(parameters["key"], m, config.heads, 1, -1)
        square = self._sum(graph.node("Mul", key, key), 0)  # [R+K, 1, B]
        key_norm = graph.node("Sqrt", graph.node("Max", square, graph.constant("least_square", _LEAST_SQUARE)))
        strength = graph.node("Div", self._of_heads(graph.node("Softplus", parameters["strength"])), key_norm)
        square = self._sum(graph.node("Mul", memory, memory), 0)  # [N, B]
        norm = graph.node("Sqrt", graph.node("Add", square, graph.constant("norm_epsilon", addressing.NORM_EPSILON)))
        product = self._sum(graph.node("Mul", graph.node("Unsqueeze", memory, self._axes[1]), key), 0)  # [R+K, N, B]
        content = self._softmax(graph.node("Mul", graph.node("Div", product, norm), strength), 1)

        graph.part = "interpolation"  # Eq. (7)
        # At most 1, as in ntm.models.cell.
        gate = self._of_heads(graph.node("Min", graph.node("Sigmoid", parameters["gate"]), graph.constant("open", 1.0)))
        return graph.node("Add", previous, graph.node("Mul", gate, graph.node("Sub", content, previous)))

    def write(self, parameters: dict[str, str], memory: str, weights: list[str], name: str) -> str:
        """Eq. (3) and (4): M[t], ``[M, N, B]``."""
        m = self._config.memory_vector_size
        # Each [M, 1, B], which is broadcast to all locations.
        erases, adds = (
            [self.graph.reshape(v, m, 1, -1) for v in of_each] for of_each in self.erase_and_add(parameters)
        )
        return rewrite(self.graph, memory, weights, erases, adds, name=name)

    def read(self, memory: str, weights: str, name: str) -> str:
        """Eq. (2): r[t], ``[R, M, B]``."""
        graph = self.graph
        graph.part = "read"
        return self._sum(graph.node("Mul", graph.node("Unsqueeze", weights, self._axes[1]), memory), 2, name=name)
