"""Copies that a store makes by itself, inside one bucket: no byte of an object comes or goes.

That a store says it has copied proves nothing, and what comes along with a copy - user metadata, a
digest, often the ETag - was true of the source. `verify.after_copy` proves a copy.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from catalogsync_assets.core.errors import ConflictError, KeyRefusedError, StoreError
from catalogsync_assets.core.stores import parts, verify
from catalogsync_assets.core.stores.checksums import PartDigest
from catalogsync_assets.core.stores.classify import NOT_IMPLEMENTED
from catalogsync_assets.core.stores.client import ANY_VERSION, StoreClient
from catalogsync_assets.core.stores.objects import ObjectMetadata, StoredObject
from catalogsync_assets.core.stores.parts import Part, PartsUpload

#: The code of a source that is another object by now.
SOURCE_CHANGED = "SourceChanged"
#: What S3 copies in one request, in bytes.
LARGEST = 5 * 1024**3
#: Bytes of a part that is copied, but for objects of more than 10,000 of them.
PART_BYTES = 512 * 1024**2
_MOST_PARTS = 10_000


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
        The ETag of the copy; None if the answer names none, as always of parts.

    Raises:
        ConflictError: what is stored under the target is not what may be replaced.
        KeyRefusedError: with the code `SOURCE_CHANGED`, if the source is another object now; with
            `classify.NO_SUCH_KEY`, if the store says there is none; with others, such as of a
            store that cannot copy (see `profile.copies`).
        StoreError: the store refused, or was silent.
    """
    this = _Copy(client, source_key, target_key, source_etag, replacing, metadata)
    if client.look_first or not client.profile.conditional_copy:
        this.look()
    if size_bytes is not None and size_bytes > LARGEST:
        this.in_parts(size_bytes, begun)
        return None
    return this.whole()


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
        if found is None:
            if self.replacing:
                raise verify.unsettled(self.client, self.target_key)
        elif self.replacing is None or not _is(found, self.replacing):
            hint = "nothing was overwritten; move it away, or give the backend a --base-prefix"
            raise verify.conflict(self.client, self.target_key, hint)

    def _look_at_source(self) -> None:
        found = self.client.head(self.source_key)
        if found and self.source_etag and not _is(found, self.source_etag):
            raise KeyRefusedError(
                f"backend {self.client.backend.name!r}: cannot copy {self.source_key!r}: another"
                " object is stored there by now",
                code=SOURCE_CHANGED,
            )

    # --- in one request

    def whole(self) -> str | None:
        """Copy in one request."""
        client = self.client
        bare = client.profile.bare_etags is True
        conditions = self._conditions(bare=bare)
        while True:
            try:
                answer = self._call("copy_object", **self._arguments(), **conditions)
            except KeyRefusedError as error:
                if error.code not in NOT_IMPLEMENTED:
                    raise
                if not conditions:
                    client.learn(copies=False)
                    raise
                client.learn(conditional_copy=False)
                self.look()
                conditions = {}
            except ConflictError:
                self.look()
                if not conditions:
                    raise
                # Both are what they should be: the form of the conditions is not the store's.
                conditions = {} if bare else self._conditions(bare=True)
                bare = True
                if not conditions:
                    client.learn(conditional_copy=False)
            else:
                client.note_version(answer.get("VersionId"))
                etag: str | None = answer.get("CopyObjectResult", {}).get("ETag")
                return etag

    def _conditions(self, *, bare: bool) -> dict[str, str]:
        wanted = self._source_condition(bare=bare)
        if self.client.profile.conditional_copy is not False:
            if self.replacing is None:
                wanted["IfNoneMatch"] = "*"
            elif self.replacing != ANY_VERSION:
                wanted["IfMatch"] = _written(self.replacing, bare=bare)
        known = self.client.arguments_of("CopyObject")
        return {name: value for name, value in wanted.items() if name in known}

    def _source_condition(self, *, bare: bool) -> dict[str, str]:
        etag = self.source_etag
        return {"CopySourceIfMatch": _written(etag, bare=bare)} if etag else {}

    def _arguments(self) -> dict[str, Any]:
        if self.metadata is not None:
            arguments = self.client.creation_arguments(self.metadata)
            arguments |= {"MetadataDirective": "REPLACE"}
        else:
            arguments = self.client.storage_arguments()
            arguments |= {"MetadataDirective": "COPY"}
        if self.client.profile.copy_checksum:
            arguments["ChecksumAlgorithm"] = "SHA256"
        return arguments

    def _call(self, method: str, **arguments: Any) -> Any:
        source = {"Bucket": self.client.backend.bucket, "Key": self.source_key}
        return self.client.call("copy to", self.target_key, method, CopySource=source, **arguments)

    # --- in parts

    def in_parts(self, size_bytes: int, begun: Callable[[str], None]) -> None:
        """Copy part by part."""
        client = self.client
        arguments, metadata = self._arguments_of_parts()
        upload = PartsUpload(client, self.target_key, size_bytes, metadata, self.replacing)
        upload.upload_id = parts.begin(client, self.target_key, arguments)
        try:
            begun(upload.upload_id)
            part_bytes = max(PART_BYTES, -(-size_bytes // _MOST_PARTS))
            copied = [
                self._copy_part(
                    upload.upload_id, number, start, min(start + part_bytes, size_bytes)
                )
                for number, start in enumerate(range(0, size_bytes, part_bytes), 1)
            ]
            if not client.profile.conditional_copy:
                self._look_at_source()
            upload.complete(copied)
        except BaseException:
            with suppress(StoreError):
                parts.abort(client, self.target_key, upload.upload_id)
            raise

    def _arguments_of_parts(self) -> tuple[dict[str, Any], ObjectMetadata]:
        """What the new object is told, and by what it is known once it is complete."""
        if self.metadata is not None:
            return self.client.creation_arguments(self.metadata), self.metadata
        # Nothing comes along with parts.
        said = self.client.call("look at", self.source_key, "head_object")
        kept = {
            name: said[name]
            for name in ("ContentType", "Metadata", "CacheControl")
            if said.get(name)
        }
        tag = StoredObject.of(said).owner_tag or ""
        return self.client.storage_arguments() | kept, ObjectMetadata("", tag)

    def _copy_part(self, upload_id: str, number: int, start: int, end: int) -> Part:
        answer = self._call(
            "upload_part_copy",
            UploadId=upload_id,
            PartNumber=number,
            CopySourceRange=f"bytes={start}-{end - 1}",
            **self._source_condition(bare=self.client.profile.bare_etags is True),
        )
        etag = answer.get("CopyPartResult", {}).get("ETag") or ""
        return Part(number, etag, PartDigest(b"", None), kept=False)


def _is(found: StoredObject, etag: str) -> bool:
    """Whether an object has an ETag, as far as the store gives any."""
    return not found.etag or etag == ANY_VERSION or verify.bare(found.etag) == verify.bare(etag)


def _written(etag: str, *, bare: bool) -> str:
    return etag.strip('"') if bare else etag
