"""Time an exported network in every runtime on the same weights, beside a lower bound for all of them; Markdown.

Takes a model of a built-in task (``--model``, by default the bundled ``copy-8bit``; ``associative-recall`` is one that
uses content addressing) or a run of ``ntm-train`` (``--run``), exports it in every format, and measures onnxruntime and
``ntm.load`` beside TensorFlow and TF-Lite; with ``--pytorch-ntm DIR`` (needs PyTorch), a checkout of
https://github.com/loudinthecloud/pytorch-ntm, its step too. Every runtime is a process of its own, on the cores that
the table says. Of a network without content addressing there is also a TensorFlow that leaves out Eq. (5) to (7), as
the graphs of several steps do. They are measured in turns, ``--rounds`` times over; of every figure the least counts,
since other work on a machine only ever adds to a time. All of them work on sequences of the task, over and over: what a
call returns as the state is handed to the next.

The lower bound is the longer of two times: the counted multiply-adds at the rate of a large matrix product on one core;
or the counted bytes, the matrices once per step and the state once in and once out, at the rate at which one core
copies an array of their size.
"""

import argparse
import collections
import functools
import importlib
import itertools
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from operations import multiply_adds

import ntm
from ntm.runtime.evaluate import task_of
from ntm.tasks import Size

LATENCY_LOCATIONS = 128
MANY, MANY_LOCATIONS = 1024, 7  # as in ntm-copy
# (N, B)
BULK = [(7, 32), (7, 128), (7, 1024), *((n, b) for n in (32, 128) for b in (8, 32, 128, 512)), (1024, 8), (1024, 32)]
FEW = [(128, 32), (128, 128), (128, 512)]  # for what is slow
SECONDS = 0.6  # a figure, a round
# What a session is asked for beside a command's own choice; each in a process of its own, since the first session of a
# process settles for all others how denormal numbers are taken.
OPTIONS: dict[str, dict[str, Any]] = {
    "as a command has it": {},
    "denormals kept": {"denormals": True},
    "optimisation: basic": {"level": "ORT_ENABLE_BASIC"},
    "optimisation: none": {"level": "ORT_DISABLE_ALL"},
    "two threads in an operation": {"threads": 2},
    "parallel execution": {"parallel": True},
    "no memory arena": {"arena": False},
    "no memory pattern": {"pattern": False},
    "no prepacked matrices": {"prepacking": False},
    "IOBinding, the state in ping-pong": {"binding": True},
}

Step = Callable[[], Any]
Times = dict[str, float]


