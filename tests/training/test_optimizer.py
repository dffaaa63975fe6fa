import numpy as np
import pytest
import tensorflow as tf

from ntm.training.config import OPTIMIZERS as NAMES
from ntm.training.optimizer import OPTIMIZERS, Adam, RMSProp


def adam_in_numpy(
    values: np.ndarray, gradients: list[np.ndarray], rate: float, clip: float, decay: float
) -> tuple[np.ndarray, np.ndarray]:
    """Algorithm 1 of Kingma & Ba (2015) with beta_2 = 0.99, clipping before and an average after."""
    m, v = np.zeros_like(values), np.zeros_like(values)
    average, usual = values, np.inf
    for t, gradient in enumerate(gradients, start=1):
        norm = np.sqrt((gradient**2).sum())
        clipped = min(norm, clip, 3 * usual)
        usual = clipped if t == 1 else usual + (1 - min(0.99, 1 - 1 / t)) * (clipped - usual)
        g = gradient * clipped / norm
        m = 0.9 * m + 0.1 * g
        v = 0.99 * v + 0.01 * g**2
        values = values - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.99**t)) + 1e-8)
        d = min(decay, 1 - 1 / t)
        average = d * average + (1 - d) * values
    return values, average


def test_is_adam_with_clipping_and_an_average() -> None:
    random = np.random.default_rng(0)
    matrix, vector = random.normal(size=(3, 2)).astype(np.float32), random.normal(size=4).astype(np.float32)
    variables = [tf.Variable(matrix), tf.Variable(vector)]
    optimizer = Adam(variables, clip_norm=1.5, clip_outlier=3.0, average_decay=0.8)
    gradients = [scale * random.normal(size=10) for scale in (0.1, 5.0, 1.0, 0.01) for _ in range(3)]
    for gradient in gradients:
        pieces = gradient.astype(np.float32)
        optimizer.apply([tf.constant(pieces[:6].reshape(3, 2)), tf.constant(pieces[6:])], tf.constant(0.03))

    values, average = adam_in_numpy(np.concatenate([matrix.ravel(), vector]), gradients, 0.03, 1.5, 0.8)
    np.testing.assert_allclose(np.concatenate([v.numpy().ravel() for v in variables]), values, atol=1e-4)
    averaged = optimizer.unflatten(optimizer.average)
    assert [tensor.shape for tensor in averaged] == [(3, 2), (4,)]
    np.testing.assert_allclose(np.concatenate([t.numpy().ravel() for t in averaged]), average, atol=1e-4)


def test_a_zero_gradient_moves_nothing_and_the_next_one_does() -> None:
    variable = tf.Variable([1.0, 2.0])
    optimizer = Adam([variable], clip_norm=1.0, average_decay=0.9)
    optimizer.apply([tf.zeros(2)], tf.constant(0.1))
    np.testing.assert_array_equal(variable, [1.0, 2.0])
    optimizer.apply([tf.ones(2)], tf.constant(0.1))
    assert (variable.numpy() < [1.0, 2.0]).all()


@pytest.mark.slow
def test_after_a_long_calm_an_outlier_moves_no_variable_far() -> None:
    """Without the clip by the usual norm Adam would move each by some ten learning rates in the steps that follow."""
    random = np.random.default_rng(0)
    variable = tf.Variable(tf.zeros(50))
    optimizer = Adam([variable], clip_norm=1.0, clip_outlier=3.0, average_decay=0.9)
    rate = tf.constant(0.001)
    for _ in range(300):
        optimizer.apply([tf.constant(1e-5 * random.normal(size=50), tf.float32)], rate)
    before = variable.numpy()
    optimizer.apply([tf.fill([50], 0.1)], rate)
    for _ in range(10):
        optimizer.apply([tf.zeros(50)], rate)
    assert np.abs(variable.numpy() - before).mean() < 0.003


def test_rmsprop_is_that_of_graves() -> None:
    """Eq. (38) to (45) of Graves (2013), with numbers of the gradient clipped."""
    random = np.random.default_rng(0)
    values: np.ndarray = random.normal(size=4).astype(np.float32)
    variable = tf.Variable(values)
    optimizer = RMSProp([variable], clip_norm=0.0, clip_element=1.0, average_decay=0.0, momentum=0.8)
    n, g, delta = np.zeros((3, 4))
    for _ in range(8):
        gradient = 2 * random.normal(size=4)
        optimizer.apply([tf.constant(gradient, tf.float32)], tf.constant(0.01))
        clipped = np.clip(gradient, -1.0, 1.0)
        n = 0.95 * n + 0.05 * clipped**2
        g = 0.95 * g + 0.05 * clipped
        delta = 0.8 * delta - 0.01 * clipped / np.sqrt(n - g**2 + 1e-4)
        values = values + delta
    np.testing.assert_allclose(variable.numpy(), values, atol=1e-5)
    np.testing.assert_array_equal(optimizer.average.numpy(), variable.numpy())


@pytest.mark.parametrize("name", NAMES)
def test_a_reset_forgets_every_step(name: str) -> None:
    variables = [tf.Variable([1.0, 2.0]), tf.Variable([1.0, 2.0])]
    optimizers = [
        OPTIMIZERS[name]([variable], clip_norm=1.0, clip_element=0.5, average_decay=0.9) for variable in variables
    ]
    optimizers[0].apply([tf.constant([3.0, -1.0])], tf.constant(0.1))
    variables[0].assign([1.0, 2.0])
    optimizers[0].reset()
    for optimizer in optimizers:
        optimizer.apply([tf.constant([0.2, 0.1])], tf.constant(0.1))
    np.testing.assert_array_equal(*variables)
    for ours, theirs in zip(*(optimizer.state for optimizer in optimizers), strict=True):
        np.testing.assert_array_equal(ours, theirs)
