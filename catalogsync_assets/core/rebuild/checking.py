"""Holds what a snapshot says of objects against the objects, where the two differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from catalogsync_assets.core.audit.audit import audit
from catalogsync_assets.core.audit.looks import look_at
from catalogsync_assets.core.audit.report import AuditRequest
from catalogsync_assets.core.catalog import locations
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.locations import Look, Stored
from catalogsync_assets.core.catalog.remote_copies import RemoteCopy, copies_by_id
from catalogsync_assets.core.errors import RunAborted, StoreError
from catalogsync_assets.core.rebuild.report import RebuildReport
from catalogsync_assets.core.runner.report import Failure
from catalogsync_assets.core.stores.backend import REPLACED, ObjectBackend
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.retry import Retry
from catalogsync_assets.core.upload.upload import Limits

#: The ETag that is written down of an object that is not what a snapshot says. It may be a newer
#: content, of which that knows nothing: no upload is to replace it unseen.
_NOT_TO_BE_REPLACED = ""


@dataclass(eq=False)
class Checking:
    """What is looked at of one backend."""

    catalog: Catalog
    client: StoreClient
    report: RebuildReport
    retry: Retry
    #: Keys of objects that the store will not show, such as of one in an archive.
    refused: set[str] = field(default_factory=set)

    def compare(self, copy: RemoteCopy) -> bool:
        """Look at an object that is not what the catalog has at its key, and write down what it is.

        Returns:
            False where the store will not show it; that is in the report.

        Raises:
            StoreError: it refuses everything, or is silent.
        """
        if copy.key in self.refused:
            return False
        outcome = look_at(copy, self.client, "head", self.retry)
        if outcome.error is not None:
            self._note_refusal(copy, outcome.error)
            return False
        self.report.doubtful += 1
        event: Any = {"ok": "verified", "missing": "lost"}.get(outcome.kind, "damaged")
        self.report.damaged += event == "damaged"
        etag = _NOT_TO_BE_REPLACED if event == "damaged" else outcome.etag
        look = Look(copy, event, etag, outcome.verified_by)
        with self.catalog.transaction() as connection:
            locations.record_looks(connection, [look])
        return True

    def hold_against_listing(
        self, workers: int, connect: Callable[[ObjectBackend], StoreClient]
    ) -> None:
        """Look for all that the catalog says to be there.

        A file that is not where it was last said to be may lie where it was before that.

        Raises:
            RunAborted: the store refuses everything or is silent.
        """
        report, backend = self.report, self.client.backend
        try:
            found = audit(
                self.catalog,
                backend,
                AuditRequest(level="listing", allow_empty=True),
                limits=Limits.of(backend, workers=workers),
                connect=connect,
            )
        except RunAborted as error:
            raise RunAborted(report, error.cause) from error
        with self.catalog.transaction() as connection:
            damaged = connection.scalars(_DAMAGED, {"backend": backend.id}).all()
            locations.apply(connection, "damaged", damaged, etag=_NOT_TO_BE_REPLACED)
        report.missing = found.missing - self._find_back()
        report.damaged = found.size + found.content  # those that were compared among them
        report.nowhere = int(self.catalog.scalar(_NOWHERE))

    def _find_back(self) -> int:
        """Files whose object is gone, and lies under a key that it had before: how many."""
        place = {"backend": self.client.backend.id, "kept": f"%{REPLACED}%"}
        back: set[int] = set()
        for location_id, asset in self.catalog.rows(_BEFORE, **place):
            if asset in back:
                continue
            with self.catalog.read() as connection:
                copy = copies_by_id(connection, [location_id])[location_id]
            outcome = look_at(copy, self.client, "head", self.retry)
            if outcome.error is not None:
                self._note_refusal(copy, outcome.error)
            elif outcome.kind == "ok" and copy.sha256 and copy.size_bytes is not None:
                size, etag = copy.size_bytes, outcome.etag or copy.etag
                there = Stored(asset, copy.key, size, copy.sha256, etag, outcome.verified_by)
                with self.catalog.transaction() as connection:
                    if locations.record_stored(connection, self.client.backend, [there]):
                        back.add(asset)
        return len(back)

    def _note_refusal(self, copy: RemoteCopy, error: StoreError) -> None:
        if error.fatal or error.retryable:
            raise error
        self.refused.add(copy.key)  # the others are not to wait for it
        self.report.note_failure(Failure(copy.key, error.code, str(error)))


_DAMAGED = sa.text(
    "SELECT id FROM file_locations WHERE backend_id = :backend AND status = 'damaged'"
    " AND COALESCE(etag, '') <> ''"
)
_BEFORE = """
SELECT s.id, s.file_asset_id FROM file_locations m
JOIN file_locations s ON s.file_asset_id = m.file_asset_id AND s.backend_id = m.backend_id
WHERE m.backend_id = :backend AND m.status = 'missing' AND s.status = 'superseded'
  AND s.etag IS NOT NULL AND s.locator NOT LIKE :kept
ORDER BY s.file_asset_id, s.updated_at DESC, s.id DESC
"""
_NOWHERE = """
SELECT COUNT(*) FROM file_assets f WHERE f.superseded_by_id IS NULL
AND EXISTS (SELECT 1 FROM file_locations l WHERE l.file_asset_id = f.id AND l.status = 'missing')
AND NOT EXISTS (
    SELECT 1 FROM file_locations l JOIN storage_backends b ON b.id = l.backend_id
    WHERE l.file_asset_id = f.id AND b.backend_type <> 'local'
      AND l.status IN ('active', 'missing', 'damaged'))
"""
