"""Counting what a network gets wrong: many sequences of one length, in batches, several batches at a time."""

import dataclasses
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ntm import text
from ntm.runtime.model import Floats, Model
from ntm.runtime.patterns import Words, sequence

_REPORT_SECONDS = 0.1

_LEGEND = """\
N: memory locations; wrong bits: per sequence, and in the worst; soft cost: the sum of
|target - output| over the output phase, in bits per sequence"""


class Case(NamedTuple):
    """Sequences to copy."""

    length: int  # L
    memory_locations: int  # N
    sequences: int
    pattern: str = "random"  # a name of ``ntm.runtime.patterns.PATTERNS``
    seed: int = 0

    @property
    def steps(self) -> int:
        """T: the words, the delimiter, the words again."""
        return 2 * self.length + 1


class Recall(NamedTuple):
    """A sequence, and what the network recalled of it."""

    words: Words  # [L, W]
    y: Floats  # [L, W], probabilities

    @property
    def wrong_bits(self) -> int:
        """The bits of y, thresholded at 0.5, that are not those of the words."""
        return int(np.count_nonzero((self.y > 0.5) != self.words))


@dataclasses.dataclass(frozen=True)
class Score:
    """How a network has copied the sequences of a case.

    Attributes:
        case: what it was given.
        wrong_bits: of each sequence, ``[sequences]``; thresholded at 0.5, over the output phase only.
        soft_cost: of each sequence in bits, ``[sequences]``: the sum over the output phase of |target - output|, where
            the output is a probability. So the original counted.
        worst: the first of the sequences with the most wrong bits.
    """

    case: Case
    wrong_bits: npt.NDArray[np.int64]
    soft_cost: npt.NDArray[np.float64]
    worst: Recall

    def as_dict(self) -> dict[str, str | int | float]:
        """The figures, for machines."""
        return {
            "pattern": self.case.pattern,
            "length": self.case.length,
            "memory_locations": self.case.memory_locations,
            "sequences": len(self.wrong_bits),
            "perfect_sequences": int(np.count_nonzero(self.wrong_bits == 0)),
            "wrong_bits": int(self.wrong_bits.sum()),
            "wrong_bits_mean": float(self.wrong_bits.mean()),
            "wrong_bits_worst": int(self.wrong_bits.max()),
            "soft_cost_mean": float(self.soft_cost.mean()),
        }


def evaluate(model: Model, case: Case, *, threads: int = 1, report: Callable[[float], None] = lambda _: None) -> Score:
    """Let a network copy the sequences of a case, and compare.

    Args:
        model: the network, whose ``batch_size`` bounds the memory that this takes.
        case: the sequences.
        threads: batches that are computed at a time; the sequences do not depend on the batches.
        report: called now and then with the sequences done, of which some may be half done.

    Raises:
        ModelError: the model cannot be run.
        ValueError: the case has fewer locations than the heads start from.
    """
    size = min(model.batch_size(case.memory_locations), -(-case.sequences // threads))
    batches = [range(start, min(start + size, case.sequences)) for start in range(0, case.sequences, size)]
    done = [0.0] * len(batches)  # sequences of each
    stopped = threading.Event()

    def copy(index: int) -> Score:
        words = _words(case, model.metadata.word_bits, batches[index])
        y: list[Floats] = []
        steps = model.unroll(len(words), case.memory_locations)  # of each chunk, or about so many
        for chunk in model.recall(words, model.initial_state(len(words), case.memory_locations)):
            if stopped.is_set():
                raise CancelledError
            y.append(chunk)
            done[index] = min(done[index] + len(words) * steps / case.steps, len(words))
        done[index] = len(words)
        return _score(case, words, np.concatenate(y).transpose(1, 0, 2))

    # onnxruntime gives up the interpreter's lock while it computes, so threads suffice.
    pool = ThreadPoolExecutor(threads)
    scores: list[Score] = []
    try:
        jobs = deque(pool.submit(copy, index) for index in range(len(batches)))
        while jobs:
            wait([jobs[0]], _REPORT_SECONDS)
            report(sum(done))
            while jobs and jobs[0].done():
                scores = [_joined(*scores, jobs.popleft().result())]
    finally:
        stopped.set()
        pool.shutdown(cancel_futures=True)
    return scores[0]


def table(scores: Sequence[Score]) -> str:
    """The figures, for people: a row for each case, and what the columns mean; Markdown."""
    columns = {
        "pattern": "pattern",
        "length": "length",
        "N": "memory_locations",
        "sequences": "sequences",
        "perfect": "perfect_sequences",
        "wrong bits": "wrong_bits_mean",
        "worst": "wrong_bits_worst",
        "soft cost": "soft_cost_mean",
    }
    rows = [[readable(score.as_dict()[name]) for name in columns.values()] for score in scores]
    return f"{text.table([list(columns), *rows], left=1)}\n\n{_LEGEND}"


def readable(value: str | float) -> str:
    """A figure as people read it: three digits, or all before the point."""
    if isinstance(value, str):
        return value
    return f"{value:.3g}" if isinstance(value, float) and value < 100 else f"{value:,.0f}"


def _words(case: Case, word_bits: int, numbers: Iterable[int]) -> Words:
    """Some of the sequences of a case, ``[B, L, W]``."""
    return np.stack([sequence(case.pattern, case.length, word_bits, seed=case.seed, number=i) for i in numbers])


def _score(case: Case, words: Words, y: Floats) -> Score:
    """Compare a batch: words and the probabilities of y, each ``[B, L, W]``."""
    wrong = np.count_nonzero((y > 0.5) != words, axis=(1, 2))
    worst = int(wrong.argmax())
    soft = np.abs(words - y).sum(axis=(1, 2), dtype=np.float64)
    return Score(case, wrong, soft, Recall(words[worst], y[worst].copy()))


def _joined(*scores: Score) -> Score:
    """The scores of several batches of a case as one."""
    return dataclasses.replace(
        scores[0],
        wrong_bits=np.concatenate([score.wrong_bits for score in scores]),
        soft_cost=np.concatenate([score.soft_cost for score in scores]),
        worst=max((score.worst for score in scores), key=lambda worst: worst.wrong_bits),
    )
