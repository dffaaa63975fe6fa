"""The networks as cells of ``keras.layers.RNN``."""

import importlib
import pathlib
import re
import subprocess
import sys
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntm
import ntm.keras
from ntm.export.publish import verify
from ntm.models import LSTMConfig, NTMConfig, make_network
from ntm.tasks import Copy

B, T, INPUTS, OUTPUTS = 3, 6, 5, 4
SMALL: dict[str, Any] = {"memory_locations": 7, "memory_vector_size": 3, "controller_sizes": (6,)}
LEARNED = {"initial_memory": "learned", "initial_weights": "learned", "initial_reads": "learned"}
OPTIONS: dict[str, dict[str, Any]] = {
    "feedforward": SMALL | {"read_heads": 2, "write_heads": 2, "gate_bias": -1.0, "seed": 3},
    "lstm": SMALL | {"controller": "lstm", "shifts": 5},
    "learned": SMALL | LEARNED | {"controller": "lstm"},
    "random": SMALL | {"initial_memory": "random", "initial_weights": "uniform"},
}


def cell(name: str = "feedforward") -> Any:
    if name == "baseline":
        return ntm.keras.LSTMNetworkCell(OUTPUTS, layer_sizes=(5, 4), seed=2)
    return ntm.keras.NTMCell(OUTPUTS, **OPTIONS[name])


def network(name: str) -> Any:
    """The network of the same options."""
    if name == "baseline":
        return make_network(LSTMConfig(INPUTS, OUTPUTS, (5, 4)), 2)
    options = dict(OPTIONS[name])
    made = {key: options.pop(key) for key in ("seed", "gate_bias") if key in options}
    return make_network(NTMConfig(INPUTS, OUTPUTS, **options), **made)


def sequences(batch_size: int = B, steps: int = T, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 2, (batch_size, steps, INPUTS)).astype(np.float32)


NAMES = [*OPTIONS, "baseline"]


@pytest.mark.parametrize("unroll", [False, True], ids=["loop", "unrolled"])
@pytest.mark.parametrize("name", NAMES)
def test_computes_what_the_network_does(name: str, unroll: bool) -> None:
    layer = keras.layers.RNN(cell(name), return_sequences=True, return_state=True, unroll=unroll)
    x, expected = sequences(), network(name)
    y, *states = layer(x)
    state, outputs = expected.initial_state(B), []
    for t in range(T):
        output, state = expected(x[:, t], state)
        outputs.append(output)
    np.testing.assert_allclose(y, np.stack(outputs, axis=1), atol=1e-6)
    found = layer.cell.unflatten(states)
    assert list(found) == list(state)
    for tensor in state:
        np.testing.assert_allclose(found[tensor], state[tensor], atol=1e-6, err_msg=tensor)


@pytest.mark.parametrize("name", NAMES)
def test_keras_knows_every_variable(name: str) -> None:
    layer, expected = keras.layers.RNN(cell(name)), network(name)
    layer.build((None, T, INPUTS))
    assert len(layer.trainable_weights) == len(expected.trainable_variables)
    assert layer.count_params() == sum(int(np.prod(variable.shape)) for variable in expected.variables)
    assert len(layer.non_trainable_weights) == (name == "random")  # a random memory is not learned
    layer.trainable = False
    assert not layer.trainable_weights


@pytest.mark.slow
def test_fit_trains_every_weight() -> None:
    model = keras.Sequential([keras.Input((None, INPUTS)), keras.layers.RNN(cell("learned"), return_sequences=True)])
    model.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True), jit_compile=False)
    before = model.get_weights()
    x = sequences(48, 3)
    history = model.fit(x, x[:, :, :OUTPUTS], batch_size=16, epochs=2, verbose=0).history["loss"]
    assert history[-1] < history[0]
    for weight, value in zip(model.weights, before, strict=True):
        assert np.any(weight.numpy() != value), weight.path


