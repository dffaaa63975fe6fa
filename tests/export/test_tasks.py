"""Every task is exported alike: the five of the paper, and one of the user's, of which the file has to be named."""

import json
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

import ntm
from ntm.export import parity, publish, savedmodel, tflite, triton
from ntm.export.source import Source
from ntm.models import NTMCell
from ntm.runtime.metadata import Metadata
from ntm.tasks import BUILT_IN, Task, find
from ntm.training.run import TrainedRun

pytestmark = pytest.mark.slow

# Options that are not the defaults, and I and O that follow.
OPTIONS: dict[str, tuple[dict[str, Any], int, int]] = {
    "copy": ({"bits": 3, "pattern": "sparse"}, 4, 3),
    "repeat-copy": ({"bits": 3}, 5, 4),
    "associative-recall": ({"bits": 4, "vectors": 2}, 6, 4),
    "dynamic-ngrams": ({"n": 4}, 1, 1),
    "priority-sort": ({"bits": 3}, 5, 3),
}
UNROLL = 4
GRAPHS: dict[str, list[int]] = {
    "step.onnx": [],
    "unrolled.onnx": [UNROLL],
    "batched.onnx": [11],
}  # with the axis of the steps


def test_every_built_in_task_is_here() -> None:
    assert set(OPTIONS) == set(BUILT_IN)


class Case:
    """A task, a network for it that was never trained, and its export in ONNX."""

    def __init__(self, task: Task, run: TrainedRun, inputs: int, outputs: int, folder: pathlib.Path) -> None:
        self.task, self.run, self.inputs, self.outputs, self.folder = task, run, inputs, outputs, folder

    @property
    def card(self) -> str:
        return (self.folder / "card.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module", params=OPTIONS)
def case(
    request: pytest.FixtureRequest,
    make_cell: Callable[..., NTMCell],
    trained: Callable[..., TrainedRun],
    tmp_path_factory: pytest.TempPathFactory,
) -> Case:
    options, inputs, outputs = OPTIONS[request.param]
    task = find(request.param, options)
    cell = make_cell(task, seed=1, memory_vector_size=5, controller_sizes=(8,))
    cell.layers[0].kernel.assign(12 * cell.layers[0].kernel)  # so that y depends on the last digit of x
    run = trained(cell, task)
    folder = tmp_path_factory.mktemp("exports") / request.param
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(parity, "LEAST_STEPS", 1)  # one batch of the largest sizes
        agreements = publish.publish(run, folder, ["onnx"], unroll=UNROLL)
    assert set(agreements) == set(GRAPHS)
    longest = max(map(task.steps, parity.sizes_to_compare(task, task.training_sizes)))
    assert all(found.holds and found.steps >= longest for found in agreements.values())
    return Case(task, run, inputs, outputs, folder)


def test_the_metadata_names_the_task_and_its_options(case: Case) -> None:
    for file in GRAPHS:
        metadata = Metadata.from_props({p.key: p.value for p in onnx.load(case.folder / file).metadata_props})
        assert metadata.task == {"name": case.folder.name, "options": case.task.options}
        assert metadata.task_options.items() >= OPTIONS[case.folder.name][0].items()
        assert (metadata.input_size, metadata.output_size) == (case.inputs, case.outputs)
        assert find(metadata.task_name, metadata.task_options) == case.task


@pytest.mark.parametrize("file", GRAPHS)
def test_the_onnx_graphs_are_as_wide_as_the_task(case: Case, file: str) -> None:
    graph = onnx.load(case.folder / file).graph
    steps = GRAPHS[file]

    def shape(value: onnx.ValueInfoProto) -> list[int | str]:
        return [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]

    assert (graph.input[0].name, shape(graph.input[0])) == ("x", [*steps, "B", case.inputs])
    assert (graph.output[0].name, shape(graph.output[0])) == ("y", [*steps, "B", case.outputs])


