"""How fast a run goes: as many requests at a time as the store bears, and no more bytes per second
than it was allowed.

A store that says "slow down" halves the number of requests at a time; each round of successes adds
one again, up to the limit. Source: additive increase, multiplicative decrease, as in TCP's
congestion control (RFC 5681).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

#: Seconds in which any number of complaints counts as one: they come from the same wave.
_ONE_WAVE = 1.0


class ConcurrencyLimiter:
    """Requests at a time, and bytes per second. Thread-safe."""

    def __init__(
        self,
        most: int,
        bytes_per_second: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            most: requests at a time when all goes well.
            bytes_per_second: the most to send, all workers together; None for no limit.
        """
        self._most = most
        self._exact = float(most)
        self.allowed = most  #: how many requests may be under way now
        self._under_way = 0
        self._rate = bytes_per_second
        self._clock = clock
        self._slowed = -_ONE_WAVE
        self._free_at = clock()
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)

    def __enter__(self) -> None:
        """Wait until one more request may be under way."""
        with self._room:
            while self._under_way >= self.allowed:
                self._room.wait()
            self._under_way += 1

    def __exit__(self, *_: object) -> None:
        with self._room:
            self._under_way -= 1
            self._room.notify()

    def slow_down(self) -> None:
        """The store has complained, or has not answered in time."""
        with self._lock:
            now = self._clock()
            if now - self._slowed >= _ONE_WAVE:
                self._slowed = now
                self._exact = max(1.0, self.allowed / 2)
                self.allowed = int(self._exact)

    def went_well(self) -> None:
        """A request was answered as it should."""
        if self.allowed == self._most:
            return
        with self._lock:
            self._exact = min(float(self._most), self._exact + 1 / self._exact)
            if int(self._exact) > self.allowed:
                self.allowed = int(self._exact)
                self._room.notify()

    def spend(self, size: int) -> float:
        """Account for bytes that are about to be sent; the seconds to wait before.

        Evens out over requests, not within one: each may go at the line's speed.
        """
        if self._rate is None:
            return 0.0
        with self._lock:
            now = self._clock()
            begin = max(now, self._free_at)
            self._free_at = begin + size / self._rate
            return begin - now
