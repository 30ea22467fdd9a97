"""Playlists that are made from files of the library: which file each is made from, and its songs.

A playlist follows its file: moved with it, replaced when the file's content is another, gone when
the file is. Of its entries only those that came from the file are the file's (`playlists`); what
somebody has put there besides stays, and then the playlist stays, too.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.lazy import sa
from catalogsync_assets.core.catalog.legacy import insert_row
from catalogsync_assets.core.catalog.playlists import Changed, Listed, fold, take
from catalogsync_assets.core.files.companions import LISTS


class ListFile(NamedTuple):
    """A playlist or cue sheet that lies in the library."""

    file_asset_id: int
    kind: str  #: `playlist` or `cue`
    root: str
    path: str  #: below `root`
    playlist_id: int | None  #: what is made from it; None where nothing is so far
    unresolved: int | None  #: entries of it that named nothing; None until it was read


class FileList(NamedTuple):
    """What a playlist or cue sheet names."""

    file: ListFile
    songs: array[int]  #: ids in their order, repetitions included
    unresolved: int  #: entries that name nothing that the catalog knows


# A file whose content is another by now is another file asset, in the same place or the same row.
_FOLLOW = """
UPDATE playlists SET unresolved = NULL, file_asset_id = (
    SELECT f.superseded_by_id FROM file_assets f WHERE f.id = playlists.file_asset_id)
WHERE file_asset_id IN (SELECT f.id FROM file_assets f
                        WHERE f.superseded_by_id IS NOT NULL AND f.companion IS NOT NULL)
"""
_FILES = f"""
SELECT f.id, f.companion, l.library_root, l.library_path, p.id, p.unresolved
FROM file_assets f
JOIN file_locations l ON l.file_asset_id = f.id
LEFT JOIN playlists p ON p.file_asset_id = f.id
WHERE f.companion IN {LISTS} AND l.status = 'active' AND l.library_path IS NOT NULL
ORDER BY l.library_root, l.library_path
"""
_LOCAL = "SELECT id FROM storage_backends WHERE backend_type = 'local'"
# One that looks damaged is still there: what was made from it stands. So does what was made on a
# machine that is lost (`roots.note_lost`), whose files may be brought back.
_GONE = f"""
SELECT p.id FROM playlists p WHERE p.file_asset_id IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM file_locations l
    WHERE l.file_asset_id = p.file_asset_id AND l.backend_id IN ({_LOCAL})
      AND (l.status IN ('active', 'damaged') OR (l.status = 'missing' AND l.library_root IN (
          SELECT r.path FROM library_roots r WHERE r.let_go_at IS NOT NULL))))
