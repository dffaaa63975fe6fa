"""``ntm-eval``: count the wrong bits of a Neural Turing Machine by the size of a sequence, and draw sequences."""

import json
import os
import pathlib
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

from typer import Option

from ntm import console
from ntm.errors import require
from ntm.runtime import folder, options
from ntm.runtime.cores import available_cores
from ntm.runtime.metadata import LARGEST_SIZE

if TYPE_CHECKING:
    from ntm.runtime.evaluate import Case, Score
    from ntm.runtime.model import Model
    from ntm.tasks import Task

COMMAND = "ntm-eval"

# The default files of the pictures, by option.
PICTURES = {"--plot": "ntm-eval-plot.png", "--trace": "ntm-eval-trace.png"}
FORMATS = (".png", ".pdf", ".svg")
_FORMATS = " or ".join(FORMATS)
_MOST_PLOTTED = 20
# The most numbers of a trace, which is held in memory: the steps of a sequence times the locations.
_LARGEST_TRACE = 1 << 24


def evaluate(
    *,
    model: options.Model = folder.DEFAULT,
    task: Annotated[
        str | None,
        Option(
            metavar="TASK",
            help="A task of the paper, or FILE.py:CLASS, which runs the file.",
            show_default="the task of the training",
        ),
    ] = None,
    option: Annotated[
        list[str], Option(metavar="NAME=VALUE", help="An option of the task; may be given several times.")
    ] = [],  # noqa: B006  (typer copies it)
    size: Annotated[
        list[str],
        Option(
            metavar="NAME=NUMBER",
            help="A size of the sequences, e.g. items=20 or length=10,repeats=3; may be given several times.",
            show_default="the evaluation sizes of the task",
        ),
    ] = [],  # noqa: B006
    lengths: Annotated[
        str | None, Option(metavar="L,...", help="Several lengths at once, for a task whose only size is the length.")
    ] = None,
    sequences: Annotated[int, Option(min=1, max=1 << 24, metavar="COUNT", help="Sequences of each size.")] = 100,
    memory_locations: Annotated[int | None, options.memory_locations("what the size needs, at least 128")] = None,
    batch_size: Annotated[
        int | None,
        Option(min=1, max=1 << 16, metavar="B", help="Sequences that run side by side.", show_default="the fastest"),
    ] = None,
    threads: options.Threads = None,
    seed: Annotated[int, Option(min=0, metavar="SEED", help="Seed of the sequences.")] = 0,
    plot: Annotated[
        pathlib.Path | None,
        Option(
            metavar="[FILE]",
            help="Draw input, target, output and error of the worst sequence of each size. "
            f"FILE ends in {_FORMATS}; its default is {PICTURES['--plot']}.",
        ),
    ] = None,
    trace: Annotated[
        pathlib.Path | None,
        Option(
            metavar="[FILE]",
            help="Draw how the heads use the memory in the worst sequence of the first size. "
            f"FILE ends in {_FORMATS}; its default is {PICTURES['--trace']}.",
        ),
    ] = None,
    force: Annotated[bool, Option("--force", "-f", help="Replace pictures that exist.")] = False,
    as_json: console.Json = False,
    quiet: console.Quiet = False,
    version: console.Version = False,  # noqa: ARG001  (its callback acts on it)
) -> int:
    """Run a Neural Turing Machine on new sequences, and count the wrong bits by size.

    A bit is wrong if the output, thresholded at 0.5, is not the target. The cost is the cross-entropy in bits per
    sequence, as the paper plots it.

    The exit code is 0 if no bit is wrong, 1 if some are, 2 for trouble. It is never 1 for a task whose next bit is
    uncertain (dynamic-ngrams).
    """
    if as_json or not quiet:
        console.check_stdout()
    if size and lengths is not None:
        raise console.CommandError("give either --size or --lengths")
    _check_pictures(plot, trace, force=force)
    files = folder.read(model)
    from ntm.runtime import evaluate as evaluation  # noqa: PLC0415  (it imports NumPy)
    from ntm.tasks import notation  # noqa: PLC0415

    wanted = [notation.parse_size(text) for text in size] if size else None
    if lengths is not None:
        wanted = [{"length": length} for length in parse_lengths(lengths)]
    learned = evaluation.task_of(files.metadata, task, notation.parse_options(option))
    network = options.make_model(files, memory_locations, batch_size=batch_size)
    if trace:
        network.check_heads()
    cases = evaluation.cases_of(
        files.metadata, learned, wanted, sequences=sequences, memory_locations=memory_locations, seed=seed
    )
    if plot and len(cases) > _MOST_PLOTTED:
        raise console.CommandError(f"a plot has room for {_MOST_PLOTTED} sizes, not {len(cases)}")
    if trace and learned.steps(cases[0].size) * cases[0].memory_locations > _LARGEST_TRACE:
        raise console.CommandError("a trace of the first size is too large: put a smaller size first")
    start = time.monotonic()
    scores = list(_scores(network, learned, cases, threads or available_cores(), quiet=quiet))
    summary = {
        "model": files.metadata.model_name,
        "checkpoint_sha256": files.metadata.checkpoint_sha256,
        "task": {"name": learned.name, "options": learned.options},
        "seed": seed,
        "seconds": round(time.monotonic() - start, 6),
        "results": [score.as_dict() for score in scores],
    }
    try:
        if as_json or not quiet:
            console.show(json.dumps(summary) if as_json else evaluation.table(scores))
    finally:  # even if stdout cannot be written
        _draw(network, scores, plot, trace, force=force, quiet=quiet)
    return console.OK if all(score.perfect for score in scores) else console.WRONG


