"""Digests of parts, and what a store makes of them: how an object in parts is known by a HEAD.

A store that puts parts together names two digests of digests. Either of them, made here from the
parts of a local file, proves that an object is that file; different ones prove nothing, as the
object may have been sent in parts of another size.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from typing import NamedTuple

from catalogsync_assets.core.stores.objects import Buffer, StoredObject

_IN_PARTS = re.compile(r'.+-(\d+)"?')


class PartDigest(NamedTuple):
    """Digests of one part; the MD5 only where it is of use, as it takes twice the time."""

    sha256: bytes
    md5: bytes | None

    @property
    def header(self) -> str:
        """The SHA-256 as S3 writes it."""
        return base64.b64encode(self.sha256).decode()


def digest_part(content: Buffer, *, md5: bool) -> PartDigest:
    """Hash a part."""
    other = hashlib.md5(content, usedforsecurity=False).digest() if md5 else None
    return PartDigest(hashlib.sha256(content).digest(), other)


def composite_sha256(parts: Sequence[PartDigest]) -> str:
    """What S3 calls the SHA-256 of a multipart object: the digest of its parts' digests, `-N`.

    Source: "Checking object integrity", composite checksums, in the Amazon S3 User Guide.
    """
    whole = hashlib.sha256(b"".join(part.sha256 for part in parts)).digest()
    return f"{base64.b64encode(whole).decode()}-{len(parts)}"


def composite_md5(parts: Sequence[PartDigest]) -> str | None:
    """The ETag that most stores give a multipart object, without quotes; None without the MD5s."""
    digests = [part.md5 for part in parts if part.md5 is not None]
    if len(digests) < len(parts):
        return None
    whole = hashlib.md5(b"".join(digests), usedforsecurity=False)
    return f"{whole.hexdigest()}-{len(parts)}"


class InParts:
    """Hashes content in parts of one size, as it comes in pieces of any."""

    def __init__(self, size: int | None, *, md5: bool) -> None:
        """
        Args:
            size: of all parts but the last, in bytes; None for a single one of any size.
            md5: MD5s, which most stores make ETags of; else SHA-256s.
        """
        self._size = size
        self._md5 = md5
        self._done: list[PartDigest] = []
        self._begin()

    def _begin(self) -> None:
        self._part = hashlib.md5(usedforsecurity=False) if self._md5 else hashlib.sha256()
        self._left = self._size

    def update(self, piece: memoryview) -> None:
        """Take in what comes next."""
        while piece and self._left is not None:
            now, piece = piece[: self._left], piece[self._left :]
            self._part.update(now)
            self._left -= len(now)
            if not self._left:
                self._end()
        self._part.update(piece)

    def _end(self) -> None:
        digest = self._part.digest()
        self._done.append(PartDigest(b"", digest) if self._md5 else PartDigest(digest, None))
        self._begin()

    def result(self) -> str:
        """What the content makes of an object, at its end: the ETag without quotes, or the digest.

        To be called once.
        """
        if self._size is None:
            return self._part.hexdigest()
        if self._left != self._size or not self._done:
            self._end()
        return str(composite_md5(self._done)) if self._md5 else composite_sha256(self._done)


def part_count(found: StoredObject) -> int | None:
    """In how many parts an object was sent, as far as its digests tell."""
    for digest in (found.composite_sha256, found.etag):
        if match := _IN_PARTS.fullmatch(digest or ""):
            return int(match[1])
    return None


def content_md5(content: Buffer) -> str:
    """What the header Content-MD5 says of a body."""
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
