"""Time the graphs of several steps, and count the locations that heads use, to choose among the graphs; Markdown.

The first table has microseconds a time step and sequence on one core: sequences of each model's own task, of the
largest training size and of the task's evaluation sizes, one of them, 32 and 200 side by side. N is what the task gives
the size. The second table has copies of random words with other N and B, by the first model, which must be of the copy
task. The graphs are measured in turns, ``--rounds`` times over. The least counts, since other programs only add. Steps
that fill up a last chunk do not count as steps. The fastest is in bold, and ``*`` marks what the runtime takes at
first. A model with content addressing has no ``sparse.onnx``.

The last table is of the models of the copy task without content addressing: how many locations their heads look at in a
step, over all sequences, and how many of the chunks of a copy the runtime gives to ``sparse.onnx``.
"""

import argparse
import os
import pathlib
import statistics
import time
from collections.abc import Iterator

import numpy as np

import ntm
from ntm import text
from ntm.runtime import folder
from ntm.runtime.evaluate import task_of
from ntm.runtime.metadata import BATCHED, SPARSE, UNROLLED
from ntm.runtime.model import Model, _looked_at
from ntm.runtime.onnxruntime_session import OnnxruntimeSession
from ntm.runtime.session import Floats, Session, State
from ntm.tasks import Size, copy
from ntm.tasks.task import describe, draw

KINDS = (UNROLLED, BATCHED, SPARSE)
SEQUENCES = (1, 32, 200)
MOST_STEPS = 500  # of a sequence of the first table
WORDS = 60
# (N, B)
SIZES = [(7, b) for b in (1, 16, 32, 1024)] + [(n, b) for n in (12, 16, 22, 32) for b in (8, 32, 64, 256)]
SIZES += [(64, 8), (64, 16), (64, 32), (64, 128), *((128, b) for b in (1, 4, 8, 16, 32, 128, 256))]
SIZES += [(256, 4), (256, 8), (256, 32), (1024, 1), (1024, 2), (1024, 4), (1024, 8), (1024, 32), (10_240, 1)]
TOUCHED = [(128, 128), (1024, 8)]
TOUCHED_WORDS = 100


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=pathlib.Path, nargs="+", metavar="MODEL", help="an export of ntm-export")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    _print_header("model", "size", "N", "B")
    for path in arguments.models:
        files = folder.read(path)
        for size, locations, batch, x in _sequences(ntm.load(path)):
            _print_row(files, x, locations, arguments.rounds, f"{path.name} | {describe(size)} | {locations} | {batch}")
    print()
    _print_header("N", "B")
    files = folder.read(arguments.models[0])
    for locations, batch in SIZES:
        x = copy.inputs(_words(batch, min(WORDS, locations - 2)))
        _print_row(files, x, locations, arguments.rounds, f"{locations:,} | {batch:,}")
    rows = [["model", *(f"N {n:,}, B {b}: {what}" for n, b in TOUCHED for what in ("locations", "chunks"))]]
    for path in arguments.models:
        model = ntm.load(path)
        if SPARSE in model._sessions and model.metadata.task_name == "copy":
            touched = [_touched(model, locations, batch) for locations, batch in TOUCHED]
            rows.append([path.name, *(cell for mean, chunks in touched for cell in (f"{mean:.1f}", f"{chunks:.0%}"))])
    print(f"\n{text.table(rows, left=1)}")


def _print_header(*columns: str) -> None:
    print(f"| {' | '.join((*columns, *KINDS))} |\n|{' --- |' * len(columns)}{' ---: |' * len(KINDS)}")


def _sequences(model: Model) -> Iterator[tuple[Size, int, int, Floats]]:
    """Sequences of a model's task: their size, N, B and x, ``[T, B, I]``."""
    task = task_of(model.metadata, None)
    largest = {name: sizes[-1] for name, sizes in task.training_sizes.items()}
    for size in [largest, *(size for size in task.evaluation_sizes if size != largest)]:
        if task.steps(size) <= MOST_STEPS:
            for batch in SEQUENCES:
                x = draw(task, np.random.default_rng(0), batch, size).x
                yield size, task.memory_locations(size), batch, x


def _print_row(files: folder.ModelFolder, x: Floats, locations: int, rounds: int, name: str) -> None:
    """Print of each graph the microseconds of a step and sequence."""
    model, batch = Model(files, locations), x.shape[1]
    sessions = {graph.metadata.graph: OnnxruntimeSession(graph, 1) for graph in files.graphs if graph != files.step}
    times: dict[str, list[float]] = {kind: [] for kind in sessions}
    for _ in range(rounds + 1):
        for kind, session in sessions.items():
            unroll, state = session.metadata.unroll, model.initial_state(batch, locations)
            padded = np.concatenate([x, np.zeros((-len(x) % unroll, *x.shape[1:]), np.float32)])
            start = time.perf_counter()
            for first in range(0, len(x), unroll):
                _, state = session.run_chunk(padded[first : first + unroll], state)
            times[kind].append(1e6 * (time.perf_counter() - start) / len(x) / batch)
    least = {kind: min(each[1:]) for kind, each in times.items()}  # the first time makes the session
    taken = model._session(model.initial_state(batch, locations)).metadata.graph
    cells = []
    for kind in KINDS:
        cell = f"{least[kind]:.2f}" if kind in least else ""
        cell = f"**{cell}**" if kind == min(least, key=lambda graph: least[graph]) else cell
        cells.append(f"{cell} *" if kind == taken else cell)
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


def _touched(model: Model, locations: int, batch: int) -> tuple[float, float]:
    """The mean number of locations that are looked at in a step, and the share of chunks that are sparse."""
    x, state = copy.inputs(_words(batch, TOUCHED_WORDS)), model.initial_state(batch, locations)
    counts = []
    for x_t in x:
        _, state = model.step(x_t, state)
        counts.append(_looked_at(state["weights"]))
    chosen: list[Session] = []
    choose = model._session

    def noted(state: State) -> Session:
        chosen.append(choose(state))
        return chosen[-1]

    model._session = noted  # type: ignore[method-assign]
    list(model.chunks(x, model.initial_state(batch, locations)))
    model._session = choose  # type: ignore[method-assign]
    return statistics.mean(counts), chosen.count(model._sessions[SPARSE]) / len(chosen)


def _words(batch: int, length: int) -> np.ndarray:
    """Random words, ``[L, B, bits]``."""
    return np.random.default_rng(0).integers(0, 2, (length, batch, 8), np.uint8)


if __name__ == "__main__":
    main()
