"""The run folder: the configuration, the history and the checkpoint that a training leaves behind.

``config.json``     what was asked for: the network's configuration and the training's options
``history.jsonl``   one line a progress report
``checkpoint.npz``  the network's variables by name, the optimiser's, and a summary of the training so far

A run without a checkpoint has not been trained yet.
"""

import contextlib
import dataclasses
import hashlib
import io
import itertools
import json
import math
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from ntm.console import CommandError, explaining
from ntm.files import atomic_output
from ntm.models import NTMCell, NTMConfig
from ntm.training.config import TrainingConfig

CONFIG, HISTORY, CHECKPOINT = "config.json", "history.jsonl", "checkpoint.npz"
_MODEL, _STATE, _SUMMARY = "model/", "state/", "summary"
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", tuple: "a list of whole numbers"}


class RunError(CommandError):
    """A run folder that cannot be read; the message is one line."""


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """What a run folder holds of a trained network."""

    cell: NTMCell
    summary: dict[str, Any]  # of JSON types
    checkpoint_sha256: str


def check_free(folder: pathlib.Path, *, replace: bool) -> None:
    """Refuse a folder that cannot be made or written, or is not empty, unless it is a run that is to be replaced.

    Raises:
        CommandError: says which.
    """
    with explaining(f"cannot make {folder}"):
        existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        if existing == folder.absolute() and any(folder.iterdir()):
            if not (folder / CONFIG).exists():
                raise CommandError(f"{folder} exists and is not a run")
            if not replace:
                raise CommandError(f"{folder} exists; --force replaces it, --resume goes on with it")
        tempfile.TemporaryDirectory(dir=existing).cleanup()


