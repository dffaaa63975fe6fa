"""Copy with one model from many threads and processes at once, and count the wrong bits; Markdown. Linux only.

The model is used before the processes begin. They get it by spawn, which pickles it; by fork; and by fork while
threads of the parent go on using it. The exit code is 1 if a bit is wrong, a worker does not end in time, or its memory
grows beyond 1.1 times that after the first tenth of its copies.
"""

import argparse
import contextlib
import faulthandler
import multiprocessing
import multiprocessing.connection
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from resident import resident_bytes

import ntm

MOST_GROWTH = 1.1
_LONGEST, _MOST_SEQUENCES = 20, 4


class Outcome(NamedTuple):
    """What a worker found."""

    wrong_bits: int
    growth: float  # of its memory since the first tenth of its copies


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", type=int, default=1000, help="of each worker (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=32, help="on one model (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=8, help="of each kind (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=600, help="allowed for each row (default: %(default)s)")
    parser.add_argument("--session-threads", type=int, default=1, help="of ntm.load (default: %(default)s)")
    parser.add_argument("--model", default=None, help="a name or a folder (default: the bundled copy-8bit)")
    arguments = parser.parse_args()
    model = ntm.load(arguments.model, threads=arguments.session_threads)
    copy_randomly(model, 0, 10)

    def in_threads(threads: int) -> Iterator[Outcome]:
        return run_threads(model, threads, arguments.copies, arguments.seconds)

    def in_processes(method: str, processes: int) -> Iterator[Outcome]:
        return run_processes(model, method, processes, arguments.copies, arguments.seconds)

    def forked_beside_threads(processes: int) -> Iterator[Outcome]:
        with busy(model):
            yield from in_processes("fork", processes)

    rows: list[tuple[str, int, Callable[[int], Iterator[Outcome]]]] = [
        ("threads", arguments.threads, in_threads),
        ("processes by spawn", arguments.processes, lambda workers: in_processes("spawn", workers)),
        ("processes by fork", arguments.processes, lambda workers: in_processes("fork", workers)),
        ("processes by fork, beside threads", arguments.processes, forked_beside_threads),
    ]
    print("| workers | count | ended in time | copies of each | wrong bits | largest growth of memory | s |")
    print("| --- |" + " ---: |" * 6)
    fine = True
    for name, workers, run in rows:
        start = time.monotonic()
        outcomes = list(run(workers))
        seconds = time.monotonic() - start
        wrong = sum(outcome.wrong_bits for outcome in outcomes)
        growth = max((outcome.growth for outcome in outcomes), default=0.0)
        figures = f"{workers} | {len(outcomes)} | {arguments.copies:,} | {wrong} | {growth:.2f}x | {seconds:.1f}"
        print(f"| {name} | {figures} |", flush=True)
        fine = fine and len(outcomes) == workers and not wrong
        fine = fine and growth <= MOST_GROWTH and seconds <= arguments.seconds
    return 0 if fine else 1


def copy_randomly(model: ntm.Model, seed: int, copies: int) -> Outcome:
    """Copy random words of changing shapes, ``[B, L, 8]``."""
    random = np.random.default_rng(seed)
    wrong, after_a_tenth = 0, 0
    for i in range(copies):
        shape = (random.integers(1, _MOST_SEQUENCES + 1), random.integers(1, _LONGEST + 1), 8)
        words: npt.NDArray[np.uint8] = random.integers(0, 2, shape, np.uint8)
        wrong += int((model.copy(words) != words).sum())
        if i == copies // 10:
            after_a_tenth = resident_bytes()
    return Outcome(wrong, resident_bytes() / after_a_tenth)


def run_threads(model: ntm.Model, workers: int, copies: int, seconds: float) -> Iterator[Outcome]:
    """Copy in threads, all on one model; if they do not end in time, this process ends with exit code 1."""
    faulthandler.dump_traceback_later(seconds, exit=True)
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(lambda seed: copy_randomly(model, seed, copies), range(workers))
    faulthandler.cancel_dump_traceback_later()


def run_processes(model: ntm.Model, method: str, workers: int, copies: int, seconds: float) -> Iterator[Outcome]:
    """Copy in processes; those that do not end in time are killed, and have no outcome."""
    context = multiprocessing.get_context(method)
    started = []
    for seed in range(workers):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=send_outcome, args=(sender, model, seed, copies))  # type: ignore[attr-defined]
        process.start()
        sender.close()
        started.append((process, receiver))
    end = time.monotonic() + seconds
    for process, receiver in started:
        if receiver.poll(max(0.0, end - time.monotonic())):
            try:
                outcome = receiver.recv()
            except EOFError:  # it crashed
                continue
            process.join(max(0.0, end - time.monotonic()))
            if process.exitcode == 0:
                yield outcome
        process.kill()


def send_outcome(sender: "multiprocessing.connection.Connection", model: ntm.Model, seed: int, copies: int) -> None:
    """What a process does."""
    sender.send(copy_randomly(model, seed, copies))


@contextlib.contextmanager
def busy(model: ntm.Model) -> Iterator[None]:
    """Two threads copy with the model while the block lasts."""
    over = threading.Event()

    def copy() -> None:
        while not over.is_set():
            copy_randomly(model, 0, 10)

    threads = [threading.Thread(target=copy) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    sys.exit(main())
