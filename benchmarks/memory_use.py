"""Draw how the bundled networks use their memory: copy by location, associative recall by content and by location.

The picture is ``docs/pictures/memory_use.png`` of docs/what_is_an_ntm.md. Each row of panels is one sequence of a task:
the input, where the write head looks, where one read head looks, and the output where it counts. Locations are a
circle: a negative number is a location before location 0. A row shows the arc that its heads visit.
"""

import argparse
import pathlib
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import ntm
from ntm.tasks import Size, find

_OUTPUT = pathlib.Path(__file__).parents[1] / "docs" / "pictures" / "memory_use.png"
_LOCATIONS = 64
_FAINT = 0.1  # a location is part of the arc if a head looks at it with at least this weight
_PHASE = "#0072b2"  # the line where the output begins to count


class Row(NamedTuple):
    """A sequence to draw.

    Attributes:
        model: the name of a bundled model.
        task: the task that the model was trained on.
        size: the size of the sequence.
        head: the read head that is drawn.
        title: the title of the row.
    """

    model: str
    task: str
    size: Size
    head: int
    title: str


ROWS = (
    Row("copy-8bit", "copy", {"length": 16}, 0, "Copy: the read head follows the way of the write head"),
    Row(
        "associative-recall",
        "associative-recall",
        {"items": 5},
        3,
        "Associative recall: the read head jumps to the item that is asked for, and goes on to the next one",
    ),
)


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, default=_OUTPUT, metavar="FILE")
    arguments = parser.parse_args()
    figure = Figure(figsize=(11, 2.9 * len(ROWS)), layout="constrained")
    parts: Any = figure.subfigures(len(ROWS), 1)
    for part, row in zip(parts, ROWS, strict=True):
        part.suptitle(row.title, fontsize="medium")
        _draw(part.subplots(1, 4), row)
    figure.savefig(arguments.output, dpi=120)


def _draw(panels: npt.NDArray[Any], row: Row) -> None:
    """The four panels of a sequence."""
    model, task = ntm.load(row.model), find(row.task)
    batch = task.batch(np.random.default_rng(0), 1, row.size)
    trace = model.trace(batch.x, model.initial_state(1, _LOCATIONS))
    counts = np.flatnonzero(batch.mask[:, 0])
    weights = np.stack([trace.weights[:, -1], trace.weights[:, row.head]])  # [heads, T, N]
    start, arc = _arc(weights.max(axis=(0, 1)) >= _FAINT)
    written, read = np.take(weights, (start + np.arange(arc)) % _LOCATIONS, axis=2)
    pictures = {"input": trace.x, "write weights": written, "read weights": read, "output": trace.y * batch.mask}
    for axes, (name, values) in zip(panels, pictures.items(), strict=True):
        _show(axes, values, start if "weights" in name else 0)
        axes.axvline(counts[0] + 0.5, color=_PHASE)
        axes.set(title=name, xlabel="time step", ylabel="location" if "weights" in name else "channel")


def _show(axes: Axes, values: npt.NDArray[Any], start: int) -> None:
    """``[T, numbers]``: time from left to right, from 1; numbers from the top, from ``start`` on."""
    extent = (0.5, len(values) + 0.5, start + values.shape[1] - 0.5, start - 0.5)
    axes.imshow(values.T, extent=extent, aspect="auto", interpolation="nearest", cmap="gray_r", vmin=0, vmax=1)


def _arc(visited: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """Where the shortest arc of the circle begins that holds all visited locations, and how long it is."""
    locations = np.flatnonzero(visited)
    gaps = np.diff(np.append(locations, locations[0] + len(visited)))
    widest = int(gaps.argmax())
    start = int(locations[(widest + 1) % len(locations)])
    arc = len(visited) - int(gaps[widest]) + 1
    return start - (len(visited) if start + arc > len(visited) else 0), arc


if __name__ == "__main__":
    main()
