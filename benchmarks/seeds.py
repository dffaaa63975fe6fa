"""The option ``--seeds`` of the benchmarks."""

import argparse


def add_seeds(parser: argparse.ArgumentParser, default: str) -> None:
    """Add ``--seeds``, which reads ``first-last``, or one seed, as a range."""
    parser.add_argument("--seeds", type=seeds, default=default, help="first-last (default: %(default)s)")


def seeds(option: str) -> range:
    """The seeds of an option."""
    first, _, last = option.partition("-")
    return range(int(first), int(last or first) + 1)


def as_option(numbers: range) -> str:
    """The option of seeds."""
    return f"{numbers.start}-{numbers.stop - 1}"
