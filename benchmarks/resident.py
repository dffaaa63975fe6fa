"""The memory of a process, for the benchmarks; Linux only."""

import os
import pathlib


def resident_bytes() -> int:
    """The memory that this process has in RAM."""
    pages = pathlib.Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