def parse_lengths(text: str) -> list[int]:
    """Read ``20,120,1000``.

    Raises:
        CommandError: the text is something else.
    """
    longest = LARGEST_SIZE - 2
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and len(part) < 10 and 1 <= int(part) <= longest for part in parts):
        raise console.CommandError(f"lengths must be numbers from 1 to {longest} with commas between, not {text}")
    return [int(part) for part in parts]


def _check_pictures(plot: pathlib.Path | None, trace: pathlib.Path | None, *, force: bool) -> None:
    """Refuse a picture that cannot be drawn, before the evaluation begins."""
    pictures = [path for path in (plot, trace) if path is not None]
    if pictures:
        require("plot", "matplotlib")
    if plot and trace and os.path.realpath(plot) == os.path.realpath(trace):
        raise console.CommandError(f"{plot} cannot be both pictures")
    for path in pictures:
        if path.suffix.lower() not in FORMATS:
            raise console.CommandError(f"cannot draw {path}: its name must end in {_FORMATS}")
        options.check_free(path, options.output_status(path), force=force)


def _scores(network: "Model", task: "Task", cases: "list[Case]", threads: int, *, quiet: bool) -> "Iterable[Score]":
    """Evaluate with a progress bar."""
    from ntm.runtime import evaluate as evaluation  # noqa: PLC0415
    from ntm.tasks.task import describe  # noqa: PLC0415

    for case in cases:
        needed = task.memory_locations(case.size)
        if case.memory_locations < needed:
            console.warn(
                f"{describe(case.size)} needs {needed:,} memory locations, and there are {case.memory_locations:,}: "
                "expect wrong bits"
            )
    # The time of a case grows with its steps and with its locations.
    efforts = [case.sequences * task.steps(case.size) * case.memory_locations for case in cases]
    with console.Progress(sum(efforts), quiet=quiet) as progress:
        for i, case in enumerate(cases):

            def report(done: float, i: int = i, case: "Case" = case) -> None:
                effort = sum(efforts[:i]) + efforts[i] * done / case.sequences
                progress.update(effort, f"{describe(case.size)}: {int(done):,} of {case.sequences:,} sequences")

            yield evaluation.run_case(network, task, case, threads=threads, report=report)


def _draw(
    network: "Model",
    scores: "list[Score]",
    plot: pathlib.Path | None,
    trace: pathlib.Path | None,
    *,
    force: bool,
    quiet: bool,
) -> None:
    """Draw the requested pictures, and print their paths."""
    if not plot and not trace:
        return
    from ntm.runtime import pictures  # noqa: PLC0415  (it imports matplotlib)

    if plot:
        pictures.save(pictures.draw_sequences(scores), plot, replace=force)
    if trace:
        first = scores[0]
        traced = network.trace(first.worst.x[:, None], network.initial_state(1, first.case.memory_locations))
        pictures.save(pictures.draw_trace(traced, first), trace, replace=force)
    if not quiet:
        console.say(f"{COMMAND}: wrote {' and '.join(str(path) for path in (plot, trace) if path)}")


def with_default_files(arguments: list[str]) -> list[str]:
    """The arguments, with the default file after each ``--plot`` and ``--trace`` without one: typer needs a value."""
    completed = []
    for argument, following in zip(arguments, [*arguments, "-"][1:], strict=True):
        completed.append(argument)
        if argument in PICTURES and following.startswith("-"):
            completed.append(PICTURES[argument])
    return completed


def main() -> None:
    """The entry point."""
    sys.argv[1:] = with_default_files(sys.argv[1:])
    console.run(COMMAND, evaluate)
