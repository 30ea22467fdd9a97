"""A bounded run: many tasks, some of them at a time, and at any moment it may end.

Every job with many tasks - uploads, downloads, restores, audits ... - is one `Run`::

    claim ──page──► waiting ──► work (threads) ──► take ──result──► record (batches)
      ▲                                              │
      └── while few are waiting, within limits       └── or: end the run

Only `work` is called in threads; all else, the catalog too, is the caller's thread's alone. Memory
is flat however many tasks there are: pages are claimed as workers need them. However a run ends, by
an error or Ctrl-C too, what is on its way has a few seconds, and what it brings is recorded.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from catalogsync_assets.core.errors import CatalogSyncError, RunAborted, StoreError
from catalogsync_assets.core.runner.dispatch import Dispatch, Job
from catalogsync_assets.core.runner.garbage import seldom_collected

_Task = TypeVar("_Task")
_Outcome = TypeVar("_Outcome")
_Result = TypeVar("_Result")

#: A batch is recorded once it has so many results, or has waited for so long.
_BATCH = 1024
_BATCH_SECONDS = 1.0
#: Seconds after which the run looks around, if nothing woke it.
_TICK = 0.25
#: How long a run that ends waits for what is on its way.
_GRACE_SECONDS = 5.0


@dataclass(kw_only=True, eq=False)
class Run(Generic[_Task, _Outcome, _Result]):
    """One run; `execute` is called once. Types: what is claimed, what `work` gives, what `record`
    takes.
    """

    report: Any = field(kw_only=False)  #: goes with the error if the run is ended
    name: str  #: of the threads
    workers: int  #: tasks that are worked on at a time, at most
    stop: threading.Event  #: set by the run when it ends; `work` looks at it, to give up early
    #: The next tasks, in pages of a bounded size, none of them empty unless there is more to come;
    #: None when there are no more. Called whenever few tasks are waiting; after None once more when
    #: all is done: another process may have given something back. (For an iterator of pages:
    #: `lambda: next(pages, None)`. For a queue with leases: see `claims`.)
    claim: Callable[[], Sequence[_Task] | None]
    #: Carries out one task, in a thread. What it gives or raises is the outcome.
    work: Callable[[_Task], _Outcome]
    #: Judges an outcome: what is to be recorded of the task; None for nothing, such as for a task
    #: that is put back for another run. Where an exception means that the run cannot go on, it
    #: calls `end`; it raises the exception if that is a fault of ours.
    take: Callable[[_Task, _Outcome | BaseException], _Result | None]
    #: Writes results down, all or nothing, then counts them in the report. Called with 1,024, or
    #: after a second, and at the end; once more with the same ones, and those that came
    #: meanwhile, at the end after it raised.
    record: Callable[[list[_Result]], object]
    #: Called a few times a second while the run goes on: to show progress, renew leases.
    tick: Callable[[], object] = lambda: None
    #: How many tasks may be worked on now, where that changes; else as many as there are workers.
    at_once: Callable[[], int] | None = None
    max_bytes: int = 0  #: bytes that tasks in hand may `need` together; one of more goes alone
    need: Callable[[_Task], int] = lambda _: 0  #: the bytes of memory, or disk, that a task takes
    #: Whether a task may be carried out a second time while the first has not ended: done at the
    #: end of a run for those that seem to hang.
    may_repeat: Callable[[_Task], bool] = lambda _: False
    #: `take` is called in the order of the tasks, for a record that knows how far it is. Of what
    #: has gone before, nothing is left out; at the end, what comes behind something that was not
    #: done is dropped.
    in_order: bool = False
    #: The next page is claimed once the last one is recorded, in one batch, in order; a page of
    #: which something was not taken is never recorded, nor waited for. For what must not happen
    #: until all of its page is known, nor after a stop.
    by_page: bool = False
    #: How many workers wait for a person's answer, and are not waited for at the end.
    blocked: Callable[[], int] = lambda: 0

    def __post_init__(self) -> None:
        self._dispatch: Dispatch[_Task, _Outcome] = Dispatch(
            self.max_bytes, self.need, self.at_once
        )
        self._hired = 0  # threads
        self._hiring = threading.Lock()
        self._order: deque[Job[_Task, _Outcome]] = deque()  # if they are taken in order
        self._unrecorded: list[_Result] = []
        self._last_record = time.monotonic()
        self._exhausted = False
        self._cause: CatalogSyncError | None = None
        self._finishing = False

    @property
    def in_hand(self) -> int:
        """Tasks that are being worked on."""
        return self._dispatch.in_hand

    @property
    def is_ending(self) -> bool:
        """Whether nothing more is begun, as the run was ended or stopped."""
        return self._cause is not None or self.stop.is_set()

    def borrow(self, size: int) -> bool:
        """For `work`: whether a task may hold so many bytes more than it needs, as no other task
        waits for them; they are to be given back."""
        return self._dispatch.borrow(size)

    def give_back(self, size: int) -> None:
        """What was borrowed is not held any more."""
        self._dispatch.give_back(size)

    def end(self, cause: CatalogSyncError, *, finish: bool = False) -> None:
        """Begin nothing more; `execute` raises RunAborted in the end. The first call counts.

        Args:
            cause: why the run cannot go on.
            finish: what has begun may take its time; else it is stopped.
        """
        if self._cause is None:
            self._cause, self._finishing = cause, finish
            self._dispatch.close()

    def execute(self) -> None:
        """Carry out what there is to claim.

        Raises:
            RunAborted: `end` was called.
            Exception: what `claim`, `take`, `record` or `tick` raised, which ends the run; what
                was taken until then has been recorded.
        """
        with seldom_collected():
            self._execute()
        if self._cause is not None:
            raise RunAborted(self.report, self._cause) from self._cause

    def _execute(self) -> None:
        try:
            while self._step():
                self.tick()
        finally:
            # What is on its way may finish and is recorded; what takes too long is left.
            self.stop.set()
            self._dispatch.close()
            if not self.by_page:
                try:
                    self._wait_for_the_last()
                finally:
                    self._flush()

    def _work(self) -> None:
        """A worker's life; in a daemon thread, see `workers`. Any outcome, also of a fault of ours,
        reaches the caller's thread."""
        while (job := self._dispatch.take()) is not None:
            self._hire_if_short()
            outcome: _Outcome | BaseException
            try:
                outcome = self.work(job.task)
            except BaseException as error:
                outcome = error
            self._dispatch.done(job, outcome)

    def _hire_if_short(self) -> None:
        """Start one more thread if there is work for it; which may start the next."""
        if not self._dispatch.is_short or self._hired >= self.workers:
            return
        with self._hiring:
            if self._hired >= self.workers:
                return
            self._hired += 1
            name = f"{self.name}-{self._hired}"
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def _step(self) -> bool:
        """Claim if workers will soon be idle, wait, take and record outcomes; False at the end."""
        if self._cause is not None:
            if not (self._finishing and self._dispatch.in_hand):
                return False
        elif not self._goes_on():
            return False
        self._collect(at_least=_BATCH, low_water=self._low_water, timeout=_TICK)
        if self._exhausted:
            self._dispatch.repeat_stragglers(self.may_repeat)
        late = time.monotonic() - self._last_record >= _BATCH_SECONDS
        if not self.by_page and (late or len(self._unrecorded) >= _BATCH):
            self._flush()
        return True

    def _goes_on(self) -> bool:
        """Claim if it is time; whether there is anything to wait for."""
        if self._dispatch.waiting <= self._low_water:
            self._claim()
        if self._dispatch.idle and (self._exhausted or self.by_page):
            if self.by_page:
                self._flush()
            self._claim()
            return not self._exhausted
        return True

    def _claim(self) -> None:
        page = self.claim()
        self._exhausted = page is None
        jobs = self._dispatch.add(page or ())
        self._hire_if_short()
        if self.in_order or self.by_page:
            self._order.extend(jobs)

    @property
    def _low_water(self) -> int:
        """With so few waiting tasks it is time to claim; -1: it is not."""
        at_once = self.workers if self.at_once is None else self.at_once()
        far_ahead = len(self._order) > 8 * at_once
        if self._exhausted or self.by_page or far_ahead or self._cause is not None:
            return -1
        return 4 * at_once

    def _collect(self, *, at_least: int, low_water: int, timeout: float) -> None:
        came: Iterable[Job[_Task, _Outcome]] = self._dispatch.outcomes(
            at_least=at_least, low_water=low_water, timeout=timeout
        )
        for job in self._next_in_order() if self.in_order or self.by_page else came:
            result = self.take(job.task, job.outcome)
            if result is not None:
                self._unrecorded.append(result)

    def _next_in_order(self) -> Iterator[Job[_Task, _Outcome]]:
        while self._order and self._order[0].is_done:
            yield self._order.popleft()

    def _wait_for_the_last(self) -> None:
        deadline = time.monotonic() + _GRACE_SECONDS
        while self._dispatch.in_hand > self.blocked():
            left = deadline - time.monotonic()
            if left <= 0:
                break
            self._collect(at_least=1, low_water=-1, timeout=left)
        self._collect(at_least=0, low_water=-1, timeout=0)

    def _flush(self) -> None:
        self._last_record = time.monotonic()
        if self._unrecorded:
            self.record(self._unrecorded)
            self._unrecorded = []


