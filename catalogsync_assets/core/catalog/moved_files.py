"""Files that are at another path than before, and those that others stand in for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from catalogsync_assets.core.catalog import keys, locations
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.files import (
    SUPERSEDE_ASSET,
    FileFacts,
    KnownFile,
    Seen,
    still_there,
)
from catalogsync_assets.core.catalog.lazy import sa, sa_text
from catalogsync_assets.core.catalog.locations import LocalPlace, MovedUnread
from catalogsync_assets.core.catalog.object_keys import aside
from catalogsync_assets.core.catalog.scope import id_list
from catalogsync_assets.core.catalog.song_matching import keep_their_songs, tell_the_same
from catalogsync_assets.core.files.opening import FileStat


class Moved(NamedTuple):
    """A file that is at another path now."""

    known: KnownFile
    root: str
    path: str  #: below `root`
    stat: FileStat
    sha256: str | None  #: in hex, where it was read whole; None where its inode has told

    @property
    def place(self) -> LocalPlace:
        """Where it is."""
        absolute = f"{self.root.rstrip('/')}/{self.path}"
        asset = self.known.file_asset_id
        return LocalPlace(asset, self.root, self.path, absolute, *self.stat, sha256=self.sha256)


def record_moves(catalog: Catalog, files: Sequence[Moved]) -> None:
    """Files are at other paths than before: each keeps its id, song, batch and history.

    One transaction. A file that an offload has removed meanwhile, or is about to, is left out.
    """
    by_root: dict[str, list[Moved]] = {}
    for f in files:
        by_root.setdefault(f.root, []).append(f)
    with catalog.transaction() as connection:
        moved = [f for root, some in by_root.items() for f in _there(connection, root, some)]
        before = {f.known.location_id: f.known.status for f in moved}
        places = [(f.known.location_id, f.place) for f in moved]
        locations.record_moved(connection, places, before=before)
        keys.rename(connection, [(f.known.file_asset_id, f.root, f.path) for f in moved])


def record_moved_unread(catalog: Catalog, files: Sequence[MovedUnread]) -> None:
    """`record_moves` of files that an inode has told, and that were there before."""
    with catalog.transaction() as connection:
        locations.record_moved_unread(connection, files)
        keys.rename(connection, [(f.file_asset_id, f.root, f.path) for f in files])


def _there(connection: sa.Connection, root: str, files: Sequence[Moved]) -> list[Moved]:
    found = {f.known.location_id: f for f in files}
    seen = [Seen(f.known._replace(path=f.path), f.stat) for f in files]
    return [found[f.known.location_id] for f in still_there(connection, root, seen)]


def record_replaced(catalog: Catalog, files: Sequence[tuple[int, int, int]]) -> None:
    """Files are gone, and others are in their stead: history from now on. Idempotent.

    Args:
        files: of each, its location, its file asset, and the file asset that is there now.
    """
    with catalog.transaction() as connection:
        superseded = [{"old": asset, "new": new} for _, asset, new in files if asset != new]
        if superseded:
            connection.execute(sa_text(SUPERSEDE_ASSET), superseded)
        locations.apply(connection, "changed", [location for location, *_ in files])


def give_way(catalog: Catalog, files: Sequence[tuple[str, KnownFile]]) -> None:
    """Other files are at the paths of these, which are not there: these get paths beside them.

    Args:
        files: of each, its root, and what the catalog knows.
    """
    beside = [
        (known.location_id, root, aside(known.path, known.file_asset_id, lambda _: False))
        for root, known in files
    ]
    with catalog.transaction() as connection:
        locations.give_way(connection, beside)


def is_same_song(
    catalog: Catalog, known: KnownFile, facts: FileFacts, *, length_alone: bool = True
) -> bool:
    """Whether a file is a new content of a known one's song, by what each says of its sound.

    Args:
        length_alone: whether it is enough that both are exactly as long.
    """
    with catalog.read() as connection:
        return tell_the_same(connection, [(known, facts)], length_alone=length_alone)[0]


def is_anothers_song(catalog: Catalog, known: KnownFile, facts: FileFacts) -> bool:
    """Whether sound or tags speak against a file being new content of a known one."""
    with catalog.read() as connection:
        return not keep_their_songs(connection, [(known, facts)])[0]


def local_places(catalog: Catalog, file_assets: Iterable[int]) -> list[tuple[int, str, str]]:
    """Where local files are: the file asset, its root, and its path below that."""
    rows = catalog.rows(
        "SELECT file_asset_id, library_root, library_path FROM file_locations"
        f" WHERE file_asset_id IN ({id_list(file_assets)}) AND status = 'active'"
        " AND library_path IS NOT NULL"
    )
    return [(int(asset), str(root), str(path)) for asset, root, path in rows]


_NEWCOMERS = """
SELECT o.id, n.id, EXISTS (SELECT 1 FROM file_assets e WHERE e.superseded_by_id = n.id)
FROM file_locations o
JOIN file_assets g ON g.id = o.file_asset_id AND g.companion IS NULL
JOIN file_assets n ON n.song_id = g.song_id AND n.format = g.format AND n.id > :after
    AND n.superseded_by_id IS NULL AND (n.tags_error IS NULL OR g.tags_error IS NOT NULL)
WHERE o.id IN (SELECT value FROM json_each(:gone))
"""


class StandIn(NamedTuple):
    """What is there in the stead of a file that is gone."""

    file_asset_id: int
    is_edit: bool  #: whether it is newer content of another file as well


def stand_ins(catalog: Catalog, gone: Sequence[KnownFile], *, after: int) -> dict[int, StandIn]:
    """What has come in the stead of files that are gone: of the same song, and the same format.

    Only where it is one for one; a tagger that writes a new file, and renames it, leaves it so.
    None with which something is wrong, as with one whose end is missing, stands in for a whole one.

    Args:
        after: the last file asset of before.

    Returns:
        What is there now, by the location of the file that is gone.
    """
    values = {"gone": json.dumps([known.location_id for known in gone]), "after": after}
    pairs = [(int(a), StandIn(b, bool(edit))) for a, b, edit in catalog.rows(_NEWCOMERS, **values)]
    olds, news = [old for old, _ in pairs], [new for _, new in pairs]
    return {a: b for a, b in pairs if olds.count(a) == 1 == news.count(b)}
