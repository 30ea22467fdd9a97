"""Carries out the upload tasks of a backend: bounded, retried, verified, recorded.

Order, for every file: object, then verification, then row. One thread (the caller's) claims tasks
and records results; threads read and send (see `runner.run`), as many as turn out to be of use.
Whatever ends a run early - a kill, a signal, a full disk, a store that is gone - costs at most
repeated work: a put is conditional, and what is found in place is compared, not sent again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

from catalogsync_assets.core.backends.capabilities import (
    keep_learned,
    make_sure,
    make_sure_of_copies,
)
from catalogsync_assets.core.backends.connections import Connections
from catalogsync_assets.core.backends.generation import begin_changes
from catalogsync_assets.core.backends.pruning import settle_left
from catalogsync_assets.core.backends.replicas import Replicas
from catalogsync_assets.core.backends.separation import prove_against_others
from catalogsync_assets.core.catalog import upload_queue
from catalogsync_assets.core.catalog.backends import with_kept_answers
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.failing import noted
from catalogsync_assets.core.catalog.scope import EVERYTHING, Scope
from catalogsync_assets.core.catalog.upload_plan import plan_again
from catalogsync_assets.core.catalog.upload_queue import (
    Failed,
    Uploaded,
    UploadLease,
    UploadTask,
    count_pending,
)
from catalogsync_assets.core.errors import (
    AccessRefusedError,
    CatalogSyncError,
    SourceError,
    StoreError,
    StoreUnavailableError,
)
from catalogsync_assets.core.runner.limiter import ConcurrencyLimiter
from catalogsync_assets.core.runner.report import Failure
from catalogsync_assets.core.runner.run import Run, claims, limited, reporting
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.upload.journal import abandoned, abort_abandoned
from catalogsync_assets.core.upload.limits import Limits
from catalogsync_assets.core.upload.put import Sender
from catalogsync_assets.core.upload.report import UploadReport
from catalogsync_assets.core.upload.staging import Copies

__all__ = ["Limits", "UploadReport", "upload"]

_CLAIM = 512


Progress = Callable[[UploadReport], None]


def upload(
    catalog: Catalog,
    backend: ObjectBackend,
    *,
    scope: Scope = EVERYTHING,
    limits: Limits | None = None,
    limit: int | None = None,
    progress: Progress = lambda _: None,
    connect: Callable[[ObjectBackend], StoreClient] = StoreClient,
) -> UploadReport:
    """Carry out the pending upload tasks of a backend.

    May be called again at any time, and by several processes at once: a task is held by one of
    them. With nothing pending, the store is not spoken to at all.

    Args:
        scope: which of the tasks.
        limits: how much at a time; the backend's own by default.
        limit: at most this many files.
        progress: called with the report as it stands, a few times a second.
        connect: makes the client of the store; called only if something is pending.

    Returns:
        What was done. Single files that failed are in it and do not raise.

    Raises:
        RunAborted: the store refuses everything or has fallen silent; the tasks stay queued.
        CatalogError: a result could not be recorded; its object is found in place by the next run.
    """
    return _Run(
        catalog, backend, scope, limits or Limits.of(backend), limit, progress, connect
    ).execute()


def _with_size(task: UploadTask) -> UploadTask:
    """The task with the size that its file has now, if the catalog does not know it."""
    if task.size_bytes >= 0:
        return task
    try:
        return replace(task, size_bytes=Path(task.path).stat().st_size)
    except OSError:  # opening it will say why
        return replace(task, size_bytes=0)


@dataclass(eq=False)
class _Run:
    """One call of `upload`."""

    catalog: Catalog
    backend: ObjectBackend
    scope: Scope
    limits: Limits
    limit: int | None
    progress: Progress
    connect: Callable[[ObjectBackend], StoreClient]

    def __post_init__(self) -> None:
        # The pools of connections are made for as many workers as there will be.
        self.backend = replace(self.backend, workers=self.limits.workers)
        self._lease = UploadLease(self.catalog, self.backend)
        self._report = UploadReport(self.backend.name, self.limits.workers)
        self._stop = threading.Event()
        self._put_back: set[int] = set()  # tasks for a later run; this one would do no better
        self._silent_in_a_row = 0
        self._any_arrived = False
        # By file: tasks whose object, which was to be copied, turned out gone; once per file.
        self._lost: dict[int, Failed] = {}
        self._settled = 0  # files that are finished, one way or the other

    def execute(self) -> UploadReport:
        with reporting(self._report, self.progress):
            self._lease.take_over_abandoned()
            settle_left(self.catalog, self.backend, self.connect)
            self._report.queued, self._report.queued_bytes = limited(
                *count_pending(self.catalog, self.backend, self.scope), self.limit
            )
            if self._report.queued:
                with noted(self.catalog, self.backend):
                    self._send_all()
            elif abandoned(self.catalog, self.backend):
                abort_abandoned(self.catalog, self.connect(self.backend))
        return self._report

    def _send_all(self) -> None:
        client = self._client = self.connect(with_kept_answers(self.catalog, self.backend))
        limits, stop = self.limits, self._stop
        limiter = ConcurrencyLimiter(limits.workers, limits.bytes_per_second)
        self._limiter = limiter
        self._sender = Sender(
            self.catalog,
            client,
            limits,
            limiter,
            stop,
            self._borrow,
            self._give_back,
        )
        self._sender.probe()
        make_sure(self.catalog, client)
        begin_changes(self.catalog, client, retry=self._sender.retry)
        if client.profile.copies is None and upload_queue.has_copies(self.catalog, self.backend):
            make_sure_of_copies(self.catalog, client)
        abort_abandoned(self.catalog, client)
        connections = Connections(self.connect, limits.workers, limits.attempts, stop)
        self._copies = Copies(self.catalog, Replicas(self.catalog, connections))
        try:
            self._go_through()
        finally:
            # Of what was not done. (If it arrives after all, the next run finds it in place.)
            self._lease.release()
            self._report.at_once = limiter.peak
            self._report.retries = self._sender.retries
            self._report.replaced_for_good = self._sender.replaced_for_good
            self._report.in_flight = self._report.bytes_in_parts = 0
            keep_learned(self.catalog, client)
        # Once, when files are first on two backends: from then on their copies are counted.
        prove_against_others(self.catalog, self.backend, only_needed=True, connect=self.connect)

    def _go_through(self) -> None:
        """Carry out what is queued; and what waited until other files were copied away."""
        limits, left = self.limits, self.limit
        while True:
            copied, settled, lost = self._report.copied, self._settled, set(self._lost)
            self._run: Run[UploadTask, Uploaded, Uploaded | Failed] = Run(
                self._report,
                name="upload",
                workers=limits.workers,
                at_once=lambda: self._limiter.allowed,
                stop=self._stop,
                claim=claims(self._claim, page=_CLAIM, limit=left),
                work=self._send,
                take=self._take,
                record=self._record,
                tick=self._tick,
                max_bytes=limits.max_in_flight_bytes,
                need=self._need,
                # A put may be done twice at a time; parts may not, they share a journal.
                may_repeat=lambda task: not limits.in_parts(task.size_bytes),
            )
            self._run.execute()
            left = None if left is None else left - (self._settled - settled)
            newly_lost = self._lost.keys() - lost
            if newly_lost:
                self._plan_again(newly_lost)
            if (self._report.copied == copied and not newly_lost) or left == 0:
                return
            more, size = limited(*count_pending(self.catalog, self.backend, self.scope), left)
            if more <= len(self._put_back):
                return
            self._report.queued += more
            self._report.queued_bytes += size
            self._stop.clear()

    def _plan_again(self, lost: Collection[int]) -> None:
        """See to it that files whose objects turned out gone are sent; else they have failed."""
        self._report.lost += len(lost)
        plan_again(self.catalog, self.backend, lost)
        unsent = sorted(set(lost) - upload_queue.sendable(self.catalog, self.backend, lost))
        for failed in map(self._lost.__getitem__, unsent):
            self._report.note_failure(Failure(failed.task.path, failed.code, failed.reason))

    def _claim(self, count: int) -> list[UploadTask]:
        tasks = self._lease.claim(self.scope, count, but=self._put_back)
        return [_with_size(task) for task in tasks]

    def _need(self, task: UploadTask) -> int:
        """Bytes of memory, or of disk for a file that is fetched from another backend."""
        if self._is_move(task):
            return 0
        if task.source_copy is not None:
            return task.size_bytes
        return self.limits.memory_needed(task.size_bytes)

    def _borrow(self, size: int) -> bool:
        return self._run.borrow(size)

    def _give_back(self, size: int) -> None:
        self._run.give_back(size)

    def _send(self, task: UploadTask) -> Uploaded:
        if task.source_copy is None:
            return self._sender.send(task)
        if self._is_move(task):
            return self._sender.move(task)
        with self._copies.here(task) as local:
            return replace(self._sender.send(local), task=task)

    def _is_move(self, task: UploadTask) -> bool:
        """Whether the store is to copy the file's own object to another key."""
        return task.source_copy is not None and task.source_copy.backend_id == self.backend.id

    def _tick(self) -> None:
        self._report.at_once = self._limiter.peak
        self._report.retries = self._sender.retries
        self._report.in_flight = self._run.in_hand
        self._report.bytes_in_parts = self._sender.bytes_in_parts
        self.progress(self._report)
        self._lease.renew()

    def _take(self, task: UploadTask, outcome: Uploaded | BaseException) -> Uploaded | Failed:
        if isinstance(outcome, Uploaded):
            self._silent_in_a_row = 0
            self._any_arrived = True
            return outcome
        if self._ends_the_run(outcome):
            assert isinstance(outcome, CatalogSyncError)
            self._run.end(outcome)
        changed = isinstance(outcome, SourceError) and outcome.changed
        # That the store cannot copy was found out just now: the next plan knows it.
        in_vain = self._is_move(task) and not self._client.profile.copies
        if changed or in_vain:
            self._put_back.add(task.id)
        gone = isinstance(outcome, SourceError) and self._is_move(task)
        lost = gone and task.file_asset_id not in self._lost
        failed = Failed(
            task,
            code=getattr(outcome, "code", type(outcome).__name__),
            reason=str(outcome) or type(outcome).__name__,
            requeue=changed or in_vain or lost or self._run.is_ending,
            source_changed=changed,
            retryable=isinstance(outcome, StoreError | SourceError) and outcome.retryable,
        )
        if lost:
            self._lost[task.file_asset_id] = failed
        return failed

    def _ends_the_run(self, error: BaseException) -> bool:
        """Whether a failure is not the file's own, but means that the run cannot go on."""
        if isinstance(error, StoreUnavailableError):
            self._silent_in_a_row += 1
            return self._silent_in_a_row >= self.limits.silences
        if isinstance(error, StoreError):
            # Denied for one key after others were accepted: a rule about that key.
            one_key = isinstance(error, AccessRefusedError) and error.code == "AccessDenied"
            return error.fatal and not (one_key and self._any_arrived)
        return isinstance(error, CatalogSyncError) and not isinstance(error, SourceError)

    def _record(self, done: list[Uploaded | Failed]) -> None:
        recorded = upload_queue.record(self.catalog, self.backend, self._lease.owner, done)
        report = self._report
        results: list[Uploaded | Failed] = [r for r in done if isinstance(r, Failed)]
        for result in [*results, *recorded]:
            self._settled += 1
            report.settled_bytes += result.task.size_bytes
            if isinstance(result, Uploaded):
                copied = result.copied_from is not None
                report.copied += copied
                report.adopted += result.adopted
                report.succeeded += not result.adopted and not copied
                sent = result.task.size_bytes if result.sent_bytes is None else result.sent_bytes
                report.bytes += 0 if result.adopted else sent
            elif not result.requeue or result.source_changed:
                report.retryable |= result.retryable
                report.note_failure(Failure(result.task.path, result.code, result.reason))
