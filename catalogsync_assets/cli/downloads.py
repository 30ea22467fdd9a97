"""Commands that fill the library: import, run."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from catalogsync_assets.cli import output
from catalogsync_assets.cli.library import warn_of_unread_tags
from catalogsync_assets.cli.reports import CellReports

if TYPE_CHECKING:
    from catalogsync_assets.core.catalog.database import Catalog
    from catalogsync_assets.core.download.disks import Ask, Question
    from catalogsync_assets.core.download.report import DownloadReport
    from catalogsync_assets.core.upload.upload import UploadReport

#: Failures and bad lines listed on a terminal; --json has up to a thousand.
_LISTED = 20


@click.command(
    "import",
    epilog="""\b
Examples:
  catalogsync import wanted.csv
  catalogsync import --playlist Favourites mix.m3u8
  catalogsync import --format jsonl /dev/stdin < wanted""",
)
@click.argument("manifest", type=click.Path(path_type=Path))
@output.db_option
@click.option(
    "--format",
    "kind",
    type=click.Choice(("csv", "jsonl", "m3u8", "pls", "xspf")),
    help="[default: as the name ends]",
)
@click.option(
    "--encoding",
    metavar="NAME",
    help="Of the text, such as windows-1251. [default: UTF-8, or as the file shows]",
)
@click.option("--playlist", metavar="NAME", help="Put all songs into this playlist.")
@click.option(
    "--source",
    default="http",
    show_default=True,
    metavar="NAME",
    help="What fetches the entries that name no source themselves.",
)
@output.json_option
def import_manifest(
    manifest: Path,
    db: str | None,
    kind: str | None,
    encoding: str | None,
    playlist: str | None,
    source: str,
) -> None:
    """Queue the downloads that a manifest lists: CSV, JSON Lines, M3U8, PLS or XSPF.

    Each entry has a url and, if known, title, artist, album, track, playlist, sha256 and size.
    Bad lines are listed and left out. Importing again adds nothing; after an edit, its playlists
    take the new order, and what it no longer lists leaves them. Makes the catalog if there is none.
    """
    from catalogsync_assets.core.download.importing import ImportReport
    from catalogsync_assets.core.download.importing import import_manifest as run_import

    catalog = output.open_catalog(db, create=True)
    with output.progress("files") as line:

        def show(report: ImportReport) -> None:
            line.update(report.entries, None, f"importing, {output.files(report.tasks)} queued")

        report = run_import(
            catalog,
            manifest,
            kind=kind,
            encoding=encoding,
            playlist=playlist,
            source=source,
            progress=show,
        )
    for problem in report.problems[:_LISTED]:
        output.message("warning", f"{manifest}, line {problem.line}: {problem.reason}")
    if report.bad > _LISTED:
        output.note(f"and {report.bad - _LISTED:,} more; --json lists them")
    for odd in report.warnings[:_LISTED]:
        output.message("warning", f"{manifest}, line {odd.line}: {odd.reason}")
    if report.odd > _LISTED:
        output.note(f"and {report.odd - _LISTED:,} more such values; --json lists them")
    if report.guessed_encoding:
        output.message(
            "warning",
            f"{manifest} is not UTF-8; what is not was read as {report.guessed_encoding}",
        )
        output.message(
            "hint", "name another with --encoding; songs that are queued keep the names they have"
        )
    if output.wants_json():
        problems = [problem._asdict() for problem in report.problems]
        warnings = [odd._asdict() for odd in report.warnings]
        output.print_json(
            {**dataclasses.asdict(report), "problems": problems, "warnings": warnings}
        )
    else:
        output.echo(
            f"{report.entries:,} entries: {output.files(report.tasks)} queued, {report.known:,}"
            f" known before, {report.songs:,} new songs, {report.playlists:,} new playlists,"
            f" {report.bad:,} bad lines"
            + (f", {report.removed:,} songs left their playlist" if report.removed else "")
        )
    if report.bad:
        click.get_current_context().exit(1)


@click.command(
    epilog="""\b
