"""``ntm-run``: run a Neural Turing Machine on the sequences of a NumPy file."""

import io
import sys
import warnings
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from ntm import console
from ntm.errors import FileError, explaining
from ntm.files import write_all
from ntm.runtime import folder, options
from ntm.runtime.cores import available_cores

if TYPE_CHECKING:
    import numpy as np

    from ntm.runtime.model import Model

COMMAND = "ntm-run"


def run(
    source: Annotated[str, Argument(metavar="X.npy", help="Sequences [B, T, I] of numbers; - is standard input.")],
    *,
    output: Annotated[
        str, Option("--output", "-o", metavar="Y.npy", help="Where the outputs go; - is standard output.")
    ],
    model: options.Model = folder.DEFAULT,
    bits: Annotated[
        bool, Option("--bits", help="Write bits, uint8, thresholded at 0.5; else probabilities, float32.")
    ] = False,
    memory_locations: Annotated[int | None, options.memory_locations("T, at least those of training")] = None,
    threads: options.Threads = None,
    force: Annotated[bool, Option("--force", "-f", help="Replace Y.npy if it exists.")] = False,
    quiet: console.Quiet = False,
    version: console.Version = False,  # noqa: ARG001  (its callback acts on it)
) -> int:
    """Run a Neural Turing Machine on the sequences of a NumPy file.

    X.npy holds B sequences of T steps of I numbers: integers, floats or truth values. Y.npy gets the output of every
    step, [B, T, O]. The model card describes the encoding of the sequences.
    """
    if output != options.STANDARD:
        options.check_free(output, options.output_status(output), force=force)
    else:
        console.check_stdout()
        if sys.stdout.isatty():
            raise console.CommandError("standard output is a terminal: use -o FILE")
    files = folder.read(model)
    import numpy as np  # noqa: PLC0415  (it is slow to import)

    x = _read(source)
    name = options.input_name(source)
    if x.dtype.kind not in "biuf":
        raise console.CommandError(f"{name} must hold numbers, not {x.dtype}")
    if x.ndim != 3 or x.shape[2] != files.metadata.input_size:
        shape = ", ".join(map(str, x.shape))
        raise console.CommandError(
            f"{name} must have the shape [B, T, {files.metadata.input_size}] for the model {model}, not [{shape}]"
        )
    with np.errstate(over="ignore"):
        x = x.astype(np.float32)
    if not np.isfinite(x).all():
        raise console.CommandError(f"{name} holds NaN, infinity, or a number beyond float32")
    network = options.make_model(files, memory_locations)
    with console.Progress(len(x), quiet=quiet) as progress:
        y = _outputs(network, x, threads or available_cores(), progress)
    with options.open_output(output, force=force) as file:
        buffer = io.BytesIO()  # NumPy needs the name of a file, and this file may have none
        np.lib.format.write_array(buffer, (y > 0.5).astype(np.uint8) if bits else y, allow_pickle=False)
        write_all(file, buffer.getbuffer())
    return console.OK


def _read(source: str) -> "np.ndarray[Any, Any]":
    """The array of a file.

    Raises:
        FileError: the file cannot be read, or is not a NumPy file.
    """
    import numpy as np  # noqa: PLC0415

    name = options.input_name(source)
    with options.open_input(source) as file, explaining(f"cannot read {name}"):
        content = file.read()
    try:
        with warnings.catch_warnings(action="ignore"):  # about an old or damaged header
            return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except Exception as error:  # of many classes
        raise FileError(f"cannot read {name}: it is not a .npy file, or is damaged") from error


def _outputs(
    network: "Model", x: "np.ndarray[Any, Any]", threads: int, progress: console.Progress
) -> "np.ndarray[Any, Any]":
    """The outputs ``[B, T, O]`` of sequences ``[B, T, I]``, several batches at a time."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    import numpy as np  # noqa: PLC0415

    count, steps, _ = x.shape
    y = np.empty((count, steps, network.metadata.output_size), np.float32)
    if not count or not steps:
        return y
    locations = network.locations_for(steps)
    size = max(1, min(network.batch_size(locations), -(-count // threads)))

    def run_batch(start: int) -> int:
        batch = x[start : start + size].transpose(1, 0, 2)
        outputs = list(network.chunks(batch, network.initial_state(batch.shape[1], locations)))
        y[start : start + size] = np.concatenate(outputs).transpose(1, 0, 2)
        return int(batch.shape[1])

    done = 0
    with ThreadPoolExecutor(threads) as pool:
        for finished in pool.map(run_batch, range(0, count, size)):
            done += finished
            progress.update(done, f"{done:,} of {count:,} sequences")
    return y


def main() -> None:
    """The entry point."""
    console.run(COMMAND, run)
