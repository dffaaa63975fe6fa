"""Train from many seeds with ``ntm-train`` like a user, and print the time of each seed; Markdown.

Options after ``--`` go to ``ntm-train``, e.g. ``-- --task associative-recall``. Every run is a process of its own. The
time of ``python -c "import tensorflow"`` is measured between the runs, and the times are also given as multiples of its
median. The climb is the largest rise of the loss, a mean of 25 batches, above the lowest one before it, after the final
network has converged. With ``--ray`` the seeds are tasks of Ray, each of which measures the import on its machine too.
The exit code is 1 if a seed has not converged.
"""

import argparse
import json
import math
import pathlib
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from typing import Any

from history import climb, losses, reports, since
from on_ray import add_ray, results
from programs import seconds_to_import
from seeds import add_seeds

COLUMNS = (
    "seed",
    "exit code",
    "s to converge",
    "s to finish",
    "sequences to converge",
    "sequences",
    "restarts",
    "final loss",
    "climb",
    "NaN",
)


def main() -> int:
    """Run the seeds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_seeds(parser, "0-9")
    add_ray(parser)
    parser.add_argument("--keep", type=pathlib.Path, help="a folder to keep the run folders in")
    parser.add_argument("options", nargs="*", help="further options of ntm-train, after --")
    arguments = parser.parse_args()

    print(f"{platform.processor() or platform.machine()}, TensorFlow {version('tensorflow')}")
    print(f"`{shlex.join(['ntm-train', *arguments.options])}`\n")
    print(f"| {' | '.join(COLUMNS)} |\n|{' ---: |' * len(COLUMNS)}")
    rows, imports = [], []
    for seconds, row in results(arguments.ray, _measure, [(seed, arguments) for seed in arguments.seeds]):
        imports.append(seconds)
        rows.append(row)
        cells = ["" if value is None else str(value) for value in row.values()]
        print(f"| {' | '.join(cells)} |", flush=True)

    base = statistics.median(imports)
    print(f"\n`import tensorflow`: median {base:.2f} s")
    converged = [row for row in rows if row["code"] == 0]
    if converged:
        print("\n| | median | worst |\n| --- | ---: | ---: |")
        for title, key in (("time to converge", "converge"), ("time to finish", "seconds")):
            times = [row[key] for row in converged]
            middle, worst = (f"{value:.1f} s, {value / base:.1f}x" for value in (statistics.median(times), max(times)))
            print(f"| {title} | {middle} | {worst} |")
        seen = [row["seen"] for row in converged]
        print(f"| sequences to converge | {statistics.median(seen):,.0f} | {max(seen):,} |")
    print(f"\n{len(converged)} of {len(rows)} seeds converged, {sum(row['nan'] for row in rows)} NaN")
    return 0 if len(converged) == len(rows) else 1


def _measure(seed: int, arguments: argparse.Namespace) -> tuple[float, dict[str, Any]]:
    """The seconds of an import of TensorFlow, and the row of a training."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or pathlib.Path(temporary)
        seconds = seconds_to_import()
        return seconds, {"seed": seed} | _train(folder / f"seed-{seed}", seed, arguments.options)


def _train(folder: pathlib.Path, seed: int, options: list[str]) -> dict[str, Any]:
    program = pathlib.Path(sys.executable).with_name("ntm-train")
    start = time.monotonic()
    command = [str(program), "--seed", str(seed), "--output", str(folder), "--json", *options]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    seconds = time.monotonic() - start
    if done.returncode not in (0, 1):
        raise SystemExit(done.stderr)
    summary = json.loads(done.stdout)
    lines = reports(folder)
    history, rise = losses(lines), climb(losses(since(lines, summary["sequences_to_converge"])))
    return {
        "code": done.returncode,
        "converge": summary["seconds_to_converge"],
        "seconds": round(seconds, 3),
        "seen": summary["sequences_to_converge"],
        "sequences": summary["sequences"],
        "restarts": summary["restarts"],
        "loss": float(f"{history[-1]:.2e}"),
        "climb": None if rise is None else f"{rise:.1f}x",
        "nan": sum(math.isnan(loss) for loss in history),
    }


if __name__ == "__main__":
    sys.exit(main())
