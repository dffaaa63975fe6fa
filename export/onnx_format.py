"""ONNX: ``step.onnx``, a step converted by tf2onnx, and ``unrolled.onnx``, the same step unrolled."""

import functools
import inspect
import logging
import pathlib
from collections.abc import Mapping
from typing import Any

import onnx
import onnxruntime
import tf2onnx
from onnx import helper

from ntm.export import unroll as unrolling
from ntm.export.parity import Candidate, Graph, compare_chunks, compare_steps
from ntm.export.source import Source
from ntm.export.step import input_signature, shapes, step_function
from ntm.models import NTMCell
from ntm.runtime import folder as model_folder
from ntm.runtime import onnx_file
from ntm.runtime.metadata import FILES as FILE_OF
from ntm.runtime.metadata import INPUTS, OUTPUTS, STEP, UNROLLED, Metadata

FILES = tuple(FILE_OF.values())
OPSET = 18  # the newest that tf2onnx writes


def write(source: Source, folder: pathlib.Path) -> None:
    """Write both graphs."""
    step = convert(source.run.cell)
    save(step, source.metadata(STEP), folder / FILE_OF[STEP])
    save(unrolling.unroll(step, source.unroll), source.metadata(UNROLLED), folder / FILE_OF[UNROLLED])


def candidates(folder: pathlib.Path) -> list[Candidate]:
    """What was written, to be compared with TensorFlow; nothing where nothing was written."""
    if not any((folder / file).exists() for file in FILES):
        return []
    files = model_folder.read(folder)  # as the runtime reads it, with all its checks
    checksum, unroll = files.metadata.checkpoint_sha256, files.unrolled.metadata.unroll
    step, unrolled = (session(graph.content) for graph in files)
    return [
        Candidate(files.step.path.name, checksum, functools.partial(compare_steps, step=step)),
        Candidate(
            files.unrolled.path.name,
            checksum,
            functools.partial(compare_chunks, chunk=unrolled, step=step, unroll=unroll),
            unroll,
        ),
    ]


def convert(cell: NTMCell) -> onnx.ModelProto:
    """Convert one step; B and N are left open under these names."""
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    step = step_function(cell)
    model, _ = tf2onnx.convert.from_function(step, input_signature(cell.config), opset=OPSET)
    graph = model.graph
    graph.name, graph.doc_string = "ntm", "A Neural Turing Machine"
    for values, names in ((graph.input, INPUTS), (graph.output, OUTPUTS)):
        del values[:]
        values.extend(
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shapes(cell.config)[name]) for name in names
        )
    _rename(graph, _readable_names(step.get_concrete_function(), cell))
    return model


def save(model: onnx.ModelProto, metadata: Metadata, path: pathlib.Path) -> None:
    """Check a graph in full, shapes included, and write it with its metadata and seal."""
    helper.set_model_props(model, metadata.to_props())
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(onnx_file.sealed(model.SerializeToString()))


def session(content: bytes, *, optimised: bool = True) -> Graph:
    """A graph as a function that onnxruntime computes on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.set_denormal_as_zero", "1")  # as the runtime has it
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    made = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda inputs: dict(zip(OUTPUTS, made.run(OUTPUTS, dict(inputs)), strict=True))


def _readable_names(function: Any, cell: NTMCell) -> dict[str, str]:
    """What TensorFlow calls an operation -> what it is: a variable, or ``<function of ntm.models>/<operation>``."""
    variables = {id(variable.handle): variable.name.removesuffix(":0") for variable in cell.variables}
    names = {}
    for handle, inside in function.graph.captures:
        for read in inside.consumers():
            names[read.name] = variables[id(handle)]
    models = str(pathlib.Path(inspect.getfile(NTMCell)).parent)
    for operation in function.graph.get_operations():
        callers = [frame.name for frame in operation.traceback if frame.filename.startswith(models)]
        named = [caller.strip("_") for caller in callers if caller.isidentifier() and caller != "__call__"]
        if callers and operation.name not in names:
            names[operation.name] = f"{named[-1] if named else 'cell'}/{operation.name}"
    return names


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Rename nodes, and the tensors that they make: ``<operation>:<index>``."""

    def renamed(tensor: str) -> str:
        operation, _, index = tensor.partition(":")
        if operation not in names:
            return tensor
        return names[operation] if index in ("", "0") else f"{names[operation]}:{index}"

    outputs = {value.name for value in graph.output}
    for node in graph.node:
        node.name = renamed(node.name)
        node.input[:] = [tensor if tensor in outputs else renamed(tensor) for tensor in node.input]
        node.output[:] = [tensor if tensor in outputs else renamed(tensor) for tensor in node.output]
    for initializer in graph.initializer:
        initializer.name = renamed(initializer.name)
