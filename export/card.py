"""The model card: the network, its task and training, and how a program in any language runs it."""

import itertools
import json
import textwrap
from collections.abc import Iterable, Mapping

import numpy as np

from ntm.export.parity import SEQUENCES, TOLERANCE, Agreement, locations_for, sizes_to_compare, table
from ntm.export.source import Source
from ntm.export.step import inputs, outputs
from ntm.models import NetworkConfig, Shape
from ntm.runtime.metadata import LOCATIONS, MEMORY, STEP, StateTensor, next_name
from ntm.tasks.task import Size, describe, draw, example_size, largest
from ntm.training.beyond import sentence

_FREE = "B (sequences side by side) and N (memory locations) are\nfree, the same in every tensor"
_ONLY_B = "B (sequences side by side) is free, the same in every tensor"
_ADDS = """
`adds` are the vectors that the write heads have added to the memory, for a look inside; no next step needs them."""

# The most steps of the example, and the digits of its numbers.
_EXAMPLE_STEPS, _DIGITS = 40, 4

_TEMPLATE = """\
# {name}

{network}, of {parameters:,} parameters, trained on the task `{task}`.
Exported from the checkpoint with SHA-256 `{checksum}`.

## The task

{encoding}

Options of this model: {options}.

## How to run it

These are the inputs and outputs of one time step. All are float32; {free}:

| input | shape | | output | shape |
| --- | --- | --- | --- | --- |
{tensors}

Take them by name: the ONNX and TF-Lite files list them in this order, a SavedModel lists them in alphabetical order,
and converters have orders of their own.

{steps}

| state | before the first step |
| --- | --- |
{initial_state}

{formats}

The state, the task, the configuration and the training are in the metadata of every graph too.

## Example

A sequence of {example_size}{cut}, with which a program can check itself. `x` holds the input and `y` the output of the
network, a line for each step; `counts` is 1 where the output counts. y is rounded to four digits.

```json
{example}
```

## Known answer

{known}

## Agreement with TensorFlow

The largest differences from TensorFlow, which computes the network in float64. Differences are absolute, and relative
for numbers above 1. Every step starts from the same state in both, over random sequences of {compared}. A difference
may be {tolerance:g} at most, and no bit may differ. A graph of several steps and the SavedModel of whole sequences are
compared with one of their steps repeated, and this step is compared with TensorFlow.

{agreements}
{quantised}
## Configuration

```json
{config}
```

## Training
{beyond}
```json
{training}
```
"""

_QUANTISED = """
For a quantised graph only bits count: the differing bits, and the wrong bits beyond those of TensorFlow. To count the
wrong bits, the graph ran from its own states on {sequences} random sequences of each of the sizes {sizes}.
"""


def text(source: Source, formats: Iterable[str], known: str, agreements: Mapping[str, Agreement]) -> str:
    """The model card of an export.

    Args:
        source: the exported network.
        formats: the sections of the formats and of the files.
        known: the section of the known answer.
        agreements: the measured differences, by graph.
    """
    config, task = source.run.network.config, source.task
    metadata = source.metadata(STEP)
    ranges = source.run.config.training.ranges
    tested = ", ".join(dict.fromkeys(size for found in agreements.values() for size in found.wrong_bits))
    compared = dict.fromkeys(map(describe, sizes_to_compare(task, ranges)))
    size = example_size(ranges)
    steps = min(task.steps(size), _EXAMPLE_STEPS)
    needed = locations_for(source.run.network, task, largest(ranges))
    return _TEMPLATE.format(
        name=source.model_name,
        task=task.name,
        network=config.description,
        parameters=metadata.parameters,
        free=_FREE if config.heads else _ONLY_B,
        steps=_how_to_run(config, f"a sequence of {describe(largest(ranges))} needs {needed}"),
        encoding=task.encoding,
        options=", ".join(f"{name} = {json.dumps(value)}" for name, value in task.options.items()) or "none",
        checksum=metadata.checkpoint_sha256,
        tensors=_tensors(config),
        initial_state=_initial_state(metadata.state),
        formats="\n\n".join(formats),
        example_size=describe(size),
        known=known,
        cut="" if steps == task.steps(size) else f", its first {steps} steps",
        example=_example(source, size, steps),
        compared=" and ".join(compared),
        tolerance=TOLERANCE,
        agreements=table(agreements),
        quantised=_QUANTISED.format(sequences=SEQUENCES, sizes=tested) if tested else "",
        config=json.dumps(metadata.config, indent=2),
        beyond=_beyond(source),
        training=json.dumps(metadata.training, indent=2),
    )


