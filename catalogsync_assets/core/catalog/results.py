"""What became of upload tasks, and the rows that it leaves: locations, digests, presence.

Many results are written in one transaction; a location only after its object was verified.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from catalogsync_assets.core.catalog import locations
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.leases import UploadTask
from catalogsync_assets.core.catalog.locations import Stored
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
            changed = [r.task.source_location_id for r in failed if r.source_changed]
            locations.forget_stat(connection, changed)


def record_uploaded(
    connection: sa.Connection, backend: ObjectBackend, done: Sequence[Uploaded]
) -> None:
    """What `record` writes of objects that are there, as a part of another transaction."""
    objects = [
        Stored(
            r.task.file_asset_id, r.task.locator, r.task.size_bytes, r.sha256, r.etag, r.verified_by
        )
        for r in done
    ]
    locations.record_stored(connection, backend, objects)
    connection.exec_driver_sql(_SUCCEED, [{"id": r.task.id} for r in done])
    connection.execute(_NOTE_SUCCESS, {"backend": backend.id})
