"""Hands tasks to workers and brings back what became of them.

Between the run (one thread: catalog, decisions, report) and its workers (threads: files, network).
What is in hand is bounded by the bytes of memory that it needs. The run is woken seldom, as each
switch of threads costs about as much as a small file's bookkeeping.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

_Task = TypeVar("_Task")
_Outcome = TypeVar("_Outcome")

#: Seconds that a request may take before it can count as a straggler at all.
STRAGGLER_SECONDS = 10.0
#: How many times the slowest that has come through.
_STRAGGLER_FACTOR = 4.0


@dataclass
class _InHand(Generic[_Task]):
    """A task that a worker has; two of them, if the first was given up waiting for."""

    task: _Task
    need: int
    since: float
    holders: int = 1
    settled: bool = False


class Dispatch(Generic[_Task, _Outcome]):
    """Tasks that wait, tasks in hand, outcomes. Thread-safe.

    Every task that is added has one outcome, whichever of its holders brings it first.
    """

    def __init__(
        self,
        *,
        max_bytes: int,
        need: Callable[[_Task], int],
        key: Callable[[_Task], int],
    ) -> None:
        """
        Args:
            max_bytes: bytes of memory that tasks in hand may need together; a single task of
                more than this still goes, alone.
            need: the bytes that a task needs.
            key: what tells tasks apart.
        """
        self._max_bytes = max_bytes
        self._need = need
        self._key = key
        self._ready: deque[_Task] = deque()
        self._repeats: set[int] = set()  # the keys of those in `_ready` that are in hand already
        self._in_hand: dict[int, _InHand[_Task]] = {}
        self._outcomes: list[tuple[_Task, _Outcome]] = []
        self._bytes = 0
        self._holders = 0
        self._unsettled = 0
        self._slowest = 0.0
        self._closed = False
        lock = threading.Lock()
        self._work = threading.Condition(lock)  # for workers: something may be taken
        self._news = threading.Condition(lock)  # for the run: it has something to do
        self._at_least = 1
        self._low_water = -1
        self._urgent = False

    @property
    def in_hand(self) -> int:
        """Tasks that workers have and of which nothing is known yet."""
        return self._unsettled

    @property
    def idle(self) -> bool:
        """Whether nothing waits, is in hand, or has come back."""
        with self._work:
            return not (self._ready or self._outcomes or self._unsettled)

    @property
    def waiting(self) -> int:
        """Tasks that no worker has taken yet."""
        return len(self._ready)

    def add(self, tasks: Iterable[_Task]) -> None:
        """Let workers take these, in this order."""
        with self._work:
            self._ready.extend(tasks)
            self._work.notify_all()

    def take(self) -> _Task | None:
        """The next task for a worker, once there is one and room for it; None at the end."""
        with self._work:
            while not self._closed:
                if self._ready and self._fits(self._ready[0]):
                    return self._hand_out(self._ready.popleft())
                self._work.wait()
            return None

    def _fits(self, task: _Task) -> bool:
        return not self._holders or self._bytes + self._need(task) <= self._max_bytes

    def _hand_out(self, task: _Task) -> _Task:
        key = self._key(task)
        if key in self._repeats:
            self._repeats.discard(key)
            held = self._in_hand[key]
            held.holders += 1
        else:
            held = self._in_hand[key] = _InHand(task, self._need(task), time.monotonic())
            self._unsettled += 1
        self._holders += 1
        self._bytes += held.need
        if len(self._ready) == self._low_water:
            self._news.notify()
        if self._ready and self._fits(self._ready[0]):
            self._work.notify()
        return task

    def done(self, task: _Task, outcome: _Outcome, *, went_well: bool) -> None:
        """A worker's report; the second one of a task is of no interest any more."""
        with self._work:
            key = self._key(task)
            held = self._in_hand[key]
            held.holders -= 1
            self._holders -= 1
            self._bytes -= held.need
            if not held.settled:
                self._settle(held, outcome, went_well)
                if key in self._repeats:
                    self._repeats.discard(key)
                    self._ready.remove(task)
            if not held.holders:
                del self._in_hand[key]
            if self._ready:
                self._work.notify()

    def _settle(self, held: _InHand[_Task], outcome: _Outcome, went_well: bool) -> None:
        held.settled = True
        self._unsettled -= 1
        self._outcomes.append((held.task, outcome))
        if went_well:
            self._slowest = max(self._slowest, time.monotonic() - held.since)
        else:
            self._urgent = True
        if self._is_due():
            self._news.notify()

    def _is_due(self) -> bool:
        """Whether the run has something to do."""
        return (
            self._urgent
            or len(self._outcomes) >= self._at_least
            or len(self._ready) <= self._low_water
            or not (self._ready or self._unsettled)
        )

    def outcomes(
        self, *, at_least: int, low_water: int, timeout: float
    ) -> list[tuple[_Task, _Outcome]]:
        """Wait for work for the run, and take the outcomes that there are.

        Args:
            at_least: return once there are so many, or one that did not go well,
            low_water: or once no more tasks than this wait for a worker (negative: never),
            timeout: or after so many seconds. Does not wait when nothing is left to wait for.
        """
        with self._work:
            self._at_least, self._low_water = at_least, low_water
            self._news.wait_for(self._is_due, timeout)
            self._urgent = False
            taken, self._outcomes = self._outcomes, []
            return taken

    def repeat_stragglers(self, may_repeat: Callable[[_Task], bool]) -> int:
        """Hand out once more what takes far longer than anything else did, as nothing else waits.

        The caller has made sure that a task may be carried out twice at the same time. What is
        tried again is worth it: most slow requests of a store are slow by chance.

        Source: "Performance design patterns for Amazon S3", on retries for latency-sensitive
        applications.
        """
        with self._work:
            if self._ready or not self._slowest:
                return 0
            patience = max(STRAGGLER_SECONDS, _STRAGGLER_FACTOR * self._slowest)
            oldest = time.monotonic() - patience
            late = [
                held.task
                for held in self._in_hand.values()
                if held.since < oldest
                and held.holders == 1
                and not held.settled
                and may_repeat(held.task)
            ]
            self._repeats.update(map(self._key, late))
            self._ready.extend(late)
            self._work.notify_all()
            return len(late)

    def close(self) -> None:
        """Hand out nothing more."""
        with self._work:
            self._closed = True
            self._ready.clear()
            self._repeats.clear()
            self._work.notify_all()
