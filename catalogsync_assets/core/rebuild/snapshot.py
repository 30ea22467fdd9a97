"""Copies what a snapshot says into a fresh catalog.

A snapshot comes from a bucket: whoever may write there has made it. So its file is opened for
reading alone, nothing of its schema is believed or run, and each value is taken by its type, in
columns that are named here. What it says of files is claims: none of them counts as verified, and
of a local file none is taken to be there.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa

from catalogsync_assets.core.catalog import locations
from catalogsync_assets.core.catalog.backends import catalog_id_in, from_row, local_backend_id
from catalogsync_assets.core.catalog.legacy import insert_row, insert_sql
from catalogsync_assets.core.catalog.object_keys import fold
from catalogsync_assets.core.catalog.replication import EVERY_BACKEND
from catalogsync_assets.core.catalog.roots import note_lost
from catalogsync_assets.core.catalog.schema import metadata
from catalogsync_assets.core.catalog.version import SCHEMA_VERSION, VERSION_TABLE
from catalogsync_assets.core.errors import CatalogError, CatalogSyncError
from catalogsync_assets.core.rebuild.names import is_of_file, is_root, is_safe
from catalogsync_assets.core.stores.backend import LOCAL, OBJECT_STORAGE, ObjectBackend, validated

#: Tables whose rows are taken as they are, parents first. What is not here is made anew (presence,
#: upload tasks), is of a machine that is gone (leases, unfinished parts), or history (audits).
#: Download requests name addresses that this machine would call: a person imports them again.
_TABLES: dict[str, tuple[str, ...]] = {
    "playlist_pools": ("id", "name", "created_at"),
    "playlists": ("id", "name", "created_at", "file_asset_id", "unresolved"),
    "pool_playlists": ("pool_id", "playlist_id"),
    "artist_pools": ("id", "name", "created_at"),
    "artists": ("id", "name", "created_at"),
    "pool_artists": ("pool_id", "artist_id"),
    "songs": (
        *("id", "title", "artist", "album", "track_number", "disc_number", "duration_seconds"),
        *("match_key", "created_at", "updated_at"),
    ),
    "playlist_songs": ("playlist_id", "song_id", "position"),
    "playlist_entries": ("playlist_id", "position", "song_id", "manifest"),
    "artist_songs": ("artist_id", "song_id"),
    "batches": ("id", "key", "file_count", "size_bytes", "created_at"),
    "file_assets": (
        *("id", "song_id", "size_bytes", "sha256", "format", "duration_seconds", "object_key"),
        *("batch_id", "created_at", "updated_at", "tags_error", "tags_digest", "audio_digest"),
        *("recording_id", "release_track_id", "song_decided", "companion"),
    ),
    "library_policies": ("library_root", "required_copies", "updated_at"),
}
_PLACES = (
    *("id", "file_asset_id", "backend_id", "container_name", "locator", "status", "is_primary"),
    *("size_bytes", "mtime_ns", "library_root", "library_path", "etag", "missing_since"),
    *("created_at", "updated_at"),
)
#: Without these it is no catalog.
_NEEDED = ("songs", "file_assets", "file_locations", "storage_backends")
#: Of a text, in bytes. The longest that this program writes has 4,000.
_MAX_TEXT = 8 * 1024
#: Of a value, in bytes: the settings of a backend, and no more.
_MAX_VALUE = 256 * 1024
#: What is held in memory together: nobody has more of them.
_MAX_BACKENDS, _MAX_ROOTS = 256, 10_000
#: Of a row, as every database has it.
_MAX_ID = 2**31 - 1
_PAGE = 2_000
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?")
_HEX = re.compile(r"[0-9a-f]{16,128}")
_BATCH_KEY = re.compile(r"[a-z0-9_-]{1,100}")
_VERSION = re.compile(r"\d{4}")
#: What a statement may do while a snapshot is read.
_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION}

_IS_END = (
    "NOT EXISTS (SELECT 1 FROM file_assets t WHERE t.id = :superseded_by_id"
    " AND t.superseded_by_id IS NOT NULL)"
)

_LAST_UPLOAD = sa.text("UPDATE storage_backends SET last_success_at = :last WHERE id = :id")

Row = dict[str, Any]


@dataclass
class Copied:
    """What came of a snapshot."""

    catalog_id: str | None = None  #: of the catalog that it is of
    songs: int = 0
    files: int = 0  #: file assets
    playlists: int = 0
    #: Rows that were left out, and values that were, as they cannot be what they should be.
    refused: int = 0
    layout: str | None = None  #: of the backend that it is from
    #: The other backends that it names, with where they are: `name` -> endpoint and bucket.
    others: dict[str, str] = field(default_factory=dict)


def copy_snapshot(
    source: Path, connection: sa.Connection, backend: ObjectBackend, *, unnamed_root: str
) -> Copied:
    """Copy a snapshot's rows into an empty catalog, as a part of a transaction.

    Args:
        source: its SQLite file, which is left as it is.
        connection: of the catalog that is made, which has no songs yet.
        backend: the one that the snapshot is from, as it is registered there.
        unnamed_root: the root of files whose own is none.

    Raises:
        CatalogError: it is damaged, newer than this program, or no catalog.
    """
    try:
        with closing(_opened(source)) as old:
            return _Copying(old, connection, backend, unnamed_root).execute()
    except (sqlite3.Error, sa.exc.DBAPIError, sa.exc.StatementError, OverflowError) as error:
        raise _broken(str(getattr(error, "orig", None) or error)) from error


def _opened(source: Path) -> sqlite3.Connection:
    """For reading alone, with nothing in it run but what is asked here."""
    place = f"file:{quote(str(source))}?mode=ro&immutable=1"
    old = sqlite3.connect(place, uri=True, isolation_level=None)
    old.text_factory = lambda text: text.decode("utf-8", "replace")
    old.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 256 * _MAX_VALUE)
    for pragma in ("trusted_schema=OFF", "cell_size_check=ON", "mmap_size=0", "query_only=ON"):
        old.execute(f"PRAGMA {pragma}")
    found = old.execute("PRAGMA quick_check(1)").fetchone()
    if found is None or found[0] != "ok":
        raise _broken(str(found and found[0])[:200])
    old.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE)
    return old


@dataclass
class _Copying:
    old: sqlite3.Connection
    new: sa.Connection
    backend: ObjectBackend
    unnamed_root: str

    def execute(self) -> Copied:
        self._copied = Copied()
        self._tables = self._columns()
        self._require_known_version()
        self.old.set_authorizer(
            lambda action, *_: sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY
        )
        self._stores: dict[int, ObjectBackend] = {}  # by their ids here
        self._backends = self._copy_backends()
        for table, columns in _TABLES.items():
            self._copy(table, columns)
        self._copy_links()
        self._copy_places()
        self._let_roots_go()
        return self._copied

    def _columns(self) -> dict[str, set[str]]:
        """The columns of each table of it that is a plain one: no view, and none of a module's."""
        plain = "SELECT LOWER(name) FROM sqlite_master WHERE type = 'table' AND rootpage > 0"
        names = {name for (name,) in self.old.execute(plain)} & {*metadata.tables, VERSION_TABLE}
        # SQLite knows no case in names, and another program's database may have any.
        info = "SELECT LOWER(name) FROM pragma_table_xinfo(?) WHERE hidden = 0"
        found = {t: {c for (c,) in self.old.execute(info, (t,))} for t in sorted(names)}
        if not found.keys() >= set(_NEEDED):
            raise _broken("it is no catalog")
        return found

    def _require_known_version(self) -> None:
        version = ""
        if "version_num" in self._tables.get(VERSION_TABLE, ()):
            statement = f"SELECT version_num FROM {VERSION_TABLE}"  # noqa: S608
            rows = self.old.execute(statement).fetchmany(2)
            version = str(rows[0][0]) if len(rows) == 1 else ""
        if not _VERSION.fullmatch(version):
            raise _broken("it does not say of which version it is")
        if version > SCHEMA_VERSION:
            raise CatalogError(
                f"the snapshot was written by a newer catalogsync (schema {version}, this program"
                f" knows {SCHEMA_VERSION})",
                hint="upgrade catalogsync",
            )

    def _rows(
        self, table: str, columns: tuple[str, ...], *, size: int = _PAGE
    ) -> Iterator[list[Row]]:
        """The rows of a table, in pages; None for what is not of its column's type."""
        there = self._tables.get(table, set())
        types = metadata.tables[table].c
        asked = ", ".join(_typed(c, types[c].type) if c in there else "NULL" for c in columns)
        # Names of our own alone.
        found = self.old.execute(f"SELECT {asked} FROM {table}") if there else None  # noqa: S608
        while found is not None and (page := found.fetchmany(size)):
            yield [self._checked(dict(zip(columns, row, strict=True)), types) for row in page]

    def _checked(self, row: Row, types: Any) -> Row:
        for name, value in row.items():
            if value is not None and isinstance(types[name].type, sa.DateTime):
                row[name] = value if _is_time(value) else None
        return row

    def _insert(self, table: str, columns: tuple[str, ...], rows: list[Row]) -> int:
        """Insert what can be; how many that is. In an adopted database, rows may name others that
        are not there."""
        statement = insert_sql(self.new, table, columns)
        return self._taken(lambda some: self.new.exec_driver_sql(statement, some), rows)

    def _taken(self, insert: Callable[[list[Row]], object], rows: list[Row]) -> int:
        try:
            with self.new.begin_nested():
                insert(rows)
        except sa.exc.IntegrityError:
            if len(rows) > 1:
                return sum(self._taken(insert, [row]) for row in rows)
            self._copied.refused += 1
            return 0
        return len(rows)

    # --- backends

    def _copy_backends(self) -> dict[int, int]:
        """Take the backends over; by the old id of each, its id here."""
        columns = ("id", "name", "backend_type", "container_name", "config", "last_success_at")
        rows: list[Row] = []
        for page in self._rows("storage_backends", columns, size=_MAX_BACKENDS + 1):
            rows += page
            if len(rows) > _MAX_BACKENDS:
                raise _broken(f"it has more than {_MAX_BACKENDS} backends")
        ids: dict[int, int] = {}
        for row in rows:
            if row["backend_type"] == LOCAL and row["id"] is not None:
                ids[row["id"]] = local_backend_id(self.new)
                self._copied.catalog_id = self._copied.catalog_id or catalog_id_in(row["config"])
        known = [(row, b) for row in rows if (b := _backend_of(row)) is not None]
        same = [row for row, b in known if _place(b) == _place(self.backend)]
        same.sort(key=lambda row: row["name"] != self.backend.name)
        for row, found in known:
            if same and row is same[0]:
                self._copied.layout = found.layout
                ids[row["id"]] = self.backend.id
                last = {"last": row["last_success_at"], "id": self.backend.id}
                self.new.execute(_LAST_UPLOAD, last)
                self._stores[self.backend.id] = self.backend
                continue
            taken = "SELECT 1 FROM storage_backends WHERE name = :name"
            if self.new.scalar(sa.text(taken), {"name": found.name}):
                continue
            values = {
                "name": found.name,
                "backend_type": OBJECT_STORAGE,
                "container_name": found.bucket,
                "config": json.dumps(found.config()),
            }
            ids[row["id"]] = new = insert_row(self.new, "storage_backends", values)
            self._stores[new] = found
            self._copied.others[found.name] = f"bucket {found.bucket} at {found.endpoint or 'AWS'}"
        return ids

    # --- what is taken as it is

    def _copy(self, table: str, columns: tuple[str, ...]) -> None:
        more = ("object_key_fold",) if table == "file_assets" else ()
        met = taken = 0
        for page in self._rows(table, columns):
            rows = [row for row in page if self._is_taken(table, row)]
            met += len(page)
            taken += self._insert(table, (*columns, *more), rows) if rows else 0
        if (met - taken) * 10 > met:
            raise _broken(f"of {met:,} rows in {table} only {taken:,} can be taken")
        name = {"songs": "songs", "file_assets": "files", "playlists": "playlists"}.get(table)
        if name:
            setattr(self._copied, name, taken)

    def _is_taken(self, table: str, row: Row) -> bool:
        """Bring a row into order; whether it can be taken at all."""
        if not 0 < (1 if "id" not in row else row["id"] or 0) <= _MAX_ID:
            self._copied.refused += 1
            return False
        if table == "file_assets":
            for digest in ("sha256", "tags_digest", "audio_digest"):
                text = (row[digest] or "").lower()
                row[digest] = text if _HEX.fullmatch(text) else None
            if row["size_bytes"] is not None and row["size_bytes"] < 0:
                row["size_bytes"] = None
            if row["object_key"] is not None and not is_safe(row["object_key"]):
                self._copied.refused += 1
                row["object_key"] = None
            row["object_key_fold"] = row["object_key"] and fold(row["object_key"])
        elif table == "batches" and row["key"] is not None and not _BATCH_KEY.fullmatch(row["key"]):
            raise _broken("a batch has an impossible key")
        elif table == "library_policies" and not _is_policy(row):
            self._copied.refused += 1
            return False
        return True

    def _copy_links(self) -> None:
        """Which content has come in the stead of which, and which playlist is made from which file;
        once all files are there."""
        for table, columns, condition in (
            # Whoever follows them comes to an end: back goes one to what ends there, and no other.
            ("file_assets", ("superseded_by_id",), " AND :superseded_by_id > :id"),
            ("file_assets", ("superseded_by_id",), f" AND :superseded_by_id < :id AND {_IS_END}"),
            ("playlists", ("file_asset_id", "unresolved"), ""),
        ):
            link = columns[0]
            values = ", ".join(f"{column} = :{column}" for column in columns)
            update = (
                f"UPDATE {table} SET {values} WHERE id = :id"  # noqa: S608
                f" AND EXISTS (SELECT 1 FROM file_assets f WHERE f.id = :{link}){condition}"
            )
            for page in self._rows(table, ("id", *columns)):
                if rows := [row for row in page if row[link] is not None]:
                    self.new.exec_driver_sql(update, rows)

    # --- locations

    def _copy_places(self) -> None:
        local = local_backend_id(self.new)
        for page in self._rows("file_locations", _PLACES):
            rows = []
            for row in page:
                backend = self._backends.get(row["backend_id"])
                is_local = backend == local
                if backend is None or not (
                    self._is_path(row) if is_local else self._is_object(row, backend)
                ):
                    self._copied.refused += 1
                    continue
                row |= {"backend_id": backend, "is_local": is_local}
                row["is_listed"] = backend == self.backend.id
                rows.append(row)
            if rows:
                self._taken(lambda some: locations.insert_copied(self.new, some), rows)

    def _is_path(self, row: Row) -> bool:
        """Bring a local row into order; whether it can be one."""
        root, path = row["library_root"], row["library_path"]
        row |= {"absolute_path": None, "public_url": None, "etag": None}
        # Neither of its inode nor of its times is anything believed: it is to be read.
        row |= {"ctime_ns": 0, "inode": 0}
        if path is None:
            row["library_root"] = None
            return row["locator"] is not None
        if not is_safe(path):
            return False
        if root is None or not is_root(root):
            root = row["library_root"] = self.unnamed_root
        else:
            row["absolute_path"] = f"{root.rstrip('/')}/{path}"
        row["container_name"] = root
        return True

    def _is_object(self, row: Row, backend_id: int) -> bool:
        """The same of an object's."""
        key, store = row["locator"], self._stores[backend_id]
        row |= dict.fromkeys(
            ("absolute_path", "library_root", "library_path", "mtime_ns", "ctime_ns", "inode")
        )
        # Of a bucket that the backend had before, nothing is known here.
        if key is None or row["container_name"] not in (None, store.bucket):
            return False
        row |= {"container_name": store.bucket, "public_url": store.public_url(key)}
        return bool(key.startswith(store.key_prefix)) and is_of_file(
            key.removeprefix(store.key_prefix)
        )

    def _let_roots_go(self) -> None:
        """A root of a machine that is gone is no root here; but a scan looks for its files."""
        new = self.new
        names: dict[str, str | None] = {}
        for page in self._rows("library_roots", ("path", "name")):
            names |= {row["path"]: row["name"] for row in page}
            if len(names) > _MAX_ROOTS:
                raise _broken(f"it has more than {_MAX_ROOTS:,} library roots")
        distinct = "SELECT DISTINCT library_root FROM file_locations WHERE library_path IS NOT NULL"
        roots = new.scalars(sa.text(f"{distinct} LIMIT {_MAX_ROOTS + 1}")).all()
        if len(roots) > _MAX_ROOTS:
            raise _broken(f"its files lie below more than {_MAX_ROOTS:,} library roots")
        for root in roots:
            note_lost(new, root, names.get(root))


