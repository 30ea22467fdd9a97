"""The library's rows: songs, file assets, their local locations, batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from catalogsync_assets.core.catalog import presence
from catalogsync_assets.core.catalog.backends import local_backend_id
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.schema import (
    batches,
    file_assets,
    file_locations,
    songs,
)
from catalogsync_assets.core.plan.batches import Group, group
from catalogsync_assets.core.plan.locators import fold, object_key

_PAGE = 5_000


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A path that the catalog knows, with the content that it held when last seen.

    `present` is False once a scan has found the path gone.
    """

    location_id: int
    file_asset_id: int
    song_id: int | None
    path: str
    present: bool
    size_bytes: int | None
    mtime_ns: int | None
    sha256: str | None


@dataclass(frozen=True)
class FileFacts:
    """What a scan has read of one path, to be recorded.

    Attributes:
        path: below the root, `/`-separated.
        replaces: the path's earlier content, if the catalog knows the path.
        song: column values of `songs`, by name.
    """

    path: str
    absolute_path: str
    size_bytes: int
    mtime_ns: int
    format: str
    song: dict[str, Any]
    replaces: KnownFile | None = None


def known_files(catalog: Catalog, root: str) -> Iterator[KnownFile]:
    """Every path known below a root, sorted by path as UTF-8 bytes.

    Read in pages, each a short transaction: memory stays flat, and a scan that takes an hour does
    not hold back the write-ahead log.
    """
    place, asset = file_locations.c, file_assets.c
    with catalog.read() as connection:
        local = _existing_local_backend_id(connection)
    if local is None:
        return
    query = (
        sa.select(
            place.id,
            place.file_asset_id,
            asset.song_id,
            place.locator,
            place.status == "active",
            place.size_bytes,
            place.mtime_ns,
            asset.sha256,
        )
        .join(file_assets, asset.id == place.file_asset_id)
        .where(
            place.backend_id == local,
            place.container_name == root,
            place.locator > sa.bindparam("after"),
            place.status.in_(("active", "missing")),
        )
        .order_by(place.locator)
        .limit(_PAGE)
    )
    after = ""
    while True:
        with catalog.read() as connection:
            page = [KnownFile(*row) for row in connection.execute(query, {"after": after})]
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1].path


def record_files(catalog: Catalog, root: str, files: Sequence[FileFacts]) -> int:
    """Record new paths, and new contents of known paths, in one transaction.

    A path that another scan has recorded meanwhile is left as that scan recorded it. The earlier
    content of a path becomes superseded together with its local location; its locations on other
    backends stay as they are, until the new content replaces the object there.

    Returns:
        How many of the files were recorded.
    """
    with catalog.transaction() as connection:
        local = local_backend_id(connection)
        files = _not_yet_recorded(connection, local, root, files)
        if not files:
            return 0
        song_ids = _song_ids(connection, files)
        asset_ids = _insert_assets(connection, root, files, song_ids)
        replaced = [
            {"old": f.replaces.file_asset_id, "new": asset_id, "place": f.replaces.location_id}
            for f, asset_id in zip(files, asset_ids, strict=True)
            if f.replaces
        ]
        if replaced:
            connection.execute(_SUPERSEDE_ASSET, replaced)
            connection.execute(_SUPERSEDE_PLACE, replaced)
        connection.execute(
            sa.insert(file_locations),
            [
                {
                    "file_asset_id": asset_id,
                    "backend_id": local,
                    "container_name": root,
                    "locator": f.path,
                    "absolute_path": f.absolute_path,
                    "status": "active",
                    "is_primary": 1,
                    "size_bytes": f.size_bytes,
                    "mtime_ns": f.mtime_ns,
                }
                for f, asset_id in zip(files, asset_ids, strict=True)
            ],
        )
        presence.refresh(connection, song_ids=sorted(set(song_ids)))
        return len(files)


_SUPERSEDE_ASSET = sa.text("UPDATE file_assets SET superseded_by_id = :new WHERE id = :old")
_SUPERSEDE_PLACE = sa.text(
    "UPDATE file_locations SET status = 'superseded', is_primary = 0,"
    " updated_at = CURRENT_TIMESTAMP WHERE id = :place"
)


