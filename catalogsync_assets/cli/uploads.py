"""Commands about uploads: plan, upload."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from catalogsync_assets.cli import output

if TYPE_CHECKING:
    from catalogsync_assets.core.transfer.engine import UploadReport

#: Failures listed on a terminal; --json has up to a thousand.
_LISTED = 20


@click.command(
    epilog="""\b
Examples:
  catalogsync plan
  catalogsync plan --backend cloud --song 17 --song 18"""
)
@output.db_option
@click.option("--backend", "backend_name", metavar="NAME", help="Only this one. [default: all]")
@click.option("--song", "songs", type=int, multiple=True, metavar="ID", help="Only these songs.")
@output.json_option
def plan(db: str | None, backend_name: str | None, songs: tuple[int, ...]) -> None:
    """Queue what is missing on the backends, without uploading.

    What failed before is queued again. Running it twice queues nothing twice.
    """
    from catalogsync_assets.core.catalog.backends import backend_by_name, object_backends
    from catalogsync_assets.core.catalog.database import Catalog
    from catalogsync_assets.core.catalog.uploads import Scope, count_pending, enqueue

    catalog = Catalog.open(db)
    chosen = [backend_by_name(catalog, backend_name)] if backend_name else object_backends(catalog)
    if not chosen:
        output.message("warning", "no backend is registered; see register-object-backend")
    planned: list[dict[str, Any]] = []
    for backend in chosen:
        queued = enqueue(catalog, backend, Scope(song_ids=songs or None))
        pending, size = count_pending(catalog, backend)
        planned.append(
            {"backend": backend.name, "queued": queued, "pending": pending, "bytes": size}
        )
    catalog.close()
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
  catalogsync upload --backend cloud --limit 100 --workers 4
  catalogsync upload --backend cloud --enqueue-only"""
)
@output.db_option
@click.option("--backend", "backend_name", required=True, metavar="NAME", help="Where to.")
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    default=16,
    show_default=True,
    help="Files on their way at a time.",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most so many files.")
@click.option(
    "--run/--enqueue-only", default=True, show_default=True, help="Upload, or only queue."
)
@output.json_option
def upload(db: str | None, backend_name: str, workers: int, limit: int | None, run: bool) -> None:
    """Upload what a backend lacks.

    Queues every file that is missing there, or failed before, and uploads it: verified, then
    recorded. May be stopped at any time; run it again to go on. Speaks to no store when there is
    nothing to do.
    """
    from catalogsync_assets.core.catalog.backends import backend_by_name
    from catalogsync_assets.core.catalog.database import Catalog
    from catalogsync_assets.core.catalog.uploads import count_pending, enqueue
    from catalogsync_assets.core.transfer.engine import Limits, UploadAborted, UploadReport
    from catalogsync_assets.core.transfer.engine import upload as run_upload

    catalog = Catalog.open(db)
    backend = backend_by_name(catalog, backend_name)
    enqueue(catalog, backend)
    if not run:
        pending, size = count_pending(catalog, backend)
        report = UploadReport(backend.name, workers, queued=pending, queued_bytes=size)
        _print(report)
        return
    with output.progress("bytes") as line:
        try:
            report = run_upload(
                catalog,
                backend,
                limits=Limits(workers=workers),
                limit=limit,
                progress=lambda r: line.update(r.bytes, r.queued_bytes, _describe(r)),
            )
        except UploadAborted as error:
            if output.wants_json():
                _print(error.report, error=error.message, hint=error.hint)
                error.printed = True
            raise
        finally:
            catalog.close()
    _print(report)
    if report.failed:
        click.get_current_context().exit(1)


def _describe(report: UploadReport) -> str:
    done = report.succeeded + report.adopted
    text = f"{report.backend}: {done:,} of {output.files(report.queued)}"
    for count, word in ((report.failed, "failed"), (report.retries, "retries")):
        text += f", {count:,} {word}" if count else ""
    return text


def _print(report: UploadReport, **more: str | None) -> None:
    if output.wants_json():
        output.print_json({**dataclasses.asdict(report), **more})
        return
    if not report.queued:
        click.echo(f"{report.backend}: nothing to upload")
        return
    rate = report.bytes / report.seconds if report.seconds else 0
    click.echo(
        f"{report.backend}: {output.files(report.queued)} queued, {report.succeeded:,} uploaded,"
        f" {report.adopted:,} adopted, {report.failed:,} failed; {output.size(report.bytes)} in"
        f" {report.seconds:.1f} s ({output.size(int(rate))}/s), {report.workers} workers"
    )
    for failure in report.failures[:_LISTED]:
        output.message("failed", failure.reason)
    if report.failed > _LISTED:
        output.note(f"and {report.failed - _LISTED:,} more; --json lists them")
