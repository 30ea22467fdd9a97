"""Which songs and files a plan or a run is about: by batch, song, playlist, artist or pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.errors import UsageError

# What can be selected by name or id: the table that names it, and its songs for a list of ids.
_KINDS = {
    "song": ("songs", "SELECT id FROM songs WHERE id IN ({ids})"),
    "playlist": ("playlists", "SELECT song_id FROM playlist_songs WHERE playlist_id IN ({ids})"),
    "artist": ("artists", "SELECT song_id FROM artist_songs WHERE artist_id IN ({ids})"),
    "playlist pool": (
        "playlist_pools",
        "SELECT s.song_id FROM pool_playlists p JOIN playlist_songs s"
        " ON s.playlist_id = p.playlist_id WHERE p.pool_id IN ({ids})",
    ),
    "artist pool": (
        "artist_pools",
        "SELECT s.song_id FROM pool_artists p JOIN artist_songs s"
        " ON s.artist_id = p.artist_id WHERE p.pool_id IN ({ids})",
    ),
}


@dataclass(frozen=True)
class Selection:
    """Some songs, or the songs of some playlists, artists or pools.

    Attributes:
        kind: `song`, `playlist`, `artist`, `playlist pool` or `artist pool`.
        ids: their rows; integers, so that they may stand in SQL as they are.
    """

    kind: str
    ids: tuple[int, ...]

    def songs_sql(self) -> str:
        """A SELECT of the ids of their songs."""
        return _KINDS[self.kind][1].format(ids=", ".join(str(int(i)) for i in self.ids))


@dataclass(frozen=True)
class Scope:
    """Limits a plan or a run; what is not given does not limit.

    Attributes:
        batch_key: only files of this batch.
        file_asset_ids: only file assets from the first to the second id, both included.
        song_ids: only files of these songs.
        selections: only files of songs in any of these.
    """

    batch_key: str | None = None
    file_asset_ids: tuple[int, int] | None = None
    song_ids: Sequence[int] | None = None
    selections: Sequence[Selection] = ()

    def sql(self) -> tuple[str, dict[str, object]]:
        """Conditions on `f` (file_assets), beginning with AND where there are any; their values."""
        clauses, values = "", dict[str, object]()
        if self.batch_key is not None:
            clauses += " AND f.batch_id = (SELECT id FROM batches WHERE key = :batch_key)"
            values["batch_key"] = self.batch_key
        if self.file_asset_ids is not None:
            clauses += " AND f.id BETWEEN :first_asset AND :last_asset"
            values["first_asset"], values["last_asset"] = self.file_asset_ids
        if self.song_ids is not None:
            # Integers, written out: SQLite allows 32,766 parameters.
            clauses += f" AND f.song_id IN ({', '.join(str(int(i)) for i in self.song_ids)})"
        if self.selections:
            clauses += f" AND f.song_id IN ({self.selected_songs_sql()})"
        return clauses, values

    def selected_songs_sql(self) -> str:
        """A SELECT of the ids of all songs in the selections."""
        return " UNION ".join(selection.songs_sql() for selection in self.selections)


EVERYTHING = Scope()


def select(
    catalog: Catalog,
    *,
    playlists: Sequence[str] = (),
    artists: Sequence[str] = (),
    pools: Sequence[str] = (),
) -> tuple[Selection, ...]:
    """Find playlists, artists and pools by name or id.

    Args:
        playlists, artists: names (upper and lower case alike) or ids.
        pools: the same, of playlist pools or artist pools.

    Raises:
        UsageError: one of them does not exist; or is the name of both a playlist pool and an
            artist pool.
    """
    found = [_find(catalog, ("playlist",), name) for name in playlists]
    found += [_find(catalog, ("artist",), name) for name in artists]
    found += [_find(catalog, ("playlist pool", "artist pool"), name) for name in pools]
    return tuple(found)


def _find(catalog: Catalog, kinds: Sequence[str], wanted: str) -> Selection:
    """The rows of that name, or, where there are none, of that id."""
    with catalog.read() as connection:
        for column in ("LOWER(name) = LOWER(:wanted)", "CAST(id AS TEXT) = :wanted"):
            matches = []
            for kind in kinds:
                query = sa.text(f"SELECT id FROM {_KINDS[kind][0]} WHERE {column}")
                ids = tuple(connection.scalars(query, {"wanted": wanted}))
                if ids:
                    matches.append(Selection(kind, ids))
            if len(matches) > 1:
                both = " and ".join(f"{m.kind} {m.ids[0]}" for m in matches)
                raise UsageError(f"{wanted!r} is {both}", hint="rename one of the two")
            if matches:
                return matches[0]
        names: list[str] = []
        for kind in kinds:
            query = sa.text(f"SELECT name FROM {_KINDS[kind][0]} ORDER BY name LIMIT 10")
            names += [str(name) for name in connection.scalars(query)]
    hint = f"there are: {', '.join(names)}" if names else f"the catalog has no {kinds[0]}"
    raise UsageError(f"there is no {' or '.join(kinds)} {wanted!r}", hint=hint)
