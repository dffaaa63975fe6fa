"""Fewer nodes that compute the same: pairs of a converted graph that ONNX can say as one."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

# A rule is given two nodes, of which the second alone uses what the first makes, and returns the one node that stands
# for both: its operation, inputs and attributes. None where it does not apply.
_One = tuple[str, list[str], dict[str, int]]


class _Facts:
    """What is known of a graph's tensors."""

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
        self.constants = {constant.name: numpy_helper.to_array(constant) for constant in graph.initializer}
        self.ranks = {name: constant.ndim for name, constant in self.constants.items()}
        for value in (*graph.input, *graph.value_info, *graph.output):
            self.ranks[value.name] = len(value.type.tensor_type.shape.dim)


def simplify(model: onnx.ModelProto) -> None:
    """Replace pairs of nodes by one, in place. Inputs, outputs and constants keep their names."""
    graph, facts = model.graph, _Facts(model)
    made_by = {tensor: node for node in graph.node for tensor in node.output}
    uses = Counter(tensor for node in graph.node for tensor in node.input)
    uses.update(value.name for value in graph.output)
    for second in list(graph.node):
        for first in [made_by[tensor] for tensor in second.input if tensor in made_by and uses[tensor] == 1]:
            one = next(filter(None, (rule(first, second, facts) for rule in _RULES)), None)
            if one is not None:
                operation, inputs, attributes = one
                graph.node.remove(first)
                second.CopyFrom(helper.make_node(operation, inputs, second.output, second.name, **attributes))
                break


def _product_and_bias(first: NodeProto, second: NodeProto, facts: _Facts) -> _One | None:
    """X W + b is one Gemm, as onnxruntime would have it anyway."""
    if (first.op_type, second.op_type) != ("MatMul", "Add"):
        return None
    (bias,) = (tensor for tensor in second.input if tensor != first.output[0])
    vector = bias in facts.constants and facts.ranks[bias] == 1
    return ("Gemm", [*first.input, bias], {}) if vector and [facts.ranks[t] for t in first.input] == [2, 2] else None


def _sum_and_constant(first: NodeProto, second: NodeProto, facts: _Facts) -> _One | None:
    """(a + b + c) + constant is one Sum."""
    if (first.op_type, second.op_type) != ("Sum", "Add"):
        return None
    (other,) = (tensor for tensor in second.input if tensor != first.output[0])
    return ("Sum", [*first.input, other], {}) if other in facts.constants else None


def _sum_of_squares(first: NodeProto, second: NodeProto, facts: _Facts) -> _One | None:
    """sum(x x) is one ReduceSumSquare; only along the last axis, as along another onnxruntime's is slow."""
    if (first.op_type, second.op_type) != ("Mul", "ReduceSum") or first.input[0] != first.input[1]:
        return None
    axes = facts.constants.get(second.input[1])
    if axes is None or not np.array_equal(axes, [facts.ranks[first.input[0]] - 1]):
        return None
    attributes = {attribute.name: attribute.i for attribute in second.attribute}
    return "ReduceSumSquare", [first.input[0], second.input[1]], attributes


_RULES: tuple[Callable[[NodeProto, NodeProto, _Facts], _One | None], ...] = (
    _product_and_bias,
    _sum_and_constant,
    _sum_of_squares,
)
