"""ONNX: ``step.onnx``, one step converted by tf2onnx, and three graphs of several steps.

``unrolled.onnx`` is the fastest graph for one sequence, and ``batched.onnx`` for many short sequences. ``sparse.onnx``
is the fastest graph for long or many sequences; a network with content addressing has none.
"""

import functools
import inspect
import logging
import pathlib
from collections.abc import Iterable, Mapping, Set
from typing import Any

import numpy as np
import onnx
import onnxruntime
import tf2onnx
from onnx import helper

from ntm.export import batched, sparse, unrolled
from ntm.export.graph import tensor_values
from ntm.export.parity import Candidate, Graph, Tensors, compare_chunks, compare_steps
from ntm.export.simplify import simplify
from ntm.export.source import Source
from ntm.export.step import Sizes, input_signature, inputs, outputs, step_function
from ntm.models import Network, NetworkConfig, NTMConfig
from ntm.runtime import folder as model_folder
from ntm.runtime import onnx_file
from ntm.runtime.metadata import BATCHED, SPARSE, STEP, UNROLLED, Metadata, X, next_name
from ntm.runtime.metadata import FILES as FILE_OF

FILES = tuple(FILE_OF.values())
OPSET = 18  # the newest that tf2onnx writes
# The modules of the graphs of several steps. Each has unroll(cell, steps, opset), which writes the graph;
# state_after(config, step, steps), the names of the state's tensors inside the graph; and as_state(tensors), these
# tensors with the axes of the graph's outputs.
_FORMS = {UNROLLED: unrolled, SPARSE: sparse, BATCHED: batched}

_STEP_CARD = """\
### ONNX

`{step}` computes one time step in any runtime of opset {opset}"""
_CHUNKS_CARD = """\
, and `{unrolled}` {unroll} at once: there x is
`[{unroll}, B, {inputs}]` and y is `[{unroll}, B, {outputs}]`. Its inputs hold the state before the first step, its
outputs the state after the last step, and it has no `adds`. A program may fill up the last chunk with zeros, since no
output depends on later inputs. `{batched}` has the same form and {batched_unroll} steps, and is the fastest graph for
many sequences of a dozen steps. These graphs are written for onnxruntime on the CPU (native, node, WASM). Do not run
them in its WebGPU: `Split` and `Concat` of more tensors than a shader may bind fail there, or give zeros without an
error. Some other runtimes refuse some of their nodes"""
_METADATA_CARD = ".\n\nThe metadata of each graph are `metadata_props`."
_NO_CONTENT = """\


Content addressing of this network is turned off, g = 0 in Eq. (7), so these graphs leave out Eq. (5) to (7). Such a
network has one more graph of the same form: `{sparse}` has {sparse_unroll} steps. It is the faster graph for 32
sequences or more, and for sequences with 2,000 memory locations or more together, if the heads use few locations at a
time. IREE gives NaN for it."""

_ADDED = "__"  # in the names of what tf2onnx adds to an operation
# Methods whose names do not say which part of a step an operation belongs to.
_WHOLE_STEP = ("call", "step_with_heads", "step", "control", "advance", "lambda", "layer", "output")


def write(source: Source, folder: pathlib.Path) -> None:
    """Write the graphs."""
    network = source.run.network
    for kind in source.graphs:
        if kind == STEP:
            graph = convert(network, source.sizes)
        else:
            graph = _FORMS[kind].unroll(network, source.steps(kind), OPSET)
        save(graph, source.metadata(kind), folder / FILE_OF[kind])


def describe(source: Source, _: pathlib.Path) -> str:
    """The section of the model card."""
    network = source.run.network
    card = _STEP_CARD
    if len(source.graphs) > 1:
        card += _CHUNKS_CARD
    card += _METADATA_CARD
    if len(source.graphs) > 1 and not network.content_addressing:
        card += _NO_CONTENT
    return card.format(opset=OPSET, **FILE_OF, **source.card_numbers)


