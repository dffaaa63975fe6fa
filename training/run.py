"""The run folder of a training: its configuration, its history and its checkpoint.

``config.json``     the task, the configuration of the network and the options of the training
``history.jsonl``   one line per progress report
``checkpoint.npz``  the variables of the network and of the optimiser, and a summary of the training so far
``checkpoints/``    the newest earlier checkpoints, each as a run of its own, with ``keep_checkpoints``
``.lock``           exists while a process trains the run; no other process may train it at the same time

A run without a checkpoint has not been trained yet.
"""

import contextlib
import dataclasses
import functools
import hashlib
import io
import itertools
import json
import math
import os
import pathlib
import shutil
import tempfile
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import numpy as np

from ntm.errors import RunError, explaining
from ntm.files import atomic_output
from ntm.models import NETWORKS, Network, NetworkConfig, make_network
from ntm.training.config import Lesson, TrainingConfig

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

CONFIG, HISTORY, CHECKPOINT, LOCK = "config.json", "history.jsonl", "checkpoint.npz", ".lock"
CHECKPOINTS = "checkpoints"
_ATTEMPTS = 10  # the attempts to lock a file that other processes lock and delete
_MODEL, _STATE, _SUMMARY = "model/", "state/", "summary"
_KIND = "model"  # the key of the kind of network, a name of ``NETWORKS``


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """The configuration of a run."""

    task: str  # its name
    task_options: Mapping[str, Any]  # of JSON types
    network: NetworkConfig
    training: TrainingConfig

    def as_dict(self) -> dict[str, Any]:
        """The parts by name, of JSON types."""
        return {
            "task": {"name": self.task, "options": dict(self.task_options)},
            "network": {_KIND: self.network.model} | dataclasses.asdict(self.network),
            "training": dataclasses.asdict(self.training),
        }


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """A trained network, as a run folder holds it."""

    network: Network
    config: RunConfig
    summary: dict[str, Any]  # the results of the training, of JSON types
    checkpoint_sha256: str

    @property
    def converged(self) -> bool:
        """Whether the network has passed its last check."""
        return bool(self.summary.get("converged"))


def check_free(folder: pathlib.Path, *, replace: bool) -> None:
    """Refuse a folder that cannot be made or written, or that is not empty, unless it is a run to be replaced.

    Raises:
        RunError: the folder is not empty.
        FileError: the folder cannot be made or written.
    """
    with explaining(f"cannot make {folder}"):
        existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        if existing == folder.absolute() and any(path.name != LOCK for path in folder.iterdir()):
            if not (folder / CONFIG).exists():
                raise RunError(f"{folder} exists and is not a run")
            if not replace:
                raise RunError(f"{folder} exists; --force replaces it, --resume goes on with it")
        tempfile.TemporaryDirectory(dir=existing).cleanup()


