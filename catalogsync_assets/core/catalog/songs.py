"""Songs as rows: which one a match key names, and the artists that they are linked to."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import sqlalchemy as sa

from catalogsync_assets.core.catalog.foreign_columns import insert_sql
from catalogsync_assets.core.catalog.schema import songs


def songs_by_key(connection: sa.Connection, keys: Collection[str | None]) -> dict[str, int]:
    """The oldest song of each of these match keys that has one."""
    rows = connection.execute(
        sa.select(songs.c.match_key, sa.func.min(songs.c.id))
        .where(songs.c.match_key.in_([key for key in keys if key]))
        .group_by(songs.c.match_key)
    )
    return {row[0]: row[1] for row in rows}


def fill_gaps(connection: sa.Connection, song_id: int, values: Mapping[str, object]) -> None:
    """Set those columns of a song that say nothing yet."""
    parts = ", ".join(f"{c} = COALESCE(NULLIF({c}, ''), :{c})" for c in values)
    statement = f"UPDATE songs SET {parts}, updated_at = CURRENT_TIMESTAMP WHERE id = :song_id"
    connection.execute(sa.text(statement), {**values, "song_id": song_id})


_NEW_ARTISTS = """
SELECT DISTINCT s.artist{more} FROM songs s
WHERE s.id IN :songs AND s.artist IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM artists a WHERE a.name = s.artist)
"""
_NEW_LINKS = """
SELECT MIN(a.id), s.id{more} FROM songs s JOIN artists a ON a.name = s.artist
WHERE s.id IN :songs AND NOT EXISTS (
    SELECT 1 FROM artist_songs x
    WHERE x.song_id = s.id AND x.artist_id IN (SELECT id FROM artists WHERE name = s.artist))
GROUP BY s.id
"""


def link_artists(connection: sa.Connection, song_ids: list[int]) -> None:
    """Make sure that each of these songs is linked to the artist whose name it carries."""
    for table, columns, select in (
        ("artists", ["name"], _NEW_ARTISTS),
        ("artist_songs", ["artist_id", "song_id"], _NEW_LINKS),
    ):
        statement = sa.text(insert_sql(connection, table, columns, select))
        songs_bind: sa.BindParameter[object] = sa.bindparam("songs", expanding=True)
        connection.execute(statement.bindparams(songs_bind), {"songs": song_ids})
