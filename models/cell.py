"""One time step of the Neural Turing Machine."""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ntm.models import addressing
from ntm.models.config import CONSTANT, CONTROLLERS, LEARNED, UNIFORM, NTMConfig
from ntm.models.controller import Apply, Controller
from ntm.models.dense import Dense
from ntm.models.memory import add, erase, read
from ntm.models.network import Network, State

# A small constant, not zero: all locations start equal, and no norm is zero (Collier & Beel 2018, arXiv:1807.08518).
INITIAL_MEMORY = 1e-6
# The standard deviations of a random initial memory, and of a learned initial memory before training.
_RANDOM_MEMORY, _UNLEARNED_MEMORY = 0.5, 1.0
# The logit of g where content addressing is turned off: g is less than 1e-43.
_NO_CONTENT = -100.0
# Learned initial weightings begin near the first location: a uniform weighting would have no gradient.
_W_BIAS = 5.0


class Heads(NamedTuple):
    """The parameters of the heads at one step, each in its range."""

    key: tf.Tensor  # [B, R+K, M]
    strength: tf.Tensor  # [B, R+K, 1], beta > 0
    gate: tf.Tensor  # [B, R+K, 1], g in (0, 1)
    shift_weighting: tf.Tensor  # [B, R+K, S], s >= 0, of sum 1
    sharpening: tf.Tensor  # [B, R+K, 1], gamma >= 1
    erase: tf.Tensor  # [B, M, K], e in (0, 1)
    add: tf.Tensor  # [B, M, K]


