"""What became of upload tasks, and the rows that it leaves: locations, digests, presence.

Many results are written in one transaction; a location only after its object was verified.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from catalogsync_assets.core.catalog import presence
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.leases import UploadTask
from catalogsync_assets.core.catalog.legacy import insert_sql
from catalogsync_assets.core.stores.backend import ObjectBackend


@dataclass(frozen=True)
class Uploaded:
    """A task's object is in the store, whole, and has been verified.

    Attributes:
        adopted: it was there already and nothing was sent.
        verified_by: `server-digest`, `head` or `read`.
        sent_bytes: how much of it was sent, where it was not the whole: an earlier run had begun.
    """

    task: UploadTask
    sha256: str
    etag: str | None
    verified_by: str
    adopted: bool
    sent_bytes: int | None = None


@dataclass(frozen=True)
class Failed:
    """A task was not carried out.

    Attributes:
        code: short name of the reason, the store's own where it has one.
        reason: one sentence with what to do.
        retryable: it may pass without anyone acting.
        requeue: leave it pending: it has not failed itself, the run could not go on.
        source_changed: the file is not what the catalog says; the next scan must read it anew.
    """

    task: UploadTask
    code: str
    reason: str
    requeue: bool = False
    retryable: bool = False
    source_changed: bool = False


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
        presence.refresh(connection, song_ids=list(songs))


_COLUMNS = (
    "file_asset_id",
    "backend_id",
    "container_name",
    "locator",
    "public_url",
    "status",
    "is_primary",
    "size_bytes",
    "etag",
    "verified_at",
    "verified_by",
)
_ACTIVATE = """
VALUES (:asset, :backend, :bucket, :locator, :public_url, 'active', 0, :size, :etag,
        CURRENT_TIMESTAMP, :verified_by{more})
ON CONFLICT (file_asset_id, backend_id, locator) DO UPDATE SET
    container_name = excluded.container_name, public_url = excluded.public_url,
    status = 'active', size_bytes = excluded.size_bytes, etag = excluded.etag,
    verified_at = excluded.verified_at, verified_by = excluded.verified_by,
    updated_at = CURRENT_TIMESTAMP
"""
_SUPERSEDE_OTHERS = """
UPDATE file_locations SET status = 'superseded', updated_at = CURRENT_TIMESTAMP
WHERE backend_id = :backend AND container_name = :bucket AND locator = :locator
  AND status IN ('active', 'missing', 'damaged') AND file_asset_id <> :asset
  AND file_asset_id NOT IN (SELECT id FROM file_assets WHERE sha256 = :sha256)
"""
#: Keeps what is learned of a content that nobody had read whole: `:asset`, `:sha256`, `:size`.
KEEP_DIGEST = """
UPDATE file_assets SET sha256 = COALESCE(NULLIF(sha256, ''), :sha256),
    size_bytes = COALESCE(size_bytes, :size), updated_at = CURRENT_TIMESTAMP
WHERE id = :asset AND (sha256 IS NULL OR sha256 = '' OR size_bytes IS NULL)
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
_NOTE_SUCCESS = sa.text(
    "UPDATE storage_backends SET last_success_at = CURRENT_TIMESTAMP WHERE id = :backend"
)
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
            record_uploaded(connection, backend, done)
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


def record_uploaded(
    connection: sa.Connection, backend: ObjectBackend, done: Sequence[Uploaded]
) -> None:
    """What `record` writes of objects that are there, as a part of another transaction."""
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
    activate = insert_sql(connection, "file_locations", _COLUMNS, _ACTIVATE)
    for statement in (_SUPERSEDE_OTHERS, activate, KEEP_DIGEST, _SUCCEED):
        # Straight to the driver: SQLAlchemy's parameters would cost more than SQLite.
        connection.exec_driver_sql(statement, rows)
    connection.execute(_NOTE_SUCCESS, {"backend": backend.id})
    songs = {r.task.song_id for r in done if r.task.song_id is not None}
    presence.refresh(connection, song_ids=sorted(songs))
