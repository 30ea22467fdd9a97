"""Batches of which Dagster has not been told yet that the command line may have filled their cells.

Noted before an upload, so that whatever ends it, or the telling, loses nothing: the next command
tells. Kept in the config of each backend, with why the last try came to nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from catalogsync_assets.core.catalog.backends import (
    OBJECT_STORES,
    BackendRow,
    from_row,
    read_config,
    settings_of,
    write_config,
)
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.stores.backend import ObjectBackend

_UNTOLD = "untold"


def note(catalog: Catalog, backend: ObjectBackend, batches: Collection[str]) -> None:
    """An upload is about to fill cells of these batches on a backend. Idempotent."""
    if batches:
        _change(catalog, backend, add=batches)


def told(
    catalog: Catalog, backend: ObjectBackend, batches: Collection[str], *, why_not: str = ""
) -> None:
    """Dagster has been told of these batches.

    Args:
        why_not: it could not be; they stay noted.
    """
    _change(catalog, backend, **{"add" if why_not else "drop": batches}, why_not=why_not)


def _change(
    catalog: Catalog,
    backend: ObjectBackend,
    *,
    add: Collection[str] = (),
    drop: Collection[str] = (),
    why_not: str | None = None,
) -> None:
    with catalog.transaction() as connection:
        config = read_config(connection, backend.id)
        noted, why = _noted(config)
        batches = sorted({*noted, *add} - set(drop))
        kept = {"batches": batches, "why_not": why if why_not is None else why_not}
        before = config.pop(_UNTOLD, None)
        after = {**config, _UNTOLD: kept} if batches else config
        if after.get(_UNTOLD) != before:
            write_config(connection, backend.id, after)


def untold(catalog: Catalog) -> list[tuple[ObjectBackend, list[str], str]]:
    """Of each backend that has any: the batches, and why Dagster could not be told, if that was
    tried."""
    rows = [BackendRow(*row) for row in catalog.rows(OBJECT_STORES)]
    found = ((row, *_noted(settings_of(row.config))) for row in rows)
    return [(from_row(row), batches, why) for row, batches, why in found if batches]


def _noted(config: dict[str, Any]) -> tuple[list[str], str]:
    kept = config.get(_UNTOLD)
    if not isinstance(kept, dict) or not isinstance(kept.get("batches"), list):
        return [], ""
    return [str(batch) for batch in kept["batches"]], str(kept.get("why_not") or "")
