"""Time a step as a native library, beside onnxruntime's chunk and TF-Lite's bare call, and compare bits; Markdown.

The first table is of networks with content addressing that are not trained, one sequence, one core: a feedforward and
an LSTM controller, 1 + 1 and 2 + 2 heads. A native step is timed in a program of C, step by step; an onnxruntime chunk
is a call of ``unrolled.onnx``, divided by its steps; a bare call of TF-Lite is ``Interpreter.invoke`` alone, without
the copies of its inputs and outputs. They are measured in turns, ``--rounds`` times over; of every figure the least
counts, since other work on a machine only ever adds to a time.

The second table is of bundled networks: their wrong bits as native libraries, and those that differ from onnxruntime's
and LiteRT's. The exit code is 1 if a step allocates, or a bit is wrong or differs.
"""

import argparse
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import ntm
from ntm import console, text
from ntm.runtime.native_library import shared_name
from ntm.tasks import Copy, Size, Task

LOCATIONS = 128
CONTROLLERS, HEADS = ("feedforward", "lstm"), (1, 2)
CALLS = 2000  # of a round
# Bundled networks: the size of the sequences, how many, and N.
BITS: dict[str, tuple[Size, int, int]] = {
    "copy-8bit": ({"length": 1000}, 20, 1024),
    "associative-recall": ({"items": 20}, 200, 128),
}
_HEADER = (
    "controller",
    "heads",
    "native, p50",
    "p99",
    "p99/p50",
    "onnxruntime chunk",
    "TF-Lite bare call",
    "native/chunk",
    "native/TF-Lite",
    "allocations",
    "KB of the library",
)
_WRAPPED = [f"-Wl,--wrap={name}" for name in ("malloc", "calloc", "realloc")]


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60, help="default: %(default)s")
    parser.add_argument("--cpu", help="as in ntm-export; by default every processor of the architecture")
    arguments = parser.parse_args()
    console.import_tensorflow()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    print(f"{platform.machine()}, {arguments.cpu or 'any processor'}; N = {LOCATIONS}, us a step\n")
    with tempfile.TemporaryDirectory() as folder:
        good = _print_times(pathlib.Path(folder), arguments.rounds, arguments.cpu)
    with tempfile.TemporaryDirectory() as folder:
        return console.OK if _print_bits(pathlib.Path(folder), arguments.cpu) and good else console.WRONG


def _print_times(folder: pathlib.Path, rounds: int, cpu: str | None) -> bool:
    rows: list[tuple[str, ...]] = [_HEADER]
    allocations = 0
    for controller in CONTROLLERS:
        for heads in HEADS:
            model = folder / f"{controller}-{heads}"
            _write(model, _untrained(controller, heads), Copy(), LOCATIONS, cpu)
            measures = {"native": _native(model), "chunk": _chunk(model), "lite": _lite(model)}
            found: dict[str, dict[str, float]] = {}
            for _ in range(rounds):
                for name, measure in measures.items():
                    for key, value in measure().items():
                        least = found.setdefault(name, {})
                        least[key] = min(value, least.get(key, value))
            native, chunk, lite = (found[name] for name in measures)
            allocations += int(native["allocations"])
            size = (model / "native" / shared_name()).stat().st_size
            numbers = (native["p50"], native["p99"], native["p99"] / native["p50"], chunk["p50"], lite["p50"])
            ratios = (native["p50"] / chunk["p50"], native["p50"] / lite["p50"])
            shown = [f"{number:.1f}" for number in numbers] + [f"{ratio:.2f}x" for ratio in ratios]
            rows.append((controller, f"{heads} + {heads}", *shown, f"{native['allocations']:.0f}", f"{size / 1e3:.0f}"))
    print(f"{text.table(rows, left=1)}\n", flush=True)
    return not allocations


