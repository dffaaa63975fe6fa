"""Teach repeat copy to count to 10, then to 20, and count the wrong sequences by size after each; Markdown.

``--count`` is the option of the task: the network sees the count as a ``number``, as in the paper, or as ``steps``.
Every seed is trained with default options, as by ``ntm-train --task repeat-copy --option count=COUNT``. It is trained
further with ``--from`` that run and ``--size repeats=1-20``. ``--runs`` names a folder with the run folders
``COUNT-10/seed-0``, ``COUNT-20/seed-0`` …; those that it lacks are trained and stay there. The exit code is 1 if a
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
from ntm.tasks.repeat_copy import COUNTS
from ntm.tasks.task import describe
from ntm.training.run import load_run

# Words and repeats.
SIZES = [(10, 10), (20, 10), (30, 10), (10, 11), (10, 12), (10, 15), (10, 20), (20, 20), (10, 24), (10, 30)]


def main() -> int:
    """Train, export and evaluate, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_seeds(parser, "0-2")
    parser.add_argument("--count", default=",".join(COUNTS), help="with commas between (default: %(default)s)")
    parser.add_argument("--runs", type=pathlib.Path, help="a folder with run folders, which need not be trained")
    parser.add_argument("--sequences", type=int, default=1_000, help="of each size (default: %(default)s)")
    arguments = parser.parse_args()
    cases = [Case({"length": words, "repeats": repeats}, 128, arguments.sequences) for words, repeats in SIZES]
    header = ["count", "seed", "to count to", "sequences to converge", "s to finish"]
    rows = [header + [describe(case.size) for case in cases]]
    good = True
    with tempfile.TemporaryDirectory() as temporary:
        for count in arguments.count.split(","):
            for seed in arguments.seeds:
                folder, name = arguments.runs or pathlib.Path(temporary), f"seed-{seed}"
                first, further = folder / f"{count}-10" / name, folder / f"{count}-20" / name
                task = ["--task", "repeat-copy", "--option", f"count={count}"]
                train(first, seed, task)
                train(further, seed, [*task, "--from", str(first), "--size", "repeats=1-20"])
                for run, most in (first, "10"), (further, "20"):
                    summary, model = load_run(run).summary, pathlib.Path(temporary, count, name, most)
                    exported, sequences = export(run, model), summary["sequences_to_converge"]
                    cells = [count, str(seed), most, f"{sequences:,}" if sequences else "never"]
                    cells += [readable(summary["seconds"]), *(_wrong(model, cases) if exported else [""] * len(cases))]
                    rows.append(cells)
                    good &= bool(sequences) and exported
                    print(" ".join(cells), file=sys.stderr, flush=True)
    print(f"Wrong sequences of {arguments.sequences:,}, N = 128:\n\n{text.table(rows, left=1)}")
    return console.OK if good else console.WRONG


def _wrong(folder: pathlib.Path, cases: list[Case]) -> list[str]:
    """The sequences with a wrong bit, of each case."""
    model = ntm.load(folder)
    task, threads = task_of(model.metadata, None), os.cpu_count() or 1
    return [f"{(run_case(model, task, case, threads=threads).wrong_bits > 0).sum():,}" for case in cases]


if __name__ == "__main__":
    sys.exit(main())
