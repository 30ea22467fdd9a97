"""How one talks to a backend.

`StoreClient` is the data plane (obstore: put, from threads) and the control plane (boto3: HEAD
with digests, multipart) for one backend. What is sent, and what an answer proves, follows the
backend's profile (`profile`).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import obstore

from catalogsync_assets.core.errors import ConflictError, KeyRefusedError, StoreError
from catalogsync_assets.core.stores import listing
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.classify import (
    BAD_ANSWER,
    REDIRECTED,
    BadAnswerError,
    store_error,
    wrong_region,
)
from catalogsync_assets.core.stores.clients import (
    PROBE_TIMEOUT,
    SMALL_BYTES,
    SMALL_TIMEOUT,
    boto3_client,
    obstore_store,
)
from catalogsync_assets.core.stores.listing import ListedObject
from catalogsync_assets.core.stores.profile import CRC64NVME, SHA256, StoreProfile

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef
    from obstore import GetOptions, PutMode, UpdateVersion

#: What a put takes without copying it.
Buffer: TypeAlias = "bytes | memoryview"
#: The user metadata that says for which file asset of which catalog an object was put.
MARK = "catalogsync-file"
_SONG = "catalogsync-song"
_SHA256 = "sha256"
#: What a store answers that does not know the condition of a put.
_NO_CONDITIONS = {"NotImplemented", "Http501"}
_NO_VERSIONS = _NO_CONDITIONS | {"MethodNotAllowed", "Http405"}
_NO_LOCKS = _NO_VERSIONS | {"ObjectLockConfigurationNotFoundError"}
_TOLD_BY_HEADERS = {"PermanentRedirect", REDIRECTED, "RequestTimeTooSkewed"}
_HEADER_REFUSED = {400, 501}
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")
_PROBE_KEY = ".catalogsync-probe"
#: What a store answers that has nothing under a key.
NO_SUCH_KEY = "NoSuchKey"
#: To replace what is there, whatever its version: the store has given no ETag to name it by.
ANY_VERSION = ""
#: Objects above this are read by boto3, whose requests may take longer.
_LARGE = 64 * 1024 * 1024
_READ_CHUNK = 4 * 1024 * 1024
_PIECE = 1024 * 1024
#: What obstore says of a put that was accepted by a store that gives no ETag.
_NO_ETAG = "ETag Header missing"
#: How a web page begins, or an error that comes with the status of a success.
_NO_OBJECT = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<!doctype html|<html|(?:<\?xml[^>]{0,200}>\s*)?(?:<html|<Error>))",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class StoredObject:
    """What a HEAD says of an object: one look, which may have been cut short on its way.

    Attributes:
        size_bytes: its length; None if the store does not tell.
        etag: as the store wrote it, with quotes; empty if it gives none.
        sha256: base64 as in the header, of the whole object; None if the store keeps none.
        put_for: the mark that we left in its user metadata; see `StoreClient.put`.
        composite_sha256: the same of a multipart object's part digests, with `-N`; or None.
    """

    size_bytes: int | None
    etag: str
    sha256: str | None
    composite_sha256: str | None
    put_for: str | None = None


@dataclass(frozen=True)
class ReadObject:
    """What reading an object to its end told.

    Attributes:
        etag: as the store wrote it; None if it gave none.
        sha256: of the bytes that came, in hex.
        beginning: the first of them: a page that a proxy gives instead of the object is told by it.
    """

    size_bytes: int
    etag: str | None
    sha256: str
    beginning: bytes = b""

    @property
    def is_a_page(self) -> bool:
        """Whether this looks like a web page, or like an error that was sent as a success."""
        return _NO_OBJECT.match(self.beginning) is not None


@dataclass(frozen=True)
class StoredPart:
    """What a store lists of a part of an upload that is not complete.

    Attributes:
        etag: as the store wrote it; empty if it gives none.
        sha256: base64 as in the header; None if the store lists none.
    """

    size_bytes: int
    etag: str
    sha256: str | None


@dataclass(frozen=True)
class OpenObject:
    """An object that is being read.

    Attributes:
        size_bytes: of the whole; None if the store does not tell.
        etag: as the store wrote it, or None.
        start: the first byte that is read.
        pieces: the bytes from there on; raises a StoreError when not all of them come.
    """

    size_bytes: int | None
    etag: str | None
    start: int
    pieces: Iterator[Buffer]


@dataclass(frozen=True)
class Labels:
    """What is said of an object beside its content.

    Attributes:
        media_type: its Content-Type.
        mark: which catalog put it, for which file asset: how an object of ours is known by whose
            row was lost.
        song_id: the song in the catalog, for people and other programs.
        sha256: in hex, as far as it is known when the upload begins.
    """

    media_type: str
    mark: str
    song_id: int | None = None
    sha256: str | None = None

    def metadata(self) -> dict[str, str]:
        """The user metadata, which every store can give back."""
        song = None if self.song_id is None else str(self.song_id)
        given = {MARK: self.mark, _SONG: song, _SHA256: self.sha256}
        return {name: value for name, value in given.items() if value is not None}


class StoreClient:
    """One backend's store, as the engine needs it. Thread-safe; must not cross a fork.

    Every method raises a `StoreError` and nothing else when the store refuses or is silent. None
    retries.

    Attributes:
        profile: what the store does; see `learn`.
        look_first: whether the caller must look before a put whatever the profile says: nobody
            could tell whether the bucket keeps versions since it was tested. The answer to a put
            tells, and ends it.
    """

    def __init__(self, backend: ObjectBackend, s3: Callable[[], S3Client] | None = None) -> None:
        """
        Args:
            s3: makes the boto3 client; `boto3_client` by default.
        """
        self.backend = backend
        self.profile = backend.profile
        self.look_first = False
        self._learned: dict[str, Any] = {}
        self._learned_anew = False
        self._make_stores()
        self._make_s3 = s3 or (lambda: boto3_client(backend))
        self._s3: S3Client | None = None
        self._lock = threading.Lock()

    def _make_stores(self) -> None:
        self._store = obstore_store(self.backend, timeout=SMALL_TIMEOUT)
        self._store_of_large = obstore_store(self.backend)

    def learn(self, *, anew: bool = False, **answers: Any) -> None:
        """Go by these answers from now on; `take_learned` hands them to whoever keeps them.

        Args:
            anew: what else was known no longer holds.
            answers: fields of the profile.
        """
        with self._lock:
            known = StoreProfile() if anew else self.backend.tested
            self.backend = replace(self.backend, tested=known.with_answers(answers))
            before, after = self.profile, self.backend.profile
            if (before.put_checksum, before.signed_payload) != (
                after.put_checksum,
                after.signed_payload,
            ):
                self._make_stores()
            self.profile = after  # last: who sees it sees the stores that fit
            self._learned = answers if anew else self._learned | answers
            self._learned_anew |= anew

    def take_learned(self) -> tuple[dict[str, Any], bool]:
        """What was learned since the last call, and whether it goes in place of all else."""
        with self._lock:
            taken = self._learned, self._learned_anew
            self._learned, self._learned_anew = {}, False
            return taken

    @property
    def relies_on_no_versions(self) -> bool:
        """Whether conditions were found to hold while the bucket kept no versions."""
        tested = self.backend.tested
        conditions = (
            tested.conditional_put,
            tested.conditional_replace,
            tested.conditional_complete,
        )
        return any(conditions) and not tested.versioned

    def is_versioned(self) -> bool | None:
        """Whether the bucket keeps versions; None where we may not ask, or get no clear answer."""
        try:
            answer = self.s3.get_bucket_versioning(Bucket=self.backend.bucket)
        except Exception as error:
            found = store_error(error, self.backend, "ask about versions of", self.backend.bucket)
            # Who does not know the question has no versions.
            return False if found.code in _NO_VERSIONS else None
        return answer.get("Status") == "Enabled"

    def locks(self) -> bool | None:
        """Whether nothing that is put into the bucket can be deleted for a time (object lock).

        Only a bucket that keeps versions has that. None where we may not ask.
        """
        if self.is_versioned() is False:
            return False
        try:
            answer = self.s3.get_object_lock_configuration(Bucket=self.backend.bucket)
        except Exception as error:
            found = store_error(error, self.backend, "ask about locks of", self.backend.bucket)
            return False if found.code in _NO_LOCKS else None
        return "Rule" in answer.get("ObjectLockConfiguration", {})

    def note_version(self, version: str | None) -> None:
        """Take in the version id of an answer to a put: None, where the bucket keeps no versions.

        Ceph 16 ignores If-None-Match while a bucket keeps versions, so a profile that was found
        out before that no longer holds.
        """
        if version in (None, "null"):
            self.look_first = False
        elif self.relies_on_no_versions:
            self.learn(anew=True, versioned=True)

    @property
    def s3(self) -> S3Client:
        """The boto3 client, built when first needed."""
        with self._lock:  # making one is not thread-safe, using it is
            if self._s3 is None:
                self._s3 = self._make_s3()
                self._s3.meta.events.register("before-sign.s3.UploadPart", self._hash_part_once)
                listing.take_over(self._s3)
            return self._s3

    def _hash_part_once(self, request: Any, **_: Any) -> None:
        """Have a part's digest signed instead of its bytes, where the store checks the digest.

        boto3 does so by itself over https. Over http it hashes each part once more: 1.8 instead
        of 1.0 seconds of CPU a GiB.
        """
        profile = self.profile
        if (
            profile.part_checksum
            and not profile.signed_payload
            and "x-amz-checksum-sha256" in request.headers
        ):
            config = request.context["client_config"]
            request.context["client_config"] = config.merge(
                type(config)(s3={**(config.s3 or {}), "payload_signing_enabled": False})
            )

    def probe(self) -> None:
        """One small read, which tells a wrong secret or bucket before anything is sent.

        SeaweedFS, for one, makes a missing bucket when something is put into it. A plain "access
        denied" passes: AWS says so of a missing key to those who may read, but not list.
        """
        key = self.backend.key_prefix + _PROBE_KEY
        try:
            store = obstore_store(self.backend, timeout=PROBE_TIMEOUT)
            _refuse_anything(bytes(obstore.get(store, key).bytes()))
        except FileNotFoundError as error:
            found = store_error(error, self.backend, "read from", key)
            if found.fatal:
                raise found from error
        except Exception as error:
            found = store_error(error, self.backend, "read from", key)
            found = self._explained(found)
            if found.code != "AccessDenied":
                raise found from error

    def _explained(self, found: StoreError) -> StoreError:
        """The same refusal with what only headers tell, which obstore keeps to itself."""
        if found.code not in _TOLD_BY_HEADERS:
            return found
        try:
            answer = self.s3.head_bucket(Bucket=self.backend.bucket)
        except Exception as error:
            told = store_error(error, self.backend, "look at", self.backend.bucket)
            return told if type(told) is type(found) and told.code != "AccessDenied" else found
        region = answer.get("BucketRegion")
        if found.code != "PermanentRedirect" or not region:
            return found
        return wrong_region(self.backend, region)

    @property
    def checks_digests(self) -> bool:
        """Whether the store is known to refuse a put with a wrong digest."""
        if self.profile.needs_md5:  # boto3 then sends no CRC, see `_put_with_md5`
            return self.profile.put_checksum == SHA256
        return self.profile.put_checksum in (SHA256, CRC64NVME)

    @property
    def trusts_kept_digests(self) -> bool:
        """Whether a SHA-256 that the store gives back is known to have been checked by it."""
        return self.profile.put_checksum == SHA256

    def put(
        self, key: str, content: Buffer, labels: Labels, *, replacing: str | None
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
                etag = self._put(key, content, labels, mode)
            except KeyRefusedError as error:
                # By what this put was, not by what another thread has learned meanwhile.
                if error.code not in _NO_CONDITIONS or mode == "overwrite":
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

    def _put(self, key: str, content: Buffer, labels: Labels, mode: PutMode) -> str | None:
        if self.profile.needs_md5:
            return self._put_with_md5(key, content, labels, mode)
        attributes = {"Content-Type": labels.media_type, **labels.metadata()}
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
            found = store_error(error, self.backend, "put", key)
            if _wants_signature(found) and not signed:
                self.learn(signed_payload=True)
                return self._put(key, content, labels, mode)
            if not wants_md5(found):
                raise self._explained(found) from error
            self.learn(needs_md5=True)
            return self._put_with_md5(key, content, labels, mode)
        self.note_version(result["version"])
        return result["e_tag"]

    def _put_with_md5(self, key: str, content: Buffer, labels: Labels, mode: PutMode) -> str | None:
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
        try:
            answer = self.s3.put_object(
                Bucket=self.backend.bucket,
                Key=key,
                Body=bytes(content),
                ContentMD5=content_md5(content),
                **condition,
                **self.creation_arguments(labels),
            )
        except Exception as error:
            raise store_error(error, self.backend, "put", key) from error
        self.note_version(answer.get("VersionId"))
        return answer.get("ETag")

    def creation_arguments(self, labels: Labels) -> dict[str, Any]:
        """What boto3 is to be told of a new object; the same as `put` says."""
        arguments: dict[str, Any] = {
            "ContentType": labels.media_type,
            "Metadata": labels.metadata(),
            "CacheControl": self.backend.cache_control,
            "StorageClass": self.backend.storage_class,
            "ServerSideEncryption": self.backend.server_side_encryption,
            "SSEKMSKeyId": self.backend.kms_key_id,
        }
        return {name: value for name, value in arguments.items() if value is not None}

    def head(self, key: str) -> StoredObject | None:
        """What is stored under the key, or None. One look: see `verify` for what it proves."""
        try:
            answer = self._head(key)
        except Exception as error:
            if _status(error) == 404:  # noqa: PLR2004
                return None
            raise store_error(error, self.backend, "look at", key) from error
        checksum = answer.get("ChecksumSHA256")
        composite = checksum if checksum and "-" in checksum else None
        return StoredObject(
            size_bytes=answer.get("ContentLength"),
            etag=answer.get("ETag", ""),
            sha256=None if composite else checksum,
            composite_sha256=composite,
            # Some stores give names back with capitals.
            put_for={k.lower(): v for k, v in answer.get("Metadata", {}).items()}.get(MARK),
        )

    def look_before_put(self, key: str) -> StoredObject | None:
        """What a put would meet. Where no condition is known to guard what is there, it is nothing
        only if two looks say so: what one 404 has spoilt on its way would be overwritten."""
        found = self.head(key)
        if found is None and (self.look_first or not self.profile.conditional_put):
            return self.head(key)
        return found

    def _head(self, key: str) -> HeadObjectOutputTypeDef:
        bucket = self.backend.bucket
        if self.profile.keeps_sha256 is not False:
            try:
                return self.s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
            except Exception as error:
                if _status(error) not in _HEADER_REFUSED:
                    raise
                # Backblaze B2, for one, has refused the header; a HEAD cannot say what it refuses.
                return self._head_without_digest(key)
        return self.s3.head_object(Bucket=bucket, Key=key)

    def _head_without_digest(self, key: str) -> HeadObjectOutputTypeDef:
        """The same without the header; only if that is answered was it the header."""
        try:
            answer = self.s3.head_object(Bucket=self.backend.bucket, Key=key)
        except Exception as error:
            if _status(error) == 404:  # noqa: PLR2004
                self.learn(keeps_sha256=False)
            raise
        self.learn(keeps_sha256=False)
        return answer

    def list_pages(self, *, after: str | None = None) -> Iterator[list[ListedObject]]:
        """What is stored below the backend's prefix, a page at a time, in the store's own order.

        That is not always the order of the keys: SeaweedFS lists `a/b` before `a-b`, as a tree.
        A page is asked for when it is taken; after an error, begin again after the last key.

        Args:
            after: the last key of an earlier page; None to begin at the first.
        """
        return listing.list_pages(self.s3, self.backend, after=after)

    def list_parts(self, key: str, upload_id: str) -> dict[int, list[StoredPart]]:
        """The parts of an unfinished upload that the store has, by number.

        Of a part that was sent more than once, SeaweedFS keeps and lists each; the ETag that the
        completion names decides.

        Raises:
            KeyRefusedError: with the code `NoSuchUpload`, if the store no longer knows the upload.
        """
        found: dict[int, list[StoredPart]] = {}
        try:
            pages = self.s3.get_paginator("list_parts").paginate(
                Bucket=self.backend.bucket, Key=key, UploadId=upload_id
            )
            for page in pages:
                for part in page.get("Parts", []):
                    if "Size" in part and "PartNumber" in part:  # else it is of no use
                        listed = StoredPart(
                            part["Size"], part.get("ETag", ""), part.get("ChecksumSHA256")
                        )
                        found.setdefault(part["PartNumber"], []).append(listed)
        except Exception as error:
            raise store_error(error, self.backend, "list the parts of", key) from error
        return found

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
            raise store_error(error, self.backend, "read", key) from error

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
            if not isinstance(error, ValueError) and self._code(error, key) != BAD_ANSWER:
                raise
            return self._open_by_boto3(key, start, etag)
        found = result.meta
        pieces = self._pieces(result.stream(min_chunk_size=_PIECE), key)
        return OpenObject(found["size"], found["e_tag"], start, pieces)

    def _open_by_boto3(self, key: str, start: int, etag: str | None) -> OpenObject:
        more: dict[str, Any] = {"Range": f"bytes={start}-"} if start else {}
        if etag:
            more["IfMatch"] = etag
        answer = self.s3.get_object(Bucket=self.backend.bucket, Key=key, **more)
        size = answer.get("ContentLength")
        if start:
            given = _CONTENT_RANGE.fullmatch(answer.get("ContentRange", ""))
            if given is None or int(given[1]) != start:
                answer["Body"].close()
                raise BadAnswerError(f"it begins elsewhere than at byte {start:,}")
            size = int(given[2])
        pieces = self._pieces(answer["Body"].iter_chunks(_READ_CHUNK), key)
        return OpenObject(size, answer.get("ETag"), start, pieces)

    def _code(self, error: Exception, key: str) -> str:
        return store_error(error, self.backend, "read", key).code

    def _pieces(self, stream: Iterable[Buffer], key: str) -> Iterator[Buffer]:
        try:
            for piece in stream:
                yield memoryview(piece)
        except GeneratorExit:
            raise
        except Exception as error:
            raise store_error(error, self.backend, "read", key) from error

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
            return read_out(found)
        except Exception as error:
            known = store_error(error, self.backend, "read", key)
            if known.code == NO_SUCH_KEY:
                return None
            raise known from error

    def error(self, error: Exception, operation: str, key: str) -> StoreError:
        """The error of a request that was made through `s3` directly."""
        return store_error(error, self.backend, operation, key)


def read_out(found: OpenObject) -> ReadObject:
    """What an open object is, by reading it to its end.

    Raises:
        StoreError: not all of it comes.
    """
    digest, size, beginning = hashlib.sha256(), 0, b""
    for piece in found.pieces:
        beginning = beginning or bytes(piece[:512])
        digest.update(piece)
        size += len(piece)
    return ReadObject(size, found.etag, digest.hexdigest(), beginning)


def _refuse_anything(content: bytes) -> None:
    """Nothing is stored under the probe's key: what answers it all the same answers everything."""
    what = "a web page" if _NO_OBJECT.match(content) else "something"
    raise BadAnswerError(f"{what} comes where there should be no object")


def _status(error: Exception) -> int | None:
    response = getattr(error, "response", None) or {}
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return int(status) if status else None


def wants_md5(error: StoreError) -> bool:
    """Whether a store refused a put, or a part, for want of a digest."""
    return isinstance(error, KeyRefusedError) and "content-md5" in error.message.lower()


def _wants_signature(error: StoreError) -> bool:
    return isinstance(error, KeyRefusedError) and "unsigned-payload" in error.message.lower()


def content_md5(content: Buffer) -> str:
    """What the header Content-MD5 says of a body."""
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def etag_is_md5_of(etag: str | None, content: Buffer) -> bool:
    """Whether an ETag is the MD5 of the content, as it is for a plain put on most stores."""
    try:
        given = binascii.unhexlify((etag or "").strip('"'))
    except ValueError:
        return False
    return given == hashlib.md5(content, usedforsecurity=False).digest()
