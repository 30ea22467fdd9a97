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
from dataclasses import dataclass, field
from pathlib import Path

from catalogsync_assets.core.catalog import download_results as results
from catalogsync_assets.core.catalog.backends import catalog_id
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.download_results import Downloaded, NotDownloaded
from catalogsync_assets.core.catalog.downloads import (
    EVERY_DOWNLOAD,
    DownloadLease,
    DownloadScope,
    DownloadTask,
    count_waiting,
    requeue_failed,
    unfinished,
)
from catalogsync_assets.core.download import parts
from catalogsync_assets.core.download.fetcher import Fetcher, StoppedError
from catalogsync_assets.core.download.redaction import redact
from catalogsync_assets.core.download.rooms import Rooms
from catalogsync_assets.core.download.sources import Sources
from catalogsync_assets.core.errors import CatalogSyncError, DownloadError, NoRoomError

_CLAIM = 64
_FLUSH_ROWS = 256
_FLUSH_SECONDS = 0.5
_MAX_LISTED = 1_000
#: How long a run that was stopped waits for what is on its way.
_GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class Limits:
    """How much a run may do at a time.

    Attributes:
        workers: files on their way at a time.
        attempts: tries in a row without a new byte, after which a file counts as failed.
        max_file_bytes: a larger file is refused.
    """

    workers: int = 8
    attempts: int = 5
    max_file_bytes: int = 4 * 1024**3


@dataclass(frozen=True)
class Failure:
    """A file that could not be downloaded, as a person reads of it."""

    task_id: int
    source: str
    url: str
    code: str
    reason: str


@dataclass
class SourceTally:
    """What came from one source: files done and failed, bytes of those that are done."""

    done: int = 0
    failed: int = 0
    bytes: int = 0


@dataclass
class DownloadReport:
    """What a run did. While it runs, the same object is handed to `progress`.

    Attributes:
        queued: tasks that were waiting when the run began, up to its limit.
        queued_bytes: the size of those whose size is known.
        succeeded: files that came whole and are recorded.
        failed: files that did not; they are tried again by the next run.
        bytes: of the files that are recorded.
        received: bytes that came over the network, those included that came in vain.
        retries: tries that had to be repeated.
        resumed: tries that went on where an earlier one had ended.
        seconds: wall time.
        sources: by name.
        failures: at most 1,000 of the failed, with reasons.
    """

    workers: int
    queued: int = 0
    queued_bytes: int = 0
    succeeded: int = 0
    failed: int = 0
    bytes: int = 0
    received: int = 0
    retries: int = 0
    resumed: int = 0
    seconds: float = 0.0
    sources: dict[str, SourceTally] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)


class DownloadAborted(CatalogSyncError):  # noqa: N818
    """A run could not go on; what was not done is still queued.

    Attributes:
        report: what had been done by then.
        cause: why; message and hint are its.
    """

    def __init__(self, report: DownloadReport, cause: CatalogSyncError) -> None:
        super().__init__(cause.message, hint=cause.hint)
        self.report = report
        self.cause = cause
        self.exit_code = cause.exit_code
        self.printed = False


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
        self._put_back: set[int] = set()  # tasks that this run cannot do
        self._abort_cause: CatalogSyncError | None = None

    def execute(self) -> DownloadReport:
        started = time.monotonic()
        self._lease.take_over_abandoned()
        requeue_failed(self._catalog, self._scope)
        self._count()
        self._sweep()
        if self._report.queued:
            sources = Sources()
            fetcher = Fetcher(
                sources,
                self._rooms,
                prefix=self._prefix,
                attempts=self._limits.attempts,
                max_file_bytes=self._limits.max_file_bytes,
                stop=self._stop,
            )
            try:
                self._loop(fetcher)
            finally:
                sources.close()
                self._sweep()
        self._report.seconds = time.monotonic() - started
        self._progress(self._report)
        if self._abort_cause is not None:
            raise DownloadAborted(self._report, self._abort_cause) from self._abort_cause
        return self._report

    def _count(self) -> None:
        files, size = count_waiting(self._catalog, self._scope)
        if self._left_to_claim is not None and files > self._left_to_claim:
            size = size * self._left_to_claim // files  # for the progress bar: an estimate
            files = self._left_to_claim
        self._report.queued, self._report.queued_bytes = files, size

    def _sweep(self) -> None:
        """Remove what is left of tasks that are done, as when a kill came just after their rows."""
        for root in self._rooms.roots:
            found = {
                int(number): name
                for name in parts.names(root, self._prefix)
                if (number := name.removeprefix(self._prefix)).isdigit()
            }
            for task_id in set(found) - unfinished(self._catalog, found):
                parts.remove(root, found[task_id])

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
        tasks = self._lease.claim(self._scope, count, but=self._put_back)
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
            # Another program that uses this catalog may know the source.
            unknown = code == "UnknownSource"
            if unknown:
                self._put_back.add(task.id)
            reason = redact(str(outcome)) or code
            self._unrecorded.append(NotDownloaded(task, code, reason, requeue=unknown))

    def _flush(self) -> None:
        """Record what is done; only then does the report count it, and do its notes go."""
        self._last_flush = time.monotonic()
        if not self._unrecorded:
            return
        results.record(self._catalog, self._lease.owner, self._unrecorded)
        for result in self._unrecorded:
            self._tally(result)
            if isinstance(result, Downloaded):
                parts.remove(Path(result.root), f"{self._prefix}{result.task.id}")
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
