"""What ``ntm-export`` and the library share, and what imports nothing slow."""

# By benchmarks/export.py: loading takes time that grows with U, and beyond 24 steps one sequence is hardly any faster.
DEFAULT_UNROLL = 24

# The formats by name.
FORMATS = ("onnx", "savedmodel", "tflite", "triton")
