"""Removes local files that enough stores hold, proven now, and only those.

First the stores are asked which of them are different ones (`backends.separation`), where more than
one copy is to be kept. Then, for every file: its objects are verified, then its own content is
compared with the catalog's digest, then its row is marked, then it is deleted (`library.removal`),
then its row says so. Files go in chunks, so that what was proven is minutes old at most; the stores
are asked by several threads, the deleting is done by one. One process at a time removes files of a
catalog's library.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from catalogsync_assets.core.backends.separation import prove_all
from catalogsync_assets.core.catalog import locations, offloads
from catalogsync_assets.core.catalog.backends import catalog_id, object_backends
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.files import known_roots
from catalogsync_assets.core.catalog.locations import Look
from catalogsync_assets.core.catalog.offloads import LocalFile
from catalogsync_assets.core.catalog.replication import required
from catalogsync_assets.core.catalog.scope import EVERYTHING, Scope
from catalogsync_assets.core.catalog.separation import (
    Separation,
    backends_with_files,
    separation,
)
from catalogsync_assets.core.errors import CatalogSyncError, NotRemoved, UsageError
from catalogsync_assets.core.files.atomic import sync_folder
from catalogsync_assets.core.library import removal
from catalogsync_assets.core.library.removal import Identity
from catalogsync_assets.core.offload.proof import Held, Holders
from catalogsync_assets.core.offload.report import (
    Failure,
    OffloadAborted,
    OffloadReport,
    Progress,
    Room,
    Unproven,
)
from catalogsync_assets.core.runner.workers import Workers
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.clients import DEFAULT_WORKERS
from catalogsync_assets.core.stores.copies import RemoteCopy

__all__ = ["Failure", "OffloadAborted", "OffloadReport", "Room", "offload"]

#: A chunk ends at so many files, or with the file that brings it over so many bytes.
_CHUNK_FILES = 64
_CHUNK_BYTES = 512 * 1024 * 1024
_PAGE = 512
_MAX_LISTED = 1_000
_ATTEMPTS = 5
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
    attempts: int = _ATTEMPTS,
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
        progress: called with the report as it stands.
        connect: makes the client of a store.

    Returns:
        What was done. Single files that stayed are in it and do not raise.

    Raises:
        UsageError: there are fewer backends than copies to keep; or `keep_copies` is less than a
            policy that was set asks for.
        OffloadAborted: too few stores answer, or are proven to be different ones; or another
            process is at it.
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
    before_ns = (
        None if older_than_seconds is None else int((time.time() - older_than_seconds) * 1e9)
    )
    run = _Run(
        catalog,
        chosen,
        scope,
        before_ns,
        below_policy,
        workers,
        attempts,
        progress,
        connect,
        report,
    )
    started = time.monotonic()
    try:
        if dry_run:
            run.execute()
        else:
            with removal.alone(catalog) as right:
                if not right:
                    raise _aborted(
                        report,
                        f"another process removes files of the catalog {catalog.path}",
                        "wait for it, then run this again",
                    )
                run.settle()
                run.execute()
    finally:
        report.seconds = time.monotonic() - started
    return report


@dataclass(frozen=True)
class _Looked:
    """What a worker found out of a file.

    Attributes:
        held: None where the stores were not asked.
        identity: of the file, if it was read and may go.
        problem: why it must stay.
    """

    file: LocalFile
    held: Held | None = None
    identity: Identity | None = None
    problem: NotRemoved | None = None


#: A file, the objects that hold it as the catalog says, and how many copies it needs.
_Item = tuple[LocalFile, list[RemoteCopy], int]


class _Run:
    """One call of `offload`."""

    def __init__(
        self,
        catalog: Catalog,
        backends: Sequence[ObjectBackend],
        scope: Scope,
        before_ns: int | None,
        below_policy: bool,
        workers: int,
        attempts: int,
        progress: Progress,
        connect: Callable[[ObjectBackend], StoreClient],
        report: OffloadReport,
    ) -> None:
        self._catalog = catalog
        self._catalog_id = "" if report.dry_run else catalog_id(catalog)
        self._scope = scope
        self._before_ns = before_ns
        self._below_policy = below_policy
        self._attempts = attempts
        self._connect = connect
        self._workers = workers
        self._progress = progress
        self._report = report
        self._stop = threading.Event()
        self._holders = Holders(
            backends, workers=workers, attempts=attempts, stop=self._stop, connect=connect
        )
        self._unknown: dict[frozenset[str], str] = {}  # why of two backends nothing is proven
        self._have_proven: set[int] = set()  # backends that hold at least something
        self._rooms = _Rooms(report, known_roots(catalog))

    def settle(self) -> None:
        """Set right what a stopped run has left."""
        done = removal.settle(self._catalog)
        self._report.settled = done.returned + done.removed
        for path, why in done.problems:
            self._note_failure(path, "Unsettled", why)

    def execute(self) -> None:
        report = self._report
        known = separation(self._catalog)
        # What is counted below is proven anew; here every backend may be a store of its own.
        presumed = Separation.presumed(self._holders.backends.values())
        found = self._candidates(presumed if report.checked else known, known)
        # Only where there is something to ask about: a store that is down need not matter.
        if report.checked and found.files and not self._rooms.all_enough:
            fewest = min(found.copies)
            self._holders.probe()
            if found.most_copies > 1:
                known = self._proven_now(known)
                found = self._candidates(known, known)
            self._holders.separation = known.among(self._holders.backends)
            self._require_enough_stores(fewest)
        report.candidates, report.candidate_bytes = found.files, found.bytes
        report.too_few, report.too_few_bytes = found.too_few, found.too_few_bytes
        report.younger = found.younger
        if found.most_copies > 1:
            self._say_what_counts_as_one(known.among(backends_with_files(self._catalog)))
        pool = Workers(self._workers, "offload")
        try:
            for chunk in self._chunks(self._read(found)):
                if report.checked:
                    self._require_enough_stores(min(needed for _, _, needed in chunk))
                self._go_through(chunk, pool)
                self._progress(report)
        finally:
            self._stop.set()
            pool.close()

    def _candidates(self, counted: Separation, known: Separation) -> offloads.Candidates:
        """The files that may go, where copies are counted like this.

        Raises:
            UsageError: fewer copies were asked for than a policy that was set asks for.
        """
        asked = self._report.keep_copies
        found = offloads.candidates(
            self._catalog,
            counted.among(self._holders.backends),
            required(self._catalog, known.stores),
            asked,
            before_ns=self._before_ns,
            scope=self._scope,
        )
        if found.below and not self._below_policy:
            root, copies = max(found.below.items(), key=lambda item: item[1])
            raise UsageError(
                f"the policy asks for {copies} copies of each file below {root}, not for {asked}",
                hint="leave out --keep-copies to go by the policy, or add --below-policy",
            )
        return found

    def _proven_now(self, known: Separation) -> Separation:
        """Ask the stores anew which of the backends are different ones."""
        asked = prove_all(
            self._catalog,
            self._holders.reachable,
            keep=not self._report.dry_run,
            attempts=self._attempts,
            connect=self._connect,
        )
        self._unknown = {frozenset((f.one.name, f.other.name)): f.why for f in asked if f.why}
        return known.updated({frozenset((f.one.id, f.other.id)): f.verdict for f in asked})

    def _say_what_counts_as_one(self, known: Separation) -> None:
        counted = known.among(self._holders.backends)
        self._report.same = counted.same
        self._report.unproven = [
            Unproven(*pair, self._unknown.get(frozenset(pair))) for pair in counted.unproven
        ]

    def _read(self, found: offloads.Candidates) -> Iterator[_Item]:
        for at in range(0, len(found.ids), _PAGE):
            page = dict(zip(found.ids[at : at + _PAGE], found.copies[at : at + _PAGE], strict=True))
            there = offloads.with_copies(self._catalog, list(page), list(self._holders.backends))
            self._report.looked_at += len(page) - len(there)  # others have removed them
            for file, copies in there:
                yield file, copies, page[file.location_id]

    def _chunks(self, files: Iterator[_Item]) -> Iterator[list[_Item]]:
        """The files that should go, in chunks that free no more than is needed."""
        chunk: list[_Item] = []
        size = 0
        for item in files:
            file = item[0]
            if chunk and self._rooms.enough_with(file, chunk):
                # Whether it will do depends on whether all of these may go.
                yield chunk
                chunk, size = [], 0
            problem = self._rooms.missing(file)
            if problem is not None:
                self._note_problem(_Looked(file, problem=problem))
            elif self._rooms.enough(file):
                self._report.looked_at += 1
                if self._rooms.all_enough:
                    break
            else:
                chunk.append(item)
                size += file.size_bytes
                if len(chunk) >= _CHUNK_FILES or size >= _CHUNK_BYTES:
                    yield chunk
                    chunk, size = [], 0
        if chunk:
            yield chunk

    def _require_enough_stores(self, copies: int) -> None:
        """Raise OffloadAborted if the stores that answer can prove no file to have so many."""
        holders, report = self._holders, self._report
        report.out = {name: error.message for name, error in holders.out.items()}
        reachable = [b.id for b in holders.reachable]
        if len(reachable) < copies:
            first = next(iter(holders.out.values()))
            raise _aborted(
                report,
                f"too few of the backends can be asked to prove {copies} copies: {first.message}",
                first.hint,
            )
        answering = holders.separation.among(reachable)
        if answering.most_copies < copies:
            self._say_what_counts_as_one(holders.separation)
            raise _aborted(
                report,
                f"the backends are too few different stores to prove {copies} copies: "
                + "; ".join(_counted_as_one(report)),
                f"`catalogsync backend test {report.unproven[0].other}` tells what is in the way"
                if report.unproven
                else "upload to a backend on another store",
            )

    def _go_through(self, chunk: list[_Item], pool: Workers) -> None:
        looks: list[Future[_Looked]] = [pool.submit(partial(self._look, *item)) for item in chunk]
        looked = [look.result() for look in looks]
        self._record_findings(looked)
        for item in looked:
            if item.problem is not None:
                self._note_problem(item)
        may_go = [item for item in looked if item.problem is None]
        if self._report.dry_run:
            for item in may_go:
                self._note_removed(item.file)
        elif may_go:
            self._remove(may_go)

    def _look(self, file: LocalFile, copies: list[RemoteCopy], needed: int) -> _Looked:
        """Everything that must be so before a file may go. In a worker's thread."""
        held = None
        try:
            removal.inspect(file)
            if not self._report.checked:
                return _Looked(file)
            held = self._holders.look(copies, needed)
            if held.copies < needed:
                return _Looked(file, held, problem=_not_proven(file, held, needed))
            return _Looked(file, held, removal.hashed(file))
        except NotRemoved as problem:
            return _Looked(file, held, problem=problem)

    def _record_findings(self, looked: Sequence[_Looked]) -> None:
        """What the stores told goes into the catalog, whatever becomes of the files."""
        proven: dict[str, list[int]] = {}
        lost: list[Look] = []
        for held in (item.held for item in looked if item.held is not None):
            for found in held.proven:
                assert found.verdict is not None
                proven.setdefault(str(found.verdict.proof), []).append(found.copy.location_id)
                self._have_proven.add(found.copy.backend_id)
            for found in held.others:
                if found.verdict is not None and found.verdict.kind != "ok":
                    gone = found.verdict.kind == "missing"
                    etag = found.verdict.etag
                    lost.append(Look(found.copy, "lost" if gone else "damaged", etag))
        # Where nothing at all was found, it is more likely the wrong bucket than a loss.
        lost = [
            look
            for look in lost
            if look.event == "damaged" or look.copy.backend_id in self._have_proven
        ]
        if not self._report.dry_run:
            with self._catalog.transaction() as connection:
                written = locations.record_looks(connection, lost)
            lost = [look for look, done in zip(lost, written, strict=True) if done]
            for how, ids in proven.items():
                locations.mark(self._catalog, ids, "verified", only="active", how=how)
        self._report.missing += sum(look.event == "lost" for look in lost)
        self._report.damaged += sum(look.event == "damaged" for look in lost)

    def _remove(self, may_go: Sequence[_Looked]) -> None:
        """Mark, delete, and say so. Whatever comes in between, the rows are true in the end."""
        verified = [
            (item.file, [found.copy.location_id for found in item.held.proven])
            for item in may_go
            if item.held is not None
        ]
        marked = offloads.begin(self._catalog, verified)
        gone: list[LocalFile] = []
        try:
            for item in may_go:
                if item.file.location_id not in marked:
                    self._note_problem(_Looked(item.file, problem=_overtaken(item.file)))
                    continue
                assert item.identity is not None
                try:
                    removal.remove(item.file, item.identity, self._catalog_id)
                except NotRemoved as problem:
                    self._note_problem(_Looked(item.file, problem=problem))
                else:
                    gone.append(item.file)
        finally:
            gone = self._on_disk(gone)
            offloads.finish(self._catalog, [file.location_id for file in gone])
            for file in gone:
                self._note_removed(file)
            if len(gone) < len(marked):
                removal.settle(self._catalog)

    def _on_disk(self, gone: Sequence[LocalFile]) -> list[LocalFile]:
        """Have the deletions written to disk; those files of which it is certain."""
        refused: dict[Path, str] = {}
        for folder in {Path(file.absolute_path).parent for file in gone}:
            try:
                sync_folder(folder)
            except OSError as error:
                refused[folder] = error.strerror or str(error)
        for path in (Path(file.absolute_path) for file in gone):
            if path.parent in refused:
                self._note_failure(str(path), "Unsettled", f"{path}: {refused[path.parent]}")
        return [file for file in gone if Path(file.absolute_path).parent not in refused]

    def _note_removed(self, file: LocalFile) -> None:
        report = self._report
        report.looked_at += 1
        report.removed += 1
        report.removed_bytes += file.size_bytes
        self._rooms.add(file)
        if len(report.files) < _MAX_LISTED:
            report.files.append(file.absolute_path)

    def _note_problem(self, looked: _Looked) -> None:
        assert looked.problem is not None
        self._report.looked_at += 1
        code = looked.problem.code
        if code in _LEFT:
            self._report.left[code] = self._report.left.get(code, 0) + 1
        else:
            self._note_failure(looked.file.absolute_path, code, looked.problem.message)

    def _note_failure(self, path: str, code: str, reason: str) -> None:
        report = self._report
        report.failed += 1
        report.reasons[code] = report.reasons.get(code, 0) + 1
        if len(report.failures) < _MAX_LISTED:
            report.failures.append(Failure(path, code, reason))


