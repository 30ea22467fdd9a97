"""Commands about the catalog and the library: init, scan, whereis."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from catalogsync_assets.cli import options, output, running

if TYPE_CHECKING:
    from catalogsync_assets.core.catalog.database import Catalog, InitReport
    from catalogsync_assets.core.catalog.search import Place
    from catalogsync_assets.core.library.scan_report import ScanReport

#: Warnings of a kind that are listed.
_LISTED = 20


@options.command("catalogsync init", "catalogsync init --db ~/music/catalog.db")
def init() -> None:
    """Create the catalog, or migrate an existing database to this version.

    A database that is not empty is first backed up beside itself. Running it again changes
    nothing. A missing folder is created.
    """
    from catalogsync_assets.core.catalog.database import Catalog

    catalog, report = Catalog.initialise(options.given("db"), make_folder=True)
    catalog.close()
    told = dataclasses.asdict(report)
    if report.folder is None:
        del told["folder"]
    running.end(told, lambda: _print_made(report))


def _print_made(report: InitReport) -> None:
    words = {"created": "created", "migrated": "migrated", "unchanged": "already up to date:"}
    if report.folder:
        output.echo(f"created the folder {report.folder}")
    output.echo(f"{words[report.action]} {report.path}")
    if report.backup:
        output.echo(f"backup {report.backup}")


def warn_of_unread_tags(report: ScanReport) -> None:
    """Also of files of earlier scans: only the first scan that meets one says so in full."""
    if report.unread_tag_count:
        first = report.unread_tags[0]
        output.message(
            "warning",
            "tags that cannot be read, or a missing end, in"
            f" {output.files(report.unread_tag_count)} of this scan or earlier ones, such as"
            f" {first.path}: {first.reason}",
        )
        output.message("hint", "`catalogsync failures --tags` lists them")


@options.command(
    "catalogsync scan --library-root ~/Music",
    "CATALOGSYNC_LIBRARY_ROOTS=/mnt/a:/mnt/b catalogsync scan --plan",
)
@options.library_roots(
    "A folder of music; may be repeated."
    " [default: $CATALOGSYNC_LIBRARY_ROOTS, else those of the last scans]"
)
@options.number("--batch-files", "Most files in a batch. [default: 5000]", "batch_max_files")
@options.number("--batch-bytes", "Most bytes in a batch. [default: 8 GiB]", "batch_max_bytes")
@options.flag("--allow-empty", "Accept a folder that held music and now holds none.")
@click.option(
    "--follow-links/--no-follow-links",
    default=None,
    help="Whether links may lead to files outside every root; remembered. [default: as before]",
)
@options.flag("--reread", "Also read the tags of unchanged files, as after an update.")
@options.flag("--rehash", "Read every file whole, and compare. Goes on where it was stopped.")
@options.flag("--ignore-ctime", "Do not read files of which only ctime or inode has changed.")
@click.option(
    "--accept",
    metavar="PATH",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Take a file as it is that seems damaged, or all such below a folder; may be repeated.",
)
@options.flag("--new-root", "Take a copy of a library root that is gone for a root of its own.")
@options.flag("--plan", "Then queue what each backend lacks.")
def scan(roots: tuple[Path, ...], plan: bool, **chosen: Any) -> None:
    """Bring the catalog in line with the library.

    New and changed audio files are recorded with their tags and grouped into batches. Files that
    were renamed or moved are followed: they keep their songs, playlists and copies. Files that are
    gone are marked missing. Size, times and inode decide: an unchanged file is not opened. A file
    whose bytes have changed though nothing says that it was edited is reported, and not uploaded.
    Recycle bins, snapshots and what .catalogsyncignore files and $CATALOGSYNC_IGNORE name are left
    out. Creates the catalog if there is none.
    """
    from catalogsync_assets.core.catalog.backends import object_backends
    from catalogsync_assets.core.catalog.database import exists
    from catalogsync_assets.core.catalog.roots import known_roots
    from catalogsync_assets.core.settings import library_roots

    if exists(options.given("db")):
        catalog = running.open_catalog()
        folders = library_roots(roots, known=known_roots(catalog))
    else:
        folders = library_roots(roots)
        catalog = running.open_catalog(create=True)
    given = {name: value for name, value in chosen.items() if value is not None}
    report = scan_roots(catalog, folders, **given)
    planned = dict[str, int]()
    if plan:
        from catalogsync_assets.core.catalog.upload_plan import enqueue

        planned = {b.name: enqueue(catalog, b) for b in object_backends(catalog)}
    more: dict[str, Any] = {"planned": planned} if plan else {}
    running.end(report, lambda: _print(report, planned), **more)


def _print(report: ScanReport, planned: dict[str, int]) -> None:
    print_scan(report)
    if report.batches:
        output.echo(f"batches made: {', '.join(report.batches)}")
    for name, count in planned.items():
        output.echo(f"{name}: {output.files(count)} newly queued")


def scan_roots(catalog: Catalog, folders: list[Path], **chosen: Any) -> ScanReport:
    """Scan, show how far it is, and tell of what is odd or gone. Arguments as of `core`'s scan."""
    from catalogsync_assets.core.library.expected import Expected
    from catalogsync_assets.core.library.scan import scan as run_scan

    expected = Expected(catalog, folders)
    report, _ = running.watched(
        "files",
        lambda r: (r.files, expected.total(r.files), f"scanning, {output.files(r.new)} new"),
        partial(run_scan, catalog, folders, **chosen),
    )
    odd = [f"{p.path}: {p.reason}" for p in report.problems]
    for root in report.moved_roots:
        what = f"library root {root.old} lies at {root.new} now, {output.files(root.files)}"
        output.message("moved", what)
    gone = [f"{p} is gone; its copies on backends stay as they are" for p in report.missing_paths]
    output.listed(odd, report.problem_count, kind="warning", most=_LISTED)
    output.listed(gone, report.missing, kind="warning", most=_LISTED)
    warn_of_unread_tags(report)
    return report


