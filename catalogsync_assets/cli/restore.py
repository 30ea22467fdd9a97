"""The command about bringing files back: restore."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from catalogsync_assets.cli import options, output, running
from catalogsync_assets.core.errors import UsageError

if TYPE_CHECKING:
    from catalogsync_assets.core.catalog.database import Catalog
    from catalogsync_assets.core.catalog.scope import Scope
    from catalogsync_assets.core.restore.restore import RestoreReport
    from catalogsync_assets.core.stores.backend import ObjectBackend


@options.command(
    "catalogsync restore --all --to ~/Music --dry-run",
    "catalogsync restore --missing --to ~/Music",
    "catalogsync restore --replaced --to /tmp/earlier",
    "catalogsync restore --playlist Favourites --from cloud --to /mnt/player",
)
@click.option(
    "--to",
    "root",
    type=click.Path(path_type=Path, file_okay=False),
    help="Library root to restore to.",
)
@options.backend(
    "Read only from this backend. [default: the most recently verified first]", "--from"
)
@options.flag("--missing", "Only files that are no longer in any library root.")
@options.flag(
    "--replaced",
    "Contents that edits have replaced, as far as they are kept; without --to they are listed.",
)
@options.flag("--all", "Every file of the catalog.", "everything")
@options.selecting
@options.flag("--dry-run", "Only show what would be done.")
@options.flag(
    "--allow-empty",
    "Accept an empty root that held files: its disk is mounted, they are gone.",
)
@options.workers("Files to restore")
def restore(
    root: Path | None,
    backend_name: str | None,
    missing: bool,
    replaced: bool,
    everything: bool,
    **chosen: Any,
) -> None:
    """Bring files back from the backends.

    Each file is checked against its digest before it gets its name, and recorded; a damaged copy
    is refused, and the next backend tried. No file is ever overwritten. May be stopped at any time;
    run it again to continue.
    """
    from catalogsync_assets.core.restore.restore import restore as run_restore
    from catalogsync_assets.core.restore.restore import restore_replaced

    if replaced and (missing or everything):
        raise UsageError("--replaced takes neither --missing nor --all", hint="drop the other")
    if root is None and not replaced:
        raise UsageError("no folder named", hint="name a library root with --to")
    if not (missing or everything or replaced or running.is_selecting()):
        raise UsageError(
            "no files named", hint="use --missing, --all, --playlist, --artist, --pool or --song"
        )
    if everything and (missing or running.is_selecting()):
        raise UsageError("--all takes no selection", hint="drop it, or the other options")
    catalog = running.open_catalog()
    backend = running.chosen_backend(catalog, backend_name)
    scope = running.selected_scope(catalog)
    if root is None:
        _list_replaced(catalog, scope, backend)
        return
    kind: dict[str, Any] = {"missing": missing}
    if replaced:
        del chosen["allow_empty"]
        kind = {}
    report, stopped = running.watched(
        "bytes",
        lambda r: (_how_far(r), r.bytes_in_all, _describe(r)),
        partial(
            restore_replaced if replaced else run_restore,
            *(catalog, root),
            **{"scope": scope, "backend": backend, **kind, **chosen},
        ),
    )
    running.end(report, lambda: _print(report), stopped, failed=report.failed, show_stopped=True)


def _list_replaced(catalog: Catalog, scope: Scope, backend: ObjectBackend | None) -> None:
    from catalogsync_assets.core.restore.queries import replaced_files

    pages = replaced_files(catalog, scope, backend_id=backend.id if backend else None)
    found = [(f.path, output.size(f.size_bytes or 0), f.copies[0].key) for p in pages for f in p]
    told = [{"path": path, "key": key} for path, _, key in found]
    running.end(
        {"replaced": told},
        lambda: output.print_table(
            "replaced contents", ("file", "size", "key"), found, empty="none is kept"
        ),
    )


def _how_far(report: RestoreReport) -> int:
    """Bytes of finished files, and what has arrived of the others."""
    on_their_way = max(report.received - report.bytes, 0)
    return min(report.settled_bytes + on_their_way, report.bytes_in_all)


def _describe(report: RestoreReport) -> str:
    done = report.restored + report.adopted + report.present
    return output.so_far("restore", done, report.files, report)


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
