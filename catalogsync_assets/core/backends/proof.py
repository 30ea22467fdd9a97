"""Which stores really hold a file, asked now.

For a decision that cannot be taken back, what the catalog remembers is not enough: each object is
looked at, and read where a look proves nothing (see `stores.verify`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from catalogsync_assets.core.backends import generation
from catalogsync_assets.core.backends.connections import Connection, Connections
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.remote_copies import RemoteCopy
from catalogsync_assets.core.catalog.separation import Separation
from catalogsync_assets.core.errors import CatalogSyncError, StoreError
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.verify import Expected, Verdict, check


@dataclass
class Proof:
    """What the looks at a file's objects told."""

    #: Objects that hold it, byte for byte.
    proven: list[tuple[RemoteCopy, Verdict]] = field(default_factory=list)
    #: Those that do not, or of which nothing is known, as the store did not answer.
    others: list[tuple[RemoteCopy, Verdict | CatalogSyncError]] = field(default_factory=list)
    copies: int = 0  #: how many copies the proven ones make; see `catalog.separation`


class Stores:
    """Some backends, asked what they hold. `look` is thread-safe."""

    def __init__(self, backends: Sequence[ObjectBackend], connections: Connections) -> None:
        self.backends = {b.id: replace(b, workers=connections.workers) for b in backends}
        #: Which of them hold copies of their own; none is proven to, until it is set.
        self.separation = Separation({b.id: b.name for b in backends}, {})
        self._connections = connections
        self.out = connections.out

    def probe(self, catalog: Catalog) -> None:
        """Find out which of the stores can be spoken to at all, and which of them the catalog knows
        as they are; see `generation`."""
        for id_, backend in self.backends.items():
            connection = self._connections.to(backend)
            try:
                connection.retry(connection.client.probe)
                generation.look(catalog, connection.client, retry=connection.retry)
                generation.require_undoubted(catalog, backend)
            except StoreError as error:
                self.out[id_] = error

    @property
    def reachable(self) -> list[ObjectBackend]:
        """The backends that are asked."""
        return [b for id_, b in self.backends.items() if id_ not in self.out]

    def look(self, copies: Sequence[RemoteCopy], wanted: int) -> Proof:
        """Look at a file's objects until so many copies are proven to hold it."""
        proof = Proof()

        def comes_late(copy: RemoteCopy) -> tuple[bool, bool]:
            # Last those that add nothing to others; before, those that a look may prove: to read
            # an object takes long, and may cost.
            adds_nothing = self.separation.groups[copy.backend_id] is None
            return adds_nothing, not self.backends[copy.backend_id].profile.proves_by_head

        for copy in sorted(copies, key=comes_late):
            if proof.copies >= wanted:
                break
            proven = [other.backend_id for other, _ in proof.proven]
            with_it = self.separation.copies([*proven, copy.backend_id])
            if with_it == proof.copies:
                continue  # the same store under another name
            if copy.bucket not in (None, self.backends[copy.backend_id].bucket):
                continue  # a row of another program, about a bucket that we cannot ask
            found = self._look_at(copy)
            if isinstance(found, Verdict) and found.verified:
                proof.proven.append((copy, found))
                proof.copies = with_it
            else:
                proof.others.append((copy, found))
        return proof

    def _look_at(self, copy: RemoteCopy) -> Verdict | CatalogSyncError:
        expected = Expected(copy.sha256, copy.size_bytes, copy.etag)

        def look(to: Connection) -> Verdict:
            return check(to.client, copy.key, expected, "proof", retry=to.retry)

        try:
            return self._connections.ask(self.backends[copy.backend_id], look)
        except CatalogSyncError as error:
            return error
