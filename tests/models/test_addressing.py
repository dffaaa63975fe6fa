"""Each equation of the paper against NumPy loops, and the properties that make it what it is."""

import re

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from ntm.models import addressing, memory

SIZES = {"B": 2, "h": 3, "M": 5, "N": 7, "S": 3, "R": 2, "K": 3}


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


def weighting(random: np.random.Generator, *shape: int) -> np.ndarray:
    """Random numbers of [0, 1] with sum 1 over the last axis."""
    values = random.random(shape, np.float32)
    return np.asarray(values / values.sum(axis=-1, keepdims=True))


def test_cosine_similarity_is_equation_6(random: np.random.Generator) -> None:
    key, content = random.normal(size=[2, 3, 5]).astype(np.float32), random.normal(size=[2, 5, 7]).astype(np.float32)
    actual = np.asarray(addressing.cosine_similarity(key, content))
    for b, h, i in np.ndindex(2, 3, 7):
        u, v = key[b, h].astype(float), content[b, :, i].astype(float)
        expected = sum(u[m] * v[m] for m in range(5)) / (sum(u**2) ** 0.5 * (sum(v**2) + 0.01) ** 0.5)
        assert actual[b, h, i] == pytest.approx(expected, abs=1e-6)


def test_only_a_location_that_holds_something_is_similar_to_a_key() -> None:
    key = np.array([[[3.0, 4.0]]], np.float32)  # [B, h, M]
    content = np.array([[[30.0, 0.6, 6e-3, 6e-5, 0.0], [40.0, 0.8, 8e-3, 8e-5, 0.0]]], np.float32)  # [B, M, N]
    similarity = np.asarray(addressing.cosine_similarity(key, content))[0, 0]
    np.testing.assert_allclose(similarity, [1.0, 0.995, 0.0995, 0.001, 0.0], atol=1e-4)


def test_content_weighting_is_equation_5(random: np.random.Generator) -> None:
    similarity, strength = random.normal(size=[2, 3, 7]), random.exponential(size=[2, 3, 1])
    actual = np.asarray(addressing.content_weighting(similarity, strength))
    for b, h, i in np.ndindex(2, 3, 7):
        e = [np.exp(strength[b, h, 0] * similarity[b, h, j]) for j in range(7)]
        assert actual[b, h, i] == pytest.approx(e[i] / sum(e))


def test_interpolate_is_equation_7(random: np.random.Generator) -> None:
    gate, content, previous = random.random([2, 3, 1]), random.random([2, 3, 7]), random.random([2, 3, 7])
    actual = np.asarray(addressing.interpolate(gate, content, previous))
    for b, h, i in np.ndindex(2, 3, 7):
        g = gate[b, h, 0]
        assert actual[b, h, i] == pytest.approx(g * content[b, h, i] + (1 - g) * previous[b, h, i])


