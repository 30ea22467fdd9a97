"""Songs as rows, and the artists that they are linked to.

Which of them a file belongs to is decided in `song_matching`, what a person does to them in
`song_changes`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence

from catalogsync_assets.core.catalog.lazy import sa, sa_text, schema
from catalogsync_assets.core.catalog.legacy import insert_each, insert_rows

#: The `match_key` of the one row of `songs` that all files beside music hang on, as in adopted
#: databases no file may be without a song. It is no song: nothing shows or counts it, and no tags
#: make such a key.
COMPANIONS_KEY = "catalogsync companions"
#: An SQL condition: whether a row of `songs` is a song.
IS_SONG = f"COALESCE(match_key, '') <> '{COMPANIONS_KEY}'"
#: The song of a file `f`, in SQL; NULL of a file beside music.
SONG_OF_FILE = "CASE WHEN f.companion IS NULL THEN f.song_id END"
#: Between the artists of one song in `songs.artist`. Not a comma, which names hold.
ARTIST_JOINER = "; "


def songs_by_key(connection: sa.Connection, keys: Collection[str | None]) -> dict[str, int]:
    """The oldest song of each of these match keys that has one.

    For what comes without a length, as an entry of a manifest does: several songs may have one key.
    """
    songs = schema.songs
    rows = connection.execute(
        sa.select(songs.c.match_key, sa.func.min(songs.c.id))
        .where(songs.c.match_key.in_([key for key in keys if key]))
        .group_by(songs.c.match_key)
    )
    return dict[str, int](rows.all())


def fill_gaps(connection: sa.Connection, song_id: int, values: Mapping[str, object]) -> None:
    """Set those columns of a song that say nothing yet."""
    parts = ", ".join(f"{c} = COALESCE(NULLIF({c}, ''), :{c})" for c in values)
    statement = f"UPDATE songs SET {parts}, updated_at = CURRENT_TIMESTAMP WHERE id = :song_id"
    connection.execute(sa.text(statement), {**values, "song_id": song_id})


_LINKED = """
SELECT x.song_id, a.name FROM artist_songs x JOIN artists a ON a.id = x.artist_id
WHERE x.song_id IN (SELECT value FROM json_each(:songs))
"""


def link_artists(
    connection: sa.Connection,
    song_ids: Sequence[int],
    artists: Mapping[int, Collection[str]] | None = None,
) -> None:
    """Make sure that each of these songs is linked to its artists.

    They are the one whose name it carries, or those whose names are joined in it, as far as
    `artists` names each.

    Args:
        artists: of a song, by its id, the names that its files' tags have.
    """
    songs = schema.songs
    named = connection.execute(
        sa.select(songs.c.id, songs.c.artist).where(songs.c.id.in_(song_ids))
    )
    wanted: dict[tuple[int, str], None] = {}
    for song_id, text in named:
        names = (artists or {}).get(song_id, ())
        if text and not names_all_of(text, names):
            wanted[song_id, text] = None
        wanted |= dict.fromkeys((song_id, name) for name in names)
    for song, name in connection.execute(sa.text(_LINKED), {"songs": json.dumps(list(song_ids))}):
        wanted.pop((song, name), None)
    ids = _artist_ids(connection, {name for _, name in wanted})
    rows = [{"artist_id": ids[name], "song_id": song_id} for song_id, name in wanted]
    insert_rows(connection, "artist_songs", rows)


def names_all_of(text: str, names: Collection[str]) -> bool:
    """Whether an artist's text as it is shown is these names joined, or some of them."""
    return text in names or set(text.split(ARTIST_JOINER)) <= set(names)


def _artist_ids(connection: sa.Connection, names: Collection[str]) -> dict[str, int]:
    """The oldest artist of each name; one is made where there is none."""
    artists = schema.artists
    found = sa.select(artists.c.name, sa.func.min(artists.c.id)).group_by(artists.c.name)
    rows = connection.execute(found.where(artists.c.name.in_(sorted(names))))
    ids = dict[str, int](rows.all())
    new = sorted(set(names) - set(ids))
    made = insert_each(connection, "artists", [{"name": name} for name in new])
    return {**ids, **dict(zip(new, made, strict=True))}


_HAS_SOMETHING = (
    "SELECT EXISTS (SELECT 1 FROM file_assets WHERE song_id = :song)"
    " OR EXISTS (SELECT 1 FROM playlist_songs WHERE song_id = :song)"
    " OR EXISTS (SELECT 1 FROM download_tasks WHERE song_id = :song)"
)


def drop_if_empty(connection: sa.Connection, song_id: int) -> bool:
    """Remove a song that no file, playlist or download has, unless another program's table has it.

    Returns:
        Whether it is gone.
    """
    values = {"song": song_id}
    if connection.scalar(sa_text(_HAS_SOMETHING), values):
        return False
    try:
        with connection.begin_nested():
            for table, column in (
                ("artist_songs", "song_id"),
                ("song_backend_presence", "song_id"),
                ("playlist_entries", "song_id"),
                ("songs", "id"),
            ):
                connection.execute(sa.text(f"DELETE FROM {table} WHERE {column} = :song"), values)
    except sa.exc.IntegrityError:  # another program's table refers to it
        return False
    return True
