"""Whether an object that another tool has stored holds a file of ours, and what proves it.

===========================  ====================================================================
proof                        is taken where
===========================  ====================================================================
`etag`                       size and ETag, as listed, are those of the local file: its MD5, or the
                             MD5 of its parts' MD5s in parts of the size that the store tells, or
                             that tools use
`head`                       the store keeps a SHA-256 that it has checked, and it is the file's
`read`                       the object was read whole, which is done only on request
===========================  ====================================================================

What a tool has written of a file into the object's metadata (rclone's `md5chksum`) is no proof: no
store has compared it with what arrived.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from catalogsync_assets.core.adopt.queries import Wanted
from catalogsync_assets.core.files.digests import as_s3_header
from catalogsync_assets.core.stores import verify
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.objects import ListedObject
from catalogsync_assets.core.stores.retry import Retry
from catalogsync_assets.core.stores.verify import Expected, bare
from catalogsync_assets.core.upload.multipart import part_bytes
from catalogsync_assets.core.upload.source import measured

_MD5 = re.compile(r"[0-9a-f]{32}")
_IN_PARTS = re.compile(r"[0-9a-f]{32}-([1-9][0-9]{0,4})")
_MIB = 1024 * 1024
#: Sizes of parts that tools use: rclone 5, boto3 and the AWS command line 8, s3cmd 15, MinIO 16
#: MiB, and what people set.
_USUAL_PARTS = tuple(n * _MIB for n in (5, 8, 10, 15, 16, 20, 25, 32, 50, 64, 100, 128, 256, 512))

Kind = Literal["same", "size", "content", "undecided"]


@dataclass(frozen=True)
class Evidence:
    """What became of a comparison."""

    #: `same`, `size` (another length), `content` (other bytes of that length), or `undecided` (it
    #: cannot be told without reading).
    kind: Kind
    sha256: str | None = None  #: of the file's content in hex; None unless it is the same
    #: What proves it; see the module. Empty where the listing alone speaks against it.
    how: str = ""
    detail: str = ""  #: why not, in a few words
    #: The object as it was when it was compared; None unless it is the same.
    found: ListedObject | None = None


_OF_NO_SIZE = Evidence("undecided", detail="the store does not tell its size")
_REMOVED = Evidence("undecided", detail="it was removed meanwhile")


def compare(
    client: StoreClient, file: Wanted, found: ListedObject, *, retry: Retry, may_read: bool
) -> Evidence:
    """Compare an object with a file. The local file is read once, where there is one; once more
    where the object is not what it should be, and a second look shows something else.

    Args:
        retry: calls each request.
        may_read: the object may be read where nothing else tells.

    Raises:
        SourceError: the local file cannot be read, or is not what the catalog says.
        StoreError: the store refused, or was silent at every try.
    """
    if found.size_bytes is None:
        told = _by_head(client, found, retry)
        expected = file.size_bytes if file.path is None else file.source_size
        if told is None or (told.size_bytes is None and expected is None):
            return _REMOVED if told is None else _OF_NO_SIZE
        found = told if told.size_bytes is not None else told._replace(size_bytes=expected)
    first = _compared(client, file, found, retry, may_read)
    if first.kind not in ("size", "content") or first.how == "read":
        return first
    # A listing may have been spoilt on its way, as any answer; and nothing was read.
    again = _by_head(client, found, retry)
    if again is None:
        return _REMOVED
    looks = {(look.size_bytes, bare(look.etag).lower()) for look in (again, found)}
    if len(looks) == 1 and first.how != "head":
        return first
    second = _compared(client, file, again, retry, may_read)
    if second.kind == "same" or second == first:
        return second
    return Evidence("undecided", detail="what the store says of it keeps changing")


def _by_head(client: StoreClient, found: ListedObject, retry: Retry) -> ListedObject | None:
    """A listed object, as far as a HEAD shows it otherwise; None if it shows none."""
    seen = retry(lambda: client.head(found.key))
    if seen is None:
        return None
    size = found.size_bytes if seen.size_bytes is None else seen.size_bytes
    return found._replace(size_bytes=size, etag=seen.etag or found.etag)


def _compared(
    client: StoreClient, file: Wanted, found: ListedObject, retry: Retry, may_read: bool
) -> Evidence:
    """What one look tells. `how` of a difference: `head` or `read` where it is not the listing."""
    size = file.size_bytes if file.path is None else file.source_size
    length = found.size_bytes or 0
    if size not in (None, length):
        return Evidence("size", detail=f"{length:,} bytes, not {size:,}")
    sha256 = file.sha256
    if file.path is not None:
        etag = bare(found.etag).lower()
        sizes = _part_sizes(client, found.key, length, etag, retry)
        sha256, expected = measured(file.task(found.key, length), sizes)
        if etag in expected.etags:
            return Evidence("same", sha256, "etag", found=found)
        if _MD5.fullmatch(etag) and client.profile.etag_is_md5:
            md5 = next(iter(expected.etags))
            return Evidence("content", detail=f"its MD5 is {etag}, not {md5}")
    if sha256 is None:
        return Evidence("undecided", detail="there is no local file, and the digest is not known")
    return _by_digest(client, found, sha256, retry, may_read)


def _by_digest(
    client: StoreClient, found: ListedObject, sha256: str, retry: Retry, may_read: bool
) -> Evidence:
    expected = Expected(sha256, found.size_bytes)
    if may_read:
        verdict = verify.check(client, found.key, expected, "proof", retry=retry)
        if verdict.kind == "missing":
            return _REMOVED
        if verdict.kind == "ok":
            return Evidence("same", sha256, str(verdict.proof), found=found)
        return Evidence(verdict.kind, how="read", detail=verdict.detail)
    if client.profile.proves_by_head:
        seen = retry(lambda: client.head(found.key))
        if seen is not None and verify.by_head(client, seen, expected):
            return Evidence("same", sha256, "head", found=found)
        if seen is not None and seen.sha256 not in (None, as_s3_header(sha256)):
            detail = "the store keeps another SHA-256 of it"
            return Evidence("content", how="head", detail=detail)
    return Evidence("undecided", detail="it cannot be told without reading it")


def _part_sizes(
    client: StoreClient, key: str, size_bytes: int, etag: str, retry: Retry
) -> Sequence[int | None]:
    """Sizes of the parts in which an object may have been sent; None for no parts."""
    in_parts = _IN_PARTS.fullmatch(etag)
    if in_parts is None:
        return (None,)
    count = int(in_parts[1])
    first = retry(lambda: client.first_part_size(key))
    usual = (first, part_bytes(size_bytes), *_USUAL_PARTS, size_bytes)
    fitting = [s for s in usual if s and math.ceil(size_bytes / s) == count]
    return (fitting[0],) if fitting and fitting[0] == first else tuple(dict.fromkeys(fitting))
