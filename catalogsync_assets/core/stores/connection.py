"""The way to one store: its two clients, what it is known to do, and whether it answers at all.

What is sent, and what an answer proves, follows the backend's profile (`profile`); what an answer
teaches about the store is learned here. Requests about objects are in `client`, those about
uploads in parts in `parts`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import obstore

from catalogsync_assets.core.errors import KeyRefusedError, StoreError
from catalogsync_assets.core.stores import listing
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.checksums import content_md5
from catalogsync_assets.core.stores.classify import (
    NOT_IMPLEMENTED,
    REDIRECTED,
    BadAnswerError,
    store_error,
    wrong_region,
)
from catalogsync_assets.core.stores.objects import looks_like_a_page
from catalogsync_assets.core.stores.profile import CRC64NVME, SHA256, StoreProfile
from catalogsync_assets.core.stores.sdk import (
    PROBE_TIMEOUT,
    SMALL_TIMEOUT,
    boto3_client,
    obstore_store,
)

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_NO_VERSIONS = NOT_IMPLEMENTED | {"MethodNotAllowed", "Http405"}
_NO_LOCKS = _NO_VERSIONS | {"ObjectLockConfigurationNotFoundError"}
_TOLD_BY_HEADERS = {"PermanentRedirect", REDIRECTED, "RequestTimeTooSkewed"}
_PROBE_KEY = ".catalogsync-probe"


class Connection:
    """One backend's store, before any object. Thread-safe; must not cross a fork.

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
        self._made_s3: S3Client | None = None
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
    def checks_digests(self) -> bool:
        """Whether the store is known to refuse a put with a wrong digest."""
        if self.profile.needs_md5:  # boto3 then sends no CRC, see `_put_with_md5`
            return self.profile.put_checksum == SHA256
        return self.profile.put_checksum in (SHA256, CRC64NVME)

    @property
    def trusts_kept_digests(self) -> bool:
        """Whether a SHA-256 that the store gives back is known to have been checked by it."""
        return self.profile.put_checksum == SHA256

    @property
    def trusts_part_digests(self) -> bool:
        """The same of the digests of an object's parts."""
        return self.profile.part_checksum is True

    @property
    def relies_on_no_versions(self) -> bool:
        """Whether conditions were found to hold while the bucket kept no versions."""
        known = self.backend.tested
        return not known.versioned and any(
            (
                *(known.conditional_put, known.conditional_replace),
                *(known.conditional_complete, known.conditional_copy, known.conditional_delete),
            )
        )

    def is_versioned(self) -> bool | None:
        """Whether the bucket keeps versions; None where we may not ask, or get no clear answer."""
        try:
            answer = self.call("ask about versions of", None, "get_bucket_versioning")
        except StoreError as error:
            # Who does not know the question has no versions.
            return False if error.code in _NO_VERSIONS else None
        return bool(answer.get("Status") == "Enabled")

    def locks(self) -> bool | None:
        """Whether nothing that is put into the bucket can be deleted for a time (object lock).

        Only a bucket that keeps versions has that. None where we may not ask.
        """
        if self.is_versioned() is False:
            return False
        try:
            answer = self.call("ask about locks of", None, "get_object_lock_configuration")
        except StoreError as error:
            return False if error.code in _NO_LOCKS else None
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
    def _s3(self) -> S3Client:
        """The boto3 client, built when first needed."""
        with self._lock:  # making one is not thread-safe, using it is
            if self._made_s3 is None:
                self._made_s3 = self._make_s3()
                events = self._made_s3.meta.events
                events.register("before-sign.s3.UploadPart", self._hash_part_once)
                listing.take_over(self._made_s3)
            return self._made_s3

    def call(self, operation: str, key: str | None, method: str, **arguments: Any) -> Any:
        """One request by boto3, for the modules of this package.

        Args:
            operation: a verb for the message of an error, such as `put`.
            key: the whole key; None where the request is about the bucket.
            method: of the boto3 client.
            arguments: as boto3 takes them; the backend's bucket is named unless one is given, and
                the MD5 of a `Body` where the store asks for one.
        """
        place = {"Bucket": self.backend.bucket} | ({} if key is None else {"Key": key})
        body = arguments.get("Body")
        more: dict[str, Any] = {}
        if body is not None and self.profile.needs_md5:
            more = {"ContentMD5": content_md5(body)}
        try:
            return getattr(self._s3, method)(**(place | arguments | more))
        except Exception as error:
            found = self.error(error, operation, self.backend.bucket if key is None else key)
            if body is None or more or not wants_md5(found):
                raise found from error
        self.learn(needs_md5=True)
        return self.call(operation, key, method, **arguments)

    def arguments_of(self, operation: str) -> Collection[str]:
        """What the installed boto3 can say with a request; conditions of copies came late.

        Args:
            operation: as S3 names it, such as `CopyObject`.
        """
        shape = self._s3.meta.service_model.operation_model(operation).input_shape
        return shape.members if shape else ()

    def close(self) -> None:
        """Close what is open to the store. Nothing may be under way; idempotent."""
        with self._lock:
            if self._made_s3 is not None:
                self._made_s3.close()

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
            content = bytes(obstore.get(store, key).bytes())
        except FileNotFoundError as error:
            found = self.error(error, "read from", key)
            if found.fatal:
                raise found from error
        except Exception as error:
            found = self._explained(self.error(error, "read from", key))
            if found.code != "AccessDenied":
                raise found from error
        else:
            # Nothing is stored there: what answers it all the same answers everything.
            what = "a web page" if looks_like_a_page(content) else "something"
            everything = BadAnswerError(f"{what} comes where there should be no object")
            raise self.error(everything, "read from", key)

    def _explained(self, found: StoreError) -> StoreError:
        """The same refusal with what only headers tell, which obstore keeps to itself."""
        if found.code not in _TOLD_BY_HEADERS:
            return found
        try:
            answer = self.call("look at", None, "head_bucket")
        except StoreError as told:
            return told if type(told) is type(found) and told.code != "AccessDenied" else found
        region = answer.get("BucketRegion")
        if found.code != "PermanentRedirect" or not region:
            return found
        return wrong_region(self.backend, region)

    def error(self, error: Exception, operation: str, key: str) -> StoreError:
        """What obstore or boto3 raised, as our error."""
        return store_error(error, self.backend, operation, key)


def wants_md5(error: StoreError) -> bool:
    """Whether a store refused a put, or a part, for want of a digest."""
    return isinstance(error, KeyRefusedError) and "content-md5" in error.message.lower()
