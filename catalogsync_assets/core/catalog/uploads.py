"""The upload queue, `upload_tasks`, and the rows that a finished upload leaves.

A task is pending, running (leased), succeeded, failed, or cancelled (its file is no longer wanted
there). Planning is one statement; claiming is one short transaction; results are recorded many at
a time, together with the locations and the presence that follow from them.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import psutil
import sqlalchemy as sa

from catalogsync_assets.core.backends import ObjectBackend
from catalogsync_assets.core.catalog import presence
from catalogsync_assets.core.catalog.database import Catalog

#: Seconds after which a claim that nobody renewed may be taken over.
LEASE_SECONDS = 300.0


@dataclass(frozen=True)
class Scope:
    """Which tasks of a backend a run is about; None means no limit.

    Attributes:
        batch_key: only files of this batch.
        file_asset_ids: only file assets from the first to the second id, both included.
        song_ids: only files of these songs.
    """

    batch_key: str | None = None
    file_asset_ids: tuple[int, int] | None = None
    song_ids: Sequence[int] | None = None

    def sql(self) -> tuple[str, dict[str, object], list[sa.BindParameter[object]]]:
        """Conditions on `f` (file_assets), beginning with AND; their values; expanding binds."""
        clauses, values, binds = "", dict[str, object](), list[sa.BindParameter[object]]()
        if self.batch_key is not None:
            clauses += " AND f.batch_id = (SELECT id FROM batches WHERE key = :batch_key)"
            values["batch_key"] = self.batch_key
        if self.file_asset_ids is not None:
            clauses += " AND f.id BETWEEN :first_asset AND :last_asset"
            values["first_asset"], values["last_asset"] = self.file_asset_ids
        if self.song_ids is not None:
            clauses += " AND f.song_id IN :song_ids"
            values["song_ids"] = list(self.song_ids)
            binds.append(sa.bindparam("song_ids", expanding=True))
        return clauses, values, binds


EVERYTHING = Scope()


@dataclass(frozen=True)
class UploadTask:
    """A claimed task with all that is needed to carry it out.

    Attributes:
        path: absolute path of the source.
        size_bytes, mtime_ns: the source as the last scan saw it.
        sha256: the content's digest in hex, or None before it is first read.
        known_sha256: digests of every content that the catalog has had at this very key; only
            one of those may be replaced there.
    """

    id: int
    file_asset_id: int
    song_id: int | None
    source_location_id: int
    path: str
    size_bytes: int
    mtime_ns: int | None
    sha256: str | None
    locator: str
    known_sha256: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True)
class Uploaded:
    """A task's object is in the store, whole, and has been verified.

    Attributes:
        adopted: it was there already and nothing was sent.
        verified_by: `server-digest`, `head` or `read`.
    """

    task: UploadTask
    sha256: str
    etag: str | None
    verified_by: str
    adopted: bool


@dataclass(frozen=True)
class Failed:
    """A task was not carried out.

    Attributes:
        code: short name of the reason, the store's own where it has one.
        reason: one sentence with what to do.
        requeue: leave it pending: it has not failed itself, the run could not go on.
        source_changed: the file is not what the catalog says; the next scan must read it anew.
    """

    task: UploadTask
    code: str
    reason: str
    requeue: bool = False
    source_changed: bool = False


_CANCEL = """
UPDATE upload_tasks SET status = 'cancelled', updated_at = CURRENT_TIMESTAMP
WHERE target_backend_id = :backend AND status IN ('pending', 'failed')
  AND id IN (
    SELECT t.id FROM upload_tasks t
    JOIN file_assets f ON f.id = t.file_asset_id
    LEFT JOIN file_locations s ON s.id = t.source_location_id AND s.status = 'active'
    WHERE t.target_backend_id = :backend AND t.status IN ('pending', 'failed')
      AND (s.id IS NULL OR f.superseded_by_id IS NOT NULL
           OR t.target_container_name IS NOT :bucket
           OR t.target_locator <> :prefix || COALESCE(f.object_key, s.locator)
           OR EXISTS (SELECT 1 FROM file_locations a WHERE a.file_asset_id = f.id
                      AND a.backend_id = :backend AND a.status = 'active')))
"""

_ENQUEUE = """
INSERT INTO upload_tasks (file_asset_id, source_location_id, target_backend_id,
                          target_container_name, target_locator, status)
