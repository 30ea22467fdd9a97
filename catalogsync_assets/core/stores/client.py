"""How one talks to a backend: the client of its store, complete.

Objects are put by obstore, which is the faster for many small ones, and by boto3 where obstore
lacks something. Nothing outside this package speaks to either.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import obstore

from catalogsync_assets.core.errors import ConflictError, KeyRefusedError, StoreError
from catalogsync_assets.core.stores import listing
from catalogsync_assets.core.stores.classify import (
    BAD_ANSWER,
    NO_SUCH_KEY,
    NOT_IMPLEMENTED,
    BadAnswerError,
)
from catalogsync_assets.core.stores.connection import Connection, wants_md5
from catalogsync_assets.core.stores.objects import (
    Buffer,
    ListedObject,
    ObjectMetadata,
    OpenObject,
    ReadObject,
    StoredObject,
)
from catalogsync_assets.core.stores.profile import SHA256
from catalogsync_assets.core.stores.retry import Retry
from catalogsync_assets.core.stores.sdk import SMALL_BYTES

if TYPE_CHECKING:
    from obstore import GetOptions, PutMode, UpdateVersion

#: To replace what is there, whatever its version: the store has given no ETag to name it by.
ANY_VERSION = ""
#: What obstore says of a put that was accepted by a store that gives no ETag.
_NO_ETAG = "ETag Header missing"
#: A HEAD has no body that could say more.
_NOT_FOUND = "Http404"
_HEADER_REFUSED = {"Http400", "Http501"}
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")
#: Objects above this are read by boto3, whose requests may take longer.
_LARGE = 64 * 1024 * 1024
_READ_CHUNK = 4 * 1024 * 1024
_PIECE = 1024 * 1024


class StoreClient(Connection):
    """One backend's store, with its objects; otherwise as a `Connection`."""

    # --- what is there: may be asked again and again

    def head(self, key: str) -> StoredObject | None:
        """What is stored under the key, or None. One look: see `verify` for what it proves."""
        look = partial(self.call, "look at", key, "head_object")
        asks = self.profile.keeps_sha256 is not False
        try:
            return StoredObject.of(look(ChecksumMode="ENABLED") if asks else look())
        except StoreError as error:
            if error.code == _NOT_FOUND:
                return None
            if not asks or error.code not in _HEADER_REFUSED:
                raise
        # Backblaze B2, for one, has refused the header; a HEAD cannot say what it refuses. Only if
        # it is answered without, was it the header.
        try:
            found = StoredObject.of(look())
        except StoreError as error:
            if error.code != _NOT_FOUND:
                raise
            found = None
        self.learn(keeps_sha256=False)
        return found

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

    def list_pages(
        self, after: str | None = None, *, below: str = ""
    ) -> Iterator[list[ListedObject]]:
        """What is stored below the backend's prefix; see `listing.list_pages`.

        A page is asked for when it is taken; after an error, begin again after the last key, as
        `listed` does.
        """
        return listing.list_pages(self._s3, self.backend, after=after, below=below)

    def listed(self, retry: Retry, *, after: str | None = None) -> Iterator[list[ListedObject]]:
        """The same, retried, read ahead, and without what is no file's; see `listing.ahead`."""
        return listing.ahead(self.list_pages, self.backend.key_prefix, retry, after)

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

    def read_range(self, key: str, start: int, size_bytes: int) -> bytes:
        """Some bytes of an object, in one request. One look: they prove nothing.

        Args:
            start: the first byte wanted; less than the object's size.
            size_bytes: how many; there may be fewer at the object's end.
        """
        end = start + size_bytes
        try:
            try:
                options: GetOptions = {"range": (start, end)}
                found = bytes(obstore.get(self._store, key, options=options).bytes())
            except Exception as error:
                if (
                    not isinstance(error, ValueError)
                    and self.error(error, "read", key).code != BAD_ANSWER
                ):
                    raise
                # As for `_open`.
                found = self._range_by_boto3(key, start, end)
        except Exception as error:
            raise self.error(error, "read", key) from error
        return found

    def _range_by_boto3(self, key: str, start: int, end: int) -> bytes:
        answer = self._s3.get_object(
            Bucket=self.backend.bucket, Key=key, Range=f"bytes={start}-{end - 1}"
        )
        given = _CONTENT_RANGE.fullmatch(answer.get("ContentRange", ""))
        with answer["Body"] as body:
            if given is None and start == 0:  # a store that gives no ranges gives the whole
                return bytes(body.read(end))
            if given is None or int(given[1]) != start:
                raise BadAnswerError(f"it begins elsewhere than at byte {start:,}")
            return bytes(body.read())

    def _pieces(self, stream: Iterable[Buffer], key: str) -> Iterator[memoryview]:
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
                `sdk.REQUEST_TIMEOUT`.
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

    def look_before_put(self, key: str) -> StoredObject | None:
        """What a put would meet. Where no condition is known to guard what is there, it is nothing
        only if two looks say so: what one 404 has spoilt on its way would be overwritten."""
        found = self.head(key)
        if found is None and (self.look_first or not self.profile.conditional_put):
            return self.head(key)
        return found

    # --- putting

    def put(
        self, key: str, content: Buffer, metadata: ObjectMetadata, *, replacing: str | None
    ) -> str | None:
        """Store an object in one request, with its digest for the server to check.

        It is there whole or not at all. May be called again after a lost answer: what then stands
        in the way, with a `ConflictError`, may be the very object; `place` knows. The condition
        holds as far as the store keeps conditions: where `profile.conditional_put` is not True, the
        caller has looked before.

        Args:
            key: the whole key.
            content: at most 5 GiB, as S3 has it; the engine sends at most 64 MiB this way.
            replacing: the ETag of the object that may be replaced; `ANY_VERSION` where the store
                gives none; None to store only where nothing is.

        Returns:
            The ETag; None if the store gives none. Then the answer proves nothing: a web page
            with the status of a success looks the same.

        Raises:
            ConflictError: something (else) is stored there.
        """
        mode = self._mode(replacing)
        while True:
            try:
                etag = self._put(key, content, metadata, mode)
            except KeyRefusedError as error:
                # By what this put was, not by what another thread has learned meanwhile.
                if error.code not in NOT_IMPLEMENTED or mode == "overwrite":
                    raise
                self.learn(conditional_put=False, conditional_replace=False)
                if replacing is None and self.look_before_put(key) is not None:
                    message = f"backend {self.backend.name!r}: something is stored under {key!r}"
                    raise ConflictError(message, code="Conflict") from error
                mode = "overwrite"
            except ConflictError:
                if isinstance(mode, str) or not self._is_still(key, replacing):
                    raise
                # The very object is there: the form of the condition is not the store's.
                mode = self._other_mode(mode)
            else:
                if not isinstance(mode, str) and mode["e_tag"] != replacing:
                    self.learn(bare_etags=True)
                return etag

    def _mode(self, replacing: str | None) -> PutMode:
        if replacing is None:
            return "overwrite" if self.profile.conditional_put is False else "create"
        if self.profile.conditional_replace is False or replacing == ANY_VERSION:
            return "overwrite"
        return {"e_tag": self.if_match(replacing)}

    def if_match(self, etag: str) -> str:
        """An ETag as the store takes it in If-Match. Ceph 16 compares it with bare ones."""
        return etag.strip('"') if self.profile.bare_etags else etag

    def _other_mode(self, mode: UpdateVersion) -> PutMode:
        """How to replace an object that is there, though the store denies that it is."""
        etag = mode["e_tag"] or ""
        if etag != etag.strip('"'):
            return {"e_tag": etag.strip('"')}
        self.learn(conditional_replace=False)
        return "overwrite"

    def _is_still(self, key: str, etag: str | None) -> bool:
        found = self.head(key)
        return found is not None and bool(etag) and found.etag == etag

    def _put(
        self, key: str, content: Buffer, metadata: ObjectMetadata, mode: PutMode
    ) -> str | None:
        if self.profile.needs_md5:
            return self._put_with_md5(key, content, metadata, mode)
        attributes = {"Content-Type": metadata.media_type, **metadata.as_user_metadata()}
        if self.backend.cache_control:
            attributes["Cache-Control"] = self.backend.cache_control
        if self.backend.storage_class:
            attributes["Storage-Class"] = self.backend.storage_class
        signed = self.profile.signed_payload  # of this put; another thread may learn meanwhile
        store = self._store if len(content) <= SMALL_BYTES else self._store_of_large
        try:
            result = obstore.put(
                store, key, content, attributes=attributes, mode=mode, use_multipart=False
            )
        except Exception as error:
            if _NO_ETAG in str(error):
                return None  # it has said yes, and no more
            found = self.error(error, "put", key)
            if _wants_signature(found) and not signed:
                self.learn(signed_payload=True)
                return self._put(key, content, metadata, mode)
            if not wants_md5(found):
                raise self._explained(found) from error
            self.learn(needs_md5=True)
            return self._put_with_md5(key, content, metadata, mode)
        self.note_version(result["version"])
        return result["e_tag"]

    def _put_with_md5(
        self, key: str, content: Buffer, metadata: ObjectMetadata, mode: PutMode
    ) -> str | None:
        """The same by boto3: obstore cannot send Content-MD5, which S3 asks for in a bucket with
        object lock where no other digest is sent."""
        condition: dict[str, Any] = {}
        if mode == "create":
            condition = {"IfNoneMatch": "*"}
        elif not isinstance(mode, str):
            condition = {"IfMatch": mode["e_tag"]}
        if self.profile.put_checksum in (None, SHA256):
            digest = hashlib.sha256(content).digest()
            condition["ChecksumSHA256"] = base64.b64encode(digest).decode()
        answer = self.call(
            "put",
            key,
            "put_object",
            Body=bytes(content),
            **condition,
            **self.creation_arguments(metadata),
        )
        self.note_version(answer.get("VersionId"))
        etag: str | None = answer.get("ETag")
        return etag

    def creation_arguments(self, metadata: ObjectMetadata) -> dict[str, Any]:
        """What boto3 is to be told of a new object; the same as `put` says."""
        arguments = {
            "ContentType": metadata.media_type,
            "Metadata": metadata.as_user_metadata(),
            **self.storage_arguments(),
        }
        if self.backend.cache_control is not None:
            arguments["CacheControl"] = self.backend.cache_control
        return arguments

    def storage_arguments(self) -> dict[str, Any]:
        """The same of what says how a new object is kept, and nothing of the object itself."""
        arguments = {
            "StorageClass": self.backend.storage_class,
            "ServerSideEncryption": self.backend.server_side_encryption,
            "SSEKMSKeyId": self.backend.kms_key_id,
        }
        return {name: value for name, value in arguments.items() if value is not None}


def _wants_signature(error: StoreError) -> bool:
    return isinstance(error, KeyRefusedError) and "unsigned-payload" in error.message.lower()
