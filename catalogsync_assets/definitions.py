"""The Dagster code location: assets, jobs, schedule, sensors and resources, put together.

Nothing else belongs here. Importing it builds no client and opens no database.
"""

from collections.abc import Mapping

import dagster as dg

from catalogsync_assets.assets.audits import backend_audit
from catalogsync_assets.assets.checks import CHECKS
from catalogsync_assets.assets.library import downloaded_files
from catalogsync_assets.assets.presence import backend_presence
from catalogsync_assets.assets.uploads import pending_uploads, remote_locations
from catalogsync_assets.automation.alerts import ALERTS
from catalogsync_assets.automation.audits import weekly_audit
from catalogsync_assets.automation.jobs import JOBS, executor, nightly_scan
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
            downloaded_files,
            pending_uploads,
            remote_locations,
            backend_presence,
            backend_audit,
        ],
        asset_checks=CHECKS,
        jobs=JOBS,
        schedules=[nightly_scan, weekly_audit],
        sensors=[*SENSORS, *ALERTS],
        executor=executor,
        resources={
            "catalog": CatalogResource(),
            "object_stores": ObjectStoreResource(),
            **(resources or {}),
        },
    )


defs = build_defs()
