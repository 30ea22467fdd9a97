"""The download queue: who works on which of `download_tasks`, and what waits there.

A task is pending, running (leased), succeeded or failed (see `download_results`). A row with
another status, or without a URL, is another program's and is left alone; so is one that it has made
`running` or `failed`, as those carry neither a lease nor an error code of ours.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import sqlalchemy as sa

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.legacy import assignments
from catalogsync_assets.core.catalog.scope import Selection
from catalogsync_assets.core.runner.owners import is_dead, new_owner

#: Seconds after which a claim that nobody renewed may be taken over.
LEASE_SECONDS = 300.0
#: The source of tasks that name none.
DEFAULT_SOURCE = "http"


class DownloadTask(NamedTuple):
    """A claimed task with all that is needed to carry it out.

    Attributes:
        source: the plug-in that fetches it.
        url: what that source understands.
        sha256, size_bytes: of the content, where they are known beforehand.
        title, artist, album, track_number: of its song, as far as they are known.
    """

    id: int
    song_id: int | None
    source: str
    url: str
    sha256: str | None
    size_bytes: int | None
    title: str | None = None
    artist: str | None = None
    album: str | None = None
    track_number: int | None = None


@dataclass(frozen=True)
class DownloadScope:
    """Limits a run; what is not given does not limit.

    Attributes:
        sources: only tasks of these.
        selections: only tasks of songs in any of these.
    """

    sources: Sequence[str] = ()
    selections: Sequence[Selection] = ()

    def sql(self) -> tuple[str, dict[str, object]]:
        """Conditions on `t` (download_tasks), beginning with AND where there are any."""
        clauses, values = "", dict[str, object]()
        if self.sources:
            names = {f"source_{number}": name for number, name in enumerate(self.sources)}
            clauses += f" AND {_SOURCE} IN ({', '.join(f':{name}' for name in names)})"
            values |= names
        if self.selections:
            songs = " UNION ".join(selection.songs_sql() for selection in self.selections)
            clauses += f" AND t.song_id IN ({songs})"
        return clauses, values


EVERY_DOWNLOAD = DownloadScope()

_SOURCE = f"COALESCE(NULLIF(t.source, ''), '{DEFAULT_SOURCE}')"
_WAITING = "FROM download_tasks t {join} WHERE t.status = 'pending' AND t.url <> '' {scope}"
_LEASE_COLUMNS = ("lease_owner", "lease_expires_at")
_NO_LEASE: dict[str, object] = dict.fromkeys(_LEASE_COLUMNS)


class DownloadLease:
    """The claims of one run of one process; see `leases` for how it outlives a kill."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self.owner = new_owner()
        self._renewed = time.monotonic()

    def take_over_abandoned(self) -> int:
        """Make tasks pending again whose owner has died or let the lease expire."""
        with self._catalog.read() as connection:
            owners = connection.execute(
                sa.text(
                    "SELECT lease_owner, MIN(lease_expires_at) FROM download_tasks"
                    " WHERE status = 'running' AND lease_owner <> '' AND lease_expires_at > 0"
                    " GROUP BY lease_owner"
                )
            ).all()
        now = time.time()
        gone = [
            {"owner": owner, "now": now, "dead": is_dead(owner), **_NO_LEASE}
            for owner, expiry in owners
            if expiry < now or is_dead(owner)
        ]
        if not gone:
            return 0
        with self._catalog.transaction() as connection:
            free = assignments(connection, "download_tasks", _LEASE_COLUMNS)
            # An owner that is alive may have renewed by now.
            return connection.execute(
                sa.text(
                    f"UPDATE download_tasks SET status = 'pending', {free}"
                    " WHERE status = 'running' AND lease_owner = :owner"
                    " AND (:dead OR lease_expires_at < :now)"
                ),
                gone,
            ).rowcount

    def claim(self, scope: DownloadScope, limit: int) -> list[DownloadTask]:
        """Lease up to `limit` pending tasks, those tried least first, then the oldest.

        No two leases ever hold the same one.
        """
        clauses, values = scope.sql()
        statement = (
            f"SELECT t.id, t.song_id, {_SOURCE}, t.url, LOWER(NULLIF(t.sha256, '')), t.size_bytes,"
            " s.title, s.artist, s.album, s.track_number "
            + _WAITING.format(join="LEFT JOIN songs s ON s.id = t.song_id", scope=clauses)
            + " ORDER BY t.attempts, t.id LIMIT :limit"
        )
        with self._catalog.transaction() as connection:
            rows = connection.execute(sa.text(statement), {**values, "limit": limit}).all()
            if rows:
                connection.execute(
                    sa.text(
                        "UPDATE download_tasks SET status = 'running', lease_owner = :owner,"
                        " lease_expires_at = :expiry, attempts = COALESCE(attempts, 0) + 1,"
                        " updated_at = CURRENT_TIMESTAMP WHERE id = :id"
                    ),
                    [
                        {"id": row[0], "owner": self.owner, "expiry": time.time() + LEASE_SECONDS}
                        for row in rows
                    ],
                )
        return [DownloadTask(*row) for row in rows]

    def renew(self) -> None:
        """Put off the expiry of all that is held; does something once a fifth of the lease."""
        if time.monotonic() - self._renewed < LEASE_SECONDS / 5:
            return
        with self._catalog.transaction() as connection:
            connection.execute(
                sa.text(
                    "UPDATE download_tasks SET lease_expires_at = :expiry"
                    " WHERE status = 'running' AND lease_owner = :owner"
                ),
                {"expiry": time.time() + LEASE_SECONDS, "owner": self.owner},
            )
        self._renewed = time.monotonic()

    def release(self) -> None:
        """Make all that is still held pending again. Idempotent."""
        with self._catalog.transaction() as connection:
            free = assignments(connection, "download_tasks", _LEASE_COLUMNS)
            connection.execute(
                sa.text(
                    # A claim that came to nothing is no try.
                    f"UPDATE download_tasks SET status = 'pending', attempts = attempts - 1, {free}"
                    " WHERE status = 'running' AND lease_owner = :owner"
                ),
                {"owner": self.owner, **_NO_LEASE},
            )