SELECT f.id, MIN(s.id), :backend, :bucket, :prefix || COALESCE(f.object_key, s.locator), 'pending'
FROM file_assets f
JOIN file_locations s ON s.file_asset_id = f.id AND s.status = 'active'
JOIN storage_backends local ON local.id = s.backend_id AND local.backend_type = 'local'
WHERE f.superseded_by_id IS NULL
  AND NOT EXISTS (SELECT 1 FROM file_locations a WHERE a.file_asset_id = f.id
                  AND a.backend_id = :backend AND a.status = 'active')
  {scope}
GROUP BY f.id
ON CONFLICT (file_asset_id, target_backend_id, target_locator) DO UPDATE SET
    status = 'pending',
    source_location_id = excluded.source_location_id,
    target_container_name = excluded.target_container_name,
    lease_owner = NULL,
    lease_expires_at = NULL,
    updated_at = CURRENT_TIMESTAMP
WHERE upload_tasks.status NOT IN ('pending', 'running')
"""


def enqueue(catalog: Catalog, backend: ObjectBackend, scope: Scope = EVERYTHING) -> int:
    """Plan the missing uploads of a backend: every current file that it lacks gets a task.

    One statement, whatever the size of the catalog; idempotent. A task that failed before becomes
    pending again. Tasks whose file has gone, changed or arrived otherwise are cancelled.

    Returns:
        How many tasks became pending.
    """
    clauses, values, binds = scope.sql()
    values |= {
        "backend": backend.id,
        "bucket": backend.bucket,
        "prefix": backend.key_prefix,
    }
    with catalog.transaction() as connection:
        connection.execute(sa.text(_CANCEL), values)
        statement = sa.text(_ENQUEUE.format(scope=clauses)).bindparams(*binds)
        return connection.execute(statement, values).rowcount


_FROM_QUEUE = """
FROM upload_tasks t
JOIN file_assets f ON f.id = t.file_asset_id
JOIN file_locations s ON s.id = t.source_location_id
WHERE t.target_backend_id = :backend AND t.status = 'pending' {scope}
"""


def count_pending(
    catalog: Catalog, backend: ObjectBackend, scope: Scope = EVERYTHING
) -> tuple[int, int]:
    """How many tasks are pending, and their bytes."""
    clauses, values, binds = scope.sql()
    statement = "SELECT COUNT(*), COALESCE(SUM(f.size_bytes), 0)" + _FROM_QUEUE.format(
        scope=clauses
    )
    with catalog.read() as connection:
        row = connection.execute(
            sa.text(statement).bindparams(*binds), {"backend": backend.id, **values}
        ).one()
    return int(row[0]), int(row[1])


def pending_files(catalog: Catalog, backend: ObjectBackend, scope: Scope) -> list[tuple[int, int]]:
    """(file asset id, size in bytes) of the pending tasks in order of file asset; for a batch."""
    clauses, values, binds = scope.sql()
    statement = "SELECT f.id, COALESCE(f.size_bytes, 0)" + _FROM_QUEUE.format(scope=clauses)
    with catalog.read() as connection:
        rows = connection.execute(
            sa.text(statement + " ORDER BY f.id").bindparams(*binds),
            {"backend": backend.id, **values},
        )
        return [(int(i), int(size)) for i, size in rows]


_TAKE_OVER = sa.text(
    "UPDATE upload_tasks SET status = 'pending', lease_owner = NULL, lease_expires_at = NULL"
    " WHERE target_backend_id = :backend AND status = 'running' AND lease_owner IS :owner"
    " AND (:dead OR lease_expires_at IS NULL OR lease_expires_at < :now)"
)


class Lease:
    """The claims of one run of one process.

    Its owner string names host, process and start, so that another run on the same host sees at
    once when the process is gone, and need not wait for the lease to expire.
    """

    def __init__(self, catalog: Catalog, backend: ObjectBackend) -> None:
        self._catalog = catalog
        self._backend = backend
        process = psutil.Process()
        self.owner = "|".join(
            (
                socket.gethostname(),
                str(process.pid),
                f"{process.create_time():.2f}",
                secrets.token_hex(4),
            )
        )
        self._renewed = time.monotonic()

    def take_over_abandoned(self) -> int:
        """Make tasks pending again whose owner has died or let the lease expire."""
        with self._catalog.read() as connection:
            owners = connection.execute(
                sa.text(
                    "SELECT lease_owner, MIN(COALESCE(lease_expires_at, 0)) FROM upload_tasks"
                    " WHERE target_backend_id = :backend AND status = 'running'"
                    " GROUP BY lease_owner"
                ),
                {"backend": self._backend.id},
            ).all()
        now = time.time()
        gone = [
            # An owner that is alive may have renewed by the time we write.
            {"backend": self._backend.id, "owner": o, "now": now, "dead": _is_dead(o)}
            for o, expiry in owners
            if expiry < now or _is_dead(o)
        ]
        if not gone:
            return 0
        with self._catalog.transaction() as connection:
            return connection.execute(_TAKE_OVER, gone).rowcount

    def claim(self, scope: Scope, limit: int) -> list[UploadTask]:
        """Lease up to `limit` pending tasks, oldest first. No two leases ever hold the same one."""
        clauses, values, binds = scope.sql()
        statement = (
            "SELECT t.id, f.id, f.song_id, s.id, s.absolute_path, COALESCE(f.size_bytes, 0),"
            " s.mtime_ns, f.sha256, t.target_locator"
            + _FROM_QUEUE.format(scope=clauses)
            + " ORDER BY t.id LIMIT :limit"
        )
        values |= {"backend": self._backend.id, "limit": limit}
        with self._catalog.transaction() as connection:
            rows = connection.execute(sa.text(statement).bindparams(*binds), values).all()
            if not rows:
                return []
            tasks = [UploadTask(*row) for row in rows]
            connection.execute(
                sa.text(
                    "UPDATE upload_tasks SET status = 'running', lease_owner = :owner,"
                    " lease_expires_at = :expiry, attempts = attempts + 1,"
                    " updated_at = CURRENT_TIMESTAMP WHERE id = :id"
                ),
                [
                    {"id": t.id, "owner": self.owner, "expiry": time.time() + LEASE_SECONDS}
                    for t in tasks
                ],
            )
            known = self._known_contents(connection, [t.locator for t in tasks])
        return [
            replace(t, known_sha256=frozenset(known[t.locator])) if t.locator in known else t
            for t in tasks
        ]

    def _known_contents(
        self, connection: sa.Connection, locators: list[str]
    ) -> dict[str, set[str]]:
        rows = connection.execute(
            sa.text(
                "SELECT l.locator, f.sha256 FROM file_locations l"
                " JOIN file_assets f ON f.id = l.file_asset_id"
                " WHERE l.backend_id = :backend AND l.container_name = :bucket"
                " AND l.locator IN :locators AND f.sha256 IS NOT NULL"
            ).bindparams(sa.bindparam("locators", expanding=True)),
            {"backend": self._backend.id, "bucket": self._backend.bucket, "locators": locators},
        )
        known: dict[str, set[str]] = {}
        for locator, sha256 in rows:
            known.setdefault(locator, set()).add(sha256)
        return known

    def renew(self) -> None:
        """Put off the expiry of all that is held; does something once a fifth of the lease."""
        if time.monotonic() - self._renewed < LEASE_SECONDS / 5:
            return
        with self._catalog.transaction() as connection:
            connection.execute(
                sa.text(
                    "UPDATE upload_tasks SET lease_expires_at = :expiry"
                    " WHERE target_backend_id = :backend AND status = 'running'"
                    " AND lease_owner = :owner"
                ),
                {
                    "expiry": time.time() + LEASE_SECONDS,
                    "owner": self.owner,
                    "backend": self._backend.id,
                },
            )
        self._renewed = time.monotonic()

    def release(self) -> None:
        """Make all that is still held pending again. Idempotent."""
        with self._catalog.transaction() as connection:
            connection.execute(
                sa.text(
                    "UPDATE upload_tasks SET status = 'pending', lease_owner = NULL,"
                    " lease_expires_at = NULL WHERE target_backend_id = :backend"
                    " AND status = 'running' AND lease_owner = :owner"
                ),
                {"owner": self.owner, "backend": self._backend.id},
            )


def _is_dead(owner: str | None) -> bool:
    """Whether the owner was a process of this host that no longer runs."""
    host, _, rest = (owner or "").partition("|")
    pid, _, rest = rest.partition("|")
    started = rest.partition("|")[0]
    if host != socket.gethostname() or not pid.isdigit():
        return False  # another host's, or not one of ours: only its expiry tells
    if int(pid) == os.getpid():
        return started != f"{psutil.Process().create_time():.2f}"
    try:
        process = psutil.Process(int(pid))
        alive = process.status() != psutil.STATUS_ZOMBIE
        return not alive or f"{process.create_time():.2f}" != started
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False


def withdraw_claims_at(catalog: Catalog, backend: ObjectBackend, locator: str) -> None:
    """Say of no file any more that it is at this key: its object is about to be replaced.

    Goes before the replacing, as a kill in between must not leave a row that claims what the
    store no longer has.
    """
    with catalog.transaction() as connection:
        songs = connection.scalars(
            sa.text(
                "SELECT DISTINCT f.song_id FROM file_locations l"
                " JOIN file_assets f ON f.id = l.file_asset_id"
                " WHERE l.backend_id = :backend AND l.container_name = :bucket"
                " AND l.locator = :locator AND l.status = 'active' AND f.song_id IS NOT NULL"
            ),
            place := {"backend": backend.id, "bucket": backend.bucket, "locator": locator},
        ).all()
        connection.execute(
            sa.text(
                "UPDATE file_locations SET status = 'superseded', updated_at = CURRENT_TIMESTAMP"
                " WHERE backend_id = :backend AND container_name = :bucket"
                " AND locator = :locator AND status = 'active'"
            ),
            place,
        )
        presence.refresh(connection, song_ids=list(songs), backend_id=backend.id)


_ACTIVATE = """
INSERT INTO file_locations (file_asset_id, backend_id, container_name, locator, public_url,
                            status, is_primary, size_bytes, etag, verified_at, verified_by)
