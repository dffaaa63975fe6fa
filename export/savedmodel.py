"""SavedModel: ``savedmodel/1``, a versioned folder that TensorFlow Serving serves as it lies.

Its signatures are ``serving_default``, the copy of whole sequences; ``step``, one time step with its state in and
out; and ``initial_state``. ``tf.saved_model.load`` alone loads it, without this package.
"""

import functools
import json
import pathlib
from typing import Any

import numpy as np
import tensorflow as tf

from ntm.export import parity
from ntm.export.source import Source
from ntm.export.step import locations_for, step_function
from ntm.models import NTMCell, NTMConfig, State
from ntm.runtime.metadata import INPUTS, Metadata

FILES = ("savedmodel",)
_VERSION = pathlib.Path("savedmodel", "1")
_METADATA = _VERSION / "assets.extra" / "metadata.json"  # where a SavedModel keeps what TensorFlow does not read

_CARD = """\
### SavedModel

`tf.saved_model.load("savedmodel/1").signatures` are `serving_default`, which takes `words`, uint8 `[B, L, {bits}]` of 0
and 1, and gives their `copy`, alike, and the `y` of it; `step`, one time step; and `initial_state`, which takes the
numbers `batch_size` and `memory_locations`. Its metadata is `assets.extra/metadata.json`. TensorFlow Serving serves
the folder as it lies:

```sh
tensorflow_model_server --rest_api_port=8501 --model_name=ntm --model_base_path="$PWD/savedmodel"
curl -d '{{"instances": [[{word}, {word}]]}}' localhost:8501/v1/models/ntm:predict
```"""


def write(source: Source, folder: pathlib.Path) -> None:
    """Write the SavedModel."""
    cell = source.run.cell
    module = tf.Module()
    module.cell = cell  # what a function uses must belong to what is saved
    signatures = {
        "serving_default": copy_function(cell),
        "step": step_function(cell),
        "initial_state": _initial_state_function(cell),
    }
    tf.saved_model.save(module, str(folder / _VERSION), signatures)
    (folder / _METADATA).parent.mkdir()
    (folder / _METADATA).write_text(json.dumps(source.metadata().to_props(), indent=2), encoding="utf-8")


def describe(source: Source, _: pathlib.Path) -> str:
    """What the model card says."""
    bits = source.run.cell.config.word_bits
    return _CARD.format(bits=bits, word=[i % 2 for i in range(bits)])


def candidates(folder: pathlib.Path) -> list[parity.Candidate]:
    """What was written, to be compared with TensorFlow; nothing where nothing was written."""
    if not (folder / FILES[0]).exists():
        return []
    metadata = Metadata.from_props(json.loads((folder / _METADATA).read_text(encoding="utf-8")))
    config = NTMConfig(**metadata.config)
    signatures = tf.saved_model.load(str(folder / _VERSION)).signatures

    def call(name: str, **inputs: Any) -> parity.Tensors:
        outputs = signatures[name](**{name: tf.constant(value) for name, value in inputs.items()})
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    def compare_copies(trajectory: parity.Trajectory, agreement: parity.Agreement) -> None:
        """Each copy with that by the other two signatures, of which the step is compared with TensorFlow."""
        for words in trajectory.words:
            locations = int(locations_for(config, len(words)))
            state = call("initial_state", batch_size=1, memory_locations=locations)
            y = []
            for x in parity.copy_inputs(words):
                outputs = call("step", x=x[np.newaxis], **state)
                state = {name: outputs[f"next_{name}"] for name in state}
                y.append(outputs["y"])
            agreement.note_y(
                np.stack(y[len(words) + 1 :], axis=1), call("serving_default", words=words[np.newaxis])["y"]
            )
            agreement.steps += len(y)

    compare_steps = functools.partial(parity.compare_steps, step=lambda inputs: call("step", **inputs))
    start = call("initial_state", batch_size=1, memory_locations=config.memory_locations)
    return [
        parity.Candidate("savedmodel step", metadata, compare_steps, start=start),
        parity.Candidate("savedmodel copy", metadata, compare_copies),
    ]


def copy_function(cell: NTMCell) -> Any:
    """The copy of whole sequences as a ``tf.function``.

    It takes the words, bits ``[B, L, W]``, and returns their ``copy`` and the probabilities ``y``, alike in shape.
    """
    width = cell.config.word_bits

    def copy(words: tf.Tensor) -> dict[str, tf.Tensor]:
        batch, length = tf.unstack(tf.shape(words)[:2])
        steps = 2 * length + 1
        bits = tf.transpose(tf.cast(words, tf.float32), [1, 0, 2])  # [L, B, W]
        delimiter = tf.one_hot(length, steps)[:, tf.newaxis, tf.newaxis] * tf.one_hot(width, width + 1)
        x = tf.pad(bits, [[0, length + 1], [0, 0], [0, 1]]) + delimiter  # [2 L + 1, B, W+1]

        def step(t: tf.Tensor, state: State, logits: tf.TensorArray) -> tuple[tf.Tensor, State, tf.TensorArray]:
            y, state = cell(x[t], state)
            return t + 1, state, logits.write(t, y)

        state = cell.initial_state(batch, locations_for(cell.config, length))
        logits = tf.TensorArray(tf.float32, steps, element_shape=[None, width])
        *_, logits = tf.while_loop(lambda t, *_: t < steps, step, (0, state, logits))
        y = tf.sigmoid(tf.transpose(logits.stack()[length + 1 :], [1, 0, 2]))
        return {"copy": tf.cast(y > 0.5, tf.uint8), "y": y}

    return tf.function(copy, [tf.TensorSpec([None, None, width], tf.uint8, "words")], autograph=False)


def _initial_state_function(cell: NTMCell) -> Any:
    def initial_state(batch_size: tf.Tensor, memory_locations: tf.Tensor) -> dict[str, tf.Tensor]:
        state = cell.initial_state(batch_size, memory_locations)
        return dict(zip(INPUTS[1:], state, strict=True))

    sizes = [tf.TensorSpec([], tf.int32, name) for name in ("batch_size", "memory_locations")]
    return tf.function(initial_state, sizes, autograph=False)
