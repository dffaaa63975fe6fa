"""The folder of an exported model: files with metadata, which are checked before anything runs."""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from ntm.errors import ModelError
from ntm.runtime import metadata, native_file, onnx_file, tflite_file
from ntm.runtime.metadata import STEP, Metadata
from ntm.text import DISTRIBUTION

_PRETRAINED = pathlib.Path(__file__).parent / "pretrained"
DEFAULT = "copy-8bit"  # the bundled model that is loaded by default

# The largest file that the runtime reads, in bytes, as a protection from foreign files; exported models take well under
# a megabyte.
LARGEST_FILE = 1 << 28

# The backends.
ONNXRUNTIME, LITERT, NATIVE = "onnxruntime", "litert", "native"


class Graph(NamedTuple):
    """An ONNX file of a model, a TF-Lite file or a native library.

    Attributes:
        path: the file.
        content: its bytes.
        metadata: its metadata.
        sizes: B and N of a native library; N is 1 without a memory.
    """

    path: pathlib.Path
    content: bytes
    metadata: Metadata
    sizes: tuple[int, int] | None = None


class ModelFolder(NamedTuple):
    """The graphs of one model, which differ only in their number of steps; the graph of one step is the first.

    A pickle holds the name and the checksum of a bundled model, or else the content of the files. So another machine
    needs no copy of the folder, and unpickling gives the same model or an error.
    """

    graphs: tuple[Graph, ...]
    backend: str = ONNXRUNTIME

    @property
    def step(self) -> Graph:
        """The graph of one step."""
        return self.graphs[0]

    @property
    def metadata(self) -> Metadata:
        """The metadata of the graph of one step."""
        return self.step.metadata

    @property
    def checksum(self) -> str:
        """The SHA-256 of all files together, 64 hexadecimal digits."""
        return hashlib.sha256(b"".join(graph.content for graph in self.graphs)).hexdigest()

    def __reduce__(self) -> tuple[Callable[..., "ModelFolder"], tuple[Any, ...]]:
        file = pathlib.PurePath(_FORMATS[self.backend].files[STEP])
        folder = self.step.path.parents[len(file.parts) - 1]
        if folder.parent == _PRETRAINED:
            return _read_bundled, (folder.name, self.checksum, self.backend)
        return _checked_contents, (str(folder), tuple(graph.content for graph in self.graphs), self.backend)


def bundled() -> list[str]:
    """The names of the bundled models."""
    return sorted(path.name for path in _PRETRAINED.iterdir())


def find(model: str | os.PathLike[str]) -> pathlib.Path:
    """The folder of a model: a path, or the name of a bundled model where there is no such path."""
    path = pathlib.Path(model)
    try:
        is_there = path.exists()
    except (OSError, ValueError):  # ``read`` will report the error
        is_there = True
    return _PRETRAINED / str(model) if not is_there and str(model) in bundled() else path


def read(model: str | os.PathLike[str], backend: str = ONNXRUNTIME) -> ModelFolder:
    """Read and check the files of a model; other files in the folder are ignored.

    Args:
        model: its folder, or the name of a bundled model.
        backend: the name of the backend.

    Raises:
        ModelError: a file is missing, damaged, foreign or of another schema, the files belong to different models, or
            the backend is not installed.
        ValueError: there is no such backend.
    """
    if backend not in _FORMATS:
        raise ValueError(f"backend must be one of {', '.join(_FORMATS)}, not {backend!r}")
    folder = find(model)
    try:
        mode = folder.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # ValueError: the name is impossible
        raise ModelError(f"there is no model folder {folder}; bundled models: {', '.join(bundled())}") from error
    except OSError as error:
        raise ModelError(f"cannot load the model {folder}: {str(error.strerror).lower()}") from error
    if not stat.S_ISDIR(mode):
        raise ModelError(f"{folder} is not a model folder")
    form = _FORMATS[backend]
    step = _read(folder, STEP, form)
    others = [_read(folder, kind, form) for kind in form.graphs_of(step.metadata)[1:]]
    return checked_folder(folder, [step, *others], backend)


