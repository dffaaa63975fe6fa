"""``import ntm``: what it offers, what it loads, and what it says where an extra is missing."""

import ast
import dataclasses
import json
import pathlib
import re
import subprocess
import sys
import tomllib
import types
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest

import ntm
from ntm import console, errors
from ntm.runtime.session import Floats
from ntm.tasks import Batch, Copy, Size, Task

ROOT = pathlib.Path(__file__).parents[1]
FOLDERS = ("ntm", "models", "tasks", "training", "export", "runtime")


def python(code: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own."""
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [sys.executable, "-c", code], capture_output=True, check=False, text=True, timeout=120, **options
    )


# What is imported


HEAVY = ("tensorflow", "tf2onnx", "onnx", "onnxruntime", "matplotlib")


@pytest.mark.parametrize(
    ("code", "light"),
    [
        ("import ntm", (*HEAVY, "numpy", "typer")),
        ("import ntm; dir(ntm); ntm.load, ntm.train, ntm.Error", (*HEAVY, "numpy", "typer")),
        ("import ntm; ntm.Model, ntm.State, ntm.tasks", (*HEAVY, "typer")),
        ("import ntm.tasks", (*HEAVY, "typer")),
        ("import ntm.runtime", (*HEAVY, "typer")),
        ("import ntm.runtime.model, ntm.runtime.evaluate, ntm.runtime.metadata", (*HEAVY, "typer")),
        ("import ntm; ntm.load()", (*HEAVY, "typer")),  # a session is made when it is first needed
    ],
)
def test_an_import_loads_nothing_that_is_not_needed(code: str, light: tuple[str, ...]) -> None:
    program = f"{code}\nimport json, sys\nprint(json.dumps(sorted(set({light!r}) & set(sys.modules))))"
    done = python(program)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == []


def test_what_is_loaded_would_be_seen() -> None:
    program = "import ntm, numpy as np, sys; ntm.load().run(np.zeros((1, 1, 9))); print('onnxruntime' in sys.modules)"
    assert python(program).stdout == "True\n"


def modules() -> dict[str, pathlib.Path]:
    """The modules of the package by name."""
    paths = [path for folder in FOLDERS for path in (ROOT / folder).glob("*.py")]
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in paths}
    return {name if name.startswith("ntm.") else f"ntm.{name}": path for name, path in names.items()}


def imported_by(path: pathlib.Path) -> set[str]:
    """What a module imports, anywhere in it: modules, and names that may be modules."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} has a relative import"
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_no_module_but_those_of_the_commands_imports_the_console() -> None:
    importing = {name for name, path in modules().items() if "ntm.console" in imported_by(path)}
    commands = {name for name in modules() if name.rpartition(".")[2].endswith("command")}
    assert len(commands) == 6
    assert importing == {*commands, "ntm.runtime.options"}  # the options that commands share


def test_no_module_but_their_own_entry_points_imports_the_commands() -> None:
    commands = {name for name in modules() if name.rpartition(".")[2].endswith("command")}
    commands |= {"ntm.console", "ntm.runtime.options"}
    importing = {name for name, path in modules().items() if commands & imported_by(path)}
    assert importing == {*commands - {"ntm.console"}, "ntm.commands"}


def test_serving_and_tasks_import_nothing_of_training() -> None:
    heavy = {"tensorflow", "tf2onnx", "onnx", "ntm.models", "ntm.training", "ntm.export"}
    for name, path in modules().items():
        if name.startswith(("ntm.runtime.", "ntm.tasks.")):
            imported = {part for found in imported_by(path) for part in (found, ".".join(found.split(".")[:2]))}
            assert not imported & heavy, name


# What there is


def test_every_public_name_is_there_and_shown() -> None:
    assert set(ntm.__all__) <= set(dir(ntm))
    for name in ntm.__all__:
        assert getattr(ntm, name) is not None
    program = "import ntm; print(*dir(ntm))"  # before anything is asked for
    assert set(ntm.__all__) <= set(python(program).stdout.split())
    starred: dict[str, object] = {}
    exec("from ntm import *", starred)  # noqa: S102
    assert set(ntm.__all__) <= set(starred)
    assert starred["Model"] is ntm.runtime.model.Model
    assert isinstance(starred["tasks"], types.ModuleType)


def test_nothing_else_is_shown() -> None:
    shown = python("import ntm; print(*(name for name in dir(ntm) if not name.startswith('__')))").stdout.split()
    assert set(shown) == set(ntm.__all__)
    described = python("import ntm; help(ntm)").stdout
    for name in ("load(model", "class Model(", "evaluate(model", ntm.__version__):
        assert name in described


def test_the_version_is_that_of_the_distribution() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", ntm.__version__)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "ntm.__version__"}


def test_no_other_name_is_there() -> None:
    with pytest.raises(AttributeError, match=r"^module 'ntm' has no attribute 'lode'$"):
        _ = ntm.lode
    assert not hasattr(ntm, "Trace")


def test_every_error_is_one_that_the_caller_can_catch() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert {kind.__name__ for kind in kinds} == {name for name in ntm.__all__ if name.endswith("Error")}
    for kind in (*kinds, console.CommandError):
        assert issubclass(kind, ntm.Error)
        error = kind("the file\nFoo\x1b is  bad.")
        assert str(error) == r"the file Foo\x1b is  bad"


# Where an extra is missing


@pytest.mark.parametrize(
    ("call", "missing", "extra"),
    [
        ("ntm.train('copy', 'made')", "tensorflow", "train"),
        ("ntm.export('run', 'made')", "tensorflow", "export"),
        ("ntm.export('run', 'made')", "tf2onnx", "export"),
        ("ntm.export('run', 'made')", "ai_edge_litert", "export"),
    ],
)
def test_a_missing_extra_is_named_with_the_command_that_installs_it(
    tmp_path: pathlib.Path, call: str, missing: str, extra: str
) -> None:
    program = f"""
import sys
sys.modules[{missing!r}] = None
import ntm
try:
    {call}
except ntm.MissingExtraError as error:
    print(error)
"""
    done = python(program, cwd=tmp_path)
    message = f"{missing} is missing: pip install 'neural-turing-machine[{extra}]'\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, message, "")
    assert not list(tmp_path.iterdir())


def test_serving_needs_no_extra() -> None:
    program = """
import sys
for name in ("tensorflow", "tf2onnx", "onnx", "ai_edge_litert", "matplotlib", "typer", "rich"):
    sys.modules[name] = None
import ntm
print(ntm.evaluate(sizes=[{"length": 5}], sequences=3)[0].perfect)
"""
    done = python(program)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


# load and evaluate


def test_the_options_of_load(tiny_model: pathlib.Path) -> None:
    model = ntm.load(tiny_model, memory_locations=33, batch_size=5, threads=2)
    assert isinstance(model, ntm.Model)
    assert model.initial_state(1)["memory"].shape == (1, 9, 33)
    assert model.batch_size(1000) == 5
    assert ntm.load(str(tiny_model)).metadata == model.metadata
    with pytest.raises(ValueError, match="threads must be at least 1, not 0"):
        ntm.load(tiny_model, threads=0)
    with pytest.raises(ntm.ModelError, match="there is no model folder nowhere"):
        ntm.load("nowhere")


def test_a_model_is_evaluated_by_its_path_its_name_or_as_it_is(tiny_model: pathlib.Path) -> None:
    def figures(model: ntm.Model | str | pathlib.Path | None, task: Task | str | None = None) -> list[object]:
        scores = ntm.evaluate(model, task, [{"length": 3}], sequences=4, memory_locations=20, seed=3, threads=2)
        return [{**score.as_dict(), "cost_mean": pytest.approx(score.as_dict()["cost_mean"])} for score in scores]

    assert figures(tiny_model) == figures(str(tiny_model)) == figures(ntm.load(tiny_model))
    assert figures(tiny_model, "copy") == figures(tiny_model, Copy()) == figures(tiny_model)
    assert figures(None) == figures("copy-8bit") == figures(ntm.load())
    with pytest.raises(ntm.ModelError, match="there is no model folder nowhere"):
        ntm.evaluate("nowhere")


@pytest.mark.parametrize("name", ["sequences", "memory_locations", "seed", "threads"])
def test_evaluate_refuses_what_is_no_number(tiny_model: pathlib.Path, name: str) -> None:
    for value in ("3", 3.0):
        with pytest.raises(TypeError, match=f"^{name} must be a whole number, not {value!r}$"):
            ntm.evaluate(tiny_model, **{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("sizes", [{"length": 3}, "length=3", 3])
def test_evaluate_refuses_what_is_no_list_of_sizes(tiny_model: pathlib.Path, sizes: Any) -> None:
    with pytest.raises(TypeError, match=r"^sizes must be a list of sizes, e\.g\. "):
        ntm.evaluate(tiny_model, sizes=sizes)


def test_what_is_no_task_is_refused(tiny_model: pathlib.Path, tmp_path: pathlib.Path) -> None:
    calls: list[Callable[[Any], object]] = [
        lambda task: ntm.evaluate(tiny_model, task),
        lambda task: ntm.train(task, tmp_path / "run"),
        lambda task: ntm.export(tmp_path / "run", tmp_path / "model", task=task),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=r"^task must be a ntm\.tasks\.Task or the name of one, not 5$"):
            call(5)
        with pytest.raises(TypeError, match=r"^task must be an object: Copy\(\), not Copy$"):
            call(Copy)
    assert not list(tmp_path.iterdir())


# A task of the user's, from the training to the serving


@dataclasses.dataclass(frozen=True)
class Parity(Task):
    """Tell whether the ones so far are odd."""

    odd: bool = True

    input_size = 1
    output_size = 1
    training_sizes: ClassVar[dict[str, range]] = {"steps": range(2, 6)}

    def batch(self, rng: np.random.Generator, batch_size: int, size: Size) -> Batch:
        x = rng.integers(0, 2, (size["steps"], batch_size, 1))
        odd: Floats = (x.cumsum(axis=0) % 2).astype(np.float32)
        return Batch(x, odd if self.odd else 1 - odd, np.ones(x.shape[:2]))


@pytest.mark.slow
def test_a_task_of_the_user_is_trained_exported_evaluated_and_served(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    """Too short a training to learn it; what is served is what was trained all the same."""
    from ntm.export import parity  # noqa: PLC0415  (TensorFlow takes seconds to import)

    monkeypatch.setattr(parity, "LEAST_STEPS", 100)  # the sequences of this task are so short that 1,000 take long
    task = Parity(odd=False)
    lines: list[dict[str, Any]] = []
    run = ntm.train(
        task, tmp_path / "run", report=lines.append, seed=3, max_batches=30, xla=False, controller_sizes=(20,)
    )
    assert not run.converged
    assert lines[-1]["batches"] == 30
    assert (run.config.task, run.config.task_options) == ("Parity", {"odd": False})
    with pytest.raises(ntm.TaskError, match="its task Parity is not built in"):
        ntm.export(run, tmp_path / "model")
    with pytest.raises(ntm.TaskError, match="it was trained on Parity with odd=false, not with odd=true"):
        ntm.export(run, tmp_path / "model", task=Parity())
    assert not (tmp_path / "model").exists()
    with pytest.warns(UserWarning, match="the network has not converged"):
        agreements = ntm.export(tmp_path / "run", tmp_path / "model", task=task)
    assert set(agreements) == {"step.onnx", "unrolled.onnx", "batched.onnx"}
    model = ntm.load(tmp_path / "model")
    assert model.metadata.task == {"name": "Parity", "options": {"odd": False}}
    assert model.config == dataclasses.asdict(run.network.config) | {"controller_sizes": [20]}
    with pytest.raises(ntm.TaskError, match="its task Parity is not built in"):
        ntm.evaluate(model)
    shortest, longest = ntm.evaluate(model, task, sequences=8)
    assert (shortest.case.size, longest.case.size) == ({"steps": 2}, {"steps": 5})
    x = longest.worst.x[:, np.newaxis]
    state = run.network.initial_state(1, longest.case.memory_locations)
    for x_t, y_t in zip(x, longest.worst.y, strict=True):
        logits, state = run.network(x_t, state)
        np.testing.assert_allclose(y_t, 1 / (1 + np.exp(-logits.numpy()[0])), atol=1e-4)
