"""The metadata of an exported graph, and its schema. The runtime knows nothing else of a model.

An ONNX file carries strings by name (``metadata_props``). The export writes ``Metadata(...).to_props()``, and the
runtime reads it with ``Metadata.from_props``; both make the same checks. The legend of the letters is in
``ntm.models``; U is the number of steps in a graph.
"""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

SCHEMA_VERSION = "7"

# The files of a model folder by the kind of their graph; a model may lack some. The inputs of a graph are x and the
# state, by the names of its tensors. The outputs are y and the next state, by ``next_`` and the name. A graph of one
# step of a network with heads has one more output, for a look inside: the vectors that the write heads add.
STEP, UNROLLED, SPARSE, BATCHED = "step", "unrolled", "sparse", "batched"
FILES = {STEP: "step.onnx", UNROLLED: "unrolled.onnx", SPARSE: "sparse.onnx", BATCHED: "batched.onnx"}
X, Y, ADDS = "x", "y", "adds"
MEMORY, WEIGHTS, READS = "memory", "weights", "reads"  # the state of a network with heads

# The graph for large memories leaves out locations with smaller weights; export/sparse.py explains why it may.
NEGLIGIBLE = 2.0**-28

# The largest size that the runtime allocates: a damaged file may claim any.
LARGEST_SIZE = 1 << 20

# The axis of the memory locations in a shape; and the initial value of a tensor whose N locations hold 1/N each.
LOCATIONS, UNIFORM = "N", "1/N"
# The most axes of a tensor of the state without B, and the most tensors.
_MOST_AXES, _MOST_TENSORS = 2, 16

Size = TypeVar("Size")


Shape = tuple[int | str, ...]  # the sizes of the axes; "B" and "N" where a size is open


class MetadataError(ValueError):
    """Metadata that is not of this schema; the message is one line."""


def next_name(name: str) -> str:
    """The name of the output that holds a tensor of the next state."""
    return f"next_{name}"


def input_shapes(input_size: int, state: Mapping[str, Shape], time: tuple[int, ...] = ()) -> dict[str, Shape]:
    """The shapes of the inputs of a graph, by name and in order.

    Args:
        input_size: I.
        state: the shapes of the state, B included.
        time: U for a graph of several steps; nothing for a graph of one step.
    """
    return {X: (*time, "B", input_size), **state}


def output_shapes(
    output_size: int, state: Mapping[str, Shape], adds: tuple[int, int] | None, time: tuple[int, ...] = ()
) -> dict[str, Shape]:
    """The shapes of the outputs of a graph, by name and in order.

    Args:
        output_size: O.
        state: the shapes of the state, B included.
        adds: K and M; None for a graph without this output.
        time: U for a graph of several steps; nothing for a graph of one step.
    """
    next_state = {next_name(name): shape for name, shape in state.items()}
    return {Y: (*time, "B", output_size), **next_state, **({} if adds is None else {ADDS: ("B", *adds)})}


def sized(shape: Shape, batch: Size, locations: Size) -> tuple[int | Size, ...]:
    """A shape with these sizes in the place of ``"B"`` and ``"N"``."""
    sizes = {"B": batch, LOCATIONS: locations}
    return tuple(sizes[size] if isinstance(size, str) else size for size in shape)


@dataclasses.dataclass(frozen=True)
class StateTensor:
    """One tensor of the state: its shape, and its initial values for any N.

    Attributes:
        shape: the sizes of its axes without B; ``"N"``, the size of the axis of the locations, comes last.
        first: the values of the first P locations, P <= N: an array of this shape with P in the place of N.
        beyond: the values of every further location, one for each element of the other axis, or ``"1/N"``; None if the
            tensor has no axis of locations.

    Raises:
        MetadataError: the values do not fit the shape.
    """

    shape: tuple[int | str, ...]
    first: tuple[Any, ...]
    beyond: tuple[float, ...] | str | None = None

    def __post_init__(self) -> None:
        shape = self.shape
        if not _is_sequence(shape) or not 1 <= len(shape) <= _MOST_AXES or not all(map(_is_axis, shape)):
            raise MetadataError(f"state: a shape must be one or two sizes from 1 to {LARGEST_SIZE}, the last may be N")
        object.__setattr__(self, "shape", tuple(shape))
        if LOCATIONS in shape[:-1] or (self.by_location and len(shape) != _MOST_AXES):
            raise MetadataError("state: N must be the last of two sizes")
        if not _is_sequence(self.first):
            raise MetadataError("state: first is not a list")
        rows = self.first if len(shape) == _MOST_AXES else [self.first]
        if len(rows) != (shape[0] if len(shape) == _MOST_AXES else 1):
            raise MetadataError("state: first does not fit the shape")
        rows = tuple(_vector(row, "first") for row in rows)
        lengths = {len(row) for row in rows}
        if len(lengths) != 1 or (not self.by_location and lengths != {shape[-1]}):
            raise MetadataError("state: first does not fit the shape")
        object.__setattr__(self, "first", rows if len(shape) == _MOST_AXES else rows[0])
        if not self.by_location:
            if self.beyond is not None:
                raise MetadataError("state: beyond is for a tensor with N locations")
        elif self.beyond != UNIFORM:
            beyond = _vector(self.beyond, "beyond")
            if len(beyond) != len(rows):
                raise MetadataError("state: beyond does not fit the shape")
            object.__setattr__(self, "beyond", beyond)

    @property
    def by_location(self) -> bool:
        """Whether it has an axis of N locations."""
        return self.shape[-1] == LOCATIONS

    @property
    def first_locations(self) -> int:
        """P, the number of locations in ``first``."""
        return len(self.first[0]) if self.by_location else 0


