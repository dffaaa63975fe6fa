"""``ntm-copy``: copy a file through the memory of a Neural Turing Machine."""

import dataclasses
import itertools
import json
import os
import select
import stat
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from ntm import console
from ntm.errors import ModelError, explaining
from ntm.files import write_all
from ntm.runtime import folder, options
from ntm.runtime.cores import available_cores
from ntm.runtime.metadata import Metadata

if TYPE_CHECKING:
    from ntm.runtime.stream import CopiedBatch

COMMAND = "ntm-copy"

# Chosen by measurement (docs/results/runtimes.md): the cost of a step grows with the memory, which needs one location
# per byte, and L bytes take 2 L + 1 steps. The batched graph has the steps of one such block.
BLOCK_LENGTH = 5
BATCH_SIZE = 1024

_BATCH_BYTES = 1 << 20  # the largest batch, which is held in memory: of longer blocks, fewer run side by side

_TASK, _BYTE = "copy", 8  # the task of the model, and the bits of its words

Option = typer.Option


def copy(
    source: Annotated[str, typer.Argument(metavar="INPUT", help="The file to copy; - is standard input.")],
    *,
    output: Annotated[
        str | None, Option("--output", "-o", metavar="OUTPUT", help="Where the copy goes, if not to standard output.")
    ] = None,
    force: Annotated[bool, Option("--force", "-f", help="Replace OUTPUT if it exists.")] = False,
    model: options.Model = folder.DEFAULT,
    block_length: Annotated[
        int, Option(min=1, max=1 << 16, metavar="L", help="Bytes that make one sequence.")
    ] = BLOCK_LENGTH,
    batch_size: Annotated[
        int, Option(min=1, max=1 << 16, metavar="B", help="Sequences that run side by side.")
    ] = BATCH_SIZE,
    memory_locations: Annotated[int | None, options.memory_locations("what a sequence needs")] = None,
    threads: options.Threads = None,
    as_json: console.Json = False,
    quiet: console.Quiet = False,
    version: console.Version = False,  # noqa: ARG001  (its callback acts on it)
) -> int:
    """Copy INPUT through the memory of a Neural Turing Machine.

    The network sees a block of bytes, and then outputs it from its memory.

    The exit code is 0 if every bit came back, 1 if some are wrong (the copy is written all the same), 2 for trouble.
    """
    target = options.STANDARD if output is None else output
    to_stdout = target == options.STANDARD
    if as_json or to_stdout:
        console.check_stdout()
    with options.open_input(source) as reader:
        _check_output(output, reader, force=force)
        try:
            files = folder.read(model)
            _check_task(files.metadata, model)
            size = block_length * max(1, min(batch_size, _BATCH_BYTES // block_length))
            batches = _read_batches(reader, source, size)
            copied = _copy_batches(files, batches, block_length, memory_locations, threads or available_cores())
            tally = Tally(block_length)
            with (
                console.Progress(_size(reader), quiet=quiet) as progress,
                options.open_output(target, force=force) as file,
            ):
                for batch in copied:
                    write_all(file, batch.content)
                    tally.add(batch)
                    progress.update(tally.bytes, f"{tally.bytes // 1024:,} KiB at {tally.rate}")
        except BrokenPipeError:
            quiet = True  # the reader of the copy has closed the pipe, so the summary would be about a part
    _report(tally, to_stdout=to_stdout, as_json=as_json, quiet=quiet)
    return console.WRONG if tally.wrong_bits else console.OK


def _check_task(metadata: Metadata, model: str) -> None:
    """Refuse a model that does not copy bytes.

    Raises:
        ModelError: its task or its size of words is another one.
    """
    if metadata.task_name != _TASK:
        raise ModelError(f"the model {model} was trained on {metadata.task_name}, not on {_TASK}")
    if metadata.output_size != _BYTE:
        raise ModelError(f"the model {model} has words of {metadata.output_size} bits, not {_BYTE}")


@dataclasses.dataclass
class Tally:
    """The progress of a copy."""

    block_length: int
    bytes: int = 0
    wrong_bits: int = 0
    first_wrong: int | None = None  # the offset in the file of the first byte with a wrong bit
    start: float = dataclasses.field(default_factory=time.monotonic)

    def add(self, batch: "CopiedBatch") -> None:
        """Count a batch that has been written."""
        if self.first_wrong is None and batch.first_wrong is not None:
            self.first_wrong = self.bytes + batch.first_wrong
        self.wrong_bits += batch.wrong_bits
        self.bytes += len(batch.content)

    @property
    def blocks(self) -> int:
        """Sequences shown to the network."""
        return -(-self.bytes // self.block_length)

    @property
    def seconds(self) -> float:
        """The seconds since the beginning."""
        return time.monotonic() - self.start

    @property
    def rate(self) -> str:
        """The speed, for people."""
        return f"{self.bytes / 1024 / max(self.seconds, 1e-6):,.0f} KiB/s"

    def as_json(self) -> str:
        """The summary, for programs."""
        seconds = self.seconds
        return json.dumps(
            {
                "bytes": self.bytes,
                "blocks": self.blocks,
                "wrong_bits": self.wrong_bits,
                "first_wrong_byte": self.first_wrong,
                "seconds": round(seconds, 6),
                "bytes_per_second": round(self.bytes / max(seconds, 1e-6)),
            }
        )

    @property
    def verdict(self) -> str:
        """Whether bits are wrong, how many and where."""
        if not self.wrong_bits:
            return "no bit is wrong"
        return f"{self.wrong_bits} of {8 * self.bytes} bits are wrong, the first in the byte at {self.first_wrong}"

    def __str__(self) -> str:
        return f"{self.bytes} bytes in {self.blocks} blocks, {self.rate}: {self.verdict}"


def _report(tally: Tally, *, to_stdout: bool, as_json: bool, quiet: bool) -> None:
    """Print the summary: as JSON, on the stream without the copy; or as text, on a terminal or if bits are wrong."""
    if as_json and not to_stdout:
        console.show(tally.as_json())
    elif as_json:
        console.say(tally.as_json())
    elif console.stderr_is_terminal() and not quiet:
        console.say(f"{COMMAND}: {tally}")
    elif tally.wrong_bits:
        console.say(f"{COMMAND}: {tally.verdict}")


def _size(reader: BinaryIO) -> int | None:
    """The bytes of the input; None if it is no regular file."""
    status = os.fstat(reader.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _check_output(output: str | None, reader: BinaryIO, *, force: bool) -> None:
    """Refuse an output before the input is read.

    Raises:
        CommandError: the output is a terminal, the input, an existing file, or in no folder.
    """
    to_stdout = output is None or output == options.STANDARD
    name = "standard output" if to_stdout else str(output)
    if output is None and sys.stdout.isatty():
        raise console.CommandError("standard output is a terminal: use -o FILE, or -o - to write to it all the same")
    status = os.fstat(sys.stdout.fileno()) if to_stdout else options.output_status(name)
    if status and stat.S_ISREG(status.st_mode) and os.path.samestat(status, os.fstat(reader.fileno())):
        raise console.CommandError(f"{name} is the input")
    if not to_stdout:
        options.check_free(name, status, force=force)


def _read_batches(reader: BinaryIO, source: str, size: int) -> Iterator[bytes]:
    """The bytes of the input, to its end. A file may grow during the copy, but not shrink.

    Raises:
        FileError: the input cannot be read, or has become shorter.
    """
    with explaining(f"cannot read {options.input_name(source)}"):
        longest = 0
        while True:
            batch = reader.read(size)
            now = _size(reader) or 0  # the files of /proc have the size 0
            if now < longest:
                raise OSError("it was cut short meanwhile")
            longest = now
            if batch is None:  # the input is non-blocking, and has no bytes yet
                select.select([reader], [], [])
                continue
            if batch:
                yield batch
            if not batch or (len(batch) < size and reader.isatty()):  # else a user would have to type Ctrl-D twice
                break


def _copy_batches(
    files: folder.ModelFolder, batches: Iterator[bytes], block_length: int, locations: int | None, threads: int
) -> Iterator["CopiedBatch"]:
    """Load the network and the first batch, so that their errors come before the output is opened.

    An empty input needs no network and no slow import.
    """
    first = next(batches, None)
    if first is None:
        return iter(())
    from ntm import tasks  # noqa: PLC0415
    from ntm.runtime import stream  # noqa: PLC0415

    if locations is None:
        locations = max(tasks.Copy().memory_locations({"length": block_length}), files.metadata.least_locations)
    network = options.make_model(files, locations)
    network.prepare(len(first) // block_length, locations)
    return stream.copy_batches(network, itertools.chain([first], batches), block_length, threads)


def main() -> None:
    """The entry point."""
    console.run(COMMAND, copy)
