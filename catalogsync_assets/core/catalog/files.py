"""The library's rows: songs, file assets, their local locations, batches."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from catalogsync_assets.core.catalog import locations, presence
from catalogsync_assets.core.catalog.batches import Group, group
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.keys import free_keys, keys_of_new
from catalogsync_assets.core.catalog.lazy import sa, sa_text, schema
from catalogsync_assets.core.catalog.legacy import insert_each, insert_row, insert_rows
from catalogsync_assets.core.catalog.locations import LocalPlace
from catalogsync_assets.core.catalog.object_keys import fold
from catalogsync_assets.core.catalog.song_matching import SongOf, songs_of
from catalogsync_assets.core.errors import UsageError
from catalogsync_assets.core.files.opening import FileStat, mtime_ns

_PAGE = 5_000
#: How the reason begins why a file's tags are not known, if it lies with the disk. Such a file is
#: tried again by each scan: permissions are changed without a change of mtime.
UNREADABLE = "cannot be read: "


class KnownFile(NamedTuple):
    """A path that the catalog knows, with the content that it held when last seen."""

    location_id: int
    file_asset_id: int
    song_id: int | None
    path: str  #: below the root, `/`-separated
    #: `active`; `missing` once a scan has found the path gone; `damaged` where its bytes have
    #: changed and nothing says that it was edited; `excluded` while it is left out of
    #: the library; `forgotten` where a person wants no more of it; `offloading` or `offloaded`
    #: where the file is being removed, or was, as enough backends hold it.
    status: str
    #: Of the file when last seen; None in a row of another program that no scan has met yet.
    size_bytes: int | None
    mtime_ns: int | None
    sha256: str | None  #: the content's digest in hex, None before it is first read whole
    has_key: bool  #: whether the file has its object key yet; see `object_keys`
    unreadable: bool = False  #: whether the disk did not let its tags be read
    #: As in `FileStat`; None in rows that were made before these were kept.
    ctime_ns: int | None = None
    inode: int | None = None
    file_system: str | None = None
    #: Of the local file: `read` or `inode`, by which a scan knew it again; `damaged` where it was
    #: so when it was last seen; None where none of these.
    verified_by: str | None = None
    verified_at: str | None = None  #: UTC, `YYYY-MM-DD HH:MM:SS`; when it was last read whole
    tags_digest: str | None = None  #: of the content; see `FileFacts`
    companion: str | None = None  #: what kind of file it is beside music; None of music

    @property
    def present(self) -> bool:
        """Whether the catalog says that the file is there."""
        return self.status == "active"

    @property
    def seems_damaged(self) -> bool:
        """Whether the file was damaged when it was last seen: only its content can tell that it
        is not any more."""
        return self.status == "damaged" or self.verified_by == locations.DAMAGED


class Seen(NamedTuple):
    """A file that is where the catalog has it, or again."""

    known: KnownFile
    stat: FileStat
    sha256: str | None = None  #: in hex, where it was read whole just now


@dataclass(frozen=True)
class FileFacts:
    """What a scan has read of one path, to be recorded."""

    path: str  #: below the root, `/`-separated
    absolute_path: str
    size_bytes: int
    mtime_ns: int
    format: str
    song: dict[str, Any]  #: column values of `songs`, by name
    replaces: KnownFile | None = None  #: the path's earlier content, if the catalog knows the path
    #: The song that the file is known to belong to, as a downloaded one does; None leaves it to
    #: `song_matching`.
    song_id: int | None = None
    sha256: str | None = None  #: the content's digest in hex, where it has been read whole
    artists: Sequence[str] = ()  #: each artist's name; in `song` they are one text
    #: What is wrong with it: why tags could not be read, or that its end is missing; else None.
    tags_error: str | None = None
    #: As in `FileStat`.
    ctime_ns: int | None = None
    inode: int | None = None
    file_system: str | None = None
    tags_digest: str | None = None  #: of all its tags, in hex; None unless all were read
    #: Of the sound alone, where the container keeps one that is not zero, in hex.
    audio_digest: str | None = None
    #: MusicBrainz's names of the recording, and of this track of this release, from the tags.
    recording_id: str | None = None
    release_track_id: str | None = None
    #: The id that its file asset gets, where that is known from elsewhere, and free.
    file_asset_id: int | None = None
    companion: str | None = None  #: what kind of file it is beside music; None of music

    @property
    def stat(self) -> FileStat:
        """What the file system said of it."""
        return FileStat(self.size_bytes, self.mtime_ns, self.ctime_ns, self.inode, self.file_system)


#: The statuses of a place that a file has, or may have again.
# fmt: off
OF_PATHS = (
    "active", "missing", "damaged", "excluded", "forgotten", "offloading", "offloaded",
)
# fmt: on
#: The first of the paths known below a root, behind one of them: columns of `KnownFile`.
KNOWN = f"""
SELECT l.id, l.file_asset_id, f.song_id, l.library_path, l.status,
       COALESCE(l.size_bytes, f.size_bytes), l.mtime_ns, NULLIF(f.sha256, ''),
       f.object_key IS NOT NULL, COALESCE(f.tags_error, '') LIKE '{UNREADABLE}%',
       l.ctime_ns, l.inode, l.file_system, l.verified_by, l.verified_at, f.tags_digest,
       f.companion