@pytest.mark.parametrize("shifts", [1, 3, 5, 7])
def test_circular_shift_is_equation_8(random: np.random.Generator, shifts: int) -> None:
    weights, shift_weighting = weighting(random, 2, 3, 7), weighting(random, 2, 3, shifts)
    actual = np.asarray(addressing.circular_shift(weights, shift_weighting))
    for b, h, i in np.ndindex(2, 3, 7):
        expected = 0.0
        for j in range(7):
            for index in range(shifts):
                if (i - j - (index - shifts // 2)) % 7 == 0:
                    expected += weights[b, h, j] * shift_weighting[b, h, index]
        assert actual[b, h, i] == pytest.approx(expected, rel=1e-5)


def test_sharpen_is_equation_9(random: np.random.Generator) -> None:
    weights, sharpening = weighting(random, 2, 3, 7), 1 + random.exponential(size=[2, 3, 1]).astype(np.float32)
    actual = np.asarray(addressing.sharpen(weights, sharpening))
    for b, h, i in np.ndindex(2, 3, 7):
        powers = [float(weights[b, h, j]) ** sharpening[b, h, 0] for j in range(7)]
        assert actual[b, h, i] == pytest.approx(powers[i] / sum(powers), rel=1e-5)


def test_read_is_equation_2(random: np.random.Generator) -> None:
    content, weights = random.normal(size=[2, 5, 7]), random.random([2, 3, 7])
    actual = np.asarray(memory.read(content, weights))
    for b, h, m in np.ndindex(2, 3, 5):
        assert actual[b, h, m] == pytest.approx(sum(weights[b, h, i] * content[b, m, i] for i in range(7)))


def test_erase_is_equation_3(random: np.random.Generator) -> None:
    content, weights, erase_vector = random.normal(size=[2, 5, 7]), random.random([2, 1, 7]), random.random([2, 5, 1])
    erased = np.asarray(memory.erase(content, weights, erase_vector))
    for b, m, i in np.ndindex(2, 5, 7):
        assert erased[b, m, i] == pytest.approx(content[b, m, i] * (1 - weights[b, 0, i] * erase_vector[b, m, 0]))


def test_add_is_equation_4(random: np.random.Generator) -> None:
    content, weights, vectors = random.normal(size=[2, 5, 7]), random.random([2, 3, 7]), random.normal(size=[2, 5, 3])
    added = np.asarray(memory.add(content, weights, vectors))
    for b, m, i in np.ndindex(2, 5, 7):
        wanted = content[b, m, i] + sum(weights[b, k, i] * vectors[b, m, k] for k in range(3))
        assert added[b, m, i] == pytest.approx(wanted)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(3, 40), st.sampled_from([1, 3, 5]))
def test_every_weighting_is_nonnegative_and_sums_to_1(seed: int, locations: int, shifts: int) -> None:
    random = np.random.default_rng(seed)
    scale = 10 ** random.uniform(-3, 3)
    key = (scale * random.normal(size=[1, 2, 4])).astype(np.float32)
    content = (scale * random.normal(size=[1, 4, locations])).astype(np.float32)
    parameter = random.exponential(size=[1, 2, 1]).astype(np.float32) * 20
    c = addressing.content_weighting(addressing.cosine_similarity(key, content), parameter)
    g = addressing.interpolate(random.random([1, 2, 1], np.float32), c, weighting(random, 1, 2, locations))
    s = addressing.circular_shift(g, weighting(random, 1, 2, shifts))
    for weights in (c, g, s, addressing.sharpen(s, 1 + parameter)):
        assert np.min(weights) >= -1e-7  # a difference rounds
        np.testing.assert_allclose(np.sum(weights, axis=-1), 1, rtol=1e-4)


@settings(deadline=None, max_examples=30)
@given(st.integers(3, 20), st.sampled_from([1, 3, 5]), st.data())
def test_a_certain_shift_rotates(locations: int, shifts: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, shifts - 1))
    weights = data.draw(
        st.lists(st.floats(0, 1, width=32, allow_subnormal=False), min_size=locations, max_size=locations)
    )
    shift_weighting = np.eye(shifts, dtype=np.float32)[index]
    actual = addressing.circular_shift(np.array([[weights]], np.float32), shift_weighting[np.newaxis, np.newaxis])
    np.testing.assert_array_equal(actual[0, 0], np.roll(np.array(weights, np.float32), index - shifts // 2))


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 200), st.floats(1, 100, width=32), st.data())
def test_a_sharp_weighting_stays_as_it_is(locations: int, sharpening: float, data: st.DataObject) -> None:
    one_hot = np.eye(locations, dtype=np.float32)[data.draw(st.integers(0, locations - 1))]
    actual = addressing.sharpen(one_hot[np.newaxis, np.newaxis], np.array([[[sharpening]]], np.float32))
    np.testing.assert_allclose(actual[0, 0], one_hot, atol=1e-6)


def test_sharpening_grows_the_largest_weight(random: np.random.Generator) -> None:
    weights = weighting(random, 1, 1, 9)
    largest = [
        addressing.sharpen(weights, np.array([[[gamma]]], np.float32)).numpy().max() for gamma in (1, 1.5, 3, 10)
    ]
    assert largest == sorted(largest)
    assert largest[0] == pytest.approx(weights.max())


def test_gradients_where_a_norm_or_a_weight_is_zero_are_finite() -> None:
    key, content, weights = tf.zeros([1, 1, 4]), tf.zeros([1, 4, 5]), tf.one_hot([[0]], 5)
    with tf.GradientTape() as tape:
        tape.watch([key, content, weights])
        similarity = addressing.cosine_similarity(key, content)
        result = tf.reduce_max(similarity) + tf.reduce_max(addressing.sharpen(weights, tf.constant([[[2.0]]])))
    assert all(np.isfinite(gradient).all() for gradient in tape.gradient(result, [key, content, weights]))


@pytest.mark.parametrize(
    "function",
    [
        addressing.cosine_similarity,
        addressing.content_weighting,
        addressing.interpolate,
        addressing.circular_shift,
        addressing.sharpen,
        memory.read,
        memory.erase,
        memory.add,
    ],
)
def test_docstring_tells_the_shapes(function) -> None:  # type: ignore[no-untyped-def]
    *arguments, result = (
        [SIZES[size] if size in SIZES else int(size) for size in shape.split(", ")]
        for shape in re.findall(r"``\[(.*?)\]``", function.__doc__)
    )
    assert function(*(tf.ones(shape) for shape in arguments)).shape == result
