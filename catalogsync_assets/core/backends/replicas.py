"""Reads objects of the registered backends, for whoever needs a file that is not here.

One backend that refuses or has fallen silent is not asked for every file again, and spoils nothing
for the others. What a read proves of an object - another content, or that it is gone - is recorded.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from catalogsync_assets.core.catalog.backends import object_backends
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.locations import Look, record_looks
from catalogsync_assets.core.errors import (
    CatalogSyncError,
    DamagedObjectError,
    SourceError,
    StoreError,
    StoreUnavailableError,
)
from catalogsync_assets.core.files.partial import PartialFile
from catalogsync_assets.core.runner.limiter import ConcurrencyLimiter
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.copies import RemoteCopy
from catalogsync_assets.core.stores.fetch import fetch, is_gone
from catalogsync_assets.core.stores.objects import ReadObject, StoredObject
from catalogsync_assets.core.stores.retry import Retries


@dataclass
class _Store:
    client: StoreClient
    pace: ConcurrencyLimiter
    retry: Retries


class Replicas:
    """The backends that a run reads from. Thread-safe."""

    def __init__(
        self,
        catalog: Catalog,
        connect: Callable[[ObjectBackend], StoreClient],
        *,
        workers: int,
        attempts: int,
        stop: threading.Event,
    ) -> None:
        """
        Args:
            connect: makes the client of a backend; called once for each that is needed.
            workers: objects on their way at a time; for so many in a row without an answer, a
                backend is not asked again.
            attempts: tries of one object in a row that bring nothing.
            stop: once set, nothing more is read.
        """
        self._catalog = catalog
        self._connect = connect
        self._workers = workers
        self._attempts = attempts
        self._stop = stop
        self._lock = threading.Lock()
        self._known: dict[int, ObjectBackend] | None = None
        self._stores: dict[int, _Store] = {}
        self._silent: Counter[int] = Counter()
        self._refusals: dict[int, SourceError] = {}

    @property
    def retries(self) -> int:
        """Tries that had to be repeated so far."""
        return sum(store.retry.count for store in list(self._stores.values()))

    def name(self, backend_id: int) -> str:
        """What a backend is called."""
        with self._lock:
            return self._backend(backend_id).name

    def client(self, backend_id: int) -> StoreClient:
        """The client of a backend.

        Raises:
            ConfigurationError: it has no credentials.
        """
        return self._store(backend_id).client

    def head(self, copy: RemoteCopy) -> StoredObject | None:
        """What the store says of an object; None if it says that there is none.

        Raises:
            SourceError: it does not say.
        """
        try:
            store = self._store(copy.backend_id)
            return store.retry(lambda: store.client.head(copy.key))
        except CatalogSyncError as error:
            raise self._judged(copy, error) from error

    def fetch(
        self,
        copy: RemoteCopy,
        part: PartialFile,
        *,
        size_bytes: int | None,
        sha256: str | None,
        received: Callable[[int], None] = lambda _: None,
        durable: bool = True,
    ) -> ReadObject:
        """Bring an object into a part; see `fetch.fetch`.

        Raises:
            SourceError: it cannot be had, or is not what the catalog says; one that is proven to
                be damaged or gone has been marked so. (And one that was marked damaged, and is
                whole, has lost the mark when this returns.)
            OSError: as the system says it of the part.
        """
        with self._lock:
            refusal = self._refusals.get(copy.backend_id)
        if refusal is not None:
            raise refusal
        try:
            store = self._store(copy.backend_id)

            def note(size: int) -> None:
                received(size)
                if (seconds := store.pace.spend(size)) > 0:
                    self._stop.wait(seconds)

            def once() -> ReadObject:
                return fetch(
                    store.client,
                    copy.key,
                    part,
                    size_bytes=size_bytes,
                    sha256=sha256,
                    stop=self._stop,
                    received=note,
                    durable=durable,
                )

            found = store.retry(once, progress=lambda: part.size)
        except CatalogSyncError as error:
            raise self._judged(copy, error) from error
        with self._lock:
            self._silent[copy.backend_id] = 0
        if copy.status == "damaged" and sha256 is not None:
            self._record(Look(copy, "verified", found.etag, "read"))
        return found

    def _backend(self, backend_id: int) -> ObjectBackend:
        if self._known is None:
            self._known = {b.id: b for b in object_backends(self._catalog)}
        return self._known[backend_id]

    def _store(self, backend_id: int) -> _Store:
        with self._lock:
            if backend_id not in self._stores:
                backend = self._backend(backend_id)
                most = min(self._workers, backend.workers or self._workers)
                client = self._connect(replace(backend, workers=self._workers))
                pace = ConcurrencyLimiter(most, backend.bandwidth_limit)
                retry = Retries(attempts=self._attempts, pace=pace, stop=self._stop)
                self._stores[backend_id] = _Store(client, pace, retry)
            return self._stores[backend_id]

    def _record(self, look: Look) -> None:
        with self._catalog.transaction() as connection:
            record_looks(connection, [look])

    def _judged(self, copy: RemoteCopy, error: CatalogSyncError) -> SourceError:
        """What a failure means for the file, for the object's row, and for its backend."""
        if isinstance(error, DamagedObjectError):
            self._record(Look(copy, "damaged", error.etag or ""))
            return _source_error(error, "SourceDamaged")
        if isinstance(error, StoreError) and is_gone(error):
            self._record(Look(copy, "lost"))
            return _source_error(error, "SourceMissing")
        if isinstance(error, StoreUnavailableError):
            found = _source_error(error, "SourceUnavailable", retryable=True)
            with self._lock:
                self._silent[copy.backend_id] += 1
                if self._silent[copy.backend_id] >= self._workers and not self._stop.is_set():
                    self._refusals[copy.backend_id] = found
            return found
        found = _source_error(error, "SourceRefused")
        if not isinstance(error, StoreError) or error.fatal:
            with self._lock:
                self._refusals[copy.backend_id] = found
        return found


def _source_error(error: CatalogSyncError, code: str, *, retryable: bool = False) -> SourceError:
    hint = error.hint or "look at that backend; another one that has the file is taken next time"
    return SourceError(error.message, code=code, hint=hint, retryable=retryable)
