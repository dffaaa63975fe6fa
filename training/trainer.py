"""The training of a network on a task: one compiled step, and the schedule that calls it."""

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ntm.models import Network, NetworkConfig, make_network
from ntm.tasks.task import Size, Task
from ntm.training import losses
from ntm.training.backpropagation import unroll
from ntm.training.config import LOCATION, TrainingConfig
from ntm.training.data import Data, Padded
from ntm.training.distribution import Replicas
from ntm.training.losses import Sequences
from ntm.training.optimizer import OPTIMIZERS, flatten

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
# A check has _CHECK_SEQUENCES new sequences with N as configured, and as many with _OTHER_LOCATIONS times N, since a
# network that depends on the length of the circle of locations passes with one N only. A network that works with its
# own N only is checked with this N.
_CHECK_SEQUENCES, _OTHER_LOCATIONS = 1_000, 1.5
# The most numbers in the memories of the sequences that are checked side by side.
_CHECKED_AT_ONCE = 1 << 22


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

    def begin_lesson(self, lesson: int) -> None:
        """Begin a lesson with the present network."""
        self.lesson, self.lesson_batches, self.lowest_loss = lesson, 0, None
        self.setbacks = self.clean_sequences = self.learned_batches = 0


class Trainer:
    """A network in training.

    The schedule: a constant learning rate, which falls slowly once the loss is small, until the network has converged;
    then ``annealing_batches`` with a learning rate that falls as 1/t. The result is the moving average of the
    variables. The network restarts, with other initial variables, if it has not begun to learn, or has not converged,
    after a number of batches. The initial variables, the batches and the checks are pure functions of the seed and
    their number.

    Args:
        network: the network's configuration.
        config: the recipe.
        task: the task to learn.
        initial: a network with variables of the same shapes, to begin with its variables.
        replicas: the devices or machines that share every batch; None for one device.

    Raises:
        RunError: B is no multiple of the number of replicas.
        TaskError: the task breaks its contract.
    """

    def __init__(
        self,
        network: NetworkConfig,
        config: TrainingConfig,
        task: Task,
        initial: Network | None = None,
        replicas: Replicas | None = None,
    ) -> None:
        self.config, self._replicas = config, replicas
        if replicas is not None:
            replicas.check_divides(config.batch_size)
        self.progress = Progress()
        self._locations = network.memory_locations, *config.train_locations
        n = network.memory_locations
        others = () if network.fixed_locations else (math.ceil(_OTHER_LOCATIONS * n),)
        self._check_locations = n, *others
        self._task, self._data = task, Data(task, config)
        with contextlib.nullcontext() if replicas is None else replicas.strategy.scope():
            self._network = self._new_network(network)
        self._averaged = self._new_network(network)
        if initial is not None:
            for variable, value in zip(self._network.trainable_variables, initial.trainable_variables, strict=True):
                variable.assign(value)
        self._optimizer = OPTIMIZERS[config.optimizer](
            list(self._network.trainable_variables),
            clip_norm=config.clip_norm,
            clip_outlier=config.clip_outlier,
            clip_element=config.clip_element,
            average_decay=config.average_decay,
            momentum=config.momentum,
        )
        # The variables with the lowest loss.
        self._snapshot = [tf.Variable(value, trainable=False) for value in self._tensors()] if config.setback else []
        self.recompile()
        self._examine = tf.function(self._run, self._signature(network), autograph=False)

    @property
    def parameters(self) -> int:
        """The number of parameters that the network learns."""
        return self._network.parameters

    @property
    def sequences(self) -> int:
        """The number of training sequences so far."""
        return self.progress.batches * self.config.batch_size

    @property
    def annealing(self) -> bool:
        """Whether the network has converged."""
        return self.progress.annealing_since is not None

    @property
    def annealed(self) -> bool:
        """Whether annealing is over."""
        since = self.progress.annealing_since
        if since is None or not self.config.early_stopping:
            return False
        return self.progress.batches >= since + self.config.annealing_batches + self.progress.further_annealing

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        since, config = self.progress.annealing_since, self.config
        halvings = self.progress.learned_batches / config.halving_batches if config.halving_batches else 0.0
        full = config.learning_rate if self._addressing == LOCATION else config.content_learning_rate
        setbacks = 0 if self._practises_larger_sizes else self.progress.setbacks
        rate = full / (1 + halvings) / 2.0**setbacks
        if since is None:
            return rate
        halvings = (self.progress.batches - since) / config.annealing_halving_batches
        return min(rate, config.annealing_learning_rate) / (1 + halvings)

    @property
    def gradient_norm(self) -> float:
        """The moving average of the norm of the gradient, after clipping."""
        return float(self._optimizer.usual_norm)

    def recompile(self) -> None:
        """Compile the training step again at its next use."""
        self._step = tf.function(self._train_step, jit_compile=self.config.xla, autograph=False)
        if self._replicas is not None:
            self._shared_step = self._replicas.step(self._learn_share, self._apply, xla=self.config.xla)

    def train(self) -> Step:
        """Train on one batch, and advance the schedule."""
        number = self.progress.batches
        batch = self._data.training(number, self.progress.lesson + self.annealing)
        learning_rate, penalties = tf.constant(self.learning_rate, tf.float32), self._penalties()
        further = self.config.annealing_locations if self.annealing else ()
        choices = (*self._locations, *further)
        if batch.larger > 1:
            choices = tuple(n for n in choices if n >= batch.larger * self._locations[0]) or (max(choices),)
        memory_locations = self._data.locations(number, choices)
        if self._replicas is None:
            tensors, weights = map(tf.constant, batch[:4]), tf.constant(penalties, tf.float32)
            loss, wrong, cost = self._step(*tensors, learning_rate, weights, memory_locations)
        else:
            loss, wrong, cost = self._shared_step(batch, learning_rate, penalties, memory_locations)
        own_wrong, own_cost = (
            float(figures.numpy()[: batch.own].sum() / max(batch.own, 1)) for figures in (wrong, cost)
        )
        step = Step(float(loss), own_wrong, own_cost, batch.own)
        outputs = float(batch.mask.sum()) * batch.target.shape[2] / batch.mask.shape[1]  # of a sequence
        self._advance(step, step.loss - math.log(2.0) * batch.optimal / outputs)
        return step

    @property
    def _practises_larger_sizes(self) -> bool:
        """Whether the network learns larger sizes while annealing, at first with a higher loss."""
        return self.annealing and bool(self.config.annealing_practice)

    @property
    def _addressing(self) -> str:
        """The addressing that this start prefers."""
        return self.config.addressing[self.progress.restarts % len(self.config.addressing)]

    def _penalties(self) -> tuple[float, float, float, float, float]:
        """The weights of ``losses.penalties`` for the next step."""
        config = self.config
        # The more outputs, the less the loss of each of them counts.
        share = min(1.0, _FEW_OUTPUTS / self._task.output_size)
        if self._addressing != LOCATION:
            return 0.0, share * config.content_writing_penalty, 0.0, config.sharpness_penalty, config.drift_penalty
        blur = config.blur_penalty if self.annealing else 0.0
        return share * config.content_penalty, share * config.writing_penalty, share * blur, 0.0, config.drift_penalty

    def _advance(self, step: Step, loss: float) -> None:
        """Count a batch, and begin annealing, go back or restart if it is due.

        Args:
            step: the figures of the batch.
            loss: its loss above that of the optimal predictor.
        """
        progress, config = self.progress, self.config
        progress.content_off = False  # a network with other variables has passed without content addressing
        progress.batches += 1
        first = progress.lesson_batches == 0
        progress.lesson_batches += 1
        progress.learning_batches += not self.annealing
        progress.loss = loss if first else _LOSS_DECAY * progress.loss + (1 - _LOSS_DECAY) * loss
        progress.learned_batches += not self.annealing and progress.loss < config.learned_loss
        if step.sequences:
            progress.clean_sequences = 0 if step.wrong_bits else progress.clean_sequences + config.batch_size
        allowed = config.unsolved_batches if progress.loss < config.begun_loss else config.restart_batches
        if progress.loss < config.learned_loss:
            allowed *= _PATIENCE
        restart = not self.annealing and progress.learning_batches >= (progress.restarts + 1) * allowed
        restart = restart or self._lesson_has_failed()
        if not self.annealing and self._is_time_to_check():
            found = self.check()
            if not found.passed:
                progress.failed_checks += 1
                progress.clean_sequences -= max(_MORE_CLEAN_SEQUENCES, _MORE_EACH_TIME * progress.failed_checks)
            elif found.content_users and progress.restarts < config.content_restarts:
                restart = True
            else:
                progress.annealing_since, restart = progress.batches, False
        if restart or not (math.isfinite(step.loss) or progress.lowest_loss is not None):
            self._restart()
        elif config.setback:
            self._go_back_if_worse()
        if self._lesson_is_over():
            self.progress.begin_lesson(self.progress.lesson + 1)

    def _lesson_is_over(self) -> bool:
        progress, lessons = self.progress, self.config.lessons
        if progress.lesson == len(lessons):
            return False
        lesson = lessons[progress.lesson]
        if lesson.clean_sequences:
            return progress.clean_sequences >= lesson.clean_sequences
        if lesson.loss:
            return progress.loss < lesson.loss and progress.lesson_batches >= _LEAST_LESSON_BATCHES
        return progress.lesson_batches >= lesson.batches

    def _lesson_has_failed(self) -> bool:
        progress, lessons = self.progress, self.config.lessons
        if progress.lesson == len(lessons) or self._lesson_is_over():
            return False
        return progress.lesson_batches >= (progress.restarts + 1) * lessons[progress.lesson].batches

    def _go_back_if_worse(self) -> None:
        """Take a snapshot of the lowest loss; go back to it if the loss has risen, with half the learning rate."""
        progress = self.progress
        lowest = math.inf if progress.lowest_loss is None else progress.lowest_loss
        limit = self.config.setback * max(lowest, 0.0) + _SMALL_LOSS
        if not math.isfinite(progress.loss) or (progress.loss > limit and not self._practises_larger_sizes):
            for variable, best in zip(self._tensors(), self._snapshot, strict=True):
                variable.assign(best)
            progress.setbacks += 1
            progress.loss = progress.lowest_loss = (lowest + limit) / 2  # the lowest average may have been chance
        elif progress.lesson_batches % _SNAPSHOT_BATCHES == 0 and progress.loss < lowest:
            for variable, best in zip(self._tensors(), self._snapshot, strict=True):
                best.assign(variable)
            progress.lowest_loss = progress.loss

    def _is_time_to_check(self) -> bool:
        if self.progress.lesson < len(self.config.lessons):
            return False
        if self.config.goal:
            return self.progress.learning_batches % _GOAL_CHECK_BATCHES == 0
        return self.progress.clean_sequences >= self.config.clean_sequences

    def check(self) -> Check:
        """Run the averaged network on new sequences: with N as configured, and if it passes, with another N."""
        self.result()
        for memory_locations in self._check_locations:
            self.progress.checks += 1
            found = self._found(self._data.check(self.progress.checks, _CHECK_SEQUENCES), memory_locations)
            if self._replicas is not None:
                passed, wrong_bits, cost, content_users = self._replicas.of_chief(found)
                found = Check(bool(passed), int(wrong_bits), cost, int(content_users))
            if not found.passed:
                break
        return found

    def check_at(self, size: Size, sequences: int, memory_locations: int) -> Check:
        """Run the averaged network on sequences of a size, which may be larger than in training.

        Raises:
            TaskError: the task raised an exception, or its batch breaks the contract.
        """
        self.result()
        return self._found(self._data.of_size(size, sequences), memory_locations)

    def _found(self, batch: Padded, memory_locations: int) -> Check:
        """The result of the averaged network on sequences."""
        goal = self.config.goal
        examined = self._examined(batch, memory_locations)
        wrong, cost, content = (np.concatenate(parts) for parts in zip(*examined, strict=True))
        excess = float(cost.mean()) - batch.optimal
        passed = excess <= goal if goal else not wrong.any()
        return Check(passed, int(wrong.sum()), excess, int(content.sum()))

    def _examined(self, batch: Padded, memory_locations: int) -> Iterator[list[np.ndarray]]:
        """Wrong bits, cost, and reliance on content addressing of each sequence, for some sequences at a time."""
        size = max(1, _CHECKED_AT_ONCE // state_numbers(self._network.config, memory_locations))
        for start in range(0, batch.x.shape[1], size):
            part = *(array[:, start : start + size] for array in batch[:3]), batch.steps
            yield [tensor.numpy() for tensor in self._examine(*map(tf.constant, part), tf.constant(memory_locations))]

    def conclude(self) -> Check:
        """Check the averaged network: first without content addressing if the recipe asks for it, else with it."""
        self.progress.content_off = self.config.turn_content_off
        found = self.check()
        if not found.passed and self.progress.content_off:
            self.progress.content_off = False
            found = self.check()
        return found

    def result(self) -> Network:
        """The averaged network."""
        for variable, value in zip(self._averaged.variables, self._network.variables, strict=True):
            variable.assign(value)  # including the variables that are not trained
        for variable, value in zip(self._averaged.trainable_variables, self._average(), strict=True):
            variable.assign(value)
        if self.progress.content_off:
            self._averaged.turn_content_addressing_off()
        return self._averaged

    def go_on(self) -> None:
        """Go on after a failed last check.

        Often few bits are wrong, and annealing goes on: for as many batches again as the recipe has. If none of the
        checks meanwhile has passed, the learning rate had fallen too early. So annealing ends, and the learning rate
        rises, to at most twice what it was without setbacks before annealing.
        """
        progress = self.progress
        if progress.further_annealing < self.config.annealing_batches:
            progress.further_annealing += min(_FURTHER_ANNEALING, self.config.annealing_batches)
            return
        progress.annealing_since, progress.further_annealing = None, 0
        progress.clean_sequences = progress.setbacks = 0
        progress.learned_batches //= 2

    def _restart(self) -> None:
        old = self.progress
        self.progress = Progress(batches=old.batches, restarts=old.restarts + 1, checks=old.checks)
        fresh = self._new_network(self._network.config)
        for variable, value in zip(self._network.variables, fresh.variables, strict=True):
            variable.assign(value)
        self._optimizer.reset()

    def _new_network(self, network: NetworkConfig) -> Network:
        """A network with the initial variables of this start."""
        restarts, config = self.progress.restarts, self.config
        # The seeds after a restart differ from all seeds of other trainings.
        seed = config.seed + ((restarts + 1) << 32) if restarts else config.seed
        if self._addressing == LOCATION:
            biases = {"gate_bias": config.gate_bias}
        else:
            biases = {
                "gate_bias": config.content_gate_bias,
                "key_bias": config.key_bias,
                "strength_bias": config.strength_bias,
            }
        return make_network(network, seed, shift_bias=config.shift_bias, **biases)

    def variables(self) -> dict[str, np.ndarray]:
        """The averaged network's variables by name."""
        return {v.name.removesuffix(":0"): v.numpy() for v in self.result().variables}

    def state(self) -> dict[str, np.ndarray]:
        """The tensors that a resumed training needs, by name."""
        return {f"training/{i}": value.numpy() for i, value in enumerate([*self._tensors(), *self._snapshot])}

    def restore(self, state: dict[str, np.ndarray], progress: dict[str, Any]) -> None:
        """Go on from an earlier ``state`` and ``progress``."""
        for i, variable in enumerate([*self._tensors(), *self._snapshot]):
            variable.assign(state[f"training/{i}"])
        self.progress = Progress(**progress)

    def _tensors(self) -> list[tf.Variable]:
        return [*self._network.variables, *self._optimizer.state]

    def _average(self) -> list[tf.Tensor]:
        return self._optimizer.unflatten(self._optimizer.average)

    def _train_step(  # noqa: PLR0917  (tensors by position: tf.function lower-cases names)
        self,
        x: tf.Tensor,
        target: tf.Tensor,
        mask: tf.Tensor,
        steps: tf.Tensor,
        learning_rate: tf.Tensor,
        penalties: tf.Tensor,
        memory_locations: int,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        batch = Sequences(x, target, mask, steps)
        gradients, value, logits = self._gradients(batch, penalties, memory_locations)
        self._optimizer.apply(gradients, learning_rate)
        return value, losses.wrong_bits(logits, batch), losses.cost(logits, batch)

    def _gradients(
        self, batch: Sequences, penalties: tf.Tensor, memory_locations: int, share: tf.Tensor | None = None
    ) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]:
        """The gradients; the loss, weighted by the share of a replica; and the logits ``[T, B, O]``."""
        with tf.GradientTape() as tape:
            unrolled = unroll(self._network, batch.x, batch.steps, memory_locations)
            value = losses.loss(unrolled.logits, batch)
            if share is not None:
                value *= share
            objective = value + tf.reduce_sum(penalties * losses.penalties(unrolled, batch))
        return tape.gradient(objective, self._network.trainable_variables), value, unrolled.logits

    def _learn_share(  # noqa: PLR0917  (as above)
        self,
        x: tf.Tensor,
        target: tf.Tensor,
        mask: tf.Tensor,
        steps: tf.Tensor,
        share: tf.Tensor,
        penalties: tf.Tensor,
        memory_locations: int,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The computation of a replica, a ``distribution.Learn``."""
        batch = Sequences(x, target, mask, steps)
        gradients, value, logits = self._gradients(batch, penalties, memory_locations, share)
        figures = tf.stack([losses.wrong_bits(logits, batch), losses.cost(logits, batch)], axis=1)
        return tf.concat([flatten(gradients), [value]], axis=0), figures

    def _apply(self, gradient: tf.Tensor, learning_rate: tf.Tensor) -> None:
        self._optimizer.apply([gradient], learning_rate)

    def _signature(self, network: NetworkConfig) -> list[tf.TensorSpec]:
        """The signature of ``_run``: one traced function for any T, B and N."""
        shapes = [None, None, network.input_size], [None, None, network.output_size], [None, None]
        return [*map(tf.TensorSpec, shapes), *[tf.TensorSpec([], tf.int32)] * 2]

    def _run(
        self, x: tf.Tensor, target: tf.Tensor, mask: tf.Tensor, steps: tf.Tensor, memory_locations: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Wrong bits, cost, and reliance on content addressing of the averaged network, each ``[B]``."""
        network, size = self._averaged, tf.shape(x)[1]
        read_heads = network.config.read_heads

        def step(t: tf.Tensor, state: Any, logits: tf.TensorArray, gates: tf.TensorArray) -> tuple[Any, ...]:
            y, state, heads = network.step_with_heads(x[t], state)
            gate = tf.zeros([size, 0, 1]) if heads is None else heads.gate[:, :read_heads]
            return t + 1, state, logits.write(t, y), gates.write(t, gate)

        # The steps beyond the length stay zero.
        arrays = [
            tf.TensorArray(tf.float32, tf.shape(x)[0], element_shape=[None, *shape])
            for shape in ([network.config.output_size], [read_heads, 1])
        ]
        state = network.initial_state(size, memory_locations)
        *_, logits, gates = tf.while_loop(lambda t, *_: t < steps, step, (0, state, *arrays))
        batch, outputs = Sequences(x, target, mask, steps), logits.stack()
        return (
            losses.wrong_bits(outputs, batch),
            losses.cost(outputs, batch),
            losses.relies_on_content(gates.stack(), batch),
        )


def least_bytes(network: NetworkConfig, config: TrainingConfig, task: Task) -> int:
    """The least memory of a training, in bytes: states and activations of all steps, and the variables."""
    locations = max(network.memory_locations, *config.train_locations, *config.annealing_locations, 0)
    kept = state_numbers(network, locations) + sum(outputs for _, outputs in network.matrix_shapes)
    steps = Data(task, config).steps * config.batch_size
    # The variables, their average in the optimiser and in the averaged network, two moments and the gradient.
    variables = 6 * sum(inputs * outputs for inputs, outputs in network.matrix_shapes)
    return 4 * (steps * kept + variables)


def state_numbers(network: NetworkConfig, locations: int) -> int:
    """The numbers in the state of one sequence."""
    shapes = (
        [locations if size == "N" else int(size) for size in shape[1:]] for shape in network.state_shapes.values()
    )
    return sum(map(math.prod, shapes))
