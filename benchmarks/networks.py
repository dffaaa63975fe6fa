"""Train small networks of every kind, export them in every format, and measure how equal they are; Markdown.

A row is a network on the copy task: its controller, read and write heads, and initial memory. It is trained for
``--max-batches`` batches only, so its numbers are those of a network that has begun to learn. Then every format is
written and compared with TensorFlow as the publish gate does it (``ntm.export.parity``). A column has the largest
difference of a tensor in all graphs; absolute, and relative for numbers above 1. Quantised graphs are left out, since
their numbers differ on purpose. The exit code is 1 if a difference is above 1e-5, or a bit differs.
"""

import argparse
import itertools
import pathlib
import sys
import tempfile
from typing import Any

import numpy as np

import ntm
from ntm import console, text
from ntm.tasks import Copy

CONTROLLERS = ("feedforward", "lstm")
HEADS = (1, 2)  # the number of read heads, and that of write heads
MEMORIES = ("constant", "learned", "random")


def main() -> int:
    """Train, export, compare, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max-batches", type=int, default=300, help="of each network (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    arguments = parser.parse_args()
    console.import_tensorflow()
    rows, good = [], True
    for controller, heads, memory in itertools.product(CONTROLLERS, HEADS, MEMORIES):
        options = {"controller": controller, "read_heads": heads, "write_heads": heads, "initial_memory": memory}
        found = _measure(options | {"max_batches": arguments.max_batches, "seed": arguments.seed})
        good &= all(agreement.holds for agreement in found.values())
        rows.append({"controller": controller, "heads": f"{heads}+{heads}", "initial memory": memory} | _row(found))
        print(f"{controller}, {heads}+{heads} heads, {memory} memory: {len(found)} graphs", file=sys.stderr, flush=True)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    print(text.table([columns, *([row.get(name, "") for name in columns] for row in rows)], left=3))
    return console.OK if good else console.WRONG


def _measure(options: dict[str, Any]) -> dict[str, Any]:
    """Train a network, write every format, and compare; what was found by graph."""
    from ntm.export.parity import prove  # noqa: PLC0415  (as the next ones: it imports TensorFlow)
    from ntm.export.publish import FORMATS  # noqa: PLC0415
    from ntm.export.source import Source  # noqa: PLC0415

    task = Copy()
    run = ntm.train(task, **options)
    with tempfile.TemporaryDirectory() as temporary:
        folder, source = pathlib.Path(temporary), Source(run, task, "networks")
        for module in FORMATS.values():
            module.write(source, folder)
        candidates = [candidate for module in FORMATS.values() for candidate in module.candidates(folder)]
        exact = [candidate for candidate in candidates if candidate.quantised is None]
        return dict(prove(run.network, task, run.config.training.ranges, exact))


def _row(found: dict[str, Any]) -> dict[str, str]:
    """The largest differences of all graphs."""
    tensors = dict.fromkeys(name for agreement in found.values() for name in agreement.difference)
    row = {
        "graphs": str(len(found)),
        "steps": f"{sum(agreement.steps for agreement in found.values()):,}",
        "differing bits": f"{sum(agreement.differing_bits for agreement in found.values()):,}",
    }
    for name in tensors:
        differences = [agreement.difference.get(name, 0.0) for agreement in found.values()]
        row[name] = f"{np.max(differences):.1e}"  # which is NaN if one is
    return row


if __name__ == "__main__":
    sys.exit(main())