Examples:
  catalogsync run
  catalogsync run --library-root /mnt/a --library-root /mnt/b --workers 4
  catalogsync run --playlist Favourites --upload cloud"""
)
@output.db_option
@click.option(
    "--library-root",
    "roots",
    multiple=True,
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Where the files go; when it is full, to the next."
    " [default: $CATALOGSYNC_LIBRARY_ROOTS, else those of the last scans]",
)
@click.option("--source", "sources", multiple=True, metavar="NAME", help="Only of this source.")
@click.option(
    "--playlist", "playlists", multiple=True, metavar="NAME", help="Only of this playlist, or id."
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most so many files.")
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=8,
    show_default=True,
    help="Files on their way at a time.",
)
@click.option(
    "--max-file-mib",
    type=click.IntRange(min=1),
    default=4096,
    show_default=True,
    help="Refuse larger files.",
)
@click.option(
    "--keep-free-mib",
    type=click.IntRange(min=0),
    default=256,
    show_default=True,
    help="Leave so much free on each disk.",
)
@click.option("--upload", "backend_name", metavar="BACKEND", help="Then upload what it lacks.")
@output.json_option
def run(
    db: str | None,
    roots: tuple[Path, ...],
    sources: tuple[str, ...],
    playlists: tuple[str, ...],
    limit: int | None,
    workers: int,
    max_file_mib: int,
    keep_free_mib: int,
    backend_name: str | None,
) -> None:
    """Download what is queued into the library, scan it, and upload it if told to.

    May be stopped at any time; run it again to go on. When all disks are full, it asks for another
    folder on a terminal, and stops elsewhere.
    """
    from catalogsync_assets.core.catalog.backends import backend_by_name
    from catalogsync_assets.core.catalog.download_queue import DownloadScope
    from catalogsync_assets.core.catalog.files import known_roots
    from catalogsync_assets.core.catalog.scope import select
    from catalogsync_assets.core.download.disks import Rooms
    from catalogsync_assets.core.download.download import download
    from catalogsync_assets.core.download.report import DownloadAborted, Limits
    from catalogsync_assets.core.library.scan import scan
    from catalogsync_assets.core.settings import library_roots

    catalog = output.open_catalog(db)
    backend = backend_by_name(catalog, backend_name) if backend_name else None
    scope = DownloadScope(sources, select(catalog, playlists=playlists))
    folders = library_roots(roots, known=known_roots(catalog))
    stopped: DownloadAborted | None = None
    with output.progress("bytes") as line:
        rooms = Rooms(
            catalog, folders, ask=_asking(line), reserve_bytes=keep_free_mib * 1024 * 1024
        )
        try:
            report = download(
                catalog,
                rooms,
                scope=scope,
                limits=Limits(workers=workers, max_file_bytes=max_file_mib * 1024 * 1024),
                limit=limit,
                progress=lambda r: line.update(r.received, r.queued_bytes or None, _describe(r)),
            )
        except DownloadAborted as error:
            stopped, report = error, error.report
    scanned = scan(catalog, rooms.roots)
    warn_of_unread_tags(scanned)
    result: dict[str, Any] = {"download": report, "scan": scanned}
    upload = _upload(catalog, backend) if backend and stopped is None else None
    if upload is not None:
        result["upload"] = upload
    if output.wants_json():
        ending = {"error": stopped.message, "hint": stopped.hint} if stopped else {}
        output.print_json({**result, **ending})
    else:
        _print(report, upload)
    if stopped is not None:
        stopped.printed = True
        raise stopped
    if report.failed or (upload is not None and upload.failed):
        click.get_current_context().exit(1)


def _asking(line: output.ProgressLine) -> Ask | None:
    """Asks a person at the terminal, if there is one, for a folder."""
    if not output.is_interactive():
        return None

    def ask(question: Question) -> Path | None:
        with line.paused():
            if question.trouble:
                output.message("warning", question.trouble)
            else:
                full = ", ".join(str(root) for root in question.full)
                needed = f"; the next file needs {output.size(question.needed)}"
                output.message("full", full + (needed if question.needed else ""))
            output.question("Folder to go on in (empty to stop):")
            answer = _read_line().strip()
        return Path(answer).expanduser() if answer else None

    return ask


def _read_line() -> str:
    """A line from the terminal; empty at its end.

    Past Python's own buffer: a thread that waits in it makes the interpreter crash at exit, and
    Ctrl-C at this question is an answer.
    """
    line = b""
    while not line.endswith(b"\n") and (piece := os.read(sys.stdin.fileno(), 4096)):
        line += piece
    return os.fsdecode(line)


def _describe(report: DownloadReport) -> str:
    text = f"download: {report.succeeded:,} of {output.files(report.queued)}"
    for count, word in ((report.failed, "failed"), (report.retries, "retries")):
        text += f", {count:,} {word}" if count else ""
    return text


def _upload(catalog: Catalog, backend: Any) -> UploadReport:
    from catalogsync_assets.core.catalog.upload_queue import enqueue
    from catalogsync_assets.core.upload.upload import UploadAborted, upload

    enqueue(catalog, backend)
    cells = CellReports(catalog, backend, by="catalogsync run")
    try:
        with output.progress("bytes") as line:
            report = upload(
                catalog,
                backend,
                progress=lambda r: line.update(
                    r.bytes, r.queued_bytes, f"{r.backend}: {output.files(r.succeeded + r.adopted)}"
                ),
            )
    except UploadAborted as error:
        cells.send(error.report)
        raise
    cells.send(report)
    return report


def _print(report: DownloadReport, upload: UploadReport | None) -> None:
    if report.queued:
        rate = report.bytes / report.seconds if report.seconds else 0
        output.echo(
            f"{output.files(report.queued)} queued, {report.succeeded:,} downloaded,"
            f" {report.failed:,} failed; {output.size(report.bytes)} in {report.seconds:.1f} s"
            f" ({output.size(int(rate))}/s), {report.retries:,} retries, {report.workers} workers"
        )
    else:
        output.echo("nothing to download")
    for failure in report.failures[:_LISTED]:
        output.message("failed", failure.reason)
    if report.failed > _LISTED:
        output.note(f"and {report.failed - _LISTED:,} more; --json lists them")
    if upload is not None:
        output.echo(
            f"{upload.backend}: {upload.succeeded:,} uploaded, {upload.adopted:,} adopted,"
            f" {upload.failed:,} failed; {output.size(upload.bytes)}"
        )
        for failed in upload.failures[:_LISTED]:
            output.message("failed", failed.reason)
