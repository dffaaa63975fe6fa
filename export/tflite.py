"""TF-Lite: ``step.tflite``, one time step of built-in operations only, and ``step_dynamic_range.tflite``.

The second has its large matrices in 8 bits (dynamic range quantisation), and is published only if it outputs no more
wrong bits than TensorFlow. Each file has one signature, ``step``, with inputs and outputs by name. B and N are 1 in the
file; a signature runner takes arrays of other sizes, and an interpreter takes them after ``resize_tensor_input``.
"""

import functools
import json
import pathlib
from collections.abc import Iterable

import flatbuffers
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from ntm.export import parity
from ntm.export.source import Source
from ntm.export.step import Sizes, step_function
from ntm.models import Network
from ntm.runtime import onnx_file
from ntm.runtime.metadata import Metadata
from ntm.runtime.tflite_file import DYNAMIC_RANGE, FILES, METADATA, SIGNATURE, STEP, read_metadata

__all__ = ["DYNAMIC_RANGE", "FILES", "STEP", "candidates", "convert", "describe", "packed", "step", "write"]

_IDENTIFIER = b"TFL3"

_CARD = """\
### TF-Lite

`{step}` computes one time step with built-in operations, as the signature `{signature}`. In the file B and N are 1. A
signature runner takes other sizes as well, an interpreter after `resize_tensor_input`. The metadata is JSON, under the
name `{metadata}`."""
_QUANTISED_CARD = "`{file}` is the same step with its large matrices in 8 bits."


def write(source: Source, folder: pathlib.Path) -> None:
    """Write the step in float32 and the quantised step."""
    for file, weights in ((STEP, tf.float32), (DYNAMIC_RANGE, tf.int8)):
        (folder / file).write_bytes(_described(convert(source.run.network, weights, source.sizes), source.metadata()))


def describe(_: Source, folder: pathlib.Path) -> str:
    """The section of the model card."""
    card = _CARD.format(step=STEP, signature=SIGNATURE, metadata=METADATA)
    return f"{card} {_QUANTISED_CARD.format(file=DYNAMIC_RANGE)}" if (folder / DYNAMIC_RANGE).exists() else card


def candidates(folder: pathlib.Path, sizes: Sizes | None = None) -> list[parity.Candidate]:
    """The written files, to be compared with TensorFlow."""
    return [_candidate(folder / file, sizes) for file in FILES if (folder / file).exists()]


def convert(network: Network, weights: tf.DType, sizes: Sizes | None = None) -> bytes:
    """Convert one step, with its large matrices in float32, float16 or int8."""
    function = step_function(network, sizes).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], network)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if weights != tf.float32:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [weights] if weights == tf.float16 else []
    return bytes(converter.convert())


def step(content: bytes) -> parity.Graph:
    """The one signature of a file as a function."""
    run = Interpreter(model_content=content).get_signature_runner()
    return lambda inputs: run(**inputs)


def _candidate(path: pathlib.Path, sizes: Sizes | None) -> parity.Candidate:
    content = path.read_bytes()
    graph = step(content)
    compare = functools.partial(parity.compare_steps, step=graph)
    quantised = graph if path.name == DYNAMIC_RANGE else None
    return parity.Candidate(path.name, read_metadata(content), compare, quantised=quantised, sizes=sizes)


def _described(content: bytes, metadata: Metadata) -> bytes:
    """A sealed file with the names of the signature and the tensors, and with the metadata as JSON."""
    model = schema.ModelT.InitFromPackedBuf(content)
    signature, graph = model.signatureDefs[0], model.subgraphs[0]
    signature.signatureKey = SIGNATURE
    graph.inputs = _named(graph, signature.inputs, metadata.inputs)
    graph.outputs = _named(graph, signature.outputs, metadata.outputs)
    properties = schema.BufferT()
    properties.data = json.dumps(metadata.to_props()).encode()
    entry = schema.MetadataT()
    entry.name, entry.buffer = METADATA, len(model.buffers)
    model.buffers.append(properties)
    model.metadata = [*(model.metadata or []), entry]
    return onnx_file.sealed(packed(model))


def _named(graph: schema.SubGraphT, tensors: Iterable[schema.TensorMapT], names: Iterable[str]) -> list[int]:
    """Name the tensors of a graph as in the signature; returns their indices in the order of ``names``.

    Some interpreters know neither the names nor the order of the signature.
    """
    indices = {tensor.name.decode(): tensor.tensorIndex for tensor in tensors}
    for name, index in indices.items():
        graph.tensors[index].name = name
    return [indices[name] for name in names]


def packed(model: schema.ModelT) -> bytes:
    """The content of a file."""
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())
