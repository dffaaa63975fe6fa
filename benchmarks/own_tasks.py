"""Train tasks that are not the paper's with the general recipe, export them, and count the wrong bits; Markdown.

Each is a task as a user writes it. Every seed is a process of ``ntm-train``, then of ``ntm-export``; the wrong bits are
those of the exported ONNX model, at the largest size of training and beyond. ``--runs`` names a folder with run folders
``<class>-<seed>``; those that it lacks are trained and stay there.
"""

import argparse
import dataclasses
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from seeds import add_seeds

import ntm
from ntm import console, text
from ntm.runtime.evaluate import readable
from ntm.tasks import Batch, Size, Task
from ntm.training.run import load_run

_SEQUENCES = 1_000


@dataclasses.dataclass(frozen=True)
class _Words(Task):
    """Words, and then the words that ``answer`` makes of them; the last channel is 1 while they are asked for."""

    bits: int = 6
    sparse: bool = False  # half of the words are zero

    variant = {"sparse": True}  # noqa: RUF012

    @property
    def input_size(self) -> int:
        """The word and the last channel."""
        return self.bits + 1

    @property
    def output_size(self) -> int:
        """The word."""
        return self.bits

    def answer(self, words: np.ndarray) -> np.ndarray:
        """What should come out of words ``[L, B, bits]``."""
        raise NotImplementedError

    def batch(self, rng: np.random.Generator, batch_size: int, size: Size) -> Batch:
        """Words, then the answer."""
        words = rng.integers(0, 2, (size["length"], batch_size, self.bits))
        if self.sparse:
            words *= rng.integers(0, 2, (size["length"], batch_size, 1))
        answer = self.answer(words)
        length, steps = len(words), len(words) + len(answer)
        x = np.zeros((steps, batch_size, self.input_size))
        x[:length, :, :-1], x[length:, :, -1] = words, 1
        target, mask = np.zeros((steps, batch_size, self.bits)), np.zeros((steps, batch_size))
        target[length:], mask[length:] = answer, 1
        return Batch(x, target, mask)


@dataclasses.dataclass(frozen=True)
class Reverse(_Words):
    """See words, then output them in reverse order."""

    training_sizes = {"length": range(1, 11)}  # noqa: RUF012
    evaluation_sizes = ({"length": 10}, {"length": 20})

    def memory_locations(self, size: Size) -> int:
        """One for each word, and two to spare."""
        return size["length"] + 2

    def answer(self, words: np.ndarray) -> np.ndarray:
        """The last word first."""
        return words[::-1]


@dataclasses.dataclass(frozen=True)
class ReverseAfterDelimiter(Reverse):
    """The same, but the last channel is 1 for one step alone, between the words and the answer."""

    def batch(self, rng: np.random.Generator, batch_size: int, size: Size) -> Batch:
        """Words, the delimiter, then the answer, while the input is 0."""
        x, target, mask = super().batch(rng, batch_size, size)
        length = size["length"]
        x[length:] = 0
        delimiter = np.zeros_like(x[:1])
        delimiter[:, :, -1] = 1
        return Batch(
            np.concatenate([x[:length], delimiter, x[length:]]),
            np.concatenate([np.zeros_like(target[:1]), target]),
            np.concatenate([np.zeros_like(mask[:1]), mask]),
        )


@dataclasses.dataclass(frozen=True)
class EverySecond(_Words):
    """See words, then output the first, the third, and so on."""

    bits: int = 4

    training_sizes = {"length": range(2, 13)}  # noqa: RUF012
    evaluation_sizes = ({"length": 12}, {"length": 20})

    def answer(self, words: np.ndarray) -> np.ndarray:
        """Every second word."""
        return words[::2]


@dataclasses.dataclass(frozen=True)
class Parity(Task):
    """See bits, and output at each step whether the number of ones so far is odd."""

    input_size = 1
    output_size = 1
    training_sizes = {"length": range(1, 21)}  # noqa: RUF012
    evaluation_sizes = ({"length": 20}, {"length": 100})

    def memory_locations(self, size: Size) -> int:  # noqa: ARG002
        """Few suffice."""
        return 4

    def batch(self, rng: np.random.Generator, batch_size: int, size: Size) -> Batch:
        """Bits and their running parity."""
        bits = rng.integers(0, 2, (size["length"], batch_size, 1))
        return Batch(bits, np.cumsum(bits, axis=0) % 2, np.ones(bits.shape[:2]))


@dataclasses.dataclass(frozen=True)
class Majority(Task):
    """See three bits a step, and output which bit was in the majority one step before."""

    input_size = 3
    output_size = 1
    training_sizes = {"length": range(2, 16)}  # noqa: RUF012
    evaluation_sizes = ({"length": 15}, {"length": 100})

    def batch(self, rng: np.random.Generator, batch_size: int, size: Size) -> Batch:
        """Bits, and the majority of those before."""
        bits = rng.integers(0, 2, (size["length"], batch_size, 3))
        target, mask = np.zeros((len(bits), batch_size, 1)), np.ones(bits.shape[:2])
        target[1:, :, 0] = bits[:-1].sum(axis=2) >= 2
        mask[0] = 0
        return Batch(bits, target, mask)


TASKS = {kind.__name__: kind for kind in (Reverse, EverySecond, Parity, Majority, ReverseAfterDelimiter)}


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_seeds(parser, "1-3")
    parser.add_argument("--tasks", default=",".join(TASKS), help="with commas between (default: %(default)s)")
    parser.add_argument("--runs", type=pathlib.Path, help="a folder with run folders, which need not be trained")
    arguments = parser.parse_args()
    rows = [["task", "seed", "converged", "s to converge", "s to finish", "sequences to converge", "restarts"]]
    rows[0] += ["at the largest size", "beyond"]
    with tempfile.TemporaryDirectory() as temporary:
        for kind in map(TASKS.__getitem__, arguments.tasks.split(",")):
            for seed in arguments.seeds:
                run = (arguments.runs or pathlib.Path(temporary)) / f"{kind.__name__}-{seed}"
                model = pathlib.Path(temporary, f"model-{kind.__name__}-{seed}")
                rows.append(_row(kind, seed, run, model))
                print(" ".join(rows[-1]), file=sys.stderr, flush=True)
    print(text.table(rows, left=1))
    return console.OK if all(row[2] == "yes" for row in rows[1:]) else console.WRONG


def _row(kind: type[Task], seed: int, run: pathlib.Path, model: pathlib.Path) -> list[str]:
    task, programs = f"{pathlib.Path(__file__)}:{kind.__name__}", pathlib.Path(sys.executable).parent
    if not run.exists():
        command = [programs / "ntm-train", "--task", task, "--seed", str(seed), "--output", run, "--quiet"]
        subprocess.run(list(map(str, command)), check=False)
    command = [programs / "ntm-export", "--task", task, run, "--output", model, "--quiet"]
    exported = subprocess.run(list(map(str, command)), check=False).returncode == console.OK
    summary = load_run(run).summary
    wrong = ["not exported"] * len(kind().evaluation_sizes)
    if exported:
        scores = ntm.evaluate(model, kind(), sequences=_SEQUENCES)
        wrong = [f"{score.as_dict()['wrong_bits']} in {score.case.sequences:,}" for score in scores]
    converged = "yes" if summary["converged"] else "no"
    figures = [summary["seconds_to_converge"], summary["seconds"], summary["sequences_to_converge"]]
    numbers = ["" if figure is None else readable(figure) for figure in figures]
    return [kind.__name__, str(seed), converged, *numbers, str(summary["restarts"]), *wrong]


if __name__ == "__main__":
    sys.exit(main())