def begin(folder: pathlib.Path, network: NTMConfig, training: TrainingConfig, *, replace: bool) -> None:
    """Make the run folder, over a run only where that is asked for; all else that is in it stays.

    Raises:
        CommandError: it cannot be made.
    """
    check_free(folder, replace=replace)
    with explaining(f"cannot make {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        for name in (CHECKPOINT, HISTORY):  # before the configuration, to which they would not belong
            (folder / name).unlink(missing_ok=True)
    save_config(folder, network, training)


def save_config(folder: pathlib.Path, network: NTMConfig, training: TrainingConfig) -> None:
    """Write what was asked for.

    Raises:
        CommandError: it cannot be written.
    """
    config = {"network": dataclasses.asdict(network), "training": dataclasses.asdict(training)}
    with explaining(f"cannot write {folder / CONFIG}"), atomic_output(folder / CONFIG) as file:
        file.write((json.dumps(config, indent=2, allow_nan=False) + "\n").encode())


def load_config(folder: pathlib.Path) -> tuple[NTMConfig, TrainingConfig]:
    """Read what was asked for.

    Raises:
        RunError: the folder is not a run, or its configuration is not one that this release knows.
    """
    with _reading(folder / CONFIG):
        config = _parsed((folder / CONFIG).read_bytes())
        return NTMConfig(**config["network"]), TrainingConfig(**config["training"])


def add_to_history(folder: pathlib.Path, line: dict[str, Any]) -> None:
    """Write a progress report, of JSON types.

    Raises:
        CommandError: it cannot be written.
    """
    with explaining(f"cannot write {folder / HISTORY}"), open(folder / HISTORY, "a", encoding="utf-8") as file:
        file.write(json.dumps(line, allow_nan=False) + "\n")


def rewind_history(folder: pathlib.Path, batches: int) -> None:
    """Forget what was reported after so many batches: a kill leaves reports behind that no checkpoint knows of.

    Raises:
        CommandError: it cannot be read or written.
    """
    path = folder / HISTORY
    with _reading(path):
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        kept = list(itertools.takewhile(lambda line: _reported_at(line) <= batches, lines))
    with explaining(f"cannot write {path}"), atomic_output(path) as file:
        file.writelines(kept)


def _reported_at(line: bytes) -> float:
    """The batches that a line of the history tells of, infinitely many if it was cut short."""
    try:
        return float(json.loads(line)["batches"]) if line.endswith(b"\n") else math.inf
    except (ValueError, KeyError, TypeError):
        return math.inf


def save_checkpoint(
    folder: pathlib.Path, variables: dict[str, np.ndarray], state: dict[str, np.ndarray], summary: dict[str, Any]
) -> None:
    """Replace the checkpoint in one step: a kill at any moment leaves the old one or the new one, whole.

    Args:
        folder: the run folder.
        variables: the network's variables by name.
        state: what else training needs to go on.
        summary: what the training has reached, of JSON types.

    Raises:
        CommandError: it cannot be written.
    """
    arrays = {_MODEL + name: value for name, value in variables.items()}
    arrays |= {_STATE + name: value for name, value in state.items()}
    arrays[_SUMMARY] = np.array(json.dumps(summary, allow_nan=False))
    with explaining(f"cannot write {folder / CHECKPOINT}"), atomic_output(folder / CHECKPOINT) as file:
        np.savez(file, allow_pickle=False, **arrays)


def load_state(folder: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read what training needs to go on: its state, and the summary.

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
    network, _ = load_config(folder)
    arrays, summary, checksum = _load_checkpoint(folder)
    values, cell = _of(arrays, _MODEL), NTMCell(network)
    variables = {variable.name.removesuffix(":0"): variable for variable in cell.trainable_variables}
    if {name: (value.shape, value.dtype) for name, value in values.items()} != {
        name: (tuple(variable.shape), variable.dtype.as_numpy_dtype) for name, variable in variables.items()
    }:
        raise RunError(f"cannot read {folder / CHECKPOINT}: its network is not that of {CONFIG}")
    for name, variable in variables.items():
        variable.assign(values[name])
    return TrainedRun(cell, summary, checksum)


def _parsed(content: bytes) -> dict[str, dict[str, Any]]:
    """The configuration in ``CONFIG``: its parts by name, their options by name, each of its type.

    Raises:
        ValueError: says what is wrong.
    """
    try:
        config = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not JSON: {error}") from error
    for part, kind in (("network", NTMConfig), ("training", TrainingConfig)):
        if not isinstance(config, dict) or not isinstance(config.get(part), dict):
            raise ValueError(f"it has no {part!r}")
        defaults = {field.name: field.default for field in dataclasses.fields(kind)}
        for name, value in config[part].items():
            if name not in defaults:
                raise ValueError(f"this release knows no {name!r} of {part!r}")
            if not _is_alike(value, defaults[name]):
                raise ValueError(f"{name} must be {_KINDS[type(defaults[name])]}, not {json.dumps(value):.40}")
    return dict(config)


def _is_alike(value: Any, default: Any) -> bool:
    """Whether a value of JSON is of the type of a default; a whole number is a number."""
    if isinstance(default, tuple):
        return isinstance(value, list) and all(_is_alike(item, default[0]) for item in value)
    return type(value) is type(default) or (isinstance(default, float) and type(value) is int)


def _load_checkpoint(folder: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, Any], str]:
    """All arrays of a checkpoint by name, its summary, and the SHA-256 of the file."""
    path = folder / CHECKPOINT
    with _reading(path):
        content = path.read_bytes()
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = dict(file)
        summary = dict(json.loads(str(arrays[_SUMMARY])))
    except Exception as error:  # zipfile, zlib and numpy have many for a damaged file
        raise RunError(f"cannot read {path}: it is damaged, or is not a checkpoint") from error
    return arrays, summary, hashlib.sha256(content).hexdigest()


def _of(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays of one kind by their own names."""
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


@contextlib.contextmanager
def _reading(path: pathlib.Path) -> Iterator[None]:
    """Turn whatever a missing, damaged or foreign file can raise into a RunError that names it."""
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
