"""The page that shows a network at work: a folder of static files for any web server.

The page itself is in ``runtime/page``: ES modules without a build step. The folder also holds the step graph, and
``model.json`` with the facts of the model. onnxruntime-web runs the graph; it comes from the npm package of that name
if it is installed, or else from a public CDN. The browser checks the hash of each file.
"""

import base64
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ntm.errors import explaining
from ntm.runtime.folder import Graph
from ntm.runtime.metadata import Metadata
from ntm.tasks.catalogue import BUILT_IN, summary
from ntm.tasks.task import Size, Task, corners, describe, draw, optimal_output

INDEX, PAGE, GRAPH = "index.html", "page", "step.onnx"
_SOURCE = pathlib.Path(__file__).with_name("page")
_MODEL = "model.json"

PACKAGE = "onnxruntime-web"
VERSION = "1.30.0"  # the version that is loaded from the CDN, and tested
CDN = "https://cdn.jsdelivr.net"
# The files of the package that the page loads: the script, and the compiled runtime.
_SCRIPT, _WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
_INTEGRITY = {
    _SCRIPT: "sha384-PLWz+nHEVHpjwBsO0YVdvQj6n5814Iv8E3b8FG0Rp/uIAtjFMCKOpP66iPzedrIG",
    _WASM: "sha384-vjBJ1z7qrhkTyYsNqKeF6c7N+nOJSU94czEo+tvZcu8G75JparGq9kB+kTnEUNVM",
}
# Where npm installs packages for all users.
_GLOBAL = ("/usr/local/lib/node_modules", "/usr/lib/node_modules")

# The page cannot make sequences of a user's task: it gets this many per size, of this many sizes, of up to this many
# steps.
_SEQUENCES, _SIZES, _MOST_STEPS = 3, 12, 600


class Runtime(NamedTuple):
    """onnxruntime-web.

    Attributes:
        version: its version.
        folder: the folder of the npm package; None for the CDN.
    """

    version: str
    folder: pathlib.Path | None

    def __str__(self) -> str:
        if self.folder is None:
            return (
                f"{PACKAGE} {self.version} is loaded from {CDN} when the page is opened; after "
                f"`npm install {PACKAGE}` here, the page brings its own"
            )
        return f"{PACKAGE} {self.version} is copied from {self.folder}"


def find_runtime() -> Runtime:
    """The npm package: in ``node_modules`` here or above, in ``NODE_PATH``, or for all users; else the CDN's."""
    here = pathlib.Path.cwd()
    places = [folder / "node_modules" for folder in (here, *here.parents)]
    places += [pathlib.Path(place) for place in os.environ.get("NODE_PATH", "").split(os.pathsep) if place]
    for place in [*places, *map(pathlib.Path, _GLOBAL)]:
        package = place / PACKAGE
        if all((package / "dist" / name).is_file() for name in _INTEGRITY):
            version = json.loads((package / "package.json").read_text(encoding="utf-8"))["version"]
            return Runtime(str(version), package)
    return Runtime(VERSION, None)


def write(folder: pathlib.Path, step: Graph, task: Task, runtime: Runtime) -> None:
    """Write the site.

    Args:
        folder: a folder without files of these names.
        step: the graph of one step.
        task: the task that the network was trained on.
        runtime: the runtime that the page uses.

    Raises:
        FileError: the site cannot be written.
        TaskError: the task raised an exception.
    """
    page = folder / PAGE
    with explaining(f"cannot write {page}"):
        shutil.copytree(_SOURCE, page, ignore=shutil.ignore_patterns(INDEX))
        (page / GRAPH).write_bytes(step.content)
        files = {"graph": _file(page / GRAPH, folder)}
        for name, kind in ((_SCRIPT, "runtime"), (_WASM, "wasm")):
            if runtime.folder is None:
                url = f"{CDN}/npm/{PACKAGE}@{runtime.version}/dist/{name}"
                files[kind] = {"url": url, "integrity": _INTEGRITY[name]}
            else:
                shutil.copy(runtime.folder / "dist" / name, page)
                files[kind] = _file(page / name, folder)
        model = _model(step.metadata, task) | {"files": files, PACKAGE: str(runtime)}
        (page / _MODEL).write_text(f"{json.dumps(model, allow_nan=False)}\n", encoding="utf-8")
        index = (_SOURCE / INDEX).read_text(encoding="utf-8")
        if runtime.folder is None:
            index = index.replace("connect-src 'self'", f"connect-src 'self' {CDN}")
        (folder / INDEX).write_text(index, encoding="utf-8")


