"""What may go by what a person asks for, and how much that is. Asks no store."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from catalogsync_assets.core.catalog.backends import object_backends
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.separation import separation
from catalogsync_assets.core.prune.report import Estimate
from catalogsync_assets.core.settings import keep_replaced_days
from catalogsync_assets.core.stores.backend import ObjectBackend

if TYPE_CHECKING:
    from catalogsync_assets.core.prune.queries import OldWeight, Rules

#: How long an object must have been old weight, unless told.
DEFAULT_DAYS = 30
#: Of files with a past that an estimate looks through: some ten thousand.
_PAGES_OF_ESTIMATE = 20
_HAS_PAST = "SELECT 1 FROM file_locations WHERE status IN ('superseded', 'forgotten') LIMIT 1"


def rules(*, superseded: bool, forgotten: bool, age: float | None) -> Rules:
    """What may go; see `prune` for the arguments.

    Args:
        age: seconds; None for the default.
    """
    from catalogsync_assets.core.prune.queries import Rules

    kept = timedelta(days=keep_replaced_days())
    if age is None:
        return Rules(superseded, forgotten, timedelta(days=DEFAULT_DAYS), kept)
    grace = timedelta(seconds=age)
    return Rules(superseded, forgotten, grace, min(grace, kept) if superseded else kept)


def weight_of(catalog: Catalog, backend: ObjectBackend, rules: Rules) -> OldWeight:
    """The old weight of a backend, with those that may be on its bucket under another name."""
    from catalogsync_assets.core.prune.queries import OldWeight

    verdicts = separation(catalog).verdicts
    sharing = [backend]
    for other in object_backends(catalog):
        verdict = verdicts.get(frozenset((backend.id, other.id)))
        may_be_same = other.bucket == backend.bucket and verdict != "apart"
        if other.id != backend.id and (verdict == "same" or may_be_same):
            sharing.append(other)
    return OldWeight(backend, rules, sharing)


def old_weight(catalog: Catalog, backend: ObjectBackend) -> Estimate:
    """What `prune` would free on a backend, as the catalog says. Asks no store, and takes a few
    tenths of a second at most: it looks through some ten thousand files with a past."""
    found = Estimate()
    if not catalog.rows(_HAS_PAST):
        return found
    weight = weight_of(catalog, backend, rules(superseded=True, forgotten=True, age=None))
    for verdict in weight.verdicts(catalog, pages=_PAGES_OF_ESTIMATE):
        if verdict is None:
            found.whole = False
        elif verdict.candidate is not None:
            found.add(verdict.size_bytes)
    return found
