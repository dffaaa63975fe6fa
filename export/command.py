"""``ntm-export``: a trained network as model files that run without TensorFlow, each proven equal to it."""

import dataclasses
import json
import pathlib
from typing import Annotated

import typer

from ntm import console
from ntm.errors import require
from ntm.export.options import ALL, DEFAULT_UNROLL, Format, parse_sizes

_COMMAND = "ntm-export"


def export(
    run: Annotated[
        pathlib.Path | None,
        typer.Argument(metavar="RUN", help="The run folder that ntm-train made.", show_default=False),
    ] = None,
    *,
    output: Annotated[
        pathlib.Path | None, typer.Option("--output", "-o", metavar="DIR", help="The folder to make.")
    ] = None,
    format_: Annotated[
        list[Format],
        typer.Option(
            "--format",
            metavar="FORMAT",
            help=f"A format to export: {', '.join(Format)}; may be given several times. `all` leaves out `native`, "
            "which needs a C compiler and is for one kind of machine.",
        ),
    ] = [Format.ONNX],  # noqa: B006  (typer copies it)
    task: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.py:CLASS", help="What RUN was trained on, if the task is not built in; this runs the file."
        ),
    ] = None,
    unroll: Annotated[
        int, typer.Option(min=1, max=1024, metavar="U", help="Time steps in `unrolled.onnx`.")
    ] = DEFAULT_UNROLL,
    memory_locations: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1 << 20,
            metavar="N",
            help="Memory locations of a sequence in Triton, and of the native library.",
            show_default="128, or more if the network was trained with more",
        ),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, max=1 << 10, metavar="B", help="Sequences side by side in the native library.")
    ] = 1,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="TRIPLE",
            help="The system of the native library, such as aarch64-linux-gnu.",
            show_default="this system",
        ),
    ] = None,
    cpu: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The processor of the native library, by the name for the C compiler, such as x86-64-v3 or native.",
            show_default="every processor of the architecture",
        ),
    ] = None,
    fixed: Annotated[
        list[str] | None,
        typer.Option(
            metavar="B,N",
            help="Export a step of these sizes too, B sequences and N memory locations, for programs that need fixed "
            "sizes; may be given several times.",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="The name of the model.", show_default="the name of the folder")
    ] = None,
    check: Annotated[
        pathlib.Path | None,
        typer.Option(metavar="DIR", help="Export nothing; compare the export in DIR with TensorFlow again."),
    ] = None,
    seal: Annotated[
        pathlib.Path | None,
        typer.Option(
            metavar="DIR",
            help="Export nothing, and take no RUN; accept the ONNX files in DIR that you have changed, so that the "
            "runtime loads them. They are not compared with TensorFlow.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace an export that is already there.")] = False,
    as_json: console.Json = False,
    quiet: console.Quiet = False,
    version: console.Version = False,  # noqa: ARG001  (its callback does the work)
) -> int:
    """Export a trained network, and compare the export with TensorFlow.

    Every graph is compared with TensorFlow for more than a thousand steps, on sequences of the smallest and the largest
    sizes of the task. The folder appears only if no output bit differs, and no number by more than 1e-5. The numbers of
    the quantised TF-Lite graph may differ. The export leaves this graph out, with a warning, if a bit differs, or if it
    outputs more wrong bits on whole sequences than TensorFlow.

    The exit code is 0 if the export is published, 1 if it differs, 2 for trouble.
    """
    if [output, check, seal].count(None) != 2:
        raise console.CommandError("give one of --output DIR, --check DIR and --seal DIR")
    if seal is not None:
        if run is not None:
            raise console.CommandError("--seal takes no RUN: it compares nothing")
        return _seal(seal, as_json=as_json, quiet=quiet)
    if run is None:
        raise console.CommandError("missing argument 'RUN'.")
    sizes = [parse_sizes(text) for text in fixed or ()]
    if as_json or not quiet:
        console.check_stdout()
    require("export", "tensorflow", "tf2onnx", "onnx", "ai_edge_litert")
    console.import_tensorflow()
    from ntm.export import publish  # noqa: PLC0415  (it imports TensorFlow)
    from ntm.runtime import site  # noqa: PLC0415
    from ntm.training import devices  # noqa: PLC0415
    from ntm.training.beyond import sentence  # noqa: PLC0415
    from ntm.training.run import load_run  # noqa: PLC0415

    devices.hide_gpus()
    try:
        if output is not None:
            wanted = [name for form in format_ for name in (ALL if form == Format.ALL else [form.value])]
            agreements = publish.publish(
                run,
                output,
                list(dict.fromkeys(wanted)),
                task=task,
                unroll=unroll,
                memory_locations=memory_locations,
                batch_size=batch_size,
                target=target,
                cpu=cpu,
                fixed=sizes,
                model_name=name,
                replace=force,
            )
        elif check is not None:
            agreements = publish.verify(run, check, task=task)
    except publish.DisagreementError as error:
        console.fail(_COMMAND, str(error), console.WRONG)
    if as_json:
        console.show(json.dumps({graph: dataclasses.asdict(found) for graph, found in agreements.items()}))
    elif not quiet:
        console.show(publish.table(agreements))
        if output is not None and (output / site.PAGE).exists():
            console.say(f"{_COMMAND}: {site.read_runtime(output)}")
        trained = load_run(run)
        beyond = sentence(trained.summary, trained.config.training.goal)
        if beyond:
            console.say(f"{_COMMAND}: at the end of its training: {beyond}")
    return console.OK


def _seal(folder: pathlib.Path, *, as_json: bool, quiet: bool) -> int:
    from ntm.export.seal import seal as seal_changed  # noqa: PLC0415  (it imports onnxruntime)

    names = seal_changed(folder)
    if as_json:
        console.show(json.dumps({"sealed": names}))
    elif not names and not quiet:
        console.say(f"{_COMMAND}: nothing to seal: no ONNX file in {folder} was changed")
    if names:
        console.warn(
            f"sealed {', '.join(names)}; nothing proves any more that this equals TensorFlow: "
            f"ntm-export RUN --check {folder} compares it"
        )
    return console.OK


def main() -> None:
    """The entry point."""
    console.run(_COMMAND, export)
