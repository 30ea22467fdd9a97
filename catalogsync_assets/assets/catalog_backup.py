"""`catalog_backup`: the catalog itself, kept on a backend."""

import warnings

import dagster as dg

from catalogsync_assets.assets.partitions import backends, by_backend
from catalogsync_assets.assets.ui.metadata import Metadata, clear_failures, mebibytes, table
from catalogsync_assets.assets.ui.tables import details
from catalogsync_assets.core.backup.backup import BackupReport, back_up
from catalogsync_assets.core.backup.due import MOST_BEHIND, check_newest
from catalogsync_assets.core.catalog.backends import backend_by_name
from catalogsync_assets.core.errors import CatalogSyncError
from catalogsync_assets.resources import CatalogResource, ObjectStoreResource

_FORM = "%Y-%m-%d %H:%M:%S"


@dg.asset(
    partitions_def=backends,
    deps=[dg.AssetDep("remote_locations", partition_mapping=by_backend)],
    **details("presence", "6-backup", "storage_backends", "s3", "sqlite"),
)
def catalog_backup(
    context: dg.AssetExecutionContext,
    catalog: CatalogResource,
    object_stores: ObjectStoreResource,
) -> dg.MaterializeResult:
    """A snapshot of the catalog on this backend, from which it can be rebuilt.

    None is made while nothing has changed. It is encrypted where `CATALOGSYNC_PASSPHRASE` is set;
    without it, a bucket that is served publicly gets none, which `left out` says.

    More: `docs/backup.md`, *Snapshots*.
    """
    with clear_failures(), catalog.open() as database:
        backend = backend_by_name(database, context.partition_key)
        (report,) = back_up(
            database,
            [backend],
            attempts=object_stores.attempts,
            connect=object_stores.connect,
        )
        if report.status == "failed":
            raise CatalogSyncError(
                f"no snapshot of the catalog on {backend.name}: {report.reason}", hint=report.hint
            )
    if report.reason:
        context.log.warning(f"{backend.name}: no snapshot: {report.reason}")
    if report.readable:
        context.log.warning(f"{backend.name}: {report.of_readable}")
    return dg.MaterializeResult(metadata=_of_report(report))


def _of_report(report: BackupReport) -> Metadata:
    if report.status == "left out":
        shown: Metadata = {"snapshot": "left out", "left out": report.reason, "hint": report.hint}
        return shown | _of_readable(report)
    shown = {
        "snapshot": report.status,
        "key": report.key,
        "size (MiB)": mebibytes(report.size_bytes or 0),
        "catalog (MiB)": mebibytes(report.catalog_bytes),
        "encrypted": report.encrypted,
        "sha256 of the catalog": report.sha256,
        "snapshots there": report.snapshots,
        "older ones removed": report.removed,
        "seconds": round(report.seconds, 3),
    }
    shown |= {"warning": report.warning} if report.warning else {}
    return shown | _of_readable(report)


def _of_readable(report: BackupReport) -> Metadata:
    if not report.readable:
        return {}
    remedy = "`catalogsync catalog backup --remove-readable` deletes them"
    return {"not encrypted": report.readable, "to delete these": remedy}


with warnings.catch_warnings():
    # A check of each backend for itself; a preview in Dagster 1.13, verified in its web UI.
    warnings.filterwarnings("ignore", ".*partitions_def", dg.PreviewWarning)

    @dg.asset_check(asset=catalog_backup, partitions_def=backends)
    def newest_snapshot_opens(
        context: dg.AssetCheckExecutionContext,
        catalog: CatalogResource,
        object_stores: ObjectStoreResource,
    ) -> dg.AssetCheckResult:
        """The newest snapshot is at most 24 hours behind the catalog, and opens: it is read."""
        with clear_failures(), catalog.open() as database:
            backend = backend_by_name(database, context.partition_key)
            found = check_newest(
                database,
                backend,
                attempts=object_stores.attempts,
                connect=object_stores.connect,
            )
        metadata: Metadata = {"may be behind (hours)": MOST_BEHIND.total_seconds() / 3600}
        if found.snapshot is not None and found.true_at is not None:
            metadata["newest"] = found.snapshot.key
            metadata["true at (UTC)"] = f"{found.true_at:{_FORM}}"
        if found.problem is not None:
            metadata["offenders"] = table(
                ("backend", "reason", "hint"), [(backend.name, found.problem, found.hint or "")]
            )
        return dg.AssetCheckResult(
            passed=found.problem is None,
            severity=dg.AssetCheckSeverity.WARN if found.left_out else dg.AssetCheckSeverity.ERROR,
            description=found.problem,
            metadata=metadata,
        )
