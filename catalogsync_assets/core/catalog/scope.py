"""Which songs and files a plan or a run is about: by batch, song, playlist, artist or pool."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.object_keys import fold
from catalogsync_assets.core.catalog.songs import IS_SONG
from catalogsync_assets.core.errors import UsageError

# What can be selected by name or id: the table that names it, and its songs for a list of ids.
_KINDS = {
    "song": ("songs", f"SELECT id FROM songs WHERE id IN ({{ids}}) AND {IS_SONG}"),
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


#: Names listed where one is not found.
_NAMED = 10


@dataclass(frozen=True)
class Selection:
    """Some songs, or the songs of some playlists, artists or pools."""

    kind: str  #: `song`, `playlist`, `artist`, `playlist pool` or `artist pool`
    ids: tuple[int, ...]  #: their rows; integers, so that they may stand in SQL as they are


def songs_sql(selections: Iterable[Selection]) -> str:
    """A SELECT of the ids of all songs in these selections."""
    return " UNION ".join(_KINDS[s.kind][1].format(ids=id_list(s.ids)) for s in selections)


def id_list(ids: Iterable[int]) -> str:
    """Integers as they stand in SQL, written out: it allows 32,766 parameters."""
    return ", ".join(str(int(i)) for i in ids)


@dataclass(frozen=True)
class Scope:
    """Limits a plan or a run; what is not given does not limit."""

    batch_key: str | None = None  #: only files of this batch
    #: Only file assets from the first to the second id, both included.
    file_asset_ids: tuple[int, int] | None = None
    song_ids: Sequence[int] | None = None  #: only files of these songs
    selections: Sequence[Selection] = ()  #: only files of songs in any of these
    audit_id: int | None = None  #: only files whose object this audit has found missing or damaged

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
            clauses += f" AND f.song_id IN ({id_list(self.song_ids)})"
        if self.selections:
            clauses += f" AND f.song_id IN ({songs_sql(self.selections)})"
        if self.audit_id is not None:
            clauses += (
                " AND f.id IN (SELECT file_asset_id FROM audit_findings WHERE audit_id = :audit"
                " AND kind IN ('missing', 'size', 'content'))"
            )
            values["audit"] = self.audit_id
        return clauses, values


EVERYTHING = Scope()


def select(
    catalog: Catalog,
    *,
    songs: Sequence[int] = (),
    playlists: Sequence[str] = (),
    artists: Sequence[str] = (),
    pools: Sequence[str] = (),
) -> tuple[Selection, ...]:
    """Find songs by id; playlists, artists and pools by name or id.

    Args:
        songs: ids.
        playlists, artists: names (upper and lower case alike) or ids.
        pools: the same, of playlist pools or artist pools.

    Raises:
        UsageError: one of them does not exist; or is the name of both a playlist pool and an
            artist pool.
    """
    found = [_existing_songs(catalog, songs)] if songs else []
    found += [_find(catalog, ("playlist",), name) for name in playlists]
    found += [_find(catalog, ("artist",), name) for name in artists]
    found += [_find(catalog, ("playlist pool", "artist pool"), name) for name in pools]
    return tuple(found)


def _existing_songs(catalog: Catalog, ids: Sequence[int]) -> Selection:
    statement = _KINDS["song"][1].format(ids=id_list(ids))
    found = {row[0] for row in catalog.rows(statement)}
    if unknown := [i for i in dict.fromkeys(ids) if i not in found][:_NAMED]:
        raise UsageError(
            f"there is no song {' or '.join(str(i) for i in unknown)}",
            hint="`catalogsync whereis TITLE --json` lists songs with their ids",
        )
    return Selection("song", tuple(ids))


def _find(catalog: Catalog, kinds: Sequence[str], wanted: str) -> Selection:
    """The rows of that name, or, where there are none, of that id."""
    named = {kind: catalog.rows(f"SELECT id, name FROM {_KINDS[kind][0]}") for kind in kinds}
    # Compared here: SQLite's LOWER knows only the Latin alphabet.
    by_name = {
        kind: tuple(i for i, name in rows if fold(name or "") == fold(wanted))
        for kind, rows in named.items()
    }
    by_id = {kind: tuple(i for i, _ in rows if str(i) == wanted) for kind, rows in named.items()}
    for matches in (by_name, by_id):
        found = [Selection(kind, ids) for kind, ids in matches.items() if ids]
        if len(found) > 1:
            both = " and ".join(f"{m.kind} {m.ids[0]}" for m in found)
            raise UsageError(f"{wanted!r} is {both}", hint="rename one of the two")
        if found:
            return found[0]
    names = sorted(str(name) for rows in named.values() for _, name in rows if name)[:_NAMED]
    hint = f"there are: {', '.join(names)}" if names else f"the catalog has no {kinds[0]}"
    raise UsageError(f"there is no {' or '.join(kinds)} {wanted!r}", hint=hint)
