"""TF-Lite: what any interpreter can read of the files, and when the quantised one is published."""

import json
import pathlib
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from ntm.export import parity, publish, tflite
from ntm.export.source import Source
from ntm.export.step import Sizes, step_function
from ntm.models import NTMCell, NTMConfig
from ntm.runtime.folder import DEFAULT, read
from ntm.runtime.metadata import Metadata
from ntm.tasks import Copy
from ntm.training.run import load_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(
    bundled_variables: dict[str, np.ndarray],
    save_run: Callable[..., pathlib.Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> pathlib.Path:
    """The run of a network that copies."""
    cell = NTMCell(NTMConfig(**read(DEFAULT).metadata.config))
    for variable in cell.trainable_variables:
        variable.assign(bundled_variables[variable.name.removesuffix(":0")])
    return save_run(tmp_path_factory.mktemp("runs") / "run", cell, Copy())


@pytest.fixture(scope="module")
def exported(run: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("exports") / "copy"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        publish.publish(run, folder, ["tflite"], unroll=8)
    return folder


def test_a_network_that_copies_is_published_quantised(exported: pathlib.Path) -> None:
    files = {"card.md", "known_answer.json", "step.tflite", "step_dynamic_range.tflite"}
    assert {path.name for path in exported.iterdir()} == files
    sizes = [(exported / file).stat().st_size for file in tflite.FILES]
    assert sizes[1] < sizes[0] / 1.5
    card = (exported / "card.md").read_text()
    assert "`step_dynamic_range.tflite` is the same" in card
    assert "8 random sequences of each of the sizes length=1, length=20, length=120, length=1000" in card


@pytest.mark.parametrize("file", tflite.FILES)
def test_operations_are_built_in_and_the_signature_has_names(exported: pathlib.Path, file: str) -> None:
    model = schema.ModelT.InitFromPackedBuf((exported / file).read_bytes())
    assert all(code.customCode is None for code in model.operatorCodes)
    assert Interpreter(str(exported / file)).get_signature_list() == {
        "step": {
            "inputs": ["memory", "reads", "weights", "x"],
            "outputs": ["adds", "next_memory", "next_reads", "next_weights", "y"],
        }
    }


def test_metadata_is_in_the_files_and_they_are_proven_again(run: pathlib.Path, exported: pathlib.Path) -> None:
    for file in tflite.FILES:
        model = schema.ModelT.InitFromPackedBuf((exported / file).read_bytes())
        (entry,) = [entry for entry in model.metadata if entry.name == b"ntm"]
        metadata = Metadata.from_props(json.loads(bytes(model.buffers[entry.buffer].data)))
        assert metadata == Source(load_run(run), Copy(), "copy", 8).metadata()
    found = publish.verify(run, exported)
    assert list(found) == list(tflite.FILES)
    assert found["step_dynamic_range.tflite"].wrong_bits == {f"length={length}": 0 for length in (1, 20, 120, 1000)}


@pytest.fixture
def quantise_wrongly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the quantised file have one number wrong: a scale, and with it a matrix."""
    correct: Callable[..., bytes] = tflite.convert

    def convert(cell: NTMCell, weights: tf.DType, sizes: Sizes | None) -> bytes:
        content = correct(cell, weights, sizes)
        if weights == tf.float32:
            return content
        model = schema.ModelT.InitFromPackedBuf(content)
        matrix = next(tensor for tensor in model.subgraphs[0].tensors if tensor.type == schema.TensorType.INT8)
        matrix.quantization.scale = matrix.quantization.scale * np.float32(100)
        return tflite.packed(model)

    monkeypatch.setattr(tflite, "convert", convert)


@pytest.mark.usefixtures("quantise_wrongly")
def test_a_quantised_graph_that_is_wrong_is_left_out(run: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with pytest.warns(UserWarning, match=r"not as good: step_dynamic_range.tflite \(by up to .* wrong at length=1000"):
        publish.publish(run, tmp_path / "out", ["tflite"], unroll=8)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"card.md", "known_answer.json", "step.tflite"}
    assert "dynamic_range" not in (tmp_path / "out" / "card.md").read_text()


def unchanged(inputs: parity.Tensors) -> parity.Tensors:
    """The state as it was, for the next step."""
    return {f"next_{name}": value for name, value in inputs.items() if name != "x"}


def test_wrong_bits_count_at_every_size(run: pathlib.Path) -> None:
    def zeros(inputs: parity.Tensors) -> parity.Tensors:
        return {"y": np.zeros([len(inputs["x"]), 8]), **unchanged(inputs)}

    wrong = parity.count_wrong_bits(load_run(run).network, Copy(), zeros, [{"length": 1}, {"length": 50}])
    assert set(wrong) == {"length=1", "length=50"}
    assert 0 < wrong["length=1"] < 8 * parity.SEQUENCES
    assert wrong["length=50"] == pytest.approx(4 * 50 * parity.SEQUENCES, rel=0.2)
    found = parity.Agreement(tolerance=None, difference={"y": 0.3}, wrong_bits={"length=1": 0, "length=50": 0})
    assert found.holds
    found.wrong_bits["length=50"] = 1
    assert not found.holds


def test_only_bits_that_tensorflow_gets_right_count_as_wrong(make_cell: Callable[..., NTMCell]) -> None:
    """The network was never trained: it gets some bits right, and a graph that is always wrong gets no more than these
    wrong beyond it.
    """
    task, size = Copy(bits=3), {"length": 5}
    cell = make_cell(task)
    batch = task.batch(np.random.default_rng(0), parity.SEQUENCES, size)
    state, right = cell.initial_state(parity.SEQUENCES, 7), 0
    for x, target, mask in zip(*batch, strict=True):
        logits, state = cell(x, state)
        right += int(np.count_nonzero(((logits.numpy() > 0) == (target > 0.5)) & (mask[:, np.newaxis] > 0)))
    assert 0 < right < 3 * 5 * parity.SEQUENCES

    answers = iter(1 - batch.target)

    def always_wrong(inputs: parity.Tensors) -> parity.Tensors:
        return {"y": next(answers), **unchanged(inputs)}

    assert parity.count_wrong_bits(cell, task, always_wrong, [size]) == {"length=5": right}
    itself = step_function(cell)
    found = parity.count_wrong_bits(
        cell, task, lambda inputs: {name: y.numpy() for name, y in itself(**inputs).items()}, [size]
    )
    assert found == {"length=5": 0}
