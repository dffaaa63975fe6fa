"""The base class of the networks: a function of its input and its state, for training and every export."""

import abc
from typing import Any

import tensorflow as tf

from ntm.models.controller import Apply
from ntm.models.dense import Dense

# The state of a network, which one step hands to the next: tensors by name.
State = dict[str, tf.Tensor]


class Network(tf.Module, abc.ABC):
    """A network as a function of its input and its state: ``network(x, state) -> (y, state)``.

    The network itself changes nothing and keeps nothing: eager mode, tf.function, XLA, training and every export use
    this one object. A step has three parts: ``control``, all layers but the output's; ``advance``, what follows
    without variables; and the output layer. Training computes the gradients of the layers from the first part alone.

    Attributes:
        config: the sizes; its ``state_shapes`` names the tensors of the state.
        layers: those that ``control`` applies.
        output: the output layer; no next state depends on it.
    """

    config: Any
    layers: list[Dense]
    output: Dense

    @property
    @abc.abstractmethod
    def visible(self) -> tuple[str, ...]:
        """The tensors of the state that ``output_input`` or a loss uses."""

    @abc.abstractmethod
    def initial_state(self, batch_size: int | tf.Tensor, memory_locations: int | tf.Tensor | None = None) -> State:
        """The state before the first step.

        Args:
            batch_size: B.
            memory_locations: N, by default the configuration's; no fewer than ``config.least_locations``.
        """

    @abc.abstractmethod
    def control(self, x: tf.Tensor, state: State, apply: Apply) -> tuple[list[tf.Tensor], State]:
        """The output of every layer before its activation, ``[B, ...]``, and the next state of the controller."""

    def advance(self, heads: Any, state: State) -> State:  # noqa: ARG002
        """The rest of the next state, from the parameters of the heads and the state before."""
        return {}

    @abc.abstractmethod
    def output_input(self, layers: list[tf.Tensor], state: State) -> tf.Tensor:
        """The input of the output layer, ``[B, ...]``; ``state`` is the state after the step."""

    def heads_of(self, layers: list[tf.Tensor]) -> Any:  # noqa: ARG002
        """The parameters of the heads, ``Heads``; None where there are no heads."""
        return None

    def step(self, x: tf.Tensor, state: State, apply: Apply) -> tuple[list[tf.Tensor], State, Any]:
        """One time step without the output layer.

        Returns:
            The output of every other layer before its activation; the state after the step; and the parameters of the
            heads, ``Heads``, or None.
        """
        layers, next_state = self.control(x, state, apply)
        heads = self.heads_of(layers)
        return layers, self.advance(heads, state) | next_state, heads

    def __call__(self, x: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        """One time step.

        Args:
            x: the input, ``[B, I]``.
            state: the state after the step before, or ``initial_state``.

        Returns:
            y, ``[B, O]``: the logits of the output; and the state after this step.
        """
        return self.step_with_heads(x, state)[:2]

    def step_with_heads(self, x: tf.Tensor, state: State) -> tuple[tf.Tensor, State, Any]:
        """One time step: y and the state as ``__call__`` returns them, and the parameters of the heads or None."""
        layers, state, heads = self.step(x, state, lambda i, seen: self.layers[i](seen))
        return self.output(self.output_input(layers, state)), state, heads

    @property
    def parameters(self) -> int:
        """The number of parameters that training learns."""
        return sum(int(variable.shape.num_elements()) for variable in self.trainable_variables)

    @property
    def content_addressing(self) -> bool:
        """Whether a head may use content addressing."""
        return False

    def turn_content_addressing_off(self) -> None:
        """Make all heads use location addressing alone."""
