"""Uploads a file that is too large for one request, part by part, and goes on after a kill.

What was begun is in the catalog's journal (`catalog.multiparts`) before its first part is sent: an
upload that a kill keeps out of the journal holds no parts. A failure that may pass leaves upload
and journal for the next run; any other one aborts it. Only uploads of the journal are ever aborted.
"""

from __future__ import annotations

import base64
import math
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.upload_queue import UploadTask
from catalogsync_assets.core.errors import (
    AccessRefusedError,
    ConflictError,
    KeyRefusedError,
    SourceError,
    StoreError,
    StoreUnavailableError,
)
from catalogsync_assets.core.runner.workers import Workers
from catalogsync_assets.core.stores import verify
from catalogsync_assets.core.stores.checksums import PartDigest, digest_part, proof
from catalogsync_assets.core.stores.classify import BAD_ANSWER
from catalogsync_assets.core.stores.client import (
    ANY_VERSION,
    Labels,
    StoreClient,
    StoredObject,
    StoredPart,
    content_md5,
    wants_md5,
)
from catalogsync_assets.core.upload import journal as multiparts
from catalogsync_assets.core.upload.aborts import NO_SUCH_UPLOAD, abort
from catalogsync_assets.core.upload.journal import SentPart, UnfinishedUpload
from catalogsync_assets.core.upload.source import Source

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

#: S3 allows 10,000 parts of 5 MiB to 5 GiB, all but the last of one size on some stores (R2).
PART_BYTES = 8 * 1024 * 1024
_MAX_PARTS = 10_000
#: Parts of one file on their way at a time.
PARTS_IN_FLIGHT = 5
_NOT_IMPLEMENTED = {"NotImplemented", "Http501"}
#: What a store answers that does not know checksums of parts; B2: InvalidArgument.
_NO_CHECKSUMS = _NOT_IMPLEMENTED | {"InvalidArgument", "InvalidRequest"}

Retry = Callable[[Callable[[], Any]], Any]


def part_bytes(size_bytes: int) -> int:
    """The size of the parts of a file: whole MiB, at least `PART_BYTES`, at most 10,000 parts."""
    mib = 1024 * 1024
    return max(PART_BYTES, math.ceil(size_bytes / _MAX_PARTS / mib) * mib)


def memory_needed(size_bytes: int) -> int:
    """Bytes of memory that the upload of such a file holds: parts in flight, and one being read."""
    return min(size_bytes, (PARTS_IN_FLIGHT + 1) * part_bytes(size_bytes))


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
    labels: Labels,
    replacing: str | None,
    retry: Retry,
    before_part: Callable[[int], None],
    stop: threading.Event,
) -> Sent:
    """Upload the task's file in parts, or what an earlier run left to be sent, and verify it.

    The object appears whole or not at all. May be called again after any failure.

    Args:
        replacing: the ETag of the object that may be replaced, or None.
        retry: calls a function again as the engine's policy has it.
        before_part: called with the size of each part, in its worker; may wait.
        stop: once set, no further part is begun.

    Raises:
        ConflictError: another object is stored there.
        StoreError: the store refused, was silent, or holds something else than was sent.
        SourceError: the file changed or could not be read.
    """
    upload = _Upload(catalog, client, task, labels, replacing, retry, before_part, stop)
    try:
        return upload.carry_out()
    except KeyRefusedError as error:
        if error.code != NO_SUCH_UPLOAD:
            raise
        # The store has let it expire, or someone has aborted it: once more, from the beginning.
        return upload.carry_out()


class _Part(NamedTuple):
    """A part that the store has.

    Attributes:
        kept: whether the store has given its digest back.
    """

    number: int
    etag: str
    digest: PartDigest
    kept: bool


