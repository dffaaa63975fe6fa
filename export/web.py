"""Web: ``index.html`` and ``page``, a page that runs the network in a browser and shows what it does at each step."""

import functools
import pathlib

from ntm.export import onnx_format
from ntm.export.parity import Candidate, compare_steps
from ntm.export.source import Source
from ntm.runtime import folder as model_folder
from ntm.runtime import site
from ntm.runtime.metadata import FILES as FILE_OF
from ntm.runtime.metadata import STEP

FILES = (site.INDEX, site.PAGE)

_CARD = """\
### A page for the browser

`{index}` shows the network at work: its input, its output, its memory and its heads, step by step. Serve the folder,
`python -m http.server`, and open http://localhost:8000. The network runs in the browser of the visitor: `{page}` holds
its step graph. {runtime}."""


def write(source: Source, folder: pathlib.Path) -> None:
    """Write the site."""
    path = folder / FILE_OF[STEP]
    is_mine = not path.exists()  # else the format ONNX has written the graph
    if is_mine:
        onnx_format.save(onnx_format.convert(source.run.network), source.metadata(STEP), path)
    site.write(folder, model_folder.read_graph(path, STEP), source.task, site.find_runtime())
    if is_mine:
        path.unlink()


def describe(_: Source, folder: pathlib.Path) -> str:
    """The section of the model card."""
    return _CARD.format(index=site.INDEX, page=site.PAGE, runtime=site.read_runtime(folder))


def candidates(folder: pathlib.Path) -> list[Candidate]:
    """The written graph, to be compared with TensorFlow."""
    if not (folder / site.PAGE).exists():
        return []
    site.check(folder)
    graph = model_folder.read_graph(folder / site.PAGE / site.GRAPH, STEP)
    compare = functools.partial(compare_steps, step=onnx_format.session(graph.content))
    return [Candidate(f"{site.PAGE}/{site.GRAPH}", graph.metadata, compare)]