def test_the_other_formats_are_as_wide_as_the_task(case: Case, tmp_path: pathlib.Path) -> None:
    source = Source(case.run, case.task, "tiny", UNROLL)
    for module in (savedmodel, tflite, triton):
        module.write(source, tmp_path)

    loaded = tf.saved_model.load(str(tmp_path / "savedmodel" / "1"))
    whole, step = (loaded.signatures[name] for name in ("serving_default", "step"))
    assert whole.structured_input_signature[1]["x"].shape.as_list() == [None, None, case.inputs]
    assert whole.structured_outputs["y"].shape.as_list() == [None, None, case.outputs]
    assert step.structured_input_signature[1]["x"].shape.as_list() == [None, case.inputs]
    assert step.structured_outputs["y"].shape.as_list() == [None, case.outputs]

    runner = Interpreter(str(tmp_path / "step.tflite")).get_signature_runner("step")
    assert runner.get_input_details()["x"]["shape_signature"].tolist() == [-1, case.inputs]
    assert runner.get_output_details()["y"]["shape_signature"].tolist() == [-1, case.outputs]

    config = (tmp_path / "triton" / "step" / "config.pbtxt").read_text()
    assert f'{{ name: "x" data_type: TYPE_FP32 dims: [ {case.inputs} ] }}' in config
    assert f'{{ name: "y" data_type: TYPE_FP32 dims: [ {case.outputs} ] }}' in config
    config = (tmp_path / "triton" / "unrolled" / "config.pbtxt").read_text()
    assert f'{{ name: "x" data_type: TYPE_FP32 dims: [ {UNROLL}, -1, {case.inputs} ] }}' in config
    assert f'{{ name: "y" data_type: TYPE_FP32 dims: [ {UNROLL}, -1, {case.outputs} ] }}' in config


def test_the_card_states_the_encoding(case: Case) -> None:
    assert f"trained on the task `{case.task.name}`." in case.card
    _, _, section = case.card.partition("## The task\n\n")
    encoding, _, rest = section.partition("\n\nOptions of this model: ")
    assert encoding == case.task.encoding != ""
    told = rest.partition(".\n")[0]
    assert told == ", ".join(f"{name} = {json.dumps(value)}" for name, value in case.task.options.items())


def test_a_program_can_check_itself_with_the_example_of_the_card(case: Case) -> None:
    _, _, section = case.card.partition("## Example\n")
    example = json.loads(section.partition("```json\n")[2].partition("```")[0])
    x, y, counts = (np.array(example[name], np.float32) for name in ("x", "y", "counts"))
    assert x.shape == (len(x), case.inputs)
    assert y.shape == (len(x), case.outputs)
    assert counts.shape == (len(x),)
    model = ntm.load(case.folder)
    state = model.initial_state(1, example["memory_locations"])
    for t in range(len(x)):
        actual, state = model.step(x[t : t + 1], state)
        np.testing.assert_allclose(actual[0], y[t], rtol=0, atol=0.5e-4 + 2e-6)  # rounded to four digits
    assert np.ptp(y) > 0.05  # not a network that outputs the same everywhere


def test_the_example_is_a_sequence_of_the_task(case: Case) -> None:
    _, _, section = case.card.partition("## Example\n")
    example = json.loads(section.partition("```json\n")[2].partition("```")[0])
    size = {name: int(value) for name, value in (part.split("=") for part in told_size(section))}
    batch = case.task.batch(np.random.default_rng(0), 1, size)
    steps = len(example["x"])
    assert steps == min(len(batch.x), 40)
    assert (f"its first {steps} steps" in section) is (steps < len(batch.x))
    np.testing.assert_allclose(example["x"], batch.x[:steps, 0], rtol=0, atol=1e-4)
    assert example["counts"] == batch.mask[:steps, 0].tolist()


def told_size(section: str) -> list[str]:
    """The parts of a size, of a section that begins with ``A sequence of SIZE``."""
    return section.partition("A sequence of ")[2].partition(", with which")[0].partition(", its first")[0].split(",")


FILE = '''
import dataclasses

import numpy as np

from ntm.tasks import Batch, Task


@dataclasses.dataclass(frozen=True)
class Parity(Task):
    """See bits, then say whether their number is odd: {{odd}} or `even`.

    The last step is the output phase.
    """

    channels: int = 1
    name = "Parity"
    output_size = 1
    training_sizes = {"length": range(1, 9)}

    @property
    def input_size(self):
        return self.channels + 1

    def batch(self, rng, batch_size, size):
        bits = rng.integers(0, 2, (size["length"], batch_size, self.channels))
        x = np.zeros((len(bits) + 1, batch_size, self.input_size))
        x[:-1, :, : self.channels] = bits
        x[-1, :, -1] = 1
        target, mask = np.zeros((len(x), batch_size, 1)), np.zeros((len(x), batch_size))
        target[-1, :, 0] = bits.sum(axis=(0, 2)) % 2
        mask[-1] = 1
        return Batch(x, target, mask)


class Majority(Parity):
    """Another task."""

    name = "Majority"


class Wider(Parity):
    """A task of the same name, changed since."""

    @property
    def input_size(self):
        return self.channels + 2
'''


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    """A file with tasks of the user's."""
    path = tmp_path / "my_tasks.py"
    path.write_text(FILE)
    return path


