"""Train copy with other options than the default ones, and count wrong bits at 120 and 1,000 words; Markdown.

Every seed is a process of ``ntm-train``, then one of ``ntm-export --format onnx``; the wrong bits are those of the
exported model. ``--runs`` names a folder with the run folders ``OPTION/seed-0`` …; those that it lacks are trained and
stay there. The exit code is 1 if a seed has not converged.
"""

import argparse
import os
import pathlib
import statistics
import sys
import tempfile
from typing import Any

from programs import export, train
from seeds import add_seeds

import ntm
from ntm import console, text
from ntm.runtime.evaluate import Case, readable, run_case, task_of
from ntm.training.run import load_run

SETTINGS: dict[str, list[str]] = {
    "default": [],
    "5 shifts": ["--shifts", "5"],
    "7 shifts": ["--shifts", "7"],
    "2 read heads": ["--read-heads", "2"],
    "2 write heads": ["--write-heads", "2"],
    "2 read and 2 write heads": ["--read-heads", "2", "--write-heads", "2"],
    "1-bit words": ["--option", "bits=1"],
    "16-bit words": ["--option", "bits=16"],
    "31-bit words": ["--option", "bits=31"],
    "1 to 10 words": ["--size", "length=1-10"],
    "1 to 40 words": ["--size", "length=1-40"],
    "1 to 100 words": ["--size", "length=1-100"],
}
CASES = Case({"length": 120}, 128, 200), Case({"length": 1_000}, 1_024, 20)

Row = dict[str, Any]


def main() -> int:
    """Run the settings and the seeds, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_seeds(parser, "0-4")
    parser.add_argument("--settings", help=f"with commas between; by default all: {', '.join(SETTINGS)}")
    parser.add_argument("--runs", type=pathlib.Path, help="a folder with run folders, which need not be trained")
    arguments = parser.parse_args()
    chosen = arguments.settings.split(",") if arguments.settings else list(SETTINGS)
    found: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for setting in chosen:
            found[setting] = []
            for seed in arguments.seeds:
                folder = pathlib.Path(temporary, setting, str(seed))
                run = (arguments.runs or folder) / setting / f"seed-{seed}"
                found[setting].append(_run(SETTINGS[setting], seed, run, folder / "model"))
                print(f"{setting}, seed {seed}: {found[setting][-1]}", file=sys.stderr, flush=True)
    print(text.table(_rows(found), left=1))
    return console.OK if all(row["converged"] for rows in found.values() for row in rows) else console.WRONG


def _run(options: list[str], seed: int, run: pathlib.Path, model: pathlib.Path) -> Row:
    train(run, seed, options)
    exported = export(run, model)
    kept = ("converged", "seconds_to_converge", "sequences_to_converge", "restarts")
    return {name: load_run(run).summary[name] for name in kept} | {"wrong": _wrong_bits(model) if exported else None}


def _wrong_bits(folder: pathlib.Path) -> list[int]:
    """Of all sequences of each case."""
    model = ntm.load(folder)
    task = task_of(model.metadata, None)
    return [int(run_case(model, task, case, threads=os.cpu_count() or 1).wrong_bits.sum()) for case in CASES]


def _rows(found: dict[str, list[Row]]) -> list[list[str]]:
    header = ["setting", "converged", "sequences to converge: median", "worst", "s to converge: median", "restarts"]
    header += [f"no wrong bit at {case.size['length']:,}" for case in CASES]
    rows = [header]
    for setting, seeds in found.items():
        converged = [row for row in seeds if row["converged"]]
        sequences = [row["sequences_to_converge"] for row in converged] or [float("nan")]
        seconds = [row["seconds_to_converge"] for row in converged] or [float("nan")]
        cells = [setting, f"{len(converged)} of {len(seeds)}"]
        cells += [
            readable(statistics.median(sequences)),
            readable(max(sequences)),
            readable(statistics.median(seconds)),
        ]
        cells.append(", ".join(str(row["restarts"]) for row in seeds))
        for i in range(len(CASES)):
            right = sum(row["wrong"] is not None and row["wrong"][i] == 0 for row in seeds)
            cells.append(f"{right} of {len(seeds)}")
        rows.append(cells)
    return rows


if __name__ == "__main__":
    sys.exit(main())
