"""Where a song is: the question of one person about one recording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.scope import id_list
from catalogsync_assets.core.catalog.songs import IS_SONG


@dataclass(frozen=True)
class Place:
    """A file of a song on a backend, or one beside the music."""

    song_id: int | None  #: None of a file beside the music
    artist: str | None
    album: str | None
    title: str  #: of the song; the path of a file beside the music
    format: str | None
    size_bytes: int | None
    sha256: str | None
    backend: str
    status: str  #: as in `file_locations`; `absent` for a current file that the backend lacks
    locator: str | None  #: the key, or the path below the library root
    #: Where it can be had without a signature, or its absolute path; None if neither.
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
_BY_PATH = """
SELECT DISTINCT f.song_id FROM file_locations l JOIN file_assets f ON f.id = l.file_asset_id
WHERE f.song_id IS NOT NULL AND f.companion IS NULL
  AND (l.locator LIKE :path ESCAPE '!' OR l.absolute_path LIKE :path ESCAPE '!') LIMIT :limit
"""
# The places of a file `f` on a backend `b`. By their ids: SQLite would make an index of all places
# for the few files that are asked for.
_HERE = """l.id IN (SELECT x.id FROM file_locations x WHERE x.file_asset_id = f.id
                AND x.backend_id = b.id AND x.status <> 'superseded')"""
# The song of this id, and songs whose whole title is the number.
_BY_NUMBER = f"""
SELECT id FROM songs WHERE (id = CAST(:query AS INTEGER) OR title = :query) AND {IS_SONG}
"""
_PLACES = f"""
SELECT s.id, s.artist, s.album, s.title, f.format, f.size_bytes, f.sha256, b.name,
       COALESCE(l.status, 'absent'), l.locator, COALESCE(l.public_url, l.absolute_path),
       l.verified_at
FROM songs s
JOIN file_assets f ON f.song_id = s.id AND f.superseded_by_id IS NULL
CROSS JOIN storage_backends b
LEFT JOIN file_locations l ON {_HERE}
WHERE s.id IN ({{songs}}) AND b.removed_at IS NULL
ORDER BY s.artist, s.album, s.disc_number, s.track_number, s.title, s.id, f.id,
         b.backend_type, b.name, l.id
"""
_BESIDE = """
SELECT DISTINCT f.id FROM file_assets f JOIN file_locations l ON l.file_asset_id = f.id
WHERE f.companion IS NOT NULL AND f.superseded_by_id IS NULL
  AND (l.locator LIKE :path ESCAPE '!' OR l.absolute_path LIKE :path ESCAPE '!') LIMIT :limit
"""
_PLACES_BESIDE = f"""
SELECT NULL, NULL, NULL, COALESCE(l.library_path, f.object_key), f.format, f.size_bytes, f.sha256,
       b.name, COALESCE(l.status, 'absent'), l.locator, COALESCE(l.public_url, l.absolute_path),
       l.verified_at
FROM file_assets f
CROSS JOIN storage_backends b
LEFT JOIN file_locations l ON {_HERE}
WHERE f.id IN ({{files}}) AND b.removed_at IS NULL
ORDER BY f.object_key, f.id, b.backend_type, b.name, l.id
"""


def whereis(catalog: Catalog, query: str, *, limit: int = 50) -> list[Place]:
    """Find songs, and say for each of their current files and each backend what is there.

    Args:
        query: words that must all occur in title, artists or album, in any order; or a part of a
            path or key; or a song's id. The first of these that matches decides; the paths of files
            beside the music come last.
        limit: at most so many songs, or files beside the music.

    Returns:
        Places grouped by song and file; empty if nothing matches.
    """
    query = query.strip()
    if not query:
        return []
    found = (
        (catalog.rows(_BY_NUMBER, query=query) if query.isdecimal() else [])
        or _songs_by_words(catalog, query, limit)
        or catalog.rows(_BY_PATH, path=_containing(query), limit=limit)
    )
    if found:
        places = catalog.rows(_PLACES.format(songs=id_list(row[0] for row in found)))
    else:
        beside = catalog.rows(_BESIDE, path=_containing(query), limit=limit)
        places = catalog.rows(_PLACES_BESIDE.format(files=id_list(row[0] for row in beside)))
    return [Place(*row) for row in places]


def _songs_by_words(catalog: Catalog, query: str, limit: int) -> Sequence[Sequence[int]]:
    words = {f"word{i}": _containing(word) for i, word in enumerate(query.split())}
    condition = " AND ".join(_ONE_WORD.format(name=name) for name in words)
    statement = f"SELECT s.id FROM songs s WHERE {condition} AND {IS_SONG} LIMIT :limit"
    return catalog.rows(statement, limit=limit, **words)


def _containing(text: str) -> str:
    """A LIKE pattern for texts that contain this one, with `!` as the escape."""
    for special in "!%_":
        text = text.replace(special, "!" + special)
    return f"%{text}%"
