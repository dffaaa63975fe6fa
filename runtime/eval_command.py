"""``ntm-eval``: count what a Neural Turing Machine gets wrong by the length of a sequence, and draw what it does."""

import enum
import json
import os
import pathlib
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

from typer import Option

from ntm import console
from ntm.runtime import folder, options
from ntm.runtime.metadata import LARGEST_SIZE

if TYPE_CHECKING:
    from ntm.runtime.evaluate import Case, Score
    from ntm.runtime.model import Model

COMMAND = "ntm-eval"

# As many as the original has, whose table can then be compared; longer sequences get what they need.
LEAST_LOCATIONS = 128

# Where the pictures go by default, by option.
PICTURES = {"--plot": "ntm-eval-plot.png", "--trace": "ntm-eval-trace.png"}
FORMATS = (".png", ".pdf", ".svg")
_FORMATS = " or ".join(FORMATS)
_MOST_PLOTTED = 20
# A trace is held whole: the steps of a copy times the locations.
_LARGEST_TRACE = 1 << 24


class Pattern(enum.StrEnum):
    """What ``--pattern`` takes: the names of ``ntm.runtime.patterns.PATTERNS``."""

    RANDOM = "random"
    ZEROS = "zeros"
    ONES = "ones"
    REPEAT = "repeat"
    COUNTER = "counter"
    TEXT = "text"


def evaluate(
    *,
    model: options.Model = folder.BUNDLED,
    lengths: Annotated[str, Option(metavar="L,…", help="Words in a sequence: one length or several.")] = "20,120,1000",
    sequences: Annotated[int, Option(min=1, max=1 << 24, metavar="COUNT", help="Sequences of each length.")] = 100,
    memory_locations: Annotated[
        int | None,
        Option(
            min=1,
            max=LARGEST_SIZE,
            metavar="N",
            help="Memory locations.",
            show_default=f"L + 2, at least {LEAST_LOCATIONS}",
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        Option(min=1, max=1 << 16, metavar="B", help="Sequences that run side by side.", show_default="the fastest"),
    ] = None,
    threads: options.Threads = None,
    pattern: Annotated[Pattern, Option(help="What the sequences hold.")] = Pattern.RANDOM,
    seed: Annotated[int, Option(min=0, help="Seed of the sequences.")] = 0,
    plot: Annotated[
        pathlib.Path | None,
        Option(
            metavar="[FILE]",
            help="Draw target, output and error for each length, of its worst sequence. "
            f"FILE ends in {_FORMATS}; without one: {PICTURES['--plot']}.",
        ),
    ] = None,
    trace: Annotated[
        pathlib.Path | None,
        Option(
            metavar="[FILE]",
            help="Draw what the heads do with the memory, for the worst sequence of the first length. "
            f"FILE ends in {_FORMATS}; without one: {PICTURES['--trace']}.",
        ),
    ] = None,
    force: Annotated[bool, Option("--force", "-f", help="Replace pictures that exist.")] = False,
    as_json: console.Json = False,
    quiet: console.Quiet = False,
    version: console.Version = False,  # noqa: ARG001  (its callback acts on it)
) -> int:
    """Let a Neural Turing Machine copy sequences that it has never seen, and count the wrong bits by length.

    A bit is wrong if the output, thresholded at 0.5, is not the bit of the word. The soft cost is as the original
    counted it: the sum of |target - output| over the output phase, in bits per sequence.

    The exit code is 0 if every bit came back, 1 if some are wrong, 2 for trouble.
    """
    if sys.stdout is None:
        raise console.CommandError("standard output is closed")
    wanted = parse_lengths(lengths)
    _check_pictures(plot, trace, force=force)
    if plot and len(wanted) > _MOST_PLOTTED:
        raise console.CommandError(f"a plot has room for {_MOST_PLOTTED} lengths, not {len(wanted)}")
    try:
        files = folder.read(model)
        from ntm.runtime import evaluate as evaluation  # noqa: PLC0415  (as all below: it imports numpy)
        from ntm.runtime.model import Model, locations_for  # noqa: PLC0415

        try:
            network = Model(files, memory_locations, batch_size=batch_size, own_process=True)
        except ValueError as error:
            raise console.CommandError(str(error)) from error
        least = max(LEAST_LOCATIONS, files.metadata.least_locations)
        cases = [
            evaluation.Case(length, memory_locations or max(locations_for(length), least), sequences, pattern, seed)
            for length in wanted
        ]
        if trace and cases[0].steps * cases[0].memory_locations > _LARGEST_TRACE:
            raise console.CommandError(f"a trace of {wanted[0]} words is too large: put a shorter length first")
        start = time.monotonic()
        scores = list(_scores(network, cases, threads or options.available_cores(), quiet=quiet))
        summary = {
            "model": files.metadata.model_name,
            "checkpoint_sha256": files.metadata.checkpoint_sha256,
            "seed": seed,
            "seconds": round(time.monotonic() - start, 6),
            "results": [score.as_dict() for score in scores],
        }
        try:
            if as_json or not quiet:
                console.show(json.dumps(summary) if as_json else evaluation.table(scores))
        finally:  # the figures may have nowhere to go, and the pictures do
            _draw(network, scores, plot, trace, force=force, quiet=quiet)
    except folder.ModelError as error:
        raise console.CommandError(str(error)) from error
    return console.WRONG if any(score.wrong_bits.any() for score in scores) else console.OK


def parse_lengths(text: str) -> list[int]:
    """Read ``20,120,1000``.

    Raises:
        CommandError: it is something else.
    """
    longest = LARGEST_SIZE - 2
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and len(part) < 10 and 1 <= int(part) <= longest for part in parts):
        raise console.CommandError(f"lengths must be numbers from 1 to {longest} with commas between, not {text}")
    return [int(part) for part in parts]


