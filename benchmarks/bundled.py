"""A published model as the result of a training, so that a benchmark can export it again in any format."""

import os
import pathlib
from typing import Any

import numpy as np
import onnx

from ntm.models import NETWORKS, Network, make_network
from ntm.runtime import folder
from ntm.runtime.metadata import MEMORY, Metadata
from ntm.tasks.catalogue import recorded
from ntm.training.config import TrainingConfig, as_ends
from ntm.training.run import RunConfig, TrainedRun


def trained(model: str | os.PathLike[str]) -> TrainedRun:
    """The trained network of a model of a task that is built in: the numbers are those of ``step.onnx``.

    Args:
        model: its folder, or the name of a bundled model.
    """
    step = folder.read(model).step
    data, task = step.metadata, recorded(step.metadata.task_name, step.metadata.task_options)
    network = _network(step.path, data)
    config = RunConfig(task.name, task.options, network.config, TrainingConfig(sizes=as_ends(task.training_sizes)))
    return TrainedRun(network, config, dict(data.training), data.checkpoint_sha256)


def _network(path: pathlib.Path, data: Metadata) -> Network:
    kind, _ = NETWORKS[data.network]
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in data.config.items()
    }
    network = make_network(kind(**fields))
    learned = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    if data.has_heads:
        learned["initial_memory"] = np.array(data.state[MEMORY].first, np.float32)  # [M, N]
    for variable in network.trainable_variables:
        variable.assign(learned[variable.name.removesuffix(":0")])
    if not data.content_addressing:
        network.turn_content_addressing_off()
    return network
