"""The state machine of `file_locations`: where files are, were, or are about to be.

A location is a file asset at a place: a path below a library root, or a key in a bucket.
`TRANSITIONS` is all that can become of its status. No other module writes that column; each
function here takes a location no further than the table allows, and brings presence in line with
it in the same transaction. What happened on disk or in a store comes first, unless a function says
otherwise.

What is read of locations stands with whoever reads it; figures are made in `presence`.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, Literal, NamedTuple

from catalogsync_assets.core.catalog import keys, presence
from catalogsync_assets.core.catalog.backends import local_backend_id, require_in_use
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.lazy import sa
from catalogsync_assets.core.catalog.legacy import insert_sql
from catalogsync_assets.core.catalog.remote_copies import RemoteCopy, copies_at
from catalogsync_assets.core.errors import ConflictError
from catalogsync_assets.core.files.opening import FileStat
from catalogsync_assets.core.stores.backend import ObjectBackend

#: `superseded`: the place holds, or is about to hold, something else. `pruning`: the object is
#: about to be deleted, and nobody may put anything there. `removed` is the end: the place is the
#: catalog's no longer, whatever it holds.
# fmt: off
Status = Literal[
    "active", "missing", "damaged", "excluded", "forgotten", "offloading", "offloaded",
    "superseded", "pruning", "removed",
]
Event = Literal[
    "scanned", "seen", "gone", "excluded", "forgotten", "changed", "suspected",
    "restored", "displaced", "offload", "kept", "offloaded",
    "settled", "copied", "claimed",
    "stored", "moved", "replaced", "withdrawn", "kept aside", "verified", "lost", "damaged",
    "prune", "pruned", "overwritten", "spared", "stayed", "retired",
]
# fmt: on


class Transition(NamedTuple):
    """What an event makes of a location."""

    #: The statuses that it may have, `new` for a row that is made; None: any other status, another
    #: program's, too, or none yet.
    before: tuple[Status | Literal["new"], ...] | None
    after: Status
    meaning: str  #: what has happened, or is about to
    but: tuple[Status, ...] = ()  #: where `before` is None, those that it may not have all the same


TRANSITIONS: dict[Event, Transition] = {
    # Paths below a library root.
    "scanned": Transition(("new",), "active", "a scan has found this content at a path"),
    "seen": Transition(
        ("active", "missing", "damaged", "excluded", "forgotten", "offloaded"),
        "active",
        "the file is there, or again",
    ),
    "suspected": Transition(
        ("active", "damaged", "missing", "excluded", "forgotten"),
        "damaged",
        "the file has other bytes, and nothing says that it was edited",
    ),
    "gone": Transition(
        ("active", "damaged", "excluded"), "missing", "a scan has found the path gone"
    ),
    "excluded": Transition(
        ("active", "missing", "damaged"), "excluded", "the path is left out of the library"
    ),
    # Not while it is being removed: what a killed removal has left is found by its mark.
    "forgotten": Transition(
        ("active", "missing", "damaged", "excluded", "offloaded"),
        "forgotten",
        "a person wants no more of the file, or of its root",
    ),
    "changed": Transition(
        ("active", "missing", "damaged", "excluded", "forgotten", "offloading", "offloaded"),
        "superseded",
        "a scan has found newer content at the path",
    ),
    "restored": Transition(None, "active", "the file was brought back from a backend"),
    "displaced": Transition(None, "superseded", "another file was restored to the path"),
    "offload": Transition(("active",), "offloading", "the local file is about to be removed"),
    "kept": Transition(("offloading",), "active", "the local file has stayed, or is back"),
    "offloaded": Transition(("offloading",), "offloaded", "the local file is removed"),
    "settled": Transition(
        ("missing",), "superseded", "the file was brought to another root than the one that is lost"
    ),
    "copied": Transition(
        ("new",), "missing", "the file was here, says what is left of a catalog that is lost"
    ),
    # Keys of a backend.
    "stored": Transition(None, "active", "the object is there, and was verified", but=("pruning",)),
    "claimed": Transition(
        None,
        "active",
        "the object is there, and said to hold the file; nobody has verified that",
        but=("pruning",),
    ),
    "moved": Transition(
        ("active", "missing", "damaged"), "superseded", "the file is under another key there"
    ),
    "replaced": Transition(
        ("active", "missing", "damaged"), "superseded", "another content was stored at the key"
    ),
    "withdrawn": Transition(("active",), "superseded", "the object is about to be replaced"),
    "kept aside": Transition(
        ("new", "removed"),
        "superseded",
        "a copy is kept of an object that is about to be replaced",
    ),
    "verified": Transition(
        ("active", "missing", "damaged"), "active", "the object was found to hold its file"
    ),
    "lost": Transition(
        ("active", "missing", "damaged"), "missing", "the store was found to have no such object"
    ),
    "damaged": Transition(
        ("active", "missing", "damaged"), "damaged", "the object was found to hold something else"
    ),
    "prune": Transition(
        ("active", "superseded"), "pruning", "the object is about to be deleted as old weight"
    ),
    "pruned": Transition(("pruning",), "removed", "the object was deleted, or found gone"),
    "overwritten": Transition(
        ("pruning",), "removed", "the object is not the file's any more, and stays"
    ),
    "spared": Transition(("pruning",), "superseded", "the object stays, and is of the past"),
    "stayed": Transition(("pruning",), "active", "the object stays, and holds its file"),
    "retired": Transition(None, "removed", "a person has taken the backend out; the object stays"),
}

_STAT = (
    "size_bytes = :size_bytes, mtime_ns = :mtime_ns, ctime_ns = :ctime_ns, inode = :inode,"
    " file_system = :file_system"
)
#: By what a local file that nobody sees is known as one that was damaged, until it is read again.
DAMAGED = "damaged"
_REMEMBERED = f"verified_by = CASE WHEN status = 'damaged' THEN '{DAMAGED}' ELSE verified_by END"
#: What an event writes besides the status.
_WRITES: dict[Event, str] = {
    "seen": (
        f"{_STAT}, missing_since = NULL,"
        " verified_by = CASE WHEN :sha256 IS NULL THEN verified_by ELSE 'read' END,"
        " verified_at = CASE WHEN :sha256 IS NULL THEN verified_at ELSE CURRENT_TIMESTAMP END"
    ),
    "suspected": _STAT,
    "gone": f"missing_since = CURRENT_TIMESTAMP, {_REMEMBERED}",
    "excluded": _REMEMBERED,
    "forgotten": _REMEMBERED,
    "changed": "is_primary = 0",
    "displaced": "is_primary = 0",
    "verified": "verified_at = CURRENT_TIMESTAMP, verified_by = :how, etag = COALESCE(:etag, etag)",
    "lost": "etag = COALESCE(:etag, etag)",
    "damaged": "etag = COALESCE(:etag, etag)",
    "prune": "status_before = status",
    "pruned": "status_before = NULL",
    "overwritten": "status_before = NULL",
    "spared": "status_before = NULL",
    "stayed": "status_before = NULL",
}
#: What is pruned keeps its times until it is gone: since when it is of the past, and when it was
#: last known, must not begin anew where it is spared.
_QUIET: frozenset[Event] = frozenset({"prune", "spared", "stayed"})
_NOW = "updated_at = CURRENT_TIMESTAMP"
# To find true what counted as true changes nothing that others must not have overlooked.
_NOW_IF_CHANGED = (
    "updated_at = CASE status WHEN 'active' THEN updated_at ELSE CURRENT_TIMESTAMP END"
)


def _since(after: Status, of: str = "") -> str:
    """The SET part that notes since when a row has a status; `of` stands before the columns."""
    return (
        f"status_since = CASE {of}status WHEN '{after}' THEN {of}status_since"
        " ELSE CURRENT_TIMESTAMP END"
    )


@functools.cache
def _update_sql(event: Event, condition: str, which: str = "id = :id") -> str:
    step = TRANSITIONS[event]
    writes = [f"status = '{step.after}'"]
    if event not in _QUIET:
        writes.append(_NOW_IF_CHANGED if event == "verified" else _NOW)
        writes.append(_since(step.after))
    if event in _WRITES:
        writes.append(_WRITES[event])
    allowed = f"NOT IN ({', '.join(map(repr, (step.after, *step.but)))})"
    if step.before is not None:
        allowed = f"IN ({', '.join(map(repr, step.before))})"
    return (
        f"UPDATE file_locations SET {', '.join(writes)}"
        f" WHERE {which} AND status {allowed} {condition}"
    )


def _apply(
    connection: sa.Connection,
    event: Event,
    rows: Sequence[Mapping[str, Any]],
    condition: str = "",
) -> int:
    """Take locations a step further, where the table allows it; how many were.

    Args:
        rows: the `id` of each, and what `event` writes besides.
        condition: on the rows besides, beginning with AND.
    """
    if not rows:
        return 0
    # Straight to the driver: SQLAlchemy's parameters would cost more than SQLite.
    statement = _update_sql(event, condition)
    return connection.exec_driver_sql(statement, list(rows)).rowcount


_SONGS = """
SELECT DISTINCT song_id FROM file_assets
WHERE song_id IS NOT NULL AND companion IS NULL AND id IN ({assets})
"""
_IDS = "SELECT value FROM json_each(:ids)"
_ASSETS_AT = f"SELECT file_asset_id FROM file_locations WHERE id IN ({_IDS})"


def _refresh(connection: sa.Connection, ids: Collection[int], assets: str = _IDS) -> None:
    """Bring presence in line, of the songs that these file assets are of.

    Args:
        assets: a SELECT of them by `ids`.
    """
    if ids:
        statement = _SONGS.format(assets=assets)
        songs = connection.exec_driver_sql(statement, {"ids": json.dumps(list(ids))})
        presence.refresh(connection, song_ids=sorted(songs.scalars()))


def apply(
    connection: sa.Connection,
    event: Event,
    location_ids: Iterable[int],
    *,
    only: Status | None = None,
    etag: str | None = None,
    how: str | None = None,
) -> int:
    """Take locations a step further, as a part of another transaction. Idempotent.

    Args:
        only: those that still have this status: what another program has recorded since they were
            looked at stays; None: all that the table allows.
        etag: of the object as it is now; None where that is not known, or as it was.
        how: of what is `verified`, as in `verified_by`.

    Returns:
        How many were.
    """
    ids = list(location_ids)
    condition = f"AND status = '{only}'" if only else ""
    changed = _apply(
        connection, event, [{"id": id_, "etag": etag, "how": how} for id_ in ids], condition
    )
    _refresh(connection, ids, _ASSETS_AT)
    return changed


def mark(
    catalog: Catalog,
    location_ids: Iterable[int],
    event: Event,
    *,
    only: Status | None = None,
    etag: str | None = None,
    how: str | None = None,
) -> int:
    """`apply` in a transaction of its own."""
    with catalog.transaction() as connection:
        return apply(connection, event, location_ids, only=only, etag=etag, how=how)


class Look(NamedTuple):
    """What a look at an object has told of its location."""

    copy: RemoteCopy  #: the location as it was read before the look
    event: Literal["verified", "lost", "damaged"]
    #: Of the object as it is now; None if it is as it was, or not told. Empty where what was
    #: damaged is not known: no object passes for it then.
    etag: str | None = None
    verified_by: str | None = None  #: what `verified` rests on


# Still as it was when it was looked at: what another program has recorded since stays.
_UNCHANGED = "AND status = :status AND etag IS :old_etag AND updated_at IS :updated_at"


def record_looks(connection: sa.Connection, looks: Sequence[Look]) -> list[bool]:
    """Write down what was found of objects; of each, whether its row was still as it was before."""
    written = []
    for copy, event, etag, how in looks:
        before = {"status": copy.status, "old_etag": copy.etag, "updated_at": copy.updated_at}
        row = {"id": copy.location_id, **before, "etag": etag, "how": how}
        written.append(_apply(connection, event, [row], _UNCHANGED) > 0)
    changed = [look.copy.file_asset_id for look, done in zip(looks, written, strict=True) if done]
    _refresh(connection, changed)
    return written


class Stored(NamedTuple):
    """An object that is there, whole, and was verified to hold a file; or is said to hold it."""

    file_asset_id: int
    key: str
    size_bytes: int
    sha256: str
    etag: str | None
    verified_by: str | None  #: None where it is only said
    #: The location of the object that it was copied from: since when that is verified, this is.
    copied_from: int | None = None


_OBJECT = (
    *("file_asset_id", "backend_id", "container_name", "locator", "public_url", "status"),
    *("is_primary", "size_bytes", "etag", "verified_at", "verified_by", "status_since"),
)
_STORE = f"""
VALUES (:file_asset_id, :backend, :bucket, :key, :public_url, 'active', 0, :size_bytes, :etag,
        COALESCE((SELECT c.verified_at FROM file_locations c WHERE c.id = :copied_from),
                 CASE WHEN :verified_by IS NOT NULL THEN CURRENT_TIMESTAMP END),
        :verified_by, CURRENT_TIMESTAMP{{more}})
