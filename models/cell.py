"""One time step of the Neural Turing Machine with a feedforward controller."""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ntm.models import addressing
from ntm.models.config import NTMConfig
from ntm.models.memory import add, erase, read

# A small constant, not zero: every location starts alike, and no norm is zero (Collier & Beel 2018, arXiv:1807.08518).
INITIAL_MEMORY = 1e-6
# The logit of g where content addressing is turned off: g is less than 1e-43.
_NO_CONTENT = -100.0
# Learned initial weightings begin near the first location: a uniform weighting would have no gradient.
_W_BIAS = 5.0


class State(NamedTuple):
    """What the network carries from one step to the next."""

    memory: tf.Tensor  # [B, M, N]
    weights: tf.Tensor  # [B, R+K, N], the weightings of the read heads, then those of the write heads
    reads: tf.Tensor  # [B, R, M]


class Heads(NamedTuple):
    """What the controller tells the heads at one step, each already in its range."""

    key: tf.Tensor  # [B, R+K, M]
    strength: tf.Tensor  # [B, R+K, 1], beta > 0
    gate: tf.Tensor  # [B, R+K, 1], g in (0, 1)
    shift_weighting: tf.Tensor  # [B, R+K, S], s >= 0, of sum 1
    sharpening: tf.Tensor  # [B, R+K, 1], gamma >= 1
    erase: tf.Tensor  # [B, M, K], e in (0, 1)
    add: tf.Tensor  # [B, M, K]


