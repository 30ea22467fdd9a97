"""What is where, in figures: the questions that a person asks of the whole catalog.

Answered from `song_backend_presence`, one row a song and backend, with an index that covers the
sums: a million files are summed up in less than a second.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from catalogsync_assets.core.catalog.backends import OBJECT_STORES, BackendRow, from_row
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.presence import COUNTS, IN_LIBRARY


@dataclass(frozen=True)
class Reason:
    """Why uploads failed, and how many."""

    code: str
    count: int
    example: str


@dataclass(frozen=True)
class LastAudit:
    """The newest audit of a backend that went through."""

    level: str  #: `listing`, `head` or `full`
    finished_at: str  #: UTC, `YYYY-MM-DD HH:MM:SS`
    sample_percent: float | None  #: how much of it was looked at, if not all
    limited: bool  #: whether it was about some songs or some time only


@dataclass(frozen=True)
class BackendStatus:
    """One backend in figures."""

    #: As registered; bucket is None for the local library.
    name: str
    backend_type: str
    bucket: str | None
    songs: int  #: songs with all of their current files there
    songs_partial: int  #: songs with some of them there
    songs_absent: int  #: songs with none of them there
    songs_total: int  #: songs that exist anywhere
    #: Current files there, and their size.
    files: int
    bytes: int
    #: Uploads to it that wait (or run), and that failed.
    pending: int
    failed: int
    #: Files that a scan found gone, and that nobody has removed on purpose; of a store, objects of
    #: wanted files that a verification found gone.
    missing: int
    offloaded: int  #: for the local library, files that were removed on purpose
    #: When an upload to it was last recorded, UTC, `YYYY-MM-DD HH:MM:SS`; None if never.
    last_success: str | None
    #: Objects of wanted files that a verification found to be other content; for the local library,
    #: files that look damaged, and are no copies.
    damaged: int = 0
    #: For the local library, files that are left out of it; they count nowhere else.
    excluded: int = 0
    #: For the local library, files that a person wants no more; they count nowhere else.
    forgotten: int = 0
    #: Objects that are not under the keys of their files' paths, where that is wanted and the store
    #: cannot copy.
    not_by_path: int = 0
    #: Since when every run about it has failed, UTC, likewise; None while it can be worked with.
    failing_since: str | None = None
    #: Files beside the music that are there, and those that exist anywhere; not part of `files`.
    companions: int = 0
    companions_total: int = 0
    reasons: list[Reason] = field(default_factory=list)  #: of the failed, most frequent first
    last_audit: LastAudit | None = None  #: None if there was none


_STATUS = f"""
SELECT b.name, b.backend_type, b.container_name,
    COALESCE(p.complete, 0), COALESCE(p.partial, 0), COALESCE(p.absent, 0), COALESCE(p.total, 0),
    COALESCE(p.files, 0), COALESCE(p.bytes, 0),
    COALESCE(t.pending, 0), COALESCE(t.failed, 0), COALESCE(m.missing, 0),
    COALESCE(o.offloaded, 0), b.last_success_at, COALESCE(d.damaged, 0), COALESCE(x.excluded, 0),
    COALESCE(x.forgotten, 0), 0, b.failing_since
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
LEFT JOIN (SELECT f.backend_id, COUNT(*) AS missing
           FROM (SELECT file_asset_id AS id, backend_id FROM file_locations
                 WHERE status = 'missing') f
           WHERE {IN_LIBRARY} GROUP BY f.backend_id) m ON m.backend_id = b.id
LEFT JOIN (SELECT f.backend_id, COUNT(*) AS damaged
           FROM (SELECT file_asset_id AS id, backend_id FROM file_locations
                 WHERE status = 'damaged') f
           WHERE {IN_LIBRARY} GROUP BY f.backend_id) d ON d.backend_id = b.id
LEFT JOIN (SELECT backend_id, COUNT(*) AS offloaded
           FROM file_locations INDEXED BY ix_file_locations_removed
           WHERE status IN ('offloading', 'offloaded') GROUP BY backend_id) o
    ON o.backend_id = b.id
LEFT JOIN (SELECT +backend_id AS backend_id,
                  COUNT(*) FILTER (WHERE status = 'excluded') AS excluded,
                  COUNT(*) FILTER (WHERE status = 'forgotten') AS forgotten
           -- By their own index: the sign keeps SQLite from one that is sorted by backend.
           FROM file_locations WHERE status IN ('excluded', 'forgotten')
           GROUP BY +backend_id) x ON x.backend_id = b.id
WHERE b.removed_at IS NULL
ORDER BY b.backend_type, b.name
"""

_AUDITS = """
SELECT b.name, a.level, a.finished_at, a.sample_percent, a.since IS NOT NULL OR a.scope IS NOT NULL
FROM storage_backends b JOIN audits a ON a.id = (
    SELECT MAX(x.id) FROM audits x WHERE x.backend_id = b.id AND x.status = 'complete')
