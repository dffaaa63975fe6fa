"""The networks as cells of ``keras.layers.RNN``: Keras trains, saves and loads them; ``ntm.export`` exports them.

``keras.layers.RNN(ntm.keras.NTMCell(output_size), return_sequences=True)`` is a layer like ``keras.layers.LSTM``. It
needs the extra ``train``, whose TensorFlow brings Keras 3.
"""

# ruff: noqa: E402  (the check for missing packages precedes their import)

from ntm.api import check_task
from ntm.errors import Error, RunError, require

require("train", "tensorflow", "keras")

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from ntm.models import NETWORKS, LSTMConfig, Network, NTMConfig, make_network
from ntm.tasks import Task, find
from ntm.tasks.task import check_fits
from ntm.training.config import TrainingConfig, as_ends
from ntm.training.run import RunConfig, TrainedRun

__all__ = ["LSTMNetworkCell", "NTMCell", "trained"]

if keras.backend.backend() != "tensorflow":
    raise Error(f"ntm.keras needs Keras on TensorFlow, not on {keras.backend.backend()}: set KERAS_BACKEND=tensorflow")

_FLOAT32 = "float32"
_INFERRED = ("input_size", "output_size")  # no options: Keras infers the first, the second has its own argument


class _NetworkCell(keras.layers.Layer):
    """A network of ``ntm.models`` as a cell of ``keras.layers.RNN``.

    The weights are Keras's, and the layers of the network compute with them. A state is a list of tensors
    ``[B, size]``, one for each tensor of the network's state, in the order of ``config.state_shapes``: Keras takes no
    state with more axes.
    """

    model: str  # the name of the network in ``NETWORKS``
    biases: tuple[str, ...] = ()  # options that only the initial weights depend on

    def __init__(self, output_size: int, *, seed: int = 0, **options: Any) -> None:
        make_config, _ = NETWORKS[self.model]
        fields = {field.name for field in dataclasses.fields(make_config)} - set(_INFERRED)
        sizes = {name: options.pop(name) for name in sorted(fields & set(options))}
        biases = {name: options.pop(name) for name in self.biases if name in options}
        super().__init__(**{"dtype": _FLOAT32} | options)
        if self.compute_dtype != _FLOAT32:
            raise ValueError(f"{type(self).__name__} computes in float32, not in {self.compute_dtype}")
        self.output_size, self.seed = output_size, seed
        self._sizes, self._biases = sizes, biases
        config = self._config(input_size=1)
        self._shapes = {
            name: tuple(config.memory_locations if size == "N" else int(size) for size in shape[1:])
            for name, shape in config.state_shapes.items()
        }
        self.state_size = [math.prod(shape) for shape in self._shapes.values()]
        self.network: Network | None = None

    def _config(self, input_size: int) -> Any:
        make_config, _ = NETWORKS[self.model]
        return make_config(input_size=input_size, output_size=self.output_size, **self._sizes)

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Make the network for the inputs ``[B, I]``, and its weights.

        Raises:
            ValueError: I is unknown.
        """
        if input_shape[-1] is None:
            raise ValueError(f"{type(self).__name__} needs inputs whose last axis has a fixed size, not {input_shape}")
        with tf.init_scope():  # Keras may build while it traces a function
            network = make_network(self._config(input_shape[-1]), self.seed, **self._biases)
            initial = {place: place.variable.numpy() for place in _places(network)}
        for place, values in initial.items():
            setattr(place.module, place.attribute, self._weight(place, values))
        self.network = network
        self.built = True

    def _weight(self, place: "_Place", initial: npt.NDArray[np.float32]) -> keras.Variable:
        """The weight of this layer that replaces a variable of the network."""
        return self.add_weight(
            name=place.name,
            shape=initial.shape,
            initializer=lambda *_, **__: tf.constant(initial),
            trainable=place.variable.trainable,
        )

    def call(self, inputs: tf.Tensor, states: Sequence[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """One time step.

        Args:
            inputs: x, ``[B, I]``.
            states: the state after the step before, each ``[B, size]``. Zeros are the initial state, since Keras resets
                a stateful layer to zeros.

        Returns:
            y, ``[B, O]``: the logits of the output; and the states after this step.
        """
        assert self.network is not None  # noqa: S101  (Keras builds before it calls)
        names = list(self._shapes)
        if "weights" in names:  # a weighting has the sum 1, so zeros mean the initial state
            begun = tf.reduce_any(states[names.index("weights")] != 0.0, axis=1, keepdims=True)  # [B, 1]
            states = [tf.where(begun, *both) for both in zip(states, self.get_initial_state(1), strict=True)]
        y, state = self.network(tf.cast(inputs, tf.float32), self.unflatten(states))
        return y, self._flat(state)

    def get_initial_state(self, batch_size: int | tf.Tensor | None = None) -> list[tf.Tensor]:
        """The states before the first step, each ``[B, size]``."""
        assert self.network is not None  # noqa: S101
        return self._flat(self.network.initial_state(batch_size))

    def _flat(self, state: dict[str, tf.Tensor]) -> list[tf.Tensor]:
        return [tf.reshape(state[name], [-1, size]) for name, size in zip(self._shapes, self.state_size, strict=True)]

    def unflatten(self, states: Sequence[Any]) -> dict[str, Any]:
        """The states that a layer with ``return_state`` returns, by name and with their axes.

        Args:
            states: each ``[B, size]``.

        Returns:
            The state of the network, e.g. ``memory``, ``[B, M, N]``.
        """
        return {
            name: tf.reshape(flat, [-1, *shape])
            for (name, shape), flat in zip(self._shapes.items(), states, strict=True)
        }

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again, of JSON types."""
        sizes = {name: list(value) if isinstance(value, tuple) else value for name, value in self._sizes.items()}
        own = {"output_size": self.output_size, "seed": self.seed, **sizes, **self._biases}
        return {**super().get_config(), **own}


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where a network holds a variable."""

    module: tf.Module
    attribute: str

    @property
    def variable(self) -> Any:
        """The variable of TensorFlow, or the weight of Keras that has replaced it."""
        return getattr(self.module, self.attribute)

    @property
    def name(self) -> str:
        """The name of the variable in Keras, which allows no slash."""
        return f"{self.module.name}_{self.attribute}"


def _places(network: Network) -> list[_Place]:
    """The places of all variables of a network that ``make_network`` has made."""
    return [
        _Place(module, attribute)
        for module in (network, *network.submodules)
        for attribute, value in vars(module).items()
        if isinstance(value, tf.Variable)
    ]


@keras.saving.register_keras_serializable("ntm")
class NTMCell(_NetworkCell):
    """The Neural Turing Machine as a cell of ``keras.layers.RNN``.

    A step takes ``[B, I]`` and outputs logits ``[B, O]``: train them with ``BinaryCrossentropy(from_logits=True)``. The
    network is ``ntm.models.NTMCell``, in float32.

    Args:
        output_size: O.
        seed: the seed of the initial weights; equal seeds make equal weights.
        **options: the other fields of ``ntm.models.NTMConfig`` but ``input_size``, e.g. ``memory_locations=64``,
            ``controller="lstm"`` or ``read_heads=2``; initial biases that ``ntm.models.NTMCell`` takes, e.g.
            ``gate_bias=-2.0``; and what every ``keras.layers.Layer`` takes, e.g. ``name``.

    Raises:
        ValueError: an option is unknown, or cannot be used.
    """

    model = NTMConfig.model
    biases = ("gate_bias", "shift_bias", "strength_bias", "key_bias")


@keras.saving.register_keras_serializable("ntm")
class LSTMNetworkCell(_NetworkCell):
    """The paper's baseline, LSTM layers without a memory, as a cell of ``keras.layers.RNN``.

    Args:
        output_size: O.
        seed: the seed of the initial weights; equal seeds make equal weights.
        **options: ``layer_sizes`` of ``ntm.models.LSTMConfig``, and what every ``keras.layers.Layer`` takes.

    Raises:
        ValueError: an option is unknown, or cannot be used.
    """

    model = LSTMConfig.model


def trained(layer: keras.layers.Layer, task: Task | str) -> TrainedRun:
    """The network inside a Keras model as ``ntm.export`` takes it, with the weights of this moment.

    Args:
        layer: a cell of this module, a ``keras.layers.RNN`` of one, or a model with such a layer and no other weights.
        task: the task of the training: a ``ntm.tasks.Task``, or the text that ``ntm.tasks.find`` takes.

    Returns:
        A copy of the network. Its convergence is not checked; ``ntm.evaluate`` counts its wrong bits.

    Raises:
        RunError: there is not one such network in ``layer``, or there are other weights, which would be lost.
        TaskError: there is no such task, or it has other sizes than the network.
        TypeError: ``task`` is neither a task nor a text.
    """
    check_task(task)
    cell = _cell_of(layer)
    learned = find(task) if isinstance(task, str) else task
    network = make_network(cell.network.config)
    check_fits(learned, "the network", network.config.input_size, network.config.output_size)
    weights = {weight.name: weight.numpy() for weight in cell.weights}
    checksum = hashlib.sha256()
    for place in _places(network):
        place.variable.assign(weights[place.name])
        checksum.update(weights[place.name].tobytes())
    config = RunConfig(
        learned.name, learned.options, network.config, TrainingConfig(sizes=as_ends(learned.training_sizes))
    )
    return TrainedRun(network, config, {"trained_by": f"Keras {keras.__version__}"}, checksum.hexdigest())


def _cell_of(layer: keras.layers.Layer) -> Any:
    """The one cell of this module in a layer.

    Raises:
        RunError: there is no cell, or more than one, or another layer has weights.
    """
    layers = layer._flatten_layers() if isinstance(layer, keras.layers.Layer) else []
    cells = [inner for inner in layers if isinstance(inner, _NetworkCell)]
    if len(cells) != 1:
        raise RunError(f"an export is of one network: there are {len(cells)} cells of ntm.keras in {layer!r}")
    (cell,) = cells
    if not cell.built:
        raise RunError(f"{cell.name} has no weights yet: call the layer, or train it")
    other = {id(weight) for weight in layer.weights} - {id(weight) for weight in cell.weights}
    if other:
        raise RunError(
            f"an export is of {cell.name} alone, and {layer.name} has other weights: give the layer of the cell"
        )
    return cell
