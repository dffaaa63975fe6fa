"""The SavedModel needs TensorFlow and nothing of ours."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from tensorflow.core.protobuf import saved_model_pb2

from ntm.export import parity, savedmodel
from ntm.export.source import Source
from ntm.export.step import step_function
from ntm.models import NTMCell, NTMConfig
from ntm.runtime.metadata import INPUTS, STEP_OUTPUTS, Metadata
from ntm.training.run import TrainedRun

_PROGRAM = """
import json, sys
sys.modules["ntm"] = None  # importing it would fail
import tensorflow as tf

signatures = tf.saved_model.load(sys.argv[1]).signatures
results = {}
for batch, length in ((1, 1), (3, 7)):
    words = tf.reshape(tf.range(batch * length * 3, dtype=tf.int32) % 7 % 2, [batch, length, 3])
    copied = signatures["serving_default"](words=tf.cast(words, tf.uint8))
    state = signatures["initial_state"](batch_size=tf.constant(batch), memory_locations=tf.constant(length + 2))
    delimiter = tf.constant([[0.0, 0, 0, 1]] * batch)
    silence = tf.zeros([batch, 4])
    steps = [tf.pad(tf.cast(words[:, t], tf.float32), [[0, 0], [0, 1]]) for t in range(length)]
    y = []
    for x in (*steps, delimiter, *[silence] * length):
        outputs = signatures["step"](x=x, **state)
        state = {name: outputs["next_" + name] for name in state}
        y.append(outputs["y"])
    results[f"{batch} x {length}"] = {
        "words": words.numpy().tolist(),
        "copy": copied["copy"].numpy().tolist(),
        "y": copied["y"].numpy().tolist(),
        "y of steps": tf.stack(y[length + 1 :], axis=1).numpy().tolist(),
    }
assert not any(name.startswith("ntm.") for name in sys.modules)
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def cell() -> NTMCell:
    cell, random = (
        NTMCell(NTMConfig(word_bits=3, memory_vector_size=4, controller_sizes=(9,))),
        np.random.default_rng(0),
    )
    for variable in cell.variables:
        variable.assign(random.normal(size=variable.shape, scale=0.5))
    return cell


@pytest.fixture(scope="module")
def folder(cell: NTMCell, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("export")
    savedmodel.write(Source(TrainedRun(cell, {"batches": 7}, "0" * 64), "tiny", 8), folder)
    return folder / "savedmodel"


def test_tensorflow_alone_loads_it_and_copies(cell: NTMCell, folder: pathlib.Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, folder / "1"], check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert set(results) == {"1 x 1", "3 x 7"}
    step = step_function(cell)
    for result in results.values():
        words = np.array(result["words"])
        state = dict(zip(INPUTS[1:], cell.initial_state(len(words), words.shape[1] + 2), strict=True))
        y = []
        for x in np.stack([parity.copy_inputs(sequence) for sequence in words], axis=1):
            outputs = step(x, **state)
            state = {name: outputs[f"next_{name}"] for name in state}
            y.append(outputs["y"])
        expected = np.stack(y[words.shape[1] + 1 :], axis=1)
        np.testing.assert_allclose(result["y"], expected, atol=1e-5)
        np.testing.assert_allclose(result["y of steps"], expected, atol=1e-5)
        np.testing.assert_array_equal(result["copy"], expected > 0.5)


def test_tensorflow_serving_finds_a_version_and_its_signatures(folder: pathlib.Path) -> None:
    """It serves the folders whose names are numbers, a graph tagged so, and by default the signature called so."""
    assert [path.name for path in folder.iterdir()] == ["1"]
    model = saved_model_pb2.SavedModel.FromString((folder / "1" / "saved_model.pb").read_bytes())
    (graph,) = model.meta_graphs
    assert list(graph.meta_info_def.tags) == ["serve"]
    copy, step = (graph.signature_def[name] for name in ("serving_default", "step"))
    for signature in (copy, step):
        assert signature.method_name == "tensorflow/serving/predict"
        for tensor in (*signature.inputs.values(), *signature.outputs.values()):
            assert tensor.tensor_shape.dim[0].size == -1  # B
    assert set(copy.inputs) == {"words"}
    assert set(copy.outputs) == {"copy", "y"}
    assert set(step.inputs) == set(INPUTS)
    assert set(step.outputs) == set(STEP_OUTPUTS)


def test_metadata_round_trips(cell: NTMCell, folder: pathlib.Path) -> None:
    properties = json.loads((folder / "1" / "assets.extra" / "metadata.json").read_text())
    expected = Source(TrainedRun(cell, {"batches": 7}, "0" * 64), "tiny", 8).metadata()
    assert Metadata.from_props(properties) == expected
