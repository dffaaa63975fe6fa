"""The known answer: what it holds, that the code of the card checks a runtime, and that the gate reads it."""

import json
import pathlib
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

import ntm
from ntm.export import known_answer, onnx_format, parity, publish
from ntm.export.source import Source
from ntm.export.step import Sizes, inputs, outputs
from ntm.models import Network, NTMCell
from ntm.runtime.metadata import Metadata
from ntm.tasks import Copy
from ntm.training.run import TrainedRun, load_run

pytestmark = pytest.mark.slow

Tensors = Mapping[str, np.ndarray]


def onnx(folder: pathlib.Path) -> Callable[[Tensors], Tensors]:
    return onnx_format.session((folder / "step.onnx").read_bytes())


def tflite(folder: pathlib.Path) -> Callable[[Tensors], Tensors]:
    runner = Interpreter(str(folder / "step.tflite")).get_signature_runner("step")
    return lambda given: runner(**given)


def saved_model(folder: pathlib.Path) -> Callable[[Tensors], Tensors]:
    loaded = tf.saved_model.load(str(folder / "savedmodel" / "1"))
    step = loaded.signatures["step"]

    def run(given: Tensors, _: Any = loaded) -> Tensors:  # which must live as long
        return {name: y.numpy() for name, y in step(**{name: tf.constant(x) for name, x in given.items()}).items()}

    return run


def code_of_the_card(folder: pathlib.Path) -> str:
    """The code of the card."""
    section = (folder / "card.md").read_text(encoding="utf-8").partition("## Known answer")[2]
    code = section.partition("```python\n")[2].partition("```")[0]
    assert len(code.splitlines()) == 3
    return code


@pytest.mark.parametrize("runtime", [onnx, tflite, saved_model])
def test_the_code_of_the_card_checks_a_runtime(
    exported: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    runtime: Callable[[pathlib.Path], Callable[[Tensors], Tensors]],
) -> None:
    code, run = code_of_the_card(exported), runtime(exported)
    monkeypatch.chdir(exported)
    exec(code, {"json": json, "np": np, "run": run})  # noqa: S102

    def wrong(given: Tensors) -> Tensors:
        return {name: y + np.float32(1e-3) * (name == "next_reads") for name, y in run(given).items()}

    with pytest.raises(AssertionError):
        exec(code, {"json": json, "np": np, "run": wrong})  # noqa: S102


def test_it_holds_the_first_step_and_the_last_ones_of_a_sequence(exported: pathlib.Path, run: pathlib.Path) -> None:
    network = load_run(run).network
    said = json.loads((exported / "known_answer.json").read_text(encoding="utf-8"))
    assert (said["model_name"], said["checkpoint_sha256"]) == ("tiny-copy", load_run(run).checkpoint_sha256)
    answer = known_answer.read(exported, network.config, "known_answer.json")
    assert len(answer.steps) == 4
    sizes = Sizes(2, 5)
    for given, found in answer.steps:
        assert {name: tensor.shape for name, tensor in given.items()} == inputs(network.config, sizes)
        assert {name: tensor.shape for name, tensor in found.items()} == outputs(network.config, sizes)
    first = answer.steps[0][0]
    for name, value in network.initial_state(2, 5).items():
        np.testing.assert_array_equal(first[name], value)
    for (_, found), (given, _) in zip(answer.steps[1:], answer.steps[2:], strict=False):
        for name in network.config.state_shapes:
            np.testing.assert_array_equal(given[name], found[f"next_{name}"])
    delimiters = [given["x"][:, -1].tolist() for given, _ in answer.steps]
    assert delimiters == [[0, 0]] * 4  # three words, the delimiter, three steps of the output
    assert all(not given["x"].any() for given, _ in answer.steps[1:])
    assert not np.array_equal(first["x"][0], first["x"][1])  # two sequences that a runtime may confuse


