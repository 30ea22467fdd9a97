"""Which library root the next file goes to: the first that has room, and what if none has."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.files import is_remembered
from catalogsync_assets.core.catalog.legacy import insert_row
from catalogsync_assets.core.catalog.roots import known_roots, require_apart, take_back
from catalogsync_assets.core.catalog.schema import download_roots
from catalogsync_assets.core.errors import CatalogSyncError, LibraryError, NoRoomError
from catalogsync_assets.core.files import partial
from catalogsync_assets.core.library.root_scan import require_filled
from catalogsync_assets.core.library.walk import walk
from catalogsync_assets.core.settings import library_roots, overlap

#: Bytes that are left free on a disk.
DEFAULT_RESERVE = 256 * 1024 * 1024


@dataclass(frozen=True)
class Question:
    """What a person is asked when every library root is full."""

    full: Sequence[Path]  #: the roots
    needed: int  #: bytes that the next file needs; 0 if that is unknown
    #: Why the folder that was just named cannot be used; None when asking first.
    trouble: str | None = None


#: Asks for a folder, and blocks until there is an answer; None for none. Never called by two
#: threads at once, nor again once it has returned None.
Ask = Callable[[Question], "Path | None"]


class Disks:
    """The library roots of a run, in the order in which they are filled. Thread-safe.

    Attributes:
        waiting: workers that wait for a person to name a folder.
    """

    def __init__(
        self,
        catalog: Catalog,
        roots: Sequence[Path],
        *,
        ask: Ask | None = None,
        reserve_bytes: int = DEFAULT_RESERVE,
        allow_empty: bool = False,
    ) -> None:
        """
        Args:
            roots: see `settings.library_roots`; those that were named in earlier runs when these
                were full come behind them.
            ask: called when all are full; None if nobody can be asked.
            reserve_bytes: left free on each disk.
            allow_empty: accept that a root with known files now holds none at all.

        Raises:
            LibraryError: a root cannot be read, or looks unmounted.
        """
        self._catalog = catalog
        self._ask = ask
        self._left_free = reserve_bytes
        self._lock = threading.RLock()
        self._asking = threading.Lock()
        self.waiting = 0
        self._refused: NoRoomError | None = None
        self._full: set[Path] = set()
        self._reserved: dict[Path, dict[str, int]] = {}
        self._roots = list(roots)
        for root in remembered_roots(catalog):
            if root.is_dir() and not any(overlap(root, given) for given in roots):
                self._roots.append(root)
        for root in self._roots:
            if not allow_empty:
                # What was downloaded into the mount point of a missing disk would make the next
                # scan take all the files of that disk for deleted.
                require_filled(catalog, root, walk(root))
            take_back(catalog, str(root))

    @property
    def roots(self) -> list[Path]:
        """All of them, those that were named during the run included."""
        with self._lock:
            return list(self._roots)

    def is_remembered(self, root: Path, path: str, sha256: str) -> bool:
        """Whether a path below a root belongs to another content that is not there now."""
        return is_remembered(self._catalog, str(root), path, sha256)

    def reserve(self, name: str, needed: int) -> Path:
        """The root that a file goes to, with `needed` bytes reserved for it.

        The one with its partial file, else the first with room. Asks if there is none; meanwhile
        others that need room wait.

        Args:
            name: of the partial file.
            needed: bytes of the whole; 0 if unknown.

        Raises:
            NoRoomError: every root is full, and nobody names another.
        """
        while True:
            with self._lock:
                here = {root: partial.size_of(root, name) for root in self._roots}
                # A root with the partial file comes first; sorting keeps the order otherwise.
                for root in sorted(self._roots, key=lambda r: here[r] is None):
                    missing = max(needed - (here[root] or 0), 0)
                    if self.fits(root, name, missing):
                        return root
                before = len(self._roots)
                self.waiting += 1
            try:
                self._ask_for_more(before, needed)
            finally:
                with self._lock:
                    self.waiting -= 1

    def fits(self, root: Path, name: str, missing: int) -> bool:
        """Whether there is room for these bytes; if so, they are reserved."""
        with self._lock:
            if not self._fits(root, name, missing):
                return False
            self._reserved.setdefault(root, {})[name] = missing
            return True

    def written(self, root: Path, name: str, missing: int) -> None:
        """So many bytes are still missing: the others of those reserved are on the disk by now."""
        self._reserved[root][name] = missing

    def leave(self, root: Path, name: str) -> None:
        """Nothing more will be written there under this name."""
        with self._lock:
            self._reserved.get(root, {}).pop(name, None)

    def mark_full(self, root: Path) -> None:
        """The disk, or a quota, has refused more: nothing more goes there in this run."""
        with self._lock:
            self._full.add(root)

    def _fits(self, root: Path, name: str, needed: int) -> bool:
        if root in self._full:
            return False
        try:
            found = os.statvfs(root)
        except OSError as error:
            raise LibraryError(
                f"library root {root} cannot be reached: {error.strerror}",
                hint="check that its disk is mounted",
            ) from error
        device = root.stat().st_dev
        reserved = sum(
            sum(left for other, left in files.items() if other != name)
            for place, files in self._reserved.items()
            if place == root or place.stat().st_dev == device
        )
        free = found.f_bavail * found.f_frsize - self._left_free - reserved
        return free >= max(needed, 1)

    def _ask_for_more(self, before: int, needed: int) -> None:
        """Have one more root, or raise; one thread asks, the others wait and look again."""
        with self._asking:
            if self._refused is not None:
                raise self._refused
            with self._lock:
                full = list(self._roots)
            if len(full) > before:
                return
            root = self._answer(full, needed)
            if root is None:
                names = ", ".join(map(str, full))
                size = f"{needed:,} bytes" if needed else "of unknown size"
                self._refused = NoRoomError(
                    f"no room for the next file ({size}) in {names}",
                    hint="free some space, or name another folder with --library-root"
                    " (in Dagster: library_roots); the rest stays queued",
                )
                raise self._refused
            _remember_root(self._catalog, root)
            take_back(self._catalog, str(root))
            with self._lock:
                self._roots.append(root)

    def _answer(self, full: Sequence[Path], needed: int) -> Path | None:
        trouble: str | None = None
        while self._ask is not None:
            named = self._ask(Question(full, needed, trouble))
            if named is None:
                return None
            try:
                return self._checked(named, full, needed)
            except CatalogSyncError as error:
                trouble = error.message
        return None

    def _checked(self, named: Path, full: Sequence[Path], needed: int) -> Path:
        """The folder as a root, made if it is not there.

        Raises:
            CatalogSyncError: it cannot be used.
        """
        root = library_roots([*full, named])[-1]
        if root in full:
            raise NoRoomError(f"{root} is full, too")
        require_apart([root], known_roots(self._catalog))
        try:
            root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=root):
                pass
        except OSError as error:
            raise LibraryError(f"{root} cannot be written to: {error.strerror}") from error
        with self._lock:
            if not self._fits(root, "", needed):
                raise NoRoomError(f"{root} is full, too")
        return root


def remembered_roots(catalog: Catalog) -> list[Path]:
    """The folders that a person has named when all were full, in the order of that."""
    query = sa.select(download_roots.c.path).order_by(download_roots.c.id)
    with catalog.read() as connection:
        return [Path(path) for path in connection.scalars(query)]


def _remember_root(catalog: Catalog, root: Path) -> None:
    query = sa.select(download_roots.c.id).where(download_roots.c.path == str(root))
    with catalog.transaction() as connection:
        if connection.execute(query).first() is None:
            insert_row(connection, "download_roots", {"path": str(root)})
