"""Nothing is requested of cells whose backend has failed for long: a part of their condition.

Only the sensor `catalog_partitions` does, one cell at a time, to see whether the backend is back.
"""

from __future__ import annotations

from contextlib import closing

import dagster as dg

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.failing import resting
from catalogsync_assets.core.errors import CatalogSyncError

#: Seconds to wait for a catalog that is being written.
_CATALOG_SECONDS = 5.0


class BackendRests(dg.AutomationCondition[dg.AssetKey]):
    """Whether the backend of a cell has failed for so long that it is only tried at times.

    Dagster's daemon does not know this class, so a sensor that asks for it must be evaluated where
    this code is: `use_user_code_server`. What it asks of Dagster was tried with 1.13.27. It reads
    the catalog that the environment names; where that cannot be read, no backend rests.
    """

    @property
    def name(self) -> str:
        """As the web UI calls it."""
        return "backend_rests"

    def evaluate(
        self, context: dg.AutomationContext[dg.AssetKey]
    ) -> dg.AutomationResult[dg.AssetKey]:
        """Those of the cells in question whose backends rest."""
        try:
            with closing(Catalog.open(busy_timeout=_CATALOG_SECONDS)) as catalog:
                names = {found.backend for found in resting(catalog, context.evaluation_time)}
        except CatalogSyncError:
            names = set()
        if not names:
            return dg.AutomationResult(context, context.get_empty_subset())
        asked = context.candidate_subset
        # Those that come from an earlier tick are text.
        every = asked.expensively_compute_partition_keys()
        keys = {key for key in every if str(key).partition("|")[0] in names}
        return dg.AutomationResult(context, asked.compute_intersection_with_partition_keys(keys))
