"""Threads that a stopped program does not wait for.

A request that hangs cannot be called off, and Python waits at exit for the threads of a
`ThreadPoolExecutor`: Ctrl-C would take effect minutes later. These are daemon threads.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

_T = TypeVar("_T")


class Workers:
    """Daemon threads that take calls in the order in which they were given."""

    def __init__(self, count: int, name: str) -> None:
        """
        Args:
            count: of threads, at most; they start as there are calls.
        """
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]
        self._calls = queue.SimpleQueue()
        self._count = count
        self._name = name
        self._started = 0

    def submit(self, function: Callable[[], _T]) -> Future[_T]:
        """Have a function called; the future tells what it returned or raised."""
        future: Future[_T] = Future()
        self._calls.put((future, function))
        if self._started < self._count:
            self._started += 1
            name = f"{self._name}-{self._started}"
            threading.Thread(target=self._run, name=name, daemon=True).start()
        return future

    def close(self) -> None:
        """Begin nothing more; each thread ends after the call that it is in. Does not wait."""
        while True:
            try:
                call = self._calls.get_nowait()
            except queue.Empty:
                break
            if call is not None:
                call[0].cancel()
                call[0].set_running_or_notify_cancel()
        for _ in range(self._started):
            self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            future, function = call
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)