class NTMCell(tf.Module):
    """The network as a function of its input and its state: ``cell(x, state) -> (y, state)``.

    At a step t the controller sees the input x[t] and the read vectors r[t-1]. All heads are addressed
    at once from M[t-1] (Eq. 5-9), then the write heads write (Eq. 3-4), then the read heads read the
    memory M[t] just written (Eq. 2), and the output follows from the controller and the reads. The cell
    itself changes nothing and keeps nothing: eager mode, tf.function, XLA, training and every export
    use this one object.

    Args:
        config: the sizes.
        seed: the seed of the initial variables; equal seeds make equal variables.
        gate_bias: the initial bias of the logit of g. Below 0, heads begin with location addressing.
        shift_bias: the initial bias of the logit of the shift forward by one, if S is 3; for more shifts so much larger
            that its share is the same. Without it the weightings spread over all of the memory in a few steps, and the
            gradient vanishes.
        strength_bias: the initial bias of beta before its softplus. Above 0, heads tell locations apart sooner.
    """

    def __init__(
        self,
        config: NTMConfig,
        seed: int = 0,
        *,
        gate_bias: float = 0.0,
        shift_bias: float = 1.0,
        strength_bias: float = 0.0,
    ) -> None:
        super().__init__(name="ntm")
        self.config = config
        sizes = (config.input_size + config.read_heads * config.memory_vector_size, *config.controller_sizes)
        random = tf.random.Generator.from_seed(seed, alg="philox")
        self.hidden = [_Dense(f"hidden_{i}", sizes[i], sizes[i + 1], random) for i in range(len(sizes) - 1)]
        m = config.memory_vector_size
        addressing_size = m + 3 + config.shifts
        heads_size = config.heads * addressing_size + config.write_heads * 2 * m
        self.heads = _Dense("heads", sizes[-1], heads_size, random)
        first = addressing_size * np.arange(config.heads)  # column of each head
        self._gates = first + m + 1
        bias = np.zeros(heads_size, np.float32)
        bias[first + m], bias[self._gates] = strength_bias, gate_bias
        others, forward = config.shifts - 1, addressing_size - config.shifts // 2  # column of the shift by one
        if others:
            bias[first + forward] = shift_bias + math.log(others / 2)
        self.heads.bias.assign(bias)
        self.output = _Dense("output", sizes[-1] + config.read_heads * m, config.output_size, random)
        self.r_bias = self.w_bias = self.m_bias = None
        if config.learn_r_bias:
            self.r_bias = tf.Variable(tf.zeros([config.read_heads, m]), name="r_bias")
        if config.learn_w_bias:
            self.w_bias = tf.Variable(_W_BIAS * tf.one_hot([0] * config.heads, config.memory_locations), name="w_bias")
        if config.learn_m_bias:
            self.m_bias = tf.Variable(tf.fill([m], INITIAL_MEMORY), name="m_bias")

    def initial_state(self, batch_size: int | tf.Tensor, memory_locations: int | tf.Tensor | None = None) -> State:
        """The state before the first step.

        Args:
            batch_size: B.
            memory_locations: N, by default the configuration's; no fewer than those if ``w_bias`` is learned.
        """
        config = self.config
        n = config.memory_locations if memory_locations is None else memory_locations
        m_bias = tf.fill([config.memory_vector_size], INITIAL_MEMORY) if self.m_bias is None else self.m_bias
        r_bias = tf.zeros([config.read_heads, config.memory_vector_size]) if self.r_bias is None else self.r_bias
        if self.w_bias is None:
            weights = tf.one_hot([0] * config.heads, n)
        else:
            weights = tf.pad(tf.nn.softmax(self.w_bias), [[0, 0], [0, n - config.memory_locations]])
        return State(
            memory=tf.tile(tf.reshape(m_bias, [1, -1, 1]), [batch_size, 1, n]),
            weights=tf.tile(weights[tf.newaxis], [batch_size, 1, 1]),
            reads=tf.tile(r_bias[tf.newaxis], [batch_size, 1, 1]),
        )

    def __call__(self, x: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        """One time step.

        Args:
            x: the input, ``[B, I]``.
            state: the state after the step before, or ``initial_state``.

        Returns:
            y, ``[B, O]``: the logits of the output; and the state after this step.
        """
        return self.step_with_heads(x, state)[:2]

    def step_with_heads(self, x: tf.Tensor, state: State) -> tuple[tf.Tensor, State, Heads]:
        """One time step, and a look inside: y and the state as above, and the parameters of the heads."""
        hidden = self.controller(x, state.reads)[-1]
        heads = self.in_range(self.heads(hidden))
        state = self.memory_step(heads, state.memory, state.weights)
        return self.output(self.output_input(hidden, state.reads)), state, heads

    def turn_content_addressing_off(self) -> None:
        """Make g of Eq. (7) 0 for all heads, whatever the controller says: they use location addressing alone."""
        for variable, value in ((self.heads.kernel, 0.0), (self.heads.bias, _NO_CONTENT)):
            values = variable.numpy().copy()
            values[..., self._gates] = value
            variable.assign(values)

    @property
    def content_addressing(self) -> bool:
        """Whether a head may use content addressing. Where it is turned off, nothing depends on Eq. (5) and (6)."""
        kernel, bias = (variable.numpy()[..., self._gates] for variable in (self.heads.kernel, self.heads.bias))
        return bool(np.any(kernel)) or not bool(np.all(bias <= _NO_CONTENT))

    def controller_input(self, x: tf.Tensor, reads: tf.Tensor) -> tf.Tensor:
        """What the controller sees: the input and the read vectors r[t-1], ``[B, I + R * M]``."""
        return tf.concat([x, self._flat(reads)], axis=1)

    def controller(self, x: tf.Tensor, reads: tf.Tensor) -> list[tf.Tensor]:
        """The hidden layers' activations, each ``[B, units]``; x is ``[B, I]``, reads is r[t-1], ``[B, R, M]``."""
        activations = [self.controller_input(x, reads)]
        for layer in self.hidden:
            activations.append(tf.tanh(layer(activations[-1])))
        return activations[1:]

    def memory_step(self, heads: Heads, memory: tf.Tensor, weights: tf.Tensor) -> State:
        """Address, write and read: the step of the memory.

        Args:
            heads: what the heads are told.
            memory: M[t-1], ``[B, M, N]``.
            weights: w[t-1], ``[B, R+K, N]``.

        Returns:
            The state after the step.
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
        return State(memory, weights, read(memory, read_weights))

    def output_input(self, hidden: tf.Tensor, reads: tf.Tensor) -> tf.Tensor:
        """What the output layer sees: the last hidden layer and the read vectors r[t], ``[B, H + R * M]``."""
        return tf.concat([hidden, self._flat(reads)], axis=1)

    def _flat(self, reads: tf.Tensor) -> tf.Tensor:
        """``[B, R, M]`` as ``[B, R * M]``."""
        return tf.reshape(reads, [-1, self.config.read_heads * self.config.memory_vector_size])

    def in_range(self, parameters: tf.Tensor) -> Heads:
        """What the layer ``heads`` made of the controller, ``[B, ...]``, each parameter in its range (section 3.3).

        The ranges of beta and gamma have no upper end, and g reaches 0 and 1: a head can jump, stay and walk
        without blur.
        """
        config = self.config
        m, n_write = config.memory_vector_size, config.write_heads * config.memory_vector_size
        each = parameters.shape[1] - 2 * n_write
        for_addressing, erase_vectors, add_vectors = tf.split(parameters, [each, n_write, n_write], axis=1)
        for_addressing = tf.reshape(for_addressing, [-1, config.heads, each // config.heads])
        key, strength, gate, sharpening, shift = tf.split(for_addressing, [m, 1, 1, 1, config.shifts], axis=2)
        of_each_head = [-1, m, config.write_heads]
        return Heads(
            key=key,
            strength=tf.nn.softplus(strength),
            # onnxruntime's sigmoid exceeds 1 by a rounding here and there: (1 - g) w[t-1] would be negative.
            gate=tf.minimum(tf.sigmoid(gate), 1.0),
            shift_weighting=tf.nn.softmax(shift),
            sharpening=1.0 + tf.nn.softplus(sharpening),
            erase=tf.sigmoid(tf.reshape(erase_vectors, of_each_head)),
            add=tf.tanh(tf.reshape(add_vectors, of_each_head)),
        )


class _Dense(tf.Module):
    """x W + b, of Glorot-uniform W and zero b; the variables are named ``name/kernel`` and ``name/bias``."""

    def __init__(self, name: str, inputs: int, outputs: int, random: tf.random.Generator) -> None:
        super().__init__(name=name)
        limit = (6.0 / (inputs + outputs)) ** 0.5
        self.kernel = tf.Variable(random.uniform([inputs, outputs], -limit, limit), name=f"{name}/kernel")
        self.bias = tf.Variable(tf.zeros([outputs]), name=f"{name}/bias")

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return tf.matmul(x, self.kernel) + self.bias
