"""Training: the copy task, the compiled training step, the run folder and ``ntm-train``."""
