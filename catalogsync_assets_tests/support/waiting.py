"""Waiting for what must happen, never without end."""

from __future__ import annotations

import time
from collections.abc import Callable

#: How long anything that must happen may take before a test fails. Nothing waits this long.
PATIENCE = 30.0


def until(condition: Callable[[], object]) -> None:
    """Ask again and again, for what another process brings about."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)