def _typed(column: str, kind: object) -> str:
    """An expression that gives a column's value if it is of its type, and NULL if it is not."""
    if isinstance(kind, sa.Integer | sa.Boolean):
        right = f"typeof({column}) = 'integer'"
    elif isinstance(kind, sa.Float):
        right = f"typeof({column}) IN ('real', 'integer')"
    else:
        most = _MAX_VALUE if isinstance(kind, sa.JSON) else _MAX_TEXT
        right = f"typeof({column}) = 'text' AND length(CAST({column} AS BLOB)) <= {most}"
    return f"CASE WHEN {right} THEN {column} END"


def _is_policy(row: Row) -> bool:
    root, copies = row["library_root"], row["required_copies"]
    return (not root or is_root(root)) and copies is not None and copies >= EVERY_BACKEND


def _is_time(text: str) -> bool:
    """Whether it is a time as this program writes them: any other ends what reads it."""
    try:
        return _TIME.fullmatch(text) is not None and bool(datetime.fromisoformat(text))
    except ValueError:
        return False


def _backend_of(row: Mapping[str, Any]) -> ObjectBackend | None:
    """The object store of a row; None where it is none that could be registered."""
    if row["backend_type"] != OBJECT_STORAGE or None in (row["id"], row["container_name"]):
        return None
    try:
        return validated(from_row(SimpleNamespace(**row)))
    except (CatalogSyncError, ValueError, TypeError):
        return None


def _place(backend: ObjectBackend) -> tuple[str, str]:
    # Not the endpoint: one store has several names.
    return backend.bucket, backend.base_prefix


def _broken(why: str) -> CatalogError:
    return CatalogError(f"the snapshot cannot be used: {why}", hint="take an older one")