ON CONFLICT (file_asset_id, backend_id, locator) DO UPDATE SET
    container_name = excluded.container_name, public_url = excluded.public_url,
    status = 'active', size_bytes = excluded.size_bytes, etag = excluded.etag,
    verified_at = excluded.verified_at, verified_by = excluded.verified_by,
    updated_at = CURRENT_TIMESTAMP, {_since("active", "file_locations.")}
WHERE file_locations.status <> 'pruning'
"""
# What is learned of a content that nobody had read whole.
_KEEP_DIGEST = """
UPDATE file_assets SET sha256 = COALESCE(NULLIF(sha256, ''), :sha256),
    size_bytes = COALESCE(size_bytes, :size_bytes), updated_at = CURRENT_TIMESTAMP
WHERE id = :file_asset_id AND (sha256 IS NULL OR sha256 = '' OR size_bytes IS NULL)
"""


_ELSEWHERE = "file_asset_id = :file_asset_id AND backend_id = :backend AND locator <> :key"


def record_stored(
    connection: sa.Connection, backend: ObjectBackend, objects: Sequence[Stored]
) -> list[Stored]:
    """Objects are there. What another content had at their keys is replaced, and where else the
    same files were on the backend is over. Idempotent.

    Returns:
        Those that were recorded: all but where the key has come to be another file's meanwhile, or
        what is there is about to be deleted.

    Raises:
        CatalogError: the backend was removed meanwhile.
    """
    require_in_use(connection, backend)
    here = {o.key: o for o in objects}
    for key in keys.being_pruned(connection, backend.bucket, here):
        del here[key]
    others = [
        copy
        for copy in copies_at(connection, backend, here)
        if copy.file_asset_id != here[copy.key].file_asset_id
    ]
    holders = {
        key: keys.holders(connection, backend, key, here[key].file_asset_id)
        for key in {copy.key for copy in others}
    }
    # What one of them gives up is free for the others: they may have changed places.
    while taken := [
        key
        for key, files in holders.items()
        if key in here and files - {o.file_asset_id for o in here.values()}
    ]:
        for key in taken:
            del here[key]
    ours = {(o.file_asset_id, o.key) for o in here.values()}
    objects = [o for o in objects if (o.file_asset_id, o.key) in ours]
    replaced = [o for o in others if o.key in here and o.sha256 != here[o.key].sha256]
    # Written out: `_asdict` takes 2.5 us a file more.
    rows = [
        {
            "file_asset_id": o.file_asset_id,
            "backend": backend.id,
            "bucket": backend.bucket,
            "key": o.key,
            "public_url": backend.public_url(o.key),
            "size_bytes": o.size_bytes,
            "etag": o.etag,
            "verified_by": o.verified_by,
            "sha256": o.sha256,
            "copied_from": o.copied_from,
        }
        for o in objects
    ]
    if not rows:
        return []
    _apply(connection, "replaced", [{"id": copy.location_id} for copy in replaced])
    store = insert_sql(connection, "file_locations", _OBJECT, _STORE)
    for statement in (store, _update_sql("moved", "", _ELSEWHERE), _KEEP_DIGEST):
        connection.exec_driver_sql(statement, rows)
    changed = [o.file_asset_id for o in objects] + [copy.file_asset_id for copy in replaced]
    _refresh(connection, changed)
    return objects


def to_be_replaced(
    catalog: Catalog, backend: ObjectBackend, key: str, file_asset_id: int
) -> list[RemoteCopy]:
    """The earlier contents of a file that are at a key, as far as the catalog says.

    Args:
        file_asset_id: the newer content, which is to come there.
    """
    with catalog.read() as connection:
        found = copies_at(connection, backend, [key])
    return [c for c in found if c.status == "active" and c.file_asset_id != file_asset_id]


_KEEP_ASIDE = """
VALUES (:file_asset_id, :backend, :bucket, :key, NULL, 'superseded', 0, :size_bytes, :etag,
        CURRENT_TIMESTAMP, :verified_by, CURRENT_TIMESTAMP{more})
