"""The command that makes a catalog anew of what a backend holds: rebuild."""

from __future__ import annotations

import copy
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from catalogsync_assets.cli import options, output, running
from catalogsync_assets.cli.backends import register_object_backend
from catalogsync_assets.core.errors import UsageError

if TYPE_CHECKING:
    from catalogsync_assets.core.catalog.database import Catalog
    from catalogsync_assets.core.rebuild.report import RebuildReport
    from catalogsync_assets.core.stores.backend import ObjectBackend

_STEPS = {
    "snapshot": "reading the snapshot",
    "objects": "looking at objects",
    "files": "recording files",
    "check": "comparing",
    "done": "done",
}


@options.command(
    "With nothing left but the bucket, and its credentials in the environment:",
    "  catalogsync rebuild --backend cloud --bucket my-music --region eu-central-1 --dry-run",
    "  catalogsync rebuild --backend cloud --bucket my-music --region eu-central-1 --take-over",
    "  catalogsync restore --all --to ~/Music",
)
@options.backend("Name of the backend, as it was registered, or is to be.", required=True)
@options.flag("--without-snapshot", "Use no snapshot of the catalog: read the objects alone.")
@click.option(
    "--catalog", "catalog_id", metavar="ID", help="The catalog that is lost, where there are more."
)
@options.flag(
    "--take-over",
    "The old catalog is no more: this one takes its place, and its objects for its own.",
)
@options.flag("--dry-run", "Only show what would come; write nothing.")
def rebuild(
    backend_name: str,
    without_snapshot: bool,
    catalog_id: str | None,
    take_over: bool,
    dry_run: bool,
    **settings: Any,
) -> None:
    """Make a lost catalog anew from what a bucket holds: its newest snapshot, and the objects.

    Without a snapshot, each object is looked at, and its tags are read. Nothing is sent, and
    nothing in the bucket is changed. What is found counts as said, not as verified. May be stopped
    at any time; run it again to continue. A new machine knows no backend: name its bucket as for
    `register-object-backend`.
    """
    from catalogsync_assets.core.catalog.backends import register
    from catalogsync_assets.core.catalog.database import Catalog, exists
    from catalogsync_assets.core.rebuild.rebuild import NothingThereError, Request, require_fillable
    from catalogsync_assets.core.rebuild.rebuild import rebuild as run_rebuild

    keep_layout = settings["layout"] is None
    request = Request(not without_snapshot, catalog_id, take_over, keep_layout)
    if settings["bucket"] is None and not exists(options.given("db")):
        raise _unknown(backend_name)
    if not dry_run:
        is_new = not exists(options.given("db"))
        Catalog.initialise(options.given("db"), make_folder=True)[0].close()
        catalog = running.open_catalog()
        require_fillable(catalog, backend_name)  # before the backend there is given settings
        backend = _registered(catalog, backend_name, settings)
        try:
            _run(partial(run_rebuild, catalog, backend, request))
        except NothingThereError:
            if is_new:
                catalog.remove()
            raise
        return
    with tempfile.TemporaryDirectory(prefix="catalogsync-") as folder:
        scratch, _ = Catalog.initialise(Path(folder) / "catalogsync.db")
        try:
            named = settings["bucket"] is not None
            of = scratch if named else running.open_catalog()
            backend, _ = register(scratch, _registered(of, backend_name, settings))
            _run(partial(run_rebuild, scratch, backend, request, dry_run=True))
        finally:
            scratch.close()


def _settings() -> list[click.Parameter]:
    """The options of `register-object-backend`, none of which must be given."""
    found = []
    for option in register_object_backend.params:
        if option.name not in ("name", "db", "json"):
            found.append(copy.copy(option))
            found[-1].required = False
            if option.name == "workers" and isinstance(found[-1], click.Option):
                found[-1].help = "Objects to look at, or files to upload, at a time. [default: 16]"
    return found


