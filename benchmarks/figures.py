"""Redraw figures of Graves et al. (2014) and of Collier & Beel (2018) from runs of this project.

``--from RUNS`` names the folder of the runs: ``RUNS/TASK/NETWORK/seed-S``, where NETWORK is ``ntm-feedforward``,
``ntm-lstm`` or ``lstm``; and ``RUNS/copy/memory-KIND/seed-S`` for Collier & Beel, where KIND is ``constant``,
``learned`` or ``random``. Runs that a figure needs and the folder lacks are trained by ``ntm-train`` with the default
recipe, and stay there. Outputs and memory are those of the exported networks.

Learning curves: a thin line is a seed, a thick line the median of the seeds. A run that has ended counts in the median
with its last cost. Hollow marks are the values of the paper, which were read off its plots.
"""

import argparse
import functools
import pathlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from history import reports
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator
from programs import export, train
from seeds import add_seeds

import ntm
from ntm.runtime.evaluate import Score
from ntm.tasks import Batch, Size, find, metrics
from ntm.tasks.task import describe, draw

Floats = npt.NDArray[Any]
Curves = Sequence[tuple[Floats, Floats]]  # of each seed x and y

BLUE, GREEN, RED, BLACK = "#0072b2", "#009e73", "#d55e00", "#000000"  # of Okabe and Ito, for colour-blind people too
_IGNORED = "#dddddd"  # where no output counts
_BITS: dict[str, Any] = {"cmap": "gray_r", "vmin": 0.0, "vmax": 1.0}
_DOTS_PER_INCH = 150
_POINTS = 200  # of a learning curve; more progress reports are averaged
_PAPER = "Graves et al. (2014), read off a plot, ± a few tenths"
_PAPER_ABOVE_OPTIMAL = "Graves et al. (2014): bits above the optimal estimator, read off a plot"
_FAINT = 0.01  # a weight below this is not to be seen


class Network(NamedTuple):
    """A network of the figures.

    Attributes:
        title: in the legend.
        options: of ``ntm-train``.
        colour: of its lines and marks.
        marker: of the paper's values.
    """

    title: str
    options: Sequence[str]
    colour: str
    marker: str = ""


FEEDFORWARD, LSTM_CONTROLLER, LSTM = "ntm-feedforward", "ntm-lstm", "lstm"
NETWORKS = {
    LSTM: Network("LSTM", ("--model", "lstm"), RED, "o"),
    LSTM_CONTROLLER: Network("NTM with LSTM controller", ("--controller", "lstm"), GREEN, "s"),
    FEEDFORWARD: Network("NTM with feedforward controller", (), BLUE, "^"),
}
MEMORIES = {
    "memory-constant": Network("constant", ("--initial-memory", "constant"), BLUE),
    "memory-learned": Network("learned", ("--initial-memory", "learned"), GREEN),
    "memory-random": Network("random", ("--initial-memory", "random"), RED),
}

Points = Sequence[tuple[float, float]]


class Learning(NamedTuple):
    """A figure of learning curves.

    Attributes:
        title: above the figure.
        task: what is learned.
        thousands: of sequences, to which the paper's axis goes.
        bits: the largest cost in bits per sequence on the paper's axis, above the optimal estimator if there is one.
        paper: the paper's values of each network: thousands of sequences, and bits per sequence.
        size: the one size of the paper's sequences, where this project trains with several: the curves show the cost
            over all of them, and a dot that of the trained network at this size.
    """

    title: str
    task: str
    thousands: float
    bits: float
    paper: Mapping[str, Points]
    size: Size | None = None


# Bits per sequence in the paper by the number of items, Figure 11.
_PAPER_RECALL: dict[str, Points] = {
    LSTM: ((6, 2.0), (10, 36.5), (15, 40.0), (20, 38.5)),
    LSTM_CONTROLLER: ((6, 0.0), (10, 1.8), (15, 4.8), (20, 7.0)),
    FEEDFORWARD: ((6, 0.0), (10, 0.0), (15, 1.5), (20, 8.0)),
}
_RECALL_ITEMS = range(6, 21)