def main() -> None:
    """Measure in turns and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="copy-8bit", help="a model folder, or the name of a bundled model")
    parser.add_argument("--run", type=pathlib.Path, help="a run folder of ntm-train instead")
    parser.add_argument("--pytorch-ntm", type=pathlib.Path, help="a checkout to measure against")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON instead")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        name, cores, model = arguments.measure
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(cores)])
        measure = RUNTIMES[name] if name in RUNTIMES else functools.partial(asked, name)
        print(json.dumps(measure(pathlib.Path(model), int(cores))))
        return

    cases = [(name, cores) for name in RUNTIMES for cores in (1, 2)] + [(name, 2) for name in OPTIONS]
    cases = [case for case in cases if case not in (("floor", 2), ("pytorch-ntm", 2))]
    if arguments.pytorch_ntm is None:
        cases = [case for case in cases if case[0] != "pytorch-ntm"]
    figures: dict[tuple[str, int], Times] = collections.defaultdict(dict)
    with tempfile.TemporaryDirectory() as folder:
        model = pathlib.Path(folder, "model")
        _export(arguments.run, arguments.model, model)
        metadata = ntm.load(model).metadata
        if metadata.content_addressing:  # such a network has no sparse.onnx
            cases = [case for case in cases if case[0] != "onnxruntime, sparse"]
        for _ in range(arguments.rounds):
            for case in cases:
                for key, value in _measure(case, model, arguments.pytorch_ntm).items():
                    figures[case][key] = min(value, figures[case].get(key, value))
    if arguments.json:
        print(json.dumps([{"runtime": name, "cores": cores, **times} for (name, cores), times in figures.items()]))
    else:
        uses = "with" if metadata.content_addressing else "without"
        print(f"{platform.machine()}, {os.cpu_count()} cores; {metadata.task_name}, {uses} content addressing")
        print(f"\n{_latencies(figures)}\n\n{_bulk(figures)}")
        print(f"\n{_options(figures)}")


def _export(run: pathlib.Path | None, bundled: str, model: pathlib.Path) -> None:
    from bundled import trained  # noqa: PLC0415  (as the next one: no process that measures needs TensorFlow for it)

    from ntm.export.options import ALL  # noqa: PLC0415
    from ntm.export.publish import publish  # noqa: PLC0415

    publish(run or trained(bundled), model, ALL)


def _measure(case: tuple[str, int], model: pathlib.Path, checkout: pathlib.Path | None) -> Times:
    environment = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3")
    if case[0] == "pytorch-ntm":
        environment["PYTHONPATH"] = str(checkout)
    command = [sys.executable, __file__, "--measure", case[0], str(case[1]), str(model)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
    times: Times = json.loads(output.stdout)
    return times


# Each returns its times in microseconds: "p50 <what>" and "p99 <what>" of a time step of one sequence, and
# "<N> <B>" of a time step and a sequence where B run side by side.


def onnx_runtime(model: pathlib.Path, cores: int) -> Times:
    """``step.onnx`` and ``unrolled.onnx``."""
    times: Times = {}
    if cores == 1:
        session, unrolled = _session(model / "step.onnx"), _session(model / "unrolled.onnx")
        loaded = ntm.load(model)
        chunk, unroll = _chunk(loaded, unrolled, 1, LATENCY_LOCATIONS)
        times |= _latency("U-step chunk", chunk, unroll)
        steps = [x[0] for x in _seen(loaded, 1, LATENCY_LOCATIONS)]
        step = _going_on(steps, _first(loaded, 1, LATENCY_LOCATIONS), _call(session))
        times |= _latency("step", step, 1)
    return times | _chunks(model, "unrolled.onnx", cores)


def load(model: pathlib.Path, cores: int) -> Times:
    """``Model.step`` and ``Model.run`` of what ``ntm.load`` makes, which take what they are given, and check it."""
    return _model(ntm.load(model), cores)


def load_litert(model: pathlib.Path, cores: int) -> Times:
    """The same with ``backend="litert"``."""
    return _model(ntm.load(model, backend="litert"), cores)


def _model(model: "ntm.Model", cores: int) -> Times:
    if cores > 1:
        return {}
    state = _first(model, 1, LATENCY_LOCATIONS)

    def call(inputs: dict[str, Any]) -> dict[str, Any]:
        y, after = model.step(inputs["x"], {name: inputs[name] for name in state})
        return {"y": y} | {f"next_{name}": value for name, value in after.items()}

    step = _going_on([x[0] for x in _seen(model, 1, LATENCY_LOCATIONS)], state, call)
    times = _latency("Model.step", step, 1)
    for n, b in [(LATENCY_LOCATIONS, 1), *BULK]:
        seen, first = _seen(model, b, n)[:, 0], _first(model, b, n)
        run = functools.partial(model.run, seen, first)
        if b == 1:
            times |= _latency("Model.run", run, len(seen))
        else:
            times[f"{n} {b}"] = _throughput([run]) / (len(seen) * b)
    return times


def onnx_runtime_sparse(model: pathlib.Path, cores: int) -> Times:
    """``sparse.onnx``."""
    return _chunks(model, "sparse.onnx", cores)


def onnx_runtime_batched(model: pathlib.Path, cores: int) -> Times:
    """``batched.onnx``."""
    return _chunks(model, "batched.onnx", cores)


def _chunks(model: pathlib.Path, file: str, cores: int) -> Times:
    """A graph as ``ntm.load`` runs it: on several cores, as many batches at a time, each on one thread.

    And no larger than the runtime makes them: of more sequences, several follow each other.
    """
    session, loaded, times = _session(model / file), ntm.load(model), {}
    for n, b in BULK:
        at_once = min(b, loaded.batch_size(n))
        steps, (unroll, *_) = zip(*(_chunk(loaded, session, at_once, n) for _ in range(cores)), strict=True)
        times[f"{n} {b}"] = _throughput(steps) / (unroll * at_once)
    return times


def tensorflow(model: pathlib.Path, cores: int) -> Times:
    """The signature ``step`` of the SavedModel."""
    return _tensorflow(model, model, cores)


def tensorflow_without_content_addressing(model: pathlib.Path, cores: int) -> Times:
    """The same of a SavedModel that leaves out what the graphs of several steps leave out."""
    from bundled import trained  # noqa: PLC0415

    from ntm.export import savedmodel  # noqa: PLC0415
    from ntm.export.source import Source  # noqa: PLC0415
    from ntm.models import addressing  # noqa: PLC0415

    metadata = ntm.load(model).metadata
    if metadata.content_addressing:
        return {}
    run = trained(model)
    # Eq. (7) with g = 0; what leads to it TensorFlow leaves out by itself.
    setattr(addressing, "interpolate", lambda *arguments: arguments[-1])  # noqa: B010
    with tempfile.TemporaryDirectory() as folder:
        source = Source(run, task_of(metadata, None), "without-content-addressing")
        savedmodel.write(source, pathlib.Path(folder))
        return _tensorflow(pathlib.Path(folder), model, cores)


def _tensorflow(folder: pathlib.Path, model: pathlib.Path, cores: int) -> Times:
    import tensorflow as tf  # noqa: PLC0415

    loaded = tf.saved_model.load(str(folder / "savedmodel" / "1"))
    step, network = loaded.signatures["step"], ntm.load(model)

    def call(inputs: dict[str, Any]) -> Any:
        outputs = step(**inputs)
        outputs["y"].numpy()
        return outputs

    def bound(b: int, n: int) -> Step:
        first = {name: tf.constant(value) for name, value in _first(network, b, n).items()}
        return _going_on([tf.constant(x[0]) for x in _seen(network, b, n)], first, call)

    return _times("step", bound, cores, BULK)


def tf_lite(model: pathlib.Path, cores: int) -> Times:
    """``step.tflite`` in ai-edge-litert."""
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415

    network = ntm.load(model)

    def bound(b: int, n: int) -> Step:
        interpreter = Interpreter(str(model / "step.tflite"), num_threads=cores)
        runner = interpreter.get_signature_runner("step")

        def call(inputs: dict[str, Any], _: Any = interpreter) -> Any:  # which must live as long
            return runner(**inputs)

        return _going_on([x[0] for x in _seen(network, b, n)], _first(network, b, n), call)

    return _times("step", bound, cores, BULK)


def pytorch_ntm(model: pathlib.Path, cores: int) -> Times:
    """The step of pytorch-ntm, which has an LSTM of 100 for a controller, without gradients."""
    torch: Any = importlib.import_module("torch")
    network: Any = importlib.import_module("ntm.aio")
    torch.set_num_threads(cores)
    torch.set_grad_enabled(False)
    loaded = ntm.load(model)
    size, (reads, m) = loaded.metadata, loaded.metadata.state["reads"].shape
    writes = size.adds_shape[0]

    def bound(b: int, n: int) -> Step:
        net = network.EncapsulatedNTM(size.input_size, size.output_size, 100, 1, reads, writes, n, m)
        steps = itertools.cycle(enumerate(torch.from_numpy(x[0]) for x in _seen(loaded, b, n)))

        def run() -> None:  # its state it keeps to itself
            i, x = next(steps)
            if i == 0:
                net.init_sequence(b)
            net(x)

        return run

    return _times("step", bound, cores, FEW)


def floor(model: pathlib.Path, _: int) -> Times:
    """What a time step cannot do without."""
    data, size = ntm.load(model).metadata, 1024
    matrix = np.ones((size, size), np.float32)
    microseconds_per_multiply_add = _throughput([lambda: matrix @ matrix]) / size**3
    (reads, m), writes = data.state["reads"].shape, data.adds_shape[0]
    of_a_step = functools.partial(
        multiply_adds,
        input_size=data.input_size,
        output_size=data.output_size,
        memory_vector_size=int(m),
        shifts=int(data.config["shifts"]),
        controller=tuple(data.config["controller_sizes"]),
        read_heads=int(reads),
        write_heads=writes,
        content_addressing=data.content_addressing,
    )
    weights = 4 * of_a_step(0)

    def least(n: int, b: int) -> float:
        state = 4 * (int(m) * n + (int(reads) + writes) * n + int(reads) * int(m))
        touched = np.ones(max((weights + 2 * b * state) // 8, 1), np.float32)
        into = np.empty_like(touched)
        copied = _throughput([lambda: np.copyto(into, touched)])  # reads half of it, and writes half
        return max(b * of_a_step(n) * microseconds_per_multiply_add, copied) / b

    times = {f"{n} {b}": least(n, b) for n, b in BULK}
    return times | {"p50 step": least(LATENCY_LOCATIONS, 1)}


def asked(name: str, model: pathlib.Path, _: int) -> Times:
    """A chunk of ``unrolled.onnx`` at batch 1, and of ``batched.onnx`` in bulk, under one of the OPTIONS."""
    options, loaded = dict(OPTIONS[name]), ntm.load(model)
    bound = _io_bound if options.pop("binding", False) else _chunk
    unrolled, batched = (_session(model / file, **options) for file in ("unrolled.onnx", "batched.onnx"))
    one, unroll = bound(loaded, unrolled, 1, LATENCY_LOCATIONS)
    many, batched_unroll = bound(loaded, batched, MANY, MANY_LOCATIONS)
    return {"one": _percentile(one, 50) / unroll, "many": _throughput([many]) / (batched_unroll * MANY)}


RUNTIMES: dict[str, Callable[[pathlib.Path, int], Times]] = {
    "onnxruntime": onnx_runtime,
    "onnxruntime, sparse": onnx_runtime_sparse,
    "onnxruntime, batched": onnx_runtime_batched,
    "ntm.load": load,
    "ntm.load, litert": load_litert,
    "TensorFlow": tensorflow,
    "TensorFlow without content addressing": tensorflow_without_content_addressing,
    "TF-Lite": tf_lite,
    "pytorch-ntm": pytorch_ntm,
    "floor": floor,
}


def _times(what: str, bound: Callable[[int, int], Step], cores: int, sizes: Iterable[tuple[int, int]]) -> Times:
    times = _latency(what, bound(1, LATENCY_LOCATIONS), 1) if cores == 1 else {}
    return times | {f"{n} {b}": _throughput([bound(b, n)]) / b for n, b in sizes}


def _seen(model: "ntm.Model", b: int, n: int, unroll: int = 1) -> np.ndarray:
    """What a network sees of its task, in chunks of U steps, ``[chunks, U, B, I]``: as long as N locations allow."""
    task = task_of(model.metadata, None)
    sizes: list[Size] = [*_every(task.training_sizes), *task.evaluation_sizes]
    fitting = [size for size in sizes if task.memory_locations(size) <= n] or sizes[:1]
    size = max(fitting, key=task.steps)
    seen = np.asarray(task.batch(np.random.default_rng(0), b, size).x, np.float32)
    chunks = -(-len(seen) // unroll)
    x = np.zeros((chunks * unroll, *seen.shape[1:]), np.float32)
    x[: len(seen)] = seen
    return x.reshape(chunks, unroll, *seen.shape[1:])


def _every(ranges: Mapping[str, range]) -> list[Size]:
    return [dict(zip(ranges, numbers, strict=True)) for numbers in itertools.product(*ranges.values())]


def _first(model: "ntm.Model", b: int, n: int) -> dict[str, Any]:
    """The state before the first step, by name."""
    return model.initial_state(b, n)


def _going_on(seen: Sequence[Any], first: dict[str, Any], call: Callable[[dict[str, Any]], Any]) -> Step:
    """A call that goes on with a sequence, of which each time one more is seen, and begins anew after the last."""
    i, state = 0, first

    def run() -> None:
        nonlocal i, state
        outputs = call({"x": seen[i], **state})
        i = (i + 1) % len(seen)
        state = {name: outputs[f"next_{name}"] for name in first} if i else first

    return run


def _session(
    path: pathlib.Path,
    *,
    denormals: bool = False,
    level: str = "ORT_ENABLE_ALL",
    threads: int = 1,
    parallel: bool = False,
    arena: bool = True,
    pattern: bool = True,
    prepacking: bool = True,
) -> Any:
    """A session with the options of a command, but for those given."""
    import onnxruntime  # noqa: PLC0415

    made = onnxruntime.SessionOptions()
    made.intra_op_num_threads = threads
    made.inter_op_num_threads = 2 if parallel else 1
    modes = onnxruntime.ExecutionMode
    made.execution_mode = modes.ORT_PARALLEL if parallel else modes.ORT_SEQUENTIAL
    made.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    made.enable_cpu_mem_arena, made.enable_mem_pattern = arena, pattern
    made.add_session_config_entry("session.set_denormal_as_zero", "0" if denormals else "1")
    made.add_session_config_entry("session.disable_prepacking", "0" if prepacking else "1")
    return onnxruntime.InferenceSession(path, made, providers=["CPUExecutionProvider"])


def _call(session: Any) -> Callable[[dict[str, Any]], Any]:
    """A graph as a function."""
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, inputs), strict=True))


def _chunk(model: "ntm.Model", session: Any, b: int, n: int) -> tuple[Step, int]:
    """A call of a graph of several steps that goes on with a sequence; and U."""
    unroll = session.get_inputs()[0].shape[0]
    return _going_on(list(_seen(model, b, n, unroll)), _first(model, b, n), _call(session)), unroll


def _io_bound(model: "ntm.Model", session: Any, b: int, n: int) -> tuple[Step, int]:
    """The like with buffers bound once: what is written by one call is read by the next."""
    from onnxruntime import OrtValue  # noqa: PLC0415

    unroll, first = session.get_inputs()[0].shape[0], _first(model, b, n)
    seen = _seen(model, b, n, unroll)
    x = OrtValue.ortvalue_from_numpy(seen[0].copy())
    y = OrtValue.ortvalue_from_numpy(np.zeros((unroll, b, model.metadata.output_size), np.float32))
    buffers = [{name: OrtValue.ortvalue_from_numpy(value.copy()) for name, value in first.items()} for _ in range(2)]
    bindings = []
    for source, target in (buffers, buffers[::-1]):
        binding = session.io_binding()
        binding.bind_ortvalue_input("x", x)
        binding.bind_ortvalue_output("y", y)
        for name in first:
            binding.bind_ortvalue_input(name, source[name])
            binding.bind_ortvalue_output(f"next_{name}", target[name])
        bindings.append(binding)
    i = 0

    def run() -> None:
        nonlocal i
        if i == 0:
            for name, value in first.items():
                buffers[0][name].update_inplace(value)
        x.update_inplace(seen[i])
        session.run_with_iobinding(bindings[i % 2])
        y.numpy()
        i = (i + 1) % len(seen)

    return run, unroll


def _latency(what: str, step: Step, steps: int) -> Times:
    return {f"p{p} {what}": _percentile(step, p) / steps for p in (50, 99)}


def _percentile(step: Step, p: int) -> float:
    """Of the microseconds of a call."""
    for _ in range(20):
        step()
    taken = []
    start = time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        before = time.perf_counter_ns()
        step()
        taken.append(time.perf_counter_ns() - before)
    return float(np.percentile(taken, p)) / 1e3


def _throughput(steps: Sequence[Step]) -> float:
    """The microseconds of a call, where as many are at work at a time as there are ``steps``."""
    for step in steps:
        step()
        step()
    calls = [0] * len(steps)
    start = time.perf_counter()

    def work(i: int) -> None:
        while time.perf_counter() - start < SECONDS:
            steps[i]()
            calls[i] += 1

    with ThreadPoolExecutor(len(steps)) as pool:
        list(pool.map(work, range(len(steps))))
    return 1e6 * (time.perf_counter() - start) / sum(calls)


def _latencies(figures: dict[tuple[str, int], Times]) -> str:
    chunk = figures["onnxruntime", 1]["p50 U-step chunk"]
    rows = [
        f"One sequence, N = {LATENCY_LOCATIONS}, one core: microseconds a time step.\n",
        "| | p50 | p99 | p50 against the chunk |",
        "| --- | ---: | ---: | ---: |",
    ]
    for (name, cores), times in figures.items():
        for key in times:
            if key.startswith("p50 ") and cores == 1:
                what, p50 = key.removeprefix("p50 "), times[key]
                p99 = f"{times[f'p99 {what}']:.1f}" if f"p99 {what}" in times else ""
                rows.append(f"| {name}, {what} | {p50:.1f} | {p99} | {p50 / chunk:.1f}x |")
    return "\n".join(rows)


def _bulk(figures: dict[tuple[str, int], Times]) -> str:
    rows = [
        "Many sequences: microseconds a time step and sequence.\n",
        f"| | cores | {' | '.join(f'N {n:,}, B {b}' for n, b in BULK)} |",
        f"| --- | ---: |{' ---: |' * len(BULK)}",
    ]
    for (name, cores), times in figures.items():
        if name not in OPTIONS:
            cells = [f"{times[f'{n} {b}']:.2f}" if f"{n} {b}" in times else "" for n, b in BULK]
            rows.append(f"| {name} | {cores} | {' | '.join(cells)} |")
    served, compared = figures["ntm.load", 1], figures["TensorFlow", 1]
    ratios = [f"{compared[f'{n} {b}'] / served[f'{n} {b}']:.1f}x" for n, b in BULK]
    rows.append(f"| TensorFlow against ntm.load | 1 | {' | '.join(ratios)} |")
    return "\n".join(rows)


def _options(figures: dict[tuple[str, int], Times]) -> str:
    rows = [
        "How a session is asked to run, two cores: microseconds a time step (and sequence).\n",
        f"| | one sequence, N {LATENCY_LOCATIONS} | {MANY:,} sequences, N {MANY_LOCATIONS} |",
        "| --- | ---: | ---: |",
    ]
    rows += [f"| {name} | {figures[name, 2]['one']:.1f} | {figures[name, 2]['many']:.2f} |" for name in OPTIONS]
    return "\n".join(rows)


if __name__ == "__main__":
    main()
