"""Compares what a store lists with what the catalog expects.

Each page of the listing is looked up in the catalog by its keys, so that the order in which a store
lists does not matter. What is there in the right size is noted by one bit for each location: 125 KB
for a million. The expected objects that are left in the end - not listed, of another size, missing
or damaged before - are looked at one by one: nothing is said of a file because a listing lacks it.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator

from catalogsync_assets.core.audit.expected import ExpectedObjects
from catalogsync_assets.core.audit.queries import Audit, Outcome
from catalogsync_assets.core.catalog.remote_copies import RemoteCopy
from catalogsync_assets.core.catalog.scope import EVERYTHING
from catalogsync_assets.core.stores.objects import ListedObject

#: Untracked objects that are kept by name; more are counted only.
MAX_UNTRACKED = 10_000
_PAGE = 500


class Seen:
    """A set of locations that grows to one bit for each; made of what `kept` gave."""

    def __init__(self, kept: bytes | None) -> None:
        self._bits = bytearray(zlib.decompress(kept)) if kept else bytearray()

    def add(self, location_ids: Iterable[int]) -> int:
        """Add some; how many of them are new."""
        bits, new = self._bits, 0
        for location_id in location_ids:
            place, bit = location_id >> 3, 1 << (location_id & 7)
            if place >= len(bits):
                bits += bytes(place + 1024 - len(bits))
            if not bits[place] & bit:
                bits[place] |= bit
                new += 1
        return new

    def but_for(self, location_ids: Iterable[int]) -> list[int]:
        """Those that are not in the set."""
        bits = self._bits
        end = len(bits) * 8
        return [i for i in location_ids if i >= end or not bits[i >> 3] >> (i & 7) & 1]

    def kept(self) -> bytes:
        """The set, compressed: 125 KB at most for a million."""
        return zlib.compress(self._bits, 1)


class Comparison:
    """What the store lists, held against the catalog."""

    def __init__(self, expected: ExpectedObjects, audit: Audit) -> None:
        self._expected = expected
        self._started_at = audit.started_at
        self._untracked = audit.counts["foreign"]
        self.seen = Seen(audit.seen)  #: whose objects are as expected, or were looked at

    def of_page(self, page: list[ListedObject]) -> tuple[list[Outcome], Counter[str], str | None]:
        """Compare a page: untracked objects, counts, the page's last key.

        What is there as expected is added to `seen`.
        """
        expected = self._expected
        sizes = {found.key: found.size_bytes for found in page}
        compared = expected.compare(sizes)
        counts = Counter(listed=len(page), ok=self.seen.add(compared.as_expected))
        limited = expected.scope != EVERYTHING or expected.since is not None
        untracked = [] if limited else compared.unknown
        kept = untracked[: max(0, MAX_UNTRACKED - self._untracked)]
        self._untracked += len(untracked)
        counts["foreign"] += len(untracked) - len(kept)
        outcomes = []
        for key in kept:
            size = sizes[key]
            detail = "of a size that is not told" if size is None else f"{size:,} bytes"
            outcomes.append(Outcome("foreign", key, detail=detail))
        return outcomes, counts, page[-1].key if page else None

    def unmet(self) -> Iterator[list[RemoteCopy]]:
        """The expected objects that the listing has not shown to be true, in pages.

        Not those that were written after the audit began: they were verified then.
        """
        for ids in self._expected.ids(until=self._started_at):
            left = self.seen.but_for(ids)
            for start in range(0, len(left), _PAGE):
                yield self._expected.get(left[start : start + _PAGE])