class _Upload:
    """One call of `put_in_parts`."""

    def __init__(
        self,
        catalog: Catalog,
        client: StoreClient,
        task: UploadTask,
        labels: Labels,
        replacing: str | None,
        retry: Retry,
        before_part: Callable[[int], None],
        stop: threading.Event,
    ) -> None:
        self._catalog = catalog
        self._client = client
        self._task = task
        self._labels = labels
        self._replacing = replacing
        self._retry = retry
        self._before_part = before_part
        self._stop = stop
        self._sent_bytes = 0
        self._name_digests = False  # in the completion
        self._digests_turned = False
        self._bare = client.profile.bare_etags is True  # the ETag of a condition
        self._never_matches = False  # however the ETag is written
        self._lock = threading.Lock()

    def carry_out(self) -> Sent:
        with Source(self._task) as source:
            journal, listed = self._go_on(source) or (self._begin(source), {})
            try:
                sent = self._send_parts(source, journal, listed)
                sha256 = source.finish()
                self._name_digests = journal.checksums and (
                    self._client.profile.part_checksum is True or all(p.kept for p in sent)
                )
                parts = [part.digest for part in sent]
                self._retry(lambda: self._complete(journal, sent, parts))
                etag, how = self._retry(lambda: self._verify(journal, sent, parts, sha256))
            except (StoreError, SourceError) as error:
                if not _may_pass(error):
                    abort(self._catalog, self._client, journal)
                raise
        multiparts.forget(self._catalog, journal)
        return Sent(sha256, etag, how, self._sent_bytes)

    # --- beginning, or going on

    def _go_on(self, source: Source) -> tuple[UnfinishedUpload, dict[int, list[StoredPart]]] | None:
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
        try:
            return going_on, self._retry(
                lambda: self._client.list_parts(going_on.locator, going_on.upload_id)
            )
        except (AccessRefusedError, KeyRefusedError):
            # It has expired, or we may put but not list: without a list there is no going on.
            abort(self._catalog, self._client, going_on)
            return None

    def _begin(self, source: Source) -> UnfinishedUpload:
        upload_id, checksums = self._retry(self._create)
        return multiparts.begin(
            self._catalog,
            self._client.backend,
            self._task,
            upload_id=upload_id,
            mtime_ns=source.mtime_ns,
            part_bytes=part_bytes(self._task.size_bytes),
            checksums=checksums,
        )

    def _create(self) -> tuple[str, bool]:
        checksums = self._client.profile.part_checksum is not False
        more: dict[str, Any] = {"ChecksumAlgorithm": "SHA256"} if checksums else {}
        try:
            answer = self._call(
                self._client.s3.create_multipart_upload,
                Bucket=self._client.backend.bucket,
                Key=self._task.locator,
                **self._client.creation_arguments(self._labels),
                **more,
            )
        except KeyRefusedError as error:
            if not checksums or not self._may_refuse_digests(error):
                raise
            self._client.learn(part_checksum=False)
            return self._create()
        upload_id = answer.get("UploadId")
        if not upload_id:
            raise self._no_use("it began an upload in parts, but gave no id of it")
        return upload_id, checksums

    # --- parts

    def _send_parts(
        self, source: Source, journal: UnfinishedUpload, listed: dict[int, list[StoredPart]]
    ) -> list[_Part]:
        done: list[Future[_Part]] = []
        waiting: set[Future[_Part]] = set()
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
                done.append(pool.submit(partial(self._part, journal, number, content, there)))
                waiting.add(done[-1])
            return [future.result() for future in done]
        finally:
            # Before the upload is aborted: a part that arrives later would be kept, and paid for.
            pool.close()
            wait(waiting)

    def _part(
        self, journal: UnfinishedUpload, number: int, content: bytes, there: list[StoredPart]
    ) -> _Part:
        """In a worker: hash a part, and send it unless the store has it."""
        digest = digest_part(content, md5=not self._trusts(journal))
        checksum = base64.b64encode(digest.sha256).decode()
        for part in there:
            if self._is_there(journal, number, content, digest, part):
                etag = part.etag or f'"{_md5_of(digest, content)}"'
                return _Part(number, etag, digest, kept=part.sha256 is not None)
        self._before_part(len(content))
        named = journal.checksums and self._client.profile.part_checksum is not False
        more = {"ChecksumSHA256": checksum} if named else {}
        answer = self._retry(lambda: self._upload_part(journal, number, content, more))
        with self._lock:
            self._sent_bytes += len(content)
        # A completion names the ETag of each part. Where the store gives none, that is what S3
        # has it to be; the object is verified in the end.
        etag = answer.get("ETag") or f'"{_md5_of(digest, content)}"'
        multiparts.note_part(self._catalog, journal, number, SentPart(etag, digest.sha256.hex()))
        return _Part(number, etag, digest, kept="ChecksumSHA256" in answer)

    def _upload_part(
        self, journal: UnfinishedUpload, number: int, content: bytes, more: dict[str, str]
    ) -> Any:
        if self._client.profile.needs_md5:
            more = {**more, "ContentMD5": content_md5(content)}
        try:
            answer = self._call(
                self._client.s3.upload_part,
                Bucket=journal.bucket,
                Key=journal.locator,
                UploadId=journal.upload_id,
                PartNumber=number,
                Body=content,
                **more,
            )
        except KeyRefusedError as error:
            if wants_md5(error) and not self._client.profile.needs_md5:
                self._client.learn(needs_md5=True)
                return self._upload_part(journal, number, content, more)
            if "ChecksumSHA256" not in more or not self._may_refuse_digests(error):
                raise
            # Though it took the upload that was to have them. The object is read in the end.
            answer = self._upload_part(journal, number, content, {})
            self._client.learn(part_checksum=False)
        return answer

    def _may_refuse_digests(self, error: StoreError) -> bool:
        return self._client.profile.part_checksum is not True and error.code in _NO_CHECKSUMS

    def _is_there(
        self,
        journal: UnfinishedUpload,
        number: int,
        content: bytes,
        digest: PartDigest,
        there: StoredPart,
    ) -> bool:
        """Whether a part that the store lists is proven to hold the bytes that the file has now."""
        if there.size_bytes != len(content):
            return False
        noted = journal.parts.get(number)
        if noted is not None and (noted.sha256, noted.etag) == (digest.sha256.hex(), there.etag):
            return True
        if self._trusts(journal) and there.sha256 is not None:
            return base64.b64decode(there.sha256) == digest.sha256
        return there.etag.strip('"') == _md5_of(digest, content)

    # --- the end

    def _complete(
        self, journal: UnfinishedUpload, sent: list[_Part], parts: list[PartDigest]
    ) -> None:
        """Make the parts an object. May be called again when the answer was lost.

        The store may have done it at the try before: then the upload is gone, and what stands in
        the way is the very object. `_verify` makes sure.
        """
        condition = self._condition()
        known = self._client.profile.conditional_complete is True and condition
        if not known or self._client.look_first:
            # A store that is not known may well take the condition and not keep it.
            found = self._client.head(journal.locator)
            if self._seems_done(journal, found, parts):
                return
            if (found.etag if found else None) != self._replacing:
                if self._client.head(journal.locator) != found:
                    raise verify.unsettled(self._client, journal.locator)
                raise ConflictError(
                    f"backend {self._client.backend.name!r}: another object is stored under"
                    f" {journal.locator!r}",
                    code="Conflict",
                    hint="it came while the file was being sent; nothing was overwritten",
                )
        try:
            answer = self._call(
                self._client.s3.complete_multipart_upload,
                Bucket=journal.bucket,
                Key=journal.locator,
                UploadId=journal.upload_id,
                MultipartUpload={"Parts": self._entries(sent)},
                **condition,
            )
        except StoreError as error:
            if error.retryable or error.fatal:
                raise
            found = self._client.head(journal.locator)
            if self._seems_done(journal, found, parts):
                return
            if not self._learns_to_complete(journal, error, condition, found):
                raise
            self._complete(journal, sent, parts)
        else:
            if self._bare and "IfMatch" in condition:
                self._client.learn(bare_etags=True)
            self._client.note_version(answer.get("VersionId"))

    def _condition(self) -> dict[str, Any]:
        if self._client.profile.conditional_complete is False or self._never_matches:
            return {}
        if self._replacing is None:
            return {"IfNoneMatch": "*"}
        if self._replacing == ANY_VERSION:
            return {}
        etag = self._client.if_match(self._replacing)
        return {"IfMatch": etag.strip('"') if self._bare else etag}

    def _entries(self, sent: list[_Part]) -> list[CompletedPartTypeDef]:
        """The parts as a completion names them.

        AWS asks for the digests of an upload that was begun with them; Swift refuses a completion
        that has any, though it took them with the parts.
        """
        entries: list[CompletedPartTypeDef] = []
        for part in sent:
            entries.append({"PartNumber": part.number, "ETag": part.etag})
            if self._name_digests:
                entries[-1]["ChecksumSHA256"] = base64.b64encode(part.digest.sha256).decode()
        return entries

    def _learns_to_complete(
        self,
        journal: UnfinishedUpload,
        error: StoreError,
        condition: dict[str, Any],
        found: StoredObject | None,
    ) -> bool:
        """Whether a completion that was refused may be taken in another form.

        Args:
            found: what is stored under the key, as a look after the refusal told.
        """
        client = self._client
        if condition and error.code in _NOT_IMPLEMENTED:
            client.learn(conditional_complete=False)
            return True
        if isinstance(error, ConflictError):
            # The object that may be replaced is there, though the store denies it; see `put`.
            if found is None or found.etag != self._replacing:
                return False
            if not condition:
                return False
            # Bare next, then without: on Swift, If-Match holds for no object in parts.
            self._never_matches, self._bare = self._bare, True
            return True
        if error.code == NO_SUCH_UPLOAD or not journal.checksums or self._digests_turned:
            return False
        self._digests_turned = True
        self._name_digests = not self._name_digests
        return True

    def _seems_done(
        self, journal: UnfinishedUpload, found: StoredObject | None, parts: list[PartDigest]
    ) -> bool:
        if found is None or found.size_bytes != journal.size_bytes:
            return False
        if found.etag == self._replacing:
            return False
        trusts = self._trusts(journal)
        return found.put_for == self._labels.mark or bool(proof(found, parts, trusts_sha256=trusts))

    def _verify(
        self, journal: UnfinishedUpload, sent: list[_Part], parts: list[PartDigest], sha256: str
    ) -> tuple[str, str]:
        key, size = journal.locator, journal.size_bytes
        found = self._client.head(key)
        if found is not None and found.size_bytes == size:
            if how := proof(found, parts, trusts_sha256=self._trusts(journal)):
                return found.etag, how
            if verify.proven_by_head(self._client, found, sha256, size):
                return found.etag, "read"
        read = verify.read(self._client, key, {sha256}, size_bytes=size)
        if read is None:
            # What said that it was done was not the store. To be verified at the next try.
            self._complete(journal, sent, parts)
            raise verify.not_stored(self._client, key)
        if read.sha256 == sha256:
            return read.etag or "", "read"
        raise KeyRefusedError(
            f"backend {self._client.backend.name!r}: what it holds under {key!r}"
            " is not what was sent",
            code="Corrupted",
            hint="upload again, which replaces it; or is what is sent spoilt on its way?",
        )

    def _trusts(self, journal: UnfinishedUpload) -> bool:
        """Whether the store is known to check the digests of this upload's parts."""
        return journal.checksums and self._client.profile.part_checksum is True

    def _call(self, method: Callable[..., Any], **arguments: Any) -> Any:
        try:
            return method(**arguments)
        except Exception as error:
            raise self._client.error(error, "put", self._task.locator) from error

    def _no_use(self, why: str) -> StoreError:
        return StoreUnavailableError(
            f"backend {self._client.backend.name!r}: cannot put {self._task.locator!r}: the answer"
            f" is of no use: {why}",
            code=BAD_ANSWER,
            hint="try again later",
        )

    def _stopped(self) -> StoreError:
        return StoreUnavailableError(
            f"backend {self._client.backend.name!r}: stopped while {self._task.locator!r} was sent",
            code="Stopped",
            hint="upload again: it goes on from the parts that are there",
        )


def _md5_of(digest: PartDigest, content: bytes) -> str:
    """A part's MD5 in hex."""
    md5 = digest.md5 or digest_part(content, md5=True).md5
    assert md5 is not None
    return md5.hex()


def _may_pass(error: StoreError | SourceError) -> bool:
    """Whether the next run may find the upload of use."""
    if isinstance(error, SourceError):
        return error.code in ("SourceMissing", "SourceUnreadable")  # as of a share that is away
    # Credentials expire, and are renewed.
    return error.retryable or error.fatal
