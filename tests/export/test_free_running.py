"""The bundled model is TensorFlow's network: left to run freely for a thousand steps, it computes the same."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ntm.export import savedmodel, tflite
from ntm.export.onnx_format import session
from ntm.export.source import Source
from ntm.export.step import outputs, step_function
from ntm.models import NTMCell, NTMConfig
from ntm.runtime import folder
from ntm.tasks import Copy
from ntm.training.run import TrainedRun

pytestmark = pytest.mark.slow

LENGTH, BATCH = 500, 2
TOLERANCE = 1e-5

Step = Callable[[np.ndarray, Mapping[str, np.ndarray]], Mapping[str, Any]]


@pytest.fixture(scope="module")
def cell(bundled_variables: dict[str, np.ndarray]) -> NTMCell:
    """The network with the variables that the bundled ONNX file holds."""
    cell = NTMCell(NTMConfig(**folder.read(folder.DEFAULT).metadata.config))
    for variable in cell.trainable_variables:
        variable.assign(bundled_variables[variable.name.removesuffix(":0")])
    return cell


def differences(expected_step: Step, actual_step: Step, cell: NTMCell) -> tuple[dict[str, float], int, int]:
    """Run two steps side by side, each on its own state: the largest differences, wrong and differing bits."""
    x, target, _ = Copy().batch(np.random.default_rng(3), BATCH, {"length": LENGTH})
    state = {name: t.numpy() for name, t in cell.initial_state(BATCH, LENGTH + 2).items()}
    expected = actual = state
    largest, said, recalled = dict.fromkeys(outputs(cell.config), 0.0), [], []
    for x_t in x:
        mine = {name: np.asarray(t) for name, t in expected_step(x_t, expected).items()}
        theirs = {name: np.asarray(t) for name, t in actual_step(x_t, actual).items()}
        for name in largest:
            largest[name] = max(largest[name], float(np.abs(mine[name] - theirs[name]).max()))
        said.append(mine["y"] > 0.5)
        recalled.append(theirs["y"] > 0.5)
        expected = {name: mine[f"next_{name}"] for name in state}
        actual = {name: theirs[f"next_{name}"] for name in state}
    differing = int(np.count_nonzero(np.stack(said)[LENGTH + 1 :] != np.stack(recalled)[LENGTH + 1 :]))
    wrong = int(np.count_nonzero(np.stack(recalled)[LENGTH + 1 :] != (target[LENGTH + 1 :] > 0.5)))
    return largest, differing, wrong


@pytest.fixture(scope="module", params=["onnx", "savedmodel", "tflite", "xla"])
def other(
    request: pytest.FixtureRequest,
    cell: NTMCell,
    trained: Callable[..., TrainedRun],
    tmp_path_factory: pytest.TempPathFactory,
) -> Step:
    if request.param == "onnx":
        run = session(folder.read(folder.DEFAULT).step.content)
        return lambda x, state: run({"x": x, **state})
    if request.param == "savedmodel":
        target = tmp_path_factory.mktemp("savedmodel")
        savedmodel.write(Source(trained(cell, Copy()), Copy(), "bundled", 8), target)
        (version,) = (target / "savedmodel").iterdir()
        loaded = tf.saved_model.load(version)
        step = loaded.signatures["step"]
        return lambda x, state: step(x=tf.constant(x), **{name: tf.constant(value) for name, value in state.items()})
    if request.param == "tflite":
        run = tflite.step(tflite.convert(cell, tf.float32))
        return lambda x, state: run({"x": x, **state})
    compiled = tf.function(step_function(cell).python_function, jit_compile=True, autograph=False)
    return lambda x, state: compiled(x, **state)


def test_runs_freely_as_tensorflow_does(cell: NTMCell, other: Step) -> None:
    step = step_function(cell)
    largest, differing, wrong = differences(lambda x, state: step(x, **state), other, cell)
    assert differing == 0
    assert wrong == 0
    assert max(largest.values()) <= TOLERANCE, largest
