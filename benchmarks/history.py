"""The progress reports in a run folder: each line has the means of some batches, 25 by default."""

import itertools
import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any


def reports(run: pathlib.Path) -> list[dict[str, Any]]:
    """The lines of ``history.jsonl``."""
    return [json.loads(line) for line in (run / "history.jsonl").read_text(encoding="utf-8").splitlines()]


def losses(lines: Sequence[dict[str, Any]]) -> list[float]:
    """The loss of each line; NaN where it was not finite."""
    return [math.nan if line["loss"] is None else line["loss"] for line in lines]


def costs(lines: Sequence[dict[str, Any]]) -> list[float]:
    """The cost of each line: of the task itself alone, where the loss is also that of its variant and of practice."""
    return [math.nan if line["cost"] is None else line["cost"] for line in lines]


def since(lines: Sequence[dict[str, Any]], sequences_to_converge: int | None) -> list[dict[str, Any]]:
    """The lines from convergence on; none without convergence."""
    return [line for line in lines if sequences_to_converge and line["sequences"] >= sequences_to_converge]


def climb(figures: Sequence[float]) -> float | None:
    """The largest rise of a figure above the lowest one before it; None without figures."""
    lowest = itertools.accumulate(figures, min)
    return max((figure / low for figure, low in zip(figures, lowest, strict=True)), default=None)


def highest(figures: Sequence[float]) -> float | None:
    """The highest figure as a multiple of the first one; None without figures."""
    return max(figures) / figures[0] if figures else None
