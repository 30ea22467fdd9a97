"""What a person decides about songs: that some are one, or that one is two.

Each decision is one transaction, and marks the files that it is about, so that no scan undoes it:
see `song_matching`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from catalogsync_assets.core.catalog import playlists, presence
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.lazy import sa
from catalogsync_assets.core.catalog.legacy import insert_row
from catalogsync_assets.core.catalog.scope import id_list, select
from catalogsync_assets.core.catalog.songs import drop_if_empty, fill_gaps, link_artists
from catalogsync_assets.core.errors import UsageError

_COLUMNS = (
    *("title", "artist", "album", "track_number", "disc_number"),
    *("duration_seconds", "match_key"),
)
_SEEN = "`catalogsync whereis TITLE --json` lists songs with their ids and files"


@dataclass
class Merged:
    """What became of songs that are one now."""

    song: int  #: the one that stays
    title: str
    merged: list[int]  #: those that went into it
    files: int = 0  #: current files that it got
    downloads: int = 0  #: download tasks that it got
    playlists: list[str] = field(default_factory=list)  #: names of those in which it took a place
    #: Of `merged`, those that stay as empty rows: another program's table refers to them.
    kept: list[int] = field(default_factory=list)


def merge(catalog: Catalog, song_ids: Sequence[int]) -> Merged:
    """Make one song of several: the first, which keeps what it is called and gets what it lacks.

    Files, places in playlists, artists and download tasks of the others become its own, and they
    go. All in one transaction.

    Raises:
        UsageError: fewer than two are named, one is named twice, or one does not exist.
    """
    _require_several(song_ids)
    with catalog.transaction() as connection:
        select(catalog, songs=song_ids)
        target, *others = song_ids
        called = {song: _called(connection, song) for song in song_ids}
        result = Merged(target, str(called[target]["title"] or ""), others)
        for other in others:
            _move(connection, other, result)
        connection.execute(sa.text(f"{_DECIDE} WHERE song_id = :song"), {"song": target})
        presence.refresh(connection, song_ids=song_ids)
        for other in others:
            if drop_if_empty(connection, other):
                # Only now: an older database may want no two songs to be called the same.
                fill_gaps(connection, target, called[other])
            else:
                result.kept.append(other)
    return result


def _called(connection: sa.Connection, song_id: int) -> dict[str, Any]:
    """The columns of a song that tags have told."""
    statement = f"SELECT {', '.join(_COLUMNS)} FROM songs WHERE id = :song"
    row = connection.execute(sa.text(statement), {"song": song_id})
    return dict(row.mappings().one())


_DECIDE = "UPDATE file_assets SET song_decided = 1, updated_at = CURRENT_TIMESTAMP"


def _require_several(song_ids: Sequence[int]) -> None:
    if twice := [i for i in dict.fromkeys(song_ids) if song_ids.count(i) > 1]:
        raise UsageError(f"song {twice[0]} is named twice", hint="name each song once")
    if len(song_ids) < 2:  # noqa: PLR2004
        raise UsageError("there is nothing to merge", hint=f"name two songs or more; {_SEEN}")


def _move(connection: sa.Connection, other: int, result: Merged) -> None:
    """All that one song has goes to the one that stays."""
    values = {"old": other, "new": result.song}
    current = "SELECT COUNT(*) FROM file_assets WHERE song_id = :old AND superseded_by_id IS NULL"
    result.files += int(connection.scalar(sa.text(current), values) or 0)
    result.playlists += [
        name
        for name in playlists.replace_song(connection, other, result.song)
        if name not in result.playlists
    ]
    linked = "SELECT artist_id FROM artist_songs WHERE song_id = :new"
    for statement in (
        "UPDATE file_assets SET song_id = :new WHERE song_id = :old",
        "UPDATE artist_songs SET song_id = :new WHERE song_id = :old"
        f" AND artist_id NOT IN ({linked})",
        "DELETE FROM artist_songs WHERE song_id = :old",
    ):
        connection.execute(sa.text(statement), values)
    tasks = sa.text("UPDATE download_tasks SET song_id = :new WHERE song_id = :old")
    result.downloads += connection.execute(tasks, values).rowcount


@dataclass
class Split:
    """What became of a song that is two now."""

    song: int  #: the one that files were taken from
    new_song: int
    title: str  #: of the new one
    files: list[str]  #: absolute paths of what it got, or keys, where a file is not local


#: What a song is called by the tags of a file at a path: column values of `songs`, and each artist;
#: None if they cannot be read.
TagsOf = Callable[[Path], "tuple[Mapping[str, Any], Sequence[str]] | None"]


def split(catalog: Catalog, song_id: int, files: Sequence[str], tags_of: TagsOf) -> Split:
    """Make a new song of some files of another one, in one transaction.

    It is called what the tags of the first of these files say that can be read, else what the
    other is called; it is in no playlist. Earlier contents of the files go with them.

    Args:
        files: each a path on this machine, a path below a library root, or an object's key.

    Raises:
        UsageError: there is no such song; it has no such file, or several; or none would be left.
    """
    select(catalog, songs=[song_id])
    found = _named(catalog, song_id, files)
    told = next((t for _, path in found.values() if path and (t := tags_of(Path(path)))), None)
    with catalog.transaction() as connection:
        values = {"song": song_id}
        rows = connection.execute(_OF_SONG, values).scalars()
        current = set[int](rows)
        if gone := found.keys() - current:
            raise UsageError(
                f"{found[min(gone)][0]} has changed meanwhile", hint="run the same command again"
            )
        if not current - found.keys():
            raise UsageError(
                f"song {song_id} would have no file left", hint="leave one of its files out"
            )
        called = dict(told[0]) if told else _called(connection, song_id)
        new = insert_row(connection, "songs", called)
        with_earlier = _WITH_EARLIER.format(ids=id_list(found))
        take = f"{_DECIDE}, song_id = :new WHERE id IN ({with_earlier})"
        connection.execute(sa.text(take), {"new": new})
        artists = told[1] if told else connection.execute(_ARTISTS, values).scalars().all()
        link_artists(connection, [new], {new: list(artists)})
        presence.refresh(connection, song_ids=[song_id, new])
    return Split(song_id, new, str(called["title"] or ""), [name for name, _ in found.values()])


_OF_SONG = sa.text("SELECT id FROM file_assets WHERE song_id = :song AND superseded_by_id IS NULL")
_ARTISTS = sa.text(
    "SELECT a.name FROM artist_songs x JOIN artists a ON a.id = x.artist_id"
    " WHERE x.song_id = :song ORDER BY a.id"
)
_WITH_EARLIER = """
WITH RECURSIVE contents(id) AS (
    SELECT id FROM file_assets WHERE id IN ({ids})
    UNION
    SELECT f.id FROM file_assets f JOIN contents c ON f.superseded_by_id = c.id
)
SELECT id FROM contents
"""
_PLACES = """
SELECT f.id, l.absolute_path, l.library_path, l.locator
FROM file_assets f JOIN file_locations l ON l.file_asset_id = f.id
WHERE f.song_id = :song AND f.superseded_by_id IS NULL AND l.status <> 'superseded'
ORDER BY f.id, l.id
"""


def _named(
    catalog: Catalog, song_id: int, files: Sequence[str]
) -> dict[int, tuple[str, str | None]]:
    """The files of a song that are named: how each is shown, and its absolute path, if it is local.

    Raises:
        UsageError: a name is none of them, or that of several.
    """
    places = [tuple(row) for row in catalog.rows(_PLACES, song=song_id)]
    found: dict[int, tuple[str, str | None]] = {}
    for name in files:
        path = os.path.abspath(name)  # noqa: PTH100  # links stay as written, as in the roots
        # A path of this machine means that file, whatever has such a key.
        ids = {i for i, absolute, _, _ in places if absolute == path} or {
            i for i, absolute, below, locator in places if name in (absolute, below, locator)
        }
        if not ids:
            raise UsageError(f"song {song_id} has no file {name!r}", hint=_SEEN)
        if len(ids) > 1:
            paths = sorted(p for i, p, _, _ in places if i in ids and p)
            raise UsageError(
                f"song {song_id} has {len(ids)} files {name!r}",
                hint=f"name one of them by its whole path: {', '.join(paths)}",
            )
        (file_id,) = ids
        local = next((p for i, p, _, _ in places if i == file_id and p), None)
        found[file_id] = local or name, local
    return found
