"""Objects that are about to be deleted: who may do that, and what a killed run has left.

Of a location that is `pruning` it is not known whether its object is still there. Nobody puts
anything there meanwhile, so a look tells: what is gone is `removed`, what is there is again what it
was. Nothing is deleted here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from catalogsync_assets.core.catalog import locations, remote_copies
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.locks import lock
from catalogsync_assets.core.catalog.remote_copies import RemoteCopy
from catalogsync_assets.core.errors import CatalogError, StoreError
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.removing import is_gone
from catalogsync_assets.core.stores.retry import Retry, once

#: Seconds to wait for another process that only sets something right, or adopts what is there.
PATIENCE = 5.0
_LOCK = "prune-lock"
_PAGE = 256
_LEFT = sa.text("""
SELECT id FROM file_locations WHERE status = 'pruning' AND backend_id = :backend AND id > :after
ORDER BY id LIMIT :page
""")


@contextmanager
def right_to_prune(catalog: Catalog) -> Iterator[None]:
    """The right to delete objects of this catalog's backends; one process at a time has it.

    Raises:
        CatalogError: another process has it, or adopts objects.
    """
    with lock(catalog, _LOCK, patience=PATIENCE) as right:
        if not right:
            raise CatalogError(
                f"another process deletes, or adopts, objects of the catalog {catalog.path}",
                hint="wait for it, then run this again",
            )
        yield


@contextmanager
def no_pruning(catalog: Catalog) -> Iterator[None]:
    """As long as the block runs nobody deletes objects: what is found there will be there.

    For those who record what they have found without a task that names its key. Several may ask for
    this at once.

    Raises:
        CatalogError: somebody is deleting objects.
    """
    with lock(catalog, _LOCK, shared=True, patience=PATIENCE) as right:
        if not right:
            raise CatalogError(
                f"another process deletes objects of the catalog {catalog.path}",
                hint="wait for it, then run this again",
            )
        yield


def is_anything_left(catalog: Catalog, backend: ObjectBackend) -> bool:
    """Whether there are locations of a backend whose objects are about to be deleted."""
    with catalog.read() as connection:
        values = {"backend": backend.id, "after": 0, "page": 1}
        return connection.scalars(_LEFT, values).first() is not None


def settle_left(
    catalog: Catalog, backend: ObjectBackend, connect: Callable[[ObjectBackend], StoreClient]
) -> int:
    """Set right what a killed run has left on a backend, unless one is going on.

    Does not raise if the store refuses or is silent: it is left to the next.

    Args:
        connect: makes the client of the store; called only if there is something.

    Returns:
        How many locations were set right.
    """
    if not is_anything_left(catalog, backend):
        return 0
    with lock(catalog, _LOCK) as right:
        return settle(catalog, connect(backend)) if right else 0


def settle(catalog: Catalog, client: StoreClient, *, retry: Retry = once) -> int:
    """The same, for whoever has the right to prune."""
    settled, after = 0, 0
    while True:
        values = {"backend": client.backend.id, "after": after, "page": _PAGE}
        with catalog.read() as connection:
            page = list(connection.scalars(_LEFT, values))
            left = remote_copies.copies_by_id(connection, page)
        if not page:
            return settled
        after = page[-1]
        gone, there = list[int](), list[int]()
        for copy in left.values():
            try:
                (gone if _is_gone(client, copy, retry) else there).append(copy.location_id)
            except StoreError:
                continue
        with catalog.transaction() as connection:
            settled += locations.apply(connection, "pruned", gone)
            locations.spare(connection, there)
        settled += len(there)


def _is_gone(client: StoreClient, copy: RemoteCopy, retry: Retry) -> bool:
    found = retry(lambda: client.head(copy.key))
    return found is None and bool(retry(lambda: is_gone(client, copy.key)))
