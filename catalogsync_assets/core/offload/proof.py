"""Which stores really hold a file, asked now.

For a decision that cannot be taken back, what the catalog remembers is not enough: each object is
looked at, and read where a look proves nothing (see `checking`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from catalogsync_assets.core.catalog.separation import Separation
from catalogsync_assets.core.errors import StoreError
from catalogsync_assets.core.runner.limiter import ConcurrencyLimiter
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.copies import RemoteCopy
from catalogsync_assets.core.stores.retry import Retries
from catalogsync_assets.core.stores.verify import Expected, Verdict, check

#: Objects in a row of which a store says nothing at all, before it is not asked any more.
_SILENT = 3


@dataclass
class Held:
    """What the looks at a file's objects told.

    Attributes:
        proven: objects that hold it, byte for byte.
        others: those that do not, or of which nothing is known, as the store did not answer.
        copies: how many copies the proven ones make; see `catalog.separation`.
    """

    proven: list[tuple[RemoteCopy, Verdict]] = field(default_factory=list)
    others: list[tuple[RemoteCopy, Verdict | StoreError]] = field(default_factory=list)
    copies: int = 0


class Proof:
    """Some backends, asked what they hold. `look` is thread-safe.

    Attributes:
        backends: those that are asked, by id.
        separation: which of them hold copies of their own; none is proven to, until it is set.
        out: the backends that are not asked any more, by id, and why.
    """

    def __init__(
        self,
        backends: Sequence[ObjectBackend],
        *,
        workers: int,
        attempts: int,
        stop: threading.Event,
        connect: Callable[[ObjectBackend], StoreClient],
    ) -> None:
        """
        Args:
            workers: requests to one backend at a time at most.
            attempts: tries of one request at most.
            stop: once set, no wait between tries goes on.
            connect: makes a store's client.
        """
        self.backends = {b.id: replace(b, workers=workers) for b in backends}
        self.separation = Separation({b.id: b.name for b in backends}, {})
        self.out: dict[int, StoreError] = {}
        self._connect = connect
        self._retries = {
            id_: Retries(attempts=attempts, pace=ConcurrencyLimiter(workers), stop=stop)
            for id_ in self.backends
        }
        self._clients: dict[int, StoreClient] = {}
        self._silent = dict.fromkeys(self.backends, 0)
        self._lock = threading.Lock()

    def probe(self) -> None:
        """Find out which of the stores can be spoken to at all."""
        for id_, backend in self.backends.items():
            self._clients[id_] = client = self._connect(backend)
            try:
                self._retries[id_](client.probe)
            except StoreError as error:
                self.out[id_] = error

    @property
    def reachable(self) -> list[ObjectBackend]:
        """The backends that are asked."""
        return [b for id_, b in self.backends.items() if id_ not in self.out]

    def look(self, copies: Sequence[RemoteCopy], wanted: int) -> Held:
        """Look at a file's objects until so many copies are proven to hold it."""
        held = Held()

        def comes_late(copy: RemoteCopy) -> tuple[bool, bool]:
            # Last those that add nothing to others; before, those that a look may prove: to read
            # an object takes long, and may cost.
            adds_nothing = self.separation.groups[copy.backend_id] is None
            return adds_nothing, not self.backends[copy.backend_id].profile.proves_by_head

        for copy in sorted(copies, key=comes_late):
            if held.copies >= wanted:
                break
            proven = [other.backend_id for other, _ in held.proven]
            with_it = self.separation.copies([*proven, copy.backend_id])
            if with_it == held.copies:
                continue  # the same store under another name
            if copy.bucket not in (None, self.backends[copy.backend_id].bucket):
                continue  # a row of another program, about a bucket that we cannot ask
            found = self._look_at(copy)
            if isinstance(found, Verdict) and found.verified:
                held.proven.append((copy, found))
                held.copies = with_it
            else:
                held.others.append((copy, found))
        return held

    def _look_at(self, copy: RemoteCopy) -> Verdict | StoreError:
        id_ = copy.backend_id
        if (refusal := self.out.get(id_)) is not None:
            return refusal
        try:
            expected = Expected(copy.sha256, copy.size_bytes, copy.etag)
            verdict = check(
                self._clients[id_], copy.key, expected, "proof", retry=self._retries[id_]
            )
        except StoreError as error:
            with self._lock:
                self._silent[id_] = self._silent[id_] + 1 if error.retryable else 0
                if error.fatal or self._silent[id_] >= _SILENT:
                    self.out.setdefault(id_, error)
            return error
        self._silent[id_] = 0
        return verdict
