"""The schedule of a training: from the figures of the batches and the checks, it decides what comes next."""

import dataclasses
import enum
import math
from collections.abc import Callable
from typing import NamedTuple

from ntm.training.config import LOCATION, Lesson, TrainingConfig

# After a failed check, the next check needs _MORE_CLEAN_SEQUENCES further clean sequences, or _MORE_EACH_TIME times the
# number of failed checks if that is more, since a check takes as long as some hundred batches. With a goal, there is a
# check every _GOAL_CHECK_BATCHES batches.
_MORE_CLEAN_SEQUENCES, _MORE_EACH_TIME, _GOAL_CHECK_BATCHES = 200, 50, 500
_PATIENCE = 3  # the factor of the time to a restart for a network that has almost learned the task
_LOSS_DECAY = 0.97  # the decay of the moving average of the loss per batch
# The batches between two snapshots of the network; and the rise of the loss that does not count as a setback.
_SNAPSHOT_BATCHES, _SMALL_LOSS = 100, 0.01
# If the check at the end of annealing fails, annealing goes on, with a check after each of so many batches.
_FURTHER_ANNEALING = 500
_LEAST_LESSON_BATCHES = 100  # with fewer batches, the average loss means little
_FEW_OUTPUTS = 8  # with more outputs, the penalties are smaller than in the recipe


class Step(NamedTuple):
    """The figures of one training step."""

    loss: float  # nats per output number
    wrong_bits: float  # wrong bits per sequence of the task itself: not of a variant or of larger sizes
    cost: float  # bits per sequence of the task itself
    sequences: int  # the number of these sequences; if it is 0, both figures are 0


class Check(NamedTuple):
    """The result of a check on new sequences."""

    passed: bool
    wrong_bits: int
    cost: float  # bits per sequence, above that of the optimal predictor
    content_users: int  # the sequences whose output relies on content addressing


@dataclasses.dataclass
class Progress:
    """The progress of the training, which is saved with every checkpoint."""

    batches: int = 0
    lesson: int = 0  # its number; the number after the last lesson is the task itself
    lesson_batches: int = 0  # since the lesson began
    loss: float = 0.0  # nats per output number above the optimal, the moving average of the lesson
    lowest_loss: float | None = None  # the lowest average loss of the lesson, that of the snapshot
    setbacks: int = 0  # in the lesson
    clean_sequences: int = 0  # sequences of the lesson in a row without a wrong bit
    learned_batches: int = 0  # batches of the lesson with a small loss, before annealing
    learning_batches: int = 0  # batches since the last restart, before annealing
    failed_checks: int = 0  # since the last restart
    annealing_since: int | None = None  # the number of batches at the beginning of annealing
    further_annealing: int = 0  # batches of annealing beyond those of the recipe
    restarts: int = 0
    checks: int = 0
    content_off: bool = False  # whether content addressing is turned off in the averaged network


class Action(enum.Enum):
    """What becomes of the network after a batch."""

    GO_ON = enum.auto()
    RESTART = enum.auto()  # begin anew, with other initial variables
    GO_BACK = enum.auto()  # go on from the snapshot
    KEEP = enum.auto()  # take a snapshot


