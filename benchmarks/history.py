"""The progress reports in a run folder: each line has the means of some batches, 25 by default."""

import itertools
import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np


def reports(run: pathlib.Path) -> list[dict[str, Any]]:
    """The lines of ``history.jsonl``."""
    return [json.loads(line) for line in (run / "history.jsonl").read_text(encoding="utf-8").splitlines()]


def losses(lines: Sequence[dict[str, Any]]) -> list[float]:
    """The loss of each line; NaN where it was not finite."""
    return [math.nan if line["loss"] is None else line["loss"] for line in lines]


def costs(lines: Sequence[dict[str, Any]]) -> list[float]:
    """The cost of the task itself, without its variant and practice, of each line that has such sequences.

    A line without them has a cost of 0.
    """
    return [math.nan if line["cost"] is None else line["cost"] for line in lines if line["cost"] != 0]


def since(lines: Sequence[dict[str, Any]], sequences_to_converge: int | None) -> list[dict[str, Any]]:
    """The lines from convergence on; none without convergence."""
    if sequences_to_converge is None:
        return []
    return [line for line in lines if line["sequences"] >= sequences_to_converge]


def climb(figures: Sequence[float]) -> float | None:
    """The largest rise above the lowest figure before it, as a factor; None without figures, NaN if one is NaN."""
    rises = [figure / low for figure, low in zip(figures, itertools.accumulate(figures, min), strict=True)]
    return float(np.max(rises)) if rises else None


def highest(figures: Sequence[float]) -> float | None:
    """The highest figure as a multiple of the first one; None without figures, NaN if one is NaN."""
    return float(np.max(figures)) / figures[0] if figures else None
