"""Waiting for what must happen, never without end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

#: How long anything that must happen may take before a test fails. Nothing waits this long.
PATIENCE = 120.0


class Task(threading.Thread):
    """A function in a thread of its own, from now on."""

    def __init__(self, function: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._function = function
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._function()
        except BaseException as error:
            self._error = error

    def end(self) -> None:
        """Wait for its end; its error comes through."""
        self.join(PATIENCE)
        assert not self.is_alive(), "it never ended"
        if self._error is not None:
            raise self._error


def until(condition: Callable[[], object]) -> None:
    """Ask again and again, for what another process brings about."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)
