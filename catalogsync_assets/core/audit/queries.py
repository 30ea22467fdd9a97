"""Audits as rows: how far each has come, what it found, and what follows for the locations.

What an audit finds, the status of the location, presence and how far it has come are written in one
transaction: after a kill, an audit goes on where its record ends, and nothing is found twice.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import sqlalchemy as sa

from catalogsync_assets.core.audit.report import AuditRequest, Finding
from catalogsync_assets.core.catalog import locations, presence
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.locations import Look
from catalogsync_assets.core.catalog.remote_copies import RemoteCopy
from catalogsync_assets.core.catalog.schema import audits
from catalogsync_assets.core.catalog.scope import Scope
from catalogsync_assets.core.errors import StoreError
from catalogsync_assets.core.runner.owners import is_dead, new_owner
from catalogsync_assets.core.stores.backend import ObjectBackend

#: An audit that was interrupted longer ago is begun anew: too much may have changed since.
_RESUMABLE = timedelta(days=7)
#: By how much two moments that were both reckoned back from "now" may differ.
_CLOCK = timedelta(minutes=2)
_LOST = "('missing', 'size', 'content')"
_TIME = "%Y-%m-%d %H:%M:%S"


@dataclass(frozen=True)
class Audit:
    """An audit that is under way."""

    id: int
    started_at: str  #: when it first began, `YYYY-MM-DD HH:MM:SS`, UTC
    position: str | None  #: the last key that was dealt with; None at the beginning
    counts: Counter[str]
    seen: bytes | None  #: see `schema.audits`
    resumed: bool  #: it goes on with one that was interrupted
    since: datetime | None  #: that of its request, as it was when it first began


@dataclass(frozen=True)
class Outcome:
    """What became of a look at an expected object, or at one that the catalog does not know."""

    kind: str  #: `ok`, or the kind of a finding
    key: str
    expected: RemoteCopy | None = None  #: None for an object that the catalog does not know
    #: What `ok` rests on, as far as that counts as a verification; else None.
    verified_by: str | None = None
    detail: str = ""  #: what differs, in a few words
    etag: str | None = None  #: of the object as it is now; None if that is not known
    error: StoreError | None = None  #: what the store said instead, of one that is `unreadable`

    @property
    def look(self) -> Look | None:
        """What it says of the location; None where nothing follows."""
        if self.expected is None:
            return None
        if self.verified_by is not None:
            return Look(self.expected, "verified", self.etag, self.verified_by)
        if self.kind in ("missing", "size", "content"):
            return Look(self.expected, "lost" if self.kind == "missing" else "damaged", self.etag)
        return None


@dataclass(frozen=True)
class PastAudit:
    """An audit as its record has it."""

    id: int
    backend: str
    level: str
    sample_percent: float | None
    since: str | None
    scope: dict[str, Any] | None  #: what it was limited to, or None
    repair: bool
    status: str  #: `running`, `complete` or `interrupted`
    started_at: str
    finished_at: str | None
    counts: dict[str, int]  #: by name, as in `AuditReport`


def begin(catalog: Catalog, backend: ObjectBackend, request: AuditRequest) -> Audit:
    """Begin an audit, or go on with the last of the same request if it was interrupted.

    One whose process is gone counts as interrupted; one that is running elsewhere is left alone.
    """
    with catalog.transaction() as connection:
        found = None if request.anew else _resumable(connection, backend, request)
        statement: sa.Insert | sa.Update
        if found is None:
            statement = sa.insert(audits).values(
                backend_id=backend.id,
                level=request.level,
                sample_percent=request.sample_percent,
                since=request.since,
                scope=_described(request.scope),
            )
        else:
            statement = sa.update(audits).where(audits.c.id == found.id)
        now = {"status": "running", "owner": new_owner(), "repair": request.repair}
        row = connection.execute(statement.values(now).returning(audits)).one()
    counts = Counter({str(k): int(v) for k, v in (row.counts or {}).items()})
    started, resumed = row.started_at.strftime(_TIME), found is not None
    return Audit(row.id, started, row.position, counts, row.seen, resumed, row.since)


def _resumable(
    connection: sa.Connection, backend: ObjectBackend, request: AuditRequest
) -> sa.Row[Any] | None:
    now = datetime.now(timezone.utc).replace(tzinfo=None)
    last = connection.execute(
        sa.select(audits)
        .where(
            audits.c.backend_id == backend.id,
            audits.c.level == request.level,
            audits.c.sample_percent.is_not_distinct_from(request.sample_percent),
        )
        .order_by(audits.c.id.desc())
    )
    for row in last:
        if row.scope != _described(request.scope) or not _same_since(row, request.since, now):
            continue
        stopped = row.status == "interrupted" or (row.status == "running" and is_dead(row.owner))
        return row if stopped and now - row.started_at < _RESUMABLE else None
    return None


def _same_since(row: sa.Row[Any], since: datetime | None, now: datetime) -> bool:
    """Whether a moment is the same, or was as long before the audit as the other is before now."""
    if since is None or row.since is None:
        return since is row.since
    moved: timedelta = since - row.since
    return not moved or abs(moved - (now - row.started_at)) < _CLOCK


def _described(scope: Scope) -> dict[str, Any] | None:
    """A scope as JSON; None if it does not limit."""
    selections = [[s.kind, *s.ids] for s in scope.selections]
    given = {
        "batch_key": scope.batch_key,
        "file_asset_ids": list(scope.file_asset_ids) if scope.file_asset_ids else None,
        "song_ids": None if scope.song_ids is None else list(scope.song_ids),
        "selections": selections or None,
    }
    return {name: value for name, value in given.items() if value is not None} or None


_FIND = """
INSERT INTO audit_findings (audit_id, kind, locator, file_asset_id, detail)
VALUES (:audit, :kind, :key, :asset, :detail)
ON CONFLICT (audit_id, kind, locator) DO UPDATE SET detail = excluded.detail
"""
_FORGET = """
DELETE FROM audit_findings WHERE audit_id = :audit AND kind = 'unreadable' AND locator = :key
"""


def record(
    catalog: Catalog,
    audit: Audit,
    outcomes: Sequence[Outcome],
    counts: Mapping[str, int],
    *,
    position: str | None,
    seen: bytes | None = None,
) -> Counter[str]:
    """Write down what was found, what follows for the locations, and how far the audit has come.

    A location that another program has written since it was looked at stays as it is, and nothing
    is found there.

    Args:
        counts: so far, without these outcomes.

    Returns:
        The counts with these outcomes: those that held, by kind, and `recovered`, the locations
        that were missing or damaged and are active again.
    """
    now = Counter(counts)
    looks = [outcome.look for outcome in outcomes]
    with catalog.transaction() as connection:
        written = iter(locations.record_looks(connection, [look for look in looks if look]))
        for outcome, look in zip(outcomes, looks, strict=True):
            if look is not None and not next(written):
                now["changed"] += 1
                continue
            known = outcome.expected
            place = {"audit": audit.id, "key": outcome.key}
            if counts.get("unreadable") and known is not None:  # it has been looked at again
                now["unreadable"] -= connection.exec_driver_sql(_FORGET, place).rowcount
            now[outcome.kind] += 1
            if outcome.kind != "ok":
                asset = known.file_asset_id if known else None
                found = {"kind": outcome.kind, "asset": asset, "detail": outcome.detail or None}
                connection.exec_driver_sql(_FIND, place | found)
            elif look is None:
                now["unproven"] += 1
            elif known and known.status != "active":
                now["recovered"] += 1
        connection.execute(
            sa.update(audits)
            .where(audits.c.id == audit.id)
            .values(position=position, counts=dict(now), seen=seen)
        )
    return now


def unreadable(catalog: Catalog, audit: Audit, limit: int) -> list[str]:
    """Keys of objects that could not be looked at."""
    statement = (
        "SELECT locator FROM audit_findings"
        " WHERE audit_id = :audit AND kind = 'unreadable' ORDER BY locator LIMIT :limit"
    )
    with catalog.read() as connection:
        values = {"audit": audit.id, "limit": limit}
        return list(connection.scalars(sa.text(statement), values))


_DROP_KNOWN = """
DELETE FROM audit_findings WHERE audit_id = :audit AND kind = 'foreign' AND (
    EXISTS (SELECT 1 FROM file_locations l WHERE l.backend_id = :backend
            AND l.container_name = :bucket AND l.locator = audit_findings.locator
            AND l.status <> 'removed')
    OR locator IN (SELECT target_locator FROM upload_tasks
                   WHERE target_backend_id = :backend AND status = 'running'))
