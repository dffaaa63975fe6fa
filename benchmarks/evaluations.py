"""The sequences on which the tasks of the paper are evaluated, and the results of others on them."""

from typing import NamedTuple

from ntm.tasks import Size


class Evaluation(NamedTuple):
    """Sequences of one size, and the results of others on them.

    Attributes:
        size: the size of the sequences.
        memory_locations: N; None for as many as the task gives the size.
        paper: the cost that the paper's NTM with a feedforward controller has, read off its plots, in bits per sequence
            above the optimal predictor; empty where it shows none.
        other: the lowest cost of the reimplementations, in the same unit.
    """

    size: Size
    memory_locations: int | None = None
    paper: str = ""
    other: str = ""


# Other implementations: mgupta8143, 2026; see docs/results/paper_tasks.md.
EVALUATIONS: dict[str, tuple[Evaluation, ...]] = {
    "copy": (
        Evaluation({"length": 20}, paper="0.1", other="0.05"),
        Evaluation({"length": 120}),
        Evaluation({"length": 1000}),
    ),
    "repeat-copy": (
        Evaluation({"length": 10, "repeats": 10}, paper="5"),
        Evaluation({"length": 20, "repeats": 10}),
        Evaluation({"length": 10, "repeats": 10}, 128, paper="5"),
        Evaluation({"length": 20, "repeats": 10}, 128),
        Evaluation({"length": 30, "repeats": 10}, 128),
        *(Evaluation({"length": 10, "repeats": repeats}, 128) for repeats in (11, 12, 15, 20)),
    ),
    "associative-recall": (
        *(Evaluation({"items": items}) for items in (2, 3, 4, 5)),
        Evaluation({"items": 6}, paper="0", other="0"),
        Evaluation({"items": 10}, paper="0", other="0"),
        Evaluation({"items": 12}),
        Evaluation({"items": 15}, paper="1.5", other="0"),
        Evaluation({"items": 20}, paper="8.0", other="0.94"),
        *(Evaluation({"items": items}, 128) for items in (2, 6, 10, 12, 15, 20)),
        Evaluation({"items": 20}, 88),  # one location for each step
        *(Evaluation({"items": items}) for items in (50, 100)),
    ),
    "dynamic-ngrams": (
        Evaluation({"length": 200}, paper="0.5 to 1"),
        *(Evaluation({"length": length}) for length in (100, 400)),
    ),
    "priority-sort": (
        Evaluation({"vectors": 10}),
        Evaluation({"vectors": 20}, paper="18 to 20"),
        Evaluation({"vectors": 20}, 128),
        Evaluation({"vectors": 30}),
    ),
}