ON CONFLICT (file_asset_id, backend_id, locator) DO UPDATE SET
    status = CASE file_locations.status WHEN 'removed' THEN 'superseded'
                                        ELSE file_locations.status END,
    created_at = CASE file_locations.status WHEN 'removed' THEN CURRENT_TIMESTAMP
                                            ELSE file_locations.created_at END,
    etag = excluded.etag, verified_at = excluded.verified_at, verified_by = excluded.verified_by,
    updated_at = CURRENT_TIMESTAMP, status_since = CURRENT_TIMESTAMP
"""


class KeptAside(NamedTuple):
    """A copy of an object that is about to be replaced."""

    source: RemoteCopy  #: that object
    key: str  #: the copy's
    etag: str | None
    verified_by: str


def withdraw_at(
    catalog: Catalog,
    backend: ObjectBackend,
    key: str,
    file_asset_id: int,
    *,
    kept: Sequence[KeptAside] = (),
) -> None:
    """Say of no file any more that it is at this key: its object is about to be replaced.

    Goes before the replacing, as a kill in between must not leave a row that claims what the store
    no longer has.

    Args:
        file_asset_id: the file that is to come there.
        kept: copies of what is there now.

    Raises:
        ConflictError: the key has come to be another file's since it was planned; or what is at one
            of the keys is about to be deleted.
        CatalogError: the backend was removed meanwhile.
    """
    concerned = [key, *(copy.key for copy in kept)]
    with catalog.transaction() as connection:
        require_in_use(connection, backend)
        pruned = keys.being_pruned(connection, backend.bucket, concerned)
        if pruned or keys.is_anothers(connection, backend, key, file_asset_id):
            raise ConflictError(
                f"backend {backend.name!r}: {key!r} is another file's by now",
                code="KeyTaken",
                hint="nothing was overwritten; upload again, which takes another key",
            )
        if kept:
            insert = insert_sql(connection, "file_locations", _OBJECT, _KEEP_ASIDE)
            there = {"backend": backend.id, "bucket": backend.bucket}
            rows = [{**k.source._asdict(), **there, **k._asdict()} for k in kept]
            for row in rows:
                del row["source"]
            for statement in (insert, _KEEP_DIGEST):
                connection.exec_driver_sql(statement, rows)
        found = copies_at(connection, backend, [key])
        apply(connection, "withdrawn", [copy.location_id for copy in found])


def spare(connection: sa.Connection, location_ids: Collection[int]) -> None:
    """Objects that were about to be deleted stay: their locations are again what they were."""
    rows = [{"id": id_} for id_ in location_ids]
    _apply(connection, "stayed", rows, "AND status_before = 'active'")
    _apply(connection, "spared", rows)
    _refresh(connection, location_ids, _ASSETS_AT)


def retire(connection: sa.Connection, backend_id: int) -> int:
    """A backend is the catalog's no longer, and nothing on it counts; how many locations had.

    Goes behind what takes the backend out, as a part of its transaction. Its objects stay.
    """
    active = "SELECT COUNT(*) FROM file_locations WHERE backend_id = :backend AND status = 'active'"
    here = {"backend": backend_id}
    counted = int(connection.scalar(sa.text(active), here) or 0)
    connection.exec_driver_sql(_update_sql("retired", "", "backend_id = :backend"), here)
    presence.drop_backend(connection, backend_id)
    return counted


class LocalPlace(NamedTuple):
    """A file at a path below a library root."""

    file_asset_id: int
    root: str
    path: str  #: below the root, `/`-separated
    absolute_path: str
    size_bytes: int
    mtime_ns: int
    #: As in `FileStat`.
    ctime_ns: int | None = None
    inode: int | None = None
    file_system: str | None = None
    sha256: str | None = None  #: of its content, where it has been read whole


_LOCAL = (
    *("file_asset_id", "backend_id", "container_name", "locator", "absolute_path"),
    *("library_root", "library_path", "status", "is_primary", "size_bytes", "mtime_ns"),
    *("ctime_ns", "inode", "file_system", "status_since"),
)
_SCANNED = """
VALUES (:file_asset_id, :local, :root, :path, :absolute_path, :root, :path, 'active', 1,
        :size_bytes, :mtime_ns, :ctime_ns, :inode, :file_system, CURRENT_TIMESTAMP{more})
