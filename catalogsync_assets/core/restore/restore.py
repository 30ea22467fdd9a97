"""Brings files back from backends, many at a time: plan in pages, fetch, record.

Order, for every file: whole and compared with its digest, then its name, then its row. A run may
end at any moment; the next one fetches only what is not there yet.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from catalogsync_assets.core.backends.connections import Connections
from catalogsync_assets.core.backends.replicas import Replicas
from catalogsync_assets.core.catalog.backends import catalog_id
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.roots import known_roots, require_apart, take_back
from catalogsync_assets.core.catalog.scope import EVERYTHING, Scope
from catalogsync_assets.core.errors import CatalogSyncError, LibraryError, RestoreError
from catalogsync_assets.core.library import removal
from catalogsync_assets.core.library.root_scan import require_filled
from catalogsync_assets.core.library.walk import walk
from catalogsync_assets.core.restore import queries
from catalogsync_assets.core.restore.file import DEFAULT_RESERVE, Brought, Restorer
from catalogsync_assets.core.restore.queries import WantedFile
from catalogsync_assets.core.runner.report import MOST_LISTED, Failure, RunReport
from catalogsync_assets.core.runner.run import Run, reporting
from catalogsync_assets.core.settings import library_roots
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.sdk import DEFAULT_WORKERS


@dataclass
class RestoreReport(RunReport[Failure]):
    """What a restore did. `failed` are files that are not there, `Conflict` among them."""

    root: str  #: the library root
    dry_run: bool  #: nothing was fetched or written; `restored` is what would be
    workers: int
    #: That were asked for.
    files: int = 0
    bytes_in_all: int = 0
    restored: int = 0  #: files fetched, compared with their digest, placed and recorded
    adopted: int = 0  #: files that were there, with the very content, and are recorded now
    present: int = 0  #: files that were there, as the catalog has them
    bytes: int = 0  #: of the restored files
    received: int = 0  #: bytes that have come, those included that came in vain
    settled_bytes: int = 0  #: of files of which it is known what became of them
    retries: int = 0  #: tries that had to be repeated
    #: Of each that was read from, how many files.
    backends: dict[str, int] = field(default_factory=dict)
    #: What was wrong with copies, at most 1,000, where another one was good.
    troubles: list[str] = field(default_factory=list)


Progress = Callable[[RestoreReport], None]


def restore(
    catalog: Catalog,
    root: Path,
    *,
    scope: Scope = EVERYTHING,
    missing: bool = False,
    backend: ObjectBackend | None = None,
    dry_run: bool = False,
    allow_empty: bool = False,
    workers: int | None = None,
    attempts: int = 5,
    reserve_bytes: int = DEFAULT_RESERVE,
    progress: Progress = lambda _: None,
    connect: Callable[[ObjectBackend], StoreClient] = StoreClient,
) -> RestoreReport:
    """Bring current files below a library root, from whichever backend has them.

    May be called again at any time. Never writes over a file.

    Args:
        root: made if it is not there; need not be one that was scanned before.
        scope: which files. Those that are left out of the library or were forgotten are brought
            back only if it names their songs one by one.
        missing: of those, only files that are below no root, as far as the catalog knows.
        backend: read from this one only; else, per file, from the one that was verified last, and
            from the next where that fails; in the end from copies that were found damaged.
        dry_run: only say what would be done, speaking to no store.
        allow_empty: accept that a root with known files now holds none at all.
        workers: files on their way at a time; by default the backend's, else 16.
        attempts: tries of one object that bring nothing, before another copy is taken.
        reserve_bytes: left free on the disk.

    Returns:
        What was done. Single files that failed are in it and do not raise.

    Raises:
        ConfigurationError: the root overlaps one that was scanned before.
        LibraryError: the root cannot be written to, or looks unmounted; or files are being
            offloaded just now.
        StoreError: `backend` refuses us, or does not answer.
        RunAborted: the disk is full, or the catalog cannot be written.
    """
    (root,) = library_roots([root])
    _require_usable(catalog, root, allow_empty=allow_empty, dry_run=dry_run)
    chosen = workers or (backend.workers if backend else None) or DEFAULT_WORKERS
    only = None if backend is None else backend.id
    pages = queries.wanted_files(catalog, str(root), scope, missing=missing, backend_id=only)
    report = RestoreReport(str(root), dry_run, chosen)
    report.files, report.bytes_in_all = queries.count_wanted(catalog, scope, missing=missing)
    stop = threading.Event()
    replicas = Replicas(catalog, Connections(connect, chosen, attempts, stop))
    prefix = f"{catalog_id(catalog)}-restore-"
    restorer = Restorer(root, replicas, prefix, reserve_bytes, dry_run)
    run = _Run(catalog, report, scope, replicas, restorer, progress, stop)
    if dry_run:
        return run.execute(pages)
    if backend is not None and report.files:
        replicas.client(backend.id).probe()
    removal.recover_if_alone(catalog, str(root))
    with removal.no_removal(catalog) as right:
        if not right:
            raise LibraryError(
                f"another process removes files of the catalog {catalog.path}",
                hint="wait for it, then restore",
            )
        return run.execute(pages)


def restore_replaced(
    catalog: Catalog,
    folder: Path,
    *,
    scope: Scope = EVERYTHING,
    backend: ObjectBackend | None = None,
    dry_run: bool = False,
    workers: int | None = None,
    attempts: int = 5,
    reserve_bytes: int = DEFAULT_RESERVE,
    progress: Progress = lambda _: None,
    connect: Callable[[ObjectBackend], StoreClient] = StoreClient,
) -> RestoreReport:
    """Bring contents that edits have replaced into a folder, as far as backends have kept them.

    Each gets a name of its own, with the day of the edit; nothing is written over, and nothing is
    recorded: what becomes of them is for a person to say. May be called again at any time.

    Args:
        folder: made if it is not there.

    Other arguments, what is returned and raised: as of `restore`.

    Raises:
        LibraryError: the folder cannot be made.
    """
    chosen = workers or (backend.workers if backend else None) or DEFAULT_WORKERS
    only = None if backend is None else backend.id
    report = RestoreReport(str(folder), dry_run, chosen)
    for page in queries.replaced_files(catalog, scope, backend_id=only):
        report.files += len(page)
        report.bytes_in_all += sum(file.size_bytes or 0 for file in page)
    stop = threading.Event()
    replicas = Replicas(catalog, Connections(connect, chosen, attempts, stop))
    try:
        if not dry_run:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LibraryError(
            f"the folder {folder} cannot be made: {error.strerror}", hint="name another with --to"
        ) from error
    restorer = Restorer(
        folder, replicas, f"{catalog_id(catalog)}-replaced-", reserve_bytes, dry_run
    )
    run = _Run(catalog, report, scope, replicas, restorer, progress, stop, records=False)
    return run.execute(queries.replaced_files(catalog, scope, backend_id=only))


def _require_usable(catalog: Catalog, root: Path, *, allow_empty: bool, dry_run: bool) -> None:
    require_apart([root], known_roots(catalog))
    try:
        if not dry_run:
            root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=root):
                pass
            take_back(catalog, str(root))
        found = walk(root) if root.exists() else ()
    except OSError as error:
        raise LibraryError(
            f"library root {root} cannot be written to: {error.strerror}",
            hint="check its permissions, and that its disk is mounted",
        ) from error
    if not allow_empty:
        # What came into the mount point of a missing disk would be hidden once it is mounted.
        require_filled(catalog, root, found, verb="restore")


@dataclass(eq=False)
class _Run:
    """One call of `restore`."""

    _catalog: Catalog
    _report: RestoreReport
    _scope: Scope
    _replicas: Replicas
    _restorer: Restorer
    _progress: Progress
    _stop: threading.Event
    records: bool = True  #: whether the files are to be the library's

    def execute(self, pages: Iterator[list[WantedFile]]) -> RestoreReport:
        with reporting(self._report, self._progress):
            if not self._report.dry_run and self.records:
                wanted = partial(
                    queries.still_wanted, self._catalog, self._report.root, self._scope
                )
                self._restorer.remove_useless(wanted)
            self._run: Run[WantedFile, Brought, Brought] = Run(
                self._report,
                name="restore",
                workers=self._report.workers,
                stop=self._stop,
                claim=lambda: next(pages, None),
                work=self._restorer.restore,
                take=self._take,
                record=self._record,
                tick=self._tick,
            )
            try:
                self._run.execute()
            finally:
                self._count()
        return self._report

    def _count(self) -> None:
        self._report.retries = self._replicas.retries
        self._report.received = self._restorer.received

    def _tick(self) -> None:
        self._count()
        self._progress(self._report)

    def _take(self, file: WantedFile, outcome: Brought | BaseException) -> Brought | None:
        if isinstance(outcome, Brought):
            return outcome
        if isinstance(outcome, RestoreError):
            if not self._stop.is_set():  # else it was stopped, and goes on another time
                self._report.settled_bytes += file.size_bytes or 0
                self._report.note_failure(Failure(file.path, outcome.code, str(outcome)))
        elif isinstance(outcome, CatalogSyncError):
            self._run.end(outcome)
        else:
            raise outcome
        return None

    def _record(self, done: list[Brought]) -> None:
        report = self._report
        places = [b.place for b in done if b.place is not None]
        if places and self.records:
            read = [b.copy for b in done if b.copy is not None]
            queries.record(self._catalog, report.root, places, read)
        for file, place, copy, troubles in done:
            size = file.size_bytes or 0
            report.settled_bytes += size
            if copy is not None:
                report.restored += 1
                report.bytes += size if place is None else place.size_bytes
                name = self._replicas.name(copy.backend_id)
                report.backends[name] = report.backends.get(name, 0) + 1
            elif place is not None:
                report.adopted += 1
            else:
                report.present += 1
            report.troubles += troubles[: MOST_LISTED - len(report.troubles)]
