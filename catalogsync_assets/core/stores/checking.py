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
below a store are found by reading alone. And it proves nothing *against* an object: what it leaves
in doubt - another size or ETag, a digest that nobody has checked, nothing there - is read, and
believed once two reads agree (`verify`).

Nothing here changes the catalog or the store.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from catalogsync_assets.core.files.digests import as_s3_header
from catalogsync_assets.core.stores import verify
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.copies import RemoteCopy
from catalogsync_assets.core.stores.objects import StoredObject
from catalogsync_assets.core.stores.retry import Retry, once

#: How closely one object is looked at.
Level = Literal["head", "full"]
Kind = Literal["ok", "missing", "size", "content"]
Proof = Literal["head", "read", "etag", "size"]


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


def check(client: StoreClient, known: RemoteCopy, level: Level, *, retry: Retry = once) -> Verdict:
    """Look at an object. May be called from several threads.

    `missing` rests on the store's own word that there is no such key, said to two reads, never on a
    bare 404, a refusal or silence.

    Args:
        retry: calls each request.

    Raises:
        StoreError: the store refused, or was silent at every try, or no two reads agree: nothing is
            known then.
    """
    if level == "full" and known.sha256:
        return _read(client, known, retry)
    found = retry(lambda: client.head(known.key))
    if found is None:
        return _read(client, known, retry)
    return _by_head(client, known, found) or _read(client, known, retry)


def _by_head(client: StoreClient, known: RemoteCopy, found: StoredObject) -> Verdict | None:
    """The verdict where nothing of what a HEAD told speaks against the object; else None."""
    if known.size_bytes is not None and found.size_bytes not in (None, known.size_bytes):
        return None
    etag = found.etag or None
    if known.sha256 and found.sha256 is not None:
        if verify.proven_by_head(client, found, known.sha256, known.size_bytes):
            return Verdict("ok", "head", etag=etag)
        if found.sha256 != as_s3_header(known.sha256):
            return None
    if known.etag and _bare(known.etag) == _bare(etag):
        return Verdict("ok", "etag", etag=etag)
    if found.size_bytes is None or (known.etag and known.sha256):
        return None
    return Verdict("ok", "size", etag=etag)


def _read(client: StoreClient, known: RemoteCopy, retry: Retry) -> Verdict:
    digests = {known.sha256} if known.sha256 else frozenset[str]()
    found = verify.read(client, known.key, digests, size_bytes=known.size_bytes, retry=retry)
    if found is None:
        return Verdict("missing", detail="the store has no object under this key")
    if known.sha256 and found.sha256 == known.sha256:
        return Verdict("ok", "read", etag=found.etag)
    if known.size_bytes not in (None, found.size_bytes):
        detail = f"{found.size_bytes:,} bytes, not {known.size_bytes:,}"
        return Verdict("size", detail=detail, etag=found.etag)
    if not known.sha256:
        return Verdict("ok", "size", etag=found.etag)
    detail = f"its content has the SHA-256 {found.sha256}, not {known.sha256}"
    return Verdict("content", detail=detail, etag=found.etag)


def _bare(etag: str | None) -> str:
    """An ETag without the quotes that some stores leave out."""
    return (etag or "").strip('"')
