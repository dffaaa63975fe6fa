"""Time ``sparse.onnx`` beside ``unrolled.onnx``, and count where heads look, and so choose; Markdown.

The first table has microseconds a time step and sequence of whole copies on one core, with the first of the models. The
last column is ``sparse.onnx`` made to touch every location: between it and the one before lies every other share.
The three are measured in turns, ``--rounds`` times over, and the medians count.

The second table has a row for each model: how many locations its heads look at in a step, over all sequences, of a
network that searches its write heads; and how many of the chunks of a copy the runtime gives to ``sparse.onnx``.
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
from ntm.runtime.model import NEGLIGIBLE, Model, State, _Session

WORDS = 60
# (N, B)
SIZES = [(32, 32), (32, 128), (64, 16), (64, 64), (128, 1), (128, 4), (128, 8), (128, 16), (128, 32), (128, 128)]
SIZES += [(128, 256), (256, 4), (1024, 1), (1024, 8), (1024, 32), (10_240, 1)]
TOUCHED = [(128, 128), (1024, 8)]
TOUCHED_WORDS = 100


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=pathlib.Path, nargs="+", metavar="MODEL", help="an export of ntm-export")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    print("| N | B | unrolled | sparse | as fast | everything touched |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    files = folder.read(arguments.models[0])
    graphs = [files.unrolled, files.sparse, _touching_everything(files.sparse)]
    for locations, batch in SIZES:
        times = _times(Model(files), graphs, locations, batch, arguments.rounds)
        unrolled, sparse, everywhere = times
        faster = f"{unrolled / sparse:.2f}x"
        print(f"| {locations:,} | {batch} | {unrolled:.2f} | {sparse:.2f} | {faster} | {everywhere:.2f} |", flush=True)
    sizes = [f"N {locations:,}, B {batch}" for locations, batch in TOUCHED]
    print(f"\n| model |{'|'.join(f' {size}: locations | chunks ' for size in sizes)}|")
    print(f"| --- |{' ---: | ---: |' * len(sizes)}")
    for path in arguments.models:
        cells = [_touched(ntm.load(path), locations, batch) for locations, batch in TOUCHED]
        row = " | ".join(f"{mean:.1f} | {chunks:.0%}" for mean, chunks in cells)
        print(f"| {path.name} | {row} |", flush=True)


def _touching_everything(graph: folder.Graph) -> folder.Graph:
    """The sparse graph with a threshold that every weight exceeds."""
    model = onnx.load_from_string(graph.content)
    (threshold,) = (tensor for tensor in model.graph.initializer if tensor.name == "negligible")
    threshold.CopyFrom(numpy_helper.from_array(np.array(-1, np.float32), threshold.name))
    return graph._replace(content=model.SerializeToString())


def _times(model: Model, graphs: Sequence[folder.Graph], locations: int, batch: int, rounds: int) -> list[float]:
    """Of each graph the microseconds of a step and sequence, as it copies random words."""
    words = _words(batch, min(WORDS, locations - 2))
    sessions = [_Session(graph, 1) for graph in graphs]
    taken: list[list[float]] = [[] for _ in graphs]
    for _ in range(rounds + 1):
        for session, times in zip(sessions, taken, strict=True):
            unroll = session.metadata.unroll
            steps = -(-(2 * words.shape[1] + 1) // unroll) * unroll
            x, state = model._inputs(words, steps), model.initial_state(batch, locations)
            start = time.perf_counter()
            for first in range(0, steps, unroll):
                _, *next_state = session.run(x[first : first + unroll], *state)
                state = State(*next_state)
            times.append(1e6 * (time.perf_counter() - start) / steps / batch)
    return [statistics.median(times[1:]) for times in taken]  # the first time makes the session


def _touched(model: Model, locations: int, batch: int) -> tuple[float, float]:
    """The mean number of locations that are looked at in a step, and the share of chunks that are sparse."""
    looking = slice(model.metadata.read_heads if model.metadata.searches else 0, None)
    words, state = _words(batch, TOUCHED_WORDS), model.initial_state(batch, locations)
    counts = []
    for x in model._inputs(words, 2 * TOUCHED_WORDS + 1):
        _, state = model.step(x, state)
        counts.append(int(np.count_nonzero(state.weights[:, looking].sum((0, 1)) > NEGLIGIBLE)))
    chosen, choose = [], model._session

    def noted(batch_size: int, weights: np.ndarray) -> _Session:
        chosen.append(choose(batch_size, weights))
        return chosen[-1]

    model._session = noted  # type: ignore[method-assign]
    list(model.recall(words, model.initial_state(batch, locations)))
    return statistics.mean(counts), chosen.count(model._sparse) / len(chosen)


def _words(batch: int, length: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2, (batch, length, 8), np.uint8)


if __name__ == "__main__":
    main()
