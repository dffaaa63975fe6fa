"""The event files of TensorBoard: figures with every report, and at times pictures of one fixed sequence."""

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from ntm.errors import explaining, require
from ntm.models import Network
from ntm.tasks.task import Task, draw, largest
from ntm.training.run import RunConfig
from ntm.training.trainer import Trainer

# The batches between two pictures, and the most steps in a picture.
_PICTURE_BATCHES, _MOST_STEPS = 500, 200
_PIXELS = 4  # the width and height of a number in a picture
_GAP = 2  # rows between two panels
# The figures of a line of the history, and their tags.
_FIGURES = {
    "loss": "training/loss",
    "cost": "training/cost",
    "wrong_bits": "training/wrong bits",
    "learning_rate": "training/learning rate",
    "restarts": "training/restarts",
    "check_wrong_bits": "check/wrong bits",
    "check_cost": "check/cost",
}

Image = npt.NDArray[np.float32]  # [rows, columns], from 0 (white) to 1 (black)


class Board:
    """Writes the event files of one training.

    Args:
        folder: the folder of the files; TensorBoard compares the runs in several folders of one folder.
        config: the configuration of the run, which is shown as a text.
        task: the task of the sequence in the pictures, which has the largest size of the training.
        trainer: the trainer.

    Raises:
        MissingExtraError: TensorBoard is missing.
    """

    def __init__(self, folder: str | os.PathLike[str], config: RunConfig, task: Task, trainer: Trainer) -> None:
        require("tensorboard", "tensorboard")
        self._folder, self._config, self._trainer = folder, config, trainer
        self._writer: tf.summary.SummaryWriter | None = None
        size = largest(config.training.ranges)
        batch = draw(task, np.random.default_rng(0), 1, size)
        self._x, self._target = (values[:_MOST_STEPS, 0] for values in (batch.x, batch.target))
        self._drawn_at: int | None = None
        self._before = (0, 0.0)

    def report(self, line: Mapping[str, Any]) -> None:
        """Write the figures of a line of the history, the state of the heads, and a picture if it is due.

        Args:
            line: a line of ``history.jsonl``.

        Raises:
            FileError: the folder cannot be written.
        """
        batches = int(line["batches"])
        writer = self._begun()
        with writer.as_default(step=batches):
            for name, tag in _FIGURES.items():
                if line.get(name) is not None:
                    tf.summary.scalar(tag, line[name])
            sequences, seconds = self._before
            self._before = line["sequences"], line["seconds"]
            if line["seconds"] > seconds:
                rate = (line["sequences"] - sequences) / (line["seconds"] - seconds)
                tf.summary.scalar("training/sequences per second", rate)
            tf.summary.scalar("training/gradient norm", self._trainer.gradient_norm)
            if self._drawn_at is None or batches - self._drawn_at >= _PICTURE_BATCHES:
                self._drawn_at = batches
                self._draw(self._trainer.result())
        writer.flush()

    def _begun(self) -> tf.summary.SummaryWriter:
        """The writer, which is made with the first report: only then the run folder exists."""
        if self._writer is None:
            with explaining(f"cannot write {self._folder}"):
                os.makedirs(self._folder, exist_ok=True)
            self._writer = tf.summary.create_file_writer(os.fspath(self._folder))
            with self._writer.as_default(step=0):
                tf.summary.text("configuration", f"```json\n{json.dumps(self._config.as_dict(), indent=2)}\n```")
        return self._writer

    def _draw(self, network: Network) -> None:
        """Run the averaged network on the fixed sequence, and write the pictures."""
        state = network.initial_state(1)
        rows: list[dict[str, npt.NDArray[Any]]] = []
        for x in self._x:
            y, state, heads = network.step_with_heads(x[np.newaxis], state)
            seen = {"output": tf.sigmoid(y)[0]}
            if heads is not None:
                seen |= {"weights": state["weights"][0]}
                seen |= {name: getattr(heads, name)[0, :, 0] for name in ("sharpening", "strength", "gate")}
            rows.append({name: tensor.numpy() for name, tensor in seen.items()})
        seen_by_name = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        panels = [self._x, self._target, seen_by_name["output"]]
        if "weights" in seen_by_name:
            read_heads = network.config.read_heads
            for head in range(seen_by_name["weights"].shape[1]):
                panels.append(seen_by_name["weights"][:, head])
                kind, number = ("read", head) if head < read_heads else ("write", head - read_heads)
                for name in ("sharpening", "strength", "gate"):
                    tf.summary.scalar(f"{kind} head {number + 1}/{name}", seen_by_name[name][:, head].mean())
            memory = state["memory"][0].numpy()  # [M, N]
            most = max(float(np.abs(memory).max()), 1.0)
            shades = (0.5 + 0.5 * memory / most).T
            scale = f"from {-most:.2g} (white) to {most:.2g}"
            _show("picture/memory", f"After the last step: a row for each number of a location, {scale}.", [shades])
        _show(
            "picture/sequence",
            "Input, target, output; then the weightings of the read heads and the write heads.",
            panels,
        )


def _show(name: str, description: str, panels: list[Image]) -> None:
    """Write a picture of panels ``[columns, rows]``, one below the other."""
    gap = np.full((_GAP, panels[0].shape[0]), 0.3, np.float32)
    stacked = [part for panel in panels for part in (np.clip(panel.T, 0.0, 1.0), gap)][:-1]
    shades = 1.0 - np.concatenate(stacked)
    picture = np.kron(shades, np.ones((_PIXELS, _PIXELS)))[np.newaxis, :, :, np.newaxis]
    tf.summary.image(name, (255 * picture).astype(np.uint8), description=description)