class Lock:
    """The lock of a run folder: one process at a time, on this machine and on others that share the folder.

    It is a lock on a file in the folder, which the system releases at the end of the process. A folder that cannot be
    written, or whose file system has no locks, is not locked. The lock is a context manager, which releases it.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder, self._path = folder, folder / LOCK
        self._file: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    @property
    def held(self) -> bool:
        """Whether it is held."""
        return self._file is not None

    def take(self) -> None:
        """Take the lock of a folder that exists, unless it is held already.

        Raises:
            RunError: another training holds it.
        """
        try:
            for _ in range(_ATTEMPTS):
                if not self.held:
                    self._file = _opened_and_locked(self._path)
        except (BlockingIOError, FileExistsError) as error:
            stale = "" if fcntl else f" (or was killed: then delete {self._path})"
            raise RunError(f"{self._folder} is being trained by another process{stale}") from error
        except OSError:
            return

    def release(self) -> None:
        """Release the lock."""
        file, self._file = self._file, None
        if file is None:
            return
        ends: list[Callable[[], None]] = [self._path.unlink, functools.partial(os.close, file)]
        for end in ends if fcntl else ends[::-1]:  # Windows cannot delete an open file
            with contextlib.suppress(OSError):
                end()


def _opened_and_locked(path: pathlib.Path) -> int | None:
    """The descriptor of a lock; None if its holder has just released the lock and deleted the file.

    Raises:
        BlockingIOError, FileExistsError: another process holds the lock.
        OSError: the folder cannot be locked.
    """
    if not fcntl:  # Windows deletes the file at the end of the process
        return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_TEMPORARY", 0))
    file = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(file), os.stat(path)):
            return file
    except FileNotFoundError:
        pass
    except BaseException:
        os.close(file)
        raise
    os.close(file)
    return None


def begin(folder: pathlib.Path, config: RunConfig, lock: Lock, *, replace: bool) -> None:
    """Make the run folder, and take its lock. Other files in the folder stay.

    Args:
        folder: the run folder.
        config: the configuration of the run.
        lock: the lock of the folder.
        replace: whether an existing run may be replaced.

    Raises:
        RunError: the folder is not free, or another process trains there.
        FileError: the folder cannot be made.
    """
    check_free(folder, replace=replace)
    with explaining(f"cannot make {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
    lock.take()
    check_free(folder, replace=replace)  # again: another process may have been faster
    with explaining(f"cannot make {folder}"):
        for name in (CHECKPOINT, HISTORY):  # before the new configuration, which they do not fit
            (folder / name).unlink(missing_ok=True)
        if (folder / CHECKPOINTS).exists():
            shutil.rmtree(folder / CHECKPOINTS)
    save_config(folder, config)


def save_config(folder: pathlib.Path, config: RunConfig) -> None:
    """Write the configuration of a run.

    Raises:
        FileError: the file cannot be written.
    """
    text = json.dumps(config.as_dict(), indent=2, allow_nan=False)
    with explaining(f"cannot write {folder / CONFIG}"), atomic_output(folder / CONFIG) as file:
        file.write(f"{text}\n".encode())


def load_config(folder: pathlib.Path) -> RunConfig:
    """Read the configuration of a run.

    Raises:
        RunError: the folder is not a run, or this release cannot read its configuration.
    """
    with _reading(folder / CONFIG):
        config = _parsed((folder / CONFIG).read_bytes())
        make_config, _ = NETWORKS[config["network"].pop(_KIND)]
        network, training = make_config(**config["network"]), TrainingConfig(**config["training"])
        return RunConfig(config["task"]["name"], config["task"]["options"], network, training)


def add_to_history(folder: pathlib.Path, line: dict[str, Any]) -> None:
    """Write a progress report, of JSON types.

    Raises:
        FileError: it cannot be written.
    """
    with explaining(f"cannot write {folder / HISTORY}"), open(folder / HISTORY, "a", encoding="utf-8") as file:
        file.write(json.dumps(line, allow_nan=False) + "\n")


def rewind_history(folder: pathlib.Path, batches: int) -> None:
    """Delete the reports after this many batches: a killed training leaves reports that are newer than its checkpoint.

    Raises:
        FileError: it cannot be read or written.
    """
    path = folder / HISTORY
    with _reading(path):
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        kept = list(itertools.takewhile(lambda line: _reported_at(line) <= batches, lines))
    with explaining(f"cannot write {path}"), atomic_output(path) as file:
        file.writelines(kept)


def _reported_at(line: bytes) -> float:
    """The number of batches in a line of the history; infinity for an incomplete line."""
    try:
        return float(json.loads(line)["batches"]) if line.endswith(b"\n") else math.inf
    except (ValueError, KeyError, TypeError):
        return math.inf


def save_checkpoint(
    folder: pathlib.Path, variables: dict[str, np.ndarray], state: dict[str, np.ndarray], summary: dict[str, Any]
) -> None:
    """Replace the checkpoint: a kill at any moment leaves the whole old checkpoint or the whole new one.

    Args:
        folder: the run folder.
        variables: the network's variables by name.
        state: the further arrays that a resumed training needs.
        summary: the results of the training, of JSON types.

    Raises:
        FileError: it cannot be written.
    """
    arrays = {_MODEL + name: value for name, value in variables.items()}
    arrays |= {_STATE + name: value for name, value in state.items()}
    arrays[_SUMMARY] = np.array(json.dumps(summary, allow_nan=False))
    with explaining(f"cannot write {folder / CHECKPOINT}"), atomic_output(folder / CHECKPOINT) as file:
        np.savez(file, allow_pickle=False, **arrays)


@contextlib.contextmanager
def kept_checkpoint(folder: pathlib.Path, config: RunConfig, batches: int) -> Iterator[pathlib.Path]:
    """A folder for a checkpoint, which joins the kept ones at the end of the block; the oldest are deleted.

    Args:
        folder: the run folder.
        config: the configuration of the run.
        batches: the number of batches so far.

    Raises:
        FileError: the folder cannot be written.
    """
    kept, name = folder / CHECKPOINTS, f"batch-{batches:09}"
    with explaining(f"cannot write {kept / name}"):
        kept.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=kept) as temporary:
            made = pathlib.Path(temporary, name)
            made.mkdir()
            save_config(made, config)
            yield made
            if (kept / name).exists():  # from before a kill
                shutil.rmtree(kept / name)
            made.rename(kept / name)
        for old in sorted(kept.glob("batch-*"))[: -config.training.keep_checkpoints]:
            shutil.rmtree(old)


def load_state(folder: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read the state and the summary that a resumed training needs.

    Raises:
        RunError: the folder is not a run, or its checkpoint is damaged.
    """
    arrays, summary, _ = _load_checkpoint(folder)
    return _of(arrays, _STATE), summary


def load_run(folder: pathlib.Path) -> TrainedRun:
    """Read a trained network from its run folder.

    Raises:
        RunError: the folder is not a run, or its checkpoint is damaged or of another configuration.
    """
    config = load_config(folder)
    arrays, summary, checksum = _load_checkpoint(folder)
    values, network = _of(arrays, _MODEL), make_network(config.network)
    variables = {variable.name.removesuffix(":0"): variable for variable in network.variables}
    if {name: (value.shape, value.dtype) for name, value in values.items()} != {
        name: (tuple(variable.shape), variable.dtype.as_numpy_dtype) for name, variable in variables.items()
    }:
        raise RunError(f"cannot read {folder / CHECKPOINT}: its network is not that of {CONFIG}")
    for name, variable in variables.items():
        variable.assign(values[name])
    return TrainedRun(network, config, summary, checksum)