"""


def drop_known_untracked(catalog: Catalog, backend: ObjectBackend, audit: Audit) -> int:
    """Forget untracked objects that an upload has meanwhile recorded, or is about to; how many."""
    values = {"audit": audit.id, "backend": backend.id, "bucket": backend.bucket}
    with catalog.transaction() as connection:
        return connection.execute(sa.text(_DROP_KNOWN), values).rowcount


def end(catalog: Catalog, audit: Audit, status: str, **more: object) -> None:
    """Record that an audit is `complete`, or `interrupted`: then it may go on.

    Args:
        more: columns of `audits` that change with it.
    """
    with catalog.transaction() as connection:
        connection.execute(
            sa.update(audits)
            .where(audits.c.id == audit.id)
            .values(status=status, owner=None, finished_at=sa.func.current_timestamp(), **more)
        )


# By what is so now, whoever has done it.
_NOTE_REPAIRS = f"""
UPDATE audit_findings SET repair = CASE
    WHEN EXISTS (SELECT 1 FROM file_locations l WHERE l.backend_id = :backend
                 AND l.file_asset_id = audit_findings.file_asset_id AND l.status = 'active')
    THEN 'repaired'
    WHEN (SELECT superseded_by_id FROM file_assets f WHERE f.id = audit_findings.file_asset_id)
         IS NOT NULL THEN 'not wanted any more: the file has newer content'
    WHEN EXISTS (SELECT 1 FROM file_assets f WHERE f.id = audit_findings.file_asset_id
                 AND NOT {presence.IN_LIBRARY})
    THEN 'not wanted any more: the file is left out of the library, or was forgotten'
    ELSE COALESCE(
        (SELECT CASE WHEN t.status = 'failed' THEN COALESCE(t.last_error, 'the upload failed')
                     ELSE 'queued' END
         FROM upload_tasks t WHERE t.file_asset_id = audit_findings.file_asset_id
         AND t.target_backend_id = :backend AND t.status IN ('pending', 'running', 'failed')
         ORDER BY t.id DESC LIMIT 1),
        'there is no good copy, neither here nor on another backend')
    END
