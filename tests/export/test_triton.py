"""The model repository is one that Triton loads: by its schema, by its rules, and by what a sequence then gives.

The server is that of the package nvidia-pytriton. It has no backend for ONNX: ``triton_stand_in.c`` stands in for it.
"""

import contextlib
import http.client
import importlib.util
import json
import os
import pathlib
import shutil
import socket
import socketserver
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from ntm.errors import ModelError
from ntm.export import triton
from ntm.export.source import Source
from ntm.models import NTMCell
from ntm.tasks import Copy
from ntm.training.run import TrainedRun

TASK = Copy(bits=3)
SIZES: dict[str, dict[str, Any]] = {
    "R1-K1, content addressing off": {"content_addressing": False},
    "R2-K2, learned": {
        "memory_locations": 6,
        "read_heads": 2,
        "write_heads": 2,
        "initial_memory": "learned",
        "initial_weights": "learned",
        "initial_reads": "learned",
    },
    "LSTM controller": {"controller": "lstm"},
}
UNROLL, LOCATIONS = 4, 9


@pytest.fixture(scope="module", params=SIZES)
def cell(request: pytest.FixtureRequest, make_cell: Callable[..., NTMCell]) -> NTMCell:
    return make_cell(TASK, memory_vector_size=4, controller_sizes=(9,), **SIZES[request.param])