"""


def _local_rows(connection: sa.Connection, places: Sequence[LocalPlace]) -> list[dict[str, Any]]:
    local = local_backend_id(connection)
    return [{"local": local, **place._asdict()} for place in places]


_READ_LISTS_AGAIN = """
UPDATE library_roots SET playlists_read_at = NULL
WHERE path = :root AND playlists_read_at IS NOT NULL
"""


def record_scanned(
    connection: sa.Connection, places: Sequence[LocalPlace], *, replaced: Iterable[int]
) -> None:
    """A scan has found contents that are new at their paths.

    Args:
        replaced: the locations of the earlier contents of these paths.
    """
    _apply(connection, "changed", [{"id": id_} for id_ in replaced])
    statement = insert_sql(connection, "file_locations", _LOCAL, _SCANNED)
    connection.exec_driver_sql(statement, _local_rows(connection, places))
    for root in {place.root for place in places}:  # an entry of a playlist may name one of them
        connection.execute(sa.text(_READ_LISTS_AGAIN), {"root": root})
    _refresh(connection, [place.file_asset_id for place in places])


def record_seen(
    connection: sa.Connection, seen: Sequence[tuple[int, int | None, FileStat, str | None]]
) -> None:
    """Known contents are at their paths, or are there again.

    Args:
        seen: of each, its location, its file asset, what the file system says of the file, and its
            SHA-256 in hex if it was read whole.
    """
    rows = [
        {"id": id_, "file_asset_id": asset, "sha256": sha256, **stat._asdict()}
        for id_, asset, stat, sha256 in seen
    ]
    _apply(connection, "seen", rows)
    if read := [row for row in rows if row["sha256"] and row["file_asset_id"]]:
        connection.exec_driver_sql(_KEEP_DIGEST, read)
    _refresh(connection, [row["id"] for row in rows], _ASSETS_AT)


_MOVE = f"""
UPDATE file_locations SET
    locator = CASE
        WHEN locator = library_path AND NOT EXISTS (
            SELECT 1 FROM file_locations o WHERE o.file_asset_id = file_locations.file_asset_id
            AND o.backend_id = file_locations.backend_id AND o.locator = :path) THEN :path
        WHEN locator IN (library_path, absolute_path) AND NOT EXISTS (
            SELECT 1 FROM file_locations o WHERE o.file_asset_id = file_locations.file_asset_id
            AND o.backend_id = file_locations.backend_id AND o.locator = :absolute_path)
        THEN :absolute_path
        ELSE locator END,
    container_name = CASE container_name WHEN library_root THEN :root ELSE container_name END,
    library_root = :root, library_path = :path, absolute_path = :absolute_path,
    verified_by = CASE WHEN :sha256 IS NOT NULL THEN 'read'
        WHEN ctime_ns = :ctime_ns OR verified_by = '{DAMAGED}' THEN verified_by ELSE 'inode' END,
    verified_at = CASE WHEN :sha256 IS NOT NULL THEN CURRENT_TIMESTAMP ELSE verified_at END,
    size_bytes = :size_bytes, mtime_ns = :mtime_ns, ctime_ns = :ctime_ns, inode = :inode,
    file_system = :file_system, updated_at = CURRENT_TIMESTAMP
