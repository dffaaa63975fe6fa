"""Native: ``native/``, one time step of fixed sizes as machine code, which any program calls as functions of C.

``c_code`` writes the step of ``step.onnx`` with fixed B and N as C, and the C compiler of the system makes libraries of
it. The libraries need the C library and nothing else.
"""

import dataclasses
import functools
import math
import pathlib
import subprocess
import sys
import tempfile

from ntm.errors import ExportError
from ntm.export import compiler, known_answer, native_source, onnx_format, parity
from ntm.export.options import MOST_LOCATIONS
from ntm.export.source import Source
from ntm.export.step import Sizes
from ntm.models import NetworkConfig
from ntm.runtime import folder as model_folder
from ntm.runtime import onnx_file
from ntm.runtime.folder import Graph
from ntm.runtime.metadata import MEMORY, X, Y
from ntm.runtime.native_file import FOLDER, HEADER, SHARED, SOURCE, STATIC, shared_name
from ntm.runtime.native_library import NativeLibrary

FILES = (FOLDER,)
_SECONDS = 60  # the time limit of one step
# A program that loads a library and runs a step. It is another process, since a missing instruction would end it.
_PROGRAM = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
library.ntm_create.restype = ctypes.c_void_p
numbers = ctypes.c_float * int(sys.argv[2])
library.ntm_step(ctypes.c_void_p(library.ntm_create()), numbers(), numbers())
"""

_CARD = """\
### Native

`native/` is one time step of B = {batch}{locations} as machine code, for {machine}:
the libraries `{shared}` and `{static}`, with the functions of `{header}`. They need the C library and nothing
else, allocate no memory in a step, and share nothing between instances. They were compiled from `{source}`, plain C
from which a compiler for another system makes the same library.

```c
#include "ntm.h"

ntm *network = ntm_create();
float x[NTM_B * NTM_I] = {{1}}, y[NTM_B * NTM_O];
ntm_step(network, x, y); /* the next step: y holds the probability that each output is 1 */
ntm_reset(network);      /* the next sequence */
ntm_free(network);
```

A library is a program: load only a library that you trust."""


def write(source: Source, folder: pathlib.Path) -> None:
    """Write the C source and the libraries."""
    network, sizes = source.run.network, _sizes(source)
    of_step = dataclasses.replace(source, sizes=sizes)
    metadata = of_step.metadata()
    model = onnx_format.convert(network)
    onnx_format.declare(model.graph, network.config, sizes)
    of_format = folder / FOLDER
    of_format.mkdir()
    header = native_source.header(network.config, metadata, sizes)
    code = native_source.source(model, network.config, metadata, sizes)
    (of_format / HEADER).write_text(header, encoding="utf-8")
    (of_format / SOURCE).write_text(code, encoding="utf-8")
    shared = of_format / shared_name(source.machine.target)
    compiler.build(of_format / SOURCE, shared, of_format / STATIC, source.machine)
    shared.write_bytes(onnx_file.sealed(shared.read_bytes()))
    if source.machine == compiler.ANY and not _runs(model_folder.read_native(shared)):
        raise ExportError("what the C compiler made does not run on this system: --target and --cpu name another one")
    known_answer.write(of_step, of_format)


def describe(source: Source, _: pathlib.Path) -> str:
    """The section of the model card."""
    sizes = _sizes(source)
    return _CARD.format(
        batch=sizes.batch,
        locations="" if sizes.locations is None else f" and N = {sizes.locations}",
        machine=source.machine,
        shared=shared_name(source.machine.target),
        static=STATIC,
        header=HEADER,
        source=SOURCE,
    )


def candidates(folder: pathlib.Path) -> list[parity.Candidate]:
    """The written library, to be compared with TensorFlow.

    In the place of a library for another system or processor, the C is compiled for this system and compared.
    """
    of_format = folder / FOLDER
    if not of_format.exists():
        return []
    graph = _library(of_format)
    if _runs(graph):
        return [_candidate(graph.path.relative_to(folder).as_posix(), graph)]
    with tempfile.TemporaryDirectory() as name:
        source, built = pathlib.Path(name, SOURCE), pathlib.Path(name, shared_name())
        for file in (HEADER, SOURCE):
            source.with_name(file).write_bytes((of_format / file).read_bytes())
        compiler.build_here(source, built)
        return [_candidate(f"{FOLDER}/{SOURCE}", graph._replace(content=built.read_bytes()))]


def answers(folder: pathlib.Path, config: NetworkConfig) -> list[parity.KnownAnswer]:
    """The known answer, likewise."""
    of_format = folder / FOLDER
    if not (of_format / known_answer.FILE).exists():
        return []
    name = f"{FOLDER}/{known_answer.FILE}"
    return [known_answer.read(of_format, config, name, _sizes_of(_library(of_format)))]


def _library(of_format: pathlib.Path) -> Graph:
    """The shared library, of whatever system."""
    found = [path for name in SHARED if (path := of_format / name).exists()]
    if len(found) != 1:
        raise ExportError(f"{of_format} must hold one of {', '.join(SHARED)}")
    return model_folder.read_native(found[0])


def _sizes(source: Source) -> Sizes:
    """B and N.

    Raises:
        ExportError: the sizes are too large for a library.
    """
    locations = source.memory_locations if source.run.network.config.heads else None
    if source.batch_size * (locations or 1) > MOST_LOCATIONS:
        raise ExportError(
            f"the format native may have {MOST_LOCATIONS:,} locations in all sequences together, not "
            f"{source.batch_size * (locations or 1):,}"
        )
    return Sizes(source.batch_size, locations)


def _sizes_of(graph: Graph) -> Sizes:
    """B and N of a library."""
    batch, locations = graph.sizes or (1, 1)
    return Sizes(batch, locations if MEMORY in graph.metadata.state else None)


def _runs(graph: Graph) -> bool:
    """Whether this system and this processor run a library."""
    shapes = model_folder.fixed_shapes(graph)
    numbers = max(math.prod(shapes[name]) for name in (X, Y))
    command = [sys.executable, "-c", _PROGRAM, str(graph.path.absolute()), str(numbers)]
    try:
        return not subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False).returncode  # noqa: S603
    except subprocess.TimeoutExpired:
        return False


def _candidate(name: str, graph: Graph) -> parity.Candidate:
    try:
        library = NativeLibrary(graph.content, graph.metadata, model_folder.fixed_shapes(graph))
    except (OSError, AttributeError) as error:
        raise ExportError(f"this system cannot load what the compiler made of {FOLDER}/{SOURCE}: {error}") from error
    instance = library.instance()
    return parity.Candidate(
        name,
        graph.metadata,
        functools.partial(parity.compare_steps, step=functools.partial(library.compute, instance)),
        start=library.state(instance),
        sizes=_sizes_of(graph),
    )