WHERE audit_id = :audit AND kind IN {_LOST}
"""


_REPAIRED = """
SELECT COUNT(*) FROM audit_findings WHERE audit_id = :audit AND repair = 'repaired'
"""


def note_repairs(catalog: Catalog, backend: ObjectBackend, audit: Audit) -> int:
    """Record for each file that was found missing or damaged what has become of it.

    Returns:
        How many are whole again.
    """
    values = {"audit": audit.id, "backend": backend.id}
    with catalog.transaction() as connection:
        connection.execute(sa.text(_NOTE_REPAIRS), values)
        return int(connection.scalar(sa.text(_REPAIRED), values) or 0)


def history(
    catalog: Catalog, backend: ObjectBackend | None = None, *, limit: int = 100
) -> list[PastAudit]:
    """Past audits of a backend, or of all, newest first."""
    statement = (
        "SELECT a.id, b.name, a.level, a.sample_percent, a.since, a.scope, a.repair, a.status,"
        " a.started_at, a.finished_at, a.counts FROM audits a"
        " JOIN storage_backends b ON b.id = a.backend_id"
        " WHERE b.removed_at IS NULL AND (:backend IS NULL OR a.backend_id = :backend)"
        " ORDER BY a.id DESC LIMIT :limit"
    )
    values = {"backend": backend.id if backend else None, "limit": limit}
    with catalog.read() as connection:
        rows = connection.execute(sa.text(statement), values).all()
    return [_past(row) for row in rows]


def _past(row: sa.Row[Any]) -> PastAudit:
    return PastAudit(
        id=row.id,
        backend=row.name,
        level=row.level,
        sample_percent=row.sample_percent,
        since=row.since and str(row.since).partition(".")[0],
        scope=json.loads(row.scope or "null"),
        repair=bool(row.repair),
        status=row.status,
        started_at=str(row.started_at),
        finished_at=None if row.status == "running" else row.finished_at,
        counts=json.loads(row.counts or "{}"),
    )


def findings(catalog: Catalog, audit_id: int, limit: int = 1_000) -> list[Finding]:
    """What an audit found: files of ours first, then untracked objects; each by key."""
    statement = (
        "SELECT kind, locator, file_asset_id, detail, repair FROM audit_findings"
        " WHERE audit_id = :audit ORDER BY kind = 'foreign', kind, locator LIMIT :limit"
    )
    with catalog.read() as connection:
        rows = connection.execute(sa.text(statement), {"audit": audit_id, "limit": limit})
        return [Finding(*row) for row in rows]
