"""Which file is right in which runtime: what ``benchmarks/portability.py`` has measured, and the model cards say."""

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
# The runtimes that computed a file as TensorFlow does, for every network that was tried: not one bit differed.
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
    """What the model card says of these files: a section, if there are such files."""
    rows = [(f"`{file}`", ", ".join(runtimes)) for file, runtimes in RIGHT.items() if file in files]
    table = text.table([("file", "gives every output bit of TensorFlow in"), *rows], left=2)
    return [_CARD.format(table=table, openvino=_OPENVINO if FILES[STEP] in files else "")] if rows else []
