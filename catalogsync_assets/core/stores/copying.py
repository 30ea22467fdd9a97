"""Copies that a store makes by itself, inside one bucket: no byte of an object comes or goes.

That a store says it has copied proves nothing, and what comes along with a copy - user metadata, a
digest, often the ETag - was true of the source. `verify.after_copy` proves a copy.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from catalogsync_assets.core.errors import ConflictError, KeyRefusedError, StoreError
from catalogsync_assets.core.stores import parts, verify
from catalogsync_assets.core.stores.checksums import PartDigest
from catalogsync_assets.core.stores.classify import NOT_IMPLEMENTED, BadAnswerError
from catalogsync_assets.core.stores.client import ANY_VERSION, StoreClient
from catalogsync_assets.core.stores.objects import ObjectMetadata, StoredObject
from catalogsync_assets.core.stores.parts import Part, PartsUpload
from catalogsync_assets.core.stores.profile import SHA256

#: The code of a source that is another object by now.
SOURCE_CHANGED = "SourceChanged"
#: What S3 copies in one request, in bytes.
LARGEST = 5 * 1024**3
#: Bytes of a part that is copied, but for objects of more than 10,000 of them.
PART_BYTES = 512 * 1024**2
#: What AWS says where two writers meet.
_RACE = "ConditionalRequestConflict"
_MOST_PARTS = 10_000
_KEPT = ("ContentType", "Metadata", "CacheControl")


def copy(
    client: StoreClient,
    source_key: str,
    target_key: str,
    *,
    source_etag: str | None,
    replacing: str | None,
    size_bytes: int | None,
    metadata: ObjectMetadata | None = None,
    begun: Callable[[str], None] = lambda _: None,
) -> str | None:
    """Have the store copy an object to another key of the bucket.

    The copy is there whole or not at all; what is there is to be proven by `verify.after_copy`. May
    be called again after a lost answer: what then stands in the way, with a `ConflictError`, may be
    the very copy, which `verify.after_copy` tells too. Conditions hold as far as the store keeps
    them: where `profile.conditional_copy` is not True, both keys are looked at right before, and
    that is all there is. Nothing here retries, and nothing is deleted.

    Args:
        source_key, target_key: whole keys; not the same.
        source_etag: only if the source still has it; None where the store gives none.
        replacing: the ETag of the object that may be replaced; `client.ANY_VERSION` where the store
            gives none; None to copy only where nothing is.
        size_bytes: of the source; above `LARGEST` it is copied in parts. None counts as small.
        metadata: of the copy, where it is for another file asset; None to keep the source's, with
            its Content-Type. Storage class and encryption are the backend's, as of a put;
            Cache-Control is the backend's with `metadata`, and without it the source's.
        begun: called with the id of an upload in parts to the target, before its first part is
            copied, for the journal: a kill leaves that upload. Whatever else fails has it aborted,
            if the store answers.

    Returns:
        The ETag of the copy; None if the answer names none, which proves as little, or if it was
        copied in parts.

    Raises:
        ConflictError: what is stored under the target is not what may be replaced.
        KeyRefusedError: with the code `SOURCE_CHANGED`, if the source is another object now; with
            `classify.NO_SUCH_KEY`, if the store says there is none; with others, such as of a
            store that cannot copy (see `profile.copies`).
        StoreError: the store refused, or was silent.
    """
    this = _Copy(client, source_key, target_key, source_etag, replacing, metadata)
    kept = client.profile.conditional_copy and can_say_conditions(client)
    if not kept or client.look_first:
        this.look()
    if size_bytes is not None and size_bytes > LARGEST:
        this.in_parts(size_bytes, begun)
        return None
    return this.whole()


def can_say_conditions(client: StoreClient) -> bool:
    """Whether the installed boto3 can name a condition on the target of a copy."""
    return {"IfMatch", "IfNoneMatch"} <= set(client.arguments_of("CopyObject"))


@dataclass(frozen=True)
class _Copy:
    """One call of `copy`."""

    client: StoreClient
    source_key: str
    target_key: str
    source_etag: str | None
    replacing: str | None
    metadata: ObjectMetadata | None

    def look(self) -> None:
        """Raise what speaks against the copy. A source that seems missing is for the store to say,
        in so many words, when it is asked to copy it."""
        self._look_at_source()
        # Twice: what one 404 has spoilt on its way would be overwritten.
        found = self.client.head(self.target_key) or self.client.head(self.target_key)
        if found is None and self.replacing is None:
            return
        if found is None or self.replacing is None or not _is(found, self.replacing):
            self._look_again(self.target_key, found)
            hint = "nothing was overwritten; move it away, or give the backend a --base-prefix"
            raise verify.conflict(self.client, self.target_key, hint)

    def _look_at_source(self) -> None:
        if self.source_etag is None:
            return
        found = self.client.head(self.source_key)
        if found is None or _is(found, self.source_etag):
            return
        self._look_again(self.source_key, found)
        raise KeyRefusedError(
            f"backend {self.client.backend.name!r}: cannot copy {self.source_key!r}: another"
            " object is stored there by now",
            code=SOURCE_CHANGED,
        )

    def _look_again(self, key: str, found: StoredObject | None) -> None:
        if found is None or self.client.head(key) != found:
            raise verify.unsettled(self.client, key)

    # --- in one request

    def whole(self) -> str | None:
        """Copy in one request."""
        client = self.client
        bare = client.profile.bare_etags is True
        source, target = self._source_condition(bare=bare), self._target_condition(bare=bare)
        while True:
            try:
                answer = self._call("copy_object", **self._arguments(), **source, **target)
            except KeyRefusedError as error:
                if error.code not in NOT_IMPLEMENTED:
                    raise
                if not source and not target:
                    client.learn(copies=False)
                    raise
                if target:
                    client.learn(conditional_copy=False)
                else:
                    source = {}
                target = {}
                self.look()
            except ConflictError as error:
                self.look()
                if error.code == _RACE or not (source or "IfMatch" in target):
                    raise verify.unsettled(client, self.target_key) from error
                # Both are what they should be: the form of the ETags is not the store's.
                if bare:
                    source = {}
                    if "IfMatch" in target:
                        client.learn(conditional_copy=False)
                        target = {}
                else:
                    bare = True
                    source = self._source_condition(bare=bare)
                    target = target and self._target_condition(bare=bare)
            else:
                client.note_version(answer.get("VersionId"))
                etag = answer.get("CopyObjectResult", {}).get("ETag")
                # SeaweedFS and Ceph leave out the quotes here, and nowhere else.
                return f'"{verify.bare(etag)}"' if etag else None

    def _source_condition(self, *, bare: bool) -> dict[str, str]:
        etag = self.source_etag
        return {"CopySourceIfMatch": _written(etag, bare=bare)} if etag else {}

    def _target_condition(self, *, bare: bool) -> dict[str, str]:
        if self.client.profile.conditional_copy is False or self.replacing == ANY_VERSION:
            return {}
        if not can_say_conditions(self.client):
            return {}
        if self.replacing is None:
            return {"IfNoneMatch": "*"}
        return {"IfMatch": _written(self.replacing, bare=bare)}

    def _arguments(self) -> dict[str, Any]:
        if self.metadata is None:
            arguments = {"MetadataDirective": "COPY"} | self.client.storage_arguments()
        else:
            arguments = {"MetadataDirective": "REPLACE"} | self.client.creation_arguments(
                self.metadata
            )
        if self.client.profile.copy_checksum:
            arguments["ChecksumAlgorithm"] = SHA256
        return arguments

    def _call(self, method: str, **arguments: Any) -> Any:
        source = {"Bucket": self.client.backend.bucket, "Key": self.source_key}
        return self.client.call("copy to", self.target_key, method, CopySource=source, **arguments)

    # --- in parts

    def in_parts(self, size_bytes: int, begun: Callable[[str], None]) -> None:
        """Copy part by part."""
        client, key = self.client, self.target_key
        arguments, metadata = self._arguments_of_parts()
        upload = PartsUpload(client, key, size_bytes, metadata, self.replacing)
        upload.upload_id = parts.begin(client, key, arguments)
        try:
            begun(upload.upload_id)
            part_bytes = max(PART_BYTES, -(-size_bytes // _MOST_PARTS))
            copied = [
                self._copy_part(upload.upload_id, number, range(size_bytes)[start:][:part_bytes])
                for number, start in enumerate(range(0, size_bytes, part_bytes), 1)
            ]
            self._look_at_source()
            upload.complete(copied)
        except BaseException:
            with suppress(StoreError):
                parts.abort(client, key, upload.upload_id)
            raise

    def _arguments_of_parts(self) -> tuple[dict[str, Any], ObjectMetadata]:
        """What is said of the new object, and by what it is known once it is complete."""
        if self.metadata is not None:
            return self.client.creation_arguments(self.metadata), self.metadata
        # Nothing comes along with parts.
        said = self.client.call("look at", self.source_key, "head_object")
        kept = {name: said[name] for name in _KEPT if said.get(name)}
        tag = StoredObject.of(said).owner_tag or ""
        return kept | self.client.storage_arguments(), ObjectMetadata("", tag)

    def _copy_part(self, upload_id: str, number: int, of: range) -> Part:
        copy = partial(
            self._call,
            "upload_part_copy",
            UploadId=upload_id,
            PartNumber=number,
            CopySourceRange=f"bytes={of[0]}-{of[-1]}",
        )
        condition = self._source_condition(bare=self.client.profile.bare_etags is True)
        try:
            answer = copy(**condition)
        except (ConflictError, KeyRefusedError) as error:
            is_condition = isinstance(error, ConflictError) or error.code in NOT_IMPLEMENTED
            if not condition or not is_condition:
                raise
            self._look_at_source()
            answer = copy()
        etag = answer.get("CopyPartResult", {}).get("ETag")
        if not etag:
            # rclone 1.75 takes the request for a part without a byte.
            nothing = BadAnswerError("it names no part that it has copied")
            raise self.client.error(nothing, "copy to", self.target_key)
        return Part(number, etag, PartDigest(b"", None), kept=False)


def _is(found: StoredObject, etag: str) -> bool:
    return etag == ANY_VERSION or verify.bare(found.etag) == verify.bare(etag)


def _written(etag: str, *, bare: bool) -> str:
    return etag.strip('"') if bare else etag
