"""Train converged networks for twice as many batches, and print how far loss and cost climb meanwhile; Markdown.

``--runs`` is a folder that ``tasks.py --runs`` has filled. Each run is copied, and the copy goes on from its end
without early stopping, as a training with ``--no-early-stopping`` would. The climb is the largest rise of the loss, a
mean of 25 batches, above the lowest one before it, after convergence. Beside it stands the highest loss after
convergence, as a multiple of the loss at convergence. The loss is that of all training sequences, also those of the
variant and of practice; so the same two numbers follow for the cost, which is that of the task itself alone. The exit
code is 1 if a loss is NaN, a climb of the loss exceeds 10, or a network fails the last check.
"""

import argparse
import dataclasses
import itertools
import math
import pathlib
import shutil
import sys
import tempfile

from evaluations import EVALUATIONS
from history import climb, costs, highest, losses, reports, since
from programs import resume
from seeds import add_seeds

from ntm import console, text
from ntm.training.run import load_run, save_config

LARGEST_CLIMB = 10.0


def main() -> int:
    """Go on with the runs, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_seeds(parser, "0-2")
    parser.add_argument("--tasks", default=",".join(EVALUATIONS), help="with commas between (default: %(default)s)")
    parser.add_argument("--runs", type=pathlib.Path, required=True, help="a folder with the runs TASK/seed-0 …")
    parser.add_argument("--keep", type=pathlib.Path, help="a folder to keep the longer runs in, or that has them")
    arguments = parser.parse_args()
    rows = [["task", "seed", "sequences to converge", "sequences", "NaN"]]
    for figure in ("loss", "cost"):
        rows[0] += [f"{figure}: climb", f"{figure}: highest / at convergence"]
    rows[0] += ["passes at the end"]
    good = True
    with tempfile.TemporaryDirectory() as temporary:
        for task, seed in itertools.product(arguments.tasks.split(","), arguments.seeds):
            name = pathlib.Path(task, f"seed-{seed}")
            longer = (arguments.keep or pathlib.Path(temporary)) / name
            _train_twice(arguments.runs / name, longer)
            summary = load_run(longer).summary
            lines = reports(longer)
            after = since(lines, summary["sequences_to_converge"])
            rise = climb(losses(after))
            missing = sum(map(math.isnan, losses(lines)))
            cells = [task, seed, summary["sequences_to_converge"] or "never", summary["sequences"], missing]
            rises = rise, highest(losses(after)), climb(costs(after)), highest(costs(after))
            cells += ["" if value is None else f"{value:.1f}x" for value in rises]
            cells.append("yes" if summary["converged"] else "no")
            rows.append([f"{cell:,}" if isinstance(cell, int) else cell for cell in cells])
            good &= bool(summary["converged"]) and not missing and rise is not None and rise <= LARGEST_CLIMB
            print(" ".join(rows[-1]), file=sys.stderr, flush=True)
    print(text.table(rows, left=1))
    return console.OK if good else console.WRONG


def _train_twice(run: pathlib.Path, longer: pathlib.Path) -> None:
    """Copy a run, and train the copy to twice its batches, unless that is done already."""
    trained = load_run(run)
    if not longer.exists():
        part = longer.with_name(f"{longer.name}.part")
        shutil.copytree(run, part, dirs_exist_ok=True)
        training = dataclasses.replace(trained.config.training, early_stopping=False)
        save_config(part, dataclasses.replace(trained.config, training=training))
        part.rename(longer)
    batches = 2 * trained.summary["batches"]
    if load_run(longer).summary["batches"] < batches:
        resume(longer, batches)


if __name__ == "__main__":
    sys.exit(main())