def mark_seen(catalog: Catalog, files: Sequence[tuple[KnownFile, int]]) -> None:
    """The known content of these paths is there (again), with this mtime in ns."""
    with catalog.transaction() as connection:
        connection.execute(
            sa.text(
                "UPDATE file_locations SET status = 'active', mtime_ns = :mtime_ns,"
                " updated_at = CURRENT_TIMESTAMP WHERE id = :id AND status <> 'superseded'"
            ),
            [{"id": known.location_id, "mtime_ns": mtime_ns} for known, mtime_ns in files],
        )
        presence.refresh(connection, song_ids=_songs_of([known for known, _ in files]))


def mark_missing(catalog: Catalog, files: Sequence[KnownFile]) -> None:
    """These paths are gone from the disk. Nothing else changes; no object is touched for it."""
    with catalog.transaction() as connection:
        connection.execute(
            sa.text(
                "UPDATE file_locations SET status = 'missing', updated_at = CURRENT_TIMESTAMP"
                " WHERE id = :id AND status = 'active'"
            ),
            [{"id": known.location_id} for known in files],
        )
        presence.refresh(connection, song_ids=_songs_of(files))


def make_batches(catalog: Catalog, *, max_files: int, max_bytes: int) -> list[str]:
    """Group the files that are in no batch yet. A batch never changes once it is made.

    Returns:
        The keys of the new batches.
    """
    waiting = (
        sa.select(file_assets.c.id, sa.func.coalesce(file_assets.c.size_bytes, 0))
        .where(file_assets.c.batch_id.is_(None), file_assets.c.superseded_by_id.is_(None))
        .order_by(file_assets.c.id)
        .execution_options(yield_per=_PAGE)
    )
    with catalog.read() as connection:
        if connection.execute(waiting.limit(1)).first() is None:
            return []
    with catalog.transaction() as connection:
        rows = ((int(i), int(size)) for i, size in connection.execute(waiting))
        groups = list(group(rows, max_files=max_files, max_bytes=max_bytes))
        return [_make_batch(connection, g) for g in groups]


def _make_batch(connection: sa.Connection, files: Group) -> str:
    result = connection.execute(
        sa.insert(batches).values(file_count=files.files, size_bytes=files.size_bytes)
    )
    assert result.inserted_primary_key is not None
    batch_id = result.inserted_primary_key[0]
    # The date tells a reader which night's files these are; the number makes the key unique.
    key = connection.scalar(sa.text("SELECT strftime('%Y-%m-%d', 'now')")) + f"-b{batch_id:05d}"
    connection.execute(sa.update(batches).where(batches.c.id == batch_id).values(key=key))
    connection.execute(
        sa.update(file_assets)
        .where(
            file_assets.c.id.between(files.first_id, files.last_id),
            file_assets.c.batch_id.is_(None),
            file_assets.c.superseded_by_id.is_(None),
        )
        .values(batch_id=batch_id)
    )
    return str(key)


def batch_keys(catalog: Catalog) -> list[str]:
    """The keys of all batches, oldest first."""
    with catalog.read() as connection:
        return list(connection.scalars(sa.select(batches.c.key).order_by(batches.c.id)))


def _existing_local_backend_id(connection: sa.Connection) -> int | None:
    found = connection.scalar(
        sa.text("SELECT MIN(id) FROM storage_backends WHERE backend_type = 'local'")
    )
    return None if found is None else int(found)


def _songs_of(files: Sequence[KnownFile]) -> list[int]:
    return sorted({f.song_id for f in files if f.song_id is not None})


def _not_yet_recorded(
    connection: sa.Connection, local: int, root: str, files: Sequence[FileFacts]
) -> list[FileFacts]:
    """The files whose path is as the scan saw it: still unknown, or still with the same content.

    We hold the write lock, so this cannot change before we have written.
    """
    place = file_locations.c
    rows = connection.execute(
        sa.select(place.locator, place.id).where(
            place.backend_id == local,
            place.container_name == root,
            place.locator.in_([f.path for f in files]),
            place.status.in_(("active", "missing")),
        )
    )
    now: dict[str, int] = {row[0]: row[1] for row in rows}
    return [f for f in files if now.get(f.path) == (f.replaces.location_id if f.replaces else None)]


