"""The runtimes that compute each file correctly, as measured by ``benchmarks/portability.py``, for the model cards."""

from collections.abc import Collection

from ntm import text
from ntm.runtime.metadata import BATCHED, FILES, SPARSE, STEP, UNROLLED

_EVERYWHERE = (
    "onnxruntime",
    "onnxruntime-node",
    "onnxruntime-web (WASM)",
    "ONNX reference evaluator",
    "OpenVINO",
)
# The runtimes that gave every output bit of TensorFlow, for every network of the measurement.
RIGHT: dict[str, tuple[str, ...]] = {
    FILES[STEP]: (*_EVERYWHERE, "tract", "IREE", "TVM", "tinygrad", "MNN"),
    FILES[UNROLLED]: (*_EVERYWHERE, "IREE"),
    FILES[SPARSE]: (*_EVERYWHERE, "tract"),
    FILES[BATCHED]: (*_EVERYWHERE, "tract", "IREE", "MNN"),
    "step.tflite": ("LiteRT", "tflite-runtime"),
    "step_dynamic_range.tflite": ("LiteRT",),
}

_CARD = """\
### Which file runs where

{table}

Measured with 200 random words and N = 256, by `benchmarks/portability.py`, which also has the versions.{openvino}"""
_OPENVINO = """
OpenVINO computes in bfloat16 where the processor has it; its hint `INFERENCE_PRECISION_HINT: f32` makes it as exact as
the others."""


def describe(files: Collection[str]) -> list[str]:
    """The section of the model card about these files; empty without such files."""
    rows = [(f"`{file}`", ", ".join(runtimes)) for file, runtimes in RIGHT.items() if file in files]
    table = text.table([("file", "gives every output bit of TensorFlow in"), *rows], left=2)
    return [_CARD.format(table=table, openvino=_OPENVINO if FILES[STEP] in files else "")] if rows else []