FROM file_locations l JOIN file_assets f ON f.id = l.file_asset_id
WHERE l.library_root = :root AND l.library_path > :after AND l.status IN {OF_PATHS}
ORDER BY l.library_path LIMIT :page
"""
_EXCLUDED = KNOWN.replace(f"IN {OF_PATHS}", "= 'excluded'")


def known_files(catalog: Catalog, root: str, *, excluded: bool = False) -> Iterator[KnownFile]:
    """Every path known below a root, sorted by path as UTF-8 bytes.

    Read in pages, each a short transaction: memory stays flat, and a scan that takes an hour does
    not hold back the write-ahead log.

    Args:
        excluded: only those that are left out of the library.
    """
    after, statement = "", _EXCLUDED if excluded else KNOWN
    while page := catalog.rows(statement, root=root, after=after, page=_PAGE):
        yield from map(KnownFile._make, page)
        after = page[-1][3]


_OF_OTHER_PROGRAMS = """
FROM file_locations INDEXED BY ix_file_locations_unmet
WHERE library_root IS NULL AND absolute_path IS NOT NULL AND status = 'active'
  AND backend_id IN (SELECT id FROM storage_backends WHERE backend_type = 'local')
  AND (substr(absolute_path, 1, :length) = :folder OR container_name = :root)