def _song_ids(connection: sa.Connection, files: Sequence[FileFacts]) -> list[int]:
    """The song of each file: its earlier content's, that of the same match key, or a new one."""
    keys = {f.song["match_key"] for f in files if f.song["match_key"]}
    by_key: dict[str, int] = {
        row[0]: row[1]
        for row in connection.execute(
            sa.select(songs.c.match_key, sa.func.min(songs.c.id))
            .where(songs.c.match_key.in_(keys))
            .group_by(songs.c.match_key)
        )
    }
    result: list[int] = []
    for f in files:
        key = f.song["match_key"]
        if f.replaces and f.replaces.song_id is not None:
            song_id = f.replaces.song_id
            connection.execute(
                sa.update(songs)
                .where(songs.c.id == song_id)
                .values(**f.song, updated_at=sa.func.current_timestamp())
            )
        elif key and key in by_key:
            song_id = by_key[key]
        else:
            inserted = connection.execute(sa.insert(songs).values(**f.song))
            assert inserted.inserted_primary_key is not None
            song_id = int(inserted.inserted_primary_key[0])
            if key:
                by_key[key] = song_id
        result.append(song_id)
    _link_artists(connection, sorted(set(result)))
    return result


def _link_artists(connection: sa.Connection, song_ids: list[int]) -> None:
    scope = {"songs": song_ids}
    connection.execute(
        sa.text(
            "INSERT INTO artists (name) SELECT DISTINCT s.artist FROM songs s"
            " WHERE s.id IN :songs AND s.artist IS NOT NULL"
            " AND NOT EXISTS (SELECT 1 FROM artists a WHERE a.name = s.artist)"
        ).bindparams(sa.bindparam("songs", expanding=True)),
        scope,
    )
    connection.execute(
        sa.text(
            "INSERT INTO artist_songs (artist_id, song_id)"
            " SELECT MIN(a.id), s.id FROM songs s JOIN artists a ON a.name = s.artist"
            " WHERE s.id IN :songs AND NOT EXISTS (SELECT 1 FROM artist_songs x"
            "   WHERE x.song_id = s.id AND x.artist_id IN"
            "     (SELECT id FROM artists WHERE name = s.artist))"
            " GROUP BY s.id"
        ).bindparams(sa.bindparam("songs", expanding=True)),
        scope,
    )


def _insert_assets(
    connection: sa.Connection, root: str, files: Sequence[FileFacts], song_ids: Sequence[int]
) -> list[int]:
    keys = _object_keys(connection, root, files)
    rows = [
        {
            "song_id": song_id,
            "size_bytes": f.size_bytes,
            "format": f.format,
            "duration_seconds": f.song["duration_seconds"],
            "object_key": key,
            "object_key_fold": fold(key),
        }
        for f, song_id, key in zip(files, song_ids, keys, strict=True)
    ]
    returned = connection.scalars(
        sa.insert(file_assets).returning(file_assets.c.id, sort_by_parameter_order=True), rows
    )
    return [int(i) for i in returned]


def _object_keys(connection: sa.Connection, root: str, files: Sequence[FileFacts]) -> list[str]:
    """The key of each file: its earlier content's, or one that no other path has."""
    asset = file_assets.c
    earlier = [f.replaces.file_asset_id for f in files if f.replaces]
    kept: dict[int, str] = {
        row[0]: row[1]
        for row in connection.execute(
            sa.select(asset.id, asset.object_key).where(
                asset.id.in_(earlier), asset.object_key.is_not(None)
            )
        )
    }
    folds = [fold(object_key(root, f.path, lambda _: False)) for f in files]
    taken = set(
        connection.scalars(
            sa.select(asset.object_key_fold).where(asset.object_key_fold.in_(folds)).distinct()
        )
    )
    result = []
    for f in files:
        key = kept.get(f.replaces.file_asset_id) if f.replaces else None
        key = key or object_key(root, f.path, taken.__contains__)
        taken.add(fold(key))
        result.append(key)
    return result
