"""Count the wrong bits, and the cost, of many seeds on sequences larger than those of their training; Markdown.

Every seed is trained by ``ntm-train``, exported by ``ntm-export --format onnx`` and served by the runtime, as a user
would. No variable depends on the memory's size, which is chosen when a model is loaded. ``--runs`` names a folder with
the runs ``seed-0``, ``seed-1`` …, e.g. of ``convergence.py --keep``; those that it lacks are trained and stay there.

By default the task is copy, at lengths up to 500 times those of the training. A network of another ``--task`` is
evaluated at the evaluation sizes of the task, or at those that ``--size`` gives.
"""

import argparse
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence

from seeds import add_seeds

import ntm
from ntm import console, text
from ntm.runtime.evaluate import Case, Score, cases_of, readable, run_case, task_of
from ntm.tasks import Size, notation

COPY = "copy"
COPY_CASES = [
    *(Case({"length": length}, 128, 1_000) for length in (10, 20, 30, 40, 50, 80, 120)),
    Case({"length": 1_000}, 1_024, 100),
    Case({"length": 10_000}, 10_240, 3),
]
SEQUENCES = 1_000  # of each size of another task
# The checkpoint that the original repository publishes, wrong bits per sequence by length over 32 random ones, N = 128.
ORIGINAL = {20: 0.0, 30: 0.0, 40: 5.1, 50: 24.8, 80: 317.0, 120: 478.0}

Scores = dict[int, list[Score]]  # by seed, each in the order of the cases


def main() -> None:
    """Run the seeds and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_seeds(parser, "0-9")
    parser.add_argument("--task", default=COPY, help="what to learn, as for ntm-train (default: %(default)s)")
    parser.add_argument(
        "--size", action="append", metavar="NAME=NUMBER", help="to evaluate; may be given several times"
    )
    parser.add_argument("--runs", type=pathlib.Path, help="a folder with run folders, which need not be trained")
    parser.add_argument("--share", type=float, default=1.0, help="of the sequences, for a quick look (default: all)")
    parser.add_argument("--json", action="store_true", help="print all figures as JSON instead")
    parser.add_argument("options", nargs="*", help="further options of ntm-train, after --")
    arguments = parser.parse_args()
    sizes = [notation.parse_size(size) for size in arguments.size] if arguments.size else None

    scores: Scores = {}
    with tempfile.TemporaryDirectory() as temporary:
        for seed in arguments.seeds:
            run = (arguments.runs or pathlib.Path(temporary)) / f"seed-{seed}"
            model = pathlib.Path(temporary, f"model-{seed}")
            _make(run, model, seed, arguments.task, arguments.options)
            scores[seed] = _evaluate(ntm.load(model), arguments.task, sizes, arguments.share)
            print(f"seed {seed}: {', '.join(map(_wrong_bits, scores[seed]))} wrong bits", file=sys.stderr)
    if arguments.json:
        print(json.dumps({seed: [score.as_dict() for score in row] for seed, row in scores.items()}))
    else:
        print(f"`{shlex.join(['ntm-train', '--task', arguments.task, *arguments.options])}`, wrong bits per sequence\n")
        print(text.table(_table_of_seeds(scores, _wrong_bits)) + "\n")
        print(text.table(_table_of_sizes(scores, ORIGINAL if arguments.task == COPY else None)))
        print("\nCost, bits per sequence\n")
        print(text.table(_table_of_seeds(scores, _cost) + _optimal_costs(scores)))


def _make(run: pathlib.Path, model: pathlib.Path, seed: int, task: str, options: list[str]) -> None:
    """Train, unless that is done, and export."""
    programs = pathlib.Path(sys.executable).parent
    train = ["ntm-train", "--task", task, "--seed", str(seed), "--output", str(run), "--quiet", *options]
    export = ["ntm-export", "--format", "onnx", "--task", task, str(run), "--output", str(model), "--quiet"]
    if not run.exists():
        run.parent.mkdir(parents=True, exist_ok=True)
        if subprocess.run([programs / train[0], *train[1:]], check=False).returncode not in (console.OK, console.WRONG):
            raise SystemExit(f"seed {seed} was not trained")
    if subprocess.run([programs / export[0], *export[1:]], check=False).returncode:
        raise SystemExit(f"seed {seed} was not exported")


def _evaluate(model: ntm.Model, given: str, sizes: Sequence[Size] | None, share: float) -> list[Score]:
    """The scores of a model at the sizes, or at those of its task."""
    task = task_of(model.metadata, given)
    cases = cases_of(model.metadata, task, sizes, sequences=SEQUENCES)
    if given == COPY and sizes is None:
        cases = COPY_CASES
    cases = [case._replace(sequences=max(1, round(case.sequences * share))) for case in cases]
    return [run_case(model, task, case, threads=os.cpu_count() or 1) for case in cases]


def _wrong_bits(score: Score) -> str:
    return readable(float(score.wrong_bits.mean()))


def _cost(score: Score) -> str:
    return readable(float(score.cost.mean()))


def _table_of_seeds(scores: Scores, figure: Callable[[Score], str]) -> list[list[str]]:
    """A figure of each seed by size, as rows."""
    sizes = [score.case.size for score in next(iter(scores.values()))]
    header = ["seed", *(", ".join(f"{name} = {number:,}" for name, number in size.items()) for size in sizes)]
    return [header, *([str(seed), *map(figure, row)] for seed, row in scores.items())]


def _optimal_costs(scores: Scores) -> list[list[str]]:
    """The costs of the optimal predictor by size, as a row of the table of costs; none where it makes no mistake."""
    figures = [score.as_dict() for score in next(iter(scores.values()))]
    if "optimal_cost_mean" not in figures[0]:
        return []
    return [["optimal", *(readable(figure["optimal_cost_mean"]) for figure in figures)]]


def _table_of_sizes(scores: Scores, original: Mapping[int, float] | None) -> list[list[str]]:
    """Wrong bits per sequence over the seeds, a row for each size; and those of the original by length, if given."""
    names = list(next(iter(scores.values()))[0].case.size)
    header = [*names, "memory locations", "sequences", "median", "worst seed", "seeds without a wrong bit"]
    rows = [header if original is None else [*header, "original"]]
    for column in zip(*scores.values(), strict=True):
        case, wrong = column[0].case, [float(score.wrong_bits.mean()) for score in column]
        sizes = map(readable, (*case.size.values(), case.memory_locations, case.sequences))
        rows.append([*sizes, readable(statistics.median(wrong)), readable(max(wrong))])
        rows[-1].append(f"{wrong.count(0.0)} of {len(wrong)}")
        if original is not None:
            length = case.size["length"]
            rows[-1].append(readable(original[length]) if length in original else "not measured")
    return rows


if __name__ == "__main__":
    main()
