"""The options of a training."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

# What options must be: their names, whether a value fits, and how it is said.
_RANGES: tuple[tuple[tuple[str, ...], Callable[[float], bool], str], ...] = (
    (
        (
            "batch_size",
            "max_batches",
            "clean_sequences",
            "restart_batches",
            "unsolved_batches",
            "report_batches",
            "checkpoint_batches",
        ),
        lambda value: value >= 1,
        "at least 1",
    ),
    (
        (
            "variant_every",
            "goal",
            "begun_loss",
            "learned_loss",
            "halving_batches",
            "content_restarts",
            "annealing_batches",
            "blur_penalty",
            "writing_penalty",
            "content_penalty",
            "sharpness_penalty",
            "drift_penalty",
            "key_bias",
            "setback",
            "clip_norm",
            "clip_element",
            "keep_checkpoints",
        ),
        lambda value: 0 <= value < math.inf,
        "at least 0 and finite",
    ),
    (
        ("learning_rate", "content_learning_rate", "annealing_learning_rate"),
        lambda value: 0 < value <= 1,
        "above 0 and at most 1",
    ),
    (("average_decay", "momentum"), lambda value: 0 <= value < 1, "at least 0 and below 1"),
    (("gate_bias", "content_gate_bias", "shift_bias", "strength_bias"), math.isfinite, "finite"),
    (("seed",), lambda value: 0 <= value < 2**31, f"from 0 to {2**31 - 1}"),
)


# The names of ``ntm.training.optimizer.OPTIMIZERS``.
OPTIMIZERS = ADAM, RMSPROP = "adam", "rmsprop"

# What a start begins with, and is held to: see ``TrainingConfig.addressing``.
LOCATION, CONTENT = "location", "content"


@dataclasses.dataclass(frozen=True)
class Lesson:
    """Easier sequences, which a start learns before those of the task itself.

    Attributes:
        batches: how many batches are drawn from them.
        loss: if above 0, the lesson ends as soon as the average loss is below this, as in ``learned_loss``; and the
            network restarts if it is not so after all batches. Every restart gets as many more.
        clean_sequences: if above 0, the lesson ends after so many in a row without a wrong bit, likewise.
        sizes: the least and the most of sizes, where they differ from the training's.
        options: of the task, where they differ.

    Raises:
        ValueError: an option is out of its range.
    """

    batches: int
    loss: float = 0.0
    clean_sequences: int = 0
    sizes: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", _as_pairs(self.sizes))
        if self.batches < 1:
            raise ValueError(f"the batches of a lesson must be at least 1, not {self.batches}")
        if not 0 <= self.loss < math.inf:
            raise ValueError(f"the loss of a lesson must be at least 0, not {self.loss}")
        if self.clean_sequences < 0:
            raise ValueError(f"the clean sequences of a lesson must be at least 0, not {self.clean_sequences}")


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How a network is trained. The defaults are the general recipe; ``ntm.training.recipes`` has those of tasks.

    Attributes:
        sizes: the least and the most of each size that the network is to learn, and is checked on.
        practice: the sizes that batches are drawn from, where they differ.
        lessons: what every start learns first, one after the other.
        seed: of the network and of the data.
        batch_size: B.
        max_batches: after so many the training ends, whatever it has reached.
        early_stopping: end the training once the network has converged and annealing is over; if not, it ends after
            ``max_batches``, and the learning rate goes on falling.
        optimizer: ``"adam"``, or ``"rmsprop"`` as the paper has it.
        learning_rate: where a start prefers location addressing.
        content_learning_rate: where it prefers content addressing.
        momentum: of RMSProp.
        learned_loss: while the average loss is below this, the learning rate falls. In nats per output number, above
            that of the optimal predictor; likewise ``begun_loss``.
        halving_batches: then it falls as 1/t, to its half after so many batches; 0: it does not.
        setback: once the average loss is so many times the lowest, the network goes back to where the loss was lowest,
            and the learning rate is halved; 0: never.
        clip_norm: the largest global norm of the gradient; it is also held to three times what is usual. 0: any.
        clip_element: the largest magnitude of a number in the gradient; 0: any.
        average_decay: a batch, of the averaged variables that are the result.
        addressing: what a start prefers, ``"location"`` or ``"content"``; every restart takes the next one. A start
            that prefers location addressing begins with gates almost closed, the other with gates half open or more.
            Each has penalties of its own.
        gate_bias: where location addressing is preferred, the initial bias of the logit of g.
        content_penalty: there, nats per unit of g. This and the next two are less for more than 8 outputs.
        writing_penalty: there, nats per unit of what is written in the output phase.
        blur_penalty: there, nats per unit of blur, while annealing.
        sharpness_penalty: where content addressing is preferred, nats per unit of the squares by which gamma is above 3
            and beta above 6. Sharper heads magnify rounding, so that another runtime differs from TensorFlow.
        drift_penalty: of an LSTM, nats per unit of the squares by which its cells change from step to step. An LSTM
            that counts the steps in its cells errs where there are more of them than in training.
        content_gate_bias: where content addressing is preferred, the initial bias of the logit of g.
        key_bias: there, the standard deviation of the initial biases of the keys.
        strength_bias: there, the initial bias of beta before its softplus.
        shift_bias: the initial bias of the logit of the shift forward.
        train_locations: further N; the N of a batch is drawn from the network's and these.
        variant: other options of the task, which make sequences that are hard and rare.
        variant_every: one training sequence in so many is of the variant; 0: none.
        clean_sequences: the network is checked after so many in a row without a wrong bit.
        goal: the cost to reach at the largest size, in bits per sequence above the optimal predictor; 0: no wrong bit.
        restart_batches: restart if the average loss is above ``begun_loss`` after so many batches. Every restart gets
            as many more.
        begun_loss: chance is 0.69 where every output is certain.
        unsolved_batches: restart if the network has not converged after so many, likewise; three times as many while
            the average loss is below ``learned_loss``.
        content_restarts: restart a converged network that relies on content addressing, so many times at most.
        annealing_batches: of a falling learning rate, once the network has converged.
        annealing_learning_rate: at the beginning of annealing.
        turn_content_off: turn content addressing off at the end, if the last check is passed without it.
        xla: compile the training step with XLA.
        report_batches: a progress report is made after so many.
        keep_checkpoints: how many checkpoints are kept as runs of their own, the newest ones.
        checkpoint_batches: one of these is made after so many.

    Raises:
        ValueError: an option is out of its range.
    """

    sizes: Mapping[str, tuple[int, int]]
    practice: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    lessons: tuple[Lesson, ...] = ()
    seed: int = 0
    batch_size: int = 8
    max_batches: int = 40_000
    early_stopping: bool = True
    optimizer: str = ADAM
    learning_rate: float = 2e-3
    content_learning_rate: float = 1e-3
    momentum: float = 0.9
    learned_loss: float = 0.02
    halving_batches: int = 1_000
    setback: float = 0.0
    clip_norm: float = 1.0
    clip_element: float = 0.0
    average_decay: float = 0.99
    addressing: tuple[str, ...] = (LOCATION, LOCATION, LOCATION, CONTENT)
    gate_bias: float = -2.0
    content_penalty: float = 0.02
    writing_penalty: float = 0.1
    blur_penalty: float = 0.02
    sharpness_penalty: float = 0.0
    drift_penalty: float = 0.0
    content_gate_bias: float = 0.0
    key_bias: float = 0.0
    strength_bias: float = 0.0
    shift_bias: float = 1.0
    train_locations: tuple[int, ...] = ()
    variant: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    variant_every: int = 0
    clean_sequences: int = 1_000
    goal: float = 0.0
    restart_batches: int = 450
    begun_loss: float = 0.3
    unsolved_batches: int = 2_000
    content_restarts: int = 0
    annealing_batches: int = 1_500
    annealing_learning_rate: float = 5e-4
    turn_content_off: bool = True
    xla: bool = True
    report_batches: int = 25
    keep_checkpoints: int = 0
    checkpoint_batches: int = 1_000

    def __post_init__(self) -> None:
        # JSON has no tuples.
        object.__setattr__(self, "sizes", _as_pairs(self.sizes))
        object.__setattr__(self, "practice", _as_pairs(self.practice))
        lessons = (lesson if isinstance(lesson, Lesson) else Lesson(**lesson) for lesson in self.lessons)
        object.__setattr__(self, "lessons", tuple(lessons))
        object.__setattr__(self, "addressing", tuple(self.addressing))
        if not self.addressing or not set(self.addressing) <= {LOCATION, CONTENT}:
            raise ValueError(
                f"addressing must be of {LOCATION} and {CONTENT}, not {', '.join(self.addressing) or 'none'}"
            )
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer must be {' or '.join(OPTIMIZERS)}, not {self.optimizer}")
        object.__setattr__(self, "train_locations", tuple(self.train_locations))
        if min(self.train_locations, default=1) < 1:
            raise ValueError(f"train_locations must be at least 1, not {min(self.train_locations)}")
        for names, fits, expected in _RANGES:
            for name in names:
                if not fits(getattr(self, name)):
                    raise ValueError(f"{name} must be {expected}, not {getattr(self, name)}")

    @property
    def ranges(self) -> dict[str, range]:
        """The sizes as ranges."""
        return as_ranges(self.sizes)


def as_ranges(sizes: Mapping[str, tuple[int, int]]) -> dict[str, range]:
    """The ends of ranges as ranges."""
    return {name: range(least, most + 1) for name, (least, most) in sizes.items()}


def as_ends(ranges: Mapping[str, range]) -> dict[str, tuple[int, int]]:
    """The least and the most of each range, as ``TrainingConfig.sizes`` has them."""
    return {name: (min(values), max(values)) for name, values in ranges.items()}


def _as_pairs(sizes: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """The ends of ranges as tuples, checked."""
    pairs = {name: tuple(ends) for name, ends in sizes.items()}
    for name, (least, most) in pairs.items():
        if not 0 <= least <= most:
            raise ValueError(f"{name} must not go from a larger number to a smaller one: {least} to {most}")
    return pairs
