"""Train many seeds with one choice of the recipe changed at a time, and print what became of them; Markdown.

Every choice is a process of its own. A seed counts as converged when it passes the check of ``ntm-train`` within
10,000 batches. With ``--finish`` each seed is also trained to its end: the check of the result, by how much the loss
climbs after convergence (of 25 batches, as in the history of ``ntm-train``, over the lowest before), and wrong bits at
lengths 120 and 1,000, which no training has seen.
"""

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
from typing import Any

from seeds import add_seeds, as_option

MAX_BATCHES = 10_000
SEQUENCES = 16  # a length
# name: (changes of NTMConfig, changes of TrainingConfig, changes of constants "module:name")
CHOICES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "the recipe": ({}, {}, {}),
    "learning rate 1e-3": ({}, {"learning_rate": 1e-3}, {}),
    "learning rate 3e-3": ({}, {"learning_rate": 3e-3}, {}),
    "batch 4": ({}, {"batch_size": 4}, {}),
    "batch 16": ({}, {"batch_size": 16}, {}),
    "batch 16, learning rate 3e-3": ({}, {"batch_size": 16, "learning_rate": 3e-3}, {}),
    "clip 10": ({}, {"clip_norm": 10.0}, {}),
    "N = 32": ({"memory_locations": 32}, {}, {}),
    "M = 16": ({"memory_vector_size": 16}, {}, {}),
    "one hidden layer of 100": ({"controller_sizes": (100,)}, {}, {}),
    "two hidden layers of 100": ({"controller_sizes": (100, 100)}, {}, {}),
    "three hidden layers of 64": ({"controller_sizes": (64, 64, 64)}, {}, {}),
    "learned initial read vectors": ({"learn_r_bias": True}, {}, {}),
    "learned initial weightings": ({"learn_w_bias": True}, {}, {}),
    "learned initial memory": ({"learn_m_bias": True}, {}, {}),
    "all three learned": ({"learn_r_bias": True, "learn_w_bias": True, "learn_m_bias": True}, {}, {}),
    "mixed lengths in a batch": ({}, {}, {"ntm.training.trainer:one_length": "mixed_lengths"}),
    "bias of g 0": ({}, {}, {"ntm.models.cell:_GATE_BIAS": 0.0}),
    "bias of g -1": ({}, {}, {"ntm.models.cell:_GATE_BIAS": -1.0}),
    "bias of g -3": ({}, {}, {"ntm.models.cell:_GATE_BIAS": -3.0}),
    "bias of the forward shift 0": ({}, {}, {"ntm.models.cell:_FORWARD_BIAS": 0.0}),
    "bias of the forward shift 2": ({}, {}, {"ntm.models.cell:_FORWARD_BIAS": 2.0}),
    "Adam's beta_2 0.999": ({}, {}, {"ntm.training.optimizer:_BETA_2": 0.999}),
    "no clip by the usual norm": ({}, {}, {"ntm.training.optimizer:_OUTLIER": 1e9}),
    "epsilon of the norm 1e-8": ({}, {}, {"ntm.models.addressing:NORM_EPSILON": 1e-8}),
    "no sparse sequences": ({}, {"sparse_every": 0}, {}),
    "no writing penalty": ({}, {"writing_penalty": 0.0}, {}),
    "writing penalty 0.3": ({}, {"writing_penalty": 0.3}, {}),
    "no searching penalty": ({}, {"searching_penalty": 0.0}, {}),
    "searching penalty 0.005": ({}, {"searching_penalty": 0.005}, {}),
    "no blur penalty": ({}, {"blur_penalty": 0.0}, {}),
    "no sharpening": ({}, {"sharpening_batches": 0}, {}),
    "a constant learning rate while sharpening": ({}, {}, {"ntm.training.trainer:_HALVING_BATCHES": 1e9}),
    "gates left open": ({}, {"shut_gates": False}, {}),
    "who searches is kept": ({}, {}, {"ntm.training.trainer:_TRIES_WITHOUT_SEARCHING": 0}),
    "a bad start is given up later": ({}, {}, {"ntm.training.trainer:_BEGINNING_BATCHES": 1_100}),
}


