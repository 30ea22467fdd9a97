"""Asset checks: what must be true of the catalog whatever has run, with those who offend.

They read; what they find is mended by the assets, or by a person. What concerns the objects
themselves is checked by `backend_audit`.
"""

import warnings

import dagster as dg

from catalogsync_assets.assets.backend_presence import backend_presence, of_failures
from catalogsync_assets.assets.downloaded_files import downloaded_files
from catalogsync_assets.assets.partitions import backends
from catalogsync_assets.assets.ui.metadata import MAX_ROWS, Metadata, clear_failures, table
from catalogsync_assets.core.catalog.replication import (
    PolicyStatus,
    policy_status,
    songs_under_policy,
)
from catalogsync_assets.core.catalog.status import backend_status
from catalogsync_assets.core.library.check import check_local_files
from catalogsync_assets.resources import CatalogResource

with warnings.catch_warnings():
    # A check of each backend for itself; a preview in Dagster 1.13, verified in its web UI.
    warnings.filterwarnings("ignore", ".*partitions_def", dg.PreviewWarning)

    @dg.asset_check(asset=backend_presence, partitions_def=backends)
    def no_failed_uploads(
        context: dg.AssetCheckExecutionContext, catalog: CatalogResource
    ) -> dg.AssetCheckResult:
        """No upload to the backend has failed and waits for another try."""
        with clear_failures(), catalog.open() as database:
            here = next(b for b in backend_status(database) if b.name == context.partition_key)
            failures = of_failures(database, here)
        return dg.AssetCheckResult(passed=here.failed == 0, metadata=failures)


@dg.asset_check(asset=backend_presence)
def songs_have_the_copies_they_need(catalog: CatalogResource) -> dg.AssetCheckResult:
    """Each file is on as many different stores as its library's policy requires."""
    with clear_failures(), catalog.open() as database:
        found = policy_status(database)
        short = songs_under_policy(database, MAX_ROWS) if found.songs_under_policy else []
    return dg.AssetCheckResult(
        passed=found.songs_under_policy == 0,
        # So it is each night until all backends have what is new.
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "songs": found.songs,
            "under-replicated songs": found.songs_under_policy,
            "of files beside the music": found.companions_under_policy,
            "backends": found.backends,
            "offenders": table(
                ("song", "artist", "title", "files", "copies", "required"),
                [
                    (s.song_id, s.artist or "", s.title or "", s.files, s.copies, s.required)
                    for s in short
                ],
            ),
            **_counted_as_one(found),
        },
    )


def _counted_as_one(found: PolicyStatus) -> Metadata:
    """Which backends make one copy together, if any do."""
    rows = [(", ".join(names), "they are the same store") for names in found.same]
    rows += [
        (", ".join(pair), f"not proven to be two stores: run `catalogsync backend test {pair[1]}`")
        for pair in found.unproven
    ]
    return {"backends that count as one": table(("backends", "why"), rows)} if rows else {}


@dg.asset_check(asset=downloaded_files)
def local_files_are_there(catalog: CatalogResource) -> dg.AssetCheckResult:
    """Each local file that the catalog knows is on the disk, in its size."""
    with clear_failures(), catalog.open() as database:
        found = check_local_files(database, examples=MAX_ROWS)
    return dg.AssetCheckResult(
        passed=found.absent == 0,
        # The next scan takes note, and the copies on backends stay: nothing is lost yet.
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "checked": found.checked,
            "absent": found.absent,
            "offenders": table(("file", "reason"), found.examples),
        },
    )


CHECKS = [no_failed_uploads, songs_have_the_copies_they_need, local_files_are_there]
