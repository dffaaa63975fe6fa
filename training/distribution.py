"""Training on several devices or machines: every replica takes its share of each batch, and the gradients are summed.

``tf.distribute`` provides the replicas, a copy of the variables for each, and the sums over all of them. Keras cannot
compile a step with XLA under it (https://github.com/keras-team/keras/pull/19006), since the step assigns variables and
calls collectives. Here XLA compiles what a replica computes alone, its gradient. The sum and the optimiser, a handful
of operations on one vector, follow outside of XLA, the optimiser once in each process.

All processes draw the same batches, which are pure functions of the seed and a number, and go through the same
schedule: its decisions depend on sums over all replicas, or on the numbers of the chief.
"""

import json
import os
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ntm.errors import RunError
from ntm.training.data import Padded

MIRRORED, MULTIWORKER = KINDS = "mirrored", "multiworker"
_CONFIG = "TF_CONFIG"
_CHIEF, _WORKER = "chief", "worker"

# The computation of a replica: it returns the gradient and the loss behind it as one vector [P], both weighted by the
# share of the replica; and the wrong bits and the cost of each of its sequences, [B', 2].
Learn = Callable[..., tuple[tf.Tensor, tf.Tensor]]


class Replicas:
    """The replicas that share a training.

    Make it before TensorFlow computes anything, so that the processes find each other.

    Args:
        kind: ``"mirrored"`` for all GPUs of this machine, or else its logical CPUs; ``"multiworker"`` for all devices
            of all processes that the environment variable ``TF_CONFIG`` names.
        interrupted: called before every batch; if it returns True in one process, all processes stop.

    Attributes:
        strategy: the strategy of ``tf.distribute``.
        is_chief: whether this process writes the run folder.
        stopping: whether a process had to stop at the last batch.

    Raises:
        RunError: there is no such kind, ``TF_CONFIG`` is missing or wrong, or TensorFlow has already computed.
    """

    def __init__(self, kind: str, interrupted: Callable[[], bool] = lambda: False) -> None:
        if kind not in KINDS:
            raise RunError(f"distribute must be {' or '.join(KINDS)}, not {kind}")
        self.is_chief, self.stopping, self._interrupted = True, False, interrupted
        if kind == MIRRORED:
            found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
            self.strategy = tf.distribute.MirroredStrategy([device.name for device in found])
            return
        self.is_chief = _is_chief(os.environ.get(_CONFIG))
        try:
            self.strategy = tf.distribute.MultiWorkerMirroredStrategy()
        except RuntimeError as error:
            raise RunError(f"--distribute {MULTIWORKER} must be what a process does first with TensorFlow") from error
        except tf.errors.OpError as error:
            raise RunError(f"the workers of {_CONFIG} do not find each other: {error.message}") from error

    @property
    def count(self) -> int:
        """The number of replicas."""
        return int(self.strategy.num_replicas_in_sync)

    def check_divides(self, batch_size: int) -> None:
        """Refuse a B that cannot be shared evenly.

        Raises:
            RunError: it is no multiple of the number of replicas.
        """
        if batch_size % self.count:
            raise RunError(f"the batch size must be a multiple of the {self.count} replicas, not {batch_size}")

    def step(self, learn: Learn, apply: Callable[[tf.Tensor, tf.Tensor], None], *, xla: bool) -> Callable[..., Any]:
        """A training step over all replicas.

        Args:
            learn: the computation of a replica; called with the tensors of ``_share`` and N.
            apply: the step of the optimiser, with the gradient, ``[P - 1]``, and the learning rate, ``[]``.
            xla: whether to compile ``learn`` with XLA.

        Returns:
            A function of a batch, the learning rate, the weights of the penalties ``[5]`` and N. It returns the loss,
            and the wrong bits and the cost of each sequence, ``[B]``, like the step of a single device.
        """
        compiled = tf.function(learn, jit_compile=xla, autograph=False)

        def over_all(shares: Any, learning_rate: tf.Tensor, memory_locations: int) -> tuple[tf.Tensor, tf.Tensor]:
            def replica(share: Sequence[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
                *tensors, stop = share
                sums, figures = compiled(*tensors, memory_locations)
                return tf.concat([sums, [stop]], axis=0), figures

            sums, figures = self.strategy.run(replica, args=(shares,))
            sums = self.strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None)
            apply(sums[:-2], learning_rate)
            return sums[-2:], self.strategy.gather(figures, axis=0)

        together = tf.function(over_all, autograph=False)

        def step(
            batch: Padded, learning_rate: tf.Tensor, penalties: Sequence[float], memory_locations: int
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            stop = float(self._interrupted())
            shares = self.strategy.experimental_distribute_values_from_function(
                lambda context: (*self._share(batch, penalties, context.replica_id_in_sync_group), tf.constant(stop))
            )
            (loss, stops), figures = together(shares, learning_rate, memory_locations)
            self.stopping = bool(stops > 0)
            return loss, figures[:, 0], figures[:, 1]

        return step

    def _share(self, batch: Padded, penalties: Sequence[float], replica: int) -> tuple[tf.Tensor, ...]:
        """A replica's sequences x, target, mask and steps, the weight of its loss, and those of its penalties.

        The loss is a mean over the outputs that count, and so is the penalty of writing; the others are means over the
        sequences.
        """
        size = batch.x.shape[1] // self.count
        x, target, mask = (array[:, replica * size : (replica + 1) * size] for array in batch[:3])
        of_outputs, of_sequences = float(mask.sum() / batch.mask.sum()), 1 / self.count
        weights = np.array(penalties) * [of_sequences, of_outputs, of_sequences, of_sequences, of_sequences]
        parts = x, target, mask, np.int32(batch.steps), np.float32(of_outputs), weights.astype(np.float32)
        return tuple(map(tf.constant, parts))

    def of_chief(self, numbers: Sequence[float]) -> list[float]:
        """The numbers of the chief, in every process, since rounding may differ between processors."""
        own = self.strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(numbers, tf.float64) * float(context.replica_id_in_sync_group == 0)
        )
        found: list[float] = self.strategy.reduce(tf.distribute.ReduceOp.SUM, own, axis=None).numpy().tolist()
        return found

    def check_alike(self, what: str) -> None:
        """Refuse to train if this process begins differently from the chief.

        Args:
            what: the options and the progress of this process.

        Raises:
            RunError: the chief has others.
        """
        own = float(zlib.crc32(what.encode()))
        if self.of_chief([own]) != [own]:
            raise RunError("this worker has other options than the chief, or resumes another checkpoint")

    def wait(self) -> None:
        """Wait until all processes have made this call."""
        self.of_chief([0.0])


def _is_chief(text: str | None) -> bool:
    """Whether this process is the chief of the cluster in ``TF_CONFIG``: the chief, or else the first worker.

    Raises:
        RunError: it is missing or wrong.
    """
    example = '{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, "task": {"type": "worker", "index": 0}}'
    if not text:
        raise RunError(f"--distribute {MULTIWORKER} needs the environment variable {_CONFIG}, such as {example}")
    try:
        config = json.loads(text)
        cluster, kind, index = config["cluster"], config["task"]["type"], config["task"]["index"]
        known = {_CHIEF, _WORKER} >= set(cluster) and 0 <= index < len(cluster[kind])
        if not known or not all(isinstance(address, str) for addresses in cluster.values() for address in addresses):
            raise ValueError
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunError(f"{_CONFIG} must name the workers and which of them this is, as {example} does") from error
    return bool(kind == _CHIEF or (_CHIEF not in cluster and index == 0))
