"""The training of a network on the copy task: one compiled step, and the recipe that calls it."""

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ntm.models import NTMCell, NTMConfig
from ntm.training.backpropagation import unroll
from ntm.training.config import TrainingConfig
from ntm.training.optimizer import Adam
from ntm.training.task import (
    Batch,
    blur,
    copy_batch,
    loss,
    mixed_lengths,
    one_length,
    searches,
    searching,
    writing,
    wrong_bits,
)

# A network may have learned the task when this many sequences in a row had no wrong bit; then it is checked, and where
# it fails, checked again after so many more.
_CLEAN_SEQUENCES, _MORE_CLEAN_SEQUENCES = 1_600, 200
# Who has not begun to learn the task, or has forgotten it again, after the first, or not learned it for good by the
# second, had a bad start, and another costs less than waiting; every further try may take so much longer.
_BEGINNING_BATCHES, _LEARNING_BATCHES = 450, 1_100
_BEGUN, _LOSS_DECAY = 0.3, 0.97  # nats per bit, of which chance is 0.69; of their moving average
# A network may find the first word by content instead of having a head wait there. Some rare words it then takes for
# the first one; so it is given up, too, but not for ever: with other options there may be no other way.
_TRIES_WITHOUT_SEARCHING = 3
# While sharpening the learning rate falls as 1/t: to its half after so many batches.
_HALVING_BATCHES = 200
# Converged: no wrong bit on so many fresh sequences, so many times: who fails once in a thousand has more to learn.
_CHECK_SEQUENCES, _CHECK_ROUNDS = 1_000, 2


class Step(NamedTuple):
    """What one training step tells."""

    loss: float  # nats per bit
    wrong_bits: float  # per sequence


class Check(NamedTuple):
    """What a check on fresh sequences tells."""

    wrong_bits: int
    searches: int  # sequences in which a read head has searched by content for what to say


@dataclasses.dataclass
class Progress:
    """Where the recipe stands; saved with every checkpoint."""

    batches: int = 0
    loss: float = 0.0  # nats per bit, the moving average of this try
    clean_sequences: int = 0  # in a row, without a wrong bit
    learning_batches: int = 0  # of this try, at the full learning rate
    sharpening_since: int | None = None  # batches
    tries: int = 1
    checks: int = 0
    gates_shut: bool = False  # in the network that is the result


