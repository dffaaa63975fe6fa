"""Time the graphs of several steps, and count the locations that heads use, to choose among the graphs; Markdown.

The models are of the copy task, with content addressing (``ntm-train --keep-content``) or without. The first table has
microseconds a time step and sequence of whole copies on one core, with the first of the models. The last column is
``sparse.onnx`` made to touch every location: between it and the column ``sparse`` lies every other share. All are
measured in turns, ``--rounds`` times over, and the medians count; steps that fill up a last chunk do not count as
steps. The fastest is in bold, and ``*`` marks what the runtime takes.

The second table has a row for each model: whether it uses content addressing; how many locations its heads, or with
content addressing its write heads, look at in a step, over all sequences; and how many of the chunks of a copy the
runtime gives to ``sparse.onnx``.
"""

import argparse
import os
import pathlib
import statistics
import time
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import numpy_helper

import ntm
from ntm.runtime import folder
from ntm.runtime.metadata import BATCHED, SPARSE, UNROLLED
from ntm.runtime.model import Model
from ntm.runtime.onnxruntime_session import OnnxruntimeSession
from ntm.runtime.session import Session, State
from ntm.tasks import copy

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
    print("| N | B | unrolled | batched | sparse | everything touched |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    files = folder.read(arguments.models[0])
    by_kind = {graph.metadata.graph: graph for graph in files.graphs}
    graphs = [by_kind[kind] for kind in (UNROLLED, BATCHED, SPARSE)]
    graphs.append(_touching_everything(by_kind[SPARSE]))
    for locations, batch in SIZES:
        model = Model(files, locations)
        times = _times(model, graphs, locations, batch, arguments.rounds)
        taken = _taken(model, graphs, locations, batch)
        cells = [f"**{value:.2f}**" if value == min(times[:3]) else f"{value:.2f}" for value in times]
        cells[taken] += " *"
        print(f"| {locations:,} | {batch:,} | {' | '.join(cells)} |", flush=True)
    sizes = [f"N {locations:,}, B {batch}" for locations, batch in TOUCHED]
    print(f"\n| model | content addressing |{'|'.join(f' {size}: locations | chunks ' for size in sizes)}|")
    print(f"| --- | --- |{' ---: | ---: |' * len(sizes)}")
    for path in arguments.models:
        model = ntm.load(path)
        touched = [_touched(model, locations, batch) for locations, batch in TOUCHED]
        row = " | ".join(f"{mean:.1f} | {chunks:.0%}" for mean, chunks in touched)
        by_content = "yes" if model.metadata.content_addressing else "no"
        print(f"| {path.name} | {by_content} | {row} |", flush=True)


def _touching_everything(graph: folder.Graph) -> folder.Graph:
    """The sparse graph with a threshold that every weight exceeds."""
    model = onnx.load_from_string(graph.content)
    (threshold,) = (tensor for tensor in model.graph.initializer if tensor.name == "negligible")
    threshold.CopyFrom(numpy_helper.from_array(np.array(-1, np.float32), threshold.name))
    return graph._replace(content=model.SerializeToString())


def _taken(model: Model, graphs: Sequence[folder.Graph], locations: int, batch: int) -> int:
    """The graph that the runtime takes for this many sequences if their heads use few locations."""
    session = model._session(model.initial_state(batch, locations))
    return [graph.metadata.graph for graph in graphs].index(session.metadata.graph)


def _times(model: Model, graphs: Sequence[folder.Graph], locations: int, batch: int, rounds: int) -> list[float]:
    """Of each graph the microseconds of a step and sequence, as it copies random words."""
    words = _words(batch, min(WORDS, locations - 2))
    sessions = [OnnxruntimeSession(graph, 1) for graph in graphs]
    taken: list[list[float]] = [[] for _ in graphs]
    for _ in range(rounds + 1):
        for session, times in zip(sessions, taken, strict=True):
            unroll = session.metadata.unroll
            steps = 2 * len(words) + 1
            x, state = copy.inputs(words, padding=-steps % unroll), model.initial_state(batch, locations)
            start = time.perf_counter()
            for first in range(0, steps, unroll):
                _, state = session.run_chunk(x[first : first + unroll], state)
            times.append(1e6 * (time.perf_counter() - start) / steps / batch)
    return [statistics.median(times[1:]) for times in taken]  # the first time makes the session


def _touched(model: Model, locations: int, batch: int) -> tuple[float, float]:
    """The mean number of locations that are looked at in a step, and the share of chunks that are sparse."""
    x, state = copy.inputs(_words(batch, TOUCHED_WORDS)), model.initial_state(batch, locations)
    counts = []
    for x_t in x:
        _, state = model.step(x_t, state)
        counts.append(model._looked_at(state["weights"]))
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
