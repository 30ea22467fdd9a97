"""The download queue: what waits in `download_tasks`, and what became of it.

A row with a status that is none of a task's (see `leases`), or without a URL, is another program's
and is left alone; so is one that it has made `running` or `failed`, as those carry neither a lease
nor an error code of ours. Results are written many in one transaction; a file only after it lay
whole under its final name.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from catalogsync_assets.core.catalog import presence
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.files import FileFacts, bring_back, insert_files
from catalogsync_assets.core.catalog.lazy import sa
from catalogsync_assets.core.catalog.leases import Lease, end, requeue
from catalogsync_assets.core.catalog.legacy import assignments
from catalogsync_assets.core.catalog.scope import Selection, id_list, songs_sql
from catalogsync_assets.core.catalog.songs import drop_if_empty, fill_gaps

#: The source of tasks that name none.
DEFAULT_SOURCE = "http"


class DownloadTask(NamedTuple):
    """A claimed task with all that is needed to carry it out."""

    id: int
    song_id: int | None
    source: str  #: the plug-in that fetches it
    url: str  #: what that source understands
    #: Of the content, where they are known beforehand.
    sha256: str | None
    size_bytes: int | None
    #: Of its song, as far as they are known.
    title: str | None = None
    artist: str | None = None
    album: str | None = None
    track_number: int | None = None


@dataclass(frozen=True)
class Downloaded:
    """A task's file lies whole under its final name, on disk, checked."""

    task: DownloadTask
    root: str  #: the library root that it lies below
    facts: FileFacts  #: what a scan would have read of it, with song and digest
    title_was_guessed: bool = False  #: whether the song's title was only made from the address


@dataclass(frozen=True)
class NotDownloaded:
    """A task was not carried out."""

    task: DownloadTask
    code: str  #: short name of the reason
    reason: str  #: one sentence with what to do, that names no secret


@dataclass(frozen=True)
class DownloadScope:
    """Limits a run; what is not given does not limit."""

    sources: Sequence[str] = ()  #: only tasks of these
    selections: Sequence[Selection] = ()  #: only tasks of songs in any of these

    def sql(self) -> tuple[str, dict[str, object]]:
        """Conditions on `t` (download_tasks), beginning with AND where there are any."""
        clauses, values = "", dict[str, object]()
        if self.sources:
            names = {f"source_{number}": name for number, name in enumerate(self.sources)}
            clauses += f" AND {_SOURCE} IN ({', '.join(f':{name}' for name in names)})"
            values |= names
        if self.selections:
            clauses += f" AND t.song_id IN ({songs_sql(self.selections)})"
        return clauses, values

    def waiting(self, join: str = "") -> tuple[str, dict[str, object]]:
        """SQL from FROM on, of the pending tasks `t`; its values."""
        clauses, values = self.sql()
        where = f"WHERE t.status = 'pending' AND t.url <> '' {clauses}"
        return f" FROM download_tasks t {join} {where}", values


EVERY_DOWNLOAD = DownloadScope()

_SOURCE = f"COALESCE(NULLIF(t.source, ''), '{DEFAULT_SOURCE}')"


class DownloadLease(Lease):
    """The claims of one run of one process on tasks that are ours."""

    def __init__(self, catalog: Catalog) -> None:
        super().__init__(catalog, "download_tasks", "lease_owner <> '' AND lease_expires_at > 0")

    def claim(self, scope: DownloadScope, limit: int) -> list[DownloadTask]:
        """Lease up to `limit` pending tasks, those tried least first, then the oldest.

        No two leases ever hold the same one.
        """
        waiting, values = scope.waiting("LEFT JOIN songs s ON s.id = t.song_id")
        statement = (
            f"SELECT t.id, t.song_id, {_SOURCE}, t.url, LOWER(NULLIF(t.sha256, '')), t.size_bytes,"
            f" s.title, s.artist, s.album, s.track_number {waiting}"
            " ORDER BY t.attempts, t.id LIMIT :limit"
        )
        with self._catalog.transaction() as connection:
            rows = connection.execute(sa.text(statement), {**values, "limit": limit}).all()
            self._take(connection, [row[0] for row in rows])
        return [DownloadTask(*row) for row in rows]


def requeue_failed(catalog: Catalog, scope: DownloadScope = EVERY_DOWNLOAD) -> int:
    """Make the tasks pending again that have failed in our hands; how many there were."""
    clauses, values = scope.sql()
    failed = (
        "id IN (SELECT t.id FROM download_tasks t"
        f" WHERE t.status = 'failed' AND t.error_code <> '' AND t.url <> '' {clauses})"
    )
    return requeue(catalog, "download_tasks", failed, **values)