def _check_pictures(plot: pathlib.Path | None, trace: pathlib.Path | None, *, force: bool) -> None:
    """Refuse a picture that cannot be drawn, before the counting, which takes its time."""
    pictures = [path for path in (plot, trace) if path is not None]
    if pictures:
        console.require("plot", "matplotlib")
    if plot and trace and os.path.realpath(plot) == os.path.realpath(trace):
        raise console.CommandError(f"{plot} cannot be both pictures")
    for path in pictures:
        if path.suffix.lower() not in FORMATS:
            raise console.CommandError(f"cannot draw {path}: its name must end in {_FORMATS}")
        options.check_free(path, options.output_status(path), force=force)


def _scores(network: "Model", cases: "list[Case]", threads: int, *, quiet: bool) -> "Iterable[Score]":
    """Evaluate, under a progress bar."""
    from ntm.runtime import evaluate as evaluation  # noqa: PLC0415
    from ntm.runtime.model import warn_if_exceeded  # noqa: PLC0415

    for case in cases:
        warn_if_exceeded(case.length, case.memory_locations)
    # What a case takes grows with its steps and with its locations.
    efforts = [case.sequences * case.steps * case.memory_locations for case in cases]
    with console.Progress(sum(efforts), quiet=quiet) as progress:
        for i, case in enumerate(cases):

            def report(done: float, i: int = i, case: "Case" = case) -> None:
                effort = sum(efforts[:i]) + efforts[i] * done / case.sequences
                progress.update(effort, f"length {case.length:,}: {int(done):,} of {case.sequences:,} sequences")

            yield evaluation.evaluate(network, case, threads=threads, report=report)


def _draw(
    network: "Model",
    scores: "list[Score]",
    plot: pathlib.Path | None,
    trace: pathlib.Path | None,
    *,
    force: bool,
    quiet: bool,
) -> None:
    """Draw the pictures that are asked for, and say where they are."""
    if not plot and not trace:
        return
    from ntm.runtime import pictures  # noqa: PLC0415  (it imports matplotlib)

    if plot:
        pictures.save(pictures.draw_copies(scores), plot, replace=force)
    if trace:
        first = scores[0]
        state = network.initial_state(1, first.case.memory_locations)
        pictures.save(pictures.draw_trace(network.trace(first.worst.words[None], state)), trace, replace=force)
    if not quiet:
        console.say(f"{COMMAND}: wrote {' and '.join(str(path) for path in (plot, trace) if path)}")


def with_default_files(arguments: list[str]) -> list[str]:
    """The arguments, with a name after each ``--plot`` and ``--trace`` that has none: typer's options must have one."""
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
