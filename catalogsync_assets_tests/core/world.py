"""Everything that changes locations, in any order, and what presence must then be.

The truth is worked out here in Python from the rows, by another way than the product's SQL.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import strategies as st

from catalogsync_assets.core.catalog import files as library_rows
from catalogsync_assets.core.catalog import locations, remote_copies
from catalogsync_assets.core.catalog.backend_changes import remove
from catalogsync_assets.core.catalog.backends import register
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.files import FileFacts, Seen, known_files
from catalogsync_assets.core.catalog.locations import LocalPlace, Look, Stored
from catalogsync_assets.core.catalog.moved_files import Moved, record_moves
from catalogsync_assets.core.catalog.scope import EVERYTHING
from catalogsync_assets.core.catalog.upload_plan import enqueue
from catalogsync_assets.core.catalog.upload_queue import (
    Failed,
    Uploaded,
    UploadLease,
    UploadTask,
    record,
)
from catalogsync_assets.core.errors import CatalogError, ConflictError
from catalogsync_assets.core.files.opening import FileStat
from catalogsync_assets.core.stores.backend import ObjectBackend

Rows = Callable[..., list[Any]]
ROOT = "/music"
PRESENCE = (
    "SELECT song_id, backend_id, files_total, files_present, bytes_present, verified_at"
    " FROM song_backend_presence ORDER BY 1, 2"
)


def truth(catalog: Catalog, rows: Rows) -> list[tuple[Any, ...]]:
    """Presence as it must be, from the locations and file assets alone."""
    current = dict(
        rows(
            catalog,
            "SELECT id, song_id FROM file_assets"
            " WHERE superseded_by_id IS NULL AND song_id IS NOT NULL",
        )
    )
    places = rows(
        catalog,
        "SELECT file_asset_id, backend_id, verified_at FROM file_locations WHERE status = 'active'"
        " ORDER BY id",
    )
    lost = rows(
        catalog,
        "SELECT l.file_asset_id FROM file_locations l JOIN storage_backends b"
        " ON b.id = l.backend_id WHERE l.status = 'damaged'"
        " OR (l.status = 'missing' AND b.backend_type = 'object_storage')",
    )
    local: dict[int, set[str]] = {}
    for asset, status in rows(
        catalog,
        "SELECT l.file_asset_id, l.status FROM file_locations l JOIN storage_backends b"
        " ON b.id = l.backend_id WHERE b.backend_type = 'local' AND l.status <> 'superseded'",
    ):
        local.setdefault(asset, set()).add(status)
    existing = {asset for asset in [*(p[0] for p in places), *lost] if asset in current}
    existing -= {asset for asset, of in local.items() if of <= {"excluded", "forgotten"}}
    backends = rows(catalog, "SELECT id FROM storage_backends WHERE removed_at IS NULL")
    sizes = dict(rows(catalog, "SELECT id, size_bytes FROM file_assets"))
    result = []
    for song in sorted({current[asset] for asset in existing}):
        files = [asset for asset in existing if current[asset] == song]
        for backend in backends:
            here = {asset for asset, at, _ in places if asset in files and at == backend}
            # Of several places of a file there, the oldest one tells.
            oldest = {asset: when for asset, at, when in reversed(places) if at == backend}
            verified = [oldest[asset] for asset in here if oldest[asset]]
            size = sum(sizes[asset] for asset in here)
            row = (song, backend, len(files), len(here), size, min(verified, default=None))
            result.append(row)
    return sorted(result)


class World:
    """Everything that changes locations, to be called in any order."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.backends = [
            register(self.catalog, ObjectBackend(name=name, bucket="bucket"))[0]
            for name in ("one", "two")
        ]
        self._leases = [UploadLease(self.catalog, backend) for backend in self.backends]
        self._held: list[tuple[int, UploadTask]] = []

    def write(self, file: int) -> None:
        """A scan finds file `file` new or changed. Files 0 and 1 are of one song, 2 and 3, ..."""
        known = {k.path: k for k in known_files(self.catalog, ROOT)}
        path = f"{file}.flac"
        facts = FileFacts(
            path=path,
            absolute_path=f"{ROOT}/{path}",
            size_bytes=10**file,
            mtime_ns=1,
            format="flac",
            song={
                "title": f"song {file // 2}",
                "artist": None,
                "album": None,
                "track_number": None,
                "disc_number": None,
                "duration_seconds": None,
                "match_key": f"key {file // 2}",
            },
            replaces=known.get(path),
        )
        library_rows.record_files(self.catalog, ROOT, [facts])

    def _known(self, file: int) -> Any:
        return next((k for k in known_files(self.catalog, ROOT) if k.path == f"{file}.flac"), None)

    def lose(self, file: int) -> None:
        if known := self._known(file):
            locations.mark(self.catalog, [known.location_id], "gone")

    def find(self, file: int) -> None:
        if known := self._known(file):
            library_rows.mark_seen(
                self.catalog, ROOT, [Seen(known, FileStat(known.size_bytes or 0, 2))]
            )

    def claim(self, backend: int) -> None:
        """Uploads begin; what happens until they end, happens meanwhile."""
        enqueue(self.catalog, self.backends[backend])
        self._held += [(backend, t) for t in self._leases[backend].claim(EVERYTHING, 2)]

    def finish(self, well: bool) -> None:
        if not self._held:
            return
        backend, task = self._held.pop()
        result: Uploaded | Failed = (
            Uploaded(task, f"{task.file_asset_id:064x}", None, "head", adopted=False)
            if well
            else Failed(task, "X", "x")
        )
        record(self.catalog, self.backends[backend], self._leases[backend].owner, [result])

    def object_is(self, file_and_status: tuple[int, Any]) -> None:
        """A verification finds an object on the first backend gone, or damaged, or true again."""
        file, status = file_and_status
        with self.catalog.read() as connection:
            found = connection.scalars(
                sa.text(
                    "SELECT id FROM file_locations WHERE backend_id = :backend AND locator = :key"
                ),
                {"backend": self.backends[0].id, "key": f"{file}.flac"},
            ).all()
        event: Any = {"active": "verified", "missing": "lost", "damaged": "damaged"}[status]
        locations.mark(self.catalog, found, event, how="read")
        locations.mark(self.catalog, found, "verified", only="active", how="read")

    def withdraw(self, file: int) -> None:
        if known := self._known(file):
            place = self.backends[file % 2], f"{file}.flac"
            with suppress(ConflictError):  # another file was adopted there
                locations.withdraw_at(self.catalog, *place, known.file_asset_id)

    def leave_out(self, file: int) -> None:
        """A rule of the library leaves a file out."""
        if known := self._known(file):
            locations.mark(self.catalog, [known.location_id], "excluded")

    def forget(self, file: int) -> None:
        """A person wants no more of a file, or of the root that it is below."""
        if known := self._known(file):
            locations.mark(self.catalog, [known.location_id], "forgotten")

    def download(self, file: int) -> None:
        """What a path held comes back to it by a download."""
        if known := self._known(file):
            back = FileFacts(known.path, f"{ROOT}/{known.path}", 1, 3, "flac", {}, sha256="d" * 64)
            with self.catalog.transaction() as connection:
                connection.execute(
                    sa.text("UPDATE file_assets SET sha256 = :sha256 WHERE id = :id"),
                    {"sha256": back.sha256, "id": known.file_asset_id},
                )
                library_rows.bring_back(connection, ROOT, [back])

    def offload(self, file_and_event: tuple[int, Any]) -> None:
        """A local file is about to be removed; it is; or it stays."""
        file, event = file_and_event
        if known := self._known(file):
            locations.mark(self.catalog, [known.location_id], event)

    def suspect(self, file: int) -> None:
        """A scan finds other bytes, and nothing that says that they were edited."""
        if known := self._known(file):
            locations.mark_suspected(self.catalog, [(known.location_id, FileStat(7, 7))])

    def move(self, file_and_read: tuple[int, bool]) -> None:
        """A scan finds the file in a folder that it was not in, or back from there."""
        file, read = file_and_read
        inner = f"inner/{file}.flac"
        here = [k for k in known_files(self.catalog, ROOT) if k.path in (f"{file}.flac", inner)]
        for known in here[:1]:
            path = inner if known.path != inner else f"{file}.flac"
            moved = Moved(known, ROOT, path, FileStat(8, 8), "f" * 64 if read else None)
            record_moves(self.catalog, [moved])

    def restore(self, file_and_path: tuple[int, int]) -> None:
        """A file is brought back, perhaps to a path that the catalog thinks another has."""
        file, path = file_and_path
        if known := self._known(file):
            name = f"{path}.flac"
            place = LocalPlace(
                known.file_asset_id, ROOT, name, f"{ROOT}/{name}", 5, 4, sha256="e" * 64
            )
            with self.catalog.transaction() as connection:
                locations.record_restored(connection, ROOT, [place])

    def look(self, file_and_event: tuple[int, Any]) -> None:
        """An audit has looked at the objects of a file, a while ago."""
        file, event = file_and_event
        assets = [known.file_asset_id] if (known := self._known(file)) else []
        with self.catalog.transaction() as connection:
            copies = remote_copies.copies_of(connection, assets, damaged=True).values()
            found = [Look(copy, event, "etag", "read") for each in copies for copy in each]
            assert locations.record_looks(connection, found) == [True] * len(found)
            stale = [Look(look.copy._replace(etag="old"), "lost") for look in found]
            assert locations.record_looks(connection, stale) == [False] * len(found)

    def prune(self, file_and_ends: tuple[int, Any]) -> None:
        """The objects of a file are about to be deleted; they are; or they stay."""
        file, ends = file_and_ends
        assets = [known.file_asset_id] if (known := self._known(file)) else []
        with self.catalog.transaction() as connection:
            found = sa.text(
                "SELECT id FROM file_locations"
                " WHERE library_path IS NULL AND file_asset_id = :asset"
            )
            ids = [i for a in assets for i in connection.scalars(found, {"asset": a})]
            if ends == "stays":
                locations.spare(connection, ids)
            else:
                locations.apply(connection, ends, ids)

    def adopt(self, file_and_key: tuple[int, int]) -> None:
        """A file is found at a key of the first backend, perhaps at that of another one."""
        file, key = file_and_key
        if known := self._known(file):
            stored = Stored(known.file_asset_id, f"{key}.flac", 5, f"{file}" * 64, None, "read")
            with self.catalog.transaction() as connection:
                locations.record_stored(connection, self.backends[0], [stored])

    def say(self, file_and_key: tuple[int, int]) -> None:
        """An object says to hold a file; nobody has verified that."""
        file, key = file_and_key
        if known := self._known(file):
            said = Stored(known.file_asset_id, f"{key}.flac", 5, f"{file}" * 64, None, None)
            with self.catalog.transaction() as connection:
                locations.record_stored(connection, self.backends[0], [said])

    def retire(self, backend: int) -> None:
        """A person takes a backend out, and registers its bucket again, under the same name."""
        old = self.backends[backend]
        remove(self.catalog, old)
        self.backends[backend], is_new = register(self.catalog, replace(old, id=0))
        assert is_new
        for held, task in self._held:
            if held == backend:  # an upload was under way
                done = Uploaded(task, f"{task.file_asset_id:064x}", None, "head", adopted=False)
                with pytest.raises(CatalogError, match="removed meanwhile"):
                    record(self.catalog, old, self._leases[backend].owner, [done])
        self._held = [(held, task) for held, task in self._held if held != backend]
        self._leases[backend] = UploadLease(self.catalog, self.backends[backend])


