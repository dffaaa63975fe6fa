"""TF-Lite: ``step.tflite``, one time step of built-in operations only.

Its one signature, ``step``, takes the inputs and returns the outputs by name. B and N are 1 in the file; a signature
runner takes arrays of other sizes as they are, and an interpreter after ``resize_tensor_input``.
"""

import functools
import json
import pathlib

import flatbuffers
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from ntm.export import parity
from ntm.export.source import Source
from ntm.export.step import step_function
from ntm.runtime.metadata import Metadata

FILES = ("step.tflite",)
_SIGNATURE, _METADATA, _IDENTIFIER = "step", "ntm", b"TFL3"


def write(source: Source, folder: pathlib.Path) -> None:
    """Write the step, with the properties that an ONNX file has as JSON in a buffer of metadata."""
    function = step_function(source.run.cell).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], source.run.cell)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    model = schema.ModelT.InitFromPackedBuf(converter.convert())
    model.signatureDefs[0].signatureKey = _SIGNATURE
    properties = schema.BufferT()
    properties.data = json.dumps(source.metadata().to_props()).encode()
    entry = schema.MetadataT()
    entry.name, entry.buffer = _METADATA, len(model.buffers)
    model.buffers.append(properties)
    model.metadata = [*(model.metadata or []), entry]
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    (folder / FILES[0]).write_bytes(builder.Output())


def candidates(folder: pathlib.Path) -> list[parity.Candidate]:
    """What was written, to be compared with TensorFlow; nothing where nothing was written."""
    path = folder / FILES[0]
    if not path.exists():
        return []
    content = path.read_bytes()
    checksum = _read_metadata(content).checkpoint_sha256
    step = Interpreter(model_content=content).get_signature_runner(_SIGNATURE)
    compare = functools.partial(parity.compare_steps, step=lambda inputs: step(**inputs))
    return [parity.Candidate(path.name, checksum, compare)]


def _read_metadata(content: bytes) -> Metadata:
    model = schema.ModelT.InitFromPackedBuf(content)
    (entry,) = [entry for entry in model.metadata if entry.name == _METADATA.encode()]
    return Metadata.from_props(json.loads(bytes(model.buffers[entry.buffer].data)))
