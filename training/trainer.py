"""The training of a network on a task: one compiled step, and the checks."""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

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
from ntm.training.schedule import Action, Check, Progress, Schedule, Step

# A check has _CHECK_SEQUENCES new sequences with N as configured, and as many with _OTHER_LOCATIONS times N, since a
# network that depends on the length of the circle of locations passes with one N only. A network that works with its
# own N only is checked with this N.
_CHECK_SEQUENCES, _OTHER_LOCATIONS = 1_000, 1.5
# The most numbers in the memories of the sequences that are checked side by side.
_CHECKED_AT_ONCE = 1 << 22


class Trainer:
    """A network in training.

    The ``Schedule`` says what comes next. The result is the moving average of the variables. The initial variables, the
    batches and the checks are pure functions of the seed and their number.

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
        self.schedule = Schedule(config, network.memory_locations)
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
    def progress(self) -> Progress:
        """The progress of the schedule."""
        return self.schedule.progress

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
        number, schedule = self.progress.batches, self.schedule
        batch = self._data.training(number, schedule.stage)
        learning_rate = tf.constant(schedule.learning_rate, tf.float32)
        penalties = schedule.penalties(self._task.output_size)
        memory_locations = self._data.locations(number, schedule.locations(batch.larger))
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

    def _advance(self, step: Step, loss: float) -> None:
        """Advance the schedule by a batch, and do with the network what it says.

        Args:
            step: the figures of the batch.
            loss: its loss above that of the optimal predictor.
        """
        self._follow(self.schedule.advance(step, loss, self.check))

    def go_on(self) -> None:
        """Go on after a failed last check."""
        self._follow(self.schedule.go_on())

    def _follow(self, action: Action) -> None:
        if action is Action.RESTART:
            self._restart()
        elif action is Action.GO_BACK:
            for variable, best in zip(self._tensors(), self._snapshot, strict=True):
                variable.assign(best)
        elif action is Action.KEEP:
            for variable, best in zip(self._tensors(), self._snapshot, strict=True):
                best.assign(variable)

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

    def _restart(self) -> None:
        """Take the initial variables of this start."""
        fresh = self._new_network(self._network.config)
        for variable, value in zip(self._network.variables, fresh.variables, strict=True):
            variable.assign(value)
        self._optimizer.reset()

    def _new_network(self, network: NetworkConfig) -> Network:
        """A network with the initial variables of this start."""
        restarts, config = self.progress.restarts, self.config
        # The seeds after a restart differ from all seeds of other trainings.
        seed = config.seed + ((restarts + 1) << 32) if restarts else config.seed
        if self.schedule.addressing == LOCATION:
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
        self.schedule.progress = Progress(**progress)

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
