"""Brings one file to a store: put where nothing is, compare where something is, verify, report.

What may be done with a key:

==========================================  =====================================
the store holds under it                    then
==========================================  =====================================
nothing                                     put, on condition that nothing is there
the very content                            adopt it, send nothing
an earlier content of ours at this key      withdraw the claim, replace that very version
the object that was found damaged           replace that very version
anything else                               a conflict for a person to see
==========================================  =====================================

"Found damaged" means: a verification has read the object that the catalog claims at this key, found
other content, and noted its ETag. At such a key no digest that the store has kept is believed: it
is the digest of what was sent once, and rot does not change it. So an object with that ETag is
replaced unseen, and one with another ETag is read whole before it counts as the very content.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache, partial

from catalogsync_assets.core.catalog.backends import catalog_id
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.locations import withdraw_at
from catalogsync_assets.core.catalog.upload_queue import Uploaded, UploadTask
from catalogsync_assets.core.errors import (
    ConflictError,
    KeyRefusedError,
    StoreUnavailableError,
)
from catalogsync_assets.core.files.digests import as_s3_header
from catalogsync_assets.core.files.formats import media_type
from catalogsync_assets.core.runner.limiter import ConcurrencyLimiter
from catalogsync_assets.core.stores import verify
from catalogsync_assets.core.stores.checksums import etag_is_md5_of
from catalogsync_assets.core.stores.client import ANY_VERSION, StoreClient
from catalogsync_assets.core.stores.objects import ObjectMetadata, StoredObject
from catalogsync_assets.core.stores.retry import Retries
from catalogsync_assets.core.upload import multipart
from catalogsync_assets.core.upload.buffers import POOLED_BYTES, Buffers
from catalogsync_assets.core.upload.compare import Match, by_its_parts, digest_of
from catalogsync_assets.core.upload.journal import abort_unfinished
from catalogsync_assets.core.upload.limits import Limits
from catalogsync_assets.core.upload.source import Source


class Sender:
    """Sends files to one backend. Thread-safe."""

    def __init__(
        self,
        catalog: Catalog,
        client: StoreClient,
        limits: Limits,
        *,
        pace: ConcurrencyLimiter,
        stop: threading.Event,
    ) -> None:
        """
        Args:
            client: of the backend to send to.
            pace: is told of complaints of the store, and bounds the bytes per second.
            stop: once set, no wait between tries goes on.
        """
        self._catalog = catalog
        self._backend = client.backend
        self._client = client
        self._limits = limits
        self._stop = stop
        self._retry = Retries(attempts=limits.attempts, pace=pace, stop=stop)
        self._buffers = Buffers(limits.max_in_flight_bytes)
        self._pace = pace
        self._lock = threading.Lock()
        self._sent_of: dict[int, int] = {}
        self._catalog_id = catalog_id(catalog)
        # Whether the last key that was looked at was taken: then the next may be, too, as in a
        # bucket that another tool has filled.
        self._met_something = False

    @property
    def retries(self) -> int:
        """Requests that had to be repeated so far."""
        return self._retry.count

    def probe(self) -> None:
        """Raise a StoreError if the store cannot be reached, or refuses us or the bucket."""
        self._retry(self._client.probe)

    def send(self, task: UploadTask) -> Uploaded:
        """Bring the task's file to its key, and make sure that it is there, whole.

        May be called again after any failure.

        Raises:
            SourceError: the file cannot be read, or is not what the catalog says.
            ConflictError: another object is stored there; it is left as it is.
            StoreError: the store refused, or was silent at every try.
        """
        if self._limits.in_parts(task.size_bytes):
            return self._send_large(task)
        if task.size_bytes < POOLED_BYTES:
            content = memoryview(bytearray(task.size_bytes))
            return self._send_content(task, content)[0]
        buffer = self._buffers.take(task.size_bytes)
        unread = False
        try:
            sent, unread = self._send_content(task, memoryview(buffer)[: task.size_bytes])
            return sent
        finally:
            # A request that was given up may still be reading it, also when a later one succeeded.
            (self._buffers.give_back if unread else self._buffers.forget)(buffer)

    def _send_content(self, task: UploadTask, content: memoryview) -> tuple[Uploaded, bool]:
        """What became of the task, and whether no request can be reading its content any more."""
        with Source(task) as source:
            sha256 = source.read_into(content)
        sent_before = given_up = False

        def once() -> Uploaded:
            nonlocal sent_before, given_up
            found = None
            if self._must_look(task):
                found = self._client.look_before_put(task.locator)
                self._met_something = found is not None
            while True:
                replacing: str | None = None
                if found is not None:
                    replacing = self._may_replace(task, found, lambda: sha256)
                    if replacing is None:
                        return self._in_place(task, found, sha256, sent=sent_before)
                self._wait_for_bandwidth(len(content))
                try:
                    etag = self._client.put(
                        task.locator,
                        content,
                        self._metadata(task, sha256),
                        replacing=replacing,
                    )
                except ConflictError as error:
                    # Something is there: a file that we did not expect, or our own try before,
                    # whose answer was lost.
                    given_up = True
                    found = self._client.head(task.locator)
                    self._met_something = True
                    if found is None or replacing is not None:
                        raise verify.unsettled(self._client, task.locator) from error
                    continue
                except StoreUnavailableError:
                    sent_before = given_up = True
                    raise
                sent_before = True
                how = self._verify(task, etag, content, sha256)
                return Uploaded(task, sha256, etag, how, adopted=False)

        return self._retry(once), not given_up

    def _must_look(self, task: UploadTask) -> bool:
        """Whether to ask what is there before a put, which costs a request.

        Only where something is to be expected, or the store is not known to honour a condition: a
        put that is refused has sent its bytes for nothing.
        """
        expected = bool(task.known_sha256 or task.damaged_etags) or self._met_something
        return expected or self._client.look_first or not self._client.profile.conditional_put

    def _send_large(self, task: UploadTask) -> Uploaded:
        if self._client.profile.multipart is False:
            raise KeyRefusedError(
                f"backend {self._backend.name!r} takes no uploads in parts, and {task.path} is"
                f" larger than {self._limits.single_put_bytes // 1024**2} MiB",
                code="TooLarge",
                hint="if the store can do it after all, `backend test` finds out",
            )
        part_size = multipart.part_bytes(task.size_bytes, self._limits.part_bytes)
        found = self._retry(lambda: self._client.head(task.locator))
        replacing: str | None = None
        if found is not None:
            # No digest of the store's is believed at a key that is under suspicion.
            suspicious = bool(task.damaged_etags)
            same = None
            if found.size_bytes == task.size_bytes and not suspicious:
                same = by_its_parts(self._catalog, self._client, task, found, part_size)
            if same is None:
                with Source(task):  # a file that is gone, or has changed, is no conflict
                    pass
                digest = cache(partial(digest_of, task))
                replacing = self._retry(partial(self._may_replace, task, found, digest))
                if replacing is None:
                    same = Match(digest(), self._how(task, found, digest))
            if same is not None:
                abort_unfinished(self._catalog, self._client, task.locator)
                return Uploaded(task, same.sha256, found.etag or None, same.how, adopted=True)
        try:
            sent = multipart.put_in_parts(
                self._catalog,
                self._client,
                task,
                part_size=part_size,
                metadata=self._metadata(task, task.sha256),
                replacing=replacing,
                retry=self._retry,
                before_part=partial(self._before_part, task),
                stop=self._stop,
            )
        finally:
            with self._lock:
                self._sent_of.pop(task.id, None)
        etag, how = sent.etag or None, sent.verified_by
        return Uploaded(task, sent.sha256, etag, how, adopted=False, sent_bytes=sent.sent_bytes)

    def _before_part(self, task: UploadTask, size: int) -> None:
        self._wait_for_bandwidth(size)
        with self._lock:
            self._sent_of[task.id] = self._sent_of.get(task.id, 0) + size

    @property
    def bytes_in_parts(self) -> int:
        """Bytes of large files that have been sent, but whose file is not complete yet."""
        with self._lock:
            return sum(self._sent_of.values())

    def _metadata(self, task: UploadTask, sha256: str | None) -> ObjectMetadata:
        owner_tag = self._owner_tag(task.file_asset_id)
        return ObjectMetadata(media_type(task.path), owner_tag, song_id=task.song_id, sha256=sha256)

    def _owner_tag(self, file_asset_id: int) -> str:
        """What an object of ours carries: which catalog put it, for which file asset."""
        return f"{self._catalog_id}/{file_asset_id}"

    def _may_replace(
        self, task: UploadTask, found: StoredObject, digest: Callable[[], str]
    ) -> str | None:
        """The ETag of a damaged object or an earlier content of ours, with the claim withdrawn.

        None if the object is the wanted content already.

        Args:
            digest: gives the wanted content's SHA-256 in hex.

        Raises:
            ConflictError: it is neither, and that rests on more than one look.
            StoreUnavailableError: two looks show different things.
        """
        if _was_found_damaged(task, found):
            return self._withdrawn(task, found)
        ours = self._is_ours(task, found)
        another_size = found.size_bytes not in (None, task.size_bytes)
        # Were this look spoilt, our own object would be replaced by the wanted content: no harm.
        if ours and another_size:
            return self._withdrawn(task, found)
        sha256 = digest()
        if not task.damaged_etags and found.sha256 is not None and self._client.trusts_kept_digests:
            if verify.proven_by_head(self._client, found, sha256, task.size_bytes):
                return None
            if ours or found.sha256 in {as_s3_header(known) for known in task.known_sha256}:
                return self._withdrawn(task, found)
        read = verify.read(
            self._client, task.locator, {sha256, *task.known_sha256}, size_bytes=found.size_bytes
        )
        if read is not None and read.sha256 == sha256:
            return None
        if read is not None and (ours or read.sha256 in task.known_sha256):
            return self._withdrawn(task, found)
        # Its mark, if it has one, is told by a HEAD alone: that, too, is looked at once more.
        if read is None or self._client.head(task.locator) != found:
            raise verify.unsettled(self._client, task.locator)
        raise ConflictError(
            f"backend {self._backend.name!r}: another object is stored under {task.locator!r}",
            code="Conflict",
            hint="nothing was overwritten; move it away, or give the backend a --base-prefix",
        )

    def _withdrawn(self, task: UploadTask, found: StoredObject) -> str:
        withdraw_at(self._catalog, self._backend, task.locator)
        if found.etag:
            return found.etag
        again = self._client.head(task.locator)  # it may have been lost on its way
        return (again.etag if again else "") or ANY_VERSION

    def _is_ours(self, task: UploadTask, found: StoredObject) -> bool:
        # Its own tag on another content: it was damaged on its way, to a store without digests.
        return found.owner_tag in {
            self._owner_tag(i) for i in (task.file_asset_id, *task.earlier_ids)
        }

    def _in_place(
        self, task: UploadTask, found: StoredObject, sha256: str, *, sent: bool
    ) -> Uploaded:
        how = self._how(task, found, lambda: sha256)
        return Uploaded(task, sha256, found.etag or None, how, adopted=not sent)

    def _how(self, task: UploadTask, found: StoredObject, digest: Callable[[], str]) -> str:
        """By what it is known that an object is the wanted content: `head` or `read`."""
        by_head = not task.damaged_etags and verify.proven_by_head(
            self._client, found, digest(), task.size_bytes
        )
        return "head" if by_head else "read"

    def _verify(self, task: UploadTask, etag: str | None, content: memoryview, sha256: str) -> str:
        """How it is known that the object just put is whole.

        Raises:
            KeyRefusedError: it is not.
            StoreUnavailableError: there is none: what said that it was taken was not the store.
        """
        if self._client.checks_digests and etag is not None:
            return "server-digest"
        size = len(content)
        found = self._client.head(task.locator)
        if found is not None and found.size_bytes == size:
            if etag_is_md5_of(found.etag, content):
                return "head"
            if etag is None and verify.proven_by_head(self._client, found, sha256, size):
                return "head"
        read = verify.read(self._client, task.locator, {sha256}, size_bytes=size)
        if read is None:
            raise verify.not_stored(self._client, task.locator)
        if read.sha256 != sha256:
            raise verify.corrupted(self._client, task.locator)
        return "read"

    def _wait_for_bandwidth(self, size: int) -> None:
        if (seconds := self._pace.spend(size)) > 0:
            self._stop.wait(seconds)


def _was_found_damaged(task: UploadTask, found: StoredObject) -> bool:
    """Whether an object is the very one that a verification has found damaged."""
    return found.etag.strip('"') in task.damaged_etags - {""}