class Trainer:
    """A network in training.

    The recipe: Adam at a constant learning rate until the network has converged, then ``sharpening_batches`` with a
    learning rate that falls as 1/t and a penalty on blurred weightings. Short sequences forgive a head that looks a
    little beside its location, long ones do not. All the while it costs a little to write in the output phase and to
    search by content: what random words forgive a thousand times, and then do not. The result is the moving average of
    the variables, with its gates shut for good where it passes the last check so: it has learned to do without a
    search. A try that has not begun to learn the task, or not learned it, in good time, or has learned to search for
    the first word, is given up for another, with other initial variables. The variables, the batches and the checks are
    pure functions of the seed and their number.

    Args:
        network: the network's configuration.
        config: the recipe.
    """

    def __init__(self, network: NTMConfig, config: TrainingConfig) -> None:
        self.config = config
        self.progress = Progress()
        self._seed = tf.Variable(config.seed, trainable=False)  # no constant: one compiled step serves every seed
        self._cell = NTMCell(network, config.seed)
        self._averaged = NTMCell(network, config.seed)
        self._optimizer = Adam(list(self._cell.trainable_variables), config.clip_norm, config.average_decay)
        self._step = tf.function(self._train_step, jit_compile=config.xla, autograph=False)
        self._check = tf.function(self._examine, autograph=False)

    @property
    def sequences(self) -> int:
        """How many sequences the network has seen."""
        return self.progress.batches * self.config.batch_size

    @property
    def sharpening(self) -> bool:
        """Whether the network has converged."""
        return self.progress.sharpening_since is not None

    @property
    def sharpened(self) -> bool:
        """Whether sharpening is over."""
        since = self.progress.sharpening_since
        return since is not None and self.progress.batches >= since + self.config.sharpening_batches

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        since = self.progress.sharpening_since
        if since is None:
            return self.config.learning_rate
        return self.config.sharpening_learning_rate / (1 + (self.progress.batches - since) / _HALVING_BATCHES)

    def train(self) -> Step:
        """Train on one batch, and move the recipe on."""
        step_loss, wrong = self._step(
            tf.constant(self.progress.batches),
            tf.constant(self.learning_rate, tf.float32),
            tf.constant(self.config.blur_penalty if self.sharpening else 0.0, tf.float32),
        )
        step = Step(float(step_loss), float(wrong) / self.config.batch_size)
        self._advance(step)
        return step

    def _advance(self, step: Step) -> None:
        """Count a batch, and begin sharpening or start over where it is time to."""
        progress = self.progress
        progress.gates_shut = False  # it was another network that could do so
        progress.batches += 1
        progress.learning_batches += not self.sharpening
        progress.loss = _LOSS_DECAY * progress.loss + (1 - _LOSS_DECAY) * step.loss
        progress.clean_sequences = 0 if step.wrong_bits else progress.clean_sequences + self.config.batch_size
        allowed = _LEARNING_BATCHES if progress.loss < _BEGUN else _BEGINNING_BATCHES
        given_up = not self.sharpening and progress.learning_batches >= progress.tries * allowed
        if not self.sharpening and progress.clean_sequences >= _CLEAN_SEQUENCES:
            found = self.check()
            if found.wrong_bits:
                progress.clean_sequences -= _MORE_CLEAN_SEQUENCES
            elif found.searches and progress.tries <= _TRIES_WITHOUT_SEARCHING:
                given_up = True
            else:
                progress.sharpening_since, given_up = progress.batches, False
        if given_up or not math.isfinite(step.loss):
            self._start_over()

    def check(self) -> Check:
        """Try the averaged network on fresh sequences, until bits are wrong; none wrong means converged."""
        self.result()
        for _ in range(_CHECK_ROUNDS):
            self.progress.checks += 1
            found = Check(*map(int, self._check(tf.constant(-self.progress.checks))))
            if found.wrong_bits:
                break
        return found

    def conclude(self) -> Check:
        """Check the network that is kept; until the next batch its gates are shut, where no bit is wrong so."""
        self.progress.gates_shut = self.config.shut_gates
        found = self.check()
        if found.wrong_bits and self.progress.gates_shut:
            self.progress.gates_shut = False
            found = self.check()
        return found

    def result(self) -> NTMCell:
        """The averaged network."""
        for variable, value in zip(self._averaged.trainable_variables, self._average(), strict=True):
            variable.assign(value)
        if self.progress.gates_shut:
            self._averaged.shut_gates()
        return self._averaged

    def relearn(self) -> None:
        """Go back to the full learning rate: there is something left to be learned."""
        self.progress.sharpening_since = None
        self.progress.clean_sequences = 0

    def _start_over(self) -> None:
        progress = self.progress
        self.progress = Progress(batches=progress.batches, tries=progress.tries + 1, checks=progress.checks)
        # Far from the other seeds' first tries.
        fresh = NTMCell(self._cell.config, self.config.seed + (self.progress.tries << 32))
        for variable, value in zip(self._cell.trainable_variables, fresh.trainable_variables, strict=True):
            variable.assign(value)
        self._optimizer.reset()

    def variables(self) -> dict[str, np.ndarray]:
        """The averaged network's variables by name."""
        return {v.name.removesuffix(":0"): v.numpy() for v in self.result().trainable_variables}

    def state(self) -> dict[str, np.ndarray]:
        """All that training needs to go on, by name."""
        return {f"training/{i}": value.numpy() for i, value in enumerate(self._tensors())}

    def restore(self, state: dict[str, np.ndarray], progress: dict[str, Any]) -> None:
        """Go on from what ``state`` and ``progress`` were."""
        for i, variable in enumerate(self._tensors()):
            variable.assign(state[f"training/{i}"])
        self.progress = Progress(**progress)

    def _tensors(self) -> list[tf.Variable]:
        return [*self._cell.trainable_variables, *self._optimizer.state]

    def _average(self) -> list[tf.Tensor]:
        return self._optimizer.unflatten(self._optimizer.average)

    def _train_step(
        self, batch_number: tf.Tensor, learning_rate: tf.Tensor, blur_penalty: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        batch = self._batch(batch_number, self.config.batch_size, one_length)
        with tf.GradientTape() as tape:
            logits, weights, gate, erase, add = unroll(self._cell, batch.x, batch.steps)
            value = loss(logits, batch)
            objective = value + blur_penalty * blur(weights, batch)
            objective += self.config.writing_penalty * writing(erase, add, batch)
            objective += self.config.searching_penalty * searching(gate, batch)
        self._optimizer.apply(tape.gradient(objective, self._cell.trainable_variables), learning_rate)
        return value, wrong_bits(logits, batch)

    def _examine(self, check_number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        batch = self._batch(check_number, _CHECK_SEQUENCES, mixed_lengths)
        logits, _, gate, *_ = unroll(self._averaged, batch.x, batch.steps)
        return wrong_bits(logits, batch), searches(gate[:, :, : self._cell.config.read_heads], batch)

    def _batch(self, number: tf.Tensor, size: int, lengths: Callable[[tf.Tensor, int, int], tf.Tensor]) -> Batch:
        # Training counts its batches up from 0, the checks down from -1: no batch is both.
        seed = tf.stack([self._seed, number])
        longest, word_bits, every = self.config.max_length, self._cell.config.word_bits, self.config.sparse_every
        sparse = (number * size + tf.range(size)) % every == 0 if every else False
        return copy_batch(seed, lengths(seed, size, longest), longest, word_bits, sparse)


def least_bytes(network: NTMConfig, config: TrainingConfig) -> int:
    """The memory that a training takes at the least: for the states and activations of all steps, and the variables."""
    m, n = network.memory_vector_size, network.memory_locations
    sizes = (network.input_size + network.read_heads * m, *network.controller_sizes, network.heads * m)
    kept = m * n + network.heads * n + sum(sizes)  # numbers a step of a sequence
    steps = (2 * config.max_length + 1) * max(config.batch_size, _CHECK_SEQUENCES)
    # The variables, their average, that in the network that is checked, two moments and the gradient.
    variables = 6 * sum(inputs * outputs for inputs, outputs in itertools.pairwise(sizes))
    return 4 * (steps * kept + variables)
