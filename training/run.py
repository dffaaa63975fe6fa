"""The run folder: the configuration, the history and the checkpoint that a training leaves behind.

``config.json``     what was asked for: the network's configuration and the training's options
``history.jsonl``   one line a progress report
``checkpoint.npz``  the network's variables by name, the optimiser's, and a summary of the training so far
"""

import dataclasses
import hashlib
import io
import json
import os
import pathlib
import tempfile
from typing import Any

import numpy as np

from ntm.models import NTMCell, NTMConfig

CONFIG, HISTORY, CHECKPOINT = "config.json", "history.jsonl", "checkpoint.npz"
_MODEL, _SUMMARY = "model/", "summary"


class RunError(Exception):
    """A run folder that cannot be read; the message is one line."""


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """What a run folder holds of a trained network."""

    cell: NTMCell
    summary: dict[str, Any]  # of JSON types
    checkpoint_sha256: str


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
    content = io.BytesIO()
    arrays = {_MODEL + name: value for name, value in variables.items()} | state
    np.savez(content, allow_pickle=False, **arrays, **{_SUMMARY: np.array(json.dumps(summary))})
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=f".{CHECKPOINT}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        pathlib.Path(temporary).replace(folder / CHECKPOINT)
    except BaseException:
        pathlib.Path(temporary).unlink(missing_ok=True)
        raise


def load_run(folder: pathlib.Path) -> TrainedRun:
    """Read a trained network from its run folder.

    Raises:
        RunError: the folder is not a run, or its checkpoint is damaged or of another configuration.
    """
    try:
        config = NTMConfig(**json.loads((folder / CONFIG).read_text())["network"])
        content = (folder / CHECKPOINT).read_bytes()
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            summary = json.loads(str(arrays[_SUMMARY]))
            cell = NTMCell(config)
            for variable in cell.trainable_variables:
                variable.assign(arrays[_MODEL + variable.name.removesuffix(":0")])
    except FileNotFoundError as error:
        raise RunError(f"{folder} is not a run of ntm-train: it has no {pathlib.Path(error.filename).name}") from error
    except Exception as error:
        raise RunError(f"cannot read the run {folder}: {error}") from error
    return TrainedRun(cell, summary, hashlib.sha256(content).hexdigest())