class Schedule:
    """What comes next in a training.

    Before convergence the learning rate is constant while the loss is large, and falls as 1/t while it is small. After
    convergence comes annealing: ``annealing_batches`` with a learning rate that falls as 1/t. The network restarts if
    it has not begun to learn, or has not converged, after a number of batches. It goes back to a snapshot, the
    variables with the lowest loss, if the loss has risen.

    Args:
        config: the recipe.
        memory_locations: the network's own N.
    """

    def __init__(self, config: TrainingConfig, memory_locations: int) -> None:
        self.progress = Progress()
        self._config = config
        self._locations = memory_locations, *config.train_locations

    @property
    def annealing(self) -> bool:
        """Whether the network has converged."""
        return self.progress.annealing_since is not None

    @property
    def annealed(self) -> bool:
        """Whether annealing is over."""
        since = self.progress.annealing_since
        if since is None or not self._config.early_stopping:
            return False
        return self.progress.batches >= since + self._config.annealing_batches + self.progress.further_annealing

    @property
    def stage(self) -> int:
        """The number of the lesson; after the last lesson comes the task itself, then the task in annealing."""
        return self.progress.lesson + self.annealing

    @property
    def addressing(self) -> str:
        """The addressing that this start prefers."""
        return self._config.addressing[self.progress.restarts % len(self._config.addressing)]

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next batch."""
        since, config = self.progress.annealing_since, self._config
        halvings = self.progress.learned_batches / config.halving_batches if config.halving_batches else 0.0
        full = config.learning_rate if self.addressing == LOCATION else config.content_learning_rate
        setbacks = 0 if self._practises_larger_sizes else self.progress.setbacks
        rate = full / (1 + halvings) / 2.0**setbacks
        if since is None:
            return rate
        halvings = (self.progress.batches - since) / config.annealing_halving_batches
        return min(rate, config.annealing_learning_rate) / (1 + halvings)

    def penalties(self, outputs: int) -> tuple[float, float, float, float, float]:
        """The weights of ``losses.penalties`` for the next batch.

        Args:
            outputs: O.
        """
        config = self._config
        # The more outputs, the less the loss of each of them counts.
        share = min(1.0, _FEW_OUTPUTS / outputs)
        if self.addressing != LOCATION:
            return 0.0, share * config.content_writing_penalty, 0.0, config.sharpness_penalty, config.drift_penalty
        blur = config.blur_penalty if self.annealing else 0.0
        return share * config.content_penalty, share * config.writing_penalty, share * blur, 0.0, config.drift_penalty

    def locations(self, larger: float) -> tuple[int, ...]:
        """The N from which that of the next batch is drawn.

        Args:
            larger: how many times the locations of the largest training sequence the batch needs.
        """
        further = self._config.annealing_locations if self.annealing else ()
        choices = (*self._locations, *further)
        if larger <= 1:
            return choices
        return tuple(n for n in choices if n >= larger * self._locations[0]) or (max(choices),)

    def advance(self, step: Step, loss: float, check: Callable[[], Check]) -> Action:
        """Count a batch, and say what becomes of the network.

        Args:
            step: the figures of the batch.
            loss: its loss above that of the optimal predictor, in nats per output number.
            check: checks the network; it is called if the network may have converged.
        """
        self._count(step, loss)
        restart = self._restarts_after(check()) if self._is_time_to_check else self._is_time_to_restart
        action = Action.GO_ON
        if restart or self._has_diverged:
            action = self._restart()
        elif self._is_setback:
            action = Action.GO_BACK
            self.progress.setbacks += 1
            # The lowest average may have been chance.
            self.progress.loss = self.progress.lowest_loss = (self._lowest_loss + self._setback_limit) / 2
        elif self._is_time_for_snapshot:
            action = Action.KEEP
            self.progress.lowest_loss = self.progress.loss
        self._end_lesson()
        return action

    def _count(self, step: Step, loss: float) -> None:
        progress, config = self.progress, self._config
        progress.content_off = False  # a network with other variables has passed without content addressing
        progress.batches += 1
        first = progress.lesson_batches == 0
        progress.lesson_batches += 1
        progress.learning_batches += not self.annealing
        progress.loss = loss if first else _LOSS_DECAY * progress.loss + (1 - _LOSS_DECAY) * loss
        progress.learned_batches += not self.annealing and progress.loss < config.learned_loss
        if step.sequences:
            progress.clean_sequences = 0 if step.wrong_bits else progress.clean_sequences + config.batch_size

    @property
    def _is_time_to_check(self) -> bool:
        """Whether the network may have converged."""
        progress, config = self.progress, self._config
        if self.annealing or self._lesson is not None:
            return False
        if config.goal:
            return progress.learning_batches % _GOAL_CHECK_BATCHES == 0
        return progress.clean_sequences >= config.clean_sequences

    @property
    def _is_time_to_restart(self) -> bool:
        """Whether this start has taken too long."""
        progress, config, lesson = self.progress, self._config, self._lesson
        if self.annealing:
            return False
        starts = progress.restarts + 1
        if lesson is not None and progress.lesson_batches >= starts * lesson.batches and not self._is_over(lesson):
            return True
        allowed = config.unsolved_batches if progress.loss < config.begun_loss else config.restart_batches
        if progress.loss < config.learned_loss:
            allowed *= _PATIENCE
        return progress.learning_batches >= starts * allowed

    def _restarts_after(self, found: Check) -> bool:
        """Begin annealing if a check was passed; returns whether the network restarts in place of that."""
        progress = self.progress
        if not found.passed:
            progress.failed_checks += 1
            progress.clean_sequences -= max(_MORE_CLEAN_SEQUENCES, _MORE_EACH_TIME * progress.failed_checks)
            return self._is_time_to_restart
        if found.content_users and progress.restarts < self._config.content_restarts:
            return True
        progress.annealing_since = progress.batches
        return False

    @property
    def _has_diverged(self) -> bool:
        """Whether the loss is not finite, and there is no snapshot to go back to."""
        return not math.isfinite(self.progress.loss) and self.progress.lowest_loss is None

    @property
    def _is_setback(self) -> bool:
        """Whether the loss has risen so far that the network goes back to the snapshot, with half the learning rate."""
        if not self._config.setback:
            return False
        loss = self.progress.loss
        return not math.isfinite(loss) or (loss > self._setback_limit and not self._practises_larger_sizes)

    @property
    def _is_time_for_snapshot(self) -> bool:
        """Whether a snapshot is due, and the loss is the lowest of the lesson."""
        progress = self.progress
        if not self._config.setback or progress.lesson_batches % _SNAPSHOT_BATCHES:
            return False
        return progress.loss < self._lowest_loss

    def _end_lesson(self) -> None:
        """Begin the next lesson with the present network, if this one is over."""
        progress, lesson = self.progress, self._lesson
        if lesson is None or not self._is_over(lesson):
            return
        progress.lesson, progress.lesson_batches, progress.lowest_loss = progress.lesson + 1, 0, None
        progress.setbacks = progress.clean_sequences = progress.learned_batches = 0

    def go_on(self) -> Action:
        """Go on after a failed last check, and say what becomes of the network.

        Often few bits are wrong, and annealing goes on: for as many batches again as the recipe has. If none of the
        checks meanwhile has passed, the network relies on content addressing or on N, and restarts if
        ``content_restarts`` allows it. Otherwise the learning rate had fallen too early. So annealing ends, and the
        learning rate rises, to at most twice what it was without setbacks before annealing.
        """
        progress = self.progress
        if progress.further_annealing < self._config.annealing_batches:
            progress.further_annealing += min(_FURTHER_ANNEALING, self._config.annealing_batches)
            return Action.GO_ON
        if progress.restarts < self._config.content_restarts:
            return self._restart()
        progress.annealing_since, progress.further_annealing = None, 0
        progress.clean_sequences = progress.setbacks = 0
        progress.learned_batches //= 2
        return Action.GO_ON

    def _restart(self) -> Action:
        old = self.progress
        self.progress = Progress(batches=old.batches, restarts=old.restarts + 1, checks=old.checks)
        return Action.RESTART

    @property
    def _practises_larger_sizes(self) -> bool:
        """Whether the network learns larger sizes while annealing, at first with a higher loss."""
        return self.annealing and bool(self._config.annealing_practice)

    @property
    def _lesson(self) -> Lesson | None:
        """The present lesson; None for the task itself."""
        number, lessons = self.progress.lesson, self._config.lessons
        return None if number == len(lessons) else lessons[number]

    def _is_over(self, lesson: Lesson) -> bool:
        progress = self.progress
        if lesson.clean_sequences:
            return progress.clean_sequences >= lesson.clean_sequences
        if lesson.loss:
            return progress.loss < lesson.loss and progress.lesson_batches >= _LEAST_LESSON_BATCHES
        return progress.lesson_batches >= lesson.batches

    @property
    def _lowest_loss(self) -> float:
        lowest = self.progress.lowest_loss
        return math.inf if lowest is None else lowest

    @property
    def _setback_limit(self) -> float:
        """The loss above which there is a setback."""
        return self._config.setback * max(self._lowest_loss, 0.0) + _SMALL_LOSS
