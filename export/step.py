"""One time step as a function of named tensors. Every format is made from it and compared with it."""

import inspect
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ntm.models import Network, NetworkConfig, NTMConfig, Shape
from ntm.runtime.metadata import (
    ADDS,
    LOCATIONS,
    UNIFORM,
    StateTensor,
    X,
    Y,
    input_shapes,
    next_name,
    output_shapes,
    sized,
)


class Sizes(NamedTuple):
    """The sizes of a step of fixed sizes.

    Attributes:
        batch: B.
        locations: N; None for a network without a memory.
    """

    batch: int
    locations: int | None = None

    def __str__(self) -> str:
        return "x".join(str(size) for size in self if size is not None)


def inputs(config: NetworkConfig, sizes: Sizes | None = None) -> dict[str, Shape]:
    """The shape of every input by name; ``"B"`` and ``"N"`` stand for open sizes."""
    return _fixed(input_shapes(config.input_size, config.state_shapes), sizes)


def outputs(config: NetworkConfig, sizes: Sizes | None = None) -> dict[str, Shape]:
    """The shape of every output by name; ``"B"`` and ``"N"`` stand for open sizes."""
    adds = (config.write_heads, config.memory_vector_size) if isinstance(config, NTMConfig) else None
    return _fixed(output_shapes(config.output_size, config.state_shapes, adds), sizes)


def _fixed(shapes: dict[str, Shape], sizes: Sizes | None) -> dict[str, Shape]:
    if sizes is None:
        return shapes
    return {name: sized(shape, sizes.batch, sizes.locations or 1) for name, shape in shapes.items()}


def step_function(network: Network, sizes: Sizes | None = None) -> Any:
    """The network as a ``tf.function`` of the ``inputs`` that returns a dictionary of the ``outputs``.

    y holds probabilities: the sigmoid of the network's logits. Without ``sizes``, B and N are open.
    """
    names = list(inputs(network.config))

    def step(*tensors: tf.Tensor, **by_name: tf.Tensor) -> dict[str, tf.Tensor]:
        state = dict(zip(names, tensors, strict=False)) | by_name
        x = state.pop(X)
        logits, next_state, heads = network.step_with_heads(x, state)
        adds = {} if heads is None else {ADDS: tf.transpose(heads.add, [0, 2, 1])}  # [B, K, M]
        return {Y: tf.sigmoid(logits), **{next_name(name): next_state[name] for name in state}, **adds}

    # tf.function needs the names of the arguments.
    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    step.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return tf.function(step, input_signature=input_signature(network.config, sizes), autograph=False)


def input_signature(config: NetworkConfig, sizes: Sizes | None = None) -> list[tf.TensorSpec]:
    """The specifications of the ``inputs``."""
    return [
        tf.TensorSpec([size if isinstance(size, int) else None for size in shape], tf.float32, name)
        for name, shape in inputs(config, sizes).items()
    ]


def initial_state(network: Network) -> dict[str, StateTensor]:
    """The state of one sequence before the first step, for any N, by name.

    A tensor with locations has its own numbers for the first locations, up to the last location that differs from all
    further ones.
    """
    n = max(network.config.memory_locations, network.config.least_locations)
    # The second half of twice as many locations shows the values beyond N.
    few, many = (network.initial_state(1, locations) for locations in (n, 2 * n))
    return {
        name: _tensor(shape[1:], few[name][0].numpy(), many[name][0].numpy())
        for name, shape in network.config.state_shapes.items()
    }


def _tensor(shape: Shape, few: np.ndarray, many: np.ndarray) -> StateTensor:
    if shape[-1] != LOCATIONS:
        return StateTensor(shape, _numbers(few))
    if not np.array_equal(few, many[:, : few.shape[1]]):  # it depends on N
        return StateTensor(shape, _numbers(few[:, :0]), UNIFORM)
    beyond = many[:, -1:]
    first = np.flatnonzero((many != beyond).any(axis=0)).max(initial=-1) + 1
    return StateTensor(shape, _numbers(many[:, :first]), tuple(beyond[:, 0].tolist()))


def _numbers(array: np.ndarray) -> Any:
    """An array as nested tuples."""
    return tuple(map(tuple, array.tolist())) if array.ndim > 1 else tuple(array.tolist())