def _print_bits(folder: pathlib.Path, cpu: str | None) -> bool:
    from bundled import trained  # noqa: PLC0415  (it imports TensorFlow)

    good = True
    rows: list[tuple[str, ...]] = [
        ("network", "sequences", "N", "wrong bits", "differ from onnxruntime", "differ from LiteRT")
    ]
    for name, (size, count, locations) in BITS.items():
        model = folder / name
        run, task = trained(name), ntm.tasks.find(ntm.load(name).metadata.task_name)
        _write(model, run, task, locations, cpu)
        batch = task.batch(np.random.default_rng(0), count, size)
        bits = {}
        for backend in ("native", "onnxruntime", "litert"):
            loaded = ntm.load(model, memory_locations=locations, backend=backend)
            bits[backend] = loaded.run(batch.x)[0] > 0.5
        counts = batch.mask[:, :, np.newaxis] > 0
        others = [batch.target > 0.5, bits["onnxruntime"], bits["litert"]]
        wrong = [int(np.count_nonzero((bits["native"] != other) & counts)) for other in others]
        good &= not any(wrong)
        sequences = f"{count} of {', '.join(f'{key} = {value:,}' for key, value in size.items())}"
        rows.append((name, sequences, f"{locations:,}", *(f"{number:,}" for number in wrong)))
    print(text.table(rows, left=2))
    return good


def _untrained(controller: str, heads: int) -> Any:
    from ntm.models import NTMConfig, make_network  # noqa: PLC0415
    from ntm.training.config import TrainingConfig  # noqa: PLC0415
    from ntm.training.run import RunConfig, TrainedRun  # noqa: PLC0415

    task = Copy()
    config = NTMConfig(task.input_size, task.output_size, controller=controller, read_heads=heads, write_heads=heads)
    sizes = {"length": (1, 20)}
    return TrainedRun(
        make_network(config), RunConfig("copy", task.options, config, TrainingConfig(sizes=sizes)), {}, "0" * 64
    )


def _write(folder: pathlib.Path, run: Any, task: Task, locations: int, cpu: str | None) -> None:
    from ntm.export import native, onnx_format, tflite  # noqa: PLC0415
    from ntm.export.compiler import Machine  # noqa: PLC0415
    from ntm.export.source import Source  # noqa: PLC0415

    folder.mkdir()
    source = Source(run, task, "native", memory_locations=locations, machine=Machine(cpu=cpu))
    for module in (onnx_format, tflite, native):
        module.write(source, folder)


Measure = Callable[[], dict[str, float]]


def _native(model: pathlib.Path) -> Measure:
    program, library = model / "native_step", model / "native"
    source = pathlib.Path(__file__).with_name("native_step.c")
    files = [str(source), str(library / "libntm.a")]
    subprocess.run(["cc", "-O2", *_WRAPPED, f"-I{library}", *files, "-lm", "-o", program], check=True)
    return lambda: dict(json.loads(subprocess.run([program], capture_output=True, check=True).stdout))


def _chunk(model: pathlib.Path) -> Measure:
    """A call of ``unrolled.onnx``, as ``ntm.load`` makes it."""
    import onnxruntime  # noqa: PLC0415

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.set_denormal_as_zero", "1")  # as a command has it
    session = onnxruntime.InferenceSession(str(model / "unrolled.onnx"), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    unroll, *_ = session.get_inputs()[0].shape
    loaded = ntm.load(model)
    x = Copy().batch(np.random.default_rng(0), 1, {"length": 20}).x
    inputs: dict[str, Any] = {"x": np.resize(x, (unroll, *x.shape[1:])), **loaded.initial_state(1, LOCATIONS)}

    def call() -> None:
        _, *state = session.run(names, inputs)
        inputs.update(zip(loaded.metadata.state, state, strict=True))

    return lambda: {"p50": _median(call, CALLS // unroll) / unroll}


def _lite(model: pathlib.Path) -> Measure:
    """A call of ``step.tflite`` without the copies of its inputs and outputs."""
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415

    interpreter, loaded = Interpreter(str(model / "step.tflite"), num_threads=1), ntm.load(model)
    details = interpreter.get_signature_runner("step").get_input_details()
    inputs = {"x": np.zeros((1, loaded.metadata.input_size), np.float32), **loaded.initial_state(1, LOCATIONS)}
    for name, value in inputs.items():
        interpreter.resize_tensor_input(details[name]["index"], value.shape)
    interpreter.allocate_tensors()
    for name, value in inputs.items():
        interpreter.set_tensor(details[name]["index"], value)
    return lambda: {"p50": _median(interpreter.invoke, CALLS)}


def _median(call: Callable[[], Any], count: int) -> float:
    """In microseconds."""
    times = []
    for _ in range(count):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e6 * float(np.median(times))


if __name__ == "__main__":
    sys.exit(main())
