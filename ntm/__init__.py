"""A Neural Turing Machine: trained in TensorFlow, exported to ONNX, served on the CPU by onnxruntime.

``ntm.load()`` gives the bundled model and ``ntm.load(path)`` an exported one; see ``ntm.runtime``.
"""

from ntm.runtime import Model, load

__all__ = ["Model", "load"]
