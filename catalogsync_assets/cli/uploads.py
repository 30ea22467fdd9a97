"""Commands about uploads: plan, upload."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from catalogsync_assets.cli import output
from catalogsync_assets.cli.library import print_scan, scan_roots
from catalogsync_assets.cli.reports import CellReports
from catalogsync_assets.cli.selection import selected_scope, selecting

if TYPE_CHECKING:
    from catalogsync_assets.core.catalog.database import Catalog
    from catalogsync_assets.core.catalog.scope import Scope
    from catalogsync_assets.core.upload.upload import UploadReport

#: Failures listed for each reason; --json has up to a thousand in all.
_LISTED = 5


_prioritize = click.option(
    "--prioritize",
    is_flag=True,
    help="Plan everything, but these songs first, instead of these only.",
)


def _scopes(catalog: Catalog, *, prioritize: bool, **selected: Any) -> tuple[Scope, Scope | None]:
    """What to plan, and what of it first."""
    from catalogsync_assets.core.catalog.scope import Scope
    from catalogsync_assets.core.errors import UsageError

    scope = selected_scope(catalog, **selected)
    if not prioritize:
        return scope, None
    if not scope.selections:
        raise UsageError(
            "--prioritize needs to know what comes first",
            hint="name a --playlist, --artist, --pool or --song",
        )
    return Scope(), scope


@click.command(
    epilog="""\b
Examples:
  catalogsync plan
  catalogsync plan --backend cloud --song 17 --song 18
  catalogsync plan --playlist Favourites --prioritize"""
)
@output.db_option
@click.option("--backend", "backend_name", metavar="NAME", help="Only this one. [default: all]")
@selecting
@_prioritize
@output.json_option
def plan(db: str | None, backend_name: str | None, **selected: Any) -> None:
    """Queue what is missing on the backends, without uploading.

    What failed before is queued again. Running it twice queues nothing twice.
    """
    from catalogsync_assets.core.catalog.backends import backend_by_name, object_backends
    from catalogsync_assets.core.catalog.upload_queue import count_pending, enqueue

    catalog = output.open_catalog(db)
    scope, first = _scopes(catalog, **selected)
    chosen = [backend_by_name(catalog, backend_name)] if backend_name else object_backends(catalog)
    if not chosen:
        output.message("warning", "no backend is registered; see register-object-backend")
    planned: list[dict[str, Any]] = []
    for backend in chosen:
        queued = enqueue(catalog, backend, scope, first=first)
        pending, size = count_pending(catalog, backend)
        planned.append(
            {"backend": backend.name, "queued": queued, "pending": pending, "bytes": size}
        )
    if output.wants_json():
        output.print_json({"backends": planned})
        return
    output.print_table(
        "planned uploads",
        ("backend", "newly queued", "pending", "bytes"),
        [(p["backend"], p["queued"], p["pending"], output.size(p["bytes"])) for p in planned],
    )


@click.command(
    epilog="""\b