class Runs:
    """The runs of ``--from``, which are trained and exported when a figure asks for them.

    Args:
        arguments: of the command line.
        temporary: the folder for the exports.
    """

    def __init__(self, arguments: argparse.Namespace, temporary: pathlib.Path) -> None:
        self.ntm: str = arguments.network
        self.sequences: int = arguments.sequences
        self._folder: pathlib.Path = arguments.runs
        self._seeds: range = arguments.seeds
        self._train: bool = not arguments.there
        self._temporary = temporary
        self._options = ["--max-batches", str(arguments.max_batches)] if arguments.max_batches else []
        self._exported: dict[pathlib.Path, ntm.Model | None] = {}

    def curves(self, task: str, network: str) -> Curves:
        """Of each seed thousands of sequences, and bits per sequence."""
        return [_curve(self._run(task, network, seed)) for seed in self._seeds_of(task, network)]

    def exported(self, task: str, network: str) -> list[ntm.Model]:
        """The networks that were exported, of all seeds."""
        found = [self._model(task, network, seed) for seed in self._seeds_of(task, network)]
        return [model for model in found if model]

    def models(self, task: str, network: str) -> list[ntm.Model]:
        """The networks that were exported, of all seeds.

        Raises:
            SystemExit: there is none.
        """
        return _some(self.exported(task, network), task, network)

    def model(self, task: str, network: str) -> ntm.Model:
        """The network of the first seed that was exported.

        Raises:
            SystemExit: there is none.
        """
        found = (self._model(task, network, seed) for seed in self._seeds_of(task, network))
        return _some([model for model in [next(filter(None, found), None)] if model], task, network)[0]

    def _seeds_of(self, task: str, network: str) -> list[int]:
        """The seeds of a network; with ``--there``, only the seeds that have a run."""
        return [seed for seed in self._seeds if self._train or self._path(task, network, seed).exists()]

    def _path(self, task: str, network: str, seed: int) -> pathlib.Path:
        return self._folder / task / network / f"seed-{seed}"

    def _run(self, task: str, network: str, seed: int) -> pathlib.Path:
        run = self._path(task, network, seed)
        train(run, seed, ["--task", task, *(NETWORKS | MEMORIES)[network].options, *self._options])
        return run

    def _model(self, task: str, network: str, seed: int) -> ntm.Model | None:
        run = self._run(task, network, seed)
        if run not in self._exported:
            folder = self._temporary / task / network / f"seed-{seed}"
            self._exported[run] = ntm.load(folder) if export(run, folder) else None
        return self._exported[run]