VALUES (:asset, :backend, :bucket, :locator, :public_url,
        'active', 0, :size, :etag, CURRENT_TIMESTAMP, :verified_by)
ON CONFLICT (file_asset_id, backend_id, locator) DO UPDATE SET
    container_name = excluded.container_name, public_url = excluded.public_url,
    status = 'active', size_bytes = excluded.size_bytes, etag = excluded.etag,
    verified_at = excluded.verified_at, verified_by = excluded.verified_by,
    updated_at = CURRENT_TIMESTAMP
"""
_SUPERSEDE_OTHERS = """
UPDATE file_locations SET status = 'superseded', updated_at = CURRENT_TIMESTAMP
WHERE backend_id = :backend AND container_name = :bucket AND locator = :locator
  AND status = 'active' AND file_asset_id <> :asset
  AND file_asset_id NOT IN (SELECT id FROM file_assets WHERE sha256 = :sha256)
"""
_KEEP_DIGEST = """
UPDATE file_assets SET sha256 = :sha256, updated_at = CURRENT_TIMESTAMP
WHERE id = :asset AND sha256 IS NULL
"""
_SUCCEED = """
UPDATE upload_tasks SET status = 'succeeded', last_error = NULL, error_code = NULL,
    lease_owner = NULL, lease_expires_at = NULL, updated_at = CURRENT_TIMESTAMP
