"""Serving: an exported model, run by onnxruntime, by LiteRT or as a native library, without TensorFlow and onnx.

``ntm.runtime.model`` has ``load`` and ``Model``: ``Model.step`` is one time step with the state as a ``State``,
``Model.run`` whole sequences, ``Model.run_each`` those of unequal lengths, and ``Model.copy`` the copy of a batch of
sequences. ``ntm.runtime.state_bytes`` turns a state into bytes and back. ``ntm.runtime.evaluate`` counts what a model
gets wrong, ``ntm.runtime.pictures`` draws it, and ``ntm.runtime.metadata`` defines what an exported file says of
itself.
"""
