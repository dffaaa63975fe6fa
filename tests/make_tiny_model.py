"""Write a tiny model folder, hand-wired to copy: ``python tests/make_tiny_model.py FOLDER [BITS]``.

It honours the contract of an exported model, but its equations are simpler than the paper's. A memory vector holds a
word of ``bits`` bits and a mark for the delimiter (M = I = bits + 1, O = bits). Until a mark is in the memory, the
write head writes each input and shifts forward, while the read head stays at location 0. Afterwards nothing is written,
and the read head shifts forward and reads. As with the real network, a sequence of L words needs L + 1 locations, and
too few spoil the copy.
"""

import pathlib
import sys
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ntm.runtime import onnx_file
from ntm.runtime.metadata import FILES, STEP, Metadata, StateTensor

UNROLL = 8
INPUTS = ("x", "memory", "weights", "reads")
OUTPUTS = ("y", "next_memory", "next_weights", "next_reads")
STEP_OUTPUTS = (*OUTPUTS, "adds")


def make_tiny_model(folder: pathlib.Path, bits: int = 8) -> None:
    """Make a folder and write its graphs into it."""
    folder.mkdir(parents=True)
    config = {
        "input_size": bits + 1,
        "output_size": bits,
        "memory_locations": 16,
        "memory_vector_size": bits + 1,
        "shifts": 3,
        "controller_sizes": [1],
        "read_heads": 1,
        "write_heads": 1,
    }
    task = {"name": "copy", "options": {"bits": bits, "pattern": "random"}}
    m = bits + 1
    state = {
        "memory": StateTensor((m, "N"), ((),) * m, (0.0,) * m),
        "weights": StateTensor((2, "N"), ((1.0,), (1.0,)), (0.0, 0.0)),
        "reads": StateTensor((1, m), ((0.0,) * m,)),
    }
    for kind in FILES:
        unroll = 1 if kind == STEP else UNROLL
        model = _model(kind, unroll, bits)
        data = Metadata(
            graph=kind,
            graphs=tuple(FILES),
            unroll=unroll,
            model_name="tiny",
            task=task,
            network="ntm",
            config=config,
            parameters=1,
            content_addressing=False,
            state=state,
            least_locations=1,
            training={"by": "hand"},
            checkpoint_sha256="0" * 64,
        )
        helper.set_model_props(model, data.to_props())
        (folder / FILES[kind]).write_bytes(onnx_file.sealed(model.SerializeToString()))


def _model(kind: str, unroll: int, bits: int) -> onnx.ModelProto:
    nodes: list[onnx.NodeProto] = []

    def op(kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output or f"t{len(nodes)}"], **attributes))
        return str(nodes[-1].output[0])

    def shifted(weights: str) -> str:
        last = op("Slice", weights, "minus_one", "end", "two")
        return op("Concat", last, op("Slice", weights, "zero", "minus_one", "two"), axis=2)

    state: tuple[str, str, str] = ("memory", "weights", "reads")
    ys = []
    for t in range(unroll):
        memory, weights, _ = state
        x = "x" if kind == STEP else op("Gather", "x", f"index_{t}", axis=0)
        marks = op("Slice", memory, "minus_one", "end", "one")  # [B, 1, N]
        recalling = op("Clip", op("ReduceSum", marks, "two", keepdims=1), "nought", "unit")  # [B, 1, 1]
        writing = op("Sub", "unit", recalling)
        read_weights = op("Slice", weights, "zero", "one", "one")  # [B, 1, N]
        write_weights = op("Slice", weights, "one", "two", "one")
        add = op("Mul", op("Unsqueeze", x, "two"), writing)  # [B, M, 1]
        memory = op("Add", memory, op("Mul", add, write_weights))  # [B, M, N]
        read = op("MatMul", read_weights, op("Transpose", memory, perm=[0, 2, 1]))  # [B, 1, M]
        word = op("Squeeze", op("Slice", op("Mul", read, recalling), "zero", "minus_one", "two"), "one")  # [B, O]
        ys.append(op("Sigmoid", op("Add", op("MatMul", word, "kernel"), "bias")))
        going = op("Add", op("Mul", shifted(read_weights), recalling), op("Mul", read_weights, writing))
        state = (memory, op("Concat", going, shifted(write_weights), axis=1), read)
    if kind == STEP:
        op("Identity", ys[0], output="y")
        op("Transpose", add, perm=[0, 2, 1], output="adds")
    else:
        op("Concat", *(op("Unsqueeze", y, "zero") for y in ys), axis=0, output="y")
    for value, name in zip(state, OUTPUTS[1:], strict=True):
        op("Identity", value, output=name)

    constants = {
        "minus_one": np.array([-1]),
        "zero": np.array([0]),
        "one": np.array([1]),
        "two": np.array([2]),
        "end": np.array([np.iinfo(np.int64).max]),
        "nought": np.float32(0),
        "unit": np.float32(1),
        "kernel": 20 * np.eye(bits, dtype=np.float32),
        "bias": np.full(bits, -10, np.float32),
    } | {f"index_{t}": np.array(t) for t in range(unroll)}
    time = [] if kind == STEP else [unroll]
    m = bits + 1
    states: list[list[int | str]] = [["B", m, "N"], ["B", 2, "N"], ["B", 1, m]]
    outputs: list[list[int | str]] = [[*time, "B", bits], *states]
    if kind == STEP:
        outputs.append(["B", 1, m])
    graph = helper.make_graph(
        nodes,
        "tiny",
        _values(INPUTS, [[*time, "B", m], *states]),
        _values(STEP_OUTPUTS if kind == STEP else OUTPUTS, outputs),
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])
    onnx.checker.check_model(model, full_check=True)
    return model


def _values(names: tuple[str, ...], shapes: list[list[int | str]]) -> list[onnx.ValueInfoProto]:
    return [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in zip(names, shapes, strict=True)]


if __name__ == "__main__":
    make_tiny_model(pathlib.Path(sys.argv[1]), *map(int, sys.argv[2:]))
