"""What training minimises and counts, against slow loops in NumPy and against plain numbers."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from ntm.training import losses
from ntm.training.losses import Sequences

seeds = st.integers(0, 2**32 - 1)
sizes = st.tuples(st.integers(1, 7), st.integers(1, 4), st.integers(1, 3))  # steps that are taken, B, O


def random_batch(random: np.random.Generator, taken: int, batch_size: int, outputs: int) -> Sequences:
    """Sequences whose masks differ, with targets between 0 and 1, padded to more steps."""
    steps = taken + int(random.integers(3))
    mask = np.zeros([steps, batch_size], np.float32)
    mask[:taken] = random.integers(0, 2, [taken, batch_size])
    mask[random.integers(0, taken, batch_size), np.arange(batch_size)] = 1.0  # some output of every sequence counts
    target = random.random([steps, batch_size, outputs], np.float32)
    target = np.where(random.random(target.shape) < 0.5, target, target.round())
    x = random.normal(size=[steps, batch_size, 2]).astype(np.float32)
    return Sequences(tf.constant(x), tf.constant(target), tf.constant(mask), tf.constant(taken))


def random_logits(random: np.random.Generator, batch: Sequences) -> tf.Tensor:
    return tf.constant(random.normal(scale=5.0, size=batch.target.shape), tf.float32)


def counted(batch: Sequences, b: int) -> list[tuple[int, int]]:
    """The numbers of one sequence that count: the steps of the output phase, and the places in the output."""
    steps, _, outputs = batch.target.shape
    return [(t, o) for t in range(steps) for o in range(outputs) if batch.mask[t, b] == 1.0]


def nats(logits: tf.Tensor, batch: Sequences, b: int) -> float:
    """The cross-entropy of one sequence."""
    total = 0.0
    for t, o in counted(batch, b):
        chance, target = 1 / (1 + math.exp(-float(logits[t, b, o]))), float(batch.target[t, b, o])
        total -= target * math.log(chance) + (1 - target) * math.log(1 - chance)
    return total


@settings(deadline=None, max_examples=25)
@given(seeds, sizes)
def test_loss_and_cost_are_the_cross_entropy_of_the_output_phase(seed: int, size: tuple[int, int, int]) -> None:
    random = np.random.default_rng(seed)
    batch = random_batch(random, *size)
    logits = random_logits(random, batch)
    sequences = range(size[1])
    expected = [nats(logits, batch, b) for b in sequences]
    np.testing.assert_allclose(losses.cost(logits, batch), np.array(expected) / math.log(2), rtol=1e-4, atol=1e-4)
    numbers = sum(len(counted(batch, b)) for b in sequences)
    assert float(losses.loss(logits, batch)) == pytest.approx(sum(expected) / numbers, rel=1e-4, abs=1e-5)


@settings(deadline=None, max_examples=25)
@given(seeds, sizes)
def test_wrong_bits_are_outputs_on_the_wrong_side_of_a_half(seed: int, size: tuple[int, int, int]) -> None:
    random = np.random.default_rng(seed)
    batch = random_batch(random, *size)
    logits = random_logits(random, batch)
    wrong = [
        sum((float(logits[t, b, o]) > 0) != (float(batch.target[t, b, o]) > 0.5) for t, o in counted(batch, b))
        for b in range(size[1])
    ]
    np.testing.assert_array_equal(losses.wrong_bits(logits, batch), wrong)


@settings(deadline=None, max_examples=25)
@given(seeds, sizes)
def test_nothing_outside_the_output_phase_counts(seed: int, size: tuple[int, int, int]) -> None:
    random = np.random.default_rng(seed)
    batch = random_batch(random, *size)
    logits = random_logits(random, batch)
    outside = 1.0 - batch.mask[:, :, tf.newaxis]
    changed = batch._replace(target=batch.target + outside * (1.0 - 2.0 * batch.target))
    noisy = logits + outside * tf.constant(random.normal(scale=99.0, size=logits.shape), tf.float32)
    for function in (losses.loss, losses.cost, losses.wrong_bits):
        np.testing.assert_array_equal(function(noisy, changed), function(logits, batch))


def test_the_cost_of_sequences_of_several_lengths() -> None:
    """One number of the first sequence counts, and four of the second; each is output with a probability of 1/4."""
    mask = tf.constant([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
    batch = Sequences(tf.zeros([4, 2, 1]), tf.ones([4, 2, 2]), mask, tf.constant(3))
    logits = tf.fill([4, 2, 2], -math.log(3.0))
    np.testing.assert_allclose(losses.cost(logits, batch), [4.0, 8.0], rtol=1e-6)
    np.testing.assert_array_equal(losses.wrong_bits(logits, batch), [2.0, 4.0])
    assert float(losses.loss(logits, batch)) == pytest.approx(math.log(4.0))  # a sequence weighs as much as it outputs
    perfect = tf.fill([4, 2, 2], 50.0)
    np.testing.assert_allclose(losses.cost(perfect, batch), [0.0, 0.0], atol=1e-6)
    np.testing.assert_array_equal(losses.wrong_bits(perfect, batch), [0.0, 0.0])


@settings(deadline=None, max_examples=25)
@given(seeds, sizes, st.integers(1, 3), st.integers(1, 5))
def test_blur_is_how_far_weightings_are_from_one_hot(
    seed: int, size: tuple[int, int, int], heads: int, locations: int
) -> None:
    random = np.random.default_rng(seed)
    batch = random_batch(random, *size)
    taken, batch_size, _ = size
    weights = np.zeros([batch.x.shape[0], batch_size, heads, locations], np.float32)
    weights[:taken] = random.dirichlet(np.ones(locations), [taken, batch_size, heads])
    each = [1 - sum(float(w) ** 2 for w in weights[index]) for index in np.ndindex(taken, batch_size, heads)]
    assert float(losses.blur(tf.constant(weights), batch)) == pytest.approx(np.mean(each), abs=1e-5)


def test_blur_of_a_one_hot_and_of_a_uniform_weighting() -> None:
    batch = Sequences(tf.zeros([5, 2, 1]), tf.zeros([5, 2, 1]), tf.ones([5, 2]), tf.constant(3))
    taken = tf.sequence_mask(3, 5, tf.float32)[:, tf.newaxis, tf.newaxis, tf.newaxis]
    assert float(losses.blur(taken * tf.one_hot(tf.zeros([5, 2, 4], tf.int32), 5), batch)) == 0.0
    assert float(losses.blur(taken * tf.fill([5, 2, 4, 5], 0.2), batch)) == pytest.approx(0.8)


@settings(deadline=None, max_examples=25)
@given(seeds, sizes, st.integers(1, 3))
def test_content_addressing_is_the_mean_gate_of_the_steps_taken(
    seed: int, size: tuple[int, int, int], heads: int
) -> None:
    random = np.random.default_rng(seed)
    batch = random_batch(random, *size)
    taken, batch_size, _ = size
    gate = random.random([batch.x.shape[0], batch_size, heads, 1], np.float32)  # beyond the steps taken, too
    expected = np.mean([float(gate[index]) for index in np.ndindex(taken, batch_size, heads, 1)])
    assert float(losses.content_addressing(tf.constant(gate), batch)) == pytest.approx(expected, rel=1e-4)


@settings(deadline=None, max_examples=25)
@given(seeds, sizes, st.integers(1, 3))
def test_sharpness_is_how_far_beta_is_above_6_and_gamma_above_3(
    seed: int, size: tuple[int, int, int], heads: int
) -> None:
    random = np.random.default_rng(seed)
    batch = random_batch(random, *size)
    taken, batch_size, _ = size
    shape = [batch.x.shape[0], batch_size, heads, 1]
    strength, sharpening = (random.uniform(0, most, shape).astype(np.float32) for most in (12, 6))
    expected = np.mean(
        [
            max(float(strength[index]) - 6, 0) ** 2 + max(float(sharpening[index]) - 3, 0) ** 2
            for index in np.ndindex(taken, batch_size, heads, 1)
        ]
    )
    value = float(losses.sharpness(tf.constant(strength), tf.constant(sharpening), batch))
    assert value == pytest.approx(expected, rel=1e-4)


@settings(deadline=None, max_examples=25)
@given(seeds, sizes, st.integers(1, 3), st.integers(1, 4))
def test_writing_is_what_is_erased_and_added_in_the_output_phase(
    seed: int, size: tuple[int, int, int], heads: int, vector_size: int
) -> None:
    random = np.random.default_rng(seed)
    batch = random_batch(random, *size)
    shape = [batch.x.shape[0], size[1], vector_size, heads]
    erase, add = random.random(shape, np.float32), random.uniform(-1, 1, shape).astype(np.float32)
    written = [
        float(erase[t, b, m, k]) + float(add[t, b, m, k]) ** 2
        for t, b, m, k in np.ndindex(*shape)
        if batch.mask[t, b] == 1.0
    ]
    value = float(losses.writing(tf.constant(erase), tf.constant(add), batch))
    assert value == pytest.approx(np.mean(written), rel=1e-4)


@settings(deadline=None, max_examples=50)
@given(seeds, sizes, st.integers(1, 3))
def test_a_sequence_relies_on_content_if_a_gate_is_above_a_half_as_it_is_output(
    seed: int, size: tuple[int, int, int], heads: int
) -> None:
    random = np.random.default_rng(seed)
    batch = random_batch(random, *size)
    steps, batch_size = batch.mask.shape
    gate = random.uniform(0.0, 0.6, [steps, batch_size, heads, 1]).astype(np.float32)
    mask = np.asarray(batch.mask)
    expected = [
        any(
            gate[t, b, head, 0] > 0.5 and (mask[t, b] == 1.0 or (t + 1 < steps and mask[t + 1, b] == 1.0))
            for t in range(steps)
            for head in range(heads)
        )
        for b in range(batch_size)
    ]
    np.testing.assert_array_equal(losses.relies_on_content(tf.constant(gate), batch), expected)


def test_the_step_before_the_output_phase_belongs_to_the_output_of_its_own_sequence() -> None:
    mask = np.zeros([5, 6], np.float32)
    mask[3:, :5] = 1.0
    mask[1:3, 5] = 1.0  # another output phase
    batch = Sequences(tf.zeros([5, 6, 1]), tf.zeros([5, 6, 1]), tf.constant(mask), tf.constant(5))
    gate = np.full([5, 6, 2, 1], 0.4, np.float32)
    gate[0, 0] = gate[1, 1] = 0.9  # as the network listens
    gate[2, 2, 1] = gate[4, 3, 0] = 0.9  # at the step before, and at the last one
    gate[3:, 5] = 0.9  # after the output phase
    relies = losses.relies_on_content(tf.constant(gate), batch)
    np.testing.assert_array_equal(relies, [False, False, True, True, False, False])


@pytest.mark.parametrize("function", [losses.loss, losses.cost, losses.wrong_bits])
def test_a_compiled_loss_is_the_same(function: Callable[[tf.Tensor, Sequences], tf.Tensor]) -> None:
    random = np.random.default_rng(7)
    batch = random_batch(random, 6, 3, 2)
    logits = random_logits(random, batch)
    compiled = tf.function(function, jit_compile=True, autograph=False)
    np.testing.assert_allclose(compiled(logits, batch), function(logits, batch), rtol=1e-5)
