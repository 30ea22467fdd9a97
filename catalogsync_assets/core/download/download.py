"""Drains the download queue: bounded, retried, checked, recorded.

Order, for every file: content, then its name, then its row. One thread (the caller's) claims tasks
and records results; `workers` threads fetch (see `runner.run`). Whatever ends a run early - a kill,
a signal, a full disk - leaves partial files that the next run resumes, and tasks that are queued.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
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
from catalogsync_assets.core.download.disks import Disks
from catalogsync_assets.core.download.file import Fetcher, StoppedError
from catalogsync_assets.core.download.report import (
    DownloadReport,
    Failure,
    Limits,
    SourceTally,
)
from catalogsync_assets.core.download.sources import Sources
from catalogsync_assets.core.errors import CatalogSyncError, DownloadError, NoRoomError
from catalogsync_assets.core.files import partial as partial_files
from catalogsync_assets.core.redaction import redact
from catalogsync_assets.core.runner.report import MOST_LISTED
from catalogsync_assets.core.runner.run import Run, claims, limited, reporting

_CLAIM = 64

Progress = Callable[[DownloadReport], None]


def download(
    catalog: Catalog,
    disks: Disks,
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
        disks: where the files go.
        scope: which of the tasks.
        limits: how much at a time.
        limit: at most this many files.
        progress: called with the report as it stands, at least twice a second.

    Returns:
        What was done. Single files that failed are in it and do not raise.

    Raises:
        RunAborted: every library root is full, or one cannot be written to; the tasks stay
            queued.
        CatalogError: a result could not be recorded; its file is recognised by the next run.
    """
    return _Run(catalog, disks, scope, limits or Limits(), limit, progress).execute()


@dataclass(eq=False)
class _Run:
    """One call of `download`."""

    catalog: Catalog
    disks: Disks
    scope: DownloadScope
    limits: Limits
    limit: int | None
    progress: Progress

    def __post_init__(self) -> None:
        self._lease = DownloadLease(self.catalog)
        self._report = DownloadReport(self.limits.workers)
        # What tells the parts of this catalog from those of others.
        self._prefix = f"{catalog_id(self.catalog)}-"
        self._stop = threading.Event()

    def execute(self) -> DownloadReport:
        with reporting(self._report, self.progress):
            self._lease.take_over_abandoned()
            requeue_failed(self.catalog, self.scope)
            self._sweep()
            sources = Sources()
            try:
                self._keep_to_usable(sources)
                if self.scope.sources:
                    self._fetch_all(sources)
            finally:
                sources.close()
                self._sweep()
        return self._report

    def _keep_to_usable(self, sources: Sources) -> None:
        """Limit the run to sources that can be loaded, and fail the tasks of the others."""
        usable = []
        for name in waiting_sources(self.catalog, self.scope):
            try:
                sources.get(name)
            except DownloadError as error:
                self._refuse(name, error.code, redact(str(error)))
            else:
                usable.append(name)
        self.scope = replace(self.scope, sources=usable)

    def _refuse(self, source: str, code: str, reason: str) -> None:
        report = self._report
        count, tasks = note_on_waiting(
            self.catalog,
            replace(self.scope, sources=[source]),
            code=code,
            reason=reason,
            listed=MOST_LISTED - len(report.failures),
        )
        report.queued += count
        report.failed += count
        report.reasons[code] = report.reasons.get(code, 0) + count
        report.sources[source] = SourceTally(failed=count)
        report.failures += [Failure(i, source, redact(url), code, reason) for i, url in tasks]

    def _sweep(self) -> None:
        """Remove what is left of tasks that are done, as when a kill came just after their rows."""
        for root in self.disks.roots:
            found = {
                int(number): name
                for name in partial_files.names(root, self._prefix)
                if (number := name.removeprefix(self._prefix)).isdigit()
            }
            for task_id in set(found) - unfinished(self.catalog, found):
                partial_files.remove(root, found[task_id])

    def _fetch_all(self, sources: Sources) -> None:
        files, size = limited(*count_waiting(self.catalog, self.scope), self.limit)
        self._report.queued += files
        self._report.queued_bytes = size
        fetcher = Fetcher(
            sources,
            self.disks,
            self.limits,
            self._report,
            prefix=self._prefix,
            stop=self._stop,
        )
        self._run: Run[DownloadTask, Downloaded, Downloaded | NotDownloaded] = Run(
            self._report,
            name="download",
            workers=self.limits.workers,
            stop=self._stop,
            claim=claims(partial(self._lease.claim, self.scope), page=_CLAIM, limit=self.limit),
            work=fetcher.fetch,
            take=self._take,
            record=self._record,
            tick=self._tick,
            # Who is being asked for a folder has, with Ctrl-C, given the answer.
            blocked=lambda: self.disks.waiting,
        )
        try:
            self._run.execute()
        finally:
            # What has not come whole stays as it is on the disk, and goes back to the queue.
            self._lease.release()

    def _tick(self) -> None:
        self.progress(self._report)
        self._lease.renew()

    def _take(
        self, task: DownloadTask, outcome: Downloaded | BaseException
    ) -> Downloaded | NotDownloaded | None:
        if isinstance(outcome, Downloaded):
            return outcome
        if isinstance(outcome, StoppedError):
            return None  # goes back with the lease
        if isinstance(outcome, CatalogSyncError) and not isinstance(outcome, DownloadError):
            # Where every root is full, those that have their room already may finish.
            self._run.end(outcome, finish=isinstance(outcome, NoRoomError))
            return None
        code = getattr(outcome, "code", None) or type(outcome).__name__
        return NotDownloaded(task, code, redact(str(outcome)) or code)

    def _record(self, done: list[Downloaded | NotDownloaded]) -> None:
        """Write down what is done; only then does the report count it, and do its notes go."""
        download_queue.record(self.catalog, self._lease.owner, done)
        for result in done:
            self._tally(result)
            if isinstance(result, Downloaded):
                partial_files.remove(Path(result.root), f"{self._prefix}{result.task.id}")

    def _tally(self, result: Downloaded | NotDownloaded) -> None:
        report = self._report
        tally = report.sources.setdefault(result.task.source, SourceTally())
        if isinstance(result, Downloaded):
            report.succeeded += 1
            report.bytes += result.facts.size_bytes
            tally.done += 1
            tally.bytes += result.facts.size_bytes
            return
        tally.failed += 1
        task = result.task
        report.note_failure(
            Failure(task.id, task.source, redact(task.url), result.code, result.reason)
        )
