"""Whether a store holds now what the catalog says that it holds: one object, one verdict.

What each level asks, and what an answer proves:

=======  ========================  =============================================================
level    asks                      `ok` is proven by
=======  ========================  =============================================================
`head`   one HEAD                  `head`: the SHA-256 that the store checked when it took the
                                   object, and keeps; else `etag`: the one that the object had
                                   when it was last verified; else `size`: no verification
`full`   the object, to its end    `read`: its bytes have the catalog's digest; where the
                                   catalog has none, as for `head`
=======  ========================  =============================================================

A HEAD tells what the store remembers of an object, not what its disks hold: bytes that have rotted
below a store are found by reading alone. What a HEAD leaves in doubt - another ETag, a digest that
nobody has checked - is read, too, before it is called damaged.

Nothing here changes the catalog or the store.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from catalogsync_assets.core.digests import as_s3_header
from catalogsync_assets.core.errors import StoreUnavailableError
from catalogsync_assets.core.transfer.sender import SINGLE_PUT_BYTES
from catalogsync_assets.core.transfer.stores import ReadObject, StoreClient, StoredObject

#: How closely one object is looked at.
Level = Literal["head", "full"]
Kind = Literal["ok", "missing", "size", "content"]
Proof = Literal["head", "read", "etag", "size"]
#: Calls a function, again if it failed for a passing reason; see `transfer.retries.Retries`.
Retry = Callable[[Callable[[], Any]], Any]


def once(function: Callable[[], Any]) -> Any:
    """A `Retry` that does not."""
    return function()


@dataclass(frozen=True)
class KnownObject:
    """What the catalog says of an object.

    Attributes:
        location_id: its row in `file_locations`.
        key: the whole key.
        size_bytes: None where the catalog does not know it, as does a row of another program.
        sha256: in hex; None likewise.
        etag: the one that it had when it was last verified; None if none was kept.
        status: of the location.
    """

    location_id: int
    file_asset_id: int
    key: str
    size_bytes: int | None
    sha256: str | None
    etag: str | None = None
    status: str = "active"


@dataclass(frozen=True)
class Verdict:
    """What became of a look at an object.

    Attributes:
        kind: `ok`, `missing`, `size` (another length), or `content` (other bytes of that length).
        proof: what `ok` rests on; see the module. None for the others.
        detail: what differs, in a few words; empty for `ok`.
        etag: of the object as it is now, as the store wrote it; None if it is missing.
    """

    kind: Kind
    proof: Proof | None = None
    detail: str = ""
    etag: str | None = None

    @property
    def verified(self) -> bool:
        """Whether the object is known to be, byte for byte, the content with the catalog's digest:
        by a digest that the store keeps, or by reading it."""
        return self.proof in ("head", "read")


def check(client: StoreClient, known: KnownObject, level: Level, *, retry: Retry = once) -> Verdict:
    """Look at an object. May be called from several threads.

    `missing` rests on the store's own word that there is no such key, never on a bare 404, a
    refusal or silence.

    Args:
        retry: calls each request.

    Raises:
        StoreError: the store refused, or was silent at every try: nothing is known then.
    """
    if level == "full" and known.sha256:
        return _read(client, known, retry)
    found = retry(lambda: client.head(known.key))
    if found is None:
        return _absent(client, known, retry)
    if known.size_bytes not in (None, found.size_bytes):
        return _of_other_size(known, found.size_bytes, found.etag)
    return _judged(client, known, found, retry)


def _judged(client: StoreClient, known: KnownObject, found: StoredObject, retry: Retry) -> Verdict:
    """The verdict on an object of the right size, by what a HEAD told."""
    if known.sha256 and found.sha256 is not None:
        same = found.sha256 == as_s3_header(known.sha256)
        if client.trusts_kept_digests and same:
            return Verdict("ok", "head", etag=found.etag)
        if not same:
            return _read(client, known, retry)
    if known.etag is None:
        return Verdict("ok", "size", etag=found.etag)
    if _bare(known.etag) == _bare(found.etag):
        return Verdict("ok", "etag", etag=found.etag)
    if known.sha256:
        return _read(client, known, retry)
    return Verdict("ok", "size", etag=found.etag)


def _read(client: StoreClient, known: KnownObject, retry: Retry) -> Verdict:
    large = (known.size_bytes or 0) > SINGLE_PUT_BYTES

    def read() -> ReadObject | None:
        found: ReadObject | None = retry(lambda: client.read(known.key, large=large))
        return found

    found = read()
    if found is not None and found.sha256 != known.sha256:
        found = read()  # once more: what came may have been damaged on its way
    if found is None:
        return _missing()
    if found.sha256 == known.sha256:
        return Verdict("ok", "read", etag=found.etag)
    if known.size_bytes not in (None, found.size_bytes):
        return _of_other_size(known, found.size_bytes, found.etag)
    detail = f"its content has the SHA-256 {found.sha256}, not {known.sha256}"
    return Verdict("content", detail=detail, etag=found.etag)


def _absent(client: StoreClient, known: KnownObject, retry: Retry) -> Verdict:
    if retry(lambda: client.is_gone(known.key)):
        return _missing()
    if known.sha256:
        return _read(client, known, retry)
    raise StoreUnavailableError(
        f"backend {client.backend.name!r}: what is stored under {known.key!r} keeps changing",
        code="Unsettled",
        hint="is another program writing there?",
    )


def _missing() -> Verdict:
    return Verdict("missing", detail="the store has no object under this key")


def _of_other_size(known: KnownObject, size_bytes: int, etag: str | None) -> Verdict:
    detail = f"{size_bytes:,} bytes, not {known.size_bytes:,}"
    return Verdict("size", detail=detail, etag=etag)


def _bare(etag: str | None) -> str:
    """An ETag without the quotes that some stores leave out."""
    return (etag or "").strip('"')