WHERE id = :id AND status NOT IN ('superseded', 'offloading')
"""
# One that was found damaged stays so until its content is read: an inode says nothing of that.
_NOT_READ_AFTER_DAMAGE = (
    f"AND (:sha256 IS NOT NULL OR status <> 'damaged' AND COALESCE(verified_by, '') <> '{DAMAGED}')"
)


def record_moved(
    connection: sa.Connection,
    moved: Sequence[tuple[int, LocalPlace]],
    *,
    before: Mapping[int, str],
) -> None:
    """Local files are at other paths now. Idempotent.

    Args:
        moved: of each, its location and where it is; with the digest where it was read, else an
            inode has told that it is the same.
        before: by location, the status that it had: one that was there still is.
    """
    rows = [{"id": id_, **place._asdict()} for id_, place in moved]
    if rows:
        connection.exec_driver_sql(_MOVE, rows)
    away = [row for row in rows if before.get(row["id"]) != "active"]
    _apply(connection, "seen", away, _NOT_READ_AFTER_DAMAGE)
    if read := [row for row in rows if row["sha256"]]:
        connection.exec_driver_sql(_KEEP_DIGEST, read)
    changed = [p.file_asset_id for id_, p in moved if p.sha256 or before.get(id_) != "active"]
    _refresh(connection, changed)


class MovedUnread(NamedTuple):
    """A local file that an inode has told at another path."""

    location_id: int
    file_asset_id: int
    root: str
    path: str  #: below `root`
    #: As in `FileStat`.
    size_bytes: int
    mtime_ns: int
    ctime_ns: int | None
    inode: int | None
    file_system: str | None
    touched: bool  #: whether it has another ctime than before

    @property
    def place(self) -> str:
        """Its absolute path."""
        return f"{self.root.rstrip('/')}/{self.path}"


_MOVE_UNREAD = f"{_MOVE} AND status = 'active'"
_MOVED_ROW = ("id", "asset", "root", "path", *FileStat._fields)


def record_moved_unread(connection: sa.Connection, moved: Sequence[MovedUnread]) -> None:
    """`record_moved` of files that were there before, and of which nothing was read: to presence it
    makes no difference where they are. Idempotent; one that is there no longer is left out."""
    rows = [
        {**dict(zip(_MOVED_ROW, f[:-1], strict=True)), "absolute_path": f.place, "sha256": None}
        for f in moved
    ]
    connection.exec_driver_sql(_MOVE_UNREAD, rows)


def mark_suspected(catalog: Catalog, suspected: Sequence[tuple[int, FileStat]]) -> None:
    """Local files have other bytes than before, and nothing says that they were edited.

    Args:
        suspected: of each, its location, and what the file system says of the file.
    """
    rows = [{"id": id_, **stat._asdict()} for id_, stat in suspected]
    with catalog.transaction() as connection:
        _apply(connection, "suspected", rows)
        _refresh(connection, [row["id"] for row in rows], _ASSETS_AT)


_RELEASE_PATH = """
UPDATE file_locations SET library_root = NULL, library_path = NULL, updated_at = CURRENT_TIMESTAMP
WHERE id = :id AND status = 'forgotten'
"""


def release_paths(connection: sa.Connection, location_ids: Iterable[int]) -> None:
    """Other files have the paths of these forgotten ones now. They stay forgotten, at no path.

    As `superseded`, nothing would tell them from files that are on backends only, and wanted.
    """
    if rows := [{"id": id_} for id_ in location_ids]:
        connection.exec_driver_sql(_RELEASE_PATH, rows)


_GIVE_WAY = """
UPDATE file_locations SET
    locator = CASE WHEN locator = library_path THEN :path ELSE locator END,
    library_path = :path, absolute_path = :absolute_path, updated_at = CURRENT_TIMESTAMP