"""
# Not part of `status`, which would take three times as long with it.
_AGES = """
SELECT b.name, MIN(p.verified_at), MAX(p.verified_at)
FROM song_backend_presence p JOIN storage_backends b ON b.id = p.backend_id
WHERE p.verified_at IS NOT NULL GROUP BY b.id
"""

_REASONS = """
SELECT b.name, COALESCE(t.error_code, 'unknown') AS code, COUNT(*) AS count, MIN(t.last_error)
FROM upload_tasks t JOIN storage_backends b ON b.id = t.target_backend_id
WHERE t.status = 'failed' AND b.removed_at IS NULL GROUP BY b.name, code ORDER BY count DESC, code
"""
_COMPANIONS = f"""
SELECT b.name, COALESCE(c.there, 0), t.files FROM storage_backends b
CROSS JOIN (SELECT COUNT(*) AS files FROM file_assets f
            WHERE f.companion IS NOT NULL AND f.superseded_by_id IS NULL
              AND EXISTS (SELECT 1 FROM file_locations e
                          WHERE e.file_asset_id = f.id AND {COUNTS})) t
LEFT JOIN (SELECT l.backend_id, COUNT(DISTINCT f.id) AS there
           FROM file_assets f CROSS JOIN file_locations l
           WHERE f.companion IS NOT NULL AND f.superseded_by_id IS NULL
             AND l.file_asset_id = f.id AND l.status = 'active' AND {IN_LIBRARY}
           GROUP BY l.backend_id) c ON c.backend_id = b.id
WHERE t.files > 0 AND b.removed_at IS NULL
"""
# Reads all that the backend holds.
_NOT_BY_PATH = """
SELECT COUNT(*) FROM file_locations l JOIN file_assets f ON f.id = l.file_asset_id
WHERE l.backend_id = :backend AND l.status = 'active' AND f.superseded_by_id IS NULL
  AND l.locator <> :prefix || f.object_key
"""
_TOP_REASONS = 5


def backend_status(catalog: Catalog) -> list[BackendStatus]:
    """Every backend in figures: the local library first, then the stores by name."""
    with catalog.view() as rows:
        audits = {
            name: LastAudit(level, finished, sample, bool(limited))
            for name, level, finished, sample, limited in rows(_AUDITS)
        }
        found = {
            row[0]: replace(BackendStatus(*row), last_audit=audits.get(row[0]))
            for row in rows(_STATUS)
        }
        for name, there, total in rows(_COMPANIONS):
            found[name] = replace(found[name], companions=there, companions_total=total)
        for backend in (from_row(BackendRow(*row)) for row in rows(OBJECT_STORES)):
            if backend.layout == "path" and not backend.follows_paths:
                ((count,),) = rows(_NOT_BY_PATH, backend=backend.id, prefix=backend.key_prefix)
                found[backend.name] = replace(found[backend.name], not_by_path=count)
        for name, code, count, example in rows(_REASONS):
            reasons = found[name].reasons
            if len(reasons) < _TOP_REASONS:
                reasons.append(Reason(code, count, example or ""))
    return list(found.values())


@dataclass(frozen=True)
class VerifiedBetween:
    """When the songs of a backend were verified, each by the oldest of its files: the song whose
    turn it has been longest ago, and the newest. UTC, `YYYY-MM-DD HH:MM:SS`."""

    oldest: str
    newest: str


def verification_ages(catalog: Catalog) -> dict[str, VerifiedBetween]:
    """By backend; of those with a verified file. Reads a row for each song and backend."""
    return {name: VerifiedBetween(*ages) for name, *ages in catalog.rows(_AGES)}


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
        " WHERE t.status = 'failed' AND b.removed_at IS NULL"
        " AND (:name IS NULL OR b.name = :name)"
        " ORDER BY t.updated_at DESC, t.id LIMIT :limit"
    )
    return [FailedUpload(*row) for row in catalog.rows(query, name=backend_name, limit=limit)]


@dataclass(frozen=True)
class UnreadTags:
    """A file whose tags, or some of them, could not be read."""

    path: str  #: absolute
    reason: str  #: one phrase


# `ix_file_assets_tags_error` holds just these files; as a JOIN, SQLite reads all locations instead.
_UNREAD = """
FROM file_assets f CROSS JOIN file_locations l
WHERE f.tags_error IS NOT NULL AND f.tags_error <> '' AND f.superseded_by_id IS NULL
  AND l.file_asset_id = f.id AND l.library_path IS NOT NULL
  AND l.status IN ('active', 'offloading', 'offloaded')
"""


def unread_tags(catalog: Catalog, limit: int = 100) -> tuple[int, list[UnreadTags]]:
    """How many local files have tags that could not be read, and the first of them."""
    first = f"SELECT l.absolute_path, f.tags_error {_UNREAD} ORDER BY f.id LIMIT :limit"
    with catalog.view() as rows:
        ((count,),) = rows(f"SELECT COUNT(*) {_UNREAD}")
        return int(count), [UnreadTags(*row) for row in rows(first, limit=limit)]


def sample_key(catalog: Catalog, backend_name: str) -> str | None:
    """The whole key of a song's file that a backend holds, or None."""
    query = (
        "SELECT l.locator FROM file_locations l JOIN storage_backends b ON b.id = l.backend_id"
        " JOIN file_assets f ON f.id = l.file_asset_id"
        " WHERE b.name = :name AND l.status = 'active' AND f.companion IS NULL"
        " ORDER BY l.id LIMIT 1"
    )
    key: str | None = catalog.scalar(query, name=backend_name)
    return key


@dataclass(frozen=True)
class FormatTotal:
    """Files and bytes of one audio format."""

    format: str
    files: int
    bytes: int
