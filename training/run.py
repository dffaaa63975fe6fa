"""The run folder: the configuration, the history and the checkpoint that a training leaves behind.

``config.json``     what was asked for: the network's configuration and the training's options
``history.jsonl``   one line a progress report
``checkpoint.npz``  the network's variables by name, the optimiser's, and a summary of the training so far
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import pathlib
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from ntm.console import CommandError
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


def save_config(folder: pathlib.Path, network: NTMConfig, training: TrainingConfig) -> None:
    """Write what was asked for."""
    config = {"network": dataclasses.asdict(network), "training": dataclasses.asdict(training)}
    with atomic_output(folder / CONFIG) as file:
        file.write((json.dumps(config, indent=2) + "\n").encode())


def load_config(folder: pathlib.Path) -> tuple[NTMConfig, TrainingConfig]:
    """Read what was asked for.

    Raises:
        RunError: the folder is not a run.
    """
    with _reading(folder):
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        return NTMConfig(**config["network"]), TrainingConfig(**config["training"])


def save_checkpoint(
    folder: pathlib.Path, variables: dict[str, np.ndarray], state: dict[str, np.ndarray], summary: dict[str, Any]
) -> None:
    """Replace the checkpoint in one step: a kill at any moment leaves the old one or the new one, whole.

    Args:
        folder: the run folder.
        variables: the network's variables by name.
        state: what else training needs to go on.
        summary: what the training has reached, of JSON types.
    """
    arrays = {_MODEL + name: value for name, value in variables.items()}
    arrays |= {_STATE + name: value for name, value in state.items()}
    with atomic_output(folder / CHECKPOINT) as file:
        np.savez(file, allow_pickle=False, **arrays, **{_SUMMARY: np.array(json.dumps(summary))})


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
