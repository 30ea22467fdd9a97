"""Uploads in parts, as a store has them: begun, sent, listed, completed, verified, aborted.

Which uploads there are, and who goes on with one after a kill, is for the caller to know.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from catalogsync_assets.core.errors import ConflictError, KeyRefusedError, StoreError
from catalogsync_assets.core.stores import verify
from catalogsync_assets.core.stores.checksums import (
    PartDigest,
    composite_md5,
    composite_sha256,
    digest_part,
)
from catalogsync_assets.core.stores.classify import (
    NO_SUCH_UPLOAD,
    NOT_IMPLEMENTED,
    BadAnswerError,
)
from catalogsync_assets.core.stores.client import ANY_VERSION, StoreClient
from catalogsync_assets.core.stores.objects import Buffer, ObjectMetadata, StoredObject
from catalogsync_assets.core.stores.verify import Expected, Proof

#: What a store answers that does not know checksums of parts; B2: InvalidArgument.
_NO_CHECKSUMS = NOT_IMPLEMENTED | {"InvalidArgument", "InvalidRequest"}


class Part(NamedTuple):
    """A part that the store has."""

    number: int
    etag: str  #: as a completion names it: the store's, or what S3 has it to be
    digest: PartDigest
    kept: bool  #: whether the store has given its digest back


def begin(client: StoreClient, key: str, arguments: dict[str, Any]) -> str:
    """Begin an upload, as boto3 is told; its id.

    Raises:
        StoreError: the store refused, or was silent, or gave no id.
    """
    answer = client.call("put", key, "create_multipart_upload", **arguments)
    upload_id: str | None = answer.get("UploadId")
    if not upload_id:
        nameless = BadAnswerError("it begins an upload in parts, and gives no id of it")
        raise client.error(nameless, "put", key)
    return upload_id


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


@dataclass
class PartsUpload:
    """One object's way in parts, of one upload or, where that is lost, of several.

    `begin` or `go_on` comes first. Thread-safe as far as parts are sent. Nothing here retries; each
    method may be called again after a `StoreError`.
    """

    client: StoreClient
    key: str
    size_bytes: int  #: of the whole
    metadata: ObjectMetadata
    #: The ETag of the object that may be replaced, or None; see `StoreClient.put`.
    replacing: str | None
    upload_id: str = field(default="", init=False)  #: what the store calls the upload
    #: Whether its parts are sent with their SHA-256.
    checksums: bool = field(default=False, init=False)
    _listed: dict[int, list[Any]] = field(default_factory=dict, init=False)  # as boto3 gives them
    _name_digests: bool = field(default=False, init=False)  # in the completion
    _digests_turned: bool = field(default=False, init=False)
    _bare: bool = field(default=False, init=False)  # the ETag of a condition
    _never_matches: bool = field(default=False, init=False)  # however the ETag is written

    def __post_init__(self) -> None:
        self._bare = self.client.profile.bare_etags is True

    def begin(self) -> None:
        """Begin an upload. One that is begun twice is there twice, without a part.

        Raises:
            StoreError: the store refused, or was silent, or gave no id.
        """
        client = self.client
        checksums = client.profile.part_checksum is not False
        arguments = client.creation_arguments(self.metadata)
        if checksums:
            arguments["ChecksumAlgorithm"] = "SHA256"
        try:
            upload_id = begin(client, self.key, arguments)
        except KeyRefusedError as error:
            if not checksums or not _may_refuse_digests(client, error):
                raise
            client.learn(part_checksum=False)
            self.begin()
            return
        self.upload_id, self.checksums, self._listed = upload_id, checksums, {}

    @property
    def trusts_digests(self) -> bool:
        """Whether the store is known to check the digests of this upload's parts."""
        return self.checksums and self.client.trusts_part_digests

    # --- parts

    def go_on(self, upload_id: str, *, checksums: bool) -> None:
        """Go on with an upload that was begun before: ask which parts the store has.

        Raises:
            KeyRefusedError: with the code `NoSuchUpload`, if the store no longer knows the upload.
        """
        self.upload_id, self.checksums, self._listed = upload_id, checksums, {}
        after, more = 0, True
        while more:
            where = {"PartNumberMarker": after} if after else {}
            page = self._call("list_parts", "list the parts of", **where)
            for part in page.get("Parts", []):
                if "Size" in part and "PartNumber" in part:  # else it is of no use
                    self._listed.setdefault(part["PartNumber"], []).append(part)
            last, after = after, page.get("NextPartNumberMarker") or 0
            more = page.get("IsTruncated", False) and after > last

    def found(
        self, number: int, content: Buffer, digest: PartDigest, noted_etag: str | None
    ) -> Part | None:
        """A part that the store has listed, if it is proven to hold these bytes.

        Of a part that was sent more than once, SeaweedFS keeps and lists each; the ETag that the
        completion names decides.

        Args:
            noted_etag: of a part that was sent with these very bytes, as the store gave it then.
        """
        for there in self._listed.get(number, []):
            etag, sha256 = there.get("ETag", ""), there.get("ChecksumSHA256")
            if self.trusts_digests and sha256 is not None:
                same = sha256 == digest.header
            else:
                same = etag.strip('"') == _md5_of(digest, content)
            if there["Size"] == len(content) and (same or etag == noted_etag):
                etag = etag or f'"{_md5_of(digest, content)}"'
                return Part(number, etag, digest, kept=sha256 is not None)
        return None

    def send(self, number: int, content: Buffer, digest: PartDigest) -> Part:
        """Send a part; one that is sent again takes the place of the first.

        Raises:
            StoreError: the store refused, or was silent; it may have the part all the same.
        """
        sha256 = {"ChecksumSHA256": digest.header}
        if not self.checksums or self.client.profile.part_checksum is False:
            sha256 = {}
        send = partial(self._call, "upload_part", PartNumber=number, Body=content)
        try:
            answer = send(**sha256)
        except KeyRefusedError as error:
            if not sha256 or not _may_refuse_digests(self.client, error):
                raise
            # Though it took the upload that was to have them. The object is read in the end.
            answer = send()
            self.client.learn(part_checksum=False)
        # A completion names the ETag of each part. Where the store gives none, that is what S3
        # has it to be; the object is verified in the end.
        etag = answer.get("ETag") or f'"{_md5_of(digest, content)}"'
        return Part(number, etag, digest, kept="ChecksumSHA256" in answer)

    # --- the end

    def complete(self, sent: list[Part]) -> None:
        """Make the parts an object. May be called again when the answer was lost.

        The store may have done it at the try before: then the upload is gone, and what stands in
        the way is the very object. `prove` makes sure.

        Raises:
            ConflictError: another object is stored there.
            StoreError: the store refused, or was silent; the parts are still there.
        """
        client = self.client
        if not self._digests_turned:
            kept = client.profile.part_checksum is True or all(part.kept for part in sent)
            self._name_digests = self.checksums and kept
        condition = self._condition()
        known = client.profile.conditional_complete is True and condition
        if not known or client.look_first:
            # A store that is not known may well take the condition and not keep it.
            found = client.head(self.key)
            if self._seems_done(found, sent):
                return
            if (found.etag if found else None) != self.replacing:
                if client.head(self.key) != found:
                    raise verify.unsettled(client, self.key)
                hint = "it came while the file was being sent; nothing was overwritten"
                raise verify.conflict(client, self.key, hint)
        parts = {"Parts": self._entries(sent)}
        try:
            answer = self._call("complete_multipart_upload", MultipartUpload=parts, **condition)
        except StoreError as error:
            if error.retryable or error.fatal:
                raise
            found = client.head(self.key)
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
        if self.client.profile.conditional_complete is False or self._never_matches:
            return {}
        if self.replacing is None:
            return {"IfNoneMatch": "*"}
        if self.replacing == ANY_VERSION:
            return {}
        etag = self.client.if_match(self.replacing)
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
                entries[-1]["ChecksumSHA256"] = part.digest.header
        return entries

    def _learns_to_complete(
        self, error: StoreError, condition: dict[str, Any], found: StoredObject | None
    ) -> bool:
        """Whether a completion that was refused may be taken in another form.

        Args:
            found: what is stored under the key, as a look after the refusal told.
        """
        if condition and error.code in NOT_IMPLEMENTED:
            self.client.learn(conditional_complete=False)
            return True
        if isinstance(error, ConflictError):
            # The object that may be replaced is there, though the store denies it; see `put`.
            if found is None or found.etag != self.replacing or not condition:
                return False
            # Bare next, then without: on Swift, If-Match holds for no object in parts.
            self._never_matches, self._bare = self._bare, True
            return True
        if error.code == NO_SUCH_UPLOAD or not self.checksums or self._digests_turned:
            return False
        self._digests_turned = True
        self._name_digests = not self._name_digests
        return True

    def _seems_done(self, found: StoredObject | None, sent: list[Part]) -> bool:
        if found is None or found.size_bytes != self.size_bytes or found.etag == self.replacing:
            return False
        if found.owner_tag == self.metadata.owner_tag:
            return True
        return verify.by_head(self.client, found, self._expected(sent)) is not None

    def _expected(self, sent: list[Part], sha256: str | None = None) -> Expected:
        digests = [part.digest for part in sent]
        md5, composite = composite_md5(digests), composite_sha256(digests)
        return Expected(sha256, self.size_bytes, etags=(md5,), composites=(composite,))

    def prove(self, sent: list[Part], sha256: str) -> tuple[str | None, Proof]:
        """The ETag of the object that the parts have become, and what proves it to be whole.

        Raises:
            KeyRefusedError: it holds something else.
            StoreUnavailableError: there is none: what said that it was done was not the store.
                The completion has been asked for once more.
        """
        held = verify.after_put(self.client, self.key, self._expected(sent, sha256))
        if held is None:
            self.complete(sent)
            raise verify.not_stored(self.client, self.key)
        return held

    def _call(self, method: str, operation: str = "put", **arguments: Any) -> Any:
        return self.client.call(operation, self.key, method, UploadId=self.upload_id, **arguments)


def _may_refuse_digests(client: StoreClient, error: StoreError) -> bool:
    return client.profile.part_checksum is not True and error.code in _NO_CHECKSUMS


def _md5_of(digest: PartDigest, content: Buffer) -> str:
    """A part's MD5 in hex."""
    md5 = digest.md5 or digest_part(content, md5=True).md5
    assert md5 is not None
    return md5.hex()