def main() -> None:
    """Try every choice that is asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("choices", nargs="*", default=list(CHOICES), help=f"of: {'; '.join(CHOICES)} (default: all)")
    add_seeds(parser, "0-19")
    parser.add_argument("--finish", action="store_true", help="train to the end")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure, arguments.seeds, finish=arguments.finish)
        return

    columns = ["converged", "in the first try", "sequences to converge: median", "worst", "CPU ms/batch"]
    if arguments.finish:
        columns += ["passed the last check", "climbs over 10x", "worst climb", "perfect at 120", "perfect at 1,000"]
    print(f"| choice | {' | '.join(columns)} |\n| --- |{' ---: |' * len(columns)}")
    for name in arguments.choices:
        command = [sys.executable, __file__, "--measure", name, "--seeds", as_option(arguments.seeds)]
        command += ["--finish"] if arguments.finish else []
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        rows = [json.loads(line) for line in output.splitlines()]
        print(f"| {name} | {' | '.join(_summary(rows, finish=arguments.finish))} |", flush=True)


def _summary(rows: list[dict[str, Any]], *, finish: bool) -> list[str]:
    seen = [row["sequences"] for row in rows]  # infinite where a seed has not converged
    cells = [
        f"{sum(value < float('inf') for value in seen)} of {len(rows)}",
        str(sum(value < float("inf") and row["tries"] == 1 for value, row in zip(seen, rows, strict=True))),
        f"{statistics.median(seen):,.0f}",
        f"{max(seen):,.0f}",
        f"{statistics.median(row['milliseconds'] for row in rows):.1f}",
    ]
    if finish:
        done = [row for row in rows if "climb" in row]
        cells += [
            f"{sum(row['last_check'] == 0 for row in done)} of {len(rows)}",
            str(sum(row["climb"] > 10 for row in done)),
            f"{max(row['climb'] for row in done):,.0f}x",
            *(f"{sum(row[f'wrong_{length}'] == 0 for row in done)} of {len(rows)}" for length in (120, 1000)),
        ]
    return cells


def measure(name: str, seeds: range, *, finish: bool) -> None:
    """Train the seeds with one choice; print a line of JSON for each."""
    from ntm.training.command import set_up_tensorflow  # noqa: PLC0415  (it must come before TensorFlow)

    set_up_tensorflow()
    network, training, constants = CHOICES[name]
    for place, value in constants.items():
        module_name, _, constant = place.partition(":")
        module = importlib.import_module(module_name)
        setattr(module, constant, getattr(module, value) if isinstance(value, str) else value)
    for seed in seeds:
        print(json.dumps(_train(network, training, seed, finish=finish)), flush=True)


def _train(network: dict[str, Any], training: dict[str, Any], seed: int, *, finish: bool) -> dict[str, Any]:
    from ntm.models import NTMConfig  # noqa: PLC0415
    from ntm.training.config import TrainingConfig  # noqa: PLC0415
    from ntm.training.trainer import Trainer  # noqa: PLC0415

    trainer = Trainer(NTMConfig(**{"memory_locations": 22} | network), TrainingConfig(seed=seed, **training))
    trainer.train()  # compiles
    start, tries, sequences, climb = os.times(), 1, float("inf"), 1.0
    losses: list[float] = []
    lowest = float("inf")
    while not trainer.sharpened and trainer.progress.batches < MAX_BATCHES:
        losses.append(trainer.train().loss)
        if trainer.progress.tries > tries:
            tries, sequences, lowest, climb = trainer.progress.tries, float("inf"), float("inf"), 1.0
        if trainer.sharpening and sequences == float("inf"):
            sequences = trainer.sequences
            if not finish:
                break
        if trainer.progress.batches % 25 == 0:
            if sequences < float("inf"):
                lowest = min(lowest, statistics.fmean(losses))
                climb = max(climb, statistics.fmean(losses) / lowest)
            losses.clear()
    row = {"seed": seed, "sequences": sequences, "tries": tries, "batches": trainer.progress.batches}
    row["milliseconds"] = 1e3 * (os.times().user - start.user) / trainer.progress.batches
    if finish and trainer.sharpened:
        last_check = trainer.conclude().wrong_bits  # which may shut the gates
        wrong = {f"wrong_{length}": wrong_bits(trainer.result(), length, n) for length, n in ((120, 128), (1000, 1024))}
        row |= {"climb": climb, "last_check": last_check, **wrong}
    return row


def wrong_bits(cell: Any, length: int, locations: int) -> int:
    """Over random sequences of one length, which may be longer than any the network has seen."""
    import tensorflow as tf  # noqa: PLC0415

    width = cell.config.word_bits
    random = tf.random.stateless_uniform([length, SEQUENCES, width], [2014, length], 0, 2, tf.int32)
    words = tf.cast(random, tf.float32)  # [L, B, W]
    delimiter = tf.one_hot(tf.fill([1, SEQUENCES], width), width + 1)
    x = tf.concat([tf.pad(words, [[0, 0], [0, 0], [0, 1]]), delimiter], axis=0)  # [L+1, B, W+1]
    nothing = tf.zeros([SEQUENCES, width + 1])

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def count() -> tf.Tensor:
        def see(t: tf.Tensor, state: Any) -> tuple[tf.Tensor, Any]:
            return t + 1, cell(x[t], state)[1]

        def say(t: tf.Tensor, state: Any, wrong: tf.Tensor) -> tuple[tf.Tensor, Any, tf.Tensor]:
            y, state = cell(nothing, state)
            return t + 1, state, wrong + tf.math.count_nonzero((y > 0.0) != (words[t] > 0.5))

        _, state = tf.while_loop(lambda t, _: t <= length, see, (0, cell.initial_state(SEQUENCES, locations)))
        return tf.while_loop(lambda t, *_: t < length, say, (0, state, tf.constant(0, tf.int64)))[2]

    return int(count())


if __name__ == "__main__":
    main()
