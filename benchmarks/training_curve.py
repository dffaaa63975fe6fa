"""Draw loss and wrong bits against the sequences seen, from run folders of ``ntm-train``: the picture in the README.

The runs are of one task. Every seed is a thin line; the thick one is their median, the band goes from the lowest to the
highest. A run that has ended counts with its last value.
"""

import argparse
import json
import pathlib
from typing import Any

import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=pathlib.Path, help="the PNG file to write")
    parser.add_argument("runs", type=pathlib.Path, nargs="+", help="run folders")
    arguments = parser.parse_args()
    histories = [_history(folder) for folder in arguments.runs]
    converged = [_summary(folder)["sequences_to_converge"] for folder in arguments.runs]
    converged = [sequences for sequences in converged if sequences is not None]
    task = json.loads((arguments.runs[0] / "config.json").read_text(encoding="utf-8"))["task"]["name"]

    figure, axes = pyplot.subplots(2, 1, figsize=(8, 5.6), sharex=True)
    _draw(axes[0], histories, "loss")
    axes[0].set_yscale("log")
    axes[0].set_ylabel("loss (nats per output bit)")
    axes[0].set_title(f"{len(histories)} seeds of ntm-train on the task {task}")
    _draw(axes[1], histories, "wrong_bits")
    axes[1].set_yscale("symlog", linthresh=0.1)
    axes[1].set_ylim(bottom=0)
    axes[1].set_ylabel("wrong bits per sequence")
    axes[1].set_xlabel("sequences seen")
    for axis in axes:
        axis.plot(converged, [axis.get_ylim()[0]] * len(converged), "|", color="tab:red", ms=12, clip_on=False)
        axis.spines[["top", "right"]].set_visible(False)
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes[0].plot([], [], "|", color="tab:red", ms=10, label="converged")
    axes[0].legend(frameon=False)
    figure.align_ylabels(axes)
    figure.tight_layout()
    figure.savefig(arguments.output, dpi=110, metadata={"Software": None})


def _draw(axis: Axes, histories: list[list[dict[str, Any]]], key: str) -> None:
    grid = np.unique([line["sequences"] for history in histories for line in history])
    curves = np.array([_on(grid, history, key) for history in histories])
    axis.fill_between(grid, curves.min(axis=0), curves.max(axis=0), color="tab:blue", alpha=0.15, lw=0)
    for history in histories:
        axis.plot(*zip(*((line["sequences"], line[key]) for line in history), strict=True), color="tab:blue", lw=0.4)
    axis.plot(grid, np.median(curves, axis=0), color="tab:blue", lw=2, label="median, lowest and highest")
    axis.set_xlim(0, grid[-1])


def _on(grid: np.ndarray, history: list[dict[str, Any]], key: str) -> np.ndarray:
    interpolated: np.ndarray = np.interp(grid, [line["sequences"] for line in history], [line[key] for line in history])
    return interpolated


def _history(folder: pathlib.Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()]


def _summary(folder: pathlib.Path) -> dict[str, Any]:
    with np.load(folder / "checkpoint.npz") as checkpoint:
        return dict(json.loads(str(checkpoint["summary"])))


if __name__ == "__main__":
    main()
