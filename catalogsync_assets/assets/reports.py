"""Reports cells that were filled outside of Dagster: materializations without a run.

Only of cells that are whole in the catalog. Used by the command line after an upload, and by the
sensor `catalog_partitions` for what nobody has reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from catalogsync_assets.assets.partitions import register_keys
from catalogsync_assets.assets.ui.cells import cell_metadata
from catalogsync_assets.core.catalog.cells import cells
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.errors import ConfigurationError
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
    catalog: Catalog, backend: ObjectBackend, batches: Sequence[str], *, home: str, by: str
) -> int:
    """Report those of the batches that are whole on a backend to the instance of `DAGSTER_HOME`.

    Their keys are made partitions first: an event of an unknown one would not be seen. Each event
    costs some 60 ms, with what is read for it.

    Args:
        home: the value of `DAGSTER_HOME`, which must be set.

    Returns:
        How many cells were reported.

    Raises:
        ConfigurationError: the folder does not exist.
        Exception: whatever Dagster raises where the instance is broken.
    """
    if not Path(home).is_absolute() or not Path(home).is_dir():
        raise ConfigurationError("it must be the absolute path of a folder")
    whole = [cell for cell in cells(catalog, batches=batches, backend=backend) if cell.whole]
    with dg.DagsterInstance.get() as instance:
        register_keys(catalog, instance)
        for cell in whole:
            instance.report_runless_asset_event(
                materialization(catalog, backend, cell.batch, by=by)
            )
    return len(whole)
