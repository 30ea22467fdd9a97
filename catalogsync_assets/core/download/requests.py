"""The files that a manifest asks for, as rows: songs and download tasks. Not playlists.

A task is identified by its source and address, a song by its task, else by its match key.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.download_queue import DEFAULT_SOURCE
from catalogsync_assets.core.catalog.legacy import insert_row, insert_sql
from catalogsync_assets.core.catalog.songs import link_artists, songs_by_key
from catalogsync_assets.core.download.report import ImportReport


@dataclass(frozen=True)
class DownloadRequest:
    """A file to be downloaded."""

    #: What tells one request from another.
    source: str
    url: str
    song: dict[str, Any]  #: column values of `songs`, by name, with its match key or None
    #: Of the content, where they are known.
    sha256: str | None = None
    size_bytes: int | None = None

    @property
    def key(self) -> tuple[str, str]:
        return self.source, self.url


def add(
    catalog: Catalog, requests: Sequence[DownloadRequest], report: ImportReport
) -> list[int | None]:
    """Record requests in one transaction. Idempotent: the same requests again add nothing.

    Args:
        report: the rows that are made, and the requests that had a task before, are counted there.

    Returns:
        The song of each request, in order; None where another program's task has none.
    """
    with catalog.transaction() as connection:
        tasks = _known_tasks(connection, requests)
        first = {request.key: request for request in reversed(requests)}
        new = [key for key in dict.fromkeys(r.key for r in requests) if key not in tasks]
        report.known += len(requests) - len(new)
        _update(connection, [(tasks[k], r) for k, r in first.items() if k in tasks], report)
        songs = {key: task.song_id for key, task in tasks.items() if task.song_id is not None}
        songs |= _songs(connection, [first[key] for key in new], report)
        _insert_tasks(connection, [(first[key], songs[key]) for key in new])
        report.tasks += len(new)
        return [songs.get(request.key) for request in requests]


def _known_tasks(
    connection: sa.Connection, requests: Sequence[DownloadRequest]
) -> dict[tuple[str, str], sa.Row[Any]]:
    """The oldest task of each request that has one."""
    statement = sa.text(
        f"SELECT COALESCE(NULLIF(source, ''), '{DEFAULT_SOURCE}') AS source, url, id, song_id,"
        " status, LOWER(NULLIF(sha256, '')) AS sha256, size_bytes"
        " FROM download_tasks WHERE url IN :urls ORDER BY id DESC"
    ).bindparams(sa.bindparam("urls", expanding=True))
    rows = connection.execute(statement, {"urls": sorted({r.url for r in requests})})
    return {(row.source, row.url): row for row in rows}


def _update(
    connection: sa.Connection,
    pairs: Iterable[tuple[sa.Row[Any], DownloadRequest]],
    report: ImportReport,
) -> None:
    """Correct what is known beforehand of content that has not come yet."""
    for task, request in pairs:
        sha256, size = request.sha256 or task.sha256, request.size_bytes or task.size_bytes
        is_other = (sha256, size) != (task.sha256, task.size_bytes)
        if is_other and task.status in ("pending", "failed"):
            report.updated += 1
            connection.execute(
                sa.text(
                    "UPDATE download_tasks SET sha256 = COALESCE(:sha256, sha256),"
                    " size_bytes = COALESCE(:size, size_bytes),"
                    " updated_at = CURRENT_TIMESTAMP WHERE id = :id"
                ),
                {"id": task.id, "sha256": sha256, "size": size},
            )


def _songs(
    connection: sa.Connection, requests: Sequence[DownloadRequest], report: ImportReport
) -> dict[tuple[str, str], int]:
    by_key = songs_by_key(connection, {r.song["match_key"] for r in requests})
    found: dict[tuple[str, str], int] = {}
    made: list[int] = []
    for request in requests:
        match_key = request.song["match_key"]
        song_id = by_key.get(match_key) if match_key else None
        if song_id is None:
            song_id = insert_row(connection, "songs", request.song)
            made.append(song_id)
            if match_key:
                by_key[match_key] = song_id
        found[request.key] = song_id
    link_artists(connection, made)
    report.songs += len(made)
    return found


def _insert_tasks(connection: sa.Connection, pairs: Sequence[tuple[DownloadRequest, int]]) -> None:
    rows = [
        {
            "song_id": song_id,
            "source": request.source,
            "url": request.url,
            "sha256": request.sha256,
            "size_bytes": request.size_bytes,
            "status": "pending",
        }
        for request, song_id in pairs
    ]
    if rows:
        statement = insert_sql(connection, "download_tasks", list(rows[0]))
        connection.execute(sa.text(statement), rows)
