"""The pictures of ``ntm-eval``: sequences with their targets, outputs and errors, and the work of the heads.

Time runs from left to right. Numbers from 0 to 1, such as bits and weights, are white to black; signed numbers are
purple below 0, white at 0 and orange above.
"""

import logging
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

# Matplotlib reports about its cache on stderr, even during its import.
logging.getLogger("matplotlib").setLevel(logging.ERROR)

from matplotlib.axes import Axes  # noqa: E402
from matplotlib.colors import LinearSegmentedColormap  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.ticker import MaxNLocator  # noqa: E402

from ntm.errors import explaining  # noqa: E402
from ntm.files import atomic_output  # noqa: E402
from ntm.runtime.evaluate import Output, Score  # noqa: E402
from ntm.runtime.model import Trace  # noqa: E402
from ntm.tasks.task import describe  # noqa: E402

_UNSIGNED: dict[str, Any] = {"cmap": "gray_r", "vmin": 0.0, "vmax": 1.0}
_PURPLE_TO_ORANGE = LinearSegmentedColormap.from_list(
    "signed", ["#3f007d", "#807dba", "white", "#fd8d3c", "#8c2d04"], N=257
)  # N is odd, so that 0 is white
_OUTPUT_PHASE = "#0072b2"  # a blue that differs clearly from purple and orange
_IGNORED = "#dddddd"  # steps at which no output counts
_DOTS_PER_INCH = 150
# The most rows or columns of a panel: more could not be distinguished.
_MOST_SHOWN = 500
# The height of a picture grows with the heads up to this number.
_MOST_HEADS = 20
# A weight below this is invisible.
_FAINT = 0.01


def save(figure: Figure, path: str | os.PathLike[str], *, replace: bool) -> None:
    """Write a picture in the format that its name ends in; the file appears whole or not at all.

    Raises:
        FileError: the file cannot be written, or exists and may not be replaced.
    """
    suffix = pathlib.Path(path).suffix.removeprefix(".").lower()
    with explaining(f"cannot write {path}"), atomic_output(path, replace=replace) as file:
        figure.savefig(file, format=suffix, dpi=_DOTS_PER_INCH)


def draw_sequences(scores: Sequence[Score]) -> Figure:
    """Input, target, output and error of the worst sequence of each size; grey where no output counts."""
    figure = Figure(figsize=(9.0, 0.6 + 2.6 * len(scores)), layout="constrained")
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=[12, 1]).flat
    panels = left.subplots(4 * len(scores)).reshape(-1, 4)
    inputs_of_all = [score.worst.x for score in scores]
    largest = max(1.0, *(float(np.abs(x).max()) for x in inputs_of_all))
    input_scale = _signed(largest) if min(float(x.min()) for x in inputs_of_all) < 0 else _UNSIGNED | {"vmax": largest}
    for axes, score in zip(panels, scores, strict=True):
        x, target, y = score.worst.x.T, score.worst.target.T, score.worst.y.T  # [I or O, T]
        ignored = np.broadcast_to(score.worst.mask == 0, target.shape)
        inputs = _show(axes[0], x, keep_extremes=True, **input_scale)
        outputs = _show(axes[1], np.ma.array(target, mask=ignored), **_UNSIGNED)
        _show(axes[2], np.ma.array(y, mask=ignored), **_UNSIGNED)
        errors = _show(axes[3], np.ma.array(y - target, mask=ignored), keep_extremes=True, **_signed(1.0))
        for panel, label in zip(axes, ("input", "target", "output", "error:\noutput - target"), strict=True):
            panel.set_ylabel(label, rotation=0, ha="right", va="center")
            panel.set_yticks([])
            panel.set_facecolor(_IGNORED)
            panel.tick_params(labelbottom=panel is axes[3])
        axes[0].set_title(_caption(score))
        axes[3].set_xlabel("time step")
    bars = ((inputs, "input"), (outputs, "target,\noutput"), (errors, "error"))
    for axes, (image, title) in zip(right.subplots(3), bars, strict=True):
        figure.colorbar(image, cax=axes, ticks=sorted({image.norm.vmin, 0, image.norm.vmax}), format="{x:.3g}")
        axes.set_box_aspect(12)
        axes.set_title(title)
    return figure


