"""The copy task (section 4.1 of the paper): see a sequence of random words, then a delimiter, then say it again."""

from typing import Any, NamedTuple

import tensorflow as tf

_MOST_BITS = 31  # of a word, which is cut from one random integer; its sign is no bit of the word


class Batch(NamedTuple):
    """Sequences side by side, padded to T = 2 L + 1 steps for the longest length L there may be."""

    x: tf.Tensor  # [T, B, W+1], the words, then the delimiter in the last channel, then zeros
    target: tf.Tensor  # [T, B, W], the words again from the step after the delimiter on
    mask: tf.Tensor  # [T, B, 1], 1 where the output counts: the output phase
    steps: tf.Tensor  # [], how many of the T steps the longest of these sequences takes


def one_length(seed: tf.Tensor, batch_size: int, max_length: int) -> tf.Tensor:
    """The same length for all sequences, drawn uniformly from 1 to ``max_length``, ``[B]``: no step is padding."""
    return tf.repeat(mixed_lengths(seed, 1, max_length), batch_size)


def mixed_lengths(seed: tf.Tensor, batch_size: int, max_length: int) -> tf.Tensor:
    """A length for each sequence, drawn uniformly from 1 to ``max_length``, ``[B]``."""
    for_lengths, _ = _split(seed)
    return tf.random.stateless_uniform([batch_size], for_lengths, 1, max_length + 1, tf.int32, "philox")


def copy_batch(
    seed: tf.Tensor, lengths: tf.Tensor, max_length: int, word_bits: int, sparse: tf.Tensor | bool = False
) -> Batch:
    """Random sequences; a pure function of the seed.

    Args:
        seed: two integers, ``[2]``.
        lengths: how many words each sequence has, from 1 to ``max_length``, ``[B]``.
        max_length: L.
        word_bits: W, at most 31.
        sparse: which sequences, ``[B]``, have about half of their words replaced by zero. To the network a zero looks
            like the silence in which it is to answer, and random words hold two in a row once in thousands of
            sequences: too seldom to be learned from, and not in files.

    Raises:
        ValueError: W is larger.
    """
    if word_bits > _MOST_BITS:
        raise ValueError(f"word_bits must be at most {_MOST_BITS}, not {word_bits}")
    _, for_words = _split(seed)
    # Raw random bits, one integer a word: 8 times cheaper than a number a bit.
    words = tf.random.stateless_uniform([max_length, lengths.shape[0], 1], for_words, None, None, tf.int32, "philox")
    bits = tf.cast(tf.bitwise.right_shift(words, tf.range(word_bits)) & 1, tf.float32)  # [L, B, W]
    zero = tf.reshape(sparse, [-1, 1]) & (words < 0)  # [L, B, 1]; the sign is a random bit that no word uses
    bits = tf.where(zero, 0.0, bits)

    step = tf.range(2 * max_length + 1)[:, tf.newaxis]  # [T, 1]
    seen = tf.pad(bits, [[0, max_length + 1], [0, 0], [0, 0]]) * _where(step < lengths)
    position = step - lengths - 1  # [T, B], of the word to be said
    said = (position >= 0) & (position < lengths)
    index = tf.clip_by_value(position, 0, max_length - 1)
    target = tf.gather(tf.transpose(bits, [1, 0, 2]), tf.transpose(index), batch_dims=1)  # [B, T, W]
    return Batch(
        x=tf.concat([seen, _where(step == lengths)], axis=2),
        target=tf.transpose(target, [1, 0, 2]),
        mask=_where(said),
        steps=2 * tf.reduce_max(lengths) + 1,
    )


def _split(seed: tf.Tensor) -> Any:
    """A seed for the lengths and one for the words; none negative, since there XLA and the interpreter differ."""
    return tf.unstack(tf.bitwise.bitwise_and(tf.random.split(seed, 2, alg="philox"), tf.int32.max))


def _where(condition: tf.Tensor) -> tf.Tensor:
    """``[T, B]`` of truth as ``[T, B, 1]`` of 0 and 1."""
    return tf.cast(condition, tf.float32)[:, :, tf.newaxis]


def loss(logits: tf.Tensor, batch: Batch) -> tf.Tensor:
    """Cross-entropy in nats per bit, over the output phase only."""
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(batch.target, logits)
    return tf.reduce_sum(entropy * batch.mask) / (tf.reduce_sum(batch.mask) * logits.shape[2])


def blur(weights: tf.Tensor, batch: Batch) -> tf.Tensor:
    """How far weightings are from looking at one location: the mean of 1 - sum_i w(i)^2; 0 is sharp.

    Args:
        weights: ``[T, B, R+K, N]``, zero beyond the batch's steps.
        batch: what the network was looking at.
    """
    weightings = tf.cast(batch.steps * tf.reduce_prod(weights.shape[1:3]), tf.float32)
    return 1.0 - tf.reduce_sum(tf.square(weights)) / weightings


def searching(gate: tf.Tensor, batch: Batch) -> tf.Tensor:
    """How much heads go by content, the mean of g: a search among random words fails with some rare ones.

    Args:
        gate: g, ``[T, B, R+K, 1]``.
        batch: what the network was looking at.
    """
    taken = tf.cast(tf.range(gate.shape[0]) < batch.steps, tf.float32)  # [T]
    return tf.reduce_sum(taken * tf.reduce_mean(gate, axis=[1, 2, 3])) / tf.reduce_sum(taken)


def searches(gate: tf.Tensor, batch: Batch) -> tf.Tensor:
    """In how many sequences a head goes by content rather than by location, g > 0.5, from the delimiter on, ``[]``.

    Args:
        gate: g, ``[T, B, heads, 1]``, of the heads in question.
        batch: what the network was looking at.
    """
    looking = tf.reduce_max(gate, axis=[2, 3]) * (batch.mask[:, :, 0] + batch.x[:, :, -1])  # [T, B]
    return tf.math.count_nonzero(tf.reduce_max(looking, axis=0) > 0.5)


def writing(erase: tf.Tensor, add: tf.Tensor, batch: Batch) -> tf.Tensor:
    """How much is written where there is nothing to write, in the output phase: the mean of e and of a^2; 0 is nothing.

    A write head that wanders through the memory meanwhile destroys, with some rare words, what is yet to be said.

    Args:
        erase: e, ``[T, B, M, K]``.
        add: a, ``[T, B, M, K]``.
        batch: what the network was looking at.
    """
    written = tf.reduce_mean(erase + tf.square(add), axis=[2, 3])  # [T, B]
    return tf.reduce_sum(written * batch.mask[:, :, 0]) / tf.reduce_sum(batch.mask)


def wrong_bits(logits: tf.Tensor, batch: Batch) -> tf.Tensor:
    """How many output bits, thresholded at a probability of 0.5, are wrong in the output phase; over all sequences."""
    wrong = tf.cast((logits > 0.0) != (batch.target > 0.5), tf.float32)
    return tf.reduce_sum(wrong * batch.mask)