rebuild.params[2:2] = _settings()


def _registered(catalog: Catalog, name: str, settings: dict[str, Any]) -> ObjectBackend:
    """The backend: as the options say, else as the catalog has it."""
    from catalogsync_assets.core.catalog.backends import object_backends, register
    from catalogsync_assets.core.stores.backend import ObjectBackend

    known = {backend.name: backend for backend in object_backends(catalog)}
    if settings["bucket"] is None:
        if name not in known:
            raise _unknown(name)
        return known[name]
    if settings["layout"] is None:
        settings["layout"] = known[name].layout if name in known else "path"
    return register(catalog, ObjectBackend(name=name, **settings))[0]


def _unknown(name: str) -> UsageError:
    return UsageError(
        f"there is no catalog that knows a backend {name!r}",
        hint="name its bucket with --bucket, and --endpoint, --region and --base-prefix as for"
        " `register-object-backend`",
    )


def _run(work: Any) -> None:
    report, stopped = running.watched("files", _how_far, work)
    running.end(report, lambda: _print(report), stopped, failed=report.failed, show_stopped=True)


def _how_far(report: RebuildReport) -> tuple[int, int | None, str]:
    text = f"{report.backend}: {_STEPS[report.step]}"
    if report.step == "objects":
        return report.looked_at, report.to_look_at or None, f"{text}, {report.listed:,} listed"
    if report.step == "files":
        return report.new + report.joined, None, text
    return report.listed, None, text


def _found_out(report: RebuildReport) -> list[str]:
    """The figures, as far as the rebuild has come."""
    said = [f"{report.listed:,} objects listed", f"{report.known:,} known"]
    if report.dry_run:
        said.append(f"{report.to_look_at:,} to look at")
    else:
        said.append(f"{report.looked_at:,} looked at")
    if report.step in ("files", "check", "done"):
        said += [f"{report.new:,} new", f"{report.joined:,} of known files"]
    if report.step in ("check", "done"):
        said += [f"{report.missing:,} missing", f"{report.damaged:,} damaged"]
    return [*said, f"{report.failed:,} failed"]


def _print(report: RebuildReport) -> None:
    for line in report.broken_snapshots:
        output.message("warning", f"cannot be used: {line}")
    if report.snapshot:
        made = f" of {report.snapshot_at} UTC"
        output.echo(
            f"snapshot{made}: {output.files(report.copied_files)}, {report.songs:,} songs,"
            f" {report.playlists:,} playlists of catalog {report.catalog_id}"
        )
    elif report.step != "snapshot":
        output.echo("no snapshot was used")
    if report.step != "snapshot":
        output.echo(f"{report.backend}: {', '.join(_found_out(report))}")
    for count, why in (
        (report.refused_rows, "rows of the snapshot cannot be what they should be; left out"),
        (
            report.nowhere,
            "files of the snapshot are on no backend; a scan may find them",
        ),
        (report.kept, "earlier contents, kept when they were replaced; left as they are"),
        (report.foreign, "objects are no files of a library; left as they are"),
        (report.left, "objects lie under a key of another file; `verify` lists them"),
    ):
        if count:
            output.message("note", f"{count:,} {why}")
    if report.unsafe:
        output.message("unsafe", f"{report.unsafe:,} keys lead to no place below a folder")
        output.listed(report.unsafe_keys, report.unsafe)
    for name, place in report.other_backends.items():
        output.message(
            "note",
            f"backend {name} was in the snapshot: {place}. See that it is yours, then"
            f" `catalogsync verify --backend {name}` tells what is there; else"
            f" `catalogsync backend remove {name}`",
        )
    running.print_failures(report)
    if report.dry_run or report.step != "done":
        return
    if not report.taken_over:
        output.note("the catalog has an id of its own; the old one may go on beside it")
    output.note(
        "next: `catalogsync restore --all --to FOLDER`, or `scan` what is left of the library"
    )
