"""Adam (Kingma & Ba 2015, arXiv:1412.6980) with gradient clipping and averaged weights.

All variables are one vector here: a handful of operations, however many variables there are, is what keeps tracing
and compiling short.
"""

import tensorflow as tf

# The second moment forgets ten times faster than is usual. Once the task is learned gradients are tiny; the first
# large one after a long calm would otherwise move every variable by more than three learning rates at once.
_BETA_1, _BETA_2, _EPSILON = 0.9, 0.99, 1e-8
# And no gradient is larger than so many times what is usual at the time, for the same reason.
_OUTLIER, _NORM_DECAY = 3.0, 0.99


class Adam(tf.Module):
    """The optimiser of a list of variables, and the exponential moving average of their values.

    Args:
        variables: what to train.
        clip_norm: the largest global norm of a gradient (Pascanu et al. 2013, arXiv:1211.5063).
        average_decay: of the moving average, a step.
    """

    def __init__(self, variables: list[tf.Variable], clip_norm: float, average_decay: float) -> None:
        super().__init__(name="adam")
        self._variables = variables
        self._clip_norm, self._average_decay = clip_norm, average_decay
        values = _flatten(variables)
        self.step = tf.Variable(0, dtype=tf.int32, trainable=False, name="step")
        self.first_moment = tf.Variable(tf.zeros_like(values), trainable=False, name="first_moment")
        self.second_moment = tf.Variable(tf.zeros_like(values), trainable=False, name="second_moment")
        self.average = tf.Variable(values, trainable=False, name="average")
        self.usual_norm = tf.Variable(0.0, trainable=False, name="usual_norm")

    @property
    def state(self) -> list[tf.Variable]:
        """What the optimiser carries from step to step, the variables aside."""
        return [self.step, self.first_moment, self.second_moment, self.average, self.usual_norm]

    def reset(self) -> None:
        """Forget all steps; the average is that of the variables as they are."""
        for variable in self.state:
            variable.assign(tf.zeros_like(variable))
        self.average.assign(_flatten(self._variables))

    def apply(self, gradients: list[tf.Tensor], learning_rate: tf.Tensor) -> None:
        """One step down the gradients."""
        gradient = _flatten(gradients)
        step = tf.cast(self.step.assign_add(1), tf.float32)
        gradient = self._clip(gradient, step)
        first = self.first_moment.assign(_BETA_1 * self.first_moment + (1 - _BETA_1) * gradient)
        second = self.second_moment.assign(_BETA_2 * self.second_moment + (1 - _BETA_2) * tf.square(gradient))
        rate = learning_rate * tf.sqrt(1.0 - _BETA_2**step) / (1.0 - _BETA_1**step)
        values = _flatten(self._variables) - rate * first / (tf.sqrt(second) + _EPSILON)
        for variable, value in zip(self._variables, self.unflatten(values), strict=True):
            variable.assign(value)
        self.average.assign(_moving_mean(self.average, values, self._average_decay, step))

    def _clip(self, gradient: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        norm = tf.norm(gradient)
        largest = tf.where(self.usual_norm > 0.0, _OUTLIER * self.usual_norm, norm)
        clipped = tf.minimum(norm, tf.minimum(largest, self._clip_norm))
        self.usual_norm.assign(_moving_mean(self.usual_norm, clipped, _NORM_DECAY, step))
        return gradient * tf.math.divide_no_nan(clipped, norm)

    def unflatten(self, values: tf.Tensor) -> list[tf.Tensor]:
        """A vector, e.g. the average, in the variables' shapes."""
        pieces = tf.split(values, [variable.shape.num_elements() for variable in self._variables])
        return [tf.reshape(piece, v.shape) for piece, v in zip(pieces, self._variables, strict=True)]


def _moving_mean(mean: tf.Tensor, value: tf.Tensor, decay: float, step: tf.Tensor) -> tf.Tensor:
    """The mean of the first steps, then an exponentially moving one: what was before the first does not linger."""
    return value + tf.minimum(decay, 1.0 - 1.0 / step) * (mean - value)


def _flatten(tensors: list[tf.Tensor]) -> tf.Tensor:
    return tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], axis=0)
