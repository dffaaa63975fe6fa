"""Sealing graphs that the user has changed: the runtime refuses a file whose checksum does not fit.

The changed graphs are not compared with TensorFlow, and the model card says so from then on.
"""

import os
import pathlib
import re

from ntm.errors import ExportError, explaining
from ntm.export.options import CARD
from ntm.files import atomic_output, write_all
from ntm.runtime import folder as model_folder
from ntm.runtime import onnx_file
from ntm.runtime.metadata import FILES, STEP
from ntm.runtime.onnxruntime_session import OnnxruntimeSession

_SECTION = "\n## Changed after the export\n"
_NOTE = """
These files were changed after the export, and sealed again: {files}. Nothing proves any more that they equal
TensorFlow: what this card says of them was measured before. `ntm-export RUN --check DIR` compares them again.
"""


def seal(folder: str | os.PathLike[str]) -> list[str]:
    """Seal the changed graphs of a model, and list them in the model card.

    Args:
        folder: the folder of an export.

    Returns:
        The names of the sealed files; none if all seals were valid.

    Raises:
        ModelError: the files are no longer a model: metadata, or names, types or shapes of inputs or outputs have
            changed, or onnxruntime cannot load a graph. Nothing was written.
        ExportError: ``folder`` is not a folder.
        FileError: a file cannot be written.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise ExportError(f"{folder} is not a folder")
    step = _read(folder, STEP)
    graphs = [step, *(_read(folder, kind) for kind in step.metadata.graphs[1:])]
    changed = [graph for graph in graphs if graph.path.read_bytes() != graph.content]
    if not changed:
        return []
    model_folder.checked_folder(folder, graphs)
    for graph in changed:
        OnnxruntimeSession(graph, threads=1).prepare()
    names = [graph.path.name for graph in changed]
    with explaining(f"cannot write {folder}"):
        _note(folder / CARD, names)  # first, so that every newly sealed file is listed
        for graph in changed:
            with atomic_output(graph.path) as file:
                write_all(file, graph.content)
    return names


def _read(folder: pathlib.Path, kind: str) -> model_folder.Graph:
    """A graph of the folder with a valid seal, whether or not the file has one."""
    path = folder / FILES[kind]
    content = model_folder.read_bytes(path)
    try:
        onnx_file.check_seal(content)
    except onnx_file.OnnxFileError:
        content = onnx_file.sealed(onnx_file.unsealed(content))
    return model_folder.checked_graph(path, kind, content)


def _note(card: pathlib.Path, names: list[str]) -> None:
    text = card.read_text(encoding="utf-8") if card.exists() else ""
    text, _, before = text.partition(_SECTION)
    files = ", ".join(f"`{name}`" for name in dict.fromkeys([*re.findall(r"`(\w+\.onnx)`", before), *names]))
    with atomic_output(card) as file:
        write_all(file, f"{text}{_SECTION}{_NOTE.format(files=files)}".encode())
