"""Reads objects of the registered backends, for whoever needs a file that is not here.

One backend that refuses or has fallen silent is not asked for every file again, and spoils nothing
for the others. What a read proves of an object - another content, or that it is gone - is recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from catalogsync_assets.core.backends.connections import Connection, Connections
from catalogsync_assets.core.catalog.backends import object_backends
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.locations import Look, record_looks
from catalogsync_assets.core.catalog.remote_copies import RemoteCopy
from catalogsync_assets.core.errors import (
    CatalogSyncError,
    DamagedObjectError,
    SourceError,
    StoreError,
    StoreUnavailableError,
)
from catalogsync_assets.core.files.partial import PartialFile
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.fetch import fetch, is_gone
from catalogsync_assets.core.stores.objects import ReadObject, StoredObject


@dataclass(eq=False)
class Replicas:
    """The backends that a run reads from. Thread-safe."""

    _catalog: Catalog
    _connections: Connections

    @property
    def retries(self) -> int:
        """Tries that had to be repeated so far."""
        return self._connections.retries

    def name(self, backend_id: int) -> str:
        """What a backend is called."""
        return self._backends[backend_id].name

    def client(self, backend_id: int) -> StoreClient:
        """The client of a backend.

        Raises:
            ConfigurationError: it has no credentials.
        """
        return self._connections.to(self._backends[backend_id]).client

    @cached_property
    def _backends(self) -> dict[int, ObjectBackend]:
        return {b.id: b for b in object_backends(self._catalog)}

    def head(self, copy: RemoteCopy) -> StoredObject | None:
        """What the store says of an object; None if it says that there is none.

        Raises:
            SourceError: it does not say.
        """
        try:
            return self._connections.ask(
                self._backends[copy.backend_id],
                lambda to: to.retry(lambda: to.client.head(copy.key)),
            )
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

        def read(connection: Connection) -> ReadObject:
            def note(size: int) -> None:
                received(size)
                if (seconds := connection.limiter.spend(size)) > 0:
                    stop.wait(seconds)

            def once() -> ReadObject:
                return fetch(
                    connection.client,
                    copy.key,
                    part,
                    size_bytes=size_bytes,
                    sha256=sha256,
                    stop=stop,
                    received=note,
                    durable=durable,
                )

            return connection.retry(once, progress=lambda: part.size)

        stop = self._connections.stop
        try:
            found = self._connections.ask(self._backends[copy.backend_id], read)
        except CatalogSyncError as error:
            raise self._judged(copy, error) from error
        if copy.status == "damaged" and sha256 is not None:
            self._record(Look(copy, "verified", found.etag, "read"))
        return found

    def _record(self, look: Look) -> None:
        with self._catalog.transaction() as connection:
            record_looks(connection, [look])

    def _judged(self, copy: RemoteCopy, error: CatalogSyncError) -> SourceError:
        """What a failure means for the file, and for the object's row."""
        if isinstance(error, DamagedObjectError):
            self._record(Look(copy, "damaged", error.etag or ""))
            code = "SourceDamaged"
        elif isinstance(error, StoreError) and is_gone(error):
            self._record(Look(copy, "lost"))
            code = "SourceMissing"
        elif isinstance(error, StoreUnavailableError):
            code = "SourceUnavailable"
        else:
            code = "SourceRefused"
        hint = (
            error.hint or "look at that backend; another one that has the file is taken next time"
        )
        retryable = code == "SourceUnavailable"
        return SourceError(error.message, code=code, hint=hint, retryable=retryable)
