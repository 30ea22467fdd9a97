"""The partitions: a cell `backend|batch` is "this group of files on this backend".

Keys are registered from the catalog, which knows both: by `downloaded_files` when it has made new
batches, and by the sensor of `automation` for what the command line did.
"""

from __future__ import annotations

import warnings

import dagster as dg

from catalogsync_assets.core.catalog.backends import object_backends
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.library import batch_keys

backends = dg.DynamicPartitionsDefinition(name="backend")
batches = dg.DynamicPartitionsDefinition(name="batch")
cells = dg.MultiPartitionsDefinition({"backend": backends, "batch": batches})

with warnings.catch_warnings():
    # In beta since Dagster 1.5; verified in both directions on 1.13.
    warnings.filterwarnings("ignore", ".*MultiToSingleDimensionPartitionMapping", dg.BetaWarning)
    #: Between a cell and its backend, either way.
    by_backend = dg.MultiToSingleDimensionPartitionMapping(partition_dimension_name="backend")


def missing_keys(
    catalog: Catalog, instance: dg.DagsterInstance
) -> dict[dg.DynamicPartitionsDefinition, list[str]]:
    """The keys that the catalog knows and the Dagster instance does not, by definition."""
    known = {
        backends: [b.name for b in object_backends(catalog)],
        batches: batch_keys(catalog),
    }
    missing = {}
    for definition, keys in known.items():
        assert definition.name is not None
        there = set(instance.get_dynamic_partitions(definition.name))
        missing[definition] = [key for key in keys if key not in there]
    return missing


def register_keys(catalog: Catalog, instance: dg.DagsterInstance) -> None:
    """Make every backend and batch of the catalog a partition. Idempotent."""
    for definition, keys in missing_keys(catalog, instance).items():
        if keys:
            assert definition.name is not None
            instance.add_dynamic_partitions(definition.name, keys)