FILES = st.integers(0, 2)
EVENTS = st.one_of(
    st.tuples(st.just("write"), FILES),
    st.tuples(st.just("lose"), FILES),
    st.tuples(st.just("find"), FILES),
    st.tuples(st.just("withdraw"), FILES),
    st.tuples(
        st.just("object_is"),
        st.tuples(FILES, st.sampled_from(["active", "missing", "damaged"])),
    ),
    st.tuples(st.just("leave_out"), FILES),
    st.tuples(st.just("suspect"), FILES),
    st.tuples(st.just("move"), st.tuples(FILES, st.booleans())),
    st.tuples(st.just("forget"), FILES),
    st.tuples(st.just("download"), FILES),
    st.tuples(
        st.just("offload"), st.tuples(FILES, st.sampled_from(["offload", "kept", "offloaded"]))
    ),
    st.tuples(st.just("restore"), st.tuples(FILES, FILES)),
    st.tuples(st.just("look"), st.tuples(FILES, st.sampled_from(["verified", "lost", "damaged"]))),
    st.tuples(st.just("prune"), st.tuples(FILES, st.sampled_from(["prune", "pruned", "stays"]))),
    st.tuples(st.just("adopt"), st.tuples(FILES, FILES)),
    st.tuples(st.just("say"), st.tuples(FILES, FILES)),
    st.tuples(st.just("claim"), st.integers(0, 1)),
    st.tuples(st.just("retire"), st.integers(0, 1)),
    st.tuples(st.just("finish"), st.just(True)),
    st.tuples(st.just("finish"), st.booleans()),
)


BEGINNING = [("write", 0), ("write", 1), ("write", 2), ("claim", 0)]