WHERE id = :id AND status IN ('missing', 'offloaded', 'forgotten')
"""


def give_way(connection: sa.Connection, files: Sequence[tuple[int, str, str]]) -> None:
    """Other files are at the paths of these, which are not there: their own are other ones now.

    They stay what they are; a restore brings them beside the others. Idempotent.

    Args:
        files: of each, its location, the root, and the path below it that is to be its own.
    """
    rows = [
        {"id": id_, "path": path, "absolute_path": f"{root.rstrip('/')}/{path}"}
        for id_, root, path in files
    ]
    if rows:
        connection.exec_driver_sql(_GIVE_WAY, rows)


_AT_PATHS = """
SELECT id, file_asset_id, library_path, status FROM file_locations
WHERE library_root = :root AND library_path IN (SELECT value FROM json_each(:paths))
  AND status <> 'superseded'
"""
_RESTORED = f"""
UPDATE file_locations SET status = 'active', absolute_path = :absolute_path,
    size_bytes = :size_bytes, mtime_ns = :mtime_ns, ctime_ns = :ctime_ns, inode = :inode,
    file_system = :file_system, missing_since = NULL, verified_at = CURRENT_TIMESTAMP,
    verified_by = 'read', updated_at = CURRENT_TIMESTAMP, {_since("active")}