def _beyond(source: Source) -> str:
    """A paragraph about the results of the training beyond its sizes, if there are any."""
    text = sentence(source.run.summary, source.run.config.training.goal)
    return f"\nAt the end of the training: {text}.\n" if text else ""


def _example(source: Source, size: Size, steps: int) -> str:
    """A sequence and the output of the network, as JSON with a line for each step."""
    cell, task = source.run.network, source.task
    batch = draw(task, np.random.default_rng(0), 1, size)
    locations = locations_for(cell, task, size)
    state, lines = cell.initial_state(1, locations), []
    for x in np.round(batch.x[:steps], _DIGITS):  # rounded first, so that y belongs to the printed x
        logits, state = cell(x, state)
        y = 1 / (1 + np.exp(-logits.numpy()[0].astype(np.float64)))
        lines.append(([_number(value) for value in x[0]], [_number(value) for value in y]))
    rows = {
        name: ",\n    ".join(json.dumps(row) for row in column)
        for name, column in zip("xy", zip(*lines, strict=True), strict=True)
    }
    counts = json.dumps([int(value) for value in batch.mask[:steps, 0]])
    return (
        f'{{\n  "memory_locations": {locations},\n  "x": [\n    {rows["x"]}\n  ],\n  "y": [\n    {rows["y"]}\n  ],\n'
        f'  "counts": {counts}\n}}'
    )


def _number(value: float) -> float:
    rounded = round(float(value), _DIGITS)
    return int(rounded) if rounded.is_integer() else rounded


def _how_to_run(config: NetworkConfig, needed: str) -> str:
    """The numbered steps of a program that runs the network."""
    names = list(config.state_shapes)
    steps = [
        "Start from the state of the table below.",
        "Run the steps of a sequence as the task describes them. After each step, feed "
        f"{_listed(map(next_name, names))} back as {_listed(names)}.",
        "y holds the probability that each output is 1: an output bit is 1 where y > 0.5.",
    ]
    if config.heads:
        steps.insert(0, f"Choose N, at least {config.least_locations}; {needed}.")
    numbered = [textwrap.fill(f"{i}. {step}", 120, subsequent_indent="   ") for i, step in enumerate(steps, 1)]
    return "\n".join([*numbered, *([_ADDS] if config.heads else [])])


def _listed(names: Iterable[str]) -> str:
    *others, last = (f"`{name}`" for name in names)
    return f"{', '.join(others)} and {last}" if others else last


def _tensors(config: NetworkConfig) -> str:
    def cells(name: str, shape: Shape) -> str:
        return f"`{name}` | `[{', '.join(map(str, shape))}]`" if name else " |"

    pairs = itertools.zip_longest(inputs(config).items(), outputs(config).items(), fillvalue=("", ()))
    return "\n".join(f"| {cells(*i)} | | {cells(*o)} |" for i, o in pairs)


def _initial_state(state: Mapping[str, StateTensor]) -> str:
    rows: list[tuple[str, str]] = []
    for name, tensor in state.items():
        if isinstance(tensor.beyond, str):
            rows.append((name, f"{tensor.beyond} everywhere"))
        elif name == MEMORY:
            beyond = f"holds {_vector(tensor.beyond or ())}"
            if tensor.first_locations:
                first = "its first {:,} locations hold the vectors of `state` in the metadata; each of the others "
                rows.append((name, first.format(tensor.first_locations) + beyond))
            else:
                rows.append((name, f"each of the N locations {beyond}"))
        elif tensor.shape[-1] == LOCATIONS:
            for head, row in enumerate(tensor.first):
                rows.append((f"{name} of head {head}", f"{_vector(row)} from the first location on, then 0"))
        elif len(tensor.shape) > 1:
            rows.extend((f"{name} of head {head}", _vector(row)) for head, row in enumerate(tensor.first))
        else:
            rows.append((name, _vector(tensor.first)))
    return "\n".join(f"| {name} | {value} |" for name, value in rows)


def _vector(values: tuple[float, ...]) -> str:
    numbers = [str(np.float32(value)) for value in values]  # the fewest digits that give the same float32
    return f"{len(numbers)} times {numbers[0]}" if len(set(numbers)) == 1 else f"[{', '.join(numbers)}]"
