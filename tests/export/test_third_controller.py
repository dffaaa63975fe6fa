"""A further controller needs its class and its name: it is trained by the general recipe, exported and served."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import ntm
from ntm.models import CONTROLLERS
from ntm.models.controller import Apply, Controller
from ntm.models.dense import Dense
from ntm.tasks import Copy
from ntm.training.recipes import FEEDFORWARD, GENERAL, configure


class Recurrent(Controller):
    """One layer of tanh units that see their own output of the step before (Elman 1990)."""

    default_sizes = (10,)

    @property
    def state_sizes(self) -> Mapping[str, int]:
        return {"hidden": self.sizes[0]}

    def matrix_shapes(self, inputs: int) -> list[tuple[int, int]]:
        return [(inputs + self.sizes[0], self.sizes[0])]

    def make_layers(self, inputs: int, random: tf.random.Generator) -> list[Dense]:
        return [Dense("recurrent", *self.matrix_shapes(inputs)[0], random)]

    def step(
        self, seen: tf.Tensor, state: Mapping[str, tf.Tensor], apply: Apply
    ) -> tuple[list[tf.Tensor], dict[str, tf.Tensor]]:
        layer = apply(0, tf.concat([seen, state["hidden"]], axis=1))
        return [layer], {"hidden": tf.tanh(layer)}

    def output(self, layers: Sequence[tf.Tensor], state: Mapping[str, tf.Tensor]) -> tf.Tensor:  # noqa: ARG002
        return tf.tanh(layers[0])


@pytest.mark.usefixtures("short_gate")
def test_a_third_controller_needs_a_class_and_a_name(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    monkeypatch.setitem(CONTROLLERS, "recurrent", Recurrent)
    task = Copy(bits=3)
    _, training = configure(Copy(bits=3), {"controller": "recurrent"})
    assert training.sharpness_penalty == GENERAL[FEEDFORWARD].training["sharpness_penalty"]
    sizes: dict[str, Any] = {"batch_size": 2, "sizes": {"length": (1, 3)}, "memory_locations": 8}
    with pytest.warns(UserWarning, match="the network has not converged"):
        found = ntm.export(
            ntm.train(task, controller="recurrent", max_batches=2, xla=False, **sizes), tmp_path / "model"
        )
    assert set(found) == {"step.onnx"}  # nodes for several steps are an option
    assert "with the controller `recurrent`, of " in (tmp_path / "model" / "card.md").read_text(encoding="utf-8")
    model = ntm.load(tmp_path / "model")
    x = task.batch(np.random.default_rng(0), 2, {"length": 3}).x
    y, state = model.run(x)
    assert y.shape == (7, 2, 3)
    assert state["hidden"].shape == (2, 10)