def candidates(folder: pathlib.Path, sizes: Sizes | None = None) -> list[Candidate]:
    """The written graphs, to be compared with TensorFlow."""
    if not any((folder / file).exists() for file in FILES):
        return []
    if sizes is not None:
        graph = model_folder.read_graph(folder / FILE_OF[STEP], STEP, *sizes)
        compare = functools.partial(compare_steps, step=session(graph.content))
        return [Candidate(FILE_OF[STEP], graph.metadata, compare, sizes=sizes)]
    graphs = model_folder.read(folder)  # as the runtime reads it, with all its checks
    return to_compare(graphs, [graph.path.name for graph in graphs.graphs])


def to_compare(graphs: model_folder.ModelFolder, names: Iterable[str]) -> list[Candidate]:
    """The graphs of a model, to be compared with TensorFlow under these names."""
    step = session(graphs.step.content)
    step_name, *chunk_names = names
    return [
        Candidate(step_name, graphs.step.metadata, functools.partial(compare_steps, step=step)),
        *(_chunks(name, graph, step) for name, graph in zip(chunk_names, graphs.graphs[1:], strict=True)),
    ]


def _chunks(name: str, graph: model_folder.Graph, step: Graph) -> Candidate:
    """A graph of several steps, to be compared; ``step`` is ``step.onnx``."""
    chunk, first, steps = session(graph.content), _first_step(graph), graph.metadata.unroll
    compare = functools.partial(compare_chunks, chunk=chunk, first=first, step=step, unroll=steps)
    return Candidate(name, graph.metadata, compare)


def _first_step(graph: model_folder.Graph) -> Graph:
    """The part of a graph of several steps that computes the state after the first step."""
    steps, form = graph.metadata.unroll, _FORMS[graph.metadata.graph]
    config = NTMConfig(**graph.metadata.config)
    names = form.state_after(config, 0, steps)
    model = onnx.load_from_string(graph.content)
    model.graph.value_info.extend(
        onnx.ValueInfoProto(name=name) for name in names.values()
    )  # the extractor asks for it
    part = onnx.utils.Extractor(model).extract_model(list(inputs(config)), list(names.values()))
    run = session(part.SerializeToString())

    def first_step(given: Tensors) -> Tensors:
        found = run({**given, X: np.repeat(given[X][np.newaxis], steps, axis=0)})
        state = form.as_state({name: found[inside] for name, inside in names.items()})
        return {next_name(name): tensor for name, tensor in state.items()}

    return first_step


def convert(network: Network, sizes: Sizes | None = None) -> onnx.ModelProto:
    """Convert one step; without ``sizes``, B and N are open under these names."""
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    config = network.config
    step = step_function(network, sizes)
    model, _ = tf2onnx.convert.from_function(step, input_signature(config, sizes), opset=OPSET)
    del model.opset_import[:]  # tf2onnx adds opsets that no node uses
    model.opset_import.append(helper.make_opsetid("", OPSET))
    graph = model.graph
    graph.name, graph.doc_string = config.model, f"One time step of a network: {config.kind}"
    declare(graph, config, sizes)
    simplify(model)
    _rename_nodes(graph, _readable_names(step.get_concrete_function(), network))
    _rename_constants(graph, {variable.name.removesuffix(":0") for variable in network.variables})
    return model


def declare(graph: onnx.GraphProto, config: NetworkConfig, sizes: Sizes | None = None) -> None:
    """Set the names and shapes of a step's inputs and outputs; without ``sizes``, B and N are open."""
    for values, shapes in ((graph.input, inputs(config, sizes)), (graph.output, outputs(config, sizes))):
        del values[:]
        values.extend(tensor_values(shapes))


def save(model: onnx.ModelProto, metadata: Metadata, path: pathlib.Path) -> None:
    """Check a graph and its shapes, and write it with its metadata and seal."""
    helper.set_model_props(model, metadata.to_props())
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(onnx_file.sealed(model.SerializeToString()))


