"""The command about bringing files back: restore."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from catalogsync_assets.cli import output
from catalogsync_assets.cli.selection import selected_scope, selecting

if TYPE_CHECKING:
    from catalogsync_assets.core.restore.restore import RestoreReport

#: Failures listed for each reason; --json has up to a thousand in all.
_LISTED = 5


@click.command(
    epilog="""\b
Examples:
  catalogsync restore --all --to ~/Music --dry-run
  catalogsync restore --missing --to ~/Music
  catalogsync restore --playlist Favourites --from cloud --to /mnt/player"""
)
@output.db_option
@click.option(
    "--to",
    "root",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The library root that the files are to be below.",
)
@click.option(
    "--from",
    "backend_name",
    metavar="NAME",
    help="Read from this backend only. [default: the one verified last, then the next]",
)
@click.option("--missing", is_flag=True, help="Only files that are below no library root any more.")
@click.option("--all", "everything", is_flag=True, help="Every file of the catalog.")
@selecting
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option(
    "--allow-empty",
    is_flag=True,
    help="The root held files and is empty now: its disk is mounted, they are really gone.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    help="Files on their way at a time. [default: the backend's, else 16]",
)
@output.json_option
def restore(
    db: str | None,
    root: Path,
    backend_name: str | None,
    missing: bool,
    everything: bool,
    dry_run: bool,
    allow_empty: bool,
    workers: int | None,
    **selected: Any,
) -> None:
    """Bring files back from the backends.

    Each is compared with its digest before it gets its name, and recorded; a damaged copy is
    refused, and the next backend asked. No file is ever overwritten. May be stopped at any time;
    run it again to go on.
    """
    from catalogsync_assets.core.catalog.backends import backend_by_name
    from catalogsync_assets.core.errors import UsageError
    from catalogsync_assets.core.restore.restore import RestoreAborted
    from catalogsync_assets.core.restore.restore import restore as run_restore

    if not (missing or everything or any(selected.values())):
        raise UsageError(
            "which files?",
            hint="--missing, --all, or a --playlist, --artist, --pool or --song",
        )
    if everything and (missing or any(selected.values())):
        raise UsageError("--all leaves nothing to select", hint="drop it, or the other options")
    catalog = output.open_catalog(db)
    backend = backend_by_name(catalog, backend_name) if backend_name else None
    scope = selected_scope(catalog, **selected)
    with output.progress("bytes") as line:
        try:
            report = run_restore(
                catalog,
                root,
                scope=scope,
                missing=missing,
                backend=backend,
                dry_run=dry_run,
                allow_empty=allow_empty,
                workers=workers,
                progress=lambda r: line.update(_how_far(r), r.bytes_in_all, _describe(r)),
            )
        except RestoreAborted as error:
            _print(error.report, error=error.message, hint=error.hint)
            error.printed = True
            raise
    _print(report)
    if report.failed:
        click.get_current_context().exit(1)


def _how_far(report: RestoreReport) -> int:
    """Bytes of settled files, and what has come of the others."""
    on_their_way = max(report.received - report.bytes, 0)
    return min(report.settled_bytes + on_their_way, report.bytes_in_all)


def _describe(report: RestoreReport) -> str:
    done = report.restored + report.adopted + report.present
    text = f"restore: {done:,} of {output.files(report.files)}"
    for count, word in ((report.failed, "failed"), (report.retries, "retries")):
        text += f", {count:,} {word}" if count else ""
    return text


def _print(report: RestoreReport, **more: str | None) -> None:
    if output.wants_json():
        output.print_json({**dataclasses.asdict(report), **more})
        return
    sources = ", ".join(f"{n:,} from {name}" for name, n in sorted(report.backends.items()))
    restored = f"{report.restored:,} {'to restore' if report.dry_run else 'restored'}"
    rate = report.bytes / report.seconds if report.seconds and not report.dry_run else 0
    speed = f" in {report.seconds:.1f} s ({output.size(int(rate))}/s)" if rate else ""
    output.echo(
        f"{report.root}: {output.files(report.files)}, {restored}"
        + (f" ({sources})" if sources else "")
        + f", {report.present + report.adopted:,} there already, {report.failed:,} failed;"
        f" {output.size(report.bytes)}{speed}"
    )
    for trouble in report.troubles[:_LISTED]:
        output.message("warning", trouble)
    if len(report.troubles) > _LISTED:
        output.note(f"and {len(report.troubles) - _LISTED:,} more such copies; --json lists them")
    for code, count in sorted(report.reasons.items(), key=lambda item: -item[1]):
        listed = [f.reason for f in report.failures if f.code == code][:_LISTED]
        output.message("failed", f"{output.files(count)}: {code}")
        for reason in listed:
            output.note(f"  {reason}")
        if count > len(listed):
            output.note(f"  and {count - len(listed):,} more; --json lists them")
