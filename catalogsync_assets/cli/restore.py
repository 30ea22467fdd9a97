"""The command about bringing files back: restore."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from catalogsync_assets.cli import options, output, running

if TYPE_CHECKING:
    from catalogsync_assets.core.restore.restore import RestoreReport


@options.command(
    "catalogsync restore --all --to ~/Music --dry-run",
    "catalogsync restore --missing --to ~/Music",
    "catalogsync restore --playlist Favourites --from cloud --to /mnt/player",
)
@click.option(
    "--to",
    "root",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Library root to restore to.",
)
@click.option(
    "--from",
    "backend_name",
    metavar="NAME",
    help="Read only from this backend. [default: the most recently verified first]",
)
@options.flag("--missing", "Only files that are no longer in any library root.")
@options.flag("--all", "Every file of the catalog.", "everything")
@options.selecting
@options.flag("--dry-run", "Only show what would be done.")
@options.flag(
    "--allow-empty",
    "Accept an empty root that held files: its disk is mounted, they are gone.",
)
@options.workers("Files to restore")
def restore(
    root: Path, backend_name: str | None, missing: bool, everything: bool, **chosen: Any
) -> None:
    """Bring files back from the backends.

    Each file is checked against its digest before it gets its name, and recorded; a damaged copy
    is refused, and the next backend tried. No file is ever overwritten. May be stopped at any time;
    run it again to continue.
    """
    from catalogsync_assets.core.errors import UsageError
    from catalogsync_assets.core.restore.restore import restore as run_restore

    if not (missing or everything or running.is_selecting()):
        raise UsageError(
            "no files named", hint="use --missing, --all, --playlist, --artist, --pool or --song"
        )
    if everything and (missing or running.is_selecting()):
        raise UsageError("--all takes no selection", hint="drop it, or the other options")
    catalog = running.open_catalog()
    backend = running.chosen_backend(catalog, backend_name)
    scope = running.selected_scope(catalog)
    report, stopped = running.watched(
        "bytes",
        lambda r: (_how_far(r), r.bytes_in_all, _describe(r)),
        lambda progress: run_restore(
            catalog,
            root,
            scope=scope,
            missing=missing,
            backend=backend,
            progress=progress,
            **chosen,
        ),
    )
    running.end(report, lambda: _print(report), stopped, failed=report.failed, show_stopped=True)


def _how_far(report: RestoreReport) -> int:
    """Bytes of finished files, and what has arrived of the others."""
    on_their_way = max(report.received - report.bytes, 0)
    return min(report.settled_bytes + on_their_way, report.bytes_in_all)


def _describe(report: RestoreReport) -> str:
    done = report.restored + report.adopted + report.present
    return output.with_counts(
        f"restore: {done:,} of {output.files(report.files)}",
        (report.failed, "failed"),
        (report.retries, "retries"),
    )


def _print(report: RestoreReport) -> None:
    sources = ", ".join(f"{n:,} from {name}" for name, n in sorted(report.backends.items()))
    restored = f"{report.restored:,} {'to restore' if report.dry_run else 'restored'}"
    output.echo(
        f"{report.root}: {output.files(report.files)}, {restored}"
        + (f" ({sources})" if sources else "")
        + f", {report.present + report.adopted:,} already there, {report.failed:,} failed;"
        f" {output.speed(report.bytes, 0 if report.dry_run else report.seconds)}"
    )
    output.listed(report.troubles, len(report.troubles), kind="warning")
    running.print_failures(report)
