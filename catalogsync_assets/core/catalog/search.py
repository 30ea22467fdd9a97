"""Where a song is: the question of one person about one recording."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from catalogsync_assets.core.catalog.database import Catalog


@dataclass(frozen=True)
class Place:
    """A file of a song on a backend.

    Attributes:
        status: as in `file_locations`; `absent` for a current file that the backend lacks.
        locator: the key, or the path below the library root.
        url: where it can be had without a signature, or its absolute path; None if neither.
    """

    song_id: int
    artist: str | None
    album: str | None
    title: str
    format: str | None
    size_bytes: int | None
    sha256: str | None
    backend: str
    status: str
    locator: str | None
    url: str | None
    verified_at: str | None


# LIKE is enough: a full-text index would add much to the size of the catalog
# and be written with every scan.
_ONE_WORD = """
(s.title LIKE :{name} ESCAPE '!' OR s.artist LIKE :{name} ESCAPE '!'
 OR s.album LIKE :{name} ESCAPE '!'
 OR s.id IN (SELECT x.song_id FROM artists a JOIN artist_songs x ON x.artist_id = a.id
             WHERE a.name LIKE :{name} ESCAPE '!'))
"""
_SONGS_BY_PATH = """
SELECT f.song_id FROM file_locations l JOIN file_assets f ON f.id = l.file_asset_id
WHERE f.song_id IS NOT NULL
  AND (l.locator LIKE :path ESCAPE '!' OR l.absolute_path LIKE :path ESCAPE '!')
"""
_PLACES = """
SELECT s.id, s.artist, s.album, s.title, f.format, f.size_bytes, f.sha256, b.name,
       COALESCE(l.status, 'absent'), l.locator, COALESCE(l.public_url, l.absolute_path),
       l.verified_at
FROM songs s
JOIN file_assets f ON f.song_id = s.id AND f.superseded_by_id IS NULL
CROSS JOIN storage_backends b
LEFT JOIN file_locations l ON l.file_asset_id = f.id AND l.backend_id = b.id
    AND l.status <> 'superseded'
WHERE s.id IN ({songs})
ORDER BY s.artist, s.album, s.disc_number, s.track_number, s.title, s.id, f.id,
         b.backend_type, b.name, l.id
"""


def whereis(catalog: Catalog, query: str, *, limit: int = 50) -> list[Place]:
    """Find songs, and say for each of their current files and each backend what is there.

    Args:
        query: words that must all occur in title, artists or album, in any order; or a part of a
            path or key; or a song's id. The first of these that matches decides.
        limit: at most so many songs.

    Returns:
        Places grouped by song and file; empty if nothing matches.
    """
    query = query.strip()
    if not query:
        return []
    with catalog.read() as connection:
        found = (
            (_songs_by_number(connection, query) if query.isdecimal() else [])
            or _songs_by_words(connection, query, limit)
            or _songs_by_path(connection, query, limit)
        )
        statement = _PLACES.format(songs=", ".join(str(int(i)) for i in found))
        return [Place(*row) for row in connection.execute(sa.text(statement))]


def _songs_by_number(connection: sa.Connection, query: str) -> list[int]:
    """The song of this id, and songs whose whole title is the number."""
    statement = "SELECT id FROM songs WHERE id = CAST(:query AS INTEGER) OR title = :query"
    return list(connection.scalars(sa.text(statement), {"query": query}))


def _songs_by_words(connection: sa.Connection, query: str, limit: int) -> list[int]:
    words = query.split()
    conditions = " AND ".join(_ONE_WORD.format(name=f"word{i}") for i in range(len(words)))
    values = {f"word{i}": _containing(word) for i, word in enumerate(words)}
    statement = f"SELECT s.id FROM songs s WHERE {conditions} LIMIT :limit"
    return list(connection.scalars(sa.text(statement), {"limit": limit, **values}))


def _songs_by_path(connection: sa.Connection, query: str, limit: int) -> list[int]:
    statement = f"SELECT DISTINCT song_id FROM ({_SONGS_BY_PATH}) LIMIT :limit"
    values = {"path": _containing(query), "limit": limit}
    return list(connection.scalars(sa.text(statement), values))


def _containing(text: str) -> str:
    """A LIKE pattern for texts that contain this one, with `!` as the escape."""
    for special in "!%_":
        text = text.replace(special, "!" + special)
    return f"%{text}%"


def song_has_active_backend_file(catalog: Catalog, song_id: int, backend_name: str) -> bool:
    """Whether at least one current file of a song is on a backend.

    False as well for a song or a backend that does not exist.
    """
    query = (
        "SELECT 1 FROM file_assets f JOIN file_locations l ON l.file_asset_id = f.id"
        " JOIN storage_backends b ON b.id = l.backend_id"
        " WHERE f.song_id = :song AND f.superseded_by_id IS NULL AND b.name = :name"
        " AND l.status = 'active' LIMIT 1"
    )
    with catalog.read() as connection:
        values = {"song": song_id, "name": backend_name}
        return connection.execute(sa.text(query), values).first() is not None
