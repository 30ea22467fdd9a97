"""Compares what the catalog expects of one backend with its store: `audit`.

Interrupted at any moment, an audit goes on where its record ends. A location is marked `missing` or
`damaged` only after a look at its very object, and only if its row is still the one that was
looked at; presence falls in the same transaction. What a store refuses or does not answer marks
nothing. No object is written or deleted, but by `repair` if that was asked for.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress

from catalogsync_assets.core.audit import queries
from catalogsync_assets.core.audit.expected import ExpectedObjects
from catalogsync_assets.core.audit.listing import Seen, compare_listing, unmet
from catalogsync_assets.core.audit.looks import Looked, look_at
from catalogsync_assets.core.audit.queries import (
    Audit,
    Finding,
    PastAudit,
    Terms,
    findings,
    history,
)
from catalogsync_assets.core.audit.record import Recorder
from catalogsync_assets.core.audit.repair import repair
from catalogsync_assets.core.audit.report import (
    AuditAborted,
    AuditReport,
    AuditRequest,
    Progress,
)
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.errors import CatalogError, CatalogSyncError
from catalogsync_assets.core.runner.limiter import ConcurrencyLimiter
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.copies import RemoteCopy
from catalogsync_assets.core.stores.retry import Retries
from catalogsync_assets.core.stores.verify import Level
from catalogsync_assets.core.upload.upload import Limits, UploadReport

__all__ = [
    "AuditAborted",
    "AuditReport",
    "AuditRequest",
    "Finding",
    "PastAudit",
    "audit",
    "findings",
    "history",
]

_MAX_LISTED = 1_000
_TICK = 0.25


def audit(
    catalog: Catalog,
    backend: ObjectBackend,
    request: AuditRequest,
    *,
    limits: Limits | None = None,
    progress: Progress = lambda _: None,
    connect: Callable[[ObjectBackend], StoreClient] = StoreClient,
) -> AuditReport:
    """Compare the catalog with a backend's store, and mark what is not as it says.

    May be called again at any time. One that was interrupted less than a week ago goes on if the
    request has the same level, sample, `since` and scope.

    Args:
        limits: `workers` requests at a time, and `attempts` at each; the backend's by default. A
            repair takes all of them.
        progress: called with the report as it stands, a few times a second.
        connect: makes the client of the store.

    Returns:
        What was found. `open` counts what is wrong and not repaired; nothing raises for it.

    Raises:
        AuditAborted: the store refuses or has fallen silent, or looks like another one; what was
            found until then is recorded, and nothing is marked for it.
        CatalogError: something could not be recorded; the next run looks again.
    """
    return _Run(
        catalog, backend, request, limits or Limits.of(backend), progress, connect
    ).execute()


class _Run:
    """One call of `audit`."""

    def __init__(
        self,
        catalog: Catalog,
        backend: ObjectBackend,
        request: AuditRequest,
        limits: Limits,
        progress: Progress,
        connect: Callable[[ObjectBackend], StoreClient],
    ) -> None:
        self._catalog = catalog
        self._backend = backend
        self._request = request
        self._limits = limits
        self._progress = progress
        self._connect = connect
        self._stop = threading.Event()
        pace = ConcurrencyLimiter(limits.workers + 1)  # one more for the next page of a listing
        self._retry = Retries(attempts=limits.attempts, pace=pace, stop=self._stop)
        self._next_tick = 0.0

    def execute(self) -> AuditReport:
        started = time.monotonic()
        client = self._connect(self._backend)
        r = self._request
        terms = Terms(r.level, r.sample_percent, r.since, r.repair, r.scope)
        record = queries.begin(self._catalog, self._backend, terms, anew=r.anew)
        self._claims = ExpectedObjects(self._backend, r.scope, record.since)
        self._seen = Seen(record.seen)
        self._recorder = Recorder(
            self._catalog,
            self._backend,
            record,
            workers=self._limits.workers,
            allow_empty=r.allow_empty,
            probe=lambda: self._retry(client.probe),
            seen=self._seen if r.level == "listing" else None,
        )
        self._report = AuditReport(
            record.id, self._backend.name, r.level, self._limits.workers, resumed=record.resumed
        )
        try:
            self._carry_out(client, record)
        except CatalogSyncError as error:
            self._end(record, started, "interrupted")
            raise AuditAborted(self._report, error) from error
        except BaseException:
            self._end(record, started, "interrupted")
            raise
        self._end(record, started, "complete")
        return self._report

    def _carry_out(self, client: StoreClient, record: Audit) -> None:
        self._report.total = self._expected()
        self._retry(client.probe)
        level = self._request.level
        if level == "listing":
            self._compare_listing(client, record)
        else:
            self._look(client, self._sampled(record), level)
        self._recorder.flush(last=True)
        self._look_again(client, record)
        counts = self._recorder.counts
        counts["foreign"] -= queries.drop_known_foreign(self._catalog, self._backend, record)
        self._tell(at_once=True)
        if self._request.repair and self._report.lost:
            self._repair(record)
            counts["repaired"] = self._report.repaired
        queries.finish(self._catalog, record, counts)

    def _expected(self) -> int:
        percent = self._request.sample_percent
        return round(
            self._claims.count(self._catalog) * (100 if percent is None else percent) / 100
        )

    def _compare_listing(self, client: StoreClient, record: Audit) -> None:
        compared = compare_listing(
            self._catalog, self._claims, client, record, self._seen, self._retry
        )
        with closing(compared) as pages:
            for foreign, counts, last_key in pages:
                self._recorder.note(foreign, counts, position=last_key)
                self._tell()
        # Their position is not the listing's; what has been looked at is in `seen`.
        for looked in self._looks(
            client, unmet(self._catalog, self._claims, record, self._seen), "head"
        ):
            self._recorder.add(looked, position=None)

    def _look(self, client: StoreClient, claims: Iterable[RemoteCopy], level: Level) -> None:
        for looked in self._looks(client, claims, level):
            self._recorder.add(looked, position=looked[0])

    def _look_again(self, client: StoreClient, record: Audit) -> None:
        """Ask once more for what could not be looked at: an outage may have passed."""
        keys = queries.unreadable(self._catalog, record, _MAX_LISTED)
        if not keys:
            return
        level: Level = "full" if self._request.level == "full" else "head"
        for looked in self._looks(client, self._claims.at(self._catalog, keys), level):
            self._recorder.add(looked, position=None)
        self._recorder.flush(last=True)

    def _looks(
        self, client: StoreClient, claims: Iterable[RemoteCopy], level: Level
    ) -> Iterator[Looked]:
        workers = self._limits.workers
        with closing(look_at(claims, client, level, workers=workers, retry=self._retry)) as looks:
            for looked in looks:
                if looked is None:
                    self._recorder.flush_if_due()
                else:
                    yield looked
                self._tell()

    def _sampled(self, record: Audit) -> Iterator[RemoteCopy]:
        percent = self._request.sample_percent
        for page in self._claims.by_key(self._catalog, after=record.position):
            for claim in page:
                if percent is None or draw(record.id, claim.key) < percent:
                    yield claim

    def _repair(self, record: Audit) -> None:
        def tell(upload: UploadReport) -> None:
            self._report.upload = upload
            self._progress(self._report)

        self._report.upload, self._report.repaired = repair(
            self._catalog,
            self._backend,
            record,
            limits=self._limits,
            progress=tell,
            connect=self._connect,
        )

    def _tell(self, *, at_once: bool = False) -> None:
        if at_once or time.monotonic() >= self._next_tick:
            self._next_tick = time.monotonic() + _TICK
            self._report.take(self._recorder.counts)
            self._report.retries = self._retry.count
            self._progress(self._report)

    def _end(self, record: Audit, started: float, status: str) -> None:
        """Leave the record and the report as they are at the end, however it came."""
        self._stop.set()
        if status != "complete":
            # What made the run end is what the caller must hear of.
            with suppress(CatalogSyncError):
                self._recorder.flush()
            with suppress(CatalogError):
                queries.interrupt(self._catalog, record)
        report = self._report
        report.status = status
        report.take(self._recorder.counts)
        report.retries = self._retry.count
        report.seconds = time.monotonic() - started
        with suppress(CatalogError):
            report.findings = findings(self._catalog, record.id, _MAX_LISTED)


def draw(audit_id: int, key: str) -> float:
    """A number from 0 to 100 that is the same whenever the audit asks again for this key.

    And independent of that in any other audit. A CRC is not: of two audits it differs by the same
    bits for every key, so that some samples were equal and others had nothing in common.
    """
    digest = hashlib.blake2b(f"{audit_id}/{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64 * 100
