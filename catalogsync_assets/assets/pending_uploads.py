"""`pending_uploads`: what a backend lacks of the library, queued."""

from collections.abc import Iterator
from itertools import islice

import dagster as dg

from catalogsync_assets.assets.config import SelectionConfig
from catalogsync_assets.assets.partitions import backends
from catalogsync_assets.assets.ui.links import bucket_link
from catalogsync_assets.assets.ui.metadata import (
    MAX_ROWS,
    Metadata,
    clear_failures,
    mebibytes,
    table,
)
from catalogsync_assets.assets.ui.tables import details
from catalogsync_assets.core.catalog.backends import backend_by_name
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.scope import EVERYTHING, Scope
from catalogsync_assets.core.catalog.upload_plan import enqueue, missing_candidates
from catalogsync_assets.core.catalog.upload_queue import count_pending
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.resources import CatalogResource


@dg.asset(
    partitions_def=backends,
    deps=["downloaded_files"],
    output_required=False,
    automation_condition=(
        dg.AutomationCondition.any_deps_updated().since_last_handled()
        | dg.AutomationCondition.on_missing()
    )
    & ~dg.AutomationCondition.any_deps_missing()
    & ~dg.AutomationCondition.in_progress(),
    **details("uploads", "2-plan", "upload_tasks", "sqlite"),
)
def pending_uploads(
    context: dg.AssetExecutionContext, config: SelectionConfig, catalog: CatalogResource
) -> Iterator[dg.MaterializeResult]:
    """The upload tasks of a backend: every current file that it lacks, in one SQL statement.

    What failed before is queued again; what is no longer needed there is cancelled. Materialized
    means: all that the backend lacks is queued. A dry run, or one for some songs only that leaves
    out others, is an observation instead.

    More: `docs/pipeline.md`, *Partitions* and *Run configuration*.
    """
    with clear_failures(), catalog.open() as database:
        backend = backend_by_name(database, context.partition_key)
        scope = Scope(selections=config.selections(database))
        if config.dry_run:
            observe(context, config, preview(database, backend, scope), "queued")
            return
        left_out = 0
        if config.restrictions:
            left_out = _lacking(database, backend) - _lacking(database, backend, scope)
        queued = enqueue(database, backend, scope)
        files, size = count_pending(database, backend)
    metadata: Metadata = {
        "dagster/row_count": files,
        "newly queued": queued,
        "size (MiB)": mebibytes(size),
        "bucket": backend.bucket,
        "bucket link": dg.MetadataValue.url(bucket_link(backend)),
        "endpoint": backend.endpoint or "AWS",
    }
    if left_out:
        observe(context, config, {**metadata, "left out": left_out}, "queued")
        return
    yield dg.MaterializeResult(metadata=metadata)


def _lacking(database: Catalog, backend: ObjectBackend, scope: Scope = EVERYTHING) -> int:
    return sum(1 for _ in missing_candidates(database, backend, scope))


def preview(
    database: Catalog, backend: ObjectBackend, scope: Scope, limit: int | None = None
) -> Metadata:
    """What would go to a backend, with the first files as a table. Changes nothing."""
    files = size = 0
    first: list[tuple[str, str, float]] = []
    for missing in islice(missing_candidates(database, backend, scope), limit):
        files += 1
        size += missing.size_bytes
        if len(first) < MAX_ROWS:
            first.append((missing.path, missing.locator, mebibytes(missing.size_bytes)))
    return {
        "would upload": files,
        "would upload (MiB)": mebibytes(size),
        "first files": table(("file", "key", "MiB"), first),
        "bucket link": dg.MetadataValue.url(bucket_link(backend)),
    }


def observe(
    context: dg.AssetExecutionContext | dg.OpExecutionContext,
    config: SelectionConfig,
    metadata: Metadata,
    done: str,
) -> None:
    """Show what a run did that leaves its partition as it was, or would have done.

    Args:
        done: what `pending_uploads` does, "queued", or `remote_locations`, "uploaded".
    """
    if config.dry_run:
        why = f"a dry run: nothing was {done}"
    else:
        why = f"not all was {done}, as the run was restricted to {config.restrictions}"
    context.log.info(f"Not materialized: {why}.")
    asset = "pending_uploads" if done == "queued" else "remote_locations"
    context.log_event(
        dg.AssetObservation(
            asset,
            partition=context.partition_key,
            metadata={
                "not materialized": why,
                "restricted to": config.restrictions or "nothing",
                **metadata,
            },
        )
    )
