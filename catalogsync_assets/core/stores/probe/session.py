"""What `probe` asks with: keys below a prefix of its own, requests, and tidying up.

Nothing outside that prefix is written or deleted.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import partial
from typing import Any

from catalogsync_assets.core.errors import StoreError
from catalogsync_assets.core.stores import listing, parts
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.client import StoreClient

#: What the keys of a test begin with, after the backend's prefix.
TEST_PREFIX = ".catalogsync-test-"
_TRIES_TO_DELETE = 3


def new_prefix(backend: ObjectBackend) -> str:
    """A prefix for a test's keys that nothing else uses."""
    return f"{backend.key_prefix}{TEST_PREFIX}{secrets.token_hex(8)}"


class Session:
    """One test's keys and requests. A context manager that deletes what was written.

    Every request raises a `StoreError` and nothing else if the store refuses or is silent.

    Attributes:
        prefix: what every key begins with.
        left_behind: keys, and uploads in parts, that were written and could not be deleted; known
            after the end.
        keeps_versions: an answer to a put named a version.
    """

    def __init__(self, client: StoreClient, prefix: str, *, one_key: bool = False) -> None:
        """
        Args:
            prefix: see `new_prefix`.
            one_key: whatever is stored is stored under the prefix itself, so that a kill leaves
                one object at most.
        """
        self.client = client
        self.prefix = prefix
        self.left_behind: list[str] = []
        self.keeps_versions = False
        self._one_key = one_key
        self._keys: set[str] = set()
        self._written: set[str] = set()  # as far as puts of this session go
        self._uploads: dict[str, str] = {}  # upload id -> key

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        for upload_id, key in list(self._uploads.items()):
            if not _insist(partial(self.abort, key, upload_id)):
                self.left_behind.append(f"{key} (an upload in parts)")
        for key in sorted(self._keys):
            if not _insist(partial(self.delete, key)) and self._was_written(key):
                self.left_behind.append(key)
        if self.keeps_versions and not _insist(self._delete_versions):
            self.left_behind.append(f"{self.prefix} (older versions)")

    def key(self, name: str) -> str:
        """A whole key below the prefix; whatever is stored there is deleted in the end."""
        key = self.prefix if self._one_key else f"{self.prefix}/{name}"
        self._keys.add(key)
        return key

    def put(self, key: str, body: bytes, **more: Any) -> dict[str, Any]:
        """Store an object by boto3, as plain as the bucket lets us."""
        return self._write("put", key, "put_object", Body=body, **more)

    def copy(self, source: str, key: str, **more: Any) -> dict[str, Any]:
        """Have the store copy an object to another key."""
        place = {"Bucket": self.client.backend.bucket, "Key": source}
        return self._write("copy to", key, "copy_object", CopySource=place, **more)

    def _write(self, operation: str, key: str, method: str, **arguments: Any) -> dict[str, Any]:
        try:
            answer = self.client.call(operation, key, method, **arguments)
        except StoreError as error:
            if error.retryable:
                self._written.add(key)
            raise
        self._written.add(key)
        return self._noted(answer)

    def get(self, key: str, **more: Any) -> bytes:
        answer = self.client.call("read", key, "get_object", **more)
        try:
            with answer["Body"] as body:
                return bytes(body.read())
        except Exception as error:
            raise self.client.error(error, "read", key) from error

    def head(self, key: str, **more: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self.client.call("look at", key, "head_object", **more)
        return answer

    def listed(self) -> list[str]:
        """The keys that begin with the prefix."""
        answer = self.client.call("list", None, "list_objects_v2", Prefix=self.prefix)
        return [found.key for found in listing.listed_of(answer)]

    def begin(self, key: str, **more: Any) -> str:
        """Begin an upload in parts."""
        upload_id = parts.begin(self.client, key, more)
        self._uploads[upload_id] = key
        return upload_id

    def send_part(
        self, key: str, upload_id: str, number: int, body: bytes, **more: Any
    ) -> dict[str, Any]:
        part = {"UploadId": upload_id, "PartNumber": number, "Body": body}
        answer: dict[str, Any] = self.client.call("put", key, "upload_part", **part, **more)
        return answer

    def parts(self, key: str, upload_id: str) -> list[dict[str, Any]]:
        answer = self.client.call("list", key, "list_parts", UploadId=upload_id)
        return list(answer.get("Parts", []))

    def complete(self, key: str, upload_id: str, entries: list[Any], **more: Any) -> None:
        whole = {"UploadId": upload_id, "MultipartUpload": {"Parts": entries}}
        self._noted(self.client.call("put", key, "complete_multipart_upload", **whole, **more))
        self._uploads.pop(upload_id, None)

    def abort(self, key: str, upload_id: str) -> None:
        """Idempotent."""
        parts.abort(self.client, key, upload_id)
        self._uploads.pop(upload_id, None)

    def find_leftovers(self) -> None:
        """Have everything that begins with the prefix deleted in the end: a killed test's.

        Raises:
            StoreError: it could not be listed.
        """
        self._keys.add(self.prefix)
        self._keys.update(self.listed())
        self.keeps_versions = self.client.is_versioned() is not False
        found = self.client.call("list", None, "list_multipart_uploads", Prefix=self.prefix)
        for entry in found.get("Uploads", []):
            if entry["Key"].startswith(self.prefix):
                self._uploads[entry["UploadId"]] = entry["Key"]

    def _was_written(self, key: str) -> bool:
        """Whether a key that could not be deleted holds something of ours."""
        try:
            return self.client.head(key) is not None
        except StoreError:
            return key in self._written

    def delete(self, key: str) -> None:
        """Idempotent."""
        self.client.call("delete", key, "delete_object")
        self._keys.discard(key)

    def _delete_versions(self) -> None:
        """In a bucket that keeps versions a deleted object is kept, and paid for."""
        found: dict[str, Any] = self.client.call(
            "list", None, "list_object_versions", Prefix=self.prefix
        )
        for entry in (*found.get("Versions", []), *found.get("DeleteMarkers", [])):
            if entry.get("Key", "").startswith(self.prefix) and entry.get("VersionId"):
                self.client.call(
                    "delete", entry["Key"], "delete_object", VersionId=entry["VersionId"]
                )

    def _noted(self, answer: dict[str, Any]) -> dict[str, Any]:
        self.keeps_versions |= answer.get("VersionId") not in (None, "null")
        return answer


def _insist(undo: Callable[[], object]) -> bool:
    """Whether it was done; what failed for a passing reason is tried again."""
    for _ in range(_TRIES_TO_DELETE):
        try:
            undo()
        except StoreError as error:
            if not error.retryable:
                return False
        else:
            return True
    return False
