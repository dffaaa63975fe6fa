"""``ntm-train``: train a Neural Turing Machine on the copy task."""

import dataclasses
import json
import math
import os
import pathlib
import shutil
import time
from typing import Annotated, Any

_STARTED = time.monotonic()  # before the slow imports: they are part of the time to converge

import typer  # noqa: E402

from ntm import console  # noqa: E402

_COMMAND = "ntm-train"

# Of the controller: hidden layers, and units in each.
_MOST_LAYERS, _MOST_UNITS = 16, 1 << 12
# What the cache of the compiled training may take.
_CACHE_BYTES = 1 << 26


def train(
    context: typer.Context,
    *,
    output: Annotated[pathlib.Path, typer.Option("--output", "-o", metavar="RUN", help="The run folder to make.")],
    seed: Annotated[int, typer.Option(min=0, max=(1 << 31) - 1, help="Seed of the network and of the data.")] = 0,
    max_batches: Annotated[
        int, typer.Option(min=1, max=(1 << 31) - 1, help="Give up after so many batches, a resumed run's included.")
    ] = 20_000,
    max_length: Annotated[
        int, typer.Option(min=1, max=1 << 16, metavar="L", help="Train on sequences of 1 to L words.")
    ] = 20,
    batch_size: Annotated[int, typer.Option(min=1, max=1 << 16, metavar="B", help="Sequences in a batch.")] = 8,
    learning_rate: Annotated[float, typer.Option(help="Of Adam, above 0 and at most 1.")] = 2e-3,
    sharpening_batches: Annotated[
        int,
        typer.Option(min=0, max=(1 << 31) - 1, help="Batches of a falling learning rate after the task is learned."),
    ] = 1_500,
    shut_gates: Annotated[
        bool,
        typer.Option(
            "--shut-gates/--no-shut-gates",
            help="Shut the gates after training (no search by content) if the network passes the last check so; it is "
            "faster to serve.",
        ),
    ] = True,
    # As tight as the longest sequence allows, so that the write head learns to keep what it passes.
    memory_locations: Annotated[
        int,
        typer.Option(min=1, max=1 << 20, metavar="N", help="Memory locations while training, S - 1 or more."),
    ] = 22,
    memory_vector_size: Annotated[
        int, typer.Option(min=1, max=1 << 12, metavar="M", help="Numbers in a location.")
    ] = 20,
    word_bits: Annotated[int, typer.Option(min=1, max=31, metavar="W", help="Bits in a word.")] = 8,
    shifts: Annotated[int, typer.Option(min=1, max=63, metavar="S", help="Shifts allowed, odd.")] = 3,
    read_heads: Annotated[int, typer.Option(min=1, max=1 << 6, metavar="R", help="Read heads.")] = 1,
    write_heads: Annotated[int, typer.Option(min=1, max=1 << 6, metavar="K", help="Write heads.")] = 1,
    controller_sizes: Annotated[str, typer.Option(metavar="H,…", help="Units of each hidden layer.")] = "100,100,100",
    learn_r_bias: Annotated[bool, typer.Option("--learn-r-bias", help="Learn the initial read vectors.")] = False,
    learn_w_bias: Annotated[bool, typer.Option("--learn-w-bias", help="Learn the initial weightings.")] = False,
    learn_m_bias: Annotated[bool, typer.Option("--learn-m-bias", help="Learn the initial memory vector.")] = False,
    xla: Annotated[bool, typer.Option("--xla/--no-xla", help="Compile the training step with XLA.")] = True,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in RUN, with its own options.")] = False,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace a run that is already there.")] = False,
    as_json: console.Json = False,
    quiet: console.Quiet = False,
    version: console.Version = False,  # noqa: ARG001  (its callback does the work)
) -> int:
    """Train a Neural Turing Machine on the copy task.

    The exit code is 0 when the network has converged: no wrong bit in 2,000 fresh sequences of 1 to L words. It is
    1 when it has not.
    """
    console.require("train", "tensorflow")
    if resume and force:
        raise console.CommandError("give either --resume or --force: one goes on with a run, the other replaces it")
    for_network: dict[str, Any] = {
        "word_bits": word_bits,
        "memory_locations": memory_locations,
        "memory_vector_size": memory_vector_size,
        "shifts": shifts,
        "controller_sizes": parse_sizes(controller_sizes),
        "read_heads": read_heads,
        "write_heads": write_heads,
        "learn_r_bias": learn_r_bias,
        "learn_w_bias": learn_w_bias,
        "learn_m_bias": learn_m_bias,
    }
    for_training: dict[str, Any] = {
        "seed": seed,
        "max_length": max_length,
        "batch_size": batch_size,
        "max_batches": max_batches,
        "learning_rate": learning_rate,
        "sharpening_batches": sharpening_batches,
        "shut_gates": shut_gates,
        "xla": xla,
    }
    set_up_tensorflow()
    from ntm.models import NTMConfig  # noqa: PLC0415  (it imports TensorFlow)
    from ntm.training import run  # noqa: PLC0415
    from ntm.training.config import TrainingConfig  # noqa: PLC0415
    from ntm.training.train import train as train_run  # noqa: PLC0415

    if resume:
        network, config = run.load_config(output)
        given = _given(context, for_network | for_training)
        config = dataclasses.replace(config, max_batches=given.pop("max_batches", config.max_batches))
        own = dataclasses.asdict(network) | dataclasses.asdict(config)
        for name, value in given.items():
            if value != own[name]:
                raise console.CommandError(
                    f"--resume keeps the options of {output}: {name} is {own[name]}, not {value}"
                )
    else:
        try:
            network, config = NTMConfig(**for_network), TrainingConfig(**for_training)
        except ValueError as error:
            raise console.CommandError(str(error)) from error
        run.check_free(output, replace=force)

    went_on = False
    with console.Progress(None, quiet=quiet) as bar:  # nobody knows when it will have learned the task

        def report(line: dict[str, Any]) -> None:
            nonlocal went_on
            went_on = True
            loss = math.nan if line["loss"] is None else line["loss"]
            rate = line["sequences"] / max(line["seconds"], 1e-9)
            bar.update(
                line["batches"],
                f"batch {line['batches']:,}, loss {loss:.2e}, {line['wrong_bits']:.2f} wrong bits, "
                f"{rate:,.0f} sequences/s",
            )

        summary = train_run(output, network, config, started=_STARTED, resume=resume, replace=force, report=report)
    if as_json:
        console.show(json.dumps(summary))
    elif not quiet:
        console.say(f"{_COMMAND}: {'' if went_on else 'nothing left to do: '}{_sentence(summary)}")
    return console.OK if summary["converged"] else console.WRONG


