"""``ntm-export``: what it publishes, and above all what it refuses to publish."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import numpy_helper

from ntm import console
from ntm.export import (
    batched,
    card,
    command,
    onnx_format,
    parity,
    publish,
    savedmodel,
    sparse,
    tflite,
    unrolled,
    walking,
)
from ntm.export.source import Source
from ntm.models import NTMCell, NTMConfig
from ntm.runtime import onnx_file
from ntm.runtime.metadata import FILES, InitialState, Metadata
from ntm.runtime.model import load
from ntm.training.config import TrainingConfig
from ntm.training.run import load_run, save_checkpoint, save_config

_CODE = "from ntm.export.command import main; main()"


def make_run(folder: pathlib.Path, config: NTMConfig, seed: int = 0, *, searching: bool = True) -> pathlib.Path:
    """A run whose network was never trained, but decides: no bit is a matter of rounding."""
    cell, random = NTMCell(config), np.random.default_rng(seed)
    for variable in cell.trainable_variables:
        variable.assign(random.normal(size=variable.shape, scale=0.5 if "bias" in variable.name else 0.3))
    if not searching:
        cell.shut_gates()
    variables = {variable.name.removesuffix(":0"): variable.numpy() for variable in cell.trainable_variables}
    folder.mkdir()
    save_config(folder, config, TrainingConfig())
    save_checkpoint(folder, variables, {}, {"batches": 7})
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    config = NTMConfig(word_bits=5, memory_vector_size=6, controller_sizes=(20, 20))
    return make_run(tmp_path_factory.mktemp("runs") / "run", config)


@pytest.fixture(scope="module")
def run_without_search(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    config = NTMConfig(word_bits=5, memory_vector_size=6, controller_sizes=(20, 20))
    return make_run(tmp_path_factory.mktemp("runs") / "without-search", config, searching=False)


@pytest.fixture(scope="module")
def exported(run: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """An export of every format, of a network that was never trained."""
    folder = tmp_path_factory.mktemp("exports") / "tiny-copy"
    with pytest.warns(
        UserWarning, match="not published, since not as good: step_dynamic_range.tflite"
    ):  # never trained
        publish.publish(run, folder, publish.FORMATS, unroll=8)
    return folder


@pytest.fixture
def ntm_export(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run the command in this process, and return its exit code."""
    monkeypatch.setattr(console, "silence_libraries", lambda: None)

    def run_command(*arguments: str | pathlib.Path) -> int:
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        monkeypatch.setattr(sys, "argv", ["ntm-export", *map(str, arguments)])
        monkeypatch.setattr(os, "dup2", lambda *_: None)
        try:
            with pytest.raises(SystemExit) as end:
                command.main()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return int(end.value.code or 0)

    return run_command


@pytest.fixture
def short_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    """One batch of sequences is enough where the gate itself is not what is tested."""
    monkeypatch.setattr(parity, "LEAST_STEPS", 1)
    monkeypatch.setattr(parity, "LENGTHS", (1, 20))


def test_an_export_is_whole_and_nothing_else_is_left(exported: pathlib.Path) -> None:
    assert {path.name for path in exported.iterdir()} == {
        "batched.onnx",
        "card.md",
        "savedmodel",
        "sparse.onnx",
        "step.onnx",
        "step.tflite",
        "triton",
        "unrolled.onnx",
    }
    assert [path.name for path in exported.parent.iterdir()] == ["tiny-copy"]
    assert (exported / "savedmodel" / "1" / "saved_model.pb").is_file()
    umask = os.umask(0o022)
    os.umask(umask)
    assert exported.stat().st_mode & 0o777 == 0o777 & ~umask


@pytest.mark.parametrize("file", ["step.onnx", "unrolled.onnx", "sparse.onnx", "batched.onnx"])
def test_names_and_shapes_are_the_contract(exported: pathlib.Path, file: str) -> None:
    graph = onnx.load(exported / file).graph
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


