import numpy as np
import pytest
import tensorflow as tf

from ntm.training.task import (
    Batch,
    blur,
    copy_batch,
    loss,
    mixed_lengths,
    one_length,
    searches,
    searching,
    writing,
    wrong_bits,
)


@pytest.fixture(scope="module")
def batch() -> Batch:
    seed = tf.constant([3, 7])
    return copy_batch(seed, mixed_lengths(seed, 500, 6), max_length=6, word_bits=5)


def _small_batch(seed: tf.Tensor) -> Batch:
    return copy_batch(seed, one_length(seed, 4, 5), max_length=5, word_bits=8)


def test_every_sequence_is_words_then_delimiter_then_the_words_again(batch: Batch) -> None:
    x, target, mask, steps = (tensor.numpy() for tensor in batch)
    assert steps == 13
    assert x.shape == (13, 500, 6)
    assert target.shape == (13, 500, 5)
    assert mask.shape == (13, 500, 1)
    for b in range(500):
        (length,) = np.flatnonzero(x[:, b, 5])  # the one delimiter
        words = x[:length, b, :5]
        assert set(np.unique(words)) <= {0.0, 1.0}
        assert not x[length + 1 :, b].any()
        assert not x[length, b, :5].any()
        np.testing.assert_array_equal(mask[:, b, 0], [length < t <= 2 * length for t in range(13)])
        np.testing.assert_array_equal(target[length + 1 : 2 * length + 1, b], words)


def test_lengths_are_uniform_and_mixed_in_a_batch(batch: Batch) -> None:
    _assert_uniform(batch.mask.numpy()[:, :, 0].sum(axis=0).astype(int))


def test_the_lengths_of_batches_of_one_length_are_uniform() -> None:
    lengths = np.array([one_length(tf.constant([3, number]), 2, 6) for number in range(500)])
    np.testing.assert_array_equal(lengths[:, 0], lengths[:, 1])
    _assert_uniform(lengths[:, 0])


def test_a_batch_takes_the_steps_of_its_longest_sequence() -> None:
    batch = copy_batch(tf.constant([3, 7]), tf.constant([1, 4, 2]), max_length=6, word_bits=5)
    assert batch.x.shape[0] == 13
    assert batch.steps == 9


def _assert_uniform(lengths: np.ndarray) -> None:
    counts = np.bincount(lengths, minlength=7)
    assert counts[0] == 0
    assert counts[1:].min() > 50  # of 83 expected: 4 standard deviations
    assert counts[1:].sum() == 500


def test_bits_are_fair(batch: Batch) -> None:
    mask = batch.mask.numpy()[:, :, 0].astype(bool)
    assert batch.target.numpy()[mask].mean(axis=0) == pytest.approx(0.5, abs=0.05)


def test_a_batch_is_a_function_of_its_seed() -> None:
    first, same, other = (_small_batch(tf.constant(seed)) for seed in ([1, 2], [1, 2], [1, 3]))
    np.testing.assert_array_equal(first.x, same.x)
    assert not np.array_equal(first.x, other.x)


def test_a_compiled_batch_is_the_same() -> None:
    compiled = tf.function(_small_batch, jit_compile=True, autograph=False)
    for number in range(-5, 20):
        seed = tf.constant([1, number])
        for ours, expected in zip(compiled(seed), _small_batch(seed), strict=True):
            np.testing.assert_array_equal(ours, expected)


def test_loss_and_wrong_bits_look_at_the_output_phase_only(batch: Batch) -> None:
    perfect = (2.0 * batch.target - 1.0) * 50.0
    assert float(loss(perfect, batch)) == pytest.approx(0.0, abs=1e-6)
    assert float(wrong_bits(perfect, batch)) == 0.0
    noise_outside = perfect + (1.0 - batch.mask) * 1000.0
    assert float(loss(noise_outside, batch)) == pytest.approx(0.0, abs=1e-6)
    assert float(wrong_bits(noise_outside, batch)) == 0.0
    inverted = -perfect
    assert float(wrong_bits(inverted, batch)) == float(tf.reduce_sum(batch.mask)) * 5
    assert float(loss(inverted, batch)) == pytest.approx(50.0)
    undecided = tf.zeros_like(perfect)
    assert float(loss(undecided, batch)) == pytest.approx(np.log(2.0))