@pytest.mark.parametrize(
    ("options", "sizes", "steps", "state"),
    [
        ({}, None, 4, {"memory": [2, 6, 5], "weights": [2, 2, 5], "reads": [2, 1, 6]}),
        ({}, Sizes(3, 2000), 2, {"memory": [3, 6, 2000], "weights": [3, 2, 2000], "reads": [3, 1, 6]}),
        ({"model": "lstm"}, None, 4, {"hidden": [2, 11], "cell": [2, 11]}),
    ],
)
def test_it_is_the_same_bytes_again_and_small(  # noqa: PLR0917
    make_network: Callable[..., Network],
    trained: Callable[..., TrainedRun],
    tmp_path: pathlib.Path,
    options: dict[str, Any],
    sizes: Sizes | None,
    steps: int,
    state: dict[str, list[int]],
) -> None:
    task = Copy(bits=3)
    source = Source(trained(make_network(task, **options), task), task, "tiny", sizes=sizes)
    written = []
    for _ in range(2):
        known_answer.write(source, tmp_path)
        written.append((tmp_path / "known_answer.json").read_bytes())
    assert written[0] == written[1]
    said = json.loads(written[0])["steps"]
    assert len(said) == steps
    assert {name: tensor["shape"] for name, tensor in said[0]["inputs"].items() if name != "x"} == state


@pytest.mark.usefixtures("short_gate")
def test_the_gate_compares_it_and_the_runtime_does_not_need_it(
    run: pathlib.Path, exported: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for path in exported.glob("*.onnx"):
        shutil.copy(path, folder)
    assert set(publish.verify(run, folder)) == {path.name for path in folder.iterdir()}
    answer = folder / "known_answer.json"
    said = json.loads((exported / answer.name).read_text(encoding="utf-8"))
    said["steps"][1]["outputs"]["next_memory"]["data"][3] += 1e-3
    answer.write_text(json.dumps(said), encoding="utf-8")
    with pytest.raises(publish.DisagreementError, match=r"known_answer\.json \(by up to 1\.0e-03 in next_memory"):
        publish.verify(run, folder)
    assert ntm.load(folder).metadata.model_name == "tiny-copy"


@pytest.mark.parametrize(
    "change",
    [
        lambda said: said.update(steps=[]),
        lambda said: said.pop("steps"),
        lambda said: said["steps"][0]["inputs"].pop("memory"),
        lambda said: said["steps"][0]["outputs"].pop("adds"),
        lambda said: said["steps"][1]["inputs"]["x"].update(shape=[3, 4]),
        lambda said: said["steps"][1]["inputs"]["x"].update(data="text"),
        lambda said: said["steps"][0]["inputs"]["memory"].update(shape=[2, 30]),
        lambda said: said.update(steps=7),
    ],
)
def test_what_is_no_known_answer_is_refused(
    exported: pathlib.Path, run: pathlib.Path, tmp_path: pathlib.Path, change: Callable[[Any], object]
) -> None:
    said = json.loads((exported / "known_answer.json").read_text(encoding="utf-8"))
    change(said)
    (tmp_path / "known_answer.json").write_text(json.dumps(said), encoding="utf-8")
    with pytest.raises(ValueError, match=r"^the name does not hold steps of this network$"):
        known_answer.read(tmp_path, load_run(run).network.config, "the name")


def test_a_graph_is_refused_that_is_wrong_in_the_known_answer_alone(
    make_cell: Callable[..., NTMCell],
    trained: Callable[..., TrainedRun],
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Here one that confuses two sequences, where all others that are compared are four side by side."""
    monkeypatch.setattr(parity, "LEAST_STEPS", 1)
    monkeypatch.setattr(parity, "_MOST_STEPS", 10)
    task = Copy(bits=3)
    cell = make_cell(task)
    run = trained(cell, task)
    source = Source(run, task, "tiny")
    known_answer.write(source, tmp_path)
    step = onnx_format.session(onnx_format.convert(cell).SerializeToString())

    def confuses_two(given: Tensors) -> Tensors:
        return {name: y[::-1] if len(y) == 2 else y for name, y in step(given).items()}

    def compared(graph: parity.Graph) -> parity.Agreement:
        def compare(trajectory: parity.Trajectory, agreement: parity.Agreement) -> None:
            parity.compare_steps(trajectory, agreement, graph)

        metadata: Metadata = source.metadata()
        answer = known_answer.read(tmp_path, cell.config, "answer")
        candidates = [parity.Candidate("graph", metadata, compare)]
        found = parity.prove(cell, task, run.config.training.ranges, candidates, [answer])
        assert set(found) == {"graph"}
        return found["graph"]

    assert compared(step).holds
    assert not compared(confuses_two).holds
