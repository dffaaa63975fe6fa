"""A quick test of a converged network beyond the sizes of its training: the largest size without an error."""

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

from ntm.errors import TaskError
from ntm.models import NetworkConfig
from ntm.tasks.task import Size, Task, describe, largest
from ntm.training.trainer import Trainer, state_numbers

# The limits of the test: sequences side by side, steps of all sizes together, and numbers in the memories. A step takes
# half a millisecond.
_SEQUENCES, _STEPS, _NUMBERS = 8, 600, 1 << 20


def look_beyond(trainer: Trainer, task: Task, network: NetworkConfig) -> dict[str, Any]:
    """Run a converged network on a few sequences of the evaluation sizes that are beyond those of the training.

    Sizes that take too long are left out, and so are sizes of which the task makes no sequences.

    Args:
        trainer: the trainer, whose network has passed its last check.
        task: the task of the training.
        network: the configuration of the network.

    Returns:
        Two fields of the summary of a training, of JSON types. ``beyond_training`` has the result of each size, in the
        order of their steps. N is the need of the task, but at least that of the training. ``right_up_to`` is the last
        size before the first that is not right, or the largest size of the training. A size is right if no bit is
        wrong; or with a goal, if the cost is within the goal.
    """
    ranges = trainer.config.ranges
    rows: list[dict[str, Any]] = []
    right_up_to, all_right = largest(ranges), True
    for size, memory_locations in _sizes(task, ranges, network):
        try:
            found = trainer.check_at(size, _SEQUENCES, memory_locations)
        except TaskError:
            continue
        rows.append(
            {
                "size": dict(size),
                "memory_locations": memory_locations,
                "sequences": _SEQUENCES,
                "wrong_bits": found.wrong_bits,
                "cost": found.cost if math.isfinite(found.cost) else None,  # JSON has no NaN
                "right": found.passed,
            }
        )
        all_right = all_right and found.passed
        if all_right:
            right_up_to = dict(size)
    return {"right_up_to": right_up_to, "beyond_training": rows}


def sentence(summary: Mapping[str, Any], goal: float) -> str:
    """A sentence about the results beyond the sizes of the training; empty for a network that has not converged.

    Args:
        summary: the summary of the training.
        goal: the goal of the training.
    """
    if not summary.get("right_up_to"):
        return ""
    right = f"a cost within {goal:g} bits" if goal else "no wrong bit"
    text = f"{right} seen up to {describe(summary['right_up_to'])}"
    wrong = [_found(row, goal) for row in summary["beyond_training"] if not row["right"]]
    beyond = "; ".join(wrong) if wrong else "" if summary["beyond_training"] else "larger sizes were not tested"
    return f"{text}; {beyond}" if beyond else text


def _found(row: Mapping[str, Any], goal: float) -> str:
    cost = "no finite cost" if row["cost"] is None else f"a cost of {row['cost']:.1f} bits"
    what = cost if goal else f"{row['wrong_bits']:,} wrong bits"
    return f"{what} in {row['sequences']} sequences of {describe(row['size'])}"


def _sizes(task: Task, ranges: Mapping[str, range], network: NetworkConfig) -> Iterator[tuple[Size, int]]:
    """The sizes to test, and their N."""
    found: list[tuple[int, int, Size]] = []
    for size in task.evaluation_sizes:
        if not all(size[name] in values for name, values in ranges.items()):
            with contextlib.suppress(Exception):  # the task need not have such sequences
                needed = max(task.memory_locations(size), network.memory_locations)
                found.append((task.steps(size), needed, size))
    left = _STEPS
    for steps, memory_locations, size in sorted(found, key=lambda item: item[0]):
        left -= steps
        if left >= 0 and _SEQUENCES * state_numbers(network, memory_locations) <= _NUMBERS:
            yield size, memory_locations
