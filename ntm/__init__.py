"""A Neural Turing Machine: trained in TensorFlow, exported to ONNX, served on the CPU by onnxruntime.

``ntm.load()`` gives a bundled model and ``ntm.load(path)`` an exported one, ``ntm.train`` trains one, ``ntm.export``
exports it, and ``ntm.evaluate`` counts what it gets wrong. ``ntm.tasks`` holds the tasks of the paper and the class to
derive your own from. ``import ntm.keras`` has the networks as cells for Keras.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

from ntm.api import evaluate, export, load, train
from ntm.errors import Error, ExportError, FileError, MissingExtraError, ModelError, RunError, TaskError

if TYPE_CHECKING:
    from ntm import tasks
    from ntm.runtime.model import Model, State
    from ntm.runtime.state_bytes import state_from_bytes, state_to_bytes

__version__ = "0.2.0"

__all__ = [
    "Error",
    "ExportError",
    "FileError",
    "MissingExtraError",
    "Model",
    "ModelError",
    "RunError",
    "State",
    "TaskError",
    "evaluate",
    "export",
    "load",
    "state_from_bytes",
    "state_to_bytes",
    "tasks",
    "train",
]

# A clone or an archive without symbolic links has the packages beside this one. Python finds them there if it runs in
# the root of the clone.
if not os.path.isdir(f"{__path__[0]}/runtime") and os.path.isfile(f"{__path__[0]}/../runtime/metadata.py"):
    __path__.append(os.path.dirname(__path__[0]))

# By default onnxruntime reports its use over the network and keeps files in the home; this must precede its import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def __getattr__(name: str) -> Any:
    """Import the names that need NumPy at their first use."""
    if name == "tasks":
        return importlib.import_module("ntm.tasks")
    if name in ("Model", "State"):
        return getattr(importlib.import_module("ntm.runtime.model"), name)
    if name in ("state_from_bytes", "state_to_bytes"):
        return getattr(importlib.import_module("ntm.runtime.state_bytes"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, imported or not."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
