"""Whether a catalog is in doubt for a backend, as far as its own rows tell.

What raises a doubt, and what ends it, is in `backends.generation`, which asks the stores.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.schema import audits, storage_backends
from catalogsync_assets.core.errors import GenerationDoubtedError
from catalogsync_assets.core.stores.backend import ObjectBackend

_ROW = storage_backends.c


def is_doubted(catalog: Catalog, backend: ObjectBackend) -> bool:
    """Whether this catalog may not be the one that has changed the backend last, as far as that was
    noted; see `look`."""
    with catalog.read() as connection:
        row = row_of(connection, backend)
        return row.generation_doubted_at is not None and not is_settled(connection, backend, row)


def require_undoubted(catalog: Catalog, backend: ObjectBackend) -> None:
    """The gate before anything on the backend is replaced, moved or pruned, or relied on for the
    removal of a local file.

    Raises:
        GenerationDoubtedError: this catalog may not be the one that has changed it last.
    """
    if not is_doubted(catalog, backend):
        return
    with catalog.read() as connection:
        confirmed = row_of(connection, backend).generation_confirmed is not None
    name = backend.name
    message = f"backend {name!r} was changed by another copy of this catalog, or by another catalog"
    hint = (
        f"if this is the one that counts: `catalogsync catalog confirm --backend {name}`, then"
        f" `catalogsync verify --backend {name}`"
    )
    if confirmed:
        message = f"backend {name!r} was not audited yet since this catalog was confirmed for it"
        hint = f"`catalogsync verify --backend {name}` compares all that is there"
    raise GenerationDoubtedError(message, code="GenerationDoubted", hint=hint)


def row_of(connection: sa.Connection, backend: ObjectBackend) -> Any:
    """What is noted of the doubt: `generation_doubted_at` and `generation_confirmed`."""
    columns = (_ROW.generation_doubted_at, _ROW.generation_confirmed)
    return connection.execute(sa.select(*columns).where(_ROW.id == backend.id)).one()


def is_settled(connection: sa.Connection, backend: ObjectBackend, row: Any) -> bool:
    """Whether a complete audit has run since the catalog was confirmed."""
    if row.generation_confirmed is None:
        return False
    of = audits.c
    complete = (
        sa.select(sa.literal(1))
        .where(of.backend_id == backend.id, of.id > row.generation_confirmed)
        .where(of.status == "complete", of.sample_percent.is_(None), of.since.is_(None))
        .where(of.scope.is_(None))
        .limit(1)
    )
    return connection.scalar(complete) is not None