class NTMCell(Network):
    """The Neural Turing Machine.

    At a step t the controller sees the input x[t] and the read vectors r[t-1]. All heads are addressed
    at once from M[t-1] (Eq. 5-9), then the write heads write (Eq. 3-4), then the read heads read the
    memory M[t] just written (Eq. 2), and the output follows from the controller and the reads.

    The state is the ``memory`` M[t], ``[B, M, N]``; the ``weights`` w[t], ``[B, R+K, N]``, those of the read heads
    first; the ``reads`` r[t], ``[B, R, M]``; and the state of the controller.

    Args:
        config: the sizes.
        seed: the seed of the initial variables; equal seeds make equal variables.
        gate_bias: the initial bias of the logit of g. Below 0, heads begin with location addressing.
        shift_bias: the initial bias of the logit of the shift forward by one, if S is 3; for more shifts so much larger
            that its share is the same. Without it the weightings spread over all of the memory in a few steps, and the
            gradient vanishes.
        strength_bias: the initial bias of beta before its softplus. Above 0, heads tell locations apart sooner.
        key_bias: the standard deviation of the initial biases of the keys. At 0, an input of zeros makes a key of
            zeros, whose direction has no finite gradient.
    """

    config: NTMConfig

    def __init__(
        self,
        config: NTMConfig,
        seed: int = 0,
        *,
        gate_bias: float = 0.0,
        shift_bias: float = 1.0,
        strength_bias: float = 0.0,
        key_bias: float = 0.0,
    ) -> None:
        super().__init__(name="ntm")
        self.config = config
        self._controller = CONTROLLERS[config.controller](config.controller_sizes)
        *_, heads_shape, output_shape = config.matrix_shapes
        m = config.memory_vector_size
        random = tf.random.Generator.from_seed(seed, alg="philox")
        hidden = self._controller.make_layers(config.input_size + config.read_heads * m, random)
        heads = Dense("heads", *heads_shape, random)
        columns = config.head_columns
        bias = np.zeros(heads_shape[1], np.float32)
        bias[columns["strength"]], bias[columns["gate"]] = strength_bias, gate_bias
        others, forward = config.shifts - 1, config.shifts // 2 + 1  # the place of +1 among the shifts
        if others:
            bias[columns["shift"][:, forward]] = shift_bias + math.log(others / 2)
        if key_bias:
            keys = columns["key"].flatten()
            bias[keys] = random.normal(keys.shape, 0.0, key_bias)
        heads.bias.assign(bias)
        self.layers = [*hidden, heads]
        self.output = Dense("output", *output_shape, random)
        self.initial_memory = self.initial_weights = self.initial_reads = None
        if config.initial_memory != CONSTANT:
            learned = config.initial_memory == LEARNED
            values = random.normal([m, config.memory_locations], 0.0, _UNLEARNED_MEMORY if learned else _RANDOM_MEMORY)
            self.initial_memory = tf.Variable(values, trainable=learned, name="initial_memory")
        if config.initial_weights == LEARNED:
            logits = _W_BIAS * tf.one_hot([0] * config.heads, config.memory_locations)
            self.initial_weights = tf.Variable(logits, name="initial_weights")
        if config.initial_reads == LEARNED:
            self.initial_reads = tf.Variable(tf.zeros([config.read_heads, m]), name="initial_reads")

    @property
    def heads(self) -> Dense:
        """The layer that outputs the parameters of the heads."""
        return self.layers[-1]

    @property
    def controller(self) -> Controller:
        """The controller, whose layers are those before the heads'."""
        return self._controller

    @property
    def visible(self) -> tuple[str, ...]:
        """The weightings, the read vectors, and the visible part of the controller's state."""
        return ("weights", "reads", *self._controller.visible)

    def initial_state(self, batch_size: int | tf.Tensor, memory_locations: int | tf.Tensor | None = None) -> State:
        """The state before the first step.

        Args:
            batch_size: B.
            memory_locations: N, by default the configuration's; no fewer than ``config.least_locations``.
        """
        config = self.config
        n = config.memory_locations if memory_locations is None else memory_locations
        beyond = [[0, 0], [0, n - config.memory_locations]]
        if self.initial_memory is None:
            memory = tf.fill([config.memory_vector_size, n], INITIAL_MEMORY)
        else:
            memory = tf.pad(self.initial_memory, beyond, constant_values=INITIAL_MEMORY)
        if self.initial_weights is not None:
            weights = tf.pad(tf.nn.softmax(self.initial_weights), beyond)
        elif config.initial_weights == UNIFORM:
            weights = tf.fill([config.heads, n], 1.0 / tf.cast(n, tf.float32))
        else:
            weights = tf.one_hot([0] * config.heads, n)
        reads = tf.zeros([config.read_heads, config.memory_vector_size])
        of_one = {
            "memory": memory,
            "weights": weights,
            "reads": reads if self.initial_reads is None else self.initial_reads,
        }
        return {
            **{name: tf.tile(tensor[tf.newaxis], [batch_size, 1, 1]) for name, tensor in of_one.items()},
            **{name: tf.zeros([batch_size, size]) for name, size in self._controller.state_sizes.items()},
        }

    def control(self, x: tf.Tensor, state: State, apply: Apply) -> tuple[list[tf.Tensor], State]:
        """The outputs of the controller's layers and of the heads' layer; and the next state of the controller."""
        seen = tf.concat([x, self._flat(state["reads"])], axis=1)  # [B, I + R * M]
        layers, carried = self._controller.step(seen, state, apply)
        return [*layers, apply(len(layers), self._controller.output(layers, carried))], carried

    def advance(self, heads: Heads, state: State) -> State:
        """The step of the memory."""
        return self.memory_step(heads, state["memory"], state["weights"])

    def output_input(self, layers: list[tf.Tensor], state: State) -> tf.Tensor:
        """The output of the controller and the read vectors r[t], ``[B, H + R * M]``."""
        return tf.concat([self._controller.output(layers, state), self._flat(state["reads"])], axis=1)

    def heads_of(self, layers: list[tf.Tensor]) -> Heads:
        """The parameters of the heads, from what the heads' layer outputs."""
        return self.in_range(layers[-1])

    def turn_content_addressing_off(self) -> None:
        """Make g of Eq. (7) 0 for all heads at every step, so that they use location addressing alone."""
        for variable, value in ((self.heads.kernel, 0.0), (self.heads.bias, _NO_CONTENT)):
            values = variable.numpy().copy()
            values[..., self.config.head_columns["gate"]] = value
            variable.assign(values)

    @property
    def content_addressing(self) -> bool:
        """Whether a head may use content addressing. Once it is turned off, nothing depends on Eq. (5) and (6)."""
        gates = self.config.head_columns["gate"]
        kernel, bias = (variable.numpy()[..., gates] for variable in (self.heads.kernel, self.heads.bias))
        return bool(np.any(kernel)) or not bool(np.all(bias <= _NO_CONTENT))

    def memory_step(self, heads: Heads, memory: tf.Tensor, weights: tf.Tensor) -> State:
        """Address, write and read: the step of the memory.

        Args:
            heads: the parameters of the heads.
            memory: M[t-1], ``[B, M, N]``.
            weights: w[t-1], ``[B, R+K, N]``.

        Returns:
            The memory, the weightings and the read vectors after the step, by name.
        """
        config = self.config
        similarity = addressing.cosine_similarity(heads.key, memory)  # [B, R+K, N]
        content = addressing.content_weighting(similarity, heads.strength)  # [B, R+K, N]
        gated = addressing.interpolate(heads.gate, content, weights)  # [B, R+K, N]
        shifted = addressing.circular_shift(gated, heads.shift_weighting)  # [B, R+K, N]
        weights = addressing.sharpen(shifted, heads.sharpening)  # [B, R+K, N]
        read_weights, write_weights = tf.split(weights, [config.read_heads, config.write_heads], axis=1)

        erase_vectors = tf.split(heads.erase, config.write_heads, axis=2)
        for w, e in zip(tf.split(write_weights, config.write_heads, axis=1), erase_vectors, strict=True):
            memory = erase(memory, w, e)  # [B, M, N]
        memory = add(memory, write_weights, heads.add)  # [B, M, N]
        return {"memory": memory, "weights": weights, "reads": read(memory, read_weights)}

    def _flat(self, reads: tf.Tensor) -> tf.Tensor:
        """``[B, R, M]`` as ``[B, R * M]``."""
        return tf.reshape(reads, [-1, self.config.read_heads * self.config.memory_vector_size])

    def in_range(self, parameters: tf.Tensor) -> Heads:
        """The parameters of the heads, each in its range (section 3.3), from the heads' layer, ``[B, ...]``.

        The ranges of beta and gamma have no upper end, and g reaches 0 and 1, so that a head can jump, stay and shift
        without blur.
        """
        config = self.config
        sizes, n_write = list(config.addressing_sizes.values()), config.write_heads * config.memory_vector_size
        splits = [config.heads * sum(sizes), n_write, n_write]
        for_addressing, erase_vectors, add_vectors = tf.split(parameters, splits, axis=1)
        for_addressing = tf.reshape(for_addressing, [-1, config.heads, sum(sizes)])
        key, strength, gate, sharpening, shift = tf.split(for_addressing, sizes, axis=2)
        of_each_head = [-1, config.memory_vector_size, config.write_heads]
        return Heads(
            key=key,
            strength=tf.nn.softplus(strength),
            # The sigmoid of onnxruntime sometimes exceeds 1 by rounding, which would make (1 - g) w[t-1] negative.
            gate=tf.minimum(tf.sigmoid(gate), 1.0),
            shift_weighting=tf.nn.softmax(shift),
            sharpening=1.0 + tf.nn.softplus(sharpening),
            erase=tf.sigmoid(tf.reshape(erase_vectors, of_each_head)),
            add=tf.tanh(tf.reshape(add_vectors, of_each_head)),
        )