def session(content: bytes, *, optimised: bool = True) -> Graph:
    """A graph as a function that onnxruntime computes on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.set_denormal_as_zero", "1")  # like the commands
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    made = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in made.get_outputs()]
    return lambda inputs: dict(zip(names, made.run(names, dict(inputs)), strict=True))


def _readable_names(function: Any, network: Network) -> dict[str, str]:
    """Readable names by the names that TensorFlow gives to operations.

    A readable name is the name of a variable; ``<layer>/<operation>`` in a dense layer; or else ``<part>/<operation>``.
    The part is the function of ``ntm.models`` that contains the operation, or the module for ``_WHOLE_STEP``.
    """
    variables = {id(variable.handle): variable.name.removesuffix(":0") for variable in network.variables}
    names = {}
    for handle, inside in function.graph.captures:
        for read in inside.consumers():
            names[read.name] = variables[id(handle)]
    layers = {read: variable.partition("/")[0] for read, variable in names.items()}
    models = str(pathlib.Path(inspect.getfile(Network)).parent)
    firsts: dict[Any, str] = {}  # the first of several equal operations, of which tf2onnx keeps an arbitrary one
    same: dict[str, str] = {}
    for operation in function.graph.get_operations():
        seen = tuple((same[tensor.op.name], tensor.value_index) for tensor in operation.inputs)
        own = "" if seen or operation.type == "Const" else operation.name  # the inputs of the step have no inputs
        attributes = tuple(sorted((name, value.SerializeToString()) for name, value in operation.node_def.attr.items()))
        same[operation.name] = firsts.setdefault((operation.type, own, seen, attributes), operation.name)
        frames = [frame for frame in operation.traceback if frame.filename.startswith(models)]
        modules = [pathlib.Path(frame.filename).stem for frame in frames]
        functions = [frame.name.strip("_") for frame in frames if frame.name.isidentifier()]
        functions = [function for function in functions if function not in _WHOLE_STEP]
        of_layer = [layers[tensor.op.name] for tensor in operation.inputs if tensor.op.name in layers]
        of = [*of_layer, *functions[::-1], *modules[::-1], "step"][0]
        first = same[operation.name]
        names.setdefault(operation.name, f"{of}/{first}" if first == operation.name else names[first])
    return names


def _rename_nodes(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Rename nodes, and their outputs: ``<operation>:<index>``."""
    numbers: dict[str, int] = {}  # for the operations that tf2onnx adds; its own numbers depend on earlier conversions

    def renamed(tensor: str) -> str:
        operation, _, index = tensor.partition(":")
        operation, _, added = operation.partition(_ADDED)
        if operation not in names:
            return tensor
        name = names[operation]
        if added:
            name += f"{_ADDED}{numbers.setdefault(added, len(numbers))}"
        return name if index in ("", "0") else f"{name}:{index}"

    kept = {value.name for value in (*graph.input, *graph.output)}
    for node in graph.node:
        node.name = renamed(node.name)
        node.input[:] = [tensor if tensor in kept else renamed(tensor) for tensor in node.input]
        node.output[:] = [tensor if tensor in kept else renamed(tensor) for tensor in node.output]
    for constant in graph.initializer:
        constant.name = renamed(constant.name)


def _rename_constants(graph: onnx.GraphProto, variables: Set[str]) -> None:
    """Name each constant that is no variable ``<its first node>/<input of this node>``, and sort all by name.

    The names and the order of tf2onnx come from a set, and would differ in each export.
    """
    made = {constant.name for constant in graph.initializer} - variables
    names: dict[str, str] = {}
    for node in graph.node:
        formal = onnx.defs.get_schema(node.op_type, OPSET).inputs
        for i, tensor in enumerate(node.input):
            if tensor in made:
                names.setdefault(tensor, f"{node.name}/{formal[i].name if i < len(formal) else i}")
        node.input[:] = [names.get(tensor, tensor) for tensor in node.input]
    for constant in graph.initializer:
        constant.name = names.get(constant.name, constant.name)
    graph.initializer.sort(key=lambda constant: constant.name)
