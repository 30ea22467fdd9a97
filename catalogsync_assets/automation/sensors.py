"""What happens without anyone asking: new keys become partitions, missing cells are filled."""

import dagster as dg

from catalogsync_assets.assets.partitions import missing_keys
from catalogsync_assets.core.errors import CatalogSyncError
from catalogsync_assets.resources import CatalogResource


@dg.sensor(
    name="catalog_partitions",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Makes backends and batches that the command line has added partitions here too.",
)
def catalog_partitions(
    context: dg.SensorEvaluationContext, catalog: CatalogResource
) -> dg.SensorResult | dg.SkipReason:
    """Register the keys that the catalog knows and this instance does not."""
    try:
        with catalog.open() as database:
            missing = missing_keys(database, context.instance)
    except CatalogSyncError as error:
        return dg.SkipReason(str(error))
    requests = [definition.build_add_request(keys) for definition, keys in missing.items() if keys]
    if not requests:
        return dg.SkipReason("every backend and batch of the catalog is a partition")
    return dg.SensorResult(dynamic_partitions_requests=requests)


# One sensor an asset: with a single one, a backfill that covers two of them failed with "Unable
# to determine root partitions" (Dagster 1.13.27).
_AUTOMATED = ("pending_uploads", "remote_locations", "backend_presence")
SENSORS: list[dg.SensorDefinition] = [
    catalog_partitions,
    *(
        dg.AutomationConditionSensorDefinition(
            f"automate_{name}",
            target=dg.AssetSelection.assets(name),
            default_status=dg.DefaultSensorStatus.RUNNING,
            minimum_interval_seconds=30,
            description=f"Materializes {name} as its automation condition says.",
        )
        for name in _AUTOMATED
    ),
]
