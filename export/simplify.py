"""Fewer nodes that compute the same: a product and a bias of a converted graph are one Gemm.

A sum with a constant and a sum of squares could be one node too, but runtimes beside onnxruntime compute those wrongly
or not at all, and onnxruntime is no faster by them.
"""

from collections import Counter

import onnx
from onnx import helper


def simplify(model: onnx.ModelProto) -> None:
    """Replace each X W + b, of a matrix X and a constant vector b, by one node, in place; all names are kept."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    constants = {constant.name: len(constant.dims) for constant in graph.initializer}
    ranks = constants | {
        value.name: len(value.type.tensor_type.shape.dim) for value in (*graph.input, *graph.value_info, *graph.output)
    }
    graph = model.graph
    products = {node.output[0]: node for node in graph.node if node.op_type == "MatMul"}
    uses = Counter(tensor for node in graph.node for tensor in node.input)
    uses.update(value.name for value in graph.output)
    for node in [node for node in graph.node if node.op_type == "Add"]:
        for product, bias in (node.input, node.input[::-1]):
            if product not in products or uses[product] > 1 or constants.get(bias) != 1:
                continue
            first = products[product]
            if [ranks[tensor] for tensor in first.input] == [2, 2]:
                graph.node.remove(first)
                node.CopyFrom(helper.make_node("Gemm", [*first.input, bias], node.output, node.name))
                break