def _aborted(report: OffloadReport, message: str, hint: str | None) -> OffloadAborted:
    return OffloadAborted(report, CatalogSyncError(message, hint=hint))


def _not_proven(file: LocalFile, held: Held, wanted: int) -> NotRemoved:
    said = [
        f"{f.backend}: {f.verdict.kind if f.verdict else f.error.message if f.error else '?'}"
        for f in held.others
    ]
    return NotRemoved(
        f"{file.absolute_path} stays: {held.copies} of {wanted} copies proven"
        f" ({'; '.join(said) or 'the others are the same objects'})",
        code="NotProven",
        hint="`verify --repair` mends what is missing or damaged",
    )


def _counted_as_one(report: OffloadReport) -> list[str]:
    same = [f"{', '.join(names)} are the same store" for names in report.same]
    return same + [
        f"{u.one} and {u.other} are not proven to be two{f' ({u.why})' if u.why else ''}"
        for u in report.unproven
    ]


def _overtaken(file: LocalFile) -> NotRemoved:
    return NotRemoved(
        f"{file.absolute_path} stays: another process has recorded something else of it meanwhile",
        code="Changed",
        hint="run this again",
    )


class _Rooms:
    """How much is free where the roots are: at first, and with what has gone since.

    Not asked again: where snapshots keep what is deleted, nothing would ever seem to become free,
    and everything would go.
    """

    def __init__(self, report: OffloadReport, roots: Sequence[str]) -> None:
        self._report = report
        self._by_root: dict[str, Room | NotRemoved] = {}
        self._by_device: dict[int, Room] = {}
        for root in roots:
            self._of(root)

    def missing(self, file: LocalFile) -> NotRemoved | None:
        """Why nothing can be said of the file's root, if so."""
        found = self._of(file.root)
        return found if isinstance(found, NotRemoved) else None

    def enough(self, file: LocalFile) -> bool:
        """Whether there is as much room as was asked for where the file lies."""
        found = self._of(file.root)
        return self._report.goal is not None and (
            isinstance(found, Room) and found.free >= self._report.goal
        )

    def enough_with(self, file: LocalFile, others: Sequence[_Item]) -> bool:
        """Whether there will be, once these others are gone."""
        here = self._of(file.root)
        if self._report.goal is None or not isinstance(here, Room):
            return False
        coming = sum(f.size_bytes for f, *_ in others if self._of(f.root) is here)
        return here.free < self._report.goal <= here.free + coming

    @property
    def all_enough(self) -> bool:
        """Whether nothing needs to go any more."""
        goal = self._report.goal
        return goal is not None and all(r.free >= goal for r in self._by_device.values())

    def add(self, file: LocalFile) -> None:
        """The file is gone, or would be."""
        found = self._of(file.root)
        if isinstance(found, Room):
            found.free += file.size_bytes

    def _of(self, root: str) -> Room | NotRemoved:
        if root not in self._by_root:
            self._by_root[root] = self._look_up(root)
        return self._by_root[root]

    def _look_up(self, root: str) -> Room | NotRemoved:
        try:
            device = Path(root).stat().st_dev
            free = shutil.disk_usage(root).free
        except OSError as error:
            return NotRemoved(
                f"library root {root} is not there: {error.strerror}",
                code="RootMissing",
                hint="is its disk mounted?",
            )
        if device not in self._by_device:
            self._by_device[device] = Room(root, free, free)
            self._report.rooms.append(self._by_device[device])
        return self._by_device[device]
