"""The manners that all commands share: errors on one line, exit codes, versions, interrupts."""

import contextlib
import importlib.metadata
import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import NoReturn

DISTRIBUTION = "neural-turing-machine"

OK, WRONG, TROUBLE, INTERRUPTED = 0, 1, 2, 130


class CommandError(Exception):
    """Trouble that the user can understand and mend; shown as one line, exit code 2."""


def fail(command: str, message: str, code: int = TROUBLE) -> NoReturn:
    """Print ``command: error: message`` and exit."""
    sys.stderr.write(f"{command}: error: {' '.join(message.split())}\n")
    raise SystemExit(code)