Examples:
  catalogsync upload --backend cloud
  catalogsync upload --backend cloud --library-root ~/Music
  catalogsync upload --backend cloud --limit 100 --workers 4
  catalogsync upload --backend cloud --artist "Nina Simone" --prioritize
  catalogsync upload --backend cloud --enqueue-only"""
)
@output.db_option
@click.option("--backend", "backend_name", required=True, metavar="NAME", help="Where to.")
@click.option(
    "--library-root",
    "roots",
    multiple=True,
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Scan this folder first; may be repeated. [default: upload what was scanned before]",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    help="Files on their way at a time. [default: the backend's, else 16]",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most so many files.")
@click.option(
    "--run/--enqueue-only", default=True, show_default=True, help="Upload, or only queue."
)
@selecting
@_prioritize
@output.json_option
def upload(
    db: str | None,
    backend_name: str,
    roots: tuple[Path, ...],
    workers: int | None,
    limit: int | None,
    run: bool,
    **selected: Any,
) -> None:
    """Upload what a backend lacks.

    Queues every file that is missing there, or failed before, and uploads it: verified, then
    recorded. With --library-root it scans that folder first. May be stopped at any time; run it
    again to go on. Speaks to no store when there is nothing to do.
    """
    from catalogsync_assets.core.catalog.backends import backend_by_name
    from catalogsync_assets.core.catalog.upload_queue import count_pending, enqueue
    from catalogsync_assets.core.settings import library_roots
    from catalogsync_assets.core.upload.upload import Limits, UploadAborted, UploadReport
    from catalogsync_assets.core.upload.upload import upload as run_upload

    catalog = output.open_catalog(db)
    backend = backend_by_name(catalog, backend_name)
    limits = Limits.of(backend, workers=workers)
    told: dict[str, Any] = {}
    if roots:
        scanned = scan_roots(catalog, library_roots(roots))
        told["scan"] = dataclasses.asdict(scanned)
        if not output.wants_json():
            print_scan(scanned)
    scope, first = _scopes(catalog, **selected)  # of what the scan has found, too
    enqueue(catalog, backend, scope, first=first)
    if not run:
        pending, size = count_pending(catalog, backend, scope)
        report = UploadReport(backend.name, limits.workers, queued=pending, queued_bytes=size)
        _print(report, **told)
        return
    cells = CellReports(catalog, backend, scope, by="catalogsync upload")
    try:
        with output.progress("bytes") as line:
            report = run_upload(
                catalog,
                backend,
                scope=scope,
                limits=limits,
                limit=limit,
                progress=lambda r: line.update(
                    r.settled_bytes + r.bytes_in_parts, r.queued_bytes, _describe(r)
                ),
            )
        _print(report, **told)
        cells.send(report)
    except UploadAborted as error:
        if output.wants_json():
            _print(error.report, **told, error=error.message, hint=error.hint)
            error.printed = True
        cells.send(error.report)
        raise
    if report.failed:
        click.get_current_context().exit(1)


def _describe(report: UploadReport) -> str:
    done = report.succeeded + report.adopted
    text = f"{report.backend}: {done:,} of {output.files(report.queued)}"
    counts = (
        (report.in_flight, "on their way"),
        (report.failed, "failed"),
        (report.retries, "retries"),
    )
    for count, word in counts:
        text += f", {count:,} {word}" if count else ""
    return text


def _print(report: UploadReport, **more: Any) -> None:
    if output.wants_json():
        output.print_json({**dataclasses.asdict(report), **more})
        return
    if not report.queued:
        output.echo(f"{report.backend}: nothing to upload")
        return
    rate = report.bytes / report.seconds if report.seconds else 0
    output.echo(
        f"{report.backend}: {output.files(report.queued)} queued, {report.succeeded:,} uploaded,"
        f" {report.adopted:,} adopted, {report.failed:,} failed; {output.size(report.bytes)} in"
        f" {report.seconds:.1f} s ({output.size(int(rate))}/s), {report.workers} workers"
    )
    _print_failures(report)


def _print_failures(report: UploadReport) -> None:
    """The reasons, the most frequent first, each with how often and some of its files."""
    for code, count in sorted(report.reasons.items(), key=lambda item: -item[1]):
        listed = [f.reason for f in report.failures if f.code == code][:_LISTED]
        output.message("failed", f"{output.files(count)}: {code}")
        for reason in listed:
            output.note(f"  {reason}")
        if count > len(listed):
            output.note(f"  and {count - len(listed):,} more; --json lists them")


@click.command(
    epilog="""\b
Examples:
  catalogsync failures
  catalogsync failures --backend cloud --retry
  catalogsync failures --tags"""
)
@output.db_option
@click.option("--backend", "backend_name", metavar="NAME", help="Only this one. [default: all]")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="Rows.")
@click.option("--retry", is_flag=True, help="Queue them again.")
@click.option("--tags", is_flag=True, help="List the files whose tags could not be read instead.")
@output.json_option
def failures(db: str | None, backend_name: str | None, limit: int, retry: bool, tags: bool) -> None:
    """List the uploads that failed, newest first, with reasons.

    `upload` tries them again by itself; --retry only puts them back into the queue, for a run of
    Dagster or a later `upload`.
    """
    from catalogsync_assets.core.catalog.backends import backend_by_name, object_backends
    from catalogsync_assets.core.catalog.status import failed_uploads
    from catalogsync_assets.core.catalog.upload_queue import requeue_failed

    if tags:
        if retry or backend_name:
            raise click.UsageError("--tags is about local files: leave --backend and --retry out")
        _print_unread_tags(db, limit)
        return
    catalog = output.open_catalog(db)
    chosen = [backend_by_name(catalog, backend_name)] if backend_name else object_backends(catalog)
    found = failed_uploads(catalog, backend_name=backend_name, limit=limit)
    requeued = sum(requeue_failed(catalog, backend) for backend in chosen) if retry else 0
    if output.wants_json():
        output.print_json({"failures": found, "requeued": requeued})
        return
    if not found:
        output.echo("no upload has failed")
        return
    output.print_table(
        "failed uploads",
        ("backend", "key", "code", "tries", "reason"),
        [(f.backend, f.locator, f.code or "-", f.attempts, f.reason or "-") for f in found],
    )
    if retry:
        output.note(f"{output.files(requeued)} queued again")


def _print_unread_tags(db: str | None, limit: int) -> None:
    from catalogsync_assets.core.catalog.file_tags import unread_tags

    catalog = output.open_catalog(db)
    count, found = unread_tags(catalog, limit)
    if output.wants_json():
        output.print_json({"unread_tag_count": count, "unread_tags": found})
        return
    if not count:
        output.echo("the tags of all files could be read")
        return
    output.print_table("unread tags", ("file", "reason"), [(f.path, f.reason) for f in found])
    if count > len(found):
        output.note(f"and {count - len(found):,} more; --limit lists more")
