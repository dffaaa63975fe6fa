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
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from ntm.console import CommandError, explaining
from ntm.files import atomic_output
from ntm.models import NTMCell, NTMConfig
from ntm.training.config import TrainingConfig

CONFIG, HISTORY, CHECKPOINT = "config.json", "history.jsonl", "checkpoint.npz"
FILES = (CONFIG, HISTORY, CHECKPOINT)
_MODEL, _STATE, _SUMMARY = "model/", "state/", "summary"


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
        RunError: the folder is not a run.
    """
    with _reading(folder):
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
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
    with _reading(folder):
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        kept = list(itertools.takewhile(lambda line: _reported_at(line) <= batches, lines))
    with explaining(f"cannot write {path}"), atomic_output(path) as file:
        file.writelines(kept)


def _reported_at(line: bytes) -> float:
    """The batches that a line of the history tells of, infinitely many if it was cut short."""
    try:
        return float(json.loads(line)["batches"]) if line.endswith(b"\n") else math.inf
    except ValueError:
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
    with _reading(folder), np.load(folder / CHECKPOINT, allow_pickle=False) as arrays:
        state = {name.removeprefix(_STATE): arrays[name] for name in arrays.files if name.startswith(_STATE)}
        return state, json.loads(str(arrays[_SUMMARY]))


def load_run(folder: pathlib.Path) -> TrainedRun:
    """Read a trained network from its run folder.

    Raises:
        RunError: the folder is not a run, or its checkpoint is damaged or of another configuration.
    """
    network, _ = load_config(folder)
    with _reading(folder):
        content = (folder / CHECKPOINT).read_bytes()
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            summary = json.loads(str(arrays[_SUMMARY]))
            cell = NTMCell(network)
            for variable in cell.trainable_variables:
                variable.assign(arrays[_MODEL + variable.name.removesuffix(":0")])
    return TrainedRun(cell, summary, hashlib.sha256(content).hexdigest())


@contextlib.contextmanager
def _reading(folder: pathlib.Path) -> Iterator[None]:
    """Turn whatever a damaged or foreign file can raise into a RunError."""
    try:
        yield
    except FileNotFoundError as error:
        raise RunError(f"{folder} is not a run of ntm-train: it has no {pathlib.Path(error.filename).name}") from error
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise RunError(f"cannot read the run {folder}: {error}") from error
