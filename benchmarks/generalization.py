"""Count the wrong bits of many seeds on sequences up to 500 times longer than any they were trained on; Markdown.

Every seed is trained by ``ntm-train``, exported by ``ntm-export --format onnx`` and served by the runtime, as a user
would. Nothing that is learned depends on the memory's size, which is chosen when a model is loaded. ``--runs`` names a
folder with the runs ``seed-0``, ``seed-1`` …, e.g. of ``convergence.py --keep``; those that it lacks are trained and
stay there.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

from seeds import add_seeds

import ntm
from ntm import console, text
from ntm.runtime.evaluate import Case, Score, evaluate, readable

CASES = (
    *(Case(length, 128, 1_000) for length in (10, 20, 30, 40, 50, 80, 120)),
    Case(1_000, 1_024, 100),
    Case(10_000, 10_240, 3),
)
# The checkpoint that the original repository publishes, wrong bits per sequence over 32 random ones, N = 128.
ORIGINAL = {20: 0.0, 30: 0.0, 40: 5.1, 50: 24.8, 80: 317.0, 120: 478.0}


def main() -> None:
    """Run the seeds and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_seeds(parser, "0-9")
    parser.add_argument("--runs", type=pathlib.Path, help="a folder with run folders, which need not be trained")
    parser.add_argument("--share", type=float, default=1.0, help="of the sequences, for a quick look (default: all)")
    parser.add_argument("--json", action="store_true", help="print all figures as JSON instead")
    parser.add_argument("options", nargs="*", help="further options of ntm-train, after --")
    arguments = parser.parse_args()
    cases = [case._replace(sequences=max(1, round(case.sequences * arguments.share))) for case in CASES]

    with tempfile.TemporaryDirectory() as temporary:
        scores = {}
        for seed in arguments.seeds:
            run = (arguments.runs or pathlib.Path(temporary)) / f"seed-{seed}"
            model = pathlib.Path(temporary, f"model-{seed}")
            _make(run, model, seed, arguments.options)
            network = ntm.load(model)
            scores[seed] = [evaluate(network, case, threads=os.cpu_count() or 1) for case in cases]
            print(f"seed {seed}: {', '.join(map(_wrong, scores[seed]))} wrong bits", file=sys.stderr)
    if arguments.json:
        print(json.dumps({seed: [score.as_dict() for score in row] for seed, row in scores.items()}))
    else:
        print(f"`{' '.join(['ntm-train', *arguments.options])}`, wrong bits per sequence\n")
        print(_table_of_seeds(cases, scores) + "\n")
        print(_table_of_lengths(cases, scores))


def _make(run: pathlib.Path, model: pathlib.Path, seed: int, options: list[str]) -> None:
    """Train, unless that is done, and export."""
    programs = pathlib.Path(sys.executable).parent
    if not run.exists():
        run.parent.mkdir(parents=True, exist_ok=True)
        command = [str(programs / "ntm-train"), "--seed", str(seed), "--output", str(run), "--quiet", *options]
        if subprocess.run(command, check=False).returncode not in (console.OK, console.WRONG):
            raise SystemExit(f"seed {seed} was not trained")
    command = [str(programs / "ntm-export"), "--format", "onnx", str(run), "--output", str(model), "--quiet"]
    if subprocess.run(command, check=False).returncode:
        raise SystemExit(f"seed {seed} was not exported")


def _wrong(score: Score) -> str:
    return readable(float(score.wrong_bits.mean()))


def _table_of_seeds(cases: list[Case], scores: dict[int, list[Score]]) -> str:
    """Wrong bits per sequence, a row for each seed."""
    header = ["seed", *(f"L = {case.length:,}" for case in cases)]
    return text.table([header, *([str(seed), *map(_wrong, row)] for seed, row in scores.items())])


def _table_of_lengths(cases: list[Case], scores: dict[int, list[Score]]) -> str:
    """Wrong bits per sequence over the seeds, a row for each length."""
    rows = [
        ["length", "memory locations", "sequences", "median", "worst seed", "seeds without a wrong bit", "original"]
    ]
    for case, column in zip(cases, zip(*scores.values(), strict=True), strict=True):
        wrong = [float(score.wrong_bits.mean()) for score in column]
        sizes = map(readable, (case.length, case.memory_locations, case.sequences))
        over_seeds = map(readable, (statistics.median(wrong), max(wrong)))
        original = readable(ORIGINAL[case.length]) if case.length in ORIGINAL else "not measured"
        rows.append([*sizes, *over_seeds, f"{wrong.count(0.0)} of {len(wrong)}", original])
    return text.table(rows)


if __name__ == "__main__":
    main()
