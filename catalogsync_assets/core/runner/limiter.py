"""How fast a run goes: as many requests at a time as are of use and the store bears (`level`), and
no more bytes per second than it was allowed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from catalogsync_assets.core.runner.level import Begun, Level


class _Mine(threading.local):
    """The request that a thread is in."""

    depth = 0
    size = 0
    request = Begun(0, 0.0)


class ConcurrencyLimiter:
    """Requests at a time, and bytes per second. Thread-safe.

    A context manager around one request; what its thread does inside of it, further requests too,
    is a part of that one.
    """

    def __init__(
        self,
        most: int,
        bytes_per_second: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            most: requests at a time, whatever more would bring.
            bytes_per_second: the most to send, all workers together; None for no limit.
        """
        self._rate = bytes_per_second
        self._clock = clock
        self._free_at = clock()
        self._level = Level(most, clock())
        self._under_way = 0
        self.peak = 0  #: how many requests were under way at most
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._mine = _Mine()

    @property
    def allowed(self) -> int:
        """How many requests may be under way now."""
        return self._level.allowed

    def __enter__(self) -> None:
        """Wait until one more request may be under way."""
        mine = self._mine
        mine.depth += 1
        if mine.depth > 1:
            return
        with self._lock:
            while self._under_way >= self._level.allowed:
                self._room.wait()
            self._under_way += 1
            self.peak = max(self.peak, self._under_way)
            mine.request = self._level.begun(self._clock())
        mine.size = 0

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        mine = self._mine
        mine.depth -= 1
        if mine.depth:
            return
        with self._lock:
            if error is None:
                self._level.answered(
                    mine.request, size=mine.size, under_way=self._under_way, now=self._clock()
                )
            self._under_way -= 1
            if (room := self._level.allowed - self._under_way) > 0:
                self._room.notify(room)

    def slow_down(self) -> None:
        """The store has complained, or has not answered in time."""
        with self._lock:
            self._level.complained(self._clock())

    def spend(self, size: int) -> float:
        """Account for bytes that are about to be sent; the seconds to wait before.

        Evens out over requests, not within one: each may go at the line's speed.
        """
        self._mine.size += size
        if self._rate is None:
            return 0.0
        with self._lock:
            now = self._clock()
            begin = max(now, self._free_at)
            self._free_at = begin + size / self._rate
            return begin - now
