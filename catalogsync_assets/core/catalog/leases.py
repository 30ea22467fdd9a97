"""Who works on which upload task: claims that expire.

A claim is a short transaction. Its owner renews it while it lives; the claims of one that died are
taken over, at once on the same machine, after `LEASE_SECONDS` elsewhere.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.files import limits_of_links
from catalogsync_assets.core.catalog.invalid_rows import GUARDS, checked
from catalogsync_assets.core.catalog.locations import COPY_COLUMNS
from catalogsync_assets.core.catalog.scope import Scope
from catalogsync_assets.core.catalog.upload_queue import FROM_QUEUE, take_over_abandoned
from catalogsync_assets.core.runner.owners import new_owner
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.copies import RemoteCopy

#: Seconds after which a claim that nobody renewed may be taken over.
LEASE_SECONDS = 300.0


@dataclass(frozen=True)
class UploadTask:
    """A claimed task with all that is needed to carry it out.

    Attributes:
        path: absolute path of the source, or its key on the store that it is on.
        size_bytes, mtime_ns: the source as the last scan saw it; -1 and None in a row of another
            program that no scan has met yet.
        sha256: the content's digest in hex, or None before it is first read.
        object_key_fold: of the file, as `object_keys.fold` makes it.
        source_copy: the object that is the source; None if that is a local file. One that was found
            damaged is taken where there is no other.
        earlier_ids: file assets that were earlier contents of the same file. An object that we
            put for one of them may be replaced, too, though a kill kept its digest from us.
        known_sha256: digests of every content that the catalog has had at this very key; only
            one of those may be replaced there.
        damaged_etags: of objects that a verification has read at this very key and found damaged,
            without quotes; empty text for one whose ETag is not known. Without any, the key is not
            under suspicion.
        within: real paths of the folders that a local source must lie in, once links are followed;
            empty: it may lie anywhere.
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
    object_key_fold: str | None = None
    source_copy: RemoteCopy | None = None
    known_sha256: frozenset[str] = frozenset()
    earlier_ids: frozenset[int] = frozenset()
    damaged_etags: frozenset[str] = frozenset()
    within: tuple[str, ...] = ()


@dataclass(frozen=True)
class _AtKey:
    """What the catalog knows of one key: digests that were there, ETags that were damaged."""

    sha256: set[str] = field(default_factory=set)
    damaged_etags: set[str] = field(default_factory=set)


_NOTHING_KNOWN = _AtKey()
# Of a source `s`: whether it is an object of a backend.
_ON_A_STORE = """
EXISTS (SELECT 1 FROM storage_backends b
        WHERE b.id = s.backend_id AND b.backend_type = 'object_storage')
"""


