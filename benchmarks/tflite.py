"""Quantise the TF-Lite step in every way, and print its size, its speed and its wrong bits by size; Markdown.

Every graph runs from its own states on random sequences of its task; the wrong bits are those beyond TensorFlow's. The
runs have one built-in task. Without RUN, networks are trained first on copy, one for each seed. The exit code is 1 if
the quantised graph of ``ntm-export`` outputs more wrong bits than TensorFlow.
"""

import argparse
import pathlib
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version

import numpy as np
import tensorflow as tf
from seeds import add_seeds

from ntm.export import parity, tflite
from ntm.models import Network
from ntm.tasks import Copy, Size, Task
from ntm.tasks.catalogue import recorded
from ntm.tasks.task import corners, describe
from ntm.training.run import TrainedRun, load_run

LENGTHS = (1, 20, 120, 500, 1000)
KINDS = {"float32": tf.float32, "float16": tf.float16, "dynamic range (8 bits)": tf.int8}
PUBLISHED = "dynamic range (8 bits)"


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=pathlib.Path, metavar="RUN", help="runs of ntm-train")
    add_seeds(parser, "0-3")
    arguments = parser.parse_args()
    print(
        f"{platform.processor() or platform.machine()}, TensorFlow {version('tensorflow')}, ai-edge-litert "
        f"{version('ai-edge-litert')}; a step of B = 1 and N as trained, {parity.SEQUENCES} sequences of each size\n"
    )
    with tempfile.TemporaryDirectory() as temporary:
        runs = arguments.runs or _train(pathlib.Path(temporary), arguments.seeds)
        header = ["run", "weights", "KB", "µs a step"]
        header += [f"wrong bits at {describe(size)}" for size in _sizes(*_load(runs[0]))]
        print(f"| {' | '.join(header)} |\n| --- | --- |{' ---: |' * (len(header) - 2)}")
        bad = [run for run in runs if not _print_run(run)]
    return 1 if bad else 0


def _train(folder: pathlib.Path, seeds: range) -> list[pathlib.Path]:
    runs = [folder / f"seed-{seed}" for seed in seeds]
    program = pathlib.Path(sys.executable).with_name("ntm-train")
    for run in runs:
        seed = run.name.removeprefix("seed-")
        subprocess.run([program, "--seed", seed, "--quiet", "--output", run], check=True)
    return runs


def _load(run: pathlib.Path) -> tuple[TrainedRun, Task]:
    trained = load_run(run)
    return trained, recorded(trained.config.task, trained.config.task_options)


def _sizes(run: TrainedRun, task: Task) -> list[Size]:
    """Of copy the LENGTHS; of another task the smallest size of the training, and those of evaluation."""
    if isinstance(task, Copy):
        return [{"length": length} for length in LENGTHS]
    return [corners(run.config.training.ranges)[0], *task.evaluation_sizes]


def _print_run(run: pathlib.Path) -> bool:
    trained, task = _load(run)
    network, good = trained.network, True
    for kind, weights in KINDS.items():
        content = tflite.convert(network, weights)
        step = tflite.step(content)
        wrong = parity.count_wrong_bits(network, task, step, _sizes(trained, task))
        good &= kind != PUBLISHED or not any(wrong.values())
        numbers = (f"{len(content) / 1e3:.0f}", f"{1e6 * _seconds_a_step(network, step):.0f}", *wrong.values())
        print(f"| {run.name} | {kind} | {' | '.join(map(str, numbers))} |", flush=True)
    return good


def _seconds_a_step(network: Network, step: parity.Graph) -> float:
    state = {name: value.numpy() for name, value in network.initial_state(1).items()}
    inputs = {"x": np.zeros([1, network.config.input_size], np.float32), **state}
    times = []
    for _ in range(2000):
        start = time.perf_counter()
        step(inputs)
        times.append(time.perf_counter() - start)
    return min(times)


if __name__ == "__main__":
    sys.exit(main())
