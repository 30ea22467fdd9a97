"""The songs of playlists: which, in what order, how often. Nothing else reads or writes the order.

Two tables say it. `playlist_songs` decides which songs are in a playlist, as an older program that
shares the catalog reads and writes it. `playlist_entries` tells of those the order, repetitions and
the manifest that listed each. A song without an entry, as that program adds it, comes behind those
that have one; an entry without its song, as that program takes it out, does not count.

`playlist_songs` follows the order by its `position`. It follows the repetitions only if we have
made it for that, which its index shows: in an adopted database it stays the set that it was.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from catalogsync_assets.core.catalog import object_keys
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.lazy import sa
from catalogsync_assets.core.catalog.legacy import insert_row, insert_rows
from catalogsync_assets.core.catalog.schema import REPETITIONS_INDEX
from catalogsync_assets.core.catalog.scope import id_list

#: What names of the same playlist have in common: they may differ in case.
fold = object_keys.fold
#: Songs of the lists that one transaction writes, unless a single list has more.
_CHUNK = 2_000

_ORDER = """
SELECT playlist_id, song_id, manifest FROM (
    SELECT e.playlist_id, e.song_id, e.manifest, e.position, 0 AS added
    FROM playlist_entries e
    WHERE e.playlist_id IN ({ids}) AND EXISTS (
        SELECT 1 FROM playlist_songs x
        WHERE x.playlist_id = e.playlist_id AND x.song_id = e.song_id)
    UNION ALL
    SELECT x.playlist_id, x.song_id, NULL, x.position, 1
    FROM playlist_songs x
    WHERE x.playlist_id IN ({ids}) AND x.song_id IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM playlist_entries e
        WHERE e.playlist_id = x.playlist_id AND e.song_id = x.song_id)
) AS entries
ORDER BY playlist_id, added, position IS NULL, position, song_id
"""

#: A song, and the manifest that listed it; None where it came in some other way.
Entry = tuple[int, "str | None"]


def song_ids(connection: sa.Connection, playlist_id: int) -> array[int]:
    """The songs of a playlist in its order, each as often as it stands there."""
    rows = connection.execute(sa.text(_ORDER.format(ids=int(playlist_id))))
    return array("q", (row[1] for row in rows))  # 8 bytes for each


@dataclass
class Listed:
    """A playlist as a manifest has it."""

    name: str  #: of the playlist, which is made where there is none
    #: The manifest is this playlist and names it so, so that it replaces what other manifests have
    #: listed; else it only replaces what it has listed itself before.
    is_whole: bool
    #: Ids in their order, repetitions included.
    songs: array[int] = field(default_factory=lambda: array("q"))
    keep: bool = False  #: take out nothing, as where some of the manifest could not be read


@dataclass
class Changed:
    """How many playlists were made, and how many songs came into playlists or left them."""

    playlists: int = 0
    added: int = 0
    removed: int = 0


def take_lists(catalog: Catalog, lists: Iterable[Listed], manifest: str) -> Changed:
    """Give playlists the order, repetitions and removals of a manifest. Idempotent.

    Songs that came into a playlist in some other way than by an import stay in it. A song that
    leaves a playlist stays in the catalog, with its files and its download task. A playlist is
    written in one transaction.

    Args:
        manifest: what tells it from others, such as its path.
    """
    changed = Changed()
    for group in _groups(lists):
        with catalog.transaction() as connection:
            found = _by_id(connection, group, changed)
            take(connection, found, dict.fromkeys(found, manifest), changed)
    return changed


def replace_song(connection: sa.Connection, old: int, new: int) -> list[str]:
    """Let one song stand wherever another stands, in the same order and as often.

    Where a playlist is a set and has both, it keeps one row of the two.

    Args:
        connection: one of `Catalog.transaction`.

    Returns:
        The names of the playlists that had it.
    """
    names = []
    for playlist_id, name in connection.execute(_HAVING, {"song": old}).all():
        before = _before(connection, [playlist_id])
        entries = [(new if s == old else s, origin) for s, origin in before[playlist_id]]
        after = {playlist_id: entries}
        connection.execute(_RENAME, {"playlist": playlist_id, "old": old, "new": new})
        _write_entries(connection, after)
        _write_songs(connection, before, after, _there(connection, after), Changed())
        names.append(name or str(playlist_id))
    return names


_HAVING = sa.text(
    "SELECT id, name FROM playlists WHERE id IN ("
    "  SELECT playlist_id FROM playlist_songs WHERE song_id = :song"
    "  UNION SELECT playlist_id FROM playlist_entries WHERE song_id = :song) ORDER BY id"
)
# The row stays, with another program's columns, unless there is one of the other song.
_RENAME = sa.text(
    "UPDATE playlist_songs SET song_id = :new WHERE playlist_id = :playlist AND song_id = :old"
    " AND NOT EXISTS (SELECT 1 FROM playlist_songs x"
    "                 WHERE x.playlist_id = :playlist AND x.song_id = :new)"
)


def _groups(lists: Iterable[Listed]) -> Iterator[list[Listed]]:
    group: list[Listed] = []
    for listed in lists:
        if group and sum(len(x.songs) for x in (*group, listed)) > _CHUNK:
            yield group
            group = []
        group.append(listed)
    if group:
        yield group


def _by_id(
    connection: sa.Connection, group: Sequence[Listed], changed: Changed
) -> dict[int, Listed]:
    # Compared here: SQLite's LOWER knows only the Latin alphabet.
    known = {
        fold(name): playlist_id
        for playlist_id, name in connection.execute(
            sa.text("SELECT id, name FROM playlists WHERE name IS NOT NULL ORDER BY id DESC")
        )
    }
    found: dict[int, Listed] = {}
    for listed in group:
        playlist_id = known.get(fold(listed.name))
        if playlist_id is None:
            playlist_id = insert_row(connection, "playlists", {"name": listed.name})
            changed.playlists += 1
        found[playlist_id] = listed
    return found


def take(
    connection: sa.Connection,
    lists: Mapping[int, Listed],
    manifests: Mapping[int, str],
    changed: Changed,
) -> None:
    """`take_lists` of playlists that are there, as a part of another transaction.

    Args:
        lists: by playlist.
        manifests: by playlist, what tells the manifest of each from others.
        changed: is brought up to date.
    """
    before, there = _before(connection, lists), _there(connection, lists)
    merged = {i: _merged(before[i], lists[i], manifests[i]) for i in lists}
    after = {i: entries for i, entries in merged.items() if entries != before[i]}
    if after:
        _write_entries(connection, after)
        _write_songs(connection, before, after, there, changed)


def _before(connection: sa.Connection, playlists: Iterable[int]) -> dict[int, list[Entry]]:
    """The entries of playlists, in order."""
    before: dict[int, list[Entry]] = {i: [] for i in playlists}
    statement = sa.text(_ORDER.format(ids=id_list(before)))
    for playlist_id, song_id, origin in connection.execute(statement):
        before[playlist_id].append((song_id, origin))
    return before


def _there(
    connection: sa.Connection, playlists: Iterable[int]
) -> dict[tuple[int, int], list[int | None]]:
    """The positions of the rows of `playlist_songs`, by playlist and song."""
    there: dict[tuple[int, int], list[int | None]] = {}
    for playlist_id, song_id, position in connection.execute(
        sa.text(
            "SELECT playlist_id, song_id, position FROM playlist_songs"
            f" WHERE playlist_id IN ({id_list(playlists)}) ORDER BY position"
        )
    ):
        there.setdefault((playlist_id, song_id), []).append(position)
    return there


def _merged(old: Sequence[Entry], listed: Listed, manifest: str) -> list[Entry]:
    """The entries of a playlist after a manifest that lists some of them was imported."""
    new = set(listed.songs)
    if listed.is_whole:
        others = [e for e in old if e[1] is None and e[0] not in new]
        place = 0
    else:
        others, place = [], None
        for song_id, origin in old:
            if origin == manifest:
                place = len(others) if place is None else place
            elif origin is not None or song_id not in new:
                others.append((song_id, origin))
        place = len(others) if place is None else place
    # What another manifest has listed, and still lists as far as is known, stands where it stood.
    taken = {song_id for song_id, _ in others}
    mine = [(song_id, manifest) for song_id in listed.songs if song_id not in taken]
    merged = [*others[:place], *mine, *others[place:]]
    if listed.keep:
        merged += [entry for entry in old if entry[0] not in new | taken]
    return merged


def _write_entries(connection: sa.Connection, after: dict[int, list[Entry]]) -> None:
    rows = [
        {"playlist_id": i, "position": position, "song_id": song_id, "manifest": origin}
        for i, entries in after.items()
        for position, (song_id, origin) in enumerate(entries, 1)
    ]
    gone = "DELETE FROM playlist_entries WHERE playlist_id = :playlist_id"
    _execute(connection, gone, [{"playlist_id": i} for i in after])
    insert_rows(connection, "playlist_entries", rows)


def _write_songs(
    connection: sa.Connection,
    before: dict[int, list[Entry]],
    after: dict[int, list[Entry]],
    there: dict[tuple[int, int], list[int | None]],
    changed: Changed,
) -> None:
    """Let the set of songs follow. A row that can stay does, with another program's columns."""
    indexes = sa.inspect(connection).get_indexes("playlist_songs")
    may_repeat = any(index["name"] == REPETITIONS_INDEX for index in indexes)
    gone: list[dict[str, int]] = []
    moved: list[dict[str, int]] = []
    come: list[dict[str, int]] = []
    for playlist_id, entries in after.items():
        places: dict[int, list[int]] = {}
        for position, (song_id, _) in enumerate(entries, 1):
            places.setdefault(song_id, []).append(position)
        left = {song_id for song_id, _ in before[playlist_id]} - places.keys()
        changed.removed += len(left)
        gone += [{"playlist_id": playlist_id, "song_id": s} for s in left]
        for song_id, all_places in places.items():
            wanted = all_places if may_repeat else all_places[:1]
            key = {"playlist_id": playlist_id, "song_id": song_id}
            present = there.get((playlist_id, song_id), [])
            changed.added += not present
            if present == wanted:
                continue
            if may_repeat and len(present) > 1:  # rows of which nothing tells one from another
                gone.append(key)
            elif present:
                moved.append({**key, "position": wanted[0]})
                wanted = wanted[1:]
            come += [{**key, "position": position} for position in wanted]
    here = "WHERE playlist_id = :playlist_id AND song_id = :song_id"
    _execute(connection, f"DELETE FROM playlist_songs {here}", gone)
    _execute(connection, f"UPDATE playlist_songs SET position = :position {here}", moved)
    insert_rows(connection, "playlist_songs", come)


def _execute(
    connection: sa.Connection, statement: str, rows: Sequence[Mapping[str, object]]
) -> None:
    if rows:
        connection.execute(sa.text(statement), list(rows))
