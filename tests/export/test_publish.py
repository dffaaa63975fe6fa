"""What an export holds: its files, the names and shapes of the graphs, their metadata, and how a folder appears."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from ntm import console
from ntm.errors import ExportError, ModelError
from ntm.export import onnx_format, publish
from ntm.export.options import ALL
from ntm.export.source import Source
from ntm.models import Network, NTMCell, NTMConfig
from ntm.runtime.metadata import BATCHED, FILES, SPARSE, STEP, UNROLLED, Metadata
from ntm.runtime.model import load
from ntm.tasks import Copy
from ntm.training.run import TrainedRun, load_run

pytestmark = pytest.mark.slow


def test_an_export_is_whole_and_nothing_else_is_left(exported: pathlib.Path) -> None:
    assert {path.name for path in exported.iterdir()} == {
        "batched.onnx",
        "card.md",
        "index.html",
        "known_answer.json",
        "page",
        "savedmodel",
        "step.onnx",
        "step.tflite",
        "step_dynamic_range.tflite",
        "triton",
        "unrolled.onnx",
    }
    assert [path.name for path in exported.parent.iterdir()] == ["tiny-copy"]
    assert (exported / "savedmodel" / "1" / "saved_model.pb").is_file()
    umask = os.umask(0o022)
    os.umask(umask)
    assert exported.stat().st_mode & 0o777 == 0o777 & ~umask


@pytest.fixture(params=["step.onnx", "unrolled.onnx", "sparse.onnx", "batched.onnx"])
def written(request: pytest.FixtureRequest, exported: pathlib.Path, exported_by_location: pathlib.Path) -> pathlib.Path:
    """The file of a graph."""
    return (exported_by_location if request.param == "sparse.onnx" else exported) / str(request.param)


def test_names_and_shapes_are_the_contract(written: pathlib.Path) -> None:
    graph, file = onnx.load(written).graph, written.name
    time = {"step.onnx": [], "unrolled.onnx": [8], "sparse.onnx": [24], "batched.onnx": [11]}[file]

    def shapes(values: object) -> dict[str, list[int | str]]:
        return {
            value.name: [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]
            for value in values  # type: ignore[attr-defined]
        }

    assert tuple(value.name for value in graph.input) == ("x", "memory", "weights", "reads")
    outputs = ("y", "next_memory", "next_weights", "next_reads")
    adds = {} if time else {"adds": ["B", 1, 6]}
    assert tuple(value.name for value in graph.output) == (*outputs, *adds)
    state = {"memory": ["B", 6, "N"], "weights": ["B", 2, "N"], "reads": ["B", 1, 6]}
    assert shapes(graph.input) == {"x": [*time, "B", 6], **state}
    next_state = {f"next_{name}": shape for name, shape in state.items()}
    assert shapes(graph.output) == {"y": [*time, "B", 5], **next_state, **adds}


# The names of inputs and outputs by network; a step also has those that are last.
INTERFACES: dict[str, tuple[dict[str, Any], tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "feedforward controller": (
        {},
        ("x", "memory", "weights", "reads"),
        ("y", "next_memory", "next_weights", "next_reads"),
        ("adds",),
    ),
    "LSTM controller": (
        {"controller": "lstm"},
        ("x", "memory", "weights", "reads", "hidden", "cell"),
        ("y", "next_memory", "next_weights", "next_reads", "next_hidden", "next_cell"),
        ("adds",),
    ),
    "LSTM": ({"model": "lstm"}, ("x", "hidden", "cell"), ("y", "next_hidden", "next_cell"), ()),
}


@pytest.mark.parametrize(("options", "inputs", "outputs", "of_step"), INTERFACES.values(), ids=INTERFACES)
def test_names_are_the_contract_of_every_network(  # noqa: PLR0917
    make_network: Callable[..., Network],
    trained: Callable[..., TrainedRun],
    tmp_path: pathlib.Path,
    options: dict[str, Any],
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    of_step: tuple[str, ...],
) -> None:
    task = Copy(bits=3)
    onnx_format.write(Source(trained(make_network(task, **options), task), task, "tiny", 2), tmp_path)
    files = {"step.onnx", "unrolled.onnx", "batched.onnx"} if of_step else {"step.onnx"}
    assert {path.name for path in tmp_path.iterdir()} == files
    for path in tmp_path.iterdir():
        model = onnx.load(path)
        expected = outputs + of_step if path.name == "step.onnx" else outputs
        assert tuple(value.name for value in model.graph.input) == inputs
        assert tuple(value.name for value in model.graph.output) == expected
        metadata = Metadata.from_props({prop.key: prop.value for prop in model.metadata_props})
        assert (metadata.inputs, metadata.outputs) == (inputs, expected)


FOUR_HEADS = {"read_heads": 2, "write_heads": 2}
NETWORKS: dict[str, dict[str, Any]] = {
    "random memory": {"memory_locations": 6, "initial_memory": "random"},
    "LSTM controller of two layers, four heads, all learned": {
        "controller": "lstm",
        "controller_sizes": (9, 8),
        **FOUR_HEADS,
        "memory_locations": 6,
        "initial_memory": "learned",
        "initial_weights": "learned",
        "initial_reads": "learned",
    },
    "LSTM": {"model": "lstm", "layer_sizes": (6, 5)},
}


@pytest.mark.usefixtures("short_gate")
@pytest.mark.filterwarnings("ignore:not published, since not as good")
@pytest.mark.parametrize("options", NETWORKS.values(), ids=NETWORKS)
def test_every_network_is_published_in_every_format(
    make_network: Callable[..., Network],
    trained: Callable[..., TrainedRun],
    tmp_path: pathlib.Path,
    options: dict[str, Any],
) -> None:
    task = Copy(bits=3)
    network = make_network(task, **options)
    found = publish.publish(trained(network, task), tmp_path / "out", ALL, unroll=4)
    graphs = {"step.onnx", "savedmodel step", "savedmodel", "step.tflite", "triton step", "page/step.onnx"}
    if network.config.heads:
        graphs |= {f"{kind}.onnx" for kind in ("unrolled", "batched")}
        graphs |= {f"triton {kind}" for kind in ("unrolled", "batched")}
    assert set(found) - {"step_dynamic_range.tflite"} == graphs  # which is there only if it is as good
    for graph in graphs - {"savedmodel"}:
        assert set(found[graph].difference) >= {"y", *(f"next_{name}" for name in network.config.state_shapes)}
    assert all(agreement.holds for agreement in found.values())
    assert set(publish.verify(trained(network, task), tmp_path / "out")) == set(found)
    model, x = load(tmp_path / "out"), task.batch(np.random.default_rng(0), 2, {"length": 5}).x
    state, expected = model.initial_state(2, 11), network.initial_state(2, 11)
    assert list(state) == list(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(state[name], value, rtol=1e-6, err_msg=name)
    y, state = model.run(x, state)
    for x_t, y_t in zip(x, y, strict=True):
        logits, expected = network(x_t, expected)
        np.testing.assert_allclose(y_t, 1 / (1 + np.exp(-logits.numpy())), rtol=0, atol=1e-5)
    for name, value in expected.items():
        np.testing.assert_allclose(state[name], value, rtol=0, atol=1e-5, err_msg=name)
    if network.config.heads:
        trace = model.trace(x[:, :1], model.initial_state(1, 11))
        assert set(trace.carried) == set(state) - {"memory", "weights", "reads"}
    else:
        with pytest.raises(ModelError, match=r"^the model out has no memory and no heads to trace$"):
            model.trace(x[:, :1], model.initial_state(1))


def test_graphs_stand_the_full_check_and_every_shape_follows(written: pathlib.Path) -> None:
    model = onnx.load(written)
    onnx.checker.check_model(model, full_check=True)
    graph = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True).graph
    inferred = {value.name for value in (*graph.value_info, *graph.output) if value.type.tensor_type.HasField("shape")}
    assert {tensor for node in graph.node for tensor in node.output} <= inferred


def test_names_of_nodes_tell_where_they_come_from(exported: pathlib.Path, exported_by_location: pathlib.Path) -> None:
    step, unrolled, batched = (onnx.load(exported / FILES[kind]).graph for kind in (STEP, UNROLLED, BATCHED))
    sparse = onnx.load(exported_by_location / FILES[SPARSE]).graph
    functions = {node.name.split("/")[0] for node in step.node}
    assert functions >= {"hidden_0", "hidden_1", "heads", "output"}
    assert all(node.name.split("/")[0] == node.input[1].split("/")[0] for node in step.node if node.op_type == "Gemm")
    assert functions >= {"cosine_similarity", "content_weighting", "interpolate", "circular_shift", "sharpen"}
    assert functions >= {"erase", "add", "read"}
    assert all("/" in node.name for node in step.node)
    constants = {initializer.name for initializer in step.initializer}
    assert "flat/Reshape/shape" in constants
    assert not any("__" in constant for constant in constants)  # as tf2onnx calls what it makes
    for graph, steps in ((unrolled, 8), (sparse, 24), (batched, 11)):
        assert {node.name.split("/")[0] for node in graph.node} == {"all", *(f"step_{i}" for i in range(steps))}
    assert constants >= {"hidden_0/kernel", "hidden_1/bias", "heads/kernel", "output/kernel"}
    parts = {
        "hidden_0/others/kernel",
        "hidden_1/bias",
        "heads/addressing/kernel",
        "heads/add_0/bias",
        "output/reads/kernel",
    }
    assert {initializer.name for initializer in unrolled.initializer} >= parts
    parts = {"hidden_0/kernel", "hidden_1/bias", "heads_and_output/kernel", "output/reads/kernel"}
    for graph in (sparse, batched):
        assert {initializer.name for initializer in graph.initializer} >= parts


def test_the_step_is_converted_alike_in_every_process(run: pathlib.Path, exported: pathlib.Path) -> None:
    code = """if True:
        import pathlib, sys
        from ntm.export import onnx_format
        from ntm.training.run import load_run
        print(onnx_format.convert(load_run(pathlib.Path(sys.argv[1])).network).SerializeToString().hex())"""
    environment = dict(os.environ, PYTHONHASHSEED="1")  # this process has another one
    done = subprocess.run([sys.executable, "-c", code, run], env=environment, stdout=subprocess.PIPE, check=True)
    step = onnx.load_from_string(bytes.fromhex(done.stdout.decode()))
    assert step.graph == onnx.load(exported / "step.onnx").graph  # after other conversions, it may be


def test_metadata_round_trips(
    run: pathlib.Path, run_without_content_addressing: pathlib.Path, written: pathlib.Path
) -> None:
    metadata = Metadata.from_props({prop.key: prop.value for prop in onnx.load(written).metadata_props})
    trained = load_run(run if metadata.content_addressing else run_without_content_addressing)
    assert metadata == Source(trained, Copy(bits=5), "tiny-copy", 8).metadata(written.stem)
    assert metadata.task == {"name": "copy", "options": {"bits": 5, "pattern": "random"}}
    assert NTMConfig(**metadata.config) == trained.network.config
    assert metadata.training == {"batches": 7}


@pytest.mark.usefixtures("short_gate")
@pytest.mark.parametrize("learned", [False, True])
def test_runtime_starts_where_the_network_starts(
    make_cell: Callable[..., NTMCell], save_run: Callable[..., pathlib.Path], tmp_path: pathlib.Path, learned: bool
) -> None:
    task = Copy(bits=3)
    cell = make_cell(
        task,
        memory_locations=6,
        memory_vector_size=4,
        controller_sizes=(5,),
        read_heads=2,
        **(dict.fromkeys(("initial_memory", "initial_weights", "initial_reads"), "learned") if learned else {}),
    )
    run = save_run(tmp_path / "run", cell, task)
    publish.publish(run, tmp_path / "out", ["onnx"], unroll=2)
    actual = load(tmp_path / "out").initial_state(batch_size=3, memory_locations=9)
    expected = cell.initial_state(batch_size=3, memory_locations=9)
    assert list(actual) == list(expected) == ["memory", "weights", "reads"]
    for name, value in expected.items():
        np.testing.assert_allclose(actual[name], value, rtol=1e-6, err_msg=name)
    with contextlib.nullcontext() if not learned else pytest.raises(ExportError, match="at least 6 memory locations"):
        publish.publish(run, tmp_path / "triton", ["triton"], unroll=2, memory_locations=5)


@pytest.mark.usefixtures("short_gate")
@pytest.mark.parametrize("on", [True, False])
def test_an_export_says_whether_heads_use_content_addressing_and_leaves_it_out_if_not(
    run: pathlib.Path, run_without_content_addressing: pathlib.Path, tmp_path: pathlib.Path, on: bool
) -> None:
    publish.publish(run if on else run_without_content_addressing, tmp_path / "out", ["onnx"], unroll=8)
    assert load(tmp_path / "out").metadata.content_addressing is on
    said = "Content addressing of this network is turned off" in (tmp_path / "out" / "card.md").read_text()
    assert said is not on
    assert (tmp_path / "out" / "sparse.onnx").exists() is not on
    for file in ("unrolled.onnx", "batched.onnx", *(["sparse.onnx"] if not on else [])):
        names = [node.name for node in onnx.load(tmp_path / "out" / file).graph.node]
        assert any("/content/" in name for name in names) is on, file
        # The graph that takes what heads look at out of the memory, together with their weightings.
        assert any("step_0/location/Gather" in name for name in names) is (file == "sparse.onnx" and not on)


# The most nodes that onnxruntime runs for each equation.
NODES = {
    "cosine_similarity": 12,
    "content_weighting": 2,
    "interpolate": 3,
    "circular_shift": 10,
    "sharpen": 4,
    "erase": 3,
    "add": 2,
    "read": 1,
}


def test_default_network_takes_at_most_62_nodes_a_step(tmp_path: pathlib.Path) -> None:
    cell = NTMCell(NTMConfig(input_size=9, output_size=8))
    for variable in cell.variables:
        variable.assign_add(0.1 * np.ones(variable.shape, np.float32))  # no bias of zero, that could be left out
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(onnx_format.convert(cell).SerializeToString(), options)
    nodes = Counter(node.name.partition("/")[0] for node in onnx.load(tmp_path / "optimised.onnx").graph.node)
    assert {function: nodes[function] for function, most in NODES.items() if nodes[function] > most} == {}
    assert nodes.total() <= 62


def test_a_kill_while_an_export_is_replaced_leaves_one_of_the_two(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "card.md").write_text("the old one")
    rename = pathlib.Path.rename

    def interrupted(path: pathlib.Path, target: pathlib.Path) -> None:
        monkeypatch.undo()
        rename(path, target)
        raise console.SignalError(signal.SIGTERM)

    monkeypatch.setattr(pathlib.Path, "rename", interrupted)
    with pytest.raises(console.SignalError), publish._staged(tmp_path / "out", replace=True) as staged:
        (staged / "card.md").write_text("the new one")
    assert (tmp_path / "out" / "card.md").read_text() == "the old one"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_appears_meanwhile_is_not_replaced(tmp_path: pathlib.Path) -> None:
    thesis = tmp_path / "out" / "thesis.txt"
    with contextlib.ExitStack() as stack:
        stack.enter_context(publish._staged(tmp_path / "out", replace=False))
        thesis.parent.mkdir()
        thesis.touch()
        with pytest.raises(ExportError, match="out exists"):
            stack.close()
    assert thesis.exists()


def test_a_folder_that_only_has_the_names_of_an_export_is_not_replaced(tmp_path: pathlib.Path) -> None:
    (tmp_path / "out" / "savedmodel").mkdir(parents=True)
    with pytest.raises(ExportError, match="is not an export"):
        publish._check_free(tmp_path / "out", replace=True)
