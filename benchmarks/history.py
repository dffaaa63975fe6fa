"""What a run folder's ``history.jsonl`` tells: each line has the mean loss of 25 batches."""

import itertools
import json
import math
import pathlib


def losses(run: pathlib.Path) -> list[tuple[int, float]]:
    """The training sequences so far, and the loss, of each line; NaN where the loss was not finite."""
    lines = map(json.loads, (run / "history.jsonl").read_text().splitlines())
    return [(line["sequences"], math.nan if line["loss"] is None else line["loss"]) for line in lines]


def climb(run: pathlib.Path, sequences_to_converge: int | None) -> float | None:
    """The largest rise of the loss above the lowest one before it, after convergence; None without convergence."""
    since = math.inf if sequences_to_converge is None else sequences_to_converge
    converged = [loss for sequences, loss in losses(run) if sequences >= since]
    lowest = itertools.accumulate(converged, min)
    return max((loss / low for loss, low in zip(converged, lowest, strict=True)), default=None)
