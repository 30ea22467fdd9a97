"""Whether a catalog is in doubt for a backend, as far as its own rows tell.

What raises a doubt, and what ends it, is in `backends.generation`, which asks the stores.
"""

from __future__ import annotations

from typing import Any

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.lazy import sa, sa_text
from catalogsync_assets.core.errors import GenerationDoubtedError
from catalogsync_assets.core.stores.backend import ObjectBackend

_NOTED = "SELECT generation_doubted_at, generation_confirmed FROM storage_backends WHERE id = :id"
# A complete audit that has run since.
_SETTLED = """
SELECT 1 FROM audits WHERE backend_id = :id AND id > :confirmed AND status = 'complete'
  AND sample_percent IS NULL AND since IS NULL AND scope IS NULL LIMIT 1
"""


def is_doubted(catalog: Catalog, backend: ObjectBackend) -> bool:
    """Whether this catalog may not be the one that has changed the backend last, as far as that was
    noted; see `look`."""
    with catalog.view() as rows:
        ((doubted_at, confirmed),) = rows(_NOTED, id=backend.id)
        return doubted_at is not None and not rows(_SETTLED, id=backend.id, confirmed=confirmed)


def require_undoubted(catalog: Catalog, backend: ObjectBackend) -> None:
    """The gate before anything on the backend is replaced, moved or pruned, or relied on for the
    removal of a local file.

    Raises:
        GenerationDoubtedError: this catalog may not be the one that has changed it last.
    """
    if not is_doubted(catalog, backend):
        return
    ((_, confirmed),) = catalog.rows(_NOTED, id=backend.id)
    name = backend.name
    message = f"backend {name!r} was changed by another copy of this catalog, or by another catalog"
    hint = (
        f"if this is the one that counts: `catalogsync catalog confirm --backend {name}`, then"
        f" `catalogsync verify --backend {name}`"
    )
    if confirmed is not None:
        message = f"backend {name!r} was not audited yet since this catalog was confirmed for it"
        hint = f"`catalogsync verify --backend {name}` compares all that is there"
    raise GenerationDoubtedError(message, code="GenerationDoubted", hint=hint)


def row_of(connection: sa.Connection, backend: ObjectBackend) -> Any:
    """What is noted of the doubt: `generation_doubted_at` and `generation_confirmed`."""
    return connection.execute(sa_text(_NOTED), {"id": backend.id}).one()


def is_settled(connection: sa.Connection, backend: ObjectBackend, row: Any) -> bool:
    """Whether a complete audit has run since the catalog was confirmed."""
    values = {"id": backend.id, "confirmed": row.generation_confirmed}
    return connection.scalar(sa_text(_SETTLED), values) is not None
