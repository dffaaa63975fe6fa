"""The metadata of an exported graph: all that the runtime knows of a model, and the one definition of its schema.

An ONNX file carries strings by name (``metadata_props``). The exporter writes ``Metadata(...).to_props()`` there,
and the runtime reads it with ``Metadata.from_props``; both ways the same checks hold. B, N, M, I, O, R, K and U are
those of the legend in ``ntm.models``.
"""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

SCHEMA_VERSION = "6"

# The files of a model folder by the kind of their graph, and the names of a graph's inputs and outputs, in order. A
# graph of one step has one output more: what the write heads add to the memory, for those who look inside.
STEP, UNROLLED, SPARSE, BATCHED = "step", "unrolled", "sparse", "batched"
FILES = {STEP: "step.onnx", UNROLLED: "unrolled.onnx", SPARSE: "sparse.onnx", BATCHED: "batched.onnx"}
INPUTS = ("x", "memory", "weights", "reads")
OUTPUTS = ("y", "next_memory", "next_weights", "next_reads")
STEP_OUTPUTS = (*OUTPUTS, "adds")

# The graph for large memories leaves out what heads look at with so small a weight; export/sparse.py says why it may.
NEGLIGIBLE = 2.0**-28

# No network has a size beyond this; a damaged file may claim one, and must not make the runtime allocate it.
LARGEST_SIZE = 1 << 20

_SIZES = ("input_size", "output_size", "memory_locations", "memory_vector_size", "read_heads", "write_heads")


class MetadataError(ValueError):
    """Metadata that is not of this schema; the message is one line."""


@dataclasses.dataclass(frozen=True)
class InitialState:
    """The state before the first step, of one sequence and for any number N of locations.

    Attributes:
        memory: ``[M]``, the vector that fills every location.
        weights: ``[R+K, P]``, each head's weighting of the first P locations, P <= N; it is zero beyond them.
        reads: ``[R, M]``.
    """

    memory: tuple[float, ...]
    weights: tuple[tuple[float, ...], ...]
    reads: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "memory", _vector(self.memory, "memory"))
        for name in ("weights", "reads"):
            rows = getattr(self, name)
            if not _is_sequence(rows):
                raise MetadataError(f"initial_state: {name} is not a list of lists")
            object.__setattr__(self, name, tuple(_vector(row, name) for row in rows))


