"""The weekly audit: every backend is held against the catalog, one run each."""

import dagster as dg

from catalogsync_assets.automation.jobs import audit_job
from catalogsync_assets.core.catalog.backends import object_backends
from catalogsync_assets.core.errors import CatalogSyncError
from catalogsync_assets.core.settings import timezone
from catalogsync_assets.resources import CatalogResource


@dg.schedule(
    name="weekly_audit",
    job=audit_job,
    cron_schedule="0 4 * * 0",
    execution_timezone=timezone(),
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Audit every backend each Sunday.",
)
def weekly_audit(
    context: dg.ScheduleEvaluationContext, catalog: CatalogResource
) -> list[dg.RunRequest] | dg.SkipReason:
    """One run for each backend; their keys are partitions once the sensor has seen them."""
    try:
        with catalog.open() as database:
            names = [backend.name for backend in object_backends(database)]
    except CatalogSyncError as error:
        return dg.SkipReason(str(error))
    known = set(context.instance.get_dynamic_partitions("backend"))
    day = f"{context.scheduled_execution_time:%Y-%m-%d}"
    requests = [
        dg.RunRequest(f"{name} {day}", partition_key=name) for name in names if name in known
    ]
    return requests or dg.SkipReason("no backend is registered")
