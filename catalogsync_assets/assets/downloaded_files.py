"""`downloaded_files`: what has come to the local disk, and in which batch it goes up."""

from collections.abc import Sequence

import dagster as dg
from pydantic import Field

from catalogsync_assets.assets.partitions import register_keys
from catalogsync_assets.assets.ui import plots
from catalogsync_assets.assets.ui.metadata import (
    Metadata,
    clear_failures,
    formats_table,
    mebibytes,
    table,
)
from catalogsync_assets.assets.ui.progress import now_and_then
from catalogsync_assets.assets.ui.tables import details
from catalogsync_assets.core.catalog.batches import DEFAULT_MAX_BYTES, DEFAULT_MAX_FILES
from catalogsync_assets.core.catalog.holdings import formats
from catalogsync_assets.core.catalog.roots import known_roots
from catalogsync_assets.core.catalog.status import BackendStatus, backend_status
from catalogsync_assets.core.download.disks import Disks
from catalogsync_assets.core.download.download import download
from catalogsync_assets.core.download.report import DownloadReport
from catalogsync_assets.core.errors import RunAborted
from catalogsync_assets.core.library.scan import scan
from catalogsync_assets.core.settings import library_roots
from catalogsync_assets.core.stores.backend import LOCAL
from catalogsync_assets.resources import CatalogResource


class ScanConfig(dg.Config):
    """How to scan."""

    library_roots: list[str] = Field(
        default=[],
        description="Folders of music. By default $CATALOGSYNC_LIBRARY_ROOTS, else those of the"
        " last scans.",
    )
    batch_max_files: int = Field(default=DEFAULT_MAX_FILES, ge=1)
    batch_max_bytes: int = Field(default=DEFAULT_MAX_BYTES, ge=1)
    allow_empty: bool = Field(
        default=False, description="Accept a folder that held music and now holds none."
    )


@dg.asset(
    **details("library", "1-library", "file_assets", "python", "sqlite"),
)
def downloaded_files(
    context: dg.AssetExecutionContext, config: ScanConfig, catalog: CatalogResource
) -> dg.MaterializeResult:
    """The audio files of the library roots, cataloged with their tags and grouped into batches.

    First downloads what is queued; failures are listed and tried again next time.
    Size, times and inode decide what may be new or changed; unchanged files are not opened.
    Files that were renamed or moved are followed; those that seem damaged are not uploaded until
    `catalogsync scan --accept` takes them. Files that are gone are marked missing; their copies on
    backends stay. Each new batch becomes a partition of `remote_locations`.

    More: `docs/pipeline.md`, *Partitions*.
    """
    with clear_failures(), catalog.open() as database:
        roots = library_roots(config.library_roots, known=known_roots(database))
        disks = Disks(database, roots, allow_empty=config.allow_empty)
        stopped = None
        try:
            progress = now_and_then(context.log.info, _line)
            downloads = download(database, disks, progress=progress)
        except RunAborted as error:
            downloads, stopped = error.report, error
        report = scan(
            database,
            disks.roots,
            batch_max_files=config.batch_max_files,
            batch_max_bytes=config.batch_max_bytes,
            allow_empty=config.allow_empty,
        )
        register_keys(database, context.instance)
        if stopped is not None:
            raise stopped
        figures = backend_status(database)
        songs = max((b.songs_total for b in figures), default=0)
        by_format = formats(database, LOCAL)
    problems = [(p.path, p.reason) for p in report.problems]
    problems += [(path, "gone from the disk") for path in report.missing_paths]
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": report.files,
            "songs": songs,
            "beside the music": report.companions,
            "new playlists of the library": report.playlists.made,
            "entries that name no file": report.playlists.unresolved,
            "size (MiB)": mebibytes(report.bytes),
            "new": report.new,
            "changed": report.changed,
            "moved": report.moved,
            "seem damaged": report.suspected,
            "unchanged": report.unchanged + report.returned,
            "gone": report.missing,
            "not mounted": report.unmounted,
            "left out by rules": report.left_out,
            "left out from now on": report.excluded,
            "problems": report.problem_count,
            "unread tags": report.unread_tag_count,
            "not there as they were": _away(figures),
            "left out or gone": table(("file", "reason"), problems),
            "files that seem damaged": table(("file",), [(p,) for p in report.suspected_paths]),
            "moved roots": table(
                ("was at", "lies at", "files"),
                [(r.old, r.new, r.files) for r in report.moved_roots],
            ),
            "new batches": ", ".join(report.batches) or "none",
            "library roots": ", ".join(str(r) for r in disks.roots),
            "by format": formats_table(by_format),
            "bytes by format": plots.bytes_by_format(by_format),
            **_of_downloads(downloads),
        }
    )


def _away(figures: Sequence[BackendStatus]) -> dg.TableMetadataValue:
    """The files that the library does not have as it had them, in the words of `status`: of all
    scans, not of this one alone."""
    local = next((b for b in figures if b.backend_type == LOCAL), None)
    words = ("gone", "missing"), ("damaged",), ("offloaded",), ("left out", "excluded")
    rows = [(w[0], getattr(local, w[-1], 0)) for w in (*words, ("forgotten",))]
    return table(("state", "files"), rows)


def _line(report: DownloadReport) -> str:
    """How far the downloads are."""
    return (
        f"{report.succeeded:,} of {report.queued:,} files downloaded, {report.failed:,} failed;"
        f" {mebibytes(report.received)} MiB received, {report.retries:,} retries"
    )


def _of_downloads(report: DownloadReport) -> Metadata:
    """What came from where, where anything was queued at all."""
    if not report.queued:
        return {}
    rows = [
        (
            name,
            tally.done,
            tally.failed,
            mebibytes(tally.bytes),
            round(mebibytes(tally.bytes) / report.seconds, 3) if report.seconds else 0.0,
        )
        for name, tally in sorted(report.sources.items())
    ]
    failures = [(f.source, f.url, f.reason) for f in report.failures]
    return {
        "downloads": table(("source", "done", "failed", "MiB", "MiB/s"), rows),
        "downloads failed": table(("source", "address", "reason"), failures),
        "download retries": report.retries,
    }
