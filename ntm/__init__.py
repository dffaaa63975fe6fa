"""A Neural Turing Machine: trained in TensorFlow, exported to ONNX, served on the CPU by onnxruntime.

``ntm.load()`` gives the bundled model and ``ntm.load(path)`` an exported one; see ``ntm.runtime``.
"""

import os
from typing import TYPE_CHECKING, Any

from ntm import runtime

if TYPE_CHECKING:
    from ntm.runtime import Model, ModelError, State, load

__all__ = ["Model", "ModelError", "State", "load"]

# Unless it is told before it is imported, onnxruntime reports its use over the network and keeps files in the home.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def __getattr__(name: str) -> Any:
    """Import the runtime when something of it is asked for: training and export do not need it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(runtime, name)
