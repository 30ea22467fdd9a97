"""Uploads a file that is too large for one request, part by part, each part verified.

Nothing is kept for resuming yet: an upload that fails is aborted and starts anew.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from catalogsync_assets.core.catalog.leases import UploadTask
from catalogsync_assets.core.errors import KeyRefusedError, StoreError
from catalogsync_assets.core.transfer.source import Source
from catalogsync_assets.core.transfer.stores import (
    Labels,
    StoreClient,
    StoredObject,
    part_checksum,
)
from catalogsync_assets.core.transfer.workers import Workers

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

#: S3 allows 10,000 parts of 5 MiB to 5 GiB, all but the last of one size on some stores (R2).
PART_BYTES = 16 * 1024 * 1024
_MAX_PARTS = 10_000
#: Parts of one file on their way at a time.
PARTS_IN_FLIGHT = 2

_T = TypeVar("_T")
Retry = Callable[[Callable[[], _T]], _T]


def part_bytes(size_bytes: int) -> int:
    """The size of the parts of a file: whole MiB, at least `PART_BYTES`, at most 10,000 parts."""
    mib = 1024 * 1024
    return max(PART_BYTES, math.ceil(size_bytes / _MAX_PARTS / mib) * mib)


def memory_needed(size_bytes: int) -> int:
    """Bytes of memory that the upload of such a file holds: parts in flight, and one being read."""
    return min(size_bytes, (PARTS_IN_FLIGHT + 1) * part_bytes(size_bytes))


def composite(parts: list[bytes]) -> str:
    """What S3 calls the SHA-256 of a multipart object: the digest of its parts' digests, `-N`.

    Source: "Checking object integrity", composite checksums, in the Amazon S3 User Guide.
    """
    whole = hashlib.sha256(b"".join(parts)).digest()
    return f"{base64.b64encode(whole).decode()}-{len(parts)}"


def put_in_parts(
    client: StoreClient,
    task: UploadTask,
    *,
    labels: Labels,
    replacing: str | None,
    retry: Callable[[Callable[[], Any]], Any],
) -> tuple[str, str, str]:
    """Upload the task's file in parts and verify what then is stored.

    The object appears whole or not at all; on any failure the upload is aborted.

    Args:
        replacing: the ETag of the object that may be replaced, or None.
        retry: calls a function again as the engine's policy has it.

    Returns:
        The content's SHA-256 in hex, the ETag, and how it was verified.

    Raises:
        ConflictError: another object is stored there.
        StoreError: the store refused, was silent, or holds something else than was sent.
        SourceError: the file changed or could not be read.
    """
    bucket, key = client.backend.bucket, task.locator
    target: dict[str, Any] = {"Bucket": bucket, "Key": key}
    started = retry(
        lambda: _call(
            client,
            key,
            client.s3.create_multipart_upload,
            ChecksumAlgorithm="SHA256",
            **client.creation_arguments(labels),
            **target,
        )
    )
    target["UploadId"] = started["UploadId"]
    try:
        with Source(task) as source:
            parts = _send_parts(client, source, task, target, retry)
            sha256 = source.finish()
        retry(lambda: _complete(client, task, target, parts, replacing))
    except BaseException:
        _abort(client, target)
        raise
    etag, how = retry(lambda: _verify(client, task, sha256, parts))
    return sha256, etag, how


def _complete(
    client: StoreClient,
    task: UploadTask,
    target: dict[str, Any],
    parts: list[CompletedPartTypeDef],
    replacing: str | None,
) -> None:
    """Make the parts an object. May be called again when the answer was lost."""
    condition = {"IfNoneMatch": "*"} if replacing is None else {"IfMatch": replacing}
    try:
        _call(
            client,
            task.locator,
            client.s3.complete_multipart_upload,
            MultipartUpload={"Parts": parts},
            **condition,
            **target,
        )
    except StoreError as error:
        # The store may have done it at the try before: then the upload is gone, and what stands
        # in the way is the very object.
        if error.retryable or not _is_made_of(client.head(task.locator), parts):
            raise


def _is_made_of(found: StoredObject | None, parts: list[CompletedPartTypeDef]) -> bool:
    digests = [base64.b64decode(part["ChecksumSHA256"]) for part in parts]
    return found is not None and found.composite_sha256 == composite(digests)


def _send_parts(
    client: StoreClient,
    source: Source,
    task: UploadTask,
    target: dict[str, Any],
    retry: Callable[[Callable[[], Any]], Any],
) -> list[CompletedPartTypeDef]:
    def send(number: int, content: bytes) -> CompletedPartTypeDef:
        checksum = part_checksum(content)
        answer = retry(
            lambda: _call(
                client,
                task.locator,
                client.s3.upload_part,
                PartNumber=number,
                Body=content,
                ChecksumSHA256=checksum,
                **target,
            )
        )
        return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": checksum}

    done: list[CompletedPartTypeDef] = []
    waiting: deque[Future[CompletedPartTypeDef]] = deque()
    pool = Workers(PARTS_IN_FLIGHT, "part")
    try:
        for number, content in enumerate(source.parts(part_bytes(task.size_bytes)), start=1):
            if len(waiting) == PARTS_IN_FLIGHT:
                done.append(waiting.popleft().result())
            waiting.append(pool.submit(partial(send, number, content)))
        done.extend(future.result() for future in waiting)
    finally:
        # Before the upload is aborted: a part that arrives later would be kept, and paid for.
        pool.close()
        wait(waiting)
    return done


def _verify(
    client: StoreClient, task: UploadTask, sha256: str, parts: list[CompletedPartTypeDef]
) -> tuple[str, str]:
    found = client.head(task.locator)
    if found is not None and found.size_bytes == task.size_bytes:
        if _is_made_of(found, parts):
            return found.etag, "server-digest"
        if client.holds(task.locator, found, sha256=sha256, size_bytes=task.size_bytes):
            return found.etag, "read"
    raise KeyRefusedError(
        f"backend {client.backend.name!r}: what it holds under {task.locator!r}"
        " is not what was sent",
        code="Corrupted",
        hint="look at the object; if it is of no use, delete it and upload again",
    )


def _call(client: StoreClient, key: str, method: Callable[..., Any], **arguments: Any) -> Any:
    try:
        return method(**arguments)
    except Exception as error:
        raise client.error(error, "put", key) from error


def _abort(client: StoreClient, target: dict[str, Any]) -> None:
    """Let the store forget the parts. If even that fails, the first error is the one to report."""
    try:
        _call(client, target["Key"], client.s3.abort_multipart_upload, **target)
    except StoreError:
        return