WHERE id = :id
"""
_FAIL = """
UPDATE upload_tasks SET status = :status, last_error = :reason, error_code = :code,
    lease_owner = NULL, lease_expires_at = NULL, updated_at = CURRENT_TIMESTAMP
WHERE id = :id AND lease_owner = :owner
"""
# An impossible mtime: the next scan sees a difference, whatever the file's own mtime is.
_FORGET_STAT = "UPDATE file_locations SET mtime_ns = NULL WHERE id = :source"


def record(
    catalog: Catalog,
    backend: ObjectBackend,
    owner: str,
    results: Collection[Uploaded | Failed],
) -> None:
    """Write down what became of tasks: locations, digests, task states, presence; all or nothing.

    Idempotent: a task done twice leaves one location.

    Args:
        owner: the lease under which the tasks were claimed; a failure of a task that has since
            been taken over by another lease is not written.
    """
    done = [r for r in results if isinstance(r, Uploaded)]
    failed = [r for r in results if isinstance(r, Failed)]
    with catalog.transaction() as connection:
        if done:
            rows = [
                {
                    "id": r.task.id,
                    "asset": r.task.file_asset_id,
                    "backend": backend.id,
                    "bucket": backend.bucket,
                    "locator": r.task.locator,
                    "public_url": backend.public_url(r.task.locator),
                    "size": r.task.size_bytes,
                    "etag": r.etag,
                    "verified_by": r.verified_by,
                    "sha256": r.sha256,
                }
                for r in done
            ]
            for statement in (_SUPERSEDE_OTHERS, _ACTIVATE, _KEEP_DIGEST, _SUCCEED):
                connection.execute(sa.text(statement), rows)
            songs = {r.task.song_id for r in done if r.task.song_id is not None}
            presence.refresh(connection, song_ids=sorted(songs), backend_id=backend.id)
        if failed:
            connection.execute(
                sa.text(_FAIL),
                [
                    {
                        "id": r.task.id,
                        "status": "pending" if r.requeue else "failed",
                        "reason": r.reason,
                        "code": r.code,
                        "owner": owner,
                    }
                    for r in failed
                ],
            )
            changed = [{"source": r.task.source_location_id} for r in failed if r.source_changed]
            if changed:
                connection.execute(sa.text(_FORGET_STAT), changed)