def test_blur_of_a_sharp_and_of_a_spread_weighting() -> None:
    batch = copy_batch(tf.constant([1, 2]), tf.constant([1, 1]), max_length=2, word_bits=5)  # 3 steps of 5
    taken = tf.sequence_mask(3, 5, tf.float32)[:, tf.newaxis, tf.newaxis, tf.newaxis]
    assert float(blur(taken * tf.one_hot(tf.zeros([5, 2, 4], tf.int32), 5), batch)) == 0.0
    assert float(blur(taken * tf.fill([5, 2, 4, 5], 0.2), batch)) == pytest.approx(0.8)


def test_writing_is_what_is_erased_and_added_in_the_output_phase() -> None:
    batch = copy_batch(
        tf.constant([1, 2]), tf.constant([1, 2]), max_length=2, word_bits=5
    )  # says step 2; steps 3 and 4
    ones = tf.ones([5, 2, 4, 3])
    nothing = tf.zeros_like(ones)
    said = batch.mask[:, :, :, tf.newaxis]
    assert float(writing(ones * (1.0 - said), ones * (1.0 - said), batch)) == 0.0
    assert float(writing(0.5 * ones, nothing, batch)) == pytest.approx(0.5)
    assert float(writing(nothing, -0.5 * ones, batch)) == pytest.approx(0.25)
    assert float(writing(0.5 * ones, 0.5 * ones, batch)) == pytest.approx(0.75)


def test_only_sparse_sequences_have_many_words_of_zero() -> None:
    lengths = tf.fill([64], 20)
    uniform, sparse = (copy_batch(tf.constant([1, 2]), lengths, 20, 8, tf.range(64) < n) for n in (0, 16))
    zeros = (np.asarray(sparse.x)[:20, :, :8] == 0).all(axis=2)  # [L, B]
    assert zeros[:, :16].mean() == pytest.approx(0.5, abs=0.1)
    assert zeros[:, 16:].mean() < 0.05
    np.testing.assert_array_equal(sparse.x[:, 16:], uniform.x[:, 16:])
    kept = ~zeros[:, :16, np.newaxis]
    np.testing.assert_array_equal(sparse.x[:20, :16, :8], kept * np.asarray(uniform.x)[:20, :16, :8])
    np.testing.assert_array_equal(sparse.target[21:], sparse.x[:20, :, :8])


def test_searching_is_the_mean_gate_of_the_steps_taken() -> None:
    batch = copy_batch(tf.constant([1, 2]), tf.constant([1, 1]), max_length=2, word_bits=5)  # 3 steps of 5
    taken = tf.reshape(tf.constant([1.0, 1.0, 1.0, 0.0, 0.0]), [5, 1, 1, 1])
    gate = tf.ones([5, 2, 4, 1])
    assert float(searching(gate, batch)) == pytest.approx(1.0)
    assert float(searching(0.5 * gate * taken, batch)) == pytest.approx(0.5)
    assert float(searching(gate * (1.0 - taken), batch)) == 0.0


def test_searches_are_of_the_delimiter_and_the_output_phase() -> None:
    batch = copy_batch(tf.constant([1, 2]), tf.fill([5], 2), max_length=2, word_bits=5)  # of each sequence 5 steps
    gate = np.full([5, 5, 2, 1], 0.4, np.float32)
    gate[0, 0] = gate[1, 1] = 0.9  # while it listens
    gate[2, 2, 1] = gate[4, 3, 0] = 0.9  # at the delimiter, and at the last word
    assert int(searches(tf.constant(gate), batch)) == 2


def test_words_of_more_bits_than_are_random_are_refused() -> None:
    with pytest.raises(ValueError, match="word_bits must be at most 31, not 32"):
        copy_batch(tf.constant([0, 0]), tf.constant([1]), 1, 32)
