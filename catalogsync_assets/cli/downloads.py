"""Commands that fill the library: import, run."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from catalogsync_assets.cli import options, output, running
from catalogsync_assets.cli.library import warn_of_unread_tags
from catalogsync_assets.cli.uploads import print_upload, upload_queued

if TYPE_CHECKING:
    from catalogsync_assets.core.download.disks import Ask, Question
    from catalogsync_assets.core.download.report import DownloadReport, ImportReport
    from catalogsync_assets.core.upload.report import UploadReport

#: Failures and bad lines that a person is shown.
_LISTED = 20


@options.command(
    "catalogsync import wanted.csv",
    "catalogsync import --playlist Favourites mix.m3u8",
    "catalogsync import --format jsonl /dev/stdin < wanted",
    name="import",
)
@click.argument("manifest", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "kind",
    type=click.Choice(("csv", "jsonl", "m3u8", "pls", "xspf")),
    help="[default: by the file's extension]",
)
@click.option(
    "--encoding",
    metavar="NAME",
    help="Of the text, such as windows-1251. [default: UTF-8, or what the file shows]",
)
@click.option("--playlist", metavar="NAME", help="Put all songs into this playlist.")
@click.option(
    "--source",
    metavar="NAME",
    default="http",
    show_default=True,
    help="Source of the entries that name none.",
)
def import_manifest(manifest: Path, **chosen: Any) -> None:
    """Queue the downloads that a manifest lists: CSV, JSON Lines, M3U8, PLS or XSPF.

    A path of a file that a scan has found puts that file's song into the playlist.
    Each entry has a url and, if known, title, artist, album, track, playlist, sha256 and size.
    Bad lines are listed and left out. Importing again adds nothing; after an edit, its playlists
    take the new order and lose what it no longer lists. Creates the catalog if there is none.
    """
    from catalogsync_assets.core.download.importing import import_manifest as run_import

    catalog = running.open_catalog(create=True)
    report, _ = running.watched(
        "files",
        lambda r: (r.entries, None, f"importing, {output.files(r.tasks)} queued"),
        partial(run_import, catalog, manifest, **chosen),
    )
    for lines, count in ((report.problems, report.bad), (report.warnings, report.odd)):
        texts = [f"{manifest}, line {line.line}: {line.reason}" for line in lines]
        output.listed(texts, count, kind="warning", most=_LISTED)
    if report.guessed_encoding:
        output.message(
            "warning",
            f"{manifest} is not all UTF-8; the rest was read as {report.guessed_encoding}",
        )
        output.message("hint", "set another with --encoding; songs already queued keep their names")
    running.end(
        report,
        lambda: _print_import(report),
        failed=report.bad,
        problems=[problem._asdict() for problem in report.problems],
        warnings=[odd._asdict() for odd in report.warnings],
    )


def _print_import(report: ImportReport) -> None:
    output.echo(
        output.with_counts(
            f"{report.entries:,} entries: {output.files(report.tasks)} queued, {report.known:,}"
            f" known before, {report.songs:,} new songs, {report.playlists:,} new playlists,"
            f" {report.bad:,} bad lines",
            (report.local, "files of the library"),
            (report.removed, "songs removed from playlists"),
        )
    )


@options.command(
    "catalogsync run",
    "catalogsync run --library-root /mnt/a --library-root /mnt/b --workers 4",
    "catalogsync run --playlist Favourites --upload cloud",
)
@options.library_roots(
    "Where to put the files; may be repeated: the next one is used when one is full."
    " [default: $CATALOGSYNC_LIBRARY_ROOTS, else those of the last scans]"
)
@click.option("--source", "sources", metavar="NAME", multiple=True, help="Only from this source.")
@click.option(
    "--playlist", "playlists", metavar="NAME", multiple=True, help="Only of this playlist, or id."
)
@options.number("--limit", "Download at most N files.", metavar="N")
@options.workers("Files to download", most=64, default=8)
@options.number("--max-file-mib", "Refuse larger files.", default=4096)
@options.number("--keep-free-mib", "Keep this much free on each disk.", least=0, default=256)
@click.option("--upload", "backend_name", metavar="BACKEND", help="Then upload what it lacks.")
def run(
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

    May be stopped at any time; run it again to continue. When all disks are full, it asks for
    another folder on a terminal, and stops otherwise.
    """
    from catalogsync_assets.core.catalog.download_queue import DownloadScope
    from catalogsync_assets.core.catalog.roots import known_roots
    from catalogsync_assets.core.catalog.scope import select
    from catalogsync_assets.core.catalog.upload_plan import enqueue
    from catalogsync_assets.core.download.disks import Disks
    from catalogsync_assets.core.download.download import download
    from catalogsync_assets.core.download.report import Limits
    from catalogsync_assets.core.library.scan import scan
    from catalogsync_assets.core.settings import library_roots

    catalog = running.open_catalog()
    backend = running.chosen_backend(catalog, backend_name)
    scope = DownloadScope(sources, select(catalog, playlists=playlists))
    folders = library_roots(roots, known=known_roots(catalog))
    limits = Limits(workers=workers, max_file_bytes=max_file_mib * 1024 * 1024)
    with output.progress("bytes") as line:
        disks = Disks(
            catalog, folders, ask=_asking(line), reserve_bytes=keep_free_mib * 1024 * 1024
        )
        report, stopped = running.finished(
            lambda: download(
                catalog,
                disks,
                scope=scope,
                limits=limits,
                limit=limit,
                progress=lambda r: line.update(r.received, r.queued_bytes or None, _describe(r)),
            )
        )
    scanned = scan(catalog, disks.roots)
    warn_of_unread_tags(scanned)
    told: dict[str, Any] = {"download": report, "scan": scanned}
    upload: UploadReport | None = None
    if backend and stopped is None:
        enqueue(catalog, backend)
        upload, stopped = upload_queued(catalog, backend, by="catalogsync run")
        told["upload"] = upload
    failed = report.failed + (upload.failed if upload else 0)
    running.end(told, lambda: _print(report, upload), stopped, failed=failed, show_stopped=True)


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
            answer = output.ask("Folder to continue in (empty to stop):")
        return Path(answer).expanduser() if answer else None

    return ask


def _describe(report: DownloadReport) -> str:
    return output.so_far("download", report.succeeded, report.queued, report)


def _print(report: DownloadReport, upload: UploadReport | None) -> None:
    if report.queued:
        output.echo(
            f"{output.files(report.queued)} queued, {report.succeeded:,} downloaded,"
            f" {report.failed:,} failed; {output.speed(report.bytes, report.seconds)},"
            f" {report.retries:,} retries, {report.workers} workers"
        )
    else:
        output.echo("nothing to download")
    reasons = [failure.reason for failure in report.failures]
    output.listed(reasons, report.failed, kind="failed", most=_LISTED)
    if upload is not None:
        print_upload(upload)
