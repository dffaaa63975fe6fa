"""The known answer: a file of steps that TensorFlow computed, with which a program checks its runtime.

The file is JSON. A tensor is its shape and a flat list of its numbers, the last axis innermost, as most runtimes take
it. The numbers are float32, exact to the last bit. Every step has its inputs and its outputs, so that an error of one
step does not grow in the next.
"""

import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from ntm.export import tflite
from ntm.export.parity import TOLERANCE, KnownAnswer, Tensors, locations_for, write_down
from ntm.export.source import Source
from ntm.export.step import Sizes, inputs, outputs
from ntm.models import NetworkConfig
from ntm.tasks.task import example_size

FILE = "known_answer.json"
# An open B is two, since a runtime may confuse the sequences. The steps are the first of a sequence and its last steps,
# in which the network reads what it wrote; there are fewer steps if they would hold too many numbers.
_BATCH, _MOST_STEPS, _LEAST_STEPS, _MOST_NUMBERS = 2, 4, 2, 1 << 15

_CARD = """\
`{file}` holds {steps} steps of TensorFlow, of B = {batch}{locations}. Each step has `inputs` and `outputs`, and each
tensor has a `shape` and `data`, the last axis innermost. Check your runtime with this file before you trust it: some
runtimes compute wrong numbers without an error. In Python, if `run` takes and returns float32 arrays by
name{quantised}:

```python
for step in json.load(open("{file}"))["steps"]:
    found = run({{name: np.reshape(np.float32(t["data"]), t["shape"]) for name, t in step["inputs"].items()}})
    assert all(np.allclose(found[name].ravel(), t["data"], {limit}, {limit}) for name, t in step["outputs"].items())
```"""


def write(source: Source, folder: pathlib.Path) -> None:
    """Write the file."""
    network, task = source.run.network, source.task
    size = example_size(source.run.config.training.ranges)
    open_sizes = Sizes(_BATCH, locations_for(network, task, size) if network.config.heads else None)
    sizes = source.sizes or open_sizes
    shapes = (*inputs(network.config, sizes).values(), *outputs(network.config, sizes).values())
    numbers = sum(math.prod(int(axis) for axis in shape) for shape in shapes)
    count = min(max(_MOST_NUMBERS // numbers, _LEAST_STEPS), _MOST_STEPS)
    last = task.steps(size)
    times = [0, *range(max(1, last - count + 1), last)]
    text = {
        "model_name": source.model_name,
        "checkpoint_sha256": source.run.checkpoint_sha256,
        "tolerance": TOLERANCE,
        "steps": [
            {"inputs": _as_json(given), "outputs": _as_json(found)}
            for given, found in write_down(network, task, size, times, sizes)
        ],
    }
    (folder / FILE).write_text(f"{json.dumps(text, allow_nan=False)}\n", encoding="utf-8")


def describe(folder: pathlib.Path) -> str:
    """The section of the model card."""
    steps = json.loads((folder / FILE).read_text(encoding="utf-8"))["steps"]
    given = steps[0]["inputs"]
    batch = given["x"]["shape"][0]
    locations = f" and N = {given['memory']['shape'][2]}" if "memory" in given else ""
    quantised = f", but for `{tflite.DYNAMIC_RANGE}`" if (folder / tflite.DYNAMIC_RANGE).exists() else ""
    return _CARD.format(
        file=FILE, steps=len(steps), batch=batch, locations=locations, limit=TOLERANCE, quantised=quantised
    )


def read(folder: pathlib.Path, config: NetworkConfig, name: str, sizes: Sizes | None = None) -> KnownAnswer:
    """Read the file of a folder.

    Args:
        folder: the folder.
        config: the configuration of the network.
        name: the name of the file in the table.
        sizes: B and N of the graphs that the file is for; None for open sizes.

    Raises:
        ValueError: the file does not fit this network.
    """
    try:
        steps = json.loads((folder / FILE).read_text(encoding="utf-8"))["steps"]
        read_steps = [(_as_arrays(step["inputs"]), _as_arrays(step["outputs"])) for step in steps]
        for given, found in read_steps:
            shape = given["memory"].shape if "memory" in given else ()
            of_step = sizes or Sizes(len(given["x"]), shape[2] if shape else None)
            _check(given, inputs(config, of_step))
            _check(found, outputs(config, of_step))
        if not read_steps:
            raise ValueError("no steps")
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{name} does not hold steps of this network") from error
    return KnownAnswer(name, sizes, read_steps)


def _check(tensors: Tensors, shapes: Mapping[str, Any]) -> None:
    if {name: tensor.shape for name, tensor in tensors.items()} != shapes:
        raise ValueError("other tensors, or of other shapes")


def _as_json(tensors: Tensors) -> dict[str, Any]:
    # With the fewest digits that give the same float32.
    return {
        name: {"shape": list(tensor.shape), "data": [float(str(value)) for value in tensor.ravel()]}
        for name, tensor in tensors.items()
    }


def _as_arrays(tensors: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.array(t["data"], np.float32).reshape(t["shape"]) for name, t in tensors.items()}
