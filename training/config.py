"""The options of a training."""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How a network is trained; the defaults are the recipe of ``ntm-train``.

    Raises:
        ValueError: a number is out of its range.
    """

    seed: int = 0
    max_length: int = 20  # L: sequences have 1 to L words
    batch_size: int = 8  # B
    sparse_every: int = 8  # one sequence in so many has half of its words zero; 0: none
    max_batches: int = 20_000
    learning_rate: float = 2e-3  # of Adam
    clip_norm: float = 1.0  # global norm of the gradient
    average_decay: float = 0.99  # a batch, of the averaged weights that are the result
    sharpening_batches: int = 1_500  # of a falling learning rate, once the task is learned
    sharpening_learning_rate: float = 1e-3  # at the beginning of sharpening
    blur_penalty: float = 0.02  # nats per unit of blur, while sharpening
    writing_penalty: float = 0.1  # nats per unit of what is written in the output phase
    searching_penalty: float = 0.02  # nats per unit of g
    shut_gates: bool = True  # of a network that has learned to do without searching
    xla: bool = True

    def __post_init__(self) -> None:
        for name in ("max_length", "batch_size", "max_batches"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("learning_rate", "sharpening_learning_rate"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} must be above 0 and at most 1, not {getattr(self, name)}")
        if not 0 < self.clip_norm < math.inf:
            raise ValueError(f"clip_norm must be above 0 and finite, not {self.clip_norm}")
        if not 0 <= self.average_decay < 1:
            raise ValueError(f"average_decay must be at least 0 and below 1, not {self.average_decay}")
        for name in ("sparse_every", "sharpening_batches", "blur_penalty", "writing_penalty", "searching_penalty"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be at least 0 and finite, not {getattr(self, name)}")
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed must be from 0 to {2**31 - 1}, not {self.seed}")