def main() -> None:
    """Draw the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*FIGURES, "all"]
    parser.add_argument("figures", nargs="+", choices=names, metavar="FIGURE", help=f"of {', '.join(names)}")
    parser.add_argument("--from", dest="runs", type=pathlib.Path, required=True, metavar="RUNS", help="see above")
    parser.add_argument(
        "--output",
        type=pathlib.Path,
        default=pathlib.Path("docs", "pictures"),
        metavar="FOLDER",
        help="where FIGURE.png goes (default: %(default)s)",
    )
    add_seeds(parser, "0")
    parser.add_argument(
        "--network",
        default=FEEDFORWARD,
        choices=[FEEDFORWARD, LSTM_CONTROLLER],
        help="the NTM of figures 4, 6, 8, 12, 14 and 17 (default: %(default)s)",
    )
    parser.add_argument(
        "--sequences", type=int, default=200, help="of each size in figures 11 and 18 (default: %(default)s)"
    )
    parser.add_argument(
        "--there",
        action="store_true",
        help="train nothing: take the runs that are there, and leave out other networks",
    )
    parser.add_argument("--max-batches", type=int, help=argparse.SUPPRESS)  # to try the figures out
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        runs = Runs(arguments, pathlib.Path(temporary))
        for name in FIGURES if "all" in arguments.figures else arguments.figures:
            path = arguments.output / f"{name}.png"
            FIGURES[name](runs).savefig(path, dpi=_DOTS_PER_INCH, metadata={"Software": None})
            print(path, flush=True)


# Learning curves.


def _draw_learning(learning: Learning, runs: Runs) -> Figure:
    """The three networks; on the left with the paper's axes, on the right until half of the NTMs were trained."""
    figure = Figure(figsize=(11, 5), layout="constrained")
    optimal = _optimal_cost(learning.task)
    found = {network: runs.curves(learning.task, network) for network in NETWORKS}
    curves = {network: seeds for network, seeds in found.items() if seeds}
    if not curves:
        raise SystemExit(f"{learning.task}: there is no run")
    figure.suptitle(f"{learning.title}: {_seeds_drawn(curves)}")
    ends = _ends(learning, curves, runs)
    ntms = [network for network in curves if network != LSTM] or [LSTM]
    trained = max(np.median([x[-1] for x, _ in curves[network]]) for network in ntms)
    highest = max(*(y.max() for seeds in curves.values() for _, y in seeds), *(cost for _, cost in ends.values()))
    lowest = optimal - learning.bits / 10 if optimal else 0.0
    as_in_paper, beginning = panels = figure.subplots(1, 2)
    as_in_paper.set(xlim=(0, learning.thousands), ylim=(lowest, lowest + learning.bits), title="the paper's axes")
    beginning.set(xlim=(0, 1.03 * trained), ylim=(lowest, 1.03 * highest), title="the beginning")
    for axes in panels:
        for network, seeds in curves.items():
            _draw_seeds(axes, seeds, NETWORKS[network].colour)
            if network in ends:
                axes.plot(*ends[network], "o", color=NETWORKS[network].colour, markersize=6)
        _draw_paper(axes, {network: [(x, y + optimal) for x, y in marks] for network, marks in learning.paper.items()})
        _label(axes, "sequences (thousands)", "cost per sequence (bits)")
        if optimal:
            axes.axhline(optimal, color=BLACK, linestyle="--", linewidth=1)
    of_size = f", {describe(learning.size)}; the lines: all sizes" if learning.size else ""
    end = f"end of the training{of_size}"
    others = [Line2D([], [], color="0.3", marker="o", markersize=6, linestyle="", label=end)]
    if optimal:
        others.append(Line2D([], [], color=BLACK, linestyle="--", label="optimal estimator"))
    _add_legend(figure, _PAPER_ABOVE_OPTIMAL if optimal else _PAPER, others)
    return figure


def _seeds_drawn(curves: Mapping[str, Curves]) -> str:
    """The number of seeds of each network, for the title."""
    counts = {network: len(seeds) for network, seeds in curves.items()}
    if set(counts.values()) == {1}:
        return "1 seed"
    if len(set(counts.values())) == 1:
        return f"{next(iter(counts.values()))} seeds thin, and their median"
    each = ", ".join(f"{NETWORKS[network].title} {count}" for network, count in counts.items())
    return f"seeds thin, and their median\n({each})"


def _ends(learning: Learning, curves: Mapping[str, Curves], runs: Runs) -> dict[str, tuple[float, float]]:
    """Of each network where the median ends; or, where the paper has one size alone, the median cost of that size.

    The cost of a size is that of exported networks, so a network of which no seed was exported is left out.
    """
    ends = {}
    for network, seeds in curves.items():
        x, of_seeds = _side_by_side(seeds)
        costs = of_seeds[:, -1]
        if learning.size:
            models = runs.exported(learning.task, network)
            if not models:
                continue
            scores = [ntm.evaluate(model, sizes=[learning.size], sequences=runs.sequences)[0] for model in models]
            costs = np.array([score.cost.mean() for score in scores])
        ends[network] = (float(x[-1]), float(np.median(costs)))
    return ends


