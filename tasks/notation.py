"""How users write options and sizes: ``bits=16``; ``length=10,repeats=3``, ``length=1-20``, ``length=5,10,20``."""

import json
from typing import Any

from ntm.errors import TaskError


def parse_options(texts: list[str]) -> dict[str, Any]:
    """Read options, each ``NAME=VALUE``; a value is JSON, or else a text.

    Raises:
        TaskError: one is something else, or given twice.
    """
    options: dict[str, Any] = {}
    for text in texts:
        name, value = _named(text, "an option of a task is NAME=VALUE")
        if name in options:
            raise TaskError(f"the option {name} is given twice")
        try:
            options[name] = json.loads(value)
        except (ValueError, RecursionError):  # the latter: brackets nested too deep
            options[name] = value
    return options


def parse_size(text: str) -> dict[str, int]:
    """Read a size: ``NAME=NUMBER``, several with commas between.

    Raises:
        TaskError: it is something else.
    """
    size = {}
    for name, value in _pairs(text, "NAME=NUMBER"):
        size[name] = _number(value, text)
    return size


def parse_ranges(texts: list[str]) -> dict[str, tuple[int, int]]:
    """Read ranges of sizes, each ``NAME=LEAST-MOST`` or ``NAME=NUMBER``, several with commas between.

    Raises:
        TaskError: one is something else, or given twice.
    """
    ranges: dict[str, tuple[int, int]] = {}
    for text in texts:
        for name, value in _pairs(text, "NAME=LEAST-MOST"):
            least, dash, most = value.partition("-")
            ends = _number(least, text), _number(most if dash else least, text)
            if ends[0] > ends[1]:
                raise TaskError(f"the size {name} must not go from a larger number to a smaller one: {value}")
            if name in ranges:
                raise TaskError(f"the size {name} is given twice")
            ranges[name] = ends
    return ranges


def parse_stages(texts: list[str]) -> dict[str, tuple[int, ...]]:
    """Read the stages of a curriculum, each ``NAME=MOST,MOST,...``.

    Raises:
        TaskError: one is something else, or given twice.
    """
    stages: dict[str, tuple[int, ...]] = {}
    for text in texts:
        name, numbers = _named(text, "a curriculum is NAME=MOST,MOST,...")
        if name in stages:
            raise TaskError(f"the curriculum of {name} is given twice")
        stages[name] = tuple(_number(number.strip(), text) for number in numbers.split(","))
    return stages


def _named(text: str, form: str) -> tuple[str, str]:
    """The parts before and after the equals sign; ``form`` begins the message of the error."""
    name, equals, value = text.partition("=")
    name = name.strip()
    if not equals or not name.isidentifier():
        raise TaskError(f"{form}, not {text!r}")
    return name, value


def _pairs(text: str, form: str) -> list[tuple[str, str]]:
    parts = [part.partition("=") for part in text.split(",")]
    pairs = [(name.strip(), equals, value.strip()) for name, equals, value in parts]
    if not all(equals and name.isidentifier() for name, equals, _ in pairs):
        raise TaskError(f"a size is {form}, not {text!r}")
    if len({name for name, *_ in pairs}) < len(pairs):
        raise TaskError(f"a size names a number twice: {text!r}")
    return [(name, value) for name, _, value in pairs]


def _number(value: str, text: str) -> int:
    if not (value.isascii() and value.isdecimal() and len(value) < 10):
        raise TaskError(f"a size is a whole number, not {value!r} in {text!r}")
    return int(value)
