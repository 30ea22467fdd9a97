"""When a failed request is tried again: exponential backoff, full jitter, capped.

Source: "Exponential Backoff And Jitter", AWS Architecture Blog.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import tenacity

from catalogsync_assets.core.errors import StoreUnavailableError

#: Seconds that a wait between two tries never exceeds.
MAX_BACKOFF = 20.0

_T = TypeVar("_T")


def retrying(
    attempts: int,
    stop: threading.Event,
    *,
    before_retry: Callable[[], None] = lambda: None,
    progress: Callable[[], int] = lambda: 0,
) -> tenacity.Retrying:
    """Calls a function again that failed for a passing reason.

    Args:
        attempts: tries in a row that bring nothing new.
        stop: once set, no wait goes on and nothing is tried again.
        before_retry: called before each wait.
        progress: grows while tries, though they fail, bring something, such as bytes: over a bad
            line a large file comes in the end.
    """
    most, fruitless = 0, 0

    def is_hopeless(_state: tenacity.RetryCallState) -> bool:
        nonlocal most, fruitless
        here = progress()
        fruitless = 1 if here > most else fruitless + 1
        most = max(most, here)
        return fruitless >= attempts or stop.is_set()

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(StoreUnavailableError),
        stop=is_hopeless,
        wait=tenacity.wait_random_exponential(multiplier=0.25, max=MAX_BACKOFF),
        sleep=tenacity.sleep_using_event(stop),
        before_sleep=lambda _: before_retry(),
        reraise=True,
    )
