"""Uploads a file that is too large for one request, part by part, and goes on after a kill.

What was begun is in the catalog's journal (`journal`) before its first part is sent: an
upload that a kill keeps out of the journal holds no parts. A failure that may pass leaves upload
and journal for the next run; any other one aborts it. Only uploads of the journal are ever aborted.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from functools import partial

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.upload_queue import Uploaded, UploadTask
from catalogsync_assets.core.errors import (
    AccessRefusedError,
    KeyRefusedError,
    SourceError,
    StoreError,
    StoreUnavailableError,
)
from catalogsync_assets.core.runner.workers import Workers
from catalogsync_assets.core.stores import verify
from catalogsync_assets.core.stores.checksums import digest_part, part_count
from catalogsync_assets.core.stores.classify import NO_SUCH_UPLOAD
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.objects import ObjectMetadata, StoredObject
from catalogsync_assets.core.stores.parts import Part, PartsUpload
from catalogsync_assets.core.stores.retry import Retry
from catalogsync_assets.core.upload import journal as multiparts
from catalogsync_assets.core.upload.journal import SentPart, UnfinishedUpload, abort
from catalogsync_assets.core.upload.source import Source, measured

#: S3 allows 10,000 parts of 5 MiB to 5 GiB, all but the last of one size on some stores (R2).
PART_BYTES = 8 * 1024 * 1024
_MAX_PARTS = 10_000
#: Parts of one file on their way at a time; more where there is memory, up to so many.
PARTS_IN_FLIGHT = 5
MOST_PARTS = 32


def part_bytes(size_bytes: int, smallest: int = PART_BYTES) -> int:
    """The size of the parts of a file: whole MiB, at least `smallest`, at most 10,000 parts."""
    mib = 1024 * 1024
    return max(smallest, math.ceil(size_bytes / _MAX_PARTS / mib) * mib)


def parts_in_memory(size_bytes: int, smallest: int = PART_BYTES) -> int:
    """Bytes of memory that the upload of such a file holds: parts in flight, and one being read."""
    return min(size_bytes, (PARTS_IN_FLIGHT + 1) * part_bytes(size_bytes, smallest))


def by_its_parts(
    catalog: Catalog, client: StoreClient, task: UploadTask, found: StoredObject, part_size: int
) -> str | None:
    """The SHA-256 in hex of the task's file, if a HEAD proves that an object holds the same.

    None if it does not: then nothing is known.

    Args:
        part_size: in which the file would be sent now.

    Raises:
        SourceError: the file changed or could not be read.
    """
    # The size of its parts is not told; it is ours if an upload of ours became this object.
    begun = multiparts.unfinished(catalog, client.backend, task.locator)
    sizes = {part_size, *(upload.part_bytes for upload in begun)}
    fitting = [size for size in sizes if math.ceil(task.size_bytes / size) == part_count(found)]
    if not fitting:
        return None
    by_md5 = not (client.trusts_part_digests and found.composite_sha256)
    sha256, expected = measured(task, fitting, md5=by_md5)
    return sha256 if verify.by_head(client, found, expected) else None


@dataclass
class LargeUpload:
    """The upload of one task's file in parts, of which an earlier run may have sent some."""

    catalog: Catalog
    client: StoreClient
    task: UploadTask
    part_size: int  #: bytes of each part but the last; see `part_bytes`
    metadata: ObjectMetadata
    replacing: str | None  #: the ETag of the object that may be replaced, or None
    retry: Retry  #: calls each request
    #: Called with the size of each part, in its worker; may wait.
    before_part: Callable[[int], None]
    stop: threading.Event  #: once set, no further part is begun
    #: Whether one part more may be held and sent now; each that may is given back by `give_back`.
    one_more: Callable[[int], bool] = lambda _: False
    give_back: Callable[[int], object] = lambda _: None  #: so many of those, at the end
    _upload: PartsUpload = field(init=False)
    _sent_bytes: int = field(default=0, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        self._upload = PartsUpload(
            self.client, self.task.locator, self.task.size_bytes, self.metadata, self.replacing
        )

    def carry_out(self) -> Uploaded:
        """Send what is left to be sent, have it made an object, and verify that.

        The object appears whole or not at all. May be called again after any failure.

        Raises:
            ConflictError: another object is stored there.
            StoreError: the store refused, was silent, or holds something else than was sent.
            SourceError: the file changed or could not be read.
        """
        try:
            return self._carry_out()
        except KeyRefusedError as error:
            if error.code != NO_SUCH_UPLOAD:
                raise
            # The store has let it expire, or someone has aborted it: once more, from the beginning.
            return self._carry_out()

    def _carry_out(self) -> Uploaded:
        with Source(self.task) as source:
            journal = self._go_on(source) or self._begin(source)
            try:
                sent = self._send_parts(source, journal)
                sha256 = source.finish()
                self.retry(lambda: self._upload.complete(sent))
                etag, proof = self.retry(lambda: self._upload.prove(sent, sha256))
            except (StoreError, SourceError) as error:
                if not _may_pass(error):
                    abort(self.catalog, self.client, journal)
                raise
        multiparts.forget(self.catalog, journal)
        return Uploaded(
            self.task, sha256, etag or None, proof, adopted=False, sent_bytes=self._sent_bytes
        )

    # --- beginning, or going on

    def _go_on(self, source: Source) -> UnfinishedUpload | None:
        """An upload of this very source, as the store has it; others are aborted.

        One that was killed may have sent more than it noted, and what it noted may have expired.
        """
        task = self.task
        wanted = (task.file_asset_id, task.size_bytes, source.mtime_ns)
        going_on = None
        for old in multiparts.unfinished(self.catalog, self.client.backend, task.locator):
            if going_on is None and (old.file_asset_id, old.size_bytes, old.mtime_ns) == wanted:
                going_on = old
            else:
                abort(self.catalog, self.client, old)
        if going_on is None:
            return None
        resume = partial(self._upload.go_on, going_on.upload_id, checksums=going_on.checksums)
        try:
            self.retry(resume)
        except (AccessRefusedError, KeyRefusedError):
            # It has expired, or we may put but not list: without a list there is no going on.
            abort(self.catalog, self.client, going_on)
            return None
        return going_on

    def _begin(self, source: Source) -> UnfinishedUpload:
        self.retry(self._upload.begin)
        return multiparts.begin(
            self.catalog,
            self.client.backend,
            *(self.task.locator, self.task.file_asset_id, self.task.size_bytes),
            upload_id=self._upload.upload_id,
            mtime_ns=source.mtime_ns,
            part_bytes=self.part_size,
            checksums=self._upload.checksums,
        )

    # --- parts

    def _send_parts(self, source: Source, journal: UnfinishedUpload) -> list[Part]:
        done: list[Future[Part]] = []
        waiting: set[Future[Part]] = set()
        pool = Workers(MOST_PARTS, "part")
        room = PARTS_IN_FLIGHT
        try:
            for number, content in enumerate(source.parts(journal.part_bytes), start=1):
                if len(waiting) == room < MOST_PARTS and self.one_more(room):
                    room += 1
                if len(waiting) == room:
                    arrived, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in arrived:
                        future.result()
                if self.stop.is_set():
                    raise StoreUnavailableError(
                        f"backend {self.client.backend.name!r}: stopped while"
                        f" {self.task.locator!r} was sent",
                        code="Stopped",
                        hint="upload again: it goes on from the parts that are there",
                    )
                done.append(pool.submit(partial(self._part, journal, number, content)))
                waiting.add(done[-1])
            return [future.result() for future in done]
        finally:
            # Before the upload is aborted: a part that arrives later would be kept, and paid for.
            pool.close()
            wait(waiting)
            self.give_back(room - PARTS_IN_FLIGHT)

    def _part(self, journal: UnfinishedUpload, number: int, content: bytearray) -> Part:
        """In a worker: hash a part, and send it unless the store has it."""
        digest = digest_part(content, md5=not self._upload.trusts_digests)
        sha256, noted = digest.sha256.hex(), journal.parts.get(number)
        noted_etag = noted.etag if noted is not None and noted.sha256 == sha256 else None
        there = self._upload.found(number, content, digest, noted_etag)
        if there is not None:
            return there
        self.before_part(len(content))
        part: Part = self.retry(lambda: self._upload.send(number, content, digest))
        with self._lock:
            self._sent_bytes += len(content)
        multiparts.note_part(self.catalog, journal, number, SentPart(part.etag, sha256))
        return part


def _may_pass(error: StoreError | SourceError) -> bool:
    """Whether the next run may find the upload of use."""
    if isinstance(error, SourceError):
        return error.code in ("SourceMissing", "SourceUnreadable")  # as of a share that is away
    # Credentials expire, and are renewed.
    return error.retryable or error.fatal
