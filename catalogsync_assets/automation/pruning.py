"""The job that deletes old weight from every backend, and its schedule, which is off until a person
turns it on."""

import dagster as dg
from pydantic import Field

from catalogsync_assets.assets.ui.metadata import clear_failures, mebibytes, table
from catalogsync_assets.assets.ui.progress import now_and_then
from catalogsync_assets.core.catalog.backends import object_backends
from catalogsync_assets.core.errors import CatalogSyncError
from catalogsync_assets.core.prune.prune import DEFAULT_DAYS, PruneReport, prune
from catalogsync_assets.core.settings import timezone
from catalogsync_assets.resources import CatalogResource, ObjectStoreResource

_DAY_SECONDS = 86_400


class PruneConfig(dg.Config):
    """What goes. Copies below `.catalogsync/old/` go in any case once their time is over."""

    superseded: bool = Field(
        default=True, description="What files have moved away from, and their earlier contents."
    )
    forgotten: bool = Field(default=False, description="The objects of forgotten files.")
    older_than_days: float = Field(
        default=DEFAULT_DAYS, ge=0, description="Only what has been so for so many days."
    )
    keep_copies: int = Field(
        default=0,
        ge=0,
        description="An object goes only if so many stores are proven to hold its content besides.",
    )
    delete: bool = Field(default=True, description="False: only say what would go.")


@dg.op(tags={"kind": "s3"})
def delete_old_weight(
    context: dg.OpExecutionContext,
    config: PruneConfig,
    catalog: CatalogResource,
    object_stores: ObjectStoreResource,
) -> None:
    """Delete from each backend what is old weight there, as `catalogsync prune` does.

    A backend that does not answer, or does not keep conditions of a delete, does not keep the
    others from it; the run fails in the end.

    Raises:
        Failure: of a backend not all went well.
    """
    reports: list[PruneReport] = []
    troubles: list[str] = []
    with clear_failures(), catalog.open() as database:
        for backend in object_backends(database):
            try:
                report = prune(
                    database,
                    backend,
                    superseded=config.superseded,
                    forgotten=config.forgotten,
                    older_than_seconds=None
                    if config.older_than_days == DEFAULT_DAYS
                    else config.older_than_days * _DAY_SECONDS,
                    keep_copies=config.keep_copies,
                    dry_run=not config.delete,
                    connect=object_stores.connect,
                    progress=now_and_then(context.log.info, _line),
                )
            except CatalogSyncError as error:
                hint = f" ({error.hint})" if error.hint else ""
                troubles.append(f"{error}{hint}")
                continue
            context.log.info(_line(report))
            reports.append(report)
            troubles += [failure.reason for failure in report.failures]
    context.add_output_metadata(
        {
            "objects deleted": sum(report.removed for report in reports),
            "freed (MiB)": mebibytes(sum(report.removed_bytes for report in reports)),
            "stay": table(
                ("backend", "why", "objects"),
                [(r.backend, why, n) for r in reports for why, n in r.left.items()],
            ),
        }
    )
    if troubles:
        raise dg.Failure("; ".join(troubles[:5]), allow_retries=False)


def _line(report: PruneReport) -> str:
    verb = "would be deleted" if report.dry_run else "deleted"
    count = report.candidates if report.dry_run else report.removed
    return f"{report.backend}: {count:,} of {report.candidates:,} objects {verb}"


@dg.job(description="Delete old weight from every backend.")
def prune_backends() -> None:
    """One step: the backends go one after the other."""
    delete_old_weight()


#: Off until a person turns it on.
monthly_prune = dg.ScheduleDefinition(
    name="monthly_prune",
    job=prune_backends,
    cron_schedule="0 5 1 * *",
    execution_timezone=timezone(),
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Delete old weight on the first of each month. Off until it is turned on.",
)
