"""Requests that are made again: after what may pass, at the pace that the store bears."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import tenacity

from catalogsync_assets.core.errors import StoreUnavailableError
from catalogsync_assets.core.runner.limiter import ConcurrencyLimiter

#: Seconds that a wait between two tries never exceeds.
MAX_BACKOFF = 20.0

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
        # Most calls succeed at once, and a Retrying costs as much as a small file's hash.
        try:
            return self._attempt(function)
        except StoreUnavailableError as error:
            first: StoreUnavailableError | None = error

        def once_more() -> _T:  # the first failure counts as the first attempt
            nonlocal first
            if first is not None:
                error, first = first, None
                raise error
            return self._attempt(function)

        most, fruitless = 0, 0

        def is_hopeless(_state: tenacity.RetryCallState) -> bool:
            nonlocal most, fruitless
            here = progress()
            fruitless = 1 if here > most else fruitless + 1
            most = max(most, here)
            return fruitless >= self._attempts or self._stop.is_set()

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(StoreUnavailableError),
            stop=is_hopeless,
            wait=tenacity.wait_random_exponential(multiplier=0.25, max=MAX_BACKOFF),
            sleep=tenacity.sleep_using_event(self._stop),
            before_sleep=self._count_retry,
            reraise=True,
        )
        return retrying(once_more)

    def _attempt(self, function: Callable[[], _T]) -> _T:
        with self._pace:
            result = function()
        self._pace.went_well()
        return result

    def _count_retry(self, _state: tenacity.RetryCallState) -> None:
        self._pace.slow_down()
        with self._lock:
            self.count += 1
