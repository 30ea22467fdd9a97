"""Reports cells that were filled outside of Dagster: materializations without a run.

Only of cells that are whole in the catalog. Used by the command line after an upload, and by the
sensor `catalog_partitions` for what nobody has reported.
"""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from catalogsync_assets.assets.ui.cells import cell_metadata
from catalogsync_assets.core.catalog.cells import cells
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.stores.backend import ObjectBackend

#: The asset whose partitions are the cells.
ASSET = dg.AssetKey("remote_locations")


def materialization(
    catalog: Catalog, backend: ObjectBackend, batch: str, *, by: str
) -> dg.AssetMaterialization:
    """The event for a cell, with what the catalog knows of it.

    Args:
        by: who says so, for a person.
    """
    return dg.AssetMaterialization(
        ASSET,
        partition=dg.MultiPartitionKey({"backend": backend.name, "batch": batch}),
        metadata={**cell_metadata(catalog, backend, batch), "reported by": by},
    )


def report_whole_cells(
    catalog: Catalog,
    instance: dg.DagsterInstance,
    backend: ObjectBackend,
    batches: Sequence[str],
    *,
    by: str,
) -> list[str]:
    """Report those of the batches that are whole on a backend.

    Their keys must be partitions already: an event of an unknown one would not be seen. Dagster
    takes 11 to 14 ms for an event.

    Returns:
        The batches whose cells were reported.

    Raises:
        Exception: whatever Dagster raises where the instance is broken.
    """
    whole = [cell for cell in cells(catalog, batches=batches, backend=backend) if cell.whole]
    for cell in whole:
        instance.report_runless_asset_event(materialization(catalog, backend, cell.batch, by=by))
    return [cell.batch for cell in whole]
