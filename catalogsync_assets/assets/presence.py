"""`backend_presence`: which songs are on a backend whole, in part, or not at all."""

import dagster as dg

from catalogsync_assets.assets.metadata import OWNERS, clear_failures, mebibytes, table
from catalogsync_assets.assets.partitions import backends, by_backend
from catalogsync_assets.core.catalog import presence
from catalogsync_assets.core.catalog.backends import backend_by_name
from catalogsync_assets.core.catalog.status import backend_status, failed_uploads
from catalogsync_assets.resources import CatalogResource


@dg.asset(
    partitions_def=backends,
    deps=[dg.AssetDep("remote_locations", partition_mapping=by_backend)],
    group_name="backends",
    kinds={"sqlite"},
    owners=OWNERS,
    code_version="1",
    tags={"catalogsync/stage": "4-presence"},
    # An update is remembered until it is acted on: it may come while another cell still runs.
    automation_condition=dg.AutomationCondition.any_deps_updated().since_last_handled()
    & ~dg.AutomationCondition.any_deps_in_progress()
    & ~dg.AutomationCondition.in_progress(),
)
def backend_presence(
    context: dg.AssetExecutionContext, catalog: CatalogResource
) -> dg.MaterializeResult:
    """Per song, how many of its files are on this backend: the answer to "is it safe?"."""
    name = context.partition_key
    with clear_failures(), catalog.open() as database:
        backend = backend_by_name(database, name)
        with database.transaction() as connection:
            corrected = presence.refresh(connection, backend_id=backend.id)
        everywhere = backend_status(database)
        here = next(b for b in everywhere if b.name == name)
        failures = failed_uploads(database, backend_name=name)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": here.songs_total,
            "songs complete": here.songs,
            "songs partial": here.songs_partial,
            "songs absent": here.songs_absent,
            "complete (%)": round(100 * here.songs / here.songs_total, 3)
            if here.songs_total
            else 0.0,
            "files": here.files,
            "size (MiB)": mebibytes(here.bytes),
            "pending": here.pending,
            "failed": here.failed,
            "rows corrected": corrected,
            "failures": table(
                ("key", "code", "reason", "attempts"),
                [(f.locator, f.code or "", f.reason or "", f.attempts) for f in failures],
            ),
            "everywhere": table(
                ("backend", "songs", "of", "files", "MiB"),
                [(b.name, b.songs, b.songs_total, b.files, mebibytes(b.bytes)) for b in everywhere],
            ),
        }
    )
