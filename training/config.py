"""The options of a training."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

# What options must be: their names, whether a value fits, and how it is said.
_RANGES: tuple[tuple[tuple[str, ...], Callable[[float], bool], str], ...] = (
    (
        ("batch_size", "max_batches", "clean_sequences", "restart_batches", "unsolved_batches"),
        lambda value: value >= 1,
        "at least 1",
    ),
    (
        (
            "variant_every",
            "goal",
            "begun_loss",
            "content_restarts",
            "annealing_batches",
            "blur_penalty",
            "writing_penalty",
            "content_penalty",
        ),
        lambda value: 0 <= value < math.inf,
        "at least 0 and finite",
    ),
    (("learning_rate", "annealing_learning_rate"), lambda value: 0 < value <= 1, "above 0 and at most 1"),
    (("clip_norm",), lambda value: 0 < value < math.inf, "above 0 and finite"),
    (("average_decay",), lambda value: 0 <= value < 1, "at least 0 and below 1"),
    (("check_decay",), lambda value: 0 < value <= 1, "above 0 and at most 1"),
    (("gate_bias", "shift_bias"), math.isfinite, "finite"),
    (("seed",), lambda value: 0 <= value < 2**31, f"from 0 to {2**31 - 1}"),
)


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How a network is trained. The defaults are the general recipe; ``ntm.training.recipes`` has those of tasks.

    Raises:
        ValueError: a number is out of its range.
    """

    sizes: Mapping[str, tuple[int, int]]  # the least and the most of each size that batches are drawn from
    seed: int = 0
    batch_size: int = 16  # B
    max_batches: int = 20_000
    learning_rate: float = 1e-3  # of Adam
    check_decay: float = 0.8  # of the learning rate, with each failed check, to a twentieth at the least
    clip_norm: float = 1.0  # global norm of the gradient
    average_decay: float = 0.99  # a batch, of the averaged variables that are the result
    gate_bias: float = 0.0  # initial, of the logit of g; below 0, heads begin with location addressing
    shift_bias: float = 1.0  # initial, of the logit of the shift forward
    train_locations: tuple[int, ...] = ()  # further N; the N of a batch is drawn from the network's and these
    annealing_locations: tuple[int, ...] = ()  # still further ones, while annealing
    variant: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # other options of the task
    variant_every: int = 0  # one sequence in so many is of the variant; 0: none
    clean_sequences: int = 2_000  # in a row without a wrong bit, then the network is checked
    goal: float = 0.0  # bits of cost per sequence above the optimal predictor; 0: no wrong bit
    restart_batches: int = (
        2_000  # restart if the loss is above begun_loss after so many; every restart gets as many more
    )
    begun_loss: float = 0.3  # nats per output number, of which chance is 0.69
    unsolved_batches: int = 20_000  # restart if the network has not converged after so many, likewise
    content_restarts: int = 0  # restart a converged network that relies on content addressing, so many times at most
    annealing_batches: int = 1_500  # of a falling learning rate, once the network has converged
    annealing_learning_rate: float = 5e-4  # at the beginning of annealing
    blur_penalty: float = 0.0  # nats per unit of blur, while annealing
    writing_penalty: float = 0.0  # nats per unit of what is written in the output phase
    content_penalty: float = 0.0  # nats per unit of g
    turn_content_off: bool = False  # turn content addressing off at the end, if the last check is passed without it
    xla: bool = True

    def __post_init__(self) -> None:
        # JSON has no tuples.
        object.__setattr__(self, "sizes", {name: tuple(ends) for name, ends in self.sizes.items()})
        for name in ("train_locations", "annealing_locations"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
            if min(getattr(self, name), default=1) < 1:
                raise ValueError(f"{name} must be at least 1, not {min(getattr(self, name))}")
        for name, (least, most) in self.sizes.items():
            if not 0 <= least <= most:
                raise ValueError(f"{name} must not go from a larger number to a smaller one: {least} to {most}")
        for names, fits, expected in _RANGES:
            for name in names:
                if not fits(getattr(self, name)):
                    raise ValueError(f"{name} must be {expected}, not {getattr(self, name)}")

    @property
    def ranges(self) -> dict[str, range]:
        """The sizes as ranges."""
        return {name: range(least, most + 1) for name, (least, most) in self.sizes.items()}
