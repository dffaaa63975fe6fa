"""Serving: an exported model, run by onnxruntime; neither TensorFlow nor onnx is imported.

``load()`` gives a ``Model``, ``Model.step`` one time step with the state as a ``State``, and ``Model.copy`` the copy
of a batch of sequences. ``ntm.runtime.evaluate`` counts what it gets wrong, ``ntm.runtime.pictures`` draws it, and
``ntm.runtime.metadata`` defines what an exported file says of itself.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ntm.runtime.model import Model, ModelError, State, load

__all__ = ["Model", "ModelError", "State", "load"]


def __getattr__(name: str) -> Any:
    """Import numpy when something that needs it is asked for: ``ntm-copy --help`` does not."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ntm.runtime import model  # noqa: PLC0415

    return getattr(model, name)
