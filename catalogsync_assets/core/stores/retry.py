"""Requests that are made again: after what may pass, at the pace that the store bears."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from catalogsync_assets.core.errors import StoreUnavailableError
from catalogsync_assets.core.runner.limiter import ConcurrencyLimiter

#: Seconds that the wait after the first try, and that between two tries, never exceeds.
_FIRST_BACKOFF, MAX_BACKOFF = 0.25, 20.0

_T = TypeVar("_T")
#: Calls a function, again if it failed for a passing reason; see `Retries`.
Retry = Callable[[Callable[[], Any]], Any]


def once(function: Callable[[], Any]) -> Any:
    """A `Retry` that does not."""
    return function()


class Retries:
    """Calls again what failed for a passing reason: exponential backoff, full jitter, capped.

    Thread-safe. Source: "Exponential Backoff And Jitter", AWS Architecture Blog.

    Attributes:
        count: requests that had to be repeated so far.
    """

    def __init__(self, *, attempts: int, pace: ConcurrencyLimiter, stop: threading.Event) -> None:
        """
        Args:
            attempts: tries of one request at most.
            pace: bounds the requests at a time, and is told of complaints of the store.
            stop: once set, no wait between tries goes on.
        """
        self._attempts = attempts
        self._pace = pace
        self._stop = stop
        self._lock = threading.Lock()
        self.count = 0

    def __call__(
        self, function: Callable[[], _T], *, progress: Callable[[], int] = lambda: 0
    ) -> _T:
        """What the function returns, at the first try at which it does not fail.

        Args:
            progress: grows while tries, though they fail, bring something, such as bytes; such a
                try counts as none. Over a bad line a large file comes in the end.

        Raises:
            StoreUnavailableError: that of the last try.
            Exception: anything else that the function raises, at once.
        """
        most, fruitless, wait = 0, 0, _FIRST_BACKOFF
        while True:
            try:
                with self._pace:
                    result = function()
            except StoreUnavailableError:
                here = progress()
                fruitless = 1 if here > most else fruitless + 1
                most = max(most, here)
                if fruitless >= self._attempts or self._stop.is_set():
                    raise
                self._pace.slow_down()
                with self._lock:
                    self.count += 1
            else:
                return result
            self._stop.wait(random.uniform(0, min(wait, MAX_BACKOFF)))  # noqa: S311
            wait *= 2
