"""Tasks by name, tasks of the user's by file and class, and the tasks that models record."""

import os
import pathlib
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from ntm.errors import TaskError
from ntm.tasks import BUILT_IN, Copy, DynamicNGrams, RepeatCopy, Task, find
from ntm.tasks.catalogue import find_class, make, recorded, summary, title

SOURCE = '''
import dataclasses

import numpy as np

from ntm.tasks import Batch, Copy, Task


@dataclasses.dataclass(frozen=True)
class Echo(Task):
    """Repeat each number at once. By the way.

    And more.
    """

    bits: int = 2
    noise: float = 0.5
    loud: bool = False
    label: str = "none"

    output_size = 2
    training_sizes = {"length": range(1, 4)}

    @property
    def input_size(self):
        return self.bits

    def batch(self, rng, batch_size, size):
        x = rng.integers(0, 2, (size["length"], batch_size, self.bits))
        return Batch(x, x, np.ones(x.shape[:2]))


@dataclasses.dataclass(frozen=True)
class Named(Echo):
    name = "my echo"


@dataclasses.dataclass(frozen=True)
class Demanding(Echo):
    depth: int = dataclasses.field(kw_only=True)


class Unfinished(Task):
    output_size = 2
    training_sizes = {"length": range(1, 4)}


class Unrelated:
    pass


number = 5
'''
ECHO_OPTIONS = {"bits": 2, "noise": 0.5, "loud": False, "label": "none"}


@pytest.fixture(autouse=True)
def _forget_files() -> Iterator[None]:
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("ntm_task_"):
            del sys.modules[name]


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "tasks_of_mine.py"
    path.write_text(SOURCE)
    return path


def _modules_of(path: pathlib.Path) -> list[types.ModuleType]:
    """The modules that are loaded from a file."""
    return [module for module in list(sys.modules.values()) if getattr(module, "__file__", None) == str(path)]


def _refusal(name: str, options: Mapping[str, Any] | None = None) -> str:
    """Why there is no such task."""
    with pytest.raises(TaskError) as refused:
        find(name, options)
    assert len(str(refused.value).splitlines()) == 1
    return str(refused.value)


def test_the_tasks_of_the_paper_are_found_by_name() -> None:
    assert list(BUILT_IN) == ["copy", "repeat-copy", "associative-recall", "dynamic-ngrams", "priority-sort"]
    for name, kind in BUILT_IN.items():
        assert type(find(name)) is find_class(name) is kind
        assert find(name).name == title(kind) == name


def test_options_are_fields() -> None:
    assert find("copy", {"bits": 3, "pattern": "ones"}) == Copy(bits=3, pattern="ones")
    assert find("dynamic-ngrams", {"n": 3}) == DynamicNGrams(n=3)


@pytest.mark.parametrize("name", ["", "Copy", "copy2", "copy:Copy", "copy.py", ":", "a.txt:Copy", "ntm.tasks:Copy"])
def test_an_unknown_name_lists_what_there_is(name: str) -> None:
    assert _refusal(name) == (
        f"there is no task {name!r}: give one of copy, repeat-copy, associative-recall, dynamic-ngrams, "
        "priority-sort, or FILE.py:CLASS"
    )


def test_a_task_of_the_users_is_found_by_file_and_class(file: pathlib.Path) -> None:
    task = find(f"{file}:Echo", {"label": "some"})
    assert isinstance(task, Task)
    assert (task.name, task.options) == ("Echo", ECHO_OPTIONS | {"label": "some"})
    assert summary(type(task)) == "Repeat each number at once. By the way"


