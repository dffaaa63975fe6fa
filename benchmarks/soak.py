"""Call a model thousands of times with changing shapes, load it again and again, and watch the memory; Markdown.

Linux only. The exit code is 1 if a bit of a copy is wrong, or if the memory at the end is more than 1.1 times that
after the first tenth.
"""

import argparse
import pathlib
import sys
import time
from collections.abc import Callable

import numpy as np
from resident import resident_bytes

import ntm

MOST_GROWTH = 1.1
# Sequences side by side, and words: all graphs of the bundled model have their turn.
_MOST_SEQUENCES, _MOST_WORDS = 64, 60


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=10_000, help="of copy, run, step and trace (default: %(default)s)")
    parser.add_argument("--loads", type=int, default=200, help="default: %(default)s")
    parser.add_argument("--model", default=None, help="a name or a folder (default: the bundled copy-8bit)")
    arguments = parser.parse_args()
    model, random = ntm.load(arguments.model), np.random.default_rng(0)
    print("| what | times | wrong bits | memory after a tenth | at the end | growth | s |")
    print("| --- |" + " ---: |" * 6)
    calls = watch("copy, run, step, trace", arguments.calls, lambda i: call(model, random, i))
    loads = watch("load, copy", arguments.loads, lambda _: load(arguments.model, random))
    return 0 if calls and loads else 1


def watch(what: str, times: int, do: Callable[[int], int]) -> bool:
    """Call a function many times, and print a row; returns whether memory and bits are right."""
    start, wrong, after_a_tenth = time.monotonic(), 0, 0
    for i in range(times):
        if i == times // 10:
            after_a_tenth = resident_bytes()
        wrong += do(i)
    at_the_end = resident_bytes()
    growth = at_the_end / after_a_tenth
    figures = f"{after_a_tenth / 2**20:.1f} MiB | {at_the_end / 2**20:.1f} MiB | {growth:.3f}x"
    print(f"| {what} | {times:,} | {wrong} | {figures} | {time.monotonic() - start:.0f} |", flush=True)
    return not wrong and growth <= MOST_GROWTH


def call(model: ntm.Model, random: np.random.Generator, number: int) -> int:
    """One call of each kind in turn; returns the wrong bits of a copy."""
    sequences, words = (int(random.integers(1, most + 1)) for most in (_MOST_SEQUENCES, _MOST_WORDS))
    if number < 4:  # the largest shapes come first: what they take, the others can have
        sequences, words = _MOST_SEQUENCES, _MOST_WORDS
    kind = number % 4
    if kind == 0:
        return copy(model, random, sequences, words)
    x = random.integers(0, 2, (words, sequences, model.metadata.input_size)).astype(np.float32)
    if kind == 1:
        model.run(x)
    elif kind == 2:
        model.step(x[0], model.initial_state(sequences, model.locations_for(words)))
    else:
        model.trace(x[:, :1], model.initial_state(1, model.locations_for(words)))
    return 0


def copy(model: ntm.Model, random: np.random.Generator, sequences: int, words: int) -> int:
    """Copy random words, and count the wrong bits."""
    bits = random.integers(0, 2, (sequences, words, model.metadata.output_size), np.uint8)
    return int((model.copy(bits) != bits).sum())


def load(model: str | pathlib.Path | None, random: np.random.Generator) -> int:
    """Load a model and use it once."""
    return copy(ntm.load(model), random, _MOST_SEQUENCES, 5)


if __name__ == "__main__":
    sys.exit(main())
