"""Compares what the catalog expects of one backend with its store: `audit`.

Interrupted at any moment, an audit goes on where its record ends. A location is marked `missing` or
`damaged` only after a look at its very object, and only if its row is still the one that was
looked at; presence falls in the same transaction. What a store refuses or does not answer marks
nothing. No object is written or deleted, but by a repair if that was asked for.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from typing import Any

from catalogsync_assets.core.audit import queries
from catalogsync_assets.core.audit.expected import ExpectedObjects
from catalogsync_assets.core.audit.listing import Comparison
from catalogsync_assets.core.audit.looks import look_at
from catalogsync_assets.core.audit.queries import Outcome, PastAudit, findings, history
from catalogsync_assets.core.audit.record import Done, Recorder
from catalogsync_assets.core.audit.report import AuditReport, AuditRequest, Finding, Progress
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.failing import noted
from catalogsync_assets.core.catalog.remote_copies import RemoteCopy
from catalogsync_assets.core.catalog.scope import Scope
from catalogsync_assets.core.catalog.upload_plan import enqueue
from catalogsync_assets.core.errors import CatalogError, CatalogSyncError, RunAborted, StoreError
from catalogsync_assets.core.runner.limiter import ConcurrencyLimiter
from catalogsync_assets.core.runner.report import MOST_LISTED
from catalogsync_assets.core.runner.run import Run
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.objects import ListedObject
from catalogsync_assets.core.stores.retry import Retries
from catalogsync_assets.core.stores.verify import Level
from catalogsync_assets.core.upload.upload import Limits, UploadReport, upload

__all__ = ["AuditReport", "AuditRequest", "Finding", "PastAudit", "audit", "findings", "history"]

#: The expected objects of one key, which become known together.
_AtKey = list[RemoteCopy]


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
        RunAborted: the store refuses or has fallen silent, or looks like another one; what was
            found until then is recorded, and nothing is marked for it. Or something could not be
            recorded; the next run looks again.
    """
    return _Run(
        catalog, backend, request, limits or Limits.of(backend), progress, connect
    ).execute()


