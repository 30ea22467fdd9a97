"""Drains the download queue: bounded, retried, checked, recorded.

Order, for every file: content, then its name, then its row. One thread (the caller's) claims tasks
and records results; `workers` threads fetch. Whatever ends a run early - a kill, a signal, a full
disk - leaves parts that the next run goes on from, and tasks that are still queued.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from catalogsync_assets.core.catalog import download_queue
from catalogsync_assets.core.catalog.backends import catalog_id
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.download_queue import (
    EVERY_DOWNLOAD,
    Downloaded,
    DownloadLease,
    DownloadScope,
    DownloadTask,
    NotDownloaded,
    count_waiting,
    note_on_waiting,
    requeue_failed,
    unfinished,
    waiting_sources,
)
from catalogsync_assets.core.download.disks import Rooms
from catalogsync_assets.core.download.file import Fetcher, StoppedError
from catalogsync_assets.core.download.report import (
    DownloadAborted,
    DownloadReport,
    Failure,
    Limits,
    SourceTally,
)
from catalogsync_assets.core.download.sources import Sources
from catalogsync_assets.core.errors import CatalogSyncError, DownloadError, NoRoomError
from catalogsync_assets.core.files import partial
from catalogsync_assets.core.redaction import redact

_CLAIM = 64
_FLUSH_ROWS = 256
_FLUSH_SECONDS = 0.5
_MAX_LISTED = 1_000
#: How long a run that was stopped waits for what is on its way.
_GRACE_SECONDS = 5.0


Progress = Callable[[DownloadReport], None]


def download(
    catalog: Catalog,
    rooms: Rooms,
    *,
    scope: DownloadScope = EVERY_DOWNLOAD,
    limits: Limits | None = None,
    limit: int | None = None,
    progress: Progress = lambda _: None,
) -> DownloadReport:
    """Carry out the pending download tasks, and those that failed in earlier runs.

    May be called again at any time, and by several processes at once: a task is held by one of
    them.

    Args:
        rooms: where the files go.
        scope: which of the tasks.
        limits: how much at a time.
        limit: at most so many files.
        progress: called with the report as it stands, at least twice a second.

    Returns:
        What was done. Single files that failed are in it and do not raise.

    Raises:
        DownloadAborted: every library root is full, or one cannot be written to; the tasks stay
            queued.
        CatalogError: a result could not be recorded; its file is recognised by the next run.
    """
    return _Run(catalog, rooms, scope, limits or Limits(), limit, progress).execute()


class _Run:
    """One call of `download`."""

    def __init__(
        self,
        catalog: Catalog,
        rooms: Rooms,
        scope: DownloadScope,
        limits: Limits,
        limit: int | None,
        progress: Progress,
    ) -> None:
        self._catalog = catalog
        self._rooms = rooms
        self._scope = scope
        self._limits = limits
        self._left_to_claim = limit
        self._progress = progress
        self._lease = DownloadLease(catalog)
        self._report = DownloadReport(workers=limits.workers)
        # What tells the parts of this catalog from those of others.
        self._prefix = f"{catalog_id(catalog)}-"
        self._closing = threading.Event()  # nothing more is begun
        self._stop = threading.Event()  # nothing goes on
        self._claimed: deque[DownloadTask] = deque()
        self._handed_out: queue.SimpleQueue[DownloadTask | None] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[tuple[DownloadTask, Downloaded | BaseException]]
        self._outcomes = queue.SimpleQueue()
        self._in_flight: set[int] = set()
        self._begun: set[int] = set()  # tasks that a worker has taken
        self._unrecorded: list[Downloaded | NotDownloaded] = []
        self._last_flush = time.monotonic()
        self._abort_cause: CatalogSyncError | None = None

    def execute(self) -> DownloadReport:
        started = time.monotonic()
        self._lease.take_over_abandoned()
        requeue_failed(self._catalog, self._scope)
        self._sweep()
        sources = Sources()
        try:
            self._keep_to_usable(sources)
            if self._scope.sources:
                self._count()
                self._loop(
                    Fetcher(
                        sources,
                        self._rooms,
                        prefix=self._prefix,
                        attempts=self._limits.attempts,
                        max_file_bytes=self._limits.max_file_bytes,
                        stop=self._stop,
                    )
                )
        finally:
            sources.close()
            self._sweep()
        self._report.seconds = time.monotonic() - started
        self._progress(self._report)
        if self._abort_cause is not None:
            raise DownloadAborted(self._report, self._abort_cause) from self._abort_cause
        return self._report

    def _keep_to_usable(self, sources: Sources) -> None:
        """Limit the run to sources that can be had, and say of the other tasks why not."""
        usable = []
        for name in waiting_sources(self._catalog, self._scope):
            try:
                sources.get(name)
            except DownloadError as error:
                self._refuse(name, error.code, redact(str(error)))
            else:
                usable.append(name)
        self._scope = replace(self._scope, sources=usable)

    def _refuse(self, source: str, code: str, reason: str) -> None:
        report = self._report
        count, tasks = note_on_waiting(
            self._catalog,
            replace(self._scope, sources=[source]),
            code=code,
            reason=reason,
            listed=_MAX_LISTED - len(report.failures),
        )
        report.queued += count
        report.failed += count
        report.sources[source] = SourceTally(failed=count)
        report.failures += [Failure(i, source, redact(url), code, reason) for i, url in tasks]

    def _count(self) -> None:
        files, size = count_waiting(self._catalog, self._scope)
        if self._left_to_claim is not None and files > self._left_to_claim:
            size = size * self._left_to_claim // files  # for the progress bar: an estimate
            files = self._left_to_claim
        self._report.queued += files
        self._report.queued_bytes = size

    def _sweep(self) -> None:
        """Remove what is left of tasks that are done, as when a kill came just after their rows."""
        for root in self._rooms.roots:
            found = {
                int(number): name
                for name in partial.names(root, self._prefix)
                if (number := name.removeprefix(self._prefix)).isdigit()
            }
            for task_id in set(found) - unfinished(self._catalog, found):
                partial.remove(root, found[task_id])

    def _loop(self, fetcher: Fetcher) -> None:
        for number in range(self._limits.workers):
            # Daemons: a request that hangs cannot be called off, and must not hold up the end.
            threading.Thread(
                target=self._work, args=(fetcher,), name=f"download-{number}", daemon=True
            ).start()
        try:
            while self._goes_on():
                self._collect()
                self._show(fetcher)
                self._lease.renew()
        finally:
            # Also on Ctrl-C and cancellation: what has come whole is recorded, what has not stays
            # a part, and goes back to the queue.
            self._closing.set()
            self._stop.set()
            for _ in range(self._limits.workers):
                self._handed_out.put(None)
            self._wait_for_the_last()
            try:
                self._flush()
            finally:
                self._lease.release()
                self._show(fetcher)

    def _goes_on(self) -> bool:
        """Whether there is something to wait for, once tasks have been handed out."""
        if self._abort_cause is None:
            self._hand_out()
            return bool(self._in_flight)
        # Those that have their room already may finish.
        self._closing.set()
        return isinstance(self._abort_cause, NoRoomError) and bool(self._begun)

    def _show(self, fetcher: Fetcher) -> None:
        self._report.retries = fetcher.retries
        self._report.resumed = fetcher.resumed
        self._report.received = fetcher.received
        self._progress(self._report)

    def _wait_for_the_last(self) -> None:
        deadline = time.monotonic() + _GRACE_SECONDS
        # Who is being asked for a folder has, with Ctrl-C, given the answer.
        while len(self._begun) > self._rooms.waiting:
            left = deadline - time.monotonic()
            if left <= 0:
                return
            try:
                self._note(*self._outcomes.get(timeout=left))
            except queue.Empty:
                return

    def _hand_out(self) -> None:
        """Give out tasks while there is room; twice as many as workers, so that none waits."""
        while len(self._in_flight) < 2 * self._limits.workers:
            if not self._claimed and not self._claim():
                return
            task = self._claimed.popleft()
            self._in_flight.add(task.id)
            self._handed_out.put(task)

    def _claim(self) -> bool:
        count = _CLAIM if self._left_to_claim is None else min(_CLAIM, self._left_to_claim)
        if count <= 0:
            return False
        tasks = self._lease.claim(self._scope, count)
        if self._left_to_claim is not None:
            self._left_to_claim -= len(tasks)
        self._claimed.extend(tasks)
        return bool(tasks)

    def _work(self, fetcher: Fetcher) -> None:
        """A worker. Never raises: any outcome must reach the caller's thread."""
        while (task := self._handed_out.get()) is not None:
            outcome: Downloaded | BaseException
            self._begun.add(task.id)
            if self._closing.is_set():
                self._begun.discard(task.id)
                continue
            try:
                outcome = fetcher.fetch(task)
            except BaseException as error:
                outcome = error
            self._outcomes.put((task, outcome))

    def _collect(self) -> None:
        """Take the outcomes that have come, at least one unless none comes in time; record them
        once there are enough or half a second has passed."""
        try:
            self._note(*self._outcomes.get(timeout=_FLUSH_SECONDS))
            while len(self._unrecorded) < _FLUSH_ROWS:
                self._note(*self._outcomes.get_nowait())
        except queue.Empty:
            pass
        due = time.monotonic() - self._last_flush >= _FLUSH_SECONDS
        if due or len(self._unrecorded) >= _FLUSH_ROWS:
            self._flush()

    def _note(self, task: DownloadTask, outcome: Downloaded | BaseException) -> None:
        self._in_flight.discard(task.id)
        self._begun.discard(task.id)
        if isinstance(outcome, Downloaded):
            self._unrecorded.append(outcome)
        elif isinstance(outcome, StoppedError):
            return  # goes back with the lease
        elif isinstance(outcome, CatalogSyncError) and not isinstance(outcome, DownloadError):
            self._abort_cause = self._abort_cause or outcome
        else:
            code = getattr(outcome, "code", None) or type(outcome).__name__
            reason = redact(str(outcome)) or code
            self._unrecorded.append(NotDownloaded(task, code, reason))

    def _flush(self) -> None:
        """Record what is done; only then does the report count it, and do its notes go."""
        self._last_flush = time.monotonic()
        if not self._unrecorded:
            return
        download_queue.record(self._catalog, self._lease.owner, self._unrecorded)
        for result in self._unrecorded:
            self._tally(result)
            if isinstance(result, Downloaded):
                partial.remove(Path(result.root), f"{self._prefix}{result.task.id}")
        self._unrecorded = []

    def _tally(self, result: Downloaded | NotDownloaded) -> None:
        report = self._report
        tally = report.sources.setdefault(result.task.source, SourceTally())
        if isinstance(result, Downloaded):
            report.succeeded += 1
            report.bytes += result.facts.size_bytes
            tally.done += 1
            tally.bytes += result.facts.size_bytes
            return
        report.failed += 1
        tally.failed += 1
        if len(report.failures) < _MAX_LISTED:
            task = result.task
            report.failures.append(
                Failure(task.id, task.source, redact(task.url), result.code, result.reason)
            )
