"""Serving: an exported model, run by onnxruntime, by LiteRT or as a native library, without TensorFlow and onnx.

``ntm.runtime.model`` has ``load`` and ``Model``: ``Model.step`` runs one time step, ``Model.run`` whole sequences,
``Model.run_each`` sequences of unequal lengths, and ``Model.copy`` copies a batch of sequences.
``ntm.runtime.state_bytes`` turns a state into bytes and back. ``ntm.runtime.evaluate`` counts wrong bits,
``ntm.runtime.pictures`` draws sequences and heads, and ``ntm.runtime.metadata`` defines the metadata of a file.
"""
