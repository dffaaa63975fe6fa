"""Rates per second."""

import time
from collections.abc import Callable
from typing import Any


def steps_a_second(step: Callable[[], Any], seconds: float) -> float:
    """Steps per second, measured over a time; the first steps, which compile, do not count."""
    for _ in range(3):
        step()
    start, steps = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        step()
        steps += 1
    return steps / (time.perf_counter() - start)
