"""The quantities of training: the loss, the penalties of a recipe, wrong bits and cost."""

import math
from typing import NamedTuple

import tensorflow as tf

from ntm.training.backpropagation import Unrolled

# A head needs no larger beta and gamma to concentrate on one location.
_STRONG, _SHARP = 6.0, 3.0


class Sequences(NamedTuple):
    """A batch of a task as tensors, padded to the T steps of the longest sequences of the training."""

    x: tf.Tensor  # [T, B, I]
    target: tf.Tensor  # [T, B, O]
    mask: tf.Tensor  # [T, B], 1 in the output phase
    steps: tf.Tensor  # [], the steps of the longest sequence in the batch


def loss(logits: tf.Tensor, batch: Sequences) -> tf.Tensor:
    """Cross-entropy in nats per output number, over the output phase, ``[]``."""
    return tf.reduce_sum(_entropy(logits, batch)) / (tf.reduce_sum(batch.mask) * logits.shape[2])


def cost(logits: tf.Tensor, batch: Sequences) -> tf.Tensor:
    """Cross-entropy in bits of each sequence, over the output phase, ``[B]``: what the paper plots."""
    return tf.reduce_sum(_entropy(logits, batch), axis=[0, 2]) / math.log(2.0)


def wrong_bits(logits: tf.Tensor, batch: Sequences) -> tf.Tensor:
    """The outputs of each sequence on the wrong side of a probability of 0.5, over the output phase, ``[B]``."""
    wrong = tf.cast((logits > 0.0) != (batch.target > 0.5), tf.float32)
    return tf.reduce_sum(wrong * batch.mask[:, :, tf.newaxis], axis=[0, 2])


def penalties(unrolled: Unrolled, batch: Sequences) -> tf.Tensor:
    """The penalties of content addressing, writing in the output phase, blur, sharpness and drift, ``[5]``.

    A penalty is 0 if the network lacks the heads or the LSTM cells that the penalty measures.
    """
    heads, state = unrolled.heads, unrolled.state
    moved = drift(state["cell"], batch) if "cell" in state else tf.constant(0.0)
    if heads is None:
        return tf.stack([0.0, 0.0, 0.0, 0.0, moved])
    return tf.stack(
        [
            content_addressing(heads.gate, batch),
            writing(heads.erase, heads.add, batch),
            blur(state["weights"], batch),
            sharpness(heads.strength, heads.sharpening, batch),
            moved,
        ]
    )


def blur(weights: tf.Tensor, batch: Sequences) -> tf.Tensor:
    """How far weightings are from one-hot, the mean of 1 - sum_i w(i)^2, ``[]``.

    Args:
        weights: ``[T, B, R+K, N]``, zero beyond the batch's steps.
        batch: what the network has seen.
    """
    weightings = tf.cast(batch.steps * tf.reduce_prod(weights.shape[1:3]), tf.float32)
    return 1.0 - tf.reduce_sum(tf.square(weights)) / weightings


def content_addressing(gate: tf.Tensor, batch: Sequences) -> tf.Tensor:
    """How much heads use content addressing, the mean of g, ``[]``.

    Args:
        gate: g, ``[T, B, R+K, 1]``.
        batch: what the network has seen.
    """
    taken = tf.cast(tf.range(gate.shape[0]) < batch.steps, tf.float32)  # [T]
    return tf.reduce_sum(taken * tf.reduce_mean(gate, axis=[1, 2, 3])) / tf.reduce_sum(taken)


def writing(erase: tf.Tensor, add: tf.Tensor, batch: Sequences) -> tf.Tensor:
    """The amount of writing in the output phase, the mean of e + a^2, ``[]``; 0 is nothing.

    Args:
        erase: e, ``[T, B, M, K]``.
        add: a, ``[T, B, M, K]``.
        batch: what the network has seen.
    """
    written = tf.reduce_mean(erase + tf.square(add), axis=[2, 3])  # [T, B]
    return tf.reduce_sum(written * batch.mask) / tf.reduce_sum(batch.mask)


def sharpness(strength: tf.Tensor, sharpening: tf.Tensor, batch: Sequences) -> tf.Tensor:
    """The excess sharpness of heads, the mean of max(beta - 6, 0)^2 + max(gamma - 3, 0)^2, ``[]``.

    Args:
        strength: beta, ``[T, B, R+K, 1]``.
        sharpening: gamma, ``[T, B, R+K, 1]``.
        batch: what the network has seen.
    """
    taken = tf.cast(tf.range(strength.shape[0]) < batch.steps, tf.float32)  # [T]
    beyond = tf.square(tf.nn.relu(strength - _STRONG)) + tf.square(tf.nn.relu(sharpening - _SHARP))
    return tf.reduce_sum(taken * tf.reduce_mean(beyond, axis=[1, 2, 3])) / tf.reduce_sum(taken)


def drift(cell: tf.Tensor, batch: Sequences) -> tf.Tensor:
    """How much an LSTM's cells change from step to step, the mean of (c[t] - c[t-1])^2, ``[]``.

    Args:
        cell: c, ``[T, B, units]``.
        batch: what the network has seen.
    """
    taken = tf.cast(tf.range(1, cell.shape[0]) < batch.steps, tf.float32)  # [T - 1]
    moved = tf.reduce_mean(tf.square(cell[1:] - cell[:-1]), axis=[1, 2])
    return tf.reduce_sum(taken * moved) / tf.maximum(tf.reduce_sum(taken), 1.0)


def relies_on_content(gate: tf.Tensor, batch: Sequences) -> tf.Tensor:
    """Whether the output of each sequence relies on content addressing, ``[B]``.

    It does if g > 0.5 for a head in the output phase, or at the step before it.

    Args:
        gate: g of the read heads, ``[T, B, R, 1]``.
        batch: what the network has seen.
    """
    before = tf.concat([batch.mask[1:], tf.zeros_like(batch.mask[:1])], axis=0)
    looking = tf.reduce_max(gate, axis=[2, 3]) * tf.maximum(batch.mask, before)  # [T, B]
    return tf.reduce_max(looking, axis=0) > 0.5


def _entropy(logits: tf.Tensor, batch: Sequences) -> tf.Tensor:
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(batch.target, logits)
    return entropy * batch.mask[:, :, tf.newaxis]
