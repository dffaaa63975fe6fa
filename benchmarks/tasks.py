"""Train, export and evaluate the tasks of the paper as a user would, from many seeds; Markdown.

Every seed is a process of ``ntm-train``, with default options or those after ``--``, e.g. ``-- --controller lstm``, and
then one of ``ntm-export --format onnx``. Wrong bits and cost are those of the exported model on fresh sequences.
``--runs`` names a folder with the run folders ``TASK/seed-0``, ``TASK/seed-1`` …; those that it lacks are trained and
stay there. With ``--ray`` the seeds are tasks of Ray. The exit code is 1 if a seed has not converged or was not
exported.
"""

import argparse
import itertools
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from evaluations import EVALUATIONS, Evaluation
from on_ray import add_ray, pool
from programs import export, seconds_to_import, train
from seeds import add_seeds

import ntm
from ntm import console, text
from ntm.runtime.evaluate import Case, readable, run_case, task_of
from ntm.tasks.task import describe
from ntm.training.run import load_run

Run = dict[str, Any]  # what a seed has reached


def main() -> int:
    """Run the tasks and the seeds, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_seeds(parser, "0-9")
    parser.add_argument("--tasks", default=",".join(EVALUATIONS), help="with commas between (default: %(default)s)")
    parser.add_argument("--runs", type=pathlib.Path, help="a folder with run folders, which need not be trained")
    parser.add_argument("--at-once", type=int, default=1, help="seeds that train at a time (default: %(default)s)")
    add_ray(parser)
    parser.add_argument("--sequences", type=int, default=1_000, help="of each size (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print all figures as JSON instead")
    parser.add_argument("options", nargs="*", metavar="OPTION", help="of ntm-train, after --")
    arguments = parser.parse_args()
    if arguments.ray is not None and arguments.at_once != 1:
        parser.error("give either --at-once or --ray: Ray trains as many seeds at a time as it has cores")
    start, imported = time.monotonic(), seconds_to_import()
    runs: dict[str, list[Run]] = {task: [] for task in arguments.tasks.split(",")}
    seeds_of_tasks = list(itertools.product(runs, arguments.seeds))
    at_a_time = ThreadPoolExecutor(arguments.at_once) if arguments.ray is None else pool(arguments.ray)
    with at_a_time as executor:
        running = [executor.submit(_run, task, seed, arguments) for task, seed in seeds_of_tasks]
        for (task, seed), found in zip(seeds_of_tasks, running, strict=True):
            runs[task].append(found.result())
            print(f"{task}, seed {seed}: {_row(runs[task][-1])}", file=sys.stderr, flush=True)
    seconds = time.monotonic() - start
    if arguments.json:
        print(json.dumps({"import_seconds": imported, "seconds": seconds, "tasks": runs}))
    else:
        print(f"`import tensorflow` takes {imported:.1f} s\n\n{text.table(_summary(runs, imported), left=1)}")
        for task, seeds in runs.items():
            rows = [["seed", "converged", "s to converge", "s to finish", "sequences to converge", "restarts"]]
            print(f"\n### {task}\n\n{text.table([*rows, *map(_row, seeds)])}\n")
            print(text.table(_by_size(task, seeds), left=1))
        print(f"\nAll of it took {seconds / 60:.1f} minutes")
    return console.OK if all(run["converged"] and run["sizes"] for seeds in runs.values() for run in seeds) else 1


def _run(task: str, seed: int, arguments: argparse.Namespace) -> Run:
    """Train, unless that is done, export, and evaluate."""
    with tempfile.TemporaryDirectory() as temporary:
        run = (arguments.runs or pathlib.Path(temporary)) / task / f"seed-{seed}"
        model = pathlib.Path(temporary, "model")
        train(run, seed, ["--task", task, *arguments.options])
        exported = export(run, model)
        sizes = _evaluate(ntm.load(model), EVALUATIONS[task], arguments.sequences) if exported else []
        kept = ("converged", "seconds_to_converge", "seconds", "sequences_to_converge", "sequences", "restarts")
        return {"seed": seed} | {name: load_run(run).summary[name] for name in kept} | {"sizes": sizes}


def _evaluate(model: ntm.Model, evaluations: Sequence[Evaluation], sequences: int) -> list[dict[str, Any]]:
    """The figures of each evaluation."""
    task, figures = task_of(model.metadata, None), []
    for size, given, *_ in evaluations:
        locations = given or max(task.memory_locations(size), model.metadata.least_locations)
        # So that no size takes much longer than the others.
        count = max(1, min(sequences, sequences * 1_000 // (task.steps(size) * max(1, locations // 128))))
        score = run_case(model, task, Case(size, locations, count), threads=os.cpu_count() or 1)
        figures.append(score.as_dict() | {"perfect_share": float((score.wrong_bits == 0).mean())})
    return figures


def _row(run: Run) -> list[str]:
    numbers = [run[name] for name in ("seconds_to_converge", "seconds", "sequences_to_converge")]
    cells = ["" if number is None else readable(number) for number in numbers]
    return [str(run["seed"]), "yes" if run["converged"] else "no", *cells, str(run["restarts"])]


def _summary(runs: dict[str, list[Run]], imported: float) -> list[list[str]]:
    """A row for each task."""
    rows = [["task", "converged", "sequences to converge", "worst", "s to converge", "worst", "in imports", "worst"]]
    rows[0] += ["exported"]
    for task, seeds in runs.items():
        converged = [run for run in seeds if run["converged"]]
        cells = [task, f"{len(converged)} of {len(seeds)}"]
        for name, unit in (
            ("sequences_to_converge", 1.0),
            ("seconds_to_converge", 1.0),
            ("seconds_to_converge", imported),
        ):
            values = [run[name] / unit for run in converged] or [float("nan")]
            cells += [readable(statistics.median(values)), readable(max(values))]
        rows.append([*cells, f"{sum(bool(run['sizes']) for run in seeds)} of {len(seeds)}"])
    return rows


def _by_size(task: str, seeds: list[Run]) -> list[list[str]]:
    """A row for each size: the median and the worst of the seeds that were exported."""
    rows = [["size", "N", "sequences", "cost", "worst", "wrong bits", "worst", "seeds without", "perfect sequences"]]
    rows[0] += ["paper: cost", "other: cost"]
    for i, evaluation in enumerate(EVALUATIONS[task]):
        figures = [run["sizes"][i] for run in seeds if run["sizes"]]
        if not figures:
            continue
        cost = [figure["cost_mean"] - figure.get("optimal_cost_mean", 0.0) for figure in figures]
        wrong = [figure["wrong_bits_mean"] for figure in figures]
        cells = [describe(evaluation.size), *(readable(figures[0][name]) for name in ("memory_locations", "sequences"))]
        for values in (cost, wrong):
            cells += [readable(statistics.median(values)), readable(max(values))]
        share = statistics.median(figure["perfect_share"] for figure in figures)
        rows.append([*cells, f"{wrong.count(0.0)} of {len(wrong)}", f"{share:.1%}", evaluation.paper, evaluation.other])
    return rows


if __name__ == "__main__":
    sys.exit(main())
