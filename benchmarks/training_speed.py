"""Time training steps of the copy task, batch 32 and lengths 1 to 20, and print sequences a second; Markdown.

Every line is a process of its own, and the lines are measured in turns, several times over: the median counts, and
the noise of a shared machine affects all lines equally. With ``--pytorch-ntm DIR`` (needs PyTorch and attrs), a
checkout of https://github.com/loudinthecloud/pytorch-ntm, its own training step is measured in the same turns.
The last column relates the multiply-adds that a training step cannot do without to a measured matrix product.
"""

import argparse
import importlib
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import types
from typing import Any

import numpy as np
from operations import multiply_adds
from rates import steps_a_second

BATCH, MAX_LENGTH, SECONDS = 32, 20, 6.0
MEAN_STEPS = 2 * (1 + MAX_LENGTH) / 2 + 1  # of a sequence: its words, the delimiter, its words again
CASES = [("XLA", 32), ("XLA", 128), ("no XLA", 32), ("no XLA", 128)]


def main() -> None:
    """Measure in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pytorch-ntm", type=pathlib.Path, help="a checkout to measure against")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        how, locations = arguments.measure
        print(json.dumps(measure(how, int(locations))))
        return

    cases = [*CASES, *([("pytorch-ntm", 128)] if arguments.pytorch_ntm else []), ("peak", 0)]
    rates: dict[tuple[str, int], list[float]] = {case: [] for case in cases}
    for _ in range(arguments.rounds):
        for case in cases:
            rates[case].append(_measure(case, arguments.pytorch_ntm))
    median = {case: statistics.median(values) for case, values in rates.items()}
    peak_rate = median.pop(("peak", 0))
    base = median.get(("pytorch-ntm", 128))
    print(
        f"{platform.machine()}, {os.cpu_count()} cores; a matrix product does {peak_rate / 1e9:.0f} G multiply-adds/s\n"
    )
    print("| | N | sequences/s | against pytorch-ntm, N = 128 | of the matrix product's rate |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for (how, locations), rate in median.items():
        # Forward, and twice as much again: the errors of the inputs and those of the weights.
        work = 3 * multiply_adds(locations) * MEAN_STEPS * rate / peak_rate
        ratio = f"{rate / base:.1f}x" if base else ""
        print(f"| {how} | {locations} | {rate:,.0f} | {ratio} | {'' if how == 'pytorch-ntm' else f'{work:.1%}'} |")


def _measure(case: tuple[str, int], checkout: pathlib.Path | None) -> float:
    how, locations = case
    environment = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3")
    if how == "pytorch-ntm":
        environment["PYTHONPATH"] = str(checkout)
    command = [sys.executable, __file__, "--measure", how, str(locations)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout)


def measure(how: str, locations: int) -> float:
    """A line of the table."""
    if how == "pytorch-ntm":
        return pytorch_ntm(locations)
    return peak() if how == "peak" else ours(locations, xla=how == "XLA")


def ours(locations: int, *, xla: bool) -> float:
    """Sequences a second of the step that ``ntm-train`` takes."""
    from ntm import console  # noqa: PLC0415  (of pytorch-ntm, ``ntm`` is another package)

    console.import_tensorflow()
    from ntm.tasks import Copy  # noqa: PLC0415
    from ntm.training.recipes import configure  # noqa: PLC0415
    from ntm.training.trainer import Trainer  # noqa: PLC0415

    task, options = Copy(), {"memory_locations": locations, "batch_size": BATCH, "xla": xla}
    return BATCH * steps_a_second(Trainer(*configure(task, options=options), task).train, SECONDS)


def pytorch_ntm(locations: int) -> float:
    """Sequences a second of the training step of pytorch-ntm, on its own data and network (an LSTM of 100)."""
    sys.modules["argcomplete"] = types.ModuleType("argcomplete")  # only its command line needs it
    attr: Any = importlib.import_module("attr")
    attrib = attr.attrib  # whose argument `converter` was called `convert` when pytorch-ntm was written
    attr.attrib = lambda convert=None, **others: attrib(converter=convert, **others)
    train, task = importlib.import_module("train"), importlib.import_module("tasks.copytask")
    # Of its tiny operations, more threads make none faster.
    importlib.import_module("torch").set_num_threads(1)
    model = task.CopyTaskModelTraining(params=task.CopyTaskParams(batch_size=BATCH, memory_n=locations))

    def step() -> None:
        _, x, y = next(model.dataloader)
        train.train_batch(model.net, model.criterion, model.optimizer, x, y)

    return BATCH * steps_a_second(step, SECONDS)


def peak() -> float:
    """Multiply-adds a second of a float32 matrix product on all cores."""
    size = 1024
    matrix = np.ones((size, size), np.float32)
    return steps_a_second(lambda: matrix @ matrix, SECONDS) * size**3


if __name__ == "__main__":
    main()
