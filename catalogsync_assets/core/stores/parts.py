"""Uploads in parts, as a store has them: begun, sent, listed, completed, verified, aborted.

Which uploads there are, and who goes on with one after a kill, is for the caller to know.
"""

from __future__ import annotations

import base64
from typing import Any, NamedTuple

from catalogsync_assets.core.errors import ConflictError, KeyRefusedError, StoreError
from catalogsync_assets.core.stores import verify
from catalogsync_assets.core.stores.checksums import PartDigest, content_md5, digest_part, proof
from catalogsync_assets.core.stores.classify import (
    NO_SUCH_UPLOAD,
    NOT_IMPLEMENTED,
    BadAnswerError,
)
from catalogsync_assets.core.stores.client import ANY_VERSION, StoreClient, wants_md5
from catalogsync_assets.core.stores.objects import ObjectMetadata, StoredObject, StoredPart

#: What a store answers that does not know checksums of parts; B2: InvalidArgument.
_NO_CHECKSUMS = NOT_IMPLEMENTED | {"InvalidArgument", "InvalidRequest"}


class Part(NamedTuple):
    """A part that the store has.

    Attributes:
        etag: as a completion names it: the store's, or what S3 has it to be.
        kept: whether the store has given its digest back.
    """

    number: int
    etag: str
    digest: PartDigest
    kept: bool


def begin(client: StoreClient, key: str, metadata: ObjectMetadata) -> tuple[str, bool]:
    """Begin an upload in parts. One that is begun twice is there twice, without a part.

    Returns:
        Its id, and whether its parts are to be sent with their SHA-256.

    Raises:
        StoreError: the store refused, or was silent, or gave no id.
    """
    checksums = client.profile.part_checksum is not False
    more = {"ChecksumAlgorithm": "SHA256"} if checksums else {}
    arguments = client.creation_arguments(metadata)
    try:
        answer = client.call("put", key, "create_multipart_upload", **arguments, **more)
    except KeyRefusedError as error:
        if not checksums or not _may_refuse_digests(client, error):
            raise
        client.learn(part_checksum=False)
        return begin(client, key, metadata)
    if not (upload_id := answer.get("UploadId")):
        nameless = BadAnswerError("it begins an upload in parts, and gives no id of it")
        raise client.error(nameless, "put", key)
    return upload_id, checksums


def abort(client: StoreClient, key: str, upload_id: str, *, bucket: str | None = None) -> None:
    """Have the store forget an upload and its parts. Idempotent.

    Args:
        bucket: that of an earlier registration; if it is gone, so is all that was in it.

    Raises:
        StoreError: the store refused, or was silent; what it has stays, and is paid for.
    """
    try:
        place = {"Bucket": bucket or client.backend.bucket, "UploadId": upload_id}
        client.call("abort the upload of", key, "abort_multipart_upload", **place)
    except StoreError as error:
        if error.code not in (NO_SUCH_UPLOAD, "NoSuchBucket"):
            raise


