"""The metadata of a TF-Lite file, which the runtime reads before it runs the file."""

import importlib
import json
from typing import Any

from ntm.errors import ModelError
from ntm.runtime.metadata import Metadata, MetadataError
from ntm.text import DISTRIBUTION

# The two files of an export, of which the second has its large matrices in 8 bits; and the names of their signature and
# of their metadata.
STEP, DYNAMIC_RANGE = FILES = ("step.tflite", "step_dynamic_range.tflite")
SIGNATURE, METADATA = "step", "ntm"


def import_litert(module: str) -> Any:
    """A module of LiteRT, which runs TF-Lite files.

    Raises:
        ModelError: LiteRT is not installed.
    """
    try:
        return importlib.import_module(f"ai_edge_litert.{module}")
    except ImportError as error:
        raise ModelError(
            f"the backend litert needs ai-edge-litert ({error}): pip install '{DISTRIBUTION}[litert]'"
        ) from error


def read_metadata(content: bytes) -> Metadata:
    """The metadata of a file whose seal was checked.

    Raises:
        ModelError: LiteRT is not installed.
        MetadataError: there is none, or it is of another schema.
    """
    schema = import_litert("schema_py_generated")
    model = schema.Model.GetRootAs(content)
    for i in range(model.MetadataLength()):
        entry = model.Metadata(i)
        if entry.Name() == METADATA.encode():
            data = model.Buffers(entry.Buffer()).DataAsNumpy()
            return Metadata.from_props(json.loads(bytes(data)))
    raise MetadataError("it has no metadata, so ntm-export did not write it")
