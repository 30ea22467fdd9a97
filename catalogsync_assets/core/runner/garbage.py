"""Python's garbage collection while a run goes on."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

#: Objects that come to be, beyond those that go, before the youngest are looked through.
_YOUNGEST = 50_000


@contextmanager
def seldom_collected() -> Iterator[None]:
    """In this block, look for cycles seldom, and not among what there was before.

    A run makes hardly any, and its tasks come and go by thousands: looking through all modules
    again and again was a tenth of an upload's CPU time. Memory stays flat.
    """
    with _blocks.one_more():
        yield


class _Blocks:
    """How many blocks are under way, in whatever threads: the first begins it, the last ends it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._before = gc.get_threshold()

    @contextmanager
    def one_more(self) -> Iterator[None]:
        with self._lock:
            self._count += 1
            if self._count == 1:
                self._before = gc.get_threshold()
                gc.freeze()
                gc.set_threshold(_YOUNGEST, *self._before[1:])
        try:
            yield
        finally:
            with self._lock:
                self._count -= 1
                if not self._count:
                    gc.set_threshold(*self._before)
                    gc.unfreeze()


_blocks = _Blocks()