class PartsUpload:
    """An upload in parts that has been begun. Thread-safe as far as parts are sent.

    Nothing here retries; each method may be called again after a `StoreError`.
    """

    def __init__(
        self,
        client: StoreClient,
        key: str,
        upload_id: str,
        *,
        size_bytes: int,
        checksums: bool,
        metadata: ObjectMetadata,
        replacing: str | None,
    ) -> None:
        """
        Args:
            size_bytes: of the whole.
            checksums: as `begin` gave it.
            replacing: the ETag of the object that may be replaced, or None; see `StoreClient.put`.
        """
        self._client = client
        self._key = key
        self._upload_id = upload_id
        self._size = size_bytes
        self._checksums = checksums
        self._metadata = metadata
        self._replacing = replacing
        self._name_digests: bool | None = None  # in the completion
        self._digests_turned = False
        self._bare = client.profile.bare_etags is True  # the ETag of a condition
        self._never_matches = False  # however the ETag is written

    @property
    def trusts_digests(self) -> bool:
        """Whether the store is known to check the digests of this upload's parts."""
        return self._checksums and self._client.profile.part_checksum is True

    # --- parts

    def listed(self) -> dict[int, list[StoredPart]]:
        """The parts that the store has, by number.

        Of a part that was sent more than once, SeaweedFS keeps and lists each; the ETag that the
        completion names decides.

        Raises:
            KeyRefusedError: with the code `NoSuchUpload`, if the store no longer knows the upload.
        """
        found: dict[int, list[StoredPart]] = {}
        after, more = 0, True
        while more:
            where = {"PartNumberMarker": after} if after else {}
            page = self._call("list_parts", "list the parts of", **where)
            for part in page.get("Parts", []):
                if "Size" in part and "PartNumber" in part:  # else it is of no use
                    etag, sha256 = part.get("ETag", ""), part.get("ChecksumSHA256")
                    there = StoredPart(part["Size"], etag, sha256)
                    found.setdefault(part["PartNumber"], []).append(there)
            last, after = after, page.get("NextPartNumberMarker") or 0
            more = page.get("IsTruncated", False) and after > last
        return found

    def holds(self, there: StoredPart, content: bytes, digest: PartDigest) -> bool:
        """Whether a part that the store lists is proven to hold these bytes."""
        if there.size_bytes != len(content):
            return False
        if self.trusts_digests and there.sha256 is not None:
            return base64.b64decode(there.sha256) == digest.sha256
        return there.etag.strip('"') == _md5_of(digest, content)

    def as_sent(self, number: int, there: StoredPart, content: bytes, digest: PartDigest) -> Part:
        """A part that the store lists, as one that was sent."""
        etag = there.etag or f'"{_md5_of(digest, content)}"'
        return Part(number, etag, digest, kept=there.sha256 is not None)

    def send(self, number: int, content: bytes, digest: PartDigest) -> Part:
        """Send a part; one that is sent again takes the place of the first.

        Raises:
            StoreError: the store refused, or was silent; it may have the part all the same.
        """
        named = self._checksums and self._client.profile.part_checksum is not False
        sha256 = base64.b64encode(digest.sha256).decode()
        answer = self._send(number, content, {"ChecksumSHA256": sha256} if named else {})
        # A completion names the ETag of each part. Where the store gives none, that is what S3
        # has it to be; the object is verified in the end.
        etag = answer.get("ETag") or f'"{_md5_of(digest, content)}"'
        return Part(number, etag, digest, kept="ChecksumSHA256" in answer)

    def _send(self, number: int, content: bytes, more: dict[str, str]) -> Any:
        if self._client.profile.needs_md5:
            more = {**more, "ContentMD5": content_md5(content)}
        try:
            return self._call("upload_part", PartNumber=number, Body=content, **more)
        except KeyRefusedError as error:
            if wants_md5(error) and not self._client.profile.needs_md5:
                self._client.learn(needs_md5=True)
                return self._send(number, content, more)
            if "ChecksumSHA256" not in more or not _may_refuse_digests(self._client, error):
                raise
        # Though it took the upload that was to have them. The object is read in the end.
        answer = self._send(number, content, {})
        self._client.learn(part_checksum=False)
        return answer

    # --- the end

    def complete(self, sent: list[Part]) -> None:
        """Make the parts an object. May be called again when the answer was lost.

        The store may have done it at the try before: then the upload is gone, and what stands in
        the way is the very object. `verify` makes sure.

        Raises:
            ConflictError: another object is stored there.
            StoreError: the store refused, or was silent; the parts are still there.
        """
        client = self._client
        if self._name_digests is None:
            kept = client.profile.part_checksum is True or all(part.kept for part in sent)
            self._name_digests = self._checksums and kept
        condition = self._condition()
        known = client.profile.conditional_complete is True and condition
        if not known or client.look_first:
            # A store that is not known may well take the condition and not keep it.
            found = client.head(self._key)
            if self._seems_done(found, sent):
                return
            if (found.etag if found else None) != self._replacing:
                if client.head(self._key) != found:
                    raise verify.unsettled(client, self._key)
                raise ConflictError(
                    f"backend {client.backend.name!r}: another object is stored under"
                    f" {self._key!r}",
                    code="Conflict",
                    hint="it came while the file was being sent; nothing was overwritten",
                )
        parts = {"Parts": self._entries(sent)}
        try:
            answer = self._call("complete_multipart_upload", MultipartUpload=parts, **condition)
        except StoreError as error:
            if error.retryable or error.fatal:
                raise
            found = client.head(self._key)
            if self._seems_done(found, sent):
                return
            if not self._learns_to_complete(error, condition, found):
                raise
            self.complete(sent)
        else:
            if self._bare and "IfMatch" in condition:
                client.learn(bare_etags=True)
            client.note_version(answer.get("VersionId"))

    def _condition(self) -> dict[str, Any]:
        if self._client.profile.conditional_complete is False or self._never_matches:
            return {}
        if self._replacing is None:
            return {"IfNoneMatch": "*"}
        if self._replacing == ANY_VERSION:
            return {}
        etag = self._client.if_match(self._replacing)
        return {"IfMatch": etag.strip('"') if self._bare else etag}

    def _entries(self, sent: list[Part]) -> list[dict[str, Any]]:
        """The parts as a completion names them.

        AWS asks for the digests of an upload that was begun with them; Swift refuses a completion
        that has any, though it took them with the parts.
        """
        entries: list[dict[str, Any]] = []
        for part in sent:
            entries.append({"PartNumber": part.number, "ETag": part.etag})
            if self._name_digests:
                entries[-1]["ChecksumSHA256"] = base64.b64encode(part.digest.sha256).decode()
        return entries

    def _learns_to_complete(
        self, error: StoreError, condition: dict[str, Any], found: StoredObject | None
    ) -> bool:
        """Whether a completion that was refused may be taken in another form.

        Args:
            found: what is stored under the key, as a look after the refusal told.
        """
        if condition and error.code in NOT_IMPLEMENTED:
            self._client.learn(conditional_complete=False)
            return True
        if isinstance(error, ConflictError):
            # The object that may be replaced is there, though the store denies it; see `put`.
            if found is None or found.etag != self._replacing or not condition:
                return False
            # Bare next, then without: on Swift, If-Match holds for no object in parts.
            self._never_matches, self._bare = self._bare, True
            return True
        if error.code == NO_SUCH_UPLOAD or not self._checksums or self._digests_turned:
            return False
        self._digests_turned = True
        self._name_digests = not self._name_digests
        return True

    def _seems_done(self, found: StoredObject | None, sent: list[Part]) -> bool:
        if found is None or found.size_bytes != self._size or found.etag == self._replacing:
            return False
        if found.owner_tag == self._metadata.owner_tag:
            return True
        return bool(proof(found, [p.digest for p in sent], trusts_sha256=self.trusts_digests))

    def verify(self, sent: list[Part], sha256: str) -> tuple[str, str]:
        """The ETag of the object that the parts have become, and what proves it to be whole.

        Raises:
            KeyRefusedError: it holds something else.
            StoreUnavailableError: there is none: what said that it was done was not the store.
                The completion has been asked for once more.
        """
        client, key = self._client, self._key
        found = client.head(key)
        if found is not None and found.size_bytes == self._size:
            digests = [part.digest for part in sent]
            if how := proof(found, digests, trusts_sha256=self.trusts_digests):
                return found.etag, how
            if verify.proven_by_head(client, found, sha256, self._size):
                return found.etag, "read"
        read = verify.read(client, key, {sha256}, size_bytes=self._size)
        if read is None:
            self.complete(sent)
            raise verify.not_stored(client, key)
        if read.sha256 == sha256:
            return read.etag or "", "read"
        raise verify.corrupted(client, key)

    def _call(self, method: str, operation: str = "put", **arguments: Any) -> Any:
        return self._client.call(
            operation, self._key, method, UploadId=self._upload_id, **arguments
        )


def _may_refuse_digests(client: StoreClient, error: StoreError) -> bool:
    return client.profile.part_checksum is not True and error.code in _NO_CHECKSUMS


def _md5_of(digest: PartDigest, content: bytes) -> str:
    """A part's MD5 in hex."""
    md5 = digest.md5 or digest_part(content, md5=True).md5
    assert md5 is not None
    return md5.hex()
