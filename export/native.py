"""Native: ``native/``, one time step of fixed sizes as machine code, which any program calls as functions of C.

The step is that of ``step.onnx``, with sizes in the place of B and N; ``c_code`` writes it as C, and the system's C
compiler makes libraries of that. They need the library of C and nothing else.
"""

import dataclasses
import functools
import math
import pathlib
import subprocess
import sys
import tempfile

from ntm.errors import ExportError
from ntm.export import compiler, native_source, onnx_format, parity
from ntm.export.options import MOST_LOCATIONS
from ntm.export.source import Source
from ntm.export.step import Sizes
from ntm.runtime import folder as model_folder
from ntm.runtime import onnx_file
from ntm.runtime.folder import Graph
from ntm.runtime.metadata import MEMORY, X, Y
from ntm.runtime.native_file import FOLDER, HEADER, SOURCE, STATIC, shared_name
from ntm.runtime.native_library import NativeLibrary

FILES = (FOLDER,)
_SECONDS = 60  # for one step
# Loads a library and runs a step, as another process: a processor that lacks an instruction ends it.
_TRY = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
library.ntm_create.restype = ctypes.c_void_p
numbers = ctypes.c_float * int(sys.argv[2])
library.ntm_step(ctypes.c_void_p(library.ntm_create()), numbers(), numbers())
"""

_CARD = """\
### Native

`native/` is one time step of B = {batch}{locations} as machine code, for {machine}:
`{shared}` and `{static}`, with the functions of `{header}`. They need the library of C and nothing else, allocate
nothing in a step, and share nothing between instances. `{source}` is what they were compiled of, in plain C: a
compiler for another system makes the same library of it.

```c
#include "ntm.h"

ntm *network = ntm_create();
float x[NTM_B * NTM_I] = {{1}}, y[NTM_B * NTM_O];
ntm_step(network, x, y); /* the next step: y holds the probability that each output is 1 */
ntm_reset(network);      /* the next sequence */
ntm_free(network);
```

A library is a program: load only one of those whom you trust."""


def write(source: Source, folder: pathlib.Path) -> None:
    """Write the C, and the libraries."""
    network, sizes = source.run.network, _sizes(source)
    metadata = dataclasses.replace(source, sizes=sizes).metadata()
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


def describe(source: Source, _: pathlib.Path) -> str:
    """What the model card says."""
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
    """What was written, to be compared with TensorFlow; nothing where nothing was written.

    Of libraries for another system or processor, what is compared is the same C as this system's compiler has it.
    """
    of_format = folder / FOLDER
    if not of_format.exists():
        return []
    here = of_format / shared_name()
    if here.exists():
        graph = model_folder.read_native(here)
        if _runs(here, graph):
            return [_candidate(here.relative_to(folder).as_posix(), graph)]
    with tempfile.TemporaryDirectory() as name:
        built = pathlib.Path(name)
        for file in (HEADER, SOURCE):
            (built / file).write_bytes((of_format / file).read_bytes())
        compiler.build(built / SOURCE, built / shared_name(), None, compiler.ANY)
        content = onnx_file.sealed((built / shared_name()).read_bytes())
        (built / shared_name()).write_bytes(content)
        return [_candidate(f"{FOLDER}/{SOURCE}", model_folder.read_native(built / shared_name()))]


def _sizes(source: Source) -> Sizes:
    """B and N.

    Raises:
        ExportError: they are more than a library is for.
    """
    locations = source.memory_locations if source.run.network.config.heads else None
    if source.batch_size * (locations or 1) > MOST_LOCATIONS:
        raise ExportError(
            f"the format native may have {MOST_LOCATIONS:,} locations in all sequences together, not "
            f"{source.batch_size * (locations or 1):,}"
        )
    return Sizes(source.batch_size, locations)


def _runs(library: pathlib.Path, graph: Graph) -> bool:
    """Whether this system and this processor run a library."""
    shapes = model_folder.fixed_shapes(graph)
    numbers = max(math.prod(shapes[name]) for name in (X, Y))
    command = [sys.executable, "-c", _TRY, str(library.absolute()), str(numbers)]
    try:
        return not subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False).returncode  # noqa: S603
    except subprocess.TimeoutExpired:
        return False


def _candidate(name: str, graph: Graph) -> parity.Candidate:
    library = NativeLibrary(graph.content, graph.metadata, model_folder.fixed_shapes(graph))
    instance = library.instance()
    batch, locations = graph.sizes or (1, 1)
    return parity.Candidate(
        name,
        graph.metadata,
        functools.partial(parity.compare_steps, step=functools.partial(library.compute, instance)),
        start=library.state(instance),
        sizes=Sizes(batch, locations if MEMORY in graph.metadata.state else None),
    )
