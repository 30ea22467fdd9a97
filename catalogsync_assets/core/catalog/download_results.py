"""What became of download tasks, and the rows that it leaves: file assets, locations, presence.

Many results are written in one transaction; a file only after it lay whole under its final name.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa

from catalogsync_assets.core.catalog import presence
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.download_queue import DownloadTask
from catalogsync_assets.core.catalog.files import FileFacts, bring_back, insert_files
from catalogsync_assets.core.catalog.legacy import assignments, update_row
from catalogsync_assets.core.catalog.songs import fill_gaps


@dataclass(frozen=True)
class Downloaded:
    """A task's file lies whole under its final name, on disk, checked.

    Attributes:
        root: the library root that it lies below.
        facts: what a scan would have read of it, with song and digest.
        title_was_guessed: whether the song's title was only made from the address.
    """

    task: DownloadTask
    root: str
    facts: FileFacts
    title_was_guessed: bool = False


@dataclass(frozen=True)
class NotDownloaded:
    """A task was not carried out.

    Attributes:
        code: short name of the reason.
        reason: one sentence with what to do, that names no secret.
    """

    task: DownloadTask
    code: str
    reason: str


def record(catalog: Catalog, owner: str, results: Collection[Downloaded | NotDownloaded]) -> None:
    """Write down what became of tasks: files, songs, task states, presence; all or nothing.

    Idempotent: a file recorded twice leaves one location.

    Args:
        owner: the lease under which the tasks were claimed; a failure of a task that has since
            been taken over by another lease is not written.
    """
    done = [r for r in results if isinstance(r, Downloaded)]
    with catalog.transaction() as connection:
        for root in sorted({r.root for r in done}):
            _record_files(connection, root, [r for r in done if r.root == root])
        for result in results:
            if isinstance(result, NotDownloaded):
                _record_failure(connection, owner, result)


def _record_files(connection: sa.Connection, root: str, results: list[Downloaded]) -> None:
    guessed = [r.task.song_id for r in results if r.title_was_guessed and r.task.song_id]
    if guessed:
        connection.execute(_FORGET_TITLE, [{"song": song} for song in guessed])
    bring_back(connection, root, [r.facts for r in results])
    songs = insert_files(connection, root, [r.facts for r in results])
    for result in results:
        song_id = songs.get(result.facts.path)
        if song_id is None:
            song_id = _attach(connection, root, result)
        values = {
            "song_id": song_id,
            "status": "succeeded",
            "sha256": result.facts.sha256,
            "size_bytes": result.facts.size_bytes,
            "absolute_path": result.facts.absolute_path,
            "last_error": None,
            "error_code": None,
            "lease_owner": None,
            "lease_expires_at": None,
        }
        update_row(connection, "download_tasks", result.task.id, values)


# The song's own columns are filled from the file where they are empty; this makes it so.
_FORGET_TITLE = sa.text("UPDATE songs SET title = '' WHERE id = :song")

_RECORDED = sa.text(
    "SELECT f.id, f.song_id FROM file_locations l JOIN file_assets f ON f.id = l.file_asset_id"
    " WHERE l.library_root = :root AND l.library_path = :path AND l.status = 'active'"
)


def _attach(connection: sa.Connection, root: str, result: Downloaded) -> int | None:
    """Give a file that a scan has recorded before us to the song of its task.

    A scan that comes between the file and its row, as after a kill, cannot know that song. The one
    that it has made goes, if nothing else has to do with it.
    """
    place = {"root": root, "path": result.facts.path}
    asset_id, found = connection.execute(_RECORDED, place).one()
    wanted = result.task.song_id
    if wanted is None or wanted == found:
        return int(found) if found is not None else None
    connection.execute(
        sa.text("UPDATE file_assets SET song_id = :song, sha256 = :sha256 WHERE id = :asset"),
        {"song": wanted, "sha256": result.facts.sha256, "asset": asset_id},
    )
    fill_gaps(connection, wanted, result.facts.song)
    presence.refresh(connection, song_ids=[s for s in (wanted, found) if s is not None])
    if found is not None:
        _drop_if_empty(connection, int(found))
    return wanted


_HAS_SOMETHING = sa.text(
    "SELECT EXISTS (SELECT 1 FROM file_assets WHERE song_id = :song)"
    " OR EXISTS (SELECT 1 FROM playlist_songs WHERE song_id = :song)"
    " OR EXISTS (SELECT 1 FROM download_tasks WHERE song_id = :song)"
)


def _drop_if_empty(connection: sa.Connection, song_id: int) -> None:
    values = {"song": song_id}
    if connection.scalar(_HAS_SOMETHING, values):
        return
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
        return


def _record_failure(connection: sa.Connection, owner: str, result: NotDownloaded) -> None:
    values = {
        "status": "failed",
        "last_error": result.reason,
        "error_code": result.code,
        "lease_owner": None,
        "lease_expires_at": None,
    }
    parts = assignments(connection, "download_tasks", values)
    connection.execute(
        sa.text(
            f"UPDATE download_tasks SET {parts}, updated_at = CURRENT_TIMESTAMP"
            " WHERE id = :id AND lease_owner = :owner"
        ),
        {**values, "id": result.task.id, "owner": owner},
    )
