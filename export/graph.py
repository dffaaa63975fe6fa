"""An ONNX graph under construction: nodes with telling names, and shared constants."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ntm.models import NTMCell, Shape
from ntm.runtime.metadata import MEMORY, input_shapes, output_shapes


class Graph:
    """A graph under construction."""

    def __init__(self) -> None:
        self.scope, self.part = "all", ""
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, value: Any, dtype: type = np.float32) -> str:
        """A constant; equal names share one constant.

        Raises:
            ValueError: another constant has this name.
        """
        tensor = numpy_helper.from_array(np.asarray(value, dtype, order="C"), name)
        if self._constants.setdefault(name, tensor) != tensor:
            raise ValueError(f"there is another constant {name}")
        return name

    def node(self, operation: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        """A node with one output; ``name`` is the name of the output."""
        return self.nodes(operation, *inputs, names=[name], **attributes)[0]

    def nodes(self, operation: str, *inputs: str, names: Iterable[str | None], **attributes: Any) -> list[str]:
        """A node with as many outputs as there are names; None stands for a name made from the node."""
        path = f"{self.scope}/{self.part}/{operation}_{len(self._nodes)}"
        outputs = [name or f"{path}:{i}" for i, name in enumerate(names)]
        self._nodes.append(helper.make_node(operation, inputs, outputs, path, **attributes))
        return outputs

    def reshape(self, tensor: str, *shape: int, name: str | None = None) -> str:
        """A tensor in another shape; 0 keeps a size, -1 is the rest."""
        target = self.constant("shape_" + "_".join(map(str, shape)), shape, np.int64)
        return self.node("Reshape", tensor, target, name=name)

    def model(self, cell: NTMCell, steps: int, opset: int) -> onnx.ModelProto:
        """The finished graph, of U steps."""
        config = cell.config
        graph = helper.make_graph(
            self._nodes,
            "ntm",
            tensor_values(input_shapes(config.input_size, config.state_shapes, (steps,))),
            tensor_values(output_shapes(config.output_size, config.state_shapes, None, (steps,))),
            list(self._constants.values()),
            doc_string="A Neural Turing Machine, unrolled",
        )
        opsets = [helper.make_opsetid("", opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=helper.find_min_ir_version_for(opsets))


def tensor_values(shapes: Mapping[str, Shape]) -> list[onnx.ValueInfoProto]:
    """The inputs or outputs of a graph, float32 tensors of these shapes by name."""
    return [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in shapes.items()]


def matrix(layer: Any) -> np.ndarray:
    """The kernel of a layer, with its bias as the last row."""
    return np.vstack([layer.kernel.numpy(), layer.bias.numpy()])


def pieces(graph: Graph, shifts: int) -> str:
    """The sizes of S pieces of the circle of N locations; every shift is another order of these pieces."""
    locations = graph.node("Shape", MEMORY, start=2, end=3)
    between = graph.node("Sub", locations, graph.constant("edges", [shifts - 1], np.int64))
    ones = [graph.constant("one", [1], np.int64)] * (shifts // 2)
    return graph.node("Concat", *ones, between, *ones, axis=0)


def orders(cut: list[str]) -> list[list[str]]:
    """The order of the pieces after each shift, from backward to forward."""
    shifts = len(cut)
    return [[cut[(i - shift) % shifts] for i in range(shifts)] for shift in range(-(shifts // 2), shifts // 2 + 1)]


def rewrite(
    graph: Graph,
    memory: str,
    weights: Sequence[str],
    erases: Sequence[str],
    adds: Sequence[str],
    *,
    name: str | None = None,
) -> str:
    """Eq. (3) and (4): M[t] from M[t-1]; first every head erases, then every head adds.

    Args:
        graph: the graph that gets the nodes.
        memory: M[t-1], or a part of it.
        weights: w[t] of each write head, in a shape that is broadcast to the memory's.
        erases: e of each write head, in such a shape.
        adds: -a of each write head, in such a shape.
        name: the name of the result.
    """
    last = len(weights) - 1
    for k, (w, erase) in enumerate(zip(weights, erases, strict=True)):
        too_much = graph.node("Mul", memory, erase)
        if k == last:
            too_much = graph.node("Add", too_much, adds[k])
        memory = graph.node("Sub", memory, graph.node("Mul", too_much, w), name=name if k == last == 0 else None)
    for k in range(last):  # -a of the heads before the last
        added = graph.node("Mul", adds[k], weights[k])
        memory = graph.node("Sub", memory, added, name=name if k == last - 1 else None)
    return memory


def heads(cell: NTMCell) -> tuple[dict[str, np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """The parts of the heads' layer, by parameter; each matrix has its bias as the last row.

    Returns:
        The parameters of addressing by name, ``[H+1, R+K, size]``; then erase of each write head, and -add of each,
        ``[H+1, M]``.
    """
    weights, columns = matrix(cell.heads), cell.config.head_columns
    parts = {name: weights[:, columns[name]] for name in cell.config.addressing_sizes}
    return parts, [weights[:, c] for c in columns["erase"].T], [-weights[:, c] for c in columns["add"].T]