WHERE library_root = :root AND library_path = :path AND file_asset_id = :file_asset_id
"""
# The locator is the path, as of every local file; the absolute one where the same file has or had
# that path below another root.
_INSERT_RESTORED = f"""
SELECT :file_asset_id, :local, :root,
       CASE WHEN EXISTS (SELECT 1 FROM file_locations o WHERE o.file_asset_id = :file_asset_id
                         AND o.backend_id = :local AND o.locator = :path)
            THEN :absolute_path ELSE :path END,
       :absolute_path, :root, :path, 'active', 0, :size_bytes, :mtime_ns, :ctime_ns,
       :inode, :file_system, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP, 'read'{{more}}
WHERE NOT EXISTS (SELECT 1 FROM file_locations h WHERE h.library_root = :root
                  AND h.library_path = :path AND h.file_asset_id = :file_asset_id)
ON CONFLICT (file_asset_id, backend_id, locator) DO UPDATE SET
    container_name = excluded.container_name, absolute_path = excluded.absolute_path,
    library_root = excluded.library_root, library_path = excluded.library_path,
    status = 'active', size_bytes = excluded.size_bytes, mtime_ns = excluded.mtime_ns,
    ctime_ns = excluded.ctime_ns, inode = excluded.inode, file_system = excluded.file_system,
    missing_since = NULL, verified_at = excluded.verified_at, verified_by = excluded.verified_by,
    updated_at = CURRENT_TIMESTAMP, {_since("active", "file_locations.")}
"""


# Of roots that nobody has any more; a scan still looks for what was below them.
_AT_LOST_ROOTS = """
file_asset_id = :file_asset_id AND library_root <> :root AND library_root IN (
    SELECT path FROM library_roots WHERE let_go_at IS NOT NULL)
"""


def record_restored(connection: sa.Connection, root: str, places: Sequence[LocalPlace]) -> None:
    """Files lie whole below a root, read just now. Idempotent.

    What else the catalog took to be at their paths is not there: they were free, or held the file.
    """
    owner = {place.path: place.file_asset_id for place in places}
    values = {"root": root, "paths": json.dumps(list(owner))}
    others = [
        row
        for row in connection.execute(sa.text(_AT_PATHS), values).all()
        if row.file_asset_id != owner[row.library_path]
    ]
    release_paths(connection, [row.id for row in others if row.status == "forgotten"])
    displaced = [{"id": row.id} for row in others if row.status != "forgotten"]
    _apply(connection, "displaced", displaced)
    rows = _local_rows(connection, places)
    columns = (*_LOCAL, "verified_at", "verified_by")
    insert = insert_sql(connection, "file_locations", columns, _INSERT_RESTORED)
    for statement in (_RESTORED, insert, _KEEP_DIGEST):
        connection.exec_driver_sql(statement, rows)
    connection.exec_driver_sql(_update_sql("settled", "", _AT_LOST_ROOTS), rows)
    connection.execute(sa.text(_READ_LISTS_AGAIN), {"root": root})
    _refresh(connection, {*owner.values(), *(row.file_asset_id for row in others)})


def forget_stat(connection: sa.Connection, location_ids: Iterable[int]) -> None:
    """Let the next scan read these local files anew: they are not what the catalog says."""
    # An impossible mtime: a difference is seen, whatever the file's own mtime is.
    if rows := [{"id": id_} for id_ in location_ids]:
        statement = "UPDATE file_locations SET mtime_ns = NULL WHERE id = :id"
        connection.exec_driver_sql(statement, rows)


#: What becomes of a status in a catalog that is made of what is left of another: of a path, nobody
#: has seen the file since; of a key, what was said is said still.
_OF_LOST_PATHS: dict[str, Status] = {
    s: s for s in ("excluded", "forgotten", "offloaded", "superseded")
}
_OF_KEYS: dict[str, Status] = {s: s for s in ("active", "missing", "damaged", "removed")}
#: The same of a backend that nobody is about to look at: what is said to be there is not shown.
_OF_UNSEEN_KEYS: dict[str, Status] = {**_OF_KEYS, "active": TRANSITIONS["lost"].after}
_COPIED = (
    *("id", "file_asset_id", "backend_id", "container_name", "locator", "absolute_path"),
    *("public_url", "status", "is_primary", "size_bytes", "mtime_ns", "ctime_ns", "inode"),
    *("library_root", "library_path", "etag", "missing_since", "status_since", "created_at"),
    "updated_at",
)


def insert_copied(connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows of a catalog that is lost, as what is left of it has them. Nothing of them is verified.

    Presence is for the caller to refresh, once all are there.

    Args:
        rows: the columns of each, by name, but for `status_since`: since now, as no time of grace
            is to be shortened by what somebody else has written. Besides `is_local`, and
            `is_listed` of an object that is about to be compared with what its store lists: any
            other counts as missing until somebody looks.
    """
    made = []
    now = f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M:%S}"
    for row in rows:
        known = _OF_KEYS if row["is_listed"] else _OF_UNSEEN_KEYS
        known = _OF_LOST_PATHS if row["is_local"] else known
        otherwise = TRANSITIONS["copied" if row["is_local"] else "moved"].after
        status = known.get(str(row["status"]), otherwise)
        copied = {**row, "status": status, "status_since": now}
        if status != row["status"]:
            copied["missing_since"] = now
        if status == "damaged":
            copied["etag"] = None  # no upload is to replace it unseen: it may have changed since
        copied = {name: copied[name] for name in _COPIED}
        made.append(copied)
    if made:
        connection.exec_driver_sql(insert_sql(connection, "file_locations", _COPIED), made)


