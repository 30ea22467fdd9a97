"""Commands about uploads: plan, upload."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from catalogsync_assets.cli import filled_cells, options, output, running
from catalogsync_assets.cli.library import print_scan, scan_roots
from catalogsync_assets.core.errors import CatalogSyncError, UsageError
from catalogsync_assets.core.settings import library_roots
from catalogsync_assets.core.stores.backend import ObjectBackend

if TYPE_CHECKING:
    from catalogsync_assets.core.catalog.database import Catalog
    from catalogsync_assets.core.catalog.scope import Scope
    from catalogsync_assets.core.catalog.status import FailedUpload, UnreadTags
    from catalogsync_assets.core.upload.report import UploadReport

#: What tells Dagster of an upload.
_BY = "catalogsync upload"

_prioritize = options.flag(
    "--prioritize", "Plan everything, with these songs first, instead of only these."
)


def _scopes(catalog: Catalog, *, prioritize: bool) -> tuple[Scope, Scope | None]:
    """What to plan, and what of it first."""
    from catalogsync_assets.core.catalog.scope import Scope

    scope = running.selected_scope(catalog)
    if not prioritize:
        return scope, None
    if not scope.selections:
        raise UsageError(
            "--prioritize needs a selection of songs",
            hint="name a --playlist, --artist, --pool or --song",
        )
    return Scope(), scope


@options.command(
    "catalogsync plan",
    "catalogsync plan --backend cloud --song 17 --song 18",
    "catalogsync plan --playlist Favourites --prioritize",
)
@options.backend("Only this backend. [default: all]")
@options.selecting
@_prioritize
def plan(backend_name: str | None, prioritize: bool) -> None:
    """Queue what is missing on the backends, without uploading.

    What failed before is queued again. Running it twice queues nothing twice.
    """
    from catalogsync_assets.core.catalog.upload_plan import enqueue
    from catalogsync_assets.core.catalog.upload_queue import count_pending

    catalog = running.open_catalog()
    scope, first = _scopes(catalog, prioritize=prioritize)
    chosen = running.chosen_backends(catalog, backend_name)
    if not chosen:
        output.message("warning", "no backend is registered; see register-object-backend")
    planned: list[dict[str, Any]] = []
    for backend in chosen:
        queued = enqueue(catalog, backend, scope, first=first)
        pending, size = count_pending(catalog, backend)
        planned.append(
            {"backend": backend.name, "queued": queued, "pending": pending, "bytes": size}
        )
    rows = [(p["backend"], p["queued"], p["pending"], output.size(p["bytes"])) for p in planned]
    columns = ("backend", "newly queued", "pending", "bytes")
    running.end({"backends": planned}, lambda: output.print_table("planned uploads", columns, rows))


@options.command(
    "catalogsync upload --backend cloud",
    "catalogsync upload --backend cloud --library-root ~/Music",
    "catalogsync upload --backend cloud --limit 100 --workers 4",
    'catalogsync upload --backend cloud --artist "Nina Simone" --prioritize',
    "catalogsync upload --backend cloud --enqueue-only",
)
@options.backend("Where to upload.", required=True)
@options.library_roots(
    "Scan this folder first; may be repeated. [default: upload what was scanned before]"
)
@options.at_most("Requests")
@options.number("--limit", "Upload at most N files.", metavar="N")
@click.option(
    "--run/--enqueue-only", default=True, show_default=True, help="Upload, or only queue."
)
@options.selecting
@_prioritize
def upload(
    backend_name: str,
    roots: tuple[Path, ...],
    workers: int | None,
    limit: int | None,
    run: bool,
    prioritize: bool,
) -> None:
    """Upload what a backend lacks.

    Queues every file that is missing there, or failed before, and uploads it: verified, then
    recorded. With --library-root it scans that folder first. May be stopped at any time; run it
    again to continue. Contacts no store when there is nothing to do.
    """
    from catalogsync_assets.core.catalog.backends import backend_by_name
    from catalogsync_assets.core.catalog.lacking import is_settled
    from catalogsync_assets.core.upload.report import UploadReport

    catalog = running.open_catalog()
    backend = backend_by_name(catalog, backend_name)
    told: dict[str, Any] = {}
    if roots:
        scanned = scan_roots(catalog, library_roots(roots))
        told["scan"] = scanned
        if not options.wants_json():
            print_scan(scanned)
    scope, first = _scopes(catalog, prioritize=prioritize)  # of what the scan has found, too
    if is_settled(catalog, backend, scope):
        report = UploadReport(backend.name, workers=0)
        filled_cells.tell(catalog, by=_BY)()
        running.end(report, lambda: print_upload(report), **told)
        return
    from catalogsync_assets.core.catalog.upload_plan import enqueue
    from catalogsync_assets.core.catalog.upload_queue import count_pending
    from catalogsync_assets.core.upload.limits import Limits

    limits = Limits.of(backend, workers=workers)
    enqueue(catalog, backend, scope, first=first)
    stopped: CatalogSyncError | None = None
    if run:
        report, stopped = upload_queued(catalog, backend, scope, by=_BY, limits=limits, limit=limit)
    else:
        pending, size = count_pending(catalog, backend, scope)
        report = UploadReport(backend.name, limits.workers, queued=pending, queued_bytes=size)
    running.end(report, lambda: print_upload(report), stopped, failed=report.failed, **told)


def upload_queued(
    catalog: Catalog, backend: ObjectBackend, scope: Scope | None = None, *, by: str, **limits: Any
) -> tuple[UploadReport, CatalogSyncError | None]:
    """Upload what is queued, show how far it is, and report it to Dagster.

    Args:
        scope: of what is queued; None for everything.
        by: the command, as reported to Dagster.
        limits: as of the upload of `core`.

    Returns:
        The report, and the error that broke the upload off, if one did.
    """
    from catalogsync_assets.core.catalog.scope import EVERYTHING
    from catalogsync_assets.core.upload.upload import upload as run_upload

    scope = scope or EVERYTHING
    tell_dagster = filled_cells.before_upload(catalog, backend, scope, by=by)
    report, stopped = running.watched(
        "bytes",
        lambda r: (r.settled_bytes + r.bytes_in_parts, r.queued_bytes, _describe(r)),
        partial(run_upload, catalog, backend, scope=scope, **limits),
    )
    tell_dagster()
    return report, stopped


def _describe(report: UploadReport) -> str:
    on_their_way = report.in_flight, "on their way"
    done = report.succeeded + report.adopted + report.copied
    return output.so_far(report.backend, done, report.queued, report, on_their_way)


def print_upload(report: UploadReport) -> None:
    """What came of an upload, for a person."""
    if not report.queued:
        output.echo(f"{report.backend}: nothing to upload")
        return
    copied = f" {report.copied:,} copied there," if report.copied else ""
    output.echo(
        f"{report.backend}: {output.files(report.queued)} queued, {report.succeeded:,} uploaded,"
        f" {report.adopted:,} adopted,{copied} {report.failed:,} failed;"
        f" {output.speed(report.bytes, report.seconds)}, up to {report.at_once} at a time"
    )
    if report.lost:
        output.note(
            f"{report.backend}: {report.lost:,} objects that were to be copied to the keys of new"
            " paths turned out gone or damaged; what is here, or on another backend, is sent"
        )
    if report.replaced_for_good:
        output.note(
            f"{report.backend}: {output.files(report.replaced_for_good)} replaced without keeping"
            " the earlier content: the store cannot copy, or its bucket locks what is put"
        )
    running.print_failures(report)


@options.command(
    "catalogsync failures",
    "catalogsync failures --backend cloud --retry",
    "catalogsync failures --tags",
)
@options.backend("Only this backend. [default: all]")
@options.number("--limit", "Most rows to list.", default=100)
@options.flag("--retry", "Queue them again.")
@options.flag("--tags", "List files whose tags cannot be read, or whose end is missing, instead.")
def failures(backend_name: str | None, limit: int, retry: bool, tags: bool) -> None:
    """List the uploads that failed, newest first, with reasons.

    `upload` tries them again by itself; --retry only puts them back into the queue, for a run of
    Dagster or a later `upload`.
    """
    from catalogsync_assets.core.catalog.status import failed_uploads, unread_tags
    from catalogsync_assets.core.catalog.upload_queue import requeue_failed

    if tags and (retry or backend_name):
        raise click.UsageError("--tags is about local files: drop --backend and --retry")
    catalog = running.open_catalog()
    if tags:
        count, unread = unread_tags(catalog, limit)
        told = {"unread_tag_count": count, "unread_tags": unread}
        running.end(told, lambda: _print_unread_tags(unread, count))
        return
    chosen = running.chosen_backends(catalog, backend_name)
    found = failed_uploads(catalog, backend_name=backend_name, limit=limit)
    requeued = sum(requeue_failed(catalog, backend) for backend in chosen) if retry else 0
    running.end({"failures": found, "requeued": requeued}, lambda: _print_failed(found))
    if retry and found and not options.wants_json():
        output.note(f"{output.files(requeued)} queued again")


def _print_failed(found: list[FailedUpload]) -> None:
    output.print_table(
        "failed uploads",
        ("backend", "key", "code", "tries", "reason"),
        [(f.backend, f.locator, f.code or "-", f.attempts, f.reason or "-") for f in found],
        empty="no upload has failed",
    )


def _print_unread_tags(unread: list[UnreadTags], count: int) -> None:
    rows = [(f.path, f.reason) for f in unread]
    empty = "the tags of all files could be read, and none lacks its end"
    output.print_table("unread tags and missing ends", ("file", "reason"), rows, empty=empty)
    if count > len(unread):
        output.note(f"and {count - len(unread):,} more; --limit lists more")
