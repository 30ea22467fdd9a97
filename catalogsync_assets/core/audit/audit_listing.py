"""Compares what a store lists with what the catalog claims.

Each page of the listing is looked up in the catalog by its keys, so that the order in which a store
lists does not matter. What is there in the right size is noted by one bit for each location: 125 KB
for a million. The claims that are left in the end - not listed, of another size, missing or damaged
before - are looked at one by one: nothing is said of a file because a listing lacks it.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Generator, Iterator

from catalogsync_assets.core.audit.checking import Retry
from catalogsync_assets.core.audit.listing import listed
from catalogsync_assets.core.catalog.audits import Audit, Outcome
from catalogsync_assets.core.catalog.claims import Claim, Claims
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.scope import EVERYTHING
from catalogsync_assets.core.transfer.stores import ListedObject, StoreClient

#: Foreign objects that are kept by name; more are counted only.
MAX_FOREIGN = 10_000


class Seen:
    """A set of locations that grows to one bit for each."""

    def __init__(self, kept: bytes | None) -> None:
        """
        Args:
            kept: what `kept` gave.
        """
        self._bits = bytearray(zlib.decompress(kept)) if kept else bytearray()

    def add(self, location_id: int) -> bool:
        """Add one; False if it was there."""
        place, bit = location_id >> 3, 1 << (location_id & 7)
        if place >= len(self._bits):
            self._bits += bytes(place + 1 - len(self._bits) + 1024)
        if self._bits[place] & bit:
            return False
        self._bits[place] |= bit
        return True

    def __contains__(self, location_id: int) -> bool:
        place = location_id >> 3
        return place < len(self._bits) and bool(self._bits[place] >> (location_id & 7) & 1)

    def kept(self) -> bytes:
        """The set, compressed: 125 KB at most for a million."""
        return zlib.compress(self._bits, 1)


def compare_listing(
    catalog: Catalog,
    claims: Claims,
    client: StoreClient,
    audit: Audit,
    seen: Seen,
    retry: Retry,
) -> Generator[tuple[list[Outcome], Counter[str], str | None], None, None]:
    """Compare what the store lists, page by page: foreign objects, counts, the page's last key.

    What is there as claimed is added to `seen`. Goes on behind `audit.position`.
    """
    foreign_wanted = claims.scope == EVERYTHING and claims.since is None
    foreign = audit.counts["foreign"]
    for page in listed(client, retry, after=audit.position):
        keys = {found.key: found for found in page}
        counts = Counter(listed=len(page))
        known = set()
        for place in claims.at(catalog, list(keys)):
            known.add(place.key)
            there = place.size_bytes in (None, keys[place.key].size_bytes)
            if place.in_scope and place.status == "active" and there:
                counts["ok"] += seen.add(place.location_id)
        strange = [f for f in page if f.key not in known] if foreign_wanted else []
        kept = strange[: max(0, MAX_FOREIGN - foreign)]
        foreign += len(strange)
        counts["foreign"] += len(strange) - len(kept)
        yield [_foreign(f) for f in kept], counts, page[-1].key if page else None


def _foreign(found: ListedObject) -> Outcome:
    return Outcome("foreign", found.key, detail=f"{found.size_bytes:,} bytes")


def unmet(catalog: Catalog, claims: Claims, audit: Audit, seen: Seen) -> Iterator[Claim]:
    """The claims that the listing has not shown to be true.

    Not those that were written after the audit began: they were verified then.
    """
    for ids in claims.ids(catalog, until=audit.started_at):
        left = [i for i in ids if i not in seen]
        for start in range(0, len(left), 500):
            yield from claims.get(catalog, left[start : start + 500])
