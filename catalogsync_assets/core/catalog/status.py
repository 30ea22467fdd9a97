"""What is where, in figures: the questions that a person asks of the whole catalog.

Answered from `song_backend_presence`, one row a song and backend, with an index that covers the
sums: a million files are summed up in less than a second.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import sqlalchemy as sa

from catalogsync_assets.core.catalog.database import Catalog


@dataclass(frozen=True)
class Reason:
    """Why uploads failed, and how many."""

    code: str
    count: int
    example: str


@dataclass(frozen=True)
class BackendStatus:
    """One backend in figures.

    Attributes:
        name, backend_type, bucket: as registered; bucket is None for the local library.
        songs: songs with all of their current files there.
        songs_partial: songs with some of them there.
        songs_absent: songs with none of them there.
        songs_total: songs that exist anywhere.
        files, bytes: current files there, and their size.
        pending, failed: uploads to it that wait (or run), and that failed.
        reasons: of the failed, most frequent first.
        missing: for the local library, files that a scan found gone.
        offloaded: for the local library, files that were removed on purpose.
        last_success: when an upload to it was last recorded, UTC, `YYYY-MM-DD HH:MM:SS`; None
            if never.
    """

    name: str
    backend_type: str
    bucket: str | None
    songs: int
    songs_partial: int
    songs_absent: int
    songs_total: int
    files: int
    bytes: int
    pending: int
    failed: int
    missing: int
    offloaded: int
    last_success: str | None
    reasons: list[Reason] = field(default_factory=list)


_STATUS = """
SELECT b.name, b.backend_type, b.container_name,
    COALESCE(p.complete, 0), COALESCE(p.partial, 0), COALESCE(p.absent, 0), COALESCE(p.total, 0),
    COALESCE(p.files, 0), COALESCE(p.bytes, 0),
    COALESCE(t.pending, 0), COALESCE(t.failed, 0), COALESCE(m.missing, 0),
    COALESCE(o.offloaded, 0), b.last_success_at
FROM storage_backends b
LEFT JOIN (SELECT backend_id, SUM(songs) AS total,
                  SUM(songs * (files_present = files_total)) AS complete,
                  SUM(songs * (files_present > 0 AND files_present < files_total)) AS partial,
                  SUM(songs * (files_present = 0)) AS absent,
                  SUM(songs * files_present) AS files, SUM(bytes) AS bytes
           -- In the index's order, with as little work a row as can be.
           FROM (SELECT backend_id, files_total, files_present,
                        COUNT(*) AS songs, SUM(bytes_present) AS bytes
                 FROM song_backend_presence INDEXED BY ix_song_backend_presence_backend
                 GROUP BY backend_id, files_total, files_present)
           GROUP BY backend_id) p ON p.backend_id = b.id
LEFT JOIN (SELECT target_backend_id, SUM(status <> 'failed') AS pending,
                  SUM(status = 'failed') AS failed
           FROM upload_tasks WHERE status IN ('pending', 'running', 'failed')
           GROUP BY target_backend_id) t ON t.target_backend_id = b.id
LEFT JOIN (SELECT backend_id, COUNT(*) AS missing FROM file_locations
           WHERE status = 'missing' GROUP BY backend_id) m ON m.backend_id = b.id
LEFT JOIN (SELECT backend_id, COUNT(*) AS offloaded
           FROM file_locations INDEXED BY ix_file_locations_removed
           WHERE status IN ('offloading', 'offloaded') GROUP BY backend_id) o
    ON o.backend_id = b.id
ORDER BY b.backend_type, b.name
"""

_REASONS = """
SELECT b.name, COALESCE(t.error_code, 'unknown') AS code, COUNT(*) AS count, MIN(t.last_error)
FROM upload_tasks t JOIN storage_backends b ON b.id = t.target_backend_id
WHERE t.status = 'failed' GROUP BY b.name, code ORDER BY count DESC, code
"""
_TOP_REASONS = 5


def backend_status(catalog: Catalog) -> list[BackendStatus]:
    """Every backend in figures: the local library first, then the stores by name."""
    with catalog.read() as connection:
        found = [BackendStatus(*row) for row in connection.execute(sa.text(_STATUS))]
        for name, code, count, example in connection.execute(sa.text(_REASONS)):
            reasons = next(b.reasons for b in found if b.name == name)
            if len(reasons) < _TOP_REASONS:
                reasons.append(Reason(code, count, example or ""))
    return found


@dataclass(frozen=True)
class FailedUpload:
    """An upload that failed, as a person reads of it."""

    backend: str
    locator: str
    code: str | None
    reason: str | None
    attempts: int


def failed_uploads(
    catalog: Catalog, *, backend_name: str | None = None, limit: int = 100
) -> list[FailedUpload]:
    """The uploads that failed, to one backend or to all, newest first."""
    query = (
        "SELECT b.name, t.target_locator, t.error_code, t.last_error, t.attempts"
        " FROM upload_tasks t JOIN storage_backends b ON b.id = t.target_backend_id"
        " WHERE t.status = 'failed' AND (:name IS NULL OR b.name = :name)"
        " ORDER BY t.updated_at DESC, t.id LIMIT :limit"
    )
    with catalog.read() as connection:
        rows = connection.execute(sa.text(query), {"name": backend_name, "limit": limit})
        return [FailedUpload(*row) for row in rows]


def sample_public_url(catalog: Catalog, backend_name: str) -> str | None:
    """A URL that serves one of the backend's files without a signature, or None."""
    query = (
        "SELECT l.public_url FROM file_locations l JOIN storage_backends b ON b.id = l.backend_id"
        " WHERE b.name = :name AND l.status = 'active' AND l.public_url IS NOT NULL"
        " ORDER BY l.id LIMIT 1"
    )
    with catalog.read() as connection:
        url = connection.scalar(sa.text(query), {"name": backend_name})
    return None if url is None else str(url)


@dataclass(frozen=True)
class FormatTotal:
    """Files and bytes of one audio format."""

    format: str
    files: int
    bytes: int


def batch_formats(catalog: Catalog, backend_name: str, batch_key: str) -> list[FormatTotal]:
    """What a backend holds of a batch's current files, by format, largest first."""
    query = (
        "SELECT COALESCE(f.format, '?'), COUNT(DISTINCT f.id), COALESCE(SUM(f.size_bytes), 0)"
        " FROM file_assets f JOIN file_locations l ON l.file_asset_id = f.id"
        " JOIN storage_backends b ON b.id = l.backend_id"
        " WHERE f.batch_id = (SELECT id FROM batches WHERE key = :batch)"
        " AND b.name = :name AND l.status = 'active'"
        " GROUP BY 1 ORDER BY 3 DESC"
    )
    with catalog.read() as connection:
        rows = connection.execute(sa.text(query), {"batch": batch_key, "name": backend_name})
        return [FormatTotal(*row) for row in rows]
