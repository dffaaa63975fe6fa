"""``ntm-export``: its options, what it refuses in one line, and that whatever ends it leaves no half of an export."""

import json
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from ntm.export import options, publish
from ntm.models import NTMCell
from ntm.runtime import onnx_file
from ntm.runtime.model import load
from ntm.tasks import Copy

pytestmark = pytest.mark.slow

_CODE = "from ntm.export.command import main; main()"


@pytest.mark.usefixtures("short_gate")
def test_only_the_formats_asked_for_are_there(
    ntm_export: Callable[..., int], run: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    out = tmp_path / "out"
    arguments = ["--format", "tflite", "--format", "triton", "--memory-locations", "33", "--quiet"]
    assert ntm_export(run, "--output", out, *arguments) == 0
    names = {path.name for path in out.iterdir()}
    assert names == {"card.md", "known_answer.json", "step.tflite", "step_dynamic_range.tflite", "triton"}
    assert "dims: [ 6, 33 ]" in (out / "triton" / "step" / "config.pbtxt").read_text()
    text = (out / "card.md").read_text()
    kept = "Its model `step` keeps the state of a sequence in the server, with N = 33 (`--memory-locations` of"
    assert kept in text
    sections = ["### TF-Lite", "### Triton", "### Which file runs where"]
    assert [line for line in text.splitlines() if line.startswith("### ")] == sections


def test_the_command_knows_every_format() -> None:
    assert {wanted.value for wanted in options.Format} == {*publish.FORMATS, "all"}


@pytest.mark.usefixtures("short_count")
def test_check_proves_an_export_again(
    ntm_export: Callable[..., int], run: pathlib.Path, exported: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ntm_export(run, "--check", exported, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result) == {
        "step.onnx",
        "unrolled.onnx",
        "batched.onnx",
        "savedmodel step",
        "savedmodel",
        "step.tflite",
        "step_dynamic_range.tflite",
        "triton step",
        "triton unrolled",
        "triton batched",
        "page/step.onnx",
    }
    for graph, found in result.items():
        assert found["steps"] > 1000
        assert found["differing_bits"] == 0
        assert max(found["difference"].values()) <= 1e-5
        chunks = graph.removeprefix("triton ").removesuffix(".onnx") in ("unrolled", "batched")
        compared = {"y"}
        if graph != "savedmodel":
            compared |= {"next_memory", "next_weights", "next_reads"} | (set() if chunks else {"adds"})
        assert set(found["difference"]) == compared


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
def test_check_refuses_what_is_damaged_or_of_another_checkpoint(  # noqa: PLR0917  (fixtures)
    ntm_export: Callable[..., int],
    make_cell: Callable[..., NTMCell],
    save_run: Callable[..., pathlib.Path],
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

    task = Copy(bits=5)
    other = save_run(tmp_path / "other", make_cell(task, seed=1), task)
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
    (kernel,) = (constant for constant in model.graph.initializer if constant.name == "output/kernel")
    kernel.CopyFrom(numpy_helper.from_array(1.01 * numpy_helper.to_array(kernel), kernel.name))
    (damaged / "step.onnx").write_bytes(onnx_file.sealed(model.SerializeToString()))
    code, error = check(damaged)
    assert code == 1
    assert "step.onnx" in error


@pytest.mark.usefixtures("short_gate")
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("state", {"memory": {"shape": [6, "N"], "first": [[]] * 6, "beyond": [0.5] * 6}}),
        ("graphs", ["step"]),
        ("parameters", 7),
        ("least_locations", 3),
        ("training", {"batches": 8}),
        ("config", {"shifts": 5}),
        ("task", {"options": {"bits": 5, "pattern": "text"}}),
    ],
)
def test_check_refuses_false_metadata(  # noqa: PLR0917
    ntm_export: Callable[..., int],
    run: pathlib.Path,
    exported: pathlib.Path,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    change: Any,
) -> None:
    lying = tmp_path / "lying"
    shutil.copytree(exported, lying)
    path = lying / "savedmodel" / "1" / "assets.extra" / "metadata.json"
    properties = json.loads(path.read_text())
    said = json.loads(properties[name])
    said = said | change if isinstance(said, dict) else change
    path.write_text(json.dumps(properties | {name: json.dumps(said)}))
    assert ntm_export(run, "--check", lying) == 2
    error = capsys.readouterr().err
    assert error.startswith("ntm-export: error: what savedmodel step in ")
    assert error.count("\n") == 1


def leave_out(run: pathlib.Path, part: str, *names: str) -> None:
    """Leave a part of the configuration out, or something of the part."""
    config = json.loads((run / "config.json").read_text())
    of, name = (config[part], names[0]) if names else (config, part)
    del of[name]
    (run / "config.json").write_text(json.dumps(config))


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
        (lambda run: (run / "config.json").write_text("[]"), "cannot read RUN/config.json: it is not a JSON object"),
        (lambda run: (run / "config.json").write_text("{}"), "cannot read RUN/config.json: it has no 'task'"),
        (lambda run: leave_out(run, "task"), "cannot read RUN/config.json: it has no 'task'"),
        (lambda run: leave_out(run, "network"), "cannot read RUN/config.json: it has no 'network'"),
        (lambda run: leave_out(run, "training"), "cannot read RUN/config.json: it has no 'training'"),
        (lambda run: leave_out(run, "task", "name"), "cannot read RUN/config.json: 'task' has no 'name'"),
        (lambda run: leave_out(run, "task", "options"), "cannot read RUN/config.json: 'task' has no 'options'"),
        (lambda run: leave_out(run, "network", "input_size"), "cannot read RUN/config.json: 'network' has no 'input_"),
        (lambda run: leave_out(run, "training", "sizes"), "cannot read RUN/config.json: 'training' has no 'sizes'"),
        (
            lambda run: edit_config(run, "task", name=5),
            "cannot read RUN/config.json: name must be a text, not 5",
        ),
        (
            lambda run: edit_config(run, "task", options=["bits"]),
            'cannot read RUN/config.json: options must be an object, not ["bits"]',
        ),
        (
            lambda run: edit_config(run, "task", options={"bits": "x"}),
            "cannot export RUN: the task copy: bits must be a whole number, not 'x'",
        ),
        (
            lambda run: edit_config(run, "task", options={"words": 5}),
            "cannot export RUN: the task copy has no option 'words'; its options: bits, pattern",
        ),
        (
            lambda run: edit_config(run, "task", options={"bits": 6}),
            "cannot export RUN: the task copy has 7 inputs, and the network 6",
        ),
        (
            lambda run: edit_config(run, "training", sizes={"items": [1, 2]}),
            "cannot export RUN: a size of the task copy has length, not items=1",
        ),
        (
            lambda run: edit_config(run, "task", name="no-such-task"),
            "cannot export RUN: its task no-such-task is not built in: give --task FILE.py:no-such-task",
        ),
        (
            lambda run: edit_config(run, "network", colour=1),
            "cannot read RUN/config.json: this release knows no 'colour' of 'network'",
        ),
        (
            lambda run: edit_config(run, "network", input_size="x"),
            'cannot read RUN/config.json: input_size must be a whole number, not "x"',
        ),
        (
            lambda run: edit_config(run, "network", input_size=0),
            "cannot read RUN/config.json: input_size must be at least 1, not 0",
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
            lambda run: edit_config(run, "network", input_size=7),
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
        ["RUN", "--output", "out", "--seal", "out"],
        ["--output", "out"],
        ["--check", "out"],
        ["RUN", "--seal", "out"],
        ["--seal", "out"],
        ["RUN", "--output", "out", "--fixed", "large"],
        ["RUN", "--output", "out", "--fixed", "9" * 5000],
        ["RUN", "--output", "out", "--fixed", "1,0"],
        ["RUN", "--output", "out", "--format", "pickle"],
        ["RUN", "--output", "out", "--unroll", "0"],
        ["RUN", "--output", "out", "--memory-locations", "0"],
        ["RUN", "--output", "out", "--name", "two\nlines"],
        ["RUN", "--output", "out", "--name", ""],
        ["RUN", "--output", "no/such/folder/out"],
    ],
    ids=lambda arguments: " ".join(arguments)[:40],
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
