"""Export a network with every U, and print the times and the nodes of the graphs; Markdown.

Three tables: the wall-clock of ``ntm-export`` beside that of ``import tensorflow, tf2onnx``, in turns, since both
depend on what else the machine does; how fast ``unrolled.onnx`` loads, and copies; and the nodes of the graphs by what
they compute, before and after onnxruntime's optimisation, with the reason why they are there.
RUN is a run of the copy task; without RUN, a network is trained first. The exit code is 1 if an export takes more than
1.5 times the imports and 5 s, if ``step.onnx`` has more than 60 nodes, or if the default export takes more than 0.3 s
to load.
"""

import argparse
import math
import pathlib
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version

import numpy as np
import onnx
import onnxruntime

import ntm
from ntm.export.options import DEFAULT_UNROLL
from ntm.tasks import Copy

LENGTH = 119  # of what is copied: 239 steps, of which most U leave one step over or none
SEQUENCES = 8  # so few that they take unrolled.onnx
STEPS = 2 * LENGTH + 1
UNROLLS = sorted({1, 2, 4, 8, 12, 16, 32, 64, STEPS, DEFAULT_UNROLL})
CONTENT = ("content", "interpolation")  # what only content addressing needs
WHY = {
    "flat": "the read vectors side by side, for the controller and for the output",
    "cell": "the input beside them",
    **{f"hidden_{i}": "a layer of the controller: a product with its bias" for i in range(3)},
    "feedforward": "the activations of the controller",
    "heads": "the layer of the heads: a product with its bias",
    "in_range": "the parameters of the heads cut apart, and each brought into its range",
    "cosine_similarity": "Eq. (6): the key of length 1 (5), the product, the norm (4), the quotient",
    "content_weighting": "Eq. (5): times the key strength, softmax",
    "interpolate": "Eq. (7): the difference, times the gate, added",
    "circular_shift": "Eq. (8): the circle closed (2 Slice, Concat), the shifts but one cut out, times their weights",
    "sharpen": "Eq. (9): the sum of the shifts and an epsilon, the logarithm, times gamma, softmax",
    "memory_step": "the weightings of the read heads apart from those of the write heads",
    "erase": "Eq. (3): w e, 1 - w e, times the memory",
    "add": "Eq. (4): w a, added to the memory",
    "read": "Eq. (2): the product with the memory, whose Transpose onnxruntime makes part of it",
    "output_input": "the hidden layer beside the read vectors",
    "output": "the output: a product with its bias",
    "step": "the adds, one a head; the sigmoid of y",
}
# The same for a step of the unrolled graph.
WHY_UNROLLED = {
    "controller": "the read vectors flat; each hidden layer, a product with its bias and tanh",
    "heads": "what the addressing is told: a product, its shape, and the cut",
    "content": "Eq. (5) and (6): the key of length beta (3), the norm (4), product, quotient, softmax",
    "interpolation": "Eq. (7): the focus by content beside the previous one, for the next product to mix",
    "location": "Eq. (8): the weightings cut and put together shifted (2), softmax, product",
    "sharpen": "Eq. (9): gamma (2), the logarithm, times gamma, softmax",
    "write": "Eq. (3) and (4): w of each head, e and a (6, with their shapes), e M - a (3), times w, taken from M",
    "read": "Eq. (2): the product with the memory, whose Transpose onnxruntime makes part of it",
}
# The same for a step of the sparse graph.
WHY_SPARSE = {
    "controller": "the read vectors flat and beside the input (2); each hidden layer, a product with its bias and tanh",
    "heads": "what the heads and the output are told: a product, and the cut",
    "location": "where heads may move to (9); Eq. (8): the shift weighting but for its sum (4), w there in all shifts "
    "(3), the product, the sum; all of w put together (2)",
    "sharpen": "Eq. (9): gamma (2), the logarithm, times gamma, softmax (5)",
    "write": "w of each head; M there; Eq. (3) and (4): e and a (2), e M - a (2), times w, taken from M, put back",
    "read": "Eq. (2): w beside M (2), times M, the sum",
    "output": "the read vectors flat, and what they add to the output",
}
# The same for a step of the batched graph.
WHY_BATCHED = {
    "controller": "the read vectors flat and beside the input (2); each hidden layer, a product with its bias and tanh",
    "heads": "what the heads and the output are told: a product, and the cut",
    "content": "Eq. (5) and (6): the key's shape and norm (5), strength (3), the norm (4), product (3), quotients (2), "
    "softmax (5)",
    "interpolation": "Eq. (7): the gate (3), the difference, times the gate, added",
    "location": "Eq. (8): the shift weighting but for its sum (4) cut, the weighting cut, and put together shifted "
    "(2), each times its weight (6), the sum",
    "sharpen": "Eq. (9): gamma (3), the logarithm, times gamma, softmax (5)",
    "write": "Eq. (3) and (4): w of each head, e and a (4, with their shapes), e M - a (2), times w, taken from M",
    "read": "Eq. (2): w beside M, times M, the sum",
    "output": "the read vectors flat, and what they add to the output",
}


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=pathlib.Path, metavar="RUN", help="a run of ntm-train on the copy task")
    parser.add_argument("--repeats", type=int, default=3, help="of every measurement (default: %(default)s)")
    arguments = parser.parse_args()
    print(
        f"{platform.processor() or platform.machine()}, one thread, TensorFlow {version('tensorflow')}, "
        f"tf2onnx {version('tf2onnx')}, onnxruntime {version('onnxruntime')}; least of {arguments.repeats}"
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder, run = pathlib.Path(temporary), arguments.run
        if run is None:
            run = folder / "run"
            _run(_program("ntm-train"), "--seed", "1", "--quiet", "--output", run)
        exports = {unroll: folder / f"unroll-{unroll}" for unroll in UNROLLS}
        good = [
            _print_export_times(run, exports, arguments.repeats),
            _print_speeds(exports, arguments.repeats),
            _print_nodes(exports[DEFAULT_UNROLL], folder),
        ]
    return 0 if all(good) else 1


def _print_export_times(run: pathlib.Path, exports: dict[int, pathlib.Path], repeats: int) -> bool:
    columns = ("U", "imports, s", "(CPU)", "`ntm-export`, s", "(CPU)", "of 1.5 imports + 5 s")
    print(f"\n| {' | '.join(columns)} |\n|{' ---: |' * len(columns)}")
    good = True
    for unroll, folder in exports.items():
        options = ("--unroll", unroll, "--output", folder, "--force", "--quiet")
        imports, times = [], []
        for _ in range(repeats):
            imports.append(_times(sys.executable, "-c", "import tensorflow, tf2onnx"))
            times.append(_times(_program("ntm-export"), "--format", "onnx", run, *options))
        (base, base_cpu), (seconds, cpu) = min(imports), min(times)
        share = seconds / (1.5 * base + 5)
        good &= share <= 1
        print(f"| {unroll} | {base:.2f} | {base_cpu:.2f} | {seconds:.2f} | {cpu:.2f} | {share:.0%} |", flush=True)
    return good


def _print_speeds(exports: dict[int, pathlib.Path], repeats: int) -> bool:
    print(f"\nA sequence is {LENGTH} words, {STEPS} steps; U = {STEPS} is all of them.\n")
    columns = ("U", "load, ms", "one sequence, ms", f"{SEQUENCES} sequences, ms", "unrolled.onnx, KB")
    print(f"| {' | '.join(columns)} |\n|{' ---: |' * len(columns)}")
    random = np.random.default_rng(0)
    one, many = (random.integers(0, 2, (batch, LENGTH, 8), np.uint8) for batch in (1, SEQUENCES))
    models = {unroll: _load(folder) for unroll, folder in exports.items()}
    load, latency, bulk = (dict.fromkeys(exports, math.inf) for _ in range(3))
    for _ in range(10 * repeats):  # of all in turns
        for unroll, model in models.items():
            load[unroll] = min(load[unroll], _seconds(_load, exports[unroll]))
            latency[unroll] = min(latency[unroll], *(_seconds(model.copy, one) for _ in range(10)))
            bulk[unroll] = min(bulk[unroll], _seconds(model.copy, many))
    for unroll, folder in exports.items():
        times = (f"{1e3 * load[unroll]:.1f}", f"{1e3 * latency[unroll]:.2f}", f"{1e3 * bulk[unroll]:.1f}")
        print(f"| {unroll} | {' | '.join(times)} | {(folder / 'unrolled.onnx').stat().st_size / 1e3:.0f} |")
    return load[DEFAULT_UNROLL] <= 0.3


def _load(folder: pathlib.Path) -> ntm.Model:
    model = ntm.load(folder)
    model.prepare(1, Copy().memory_locations({"length": LENGTH}))
    return model


def _print_nodes(export: pathlib.Path, folder: pathlib.Path) -> bool:
    totals = []
    for file, why, at in (
        ("step.onnx", WHY, 0),
        ("unrolled.onnx", WHY_UNROLLED, 1),
        ("sparse.onnx", WHY_SPARSE, 1),
        ("batched.onnx", WHY_BATCHED, 1),
    ):
        if not (export / file).exists():
            continue
        nodes, optimised = _nodes(export / file, folder)
        print(f"\n| `{file}` | nodes | optimised | why |\n| --- | ---: | ---: | --- |")
        counts, optimised_counts = (Counter(name.split("/")[at] for name in names) for names in (nodes, optimised))
        for part in {**why, **counts}:
            note = "; only with content addressing" if part in CONTENT and not counts[part] else ""
            print(f"| `{part}` | {counts[part]} | {optimised_counts[part]} | {why.get(part, '?')}{note} |")
        totals.append(optimised_counts.total())
        print(f"| a step | {counts.total()} | {totals[-1]} | |")
    return totals[0] <= 60


def _nodes(path: pathlib.Path, folder: pathlib.Path) -> tuple[list[str], list[str]]:
    """The names of the nodes of a step, as the graph is and as onnxruntime optimises it for any processor."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return _names(path), _names(folder / "optimised.onnx")


def _names(path: pathlib.Path) -> list[str]:
    names = [node.name.removeprefix("fused ") for node in onnx.load(path).graph.node]
    # Of a graph of several steps, one in the middle.
    return [name for name in names if name.startswith("step_1/")] or names


def _seconds(work: Callable[..., object], *arguments: object) -> float:
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


def _times(*command: object) -> tuple[float, float]:
    """Seconds of wall-clock and of the processor that a command takes."""

    def cpu() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    before = cpu()
    return _seconds(_run, *command), cpu() - before


def _program(command: str) -> pathlib.Path:
    return pathlib.Path(sys.executable).with_name(command)


def _run(*command: object) -> None:
    subprocess.run(list(map(str, command)), check=True, capture_output=True)


if __name__ == "__main__":
    sys.exit(main())