@dataclasses.dataclass(frozen=True)
class Metadata:
    """The metadata of an exported graph.

    Attributes:
        graph: the kind of the graph: ``"step"``, one step; ``"unrolled"``, several steps; ``"sparse"``, several steps
            that use few locations of a large memory; or ``"batched"``, several steps of many short sequences.
        graphs: the kinds of all graphs of the model, ``"step"`` first.
        unroll: U, the steps in the graph; 1 for ``"step"``.
        model_name: the name of the model, e.g. ``copy-8bit``.
        task: the ``name`` and the ``options`` of the task that the model was trained on, of JSON types.
        network: ``"ntm"`` or ``"lstm"``, a name of ``ntm.models.NETWORKS``.
        config: the fields of the network's configuration, of JSON types.
        parameters: the number of parameters that the network has learned.
        content_addressing: whether a head may use content addressing; if not, all use location addressing alone.
        state: the tensors of the state by name, in the order of the graph's inputs.
        least_locations: the fewest memory locations that a state may have.
        training: the summary of the training, of JSON types.
        checkpoint_sha256: the checksum of the checkpoint that the graph was exported from, 64 hexadecimal digits.

    Raises:
        MetadataError: a value does not fit the schema, or two values disagree.
    """

    graph: str
    graphs: tuple[str, ...]
    unroll: int
    model_name: str
    task: Mapping[str, Any]
    network: str
    config: Mapping[str, Any]
    parameters: int
    content_addressing: bool
    state: Mapping[str, StateTensor]
    least_locations: int
    training: Mapping[str, Any]
    checkpoint_sha256: str

    def __post_init__(self) -> None:
        # Through JSON, which turns tuples into lists, so that metadata that is written and read again is equal.
        for name in ("task", "config", "training"):
            object.__setattr__(self, name, _object(_json(getattr(self, name)), name))
        self._check_graph()
        if not isinstance(self.content_addressing, bool):
            raise MetadataError("content_addressing must be true or false")
        task, options = self.task.get("name"), self.task.get("options")
        if not isinstance(task, str) or not task.strip() or not task.isprintable() or not isinstance(options, dict):
            raise MetadataError("task must have a printable name, and options")
        for name in ("input_size", "output_size"):
            if not _is_size(self.config.get(name)):
                raise MetadataError(f"config: {name} must be a whole number from 1 to {LARGEST_SIZE}")
        for name in ("memory_locations", "read_heads"):  # a network with heads has them
            if not _is_size(self.config.get(name, 1)):
                raise MetadataError(f"config: {name} must be a whole number from 1 to {LARGEST_SIZE}")
        if not isinstance(self.network, str) or not self.network.isprintable():
            raise MetadataError("network must be a printable name")
        if not isinstance(self.parameters, int) or isinstance(self.parameters, bool) or self.parameters < 1:
            raise MetadataError("parameters must be a whole number above 0")
        self._check_state()

    @property
    def task_name(self) -> str:
        """The name of the task that the model was trained on."""
        return str(self.task["name"])

    @property
    def task_options(self) -> dict[str, Any]:
        """The options of the task."""
        return dict(self.task["options"])

    @property
    def input_size(self) -> int:
        """I."""
        return int(self.config["input_size"])

    @property
    def output_size(self) -> int:
        """O."""
        return int(self.config["output_size"])

    @property
    def memory_locations(self) -> int:
        """The default of N; 1 without a memory."""
        return max(int(self.config.get("memory_locations", 1)), self.least_locations)

    @property
    def fixed_locations(self) -> bool:
        """Whether the network works with its own N only, since its locations differ before the first step."""
        return not self.has_heads or self.state[MEMORY].first_locations > 0

    @property
    def has_heads(self) -> bool:
        """Whether the network has a memory, and heads that write to it and read from it."""
        return WEIGHTS in self.state

    @property
    def read_heads(self) -> int:
        """R."""
        return int(self.config.get("read_heads", 0))

    @property
    def adds_shape(self) -> tuple[int, int]:
        """K and M, the shape of the vectors that the write heads add to the memory."""
        return int(self.state[WEIGHTS].shape[0]) - self.read_heads, int(self.state[MEMORY].shape[0])

    @property
    def shapes(self) -> tuple[dict[str, Shape], dict[str, Shape]]:
        """The shapes of the graph's inputs, and those of its outputs, by name and in order."""
        state: dict[str, Shape] = {name: ("B", *tensor.shape) for name, tensor in self.state.items()}
        is_step = self.graph == STEP
        time, adds = () if is_step else (self.unroll,), self.adds_shape if is_step and self.has_heads else None
        return input_shapes(self.input_size, state, time), output_shapes(self.output_size, state, adds, time)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the graph's inputs, in order."""
        return tuple(self.shapes[0])

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the graph's outputs, in order."""
        return tuple(self.shapes[1])

    def to_props(self) -> dict[str, str]:
        """The ``metadata_props`` of an ONNX file."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values["state"] = {name: dataclasses.asdict(tensor) for name, tensor in self.state.items()}
        texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
        return {"schema_version": SCHEMA_VERSION, **texts}

    @classmethod
    def from_props(cls, props: Mapping[str, str]) -> "Metadata":
        """Read the ``metadata_props`` of an ONNX file; unknown names are ignored.

        Raises:
            MetadataError: a name is missing, the schema has another version, or a value does not fit the schema.
        """
        if "schema_version" not in props:
            raise MetadataError("it has no schema version, so ntm-export did not write it")
        if props["schema_version"] != SCHEMA_VERSION:
            version = props["schema_version"][:20]
            newer = version.isascii() and version.isdecimal() and int(version) > int(SCHEMA_VERSION)
            advice = "install a newer one" if newer else "export it again: ntm-export RUN --output DIR --force"
            raise MetadataError(
                f"it has schema version {version!r}, and this release reads {SCHEMA_VERSION!r}: {advice}"
            )
        values: dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            if field.name not in props:
                raise MetadataError(f"it has no metadata {field.name!r}")
            text = props[field.name]
            if field.type is str:
                values[field.name] = text
            else:
                values[field.name] = _whole(text) if field.type is int else _parse(text, field.name)
        state = _object(values["state"], "state")
        for name, parts in state.items():
            if set(_object(parts, f"state: {name}")) != {field.name for field in dataclasses.fields(StateTensor)}:
                raise MetadataError(f"state: {name} must have shape, first and beyond, and nothing else")
            state[name] = StateTensor(**parts)
        return cls(**values)

    def _check_graph(self) -> None:
        if self.graph not in FILES:
            raise MetadataError(f"graph must be one of {', '.join(FILES)}")
        graphs = self.graphs
        known = _is_sequence(graphs) and all(isinstance(graph, str) and graph in FILES for graph in graphs)
        if not known or list(graphs[:1]) != [STEP] or len(set(graphs)) != len(graphs) or self.graph not in graphs:
            raise MetadataError(f"graphs must be of {', '.join(FILES)}, {STEP} first, with its own graph among them")
        object.__setattr__(self, "graphs", tuple(graphs))
        if not (self.unroll == 1 if self.graph == STEP else 1 <= self.unroll <= LARGEST_SIZE):
            raise MetadataError("unroll must be 1 for a step and at least 1 for another graph")
        if not self.model_name.strip() or not self.model_name.isprintable():
            raise MetadataError("model_name must be printable, and not empty")
        if len(self.checkpoint_sha256) != 64 or set(self.checkpoint_sha256) - set("0123456789abcdef"):
            raise MetadataError("checkpoint_sha256 must be 64 hexadecimal digits")

    def _check_state(self) -> None:
        if not 1 <= len(self.state) <= _MOST_TENSORS:
            raise MetadataError(f"state must have from 1 to {_MOST_TENSORS} tensors")
        for name in self.state:
            if not name.isidentifier() or name in (X, Y, ADDS) or name.startswith(next_name("")):
                raise MetadataError("state: the name of a tensor is not one of a state")
        if not _is_size(self.least_locations):
            raise MetadataError(f"least_locations must be a whole number from 1 to {LARGEST_SIZE}")
        if max(tensor.first_locations for tensor in self.state.values()) > self.least_locations:
            raise MetadataError("state does not fit least_locations")
        if self.has_heads:
            shapes = {name: tensor.shape for name, tensor in self.state.items()}
            memory, weights, reads = (shapes.get(name, ()) for name in (MEMORY, WEIGHTS, READS))
            fits = len(memory) == len(weights) == len(reads) == _MOST_AXES
            if not fits or reads != (self.read_heads, memory[0]) or not self.read_heads < int(weights[0]):
                raise MetadataError("state does not fit config: memory, weights and reads")
        elif self.content_addressing:
            raise MetadataError("content_addressing is true, and there are no heads")


def _json(value: Any) -> Any:
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise MetadataError(f"a value is not of JSON types: {error}") from error


def _parse(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MetadataError(f"{name} is not JSON: {error}") from error


def _object(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MetadataError(f"{name} is not a JSON object")
    return value


def _whole(text: str) -> int:
    """A whole number; 0 for any other text, which the checks refuse."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LARGEST_SIZE


def _is_axis(value: Any) -> bool:
    return value == LOCATIONS or _is_size(value)


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _vector(values: Any, name: str) -> tuple[float, ...]:
    numbers = _is_sequence(values) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    # An integer may be too large for a float, so it is compared before it is converted.
    if not numbers or not all(math.isfinite(v) if isinstance(v, float) else abs(v) < 1 << 100 for v in values):
        raise MetadataError(f"state: {name} holds something other than finite numbers")
    return tuple(float(v) for v in values)
