"""Looks at one expected object, and says what follows from it."""

from __future__ import annotations

from catalogsync_assets.core.audit.queries import Outcome
from catalogsync_assets.core.catalog.remote_copies import RemoteCopy
from catalogsync_assets.core.errors import StoreError
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.retry import Retry
from catalogsync_assets.core.stores.verify import Expected, Level, bare, check


def look_at(known: RemoteCopy, client: StoreClient, level: Level, retry: Retry) -> Outcome:
    """What a look at an object tells, also that the store would not show it.

    Args:
        retry: calls each request.
    """
    # One that was missing or damaged is believed again only when it has been read.
    closely: Level = level if known.status == "active" else "full"
    try:
        expected = Expected(known.sha256, known.size_bytes, known.etag)
        found = check(client, known.key, expected, closely, retry=retry)
    except StoreError as error:
        return Outcome("unreadable", known.key, known, detail=error.message, error=error)
    if found.kind != "ok":
        return Outcome(found.kind, known.key, known, detail=found.detail, etag=found.etag)
    if known.status == "active":
        how = None if found.proof == "size" else found.proof
        # To keep: where the content is proven and the ETag that is kept is another.
        is_new = found.verified and bare(known.etag) != bare(found.etag)
        etag = found.etag if is_new else None
        return Outcome("ok", known.key, known, verified_by=how, etag=etag)
    if found.verified or (known.status == "missing" and found.proof == "etag"):
        return Outcome("ok", known.key, known, verified_by=found.proof, etag=found.etag)
    before = "missing" if known.status == "missing" else "content"
    detail = f"found {known.status} before; what is there now cannot be told from another object"
    return Outcome(before, known.key, known, detail=detail)
