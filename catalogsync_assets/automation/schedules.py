"""Jobs to launch by name, and what runs by the clock.

Dagster fixes the time zone when it loads the definitions: restart it after a change.
"""

from typing import Any

import dagster as dg

from catalogsync_assets.core.catalog.backends import object_backends
from catalogsync_assets.core.catalog.failing import resting
from catalogsync_assets.core.errors import CatalogSyncError
from catalogsync_assets.core.settings import timezone
from catalogsync_assets.resources import CatalogResource

#: By name. One asset each: a run has the partitions of one.
JOBS = {
    name: dg.define_asset_job(name, selection=[asset], description=description)
    for name, asset, description in (
        ("scan_library", "downloaded_files", "Scan the library, and group new files into batches."),
        ("plan_uploads", "pending_uploads", "Queue what a backend lacks."),
        ("upload_batch", "remote_locations", "Bring a batch of files to a backend."),
        ("refresh_presence", "backend_presence", "Show what is where, as the catalog has it."),
        ("audit_backend", "backend_audit", "Compare what a store holds with the catalog."),
        ("back_up_catalog", "catalog_backup", "Keep a snapshot of the catalog on a backend."),
    )
}

_BY_THE_CLOCK: dict[str, Any] = {
    "execution_timezone": timezone(),
    "default_status": dg.DefaultScheduleStatus.RUNNING,
}

#: The first step of every night; the sensors carry on from what it finds.
nightly_scan = dg.ScheduleDefinition(
    name="nightly_scan",
    job=JOBS["scan_library"],
    cron_schedule="0 3 * * *",
    description="Scan the library each night; what is new goes up by itself.",
    **_BY_THE_CLOCK,
)


@dg.schedule(
    job=JOBS["audit_backend"],
    cron_schedule="0 4 * * 0",
    description="Audit every backend each Sunday.",
    **_BY_THE_CLOCK,
)
def weekly_audit(
    context: dg.ScheduleEvaluationContext, catalog: CatalogResource
) -> list[dg.RunRequest] | dg.SkipReason:
    """One run for each backend that has not failed for long; their keys are partitions once the
    sensor has seen them."""
    return _one_run_each(context, catalog)


@dg.schedule(
    job=JOBS["back_up_catalog"],
    # After the sweep, so that what the night has brought is in it.
    cron_schedule="30 5 * * *",
    description="Keep a snapshot of the catalog on every backend each night.",
    **_BY_THE_CLOCK,
)
def nightly_backup(
    context: dg.ScheduleEvaluationContext, catalog: CatalogResource
) -> list[dg.RunRequest] | dg.SkipReason:
    """One run for each backend, likewise."""
    return _one_run_each(context, catalog)


def _one_run_each(
    context: dg.ScheduleEvaluationContext, catalog: CatalogResource
) -> list[dg.RunRequest] | dg.SkipReason:
    now = context.scheduled_execution_time
    try:
        with catalog.open() as database:
            broken = {found.backend: found for found in resting(database, now)}
            names = [backend.name for backend in object_backends(database)]
            left_out = "; ".join(f"{name} {found.in_words(now)}" for name, found in broken.items())
    except CatalogSyncError as error:
        return dg.SkipReason(str(error))
    known = set(context.instance.get_dynamic_partitions("backend"))
    requests = [
        dg.RunRequest(f"{name} {now:%Y-%m-%d}", partition_key=name)
        for name in names
        if name in known and name not in broken
    ]
    return requests or dg.SkipReason(left_out or "no backend is registered")


SCHEDULES = [nightly_scan, weekly_audit, nightly_backup]