@dataclass(eq=False)
class _Run:
    """One call of `audit`: one `Run` for what is listed, one for each series of looks."""

    catalog: Catalog
    backend: ObjectBackend
    request: AuditRequest
    limits: Limits
    progress: Progress
    connect: Callable[[ObjectBackend], StoreClient]

    def execute(self) -> AuditReport:
        started = time.monotonic()
        request, limits = self.request, self.limits
        self._stop = threading.Event()
        self._limiter = ConcurrencyLimiter(limits.workers)
        self._retry = Retries(attempts=limits.attempts, pace=self._limiter, stop=self._stop)
        self._client = self.connect(replace(self.backend, workers=limits.workers))
        self._audit = queries.begin(self.catalog, self.backend, request)
        self._expected = ExpectedObjects(
            self.catalog, self.backend, request.scope, self._audit.since
        )
        self._comparison = Comparison(self._expected, self._audit)
        self._recorder = Recorder(
            self.catalog,
            self.backend,
            self._audit,
            limits.silences,
            request.allow_empty,
            probe=lambda: self._retry(self._client.probe),
            seen=self._comparison.seen if request.level == "listing" else None,
        )
        report = self._report = AuditReport(
            self._audit.id,
            self.backend.name,
            request.level,
            limits.workers,
            resumed=self._audit.resumed,
        )
        status = "interrupted"
        try:
            with noted(self.catalog, self.backend):
                self._carry_out()
            status = "complete"
        except CatalogSyncError as error:
            cause = error.cause if isinstance(error, RunAborted) else error
            raise RunAborted(report, cause) from error
        finally:
            # What made the run end is what the caller must hear of.
            with suppress(CatalogError):
                if status == "interrupted":
                    queries.end(self.catalog, self._audit, status)
            self._update_report()
            report.status, report.seconds = status, time.monotonic() - started
            with suppress(CatalogError):
                report.findings = findings(self.catalog, self._audit.id, MOST_LISTED)
        return report

    def _carry_out(self) -> None:
        request, recorder = self.request, self._recorder
        share = 1 if request.sample_percent is None else request.sample_percent / 100
        self._report.total = round(self._expected.count() * share)
        self._retry(self._client.probe)
        if request.level == "listing":
            self._compare_listing()
            self._look("head", self._comparison.unmet())
        else:
            self._look(request.level, self._sampled(), by_key=True)
        recorder.finish()
        # Once more for what could not be looked at: an outage may have passed.
        if keys := queries.unreadable(self.catalog, self._audit, MOST_LISTED):
            level: Level = "full" if request.level == "full" else "head"
            self._look(level, iter([self._expected.at(keys)]))
            recorder.finish()
        known = queries.drop_known_untracked(self.catalog, self.backend, self._audit)
        recorder.counts["foreign"] -= known
        self._tick()
        if request.repair and self._report.lost:
            self._repair()
            recorder.counts["repaired"] = self._report.repaired
        queries.end(self.catalog, self._audit, "complete", counts=dict(recorder.counts), seen=None)

    def _compare_listing(self) -> None:
        """Hold what the store lists against the catalog, a page at a time."""
        pages = self._client.listed(self._retry, after=self._audit.position)
        at_end = False

        def take(_: None, page: list[ListedObject] | BaseException | None) -> list[Done] | None:
            nonlocal at_end
            if isinstance(page, BaseException):
                raise page
            if page is None:
                at_end = True
                return None
            return self._recorder.take(*self._comparison.of_page(page))

        self._go_through(
            lambda: None if at_end else [None], lambda _: next(pages, None), take, workers=1
        )

    def _look(
        self, level: Level, pages: Iterator[list[RemoteCopy]], *, by_key: bool = False
    ) -> None:
        """Look at each of these objects.

        Args:
            by_key: they come in the order of their keys, and the audit goes on behind the last one.
        """

        def claim() -> list[_AtKey] | None:
            page = next(pages, None)
            if page is None:
                return None
            return [list(group) for _, group in groupby(page, attrgetter("key"))]

        def work(objects: _AtKey) -> list[Outcome]:
            return [look_at(known, self._client, level, self._retry) for known in objects]

        def take(objects: _AtKey, found: list[Outcome] | BaseException) -> list[Done] | None:
            if isinstance(found, BaseException):
                raise found
            error = next((outcome.error for outcome in found if outcome.error), None)
            if error and self._run.is_ending:  # it was stopped, and goes on another time
                raise error
            self._recorder.heed(found)
            return self._recorder.take(found, position=objects[0].key if by_key else None)

        self._go_through(claim, work, take, workers=self.limits.workers)

    def _go_through(
        self,
        claim: Callable[[], Sequence[Any] | None],
        work: Callable[[Any], Any],
        take: Callable[[Any, Any], list[Done] | None],
        *,
        workers: int,
    ) -> None:
        """One run; a StoreError that `take` raises ends it."""
        gap = False

        def take_unless_behind_a_gap(task: Any, outcome: Any) -> list[Done] | None:
            nonlocal gap
            if gap:
                return None
            gap = True  # unless all goes well: the next audit goes on with this
            try:
                result = take(task, outcome)
            except StoreError as error:
                self._run.end(error)
                return None
            gap = False
            return result

        self._run: Run[Any, Any, list[Done]] = Run(
            self._report,
            name="verify",
            workers=workers,
            at_once=lambda: self._limiter.allowed,
            stop=self._stop,
            claim=claim,
            work=work,
            take=take_unless_behind_a_gap,
            record=self._recorder.record,
            tick=self._tick,
            in_order=True,
        )
        self._run.execute()
        self._stop.clear()  # for what comes next

    def _sampled(self) -> Iterator[list[RemoteCopy]]:
        percent, audit_id = self.request.sample_percent, self._audit.id
        for page in self._expected.by_key(after=self._audit.position):
            yield [o for o in page if percent is None or draw(audit_id, o.key) < percent]

    def _repair(self) -> None:
        """Upload again, from a good copy, what was found missing or damaged.

        Nothing but the very object that was found damaged is replaced. Why others than those that
        are whole now are not is noted with their findings.
        """
        report, scope = self._report, Scope(audit_id=self._audit.id)

        def tell(done: UploadReport) -> None:
            report.upload = done
            self.progress(report)

        enqueue(self.catalog, self.backend, scope)
        try:
            report.upload = upload(
                self.catalog,
                self.backend,
                scope=scope,
                limits=self.limits,
                progress=tell,
                connect=self.connect,
            )
        finally:
            report.repaired = queries.note_repairs(self.catalog, self.backend, self._audit)

    def _update_report(self) -> None:
        self._report.take(self._recorder.counts)
        self._report.retries = self._retry.count

    def _tick(self) -> None:
        self._update_report()
        self.progress(self._report)


def draw(audit_id: int, key: str) -> float:
    """A number from 0 to 100 that is the same whenever the audit asks again for this key.

    And independent of that in any other audit. A CRC is not: of two audits it differs by the same
    bits for every key, so that some samples were equal and others had nothing in common.
    """
    digest = hashlib.blake2b(f"{audit_id}/{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64 * 100