def test_a_relative_path_does(file: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    assert find(f"{file.name}:Named").name == "my echo"


def test_a_folder_with_a_colon_does(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "a:b"
    folder.mkdir()
    (folder / "mine.py").write_text(SOURCE)
    assert find(f"{folder}/mine.py:Echo").name == "Echo"


def test_a_file_name_that_is_not_utf_8_does(tmp_path: pathlib.Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff.py")
    try:
        path.write_text(SOURCE)
    except OSError:
        pytest.skip("the file system takes no such name")
    assert find(f"{path}:Echo").name == "Echo"


def test_a_class_that_is_loaded_twice_is_the_same(file: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = find_class(f"{file}:Echo")
    monkeypatch.chdir(file.parent)
    assert find_class(f"{file.name}:Echo") is first
    assert find_class(f"{file.parent}/../{file.parent.name}/{file.name}:Echo") is first
    assert find(f"{file}:Echo") == find(f"{file}:Echo")
    assert len(_modules_of(file)) == 1


def test_files_of_one_name_are_two(file: pathlib.Path) -> None:
    other = file.parent / "other" / file.name
    other.parent.mkdir()
    other.write_text(SOURCE.replace("my echo", "another echo"))
    assert [find(f"{path}:Named").name for path in (file, other, file)] == ["my echo", "another echo", "my echo"]


def test_a_class_that_a_file_imports_is_found_too(file: pathlib.Path) -> None:
    assert find_class(f"{file}:Copy") is Copy


@pytest.mark.parametrize("name", ["missing.py", "folder.py", "a" * 300 + ".py", "nul\0.py"])
def test_a_missing_file_is_refused(tmp_path: pathlib.Path, name: str) -> None:
    (tmp_path / "folder.py").mkdir()
    assert _refusal(f"{tmp_path}/{name}:Echo") == f"there is no file {tmp_path}/{name}".replace("\0", "\\x00")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def f(:\n", "SyntaxError: invalid syntax (tasks_of_mine.py, line 1)"),
        ("import sys\nsys.exit(3)", "SystemExit: 3"),
        ("import no_such_module_xyz", "ModuleNotFoundError: No module named 'no_such_module_xyz'"),
        ("raise ValueError('one\\ntwo')", "ValueError: one two"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("\0", "SyntaxError: source code string cannot contain null bytes"),
    ],
)
def test_a_file_that_cannot_be_run_is_refused_and_leaves_no_module(
    file: pathlib.Path, source: str, reason: str
) -> None:
    before = set(sys.modules)
    file.write_text(source)
    assert _refusal(f"{file}:Echo") == f"cannot run {file}: {reason}"
    assert not _modules_of(file)
    assert not [name for name in set(sys.modules) - before if name.startswith("ntm_task_")]
    file.write_text(SOURCE)  # mended
    assert find(f"{file}:Echo").name == "Echo"
    assert len(_modules_of(file)) == 1


def test_a_file_that_is_interrupted_leaves_no_module(file: pathlib.Path) -> None:
    file.write_text("raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        find(f"{file}:Echo")
    assert not _modules_of(file)


@pytest.mark.parametrize("name", ["Unrelated", "number", "Missing", "np", ""])
def test_a_class_that_is_no_task_lists_those_of_the_file(file: pathlib.Path, name: str) -> None:
    assert _refusal(f"{file}:{name}") == (f"{file} has no task {name!r}; its tasks: Echo, Named, Demanding, Unfinished")


def test_a_file_without_tasks_says_so(file: pathlib.Path) -> None:
    file.write_text("from ntm.tasks import Copy\n")
    assert _refusal(f"{file}:Echo") == f"{file} has no task 'Echo'; its tasks: none"


def test_an_abstract_class_names_what_is_missing(file: pathlib.Path) -> None:
    assert _refusal(f"{file}:Unfinished") == f"the task Unfinished in {file} does not define batch, input_size"
    everything = "batch, input_size, output_size, training_sizes"
    assert _refusal(f"{file}:Task") == f"the task Task in {file} does not define {everything}"


def test_a_task_that_breaks_the_contract_is_refused(file: pathlib.Path) -> None:
    file.write_text(SOURCE.replace("np.ones", "np.zeros"))
    assert _refusal(f"{file}:Echo") == (
        "the task Echo, batch of length=1: mask is 0 at every step of a sequence, so that no output counts"
    )


def test_a_task_that_is_no_dataclass_is_refused(file: pathlib.Path) -> None:
    file.write_text(SOURCE.replace("@dataclasses.dataclass(frozen=True)\n", ""))
    assert "the task Echo must be a frozen dataclass" in _refusal(f"{file}:Echo")
    assert _refusal(f"{file}:Echo", {"bits": 2}) == "the task Echo has no option 'bits'; its options: none"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"width": 3}, "the task Echo has no option 'width'; its options: bits, noise, loud, label"),
        ({"output_size": 3}, "the task Echo has no option 'output_size'; its options: bits, noise, loud, label"),
        ({"bits": "2"}, "the task Echo: bits must be a whole number, not '2'"),
        ({"bits": 2.0}, "the task Echo: bits must be a whole number, not 2.0"),
        ({"bits": True}, "the task Echo: bits must be a whole number, not True"),
        ({"bits": None}, "the task Echo: bits must be a whole number, not None"),
        ({"noise": "low"}, "the task Echo: noise must be a number, not 'low'"),
        ({"noise": True}, "the task Echo: noise must be a number, not True"),
        ({"loud": 1}, "the task Echo: loud must be true or false, not 1"),
        ({"label": 1}, "the task Echo: label must be a text, not 1"),
        ({"label": ["a"]}, "the task Echo: label must be a text, not ['a']"),
        ({"bits": 0}, "the task Echo: input_size must be a whole number above 0, not 0"),
    ],
)
def test_options_that_do_not_fit_are_refused(file: pathlib.Path, options: dict[str, Any], reason: str) -> None:
    assert _refusal(f"{file}:Echo", options) == reason


def test_a_whole_number_is_a_number_and_all_else_of_its_type_is_taken(file: pathlib.Path) -> None:
    options = {"bits": 2, "noise": 3, "loud": True, "label": ""}
    assert find(f"{file}:Echo", options).options == options


def test_an_option_without_a_default_must_be_given(file: pathlib.Path) -> None:
    assert "missing 1 required keyword-only argument: 'depth'" in _refusal(f"{file}:Demanding")
    assert find(f"{file}:Demanding", {"depth": 7}).options == ECHO_OPTIONS | {"depth": 7}


def test_a_built_in_task_is_recorded_by_its_name_and_options() -> None:
    assert recorded("copy", {"bits": 3}) == Copy(bits=3)
    assert recorded("repeat-copy", {}) == RepeatCopy()
    with pytest.raises(TaskError, match="the task copy has no option 'width'"):
        recorded("copy", {"width": 3})


def test_a_task_of_the_users_is_not_run_unless_it_is_given(file: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    file.with_name("Echo.py").write_text(SOURCE)
    before = set(sys.modules)
    for name in ("Echo", f"{file}:Echo", "tasks_of_mine.py:Echo"):
        with pytest.raises(TaskError) as refused:
            recorded(name, ECHO_OPTIONS)
        assert str(refused.value) == f"its task {name} is not built in: give --task FILE.py:{name}"
    assert set(sys.modules) == before


def test_a_task_that_is_given_by_file_takes_the_recorded_options(file: pathlib.Path) -> None:
    assert recorded("Echo", {"label": "x"}, f"{file}:Echo") == find(f"{file}:Echo", {"label": "x"})
    assert recorded("my echo", {"label": "x"}, f"{file}:Named") == find(f"{file}:Named", {"label": "x"})
    assert recorded("copy", {"bits": 3}, "copy") == Copy(bits=3)
    with pytest.raises(TaskError, match="the task Echo: bits must be a whole number, not 'x'"):
        recorded("Echo", {"bits": "x"}, f"{file}:Echo")


def test_a_task_that_is_given_as_an_object_must_have_the_recorded_options(file: pathlib.Path) -> None:
    echo = find(f"{file}:Echo", {"label": "mine"})
    assert recorded("Echo", {"label": "mine"}, echo) == echo
    with pytest.raises(TaskError, match=r"it was trained on copy with bits=3, pattern=.random., not with bits=4"):
        recorded("copy", {"bits": 3}, Copy(bits=4))


def test_a_task_of_another_name_is_refused(file: pathlib.Path) -> None:
    for given in (f"{file}:Named", find(f"{file}:Named")):
        with pytest.raises(TaskError) as refused:
            recorded("Echo", {"bits": 2, "no option of Named": 3}, given)
        assert str(refused.value) == "it was trained on Echo, not on my echo"
    with pytest.raises(TaskError, match=r"it was trained on Echo, not on copy$"):
        recorded("Echo", {}, "copy")
    with pytest.raises(TaskError, match=r"it was trained on copy, not on Echo$"):
        recorded("copy", {}, f"{file}:Echo")


def test_make_takes_a_class() -> None:
    assert make(Copy, {"bits": 5}) == Copy(bits=5)
    with pytest.raises(TaskError, match="the task copy: bits must be at least 1, not 0"):
        make(Copy, {"bits": 0})


def test_every_built_in_task_has_a_summary() -> None:
    summaries = {name: summary(kind) for name, kind in BUILT_IN.items()}
    assert summaries["copy"] == "Remember a sequence of words and repeat it (section 4.1 of the paper)"
    assert all("of the paper" in text and not text.endswith(".") for text in summaries.values())


def test_a_file_can_import_what_lies_beside_it(tmp_path: pathlib.Path) -> None:
    (tmp_path / "beside_the_task.py").write_text("BITS = 3\n")
    (tmp_path / "own.py").write_text(
        "import dataclasses\nfrom beside_the_task import BITS\nfrom ntm.tasks import Copy\n\n"
        "@dataclasses.dataclass(frozen=True)\nclass Mine(Copy):\n    bits: int = BITS\n"
    )
    before = list(sys.path)
    assert find_class(f"{tmp_path / 'own.py'}:Mine")().output_size == 3
    assert sys.path == before
