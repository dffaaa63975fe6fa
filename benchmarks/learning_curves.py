"""Draw the results of ``tasks.py --runs RUNS --json``: a picture for each task, and one picture of all tasks.

On the left the cost while learning, in bits per sequence against the sequences seen, as the paper plots it: every seed
is a thin line, the thick one is their median, and a tick below marks where a seed had converged. On the right the cost
by the size of the sequences, through the exported model: a dot for each seed, in a colour for each N, and a cross for
what the paper's network with a feedforward controller reaches. Where no prediction is certain, a dashed line on the
left shows the cost of the optimal predictor, and the right side is the cost above it.
"""

import argparse
import json
import pathlib
import re
from typing import Any

import numpy as np
from evaluations import EVALUATIONS
from history import reports
from matplotlib import pyplot
from matplotlib.axes import Axes

from ntm.runtime.evaluate import readable

_LEAST = 1e-3  # costs below are drawn as this one
_COLORS = "tab:blue", "tab:orange", "tab:green"


def main() -> None:
    """Draw the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=pathlib.Path, help="the folder to write the PNG files to")
    parser.add_argument("runs", type=pathlib.Path, help="the folder of tasks.py --runs")
    parser.add_argument("scores", type=pathlib.Path, help="what tasks.py --json has printed")
    arguments = parser.parse_args()
    scores = json.loads(arguments.scores.read_text(encoding="utf-8"))["tasks"]
    arguments.output.mkdir(parents=True, exist_ok=True)
    for task, seeds in scores.items():
        figure, axes = pyplot.subplots(1, 2, figsize=(10, 3.4))
        _draw(axes, task, seeds, arguments.runs)
        _save(figure, arguments.output / f"{task}.png")
    figure, rows = pyplot.subplots(len(scores), 2, figsize=(10, 2.5 * len(scores)))
    for axes, (task, seeds) in zip(np.atleast_2d(rows), scores.items(), strict=True):
        _draw(axes, task, seeds, arguments.runs)
    _save(figure, arguments.output / "tasks.png")


def _draw(axes: Any, task: str, seeds: list[dict[str, Any]], runs: pathlib.Path) -> None:
    histories = [reports(runs / task / f"seed-{run['seed']}") for run in seeds]
    _draw_learning(axes[0], histories, [run["sequences_to_converge"] for run in seeds])
    # The first size of dynamic n-grams, the one such task, is that of the training.
    trained = [run["sizes"][0] for run in seeds if run["sizes"]]
    optimal = [scores["optimal_cost_mean"] for scores in trained if "optimal_cost_mean" in scores]
    if optimal:
        axes[0].axhline(float(np.mean(optimal)), color="tab:gray", ls="--", lw=1, label="optimal predictor")
        axes[0].legend(fontsize=7, frameon=False)
    axes[0].set_title(f"{task}: {len(seeds)} seed{'s' * (len(seeds) > 1)}", loc="left", fontsize=10)
    _draw_sizes(axes[1], task, [run["sizes"] for run in seeds if run["sizes"]])


def _draw_learning(axis: Axes, histories: list[list[dict[str, Any]]], converged: list[int | None]) -> None:
    grid = np.unique([line["sequences"] for history in histories for line in history])
    curves = []
    for history in histories:
        points = [(line["sequences"], line["cost"]) for line in history if line["cost"] is not None]
        sequences, cost = zip(*points, strict=True)
        axis.plot(sequences, cost, color="tab:blue", lw=0.4)
        curves.append(np.interp(grid, sequences, cost))
    axis.plot(grid, np.median(curves, axis=0), color="tab:blue", lw=2)
    axis.set_xlim(0, grid[-1])
    axis.set_ylim(bottom=0)
    ticks = [sequences for sequences in converged if sequences is not None]
    axis.plot(ticks, [0] * len(ticks), "|", color="tab:red", ms=12, clip_on=False)
    axis.set_xlabel("sequences (thousands)")
    axis.set_ylabel("bits per sequence")
    axis.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}")
    axis.spines[["top", "right"]].set_visible(False)


def _draw_sizes(axis: Axes, task: str, sizes: list[list[dict[str, Any]]]) -> None:
    """Dots for the seeds at each size, in another colour for each way to choose N; and crosses for the paper."""
    evaluations = EVALUATIONS[task]
    # From left to right the last number of a size grows last: 10 words 10 times, 20 words 10 times, 10 words 11 times.
    places = sorted({tuple(evaluation.size.values()) for evaluation in evaluations}, key=lambda values: values[::-1])
    at = [places.index(tuple(evaluation.size.values())) for evaluation in evaluations]
    locations = list(dict.fromkeys(evaluation.memory_locations for evaluation in evaluations))
    for i, n in enumerate(locations):
        shown = [j for j, evaluation in enumerate(evaluations) if evaluation.memory_locations == n]
        aside = 0.25 * (i - (len(locations) - 1) / 2)
        costs = [[seed[j]["cost_mean"] - seed[j].get("optimal_cost_mean", 0.0) for seed in sizes] for j in shown]
        axis.plot(
            np.repeat([at[j] + aside for j in shown], len(sizes)),
            np.maximum(np.ravel(costs), _LEAST),
            "o",
            color=_COLORS[i],
            ms=4,
            alpha=0.5,
            mew=0,
            label="N just enough" if n is None else f"N = {n}",
        )
    for place, evaluation in zip(at, evaluations, strict=True):
        paper = [max(float(number), _LEAST) for number in re.findall(r"[\d.]+", evaluation.paper)]
        axis.plot([place] * len(paper), paper, "x", color="tab:red", ms=7)
    if len(locations) > 1:
        axis.legend(fontsize=7, frameon=False, loc="upper left", handletextpad=0)
    axis.set_yscale("log")
    axis.set_ylim(bottom=_LEAST / 2)
    axis.set_xlim(-0.5, len(places) - 0.5)
    labels = [", ".join(map(readable, values)) for values in places]
    axis.set_xticks(range(len(places)), labels, fontsize=8)
    axis.set_xlabel(", ".join(evaluations[0].size))
    axis.set_ylabel("bits per sequence")
    axis.spines[["top", "right"]].set_visible(False)


def _save(figure: Any, path: pathlib.Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)


if __name__ == "__main__":
    main()
