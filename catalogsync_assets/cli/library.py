"""Commands about the catalog and the library: init, scan, whereis."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from catalogsync_assets.cli import output

if TYPE_CHECKING:
    from catalogsync_assets.core.catalog.database import Catalog
    from catalogsync_assets.core.library.scan import ScanReport

#: Warnings of a kind that are listed.
_LISTED = 20


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
    changes nothing. A folder that is not there is made.
    """
    from catalogsync_assets.core.catalog.database import Catalog

    catalog, report = Catalog.initialise(db, make_folder=True)
    catalog.close()
    if output.wants_json():
        told = dataclasses.asdict(report)
        if report.folder is None:
            del told["folder"]
        output.print_json(told)
        return
    words = {"created": "made", "migrated": "migrated", "unchanged": "already up to date:"}
    if report.folder:
        output.echo(f"made the folder {report.folder}")
    output.echo(f"{words[report.action]} {report.path}")
    if report.backup:
        output.echo(f"backup {report.backup}")


def _warn(texts: list[str], count: int) -> None:
    """The first of `count` warnings, each on a line: a library can have thousands."""
    for text in texts[:_LISTED]:
        output.message("warning", text)
    if count > _LISTED:
        output.note(f"and {count - _LISTED:,} more; --json lists them")


def warn_of_unread_tags(report: ScanReport) -> None:
    """Of files of earlier scans, too: only the first scan that meets one says so in full."""
    if report.unread_tag_count:
        first = report.unread_tags[0]
        output.message(
            "warning",
            f"the tags of {output.files(report.unread_tag_count)} could not be read, such as"
            f" {first.path}: {first.reason}",
        )
        output.message("hint", "`catalogsync failures --tags` lists them")


@click.command(
    epilog="""\b
Examples:
  catalogsync scan --library-root ~/Music
  CATALOGSYNC_LIBRARY_ROOTS=/mnt/a:/mnt/b catalogsync scan --plan"""
)
@output.db_option
@click.option(
    "--library-root",
    "roots",
    multiple=True,
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="A folder of music; may be repeated."
    " [default: $CATALOGSYNC_LIBRARY_ROOTS, else those of the last scans]",
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
@click.option(
    "--follow-links/--no-follow-links",
    default=None,
    help="Whether links to files may lead out of every root; remembered. [default: as last said]",
)
@click.option(
    "--reread",
    is_flag=True,
    help="Read the tags of unchanged files, too, as after an update of catalogsync.",
)
@click.option("--plan", is_flag=True, help="Then queue what each backend lacks.")
@output.json_option
def scan(
    db: str | None,
    roots: tuple[Path, ...],
    batch_files: int | None,
    batch_bytes: int | None,
    allow_empty: bool,
    follow_links: bool | None,
    reread: bool,
    plan: bool,
) -> None:
    """Bring the catalog in line with the library.

    New and changed audio files are recorded with their tags and grouped into batches; files that
    are gone are marked missing. Size and modification time decide: an unchanged file is not
    opened. Recycle bins, snapshots and what .catalogsyncignore files and $CATALOGSYNC_IGNORE
    name are left out. Makes the catalog if there is none.
    """
    from catalogsync_assets.core.catalog.backends import object_backends
    from catalogsync_assets.core.catalog.batches import DEFAULT_MAX_BYTES, DEFAULT_MAX_FILES
    from catalogsync_assets.core.catalog.database import exists
    from catalogsync_assets.core.catalog.files import known_roots
    from catalogsync_assets.core.catalog.upload_queue import enqueue
    from catalogsync_assets.core.settings import library_roots

    if exists(db):
        catalog = output.open_catalog(db)
        folders = library_roots(roots, known=known_roots(catalog))
    else:
        folders = library_roots(roots)
        catalog = output.open_catalog(db, create=True)
    report = scan_roots(
        catalog,
        folders,
        batch_max_files=batch_files or DEFAULT_MAX_FILES,
        batch_max_bytes=batch_bytes or DEFAULT_MAX_BYTES,
        allow_empty=allow_empty,
        follow_links=follow_links,
        reread=reread,
    )
    planned = {b.name: enqueue(catalog, b) for b in object_backends(catalog)} if plan else {}
    if output.wants_json():
        output.print_json({**dataclasses.asdict(report), **({"planned": planned} if plan else {})})
        return
    print_scan(report)
    if report.batches:
        output.echo(f"batches made: {', '.join(report.batches)}")
    for name, count in planned.items():
        output.echo(f"{name}: {output.files(count)} newly queued")


def scan_roots(catalog: Catalog, folders: list[Path], **options: Any) -> ScanReport:
    """Scan, show how far it is, and tell of what is odd or gone. Arguments as of `core`'s scan."""
    from catalogsync_assets.core.library.scan import scan as run_scan

    with output.progress("files") as line:

        def show(report: ScanReport) -> None:
            line.update(report.files, None, f"scanning, {output.files(report.new)} new")

        report = run_scan(catalog, folders, progress=show, **options)
    _warn([f"{p.path}: {p.reason}" for p in report.problems], report.problem_count)
    _warn(
        [f"{p} is gone; its copies on backends stay as they are" for p in report.missing_paths],
        report.missing,
    )
    warn_of_unread_tags(report)
    return report


def print_scan(report: ScanReport) -> None:
    """What was found, in a line."""
    output.echo(
        f"{output.files(report.files)}, {output.size(report.bytes)}: {report.new:,} new,"
        f" {report.changed:,} changed, {report.unchanged + report.returned:,} unchanged,"
        f" {report.missing:,} gone, {report.problem_count:,} with problems"
    )
    if report.left_out or report.excluded:
        output.echo(
            f"left out: {report.left_out:,} files and folders; {output.files(report.excluded)}"
            " cataloged before, whose copies stay"
        )


@click.command(
    epilog="""\b
Examples:
  catalogsync whereis "blue in green"
  catalogsync whereis Album/03
  catalogsync whereis 17 --json"""
)
@click.argument("query")
@output.db_option
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Songs.")
@output.json_option
def whereis(query: str, db: str | None, limit: int) -> None:
    """Show where a song is: each of its files on each backend.

    QUERY is words of title, artists and album in any order, a part of a path or key, or an id.
    """
    from catalogsync_assets.core.catalog.search import whereis as find

    catalog = output.open_catalog(db)
    places = find(catalog, query, limit=limit)
    if output.wants_json():
        output.print_json({"places": places})
    elif places:
        output.print_table(
            query,
            ("song", "artist", "album", "title", "format", "backend", "status", "where"),
            [
                (
                    p.song_id,
                    p.artist or "-",
                    p.album or "-",
                    p.title,
                    p.format or "-",
                    p.backend,
                    p.status,
                    p.url or p.locator or "-",
                )
                for p in places
            ],
        )
    if not places:
        output.message("not found", f"nothing in {catalog.path} matches {query!r}")
        click.get_current_context().exit(1)
