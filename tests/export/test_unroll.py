"""Static unrolling on a graph small enough to be checked by hand."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from ntm.export import onnx_format
from ntm.export.unroll import unroll


@pytest.fixture
def step() -> onnx.ModelProto:
    """y = memory' + reads + 2x, memory' = memory + 2x, weights' = weights memory, reads' = reads, adds = 3 memory'."""
    nodes = [
        helper.make_node("Mul", ["x", "two"], ["twice"], "before"),
        helper.make_node("Add", ["memory", "twice"], ["next_memory"], "repeated_1"),
        helper.make_node("Mul", ["weights", "memory"], ["next_weights"], "repeated_2"),
        helper.make_node("Identity", ["reads"], ["next_reads"], "repeated_3"),
        helper.make_node("Add", ["next_memory", "reads"], ["sum"], "after_1"),
        helper.make_node("Add", ["sum", "twice"], ["y"], "after_2"),
        helper.make_node("Mul", ["next_memory", "three"], ["adds"], "left_out"),
    ]

    def tensors(*names: str) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", 3]) for name in names]

    graph = helper.make_graph(
        nodes,
        "step",
        tensors("x", "memory", "weights", "reads"),
        tensors("y", "next_memory", "next_weights", "next_reads", "adds"),
        [helper.make_tensor(name, TensorProto.FLOAT, [], [value]) for name, value in (("two", 2.0), ("three", 3.0))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_unrolled_graph_is_the_step_repeated(step: onnx.ModelProto, steps: int) -> None:
    model = unroll(step, steps)
    onnx.checker.check_model(model, full_check=True)
    random = np.random.default_rng(0)
    x = random.normal(size=[steps, 2, 3]).astype(np.float32)
    state = {name: random.normal(size=[2, 3]).astype(np.float32) for name in ("memory", "weights", "reads")}
    actual = onnx_format.session(model.SerializeToString())({"x": x, **state})
    once = onnx_format.session(step.SerializeToString())
    for t in range(steps):
        outputs = once({"x": x[t], **state})
        np.testing.assert_allclose(actual["y"][t], outputs["y"])
        state = {name: outputs[f"next_{name}"] for name in state}
    for name, value in state.items():
        np.testing.assert_allclose(actual[f"next_{name}"], value)


def test_only_what_a_state_needs_is_repeated(step: onnx.ModelProto) -> None:
    names = [node.name for node in unroll(step, 7).graph.node]
    for name in ("repeated_1", "repeated_2", "repeated_3"):
        assert [f"step_{i}/{name}" in names for i in range(7)] == [True] * 7
    for name in ("before", "after_1", "after_2"):
        assert names.count(f"all/{name}") == 1
        assert f"step_0/{name}" not in names
    assert len(set(names)) == len(names)


def test_what_a_step_tells_beyond_its_state_is_left_out(step: onnx.ModelProto) -> None:
    graph = unroll(step, 3).graph
    assert [output.name for output in graph.output] == ["y", "next_memory", "next_weights", "next_reads"]
    assert not any("left_out" in node.name for node in graph.node)
    assert "three" not in {initializer.name for initializer in graph.initializer}


def test_step_is_left_as_it_was(step: onnx.ModelProto) -> None:
    before = step.SerializeToString()
    unroll(step, 3)
    assert step.SerializeToString() == before
