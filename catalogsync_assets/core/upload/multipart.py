"""Uploads a file that is too large for one request, part by part, and goes on after a kill.

What was begun is in the catalog's journal (`catalog.multiparts`) before its first part is sent: an
upload that a kill keeps out of the journal holds no parts. A failure that may pass leaves upload
and journal for the next run; any other one aborts it. Only uploads of the journal are ever aborted.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from functools import partial

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.upload_queue import UploadTask
from catalogsync_assets.core.errors import (
    AccessRefusedError,
    KeyRefusedError,
    SourceError,
    StoreError,
    StoreUnavailableError,
)
from catalogsync_assets.core.runner.workers import Workers
from catalogsync_assets.core.stores import parts
from catalogsync_assets.core.stores.checksums import digest_part
from catalogsync_assets.core.stores.classify import NO_SUCH_UPLOAD
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.objects import ObjectMetadata, StoredPart
from catalogsync_assets.core.stores.parts import Part, PartsUpload
from catalogsync_assets.core.stores.retry import Retry
from catalogsync_assets.core.upload import journal as multiparts
from catalogsync_assets.core.upload.journal import SentPart, UnfinishedUpload, abort
from catalogsync_assets.core.upload.source import Source

#: S3 allows 10,000 parts of 5 MiB to 5 GiB, all but the last of one size on some stores (R2).
PART_BYTES = 8 * 1024 * 1024
_MAX_PARTS = 10_000
#: Parts of one file on their way at a time.
PARTS_IN_FLIGHT = 5


def part_bytes(size_bytes: int, smallest: int = PART_BYTES) -> int:
    """The size of the parts of a file: whole MiB, at least `smallest`, at most 10,000 parts."""
    mib = 1024 * 1024
    return max(smallest, math.ceil(size_bytes / _MAX_PARTS / mib) * mib)


def parts_in_memory(size_bytes: int, smallest: int = PART_BYTES) -> int:
    """Bytes of memory that the upload of such a file holds: parts in flight, and one being read."""
    return min(size_bytes, (PARTS_IN_FLIGHT + 1) * part_bytes(size_bytes, smallest))


@dataclass(frozen=True)
class Sent:
    """A file whose object was put together from parts, and verified.

    Attributes:
        sha256: the content's digest in hex.
        verified_by: `server-digest`, `head` or `read`.
        sent_bytes: bytes of the parts that were sent; those in place already are not counted.
    """

    sha256: str
    etag: str
    verified_by: str
    sent_bytes: int


def put_in_parts(
    catalog: Catalog,
    client: StoreClient,
    task: UploadTask,
    *,
    part_size: int,
    metadata: ObjectMetadata,
    replacing: str | None,
    retry: Retry,
    before_part: Callable[[int], None],
    stop: threading.Event,
) -> Sent:
    """Upload the task's file in parts, or what an earlier run left to be sent, and verify it.

    The object appears whole or not at all. May be called again after any failure.

    Args:
        part_size: bytes of each part but the last; see `part_bytes`.
        replacing: the ETag of the object that may be replaced, or None.
        retry: calls a function again as the engine's policy has it.
        before_part: called with the size of each part, in its worker; may wait.
        stop: once set, no further part is begun.

    Raises:
        ConflictError: another object is stored there.
        StoreError: the store refused, was silent, or holds something else than was sent.
        SourceError: the file changed or could not be read.
    """
    upload = _Upload(
        catalog, client, task, part_size, metadata, replacing, retry, before_part, stop
    )
    try:
        return upload.carry_out()
    except KeyRefusedError as error:
        if error.code != NO_SUCH_UPLOAD:
            raise
        # The store has let it expire, or someone has aborted it: once more, from the beginning.
        return upload.carry_out()


class _Upload:
    """One call of `put_in_parts`."""

    def __init__(
        self,
        catalog: Catalog,
        client: StoreClient,
        task: UploadTask,
        part_size: int,
        metadata: ObjectMetadata,
        replacing: str | None,
        retry: Retry,
        before_part: Callable[[int], None],
        stop: threading.Event,
    ) -> None:
        self._catalog = catalog
        self._client = client
        self._task = task
        self._part_size = part_size
        self._metadata = metadata
        self._replacing = replacing
        self._retry = retry
        self._before_part = before_part
        self._stop = stop
        self._sent_bytes = 0
        self._lock = threading.Lock()

    def carry_out(self) -> Sent:
        with Source(self._task) as source:
            journal, upload, listed = self._go_on(source) or self._begin(source)
            try:
                sent = self._send_parts(source, journal, upload, listed)
                sha256 = source.finish()
                self._retry(lambda: upload.complete(sent))
                etag, how = self._retry(lambda: upload.verify(sent, sha256))
            except (StoreError, SourceError) as error:
                if not _may_pass(error):
                    abort(self._catalog, self._client, journal)
                raise
        multiparts.forget(self._catalog, journal)
        return Sent(sha256, etag, how, self._sent_bytes)

    # --- beginning, or going on

    def _go_on(self, source: Source) -> _Begun | None:
        """An upload of this very source, and what the store lists of it; others are aborted.

        One that was killed may have sent more than it noted, and what it noted may have expired.
        """
        task = self._task
        wanted = (task.file_asset_id, task.size_bytes, source.mtime_ns)
        going_on = None
        for old in multiparts.unfinished(self._catalog, self._client.backend, task.locator):
            if going_on is None and (old.file_asset_id, old.size_bytes, old.mtime_ns) == wanted:
                going_on = old
            else:
                abort(self._catalog, self._client, old)
        if going_on is None:
            return None
        upload = self._at_store(going_on)
        try:
            return going_on, upload, self._retry(upload.listed)
        except (AccessRefusedError, KeyRefusedError):
            # It has expired, or we may put but not list: without a list there is no going on.
            abort(self._catalog, self._client, going_on)
            return None

    def _begin(self, source: Source) -> _Begun:
        task = self._task
        upload_id, checksums = self._retry(
            lambda: parts.begin(self._client, task.locator, self._metadata)
        )
        journal = multiparts.begin(
            self._catalog,
            self._client.backend,
            task,
            upload_id=upload_id,
            mtime_ns=source.mtime_ns,
            part_bytes=self._part_size,
            checksums=checksums,
        )
        return journal, self._at_store(journal), {}

    def _at_store(self, journal: UnfinishedUpload) -> PartsUpload:
        return PartsUpload(
            self._client,
            journal.locator,
            journal.upload_id,
            size_bytes=journal.size_bytes,
            checksums=journal.checksums,
            metadata=self._metadata,
            replacing=self._replacing,
        )

    # --- parts

    def _send_parts(
        self,
        source: Source,
        journal: UnfinishedUpload,
        upload: PartsUpload,
        listed: dict[int, list[StoredPart]],
    ) -> list[Part]:
        done: list[Future[Part]] = []
        waiting: set[Future[Part]] = set()
        pool = Workers(PARTS_IN_FLIGHT, "part")
        try:
            for number, content in enumerate(source.parts(journal.part_bytes), start=1):
                if len(waiting) == PARTS_IN_FLIGHT:
                    arrived, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in arrived:
                        future.result()
                if self._stop.is_set():
                    raise self._stopped()
                there = listed.get(number, [])
                done.append(
                    pool.submit(partial(self._part, journal, upload, number, content, there))
                )
                waiting.add(done[-1])
            return [future.result() for future in done]
        finally:
            # Before the upload is aborted: a part that arrives later would be kept, and paid for.
            pool.close()
            wait(waiting)

    def _part(
        self,
        journal: UnfinishedUpload,
        upload: PartsUpload,
        number: int,
        content: bytes,
        listed: list[StoredPart],
    ) -> Part:
        """In a worker: hash a part, and send it unless the store has it."""
        digest = digest_part(content, md5=not upload.trusts_digests)
        sha256, noted = digest.sha256.hex(), journal.parts.get(number)
        for there in listed:
            is_noted = noted == SentPart(there.etag, sha256) and there.size_bytes == len(content)
            if is_noted or upload.holds(there, content, digest):
                return upload.as_sent(number, there, content, digest)
        self._before_part(len(content))
        part: Part = self._retry(lambda: upload.send(number, content, digest))
        with self._lock:
            self._sent_bytes += len(content)
        multiparts.note_part(self._catalog, journal, number, SentPart(part.etag, sha256))
        return part

    def _stopped(self) -> StoreError:
        return StoreUnavailableError(
            f"backend {self._client.backend.name!r}: stopped while {self._task.locator!r} was sent",
            code="Stopped",
            hint="upload again: it goes on from the parts that are there",
        )


def _may_pass(error: StoreError | SourceError) -> bool:
    """Whether the next run may find the upload of use."""
    if isinstance(error, SourceError):
        return error.code in ("SourceMissing", "SourceUnreadable")  # as of a share that is away
    # Credentials expire, and are renewed.
    return error.retryable or error.fatal


_Begun = tuple[UnfinishedUpload, PartsUpload, dict[int, list[StoredPart]]]
