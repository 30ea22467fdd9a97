"""Deletes from a backend the objects that are old weight, one by one, and only those.

For each, in this order: its row is marked `pruning`, in a transaction that asks once more whether
it may go, so that from then on nobody puts anything at its key; what stands in for it is proven, by
a look or a read; it is looked at, deleted and looked for (`stores.removing`); its row says so. What
is found otherwise on the way stays, and its row is again what it was. A kill leaves rows that are
`pruning`: the next run, or the next upload, looks whether their objects are there
(`backends.pruning`). One process at a time deletes objects of a catalog's backends.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

from catalogsync_assets.core.backends.capabilities import make_sure_of_deletes
from catalogsync_assets.core.backends.connections import Connection, Connections
from catalogsync_assets.core.backends.generation import begin_changes, require_undoubted
from catalogsync_assets.core.backends.proof import Stores
from catalogsync_assets.core.backends.pruning import is_anything_left, right_to_prune, settle
from catalogsync_assets.core.backends.separation import prove_all
from catalogsync_assets.core.catalog import locations, remote_copies
from catalogsync_assets.core.catalog.backends import (
    catalog_id,
    object_backends,
    with_kept_answers,
)
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.object_keys import fold
from catalogsync_assets.core.catalog.separation import separation
from catalogsync_assets.core.errors import NoConditionsError, NotRemoved, StoreError
from catalogsync_assets.core.prune.plan import DEFAULT_DAYS, rules, weight_of
from catalogsync_assets.core.prune.queries import Candidate, OldWeight, Rules
from catalogsync_assets.core.prune.report import (
    LEFT,
    OldObject,
    Progress,
    PruneReport,
    Weight,
)
from catalogsync_assets.core.runner.report import MOST_LISTED, Failure
from catalogsync_assets.core.runner.run import Run, reporting
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.removing import (
    OVERWRITTEN,
    KnownObject,
    is_conditional,
    remove,
)
from catalogsync_assets.core.stores.sdk import DEFAULT_WORKERS
from catalogsync_assets.core.stores.verify import Expected, check

__all__ = ["DEFAULT_DAYS", "PruneReport", "prune"]

#: Objects that are marked at a time.
_PAGE = 256


def prune(
    catalog: Catalog,
    backend: ObjectBackend,
    *,
    superseded: bool = True,
    forgotten: bool = True,
    older_than_seconds: float | None = None,
    keep_copies: int = 0,
    dry_run: bool = True,
    unconditional: bool = False,
    adopted: bool = False,
    workers: int | None = None,
    attempts: int = 5,
    progress: Progress = lambda _: None,
    connect: Callable[[ObjectBackend], StoreClient] = StoreClient,
) -> PruneReport:
    """Delete the objects of a backend that are old weight; see `queries` for which those are.

    Copies of replaced contents whose time is over go in any case. May be stopped at any moment and
    called again.

    Args:
        superseded: what files have moved away from, and their earlier contents.
        forgotten: what a person wants no more.
        older_than_seconds: only what has been so for so long; by default `DEFAULT_DAYS`. Copies
            below `.catalogsync/old/` are kept as the settings say, or as long as this, if that is
            shorter.
        keep_copies: an object goes only if so many stores are proven to hold its content besides.
        dry_run: change nothing and ask no store, only say what would go.
        unconditional: delete where the store keeps no conditions of a delete, or none for this
            object: what another program puts at the key between the look and the delete goes with
            it.
        adopted: objects, too, that another tool has put, or put again, as long as they are the very
            version that is known.
        workers: objects at a time; the backend's own number by default.
        attempts: tries of one request at most.
        progress: called with the report as it stands, a few times a second.
        connect: makes the client of a store.

    Returns:
        What was done. Single objects that stayed are in it and do not raise.

    Raises:
        NoConditionsError: the store is not known to keep conditions of a delete.
        RunAborted: the store refuses everything or has fallen silent; or this catalog may not be
            the one that has changed the backend last.
        CatalogError: another process is at it; or something could not be recorded, which the next
            run sets right.
    """
    count = workers or backend.workers or DEFAULT_WORKERS
    report = PruneReport(backend.name, dry_run, keep_copies)
    backend = replace(with_kept_answers(catalog, backend), workers=count)
    run = _Run(
        catalog,
        backend,
        rules(superseded=superseded, forgotten=forgotten, age=older_than_seconds),
        report,
        adopted=adopted,
        unconditional=unconditional,
        attempts=attempts,
        progress=progress,
        connect=connect,
    )
    with nullcontext() if dry_run else right_to_prune(catalog), reporting(report, progress):
        run.execute()
    return report


@dataclass(eq=False)
class _Run:
    """One call of `prune`."""

    _catalog: Catalog
    _backend: ObjectBackend
    _rules: Rules
    _report: PruneReport
    adopted: bool
    unconditional: bool
    attempts: int
    progress: Progress
    connect: Callable[[ObjectBackend], StoreClient]

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._owner = catalog_id(self._catalog)
        self._unsettled: dict[int, bool] = {}  # marked, by whether its deletion was begun
        self._deleting = 0
        self._idle = threading.Condition()
        workers = self._backend.workers or DEFAULT_WORKERS
        self._connections = Connections(
            self.connect, workers, self.attempts, self._stop, silences=None
        )

    def execute(self) -> None:
        """Say what would go; unless that is all, delete it."""
        report = self._report
        report.conditional = self._backend.profile.conditional_delete
        report.versioned = bool(self._backend.profile.versioned)
        if not report.dry_run and is_anything_left(self._catalog, self._backend):
            report.settled = settle(self._catalog, self._to.client, retry=self._to.retry)
        weight = weight_of(self._catalog, self._backend, self._rules)
        ids = self._plan(weight)
        if report.dry_run or not ids:
            return
        self._make_sure()
        begin_changes(self._catalog, self._to.client, retry=self._to.retry)
        require_undoubted(self._catalog, self._backend)
        if report.keep_copies:
            self._prepare_proof()
        pages = iter(partial(_page, iter(ids)), [])

        def claim() -> list[Candidate] | None:
            page = next(pages, None)
            if page is None:
                return None
            marked = weight.begin(self._catalog, page)
            self._unsettled |= dict.fromkeys((c.copy.location_id for c in marked), False)
            report.looked_at += len(page) - len(marked)
            for _ in range(len(page) - len(marked)):
                report.leave("Taken")
            return marked

        try:
            self._run: Run[Candidate, str, tuple[Candidate, str]] = Run(
                report,
                name="prune",
                workers=self._backend.workers or DEFAULT_WORKERS,
                stop=self._stop,
                claim=claim,
                work=self._remove,
                take=self._take,
                record=self._record,
                tick=lambda: self.progress(report),
            )
            self._run.execute()
        finally:
            self._give_back()

    def _plan(self, weight: OldWeight) -> list[int]:
        report, ids = self._report, list[int]()
        for verdict in weight.verdicts(self._catalog):
            assert verdict is not None
            size, candidate, code = verdict
            if candidate is None:
                if code == "Young":
                    report.younger.add(size)
                else:
                    report.leave(code)
                continue
            ids.append(candidate.copy.location_id)
            report.candidates += 1
            report.candidate_bytes += size
            report.reasons_to_go.setdefault(candidate.reason, Weight()).add(size)
            if len(report.listed) < MOST_LISTED:
                since = f"{candidate.since:%Y-%m-%d %H:%M:%S}"
                report.listed.append(OldObject(candidate.copy.key, size, candidate.reason, since))
        return ids

    # --- before anything is deleted

    @property
    def _to(self) -> Connection:
        return self._connections.to(self._backend)

    def _make_sure(self) -> None:
        """Find out what the store does with deletes, today."""
        client, report = self._to.client, self._report
        self._to.retry(client.probe)
        make_sure_of_deletes(self._catalog, client)
        report.versioned = client.is_versioned() is True
        report.locked = report.versioned and client.locks() is True
        report.conditional = is_conditional(client)
        if not report.conditional and not self.unconditional:
            raise NoConditionsError(
                f"backend {self._backend.name!r}: its store is not known to delete only the version"
                " that is meant (If-Match): what another program puts at a key between our look and"
                " the delete would be deleted with it",
                hint="if no other program writes there, add --unconditional; `catalogsync backend"
                f" test {self._backend.name}` asks the store",
            )

    def _prepare_proof(self) -> None:
        """Find out which backends hold copies of their own."""
        backends = object_backends(self._catalog)
        self._stores = Stores(backends, self._connections)
        self._stores.probe(self._catalog)
        asked = prove_all(
            self._catalog,
            self._stores.reachable,
            attempts=self.attempts,
            connect=self.connect,
        )
        found = {frozenset((f.one.id, f.other.id)): f.verdict for f in asked}
        known = separation(self._catalog).updated(found)
        self._stores.separation = known.among(self._stores.backends)

    # --- one object

    def _remove(self, candidate: Candidate) -> str:
        """Delete an object, once what stands in for it is proven. In a worker's thread.

        Returns:
            `removed` or `gone`.

        Raises:
            NotRemoved: it stays.
            StoreError: the store refused, or was silent: it may be gone or not.
        """
        copy = candidate.copy
        if candidate.successors:
            self._connections.ask(self._backend, partial(self._require_successor, candidate))
        if self._report.keep_copies:
            self._require_copies(candidate)
        known = KnownObject(
            *(copy.key, copy.etag or "", copy.size_bytes, self._owner, str(copy.file_asset_id)),
            candidate.written_until,
            may_be_adopted=self.adopted,
            unconditional=self.unconditional,
        )
        with self._idle:
            if self._stop.is_set():
                raise _stays(copy.key, "the run was stopped", "Stopped")
            self._deleting += 1
            self._unsettled[copy.location_id] = True
        try:

            def delete(to: Connection) -> str:
                return to.retry(lambda: remove(to.client, known))

            return self._connections.ask(self._backend, delete)
        finally:
            with self._idle:
                self._deleting -= 1
                self._idle.notify_all()

    def _require_successor(self, candidate: Candidate, to: Connection) -> None:
        said = []
        for copy in candidate.successors:
            if not copy.sha256:
                said.append(f"{copy.key!r}: its digest is not known")
                continue
            expected = Expected(copy.sha256, copy.size_bytes, copy.etag)
            found = check(to.client, copy.key, expected, "proof", retry=to.retry)
            if found.verified:
                self._require_two_objects(candidate.copy.key, copy.key, to)
                return
            said.append(f"{copy.key!r}: {found.detail or found.kind}")
        raise _stays(
            candidate.copy.key,
            f"what stands in for it is not proven ({'; '.join(said)})",
            "NotProven",
            hint="`catalogsync verify --repair` mends what is missing or damaged",
        )

    @staticmethod
    def _require_two_objects(key: str, other: str, to: Connection) -> None:
        """Two keys that differ in letters' case alone may be one to a store that stands on a file
        system of that kind: to delete the one would delete both."""
        if fold(key) != fold(other):
            return
        one, two = (to.retry(partial(to.client.head, each)) for each in (key, other))
        if one is None or (two is not None and one.modified_at != two.modified_at):
            return
        raise _stays(key, f"its store may take it and {other!r} for the same", "OneObject")

    def _require_copies(self, candidate: Candidate) -> None:
        wanted, asset = self._report.keep_copies, candidate.copy.file_asset_id
        with self._catalog.read() as connection:
            copies = remote_copies.copies_of(connection, [asset]).get(asset, [])
        if self._stores.look(copies, wanted).copies < wanted:
            why = f"fewer than {wanted} other copies of it are proven"
            raise _stays(candidate.copy.key, why, "FewCopies")

    # --- what became of it

    def _take(
        self, candidate: Candidate, outcome: str | BaseException
    ) -> tuple[Candidate, str] | None:
        report, key = self._report, candidate.copy.key
        if isinstance(outcome, NotRemoved):
            if outcome.code == "Stopped":
                return None
            report.looked_at += 1
            is_overwritten = outcome.code in OVERWRITTEN
            if outcome.code in LEFT:
                report.leave(outcome.code)
            else:
                hint = f"; {outcome.hint}" if outcome.hint else ""
                hint += "; this is told once" if is_overwritten else ""
                report.note_failure(Failure(key, outcome.code, outcome.message + hint))
            return candidate, "overwritten" if is_overwritten else "stays"
        if isinstance(outcome, StoreError):
            report.looked_at += 1
            report.note_failure(Failure(key, outcome.code, outcome.message))
            if (refusal := self._connections.out.get(self._backend.id)) is not None:
                self._run.end(refusal)
            return None  # what became of it, a look tells
        if isinstance(outcome, BaseException):
            raise outcome
        return candidate, outcome

    def _record(self, results: Sequence[tuple[Candidate, str]]) -> None:
        by_outcome: dict[str, list[int]] = {}
        for candidate, outcome in results:
            by_outcome.setdefault(outcome, []).append(candidate.copy.location_id)
        gone = by_outcome.get("removed", []) + by_outcome.get("gone", [])
        with self._catalog.transaction() as connection:
            locations.apply(connection, "pruned", gone)
            locations.apply(connection, "overwritten", by_outcome.get("overwritten", []))
            locations.spare(connection, by_outcome.get("stays", []))
        report = self._report
        for candidate, outcome in results:
            self._unsettled.pop(candidate.copy.location_id, None)
            if outcome in ("stays", "overwritten"):
                continue
            report.looked_at += 1
            if outcome == "gone":
                report.gone += 1
            else:
                report.removed += 1
                report.removed_bytes += candidate.size_bytes

    def _give_back(self) -> None:
        """What was marked and not begun is again what it was; of what was begun, a look tells."""
        with self._idle:
            self._stop.set()
            self._idle.wait_for(lambda: self._deleting == 0)
        untouched = [id_ for id_, begun in self._unsettled.items() if not begun]
        with self._catalog.transaction() as connection:
            locations.spare(connection, untouched)
        if len(untouched) < len(self._unsettled):
            settle(self._catalog, self._to.client)


def _page(ids: Iterator[int]) -> list[int]:
    return list(islice(ids, _PAGE))


def _stays(key: str, why: str, code: str, hint: str | None = None) -> NotRemoved:
    return NotRemoved(f"{key!r} stays: {why}", code=code, hint=hint)
