"""Teach converged networks of repeat copy to count to 20, and count the wrong sequences by size; Markdown.

``--runs`` is a folder that ``tasks.py --tasks repeat-copy --runs`` has filled, with networks that count to 10. Each of
them is trained further on 1 to 20 repeats, with ``ntm-train --from RUN --size repeats=1-20``, and exported. ``--keep``
names a folder for the new runs ``seed-0``, ``seed-1`` …; those that it lacks are trained. The exit code is 1 if a
network has not converged or was not exported.
"""

import argparse
import os
import pathlib
import sys
import tempfile

from programs import export, train
from seeds import add_seeds

import ntm
from ntm import console, text
from ntm.runtime.evaluate import Case, readable, run_case, task_of
from ntm.tasks.task import describe
from ntm.training.run import load_run

TASK = "repeat-copy"
SIZES = [(10, 10), (20, 10), (10, 15), (10, 20), (20, 20), (10, 24), (10, 30)]  # words and repeats


def main() -> int:
    """Train, export and evaluate, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_seeds(parser, "0-2")
    parser.add_argument("--runs", type=pathlib.Path, required=True, help="a folder with the runs repeat-copy/seed-0 …")
    parser.add_argument("--keep", type=pathlib.Path, help="a folder for the new runs")
    parser.add_argument("--sequences", type=int, default=1_000, help="of each size (default: %(default)s)")
    arguments = parser.parse_args()
    cases = [Case({"length": words, "repeats": repeats}, 128, arguments.sequences) for words, repeats in SIZES]
    rows = [["seed", "converged", "further sequences", "s", *(describe(case.size) for case in cases)]]
    good = True
    with tempfile.TemporaryDirectory() as temporary:
        for seed in arguments.seeds:
            name = f"seed-{seed}"
            run, model = (arguments.keep or pathlib.Path(temporary, "runs")) / name, pathlib.Path(temporary, name)
            begin = ["--from", str(arguments.runs / TASK / name)]
            train(run, seed, ["--task", TASK, *begin, "--size", "repeats=1-20"])
            summary, exported = load_run(run).summary, export(run, model)
            cells = ["yes" if summary["converged"] else "no"]
            cells += [f"{summary['sequences_to_converge'] or summary['sequences']:,}", readable(summary["seconds"])]
            rows.append([str(seed), *cells, *(_wrong(model, cases) if exported else [""] * len(cases))])
            good &= bool(summary["converged"]) and exported
            print(" ".join(rows[-1]), file=sys.stderr, flush=True)
    print(f"Wrong sequences of {arguments.sequences:,}, N = 128:\n\n{text.table(rows)}")
    return console.OK if good else console.WRONG


def _wrong(folder: pathlib.Path, cases: list[Case]) -> list[str]:
    """The sequences with a wrong bit, of each case."""
    model = ntm.load(folder)
    task, threads = task_of(model.metadata, None), os.cpu_count() or 1
    return [f"{(run_case(model, task, case, threads=threads).wrong_bits > 0).sum():,}" for case in cases]


if __name__ == "__main__":
    sys.exit(main())