# Of each file, the one place below a root that it had, and where it is to be.
_LOST_PLACES = """
SELECT MIN(l.id), l.file_asset_id, MIN(l.library_root), MIN(l.library_path)
FROM file_locations l WHERE l.file_asset_id IN (SELECT value FROM json_each(:assets))
  AND l.status = 'missing' AND l.library_path IS NOT NULL
GROUP BY l.file_asset_id HAVING COUNT(*) = 1
"""
_HAVE_PATHS = """
SELECT l.library_root, l.library_path, l.file_asset_id FROM file_locations l
WHERE l.library_root IN (SELECT value FROM json_each(:roots))
  AND l.library_path IN (SELECT value FROM json_each(:paths)) AND l.status <> 'superseded'
"""
_MOVE_LOST = """
UPDATE file_locations SET library_path = :path, updated_at = CURRENT_TIMESTAMP,
    locator = CASE WHEN EXISTS (
            SELECT 1 FROM file_locations o WHERE o.file_asset_id = :asset AND o.id <> :id
            AND o.backend_id = file_locations.backend_id AND o.locator = :path)
        THEN locator ELSE :path END,
    absolute_path = CASE WHEN absolute_path IS NULL THEN NULL ELSE library_root || '/' || :path END
WHERE id = :id
"""


def move_lost(connection: sa.Connection, paths: Mapping[int, str]) -> dict[int, str]:
    """Files that are lost were last at these paths, say the keys of their objects. Idempotent.

    What one of them gives up is free for the others.

    Args:
        paths: of each file asset.

    Returns:
        Of each that is at its path now, the root below which that is. Not of one that was at
        several paths, or at none, or whose path another file has.
    """
    found = connection.exec_driver_sql(_LOST_PLACES, {"assets": json.dumps(list(paths))}).all()
    going = {asset: (id_, root) for id_, asset, root, _ in found}
    roots, wanted = {root for _, _, root, _ in found}, [paths[asset] for asset in going]
    values = {"roots": json.dumps(sorted(roots)), "paths": json.dumps(wanted)}
    holders: dict[tuple[str, str], set[int]] = {}
    for root, path, asset in connection.exec_driver_sql(_HAVE_PATHS, values):
        holders.setdefault((root, path), set()).add(asset)
    # No path is for two.
    takers: dict[tuple[str, str], int] = {}
    for asset, (_, root) in going.items():
        takers.setdefault((root, paths[asset]), asset)
    going = {a: there for a, there in going.items() if takers[there[1], paths[a]] == a}
    # Whoever stays where it is keeps others from its path.
    while stuck := [
        asset
        for asset, (_, root) in going.items()
        if holders.get((root, paths[asset]), set()) - {asset} - going.keys()
    ]:
        for asset in stuck:
            del going[asset]
    rows = [{"id": id_, "asset": a, "path": paths[a]} for a, (id_, _) in going.items()]
    if rows:
        connection.exec_driver_sql(_MOVE_LOST, rows)
    return {asset: root for asset, (_, root) in going.items()}
