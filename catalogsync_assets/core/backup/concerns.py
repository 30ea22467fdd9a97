"""What is to be said of snapshots and of doubts without asking any store."""

from __future__ import annotations

from dataclasses import dataclass

from catalogsync_assets.core.catalog.backends import object_backends
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.doubts import require_undoubted
from catalogsync_assets.core.errors import GenerationDoubtedError
from catalogsync_assets.core.settings import PASSPHRASE_VARIABLE, passphrase
from catalogsync_assets.core.stores.backend import ObjectBackend

#: Rows that a command has changed, for a snapshot to be worth its while: some hundred files.
MUCH = 1_000


def why_left_out(backend: ObjectBackend) -> str | None:
    """Why a backend gets no snapshot; None if it gets one."""
    if backend.public_base_url and passphrase() is None:
        return "the bucket is served publicly, and the snapshot would not be encrypted"
    return None


@dataclass(frozen=True)
class Concern:
    """What endangers the catalog, or what a backend has, as far as the catalog knows."""

    backend: str
    reason: str
    hint: str | None


def concerns(catalog: Catalog) -> list[Concern]:
    """Of backends that get no snapshots, and of those that another copy of the catalog has changed.

    No store is asked.
    """
    found = []
    for backend in object_backends(catalog):
        if (why := why_left_out(backend)) is not None:
            reason = f"no snapshot of the catalog is kept there: {why}"
            found.append(Concern(backend.name, reason, f"set {PASSPHRASE_VARIABLE}"))
        try:
            require_undoubted(catalog, backend)
        except GenerationDoubtedError as error:
            found.append(Concern(backend.name, error.message, error.hint))
    return found