def _draw_collier_beel(runs: Runs) -> Figure:
    """The median of the seeds and their quartiles, by what the memory holds before the first step."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    for memory, (title, _, colour, _) in MEMORIES.items():
        curves = runs.curves("copy", memory)
        x, of_seeds = _side_by_side(curves)
        low, median, high = np.quantile(of_seeds, [0.25, 0.5, 0.75], axis=0)
        axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(x, median, color=colour, linewidth=2, label=f"{title}, {_counted(len(curves), 'seed')}")
    _label(axes, "sequences (thousands)", "cost per sequence (bits)")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.set_ylim(bottom=0)
    axes.set_title("Copy by the initial memory, as in Collier & Beel (2018): medians, and quartiles shaded")
    figure.legend(
        loc="outside lower center",
        ncols=3,
        frameon=False,
        title="Collier & Beel: constant converges 3.5 times as fast as learned, and random does not converge",
    )
    return figure


def _curve(run: pathlib.Path) -> tuple[Floats, Floats]:
    """Thousands of sequences, and bits per sequence, of a run."""
    lines = reports(run)
    points = np.array([(line["sequences"] / 1000, line["cost"]) for line in lines if line["cost"] is not None])
    if not len(points):
        raise SystemExit(f"{run}: there is no progress report with a cost")
    x, y = np.array([part.mean(axis=0) for part in np.array_split(points, min(_POINTS, len(points)))]).T
    return x, y


def _draw_seeds(axes: Axes, curves: Curves, colour: str) -> None:
    """Every seed as a thin line where there are several, and their median."""
    for x, y in curves if len(curves) > 1 else []:
        axes.plot(x, y, color=colour, linewidth=0.5, alpha=0.6)
    x, of_seeds = _side_by_side(curves)
    axes.plot(x, np.median(of_seeds, axis=0), color=colour, linewidth=2)


def _side_by_side(curves: Curves) -> tuple[Floats, Floats]:
    """X of all curves, and y of each curve there, ``[curves, x]``."""
    grid = np.unique(np.concatenate([x for x, _ in curves]))
    return grid, np.array([np.interp(grid, x, y) for x, y in curves])


def _optimal_cost(task: str) -> float:
    """The cost of the optimal estimator in bits per sequence, ± 0.1; 0 where it makes no mistake."""
    learned = find(task)
    rng = np.random.default_rng(0)
    costs: list[Floats] = []
    for _ in range(20):  # that many blocks, since the cost of one sequence of n-grams varies by tens of bits
        batch = draw(learned, rng, 5_000, learned.evaluation_sizes[0])
        optimal = learned.optimal(batch)
        if optimal is None:
            return 0.0
        costs.append(metrics.cost(batch, optimal))
    return float(np.mean(costs))


# Costs by size.


def _draw_recall_by_items(runs: Runs) -> Figure:
    """The cost of the three networks on lists that are longer than in training."""
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    items = np.array(_RECALL_ITEMS)
    curves: dict[str, list[tuple[Floats, Floats]]] = {}
    for network, (_, _, colour, _) in NETWORKS.items():
        curves[network] = []
        for model in runs.models("associative-recall", network):
            scores = ntm.evaluate(model, sizes=[{"items": count} for count in items.tolist()], sequences=runs.sequences)
            curves[network].append((items, np.array([score.cost.mean() for score in scores])))
        _draw_seeds(axes, curves[network], colour)
    _draw_paper(axes, _PAPER_RECALL)
    _label(axes, "items per sequence", "cost per sequence (bits)")
    axes.set_ylim(bottom=0)
    axes.set_xticks(items[::2])
    axes.set_title(f"Associative recall by the number of items, as in Figure 11: {_seeds_drawn(curves)}")
    _add_legend(figure, _PAPER)
    return figure


# Outputs.


def _draw_copies(figure_in_paper: int, network: str | None, runs: Runs) -> Figure:
    """Targets and outputs of one sequence of each length."""
    network = network or runs.ntm
    lengths = (10, 20, 30, 50, 120)
    scores = _one_of_each(runs.model("copy", network), [{"length": length} for length in lengths])
    figure = Figure(figsize=(11, 6), layout="constrained")
    figure.suptitle(
        f"Copies by the {NETWORKS[network].title}, trained with up to 20 words, as in Figure {figure_in_paper}"
    )
    grid = figure.add_gridspec(4, len(lengths) - 1, width_ratios=lengths[:-1])
    cells = [(grid[0, column], grid[1, column]) for column in range(len(lengths) - 1)] + [(grid[2, :], grid[3, :])]
    panels = [[figure.add_subplot(cell) for cell in of_length] for of_length in cells]
    for (above, below), score in zip(panels, scores, strict=True):
        _show_outputs(above, score, score.worst.target)
        image = _show_outputs(below, score, score.worst.y)
        above.set_title(f"length {score.case.size['length']}\n{_wrong(score)}", fontsize="small")
    for above, below in (panels[0], panels[-1]):
        _name_rows({"target": above, "output": below})
    _add_bar(figure, image, [axes for of_length in panels for axes in of_length])
    return figure


def _draw_repeats(runs: Runs) -> Figure:
    """Targets and outputs of an NTM and of the LSTM for longer sequences, and for more repeats, than in training."""
    sizes = [{"length": 10, "repeats": 20}, {"length": 20, "repeats": 10}]
    by_network = [_one_of_each(runs.model("repeat-copy", network), sizes) for network in (runs.ntm, LSTM)]
    figure = Figure(figsize=(11, 7), layout="constrained")
    figure.suptitle(f"Repeat copy beyond the sizes of training, as in Figure 8: LSTM, and {NETWORKS[runs.ntm].title}")
    panels = figure.subplots(3 * len(sizes)).reshape(-1, 3)
    for (target, *outputs), scores in zip(panels, zip(*by_network, strict=True), strict=True):
        _show_outputs(target, scores[0], scores[0].worst.target)
        target.set_title(f"length {scores[0].case.size['length']}, {scores[0].case.size['repeats']} repeats")
        for axes, score in zip(outputs, scores, strict=True):
            image = _show_outputs(axes, score, score.worst.y)
            axes.set_title(_wrong(score), fontsize="medium")
        _name_rows(dict(zip(("target", "NTM", "LSTM"), (target, *outputs), strict=True)))
    _add_bar(figure, image, panels.ravel().tolist())
    return figure


def _draw_predictions(runs: Runs) -> Figure:
    """The bits of a sequence, and what the optimal estimator, an NTM and the LSTM predict them to be."""
    task = find("dynamic-ngrams")
    sizes = task.evaluation_sizes[:1]
    scores = [_one_of_each(runs.model(task.name, network), sizes)[0] for network in (runs.ntm, LSTM)]
    x, target, mask, _ = scores[0].worst
    optimal = task.optimal(Batch(*(values[:, np.newaxis] for values in (x, target, mask))))
    if optimal is None:
        raise SystemExit(f"{task.name}: there is no optimal estimator")
    steps = np.flatnonzero(mask)
    bits = steps + 2  # the number of the bit that follows a step, from 1
    figure = Figure(figsize=(11, 6), layout="constrained")
    figure.suptitle("Predictions of one sequence of 6-grams, as in Figure 14")
    strip, *panels = figure.subplots(3, sharex=True, height_ratios=[1, 4, 4])
    extent = (bits[0] - 0.5, bits[-1] + 0.5, 0, 1)
    strip.imshow(target[steps].T, extent=extent, aspect="auto", interpolation="nearest", **_BITS)
    strip.set(yticks=[], title="the bits: white 0, black 1")
    for axes, network, score in zip(panels, (runs.ntm, LSTM), scores, strict=True):
        title, _, colour, _ = NETWORKS[network]
        axes.plot(bits, optimal[steps, 0, 0], color="0.75", linewidth=3, label="optimal estimator")
        axes.plot(bits, score.worst.y[steps, 0], color=colour, linewidth=1.5, label=title)
        axes.set(ylim=(-0.03, 1.03), ylabel="probability of a 1")
        above = f"{score.as_dict()['cost_above_optimal']:.1f} bits above the optimal estimator"
        axes.set_title(f"{title}: {above}", fontsize="medium")
    panels[-1].set_xlabel("bit")
    lines = {line.get_label(): line for axes in panels for line in axes.lines}
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def _draw_sort_task(_: Runs) -> Figure:
    """A sequence of priority sort: vectors with their priorities, and the target."""
    task = find("priority-sort")
    x, target, mask = (array[:, 0] for array in draw(task, np.random.default_rng(0), 1, task.evaluation_sizes[1]))
    count, bits = len(x) - int(mask.sum()) - 1, task.output_size
    priorities = x[:count, bits]
    of_target = np.sort(priorities)[::-1][: int(mask.sum())]
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    figure.suptitle("A sequence of priority sort, as in Figure 16")
    panels = figure.subplots(2, 2, sharex="col", width_ratios=[count, len(of_target)], height_ratios=[2, 1])
    shown = ("input", x[:count, :bits], priorities), ("target", target[mask > 0], of_target)
    for (vectors, bars), (title, values, heights) in zip(panels.T, shown, strict=True):
        _show(vectors, values, 1, **_BITS)
        vectors.set(title=title, ylabel="bit", yticks=range(1, bits + 1))
        bars.bar(range(1, len(heights) + 1), heights, color=BLUE)
        bars.axhline(0, color=BLACK, linewidth=0.8)
        bars.set(ylim=(-1, 1), ylabel="priority", xlabel="vector")
        bars.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    return figure


def _one_of_each(model: ntm.Model, sizes: Sequence[Size]) -> list[Score]:
    """The output for the first test sequence of each size, which is the same one for every network."""
    return ntm.evaluate(model, sizes=sizes, sequences=1)


def _show_outputs(axes: Axes, score: Score, values: Floats) -> AxesImage:
    """Show ``[T, O]`` of the output phase."""
    image = _show(axes, values[score.worst.mask > 0], **_BITS)
    axes.set(xticks=[], yticks=[])
    return image


def _name_rows(rows: Mapping[str, Axes]) -> None:
    for name, axes in rows.items():
        axes.set_ylabel(name, rotation=0, ha="right", va="center")


def _add_bar(figure: Figure, image: AxesImage, panels: Sequence[Axes]) -> None:
    figure.colorbar(image, ax=panels, label="probability of a 1", ticks=[0, 0.5, 1], shrink=0.5)


def _wrong(score: Score) -> str:
    return _counted(score.worst.wrong_bits, "wrong bit")


# The memory.


def _draw_memory(task: str, size: Size, title: str, vectors: bool, runs: Runs) -> Figure:
    """What the heads do in one sequence: a column for each head, the write heads first.

    Args:
        task: what the network has learned.
        size: of the sequence.
        title: above the figure.
        vectors: draw the inputs, the outputs, and the vectors that are added and read, above the weightings.
        runs: the runs.
    """
    model = runs.model(task, runs.ntm)
    (score,) = _one_of_each(model, [size])
    x, _, mask, _ = score.worst
    trace = model.trace(x[:, np.newaxis], model.initial_state(1, score.case.memory_locations))
    read_heads = trace.reads.shape[1]
    start, weights = _visited(np.roll(trace.weights, -read_heads, axis=1))
    names = [*_head_names("write", trace.adds.shape[1]), *_head_names("read", read_heads)]
    figure = Figure(figsize=(max(11, 2.8 * len(names)), 7 if vectors else 4), layout="constrained")
    figure.suptitle(f"{title}\n{NETWORKS[runs.ntm].title}, {describe(size)}: {_wrong(score)}")
    figure.supxlabel("time step; the line is the start of the output phase", fontsize="medium")
    first = int(np.flatnonzero(mask)[0])
    grid = figure.add_gridspec(3 if vectors else 1, 2 * len(names), height_ratios=[2, 2, 3] if vectors else None)
    columns = [slice(2 * head, 2 * head + 2) for head in range(len(names))]
    if vectors:
        y = np.ma.array(trace.y, mask=np.broadcast_to(mask[:, np.newaxis] == 0, trace.y.shape))
        halves = [figure.add_subplot(grid[0, : len(names)]), figure.add_subplot(grid[0, len(names) :])]
        _draw_row(halves, ["input", "output"], [x, y], _BITS, first=first)
        titles = [f"{name}: {'adds' if name.startswith('write') else 'reads'}" for name in names]
        moved = np.concatenate([trace.adds, trace.reads], axis=1).swapaxes(0, 1)  # [K+R, T, M]
        largest = float(np.abs(moved).max())
        signed = {"cmap": "PuOr_r", "vmin": -largest, "vmax": largest}
        panels = [figure.add_subplot(grid[1, column]) for column in columns]
        _draw_row(panels, titles, moved, signed, first=first)
    panels = [figure.add_subplot(grid[-1, column]) for column in columns]
    _draw_row(panels, [f"{name}: weighting" for name in names], weights, _BITS, first=first, start=start)
    panels[0].set_ylabel("location")
    return figure


def _head_names(kind: str, count: int) -> list[str]:
    return [f"{kind} head {i + 1}" if count > 1 else f"{kind} head" for i in range(count)]


def _visited(weights: Floats) -> tuple[int, Floats]:
    """The weightings ``[heads, T, visited]`` from the first location on that a head visits, and its number.

    The locations are a circle: those that are left out are the longest arc that no head visits. Where the others
    include location 0, those before it have negative numbers.
    """
    locations = weights.shape[2]
    visited = np.flatnonzero(weights.max(axis=(0, 1)) > _FAINT)
    gaps = np.diff(visited, append=visited[0] + locations)
    last = int(gaps.argmax())
    start = int(visited[(last + 1) % len(visited)])
    count = locations - int(gaps[last]) + 1
    shown = np.roll(weights, -start, axis=2)[:, :, :count].swapaxes(0, 1)
    return start - locations if start + count > locations else start, shown


def _draw_row(
    panels: Sequence[Axes],
    titles: Sequence[str],
    values: Sequence[Floats] | Floats,
    scale: dict[str, Any],
    *,
    first: int,
    start: int = 0,
) -> None:
    """Panels side by side, each of ``[T, numbers]``.

    Args:
        panels: the axes to draw in.
        titles: the titles of the panels.
        values: the values of the panels.
        scale: the scale of all values.
        first: the first step of the output phase, counted from 0.
        start: the label of the first number.
    """
    for axes, title, shown in zip(panels, titles, values, strict=True):
        image = _show(axes, shown, start, **scale)
        axes.axvline(first + 0.5, color=BLUE, linewidth=1.2)
        axes.set_facecolor(_IGNORED)
        axes.set_title(title, loc="left", fontsize="medium")
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
    ticks = sorted({scale["vmin"], 0, scale["vmax"]})
    panels[0].figure.colorbar(image, ax=panels, aspect=10, pad=0.01, ticks=ticks, format="{x:.2g}")


# What the figures have in common.


def _show(axes: Axes, values: Floats, start: int = 0, **scale: Any) -> AxesImage:
    """Show ``[T, numbers]``: time from left to right, counted from 1; the numbers from the top, from ``start`` on."""
    extent = (0.5, len(values) + 0.5, start + values.shape[1] - 0.5, start - 0.5)
    return axes.imshow(values.T, extent=extent, aspect="auto", interpolation="nearest", **scale)


def _draw_paper(axes: Axes, paper: Mapping[str, Points]) -> None:
    """The paper's values that are within the axes, as hollow marks."""
    left, right = axes.get_xlim()
    for network, points in paper.items():
        for x, y in points:
            if left <= x <= right:
                axes.plot(x, y, **_paper_mark(network), clip_on=False, zorder=3)


