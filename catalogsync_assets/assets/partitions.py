"""The partitions: a cell `backend|batch` is "this group of files on this backend".

Keys are registered from the catalog, which knows both: by `downloaded_files` when it has made new
batches, and by the sensor of `automation` for what the command line did. Both take out a backend
that was renamed or removed; keys that this catalog never had are left alone, as another one may
share the Dagster instance.
"""

from __future__ import annotations

import logging
import os
import warnings
from typing import Any

import dagster as dg

from catalogsync_assets.core.catalog.backend_changes import former_names
from catalogsync_assets.core.catalog.backends import object_backends
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.files import batch_keys


class _Keys(dg.DynamicPartitionsDefinition):
    """Dynamic partitions that say why none is known where DAGSTER_HOME is not set.

    Each command then has an instance of its own and forgets the keys when it ends; what Dagster
    says of a key that it does not know, after a long traceback, gives no hint of that.
    """

    def has_partition_key(self, partition_key: str, *store: Any, **more: Any) -> bool:
        """Whether Dagster knows the key. Ends a command that could know none, and says why.

        The process ends, as no error of ours reaches the terminal of `dagster asset materialize`
        and `dg launch` without a traceback. The web server and the daemon know these partitions by
        Dagster's own class, and so never come here (Dagster 1.13.27).
        """
        known = super().has_partition_key(partition_key, *store, **more)
        if (
            not known
            and not os.environ.get("DAGSTER_HOME")
            and not self.get_partition_keys(*store, **more)
        ):
            logging.getLogger(__name__).error(
                "Error: partition %r is unknown: DAGSTER_HOME is not set, and without"
                " it Dagster forgets partitions between commands (hint: export"
                " DAGSTER_HOME=/an/absolute/folder, then materialize downloaded_files)",
                partition_key,
            )
            raise SystemExit(2)
        return known


backends = _Keys(name="backend")
batches = _Keys(name="batch")
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
    missing: dict[dg.DynamicPartitionsDefinition, list[str]] = {}
    for definition, keys in (
        (backends, [b.name for b in object_backends(catalog)]),
        (batches, batch_keys(catalog)),
    ):
        there = set(instance.get_dynamic_partitions(str(definition.name)))
        missing[definition] = [key for key in keys if key not in there]
    return missing


def former_keys(catalog: Catalog, instance: dg.DagsterInstance) -> list[str]:
    """The backends that are partitions still, though the catalog calls none so any more."""
    there = set(instance.get_dynamic_partitions(str(backends.name)))
    return [name for name in former_names(catalog) if name in there]


def register_keys(catalog: Catalog, instance: dg.DagsterInstance) -> None:
    """Make every backend and batch of the catalog a partition, and take out those that it no
    longer has. Idempotent."""
    for name in former_keys(catalog, instance):
        instance.delete_dynamic_partition(str(backends.name), name)
    for definition, keys in missing_keys(catalog, instance).items():
        if keys:
            instance.add_dynamic_partitions(str(definition.name), keys)
