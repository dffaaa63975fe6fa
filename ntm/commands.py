"""The entry points of the commands, which end silently on Ctrl-C even while the command itself is being imported."""

import os
import signal

from ntm.signals import ENDING


def train() -> None:
    """``ntm-train``."""
    _end_silently()
    from ntm.training.command import main  # noqa: PLC0415

    main()


def export() -> None:
    """``ntm-export``."""
    _end_silently()
    from ntm.export.command import main  # noqa: PLC0415

    main()


def copy() -> None:
    """``ntm-copy``."""
    _end_silently()
    from ntm.runtime.copy_command import main  # noqa: PLC0415

    main()


def evaluate() -> None:
    """``ntm-eval``."""
    _end_silently()
    from ntm.runtime.eval_command import main  # noqa: PLC0415

    main()


def run() -> None:
    """``ntm-run``."""
    _end_silently()
    from ntm.runtime.run_command import main  # noqa: PLC0415

    main()


def view() -> None:
    """``ntm-view``."""
    _end_silently()
    from ntm.runtime.view_command import main  # noqa: PLC0415

    main()


def _end_silently() -> None:
    """Let a signal end the process at once, until ``ntm.console.run`` has something to clean up.

    Python's own handler of Ctrl-C would print a traceback of whatever import it interrupts.
    """
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup asks
            signal.signal(number, lambda number, _: os._exit(128 + number))
