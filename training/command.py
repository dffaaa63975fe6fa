"""``ntm-train``: train a Neural Turing Machine on the copy task."""

import json
import os
import pathlib
import sys
import time
from typing import Annotated, Any

_STARTED = time.monotonic()  # before the slow imports: they are part of the time to converge

import typer  # noqa: E402

from ntm import console  # noqa: E402

_COMMAND = "ntm-train"


def train(
    *,
    output: Annotated[pathlib.Path, typer.Option("--output", "-o", metavar="RUN", help="The run folder to make.")],
    seed: Annotated[int, typer.Option(min=0, help="Seed of the network and of the data.")] = 0,
    max_batches: Annotated[int, typer.Option(min=1, help="Give up after so many batches.")] = 20_000,
    max_length: Annotated[int, typer.Option(min=1, metavar="L", help="Train on sequences of 1 to L words.")] = 20,
    batch_size: Annotated[int, typer.Option(min=1, metavar="B", help="Sequences in a batch.")] = 8,
    learning_rate: Annotated[float, typer.Option(help="Of Adam.")] = 2e-3,
    sharpening_batches: Annotated[
        int, typer.Option(min=0, help="Batches of a falling learning rate after the task is learned.")
    ] = 1_500,
    # As tight as the longest sequence allows, so that the write head learns to keep what it passes.
    memory_locations: Annotated[int, typer.Option(min=1, metavar="N", help="Memory locations while training.")] = 22,
    memory_vector_size: Annotated[int, typer.Option(min=1, metavar="M", help="Numbers in a location.")] = 20,
    word_bits: Annotated[int, typer.Option(min=1, max=31, metavar="W", help="Bits in a word.")] = 8,
    shifts: Annotated[int, typer.Option(min=1, metavar="S", help="Shifts allowed, odd.")] = 3,
    read_heads: Annotated[int, typer.Option(min=1, metavar="R", help="Read heads.")] = 1,
    write_heads: Annotated[int, typer.Option(min=1, metavar="K", help="Write heads.")] = 1,
    controller_sizes: Annotated[str, typer.Option(metavar="H,…", help="Units of each hidden layer.")] = "100,100,100",
    learn_r_bias: Annotated[bool, typer.Option("--learn-r-bias", help="Learn the initial read vectors.")] = False,
    learn_w_bias: Annotated[bool, typer.Option("--learn-w-bias", help="Learn the initial weightings.")] = False,
    learn_m_bias: Annotated[bool, typer.Option("--learn-m-bias", help="Learn the initial memory vector.")] = False,
    xla: Annotated[bool, typer.Option("--xla/--no-xla", help="Compile the training step with XLA.")] = True,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in RUN, with its own options.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a run that is already there.")] = False,
    as_json: console.Json = False,
    quiet: console.Quiet = False,
    version: console.Version = False,  # noqa: ARG001  (its callback does the work)
) -> int:
    """Train a Neural Turing Machine on the copy task.

    The exit code is 0 when the network has converged: no wrong bit in 2,000 fresh sequences of 1 to L words. It is
    1 when it has not.
    """
    console.require("train", "tensorflow")
    set_up_tensorflow()
    from ntm.models import NTMConfig  # noqa: PLC0415  (it imports TensorFlow)
    from ntm.training import run  # noqa: PLC0415
    from ntm.training.config import TrainingConfig  # noqa: PLC0415
    from ntm.training.train import train as train_run  # noqa: PLC0415

    if resume:
        network, config = run.load_config(output)
    else:
        try:
            sizes = tuple(int(size) for size in controller_sizes.split(","))
        except ValueError:
            raise console.CommandError(
                f"controller-sizes must be whole numbers with commas between, not {controller_sizes}"
            ) from None
        try:
            network = NTMConfig(
                word_bits=word_bits,
                memory_locations=memory_locations,
                memory_vector_size=memory_vector_size,
                shifts=shifts,
                controller_sizes=sizes,
                read_heads=read_heads,
                write_heads=write_heads,
                learn_r_bias=learn_r_bias,
                learn_w_bias=learn_w_bias,
                learn_m_bias=learn_m_bias,
            )
            config = TrainingConfig(
                seed=seed,
                max_length=max_length,
                batch_size=batch_size,
                max_batches=max_batches,
                learning_rate=learning_rate,
                sharpening_batches=sharpening_batches,
                xla=xla,
            )
        except ValueError as error:
            raise console.CommandError(str(error)) from error
        _make_folder(output, replace=force)
        run.save_config(output, network, config)

    with console.Progress(config.max_batches, quiet=quiet) as bar:

        def report(line: dict[str, Any]) -> None:
            rate = line["sequences"] / max(line["seconds"], 1e-9)
            bar.update(
                line["batches"],
                f"loss {line['loss']:.2e}, {line['wrong_bits']:.2f} wrong bits a sequence, {rate:,.0f} sequences/s",
            )

        summary = train_run(output, network, config, started=_STARTED, resume=resume, report=report)
    if as_json:
        sys.stdout.write(json.dumps(summary) + "\n")
    elif not quiet:
        console.say(_sentence(summary))
    return console.OK if summary["converged"] else console.WRONG


def _sentence(summary: dict[str, Any]) -> str:
    if not summary["converged"]:
        return f"{_COMMAND}: not converged after {summary['sequences']:,} sequences in {summary['seconds']:.1f} s"
    return (
        f"{_COMMAND}: converged after {summary['sequences_to_converge']:,} sequences in "
        f"{summary['seconds_to_converge']:.1f} s, finished after {summary['sequences']:,} in {summary['seconds']:.1f} s"
    )


def _make_folder(folder: pathlib.Path, *, replace: bool) -> None:
    """Make the run folder, over a run only where that is asked for, and never over anything else."""
    from ntm.training.run import CONFIG, FILES  # noqa: PLC0415  (it imports TensorFlow)

    with console.explaining(f"cannot make {folder}"):
        if folder.exists() and any(folder.iterdir()):
            if not (folder / CONFIG).exists():
                raise console.CommandError(f"{folder} exists and is not a run")
            if not replace:
                raise console.CommandError(f"{folder} exists; --force replaces it, --resume goes on with it")
            for name in FILES:
                (folder / name).unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)


def set_up_tensorflow() -> None:
    """Import TensorFlow, with what has to stand in the environment before; what the user has set stays."""
    # The kernels of so small a network compile faster at level 1, and run no slower.
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_backend_optimization_level" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_backend_optimization_level=1".strip()
    # The second training need not compile again.
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / console.DISTRIBUTION
    os.environ.setdefault("TF_XLA_FLAGS", f"--tf_xla_persistent_cache_directory={cache / 'xla'}")
    console.import_tensorflow()


def main() -> None:
    """The entry point."""
    console.run(_COMMAND, train)
