"""The journal of uploads in parts: what was begun and is no object yet; and how it is aborted.

An upload has a row from its beginning, before its first part is sent, until its object is verified
or it is aborted; each part that a store has taken has one, too. What a store really holds is asked
of the store; the journal says which uploads are ours, and what was sent as each part. No others are
ever aborted: a listing of a bucket cannot tell whose an upload is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.schema import multipart_parts, multipart_uploads
from catalogsync_assets.core.errors import StoreError
from catalogsync_assets.core.stores import parts
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.client import StoreClient

#: Uploads that `abandoned` names at a time; what is left is named by the next run.
_MAX_ABANDONED = 100


@dataclass(frozen=True)
class SentPart:
    """A part that a store has taken: its name for it, and the SHA-256 in hex of what was sent."""

    etag: str
    sha256: str


@dataclass(frozen=True)
class UnfinishedUpload:
    """An upload that was begun by a program with this catalog."""

    id: int  #: of its row
    #: What names it to the store.
    bucket: str
    locator: str
    upload_id: str
    #: The source when it was begun.
    file_asset_id: int
    size_bytes: int
    mtime_ns: int
    part_bytes: int  #: the size of all parts but the last
    checksums: bool  #: whether its parts are sent with their SHA-256
    #: What the store has taken, by number.
    parts: Mapping[int, SentPart] = field(default_factory=dict)


_UPLOAD = multipart_uploads.c
_COLUMNS = (
    _UPLOAD.id,
    _UPLOAD.container_name,
    _UPLOAD.locator,
    _UPLOAD.upload_id,
    _UPLOAD.file_asset_id,
    _UPLOAD.size_bytes,
    _UPLOAD.mtime_ns,
    _UPLOAD.part_bytes,
    _UPLOAD.checksums,
)


def begin(
    catalog: Catalog,
    backend: ObjectBackend,
    locator: str,
    file_asset_id: int,
    size_bytes: int,
    *,
    upload_id: str,
    mtime_ns: int,
    part_bytes: int,
    checksums: bool,
) -> UnfinishedUpload:
    """Note an upload that the store has just begun. It is on disk when this returns.

    Args:
        locator: the whole key.
        file_asset_id: 0 for what is no file's, and so is nobody's to go on with.
        mtime_ns: of the source as it is read.
    """
    statement = sa.insert(multipart_uploads).values(
        backend_id=backend.id,
        container_name=backend.bucket,
        locator=locator,
        upload_id=upload_id,
        file_asset_id=file_asset_id,
        size_bytes=size_bytes,
        mtime_ns=mtime_ns,
        part_bytes=part_bytes,
        checksums=checksums,
    )
    with catalog.transaction() as connection:
        return UnfinishedUpload(*connection.execute(statement.returning(*_COLUMNS)).one())


def note_part(catalog: Catalog, upload: UnfinishedUpload, number: int, part: SentPart) -> None:
    """Note a part that the store has taken; a part that was sent again takes its row.

    Does nothing if the upload has been forgotten meanwhile.
    """
    statement = (
        "INSERT OR REPLACE INTO multipart_parts (multipart_upload_id, part_number, etag, sha256)"
        " SELECT id, :number, :etag, :sha256 FROM multipart_uploads WHERE id = :id"
    )
    values = {"id": upload.id, "number": number, "etag": part.etag, "sha256": part.sha256}
    with catalog.transaction() as connection:
        connection.execute(sa.text(statement), values)


def forget(catalog: Catalog, upload: UnfinishedUpload) -> None:
    """Delete an upload's rows, once it is an object or aborted. Idempotent."""
    with catalog.transaction() as connection:
        connection.execute(sa.delete(multipart_uploads).where(_UPLOAD.id == upload.id))


