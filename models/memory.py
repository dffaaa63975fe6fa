"""Reading and writing the memory (sections 3.1 and 3.2 of the paper), one function an equation."""

import tensorflow as tf


def read(memory: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Eq. (2): r = sum_i w(i) M(i).

    Args:
        memory: ``[B, M, N]``.
        weights: the read heads' weightings, ``[B, R, N]``.

    Returns:
        The read vectors, ``[B, R, M]``.
    """
    return tf.matmul(weights, memory, transpose_b=True)


def erase(memory: tf.Tensor, weights: tf.Tensor, erase_vector: tf.Tensor) -> tf.Tensor:
    """Eq. (3): M~(i) = M[t-1](i) (1 - w(i) e), for one write head; erasures of several heads commute.

    Args:
        memory: ``[B, M, N]``.
        weights: ``[B, 1, N]``.
        erase_vector: e in (0, 1), ``[B, M, 1]``.

    Returns:
        ``[B, M, N]``.
    """
    return memory * (1.0 - tf.matmul(erase_vector, weights))


def add(memory: tf.Tensor, weights: tf.Tensor, add_vectors: tf.Tensor) -> tf.Tensor:
    """Eq. (4): M(i) = M~(i) + sum_k w_k(i) a_k, for all write heads.

    Args:
        memory: ``[B, M, N]``.
        weights: the write heads' weightings, ``[B, K, N]``.
        add_vectors: a, ``[B, M, K]``.

    Returns:
        ``[B, M, N]``.
    """
    return memory + tf.matmul(add_vectors, weights)
