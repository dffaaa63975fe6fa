"""Pairs of nodes become one where ONNX has one for them, and nowhere else."""

import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from onnx import NodeProto, TensorProto, helper, numpy_helper

from ntm.export import onnx_format
from ntm.export.simplify import simplify
from ntm.models import NTMCell, NTMConfig

CONSTANTS = {
    "kernel": np.arange(12, dtype=np.float32).reshape(4, 3),
    "bias": np.array([1, -1, 2], np.float32),
    "row": np.array([[1, -1, 2]], np.float32),
    "epsilon": np.array(0.25, np.float32),
    "last": np.array([2]),
}
SHAPES: dict[str, list[int | str]] = {"matrix": ["B", 4], "stack": ["B", 2, 4], "other": ["B", 3]}

node = helper.make_node
PRODUCT = node("MatMul", ["matrix", "kernel"], ["product"], "product")
SQUARE = node("Mul", ["stack", "stack"], ["square"], "square")
SUM = node("Sum", ["matrix", "matrix", "matrix"], ["sum"], "sum")

BECOME_ONE = {
    "Gemm": [PRODUCT, node("Add", ["product", "bias"], ["out"], "add")],
    "Gemm, bias first": [PRODUCT, node("Add", ["bias", "product"], ["out"], "add")],
}
STAY_TWO = {
    "a product of more axes": [
        node("MatMul", ["stack", "kernel"], ["product"], "product"),
        node("Add", ["product", "bias"], ["out"], "add"),
    ],
    "a bias of more axes": [PRODUCT, node("Add", ["product", "row"], ["out"], "add")],
    "a bias that is no constant": [PRODUCT, node("Add", ["product", "other"], ["out"], "add")],
    "a sum and a constant, which MNN computes wrongly as one": [SUM, node("Add", ["sum", "epsilon"], ["out"], "add")],
    "a sum of squares, likewise": [SQUARE, node("ReduceSum", ["square", "last"], ["out"], "reduce", keepdims=1)],
    "no squares": [
        node("Mul", ["stack", "epsilon"], ["scaled"], "scaled"),
        node("ReduceSum", ["scaled", "last"], ["out"], "reduce", keepdims=1),
    ],
    "a product that is used twice": [
        PRODUCT,
        node("Add", ["product", "bias"], ["biased"], "add"),
        node("Mul", ["product", "biased"], ["out"], "mul"),
    ],
}


def model_of(nodes: list[NodeProto], *outputs: str) -> onnx.ModelProto:
    used = {tensor for n in nodes for tensor in n.input}
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in SHAPES.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in CONSTANTS.items() if name in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)  # of the outputs


def computed(model: onnx.ModelProto) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    inputs = {
        name: random.normal(size=[5 if size == "B" else int(size) for size in shape]).astype(np.float32)
        for name, shape in SHAPES.items()
    }
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return list(session.run(None, inputs))


def simplified(nodes: list[NodeProto], *outputs: str) -> list[str]:
    """Simplify a graph of these nodes, see that it computes the same, and return its operations."""
    model = model_of(nodes, *outputs)
    expected = computed(model)
    simplify(model)
    onnx.checker.check_model(model, full_check=True)
    for actual, wanted in zip(computed(model), expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-6)
    return [n.op_type for n in model.graph.node]


@pytest.mark.parametrize("kind", BECOME_ONE)
def test_two_become_one(kind: str) -> None:
    assert simplified(BECOME_ONE[kind], "out") == [kind.partition(",")[0]]


@pytest.mark.parametrize("kind", STAY_TWO)
def test_the_rest_stays(kind: str) -> None:
    assert simplified(STAY_TWO[kind], "out") == [n.op_type for n in STAY_TWO[kind]]


def test_what_is_an_output_stays() -> None:
    assert simplified(BECOME_ONE["Gemm"], "product", "out") == ["MatMul", "Add"]


def test_nothing_is_left_to_simplify_in_a_converted_step() -> None:
    cell = NTMCell(NTMConfig(input_size=9, output_size=8, shifts=5, read_heads=2, write_heads=2))
    for layer in (*cell.layers, cell.output):
        layer.bias.assign_add(tf.ones_like(layer.bias))  # tf2onnx leaves out a bias of zero
    operations = [n.op_type for n in onnx_format.convert(cell).graph.node]
    layers = len(cell.config.controller_sizes) + 2
    assert operations.count("Gemm") == layers
    assert "ReduceSumSquare" not in operations
    assert operations.count("Cast") + operations.count("Shape") + operations.count("Identity") == 0
