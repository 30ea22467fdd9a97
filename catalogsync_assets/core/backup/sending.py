"""Brings a snapshot's file to a backend: put where nothing is, and verified.

A large one goes in parts. It is made anew by the next backup, so that nothing goes on after a kill:
what was begun is in the journal of uploads in parts, and aborted by the next backup or upload.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.schema import multipart_uploads
from catalogsync_assets.core.errors import KeyRefusedError, StoreError, StoreUnavailableError
from catalogsync_assets.core.runner.limiter import ConcurrencyLimiter
from catalogsync_assets.core.stores.checksums import digest_part
from catalogsync_assets.core.stores.classify import NO_SUCH_UPLOAD
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.objects import ObjectMetadata
from catalogsync_assets.core.stores.parts import Part, PartsUpload
from catalogsync_assets.core.stores.place import Placer, Target
from catalogsync_assets.core.stores.retry import Retry
from catalogsync_assets.core.upload import journal
from catalogsync_assets.core.upload.multipart import part_bytes

#: What is larger goes in parts: a snapshot must be able to stop in between.
_SINGLE_BYTES = 16 * 1024 * 1024
#: Stands for no file in the journal; ids begin at 1.
_NO_FILE = 0


def send(
    catalog: Catalog,
    client: StoreClient,
    key: str,
    file: Path,
    metadata: ObjectMetadata,
    *,
    retry: Retry,
    limiter: ConcurrencyLimiter,
    stop: threading.Event,
) -> None:
    """Put a file under a key, and make sure that it is there, whole.

    Args:
        key: the whole key, of which nobody has put anything.
        metadata: with the SHA-256 of the file.
        stop: once set, no further part is sent.

    Raises:
        ConflictError: something else is there; it is left as it is.
        StoreError: the store refused, was silent, or holds something else; or it was stopped.
    """
    size = file.stat().st_size

    def wait(count: int) -> None:
        if (seconds := limiter.spend(count)) > 0:
            stop.wait(seconds)
        if stop.is_set():
            raise StoreUnavailableError(
                f"backend {client.backend.name!r}: stopped while {key!r} was sent", code="Stopped"
            )

    assert metadata.sha256 is not None
    if size > _SINGLE_BYTES and client.profile.multipart is not False:
        in_parts = partial(_send_in_parts, catalog, client, key, file, metadata, retry, wait)
        try:
            in_parts()
        except KeyRefusedError as error:
            if error.code != NO_SUCH_UPLOAD:
                raise
            in_parts()  # an upload that began meanwhile has taken it for abandoned
        return
    target = Target(key, size, metadata, owner_tags=frozenset())
    placer = Placer(client, retry=retry, before_put=wait)
    placer.put(target, file.read_bytes(), metadata.sha256)


def _send_in_parts(
    catalog: Catalog,
    client: StoreClient,
    key: str,
    file: Path,
    metadata: ObjectMetadata,
    retry: Retry,
    wait: Callable[[int], None],
) -> None:
    size = file.stat().st_size
    upload = PartsUpload(client, key, size, metadata, replacing=None)
    retry(upload.begin)
    noted = _note(catalog, client, key, size, upload)
    sent: list[Part] = []
    try:
        with file.open("rb") as content:
            while part := content.read(part_bytes(size)):
                wait(len(part))
                sent.append(_send_part(upload, len(sent) + 1, part, retry))
        retry(lambda: upload.complete(sent))
        retry(lambda: upload.prove(sent, metadata.sha256 or ""))
    except StoreError:
        journal.abort(catalog, client, noted)
        raise
    journal.forget(catalog, noted)


def _send_part(upload: PartsUpload, number: int, part: bytes, retry: Retry) -> Part:
    digest = digest_part(part, md5=not upload.trusts_digests)
    sent: Part = retry(lambda: upload.send(number, part, digest))
    return sent


def _note(
    catalog: Catalog, client: StoreClient, key: str, size: int, upload: PartsUpload
) -> journal.UnfinishedUpload:
    of_upload = (_NO_FILE, size, 0, part_bytes(size), upload.checksums)
    columns = multipart_uploads.c
    names = ("file_asset_id", "size_bytes", "mtime_ns", "part_bytes", "checksums")
    place = {"backend_id": client.backend.id, "container_name": client.backend.bucket}
    values = {
        **place,
        "locator": key,
        "upload_id": upload.upload_id,
        **dict(zip(names, of_upload, strict=True)),
    }
    statement = sa.insert(multipart_uploads).values(values).returning(columns.id)
    with catalog.transaction() as connection:
        row = connection.execute(statement).scalar_one()
    bucket = client.backend.bucket
    return journal.UnfinishedUpload(row, bucket, key, upload.upload_id, *of_upload)
