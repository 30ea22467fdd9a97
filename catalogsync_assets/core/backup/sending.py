"""Brings a snapshot's file to a backend: put where nothing is, and verified.

A large one goes in parts. It is made anew by the next backup, so that nothing goes on after a kill:
what was begun is in the journal of uploads in parts, and aborted by the next backup or upload.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from catalogsync_assets.core.catalog.database import Catalog
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
    assert metadata.sha256 is not None
    size, pace = file.stat().st_size, _Pace(client, key, limiter, stop)
    if size <= _SINGLE_BYTES or client.profile.multipart is False:
        target = Target(key, size, metadata, owner_tags=frozenset())
        placer = Placer(client, retry=retry, before_put=pace.wait)
        placer.put(target, file.read_bytes(), metadata.sha256)
        return
    upload = PartsUpload(client, key, size, metadata, replacing=None)
    try:
        _send_in_parts(catalog, upload, file, retry, pace)
    except KeyRefusedError as error:
        if error.code != NO_SUCH_UPLOAD:
            raise
        # One that began meanwhile has taken it for abandoned.
        _send_in_parts(catalog, upload, file, retry, pace)


@dataclass(frozen=True)
class _Pace:
    """How fast it may go, and whether it may go on."""

    client: StoreClient
    key: str
    limiter: ConcurrencyLimiter
    stop: threading.Event

    def wait(self, size_bytes: int) -> None:
        """Called before so much is sent."""
        if (seconds := self.limiter.spend(size_bytes)) > 0:
            self.stop.wait(seconds)
        if self.stop.is_set():
            name = self.client.backend.name
            raise StoreUnavailableError(
                f"backend {name!r}: stopped while {self.key!r} was sent", code="Stopped"
            )


def _send_in_parts(
    catalog: Catalog, upload: PartsUpload, file: Path, retry: Retry, pace: _Pace
) -> None:
    size, client = upload.size_bytes, upload.client
    retry(upload.begin)
    noted = journal.begin(
        *(catalog, client.backend, upload.key, _NO_FILE, size),
        upload_id=upload.upload_id,
        mtime_ns=0,
        part_bytes=part_bytes(size),
        checksums=upload.checksums,
    )
    sent: list[Part] = []
    try:
        with file.open("rb") as content:
            while part := content.read(part_bytes(size)):
                pace.wait(len(part))
                digest = digest_part(part, md5=not upload.trusts_digests)
                sent.append(retry(partial(upload.send, len(sent) + 1, part, digest)))
        retry(partial(upload.complete, sent))
        retry(partial(upload.prove, sent, upload.metadata.sha256 or ""))
    except StoreError:
        journal.abort(catalog, client, noted)
        raise
    journal.forget(catalog, noted)