def print_scan(report: ScanReport) -> None:
    """What was found, in a line."""
    beside = f" ({report.companions:,} beside the music)" if report.companions else ""
    output.echo(
        f"{output.files(report.files)}{beside}, {output.size(report.bytes)}: {report.new:,} new,"
        f" {report.changed:,} changed, {report.moved:,} moved,"
        f" {report.unchanged + report.returned:,} unchanged,"
        f" {report.missing:,} gone, {report.problem_count:,} with problems in this scan"
    )
    lists = report.playlists
    if lists.made or lists.removed or lists.unresolved:
        output.echo(
            f"playlists of the library: {lists.made:,} new, {lists.removed:,} removed;"
            f" {lists.unresolved:,} entries name no file of it"
        )
    if report.suspected:
        output.echo(
            f"not uploaded, as damaged by all that can be told: {output.files(report.suspected)};"
            " `scan --accept PATH` takes one as it is, or all below a folder"
        )
    if report.left_out or report.excluded:
        output.echo(
            f"left out: {report.left_out:,} files and folders; {output.files(report.excluded)}"
            " cataloged before, whose copies stay"
        )


@options.command(
    'catalogsync whereis "blue in green"',
    "catalogsync whereis Album/03",
    "catalogsync whereis 17 --json",
)
@click.argument("query")
@options.number("--limit", "Most songs to show.", default=50)
def whereis(query: str, limit: int) -> None:
    """Show where a song is: each of its files on each backend.

    QUERY is words of title, artists and album in any order, part of a path or key, or an id.
    """
    from catalogsync_assets.core.catalog.search import whereis as find

    catalog = running.open_catalog()
    places = find(catalog, query, limit=limit)
    if not places:
        output.message("not found", f"nothing in {catalog.path} matches {query!r}")
    running.end({"places": places}, lambda: _print_places(query, places), failed=not places)


def _print_places(query: str, places: list[Place]) -> None:
    if places:
        output.print_table(
            query,
            ("song", "artist", "album", "title", "format", "backend", "status", "where"),
            [
                (
                    *(p.song_id or "-", p.artist or "-", p.album or "-", p.title, p.format or "-"),
                    *(p.backend, p.status, p.url or p.locator or "-"),
                )
                for p in places
            ],
        )