def count_waiting(catalog: Catalog, scope: DownloadScope = EVERY_DOWNLOAD) -> tuple[int, int]:
    """How many tasks are pending, and the bytes of those whose size is known."""
    waiting, values = scope.waiting()
    figures = "SELECT COUNT(*), COALESCE(SUM(t.size_bytes), 0)"
    ((files, size),) = catalog.rows(figures + waiting, **values)
    return int(files), int(size)


def waiting_sources(catalog: Catalog, scope: DownloadScope = EVERY_DOWNLOAD) -> list[str]:
    """The sources that pending tasks name."""
    waiting, values = scope.waiting()
    return sorted(row[0] for row in catalog.rows(f"SELECT DISTINCT {_SOURCE}{waiting}", **values))


def note_on_waiting(
    catalog: Catalog, scope: DownloadScope, *, code: str, reason: str, listed: int
) -> tuple[int, list[tuple[int, str]]]:
    """Say of pending tasks why they cannot be done here. They stay pending: another program that
    uses this catalog may do them, or we once something is installed.

    Returns:
        How many they are, and id and URL of the first `listed`.
    """
    waiting, values = scope.waiting()
    with catalog.transaction() as connection:
        noted = {"last_error": reason, "error_code": code}
        parts = assignments(connection, "download_tasks", noted)
        count = connection.execute(
            sa.text(f"UPDATE download_tasks SET {parts} WHERE id IN (SELECT t.id {waiting})"),
            {**values, **noted},
        ).rowcount
        rows = connection.execute(
            sa.text(f"SELECT t.id, t.url {waiting} ORDER BY t.id LIMIT :listed"),
            {**values, "listed": listed},
        )
        return count, [(int(row[0]), str(row[1])) for row in rows]


def unfinished(catalog: Catalog, task_ids: Collection[int]) -> set[int]:
    """Those of the tasks that are still to be done, or are being done, or have failed."""
    rows = catalog.rows(
        f"SELECT id FROM download_tasks WHERE id IN ({id_list(task_ids)})"
        " AND status IN ('pending', 'running', 'failed')"
    )
    return {row[0] for row in rows}


def record(catalog: Catalog, owner: str, results: Collection[Downloaded | NotDownloaded]) -> None:
    """Write down what became of tasks: files, songs, task states, presence; all or nothing.

    Idempotent: a file recorded twice leaves one location.

    Args:
        owner: the lease under which the tasks were claimed; a failure of a task that has since
            been taken over by another lease is not written.
    """
    with catalog.transaction() as connection:
        done = _with_song(connection, [r for r in results if isinstance(r, Downloaded)])
        for root in sorted({r.root for r in done}):
            _record_files(connection, root, [r for r in done if r.root == root])
        failed = [
            {"id": r.task.id, "status": "failed", "last_error": r.reason, "error_code": r.code}
            for r in results
            if isinstance(r, NotDownloaded)
        ]
        end(connection, "download_tasks", failed, owner=owner)


def _with_song(connection: sa.Connection, results: Sequence[Downloaded]) -> list[Downloaded]:
    """Each with the song that its task has now: it may have been merged into another meanwhile."""
    tasks = id_list(r.task.id for r in results)
    statement = sa.text(f"SELECT id, song_id FROM download_tasks WHERE id IN ({tasks})")
    now = dict[int, int | None](connection.execute(statement).all())
    songs = [now.get(r.task.id, r.task.song_id) for r in results]
    return [
        replace(r, task=r.task._replace(song_id=song), facts=replace(r.facts, song_id=song))
        for r, song in zip(results, songs, strict=True)
    ]


def _record_files(connection: sa.Connection, root: str, results: list[Downloaded]) -> None:
    guessed = [r.task.song_id for r in results if r.title_was_guessed and r.task.song_id]
    if guessed:
        connection.execute(_FORGET_TITLE, [{"song": song} for song in guessed])
    bring_back(connection, root, [r.facts for r in results])
    songs = insert_files(connection, root, [r.facts for r in results])
    for result in results:
        facts = result.facts
        task = {
            "id": result.task.id,
            "song_id": songs[facts.path]
            if facts.path in songs
            else _attach(connection, root, result),
            "status": "succeeded",
            "sha256": facts.sha256,
            "size_bytes": facts.size_bytes,
            "absolute_path": facts.absolute_path,
            "last_error": None,
            "error_code": None,
        }
        end(connection, "download_tasks", [task])


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
        return None if found is None else int(found)
    connection.execute(
        sa.text("UPDATE file_assets SET song_id = :song, sha256 = :sha256 WHERE id = :asset"),
        {"song": wanted, "sha256": result.facts.sha256, "asset": asset_id},
    )
    fill_gaps(connection, wanted, result.facts.song)
    presence.refresh(connection, song_ids=[s for s in (wanted, found) if s is not None])
    if found is not None:
        drop_if_empty(connection, int(found))
    return wanted
