"""How numbers are printed."""

from __future__ import annotations

import os
import platform
import statistics

import psutil


def spread(values: list[float]) -> str:
    """Median, lowest and highest, 24 characters wide."""
    if not values:
        return f"{'-':>24}"
    text = f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"
    return f"{text:>24}"


def machine() -> str:
    """What the numbers were measured on."""
    memory = psutil.virtual_memory().total / 1024**3
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB,"
        f" Python {platform.python_version()}"
    )
