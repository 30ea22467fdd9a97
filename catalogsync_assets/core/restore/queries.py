"""Which files can be brought back from a backend, and the rows that a file leaves that was.

Read in pages, each a short transaction: memory does not grow with the catalog.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import sqlalchemy as sa

from catalogsync_assets.core.catalog import locations, presence, remote_copies
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.invalid_rows import GUARDS, checked
from catalogsync_assets.core.catalog.locations import LocalPlace
from catalogsync_assets.core.catalog.remote_copies import RemoteCopy
from catalogsync_assets.core.catalog.roots import known_roots, let_go_roots
from catalogsync_assets.core.catalog.scope import Scope, songs_sql
from catalogsync_assets.core.stores.backend import REPLACED

_PAGE = 2_000


@dataclass(frozen=True)
class WantedFile:
    """A current file that is to be below a library root."""

    file_asset_id: int
    #: What it is called there: its path below the root it was known in; its object key where it has
    #: no such path, or another file has it. Not made safe.
    path: str
    #: Of its content, as far as they are known.
    size_bytes: int | None
    sha256: str | None
    mtime_ns: int | None  #: of the local file when it was last seen
    #: Size and mtime of the file at this very path below this very root, if the catalog takes it to
    #: be there.
    seen: tuple[int, int] | None
    #: Where it can be had, the most recently verified first; those that were found damaged come
    #: last.
    copies: Sequence[RemoteCopy]


_LOCAL = "(SELECT id FROM storage_backends WHERE backend_type = 'local')"
# A file that exists somewhere, or that a backend has lost. One that is left out of the library or
# was forgotten is brought back only if its song is named.
_EXISTS = f"""
f.superseded_by_id IS NULL AND EXISTS (
    SELECT 1 FROM file_locations e WHERE e.file_asset_id = f.id AND {presence.EXISTS})
AND ({presence.IN_LIBRARY}{{or_named}})
"""
_NOT_HERE = f"""
AND NOT EXISTS (SELECT 1 FROM file_locations h WHERE h.file_asset_id = f.id
                AND h.status = 'active' AND h.backend_id IN {_LOCAL})
"""
# `l` is the local row that tells the name: the one below this root, else a present one, else any.
_WANTED = f"""
SELECT f.id, f.object_key, f.size_bytes, NULLIF(f.sha256, ''),
       l.library_path, l.mtime_ns,
       l.library_root = :root AND l.status = 'active', l.size_bytes,
       l.library_root <> :root AND EXISTS (
           SELECT 1 FROM file_locations o JOIN file_assets g ON g.id = o.file_asset_id
           WHERE o.library_root IN (SELECT value FROM json_each(:roots))
             AND o.library_path = l.library_path AND o.status NOT IN ('superseded', 'forgotten')
             AND g.superseded_by_id IS NULL AND g.id <> f.id
             AND (o.library_root = :root OR g.id < f.id))
       {GUARDS.format(location="l")}
FROM file_assets f
LEFT JOIN file_locations l ON l.id = (
    SELECT x.id FROM file_locations x
    WHERE x.file_asset_id = f.id AND x.library_path IS NOT NULL AND x.backend_id IN {_LOCAL}
    ORDER BY x.library_root = :root DESC, x.status = 'active' DESC, x.id LIMIT 1)
WHERE f.id > :after AND {{only}}
ORDER BY f.id LIMIT :page
"""


def _exists(scope: Scope) -> str:
    named = [selection for selection in scope.selections if selection.kind == "song"]
    return _EXISTS.format(or_named=f" OR f.song_id IN ({songs_sql(named)})" if named else "")


def _only(scope: Scope, missing: bool) -> tuple[str, dict[str, object]]:
    clauses, values = scope.sql()
    return _exists(scope) + clauses + (_NOT_HERE if missing else ""), values


def count_wanted(catalog: Catalog, scope: Scope, *, missing: bool) -> tuple[int, int]:
    """How many files `wanted_files` gives, and their bytes as far as they are known."""
    only, values = _only(scope, missing)
    statement = f"SELECT COUNT(*), COALESCE(SUM(f.size_bytes), 0) FROM file_assets f WHERE {only}"
    with catalog.read() as connection:
        files, size = connection.execute(sa.text(statement), values).one()
    return int(files), int(size)


_KEPT_AT = f"""
file_locations {{l}}
JOIN storage_backends {{b}} ON {{b}}.id = {{l}}.backend_id AND {{b}}.backend_type = 'object_storage'
    AND {{b}}.container_name = {{l}}.container_name
    AND {{l}}.status = 'superseded' AND {{l}}.locator LIKE '%{REPLACED}%'
    AND (:backend IS NULL OR {{l}}.backend_id = :backend)
"""
# Each content once, by its first row: several backends may keep it, or one under several keys.
_REPLACED = f"""
SELECT f.id, p.library_path, f.size_bytes, f.sha256, date(l.created_at), l.id
       {{guards}}
