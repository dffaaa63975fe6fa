"""Triton: ``triton``, a model repository for the NVIDIA Triton Inference Server.

Its model ``step`` keeps the state of every sequence in the server: a client sends x and gets y, step by step, and the
server's sequence batcher runs the steps of many clients side by side. Its other models, ``unrolled`` and so on, are the
graphs of several steps, with the state in and out, for any B and N.
"""

import dataclasses
import pathlib
from collections.abc import Iterable, Mapping

import numpy as np

from ntm.export import onnx_format, parity
from ntm.export.source import Source
from ntm.runtime import folder as model_folder
from ntm.runtime.folder import ModelFolder
from ntm.runtime.metadata import FILES as ONNX_FILES
from ntm.runtime.metadata import MEMORY, STEP, Metadata, X, next_name

FILES = ("triton",)
_CONFIG, _INITIAL_STATE = "config.pbtxt", "initial_state"  # the names that Triton expects
_GRAPH = pathlib.Path("1", "model.onnx")  # version 1

# The most sequences in one run of the graph, the most sequences at a time, and the microseconds after which Triton ends
# a silent sequence.
_BATCH, _SEQUENCES, _IDLE = 64, 1024, 60_000_000

_CARD = """\
### Triton

The NVIDIA Triton Inference Server serves the folder:

```sh
tritonserver --model-repository="$PWD/triton"
```

Its model `step` keeps the state of a sequence in the server{locations}. A client sends x, with a number for
the sequence, and gets y; `sequence_start` is true for the first step, `sequence_end` for the last. For example, a first
step of zeros:

```sh
curl -d '{{"parameters": {{"sequence_id": 1, "sequence_start": true, "sequence_end": false}}, "inputs": [{{"name": "x",
  "shape": [1, {inputs}], "datatype": "FP32", "data": {zeros}}}]}}' localhost:8000/v2/models/step/infer
```"""
_CHUNKS_CARD = """\


Its model `unrolled` computes {unroll} time steps at once for any B and N, x `[{unroll}, B, {inputs}]` and y
`[{unroll}, B, {outputs}]`, with the state in and out. `batched` computes
{batched_unroll} steps of many short sequences. A network without content addressing has `sparse` too, of
{sparse_unroll} steps, for long sequences. `--unroll` of `ntm-export` sets the steps of `unrolled`."""


def write(source: Source, folder: pathlib.Path) -> None:
    """Write the repository."""
    repository = folder / FILES[0]
    repository.mkdir()
    onnx_format.write(source, repository)
    for kind in source.graphs:
        graph = repository / kind / _GRAPH
        graph.parent.mkdir(parents=True)
        (repository / ONNX_FILES[kind]).rename(graph)
    state = source.run.network.initial_state(1, source.memory_locations)
    (repository / STEP / _INITIAL_STATE).mkdir()
    for name, value in state.items():
        (repository / STEP / _INITIAL_STATE / name).write_bytes(value.numpy().astype("<f4").tobytes())
    for kind, text in _configs(map(source.metadata, source.graphs), source.memory_locations).items():
        (repository / kind / _CONFIG).write_text(text, encoding="utf-8")


def describe(source: Source, _: pathlib.Path) -> str:
    """The section of the model card."""
    config = source.run.network.config
    card = _CARD if len(source.graphs) == 1 else _CARD + _CHUNKS_CARD
    locations = f", with N = {source.memory_locations} (`--memory-locations` of `ntm-export`)" if config.heads else ""
    return card.format(locations=locations, zeros=[0] * config.input_size, **source.card_numbers)


def candidates(folder: pathlib.Path) -> list[parity.Candidate]:
    """The written graphs, to be compared with TensorFlow."""
    repository = folder / FILES[0]
    if not repository.exists():
        return []
    kinds = model_folder.read_graph(repository / STEP / _GRAPH, STEP).metadata.graphs
    graphs = ModelFolder(tuple(model_folder.read_graph(repository / kind / _GRAPH, kind) for kind in kinds))
    first = graphs.step
    tensors = first.metadata.state
    states = {name: np.fromfile(repository / STEP / _INITIAL_STATE / name, "<f4") for name in tensors}
    locations = states[MEMORY].size // len(tensors[MEMORY].first) if MEMORY in tensors else 1
    shapes = model_folder.shapes(first.metadata, 1, locations)
    for kind, text in _configs((graph.metadata for graph in graphs.graphs), locations).items():
        if (repository / kind / _CONFIG).read_text(encoding="utf-8") != text:
            raise ValueError(f"{kind}/{_CONFIG} is not that of its graph")
    step, *chunks = onnx_format.to_compare(graphs, [f"triton {kind}" for kind in kinds])
    start = {name: value.reshape([size or -1 for size in shapes[name]]) for name, value in states.items()}
    return [dataclasses.replace(step, start=start), *chunks]


def _configs(graphs: Iterable[Metadata], locations: int) -> dict[str, str]:
    """The configurations of the models: Triton's ``ModelConfig`` in protobuf's text format."""
    step, *chunks = graphs
    shapes = {name: shape[1:] for name, shape in model_folder.shapes(step, 1, locations).items()}  # Triton adds B
    next_states = set(map(next_name, step.state))
    configs = {
        STEP: _STEP_CONFIG.format(
            batch=_BATCH,
            sequences=_SEQUENCES,
            idle=_IDLE,
            inputs=_tensors({X: shapes[X]}),
            outputs=_tensors({name: shapes[name] for name in step.outputs if name not in next_states}),
            states=",\n".join(_STATE_CONFIG.format(name=name, dims=_dims(shapes[name])) for name in step.state),
        ),
    }
    for chunk in chunks:
        any_size = {
            name: tuple(-1 if size is None else size for size in shape)
            for name, shape in model_folder.shapes(chunk).items()
        }
        configs[chunk.graph] = _CHUNK_CONFIG.format(
            inputs=_tensors({name: any_size[name] for name in chunk.inputs}),
            outputs=_tensors({name: any_size[name] for name in chunk.outputs}),
        )
    return configs


# N is a number here, since Triton takes an open size to be 1 at the start of a sequence.
_STEP_CONFIG = """\
# One time step. The server keeps the state of each sequence: send x, get y.
backend: "onnxruntime"
max_batch_size: {batch}
input [
{inputs}
]
output [
{outputs}
]
sequence_batching {{
  max_sequence_idle_microseconds: {idle}
  oldest {{ max_candidate_sequences: {sequences} }}
  state [
{states}
  ]
}}
instance_group [ {{ kind: KIND_CPU }} ]  # for which it was compared with TensorFlow
"""

_STATE_CONFIG = """\
    {{
      input_name: "{name}"
      output_name: "next_{name}"
      data_type: TYPE_FP32
      dims: {dims}
      initial_state {{ name: "{name}" data_type: TYPE_FP32 dims: {dims} data_file: "{name}" }}
    }}"""

_CHUNK_CONFIG = """\
# Several time steps at once, of any number of sequences. The client keeps the state: send it, get the next.
backend: "onnxruntime"
max_batch_size: 0
input [
{inputs}
]
output [
{outputs}
]
instance_group [ {{ kind: KIND_CPU }} ]  # for which it was compared with TensorFlow
"""


def _tensors(shapes: Mapping[str, tuple[int | None, ...]]) -> str:
    return ",\n".join(
        f'  {{ name: "{name}" data_type: TYPE_FP32 dims: {_dims(shape)} }}' for name, shape in shapes.items()
    )


def _dims(shape: tuple[int | None, ...]) -> str:
    return f"[ {', '.join(map(str, shape))} ]"