def shapes(data: Metadata, batch: int | None = None, locations: int | None = None) -> dict[str, tuple[int | None, ...]]:
    """The shapes of the inputs and outputs of a graph by name; None where B or N is not given."""
    inputs, outputs = data.shapes
    return {name: metadata.sized(shape, batch, locations) for name, shape in (inputs | outputs).items()}


def fixed_shapes(graph: Graph) -> dict[str, tuple[int, ...]]:
    """The shapes of the inputs and outputs of a graph of fixed sizes, by name."""
    inputs, outputs = graph.metadata.shapes
    return {name: metadata.sized(shape, *(graph.sizes or (1, 1))) for name, shape in (inputs | outputs).items()}


def _read_bundled(name: str, checksum: str, backend: str) -> ModelFolder:
    """A bundled model, from its pickle.

    Raises:
        ModelError: this release has no such model, or another model of this name.
    """
    if name not in bundled():
        raise ModelError(
            f"the bundled model {name} was pickled, and this release of {DISTRIBUTION} has none of that name"
        )
    files = read(_PRETRAINED / name, backend)
    if files.checksum != checksum:
        raise ModelError(
            f"the bundled model {name} was pickled with the checksum {checksum[:12]}, and here it has "
            f"{files.checksum[:12]}: install the same release of {DISTRIBUTION} on both sides"
        )
    return files


def _checked_contents(folder: str, contents: Iterable[bytes], backend: str) -> ModelFolder:
    """A model that is not bundled, from its pickle. Only messages use the folder, which may be on another machine.

    Raises:
        ModelError: a file is damaged or of another schema, or the files belong to different models.
    """
    path, form = pathlib.Path(folder), _FORMATS[backend]
    first, *others = contents
    step = _checked(path, STEP, form, first)
    kinds = zip(form.graphs_of(step.metadata)[1:], others, strict=True)
    graphs = [_checked(path, kind, form, content) for kind, content in kinds]
    return checked_folder(path, [step, *graphs], backend)


def checked_folder(folder: pathlib.Path, graphs: Iterable[Graph], backend: str = ONNXRUNTIME) -> ModelFolder:
    """The files of a model, the graph of one step first.

    Raises:
        ModelError: the files belong to different models.
    """
    files = ModelFolder(tuple(graphs), backend)
    for graph in files.graphs[1:]:
        if dataclasses.replace(graph.metadata, graph=STEP, unroll=1) != files.metadata:
            raise ModelError(f"{files.step.path.name} and {graph.path.name} in {folder} are not of the same model")
    return files


def read_graph(path: pathlib.Path, kind: str, batch: int | None = None, locations: int | None = None) -> Graph:
    """Read and check a file of a model.

    Args:
        path: the file.
        kind: the kind of the graph.
        batch: B of a graph of fixed sizes.
        locations: N of a graph of fixed sizes.

    Raises:
        ModelError: the file is missing, damaged, foreign or of another schema, kind or size.
    """
    return checked_graph(path, kind, read_bytes(path), batch, locations)


def read_bytes(path: pathlib.Path) -> bytes:
    """The content of a file of a model.

    Raises:
        ModelError: the file cannot be read, or is too large.
    """
    try:
        return _read_bytes(path)
    except (ModelError, OSError) as error:
        reason = str(error.strerror).lower() if isinstance(error, OSError) else error
        raise ModelError(f"cannot load the model {path}: {reason}") from error


def checked_graph(
    path: pathlib.Path, kind: str, content: bytes, batch: int | None = None, locations: int | None = None
) -> Graph:
    """An ONNX file of a model, from its content; see ``read_graph``."""
    with _refusing(path):
        return _onnx_graph(path, content, kind, batch, locations)


def read_native(path: pathlib.Path) -> Graph:
    """Read and check a native library; nothing of it runs.

    Raises:
        ModelError: the library is missing, damaged, foreign or of another schema.
    """
    content = read_bytes(path)
    with _refusing(path):
        return _native_graph(path, content, STEP)


def _read(folder: pathlib.Path, kind: str, form: "_Format") -> Graph:
    return _checked(folder, kind, form, read_bytes(folder / form.files[kind]))