class Lease:
    """The claims of one run of one process.

    Its owner string names host, process and start, so that another run on the same host sees at
    once when the process is gone, and need not wait for the lease to expire.
    """

    def __init__(self, catalog: Catalog, backend: ObjectBackend) -> None:
        self._catalog = catalog
        self._backend = backend
        self.owner = new_owner()
        self._renewed = time.monotonic()

    def take_over_abandoned(self) -> int:
        """See `uploads.take_over_abandoned`."""
        return take_over_abandoned(self._catalog, self._backend)

    def claim(self, scope: Scope, limit: int, *, but: Collection[int] = ()) -> list[UploadTask]:
        """Lease up to `limit` pending tasks, oldest first. No two leases ever hold the same one.

        Args:
            but: ids of tasks to leave alone, such as those that this run has put back.
        """
        clauses, values = scope.sql()
        if but:
            clauses += f" AND t.id NOT IN ({', '.join(str(int(i)) for i in but)})"
        statement = (
            "SELECT t.id, f.id, f.song_id, s.id, CASE WHEN"
            f" {_ON_A_STORE} THEN s.locator ELSE COALESCE(s.absolute_path, s.locator) END,"
            " COALESCE(s.size_bytes, f.size_bytes, -1), s.mtime_ns, NULLIF(f.sha256, ''),"
            " t.target_locator, f.object_key_fold,"
            f" s.library_root IS NOT NULL, {_ON_A_STORE}, "
            + (COPY_COLUMNS + GUARDS).format(location="s")
            + FROM_QUEUE.format(scope=clauses)
            + " ORDER BY t.queue_order, t.id LIMIT :limit"
        )
        values |= {"backend": self._backend.id, "limit": limit}
        within = limits_of_links(self._catalog)
        with self._catalog.transaction() as connection:
            found = connection.execute(sa.text(statement), values).all()
            rows = list(checked(self._catalog, found))
            if not rows:
                return []
            tasks = [_task(row, within) for row in rows]
            connection.execute(
                sa.text(
                    "UPDATE upload_tasks SET status = 'running', lease_owner = :owner,"
                    " lease_expires_at = :expiry, attempts = attempts + 1,"
                    " updated_at = CURRENT_TIMESTAMP"
                    " WHERE id IN (SELECT value FROM json_each(:ids))"
                ),
                {
                    "ids": json.dumps([t.id for t in tasks]),
                    "owner": self.owner,
                    "expiry": time.time() + LEASE_SECONDS,
                },
            )
            known = self._known_contents(connection, [t.locator for t in tasks])
            earlier = _earlier_contents(connection, [t.object_key_fold for t in tasks])
        return [_with_history(task, known, earlier) for task in tasks]

    def _known_contents(self, connection: sa.Connection, locators: list[str]) -> dict[str, _AtKey]:
        rows = connection.execute(
            sa.text(
                "SELECT l.locator, f.sha256, l.status = 'damaged', COALESCE(l.etag, '')"
                " FROM file_locations l JOIN file_assets f ON f.id = l.file_asset_id"
                " WHERE l.backend_id = :backend AND l.container_name = :bucket"
                " AND l.locator IN (SELECT value FROM json_each(:locators))"
            ),
            {
                "backend": self._backend.id,
                "bucket": self._backend.bucket,
                "locators": json.dumps(locators),
            },
        )
        known: dict[str, _AtKey] = {}
        for locator, sha256, damaged, etag in rows:
            at_key = known.setdefault(locator, _AtKey())
            if sha256:
                at_key.sha256.add(sha256.lower())
            if damaged:
                at_key.damaged_etags.add(etag.strip('"'))
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


def _task(row: Sequence[Any], within: tuple[str, ...]) -> UploadTask:
    in_library, on_a_store, *copy = row[10:]
    return replace(
        UploadTask(*row[:10]),
        source_copy=RemoteCopy._make(copy) if on_a_store else None,
        # A row of another program that no scan has met lies below no root that we know.
        within=within if in_library else (),
    )


def _earlier_contents(
    connection: sa.Connection, folds: Sequence[str | None]
) -> dict[str, set[int]]:
    """The superseded file assets that share the key of these files."""
    rows = connection.execute(
        sa.text(
            "SELECT object_key_fold, id FROM file_assets"
            " WHERE object_key_fold IN (SELECT value FROM json_each(:folds))"
            " AND superseded_by_id IS NOT NULL"
        ),
        {"folds": json.dumps([fold for fold in folds if fold])},
    )
    earlier: dict[str, set[int]] = {}
    for fold, asset_id in rows:
        earlier.setdefault(fold, set()).add(asset_id)
    return earlier


def _with_history(
    task: UploadTask, known: dict[str, _AtKey], earlier: dict[str, set[int]]
) -> UploadTask:
    """The task with what was at its key before; for most files that is nothing."""
    fold = task.object_key_fold or ""
    if task.locator not in known and fold not in earlier:
        return task
    at_key = known.get(task.locator, _NOTHING_KNOWN)
    return replace(
        task,
        known_sha256=frozenset(at_key.sha256),
        damaged_etags=frozenset(at_key.damaged_etags),
        earlier_ids=frozenset(earlier.get(fold, ())),
    )
