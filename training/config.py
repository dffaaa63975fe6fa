"""The options of a training."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

# The ranges of the options: their names, the check of a value, and the range in words.
_RANGES: tuple[tuple[tuple[str, ...], Callable[[float], bool], str], ...] = (
    (
        (
            "batch_size",
            "max_batches",
            "clean_sequences",
            "restart_batches",
            "unsolved_batches",
            "annealing_halving_batches",
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
            "content_writing_penalty",
            "content_penalty",
            "sharpness_penalty",
            "drift_penalty",
            "key_bias",
            "setback",
            "clip_norm",
            "clip_outlier",
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

# The addressing that a start prefers: see ``TrainingConfig.addressing``.
LOCATION, CONTENT = "location", "content"


@dataclasses.dataclass(frozen=True)
class Lesson:
    """Easier sequences, which a start learns before those of the task itself.

    Attributes:
        batches: the number of batches of the lesson.
        loss: if above 0, the lesson ends as soon as the average loss is below this number, in the unit of
            ``learned_loss``. The network restarts if this does not happen in ``batches`` batches; every restart allows
            as many batches more.
        clean_sequences: if above 0, the lesson ends after this many sequences in a row without a wrong bit, with the
            same rule of restarts.
        sizes: the least and the most of the sizes that differ from those of the training.
        options: the options of the task that differ.

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
        sizes: the least and the most of each size that the network learns and is checked on.
        practice: the least and the most of the sizes of the batches that differ from ``sizes``.
        annealing_practice: while annealing, the least and the most of the sizes that differ from ``practice``.
        mixed: the names of the sizes that every sequence of a batch draws for itself; the sequences share the others.
        lessons: the lessons that every start learns first, in order.
        seed: the seed of the network and of the data.
        batch_size: B.
        max_batches: the training ends after this many batches, converged or not.
        early_stopping: end the training once the network has converged and annealing is over; else the training ends
            after ``max_batches``, and the learning rate goes on falling.
        optimizer: ``"adam"``, or ``"rmsprop"`` as in the paper.
        learning_rate: the learning rate of a start that prefers location addressing.
        content_learning_rate: the learning rate of a start that prefers content addressing.
        momentum: the momentum of RMSProp.
        learned_loss: the learning rate falls while the average loss is below this number. The unit of this and of
            ``begun_loss`` is nats per output number, above the loss of the optimal predictor.
        halving_batches: then the learning rate falls as 1/t, to its half after this many batches; 0: it does not fall.
        setback: if the average loss exceeds the lowest one by this factor, the network goes back to the variables with
            the lowest loss, and the learning rate is halved; 0: never.
        clip_norm: the largest global norm of the gradient; 0: no limit.
        clip_outlier: the largest global norm of the gradient, as a multiple of its moving average; 0: no limit.
        clip_element: the largest magnitude of a number in the gradient; 0: no limit.
        average_decay: the decay per batch of the averaged variables, which are the result.
        addressing: the addressing that a start prefers, ``"location"`` or ``"content"``; every restart takes the next
            one. With location addressing, g is almost 0 at the beginning; with content addressing, it is 0.5 or more.
            Each has its own penalties.
        gate_bias: the initial bias of the logit of g, of a start that prefers location addressing.
        content_penalty: for such a start, nats per unit of g. This penalty and the next two are smaller for more than
            8 outputs.
        writing_penalty: for such a start, nats per unit of writing in the output phase.
        blur_penalty: for such a start, nats per unit of blur, while annealing.
        sharpness_penalty: nats per unit of the squares by which gamma exceeds 3 and beta exceeds 6, for a start that
            prefers content addressing. Sharper heads magnify rounding, so that another runtime differs from TensorFlow.
        drift_penalty: nats per unit of the squared changes of an LSTM's cells from step to step. An LSTM that counts
            steps in its cells errs if there are more steps than in training.
        content_gate_bias: the initial bias of the logit of g, of a start that prefers content addressing.
        content_writing_penalty: for such a start, nats per unit of writing in the output phase; smaller for more than 8
            outputs.
        key_bias: for such a start, the standard deviation of the initial biases of the keys.
        strength_bias: for such a start, the initial bias of beta before its softplus.
        shift_bias: the initial bias of the logit of the shift forward.
        train_locations: further N; the N of a batch is drawn from these and the network's own.
        annealing_locations: while annealing, the N of a batch is drawn from these too.
        variant: other options of the task, which make hard and rare sequences.
        variant_every: one of this many training sequences is of the variant; 0: none.
        clean_sequences: the network is checked after this many sequences in a row without a wrong bit.
        goal: the cost to reach at the largest size, in bits per sequence above the optimal predictor; 0: no wrong bit.
        restart_batches: restart if the average loss is above ``begun_loss`` after this many batches. Every restart
            allows as many batches more.
        begun_loss: a network below this loss has begun to learn; the loss of chance is 0.69 if every output is certain.
        unsolved_batches: restart if the network has not converged after this many batches, or three times as many while
            the average loss is below ``learned_loss``. Every restart allows as many batches more.
        content_restarts: the most restarts of a converged network that relies on content addressing, or that fails
            every check at the end of annealing.
        annealing_batches: the batches with a falling learning rate, once the network has converged.
        annealing_learning_rate: the learning rate at the beginning of annealing.
        annealing_halving_batches: while annealing, the learning rate falls as 1/t, to its half after this many batches.
        turn_content_off: turn content addressing off at the end, if the network passes the last check without it.
        xla: compile the training step with XLA.
        report_batches: the batches between two progress reports.
        keep_checkpoints: the number of newest checkpoints that are kept, each as a run of its own.
        checkpoint_batches: the batches between two of these checkpoints.

    Raises:
        ValueError: an option is out of its range.
    """

    sizes: Mapping[str, tuple[int, int]]
    practice: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    annealing_practice: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    mixed: tuple[str, ...] = ()
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
    clip_outlier: float = 3.0
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
    content_writing_penalty: float = 0.0
    key_bias: float = 0.0
    strength_bias: float = 0.0
    shift_bias: float = 1.0
    train_locations: tuple[int, ...] = ()
    annealing_locations: tuple[int, ...] = ()
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
    annealing_halving_batches: int = 200
    turn_content_off: bool = True
    xla: bool = True
    report_batches: int = 25
    keep_checkpoints: int = 0
    checkpoint_batches: int = 1_000

    def __post_init__(self) -> None:
        # JSON has no tuples.
        for name in ("sizes", "practice", "annealing_practice"):
            object.__setattr__(self, name, _as_pairs(getattr(self, name)))
        object.__setattr__(self, "mixed", tuple(self.mixed))
        unknown = sorted(set(self.mixed) - set(self.sizes))
        if unknown:
            raise ValueError(f"mixed must be names of sizes, not {', '.join(unknown)}")
        lessons = (lesson if isinstance(lesson, Lesson) else Lesson(**lesson) for lesson in self.lessons)
        object.__setattr__(self, "lessons", tuple(lessons))
        object.__setattr__(self, "addressing", tuple(self.addressing))
        if not self.addressing or not set(self.addressing) <= {LOCATION, CONTENT}:
            raise ValueError(
                f"addressing must be of {LOCATION} and {CONTENT}, not {', '.join(self.addressing) or 'none'}"
            )
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer must be {' or '.join(OPTIMIZERS)}, not {self.optimizer}")
        for name in ("train_locations", "annealing_locations"):
            locations = tuple(getattr(self, name))
            object.__setattr__(self, name, locations)
            if min(locations, default=1) < 1:
                raise ValueError(f"{name} must be at least 1, not {min(locations)}")
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
