"""The option ``--ray`` of the benchmarks: every seed is a task of Ray, on this machine or on a cluster."""

import argparse
import contextlib
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from ntm import console
from ntm.errors import MissingExtraError, require

_MOST_WAITED_FOR = 1_000  # tasks, a thread each
_COMMAND = "--ray"  # what the errors begin with


def add_ray(parser: argparse.ArgumentParser) -> None:
    """Add ``--ray``."""
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="run every seed as a task of Ray, one a core: `local` starts Ray on this machine, any other address is "
        "that of a cluster, e.g. auto; its machines need this folder and this environment under the same paths",
    )


def results(address: str | None, function: Callable[..., Any], calls: Iterable[Sequence[Any]]) -> Iterator[Any]:
    """What a function returns, call by call: one after the other, or side by side as tasks of Ray.

    Args:
        address: as ``--ray`` takes it; None for one after the other, in this process.
        function: of a module, or of the program.
        calls: the arguments of each.

    Raises:
        SystemExit: as ``pool``, or as the function.
    """
    if address is None:
        yield from itertools.starmap(function, calls)
        return
    with pool(address) as tasks:
        for running in [tasks.submit(function, *arguments) for arguments in calls]:
            yield running.result()


class Pool:
    """Submits calls as tasks of Ray, as an executor of ``concurrent.futures`` does, and counts on stderr what is done.

    Args:
        ray: the module.
        threads: waits for the tasks.
    """

    def __init__(self, ray: Any, threads: ThreadPoolExecutor) -> None:
        self._ray, self._threads = ray, threads
        self._submitted, self._done = 0, itertools.count(1)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Call a function on a core of the cluster."""
        task = self._ray.remote(num_cpus=1, max_retries=0)(_called).remote(os.getcwd(), function, *arguments)
        self._submitted += 1
        return self._threads.submit(self._result, task)

    def _result(self, task: Any) -> Any:
        result, trouble = self._ray.get(task)
        print(f"{next(self._done)} of {self._submitted} tasks are done", file=sys.stderr, flush=True)
        if trouble is not None:
            raise SystemExit(trouble)
        return result


def _called(folder: str, function: Callable[..., Any], *arguments: Any) -> tuple[Any, str | None]:
    """What a function returns, or why it ends the program: Ray would take that for the end of its worker."""
    os.chdir(folder)  # for paths that are relative
    try:
        return function(*arguments), None
    except SystemExit as end:
        return None, str(end)


@contextlib.contextmanager
def pool(address: str) -> Iterator[Pool]:
    """The tasks of a Ray that is started, or connected to, for a block.

    Args:
        address: as ``--ray`` takes it.

    Raises:
        SystemExit: Ray is missing, or cannot be reached; with a line on stderr and the exit code 2.
    """
    try:
        require("ray", "ray")
        import ray  # noqa: PLC0415  (of an extra)

        ray.init(address, include_dashboard=False if address == "local" else None, log_to_driver=False)
    except (MissingExtraError, ConnectionError, ValueError, RuntimeError) as error:
        console.fail(_COMMAND, str(error))
    threads = ThreadPoolExecutor(_MOST_WAITED_FOR)
    try:
        yield Pool(ray, threads)
    finally:
        ray.shutdown()  # which ends the tasks that are left, and so the threads
        threads.shutdown(cancel_futures=True)
