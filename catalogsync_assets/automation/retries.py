"""A backend that has failed for long is tried by one run now and then, not by all of its cells.

Meanwhile the condition of `remote_locations` requests nothing of it (`assets.resting`), nor do
`reconcile` and the weekly audit. Once the run has gone through, it is a backend like others.
"""

from __future__ import annotations

from datetime import datetime

import dagster as dg

from catalogsync_assets.assets.remote_locations import REASON
from catalogsync_assets.core.catalog.backends import backend_by_name
from catalogsync_assets.core.catalog.cells import waiting_batches
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.failing import Failing

_BACKEND_TAG = "dagster/partition/backend"


def try_again(
    catalog: Catalog, instance: dg.DagsterInstance, broken: Failing, now: datetime
) -> dg.RunRequest | None:
    """A run for one cell of a backend that rests, if it is time for one.

    Whatever cell was run last counts as a try, whoever has asked for that.

    Args:
        now: with its time zone.
    """
    last = instance.get_run_records(dg.RunsFilter(tags={_BACKEND_TAG: broken.backend}), limit=1)
    if last and not last[0].dagster_run.is_finished:
        return None
    if last and now - last[0].create_timestamp < broken.pause(now):
        return None
    waiting = waiting_batches(catalog, backend_by_name(catalog, broken.backend))
    if not waiting:
        return None  # nothing to try it with
    key = dg.MultiPartitionKey({"backend": broken.backend, "batch": waiting[0]})
    return dg.RunRequest(
        run_key=f"{key} tried at {now:%Y-%m-%d %H:%M}",
        partition_key=key,
        tags={REASON: f"to see whether it is back: it {broken.in_words(now)}"},
    )