@pytest.fixture
def run_of_own_task(
    file: pathlib.Path,
    make_cell: Callable[..., NTMCell],
    save_run: Callable[..., pathlib.Path],
    tmp_path: pathlib.Path,
) -> pathlib.Path:
    """The run of a network for one of them."""
    task = find(f"{file}:Parity", {"channels": 2})
    return save_run(tmp_path / "run", make_cell(task, controller_sizes=(8,)), task)


@pytest.mark.usefixtures("short_gate")
def test_a_task_of_the_user_is_exported_where_its_file_is_named(
    ntm_export: Callable[..., int],
    file: pathlib.Path,
    run_of_own_task: pathlib.Path,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    assert ntm_export(run_of_own_task, "--output", out, "--task", f"{file}:Parity", "--quiet") == 0
    assert capsys.readouterr().err == ""
    metadata = ntm.load(out).metadata
    assert metadata.task == {"name": "Parity", "options": {"channels": 2}}
    assert (metadata.input_size, metadata.output_size) == (3, 1)
    card = (out / "card.md").read_text()
    assert "See bits, then say whether their number is odd: {{odd}} or `even`.\n\nThe last step" in card
    assert "Options of this model: channels = 2." in card
    assert ntm_export(run_of_own_task, "--check", out, "--task", f"{file}:Parity", "--quiet") == 0
    assert ntm_export(run_of_own_task, "--check", out) == 2
    assert "give --task FILE.py:Parity" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "its task Parity is not built in: give --task FILE.py:Parity"),
        (["--task", "copy"], "it was trained on Parity, not on copy"),
        (["--task", "FILE:Majority"], "it was trained on Parity, not on Majority"),
        (["--task", "FILE:Wider"], "the task Parity has 4 inputs, and the network 3"),
        (["--task", "FILE:Parities"], "FILE has no task 'Parities'; its tasks: Parity, Majority, Wider"),
        (["--task", "Parity"], "there is no task 'Parity': give one of "),
        (["--task", "no/such.py:Parity"], "there is no file no/such.py"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_another_task_than_that_of_the_training_is_refused(  # noqa: PLR0917  (fixtures)
    ntm_export: Callable[..., int],
    file: pathlib.Path,
    run_of_own_task: pathlib.Path,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    arguments = [argument.replace("FILE", str(file)) for argument in arguments]
    assert ntm_export(run_of_own_task, "--output", tmp_path / "out", *arguments) == 2
    error = capsys.readouterr().err
    where, _, reason = error.partition(f"cannot export {run_of_own_task}: ")
    assert where == "ntm-export: error: "
    if "FILE.py" not in message:
        message = message.replace("FILE", str(file))
    assert reason.startswith(message)
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_another_task_than_a_built_in_one_is_refused(
    ntm_export: Callable[..., int],
    file: pathlib.Path,
    run: pathlib.Path,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert ntm_export(run, "--output", tmp_path / "out", "--task", f"{file}:Parity") == 2
    assert capsys.readouterr().err.endswith(": it was trained on copy, not on Parity\n")
    assert not (tmp_path / "out").exists()


def test_other_options_than_those_of_the_training_are_refused(run: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with pytest.raises(ntm.TaskError, match="bits=5"):
        publish.publish(run, tmp_path / "out", task=find("copy", {"bits": 5, "pattern": "text"}))
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_not_run_unless_it_is_named(
    ntm_export: Callable[..., int], file: pathlib.Path, run_of_own_task: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """Whatever the run calls its task."""
    ran = tmp_path / "ran"
    other = tmp_path / "other.py"
    other.write_text(f"import pathlib\npathlib.Path({str(ran)!r}).touch()\n{file.read_text()}")
    config = run_of_own_task / "config.json"
    config.write_text(config.read_text().replace('"Parity"', json.dumps(f"{other}:Parity")))
    assert ntm_export(run_of_own_task, "--output", tmp_path / "out") == 2
    assert not ran.exists()
    assert ntm_export(run_of_own_task, "--output", tmp_path / "out", "--task", f"{other}:Parity") == 2
    assert ran.exists()
