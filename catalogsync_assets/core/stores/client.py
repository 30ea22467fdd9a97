"""How one talks to a backend: the client of its store, complete.

Objects are put by obstore, which is the faster for many small ones, and by boto3 where obstore
lacks something. Nothing outside this package speaks to either.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import obstore

from catalogsync_assets.core.errors import ConflictError, KeyRefusedError, StoreError
from catalogsync_assets.core.stores.checksums import content_md5
from catalogsync_assets.core.stores.classify import NOT_IMPLEMENTED
from catalogsync_assets.core.stores.clients import SMALL_BYTES
from catalogsync_assets.core.stores.objects import Buffer, ObjectMetadata, StoredObject
from catalogsync_assets.core.stores.profile import SHA256, StoreProfile
from catalogsync_assets.core.stores.reading import Reading

if TYPE_CHECKING:
    from obstore import PutMode, UpdateVersion

#: To replace what is there, whatever its version: the store has given no ETag to name it by.
ANY_VERSION = ""
#: What obstore says of a put that was accepted by a store that gives no ETag.
_NO_ETAG = "ETag Header missing"


class StoreClient(Reading):
    """One backend's store. Thread-safe; must not cross a fork.

    Every method raises a `StoreError` and nothing else when the store refuses or is silent. None
    retries.
    """

    def going_by(self, known: StoreProfile) -> StoreClient:
        """The same store, gone by these answers alone. Both share what boto3 has open."""
        return StoreClient(replace(self.backend, tested=known), lambda: self._s3)

    def look_before_put(self, key: str) -> StoredObject | None:
        """What a put would meet. Where no condition is known to guard what is there, it is nothing
        only if two looks say so: what one 404 has spoilt on its way would be overwritten."""
        found = self.head(key)
        if found is None and (self.look_first or not self.profile.conditional_put):
            return self.head(key)
        return found

    def put(
        self, key: str, content: Buffer, metadata: ObjectMetadata, *, replacing: str | None
    ) -> str | None:
        """Store an object in one request, with its digest for the server to check.

        The condition holds as far as the store keeps conditions: where `profile.conditional_put`
        is not True, the caller has looked before.

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
                    raise self._conflict(key) from error
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

    def _conflict(self, key: str) -> ConflictError:
        return ConflictError(
            f"backend {self.backend.name!r}: something is stored under {key!r}", code="Conflict"
        )

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
            ContentMD5=content_md5(content),
            **condition,
            **self.creation_arguments(metadata),
        )
        self.note_version(answer.get("VersionId"))
        etag: str | None = answer.get("ETag")
        return etag

    def creation_arguments(self, metadata: ObjectMetadata) -> dict[str, Any]:
        """What boto3 is to be told of a new object; the same as `put` says."""
        arguments: dict[str, Any] = {
            "ContentType": metadata.media_type,
            "Metadata": metadata.as_user_metadata(),
            "CacheControl": self.backend.cache_control,
            "StorageClass": self.backend.storage_class,
            "ServerSideEncryption": self.backend.server_side_encryption,
            "SSEKMSKeyId": self.backend.kms_key_id,
        }
        return {name: value for name, value in arguments.items() if value is not None}


def wants_md5(error: StoreError) -> bool:
    """Whether a store refused a put, or a part, for want of a digest."""
    return isinstance(error, KeyRefusedError) and "content-md5" in error.message.lower()


def _wants_signature(error: StoreError) -> bool:
    return isinstance(error, KeyRefusedError) and "unsigned-payload" in error.message.lower()
