"""Which stores really hold a file, asked now.

For a decision that cannot be taken back, what the catalog remembers is not enough: each object is
looked at, and read where a look proves nothing (see `stores.verify`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

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


@dataclass(frozen=True)
class Found:
    """What a look at one object told.

    Attributes:
        verdict: None where the store did not answer.
        error: why it did not.
    """

    copy: RemoteCopy
    backend: str
    verdict: Verdict | None
    error: StoreError | None = None


@dataclass
class Held:
    """What the looks at a file's objects told.

    Attributes:
        proven: objects that hold it, byte for byte.
        others: those that do not, or of which nothing is known.
        copies: how many copies the proven ones make; see `catalog.separation`.
    """

    proven: list[Found] = field(default_factory=list)
    others: list[Found] = field(default_factory=list)
    copies: int = 0


class Holders:
    """Some backends, asked what they hold. Thread-safe.

    Attributes:
        backends: those that are asked, by id.
        separation: which of them hold copies of their own; None is proven to until it is set.
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
        self._connect = connect
        self._retries = {
            id_: Retries(attempts=attempts, pace=ConcurrencyLimiter(workers), stop=stop)
            for id_ in self.backends
        }
        self._clients: dict[int, StoreClient] = {}
        self._out: dict[int, StoreError] = {}
        self._silent = dict.fromkeys(self.backends, 0)
        self._lock = threading.Lock()
        self.separation = Separation({b.id: b.name for b in backends}, {})

    def probe(self) -> None:
        """Find out which of the stores can be spoken to at all."""
        for id_, backend in self.backends.items():
            client = self._connect(backend)
            try:
                self._retries[id_](client.probe)
            except StoreError as error:
                self._out[id_] = error
            else:
                self._clients[id_] = client

    @property
    def out(self) -> dict[str, StoreError]:
        """The backends that are not asked any more, by name, and why."""
        with self._lock:
            return {self.backends[id_].name: error for id_, error in self._out.items()}

    @property
    def reachable(self) -> list[ObjectBackend]:
        """The backends that are asked."""
        with self._lock:
            return [b for id_, b in self.backends.items() if id_ not in self._out]

    def look(self, copies: Sequence[RemoteCopy], wanted: int) -> Held:
        """Look at a file's objects until so many copies are proven to hold it."""
        held = Held()
        groups = self.separation.groups
        # Last those that add nothing to others; before, those that a look may prove: to read an
        # object takes long, and may cost.
        for copy in sorted(
            copies,
            key=lambda c: (
                groups[c.backend_id] is None,
                not self.backends[c.backend_id].profile.proves_by_head,
            ),
        ):
            if held.copies >= wanted:
                break
            backend = self.backends[copy.backend_id]
            proven = [found.copy.backend_id for found in held.proven]
            with_it = self.separation.copies([*proven, copy.backend_id])
            if with_it == held.copies:
                continue  # the same store under another name
            if copy.bucket not in (None, backend.bucket):
                continue  # a row of another program, about a bucket that we cannot ask
            found = self._look_at(copy)
            if found.verdict is not None and found.verdict.verified:
                held.proven.append(found)
                held.copies = with_it
            else:
                held.others.append(found)
        return held

    def _look_at(self, copy: RemoteCopy) -> Found:
        id_ = copy.backend_id
        found = partial(Found, copy, self.backends[id_].name)
        with self._lock:
            error = self._out.get(id_)
        if error is not None:
            return found(None, error)
        expected = Expected(copy.sha256, copy.size_bytes, copy.etag)
        try:
            verdict = check(
                self._clients[id_], copy.key, expected, "proof", retry=self._retries[id_]
            )
        except StoreError as failed:
            self._note(id_, failed)
            return found(None, failed)
        self._note(id_, None)
        return found(verdict)

    def _note(self, backend_id: int, error: StoreError | None) -> None:
        with self._lock:
            silent = error is not None and error.retryable
            self._silent[backend_id] = self._silent[backend_id] + 1 if silent else 0
            if error is not None and (error.fatal or self._silent[backend_id] >= _SILENT):
                self._out.setdefault(backend_id, error)