def claims(
    claim: Callable[[int], Sequence[_Task]], *, page: int, limit: int | None
) -> Callable[[], Sequence[_Task] | None]:
    """What `Run` calls to claim tasks of a queue: `page` at a time, in all up to `limit` (None:
    no limit).

    Args:
        claim: leases at most so many tasks; gives none if there are none.
    """
    left = limit

    def next_page() -> Sequence[_Task] | None:
        nonlocal left
        count = page if left is None else min(page, left)
        tasks = claim(count) if count > 0 else ()
        if left is not None:
            left -= len(tasks)
        return tasks or None

    return next_page


def limited(files: int, size_bytes: int, limit: int | None) -> tuple[int, int]:
    """Files and bytes that are waiting, cut to a run's limit; the bytes are an estimate then."""
    if limit is None or files <= limit:
        return files, size_bytes
    return limit, size_bytes * limit // files


@contextmanager
def reporting(report: Any, progress: Callable[[Any], object]) -> Iterator[None]:
    """Around a whole job: a store that refuses ends it as RunAborted, like `Run.end`; its seconds
    are noted; once it is over, or aborted, `progress` is shown the report a last time.

    Raises:
        RunAborted: a StoreError came out of the block, or it was raised there.
        Exception: whatever else came out of it.
    """
    started = time.monotonic()
    aborted: RunAborted | None = None
    try:
        yield
    except RunAborted as error:
        aborted = error
    except StoreError as error:
        aborted = RunAborted(report, error)
        aborted.__cause__ = error
    finally:
        report.seconds = time.monotonic() - started
    progress(report)
    if aborted is not None:
        raise aborted
