"""The catalog read out: songs in an order, each with its files and where they are.

A stream of pages, each a short transaction, however large the catalog: memory stays flat, and a
reader that takes its time does not hold back the write-ahead log.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from catalogsync_assets.core.catalog import playlists, presence
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.invalid_rows import GUARDS, checked
from catalogsync_assets.core.catalog.scope import EVERYTHING, Scope, select
from catalogsync_assets.core.errors import UsageError
from catalogsync_assets.core.stores.backend import LOCAL

#: Songs of a page.
_PAGE = 1_000


class FileAt(NamedTuple):
    """A current file of a song, and one place where it is."""

    song_id: int
    file_asset_id: int
    artist: str | None
    album: str | None
    title: str
    track: int | None
    disc: int | None
    duration_seconds: float | None
    format: str | None
    size_bytes: int | None
    sha256: str | None
    backend: str
    bucket: str | None
    locator: str
    path: str | None  #: absolute; of a local file
    status: str
    verified_at: str | None  #: UTC, `YYYY-MM-DD HH:MM:SS`


class Page(NamedTuple):
    """Some songs in their order, and their files at the places asked for, in the same order."""

    song_ids: Sequence[int]
    files: Sequence[FileAt]


#: Which places: those of the local library or of one backend (its id), that are active; or all.
Where = Literal["local", "anywhere"] | int

_NEXT_SONGS = f"""
SELECT DISTINCT f.song_id FROM file_assets f
WHERE f.superseded_by_id IS NULL AND f.companion IS NULL AND f.song_id > :after
  AND {presence.NOT_FORGOTTEN} {{scope}}
ORDER BY f.song_id LIMIT :page
"""
_FILES = f"""
SELECT f.song_id, f.id, s.artist, s.album, s.title, s.track_number, s.disc_number,
       COALESCE(f.duration_seconds, s.duration_seconds), f.format, f.size_bytes, f.sha256,
       b.name, CASE WHEN b.backend_type <> :local THEN COALESCE(l.container_name, b.container_name)
               END,
       l.locator, COALESCE(l.absolute_path, l.library_root || '/' || l.library_path),
       l.status, l.verified_at {{guards}}
FROM json_each(:songs) j
CROSS JOIN songs s ON s.id = j.value
CROSS JOIN file_assets f ON f.song_id = s.id AND f.superseded_by_id IS NULL
    AND f.companion IS NULL
CROSS JOIN file_locations l ON l.file_asset_id = f.id
CROSS JOIN storage_backends b ON b.id = l.backend_id AND b.removed_at IS NULL
WHERE {{where}} AND {presence.NOT_FORGOTTEN}
ORDER BY j.key, f.id, b.backend_type, b.name, l.id
"""


def songs_with_files(catalog: Catalog, where: Where, scope: Scope = EVERYTHING) -> Iterator[Page]:
    """All songs that have a current file, by id; files that were forgotten do not count."""
    clauses, values = scope.sql()
    statement = _NEXT_SONGS.format(scope=clauses)
    after = 0
    while rows := catalog.rows(statement, **values, after=after, page=_PAGE):
        songs = [row[0] for row in rows]
        yield Page(songs, _files(catalog, songs, where))
        after = songs[-1]


def playlist_name(catalog: Catalog, wanted: str) -> tuple[int, str]:
    """The one playlist of this name or id.

    Raises:
        UsageError: there is none, or several have the name.
    """
    ids = select(catalog, playlists=[wanted])[0].ids
    if len(ids) > 1:
        listed = ", ".join(map(str, ids))
        raise UsageError(
            f"{len(ids)} playlists are called {wanted!r}", hint=f"name one by its id: {listed}"
        )
    name = catalog.scalar("SELECT name FROM playlists WHERE id = :id", id=ids[0])
    return ids[0], str(name)


def songs_of_playlist(catalog: Catalog, playlist_id: int, where: Where) -> Iterator[Page]:
    """The songs of a playlist in its order, repetitions and those without any file included.

    A song that stands twice on a page has its files there once.
    """
    with catalog.read() as connection:
        ids = playlists.song_ids(connection, playlist_id)
    for start in range(0, len(ids), _PAGE):
        page = ids[start : start + _PAGE].tolist()
        yield Page(page, _files(catalog, list(dict.fromkeys(page)), where))


def song_names(catalog: Catalog, song_ids: Sequence[int]) -> list[str]:
    """`Artist - Title` of each of these songs, in their order."""
    statement = (
        "SELECT COALESCE(s.artist || ' - ', '') || s.title FROM json_each(:songs) j"
        " JOIN songs s ON s.id = j.value ORDER BY j.key"
    )
    return [row[0] for row in catalog.rows(statement, songs=json.dumps(list(song_ids)))]


def _files(catalog: Catalog, songs: Sequence[int], where: Where) -> list[FileAt]:
    if where == "anywhere":
        condition = "l.status NOT IN ('superseded', 'forgotten')"
    elif where == "local":
        condition = "l.status = 'active' AND b.backend_type = :local"
    else:
        condition = "l.status = 'active' AND l.backend_id = :backend"
    statement = _FILES.format(guards=GUARDS.format(location="l"), where=condition)
    rows = catalog.rows(statement, songs=json.dumps(list(songs)), local=LOCAL, backend=where)
    return list(map(FileAt._make, checked(catalog, rows)))
