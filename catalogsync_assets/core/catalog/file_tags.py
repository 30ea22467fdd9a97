"""Files whose tags could not be read, and what is mended when tags are read again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.files import FileFacts, KnownFile, not_yet_recorded
from catalogsync_assets.core.catalog.lazy import sa
from catalogsync_assets.core.catalog.legacy import update_row
from catalogsync_assets.core.catalog.schema import file_assets, songs
from catalogsync_assets.core.catalog.song_matching import artists_of
from catalogsync_assets.core.catalog.songs import link_artists


class ReadAgain(NamedTuple):
    """A file that is as the catalog knows it, and what its tags say now."""

    known: KnownFile
    facts: FileFacts
    guesses: Collection[str]  #: what its song may have been called for want of a title


#: Columns that a file has from its tags, and `FileFacts` by the same names.
_OF_FILES = ("tags_error", "tags_digest", "audio_digest", "recording_id", "release_track_id")
_TEXTS = ("title", "artist", "album", "track_number", "disc_number")


def record_tags(catalog: Catalog, root: str, files: Sequence[ReadAgain]) -> None:
    """Tags of unchanged files were read again, perhaps by a newer version, which reads more.

    A song keeps what it is called, whatever gave it its name: it gets what it lacks, and what had
    only been guessed from the file's name or was the first of several artists. No song gains or
    loses a file. A file that another scan has found changed meanwhile is left out.
    """
    with catalog.transaction() as connection:
        unchanged = not_yet_recorded(connection, root, [f.facts for f in files])
        paths = {facts.path for facts in unchanged}
        files = [f for f in files if f.facts.path in paths]
        assets = _rows(
            connection,
            sa.select(
                *(file_assets.c[c] for c in ("id", "format", "duration_seconds", *_OF_FILES))
            ),
            {f.known.file_asset_id for f in files},
        )
        found = _rows(
            connection,
            sa.select(*(songs.c[c] for c in ("id", *_TEXTS, "duration_seconds", "match_key"))),
            {f.known.song_id for f in files},
        )
        linked = []
        for f in files:
            asset, now = assets[f.known.file_asset_id], f.facts
            length = now.song["duration_seconds"]
            values = {
                "format": now.format,
                "duration_seconds": length,
                **{column: getattr(now, column) for column in _OF_FILES},
            }
            if any(asset[c] != value for c, value in values.items()):
                update_row(connection, "file_assets", asset["id"], values)
            if f.known.song_id is None:
                continue
            song = found[f.known.song_id]
            linked.append((f.known.song_id, now))
            changes = _mended(song, now, f.guesses)
            if song["duration_seconds"] == asset["duration_seconds"] != length:
                changes["duration_seconds"] = length
            if changes:
                update_row(connection, "songs", song["id"], changes)
                found[f.known.song_id] = {**song, **changes}
        link_artists(connection, sorted({song for song, _ in linked}), artists_of(linked))


def _rows(
    connection: sa.Connection, statement: sa.Select[Any], ids: Collection[int | None]
) -> dict[int, dict[str, Any]]:
    """The rows of these ids, by id."""
    rows = connection.execute(statement.where(statement.selected_columns["id"].in_(ids)))
    return {row["id"]: dict(row) for row in rows.mappings()}


def _mended(song: Mapping[str, Any], f: FileFacts, guesses: Collection[str]) -> dict[str, Any]:
    """What becomes of a song's columns, where something does."""
    doubtful = {"title": guesses, "artist": f.artists[:1]}
    changes = {
        column: f.song[column]
        for column in _TEXTS
        if f.song[column] not in (None, song[column])
        and (song[column] in (None, "") or song[column] in doubtful.get(column, ()))
    }
    now, key = {**song, **changes}, f.song["match_key"]
    if key not in (None, song["match_key"]) and all(now[c] == f.song[c] for c in _TEXTS):
        changes["match_key"] = key
    return changes