@dataclasses.dataclass(frozen=True)
class Metadata:
    """What an exported graph says of itself.

    Attributes:
        graph: ``"step"``; ``"unrolled"``, several steps at once; ``"sparse"``, several in a large memory of which they
            touch few locations; or ``"batched"``, several of many short sequences.
        unroll: U, the steps in the graph; 1 for ``"step"``.
        model_name: what the model is called, e.g. ``copy-8bit``.
        task: the ``name`` and the ``options`` of the task that it was trained on, of JSON types.
        config: the fields of ``ntm.models.NTMConfig``, of JSON types.
        content_addressing: whether a head may use content addressing; if not, all use location addressing alone.
        initial_state: the state before the first step.
        training: the summary of the training, of JSON types.
        checkpoint_sha256: the checksum of the checkpoint the graph was exported from, 64 hexadecimal digits.

    Raises:
        MetadataError: a value is not of the schema, or two of them disagree.
    """

    graph: str
    unroll: int
    model_name: str
    task: Mapping[str, Any]
    config: Mapping[str, Any]
    content_addressing: bool
    initial_state: InitialState
    training: Mapping[str, Any]
    checkpoint_sha256: str

    def __post_init__(self) -> None:
        # As JSON has them: a tuple becomes a list, so that metadata written and read again is equal.
        for name in ("task", "config", "training"):
            object.__setattr__(self, name, _object(_json(getattr(self, name)), name))
        self._check_graph()
        if not isinstance(self.content_addressing, bool):
            raise MetadataError("content_addressing must be true or false")
        task, options = self.task.get("name"), self.task.get("options")
        if not isinstance(task, str) or not task.strip() or not task.isprintable() or not isinstance(options, dict):
            raise MetadataError("task must have a printable name, and options")
        for name in _SIZES:
            size = self.config.get(name)
            if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= LARGEST_SIZE:
                raise MetadataError(f"config: {name} must be a whole number from 1 to {LARGEST_SIZE}")
        self._check_initial_state()

    @property
    def task_name(self) -> str:
        """The name of the task that it was trained on."""
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
        """N, by default: a state may have another."""
        return int(self.config["memory_locations"])

    @property
    def memory_vector_size(self) -> int:
        """M."""
        return int(self.config["memory_vector_size"])

    @property
    def read_heads(self) -> int:
        """R."""
        return int(self.config["read_heads"])

    @property
    def write_heads(self) -> int:
        """K."""
        return int(self.config["write_heads"])

    @property
    def heads(self) -> int:
        """R+K."""
        return self.read_heads + self.write_heads

    @property
    def least_locations(self) -> int:
        """P, the locations that the heads start from, or that they need to shift over: N is never below it."""
        return len(self.initial_state.weights[0])

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the graph's outputs, in order."""
        return STEP_OUTPUTS if self.graph == STEP else OUTPUTS

    def to_props(self) -> dict[str, str]:
        """The ``metadata_props`` of an ONNX file."""
        return {
            "schema_version": SCHEMA_VERSION,
            "graph": self.graph,
            "unroll": str(self.unroll),
            "model_name": self.model_name,
            "task": json.dumps(self.task),
            "config": json.dumps(self.config),
            "content_addressing": json.dumps(self.content_addressing),
            "initial_state": json.dumps(dataclasses.asdict(self.initial_state)),
            "training": json.dumps(self.training),
            "checkpoint_sha256": self.checkpoint_sha256,
        }

    @classmethod
    def from_props(cls, props: Mapping[str, str]) -> "Metadata":
        """Read the ``metadata_props`` of an ONNX file; names beyond the schema's are ignored.

        Raises:
            MetadataError: a name is missing, the schema is of another version, or a value is not of it.
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
        for name in (field.name for field in dataclasses.fields(cls)):
            if name not in props:
                raise MetadataError(f"it has no metadata {name!r}")
        state = _object(_parse(props["initial_state"], "initial_state"), "initial_state")
        if set(state) != {field.name for field in dataclasses.fields(InitialState)}:
            raise MetadataError("initial_state: it must have memory, weights and reads, and nothing else")
        unroll = props["unroll"]
        return cls(
            graph=props["graph"],
            unroll=int(unroll) if unroll.isascii() and unroll.isdecimal() and len(unroll) < 10 else 0,
            model_name=props["model_name"],
            task=_object(_parse(props["task"], "task"), "task"),
            config=_object(_parse(props["config"], "config"), "config"),
            content_addressing=_parse(props["content_addressing"], "content_addressing"),
            initial_state=InitialState(**state),
            training=_object(_parse(props["training"], "training"), "training"),
            checkpoint_sha256=props["checkpoint_sha256"],
        )

    def _check_graph(self) -> None:
        if self.graph not in FILES:
            raise MetadataError(f"graph must be one of {', '.join(FILES)}")
        if not (self.unroll == 1 if self.graph == STEP else 1 <= self.unroll <= LARGEST_SIZE):
            raise MetadataError("unroll must be 1 for a step and at least 1 for another graph")
        if not self.model_name.strip() or not self.model_name.isprintable():
            raise MetadataError("model_name must be printable, and not empty")
        if len(self.checkpoint_sha256) != 64 or set(self.checkpoint_sha256) - set("0123456789abcdef"):
            raise MetadataError("checkpoint_sha256 must be 64 hexadecimal digits")

    def _check_initial_state(self) -> None:
        state, m = self.initial_state, self.memory_vector_size
        locations = {len(row) for row in state.weights}
        fits = (
            len(state.memory) == m
            and len(state.weights) == self.heads
            and len(locations) == 1
            and 1 <= max(locations) <= self.memory_locations
            and len(state.reads) == self.read_heads
            and all(len(row) == m for row in state.reads)
        )
        if not fits:
            raise MetadataError("initial_state does not fit the sizes of config")


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


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _vector(values: Any, name: str) -> tuple[float, ...]:
    numbers = _is_sequence(values) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    # Compared, not converted: an integer may be too large for a float.
    if not numbers or not all(math.isfinite(v) if isinstance(v, float) else abs(v) < 1 << 100 for v in values):
        raise MetadataError(f"initial_state: {name} holds something other than finite numbers")
    return tuple(float(v) for v in values)
