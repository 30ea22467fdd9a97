"""Files that are no longer here, but on another backend: brought here, one by one, to be uploaded.

A copy lies beside the catalog, in the folder of parts, as long as its upload takes; those that a
killed run has left are removed by the next. It is sent only once its digest is the catalog's.
"""

from __future__ import annotations

import errno
import itertools
import os
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from catalogsync_assets.core.backends import ObjectBackend
from catalogsync_assets.core.catalog.backends import catalog_id, object_backends
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.leases import UploadTask
from catalogsync_assets.core.catalog.locations import mark, mark_damaged
from catalogsync_assets.core.errors import (
    CatalogSyncError,
    DamagedObjectError,
    StoreError,
    StoreUnavailableError,
)
from catalogsync_assets.core.files import parts
from catalogsync_assets.core.files.parts import Part
from catalogsync_assets.core.transfer.fetch import fetch, is_gone
from catalogsync_assets.core.transfer.retries import retrying
from catalogsync_assets.core.transfer.source import SourceError
from catalogsync_assets.core.transfer.stores import StoreClient

# Of every copy: a large upload that is gone on from knows its source by size and mtime, and what
# this content is does not depend on when it was fetched.
_MTIME_NS = 1
_FULL = frozenset((errno.ENOSPC, errno.EDQUOT))


class Copies:
    """The copies that a run makes. Thread-safe."""

    def __init__(
        self,
        catalog: Catalog,
        connect: Callable[[ObjectBackend], StoreClient],
        *,
        attempts: int,
        patience: int,
        stop: threading.Event,
    ) -> None:
        """
        Args:
            connect: makes the client of a backend; called once for each.
            attempts: tries of one object in a row that bring nothing.
            patience: objects in a row for which a backend has no answer, after which it is not
                asked again.
            stop: once set, nothing more is read.
        """
        self._catalog = catalog
        self._connect = connect
        self._attempts = attempts
        self._patience = patience
        self._stop = stop
        self._lock = threading.Lock()
        self._known: dict[int, ObjectBackend] | None = None
        self._clients: dict[int, StoreClient] = {}
        self._silent: Counter[int] = Counter()
        self._refusals: dict[int, SourceError] = {}
        self._root = catalog.path.parent
        self._prefix = f"{catalog_id(catalog)}-copy-"
        # The same task may be carried out twice at a time.
        self._numbers = itertools.count()
        self._run = secrets.token_hex(4)
        parts.remove_unheld(self._root, self._prefix)

    @contextmanager
    def here(self, task: UploadTask) -> Iterator[UploadTask]:
        """A task whose source is a local file with the content of the given task's source.

        Raises:
            SourceError: it cannot be had, or is not what the catalog says; one that is proven to
                be damaged or gone is marked so, and the next plan takes another source.
        """
        part = Part(self._root, f"{self._prefix}{self._run}-{next(self._numbers)}")
        try:
            try:
                part.open()
                self._fetch(task, part)
                os.utime(part.path, ns=(_MTIME_NS, _MTIME_NS))
            except OSError as error:
                raise self._cannot_keep(error) from error
            yield replace(task, path=str(part.path), mtime_ns=_MTIME_NS, source_backend_id=None)
        finally:
            part.discard()
            part.close()

    def _fetch(self, task: UploadTask, part: Part) -> None:
        source = task.source_backend_id
        assert source is not None
        if source in self._refusals:
            raise self._refusals[source]
        try:
            client = self._client(source)
            again = retrying(self._attempts, self._stop, progress=lambda: part.size)
            again(
                lambda: fetch(
                    client,
                    task.path,
                    part,
                    size_bytes=task.size_bytes,
                    sha256=task.sha256,
                    stop=self._stop,
                    durable=False,
                )
            )
        except OSError:
            raise
        except CatalogSyncError as error:
            raise self._judged(task, error) from error
        self._silent[source] = 0

    def _client(self, backend_id: int) -> StoreClient:
        with self._lock:
            if backend_id not in self._clients:
                if self._known is None:
                    self._known = {b.id: b for b in object_backends(self._catalog)}
                self._clients[backend_id] = self._connect(self._known[backend_id])
            return self._clients[backend_id]

    def _judged(self, task: UploadTask, error: CatalogSyncError) -> SourceError:
        """What a failure means for the file, for its source's row, and for the source's backend."""
        source = task.source_backend_id
        assert source is not None
        if isinstance(error, DamagedObjectError):
            mark_damaged(self._catalog, task.source_location_id, error.etag)
            return _source_error(error, "SourceDamaged")
        if isinstance(error, StoreError) and is_gone(error):
            mark(self._catalog, [task.source_location_id], "missing")
            return _source_error(error, "SourceMissing")
        if isinstance(error, StoreUnavailableError):
            found = _source_error(error, "SourceUnavailable", retryable=True)
            with self._lock:
                self._silent[source] += 1
                if self._silent[source] >= self._patience and not self._stop.is_set():
                    self._refusals[source] = found
            return found
        found = _source_error(error, "SourceRefused")
        if not isinstance(error, StoreError) or error.fatal:
            self._refusals[source] = found
        return found

    def _cannot_keep(self, error: OSError) -> SourceError:
        full = error.errno in _FULL
        return SourceError(
            f"a copy from another backend cannot be kept below {self._root}: {error.strerror}",
            code="NoRoom" if full else "CopyRefused",
            hint="free some space there" if full else "check the folder's permissions",
        )


def _source_error(error: CatalogSyncError, code: str, *, retryable: bool = False) -> SourceError:
    return SourceError(
        f"no local file, and the copy to take instead cannot be had: {error.message}",
        code=code,
        hint=error.hint or "plan again, to take another source if there is one",
        retryable=retryable,
    )
