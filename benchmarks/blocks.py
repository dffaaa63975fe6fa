"""Time the copying of bytes by block length and batch size, and so choose the defaults of ``ntm-copy``; Markdown.

For every block length L a batched graph with the 2 L + 1 steps of one block is written. The rest is as in ``ntm-copy``
after its start, except that ``ntm-copy`` limits batches to 2^13 locations (``Model.batch_size``). All cases are
measured in turns, ``--rounds`` times; the best figure counts, since other work on the machine only slows a copy down.
"""

import argparse
import os
import pathlib
import platform
import tempfile
import time

import numpy as np

from ntm.export import batched
from ntm.export.onnx_format import OPSET, save
from ntm.export.source import Source
from ntm.runtime import folder
from ntm.runtime.copy_command import BATCH_SIZE, BLOCK_LENGTH
from ntm.runtime.metadata import BATCHED
from ntm.runtime.model import Model
from ntm.runtime.stream import copy_batches
from ntm.tasks import Copy
from ntm.training.run import TrainedRun, load_run

LENGTHS = (3, 5, 7, 11, 15, 20, 30)
BATCH_SIZES = (256, 512, 1024, 2048)
CORES = 2


def main() -> int:
    """Print the table; the exit code is 1 if a bit came back wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=pathlib.Path, metavar="RUN", help="a run of ntm-train")
    parser.add_argument("model", type=pathlib.Path, metavar="MODEL", help="its export")
    parser.add_argument("--bytes", type=int, default=1 << 20)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    run, files = load_run(arguments.run), folder.read(arguments.model)
    content = np.random.default_rng(0).bytes(arguments.bytes)
    cases = [(length, size, CORES) for length in LENGTHS for size in BATCH_SIZES] + [(BLOCK_LENGTH, BATCH_SIZE, 1)]
    best, wrong = dict.fromkeys(cases, 0.0), 0
    with tempfile.TemporaryDirectory() as temporary:
        graphs = {length: _graph(run, length, pathlib.Path(temporary)) for length in LENGTHS}
        for _ in range(arguments.rounds):
            for length, size, threads in cases:
                rate, bits = _copy(_with(files, graphs[length]), content, length, size, threads)
                best[length, size, threads] = max(rate, best[length, size, threads])
                wrong += bits
    print(f"{platform.machine()}, {CORES} cores, {len(content) / 1024:,.0f} KiB of random bytes; KiB/s\n")
    print(f"| L | N | steps a byte |{'|'.join(f' B = {size:,} ' for size in BATCH_SIZES)}|")
    print(f"| ---: | ---: | ---: |{' ---: |' * len(BATCH_SIZES)}")
    for length in LENGTHS:
        rates = " | ".join(f"{best[length, size, CORES] / 1024:.0f}" for size in BATCH_SIZES)
        print(f"| {length} | {_locations(length)} | {(2 * length + 1) / length:.2f} | {rates} |")
    one, both = (best[BLOCK_LENGTH, BATCH_SIZE, threads] for threads in (1, CORES))
    print(f"\nL = {BLOCK_LENGTH}, B = {BATCH_SIZE:,}: {CORES} cores are {both / one:.2f} times as fast as one.")
    return 1 if wrong else 0


def _locations(length: int) -> int:
    """N, as many as a block needs."""
    return Copy().memory_locations({"length": length})


def _graph(run: TrainedRun, length: int, directory: pathlib.Path) -> folder.Graph:
    """The batched graph of one block."""
    path = directory / f"{length}.onnx"
    metadata = Source(run, Copy(), "blocks").metadata(BATCHED, unroll=2 * length + 1)
    save(batched.unroll(run.network, metadata.unroll, OPSET), metadata, path)
    return folder.Graph(path, path.read_bytes(), metadata)


def _with(files: folder.ModelFolder, batched_graph: folder.Graph) -> folder.ModelFolder:
    """A model with another batched graph."""
    others = (graph for graph in files.graphs if graph.metadata.graph != BATCHED)
    return folder.ModelFolder((*others, batched_graph))


def _copy(files: folder.ModelFolder, content: bytes, length: int, size: int, threads: int) -> tuple[float, int]:
    """Bytes a second, and the wrong bits."""
    model = Model(files, _locations(length), batch_size=size)
    model.prepare(size, _locations(length))
    batches = (content[start : start + length * size] for start in range(0, len(content), length * size))
    start = time.perf_counter()
    wrong = sum(batch.wrong_bits for batch in copy_batches(model, batches, length, threads))
    return len(content) / (time.perf_counter() - start), wrong


if __name__ == "__main__":
    raise SystemExit(main())
