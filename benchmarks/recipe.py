"""Train many seeds with one choice of the recipe changed at a time, and print the results; Markdown.

Every choice is a process of its own. A seed counts as converged when it passes the check of ``ntm-train`` within
``--max-batches``. With ``--finish`` each seed is also trained to its end: whether the result passes the last check, by
how much the loss climbs after convergence (of 25 batches, as in the history of ``ntm-train``, over the lowest before),
and whether no bit is wrong at the sizes of evaluation that are larger than all of the training.
"""

import argparse
import functools
import importlib
import json
import os
import statistics
import subprocess
import sys
from typing import Any

import numpy as np
from seeds import add_seeds, as_option

from ntm import console
from ntm.runtime.evaluate import LEAST_LOCATIONS
from ntm.tasks import Size, Task, find, metrics
from ntm.tasks.task import describe, draw

SEQUENCES = 16  # of a size
# name: (fields of NTMConfig and TrainingConfig, constants) that differ from the recipe. A constant is "module:name" or
# "module:Class.name".
CHOICES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "the recipe": ({}, {}),
    "learning rate 5e-4": ({"learning_rate": 5e-4}, {}),
    "learning rate 1e-3": ({"learning_rate": 1e-3}, {}),
    "learning rate 2e-3": ({"learning_rate": 2e-3}, {}),
    "learning rate 3e-3": ({"learning_rate": 3e-3}, {}),
    "a constant learning rate before annealing": ({"halving_batches": 0}, {}),
    "a learning rate that falls before annealing": ({"halving_batches": 1_000}, {}),
    "batch 4": ({"batch_size": 4}, {}),
    "batch 8": ({"batch_size": 8}, {}),
    "batch 16": ({"batch_size": 16}, {}),
    "batch 16, learning rate 3e-3": ({"batch_size": 16, "learning_rate": 3e-3}, {}),
    "clip 10": ({"clip_norm": 10.0}, {}),
    "N = 32": ({"memory_locations": 32}, {}),
    "N = 64": ({"memory_locations": 64}, {}),
    "no further N": ({"train_locations": (), "annealing_locations": ()}, {}),
    "N = 128 too": ({"train_locations": (128,)}, {}),
    "N = 128 too while annealing": ({"annealing_locations": (128,)}, {}),
    "M = 16": ({"memory_vector_size": 16}, {}),
    "one hidden layer of 100": ({"controller_sizes": (100,)}, {}),
    "two hidden layers of 100": ({"controller_sizes": (100, 100)}, {}),
    "three hidden layers of 64": ({"controller_sizes": (64, 64, 64)}, {}),
    "four read heads": ({"read_heads": 4}, {}),
    "learned initial read vectors": ({"initial_reads": "learned"}, {}),
    "learned initial weightings": ({"initial_weights": "learned"}, {}),
    "learned initial memory": ({"initial_memory": "learned"}, {}),
    "random initial memory": ({"initial_memory": "random"}, {}),
    "uniform initial weightings": ({"initial_weights": "uniform"}, {}),
    "all three learned": (
        {"initial_reads": "learned", "initial_weights": "learned", "initial_memory": "learned"},
        {},
    ),
    "LSTM controller": ({"controller": "lstm"}, {}),
    "bias of g 0": ({"gate_bias": 0.0}, {}),
    "bias of g -1": ({"gate_bias": -1.0}, {}),
    "bias of g -2": ({"gate_bias": -2.0}, {}),
    "bias of g -3": ({"gate_bias": -3.0}, {}),
    "bias of the forward shift 0": ({"shift_bias": 0.0}, {}),
    "bias of the forward shift 2": ({"shift_bias": 2.0}, {}),
    "Adam's beta_2 0.999": ({}, {"ntm.training.optimizer:Adam._BETA_2": 0.999}),
    "no clip by the usual norm": ({"clip_outlier": 0.0}, {}),
    "epsilon of the norm 1e-8": ({}, {"ntm.models.addressing:NORM_EPSILON": 1e-8}),
    "no sequences of the variant": ({"variant_every": 0}, {}),
    "no writing penalty": ({"writing_penalty": 0.0}, {}),
    "writing penalty 0.1": ({"writing_penalty": 0.1}, {}),
    "writing penalty 0.3": ({"writing_penalty": 0.3}, {}),
    "no content penalty": ({"content_penalty": 0.0}, {}),
    "content penalty 0.005": ({"content_penalty": 0.005}, {}),
    "no blur penalty": ({"blur_penalty": 0.0}, {}),
    "blur penalty 0.02": ({"blur_penalty": 0.02}, {}),
    "no annealing": ({"annealing_batches": 0}, {}),
    "a constant learning rate while annealing": ({"annealing_halving_batches": 1_000_000_000}, {}),
    "content addressing kept": ({"turn_content_off": False}, {}),
    "no restart because of content addressing": ({"content_restarts": 0}, {}),
    "restart after 450 batches": ({"restart_batches": 450}, {}),
    "restart after 1,100 batches": ({"restart_batches": 1_100}, {}),
}