def _parsed(content: bytes) -> dict[str, Any]:
    """The configuration in ``CONFIG``: its parts by name, each with checked options by name.

    Raises:
        ValueError: the content is no configuration.
    """
    try:
        config = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise ValueError("it is not a JSON object")
    for part in ("task", "network", "training"):
        if not isinstance(config.get(part), dict):
            raise ValueError(f"it has no {part!r}")
    model = config["network"].get(_KIND)
    if not isinstance(model, str) or model not in NETWORKS:
        raise ValueError(f"{_KIND!r} of 'network' must be {' or '.join(NETWORKS)}, not {json.dumps(model):.40}")
    make_config, _ = NETWORKS[model]
    network = {name: value for name, value in config["network"].items() if name != _KIND}
    for part, kind, fields in (
        ("task", _Task, config["task"]),
        ("network", make_config, network),
        ("training", TrainingConfig, config["training"]),
    ):
        check_fields(part, kind, fields)
    return config


def check_fields(part: str, kind: type, values: Mapping[str, Any]) -> None:
    """Check values of JSON for the fields of a dataclass.

    Raises:
        ValueError: a value is unknown, missing or of another type; ``part`` is the name of all values in the message.
    """
    hints = _field_types(kind)
    for name, value in values.items():
        if name not in hints:
            raise ValueError(f"this release knows no {name!r} of {part!r}")
        expected, fits = _KINDS[hints[name]]
        if not fits(value):
            raise ValueError(f"{name} must be {expected}, not {json.dumps(value):.40}")
    missing = sorted(_required(kind) - set(values))
    if missing:
        raise ValueError(f"{part!r} has no {missing[0]!r}")


@dataclasses.dataclass
class _Task:
    """The task in ``CONFIG``."""

    name: str
    options: Mapping[str, Any]


def _field_types(kind: type) -> dict[str, Any]:
    """The type of every field."""
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _required(kind: type) -> set[str]:
    fields = dataclasses.fields(kind)
    missing = dataclasses.MISSING
    return {field.name for field in fields if field.default is missing and field.default_factory is missing}


def _is_whole(value: Any) -> bool:
    return type(value) is int


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or _is_whole(value)


def _is_list_of_whole(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_whole, value))


def _is_list_of_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_ranges(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_list_of_whole(ends) and len(ends) == 2 for ends in value.values())


def _is_list_of_lessons(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_lesson, value))


def _is_lesson(value: Any) -> bool:
    hints = _field_types(Lesson)
    known = isinstance(value, dict) and _required(Lesson) <= set(value) <= set(hints)
    return known and all(_KINDS[hints[name]][1](field) for name, field in value.items())


# By the type of a field: the requirement for a JSON value in words, and its check.
_KINDS: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    bool: ("true or false", lambda value: isinstance(value, bool)),
    int: ("a whole number", _is_whole),
    float: ("a number", _is_number),
    int | None: ("a whole number or null", lambda value: value is None or _is_whole(value)),
    float | None: ("a number or null", lambda value: value is None or _is_number(value)),
    str: ("a text", lambda value: isinstance(value, str)),
    tuple[int, ...]: ("a list of whole numbers", _is_list_of_whole),
    tuple[str, ...]: ("a list of texts", _is_list_of_texts),
    tuple[Lesson, ...]: ("a list of lessons", _is_list_of_lessons),
    Mapping[str, Any]: ("an object", lambda value: isinstance(value, dict)),
    Mapping[str, tuple[int, int]]: ("two whole numbers by name", _is_ranges),
}


def _load_checkpoint(folder: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, Any], str]:
    """All arrays of a checkpoint by name, its summary, and the SHA-256 of the file."""
    path = folder / CHECKPOINT
    with _reading(path):
        content = path.read_bytes()
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = dict(file)
        summary = dict(json.loads(str(arrays[_SUMMARY])))
    except Exception as error:  # zipfile, zlib and NumPy raise many classes for a damaged file
        raise RunError(f"cannot read {path}: it is damaged, or is not a checkpoint") from error
    return arrays, summary, hashlib.sha256(content).hexdigest()


def _of(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays whose names have this prefix, by their names without it."""
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


@contextlib.contextmanager
def _reading(path: pathlib.Path) -> Iterator[None]:
    """Turn the errors of a missing, damaged or foreign file into a RunError with the path of the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise RunError(f"{path.parent} is not a run of ntm-train: it has no {path.name}") from error
    except NotADirectoryError as error:
        raise RunError(f"{path.parent} is not a run of ntm-train: it is not a folder") from error
    except OSError as error:
        raise RunError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise RunError(f"cannot read {path}: {error}") from error