def test_is_built_where_keras_first_calls_it_in_a_graph() -> None:
    class Model(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer = keras.layers.RNN(cell())

        def call(self, x: Any) -> Any:
            return self.layer(x)

    model, x = Model(), sequences(8)
    model.compile("sgd", "mse", jit_compile=False)
    model.evaluate(x, x[:, 0, :OUTPUTS], verbose=0)
    assert len(model.trainable_weights) == len(network("feedforward").trainable_variables)


def test_compiled_by_xla_it_computes_the_same() -> None:
    model = keras.Sequential([keras.Input((T, INPUTS)), keras.layers.RNN(cell("lstm"))])
    compiled = tf.function(model, jit_compile=True)
    np.testing.assert_allclose(compiled(sequences()), model(sequences()), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_saving_and_loading_keeps_the_model(name: str, tmp_path: pathlib.Path) -> None:
    layer = keras.layers.RNN(cell(name), return_sequences=True, name="memory")
    model = keras.Sequential([keras.Input((None, INPUTS)), layer])
    initial = layer.cell.get_weights()
    for weight in model.weights:
        weight.assign(np.random.default_rng(1).normal(size=weight.shape))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.layers[0].cell.get_config() == layer.cell.get_config()
    assert loaded.layers[0].cell.network.config == network(name).config
    np.testing.assert_allclose(loaded(sequences()), model(sequences()), atol=1e-6)
    made_again = type(layer.cell).from_config(layer.cell.get_config())
    made_again.build((None, INPUTS))
    for weight, expected in zip(made_again.get_weights(), initial, strict=True):
        np.testing.assert_array_equal(weight, expected)
    model.save_weights(tmp_path / "model.weights.h5")
    for weight in loaded.weights:
        weight.assign(np.zeros(weight.shape))
    loaded.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_allclose(loaded(sequences()), model(sequences()), atol=1e-6)


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("name", ["feedforward", "lstm"])
def test_masked_steps_change_nothing(name: str, side: str) -> None:
    layer = keras.layers.RNN(cell(name), return_state=True)
    model_input = keras.Input((None, INPUTS))
    model = keras.Model(model_input, layer(keras.layers.Masking(mask_value=9.0)(model_input)))
    x, padding = sequences(), np.full((B, 2, INPUTS), 9.0, np.float32)
    padded = np.concatenate([padding, x] if side == "before" else [x, padding], axis=1)
    for found, expected in zip(model(padded), layer(x), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)
    every = keras.layers.RNN(layer.cell, return_sequences=True, zero_output_for_mask=True)
    mask = np.any(padded != 9.0, axis=2)
    y = every(padded, mask=tf.constant(mask))
    np.testing.assert_array_equal(np.asarray(y)[~mask], 0.0)
    np.testing.assert_allclose(np.asarray(y)[mask].reshape(B, T, OUTPUTS), every(x), atol=1e-6)


@pytest.mark.parametrize("name", ["feedforward", "learned", "baseline"])
def test_a_stateful_layer_goes_on_until_it_is_reset(name: str) -> None:
    layer = keras.layers.RNN(cell(name), return_sequences=True, stateful=True)
    whole = keras.layers.RNN(layer.cell, return_sequences=True)
    x = sequences()
    for _ in range(2):
        y = np.concatenate([layer(x[:, :2]), layer(x[:, 2:])], axis=1)
        np.testing.assert_allclose(y, whole(x), atol=1e-6)
        layer.reset_state()  # Keras sets the state to zeros


def test_a_state_goes_from_layer_to_layer() -> None:
    inputs = keras.Input((None, INPUTS))
    first = keras.layers.RNN(cell(), return_state=True)
    _, *states = first(inputs)
    y = keras.layers.RNN(first.cell, return_sequences=True)(inputs, initial_state=states)
    assert [state.shape for state in states] == [(None, size) for size in first.cell.state_size]
    x = sequences()
    twice = np.concatenate([x, x], axis=1)
    expected = keras.layers.RNN(first.cell, return_sequences=True)(twice)[:, T:]
    np.testing.assert_allclose(keras.Model(inputs, y)(x), expected, atol=1e-6)


def test_cells_are_stacked_and_read_in_both_directions() -> None:
    stacked = keras.layers.RNN([cell("lstm"), cell("feedforward")])
    assert stacked(sequences()).shape == (B, OUTPUTS)
    both = keras.layers.Bidirectional(keras.layers.RNN(cell(), return_sequences=True))
    assert both(sequences()).shape == (B, T, 2 * OUTPUTS)


def test_computes_in_float32_within_a_model_of_mixed_precision() -> None:
    expected = keras.layers.RNN(cell())(sequences())
    mixed = keras.layers.RNN(cell(), dtype="mixed_float16")(sequences())
    assert mixed.dtype == tf.float16
    np.testing.assert_allclose(mixed, expected, atol=1e-3)
    with pytest.raises(ValueError, match="NTMCell computes in float32, not in float16"):
        ntm.keras.NTMCell(OUTPUTS, dtype="mixed_float16")


def test_the_memory_may_be_larger_than_in_training() -> None:
    trained = keras.layers.RNN(cell(), return_sequences=True)
    trained.build((None, T, INPUTS))
    larger = keras.layers.RNN(
        type(trained.cell).from_config(trained.cell.get_config() | {"memory_locations": 50}), return_sequences=True
    )
    larger.build((None, T, INPUTS))
    larger.set_weights(trained.get_weights())
    expected = network("feedforward")
    state, x = expected.initial_state(B, 50), sequences()
    for t in range(T):
        y, state = expected(x[:, t], state)
    np.testing.assert_allclose(larger(x)[:, -1], y, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lstm", "baseline"])
def test_the_network_inside_is_exported(name: str, tmp_path: pathlib.Path) -> None:
    task = Copy(bits=OUTPUTS)
    model = keras.Sequential([keras.Input((None, INPUTS)), keras.layers.RNN(cell(name), return_sequences=True)])
    run = ntm.keras.trained(model, task)
    agreements = ntm.export(run, tmp_path / "model")
    assert all(found.holds for found in agreements.values())
    exported = ntm.load(tmp_path / "model")
    assert exported.metadata.task == {"name": "copy", "options": {"bits": OUTPUTS, "pattern": "random"}}
    y, _ = exported.run(sequences().swapaxes(0, 1), exported.initial_state(B, memory_locations=7))
    np.testing.assert_allclose(y.swapaxes(0, 1), tf.sigmoid(model(sequences())), atol=1e-5)
    if name == "baseline":
        verify(ntm.keras.trained(model.layers[0], task), tmp_path / "model")
    model.set_weights([weight * 1.01 for weight in model.get_weights()])
    with pytest.raises(ntm.ExportError, match="was exported from another checkpoint"):
        verify(ntm.keras.trained(model.layers[0].cell, task), tmp_path / "model")


def test_the_model_in_the_documentation_is_one_for_the_copy_task() -> None:
    page = (pathlib.Path(__file__).parents[1] / "docs" / "keras.md").read_text(encoding="utf-8")
    first, _ = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(first, names)  # noqa: S102
    assert names["model"](np.zeros((2, 3, 9))).shape == (2, 3, 8)
    run = ntm.keras.trained(names["model"], Copy())
    assert (run.config.task, run.network.config.memory_locations) == ("copy", 32)


def test_refuses_what_is_not_one_network() -> None:
    built = keras.layers.RNN(cell(), return_sequences=True)
    inputs = keras.Input((None, INPUTS))
    y = built(inputs)
    two = keras.Model(inputs, keras.layers.Concatenate()([y, keras.layers.RNN(cell(), return_sequences=True)(inputs)]))
    task = Copy(bits=OUTPUTS)
    for layer, message in (
        (keras.layers.LSTM(3), "there are 0 cells of ntm.keras in"),
        ("model", "there are 0 cells of ntm.keras in 'model'"),
        (two, "there are 2 cells of ntm.keras in"),
        (cell(), "has no weights yet: call the layer, or train it"),
        (keras.Model(inputs, keras.layers.Dense(4)(y)), "has other weights: give the layer of the cell"),
    ):
        with pytest.raises(ntm.RunError, match=message) as caught:
            ntm.keras.trained(layer, task)
        assert "\n" not in str(caught.value)
    with pytest.raises(ntm.TaskError, match="the task copy has 9 inputs, and the network 5"):
        ntm.keras.trained(built, "copy")
    with pytest.raises(TypeError, match=r"task must be an object: Copy\(\), not Copy"):
        ntm.keras.trained(built, Copy)  # type: ignore[arg-type]


def test_refuses_options_that_cannot_be_used() -> None:
    for options, message in (
        ({"memory": 5}, "Unrecognized keyword arguments.*memory"),
        ({"controller": "gru"}, "controller must be"),
        ({"shifts": 2}, "shifts must be odd"),
    ):
        with pytest.raises(ValueError, match=message):
            ntm.keras.NTMCell(OUTPUTS, **options)
    with pytest.raises(ValueError, match="needs inputs whose last axis has a fixed size"):
        keras.layers.RNN(cell())(keras.Input((None, None)))


def test_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    program = """
import sys
sys.modules["tensorflow"] = None
import ntm
try:
    import ntm.keras
except ntm.MissingExtraError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "tensorflow is missing: pip install 'neural-turing-machine[train]'\n"
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(
        ntm.Error, match=r"^ntm\.keras needs Keras on TensorFlow, not on jax: set KERAS_BACKEND=tensorflow$"
    ):
        importlib.reload(ntm.keras)
