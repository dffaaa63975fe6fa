"""The optimisers, with gradient clipping and averaged weights: Adam, and RMSProp as in Graves (2013).

All variables are one vector here. So a few operations update all of them, which makes tracing and compiling fast.
"""

import abc

import tensorflow as tf

from ntm.training.config import ADAM, RMSPROP

# The decay of the moving average of the gradient's norm per step.
_NORM_DECAY = 0.99


class Optimizer(tf.Module, abc.ABC):
    """The optimiser of a list of variables, and the exponential moving average of their values.

    Args:
        variables: the variables to train.
        clip_norm: the largest global norm of a gradient (Pascanu et al. 2013, arXiv:1211.5063); 0: no limit.
        clip_outlier: the largest norm of a gradient, as a multiple of the norm's moving average; 0: no limit. Once the
            task is learned, gradients are tiny, and the first large one would otherwise move every variable far.
        clip_element: the largest magnitude of a number in a gradient, clipped before the norm; 0: no limit.
        average_decay: the decay of the moving average per step.
        momentum: the momentum of RMSProp.
    """

    moments: tuple[str, ...]  # the names of the moments, each of which has a number for each parameter

    def __init__(
        self,
        variables: list[tf.Variable],
        *,
        clip_norm: float,
        average_decay: float,
        clip_outlier: float = 0.0,
        clip_element: float = 0.0,
        momentum: float = 0.9,
    ) -> None:
        super().__init__(name=type(self).__name__.lower())
        self._variables = variables
        self._clip_norm, self._clip_outlier, self._clip_element = clip_norm, clip_outlier, clip_element
        self._average_decay, self._momentum = average_decay, momentum
        values = flatten(variables)
        self.step = tf.Variable(0, dtype=tf.int32, trainable=False, name="step")
        self._moments = [tf.Variable(tf.zeros_like(values), trainable=False, name=name) for name in self.moments]
        self.average = tf.Variable(values, trainable=False, name="average")
        self.usual_norm = tf.Variable(0.0, trainable=False, name="usual_norm")

    @abc.abstractmethod
    def _change(self, gradient: tf.Tensor, step: tf.Tensor, learning_rate: tf.Tensor) -> tf.Tensor:
        """Update the moments; returns the vector to subtract from the variables."""

    @property
    def state(self) -> list[tf.Variable]:
        """The state of the optimiser, without the trained variables."""
        return [self.step, *self._moments, self.average, self.usual_norm]

    def reset(self) -> None:
        """Begin anew with the present variables, which become the average."""
        for variable in self.state:
            variable.assign(tf.zeros_like(variable))
        self.average.assign(flatten(self._variables))

    def apply(self, gradients: list[tf.Tensor], learning_rate: tf.Tensor) -> None:
        """One step of gradient descent."""
        gradient = flatten(gradients)
        step = tf.cast(self.step.assign_add(1), tf.float32)
        gradient = self._clip(gradient, step)
        values = flatten(self._variables) - self._change(gradient, step, learning_rate)
        for variable, value in zip(self._variables, self.unflatten(values), strict=True):
            variable.assign(value)
        self.average.assign(_moving_mean(self.average, values, self._average_decay, step))

    def _clip(self, gradient: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        if self._clip_element:
            gradient = tf.clip_by_value(gradient, -self._clip_element, self._clip_element)
        clipped = norm = tf.norm(gradient)
        if self._clip_outlier:
            clipped = tf.minimum(norm, tf.where(self.usual_norm > 0.0, self._clip_outlier * self.usual_norm, norm))
        if self._clip_norm:
            clipped = tf.minimum(clipped, self._clip_norm)
        self.usual_norm.assign(_moving_mean(self.usual_norm, clipped, _NORM_DECAY, step))
        return gradient * tf.math.divide_no_nan(clipped, norm)

    def unflatten(self, values: tf.Tensor) -> list[tf.Tensor]:
        """A vector, e.g. the average, in the variables' shapes."""
        pieces = tf.split(values, [variable.shape.num_elements() for variable in self._variables])
        return [tf.reshape(piece, v.shape) for piece, v in zip(pieces, self._variables, strict=True)]


class Adam(Optimizer):
    """Adam: Algorithm 1 of Kingma & Ba (2015, arXiv:1412.6980).

    The second moment decays ten times faster than usual, since the first large gradient after tiny ones must not move
    every variable far.
    """

    moments = ("first_moment", "second_moment")
    _BETA_1, _BETA_2, _EPSILON = 0.9, 0.99, 1e-8

    def _change(self, gradient: tf.Tensor, step: tf.Tensor, learning_rate: tf.Tensor) -> tf.Tensor:
        beta_1, beta_2 = self._BETA_1, self._BETA_2
        first, second = self._moments
        mean = first.assign(beta_1 * first + (1 - beta_1) * gradient)
        square = second.assign(beta_2 * second + (1 - beta_2) * tf.square(gradient))
        rate = learning_rate * tf.sqrt(1.0 - beta_2**step) / (1.0 - beta_1**step)
        return rate * mean / (tf.sqrt(square) + self._EPSILON)


class RMSProp(Optimizer):
    """RMSProp with the variance of the gradient and momentum: Graves (2013, arXiv:1308.0850), Eq. (38) to (45).

    The optimiser of the paper (section 4.6): momentum 0.9, a learning rate of 1e-4 or less, and numbers of the gradient
    clipped to (-10, 10).
    """

    moments = ("square", "mean", "velocity")
    _DECAY, _EPSILON = 0.95, 1e-4

    def _change(self, gradient: tf.Tensor, step: tf.Tensor, learning_rate: tf.Tensor) -> tf.Tensor:  # noqa: ARG002
        decay = self._DECAY
        square, mean, velocity = self._moments
        n = square.assign(decay * square + (1 - decay) * tf.square(gradient))
        g = mean.assign(decay * mean + (1 - decay) * gradient)
        scaled = learning_rate * gradient / tf.sqrt(n - tf.square(g) + self._EPSILON)
        return velocity.assign(self._momentum * velocity + scaled)


OPTIMIZERS: dict[str, type[Optimizer]] = {ADAM: Adam, RMSPROP: RMSProp}


def _moving_mean(mean: tf.Tensor, value: tf.Tensor, decay: float, step: tf.Tensor) -> tf.Tensor:
    """The mean of the values so far, then an exponential moving average; the value before step 1 has no weight."""
    return value + tf.minimum(decay, 1.0 - 1.0 / step) * (mean - value)


def flatten(tensors: list[tf.Tensor]) -> tf.Tensor:
    """The numbers of all tensors as one vector."""
    return tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], axis=0)