def draw_trace(trace: Trace, score: Score) -> Figure:
    """Adds, write weights, memory, read weights and reads of one sequence, as in Figure 6 of the paper.

    Panels above each other have the same time axis, and panels beside each other the same locations, up to the last one
    that a head uses. Each head has its own panels; the panels of write head i are in the same row as those of read
    head i.

    Args:
        trace: the trace of the sequence.
        score: the score of the case whose worst sequence was traced.
    """
    first = int(np.flatnonzero(score.worst.mask)[0]) + 1  # the first step of the output phase, counted from 1
    read_heads = trace.reads.shape[1]
    visited = np.flatnonzero(trace.weights.max(axis=(0, 1)) > _FAINT).max(initial=0) + 2
    adds, reads, weights = (
        heads.transpose(1, 2, 0) for heads in (trace.adds, trace.reads, trace.weights[:, :, :visited])
    )  # [heads, M or N, T]
    memory = trace.memory.T[:visited]  # [N, M]
    signed = _signed(max(1.0, *(float(np.abs(values).max()) for values in (adds, memory, reads))))

    most = max(len(adds), len(reads))
    figure = Figure(figsize=(10.0, 3.6 + 2.6 * min(most, _MOST_HEADS)), layout="constrained")
    figure.suptitle(_caption_of_trace(trace, score))
    grid = figure.add_gridspec(2 * most, 3, width_ratios=[4, 3, 4], height_ratios=[2] * most + [3] * most)
    top_left, top_right, left, right = (
        [figure.add_subplot(grid[row + head, column]) for head in range(len(heads))]
        for row, column, heads in ((0, 0, adds), (0, 2, reads), (most, 0, adds), (most, 2, reads))
    )
    _show_heads(top_left, "adds", adds, first, signed)
    _show_heads(top_right, "reads", reads, first, signed)
    _show_heads(left, "write weights", weights[read_heads:], first, _UNSIGNED)
    _show_heads(right, "read weights", weights[:read_heads], first, _UNSIGNED)
    for panels, label in ((top_left, "vector element"), (left, "location")):
        for axes in panels:
            axes.set_ylabel(label)
    middle = figure.add_subplot(grid[most:, 1])
    _show(middle, memory, first_column=0, **signed)
    middle.set_title("memory after the last input", loc="left")
    middle.set_xlabel("vector element")

    key = figure.add_subplot(grid[:most, 1])
    key.set_axis_off()
    key.legend(top_left[0].lines, ["start of the output phase"], loc="upper center", frameon=False)
    for y, axes, label in ((0.7, middle, "adds, memory, reads"), (0.2, left[0], "weights")):
        bar = key.inset_axes((0.05, y, 0.9, 0.1))
        figure.colorbar(axes.images[0], cax=bar, orientation="horizontal", label=label)
    return figure


def _show_heads(panels: Sequence[Axes], title: str, heads: npt.NDArray[Any], first: int, scale: dict[str, Any]) -> None:
    """Show ``[heads, rows, T]`` in panels one above the other; the output phase begins at a step."""
    for i, (axes, values) in enumerate(zip(panels, heads, strict=True)):
        _show(axes, values, keep_extremes=scale is _UNSIGNED, **scale)
        axes.axvline(first - 0.5, color=_OUTPUT_PHASE, linewidth=1.5)
        axes.tick_params(labelbottom=axes is panels[-1])
        if len(heads) > 1:
            axes.set_title(f"head {i}", loc="right", fontsize="medium")
    panels[0].set_title(title, loc="left")
    panels[-1].set_xlabel("time step")


def _caption(score: Score) -> str:
    case, wrong = score.case, score.worst.wrong_bits
    sequences = f"{case.sequences:,} sequence{'s' if case.sequences > 1 else ''}"
    sequences = f"{sequences} of {describe(case.size)}, N = {case.memory_locations:,}"
    if not wrong:
        return f"no bit wrong in {sequences}"
    return f"{wrong:,} of {_bits(score.worst):,} bits wrong in the worst of {sequences}"


def _caption_of_trace(trace: Trace, score: Score) -> str:
    output = score.worst._replace(y=trace.y)
    wrong = f"{output.wrong_bits:,} of {_bits(output):,} bits" if output.wrong_bits else "no bit"
    return f"{describe(score.case.size)}, N = {trace.memory.shape[1]:,}: {wrong} wrong"


def _bits(output: Output) -> int:
    """The output bits that count."""
    return int(np.count_nonzero(output.mask)) * int(output.target.shape[1])


def _signed(largest: float) -> dict[str, Any]:
    return {"cmap": _PURPLE_TO_ORANGE, "vmin": -largest, "vmax": largest}


def _show(
    axes: Axes, values: npt.NDArray[Any], *, first_column: int = 1, keep_extremes: bool = False, **scale: Any
) -> Any:
    """Show ``[rows, columns]``. Rows count from 0; columns count from ``first_column``, which is 1 for time steps.

    If there are too many rows or columns, some are left out; with ``keep_extremes`` those of smaller magnitude, so that
    a single error or a narrow weighting stays visible. Masked elements are blank.
    """
    rows, columns = values.shape
    if keep_extremes:
        values = _shrunk(_shrunk(values, 0), 1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
        axis.set_major_formatter("{x:,.0f}")
    extent = (first_column - 0.5, first_column + columns - 0.5, rows - 0.5, -0.5)
    return axes.imshow(values, extent=extent, aspect="auto", interpolation="nearest", **scale)


def _shrunk(values: npt.NDArray[Any], axis: int) -> npt.NDArray[Any]:
    """At most as many rows or columns as can be shown; each element is the largest in magnitude of several."""
    size = values.shape[axis]
    starts = np.arange(0, size, -(-size // _MOST_SHOWN))
    filled = np.ma.filled(values, 0.0)
    largest, smallest = np.maximum.reduceat(filled, starts, axis), np.minimum.reduceat(filled, starts, axis)
    blank = np.logical_and.reduceat(np.ma.getmaskarray(values), starts, axis)
    return np.ma.array(np.where(largest >= -smallest, largest, smallest), mask=blank)