def _paper_mark(network: str) -> dict[str, Any]:
    _, _, colour, marker = NETWORKS[network]
    return {
        "color": colour,
        "marker": marker,
        "linestyle": "",
        "markerfacecolor": "none",
        "markersize": 9,
        "markeredgewidth": 1.5,
    }


def _add_legend(figure: Figure, paper: str, others: Sequence[Line2D] = ()) -> None:
    """Below the panels, what the lines and the paper's marks are."""
    lines = [Line2D([], [], color=colour, linewidth=2, label=title) for title, _, colour, _ in NETWORKS.values()]
    marks = tuple(Line2D([], [], **_paper_mark(network)) for network in NETWORKS)
    handles: list[Any] = [*lines, *others, marks]
    labels = [*(str(line.get_label()) for line in (*lines, *others)), paper]
    side_by_side: dict[type, Any] = {tuple: HandlerTuple(ndivide=None)}
    where: dict[str, Any] = {"loc": "outside lower center", "ncols": 2, "frameon": False, "handlelength": 4}
    figure.legend(handles, labels, handler_map=side_by_side, **where)


def _label(axes: Axes, x: str, y: str) -> None:
    axes.set(xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)


def _counted(number: int, name: str) -> str:
    return f"{number:,} {name}{'' if number == 1 else 's'}"


