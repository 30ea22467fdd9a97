"""The Dagster code location: assets, jobs, schedule, sensors and resources, put together.

Nothing else belongs here. Importing it builds no client and opens no database.
"""

from collections.abc import Mapping

import dagster as dg

from catalogsync_assets.assets.backend_audit import backend_audit
from catalogsync_assets.assets.backend_presence import backend_presence
from catalogsync_assets.assets.catalog_backup import catalog_backup, newest_snapshot_opens
from catalogsync_assets.assets.checks import CHECKS
from catalogsync_assets.assets.downloaded_files import downloaded_files
from catalogsync_assets.assets.pending_uploads import pending_uploads
from catalogsync_assets.assets.remote_locations import remote_locations
from catalogsync_assets.automation.alerts import ALERTS
from catalogsync_assets.automation.executor import executor
from catalogsync_assets.automation.pruning import monthly_prune, prune_backends
from catalogsync_assets.automation.schedules import JOBS, SCHEDULES
from catalogsync_assets.automation.sensors import SENSORS
from catalogsync_assets.resources import CatalogResource, ObjectStoreResource


def build_defs(resources: Mapping[str, object] | None = None) -> dg.Definitions:
    """The code location, with resources of your own in place of the default ones.

    Args:
        resources: by name: `catalog`, a `CatalogResource`; `object_stores`, an
            `ObjectStoreResource`. What is not given is as the environment says.
    """
    return dg.Definitions(
        assets=[
            *(downloaded_files, pending_uploads, remote_locations),
            *(backend_presence, backend_audit, catalog_backup),
        ],
        asset_checks=[*CHECKS, newest_snapshot_opens],
        jobs=[*JOBS.values(), prune_backends],
        schedules=[*SCHEDULES, monthly_prune],
        sensors=[*SENSORS, *ALERTS],
        executor=executor,
        resources={
            "catalog": CatalogResource(),
            "object_stores": ObjectStoreResource(),
            **(resources or {}),
        },
    )


defs = build_defs()
