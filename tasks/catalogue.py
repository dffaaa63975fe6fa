"""Finding a task: a built-in task by its name, a user's task by its file and class."""

import dataclasses
import importlib.util
import inspect
import json
import os
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

from ntm.errors import TaskError
from ntm.tasks.associative_recall import AssociativeRecall
from ntm.tasks.copy import Copy
from ntm.tasks.dynamic_ngrams import DynamicNGrams
from ntm.tasks.priority_sort import PrioritySort
from ntm.tasks.repeat_copy import RepeatCopy
from ntm.tasks.task import Task, check

# The tasks of the paper, in its order.
BUILT_IN: dict[str, type[Task]] = {
    "copy": Copy,
    "repeat-copy": RepeatCopy,
    "associative-recall": AssociativeRecall,
    "dynamic-ngrams": DynamicNGrams,
    "priority-sort": PrioritySort,
}


def find(name: str, options: Mapping[str, Any] | None = None) -> Task:
    """A task, checked.

    Args:
        name: the name of a built-in task; or ``FILE.py:Class``, which runs the file.
        options: fields of the task, of JSON types.

    Raises:
        TaskError: there is no such task, the file cannot be run, or the task breaks the contract.
    """
    return make(find_class(name), options or {})


def find_class(name: str) -> type[Task]:
    """The class of a task, by the name that ``find`` takes.

    Raises:
        TaskError: there is no such task, or the file cannot be run.
    """
    return BUILT_IN.get(name) or _load_class(name)


def title(kind: type[Task]) -> str:
    """The name of the tasks of a class."""
    name = getattr(kind, "name", None)
    return name if isinstance(name, str) else kind.__name__


def make(kind: type[Task], options: Mapping[str, Any]) -> Task:
    """A task of a class, checked.

    Raises:
        TaskError: an option is unknown, missing or of the wrong type, or the task breaks the contract.
    """
    task = build(kind, options)
    check(task)
    return task


def build(kind: type[Task], options: Mapping[str, Any]) -> Task:
    """A task of a class, without the check: no sequence is drawn.

    Raises:
        TaskError: an option is unknown, missing or of the wrong type.
    """
    fields: dict[str, Any] = (
        {field.name: field for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else {}
    )
    for name, value in options.items():
        if name not in fields:
            known = ", ".join(fields) or "none"
            raise TaskError(f"the task {title(kind)} has no option {name!r}; its options: {known}")
        default = fields[name].default
        if default is not dataclasses.MISSING and not _is_alike(value, default):
            expected = _KINDS.get(type(default), f"like {default!r}")
            raise TaskError(f"the task {title(kind)}: {name} must be {expected}, not {value!r}")
    try:
        return kind(**options)
    except Exception as error:
        reason = error if isinstance(error, ValueError | TypeError) else f"{type(error).__name__}: {error}"
        raise TaskError(f"the task {title(kind)}: {reason}") from error


def recorded(name: str, options: Mapping[str, Any], given: "Task | str | None" = None) -> Task:
    """The task that a run or a model records by its name and options.

    No file is run unless the caller names it.

    Args:
        name: the recorded name.
        options: the recorded options.
        given: the task as the caller gives it: an object, or ``FILE.py:Class`` as for ``find``. By default the built-in
            task of the recorded name.

    Raises:
        TaskError: there is no such task, or ``given`` has another name or other options.
    """
    kind = recorded_class(name) if given is None else type(given) if isinstance(given, Task) else find_class(given)
    if title(kind) != name:
        raise TaskError(f"it was trained on {name}, not on {title(kind)}")
    task = make(kind, options)
    if isinstance(given, Task) and given != task:
        raise TaskError(f"it was trained on {name} with {_pairs(task.options)}, not with {_pairs(given.options)}")
    return task


def recorded_class(name: str) -> type[Task]:
    """The class of the built-in task that a run or a model records by its name.

    Raises:
        TaskError: it is not built in.
    """
    if name not in BUILT_IN:
        raise TaskError(f"its task {name} is not built in: give --task FILE.py:{name}")
    return BUILT_IN[name]


def _pairs(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={json.dumps(value)}" for name, value in options.items()) or "no options"


def summary(kind: type[Task]) -> str:
    """The first line of the docstring of a task, without the full stop."""
    first = inspect.cleandoc(kind.__doc__ or "").partition("\n")[0]
    return first.removesuffix(".")


_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def _is_alike(value: Any, default: Any) -> bool:
    """Whether a value of JSON is of the type of a default; a whole number is a number."""
    return type(value) is type(default) or (isinstance(default, float) and type(value) is int)


def _load_class(name: str) -> type[Task]:
    """The class that ``FILE.py:Class`` names."""
    file, colon, class_name = name.rpartition(":")
    if not colon or not file.endswith(".py"):
        raise TaskError(f"there is no task {name!r}: give one of {', '.join(BUILT_IN)}, or FILE.py:CLASS")
    path = pathlib.Path(file)
    if not os.path.isfile(path):  # Path.is_file raises an OSError where the name is too long
        raise TaskError(f"there is no file {file}")
    # One module name per file, so that a class that is loaded twice is the same class.
    module_name = f"ntm_task_{os.fsencode(path.resolve()).hex()}"
    module = sys.modules.get(module_name)
    if module is None:
        spec = importlib.util.spec_from_file_location(module_name, path)
        if spec is None or spec.loader is None:
            raise TaskError(f"cannot run {file}")
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module  # dataclasses look it up
        folder = os.path.dirname(os.path.abspath(path))
        sys.path.insert(0, folder)  # the file may import its neighbours, as a program may
        try:
            spec.loader.exec_module(module)
        except BaseException as error:
            del sys.modules[module_name]
            if not isinstance(error, Exception | SystemExit):  # Ctrl-C
                raise
            raise TaskError(f"cannot run {file}: {type(error).__name__}: {error}") from error
        finally:
            sys.path.remove(folder)
    kind = getattr(module, class_name, None)
    if not inspect.isclass(kind) or not issubclass(kind, Task):
        classes = [key for key, value in vars(module).items() if _is_own_task(value, module_name)]
        raise TaskError(f"{file} has no task {class_name!r}; its tasks: {', '.join(classes) or 'none'}")
    if inspect.isabstract(kind):
        missing = ", ".join(sorted(kind.__abstractmethods__))
        raise TaskError(f"the task {class_name} in {file} does not define {missing}")
    return kind


def _is_own_task(value: Any, module: str) -> bool:
    return inspect.isclass(value) and issubclass(value, Task) and value.__module__ == module