def read_runtime(folder: pathlib.Path) -> str:
    """A sentence about the origin of onnxruntime-web in a site."""
    return str(json.loads((folder / PAGE / _MODEL).read_text(encoding="utf-8"))[PACKAGE])


def check(folder: pathlib.Path) -> None:
    """Check that the files of a site have the hashes in its ``model.json``.

    Raises:
        ValueError: a file has another hash.
    """
    for file in json.loads((folder / PAGE / _MODEL).read_text(encoding="utf-8"))["files"].values():
        if not file["url"].startswith(CDN) and _integrity(folder / file["url"]) != file["integrity"]:
            raise ValueError(f"{file['url']} is not the file that {_MODEL} names")


def _file(path: pathlib.Path, folder: pathlib.Path) -> dict[str, str]:
    """A file of the site, as the page loads it."""
    return {"url": path.relative_to(folder).as_posix(), "integrity": _integrity(path)}


def _integrity(path: pathlib.Path) -> str:
    """The hash of a file, as browsers check it."""
    return f"sha384-{base64.b64encode(hashlib.sha384(path.read_bytes()).digest()).decode()}"


def _model(data: Metadata, task: Task) -> dict[str, Any]:
    """The content of ``model.json``."""
    return {
        "name": data.model_name,
        "about": f"{summary(type(task))}." if summary(type(task)) else f"the task {task.name}.",
        "task": {"name": task.name, "options": task.options},
        "training_sizes": {name: [min(values), max(values)] for name, values in task.training_sizes.items()},
        "read_heads": data.read_heads,
        "write_heads": data.adds_shape[0] if data.has_heads else 0,
        "memory_locations": data.memory_locations,
        "least_locations": data.least_locations,
        "fixed_locations": data.fixed_locations,
        "state": {
            name: {"shape": tensor.shape, "first": tensor.first, "beyond": tensor.beyond}
            for name, tensor in data.state.items()
        },
        "sequences": None if type(task) is BUILT_IN.get(task.name) else list(_recorded(task)),
    }


def _recorded(task: Task) -> Iterator[dict[str, Any]]:
    """Sequences of a user's task, which the page cannot make."""
    rng = np.random.default_rng(0)
    for size in _sizes(task):
        for _ in range(_SEQUENCES):
            batch = draw(task, rng, 1, size)
            optimal = optimal_output(task, batch)
            tensors = {"x": batch.x, "target": batch.target, "mask": batch.mask, "optimal": optimal}
            yield {
                "size": dict(size),
                "locations": task.memory_locations(size),
                **{name: None if values is None else _numbers(values[:, 0]) for name, values in tensors.items()},
            }


def _sizes(task: Task) -> list[Size]:
    """The sizes of the sequences: the evaluation sizes, the smallest and largest training sizes, and some between."""
    ends = corners(task.training_sizes)
    least, most = ends[0], ends[-1]
    between = [
        {name: round(least[name] + (most[name] - least[name]) * part) for name in least}
        for part in np.linspace(0, 1, max(_SIZES - len(task.evaluation_sizes), 0)).tolist()
    ]
    sizes = {describe(size): size for size in (*between, *ends, *task.evaluation_sizes)}
    shown = [size for size in sizes.values() if task.steps(size) <= _MOST_STEPS] or [least]
    return sorted(shown, key=task.steps)


def _numbers(values: Any) -> Any:
    """Float32 numbers in nested lists, each with the fewest digits that give the same float32."""
    if np.ndim(values):
        return [_numbers(value) for value in values]
    return int(values) if float(values).is_integer() else float(str(values))
