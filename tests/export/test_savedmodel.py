"""The SavedModel needs TensorFlow and nothing of ours."""

import json
import pathlib
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import saved_model_pb2

from ntm.export import savedmodel
from ntm.export.source import Source
from ntm.export.step import step_function
from ntm.models import NTMCell
from ntm.runtime.metadata import Metadata
from ntm.tasks import Copy
from ntm.training.run import TrainedRun

pytestmark = pytest.mark.slow

_PROGRAM = """
import json, sys
sys.modules["ntm"] = None  # importing it would fail
import tensorflow as tf

signatures = tf.saved_model.load(sys.argv[1]).signatures
results = {}
for batch, length in ((1, 1), (3, 9)):
    x = tf.reshape(tf.cast(tf.range(batch * length * 4) % 7 % 2, tf.float32), [batch, length, 4])
    whole = signatures["serving_default"](x=x)
    state = signatures["initial_state"](batch_size=tf.constant(batch), memory_locations=tf.constant(max(length, 6)))
    y = []
    for t in range(length):
        outputs = signatures["step"](x=x[:, t], **state)
        state = {name: outputs["next_" + name] for name in state}
        y.append(outputs["y"])
    results[f"{batch} x {length}"] = {
        "x": x.numpy().tolist(),
        "y": whole["y"].numpy().tolist(),
        "y of steps": tf.stack(y, axis=1).numpy().tolist(),
    }
assert not any(name.startswith("ntm.") for name in sys.modules)
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def source(make_cell: Callable[..., NTMCell], trained: Callable[..., TrainedRun]) -> Source:
    task = Copy(bits=3)
    cell = make_cell(task, memory_locations=6, memory_vector_size=4, controller_sizes=(9,))
    return Source(trained(cell, task, {"batches": 7}), task, "tiny", 8)


@pytest.fixture(scope="module")
def cell(source: Source) -> NTMCell:
    return source.run.network


@pytest.fixture(scope="module")
def folder(source: Source, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("export")
    savedmodel.write(source, folder)
    return folder / "savedmodel"


def test_tensorflow_alone_loads_it_and_runs_it(cell: NTMCell, folder: pathlib.Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, folder / "1"], check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert set(results) == {"1 x 1", "3 x 9"}
    step = step_function(cell)
    for result in results.values():
        x = np.array(result["x"], np.float32)  # [B, T, I]
        state = cell.initial_state(len(x), max(x.shape[1], 6))
        y = []
        for x_t in x.swapaxes(0, 1):
            outputs = step(x_t, **state)
            state = {name: outputs[f"next_{name}"] for name in state}
            y.append(outputs["y"])
        expected = np.stack(y, axis=1)
        np.testing.assert_allclose(result["y"], expected, atol=1e-5)
        np.testing.assert_allclose(result["y of steps"], expected, atol=1e-5)


def test_tensorflow_serving_finds_a_version_and_its_signatures(folder: pathlib.Path) -> None:
    """It serves the folders whose names are numbers, a graph tagged so, and by default the signature called so."""
    assert [path.name for path in folder.iterdir()] == ["1"]
    model = saved_model_pb2.SavedModel.FromString((folder / "1" / "saved_model.pb").read_bytes())
    (graph,) = model.meta_graphs
    assert list(graph.meta_info_def.tags) == ["serve"]
    whole, step = (graph.signature_def[name] for name in ("serving_default", "step"))
    for signature in (whole, step):
        assert signature.method_name == "tensorflow/serving/predict"
        for tensor in (*signature.inputs.values(), *signature.outputs.values()):
            assert tensor.tensor_shape.dim[0].size == -1  # B
    assert set(whole.inputs) == {"x"}
    assert set(whole.outputs) == {"y"}
    for tensor, width in ((whole.inputs["x"], 4), (whole.outputs["y"], 3)):
        assert tensor.dtype == types_pb2.DT_FLOAT
        assert [size.size for size in tensor.tensor_shape.dim] == [-1, -1, width]  # [B, T, I] and [B, T, O]
    assert set(step.inputs) == {"x", "memory", "weights", "reads"}
    assert set(step.outputs) == {"y", "next_memory", "next_weights", "next_reads", "adds"}


def test_metadata_round_trips(source: Source, folder: pathlib.Path) -> None:
    properties = json.loads((folder / "1" / "assets.extra" / "metadata.json").read_text())
    assert Metadata.from_props(properties) == source.metadata()
    assert source.metadata().task == {"name": "copy", "options": {"bits": 3, "pattern": "random"}}