def requeue_failed(catalog: Catalog, scope: DownloadScope = EVERY_DOWNLOAD) -> int:
    """Make the tasks pending again that have failed in our hands; how many there were."""
    clauses, values = scope.sql()
    failed = (
        "SELECT t.id FROM download_tasks t"
        f" WHERE t.status = 'failed' AND t.error_code <> '' AND t.url <> '' {clauses}"
    )
    with catalog.read() as connection:
        if connection.execute(sa.text(f"{failed} LIMIT 1"), values).first() is None:
            return 0
    with catalog.transaction() as connection:
        return connection.execute(
            sa.text(
                "UPDATE download_tasks SET status = 'pending', updated_at = CURRENT_TIMESTAMP"
                f" WHERE id IN ({failed})"
            ),
            values,
        ).rowcount


def count_waiting(catalog: Catalog, scope: DownloadScope = EVERY_DOWNLOAD) -> tuple[int, int]:
    """How many tasks are pending, and the bytes of those whose size is known."""
    clauses, values = scope.sql()
    statement = "SELECT COUNT(*), COALESCE(SUM(t.size_bytes), 0) " + _WAITING.format(
        join="", scope=clauses
    )
    with catalog.read() as connection:
        row = connection.execute(sa.text(statement), values).one()
    return int(row[0]), int(row[1])


def waiting_sources(catalog: Catalog, scope: DownloadScope = EVERY_DOWNLOAD) -> list[str]:
    """The sources that pending tasks name."""
    clauses, values = scope.sql()
    statement = f"SELECT DISTINCT {_SOURCE} " + _WAITING.format(join="", scope=clauses)
    with catalog.read() as connection:
        return sorted(connection.scalars(sa.text(statement), values))


def note_on_waiting(
    catalog: Catalog, scope: DownloadScope, *, code: str, reason: str, listed: int
) -> tuple[int, list[tuple[int, str]]]:
    """Say of pending tasks why they cannot be done here. They stay pending: another program that
    uses this catalog may do them, or we once something is installed.

    Returns:
        How many they are, and id and URL of the first `listed`.
    """
    clauses, values = scope.sql()
    waiting = _WAITING.format(join="", scope=clauses)
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
    if not task_ids:
        return set()
    ids = ", ".join(str(int(i)) for i in task_ids)
    with catalog.read() as connection:
        return set(
            connection.scalars(
                sa.text(
                    f"SELECT id FROM download_tasks WHERE id IN ({ids})"
                    " AND status IN ('pending', 'running', 'failed')"
                )
            )
        )