@pytest.fixture(scope="module")
def repository(
    cell: NTMCell, trained: Callable[..., TrainedRun], tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("export")
    triton.write(Source(trained(cell, TASK), TASK, "tiny", UNROLL, LOCATIONS), folder)
    return folder / "triton"


@pytest.fixture(params=["unrolled", "sparse", "batched"])
def model(request: pytest.FixtureRequest, cell: NTMCell) -> str:
    """A model of several steps that the network has."""
    if request.param == "sparse" and cell.content_addressing:
        pytest.skip("a network with content addressing has none")
    return str(request.param)


def parsed(repository: pathlib.Path, model: str) -> Any:
    """The configuration, if it is of the schema."""
    return text_format.Parse((repository / model / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def declared(values: Any) -> dict[str, list[int]]:
    """The shapes of a graph's float32 inputs or outputs by name; -1 where a size is open."""
    assert all(value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT for value in values)
    return {value.name: [size.dim_value or -1 for size in value.type.tensor_type.shape.dim] for value in values}


def configured(tensors: Any, *batch: int) -> dict[str, list[int]]:
    """The like of a configuration, with the size of the batch that Triton puts before it."""
    assert all(tensor.data_type == model_config_pb2.TYPE_FP32 for tensor in tensors)
    return {tensor.name: [*batch, *tensor.dims] for tensor in tensors}


def test_the_repository_is_laid_out_as_triton_wants_it(cell: NTMCell, repository: pathlib.Path) -> None:
    files = {path.relative_to(repository).as_posix() for path in repository.rglob("*") if path.is_file()}
    carried = ("hidden", "cell") if cell.config.controller == "lstm" else ()
    several = ("unrolled", "batched") if cell.content_addressing else ("unrolled", "sparse", "batched")
    assert files == {
        *(f"step/initial_state/{name}" for name in carried),
        "step/config.pbtxt",
        "step/1/model.onnx",
        "step/initial_state/memory",
        "step/initial_state/weights",
        "step/initial_state/reads",
        *(f"{model}/{file}" for model in several for file in ("config.pbtxt", "1/model.onnx")),
    }
    for model in ("step", *several):
        config = parsed(repository, model)
        assert config.backend == "onnxruntime"
        assert config.name in ("", model)  # Triton refuses a name other than that of the folder


def test_a_stateless_model_is_its_graph(repository: pathlib.Path, model: str) -> None:
    config, graph = parsed(repository, model), onnx.load(repository / model / "1" / "model.onnx").graph
    assert config.max_batch_size == 0
    assert configured(config.input) == declared(graph.input)
    assert configured(config.output) == declared(graph.output)


def test_the_stateful_model_is_the_step(repository: pathlib.Path) -> None:
    config, graph = parsed(repository, "step"), onnx.load(repository / "step" / "1" / "model.onnx").graph
    assert config.max_batch_size > 0
    states = config.sequence_batching.state
    inputs, outputs = declared(graph.input), declared(graph.output)
    assert {tensor.name for tensor in config.input} | {state.input_name for state in states} == set(inputs)
    assert {tensor.name for tensor in config.output} | {state.output_name for state in states} == set(outputs)
    for name, shape in configured([*config.input, *config.output], -1).items():
        assert shape == (inputs | outputs)[name]
    for state in states:
        assert state.data_type == model_config_pb2.TYPE_FP32
        for graph_shape in (inputs[state.input_name], outputs[state.output_name]):
            wanted = [LOCATIONS if size == -1 else size for size in graph_shape[1:]]  # an open size would be 1 at first
            assert list(state.dims) == wanted
        (initial,) = state.initial_state
        assert (initial.name, initial.data_type, initial.dims) == (state.input_name, state.data_type, state.dims)
        file = repository / "step" / "initial_state" / initial.data_file
        assert file.stat().st_size == 4 * np.prod(initial.dims)


def test_triton_cannot_mix_up_the_states(repository: pathlib.Path) -> None:
    """It pairs states by their order among the names: triton-inference-server/server issue 8586."""
    states = parsed(repository, "step").sequence_batching.state
    by_input = sorted(states, key=lambda state: str(state.input_name))
    by_output = sorted(states, key=lambda state: str(state.output_name))
    assert by_input == by_output


def sequence_batcher(repository: pathlib.Path) -> Callable[[np.ndarray], np.ndarray]:
    """What Triton makes of the requests of one sequence, by its configuration alone."""
    config = parsed(repository, "step")
    session = onnxruntime.InferenceSession(repository / "step" / "1" / "model.onnx")
    states = {}
    for state in config.sequence_batching.state:
        file = repository / "step" / "initial_state" / state.initial_state[0].data_file
        states[state.input_name] = np.fromfile(file, np.float32).reshape(1, *state.dims)

    def request(x: np.ndarray) -> np.ndarray:
        names = [output.name for output in session.get_outputs()]
        outputs = dict(zip(names, session.run(names, {config.input[0].name: x[np.newaxis], **states}), strict=True))
        for state in config.sequence_batching.state:
            states[state.input_name] = outputs[state.output_name]
        return np.asarray(outputs[config.output[0].name][0])

    return request


def test_a_sequence_of_requests_is_a_run_of_the_network(cell: NTMCell, repository: pathlib.Path) -> None:
    request, state = sequence_batcher(repository), cell.initial_state(1, LOCATIONS)
    for x in TASK.batch(np.random.default_rng(1), 1, {"length": 7}).x[:, 0]:
        logits, state = cell(x[np.newaxis], state)
        np.testing.assert_allclose(request(x), 1 / (1 + np.exp(-logits[0].numpy())), atol=1e-5)


Infer = Callable[..., dict[str, np.ndarray]]
_SECONDS = 60  # until the server is ready


@pytest.fixture(scope="module")
def triton_server(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that starts a Triton, of which the backend is a stand-in."""
    package = importlib.util.find_spec("pytriton")
    if package is None or not package.submodule_search_locations:
        pytest.skip("Triton is not installed: pip install --no-deps nvidia-pytriton (it asks for an old numpy)")
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler for the stand-in of Triton's backend")
    backends = tmp_path_factory.mktemp("triton") / "backends"
    library = backends / "onnxruntime" / "libtriton_onnxruntime.so"
    library.parent.mkdir(parents=True)
    source = pathlib.Path(__file__).with_name("triton_stand_in.c")
    subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", library, source], check=True)
    binary = pathlib.Path(package.submodule_search_locations[0], "tritonserver", "bin", "tritonserver")
    return [str(binary), f"--backend-directory={backends}", "--allow-grpc=false", "--allow-metrics=false"]


class Backend(socketserver.StreamRequestHandler):
    """Runs the graph of a model on the inputs that the stand-in hands over."""

    repository: pathlib.Path
    states: set[str]
    sessions: dict[str, Any]

    def handle(self) -> None:
        model, inputs = self.rfile.readline().decode().strip(), {}
        while header := self.rfile.readline().decode().split():
            name, size, *shape = header
            inputs[name] = np.frombuffer(self.rfile.read(int(size)), np.float32).reshape([int(n) for n in shape])
        if model not in self.sessions:
            self.sessions[model] = onnxruntime.InferenceSession(self.repository / model / "1" / "model.onnx")
        names = [output.name for output in self.sessions[model].get_outputs()]
        for name, value in zip(names, self.sessions[model].run(names, inputs), strict=True):
            kind = "state" if model == "step" and name in self.states else "output"
            line = " ".join(map(str, (kind, name, value.nbytes, value.ndim, *value.shape)))
            self.wfile.write(line.encode() + b"\n" + value.tobytes())


@pytest.fixture(scope="module")
def infer(
    triton_server: list[str], repository: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Infer]:
    """Ask Triton, which serves the repository, for the outputs of a model."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    states = {state.output_name for state in parsed(repository, "step").sequence_batching.state}
    handler = type("Handler", (Backend,), {"repository": repository, "states": states, "sessions": {}})
    log = tmp_path_factory.mktemp("triton") / "log"
    command = [*triton_server, f"--model-repository={repository}", "--http-address=127.0.0.1", f"--http-port={port}"]

    def ask(method: str, path: str, question: Any = None) -> tuple[int, Any]:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)) as connection:
            connection.request(method, path, None if question is None else json.dumps(question))
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or "null")

    def ready() -> bool:
        assert server.poll() is None, log.read_text()
        with contextlib.suppress(ConnectionError):
            return ask("GET", "/v2/health/ready")[0] == 200
        return False

    def ask_model(model: str, inputs: dict[str, np.ndarray], **sequence: Any) -> dict[str, np.ndarray]:
        tensors = [
            {"name": name, "shape": value.shape, "datatype": "FP32", "data": value.ravel().tolist()}
            for name, value in inputs.items()
        ]
        status, answer = ask("POST", f"/v2/models/{model}/infer", {"inputs": tensors, "parameters": sequence})
        assert status == 200, answer
        return {output["name"]: np.reshape(output["data"], output["shape"]) for output in answer["outputs"]}

    with (
        tempfile.TemporaryDirectory() as short,  # the path of a socket may not be long
        socketserver.ThreadingUnixStreamServer(f"{short}/socket", handler) as backend,
        log.open("wb") as output,
    ):
        threading.Thread(target=backend.serve_forever, daemon=True).start()
        environment = os.environ | {"STAND_IN_SOCKET": f"{short}/socket"}
        server = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + _SECONDS
            while not ready():
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            yield ask_model
        finally:
            server.kill()
            server.wait()
            backend.shutdown()


def test_triton_keeps_the_states_of_two_sequences(cell: NTMCell, infer: Infer) -> None:
    """Their steps come in turn; each begins from our initial state, also where an earlier one had the same number."""
    for seed in (1, 2):
        batch = TASK.batch(np.random.default_rng(seed), 2, {"length": 4}).x
        state = cell.initial_state(2, LOCATIONS)
        for t, x in enumerate(batch):
            logits, state = cell(x, state)
            for b, number in enumerate((7, 8)):
                place = {"sequence_start": t == 0, "sequence_end": t == len(batch) - 1}
                y = infer("step", {"x": x[b : b + 1]}, sequence_id=number, **place)["y"]
                np.testing.assert_allclose(y, 1 / (1 + np.exp(-logits.numpy()[b : b + 1])), atol=1e-5)


def test_triton_serves_several_steps_of_any_b_and_n(
    cell: NTMCell, repository: pathlib.Path, infer: Infer, model: str
) -> None:
    steps = declared(onnx.load(repository / model / "1" / "model.onnx").graph.input)["x"][0]
    for batch_size, locations in ((1, LOCATIONS), (3, 20)):
        x = np.random.default_rng(0).uniform(size=(steps, batch_size, TASK.input_size)).astype(np.float32)
        state = cell.initial_state(batch_size, locations)
        found = infer(model, {"x": x, **{name: value.numpy() for name, value in state.items()}})
        for x_t, y in zip(x, found["y"], strict=True):
            logits, state = cell(x_t, state)
            np.testing.assert_allclose(y, 1 / (1 + np.exp(-logits.numpy())), atol=1e-5)
        for name, value in state.items():
            np.testing.assert_allclose(found[f"next_{name}"], value.numpy(), atol=1e-5)


def test_a_graph_in_the_folder_of_another_is_refused(repository: pathlib.Path, tmp_path: pathlib.Path) -> None:
    shutil.copytree(repository, tmp_path / "triton")
    shutil.copytree(repository / "unrolled", tmp_path / "triton" / "batched", dirs_exist_ok=True)
    with pytest.raises(ModelError, match="its graph is 'unrolled', not 'batched'"):
        triton.candidates(tmp_path)
