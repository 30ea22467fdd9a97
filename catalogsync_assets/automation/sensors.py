"""What happens without anyone asking: new keys become partitions, missing cells are filled."""

from datetime import datetime, timezone

import dagster as dg

from catalogsync_assets.assets.partitions import missing_keys
from catalogsync_assets.automation.reconcile import Cursor, reconcile, stamp
from catalogsync_assets.automation.schedules import JOBS
from catalogsync_assets.core.catalog.database import catalog_path
from catalogsync_assets.core.errors import CatalogSyncError
from catalogsync_assets.resources import CatalogResource


@dg.sensor(
    job=JOBS["upload_batch"],
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Keeps the partitions in line with the catalog: adds new backends and batches,"
    " reports cells that the command line has filled, and requests a run for those that have lost"
    " files, or whose files have moved.",
)
def catalog_partitions(
    context: dg.SensorEvaluationContext, catalog: CatalogResource
) -> dg.SensorResult | dg.SkipReason:
    """Register the keys that this instance does not know; then compare the cells."""
    now, cursor = datetime.now(timezone.utc), Cursor.parse(context.cursor)
    try:
        written = stamp(catalog_path(catalog.location))  # before anything reads it
        with catalog.open() as database:
            missing = missing_keys(database, context.instance)
            # Dagster takes in events before new keys, and an event of an unknown key is lost.
            if any(missing.values()):
                return dg.SensorResult(
                    dynamic_partitions_requests=[
                        definition.build_add_request(keys)
                        for definition, keys in missing.items()
                        if keys
                    ],
                    cursor=context.cursor,
                )
            if cursor.rests(written, now):
                return dg.SkipReason(
                    "every backend and batch of the catalog is a partition, and nothing has"
                    " changed since all cells matched the catalog"
                )
            return reconcile(database, context.instance, cursor, now_stamp=written, now=now)
    except CatalogSyncError as error:
        return dg.SkipReason(str(error))


SENSORS: list[dg.SensorDefinition] = [
    catalog_partitions,
    # One sensor an asset: with a single one, a backfill that covers two of them failed with "Unable
    # to determine root partitions" (Dagster 1.13.27).
    *(
        dg.AutomationConditionSensorDefinition(
            f"automate_{name}",
            target=dg.AssetSelection.assets(name),
            default_status=dg.DefaultSensorStatus.RUNNING,
            minimum_interval_seconds=30,
            description=f"Materializes {name} as its automation condition says.",
        )
        for name in ("pending_uploads", "remote_locations", "backend_presence")
    ),
]
