"""Carries out the upload tasks of a backend: bounded, retried, verified, recorded.

Order, for every file: object, then verification, then row. One thread (the caller's) claims tasks
and records results; `workers` threads read and send (see `dispatch`).
Whatever ends a run early - a kill, a signal, a full disk, a store that is gone - costs at most
repeated work: a put is conditional, and what is found in place is compared, not sent again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from catalogsync_assets.core.backends.capabilities import keep_learned, make_sure
from catalogsync_assets.core.backends.replicas import Replicas
from catalogsync_assets.core.backends.separation import prove_against_others
from catalogsync_assets.core.catalog import upload_queue
from catalogsync_assets.core.catalog.backends import with_kept_answers
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.scope import EVERYTHING, Scope
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
from catalogsync_assets.core.runner.dispatch import Dispatch
from catalogsync_assets.core.runner.limiter import Pace
from catalogsync_assets.core.runner.workers import Workers
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.clients import DEFAULT_WORKERS
from catalogsync_assets.core.upload.aborts import abort_abandoned
from catalogsync_assets.core.upload.journal import abandoned
from catalogsync_assets.core.upload.put import Sender, goes_in_parts, memory_needed
from catalogsync_assets.core.upload.staging import Copies

_CLAIM = 512
_FLUSH_ROWS = 256
_FLUSH_SECONDS = 0.5
#: Seconds after which the run looks around, if nothing woke it.
_TICK = 0.25
_MAX_LISTED = 1_000
#: How long a run that was stopped waits for what is on its way.
_GRACE_SECONDS = 5.0
DEFAULT_IN_FLIGHT = 128 * 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """How much a run may do at a time.

    Attributes:
        workers: files on their way at a time.
        max_in_flight_bytes: bytes of files held in memory at a time; a single file of more than
            this still goes, alone.
        attempts: tries of one request before its file counts as failed.
        bytes_per_second: the most to send, all workers together; None for no limit.
    """

    workers: int = DEFAULT_WORKERS
    max_in_flight_bytes: int = DEFAULT_IN_FLIGHT
    attempts: int = 5
    bytes_per_second: int | None = None

    @classmethod
    def of(cls, backend: ObjectBackend, **given: int | None) -> Limits:
        """The limits of a backend, with others in their place as far as they are given."""
        own = {
            "workers": backend.workers,
            "max_in_flight_bytes": backend.max_in_flight_bytes,
            "bytes_per_second": backend.bandwidth_limit,
        }
        chosen = {**_known(own), **_known(given)}
        return cls(**chosen)


def _known(values: dict[str, int | None]) -> dict[str, int]:
    return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class Failure:
    """A file that could not be uploaded, as a person reads of it."""

    file: str
    code: str
    reason: str


@dataclass
class UploadReport:
    """What a run did. While it runs, the same object is handed to `progress`.

    Attributes:
        in_flight: files on their way.
        queued: tasks that were waiting when the run began, up to its limit.
        queued_bytes: the size of their files.
        succeeded: files sent, verified and recorded.
        adopted: files found in place, whole, and recorded without sending.
        failed: files that could not be uploaded; they are tried again by the next run.
        bytes: bytes sent and verified.
        settled_bytes: the size of the files of which it is known what became of them.
        bytes_in_parts: what has been sent of large files that are not complete yet.
        retries: requests that had to be repeated.
        seconds: wall time.
        retryable: whether a failure among them may pass without anyone acting.
        reasons: how many failed, by code.
        failures: at most 1,000 of the failed, with reasons.
    """

    backend: str
    workers: int
    in_flight: int = 0
    queued: int = 0
    queued_bytes: int = 0
    succeeded: int = 0
    adopted: int = 0
    failed: int = 0
    bytes: int = 0
    settled_bytes: int = 0
    bytes_in_parts: int = 0
    retries: int = 0
    seconds: float = 0.0
    retryable: bool = False
    reasons: dict[str, int] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)


class UploadAborted(CatalogSyncError):  # noqa: N818
    """A run could not go on; what was not done is still queued.

    Attributes:
        report: what had been done by then.
        cause: why; message and hint are its.
    """

    def __init__(self, report: UploadReport, cause: CatalogSyncError) -> None:
        super().__init__(cause.message, hint=cause.hint)
        self.report = report
        self.cause = cause
        self.exit_code = cause.exit_code
        self.printed = False


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
        limit: at most so many files.
        progress: called with the report as it stands, a few times a second.
        connect: makes the client of the store; called only if something is pending.

    Returns:
        What was done. Single files that failed are in it and do not raise.

    Raises:
        UploadAborted: the store refuses everything or has fallen silent; the tasks stay queued.
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


def _need(task: UploadTask) -> int:
    """Bytes of memory, or of disk for a file that is fetched from another backend."""
    return task.size_bytes if task.source_copy is not None else memory_needed(task)


class _Run:
    """One call of `upload`."""

    def __init__(
        self,
        catalog: Catalog,
        backend: ObjectBackend,
        scope: Scope,
        limits: Limits,
        limit: int | None,
        progress: Progress,
        connect: Callable[[ObjectBackend], StoreClient],
    ) -> None:
        self._catalog = catalog
        # The pools of connections are made for as many workers as there will be.
        self._backend = backend
        if limits.workers != (backend.workers or DEFAULT_WORKERS):
            self._backend = replace(backend, workers=limits.workers)
        self._scope = scope
        self._limits = limits
        self._left_to_claim = limit
        self._progress = progress
        self._connect = connect
        self._lease = UploadLease(catalog, backend)
        self._report = UploadReport(backend=backend.name, workers=limits.workers)
        self._stop = threading.Event()
        self._pace = Pace(limits.workers, limits.bytes_per_second)
        self._dispatch: Dispatch[UploadTask, Uploaded | BaseException] = Dispatch(
            max_bytes=limits.max_in_flight_bytes,
            need=_need,
            key=lambda task: task.id,
        )
        self._unrecorded: list[Uploaded | Failed] = []
        self._last_flush = time.monotonic()
        self._exhausted = False
        self._put_back: set[int] = set()  # tasks for a later run; this one would do no better
        self._silent_in_a_row = 0
        self._any_arrived = False
        self._abort_cause: CatalogSyncError | None = None

    def execute(self) -> UploadReport:
        started = time.monotonic()
        self._lease.take_over_abandoned()
        self._count()
        if self._report.queued:
            try:
                client = self._connect(with_kept_answers(self._catalog, self._backend))
                sender = Sender(
                    self._catalog,
                    client,
                    attempts=self._limits.attempts,
                    max_in_flight_bytes=self._limits.max_in_flight_bytes,
                    pace=self._pace,
                    stop=self._stop,
                )
                sender.probe()
                make_sure(self._catalog, client)
                abort_abandoned(self._catalog, client)
                replicas = Replicas(
                    self._catalog,
                    self._connect,
                    workers=self._limits.workers,
                    attempts=self._limits.attempts,
                    stop=self._stop,
                )
                try:
                    self._loop(sender, Copies(self._catalog, replicas))
                finally:
                    keep_learned(self._catalog, client)
                # Once, when files are first on two backends: from then on their copies are counted.
                if self._abort_cause is None:
                    prove_against_others(
                        self._catalog, self._backend, only_needed=True, connect=self._connect
                    )
            except StoreError as error:
                self._abort_cause = error
        elif abandoned(self._catalog, self._backend):
            abort_abandoned(self._catalog, self._connect(self._backend))
        self._report.seconds = time.monotonic() - started
        self._progress(self._report)
        if self._abort_cause is not None:
            raise UploadAborted(self._report, self._abort_cause) from self._abort_cause
        return self._report

    def _count(self) -> None:
        files, size = count_pending(self._catalog, self._backend, self._scope)
        if self._left_to_claim is not None and files > self._left_to_claim:
            size = size * self._left_to_claim // files  # for the progress bar: an estimate
            files = self._left_to_claim
        self._report.queued, self._report.queued_bytes = files, size

    def _loop(self, sender: Sender, copies: Copies) -> None:
        pool = Workers(self._limits.workers, "upload")
        try:
            for _ in range(self._limits.workers):
                pool.submit(partial(self._work, sender, copies))
            while self._abort_cause is None and self._step():
                self._report.retries = sender.retries
                self._report.in_flight = self._dispatch.in_hand
                self._report.bytes_in_parts = sender.bytes_in_parts
                self._progress(self._report)
                self._lease.renew()
        finally:
            # Also on Ctrl-C and cancellation: what is on its way may finish and is recorded, what
            # is not, or takes too long, goes back to the queue. (If it then arrives after all, the
            # next run finds it in place.)
            self._stop.set()
            self._dispatch.close()
            pool.close()
            self._wait_for_the_last()
            self._report.retries = sender.retries
            self._report.in_flight = self._report.bytes_in_parts = 0
            try:
                self._flush()
            finally:
                self._lease.release()

    def _step(self) -> bool:
        """Claim if workers will soon be idle, wait, take and record outcomes; False at the end."""
        low_water = 4 * self._limits.workers
        if self._dispatch.waiting <= low_water and not self._exhausted:
            self._exhausted = not self._claim()
        if self._dispatch.idle and self._exhausted:
            # Once more: another run may have given something back.
            self._exhausted = not self._claim()
            if self._exhausted:
                return False
        for task, outcome in self._dispatch.outcomes(
            at_least=_FLUSH_ROWS,
            low_water=-1 if self._exhausted else low_water,
            timeout=_TICK,
        ):
            self._note(task, outcome)
        if self._exhausted:
            # A put may be done twice at a time; parts may not, they share a journal.
            self._dispatch.repeat_stragglers(lambda task: not goes_in_parts(task))
        due = time.monotonic() - self._last_flush >= _FLUSH_SECONDS
        if due or len(self._unrecorded) >= _FLUSH_ROWS:
            self._flush()
        return True

    def _wait_for_the_last(self) -> None:
        deadline = time.monotonic() + _GRACE_SECONDS
        while True:
            left = max(0.0, deadline - time.monotonic())
            for task, outcome in self._dispatch.outcomes(at_least=1, low_water=-1, timeout=left):
                self._note(task, outcome)
            if not self._dispatch.in_hand or not left:
                return

    def _claim(self) -> bool:
        count = _CLAIM if self._left_to_claim is None else min(_CLAIM, self._left_to_claim)
        if count <= 0:
            return False
        tasks = self._lease.claim(self._scope, count, but=self._put_back)
        if self._left_to_claim is not None:
            self._left_to_claim -= len(tasks)
        self._dispatch.add(_with_size(task) for task in tasks)
        return bool(tasks)

    def _work(self, sender: Sender, copies: Copies) -> None:
        """A worker's life. Any outcome, also of a fault of ours, reaches the caller's thread."""
        while (task := self._dispatch.take()) is not None:
            outcome: Uploaded | BaseException
            try:
                if task.source_copy is None:
                    outcome = sender.send(task)
                else:
                    with copies.here(task) as local:
                        outcome = replace(sender.send(local), task=task)
            except BaseException as error:
                outcome = error
            self._dispatch.done(task, outcome, went_well=isinstance(outcome, Uploaded))

    def _note(self, task: UploadTask, outcome: Uploaded | BaseException) -> None:
        if isinstance(outcome, Uploaded):
            self._silent_in_a_row = 0
            self._any_arrived = True
            self._unrecorded.append(outcome)
            return
        self._judge(outcome)
        changed = isinstance(outcome, SourceError) and outcome.changed
        if changed:
            self._put_back.add(task.id)
        self._unrecorded.append(
            Failed(
                task,
                code=getattr(outcome, "code", type(outcome).__name__),
                reason=str(outcome) or type(outcome).__name__,
                requeue=changed or self._abort_cause is not None or self._stop.is_set(),
                source_changed=changed,
                retryable=isinstance(outcome, StoreError | SourceError) and outcome.retryable,
            )
        )

    def _judge(self, error: BaseException) -> None:
        """Decide whether a failure is the file's own, or means that the run cannot go on."""
        if isinstance(error, StoreUnavailableError):
            self._silent_in_a_row += 1
            if self._silent_in_a_row >= self._limits.workers:
                self._abort_cause = self._abort_cause or error
        elif isinstance(error, StoreError) and error.fatal:
            # Denied for one key after others were accepted: a rule about that key.
            one_key = isinstance(error, AccessRefusedError) and error.code == "AccessDenied"
            if not (one_key and self._any_arrived):
                self._abort_cause = self._abort_cause or error
        elif isinstance(error, CatalogSyncError) and not isinstance(
            error, SourceError | StoreError
        ):
            self._abort_cause = self._abort_cause or error

    def _flush(self) -> None:
        """Record what is done; only then does the report count it."""
        self._last_flush = time.monotonic()
        if not self._unrecorded:
            return
        upload_queue.record(self._catalog, self._backend, self._lease.owner, self._unrecorded)
        for result in self._unrecorded:
            self._tally(result)
        self._unrecorded = []

    def _tally(self, result: Uploaded | Failed) -> None:
        report = self._report
        report.settled_bytes += result.task.size_bytes
        if isinstance(result, Uploaded):
            report.adopted += result.adopted
            report.succeeded += not result.adopted
            sent = result.task.size_bytes if result.sent_bytes is None else result.sent_bytes
            report.bytes += 0 if result.adopted else sent
        elif not result.requeue or result.source_changed:
            report.failed += 1
            report.reasons[result.code] = report.reasons.get(result.code, 0) + 1
            report.retryable |= result.retryable
            if len(report.failures) < _MAX_LISTED:
                report.failures.append(Failure(result.task.path, result.code, result.reason))