def unfinished(catalog: Catalog, backend: ObjectBackend, locator: str) -> list[UnfinishedUpload]:
    """The uploads to one key, oldest first, with their parts."""
    here = (_UPLOAD.container_name == backend.bucket, _UPLOAD.locator == locator)
    columns = multipart_parts.c
    parts_of = sa.select(columns.part_number, columns.etag, columns.sha256)
    with catalog.read() as connection:
        found = []
        for row in connection.execute(_of(backend, *here)).all():
            sent = connection.execute(parts_of.where(columns.multipart_upload_id == row.id))
            by_number = {number: SentPart(etag, sha256) for number, etag, sha256 in sent}
            found.append(replace(UnfinishedUpload(*row), parts=by_number))
        return found


def _of(backend: ObjectBackend, *conditions: sa.ColumnElement[bool]) -> sa.Select[tuple[Any, ...]]:
    where = (_UPLOAD.backend_id == backend.id, *conditions)
    return sa.select(*_COLUMNS).where(*where).order_by(_UPLOAD.id)


# No run is about it, and no task waits that still has a file to send and a reason to.
_UNWANTED = """
NOT EXISTS (
    SELECT 1 FROM upload_tasks t
    JOIN file_assets f ON f.id = t.file_asset_id
    JOIN file_locations s ON s.id = t.source_location_id
    WHERE t.file_asset_id = multipart_uploads.file_asset_id
      AND t.target_backend_id = multipart_uploads.backend_id
      AND t.target_locator = multipart_uploads.locator
      AND t.target_container_name = multipart_uploads.container_name
      AND (t.status = 'running'
           OR (t.status IN ('pending', 'failed') AND f.superseded_by_id IS NULL
               AND s.status = 'active'
               AND NOT EXISTS (SELECT 1 FROM file_locations a WHERE a.file_asset_id = f.id
                               AND a.backend_id = t.target_backend_id AND a.status = 'active'))))
"""


def abandoned(catalog: Catalog, backend: ObjectBackend) -> list[UnfinishedUpload]:
    """Uploads to the backend that no task will complete, without their parts; at most 100.

    Their file has gone, has newer content, is there already, or is planned elsewhere. One read of
    an index while there are none.
    """
    statement = _of(backend, sa.literal_column(_UNWANTED)).limit(_MAX_ABANDONED)
    with catalog.read() as connection:
        return [UnfinishedUpload(*row) for row in connection.execute(statement)]


def abort(catalog: Catalog, client: StoreClient, upload: UnfinishedUpload) -> StoreError | None:
    """Let the store forget the parts, then forget the upload.

    Does not raise: where this is called, there is a better error to report, or none.

    Returns:
        None once it is done; else why the store did not. Its row then stays for another time.
    """
    try:
        parts.abort(client, upload.locator, upload.upload_id, bucket=upload.bucket)
    except StoreError as error:
        return error
    forget(catalog, upload)
    return None


def abort_unfinished(catalog: Catalog, client: StoreClient, locator: str) -> None:
    """Abort what was begun at a key whose object is there already."""
    for upload in unfinished(catalog, client.backend, locator):
        abort(catalog, client, upload)


def abort_all(catalog: Catalog, client: StoreClient) -> int:
    """Abort every upload in parts to a backend, before it is taken out of the catalog.

    What a run is about begins anew. May be called again.

    Returns:
        How many were aborted.

    Raises:
        StoreError: the store refused, or was silent; the others are left as they are.
    """
    with catalog.read() as connection:
        found = [UnfinishedUpload(*row) for row in connection.execute(_of(client.backend))]
    for upload in found:
        if (refusal := abort(catalog, client, upload)) is not None:
            raise refusal
    return len(found)


def abort_abandoned(catalog: Catalog, client: StoreClient) -> int:
    """Abort uploads in parts that no task will complete, so that their parts are not paid for.

    See `abandoned`; what cannot be aborted now is left to another run.

    Returns:
        How many were aborted.
    """
    done = 0
    for upload in abandoned(catalog, client.backend):
        refusal = abort(catalog, client, upload)
        if refusal is not None and refusal.retryable:
            break  # each of the others would wait as long
        done += refusal is None
    return done
