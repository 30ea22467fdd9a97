"""`backend_presence`: which songs are on a backend wholly, partly, or not at all."""

import dagster as dg

from catalogsync_assets.assets.partitions import backends, by_backend
from catalogsync_assets.assets.ui import plots
from catalogsync_assets.assets.ui.cells import of_verification
from catalogsync_assets.assets.ui.links import bucket_link
from catalogsync_assets.assets.ui.metadata import (
    Metadata,
    clear_failures,
    mebibytes,
    percent,
    table,
)
from catalogsync_assets.assets.ui.tables import details
from catalogsync_assets.core.catalog import presence
from catalogsync_assets.core.catalog.backends import backend_by_name
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.holdings import formats, verification
from catalogsync_assets.core.catalog.status import BackendStatus, backend_status, failed_uploads
from catalogsync_assets.resources import CatalogResource


@dg.asset(
    partitions_def=backends,
    # Of the plan, too: what a scan has found is not there yet, and that is to be seen at once.
    deps=["pending_uploads", dg.AssetDep("remote_locations", partition_mapping=by_backend)],
    # An update is remembered until it is acted on: it may come while another cell still runs.
    automation_condition=dg.AutomationCondition.any_deps_updated().since_last_handled()
    & ~dg.AutomationCondition.any_deps_in_progress()
    & ~dg.AutomationCondition.in_progress(),
    **details("presence", "4-presence", "song_backend_presence", "sqlite"),
)
def backend_presence(
    context: dg.AssetExecutionContext, catalog: CatalogResource
) -> dg.MaterializeResult:
    """Per song, how many of its files are on this backend: the answer to "is it safe?".

    `files (%)` is the share of the library that is there; `verified, oldest` is when the oldest
    proof of it was made; `failures` is what is still in the way, with reasons. `rows corrected`
    is 0 unless something else has written to the catalog.

    More: `docs/pipeline.md`, *Where to look*.
    """
    name = context.partition_key
    with clear_failures(), catalog.open() as database:
        backend = backend_by_name(database, name)
        with database.transaction() as connection:
            corrected = presence.refresh(connection, backend_id=backend.id)
        everywhere = backend_status(database)
        here = next(b for b in everywhere if b.name == name)
        library = formats(database)
        verified = of_verification(verification(database, backend))
        failures = of_failures(database, here)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": here.songs_total,
            "songs complete": here.songs,
            "songs partial": here.songs_partial,
            "songs absent": here.songs_absent,
            "complete (%)": percent(here.songs, here.songs_total),
            "files": here.files,
            "files (%)": percent(here.files, sum(f.files for f in library)),
            "size (MiB)": mebibytes(here.bytes),
            "size (%)": percent(here.bytes, sum(f.bytes for f in library)),
            "beside the music": here.companions,
            "beside the music (%)": percent(here.companions, here.companions_total),
            "pending": here.pending,
            "rows corrected": corrected,
            **verified,
            **failures,
            "everywhere": _compared(everywhere),
            "songs per backend": plots.songs_by_backend(everywhere),
            "bucket link": dg.MetadataValue.url(bucket_link(backend)),
        }
    )


def of_failures(catalog: Catalog, here: BackendStatus) -> Metadata:
    """The uploads to a backend that failed: in groups, then one by one."""
    return {
        "failed": here.failed,
        "reasons": table(
            ("code", "files", "for example"), [(r.code, r.count, r.example) for r in here.reasons]
        ),
        "failures": table(
            ("key", "code", "reason", "attempts"),
            [
                (f.locator, f.code or "", f.reason or "", f.attempts)
                for f in failed_uploads(catalog, backend_name=here.name)
            ],
        ),
    }


def _compared(everywhere: list[BackendStatus]) -> dg.TableMetadataValue:
    columns = ("backend", "songs", "partial", "absent", "of", "files", "MiB", "failed")
    rows = [
        (
            *(b.name, b.songs, b.songs_partial, b.songs_absent, b.songs_total),
            *(b.files, mebibytes(b.bytes), b.failed),
        )
        for b in everywhere
    ]
    return table(columns, rows)