@pytest.mark.parametrize("file", ["step.onnx", "unrolled.onnx", "sparse.onnx", "batched.onnx"])
def test_graphs_stand_the_full_check_and_every_shape_follows(exported: pathlib.Path, file: str) -> None:
    model = onnx.load(exported / file)
    onnx.checker.check_model(model, full_check=True)
    graph = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True).graph
    inferred = {value.name for value in (*graph.value_info, *graph.output) if value.type.tensor_type.HasField("shape")}
    assert {tensor for node in graph.node for tensor in node.output} <= inferred


def test_names_of_nodes_tell_where_they_come_from(exported: pathlib.Path) -> None:
    step, unrolled, sparse, batched = (onnx.load(exported / file).graph for file in FILES.values())
    functions = {node.name.split("/")[0] for node in step.node}
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
        "hidden_0/reads/kernel",
        "hidden_1/bias",
        "heads/addressing/kernel",
        "heads/add_0/bias",
        "output/reads/kernel",
    }
    for graph in (unrolled, sparse):
        assert {initializer.name for initializer in graph.initializer} >= parts
    parts = {"hidden_0/kernel", "hidden_1/bias", "heads_and_output/kernel", "output/reads/kernel"}
    assert {initializer.name for initializer in batched.initializer} >= parts


def test_the_step_is_converted_alike_in_every_process(run: pathlib.Path, exported: pathlib.Path) -> None:
    code = """if True:
        import pathlib, sys
        from ntm.export import onnx_format
        from ntm.training.run import load_run
        print(onnx_format.convert(load_run(pathlib.Path(sys.argv[1])).cell).SerializeToString().hex())"""
    converted = [
        subprocess.run(
            [sys.executable, "-c", code, run],
            env=dict(os.environ, PYTHONHASHSEED=seed),
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert converted[0] == converted[1]
    step = onnx.load_from_string(bytes.fromhex(converted[0].decode()))
    assert step.graph == onnx.load(exported / "step.onnx").graph  # after other conversions, it may be


@pytest.mark.parametrize("file", ["step.onnx", "unrolled.onnx", "sparse.onnx", "batched.onnx"])
def test_metadata_round_trips(run: pathlib.Path, exported: pathlib.Path, file: str) -> None:
    metadata = Metadata.from_props({prop.key: prop.value for prop in onnx.load(exported / file).metadata_props})
    trained = load_run(run)
    assert metadata == Source(trained, "tiny-copy", 8).metadata(file.removesuffix(".onnx"))
    assert NTMConfig(**metadata.config) == trained.cell.config
    assert metadata.training == {"batches": 7}


@pytest.mark.usefixtures("short_gate")
@pytest.mark.parametrize("learned", [False, True])
def test_runtime_starts_where_the_network_starts(tmp_path: pathlib.Path, learned: bool) -> None:
    config = NTMConfig(
        word_bits=3,
        memory_locations=6,
        memory_vector_size=4,
        controller_sizes=(5,),
        read_heads=2,
        learn_r_bias=learned,
        learn_w_bias=learned,
        learn_m_bias=learned,
    )
    run = make_run(tmp_path / "run", config)
    publish.publish(run, tmp_path / "out", ["onnx"], unroll=2)
    actual = load(tmp_path / "out").initial_state(batch_size=3, memory_locations=9)
    expected = load_run(run).cell.initial_state(batch_size=3, memory_locations=9)
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-6)
    with contextlib.nullcontext() if not learned else pytest.raises(console.CommandError, match="at least 6 memory"):
        publish.publish(run, tmp_path / "triton", ["triton"], unroll=2, memory_locations=5)


def test_card_tells_how_to_run_it(exported: pathlib.Path, run: pathlib.Path) -> None:
    text = (exported / "card.md").read_text()
    assert "| `memory` | `[B, 6, N]` | | `next_memory` | `[B, 6, N]` |" in text
    assert "|  | | | `adds` | `[B, 1, 6]` |" in text
    assert load_run(run).checkpoint_sha256 in text
    for graph in (*FILES.values(), "savedmodel", "step.tflite", "triton step"):
        assert graph in text
    assert [line for line in text.splitlines() if line.startswith("### ")] == [
        "### ONNX",
        "### SavedModel",
        "### TF-Lite",
        "### Triton",
    ]
    assert "| memory | each of the N locations holds 6 times 1e-06 |" in text


def test_card_tells_learned_numbers_to_the_last_bit() -> None:
    learned = np.array([0.1234567, 1 / 3], np.float32)
    memory, reads = (float(learned[0]),), (float(learned[0]), float(learned[1]))
    initial = InitialState(memory=memory, weights=((1.0, 0.0),), reads=(reads,))
    rows = card._initial_state(initial)
    assert "1 times 0.1234567 |" in rows
    told = json.loads(rows.rpartition("reads of head 0 | ")[2].removesuffix(" |"))
    assert np.array_equal(np.array(told, np.float32), learned)


@pytest.mark.usefixtures("short_gate")
@pytest.mark.filterwarnings("ignore:not published")
def test_only_the_formats_asked_for_are_there(
    ntm_export: Callable[..., int], run: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    out = tmp_path / "out"
    arguments = ["--format", "tflite", "--format", "triton", "--memory-locations", "33", "--quiet"]
    assert ntm_export(run, "--output", out, *arguments) == 0
    assert {path.name for path in out.iterdir()} == {"card.md", "step.tflite", "triton"}
    assert "dims: [ 6, 33 ]" in (out / "triton" / "step" / "config.pbtxt").read_text()
    text = (out / "card.md").read_text()
    assert "of up to 31\nwords" in text
    assert [line for line in text.splitlines() if line.startswith("### ")] == ["### TF-Lite", "### Triton"]


def test_the_command_knows_every_format() -> None:
    assert {wanted.value for wanted in command.Format} == {*publish.FORMATS, "all"}


# The most nodes that onnxruntime runs for each equation.
NODES = {
    "cosine_similarity": 11,
    "content_weighting": 2,
    "interpolate": 3,
    "circular_shift": 9,
    "sharpen": 4,
    "erase": 3,
    "add": 2,
    "read": 1,
}


def test_default_network_takes_at_most_60_nodes_a_step(tmp_path: pathlib.Path) -> None:
    cell = NTMCell(NTMConfig())
    for variable in cell.variables:
        variable.assign_add(0.1 * np.ones(variable.shape, np.float32))  # no bias of zero, that could be left out
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(onnx_format.convert(cell).SerializeToString(), options)
    nodes = Counter(node.name.partition("/")[0] for node in onnx.load(tmp_path / "optimised.onnx").graph.node)
    assert {function: nodes[function] for function, most in NODES.items() if nodes[function] > most} == {}
    assert nodes.total() <= 60


def test_check_proves_an_export_again(
    ntm_export: Callable[..., int], run: pathlib.Path, exported: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ntm_export(run, "--check", exported, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result) == {
        "step.onnx",
        "unrolled.onnx",
        "sparse.onnx",
        "batched.onnx",
        "savedmodel step",
        "savedmodel copy",
        "step.tflite",
        "triton step",
        "triton unrolled",
        "triton sparse",
        "triton batched",
    }
    for graph, found in result.items():
        assert found["steps"] > 1000
        assert found["differing_bits"] == 0
        assert max(found["difference"].values()) <= 1e-5
        chunks = graph.removeprefix("triton ").removesuffix(".onnx") in ("unrolled", "sparse", "batched")
        assert len(found["difference"]) == (
            1 if graph == "savedmodel copy" else 4 if chunks else 5
        )  # y; without adds; all


def constant_of(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    (constant,) = (constant for constant in model.graph.initializer if constant.name == name)
    return constant


def patch(model: onnx.ModelProto, name: str, amount: float) -> None:
    """Change one number of one constant."""
    constant = constant_of(model, name)
    values = numpy_helper.to_array(constant).copy()
    values.flat[0] += amount
    constant.CopyFrom(numpy_helper.from_array(values, name))


@pytest.mark.usefixtures("short_gate")
@pytest.mark.parametrize(
    ("constant", "amount"), [("heads/kernel", 0.01), ("output/bias", 1e-4), ("heads/bias", np.nan)]
)
def test_gate_refuses_a_conversion_that_is_off_by_one_number(  # noqa: PLR0917
    ntm_export: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    run: pathlib.Path,
    tmp_path: pathlib.Path,
    constant: str,
    amount: float,
) -> None:
    convert = onnx_format.convert

    def convert_wrongly(cell: NTMCell) -> onnx.ModelProto:
        model = convert(cell)
        patch(model, constant, amount)
        return model

    monkeypatch.setattr(onnx_format, "convert", convert_wrongly)
    assert ntm_export(run, "--output", tmp_path / "out") == 1
    assert list(tmp_path.iterdir()) == []
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("ntm-export: error: not equal to TensorFlow: step.onnx (by up to ")
    assert printed.err.count("\n") == 1


def spoil_savedmodel(source: Source, folder: pathlib.Path) -> None:
    """Convert a network of which one number is off."""
    shutil.rmtree(folder / "savedmodel")
    bias = source.run.cell.output.bias
    bias.assign_add([1e-4, 0, 0, 0, 0])
    savedmodel.write(source, folder)
    bias.assign_sub([1e-4, 0, 0, 0, 0])


def spoil_tflite(_: Source, folder: pathlib.Path) -> None:
    path = folder / "step.tflite"
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes())
    (kernel,) = (tensor for tensor in model.subgraphs[0].tensors if list(tensor.shape) == [5, 26])  # of the output
    values = np.frombuffer(bytes(model.buffers[kernel.buffer].data), np.float32).copy()
    values[0] += 0.01
    model.buffers[kernel.buffer].data = values.tobytes()
    path.write_bytes(tflite.packed(model))


def spoil_triton_graph(_: Source, folder: pathlib.Path) -> None:
    path = folder / "triton" / "step" / "1" / "model.onnx"
    model = onnx.load(path)
    patch(model, "heads/kernel", 0.01)
    onnx.save(model, path)


def spoil_triton_state(_: Source, folder: pathlib.Path) -> None:
    path = folder / "triton" / "step" / "initial_state" / "weights"
    weights = np.fromfile(path, np.float32)
    weights[1] = 1e-4
    weights.tofile(path)


@pytest.mark.usefixtures("short_gate")
@pytest.mark.filterwarnings("ignore:not published")
@pytest.mark.parametrize(
    ("format_", "graph", "spoil"),
    [
        ("savedmodel", "savedmodel step", spoil_savedmodel),
        ("tflite", "step.tflite", spoil_tflite),
        ("triton", "triton step", spoil_triton_graph),
        ("triton", "triton step", spoil_triton_state),
    ],
)
def test_gate_refuses_any_format_that_is_off_by_one_number(  # noqa: PLR0917
    ntm_export: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    run: pathlib.Path,
    tmp_path: pathlib.Path,
    format_: str,
    graph: str,
    spoil: Callable[[Source, pathlib.Path], None],
) -> None:
    write = publish.FORMATS[format_].write

    def write_wrongly(source: Source, folder: pathlib.Path) -> None:
        write(source, folder)
        monkeypatch.setattr(publish.FORMATS[format_], "write", write)
        spoil(source, folder)

    monkeypatch.setattr(publish.FORMATS[format_], "write", write_wrongly)
    assert ntm_export(run, "--format", format_, "--output", tmp_path / "out") == 1
    assert list(tmp_path.iterdir()) == []
    printed = capsys.readouterr()
    assert printed.out == ""
    (error,) = (line for line in printed.err.splitlines() if not line.startswith("ntm-export: warning: "))
    assert error.startswith(f"ntm-export: error: not equal to TensorFlow: {graph} (by up to ")


@pytest.mark.usefixtures("short_gate")
@pytest.mark.parametrize("steps", ["step_", "step_0/", "step_5/"])
@pytest.mark.parametrize(
    ("file", "module", "constant"),
    [
        ("unrolled.onnx", unrolled, "heads/addressing/kernel"),
        ("sparse.onnx", sparse, "heads/add_0/kernel"),
        ("batched.onnx", batched, "heads_and_output/kernel"),
        ("sparse.onnx", walking, "heads_and_output/kernel"),
    ],
)
def test_gate_compares_every_step_of_a_graph_of_several(  # noqa: PLR0917  (fixtures)
    monkeypatch: pytest.MonkeyPatch,
    run: pathlib.Path,
    run_without_search: pathlib.Path,
    tmp_path: pathlib.Path,
    file: str,
    module: Any,
    constant: str,
    steps: str,
) -> None:
    """Here some of them have another constant."""
    write = module.unroll

    def write_wrongly(cell: NTMCell, unroll_: int, opset: int) -> onnx.ModelProto:
        model = write(cell, unroll_, opset)
        right = numpy_helper.to_array(constant_of(model, constant))
        model.graph.initializer.append(numpy_helper.from_array(-right, "wrong"))
        for node in model.graph.node:
            if node.name.startswith(steps):
                node.input[:] = ["wrong" if tensor == constant else tensor for tensor in node.input]
        return model

    monkeypatch.setattr(module, "unroll", write_wrongly)
    with pytest.raises(publish.DisagreementError, match=rf"^not equal to TensorFlow: {file} "):
        publish.publish(run_without_search if module is walking else run, tmp_path / "out", ["onnx"], unroll=8)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("short_gate")
@pytest.mark.parametrize("searching", [True, False])
def test_an_export_tells_whether_its_heads_search_and_leaves_the_search_out_if_not(
    run: pathlib.Path, run_without_search: pathlib.Path, tmp_path: pathlib.Path, searching: bool
) -> None:
    publish.publish(run if searching else run_without_search, tmp_path / "out", ["onnx"], unroll=8)
    assert load(tmp_path / "out").metadata.searches is searching
    told = "No head of this network searches by content" in (tmp_path / "out" / "card.md").read_text()
    assert told is not searching
    for file in ("unrolled.onnx", "sparse.onnx", "batched.onnx"):
        names = [node.name for node in onnx.load(tmp_path / "out" / file).graph.node]
        assert any("/content/" in name for name in names) is searching, file
        # The graph that takes what heads look at out of the memory, together with their weightings.
        assert any("step_0/location/Gather" in name for name in names) is (file == "sparse.onnx" and not searching)


@pytest.mark.usefixtures("short_gate")
@pytest.mark.parametrize(("file", "module"), [("unrolled.onnx", unrolled), ("sparse.onnx", sparse)])
def test_gate_refuses_a_graph_of_several_steps_of_which_the_state_alone_is_wrong(
    monkeypatch: pytest.MonkeyPatch, run: pathlib.Path, tmp_path: pathlib.Path, file: str, module: Any
) -> None:
    """It erases otherwise, in every step, and what it says is right by the memory that it then has."""
    write = module.unroll

    def write_wrongly(cell: NTMCell, unroll_: int, opset: int) -> onnx.ModelProto:
        model = write(cell, unroll_, opset)
        patch(model, "heads/erase_0/bias", 0.01)
        return model

    monkeypatch.setattr(module, "unroll", write_wrongly)
    with pytest.raises(publish.DisagreementError, match=rf"^not equal to TensorFlow: {file} .*, 0 bits differ"):
        publish.publish(run, tmp_path / "out", ["onnx"], unroll=8)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("expected", "actual", "holds"),
    [
        ([0.5], [0.5 + 2e-5], False),
        ([0.3], [0.3 + 5e-6], True),
        ([0.5 - 1e-6], [0.5 + 1e-6], False),  # within the tolerance, but another bit
        ([2.0], [2.0 + 5e-5], False),
        ([200.0], [200.0 + 5e-5], True),  # the next floats are 1.5e-5 apart
        ([0.3], [np.nan], False),
        ([0.3], [[0.3]], False),
    ],
)
def test_agreement_holds_only_within_the_tolerance(expected: list[float], actual: list[float], holds: bool) -> None:
    found = parity.Agreement()
    found.note_y(np.array([0.25]), np.array([0.25]))
    found.note_y(np.array(expected), np.array(actual))
    found.note_y(np.array([0.25]), np.array([0.25]))
    assert found.holds is holds


@pytest.mark.usefixtures("short_gate")
def test_an_export_is_replaced_only_by_force(
    ntm_export: Callable[..., int], run: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert ntm_export(run, "--output", out, "--unroll", "2", "--quiet") == 0
    before = (out / "unrolled.onnx").read_bytes()
    assert ntm_export(run, "--output", out, "--unroll", "3") == 2
    assert (out / "unrolled.onnx").read_bytes() == before
    assert ntm_export(run, "--output", out, "--unroll", "3", "--force", "--name", "another") == 0
    assert load(out).metadata.model_name == "another"
    (out / "thesis.txt").touch()
    assert ntm_export(run, "--output", out, "--force") == 2
    assert (out / "thesis.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert capsys.readouterr().err.count("\n") == 2


@pytest.mark.usefixtures("short_gate")
def test_check_refuses_what_is_damaged_or_of_another_checkpoint(
    ntm_export: Callable[..., int],
    run: pathlib.Path,
    exported: pathlib.Path,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def check(what: pathlib.Path, against: pathlib.Path = run) -> tuple[int, str]:
        code = ntm_export(against, "--check", what)
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        return code, error

    other = make_run(tmp_path / "other", load_run(run).cell.config, seed=1)
    assert check(exported, other)[0] == 2
    assert check(tmp_path)[0] == 2
    for file in (
        "step.onnx",
        "step.tflite",
        "savedmodel/1/saved_model.pb",
        "savedmodel/1/assets.extra/metadata.json",
        "triton/step/1/model.onnx",
        "triton/step/config.pbtxt",
        "triton/step/initial_state/memory",
    ):
        damaged = tmp_path / "damaged"
        shutil.copytree(exported, damaged)
        (damaged / file).write_bytes((damaged / file).read_bytes()[:100])
        assert check(damaged)[0] == 2, file
        shutil.rmtree(damaged)
    shutil.copytree(exported, damaged)
    model = onnx.load(damaged / "step.onnx")
    patch(model, "output/kernel", 0.01)
    (damaged / "step.onnx").write_bytes(onnx_file.sealed(model.SerializeToString()))
    code, error = check(damaged)
    assert code == 1
    assert "step.onnx" in error


@pytest.mark.usefixtures("short_gate")
@pytest.mark.parametrize("name", ["initial_state", "training", "config"])
def test_check_refuses_false_metadata(  # noqa: PLR0917
    ntm_export: Callable[..., int],
    run: pathlib.Path,
    exported: pathlib.Path,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    lying = tmp_path / "lying"
    shutil.copytree(exported, lying)
    path = lying / "savedmodel" / "1" / "assets.extra" / "metadata.json"
    properties = json.loads(path.read_text())
    said = json.loads(properties[name])
    said |= {"initial_state": {"memory": [0.5] * 6}, "training": {"batches": 8}, "config": {"shifts": 5}}[name]
    path.write_text(json.dumps(properties | {name: json.dumps(said)}))
    assert ntm_export(run, "--check", lying) == 2
    error = capsys.readouterr().err
    assert error.startswith("ntm-export: error: what savedmodel step in ")
    assert error.count("\n") == 1


def edit_config(run: pathlib.Path, part: str, **options: Any) -> None:
    config = json.loads((run / "config.json").read_text())
    config[part] |= options
    (run / "config.json").write_text(json.dumps(config))


def empty(path: pathlib.Path) -> pathlib.Path:
    """A folder in the place of a file."""
    path.unlink()
    path.mkdir()
    return path


def cut(path: pathlib.Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def store_arrays(run: pathlib.Path, **arrays: Any) -> None:
    np.savez(run / "checkpoint.npz", allow_pickle=False, **arrays)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "RUN is not a run of ntm-train: it has no config.json"),
        (
            lambda run: (run.rename(run.with_name("moved")), run.touch()),
            "RUN is not a run of ntm-train: it is not a folder",
        ),
        (lambda run: (run / "config.json").unlink(), "RUN is not a run of ntm-train: it has no config.json"),
        (lambda run: (run / "checkpoint.npz").unlink(), "RUN is not a run of ntm-train: it has no checkpoint.npz"),
        (lambda run: empty(run / "config.json"), "cannot read RUN/config.json: is a directory"),
        (lambda run: (run / "config.json").write_text("{"), "cannot read RUN/config.json: it is not JSON: "),
        (lambda run: (run / "config.json").write_bytes(b"\xff"), "cannot read RUN/config.json: it is not JSON: "),
        (lambda run: (run / "config.json").write_text("[" * 9999), "cannot read RUN/config.json: it is not JSON: "),
        (lambda run: (run / "config.json").write_text("[]"), "cannot read RUN/config.json: it has no 'network'"),
        (
            lambda run: (run / "config.json").write_text('{"network": {}}'),
            "cannot read RUN/config.json: it has no 'training'",
        ),
        (
            lambda run: edit_config(run, "network", colour=1),
            "cannot read RUN/config.json: this release knows no 'colour' of 'network'",
        ),
        (
            lambda run: edit_config(run, "network", word_bits="x"),
            'cannot read RUN/config.json: word_bits must be a whole number, not "x"',
        ),
        (
            lambda run: edit_config(run, "network", word_bits=0),
            "cannot read RUN/config.json: word_bits must be at least 1, not 0",
        ),
        (
            lambda run: edit_config(run, "network", controller_sizes=[20, None]),
            "cannot read RUN/config.json: controller_sizes must be a list of whole numbers, not [20, null]",
        ),
        (
            lambda run: edit_config(run, "training", xla=1),
            "cannot read RUN/config.json: xla must be true or false, not 1",
        ),
        (
            lambda run: edit_config(run, "training", learning_rate="fast"),
            'cannot read RUN/config.json: learning_rate must be a number, not "fast"',
        ),
        (lambda run: empty(run / "checkpoint.npz"), "cannot read RUN/checkpoint.npz: is a directory"),
        (lambda run: cut(run / "checkpoint.npz"), "cannot read RUN/checkpoint.npz: it is damaged, or is not a "),
        (lambda run: (run / "checkpoint.npz").write_text("a"), "cannot read RUN/checkpoint.npz: it is damaged, or is "),
        (lambda run: store_arrays(run, summary="[]1"), "cannot read RUN/checkpoint.npz: it is damaged, or is not a "),
        (lambda run: store_arrays(run, summary="{}"), "cannot read RUN/checkpoint.npz: its network is not that of "),
        # One that would fit, but for a layer that nobody asked for.
        (
            lambda run: edit_config(run, "network", controller_sizes=[20]),
            "cannot read RUN/checkpoint.npz: its network is not that of config.json",
        ),
        (
            lambda run: edit_config(run, "network", word_bits=6),
            "cannot read RUN/checkpoint.npz: its network is not that of config.json",
        ),
    ],
)
def test_bad_runs_are_refused(  # noqa: PLR0917
    ntm_export: Callable[..., int],
    run: pathlib.Path,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[pathlib.Path], object],
    message: str,
) -> None:
    bad, out = tmp_path / "bad", tmp_path / "out"
    shutil.copytree(run, bad)
    damage(bad)
    assert ntm_export(bad, "--output", out) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"ntm-export: error: {message.replace('RUN', str(bad))}")
    assert error.count("\n") == 1
    assert not out.exists()


@pytest.mark.usefixtures("short_gate")
def test_a_network_that_has_not_converged_is_not_exported_silently(
    ntm_export: Callable[..., int], run: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for converged, warning in (
        (False, "ntm-export: warning: the network has not converged: expect wrong bits\n"),
        (True, ""),
    ):
        trained = tmp_path / f"{converged}"
        shutil.copytree(run, trained)
        with np.load(run / "checkpoint.npz") as arrays:
            store_arrays(trained, **dict(arrays) | {"summary": json.dumps({"converged": converged})})
        assert ntm_export(trained, "--output", tmp_path / "out", "-f", "--quiet") == 0
        assert capsys.readouterr().err == warning


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["RUN"],
        ["RUN", "--output", "out", "--check", "out"],
        ["RUN", "--output", "out", "--format", "pickle"],
        ["RUN", "--output", "out", "--unroll", "0"],
        ["RUN", "--output", "out", "--memory-locations", "0"],
        ["RUN", "--output", "out", "--name", "two\nlines"],
        ["RUN", "--output", "out", "--name", ""],
        ["RUN", "--output", "no/such/folder/out"],
    ],
    ids=" ".join,
)
def test_usage_errors_are_one_line(  # noqa: PLR0917
    ntm_export: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    run: pathlib.Path,
    tmp_path: pathlib.Path,
    arguments: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ntm_export(*(run if argument == "RUN" else argument for argument in arguments)) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_missing_extra_is_named_and_help_needs_none(run: pathlib.Path, tmp_path: pathlib.Path) -> None:
    code = f"import sys; sys.modules['tensorflow'] = sys.modules['tf2onnx'] = None; {_CODE}"
    refused = subprocess.run(
        [sys.executable, "-c", code, run, "-o", tmp_path / "out"], check=False, capture_output=True
    )
    assert refused.returncode == 2
    assert b"pip install 'neural-turing-machine[export]'" in refused.stderr
    assert refused.stderr.count(b"\n") == 1
    helped = subprocess.run([sys.executable, "-c", code, "--help"], check=False, capture_output=True)
    assert helped.returncode == 0
    assert b"--format" in helped.stdout


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
        with pytest.raises(console.CommandError, match="out exists"):
            stack.close()
    assert thesis.exists()


def test_a_folder_that_only_has_the_names_of_an_export_is_not_replaced(tmp_path: pathlib.Path) -> None:
    (tmp_path / "out" / "savedmodel").mkdir(parents=True)
    with pytest.raises(console.CommandError, match="is not an export"):
        publish._check_free(tmp_path / "out", replace=True)


def test_a_number_that_is_none_is_told_of() -> None:
    found = parity.Agreement()
    found.note("y", np.zeros(1), np.zeros(1))
    found.note("next_memory", np.zeros(1), np.array([np.nan]))
    assert "by up to nan" in str(publish.DisagreementError({"step.onnx": found}))


@pytest.mark.parametrize(("kill", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_kill_leaves_no_folder(run: pathlib.Path, tmp_path: pathlib.Path, kill: signal.Signals, code: int) -> None:
    process = subprocess.Popen([sys.executable, "-c", _CODE, run, "-o", tmp_path / "out"], stderr=subprocess.PIPE)
    while process.poll() is None and not list(tmp_path.glob(".out.*/new/unrolled.onnx")):
        time.sleep(0.02)
    process.send_signal(kill)
    _, error = process.communicate()
    assert process.returncode == code
    assert error == b""
    assert not (tmp_path / "out").exists()
    if kill == signal.SIGTERM:
        assert list(tmp_path.iterdir()) == []