FROM {_KEPT_AT.format(l="l", b="b")}
JOIN file_assets f ON f.id = l.file_asset_id AND f.sha256 <> ''
LEFT JOIN file_locations p ON p.id = (
    SELECT MIN(x.id) FROM file_locations x
    WHERE x.file_asset_id = f.id AND x.library_path IS NOT NULL AND x.backend_id IN {_LOCAL})
WHERE l.id > :after {{only}}
  AND NOT EXISTS (SELECT 1 FROM {_KEPT_AT.format(l="o", b="ob")}
                  WHERE o.file_asset_id = l.file_asset_id AND o.id < l.id)
ORDER BY l.id LIMIT :page
"""


def replaced_files(
    catalog: Catalog, scope: Scope, *, backend_id: int | None = None
) -> Iterator[list[WantedFile]]:
    """Contents that edits have replaced, and that backends have kept, in pages, oldest first.

    Their paths are those of the files, with the day and a number in the name: where they were,
    something newer is.

    Args:
        backend_id: only those that this backend has kept.
    """
    only, more = scope.sql()
    statement = sa.text(_REPLACED.format(guards=GUARDS.format(location="l"), only=only))
    values = {"after": 0, "page": _PAGE, "backend": backend_id, **more}
    only_on = None if backend_id is None else [backend_id]
    while True:
        with catalog.read() as connection:
            found = connection.execute(statement, values).all()
            rows = list(checked(catalog, found))
            assets = [row[0] for row in rows]
            copies = remote_copies.copies_of(connection, assets, backend_ids=only_on, kept=True)
        if rows:
            yield [_replaced(row, copies[row[0]]) for row in rows]
        if len(rows) < _PAGE:
            return
        values["after"] = rows[-1][5]


def _replaced(row: Sequence[Any], copies: list[RemoteCopy]) -> WantedFile:
    asset, path, size, sha256, day, _ = row
    name = PurePosixPath(path or copies[0].key.rpartition(REPLACED)[2])
    name = name.with_name(f"{name.stem} (replaced {day}, {asset}){name.suffix}")
    return WantedFile(asset, str(name), size, sha256, None, None, copies)


_STILL_WANTED = (
    "SELECT f.id, h.library_path FROM file_assets f LEFT JOIN file_locations h"
    " ON h.file_asset_id = f.id AND h.status = 'active' AND h.library_root = :root"
    " WHERE f.id IN :ids AND "
)


def still_wanted(
    catalog: Catalog, root: str, scope: Scope, file_asset_ids: Collection[int]
) -> dict[int, list[str]]:
    """Those of these file assets that count, or that the scope names, each with the paths at which
    a scan has seen it below the root: it may be gone since."""
    statement = sa.text(_STILL_WANTED + _exists(scope))
    statement = statement.bindparams(sa.bindparam("ids", expanding=True))
    found: dict[int, list[str]] = {}
    with catalog.read() as connection:
        values = {"ids": list(file_asset_ids), "root": root}
        for asset_id, path in connection.execute(statement, values):
            found.setdefault(asset_id, []).extend([path] if path else [])
    return found


def wanted_files(
    catalog: Catalog, root: str, scope: Scope, *, missing: bool, backend_id: int | None = None
) -> Iterator[list[WantedFile]]:
    """The current files in the scope, in pages; those that are left out of the library or were
    forgotten only where the scope names their songs.

    Args:
        root: the library root that they are to be below.
        missing: only those that are below no library root, as far as the catalog knows.
        backend_id: only copies on this backend count.
    """
    only, more = _only(scope, missing)
    statement = sa.text(_WANTED.format(only=only))
    # Of a root that is lost, too, files have their names.
    roots = json.dumps([*known_roots(catalog), *let_go_roots(catalog)])
    values = {"root": root, "roots": roots, "after": 0, "page": _PAGE, **more}
    only_on = None if backend_id is None else [backend_id]
    while True:
        with catalog.read() as connection:
            found = connection.execute(statement, values).all()
            rows = list(checked(catalog, found))
            assets = [row[0] for row in rows]
            copies = remote_copies.copies_of(connection, assets, backend_ids=only_on, damaged=True)
        if rows:
            yield [_wanted(row, copies.get(row[0], [])) for row in rows]
        if len(rows) < _PAGE:
            return
        values["after"] = rows[-1][0]


def _wanted(row: Sequence[Any], copies: list[RemoteCopy]) -> WantedFile:
    asset, key, size, sha256, path, mtime_ns, is_here, here_size, is_taken = row
    name = key if is_taken or path is None else path
    if name is None:  # of another program, never scanned
        name = copies[0].key if copies else f"{asset}"
    seen = (here_size, mtime_ns) if is_here and mtime_ns is not None else None
    return WantedFile(asset, name, size, sha256, mtime_ns, seen, copies)


def record(
    catalog: Catalog, root: str, places: Sequence[LocalPlace], read: Iterable[RemoteCopy]
) -> None:
    """Write down that files are below a root, and that the objects they were read from are true.

    All or nothing; idempotent. The next scan sees the files as known and unchanged.
    """
    with catalog.transaction() as connection:
        locations.record_restored(connection, root, places)
        ids = [copy.location_id for copy in read]
        locations.apply(connection, "verified", ids, only="active", how="read")
