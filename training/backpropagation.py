"""Backpropagation through time, written for what a step costs.

Automatic differentiation of a loop saves every intermediate result of every step and sums the gradient of every
matrix in every step. Here the loops save the state and the controller's activations; the way back recomputes the
memory's step from them, and leaves the errors of every layer behind, so that the gradient of each matrix is one
product over all steps and sequences after the loop. The result is the same gradient (tests/training compares them).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from ntm.models import NTMCell, State


class Unrolled(NamedTuple):
    """What the network did at each of T steps, B sequences side by side; it means nothing beyond their length."""

    logits: tf.Tensor  # [T, B, O]
    weights: tf.Tensor  # [T, B, R+K, N], the weightings of all heads; zero beyond the length
    strength: tf.Tensor  # [T, B, R+K, 1], beta
    gate: tf.Tensor  # [T, B, R+K, 1], g
    sharpening: tf.Tensor  # [T, B, R+K, 1], gamma
    erase: tf.Tensor  # [T, B, M, K], e
    add: tf.Tensor  # [T, B, M, K], a


def unroll(cell: NTMCell, x: tf.Tensor, length: tf.Tensor, memory_locations: int | None = None) -> Unrolled:
    """Run the cell over the first steps of a sequence; differentiable once by its variables.

    XLA compiles for one T; how many of the steps are taken need not be known before. What is not taken costs nothing.

    Args:
        cell: the network.
        x: ``[T, B, I]``, T and B static.
        length: how many steps to take, at most T, ``[]``.
        memory_locations: N, by default the configuration's.
    """
    steps, batch = x.shape[0], x.shape[1]
    state = cell.initial_state(batch, memory_locations)
    layers = [*cell.hidden, cell.heads]
    matrices = [layer.kernel.read_value() for layer in layers]
    biases = [layer.bias.read_value() for layer in layers]
    hidden, parameters, weights, reads = _recurrence(cell, x, length)(*state, *matrices, *biases)
    reads = tf.reshape(reads, [steps * batch, *reads.shape[2:]])
    logits = cell.output(cell.output_input(_rows(hidden), reads))
    heads = cell.in_range(_rows(parameters))
    of_heads = heads.strength, heads.gate, heads.sharpening, heads.erase, heads.add
    return Unrolled(_steps(logits, steps), weights, *(_steps(rows, steps) for rows in of_heads))


def _recurrence(cell: NTMCell, x: tf.Tensor, length: tf.Tensor) -> Callable[..., tuple[tf.Tensor, ...]]:
    """The part of the network that is a loop: a function of the initial state, the matrices and the biases.

    It returns the last hidden layer ``[T, B, H]``, what the layer of the heads made of it, the weightings
    ``[T, B, R+K, N]`` and the read vectors ``[T, B, R, M]`` of all steps, zero where none was taken, and knows its
    gradient.
    """
    steps, batch, inputs = x.shape
    units = [*cell.config.controller_sizes, cell.heads.bias.shape[0]]

    def stack(size: int, shape: list[int]) -> tf.TensorArray:
        return tf.TensorArray(tf.float32, size, element_shape=shape)

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def recurrence(memory: tf.Tensor, weights: tf.Tensor, reads: tf.Tensor, *variables: tf.Tensor):  # type: ignore[no-untyped-def]
        matrices, biases = variables[: len(units)], variables[len(units) :]

        def forward(t: tf.Tensor, state: State, states: State, layers: tf.TensorArray) -> tuple[Any, ...]:
            activations = []
            activation = cell.controller_input(x[t], state.reads)
            for matrix, bias in zip(matrices[:-1], biases[:-1], strict=True):
                activation = tf.tanh(tf.matmul(activation, matrix) + bias)
                activations.append(activation)
            parameters = tf.matmul(activation, matrices[-1]) + biases[-1]
            state = cell.memory_step(cell.in_range(parameters), state.memory, state.weights)
            states = State(*(array.write(t + 1, tensor) for array, tensor in zip(states, state, strict=True)))
            return t + 1, state, states, layers.write(t, tf.concat([*activations, parameters], axis=1))

        initial = State(memory, weights, reads)
        states = State(*(stack(steps + 1, tensor.shape).write(0, tensor) for tensor in initial))
        _, _, states, layers = tf.while_loop(
            lambda t, *_: t < length,
            forward,
            (0, initial, states, stack(steps, [batch, sum(units)])),
            maximum_iterations=steps,
        )
        saved = State(*(array.stack() for array in states))  # of each, [t] is before step t, [t + 1] after it
        saved_layers = layers.stack()

        def gradient(
            hidden_error: tf.Tensor, parameters_error: tf.Tensor, weights_error: tf.Tensor, reads_error: tf.Tensor
        ) -> tuple[tf.Tensor, ...]:
            """From the errors of the results to those of all arguments."""

            def backward(t: tf.Tensor, error: State, saved_deltas: tf.TensorArray) -> tuple[Any, ...]:
                *layers, parameters = tf.split(saved_layers[t], units, axis=1)
                before = parameters, saved.memory[t], saved.weights[t]
                with tf.GradientTape() as tape:
                    tape.watch(before)
                    after = cell.memory_step(cell.in_range(parameters), *before[1:])
                error = State(error.memory, error.weights + weights_error[t], error.reads + reads_error[t])
                delta, memory_error, previous_weights_error = tape.gradient(after, before, output_gradients=error)
                delta += parameters_error[t]
                deltas = [delta]
                delta = tf.matmul(delta, matrices[-1], transpose_b=True) + hidden_error[t]
                for i in reversed(range(len(layers))):
                    delta *= 1.0 - tf.square(layers[i])  # of tanh
                    deltas.insert(0, delta)
                    delta = tf.matmul(delta, matrices[i], transpose_b=True)
                error = State(memory_error, previous_weights_error, tf.reshape(delta[:, inputs:], reads.shape))
                return t - 1, error, saved_deltas.write(t, tf.concat(deltas, axis=1))

            nothing = State(*(tf.zeros_like(tensor) for tensor in initial))
            _, error, saved_deltas = tf.while_loop(
                lambda t, *_: t >= 0,
                backward,
                (length - 1, nothing, stack(steps, [batch, sum(units)])),
                maximum_iterations=steps,
            )
            deltas = tf.split(_rows(saved_deltas.stack()), units, axis=1)
            *layers, _ = tf.split(_rows(saved_layers), units, axis=1)
            seen = tf.concat([_rows(x), tf.reshape(saved.reads[:-1], [steps * batch, -1])], axis=1)
            by_matrix = [tf.matmul(a, d, transpose_a=True) for a, d in zip([seen, *layers], deltas, strict=True)]
            by_bias = [tf.reduce_sum(delta, axis=0) for delta in deltas]
            return (*error, *by_matrix, *by_bias)

        hidden, parameters = tf.split(saved_layers, units, axis=2)[-2:]
        return (hidden, parameters, saved.weights[1:], saved.reads[1:]), gradient

    return recurrence  # type: ignore[no-any-return]


def _steps(rows: tf.Tensor, steps: int) -> tf.Tensor:
    """``[T * B, ...]`` as ``[T, B, ...]``."""
    return tf.reshape(rows, [steps, -1, *rows.shape[1:]])


def _rows(tensor: tf.Tensor) -> tf.Tensor:
    """``[T, B, size]`` as ``[T * B, size]``."""
    return tf.reshape(tensor, [-1, tensor.shape[2]])