"""
_NAMES = "SELECT id, name FROM playlists WHERE name IS NOT NULL"
_RENAME = sa.text("UPDATE playlists SET name = :name WHERE id = :id")
_LINK = sa.text(
    "UPDATE playlists SET file_asset_id = :asset, unresolved = :unresolved WHERE id = :id"
)
_UNREAD = sa.text("UPDATE playlists SET unresolved = NULL WHERE id = :id")
_IS_USED = sa.text(
    "SELECT EXISTS (SELECT 1 FROM playlist_songs WHERE playlist_id = :id)"
    " OR EXISTS (SELECT 1 FROM pool_playlists WHERE playlist_id = :id)"
)
_DELETE = (
    sa.text("DELETE FROM playlist_entries WHERE playlist_id = :id"),
    sa.text("DELETE FROM playlists WHERE id = :id"),
)


def list_files(catalog: Catalog) -> list[ListFile]:
    """The playlists and cue sheets that lie in the library, by root and path; each once."""
    with catalog.transaction() as connection:
        while connection.execute(sa.text(_FOLLOW)).rowcount:
            pass
        found = map(ListFile._make, connection.execute(sa.text(_FILES)))
        return list({file.file_asset_id: file for file in found}.values())


def take_file_lists(catalog: Catalog, lists: Sequence[FileList], changed: Changed) -> None:
    """Let playlists say what their files do; they are made where there are none. One transaction.

    A file of which no entry names a song makes no playlist.

    Args:
        changed: is brought up to date.
    """
    with catalog.transaction() as connection:
        names = {fold(name): id_ for id_, name in connection.execute(sa.text(_NAMES))}
        listed: dict[int, Listed] = {}
        for file, songs, unresolved in lists:
            playlist_id = file.playlist_id
            if playlist_id is None and not songs:
                continue
            if playlist_id is None:
                name = _name(names, file, None)
                playlist_id = insert_row(connection, "playlists", {"name": name})
                names[fold(name)] = playlist_id
                changed.playlists += 1
            # A song that was found by an entry may have moved away from there since: as long as
            # the file says the same, it stays.
            keep = file.unresolved is not None
            listed[playlist_id] = Listed("", is_whole=False, songs=songs, keep=keep)
            values = {"asset": file.file_asset_id, "unresolved": unresolved, "id": playlist_id}
            connection.execute(_LINK, values)
        take(connection, listed, {i: _manifest(i) for i in listed}, changed)
        _drop_empty(connection, listed)


def follow_names(catalog: Catalog, files: Sequence[ListFile]) -> None:
    """Playlists are called as their files are by now."""
    with catalog.transaction() as connection:
        rows = connection.execute(sa.text(_NAMES)).all()
        names = {fold(name): id_ for id_, name in rows}
        now = dict[int, str](rows)
        for file in files:
            called = now.get(file.playlist_id) if file.playlist_id is not None else None
            if called is None:
                continue
            stem = PurePosixPath(file.path).stem
            if called != stem and not called.startswith(f"{stem} ("):
                name = _name(names, file, file.playlist_id)
                connection.execute(_RENAME, {"name": name, "id": file.playlist_id})
                names[fold(name)] = int(file.playlist_id or 0)


def drop_gone(catalog: Catalog) -> int:
    """Playlists whose files are gone go, or keep what did not come from these.

    Returns:
        How many went.
    """
    with catalog.transaction() as connection:
        gone = [int(row[0]) for row in connection.execute(sa.text(_GONE))]
        if not gone:
            return 0
        listed = {i: Listed("", is_whole=False) for i in gone}
        take(connection, listed, {i: _manifest(i) for i in gone}, Changed())
        # Read anew, should the file come back.
        connection.execute(_UNREAD, [{"id": playlist_id} for playlist_id in gone])
        return _drop_empty(connection, gone)


def _drop_empty(connection: sa.Connection, playlist_ids: Iterable[int]) -> int:
    """Remove those without any song that are in no pool, nor in another program's table.

    Returns:
        How many went.
    """
    dropped = 0
    for playlist_id in playlist_ids:
        values = {"id": playlist_id}
        if connection.scalar(_IS_USED, values):
            continue
        try:
            with connection.begin_nested():
                for statement in _DELETE:
                    connection.execute(statement, values)
            dropped += 1
        except sa.exc.IntegrityError:  # another program's table refers to it
            continue
    return dropped


def _manifest(playlist_id: int) -> str:
    """What tells the entries of its file from those that were imported; no path looks so."""
    return f"library:{playlist_id}"


def _name(names: dict[str, int], file: ListFile, playlist_id: int | None) -> str:
    """The file's own name, with its folder where another playlist is called so."""
    path = PurePosixPath(file.path)
    root = PurePosixPath(file.root).name
    folder = str(path.parent) if len(path.parts) > 1 else root
    number = 2
    candidates = [path.stem, f"{path.stem} ({folder})", f"{path.stem} ({root}/{path})"]
    while names.get(fold(candidates[0]), playlist_id) != playlist_id:
        if len(candidates) == 1:
            candidates.append(f"{path.stem} ({root}/{path}) {number}")
            number += 1
        del candidates[0]
    return candidates[0]
