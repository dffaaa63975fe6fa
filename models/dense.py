"""A dense layer."""

import tensorflow as tf


class Dense(tf.Module):
    """x W + b, of Glorot-uniform W and zero b; the variables are named ``name/kernel`` and ``name/bias``."""

    def __init__(self, name: str, inputs: int, outputs: int, random: tf.random.Generator) -> None:
        super().__init__(name=name)
        limit = (6.0 / (inputs + outputs)) ** 0.5
        self.kernel = tf.Variable(random.uniform([inputs, outputs], -limit, limit), name=f"{name}/kernel")
        self.bias = tf.Variable(tf.zeros([outputs]), name=f"{name}/bias")

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """``[B, inputs]`` to ``[B, outputs]``."""
        return tf.matmul(x, self.kernel) + self.bias
