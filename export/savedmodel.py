"""SavedModel: ``savedmodel/1``, a versioned folder for TensorFlow Serving.

Its signatures are ``serving_default``, whole sequences; ``step``, one time step with its state in and out; and
``initial_state``. ``tf.saved_model.load`` alone loads it, without this package.
"""

import functools
import json
import pathlib
from typing import Any

import numpy as np
import tensorflow as tf

from ntm.export import parity
from ntm.export.source import Source
from ntm.export.step import Sizes, outputs, step_function
from ntm.models import Network, State
from ntm.runtime.metadata import Metadata

FILES = ("savedmodel",)
_DEFAULT, _STEP = "serving_default", "step"  # the default signature, and the signature of a time step
_VERSION = pathlib.Path("savedmodel", "1")
_METADATA = _VERSION / "assets.extra" / "metadata.json"  # TensorFlow ignores assets.extra

_CARD = """\
### SavedModel

`tf.saved_model.load("savedmodel/1").signatures` are `serving_default`, which takes whole sequences x, float32
`[B, T, {inputs}]`, and gives y, float32 `[B, T, {outputs}]`{locations}; `step`, one time step; and
`initial_state`, which takes the numbers `batch_size` and `memory_locations`. TensorFlow lists the outputs in
alphabetical order, so take them by name. tensorflowjs replaces the names of some outputs of `step` by `Identity:0`,
`Identity_1:0` and so on. The number is the place of the output in alphabetical order, from 0: {alphabetical}.

The metadata is `assets.extra/metadata.json`. TensorFlow Serving serves the folder:

```sh
tensorflow_model_server --rest_api_port=8501 --model_name=ntm --model_base_path="$PWD/savedmodel"
curl -d '{{"instances": [[{first}, {second}]]}}' localhost:8501/v1/models/ntm:predict
```"""


def write(source: Source, folder: pathlib.Path) -> None:
    """Write the SavedModel."""
    network = source.run.network
    module = tf.Module()
    module.network = network  # TensorFlow saves only variables of the module
    if source.sizes is not None:  # converters take a single signature
        signatures = {_DEFAULT: step_function(network, source.sizes)}
    else:
        signatures = {
            _DEFAULT: run_function(network),
            _STEP: step_function(network),
            "initial_state": _initial_state_function(network),
        }
    tf.saved_model.save(module, str(folder / _VERSION), signatures)
    (folder / _METADATA).parent.mkdir()
    (folder / _METADATA).write_text(json.dumps(source.metadata().to_props(), indent=2), encoding="utf-8")


def describe(source: Source, _: pathlib.Path) -> str:
    """The section of the model card."""
    config = source.run.network.config
    zeros = [0.0] * config.input_size
    locations = "" if config.fixed_locations else ", with N = T or more"
    return _CARD.format(
        alphabetical=", ".join(f"`{name}`" for name in sorted(outputs(config))),
        locations=locations,
        first=[1.0, *zeros[1:]],
        second=zeros,
        **source.card_numbers,
    )


def candidates(folder: pathlib.Path, sizes: Sizes | None = None) -> list[parity.Candidate]:
    """The written signatures, to be compared with TensorFlow."""
    if not (folder / FILES[0]).exists():
        return []
    metadata = Metadata.from_props(json.loads((folder / _METADATA).read_text(encoding="utf-8")))
    signatures = tf.saved_model.load(str(folder / _VERSION)).signatures

    def call(name: str, **inputs: Any) -> parity.Tensors:
        outputs = signatures[name](**{name: tf.constant(value) for name, value in inputs.items()})
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    def compare_runs(trajectory: parity.Trajectory, agreement: parity.Agreement) -> None:
        """Compare each sequence with steps of the other two signatures; these are compared with TensorFlow."""
        for sequence in trajectory.sequences:
            locations = metadata.memory_locations
            if not metadata.fixed_locations:
                locations = max(len(sequence), locations)
            state = call("initial_state", batch_size=1, memory_locations=locations)
            y = []
            for x in sequence:
                outputs = call(_STEP, x=x[np.newaxis], **state)
                state = {name: outputs[f"next_{name}"] for name in state}
                y.append(outputs["y"])
            agreement.note_y(np.stack(y, axis=1), call("serving_default", x=sequence[np.newaxis])["y"])
            agreement.steps += len(y)

    step = functools.partial(call, _STEP if sizes is None else _DEFAULT)
    compare_steps = functools.partial(parity.compare_steps, step=lambda inputs: step(**inputs))
    if sizes is not None:
        return [parity.Candidate("savedmodel", metadata, compare_steps, sizes=sizes)]
    start = call("initial_state", batch_size=1, memory_locations=metadata.memory_locations)
    return [
        parity.Candidate("savedmodel step", metadata, compare_steps, start=start),
        parity.Candidate("savedmodel", metadata, compare_runs),
    ]


def run_function(network: Network) -> Any:
    """Whole sequences as a ``tf.function``: it takes x ``[B, T, I]`` and returns the probabilities y ``[B, T, O]``."""
    config, n = network.config, network.config.memory_locations

    def run(x: tf.Tensor) -> dict[str, tf.Tensor]:
        batch, steps = tf.unstack(tf.shape(x)[:2])
        x = tf.transpose(x, [1, 0, 2])  # [T, B, I]

        def step(t: tf.Tensor, state: State, logits: tf.TensorArray) -> tuple[tf.Tensor, State, tf.TensorArray]:
            y, state = network(x[t], state)
            return t + 1, state, logits.write(t, y)

        state = network.initial_state(batch, n if config.fixed_locations else tf.maximum(steps, n))
        logits = tf.TensorArray(tf.float32, steps, element_shape=[None, config.output_size])
        *_, logits = tf.while_loop(lambda t, *_: t < steps, step, (0, state, logits))
        return {"y": tf.sigmoid(tf.transpose(logits.stack(), [1, 0, 2]))}

    return tf.function(run, [tf.TensorSpec([None, None, config.input_size], tf.float32, "x")], autograph=False)


def _initial_state_function(network: Network) -> Any:
    def initial_state(batch_size: tf.Tensor, memory_locations: tf.Tensor) -> dict[str, tf.Tensor]:
        return network.initial_state(batch_size, memory_locations)

    sizes = [tf.TensorSpec([], tf.int32, name) for name in ("batch_size", "memory_locations")]
    return tf.function(initial_state, sizes, autograph=False)
