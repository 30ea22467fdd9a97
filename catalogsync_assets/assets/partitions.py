"""The partitions: a cell `backend|batch` is "this group of files on this backend".

Keys are registered from the catalog, which knows both: by `downloaded_files` when it has made new
batches, and by the sensor of `automation` for what the command line did.
"""

from __future__ import annotations

import os
import warnings
from datetime import datetime
from typing import Any

import click
import dagster as dg

from catalogsync_assets.core.catalog.backends import object_backends
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.files import batch_keys
from catalogsync_assets.core.errors import ConfigurationError


class _ForgottenError(ConfigurationError, click.ClickException):  # type: ignore[misc]  # Final
    """Dagster's command line, which is click's too, shows it as a sentence, without a traceback."""

    def format_message(self) -> str:
        return str(self)


class _Keys(dg.DynamicPartitionsDefinition):
    """Dynamic partitions that say why none is known where DAGSTER_HOME is not set.

    Each command then has an instance of its own and forgets the keys when it ends; what Dagster
    says of a key that it does not know gives no hint of that.
    """

    def has_partition_key(
        self,
        partition_key: str,
        current_time: datetime | None = None,
        dynamic_partitions_store: Any = None,
    ) -> bool:
        known = super().has_partition_key(partition_key, current_time, dynamic_partitions_store)
        if (
            not known
            and not os.environ.get("DAGSTER_HOME")
            and not self.get_partition_keys(current_time, dynamic_partitions_store)
        ):
            raise _ForgottenError(
                f"no partition is known, so not {partition_key!r} either: DAGSTER_HOME is not set,"
                " and without it Dagster forgets partitions between commands",
                hint="export DAGSTER_HOME=/an/absolute/folder, then materialize downloaded_files",
            )
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
    known = {
        backends: [b.name for b in object_backends(catalog)],
        batches: batch_keys(catalog),
    }
    missing: dict[dg.DynamicPartitionsDefinition, list[str]] = {}
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
