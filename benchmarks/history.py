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


def climb(lines: Sequence[dict[str, Any]], sequences_to_converge: int | None) -> float | None:
    """The largest rise of the loss above the lowest one before it, after convergence; None without convergence."""
    converged = _since(lines, sequences_to_converge)
    lowest = itertools.accumulate(converged, min)
    return max((loss / low for loss, low in zip(converged, lowest, strict=True)), default=None)


def highest(lines: Sequence[dict[str, Any]], sequences_to_converge: int | None) -> float | None:
    """The highest loss after convergence as a multiple of the loss at convergence; None without convergence."""
    converged = _since(lines, sequences_to_converge)
    return max(converged) / converged[0] if converged else None


def _since(lines: Sequence[dict[str, Any]], sequences_to_converge: int | None) -> list[float]:
    """The losses from convergence on."""
    since = math.inf if sequences_to_converge is None else sequences_to_converge
    return losses([line for line in lines if line["sequences"] >= since])