def _some(models: list[ntm.Model], task: str, network: str) -> list[ntm.Model]:
    if not models:
        raise SystemExit(f"{task}, {network}: no seed was exported")
    return models


FIGURES: dict[str, Callable[[Runs], Figure]] = {
    "fig3": functools.partial(
        _draw_learning,
        Learning(
            "Learning to copy, as in Figure 3",
            "copy",
            thousands=1_000,
            bits=10,
            paper={
                LSTM: ((100, 4.8), (1_000, 0.5)),
                LSTM_CONTROLLER: ((100, 0.1), (1_000, 0.1)),
                FEEDFORWARD: ((100, 0.1), (1_000, 0.1)),
            },
        ),
    ),
    "fig4": functools.partial(_draw_copies, 4, None),
    "fig5": functools.partial(_draw_copies, 5, LSTM),
    "fig6": functools.partial(_draw_memory, "copy", {"length": 20}, "Memory use while copying, as in Figure 6", True),
    "fig7": functools.partial(
        _draw_learning,
        Learning(
            "Learning to copy repeatedly, as in Figure 7",
            "repeat-copy",
            thousands=500,
            bits=200,
            paper={
                LSTM: ((50, 105), (100, 20)),
                LSTM_CONTROLLER: ((50, 5), (100, 5)),
                FEEDFORWARD: ((50, 45), (100, 5)),
            },
        ),
    ),
    "fig8": _draw_repeats,
    "fig10": functools.partial(
        _draw_learning,
        Learning(
            "Learning associative recall, as in Figure 10",
            "associative-recall",
            thousands=1_000,
            bits=20,
            paper={LSTM_CONTROLLER: ((30, 0),), FEEDFORWARD: ((30, 0),)},
        ),
    ),
    "fig11": _draw_recall_by_items,
    "fig12": functools.partial(
        _draw_memory, "associative-recall", {"items": 6}, "Memory use in associative recall, as in Figure 12", True
    ),
    "fig13": functools.partial(
        _draw_learning,
        Learning(
            "Learning dynamic 6-grams, as in Figure 13",
            "dynamic-ngrams",
            thousands=1_000,
            bits=30,
            paper={LSTM: ((1_000, 3),), LSTM_CONTROLLER: ((1_000, 0.5),), FEEDFORWARD: ((1_000, 1),)},
        ),
    ),
    "fig14": _draw_predictions,
    "fig16": _draw_sort_task,
    "fig17": functools.partial(
        _draw_memory, "priority-sort", {"vectors": 20}, "Memory use while sorting, as in Figure 17", False
    ),
    "fig18": functools.partial(
        _draw_learning,
        Learning(
            "Learning priority sort, as in Figure 18",
            "priority-sort",
            thousands=1_000,
            bits=140,
            paper={LSTM: ((1_000, 58),), LSTM_CONTROLLER: ((1_000, 18),), FEEDFORWARD: ((1_000, 20),)},
            size={"vectors": 20},
        ),
    ),
    "collier-beel": _draw_collier_beel,
}


if __name__ == "__main__":
    main()
