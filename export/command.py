"""``ntm-export``: a trained network as model files that run without TensorFlow, each proven equal to it."""

import contextlib
import dataclasses
import enum
import json
import os
import pathlib
import signal
import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from ntm import console

_COMMAND = "ntm-export"
DEFAULT_UNROLL = 32


class Format(enum.StrEnum):
    """What ``--format`` takes."""

    ONNX = "onnx"
    SAVEDMODEL = "savedmodel"
    TFLITE = "tflite"
    ALL = "all"


def export(
    run: Annotated[pathlib.Path, typer.Argument(metavar="RUN", help="The run folder that ntm-train made.")],
    *,
    output: Annotated[
        pathlib.Path | None, typer.Option("--output", "-o", metavar="DIR", help="The folder to make.")
    ] = None,
    format_: Annotated[Format, typer.Option("--format", help="What to put into the folder.")] = Format.ONNX,
    unroll: Annotated[
        int, typer.Option(min=1, max=1024, metavar="U", help="Time steps in the unrolled graph.")
    ] = DEFAULT_UNROLL,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="What the model is called; by default as the folder.")
    ] = None,
    check: Annotated[
        pathlib.Path | None,
        typer.Option(metavar="DIR", help="Export nothing: compare the export in DIR with RUN again."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an export that is already there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Export a trained network, and prove the export equal to TensorFlow.

    Every graph runs beside TensorFlow over more than a thousand steps of sequences longer than any it was trained
    on. The folder appears only if no output bit differs, and no tensor by more than 1e-5; otherwise the exit code is 1.
    """
    if (output is None) == (check is None):
        raise console.CommandError("give either --output DIR or --check DIR")
    with _silence():
        from ntm.export import publish  # noqa: PLC0415  (it imports TensorFlow)
    try:
        if check is not None:
            agreements = publish.verify(publish.load(run), check)
        elif output is not None:
            formats = list(publish.FORMATS) if format_ is Format.ALL else [format_.value]
            agreements = publish.publish(run, output, formats, unroll=unroll, model_name=name, replace=force)
    except publish.DisagreementError as error:
        console.fail(_COMMAND, str(error), console.WRONG)
    if as_json:
        sys.stdout.write(json.dumps({graph: dataclasses.asdict(found) for graph, found in agreements.items()}) + "\n")
    elif not quiet:
        sys.stdout.write(publish.table(agreements) + "\n")


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep TensorFlow from greeting on stderr, which no setting of its own prevents."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    stderr = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def main() -> None:
    """The entry point."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    app = typer.Typer(add_completion=False)
    app.command()(export)
    try:
        app()
    except console.CommandError as error:
        console.fail(_COMMAND, str(error))
