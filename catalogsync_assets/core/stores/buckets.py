"""Makes the bucket of a backend, private, in the region that the backend names."""

from __future__ import annotations

from typing import Any

from catalogsync_assets.core.errors import AccessRefusedError, ConflictError, StoreError
from catalogsync_assets.core.stores.connection import Connection

_NOT_FOUND = {"Http404", "NoSuchBucket", "NotFound"}
_OURS = {"BucketAlreadyOwnedByYou"}
_ANOTHERS = {"BucketAlreadyExists"}
#: A region that stands for none: to name it is an error on AWS, and of no use elsewhere.
_NO_PLACE = {"us-east-1", "auto"}
_NO_SUCH_PLACE = {
    *("InvalidLocationConstraint", "IllegalLocationConstraintException"),
    *("InvalidRegion", "InvalidRegionName", "MalformedXML", "InvalidRequest"),
}


def make_bucket(client: Connection) -> bool:
    """Make the bucket, unless it is there. Idempotent.

    Nobody is given access to it: no ACL and no policy is sent, so that it is private by every
    service's default.

    Returns:
        Whether it was made; False if the credentials had it already.

    Raises:
        ConflictError: the bucket is another account's.
        AccessRefusedError: the credentials are refused, or may not make buckets.
        StoreError: the store did not answer, or refuses the name or the region.
    """
    # First a look: AWS answers 200 where one's own bucket is made again, and resets its rights.
    try:
        client.call("look at", None, "head_bucket")
    except StoreError as error:
        if error.retryable:
            raise
        if error.code not in _NOT_FOUND and not _is_denied(error):
            raise
    else:
        return False
    backend = client.backend
    try:
        _create(client)
    except StoreError as error:
        if error.code in _OURS:
            return False
        if error.code in _ANOTHERS:
            raise ConflictError(
                f"backend {backend.name!r}: bucket {backend.bucket!r} is another account's",
                code=error.code,
                hint="bucket names are shared by all accounts of many services: register the"
                " backend with another --bucket, then make that",
            ) from error
        if _is_denied(error):
            raise AccessRefusedError(
                f"backend {backend.name!r}: the credentials may not make bucket"
                f" {backend.bucket!r} ({error.code})",
                code=error.code,
                hint="make it, private, in the service's console, or with credentials that may"
                " (s3:CreateBucket)",
            ) from error
        raise
    return True


def _is_denied(error: StoreError) -> bool:
    """Whether the credentials are known, and may not do this."""
    return isinstance(error, AccessRefusedError) and error.code in ("AccessDenied", "Http403")


def _create(client: Connection) -> None:
    region = client.backend.region
    place: Any = {"CreateBucketConfiguration": {"LocationConstraint": region}}
    if region in _NO_PLACE:
        place = {}
    try:
        client.call("make", None, "create_bucket", **place)
    except StoreError as error:
        # On AWS the constraint decides; other services know their place by the endpoint.
        if client.backend.endpoint is None or not place or error.code not in _NO_SUCH_PLACE:
            raise
        client.call("make", None, "create_bucket")
