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

from catalogsync_assets.core.backends.replicas import Replicas
from catalogsync_assets.core.catalog.backends import catalog_id
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.files import known_roots
from catalogsync_assets.core.catalog.scope import EVERYTHING, Scope
from catalogsync_assets.core.errors import CatalogSyncError, LibraryError, RestoreError, RunAborted
from catalogsync_assets.core.library import removal
from catalogsync_assets.core.library.scan import require_apart, require_never_filled
from catalogsync_assets.core.library.walk import FoundFile, walk
from catalogsync_assets.core.restore import queries
from catalogsync_assets.core.restore.file import (
    DEFAULT_RESERVE,
    Brought,
    Restorer,
    no_copy,
)
from catalogsync_assets.core.restore.queries import RestoredFile, WantedFile
from catalogsync_assets.core.runner.report import MOST_LISTED, Failure, RunReport
from catalogsync_assets.core.runner.run import Run, reporting
from catalogsync_assets.core.settings import library_roots
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.clients import DEFAULT_WORKERS

RestoreAborted = RunAborted


@dataclass
class RestoreReport(RunReport[Failure]):
    """What a run did. While it runs, the same object is handed to `progress`.

    Attributes:
        root: the library root.
        dry_run: nothing was fetched or written; `restored` is what would be.
        files, bytes_in_all: that were asked for.
        restored: files fetched, compared with their digest, placed and recorded.
        adopted: files that were there, with the very content, and are recorded now.
        present: files that were there, as the catalog has them.
        failed: files that are not there, `Conflict` among them.
        bytes: of the restored files.
        received: bytes that have come, those included that came in vain.
        settled_bytes: of files of which it is known what became of them.
        retries: tries that had to be repeated.
        backends: of each that was read from, how many files.
        troubles: what was wrong with copies, at most 1,000, where another one was good.
    """

    root: str
    dry_run: bool
    workers: int
    files: int = 0
    bytes_in_all: int = 0
    restored: int = 0
    adopted: int = 0
    present: int = 0
    bytes: int = 0
    received: int = 0
    settled_bytes: int = 0
    retries: int = 0
    backends: dict[str, int] = field(default_factory=dict)
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
        scope: which files.
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
        RestoreAborted: the disk is full, or the catalog cannot be written.
    """
    (root,) = library_roots([root])
    _require_usable(catalog, root, allow_empty=allow_empty, dry_run=dry_run)
    chosen = workers or (backend.workers if backend else None) or DEFAULT_WORKERS
    pages = partial(
        queries.wanted_files,
        catalog,
        str(root),
        scope,
        missing=missing,
        backend_id=backend.id if backend else None,
    )
    report = RestoreReport(str(root), dry_run, chosen)
    report.files, report.bytes_in_all = queries.count_wanted(catalog, scope, missing=missing)
    stop = threading.Event()
    replicas = Replicas(catalog, connect, workers=chosen, attempts=attempts, stop=stop)
    run = _Run(catalog, root, report, replicas, reserve_bytes, progress, stop)
    if dry_run:
        return run.execute(pages())
    if backend is not None and report.files:
        replicas.client(backend.id).probe()
    removal.settle_if_alone(catalog, str(root))
    with removal.no_removal(catalog) as right:
        if not right:
            raise LibraryError(
                f"another process removes files of the catalog {catalog.path}",
                hint="wait for it, then restore",
            )
        return run.execute(pages())


def _require_usable(catalog: Catalog, root: Path, *, allow_empty: bool, dry_run: bool) -> None:
    require_apart([root], known_roots(catalog))
    try:
        if not dry_run:
            root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=root):
                pass
        empty = not root.exists() or not any(isinstance(f, FoundFile) for f in walk(root))
    except OSError as error:
        raise LibraryError(
            f"library root {root} cannot be written to: {error.strerror}",
            hint="check its permissions, and that its disk is mounted",
        ) from error
    if empty and not allow_empty:
        # What came into the mount point of a missing disk would be hidden once it is mounted.
        try:
            require_never_filled(catalog, root)
        except LibraryError as error:
            hint = "is its disk mounted? If they are really gone, restore with --allow-empty"
            raise LibraryError(error.message, hint=hint) from error


@dataclass(eq=False)
class _Run:
    """One call of `restore`."""

    catalog: Catalog
    root: Path
    report: RestoreReport
    replicas: Replicas
    reserve_bytes: int
    progress: Progress
    stop: threading.Event

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._restorer = Restorer(
            self.root,
            self.replicas,
            prefix=f"{catalog_id(self.catalog)}-restore-",
            received=self._note_received,
            reserve_bytes=self.reserve_bytes,
        )

    def execute(self, pages: Iterator[list[WantedFile]]) -> RestoreReport:
        with reporting(self.report, self.progress):
            if not self.report.dry_run:
                self._restorer.remove_useless(
                    partial(queries.still_wanted, self.catalog, str(self.root))
                )
            self._run: Run[WantedFile, Brought, tuple[WantedFile, Brought]] = Run(
                self.report,
                name="restore",
                workers=self.report.workers,
                stop=self.stop,
                claim=lambda: next(pages, None),
                work=self._plan if self.report.dry_run else self._restorer.restore,
                take=self._take,
                record=self._record,
                tick=self._tick,
                in_order=self.report.dry_run,
            )
            try:
                self._run.execute()
            finally:
                self.report.retries = self.replicas.retries
        return self.report

    def _plan(self, file: WantedFile) -> Brought:
        """What would become of a file, as far as that can be told without reading anything."""
        there = self._restorer.look(file, compare=False)
        if there is not None:
            return Brought(None)
        if not file.copies:
            raise no_copy(file)
        first = file.copies[0]
        backend = self.replicas.name(first.backend_id)
        trouble = (
            f"{file.path}: the only copy, on backend {backend!r}, was found damaged; it will be"
            " read and compared"
        )
        row = RestoredFile(
            file.file_asset_id,
            file.song_id,
            file.path,
            size_bytes=file.size_bytes or 0,
            mtime_ns=0,
            sha256="",
            location_id=first.location_id,
        )
        return Brought(row, backend, (trouble,) if first.status == "damaged" else ())

    def _tick(self) -> None:
        self.report.retries = self.replicas.retries
        self.progress(self.report)

    def _take(
        self, file: WantedFile, outcome: Brought | BaseException
    ) -> tuple[WantedFile, Brought] | None:
        if isinstance(outcome, Brought):
            return file, outcome
        if isinstance(outcome, RestoreError):
            if not self.stop.is_set():  # else it was stopped, and goes on another time
                self._fail(file, outcome)
        elif isinstance(outcome, CatalogSyncError):
            self._run.end(outcome)
        else:
            raise outcome
        return None

    def _record(self, done: list[tuple[WantedFile, Brought]]) -> None:
        rows: list[RestoredFile] = [b.file for _, b in done if b.file is not None]
        if rows and not self.report.dry_run:
            queries.record(self.catalog, str(self.root), rows)
        for file, brought in done:
            self._tally(file, brought)

    def _tally(self, file: WantedFile, brought: Brought) -> None:
        report = self.report
        report.settled_bytes += file.size_bytes or 0
        if brought.file is None:
            report.present += 1
        elif brought.backend is None:
            report.adopted += 1
        else:
            report.restored += 1
            report.bytes += brought.file.size_bytes
            report.backends[brought.backend] = report.backends.get(brought.backend, 0) + 1
        room = MOST_LISTED - len(report.troubles)
        report.troubles += brought.troubles[:room]

    def _fail(self, file: WantedFile, error: RestoreError) -> None:
        self.report.settled_bytes += file.size_bytes or 0
        self.report.note_failure(Failure(file.path, error.code, str(error)))

    def _note_received(self, size: int) -> None:
        with self._lock:
            self.report.received += size
