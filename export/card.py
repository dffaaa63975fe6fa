"""The model card: what was exported, what it was trained to do, and how a program in any language runs it."""

import itertools
import json
from collections.abc import Mapping

from ntm.export.parity import TOLERANCE, Agreement, table
from ntm.export.source import Source
from ntm.export.step import shapes
from ntm.runtime.metadata import FILES, INPUTS, STEP, STEP_OUTPUTS, UNROLLED, InitialState

FILE = "card.md"

_TEMPLATE = """\
# {name}

A Neural Turing Machine (Graves et al. 2014, arXiv:1410.5401) that copies sequences of {bits}-bit words.
Exported from the checkpoint with SHA-256 `{checksum}`.

## How to run it

`{step}` computes one time step. All tensors are float32; B (sequences side by side) and N (memory locations) are
free, the same in every tensor:

| input | shape | | output | shape |
| --- | --- | --- | --- | --- |
{tensors}

`{unrolled}` computes {unroll} time steps at once: there x is `[{unroll}, B, {x_width}]` and y is
`[{unroll}, B, {bits}]`, and the state is that before the first and after the last of them. It has no `adds`, which
are what the write heads add to the memory: nothing needs them but a look inside.

To copy a sequence of L words:

1. Choose N: a location for every word, so N = L + 2 or more.
2. Start from the state of the table below.
3. Run L steps: the {bits} bits of a word as 0.0 and 1.0, then 0.0.
4. Run one step, the delimiter: {bits} times 0.0, then 1.0.
5. Run L steps of {x_width} times 0.0. Bit i of the copied word is 1 where y[i] > 0.5.

After each step, feed `next_memory`, `next_weights` and `next_reads` back as `memory`, `weights` and `reads`.
After the last step more zeros do no harm: a program may fill up the last chunk of `{unrolled}` with them.

| state | before the first step |
| --- | --- |
{initial_state}

The same numbers, the configuration and the training are in the metadata of each ONNX file.

## Agreement with TensorFlow

The largest absolute difference to the network as TensorFlow computes it, at every step from the same state, over
copies of random words that are longer than any it was trained on. At most {tolerance:g} is allowed, and not one
differing bit. What repeats a step (`unrolled.onnx`, the copy of the SavedModel) is compared with that step repeated.

{agreements}

## Configuration

```json
{config}
```

## Training

```json
{training}
```
"""


def text(source: Source, agreements: Mapping[str, Agreement]) -> str:
    """The model card of an export."""
    config = source.run.cell.config
    metadata = source.metadata(STEP)
    return _TEMPLATE.format(
        name=source.model_name,
        bits=config.word_bits,
        x_width=config.input_size,
        unroll=source.unroll,
        checksum=metadata.checkpoint_sha256,
        step=FILES[STEP],
        unrolled=FILES[UNROLLED],
        tensors=_tensors(shapes(config)),
        initial_state=_initial_state(metadata.initial_state),
        tolerance=TOLERANCE,
        agreements=table(agreements),
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
    same = len(set(values)) == 1
    return f"{len(values)} times {values[0]:g}" if same else f"[{', '.join(f'{value:.9g}' for value in values)}]"
