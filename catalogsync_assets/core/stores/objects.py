"""What stores say of objects and of parts, and what is said to them of a new object. Data only."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, TypeAlias

#: What a put takes without a copy.
Buffer: TypeAlias = "bytes | bytearray | memoryview"
#: The user metadata that says for which file asset of which catalog an object was put.
OWNER_TAG = "catalogsync-file"
_SONG = "catalogsync-song"
_SHA256 = "sha256"
_COPIED = "catalogsync-copied"
_HEX = re.compile("[0-9a-f]{64}")
#: How a web page begins, or an error that comes with the status of a success.
_NO_OBJECT = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<!doctype html|<html|(?:<\?xml[^>]{0,200}>\s*)?(?:<html|<Error>))",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class ObjectMetadata:
    """What is said of an object beside its content."""

    media_type: str  #: its Content-Type
    #: Which catalog put it, for which file asset: how an object of ours is known by whose row was
    #: lost.
    owner_tag: str
    song_id: int | None = None  #: the song in the catalog, for people and other programs
    sha256: str | None = None  #: in hex, as far as it is known when the upload begins
    #: Whether the store is to make it of another object: what else comes along proves nothing.
    copied: bool = False
    #: Further user metadata, by names in lower case.
    more: Mapping[str, str] = field(default_factory=dict)

    def as_user_metadata(self) -> dict[str, str]:
        """The user metadata, which every store can give back."""
        song = None if self.song_id is None else str(self.song_id)
        given = {OWNER_TAG: self.owner_tag, _SONG: song, _SHA256: self.sha256}
        given[_COPIED] = "1" if self.copied else None
        return {**{name: v for name, v in given.items() if v is not None}, **self.more}


@dataclass(frozen=True)
class StoredObject:
    """What a HEAD says of an object: one look, which may have been cut short on its way."""

    size_bytes: int | None  #: its length; None if the store does not tell
    etag: str  #: as the store wrote it, with quotes; empty if it gives none
    #: Base64 as in the header, of the whole object; None if the store keeps none.
    sha256: str | None
    #: The same of a multipart object's part digests, with `-N`; or None.
    composite_sha256: str | None
    #: What we left in its user metadata; see `ObjectMetadata`.
    owner_tag: str | None = None
    copied: bool = False
    modified_at: datetime | None = None  #: when it was written, by the store's clock; in UTC
    #: What that clock said when it answered; None if it does not tell.
    answered_at: datetime | None = field(default=None, compare=False)
    #: All of its user metadata, by names in lower case.
    metadata: Mapping[str, str] = field(default_factory=dict)
    media_type: str = ""  #: its Content-Type: what whoever put it said

    @classmethod
    def of(cls, answer: dict[str, Any]) -> StoredObject:
        """As boto3 gives it."""
        checksum = answer.get("ChecksumSHA256")
        composite = checksum if checksum and "-" in checksum else None
        # Some stores give names back with capitals.
        metadata = {name.lower(): value for name, value in answer.get("Metadata", {}).items()}
        return cls(
            size_bytes=answer.get("ContentLength"),
            etag=answer.get("ETag", ""),
            sha256=None if composite else checksum,
            composite_sha256=composite,
            owner_tag=metadata.get(OWNER_TAG),
            copied=_COPIED in metadata,
            modified_at=answer.get("LastModified"),
            answered_at=_date(answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})),
            metadata=metadata,
            media_type=answer.get("ContentType") or "",
        )

    @property
    def claimed_sha256(self) -> str | None:
        """The SHA-256 in hex that is written there: what whoever put it said, and no proof."""
        found = self.metadata.get(_SHA256, "").lower()
        return found if _HEX.fullmatch(found) else None

    @property
    def said_sha256(self) -> str | None:
        """The SHA-256 in hex of what was put: as the store keeps it, else as whoever put it said.
        No proof; and of a copy, what the store keeps is of what has become of it."""
        if self.sha256 is None or self.copied:
            return self.claimed_sha256
        try:
            return base64.b64decode(self.sha256, validate=True).hex()
        except ValueError:
            return None


def _date(headers: dict[str, str]) -> datetime | None:
    try:
        return parsedate_to_datetime(headers["date"])
    except (LookupError, TypeError, ValueError):
        return None


class ListedObject(NamedTuple):
    """An object as a listing names it."""

    key: str
    size_bytes: int | None  #: None where the store does not tell
    etag: str | None  #: as the store wrote it; None likewise


@dataclass(frozen=True)
class ReadObject:
    """What reading an object to its end told."""

    size_bytes: int
    etag: str | None  #: as the store wrote it; None if it gave none
    sha256: str  #: of the bytes that came, in hex
    #: The first of them: a page that a proxy gives instead of the object is told by it.
    beginning: bytes = b""


def looks_like_a_page(content: bytes) -> bool:
    """Whether content begins like a web page, or like an error that was sent as a success."""
    return _NO_OBJECT.match(content) is not None


@dataclass(frozen=True)
class OpenObject:
    """An object that is being read."""

    size_bytes: int | None  #: of the whole; None if the store does not tell
    etag: str | None  #: as the store wrote it, or None
    start: int  #: the first byte that is read
    #: The bytes from there on; raises a StoreError when not all of them come.
    pieces: Iterator[memoryview]

    def read_out(self) -> ReadObject:
        """What it is, by reading it to its end.

        Raises:
            StoreError: not all of it comes.
        """
        digest, size, beginning = hashlib.sha256(), 0, b""
        for piece in self.pieces:
            beginning = beginning or bytes(piece[:512])
            digest.update(piece)
            size += len(piece)
        return ReadObject(size, self.etag, digest.hexdigest(), beginning)
