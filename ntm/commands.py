"""The entry points of the commands, which end silently on Ctrl-C even while the command itself is being imported."""

import signal


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


def _end_silently() -> None:
    """Let Ctrl-C end the process as it ends any other, until ``ntm.console.run`` has something to clean up.

    Python's own handler would print a traceback of whatever import it interrupts.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # and is not ignored, as nohup asks
        signal.signal(signal.SIGINT, signal.SIG_DFL)
