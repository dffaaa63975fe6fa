"""Static unrolling: U time steps in one ONNX graph, by repeating the nodes of a converted step.

Converting an unrolled TensorFlow function takes time that grows with U; repeating the nodes takes next to none.
Not every node need be repeated. What no next state depends on, the output layer, runs once for all U steps, and so
does what depends on x alone: each sequence of a batch is computed for itself, so to these nodes the steps of a chunk
are one batch of U * B sequences. What a step tells beyond y and the next state, its ``adds``, is left out.
"""

import functools
from collections.abc import Callable, Iterable

import onnx
from onnx import NodeProto, helper

from ntm.runtime.metadata import INPUTS, OUTPUTS

_X, _Y, _STATE, _NEXT_STATE = INPUTS[0], OUTPUTS[0], INPUTS[1:], OUTPUTS[1:]


def unroll(step: onnx.ModelProto, steps: int) -> onnx.ModelProto:
    """Repeat a step.

    Args:
        step: the graph of one step, with the ``INPUTS`` and ``STEP_OUTPUTS`` of ``ntm.runtime.metadata`` in this order.
        steps: U, at least 1.

    Returns:
        The graph of U steps: the ``INPUTS`` and ``OUTPUTS``, x ``[U, B, W+1]`` and y ``[U, B, W]``. Its nodes and
        tensors are called ``step_<i>/...``, or ``all/...`` where they hold all the steps: ``[U * B, ...]``.
    """
    constants = {initializer.name for initializer in step.graph.initializer}
    before, repeated, after = _partition(step.graph.node, constants)

    def of_all(tensor: str) -> str:
        return tensor if tensor in constants else f"all/{tensor}"

    def of_step(i: int, tensor: str) -> str:
        if tensor in constants:
            return tensor
        if tensor in _STATE:  # what the step before made of it
            return tensor if i == 0 else of_step(i - 1, _NEXT_STATE[_STATE.index(tensor)])
        return tensor if tensor in _NEXT_STATE and i == steps - 1 else f"step_{i}/{tensor}"

    nodes = [helper.make_node("Reshape", [_X, "all/x_shape"], [of_all(_X)], "all/join_x")]
    nodes += [_renamed(node, of_all, "all/") for node in before]
    for tensor in _shared({_X} | _made_by(before), repeated):
        pieces = [of_step(i, tensor) for i in range(steps)]
        nodes.append(
            helper.make_node("Split", [of_all(tensor)], pieces, f"all/split_{tensor}", axis=0, num_outputs=steps)
        )
    for i in range(steps):
        nodes += [_renamed(node, functools.partial(of_step, i), f"step_{i}/") for node in repeated]
    for tensor in _shared({*_STATE} | _made_by(repeated), after):
        pieces = [of_step(i, tensor) for i in range(steps)]
        nodes.append(helper.make_node("Concat", pieces, [of_all(tensor)], f"all/join_{tensor}", axis=0))
    nodes += [_renamed(node, of_all, "all/") for node in after]
    nodes.append(helper.make_node("Reshape", [of_all(_Y), "all/y_shape"], [_Y], "all/split_y"))

    unrolled = onnx.ModelProto()
    unrolled.CopyFrom(step)
    graph = unrolled.graph
    del graph.node[:], graph.value_info[:], graph.initializer[:], graph.output[len(OUTPUTS) :]
    graph.node.extend(nodes)
    used = {tensor for node in nodes for tensor in node.input}
    graph.initializer.extend(initializer for initializer in step.graph.initializer if initializer.name in used)
    x_width, y_width = (_prepend_time(value, steps) for value in (graph.input[0], graph.output[0]))
    for name, shape in (("all/x_shape", [-1, x_width]), ("all/y_shape", [steps, -1, y_width])):
        graph.initializer.append(helper.make_tensor(name, onnx.TensorProto.INT64, [len(shape)], shape))
    return unrolled


def _partition(nodes: Iterable[NodeProto], constants: set[str]) -> tuple[list[NodeProto], ...]:
    """The nodes that depend on x alone; those that remain; and those that no next state depends on."""
    nodes = _needed_for(OUTPUTS, nodes)
    known = {_X, "", *constants}  # "" stands for an input left out
    before = []
    for node in nodes:
        if known.issuperset(node.input):
            before.append(node)
            known.update(node.output)
    for_state = _needed_for(_NEXT_STATE, nodes)
    rest = [node for node in nodes if node not in before]
    return before, [node for node in rest if node in for_state], [node for node in rest if node not in for_state]


def _needed_for(tensors: Iterable[str], nodes: Iterable[NodeProto]) -> list[NodeProto]:
    """The nodes that these tensors depend on, in the topological order that ONNX keeps."""
    needed = set(tensors)
    found: list[NodeProto] = []
    for node in reversed(list(nodes)):
        if not needed.isdisjoint(node.output):
            found.insert(0, node)
            needed.update(node.input)
    return found


def _made_by(nodes: Iterable[NodeProto]) -> set[str]:
    return {tensor for node in nodes for tensor in node.output}


def _shared(made: set[str], users: Iterable[NodeProto]) -> list[str]:
    """The tensors that were made before and are used by these nodes, each once, in the order of their use."""
    return list(dict.fromkeys(tensor for node in users for tensor in node.input if tensor in made))


def _renamed(node: NodeProto, rename: Callable[[str], str], prefix: str) -> NodeProto:
    renamed = NodeProto()
    renamed.CopyFrom(node)
    renamed.name = prefix + node.name
    renamed.input[:] = [rename(tensor) if tensor else "" for tensor in node.input]
    renamed.output[:] = [rename(tensor) if tensor else "" for tensor in node.output]
    return renamed


def _prepend_time(value: onnx.ValueInfoProto, steps: int) -> int:
    """Make ``[B, width]`` into ``[U, B, width]``; returns the width."""
    shape = value.type.tensor_type.shape
    batch, width = shape.dim
    del shape.dim[:]
    shape.dim.add(dim_value=steps)
    shape.dim.extend([batch, width])
    return int(width.dim_value)
