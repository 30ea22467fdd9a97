"""Commands about the catalog and the library: init, scan, status."""

from __future__ import annotations

from pathlib import Path

import click

from catalogsync_assets.cli import output


@click.command(
    epilog="""\b
Examples:
  catalogsync init
  catalogsync init --db ~/music/catalog.db"""
)
@output.db_option
@output.json_option
def init(db: str | None) -> None:
    """Make the catalog, or bring an existing database to this version.

    A database that already holds something is first copied beside itself. Running it again
    changes nothing.
    """
    from catalogsync_assets.core.catalog.database import Catalog

    catalog, report = Catalog.initialise(db)
    catalog.close()
    if output.wants_json():
        output.print_json(report)
        return
    words = {"created": "made", "migrated": "migrated", "unchanged": "already up to date:"}
    click.echo(f"{words[report.action]} {report.path}")
    if report.backup:
        click.echo(f"backup {report.backup}")


@click.command(
    epilog="""\b
Examples:
  catalogsync scan --library-root ~/Music
  CATALOGSYNC_LIBRARY_ROOTS=/mnt/a:/mnt/b catalogsync scan"""
)
@output.db_option
@click.option(
    "--library-root",
    "roots",
    multiple=True,
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="A folder of music; may be repeated. [default: $CATALOGSYNC_LIBRARY_ROOTS]",
)
@click.option(
    "--batch-files",
    type=click.IntRange(min=1),
    help="Files in a batch at most. [default: 5000]",
)
@click.option(
    "--batch-bytes", type=click.IntRange(min=1), help="Bytes in a batch at most. [default: 8 GiB]"
)
@click.option(
    "--allow-empty",
    is_flag=True,
    help="Accept that a folder which held music now holds none.",
)
@output.json_option
def scan(
    db: str | None,
    roots: tuple[Path, ...],
    batch_files: int | None,
    batch_bytes: int | None,
    allow_empty: bool,
) -> None:
    """Bring the catalog in line with the library.

    New and changed audio files are recorded with their tags and grouped into batches; files that
    are gone are marked missing. Size and modification time decide: an unchanged file is not
    opened. Makes the catalog if there is none.
    """
    from catalogsync_assets.core.catalog.database import Catalog
    from catalogsync_assets.core.library.scan import ScanReport
    from catalogsync_assets.core.library.scan import scan as run_scan
    from catalogsync_assets.core.plan.batches import DEFAULT_MAX_BYTES, DEFAULT_MAX_FILES
    from catalogsync_assets.core.settings import library_roots

    folders = library_roots(roots)
    catalog = Catalog.open_or_create(db)
    with output.progress("files") as line:

        def show(report: ScanReport) -> None:
            line.update(report.files, None, f"scanning, {output.files(report.new)} new")

        report = run_scan(
            catalog,
            folders,
            batch_max_files=batch_files or DEFAULT_MAX_FILES,
            batch_max_bytes=batch_bytes or DEFAULT_MAX_BYTES,
            allow_empty=allow_empty,
            progress=show,
        )
    catalog.close()
    for problem in report.problems:
        output.message("warning", f"{problem.path}: {problem.reason}")
    for path in report.missing_paths:
        output.message("warning", f"{path} is gone; its copies on backends stay as they are")
    if output.wants_json():
        output.print_json(report)
        return
    click.echo(
        f"{output.files(report.files)}, {output.size(report.bytes)}: {report.new:,} new,"
        f" {report.changed:,} changed, {report.unchanged + report.returned:,} unchanged,"
        f" {report.missing:,} gone, {report.problem_count:,} with problems"
    )
    if report.batches:
        click.echo(f"batches made: {', '.join(report.batches)}")


@click.command(
    epilog="""\b
Examples:
  catalogsync status
  catalogsync status --json | jq '.backends[] | {name, pending}'"""
)
@output.db_option
@output.json_option
def status(db: str | None) -> None:
    """Show what is where: songs, files and bytes of each backend, and what is still to do."""
    from catalogsync_assets.core.catalog.database import Catalog
    from catalogsync_assets.core.catalog.status import backend_status

    catalog = Catalog.open(db)
    found = backend_status(catalog)
    catalog.close()
    if output.wants_json():
        output.print_json({"catalog": catalog.path, "backends": found})
        return
    output.print_table(
        str(catalog.path),
        ("backend", "bucket", "songs", "files", "bytes", "pending", "failed", "gone"),
        [
            (
                b.name,
                b.bucket or "-",
                f"{b.songs} of {b.songs_total}",
                b.files,
                output.size(b.bytes),
                b.pending,
                b.failed,
                b.missing,
            )
            for b in found
        ],
    )
