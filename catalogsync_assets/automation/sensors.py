"""What happens without anyone asking: new keys become partitions, missing cells are filled."""

import warnings
from datetime import datetime, timezone

import dagster as dg

from catalogsync_assets.assets.partitions import backends, former_keys, missing_keys
from catalogsync_assets.automation.reconcile import Cursor, reconcile, stamp
from catalogsync_assets.automation.retries import try_again
from catalogsync_assets.automation.schedules import JOBS
from catalogsync_assets.core.catalog.database import Catalog, catalog_path
from catalogsync_assets.core.catalog.failing import resting
from catalogsync_assets.core.errors import CatalogSyncError
from catalogsync_assets.resources import CatalogResource


@dg.sensor(
    job=JOBS["upload_batch"],
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Keeps the partitions in line with the catalog: adds new backends and batches, and"
    " takes out what was renamed or removed; reports cells that the command line has filled, and"
    " requests a run for those that have lost files, or whose files have moved. Of a backend that"
    " has failed for long, it requests one cell now and then.",
)
def catalog_partitions(
    context: dg.SensorEvaluationContext, catalog: CatalogResource
) -> dg.SensorResult | dg.SkipReason:
    """Register the keys that this instance does not know; then compare the cells."""
    now, cursor = datetime.now(timezone.utc), Cursor.parse(context.cursor)
    try:
        written = stamp(catalog_path(catalog.location))  # before anything reads it
        with catalog.open() as database:
            # Dagster takes in events before new keys, and an event of an unknown key is lost.
            if keys := _changed_keys(database, context.instance):
                return dg.SensorResult(dynamic_partitions_requests=keys, cursor=context.cursor)
            broken = resting(database, now)
            tries = [t for b in broken if (t := try_again(database, context.instance, b, now))]
            if tries:
                return dg.SensorResult(run_requests=tries, cursor=context.cursor)
            said = "".join(f"; {b.backend} {b.in_words(now)}" for b in broken)
            if cursor.rests(written, now):
                return dg.SkipReason(
                    "every backend and batch of the catalog is a partition, and nothing has"
                    f" changed since all cells matched the catalog{said}"
                )
            return reconcile(
                database, context.instance, cursor, now_stamp=written, now=now, said=said
            )
    except CatalogSyncError as error:
        return dg.SkipReason(str(error))


def _changed_keys(
    catalog: Catalog, instance: dg.DagsterInstance
) -> list[dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest]:
    """What makes the partitions those of the catalog."""
    former = former_keys(catalog, instance)
    missing = missing_keys(catalog, instance).items()
    return [
        *([backends.build_delete_request(former)] if former else []),
        *(definition.build_add_request(keys) for definition, keys in missing if keys),
    ]


def _automation(name: str) -> dg.SensorDefinition:
    """The sensor that does what the automation condition of one asset says."""
    with warnings.catch_warnings():
        # In beta, as conditions of one's own are, and the only way to them that its documentation
        # names (docs.dagster.io: Arbitrary Python automation conditions); tried with 1.13.27.
        warnings.filterwarnings("ignore", ".*use_user_code_server", dg.BetaWarning)
        return dg.AutomationConditionSensorDefinition(
            f"automate_{name}",
            target=dg.AssetSelection.assets(name),
            default_status=dg.DefaultSensorStatus.RUNNING,
            minimum_interval_seconds=30,
            description=f"Materializes {name} as its automation condition says.",
            # Whose condition Dagster's daemon does not know.
            use_user_code_server=name == "remote_locations",
        )


SENSORS: list[dg.SensorDefinition] = [
    catalog_partitions,
    # One sensor an asset: with a single one, a backfill that covers two of them failed with "Unable
    # to determine root partitions" (Dagster 1.13.27).
    *map(_automation, ("pending_uploads", "remote_locations", "backend_presence")),
]
