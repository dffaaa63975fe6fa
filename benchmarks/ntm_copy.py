"""Time ``ntm-copy`` as a process: its start on an empty file, and 1 MiB of random bytes; Markdown.

The start is measured beside ``import onnxruntime, typer``, which it cannot do without. Everything is measured in turns,
``--rounds`` times over.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

SIZE = 1 << 20
NTM_COPY = pathlib.Path(sys.executable).parent / "ntm-copy"
IMPORTS = "python -c 'import onnxruntime, typer'"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    arguments = parser.parse_args()
    threads = sorted({1, len(os.sched_getaffinity(0))})
    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "empty").touch()
        (folder / "random").write_bytes(os.urandom(SIZE))
        for _ in range(arguments.rounds):
            times.setdefault(f"{IMPORTS}: s", []).append(
                _seconds([sys.executable, "-c", "import onnxruntime, typer"])[0]
            )
            times.setdefault("an empty file: s", []).append(_copy(folder, "empty", 1)[0])
            for count in threads:
                whole, copying = _copy(folder, "random", count)
                what = f"1 MiB, {count} thread{'s' * (count > 1)}"
                times.setdefault(f"{what}, once begun: KiB/s", []).append(SIZE / 1024 / copying)
                times.setdefault(f"{what}, the whole process: KiB/s", []).append(SIZE / 1024 / whole)
    print(f"{platform.machine()}, {os.cpu_count()} cores\n")
    print("| | median | least | most |\n| --- | ---: | ---: | ---: |")
    for what, values in times.items():
        digits = 0 if what.endswith("KiB/s") else 3
        cells = (f"{value:,.{digits}f}" for value in (statistics.median(values), min(values), max(values)))
        print(f"| {what} | {' | '.join(cells)} |")
    empty, imports = (statistics.median(times[what]) for what in ("an empty file: s", f"{IMPORTS}: s"))
    print(f"\nAn empty file takes {empty / imports:.2f} times as long as the imports.")


def _copy(folder: pathlib.Path, name: str, threads: int) -> tuple[float, float]:
    """The seconds of the process, and those it says that copying took."""
    command = [NTM_COPY, folder / name, "-o", folder / "copy", "--force", "--json", "--threads", threads]
    seconds, printed = _seconds([str(word) for word in command])
    if (folder / "copy").read_bytes() != (folder / name).read_bytes():
        raise SystemExit("the copy is another")
    return seconds, json.loads(printed)["seconds"]


def _seconds(command: list[str]) -> tuple[float, str]:
    start = time.perf_counter()
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return time.perf_counter() - start, printed


if __name__ == "__main__":
    main()
