"""Backpropagation through time with little work per step.

Automatic differentiation of a loop saves every intermediate result of every step and sums the gradient of every
matrix in every step. Here the forward pass saves the state, and the output of every layer before its activation. The
backward pass recomputes the rest of a step from them, and saves the error of every layer. After the loop, the gradient
of each matrix is one product over all steps and sequences. The result is the same gradient (tests/training compares
them), for every network of ``ntm.models``.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from ntm.models import Network, State


class Unrolled(NamedTuple):
    """The results of each of T steps for B sequences side by side; steps beyond the length have no meaning."""

    logits: tf.Tensor  # [T, B, O]
    state: State  # [T, B, ...], the visible tensors of the state after each step; zero beyond the length
    heads: Any  # Heads, each [T, B, ...]; None where there are no heads


def unroll(network: Network, x: tf.Tensor, length: tf.Tensor, memory_locations: int | None = None) -> Unrolled:
    """Run the network over the first steps of a sequence; differentiable once by its variables.

    XLA compiles for one T, and any length up to T. Steps beyond the length cost nothing.

    Args:
        network: the network.
        x: ``[T, B, I]``, T and B static.
        length: the number of steps, at most T, ``[]``.
        memory_locations: N, by default the configuration's.
    """
    steps, batch = x.shape[0], x.shape[1]
    initial = network.initial_state(batch, memory_locations)
    matrices = [layer.kernel.read_value() for layer in network.layers]
    biases = [layer.bias.read_value() for layer in network.layers]
    layers, *visible = _recurrence(network, x, length, list(initial))(*initial.values(), *matrices, *biases)
    rows = [_rows(layer) for layer in _layers(network, layers)]
    state = dict(zip(network.visible, visible, strict=True))
    rows_of_state = {name: tf.reshape(value, [steps * batch, *value.shape[2:]]) for name, value in state.items()}
    logits = network.output(network.output_input(rows, rows_of_state))
    heads = network.heads_of(rows)
    if heads is not None:
        heads = heads._make(_steps(parameter, steps) for parameter in heads)
    return Unrolled(_steps(logits, steps), state, heads)


def _recurrence(
    network: Network, x: tf.Tensor, length: tf.Tensor, names: Sequence[str]
) -> Callable[..., list[tf.Tensor]]:
    """The part of the network that is a loop: a function of the initial state, the matrices and the biases.

    The function returns the outputs of all layers before their activation, ``[T, B, ...]`` side by side, and the
    visible part of the states after all steps, which is zero beyond the length. It has its own gradient. It takes the
    initial state in the order of ``names``.
    """
    steps, batch, _ = x.shape
    units = [layer.bias.shape[0] for layer in network.layers]

    def stack(size: int, shape: Sequence[int]) -> tf.TensorArray:
        return tf.TensorArray(tf.float32, size, element_shape=shape)

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def recurrence(*arguments: tf.Tensor):  # type: ignore[no-untyped-def]
        initial: State = dict(zip(names, arguments[: len(names)], strict=True))
        matrices, biases = arguments[len(names) : -len(units)], arguments[-len(units) :]

        def forward(t: tf.Tensor, state: State, states: Any, saved: tf.TensorArray) -> tuple[Any, ...]:
            layers, state, _ = network.step(x[t], state, lambda i, seen: tf.matmul(seen, matrices[i]) + biases[i])
            states = {name: array.write(t + 1, state[name]) for name, array in states.items()}
            return t + 1, state, states, saved.write(t, tf.concat(layers, axis=1))

        arrays = {name: stack(steps + 1, tensor.shape).write(0, tensor) for name, tensor in initial.items()}
        _, _, arrays, array = tf.while_loop(
            lambda t, *_: t < length,
            forward,
            (0, initial, arrays, stack(steps, [batch, sum(units)])),
            maximum_iterations=steps,
        )
        states = {name: array.stack() for name, array in arrays.items()}  # [t] is before step t, [t + 1] after it
        saved = array.stack()

        def gradient(saved_error: tf.Tensor, *visible_errors: tf.Tensor) -> tuple[tf.Tensor, ...]:
            """The errors of all arguments, from the errors of the results."""
            errors_of = dict(zip(network.visible, visible_errors, strict=True))

            def backward(t: tf.Tensor, error: State, deltas: tf.TensorArray) -> tuple[Any, ...]:
                before = {name: tensor[t] for name, tensor in states.items()}
                known = tf.split(saved[t], units, axis=1)
                probes = [tf.zeros_like(layer) for layer in known]
                with tf.GradientTape() as tape:
                    tape.watch([before, probes])
                    layers, after, _ = network.step(x[t], before, _recalled(known, probes, matrices))
                error = {name: error[name] + errors_of[name][t] if name in errors_of else error[name] for name in names}
                targets = [*layers, *(after[name] for name in names)]
                given = [*tf.split(saved_error[t], units, axis=1), *(error[name] for name in names)]
                error, of_layers = tape.gradient(
                    targets, [before, probes], given, unconnected_gradients=tf.UnconnectedGradients.ZERO
                )
                return t - 1, error, deltas.write(t, tf.concat(of_layers, axis=1))

            nothing = {name: tf.zeros_like(tensor) for name, tensor in initial.items()}
            _, error, array = tf.while_loop(
                lambda t, *_: t >= 0,
                backward,
                (length - 1, nothing, stack(steps, [batch, sum(units)])),
                maximum_iterations=steps,
            )
            deltas = tf.split(_rows(array.stack()), units, axis=1)
            seen = _seen(network, x, {name: tensor[:-1] for name, tensor in states.items()}, saved)
            by_matrix = [tf.matmul(a, d, transpose_a=True) for a, d in zip(seen, deltas, strict=True)]
            by_bias = [tf.reduce_sum(delta, axis=0) for delta in deltas]
            return (*(error[name] for name in names), *by_matrix, *by_bias)

        return (saved, *(states[name][1:] for name in network.visible)), gradient

    return recurrence  # type: ignore[no-any-return]


def _recalled(
    known: Sequence[tf.Tensor], probes: Sequence[tf.Tensor], matrices: Sequence[tf.Tensor]
) -> Callable[[int, tf.Tensor], tf.Tensor]:
    """The layers in the backward pass, whose outputs are known. The gradient by a probe is the error of its layer."""

    def apply(i: int, seen: tf.Tensor) -> tf.Tensor:
        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def layer(seen: tf.Tensor, probe: tf.Tensor):  # type: ignore[no-untyped-def]  # noqa: ARG001
            return tf.identity(known[i]), lambda delta: (tf.matmul(delta, matrices[i], transpose_b=True), delta)

        return layer(seen, probes[i])

    return apply


def _seen(network: Network, x: tf.Tensor, before: State, saved: tf.Tensor) -> list[tf.Tensor]:
    """The input of every layer at all steps, ``[T * B, ...]``.

    Args:
        network: the network.
        x: ``[T, B, I]``.
        before: the states before all steps, ``[T, B, ...]``.
        saved: the outputs of all layers side by side, ``[T, B, ...]``.
    """
    known = [_rows(layer) for layer in _layers(network, saved)]
    seen: list[tf.Tensor] = []

    def apply(i: int, seen_by_layer: tf.Tensor) -> tf.Tensor:
        seen.append(seen_by_layer)
        return known[i]

    rows = {name: tf.reshape(tensor, [-1, *tensor.shape[2:]]) for name, tensor in before.items()}
    network.control(_rows(x), rows, apply)
    return seen


def _layers(network: Network, together: tf.Tensor) -> list[tf.Tensor]:
    """The output of each layer, ``[T, B, units]``, from the outputs of all layers side by side."""
    return tf.split(together, [layer.bias.shape[0] for layer in network.layers], axis=2)  # type: ignore[no-any-return]


def _steps(rows: tf.Tensor, steps: int) -> tf.Tensor:
    """``[T * B, ...]`` as ``[T, B, ...]``."""
    return tf.reshape(rows, [steps, -1, *rows.shape[1:]])


def _rows(tensor: tf.Tensor) -> tf.Tensor:
    """``[T, B, size]`` as ``[T * B, size]``."""
    return tf.reshape(tensor, [-1, tensor.shape[2]])