def main() -> None:
    """Try every choice that is asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("choices", nargs="*", default=list(CHOICES), help=f"of: {'; '.join(CHOICES)} (default: all)")
    parser.add_argument("--task", default="copy", help="what to learn, as for ntm-train (default: %(default)s)")
    add_seeds(parser, "0-19")
    parser.add_argument("--max-batches", type=int, default=10_000, help="of a seed (default: %(default)s)")
    parser.add_argument("--finish", action="store_true", help="train to the end")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    unknown = [name for name in arguments.choices if name not in CHOICES]
    if unknown:
        parser.error(f"there is no choice {', '.join(unknown)}")
    task = find(arguments.task)
    if arguments.measure:
        measure(arguments.measure, task, arguments.seeds, arguments.max_batches, finish=arguments.finish)
        return

    columns = ["converged", "without a restart", "sequences to converge: median", "worst", "CPU ms/batch"]
    if arguments.finish:
        columns += ["passed the last check", "climbs over 10x", "worst climb"]
        columns += [f"perfect at {describe(size)}" for size in larger_sizes(task)]
    print(f"| choice | {' | '.join(columns)} |\n| --- |{' ---: |' * len(columns)}")
    for name in arguments.choices:
        command = [sys.executable, __file__, "--measure", name, "--task", arguments.task]
        command += ["--seeds", as_option(arguments.seeds), "--max-batches", str(arguments.max_batches)]
        command += ["--finish"] if arguments.finish else []
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        rows = [json.loads(line) for line in output.splitlines()]
        cells = _summary(rows, larger_sizes(task) if arguments.finish else None)
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def larger_sizes(task: Task) -> list[Size]:
    """The sizes of evaluation at which a number is larger than in training."""
    ranges = task.training_sizes
    return [size for size in task.evaluation_sizes if any(size[name] > max(ranges[name]) for name in ranges)]


def _summary(rows: list[dict[str, Any]], sizes: list[Size] | None) -> list[str]:
    """The cells of a choice; those of ``--finish`` only where the sizes are given."""
    seen = [row["sequences"] for row in rows]  # infinite where a seed has not converged
    cells = [
        f"{sum(value < float('inf') for value in seen)} of {len(rows)}",
        str(sum(value < float("inf") and not row["restarts"] for value, row in zip(seen, rows, strict=True))),
        f"{statistics.median(seen):,.0f}",
        f"{max(seen):,.0f}",
        f"{statistics.median(row['milliseconds'] for row in rows):.1f}",
    ]
    if sizes is not None:
        done = [row for row in rows if "climb" in row]
        cells += [
            f"{sum(row['passed'] for row in done)} of {len(rows)}",
            str(sum(row["climb"] > 10 for row in done)),
            f"{max(row['climb'] for row in done):,.0f}x" if done else "",
            *(f"{sum(row['wrong_bits'][describe(size)] == 0 for row in done)} of {len(rows)}" for size in sizes),
        ]
    return cells


def measure(name: str, task: Task, seeds: range, max_batches: int, *, finish: bool) -> None:
    """Train the seeds with one choice; print a line of JSON for each."""
    console.import_tensorflow()
    options, constants = CHOICES[name]
    for place, value in constants.items():
        module, _, constant = place.partition(":")
        *classes, last = constant.split(".")
        setattr(functools.reduce(getattr, classes, importlib.import_module(module)), last, value)
    for seed in seeds:
        row = _train(task, {**options, "seed": seed, "max_batches": max_batches}, finish=finish)
        print(json.dumps(row), flush=True)


def _train(task: Task, options: dict[str, Any], *, finish: bool) -> dict[str, Any]:
    from ntm.training.recipes import configure  # noqa: PLC0415  (as the next one: it imports TensorFlow)
    from ntm.training.trainer import Trainer  # noqa: PLC0415

    trainer = Trainer(*configure(task, options=options), task)
    trainer.train()  # compiles
    start, restarts, sequences, climb = os.times(), 0, float("inf"), 1.0
    losses: list[float] = []
    lowest = float("inf")
    while not trainer.schedule.annealed and trainer.progress.batches < trainer.config.max_batches:
        losses.append(trainer.train().loss)
        if trainer.progress.restarts > restarts:
            restarts, sequences, lowest, climb = trainer.progress.restarts, float("inf"), float("inf"), 1.0
        if trainer.schedule.annealing and sequences == float("inf"):
            sequences = trainer.sequences
            if not finish:
                break
        if trainer.progress.batches % 25 == 0:
            if sequences < float("inf"):
                lowest = min(lowest, statistics.fmean(losses))
                climb = max(climb, statistics.fmean(losses) / lowest)
            losses.clear()
    row: dict[str, Any] = {"seed": trainer.config.seed, "sequences": sequences, "restarts": restarts}
    row["milliseconds"] = 1e3 * (os.times().user - start.user) / trainer.progress.batches
    if finish and trainer.schedule.annealed:
        passed = trainer.conclude().passed  # which may turn content addressing off
        wrong = {describe(size): wrong_bits(trainer.result(), task, size) for size in larger_sizes(task)}
        row |= {"climb": climb, "passed": passed, "wrong_bits": wrong}
    return row


def wrong_bits(network: Any, task: Task, size: Size) -> int:
    """Of a network, over random sequences of a size, which may be larger than any of the training."""
    import tensorflow as tf  # noqa: PLC0415

    batch = draw(task, np.random.default_rng(0), SEQUENCES, size)
    state = network.initial_state(SEQUENCES, max(LEAST_LOCATIONS, task.memory_locations(size)))
    step, logits = tf.function(network.__call__, autograph=False), []
    for x in batch.x:
        y, state = step(tf.constant(x), state)
        logits.append(y.numpy())
    return int(metrics.wrong_bits(batch, (np.stack(logits) > 0.0).astype(np.float32)).sum())


if __name__ == "__main__":
    main()