"""


def meet_rows_of_other_programs(catalog: Catalog, root: str) -> int:
    """Let scans of this root see local files that another program has put into the catalog.

    They are found by their absolute path, or by the root as their container. What that program
    wrote is left as it is; only our own columns are filled. Idempotent.

    Returns:
        How many files were met.
    """
    folder = root.rstrip("/") + "/"
    values = {"root": root, "folder": folder, "length": len(folder)}
    if catalog.scalar(f"SELECT 1 {_OF_OTHER_PROGRAMS} LIMIT 1", **values) is None:
        return 0
    with catalog.transaction() as connection:
        return connection.execute(
            sa.text(
                "UPDATE file_locations SET library_root = :root,"
                " library_path = CASE WHEN container_name = :root THEN locator"
                " ELSE substr(absolute_path, :length + 1) END"
                # Two rows for one path would look to a scan as if one of them were gone.
                f" WHERE id IN (SELECT MIN(id) {_OF_OTHER_PROGRAMS}"
                " AND NOT EXISTS (SELECT 1 FROM file_locations met WHERE met.library_root = :root"
                "   AND met.library_path = CASE WHEN file_locations.container_name = :root"
                "     THEN file_locations.locator"
                "     ELSE substr(file_locations.absolute_path, :length + 1) END)"
                " GROUP BY absolute_path)"
            ),
            values,
        ).rowcount


def record_files(catalog: Catalog, root: str, files: Sequence[FileFacts]) -> int:
    """Record new paths, and new contents of known paths, in one transaction.

    A path that another scan has recorded meanwhile is left as that scan recorded it. The earlier
    content of a path becomes superseded together with its local location; its locations on other
    backends stay as they are, until the new content replaces the object there.

    Returns:
        How many of the files were recorded.
    """
    with catalog.transaction() as connection:
        return len(insert_files(connection, root, files))


def insert_files(
    connection: sa.Connection, root: str, files: Sequence[FileFacts]
) -> dict[str, int]:
    """`record_files` as a part of another transaction.

    Returns:
        The song of each file that was recorded, by its path.
    """
    files = not_yet_recorded(connection, root, files)
    if not files:
        return {}
    belong = songs_of(connection, files)
    asset_ids = _insert_assets(connection, root, files, belong)
    replaced = {
        f.replaces: asset_id for f, asset_id in zip(files, asset_ids, strict=True) if f.replaces
    }
    if replaced:
        superseded = [{"old": k.file_asset_id, "new": new} for k, new in replaced.items()]
        connection.execute(sa_text(SUPERSEDE_ASSET), superseded)
    places = [
        LocalPlace(asset_id, root, f.path, f.absolute_path, *f.stat)
        for f, asset_id in zip(files, asset_ids, strict=True)
    ]
    locations.record_scanned(connection, places, replaced=[k.location_id for k in replaced])
    return {f.path: song.song_id for f, song in zip(files, belong, strict=True)}


SUPERSEDE_ASSET = "UPDATE file_assets SET superseded_by_id = :new WHERE id = :old"


def mark_seen(catalog: Catalog, root: str, files: Sequence[Seen]) -> None:
    """The known content of these paths is there (again), as the file system says it.

    A file that another program has recorded gets the figures and the object key that it lacks.
    One that is being removed, or was since it was seen, is left out.
    """
    with catalog.transaction() as connection:
        files = still_there(connection, root, files)
        if not files:
            return
        unmet = [(f.known, f.stat.size_bytes) for f in files if not f.known.has_key]
        if unmet:
            own = [k.file_asset_id for k, _ in unmet]
            keys = free_keys(connection, root, [k.path for k, _ in unmet], own=own)
            met = [
                {
                    "asset": k.file_asset_id,
                    "size": size,
                    "key": key,
                    "fold": fold(key),
                    "song": k.song_id,
                    "title": PurePosixPath(k.path).stem,
                }
                for (k, size), key in zip(unmet, keys, strict=True)
            ]
            connection.execute(sa_text(_SEE_ASSET), met)
            connection.execute(sa_text(_NAME_SONG), met)
        locations.record_seen(
            connection,
            [(f.known.location_id, f.known.file_asset_id, f.stat, f.sha256) for f in files],
        )


def still_there(connection: sa.Connection, root: str, files: Sequence[Seen]) -> list[Seen]:
    """Without the files that an offload has removed since they were seen, or is about to.

    We hold the write lock: an offload that has not marked its file yet begins after us, and finds
    it marked. One that has finished with the file removed it before it said so.
    """
    statement = (
        "SELECT id, status FROM file_locations WHERE status IN ('offloading', 'offloaded')"
        " AND id IN (SELECT value FROM json_each(:places))"
    )
    places = json.dumps([f.known.location_id for f in files])
    removed = dict[int, str](connection.execute(sa.text(statement), {"places": places}).all())
    return [
        f
        for f in files
        if f.known.location_id not in removed
        or (removed[f.known.location_id] == "offloaded" and _is_at(root, f.known.path, f.stat))
    ]


def _is_at(root: str, path: str, seen: FileStat) -> bool:
    try:
        now = (Path(root) / path).stat()
    except OSError:
        return False
    return (now.st_size, mtime_ns(now)) == seen[:2]


_SEE_ASSET = (
    "UPDATE file_assets SET size_bytes = :size, object_key = :key, object_key_fold = :fold,"
    " updated_at = CURRENT_TIMESTAMP WHERE id = :asset AND object_key IS NULL"
)


# Another program may keep its titles elsewhere; without one nobody would find the song.
_NAME_SONG = "UPDATE songs SET title = :title WHERE id = :song AND title IS NULL"


_IS_REMEMBERED = (
    "SELECT 1 FROM file_locations l JOIN file_assets f ON f.id = l.file_asset_id"
    " WHERE l.library_root = :root AND l.library_path = :path"
    " AND (l.status = 'offloading'"
    "   OR l.status IN ('missing', 'excluded', 'forgotten', 'offloaded')"
    "     AND COALESCE(f.sha256, '') <> :sha256) LIMIT 1"
)


def is_remembered(catalog: Catalog, root: str, path: str, sha256: str) -> bool:
    """Whether a path belongs to another content that is not there now.

    A file that came there would pass for a newer content of it, and replace its copies.

    Args:
        sha256: of the content that is to come there, in hex.
    """
    return catalog.scalar(_IS_REMEMBERED, root=root, path=path, sha256=sha256) is not None


_BACK = (
    "SELECT l.id FROM file_locations l JOIN file_assets f ON f.id = l.file_asset_id"
    " WHERE l.library_root = :root AND l.library_path = :path"
    " AND l.status IN ('missing', 'excluded', 'forgotten', 'offloaded')"
    " AND f.sha256 = :sha256 AND f.superseded_by_id IS NULL"
)


def bring_back(connection: sa.Connection, root: str, files: Sequence[FileFacts]) -> None:
    """Paths that were missing, left out, forgotten or offloaded are there again, if the digest is
    the same."""
    back = [
        (location_id, None, f.stat, f.sha256)
        for f in files
        for location_id in connection.scalars(
            sa_text(_BACK), {"root": root, "path": f.path, "sha256": f.sha256}
        ).all()
    ]
    locations.record_seen(connection, back)


def make_batches(catalog: Catalog, *, max_files: int, max_bytes: int) -> list[str]:
    """Group the files that are in no batch yet. A batch never changes once it is made.

    Returns:
        The keys of the new batches.
    """
    asset = schema.file_assets.c
    waiting = (
        sa.select(asset.id, sa.func.coalesce(asset.size_bytes, 0))
        .where(asset.batch_id.is_(None), asset.superseded_by_id.is_(None))
        .order_by(asset.id)
        .execution_options(yield_per=_PAGE)
    )
    with catalog.read() as connection:
        if connection.execute(waiting.limit(1)).first() is None:
            return []
    with catalog.transaction() as connection:
        if connection.scalar(sa.text("SELECT 1 FROM batches LIMIT 1")) is None:
            # The first of all: what another program left gets its figures with ours.
            presence.refresh(connection)
        rows = ((int(i), int(size)) for i, size in connection.execute(waiting))
        groups = list(group(rows, max_files=max_files, max_bytes=max_bytes))
        return [_make_batch(connection, g) for g in groups]


def _make_batch(connection: sa.Connection, files: Group) -> str:
    new = {"file_count": files.files, "size_bytes": files.size_bytes}
    batch_id = insert_row(connection, "batches", new)
    # The date tells a reader which night's files these are; the number makes the key unique.
    key = connection.scalar(sa.text("SELECT strftime('%Y-%m-%d', 'now')")) + f"-b{batch_id:05d}"
    values = {"batch": batch_id, "key": key, "first": files.first_id, "last": files.last_id}
    for statement in (
        "UPDATE batches SET key = :key WHERE id = :batch",
        "UPDATE file_assets SET batch_id = :batch WHERE id BETWEEN :first AND :last"
        " AND batch_id IS NULL AND superseded_by_id IS NULL",
    ):
        connection.execute(sa.text(statement), values)
    return str(key)


def require_batch(catalog: Catalog, key: str) -> None:
    """Raise a UsageError unless the catalog has a batch of this key."""
    if catalog.scalar("SELECT 1 FROM batches WHERE key = :key", key=key) is None:
        raise UsageError(
            f"the catalog {catalog.path} has no batch {key!r}",
            hint="is it the right catalog? A partition of one that is gone can be deleted",
        )


def batch_keys(catalog: Catalog) -> list[str]:
    """The keys of all batches, oldest first."""
    return [row[0] for row in catalog.rows("SELECT key FROM batches ORDER BY id")]


def not_yet_recorded(
    connection: sa.Connection, root: str, files: Sequence[FileFacts]
) -> list[FileFacts]:
    """The files whose path is as the scan saw it: still unknown, or still with the same content.

    We hold the write lock, so this cannot change before we have written.
    """
    place = schema.file_locations.c
    rows = connection.execute(
        sa.select(place.library_path, place.id).where(
            place.library_root == root,
            place.library_path.in_([f.path for f in files]),
            place.status.in_(OF_PATHS),
        )
    )
    now = dict[str, int](rows.all())
    elsewhere = [f.replaces.location_id for f in files if f.replaces and f.replaces.path != f.path]
    still = set(
        connection.scalars(
            sa.select(place.id).where(place.id.in_(elsewhere), place.status.in_(OF_PATHS))
        )
    )

    def is_as_seen(f: FileFacts) -> bool:
        if f.replaces is None:
            return f.path not in now
        if f.replaces.path == f.path:
            return now.get(f.path) == f.replaces.location_id
        return f.path not in now and f.replaces.location_id in still

    return [f for f in files if is_as_seen(f)]


def _insert_assets(
    connection: sa.Connection, root: str, files: Sequence[FileFacts], belong: Sequence[SongOf]
) -> list[int]:
    keys = keys_of_new(connection, root, [(f.path, _gives_its_key(f)) for f in files])
    rows = [
        {
            "song_id": song.song_id,
            "song_decided": song.decided or None,
            "size_bytes": f.size_bytes,
            "sha256": f.sha256,
            "format": f.format,
            "duration_seconds": f.song.get("duration_seconds"),
            "tags_error": f.tags_error,
            "tags_digest": f.tags_digest,
            "audio_digest": f.audio_digest,
            "recording_id": f.recording_id,
            "release_track_id": f.release_track_id,
            "companion": f.companion,
            "object_key": key,
            "object_key_fold": fold(key),
        }
        for f, song, key in zip(files, belong, keys, strict=True)
    ]
    given = [f.file_asset_id for f in files]
    insert_rows(
        connection,
        "file_assets",
        [{"id": i, **row} for i, row in zip(given, rows, strict=True) if i is not None],
    )
    others = [row for i, row in zip(given, rows, strict=True) if i is None]
    made = iter(insert_each(connection, "file_assets", others))
    return [next(made) if i is None else i for i in given]


def _gives_its_key(facts: FileFacts) -> int | None:
    """The file asset that was the path's earlier content: a key goes with the path."""
    earlier = facts.replaces
    return earlier.file_asset_id if earlier and earlier.path == facts.path else None
