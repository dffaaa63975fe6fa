"""Training: the compiled training step, the recipes of the tasks, the run folder and ``ntm-train``."""