def parse_sizes(text: str) -> tuple[int, ...]:
    """Read ``100,100,100``.

    Raises:
        CommandError: it is something else.
    """
    sizes = [size.strip() for size in text.split(",")]
    if len(sizes) > _MOST_LAYERS or not all(
        size.isascii() and size.isdecimal() and len(size) < 10 and 1 <= int(size) <= _MOST_UNITS for size in sizes
    ):
        raise console.CommandError(
            f"controller-sizes must be up to {_MOST_LAYERS} numbers from 1 to {_MOST_UNITS} with commas between, "
            f"not {text}"
        )
    return tuple(map(int, sizes))


def _given(context: typer.Context, options: dict[str, Any]) -> dict[str, Any]:
    """Those of the options that are on the command line."""
    sources = {name: context.get_parameter_source(name) for name in options}
    return {name: options[name] for name, source in sources.items() if source and source.name == "COMMANDLINE"}


def _sentence(summary: dict[str, Any]) -> str:
    if not summary["converged"]:
        return (
            f"not converged after {summary['sequences']:,} sequences in {summary['seconds']:.1f} s; "
            f"--resume goes on with more --max-batches than {summary['batches']}"
        )
    return (
        f"converged after {summary['sequences_to_converge']:,} sequences in {summary['seconds_to_converge']:.1f} s, "
        f"finished after {summary['sequences']:,} in {summary['seconds']:.1f} s"
    )


def set_up_tensorflow() -> None:
    """Import TensorFlow, with what has to stand in the environment before; what the user has set stays."""
    # The kernels of so small a network compile faster at level 1, and run no slower.
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_backend_optimization_level" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_backend_optimization_level=1".strip()
    cache = _cache()
    if cache is not None:
        os.environ.setdefault("TF_XLA_FLAGS", f"--tf_xla_persistent_cache_directory={cache}")
    console.import_tensorflow()


def _cache() -> pathlib.Path | None:
    """Where XLA keeps what it has compiled, for the next training; None where it could not, which XLA takes badly."""
    try:
        cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / console.DISTRIBUTION
        folder = cache / "xla"
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK | os.X_OK) and shutil.disk_usage(folder).free >= _CACHE_BYTES
    except (OSError, RuntimeError):  # the latter where there is no home
        return None
    return folder if writable else None


def main() -> None:
    """The entry point."""
    console.run(_COMMAND, train)
