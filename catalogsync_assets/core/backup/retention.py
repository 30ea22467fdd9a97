"""Which snapshots stay on a backend, and how the others go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from itertools import islice

from catalogsync_assets.core.backup.snapshots import Snapshot, owner_tag
from catalogsync_assets.core.errors import NotRemoved
from catalogsync_assets.core.stores import removing
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.removing import KnownObject
from catalogsync_assets.core.stores.retry import Retry


def kept(snapshots: Sequence[Snapshot], last: int, weeks: int, months: int) -> list[Snapshot]:
    """The snapshots of one catalog that stay: the last ones; of those before, the newest of each of
    so many weeks; of those before these, the newest of each of so many months.

    A week or month without a snapshot is not counted. What stays at one time stays the next, until
    a newer one of its week or month comes in its place.

    Args:
        snapshots: in any order.
    """
    newest_first = sorted(snapshots, key=lambda s: s.made_at, reverse=True)
    stay, rest = newest_first[:last], newest_first[last:]
    of_weeks, rest = _newest_of_each(rest, weeks, lambda s: s.made_at.isocalendar()[:2])
    of_months, _ = _newest_of_each(rest, months, lambda s: (s.made_at.year, s.made_at.month))
    return stay + of_weeks + of_months


def _newest_of_each(
    snapshots: Sequence[Snapshot], count: int, period: Callable[[Snapshot], tuple[int, ...]]
) -> tuple[list[Snapshot], list[Snapshot]]:
    """The newest of each of the last periods; and what is older than all of these periods."""
    newest: dict[tuple[int, ...], Snapshot] = {}
    for snapshot in snapshots:
        newest.setdefault(period(snapshot), snapshot)
    chosen = dict(islice(newest.items(), count))
    return list(chosen.values()), [s for s in snapshots if period(s) not in chosen]


def remove(client: StoreClient, snapshot: Snapshot, *, retry: Retry) -> bool:
    """Delete a snapshot, if looks show that its catalog has put it. Idempotent.

    Its key is of one second of one catalog, and never written twice: what is looked at is what
    goes, by the rules of `stores.removing`. What a bucket keeps of older versions stays.

    Returns:
        Whether it is gone; False for one that is not ours, which stays.

    Raises:
        StoreError: the store refused, or was silent.
    """
    found = retry(lambda: client.head(snapshot.key))
    if found is None:
        return True
    owner, _, what = owner_tag(snapshot.catalog_id).partition("/")
    now = datetime.now(timezone.utc).replace(tzinfo=None)
    known = KnownObject(snapshot.key, found.etag, found.size_bytes, owner, what, now)
    try:
        retry(lambda: removing.remove(client, known))
    except NotRemoved:
        return False
    return True
