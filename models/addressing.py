"""Addressing: where a head looks (section 3.3 of the paper), one function an equation.

Shapes: ``h`` stands for the heads (R+K), which are all addressed at once; see the legend in ``ntm.models``.
"""

import tensorflow as tf

# Added inside the root of a norm. It is large enough that an almost empty location is similar to no key.
NORM_EPSILON = 1e-2
# Added to the weights, since the logarithm has no finite gradient at 0.
_LOG_EPSILON = 1e-16


def cosine_similarity(key: tf.Tensor, memory: tf.Tensor) -> tf.Tensor:
    """Eq. (6): K[u, v] = u.v / (|u| |v|), between each head's key and each memory location.

    Here |v| is sqrt(v.v + 1e-2); the addend matters for almost empty locations.

    Args:
        key: ``[B, h, M]``.
        memory: ``[B, M, N]``.

    Returns:
        ``[B, h, N]``, in [-1, 1].
    """
    unit_key = tf.math.l2_normalize(key, axis=2)  # [B, h, M]
    memory_square = tf.reduce_sum(tf.square(memory), axis=1, keepdims=True)  # [B, 1, N]
    return tf.matmul(unit_key, memory) / tf.sqrt(memory_square + NORM_EPSILON)  # [B, h, N]


def content_weighting(similarity: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    """Eq. (5): w_c = softmax(beta K), the focus by content.

    Args:
        similarity: K, ``[B, h, N]``.
        strength: the key strength beta > 0, ``[B, h, 1]``.

    Returns:
        ``[B, h, N]``, of sum 1 over N.
    """
    return tf.nn.softmax(strength * similarity)


def interpolate(gate: tf.Tensor, content: tf.Tensor, previous: tf.Tensor) -> tf.Tensor:
    """Eq. (7): w_g = g w_c + (1 - g) w[t-1], between the focus by content and the previous weighting.

    Args:
        gate: the interpolation gate g in (0, 1), ``[B, h, 1]``.
        content: w_c, ``[B, h, N]``.
        previous: w[t-1], ``[B, h, N]``.

    Returns:
        ``[B, h, N]``.
    """
    return previous + gate * (content - previous)


def circular_shift(weights: tf.Tensor, shift_weighting: tf.Tensor) -> tf.Tensor:
    """Eq. (8): w~(i) = sum_j w_g(j) s(i - j), a circular convolution over the locations.

    Args:
        weights: w_g, ``[B, h, N]``; N at least the reach of the shifts, (S - 1) / 2.
        shift_weighting: s, ``[B, h, S]``; the middle element is the weight of no shift, the last that of the largest
            shift forward.

    Returns:
        ``[B, h, N]``.
    """
    shifts = shift_weighting.shape[2]
    reach = shifts // 2
    if reach == 0:
        return weights
    circle = tf.concat([weights[:, :, -reach:], weights, weights[:, :, :reach]], axis=2)  # [B, h, N + 2 reach]
    share = tf.split(shift_weighting, shifts, axis=2)  # S times [B, h, 1]
    # Location i of a view that starts at `start` holds w_g(i - shift): sliced from the ends, since N is not static.
    shifted = [
        (weights if start == reach else circle[:, :, start : start - 2 * reach or None]) * share[shifts - 1 - start]
        for start in range(shifts)
    ]
    return tf.add_n(shifted)


def sharpen(weights: tf.Tensor, sharpening: tf.Tensor) -> tf.Tensor:
    """Eq. (9): w = w~^gamma / sum(w~^gamma), as softmax(gamma log w~): stable, and no NaN at w~ = 0.

    Args:
        weights: w~, ``[B, h, N]``.
        sharpening: gamma >= 1, ``[B, h, 1]``.

    Returns:
        ``[B, h, N]``, of sum 1 over N.
    """
    return tf.nn.softmax(sharpening * tf.math.log(weights + _LOG_EPSILON))
