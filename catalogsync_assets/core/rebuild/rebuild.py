"""Makes a catalog anew of what a backend holds: `rebuild`.

In this order, so that a kill at any moment costs no more than what was on its way:

1. the newest good snapshot is copied, in one transaction (`snapshot`);
2. the store is listed, and each object that the catalog has not, or has otherwise, is looked at
   (`objects`); what was learned lies beside the catalog until the end (`staging`);
3. what they are is written (`record`);
4. what the snapshot says of other objects is held against the listing (`core/audit`).

Nothing is written to the store, but that it is this catalog's from now on, where it takes the old
one's place. What came of it are claims until a verification, or a restore, has read the objects.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from catalogsync_assets.core.backends.generation import confirm, look
from catalogsync_assets.core.backup.snapshots import (
    Snapshot,
    fetch_snapshot,
    list_snapshots,
    with_metadata,
)
from catalogsync_assets.core.catalog import presence
from catalogsync_assets.core.catalog.backends import (
    object_backends,
    read_config,
    take_over_id,
    write_config,
)
from catalogsync_assets.core.catalog.batches import DEFAULT_MAX_BYTES, DEFAULT_MAX_FILES
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.files import make_batches
from catalogsync_assets.core.catalog.roots import let_go_roots
from catalogsync_assets.core.errors import (
    CatalogError,
    RunAborted,
    UsageError,
)
from catalogsync_assets.core.files.atomic import FULL
from catalogsync_assets.core.rebuild.checking import Checking
from catalogsync_assets.core.rebuild.looking import Looking
from catalogsync_assets.core.rebuild.record import Recorded, follow_moves, record_objects
from catalogsync_assets.core.rebuild.report import Progress, RebuildReport
from catalogsync_assets.core.rebuild.snapshot import copy_snapshot
from catalogsync_assets.core.rebuild.staging import Item, Staging, discard
from catalogsync_assets.core.runner.limiter import ConcurrencyLimiter
from catalogsync_assets.core.runner.run import reporting
from catalogsync_assets.core.settings import passphrase
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.retry import Retries
from catalogsync_assets.core.stores.sdk import DEFAULT_WORKERS

#: In the backend's config, while a catalog is being made of it.
_STATE = "rebuild"
_ANY_FILE = "SELECT 1 FROM file_assets LIMIT 1"
#: Objects that are recorded in one transaction: short enough to show how far it is.
_PAGE = 500
#: The same of what is left after that, as it may have changed places with one another.
_TOGETHER = 5_000


class NothingThereError(CatalogError):
    """A backend holds no file of a library, and no snapshot: more likely it is another place."""


@dataclass(frozen=True)
class Request:
    """How a catalog is to be rebuilt."""

    with_snapshot: bool = True  #: False: from the objects alone
    #: Of several catalogs that have put objects there, the one that is lost; None for the only one.
    catalog_id: str | None = None
    #: Whether a person has confirmed that the old catalog is no more: the new one is it then, and
    #: takes its objects for its own.
    take_over: bool = False
    keep_layout: bool = True  #: whether the backend's layout becomes the one that a snapshot says


def rebuild(
    catalog: Catalog,
    backend: ObjectBackend,
    request: Request,
    *,
    dry_run: bool = False,
    workers: int | None = None,
    attempts: int = 5,
    progress: Progress = lambda _: None,
    connect: Callable[[ObjectBackend], StoreClient] = StoreClient,
) -> RebuildReport:
    """Fill a fresh catalog with what a backend holds.

    May be stopped at any moment and called again, until it has come to its end: it goes on with
    the snapshot that it began with.

    Args:
        catalog: one without files, or one that a call has begun to fill.
        backend: registered in it.
        dry_run: copy the snapshot and list the store, but look at no object. What is written is in
            `catalog`, which is the caller's to throw away.
        workers: objects looked at at a time; the backend's own number by default.
        attempts: tries of one request at most.
        progress: called with the report as it stands.
        connect: makes the client of the store.

    Returns:
        What was found. Objects that could not be looked at are in it and do not raise.

    Raises:
        UsageError: the catalog holds files already; or objects or snapshots are of several
            catalogs, and none was named.
        ConfigurationError: the snapshot is encrypted, and the passphrase is missing or another one.
        CatalogError: none of the snapshots can be used, or the catalog cannot be written.
        NothingThereError: there is nothing to make a catalog of; nothing was begun.
        RunAborted: the store refuses everything or has fallen silent.
    """
    count = workers or backend.workers or DEFAULT_WORKERS
    report = RebuildReport(backend.name, dry_run)
    with reporting(report, progress), closing(connect(replace(backend, workers=count))) as client:
        run = _Run(catalog, backend, request, client, report, count, attempts, progress, connect)
        run.execute()
    return report


def require_fillable(catalog: Catalog, name: str) -> None:
    """Raise a UsageError unless a catalog is empty, or a rebuild of this backend has begun there.

    Args:
        name: of the backend, which need not be registered.
    """
    if not catalog.scalar(_ANY_FILE):
        return
    with catalog.read() as connection:
        begun = any(
            isinstance(read_config(connection, backend.id).get(_STATE), dict)
            for backend in object_backends(catalog)
            if backend.name == name
        )
    if not begun:
        raise UsageError(
            f"the catalog {catalog.path} holds files already: a rebuild fills a new one",
            hint="was it rebuilt before, go on with `catalogsync restore`;"
            " else name a file that is not there yet with --db",
        )


@dataclass(eq=False)
class _Run:
    """One call of `rebuild`."""

    catalog: Catalog
    backend: ObjectBackend
    request: Request
    client: StoreClient
    report: RebuildReport
    workers: int
    attempts: int
    progress: Progress
    connect: Callable[[ObjectBackend], StoreClient]

    def execute(self) -> None:
        self._stop = threading.Event()
        limiter = ConcurrencyLimiter(self.workers)
        self._retry = Retries(attempts=self.attempts, pace=limiter, stop=self._stop)
        self._unnamed_root = f"s3://{self.backend.bucket}/{self.backend.base_prefix}".rstrip("/")
        report = self.report
        require_fillable(self.catalog, self.backend.name)
        state = self._state()
        self._retry(self.client.probe)
        report.resumed = state is not None
        if state is None:
            state = self._begin()
        self._of_catalog: str | None = state["catalog_id"]
        self._tell(state)
        place = self._beside("rebuild")
        try:
            self._fill(Staging(place))
        except (sqlite3.Error, OSError) as error:
            raise RunAborted(report, _of_disk(place, error)) from error

    def _fill(self, staging: Staging) -> None:
        """All that comes after the snapshot."""
        try:
            self._look_at_objects(staging)
            if not self.report.dry_run:
                self._settle_catalog(staging)
                self._record_objects(staging)
            self._require_something()
            if not self.report.dry_run:
                self._check()
        finally:
            staging.close()
        if not (self.report.failed or self.report.dry_run):
            self._finish(staging)

    def _require_something(self) -> None:
        report, backend = self.report, self.backend
        # In a dry run, what is no file by its name may be one by its owner's word.
        found = report.listed if report.dry_run else self.catalog.scalar(_ANY_FILE)
        if found or report.failed or report.snapshot is not None:
            return
        with self.catalog.transaction() as connection:
            self._write_state(connection, None)
        with suppress(OSError):
            discard(self._beside("rebuild"))
        place = f"bucket {backend.bucket!r}"
        if backend.base_prefix:
            place += f" below {backend.base_prefix!r}"
        what = (
            f"no file of a library among {report.listed:,} objects" if report.listed else "nothing"
        )
        raise NothingThereError(
            f"backend {backend.name!r}: there is {what} in {place} at {backend.endpoint or 'AWS'}",
            hint="are bucket, --base-prefix and --endpoint those that were uploaded to?",
        )

    def _beside(self, what: str) -> Path:
        return self.catalog.path.with_name(f"{self.catalog.path.name}.{what}")

    def _step(self, name: str) -> None:
        self.report.step = name
        self.progress(self.report)

    # --- what has been begun

    def _state(self) -> dict[str, Any] | None:
        with self.catalog.read() as connection:
            found = read_config(connection, self.backend.id).get(_STATE)
        return found if isinstance(found, dict) else None

    def _tell(self, state: dict[str, Any]) -> None:
        report = self.report
        report.snapshot, report.snapshot_at = state["snapshot"], state["snapshot_at"]
        report.catalog_id, report.taken_over = state["catalog_id"], state["taken_over"]

    def _write_state(self, connection: sa.Connection, state: dict[str, Any] | None) -> None:
        config = read_config(connection, self.backend.id)
        config.pop(_STATE, None)
        more = {} if state is None else {_STATE: state}
        write_config(connection, self.backend.id, {**config, **more})

    # --- the snapshot

    def _begin(self) -> dict[str, Any]:
        """Copy the newest good snapshot, if there is any to copy; what is to be remembered."""
        # Of a rebuild whose catalog was thrown away, of another bucket perhaps.
        place = self._beside("rebuild")
        try:
            discard(place)
        except OSError as error:
            raise RunAborted(self.report, _of_disk(place, error)) from error
        found = self._snapshots() if self.request.with_snapshot else []
        for snapshot in found:
            try:
                return self._copy(snapshot)
            except CatalogError as error:
                self.report.broken_snapshots.append(f"{snapshot.key}: {error.message}")
                self.progress(self.report)
        if found:
            raise CatalogError(
                f"backend {self.backend.name!r}: none of its {len(found)} snapshots can be used;"
                f" the newest, {self.report.broken_snapshots[0]}",
                hint="rebuild from the objects alone with --without-snapshot",
            )
        named = self.request.catalog_id
        state = _state_of(None, named, taken_over=False)
        with self.catalog.transaction() as connection:
            self._write_state(connection, state)
        return state

    def _snapshots(self) -> list[Snapshot]:
        """Those of one catalog, the newest first."""
        named = self.request.catalog_id
        found = list_snapshots(self.client, catalog_id=named, retry=self._retry, look=False)
        newest: dict[str, Snapshot] = {}
        for snapshot in found:
            newest.setdefault(snapshot.catalog_id, snapshot)
        if len(newest) > 1:
            listed = "; ".join(f"{i} ({s.made_at:%Y-%m-%d %H:%M})" for i, s in newest.items())
            raise UsageError(
                f"backend {self.backend.name!r} has snapshots of {len(newest)} catalogs: {listed}",
                hint="name the one that is lost with --catalog",
            )
        return found

    def _copy(self, snapshot: Snapshot) -> dict[str, Any]:
        report = self.report
        place = self._beside("snapshot")
        place.unlink(missing_ok=True)
        snapshot = with_metadata(self.client, snapshot, retry=self._retry)
        try:
            fetch_snapshot(self.client, snapshot, place, passphrase(), retry=self._retry)
        except OSError as error:
            raise RunAborted(report, _of_disk(place, error)) from error
        try:
            with self.catalog.transaction() as connection:
                copied = copy_snapshot(
                    place, connection, self.backend, unnamed_root=self._unnamed_root
                )
                if copied.catalog_id not in (None, snapshot.catalog_id):
                    raise CatalogError("it is of another catalog than its name says")
                if self.request.take_over:
                    take_over_id(connection, snapshot.catalog_id)
                state = _state_of(snapshot, snapshot.catalog_id, taken_over=self.request.take_over)
                self._write_state(connection, state)
                if self.request.keep_layout and copied.layout is not None:
                    config = read_config(connection, self.backend.id)
                    write_config(connection, self.backend.id, {**config, "layout": copied.layout})
                presence.refresh(connection)
        finally:
            place.unlink(missing_ok=True)
        report.songs, report.copied_files = copied.songs, copied.files
        report.playlists, report.refused_rows = copied.playlists, copied.refused
        report.other_backends = copied.others
        return state

    # --- the objects

    def _look_at_objects(self, staging: Staging) -> None:
        """List the store, and learn of each object that is not known what it is."""
        self._step("objects")
        looking = Looking(
            *(self.catalog, self.client, staging, self.report, self.workers),
            *(self._stop, self._retry, self.progress),
        )
        looking.execute()
        self._stop.clear()

    # --- the files

    def _settle_catalog(self, staging: Staging) -> None:
        """Of which catalog the objects are, where no snapshot has said it; and whether this is it
        from now on, where a person has said so since an earlier call."""
        report = self.report
        if self._of_catalog is None:
            owners = staging.owners()
            if self.request.take_over and len(owners) > 1:
                listed = "; ".join(f"{i} ({count:,} objects)" for i, count in owners.items())
                name = self.backend.name
                raise UsageError(
                    f"backend {name!r} has objects of {len(owners)} catalogs: {listed}",
                    hint="name the one that is lost with --catalog",
                )
            self._of_catalog = next(iter(owners), None)
        takes_over = self.request.take_over and self._of_catalog is not None
        if self._of_catalog == report.catalog_id and not (takes_over and not report.taken_over):
            return
        state = {
            "snapshot": report.snapshot,
            "snapshot_at": report.snapshot_at,
            "catalog_id": self._of_catalog,
            "taken_over": takes_over or report.taken_over,
        }
        with self.catalog.transaction() as connection:
            if takes_over and self._of_catalog is not None:
                take_over_id(connection, self._of_catalog)
            self._write_state(connection, state)
        self._tell(state)

    def _record_objects(self, staging: Staging) -> None:
        """Make files of what was learned, and compare what is otherwise than the snapshot says.

        What waits for another object comes to its turn in the next round.
        """
        self._step("files")
        report = self.report
        roots = let_go_roots(self.catalog) - {self._unnamed_root}
        root = roots.pop() if len(roots) == 1 else self._unnamed_root
        self._checking = Checking(self.catalog, self.client, report, self._retry)
        # First the files that are known, and their paths: what came to where one of them was is
        # no newer content of it.
        has_files = bool(self.catalog.scalar(_ANY_FILE))
        for only_known in (True, False) if has_files else (False,):
            record = partial(
                record_objects,
                *(self.catalog, self.backend),
                of_catalog=self._of_catalog,
                root=root,
                unnamed_root=self._unnamed_root,
                note_moved=staging.note_moved,
                only_known=only_known,
            )
            left = self._in_rounds(partial(self._record_pages, staging, record))
            report.left = left - len(self._checking.refused)
            self._in_rounds(partial(self._follow_pages, staging))

    def _in_rounds(self, pages: Callable[[int], Iterator[tuple[int, int]]]) -> int:
        """Go through what waits for one another, until nothing more comes of it; what is left.

        Args:
            pages: goes through it once, in pages of this size; gives how many were in each, and of
                how many of them something came.
        """
        for size in (_PAGE, _TOGETHER):
            went_on = True
            while went_on:
                went_on, left = False, 0
                for asked, settled in pages(size):
                    left += asked - settled
                    went_on |= bool(settled)
                    self.progress(self.report)
                if not left:
                    return 0
        return left

    def _record_pages(
        self, staging: Staging, record: Callable[..., Recorded], size: int
    ) -> Iterator[tuple[int, int]]:
        for page in staging.waiting(self._of_catalog, size):
            done = record(page)
            done.doubtful[:] = [d for d in done.doubtful if self._checking.compare(d[1])]
            settled = self._count(done)
            staging.settle([item.key for item in settled])
            yield len(page), len(settled)

    def _follow_pages(self, staging: Staging, size: int) -> Iterator[tuple[int, int]]:
        for page in staging.moved(size):
            done = follow_moves(self.catalog, self.backend, page)
            staging.drop_moved(done)
            yield len(page), len(done)

    def _count(self, done: Recorded) -> list[Item]:
        report = self.report
        report.new += len(done.new)
        report.joined += len(done.joined)
        report.bytes += sum(item.size_bytes for item in (*done.new, *done.joined))
        compared = [item for item, _ in done.doubtful]
        return [*done.new, *done.joined, *done.known, *compared]

    # --- what the snapshot says besides

    def _check(self) -> None:
        """Look at what is not there, though the snapshot says so.

        After that, nothing speaks against a catalog that has taken the old one's place.
        """
        self._step("check")
        report = self.report
        if report.taken_over:
            confirm(self.catalog, self.client, retry=self._retry)
        else:
            look(self.catalog, self.client, retry=self._retry)
        # What was looked at just now is there; what an earlier call has met need not be.
        if report.snapshot is not None or report.taken_over or report.resumed:
            self._checking.hold_against_listing(self.workers, self.connect)

    def _finish(self, staging: Staging) -> None:
        report = self.report
        report.batches = make_batches(
            self.catalog, max_files=DEFAULT_MAX_FILES, max_bytes=DEFAULT_MAX_BYTES
        )
        with self.catalog.transaction() as connection:
            presence.refresh(connection)
            self._write_state(connection, None)
        with suppress(OSError):
            discard(self._beside("rebuild"))
        self._step("done")


def _of_disk(place: Path, error: sqlite3.Error | OSError) -> CatalogError:
    if getattr(error, "errno", None) in FULL or _name_of(error) == "SQLITE_FULL":
        return CatalogError(
            f"the disk of {place.parent} is full",
            hint="free some space, then run it again: it goes on from there",
        )
    damaged = _name_of(error) in ("SQLITE_CORRUPT", "SQLITE_NOTADB")
    hint = "remove that file" if damaged else "see to the disk"
    return CatalogError(f"{place}: {error}", hint=f"{hint}, then run it again")


def _name_of(error: Exception) -> str | None:
    return getattr(error, "sqlite_errorname", None)


def _state_of(
    snapshot: Snapshot | None, catalog_id: str | None, *, taken_over: bool
) -> dict[str, Any]:
    """What is to be remembered from call to call."""
    return {
        "snapshot": snapshot and snapshot.key,
        "snapshot_at": snapshot and f"{snapshot.made_at:%Y-%m-%d %H:%M:%S}",
        "catalog_id": catalog_id,
        "taken_over": taken_over,
    }
