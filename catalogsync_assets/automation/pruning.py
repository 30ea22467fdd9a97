"""The job that deletes old weight from every backend, and its schedule, which is off until a person
turns it on."""

import dagster as dg
from pydantic import Field

from catalogsync_assets.assets.ui.metadata import Metadata, clear_failures, mebibytes, table
from catalogsync_assets.assets.ui.progress import now_and_then
from catalogsync_assets.core.catalog.backends import object_backends
from catalogsync_assets.core.errors import CatalogSyncError, NoConditionsError
from catalogsync_assets.core.prune.prune import DEFAULT_DAYS, PruneReport, prune
from catalogsync_assets.core.prune.report import LEFT, REASONS
from catalogsync_assets.core.settings import timezone
from catalogsync_assets.resources import CatalogResource, ObjectStoreResource

_DAY_SECONDS = 86_400
_NO_CONDITIONS = (
    "all: its store cannot be told which version is to be deleted; `catalogsync prune"
    " --unconditional` says what that means"
)


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
    unconditional: bool = Field(
        default=False,
        description="Delete even where the store cannot be told which version is meant: what"
        " another program puts at a key between the look and the delete is lost.",
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

    A backend that does not answer does not keep the others from it; the run fails in the end. One
    whose store cannot be told which version is to be deleted keeps its old weight, unless the run
    says `unconditional`; that is no failure, as it would be one each time.

    Raises:
        Failure: of a backend not all went well.
    """
    reports: list[PruneReport] = []
    troubles: list[str] = []
    staying: list[tuple[str, str, str]] = []
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
                    unconditional=config.unconditional,
                    dry_run=not config.delete,
                    connect=object_stores.connect,
                    progress=now_and_then(context.log.info, _line),
                )
            except NoConditionsError as error:
                context.log.warning(error.message)
                staying.append((backend.name, _NO_CONDITIONS, ""))
                continue
            except CatalogSyncError as error:
                troubles.append(str(error))
                continue
            context.log.info(_line(report))
            reports.append(report)
            staying += [(backend.name, LEFT[why], f"{n:,}") for why, n in report.left.items()]
            troubles += [failure.reason for failure in report.failures]
    metadata = {**_of_reports(reports), "stay": table(("backend", "why", "objects"), staying)}
    if troubles:
        raise dg.Failure("; ".join(troubles[:5]), metadata=metadata, allow_retries=False)
    context.add_output_metadata(metadata)


def _of_reports(reports: list[PruneReport]) -> Metadata:
    """What went, or would go."""
    old = [
        (report.backend, REASONS[reason], weight.files, mebibytes(weight.bytes))
        for report in reports
        for reason, weight in report.reasons_to_go.items()
    ]
    return {
        "dry run": any(report.dry_run for report in reports),
        "objects deleted": sum(report.removed for report in reports),
        "freed (MiB)": mebibytes(sum(report.removed_bytes for report in reports)),
        "old weight": table(("backend", "why", "objects", "MiB"), old),
        "not old enough yet": sum(report.younger.files for report in reports),
    }


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
