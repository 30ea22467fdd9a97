"""Removes local files that enough stores hold, proven now, and only those.

First the stores are asked which of them are different ones (`backends.separation`), where more than
one copy is to be kept. Then, for every file that the plan names: its objects are verified, then its
own content is compared with the catalog's digest, then its row is marked, then it is deleted
(`library.removal`), then its row says so. Files go in pages, so that what was proven is minutes old
at most; the stores are asked by several threads, the deleting is done by one (see `runner.run`).
One process at a time removes files of a catalog's library.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

from catalogsync_assets.core.backends.connections import Connections
from catalogsync_assets.core.backends.proof import Proof, Stores
from catalogsync_assets.core.backends.separation import Finding, prove_all
from catalogsync_assets.core.catalog import locations
from catalogsync_assets.core.catalog.backends import catalog_id, object_backends
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.locations import Look
from catalogsync_assets.core.catalog.offloads import LocalFile
from catalogsync_assets.core.catalog.replication import required
from catalogsync_assets.core.catalog.scope import EVERYTHING, Scope
from catalogsync_assets.core.catalog.separation import Separation, backends_with_files, separation
from catalogsync_assets.core.errors import CatalogSyncError, NotRemoved, RunAborted, UsageError
from catalogsync_assets.core.library import removal
from catalogsync_assets.core.library.removal import Identity
from catalogsync_assets.core.offload import queries
from catalogsync_assets.core.offload.plan import Disks, Planned, pages
from catalogsync_assets.core.offload.report import OffloadReport, Progress, Unproven
from catalogsync_assets.core.runner.report import MOST_LISTED, Failure
from catalogsync_assets.core.runner.run import Run, reporting
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.sdk import DEFAULT_WORKERS

__all__ = ["OffloadReport", "offload"]

#: Objects in a row of which a store says nothing at all, before it is not asked any more.
_SILENT = 3
#: Files that are not meant to go, rather than files with which something is wrong.
_LEFT = frozenset(("Link", "HardLink"))


def offload(
    catalog: Catalog,
    keep_copies: int | None = None,
    *,
    below_policy: bool = False,
    backends: Sequence[ObjectBackend] | None = None,
    scope: Scope = EVERYTHING,
    older_than_seconds: float | None = None,
    until_free: int | None = None,
    dry_run: bool = True,
    check: bool = True,
    workers: int = DEFAULT_WORKERS,
    attempts: int = 5,
    progress: Progress = lambda _: None,
    connect: Callable[[ObjectBackend], StoreClient] = StoreClient,
) -> OffloadReport:
    """Remove local files of which so many stores hold a copy, proven now; the oldest first.

    Backends that are not proven to be different stores count as one. That is found out anew before
    anything is removed. May be stopped at any moment and called again.

    Args:
        keep_copies: how many stores must be proven to hold a file before it goes, at least 1; None
            for as many as the policy of its library asks for.
        below_policy: go by `keep_copies` even where a policy asks for more.
        backends: whose copies count; all by default.
        scope: only these files.
        older_than_seconds: only files that have not been modified for so long.
        until_free: bytes; no more files go once the file system of their root has so much room.
        dry_run: change nothing, only say what would go.
        check: in a dry run, look at stores and contents, too; else go by the catalog, and the
            size and mtime of the files.
        workers: files that are looked at at a time.
        attempts: tries of one request at most.
        progress: called with the report as it stands, a few times a second.
        connect: makes the client of a store.

    Returns:
        What was done. Single files that stayed are in it and do not raise.

    Raises:
        UsageError: there are fewer backends than copies to keep; or `keep_copies` is less than a
            policy that was set asks for.
        RunAborted: too few stores answer, or are proven to be different ones; or another process is
            at it.
        CatalogError: something could not be recorded; the next run sets it right.
    """
    chosen = list(object_backends(catalog) if backends is None else backends)
    fewest = 1 if keep_copies is None else keep_copies
    if not 1 <= fewest <= len(chosen):
        raise UsageError(
            f"{fewest} copies cannot be kept by {len(chosen)} backends",
            hint="name fewer copies (at least 1), or register another backend",
        )
    names = [b.name for b in chosen]
    report = OffloadReport(dry_run, check or not dry_run, keep_copies, names, goal=until_free)
    age = older_than_seconds
    before_ns = None if age is None else int((time.time() - age) * 1e9)
    stop = threading.Event()
    stores = Stores(chosen, Connections(connect, workers, attempts, stop, _SILENT))

    def candidates(counted: Separation, known: Separation) -> queries.Candidates:
        """The files that may go, where copies are counted like this."""
        policy = required(catalog, known.stores)
        counted = counted.among(stores.backends)
        found = queries.candidates(
            catalog, counted, policy, keep_copies, before_ns=before_ns, scope=scope
        )
        if found.below and not below_policy:
            root, copies = max(found.below.items(), key=lambda item: item[1])
            raise UsageError(
                f"the policy asks for {copies} copies of each file below {root},"
                f" not for {keep_copies}",
                hint="leave out --keep-copies to go by the policy, or add --below-policy",
            )
        return found

    prove = partial(prove_all, catalog, keep=not dry_run, attempts=attempts, connect=connect)
    run = _Run(catalog, report, stores, candidates, prove)
    alone = nullcontext(True) if dry_run else removal.alone(catalog)
    with reporting(report, progress), alone as right:
        if not right:
            raise _aborted(
                report,
                f"another process removes files of the catalog {catalog.path}",
                "wait for it, then run this again",
            )
        if not dry_run:
            run.recover()
        run.execute(workers, stop, progress)
    return report


#: A file, what the stores told of its copies, and what it is, if it may go; or why it stays. (None:
#: it may go, as far as can be told without reading it.)
_Looked = tuple[LocalFile, Proof, "Identity | NotRemoved | None"]


@dataclass(eq=False)
class _Run:
    """One call of `offload`."""

    _catalog: Catalog
    _report: OffloadReport
    _stores: Stores
    _candidates: Callable[[Separation, Separation], queries.Candidates]
    _prove_all: Callable[[Sequence[ObjectBackend]], Sequence[Finding]]

    def __post_init__(self) -> None:
        self._unknown: dict[frozenset[str], str] = {}  # why of two backends nothing is proven
        self._have_proven: set[int] = set()  # backends that hold at least something
        self._disks = Disks(self._catalog, self._report)

    def recover(self) -> None:
        """Set right what a stopped run has left."""
        done = removal.recover(self._catalog)
        self._report.settled = len(done.returned) + len(done.removed)
        for file, why in done.problems.items():
            self._report.note_failure(Failure(file.absolute_path, "Unsettled", why))

    def execute(self, workers: int, stop: threading.Event, progress: Progress) -> None:
        """Look at the files that should go, and remove those that may."""
        report = self._report
        found = self._prove_backends()
        planned = pages(self._catalog, found, self._stores.backends, self._disks, report)

        def claim() -> list[Planned] | None:
            page = next(planned, None)
            if page and report.checked:
                self._require_enough_stores(min(item.needed for item in page))
            return page

        def take(_: Planned, outcome: _Looked | BaseException) -> _Looked:
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        Run(
            report,
            name="offload",
            workers=workers,
            stop=stop,
            claim=claim,
            work=self._look,
            take=take,
            record=self._go_through,
            tick=lambda: progress(report),
            by_page=True,
        ).execute()

    def _prove_backends(self) -> queries.Candidates:
        """Find out which backends can be asked, and are different stores; the files that may go."""
        report, stores = self._report, self._stores
        known = separation(self._catalog)
        # What is counted below is proven anew; here every backend may be a store of its own.
        presumed = Separation.presumed(stores.backends.values())
        found = self._candidates(presumed if report.checked else known, known)
        # Only where there is something to ask about: a store that is down need not matter.
        if report.checked and found.ids and not self._disks.all_have_enough:
            fewest = min(found.copies)
            stores.probe(self._catalog)
            if found.most_copies > 1:
                asked = self._prove_all(stores.reachable)
                self._unknown = {frozenset((f.one.name, f.other.name)): f.why for f in asked}
                known = known.updated({frozenset((f.one.id, f.other.id)): f.verdict for f in asked})
                found = self._candidates(known, known)
            stores.separation = known.among(stores.backends)
            self._require_enough_stores(fewest)
        report.candidates, report.candidate_bytes = len(found.ids), found.bytes
        report.too_few, report.too_few_bytes = found.too_few, found.too_few_bytes
        report.younger = found.younger
        if found.most_copies > 1:
            self._say_what_counts_as_one(known.among(backends_with_files(self._catalog)))
        return found

    def _say_what_counts_as_one(self, known: Separation) -> None:
        counted = known.among(self._stores.backends)
        self._report.same = counted.same
        self._report.unproven = [
            Unproven(*pair, self._unknown.get(frozenset(pair)) or None) for pair in counted.unproven
        ]

    def _require_enough_stores(self, copies: int) -> None:
        """Raise RunAborted if the stores that answer can prove no file to have so many."""
        stores, report = self._stores, self._report
        report.out = {stores.backends[id_].name: error.message for id_, error in stores.out.items()}
        reachable = [b.id for b in stores.reachable]
        if len(reachable) < copies:
            first = next(iter(stores.out.values()))
            raise _aborted(
                report,
                f"too few of the backends can be asked to prove {copies} copies: {first.message}",
                first.hint,
            )
        if stores.separation.among(reachable).most_copies < copies:
            self._say_what_counts_as_one(stores.separation)
            same = [f"{', '.join(names)} are the same store" for names in report.same]
            unproven = [
                f"{u.one} and {u.other} are not proven to be two{f' ({u.why})' if u.why else ''}"
                for u in report.unproven
            ]
            raise _aborted(
                report,
                f"the backends are too few different stores to prove {copies} copies: "
                + "; ".join(same + unproven),
                f"`catalogsync backend test {report.unproven[0].other}` tells what is in the way"
                if report.unproven
                else "upload to a backend on another store",
            )

    def _look(self, planned: Planned) -> _Looked:
        """Everything that must be so before a file may go. In a worker's thread."""
        file, copies, needed = planned
        proof = Proof()
        try:
            removal.inspect(file)
            if not self._report.checked:
                return file, proof, None
            proof = self._stores.look(copies, needed)
            if proof.copies < needed:
                raise self._not_proven(file, proof, needed)
            return file, proof, removal.hashed(file)
        except NotRemoved as problem:
            return file, proof, problem

    def _not_proven(self, file: LocalFile, proof: Proof, needed: int) -> NotRemoved:
        said = [
            f"{self._stores.backends[copy.backend_id].name}: "
            + (found.message if isinstance(found, CatalogSyncError) else found.kind)
            for copy, found in proof.others
        ]
        return NotRemoved(
            f"{file.absolute_path} stays: {proof.copies} of {needed} copies proven"
            f" ({'; '.join(said) or 'the others are the same objects'})",
            code="NotProven",
            hint="`verify --repair` mends what is missing or damaged",
        )

    def _go_through(self, looked: Sequence[_Looked]) -> None:
        """Record what the stores told of a page's files; remove those that may go."""
        self._record_findings([proof for _, proof, _ in looked])
        may_go: list[tuple[LocalFile, Proof, Identity]] = []
        for file, proof, outcome in looked:
            if isinstance(outcome, NotRemoved):
                self._note_problem(file, outcome)
            elif self._report.dry_run:
                self._note_removed(file)
            else:
                assert outcome is not None
                may_go.append((file, proof, outcome))
        if may_go:
            self._remove(may_go)

    def _record_findings(self, page: Sequence[Proof]) -> None:
        """What the stores told goes into the catalog, whatever becomes of the files."""
        proven = [pair for proof in page for pair in proof.proven]
        self._have_proven.update(copy.backend_id for copy, _ in proven)
        looks = [Look(copy, "verified", None, found.proof) for copy, found in proven]
        for copy, found in (pair for proof in page for pair in proof.others):
            if isinstance(found, CatalogSyncError) or found.kind == "ok":
                continue
            if found.kind != "missing":
                looks.append(Look(copy, "damaged", found.etag))
            # Where nothing at all was found, it is more likely the wrong bucket than a loss.
            elif copy.backend_id in self._have_proven:
                looks.append(Look(copy, "lost", found.etag))
        if not self._report.dry_run:
            with self._catalog.transaction() as connection:
                written = locations.record_looks(connection, looks)
            looks = [look for look, done in zip(looks, written, strict=True) if done]
        self._report.missing += sum(look.event == "lost" for look in looks)
        self._report.damaged += sum(look.event == "damaged" for look in looks)

    def _remove(self, may_go: Sequence[tuple[LocalFile, Proof, Identity]]) -> None:
        """Mark, delete, and say so. Whatever comes in between, the rows are true in the end."""
        name = catalog_id(self._catalog)
        marked = queries.begin(
            self._catalog,
            [(file, [copy.location_id for copy, _ in proof.proven]) for file, proof, _ in may_go],
        )
        gone: list[LocalFile] = []
        try:
            for file, _, identity in may_go:
                if file.location_id not in marked:
                    why = "another process has recorded something else of it meanwhile"
                    changed = NotRemoved(f"{file.absolute_path} stays: {why}", code="Changed")
                    self._note_problem(file, changed)
                    continue
                try:
                    removal.remove(file, identity, name)
                except NotRemoved as problem:
                    self._note_problem(file, problem)
                else:
                    gone.append(file)
        finally:
            left = removal.recover(self._catalog).problems if marked else {}
            problems = {file.location_id: why for file, why in left.items()}
            for file in gone:
                if file.location_id in problems:
                    path, why = file.absolute_path, problems[file.location_id]
                    self._report.note_failure(Failure(path, "Unsettled", f"{path}: {why}"))
                else:
                    self._note_removed(file)

    def _note_removed(self, file: LocalFile) -> None:
        report = self._report
        report.looked_at += 1
        report.removed += 1
        report.removed_bytes += file.size_bytes
        self._disks.add(file)
        if len(report.files) < MOST_LISTED:
            report.files.append(file.absolute_path)

    def _note_problem(self, file: LocalFile, problem: NotRemoved) -> None:
        self._report.looked_at += 1
        code = problem.code
        if code in _LEFT:
            self._report.left[code] = self._report.left.get(code, 0) + 1
        else:
            self._report.note_failure(Failure(file.absolute_path, code, problem.message))


def _aborted(report: OffloadReport, message: str, hint: str | None) -> RunAborted:
    return RunAborted(report, CatalogSyncError(message, hint=hint))