def _checked(folder: pathlib.Path, kind: str, form: "_Format", content: bytes) -> Graph:
    path = folder / form.files[kind]
    with _refusing(path):
        return form.check(path, content, kind)


@contextlib.contextmanager
def _refusing(path: pathlib.Path) -> Iterator[None]:
    """Add the path of the file to the error of a check."""
    try:
        yield
    except (ModelError, onnx_file.OnnxFileError, metadata.MetadataError) as error:
        raise ModelError(f"cannot load the model {path}: {error}") from error


def _onnx_graph(
    path: pathlib.Path, content: bytes, kind: str, batch: int | None = None, locations: int | None = None
) -> Graph:
    if not onnx_file.has_seal(content):
        _check_early_schema(content)
    onnx_file.check_seal(content)
    header = onnx_file.read_header(content)
    data = Metadata.from_props(header.metadata)
    _check_kind(data, kind)
    _check_interface(header, data, shapes(data, batch, locations))
    return Graph(path, content, data)


def _tflite_graph(path: pathlib.Path, content: bytes, kind: str) -> Graph:
    onnx_file.check_seal(content)
    data = tflite_file.read_metadata(content)
    _check_kind(data, kind)
    return Graph(path, content, data)


def _native_graph(path: pathlib.Path, content: bytes, kind: str) -> Graph:
    onnx_file.check_seal(content)
    data, sizes = native_file.read_metadata(content)
    _check_kind(data, kind)
    return Graph(path, content, data, sizes)


def _check_kind(data: Metadata, kind: str) -> None:
    if data.graph != kind:
        raise ModelError(f"its graph is {data.graph!r}, not {kind!r}")


class _Format(NamedTuple):
    """The files that a backend runs: their names by graph, and the function that checks a file's content."""

    files: Mapping[str, str]
    check: Callable[[pathlib.Path, bytes, str], Graph]

    def graphs_of(self, data: Metadata) -> list[str]:
        """The graphs of a model that the backend runs, ``"step"`` first."""
        return [graph for graph in data.graphs if graph in self.files]


_FORMATS = {
    ONNXRUNTIME: _Format(metadata.FILES, _onnx_graph),
    LITERT: _Format({STEP: tflite_file.STEP}, _tflite_graph),
    NATIVE: _Format({STEP: f"{native_file.FOLDER}/{native_file.shared_name()}"}, _native_graph),
}


def _check_early_schema(content: bytes) -> None:
    """Refuse a file of an early release, which wrote no seals.

    Raises:
        MetadataError: the file is of another schema.
    """
    with contextlib.suppress(onnx_file.OnnxFileError):  # the file is not ONNX
        props = onnx_file.read_header(content).metadata
        if "schema_version" in props:
            Metadata.from_props(props)


def _read_bytes(path: pathlib.Path) -> bytes:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ModelError("it is not a regular file")
    if status.st_size > LARGEST_FILE:
        raise ModelError(f"it is larger than {LARGEST_FILE >> 20} MiB")
    return path.read_bytes()


def _check_interface(header: onnx_file.Header, data: Metadata, shapes: Mapping[str, tuple[int | None, ...]]) -> None:
    """Check names, types and shapes. An output may leave a size open; the session checks it at run time."""
    for what, tensors, names in (
        ("inputs", header.inputs, data.inputs),
        ("outputs", header.outputs, data.outputs),
    ):
        found = tuple(tensor.name for tensor in tensors)
        if sorted(found) != sorted(names):
            raise ModelError(f"its {what} must be {', '.join(names)}, not {', '.join(found)[:100] or 'none'}")
    for tensor in (*header.inputs, *header.outputs):
        wanted, shape = shapes[tensor.name], tensor.shape
        fits = shape is not None and len(shape) == len(wanted)
        if fits and shape is not None:
            fits = all(
                size == want or (size is None and tensor.name in data.outputs)
                for size, want in zip(shape, wanted, strict=True)
            )
        if tensor.element != onnx_file.FLOAT or not fits:
            expected = ", ".join("*" if size is None else str(size) for size in wanted)
            raise ModelError(f"its {tensor.name} must be float32 of shape [{expected}]")
