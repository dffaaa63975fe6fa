"""Copy a file, or all files of a folder, through a model on a cluster of Ray: for more data than one machine can take.

Ray Data hands ranges of the files to workers, each a process with its own model. A worker writes its copy of a range
straight into place, and the program adds up the wrong bits. If a worker dies, Ray starts another one, which does the
range again. DESTINATION appears when it is whole, or not at all.

Run it: ``python examples/bulk_copy_ray.py SOURCE DESTINATION``. It needs ``pip install . 'ray[data]'``. By default Ray
runs on this machine alone; with ``RAY_ADDRESS=auto`` it is the cluster that this machine belongs to, and every machine
of the cluster needs to see SOURCE and DESTINATION under the same paths.

The exit code is 0 if no bit is wrong, 1 if some are, 2 for trouble.
"""

import argparse
import os
import pathlib
import signal
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import ray
import ray.data

import ntm

BLOCK = 5  # bytes that make one sequence: the fastest, as in ntm-copy


class RangeCopier:
    """A worker: a process that keeps its model."""

    def __init__(self, model: ntm.Model) -> None:
        self.model = model

    def __call__(self, job: dict[str, Any]) -> dict[str, Any]:
        """Copy a range of a file. It does no harm to do that twice."""
        try:
            return {"wrong_bits": self.copy(**job), "error": ""}
        except (OSError, ntm.Error) as error:  # as a result: Ray would add a page of its own
            return {"wrong_bits": 0, "error": str(error)}

    def copy(self, source: str, target: str, start: int, length: int) -> int:
        """Copy a range, and count the wrong bits."""
        with open(source, "rb") as file:
            file.seek(start)
            content = file.read(length)
        if len(content) != length:
            raise OSError(f"{source} was cut short meanwhile")
        copied, wrong_bits = copy_bytes(self.model, content)
        with open(target, "r+b") as file:
            file.seek(start)
            file.write(copied)
            file.flush()
            os.fsync(file.fileno())
        return wrong_bits


def copy_bytes(model: ntm.Model, content: bytes) -> tuple[bytes, int]:
    """The copy, and how many of its bits are wrong."""
    original = np.frombuffer(content, np.uint8)
    words = np.unpackbits(np.pad(original, (0, -len(original) % BLOCK))).reshape(-1, BLOCK, 8)  # [B, L, bits]
    copied = np.packbits(model.copy(words))[: len(original)]
    return copied.tobytes(), int(np.unpackbits(copied ^ original).sum())


def jobs(source: pathlib.Path, target: pathlib.Path, range_bytes: int) -> Iterator[dict[str, Any]]:
    """The ranges of a file, or of all files below a folder; each target is made, with its size and no content."""
    if source.is_dir() and not source.is_symlink():
        target.mkdir()
        for path in sorted(source.iterdir()):
            yield from jobs(path, target / path.name, range_bytes)
    elif source.is_file():
        size = source.stat().st_size
        with open(target, "xb") as file:
            file.truncate(size)
        for start in range(0, size, range_bytes):
            length = min(range_bytes, size - start)
            yield {"source": str(source), "target": str(target), "start": start, "length": length}
    else:
        raise OSError(f"{source} is neither a file nor a folder")


def start_ray(workers: int) -> None:
    """Start Ray on this machine, or connect to the cluster that the environment names."""
    # One CPU more than workers: a worker keeps its CPU, and the other steps of Ray Data wait for one, for ever if there
    # is none (https://github.com/ray-project/ray/issues/44687).
    here = {} if "RAY_ADDRESS" in os.environ else {"num_cpus": workers + 1}
    ray.init(**here)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up, as on Ctrl-C
    cpus = int(ray.cluster_resources().get("CPU", 0))
    if workers >= cpus:
        raise ValueError(f"the cluster has {cpus} CPUs, for {max(cpus - 1, 0)} workers at most")


def refuse(source: pathlib.Path, destination: pathlib.Path) -> None:
    """Refuse a destination that would be lost, or that would be copied into itself."""
    if os.path.lexists(destination):
        raise OSError(f"{destination} is there already")
    if destination.resolve().is_relative_to(source.resolve()):
        raise OSError(f"{destination} lies in {source}")


def copy(source: pathlib.Path, destination: pathlib.Path, model: ntm.Model, range_bytes: int, workers: int) -> int:
    """Copy, print the result, and return the exit code."""
    refuse(source, destination)
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=f".{destination.name}.") as folder:
        target = pathlib.Path(folder, "copy")
        ranges = list(jobs(source.absolute(), target.absolute(), range_bytes))
        wrong_bits = 0
        if ranges:
            start_ray(workers)
            results = ray.data.from_items(ranges).map(
                RangeCopier, fn_constructor_args=[model], compute=ray.data.ActorPoolStrategy(size=workers)
            )
            for result in results.iter_rows():
                if result["error"]:
                    raise OSError(result["error"])
                wrong_bits += result["wrong_bits"]
        refuse(source, destination)  # again: it may have appeared during the copy
        target.rename(destination)
    print(f"{sum(job['length'] for job in ranges)} bytes in {len(ranges)} ranges, {wrong_bits} wrong bits")
    return 1 if wrong_bits else 0


def positive(text: str) -> int:
    """A whole number from 1 on."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def main() -> int:
    """Read the arguments and start Ray."""
    parser = argparse.ArgumentParser(description="Copy a file or a folder through a model, on a cluster of Ray.")
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("destination", type=pathlib.Path)
    parser.add_argument("--model", help="the folder of a model of the copy task, or the name of a bundled one")
    parser.add_argument("--range-bytes", type=positive, default=1 << 22, help="bytes that a worker takes at a time")
    parser.add_argument("--workers", type=positive, default=2, help="processes that copy")
    options = parser.parse_args()

    try:
        model = ntm.load(options.model, memory_locations=BLOCK + 2)
        model.copy(np.zeros((0, BLOCK, 8), np.uint8))  # refuses a model that was not trained to copy bytes
        return copy(options.source, options.destination, model, options.range_bytes, options.workers)
    except (OSError, ValueError, ntm.Error, ray.exceptions.RayError) as error:
        print(f"{parser.prog}: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    finally:
        ray.shutdown()


if __name__ == "__main__":
    sys.exit(main())
