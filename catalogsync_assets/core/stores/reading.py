"""What is stored: looked at, read, listed. One look each: see `verify` for what it proves."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import obstore

from catalogsync_assets.core.errors import StoreError
from catalogsync_assets.core.stores import listing
from catalogsync_assets.core.stores.classify import BAD_ANSWER, NO_SUCH_KEY, BadAnswerError
from catalogsync_assets.core.stores.clients import SMALL_BYTES
from catalogsync_assets.core.stores.connection import Connection
from catalogsync_assets.core.stores.objects import (
    Buffer,
    ListedObject,
    OpenObject,
    ReadObject,
    StoredObject,
)

if TYPE_CHECKING:
    from obstore import GetOptions

_NOT_FOUND = 404
_HEADER_REFUSED = {400, 501}
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")
#: Objects above this are read by boto3, whose requests may take longer.
_LARGE = 64 * 1024 * 1024
_READ_CHUNK = 4 * 1024 * 1024
_PIECE = 1024 * 1024


class Reading(Connection):
    """A store, as far as it can be read. Changes nothing: everything may be called again."""

    def head(self, key: str) -> StoredObject | None:
        """What is stored under the key, or None. One look: see `verify` for what it proves."""
        try:
            return StoredObject.of(self._head(key))
        except Exception as error:
            if _status(error) == _NOT_FOUND:
                return None
            raise self.error(error, "look at", key) from error

    def _head(self, key: str) -> Any:
        place: Any = {"Bucket": self.backend.bucket, "Key": key}
        if self.profile.keeps_sha256 is False:
            return self._s3.head_object(**place)
        try:
            return self._s3.head_object(**place, ChecksumMode="ENABLED")
        except Exception as error:
            if _status(error) not in _HEADER_REFUSED:
                raise
        # Backblaze B2, for one, has refused the header; a HEAD cannot say what it refuses. Only if
        # it is answered without, was it the header.
        try:
            answer = self._s3.head_object(**place)
        except Exception as error:
            if _status(error) == _NOT_FOUND:
                self.learn(keeps_sha256=False)
            raise
        self.learn(keeps_sha256=False)
        return answer

    def first_part_size(self, key: str) -> int | None:
        """The size of an object's first part in bytes; None where the store does not tell.

        Raises:
            StoreError: it did not answer, or refuses everything.
        """
        try:
            size = self.call("look at", key, "head_object", PartNumber=1).get("ContentLength")
        except StoreError as error:
            if error.retryable or error.fatal:
                raise
            return None
        return None if size is None else int(size)

    def signed_url(self, key: str, *, expires: int, bucket: str | None = None) -> str:
        """A URL by which anybody may read an object for a while. Sends nothing.

        Args:
            expires: seconds.
            bucket: if it is not the backend's.
        """
        place = {"Bucket": bucket or self.backend.bucket, "Key": key}
        return self._s3.generate_presigned_url("get_object", Params=place, ExpiresIn=expires)

    def list_pages(self, *, after: str | None = None) -> Iterator[list[ListedObject]]:
        """What is stored below the backend's prefix, a page at a time, in the store's own order.

        That is not always the order of the keys: SeaweedFS lists `a/b` before `a-b`, as a tree.
        A page is asked for when it is taken; after an error, begin again after the last key. See
        `listing.listed` for one that does.

        Args:
            after: the last key of an earlier page; None to begin at the first.
        """
        return listing.list_pages(self._s3, self.backend, after=after)

    def open(
        self, key: str, *, start: int = 0, etag: str | None = None, size_bytes: int | None = None
    ) -> OpenObject:
        """Begin to read an object. The pieces are read as they are taken: memory stays flat.

        Args:
            start: the first byte wanted; less than the object's size.
            etag: only if the object still has this one.
            size_bytes: of the object, as far as known: a small one may take less time.

        Raises:
            ConflictError: it has another ETag.
        """
        small = size_bytes is not None and size_bytes <= SMALL_BYTES
        try:
            return self._open(key, start, etag, small=small)
        except Exception as error:
            raise self.error(error, "read", key) from error

    def _open(self, key: str, start: int, etag: str | None, *, small: bool) -> OpenObject:
        # Beside boto3 at 8 MiB obstore is as fast or faster, for the same CPU; less for small ones.
        options: GetOptions = {"range": {"offset": start}} if start else {}
        if etag:
            options["if_match"] = etag
        try:
            result = obstore.get(
                self._store if small else self._store_of_large, key, options=options
            )
        except Exception as error:
            # It cannot name keys such as `a//b`, needs header fields that are optional, and bears
            # none with other characters than ASCII's, which Ceph and Swift give back as they came.
            if (
                not isinstance(error, ValueError)
                and self.error(error, "read", key).code != BAD_ANSWER
            ):
                raise
            return self._open_by_boto3(key, start, etag)
        found = result.meta
        pieces = self._pieces(result.stream(min_chunk_size=_PIECE), key)
        return OpenObject(found["size"], found["e_tag"], start, pieces)

    def _open_by_boto3(self, key: str, start: int, etag: str | None) -> OpenObject:
        more: dict[str, Any] = {"Range": f"bytes={start}-"} if start else {}
        if etag:
            more["IfMatch"] = etag
        answer = self._s3.get_object(Bucket=self.backend.bucket, Key=key, **more)
        size = answer.get("ContentLength")
        if start:
            given = _CONTENT_RANGE.fullmatch(answer.get("ContentRange", ""))
            if given is None or int(given[1]) != start:
                answer["Body"].close()
                raise BadAnswerError(f"it begins elsewhere than at byte {start:,}")
            size = int(given[2])
        pieces = self._pieces(answer["Body"].iter_chunks(_READ_CHUNK), key)
        return OpenObject(size, answer.get("ETag"), start, pieces)

    def _pieces(self, stream: Iterable[Buffer], key: str) -> Iterator[Buffer]:
        try:
            for piece in stream:
                yield memoryview(piece)
        except GeneratorExit:
            raise
        except Exception as error:
            raise self.error(error, "read", key) from error

    def read(self, key: str, *, size_bytes: int | None = None) -> ReadObject | None:
        """Read an object to its end, in one request; None only if the store says in so many words
        that there is none under this key. One look: see `verify` for what it proves.

        A 404 alone does not say so: a missing bucket gives one, and so does a server that is no
        object store.

        Args:
            size_bytes: of the object, as far as known: a large one may take longer than
                `clients.REQUEST_TIMEOUT`.
        """
        try:
            large = (size_bytes or 0) > _LARGE
            found = (
                self._open_by_boto3(key, 0, None)
                if large
                else self._open(key, 0, None, small=False)
            )
            return found.read_out()
        except Exception as error:
            known = self.error(error, "read", key)
            if known.code == NO_SUCH_KEY:
                return None
            raise known from error


def _status(error: Exception) -> int | None:
    response = getattr(error, "response", None) or {}
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return int(status) if status else None
