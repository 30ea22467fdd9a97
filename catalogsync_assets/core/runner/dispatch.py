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
from dataclasses import dataclass, field
from typing import Generic, TypeVar

_Task = TypeVar("_Task")
_Outcome = TypeVar("_Outcome")

#: Seconds that a request may take before it can count as a straggler at all.
STRAGGLER_SECONDS = 10.0
#: How many times the slowest that has come through.
_STRAGGLER_FACTOR = 4.0


@dataclass(eq=False)
class Job(Generic[_Task, _Outcome]):
    """A task on its way through a run."""

    task: _Task
    need: int
    #: What became of it, once it is done; an exception if it failed.
    outcome: _Outcome | BaseException = field(init=False)
    is_done: bool = False
    since: float = 0.0  #: when it was handed out
    repeated: bool = False  #: it is handed out a second time, or soon will be


class Dispatch(Generic[_Task, _Outcome]):
    """Tasks that wait, tasks in hand, outcomes. Thread-safe.

    Every task that is added has one outcome, whichever of its workers brings it first. For
    `max_bytes`, `need` and `at_once` see `run.Run`.

    Attributes:
        is_short: whether a task could be handed out, and every worker has one.
    """

    def __init__(
        self,
        max_bytes: int,
        need: Callable[[_Task], int],
        at_once: Callable[[], int] | None = None,
    ) -> None:
        self._max_bytes = max_bytes
        self._need = need
        self._at_once = at_once
        self._idle = 0  # workers that wait for a task
        self.is_short = False
        self._ready: deque[Job[_Task, _Outcome]] = deque()
        self._in_hand: set[Job[_Task, _Outcome]] = set()
        self._done: list[Job[_Task, _Outcome]] = []
        self._bytes = 0
        self._busy = 0  # workers
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
        return len(self._in_hand)

    @property
    def idle(self) -> bool:
        """Whether nothing waits, is in hand, or has come back."""
        with self._work:
            return not (self._ready or self._done or self._in_hand)

    @property
    def waiting(self) -> int:
        """Tasks that no worker has taken yet."""
        return len(self._ready)

    def add(self, tasks: Iterable[_Task]) -> list[Job[_Task, _Outcome]]:
        """Let workers take these, in this order."""
        jobs: list[Job[_Task, _Outcome]] = [Job(task, self._need(task)) for task in tasks]
        with self._work:
            if not self._closed:
                self._ready.extend(jobs)
                self._work.notify_all()
                self._look_around()
        return jobs

    def take(self) -> Job[_Task, _Outcome] | None:
        """The next job for a worker, once there is one and room for it; None at the end."""
        with self._work:
            while not self._closed:
                if self._ready and self._fits(self._ready[0]):
                    return self._hand_out(self._ready.popleft())
                self._idle += 1
                self._work.wait()
                self._idle -= 1
            return None

    def _fits(self, job: Job[_Task, _Outcome]) -> bool:
        if self._at_once is not None and self._busy >= self._at_once():
            return False
        return not self._busy or self._bytes + job.need <= self._max_bytes

    def _look_around(self) -> bool:
        """Whether another task could be handed out."""
        more = bool(self._ready) and self._fits(self._ready[0])
        self.is_short = more and not self._idle
        return more

    def _hand_out(self, job: Job[_Task, _Outcome]) -> Job[_Task, _Outcome]:
        if not job.repeated:
            job.since = time.monotonic()
            self._in_hand.add(job)
        self._busy += 1
        self._bytes += job.need
        if len(self._ready) == self._low_water:
            self._news.notify()
        if self._look_around():
            self._work.notify()
        return job

    def done(self, job: Job[_Task, _Outcome], outcome: _Outcome | BaseException) -> None:
        """A worker's report, before it takes its next job: nobody is woken for that. The second one
        of a job is of no interest any more."""
        with self._work:
            self._busy -= 1
            self._bytes -= job.need
            if job in self._in_hand:
                self._in_hand.remove(job)
                if job.repeated and job in self._ready:  # it has come after all
                    self._ready.remove(job)
                self._keep(job, outcome)

    def _keep(self, job: Job[_Task, _Outcome], outcome: _Outcome | BaseException) -> None:
        job.outcome, job.is_done = outcome, True
        self._done.append(job)
        if isinstance(outcome, BaseException):
            self._urgent = True
        else:
            self._slowest = max(self._slowest, time.monotonic() - job.since)
        if self._is_due():
            self._news.notify()

    def _is_due(self) -> bool:
        """Whether the run has something to do."""
        return (
            self._urgent
            or len(self._done) >= self._at_least
            or len(self._ready) <= self._low_water
            or not (self._ready or self._in_hand)
        )

    def outcomes(
        self, *, at_least: int, low_water: int, timeout: float
    ) -> list[Job[_Task, _Outcome]]:
        """Wait for work for the run, and take the jobs that are done.

        Args:
            at_least: return once there are so many, or one that failed,
            low_water: or once no more tasks than this wait for a worker (negative: never),
            timeout: or after so many seconds. Does not wait when nothing is left to wait for.
        """
        with self._work:
            self._at_least, self._low_water = at_least, low_water
            self._news.wait_for(self._is_due, timeout)
            self._urgent = False
            taken, self._done = self._done, []
            return taken

    def borrow(self, size: int) -> bool:
        """Whether a task in hand may hold so many bytes more, as there is room and no other task
        waits; they count as held until `give_back`."""
        with self._work:
            if self._ready or self._closed or self._bytes + size > self._max_bytes:
                return False
            self._bytes += size
            return True

    def give_back(self, size: int) -> None:
        """A task no longer holds what it has borrowed."""
        with self._work:
            self._bytes -= size
            self._work.notify()

    def repeat_stragglers(self, may_repeat: Callable[[_Task], bool]) -> int:
        """Hand out once more what takes far longer than anything else did, as nothing else waits.

        The caller has made sure that a task may be carried out twice at the same time. What is
        tried again is worth it: most slow requests of a store are slow by chance, and the time-out
        of one that hangs is as long as the largest put may take: a quarter of an hour.

        Source: "Performance design patterns for Amazon S3", on retries for latency-sensitive
        applications.
        """
        with self._work:
            if self._ready or not self._slowest:
                return 0
            patience = max(STRAGGLER_SECONDS, _STRAGGLER_FACTOR * self._slowest)
            oldest = time.monotonic() - patience
            late = [
                job
                for job in self._in_hand
                if job.since < oldest and not job.repeated and may_repeat(job.task)
            ]
            for job in late:
                job.repeated = True
            self._ready.extend(late)
            self._work.notify_all()
            return len(late)

    def close(self) -> None:
        """Hand out nothing more."""
        with self._work:
            self._closed = True
            self._ready.clear()
            self._work.notify_all()
