"""What S3-compatible services can do: the profile of a store, and presets for known services.

"S3-compatible" leaves much open. Every promise of this program rests on a few answers; where the
answer is not known, the engine takes the slow and safe way. A preset holds what a service
documents; `catalogsync backend test` asks the store itself, and its answers go before the preset.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any
from urllib.parse import urlsplit

#: Digests that the data plane can send with a put, as S3 names the algorithms.
SHA256, CRC64NVME = "SHA256", "CRC64NVME"
#: The store is known to check no digest; the header is not sent, as some refuse it.
NO_CHECKSUM = "none"


@dataclass(frozen=True)
class StoreProfile:
    """What a store does. None stands for "not known"."""

    #: The digest that the store checks on a put, and refuses if it is wrong: `SHA256`, `CRC64NVME`
    #: or `none`.
    put_checksum: str | None = None
    keeps_sha256: bool | None = None  #: a HEAD gives back the SHA-256 that was sent
    etag_is_md5: bool | None = None  #: the ETag of a plain put is the MD5 of its content
    conditional_put: bool | None = None  #: `If-None-Match: *` on a put protects what is there
    conditional_replace: bool | None = None  #: `If-Match` on a put protects what is there
    #: `If-Match` holds only where the ETag stands without its quotes (Ceph 16).
    bare_etags: bool | None = None
    multipart: bool | None = None  #: uploads in parts work, and can be listed and aborted
    part_checksum: bool | None = None  #: a part with a wrong SHA-256 is refused
    #: `If-None-Match: *` protects what is there when parts are completed.
    conditional_complete: bool | None = None
    copies: bool | None = None  #: it copies an object to another key of the bucket
    #: A copy is refused where a condition does not hold, of its source
    #: (`x-amz-copy-source-if-match`) or its target (`If-None-Match: *`, `If-Match`): all three.
    conditional_copy: bool | None = None
    #: Asked for a SHA-256 of a copy, it computes one of what it copies, and a HEAD gives it; one
    #: that came along does not count.
    copy_checksum: bool | None = None
    #: The ETag of a copy is the MD5 that it computes of what it copies; likewise.
    copy_etag_is_md5: bool | None = None
    conditional_delete: bool | None = None  #: `If-Match` on a delete protects what is there
    needs_md5: bool | None = None  #: a put must carry Content-MD5, as in a bucket with object lock
    #: A put must be signed with its bytes; `UNSIGNED-PAYLOAD` is refused.
    signed_payload: bool | None = None
    #: The bucket kept versions when this was found out; None where it did not. Ceph 16 keeps
    #: conditions only while it does not.
    versioned: bool | None = None
    #: When `backend test` found this out, ISO 8601 in UTC; None for a preset, and for what an
    #: upload found out by itself.
    tested_at: str | None = None

    @property
    def proves_by_head(self) -> bool:
        """Whether a look can prove what an object holds: the store keeps the SHA-256 that it has
        checked."""
        return self.put_checksum == SHA256 and self.keeps_sha256 is not False

    def known(self) -> dict[str, Any]:
        """The answers that there are."""
        answers = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: answer for name, answer in answers.items() if answer is not None}

    def with_answers(self, answers: dict[str, Any]) -> StoreProfile:
        """This profile with other answers in their place; what it does not know is left out."""
        names = {field.name for field in fields(self)}
        return replace(self, **{k: v for k, v in answers.items() if k in names and v is not None})


_UNKNOWN = StoreProfile()
_CONDITIONS_AND_DIGESTS = StoreProfile(
    put_checksum=SHA256,
    keeps_sha256=True,
    conditional_put=True,
    conditional_replace=True,
    multipart=True,
    part_checksum=True,
    conditional_complete=True,
    copies=True,
    conditional_copy=True,
    conditional_delete=True,
)
_NEITHER = StoreProfile(
    put_checksum=NO_CHECKSUM,
    keeps_sha256=False,
    conditional_put=False,
    conditional_replace=False,
    part_checksum=False,
    conditional_complete=False,
    conditional_copy=False,
    conditional_delete=False,
)

#: Services by name: what their own documentation says, as of 2026-11; for SeaweedFS what
#: `backend test` printed.
PRESETS: dict[str, StoreProfile] = {
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html
    # https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-deletes.html
    # The ETag is no MD5 where KMS encrypts.
    "aws": _CONDITIONS_AND_DIGESTS,
    # https://developers.cloudflare.com/r2/api/s3/conditional-operations/
    # https://developers.cloudflare.com/r2/api/s3/api/ has SHA-256 as a composite of parts only,
    # and CRC-64/NVME of whole objects, but not what a wrong one does.
    # The target of a copy has conditions of its own there, cf-copy-destination-if-match and so on.
    "r2": replace(
        _CONDITIONS_AND_DIGESTS,
        put_checksum=None,
        keeps_sha256=None,
        part_checksum=None,
        conditional_copy=False,
        conditional_delete=None,
    ),
    # https://www.backblaze.com/docs/cloud-storage-s3-compatible-api has checksum headers among
    # the unsupported features (InvalidArgument); regions are said to differ since 2025. Conditions
    # are NotImplemented.
    # https://www.backblaze.com/apidocs/s3-copy-object: a checksum comes along with a copy.
    "b2": replace(_NEITHER, multipart=True, copies=True, copy_checksum=False),
    "seaweedfs": replace(
        _CONDITIONS_AND_DIGESTS, etag_is_md5=True, copy_checksum=False, copy_etag_is_md5=False
    ),
    # https://cloud.google.com/storage/docs/request-preconditions: If-Match and If-None-Match are
    # for reads; writes have x-goog-if-generation-match, which S3 has not.
    "gcs": _NEITHER,
    # Both have conditions and digests in newer releases, and not in older ones still in use.
    "ceph": _UNKNOWN,
    "minio": _UNKNOWN,
    "other": _UNKNOWN,
}

_HOSTS = (
    ("amazonaws.com", "aws"),
    ("r2.cloudflarestorage.com", "r2"),
    ("backblazeb2.com", "b2"),
    ("storage.googleapis.com", "gcs"),
)


def provider_of(endpoint: str | None) -> str:
    """The service behind an endpoint, as far as its host name tells; else `other`."""
    if endpoint is None:
        return "aws"
    host = urlsplit(endpoint).hostname or ""
    return next((name for end, name in _HOSTS if host == end or host.endswith(f".{end}")), "other")
