"""The model card: what was exported, what it was trained to do, and how a program in any language runs it."""

import itertools
import json
from collections.abc import Iterable, Mapping

import numpy as np

from ntm.export.parity import SEQUENCES, TOLERANCE, Agreement, table
from ntm.export.source import Source
from ntm.export.step import shapes
from ntm.runtime.metadata import INPUTS, STEP, STEP_OUTPUTS, InitialState

FILE = "card.md"

_TEMPLATE = """\
# {name}

A Neural Turing Machine (Graves et al. 2014, arXiv:1410.5401) that copies sequences of {bits}-bit words.
Exported from the checkpoint with SHA-256 `{checksum}`.

## How to run it

One time step takes and gives these tensors. All are float32; B (sequences side by side) and N (memory locations) are
free, the same in every tensor:

| input | shape | | output | shape |
| --- | --- | --- | --- | --- |
{tensors}

To copy a sequence of L words:

1. Choose N: a location for every word, so N = L + 2 or more, and no fewer than {least_locations}.
2. Start from the state of the table below.
3. Run L steps: the {bits} bits of a word as 0.0 and 1.0, then 0.0.
4. Run one step, the delimiter: {bits} times 0.0, then 1.0.
5. Run L steps of {x_width} times 0.0. Bit i of the copied word is 1 where y[i] > 0.5.

After each step, feed `next_memory`, `next_weights` and `next_reads` back as `memory`, `weights` and `reads`. `adds` are
what the write heads have added to the memory: nothing needs them but a look inside.

| state | before the first step |
| --- | --- |
{initial_state}

{formats}

The state, the configuration and the training are in the metadata of every graph too.

## Agreement with TensorFlow

The largest difference to the network as TensorFlow computes it, absolute, and relative to numbers above 1: at every
step from the same state, over copies of random words that are longer than any it was trained on, and the silence after.
At most {tolerance:g} is allowed, and not one differing bit. What repeats a step (a graph of several, the copy
of the SavedModel) is compared with one step of it repeated, and that one with TensorFlow.

{agreements}
{quantised}
## Configuration

```json
{config}
```

## Training

```json
{training}
```
"""

_QUANTISED = """
Of a quantised graph only the bits count, those that differ and those that are wrong: left to itself it has copied
{sequences} random sequences of each of the lengths {lengths}.
"""


def text(source: Source, formats: Iterable[str], agreements: Mapping[str, Agreement]) -> str:
    """The model card of an export.

    Args:
        source: what was exported.
        formats: what each format says of itself.
        agreements: what was measured, by graph.
    """
    config = source.run.cell.config
    metadata = source.metadata(STEP)
    lengths = ", ".join(f"{length:,}" for found in agreements.values() for length in found.wrong_bits)
    return _TEMPLATE.format(
        name=source.model_name,
        bits=config.word_bits,
        x_width=config.input_size,
        checksum=metadata.checkpoint_sha256,
        tensors=_tensors(shapes(config)),
        least_locations=metadata.least_locations,
        initial_state=_initial_state(metadata.initial_state),
        formats="\n\n".join(formats),
        tolerance=TOLERANCE,
        agreements=table(agreements),
        quantised=_QUANTISED.format(sequences=SEQUENCES, lengths=lengths) if lengths else "",
        config=json.dumps(metadata.config, indent=2),
        training=json.dumps(metadata.training, indent=2),
    )


def _tensors(shape_of: Mapping[str, tuple[str | int, ...]]) -> str:
    def cells(name: str) -> str:
        return f"`{name}` | `[{', '.join(map(str, shape_of[name]))}]`" if name else " |"

    pairs = itertools.zip_longest(INPUTS, STEP_OUTPUTS, fillvalue="")
    return "\n".join(f"| {cells(i)} | | {cells(o)} |" for i, o in pairs)


def _initial_state(state: InitialState) -> str:
    rows = [("memory", f"each of the N locations holds {_vector(state.memory)}")]
    for head, row in enumerate(state.weights):
        rows.append((f"weights of head {head}", f"{_vector(row)} from the first location on, then 0"))
    for head, row in enumerate(state.reads):
        rows.append((f"reads of head {head}", _vector(row)))
    return "\n".join(f"| {name} | {value} |" for name, value in rows)


def _vector(values: tuple[float, ...]) -> str:
    numbers = [str(np.float32(value)) for value in values]  # the shortest that are these and no others
    return f"{len(numbers)} times {numbers[0]}" if len(set(numbers)) == 1 else f"[{', '.join(numbers)}]"
