"""Commands about the catalog itself: its snapshots on the backends, and which copy of it counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from catalogsync_assets.cli import options, output, running
from catalogsync_assets.core.errors import CatalogSyncError, UsageError

if TYPE_CHECKING:
    from catalogsync_assets.core.backup.backup import BackupReport
    from catalogsync_assets.core.backup.snapshots import Snapshot
    from catalogsync_assets.core.stores.backend import ObjectBackend
    from catalogsync_assets.core.stores.retry import Retry

_FORM = "%Y-%m-%d %H:%M:%S"


@options.group(
    "catalogsync catalog backup",
    "catalogsync catalog snapshots --backend cloud",
)
def catalog() -> None:
    """Keep the catalog itself safe: snapshots of it on the backends."""


@options.command(
    "catalogsync catalog backup",
    "catalogsync catalog backup --backend cloud",
    of=catalog,
)
@options.backend("Only to this backend. [default: all]")
@options.flag(
    "--remove-readable",
    "Also delete this catalog's snapshots that are not encrypted, where a passphrase is set now or"
    " the bucket is served publicly.",
)
def backup(backend_name: str | None, remove_readable: bool) -> None:
    """Put a snapshot of the catalog on the backends, if something has changed.

    It is encrypted where CATALOGSYNC_PASSPHRASE is set; without it, a backend that is served
    publicly gets none. The last 7 stay, then one of each of 4 weeks and 6 months;
    CATALOGSYNC_SNAPSHOTS=7,4,6 sets that.
    """
    from catalogsync_assets.core.backup.backup import back_up

    opened = running.open_catalog()
    chosen = running.chosen_backends(opened, backend_name)
    if not chosen:
        raise UsageError(
            "no backend is registered", hint="register one with `register-object-backend`"
        )
    reports = back_up(opened, chosen, remove_readable=remove_readable)
    failed = sum(report.status == "failed" for report in reports)
    told = {"backends": [_told(report) for report in reports]}
    running.end(told, lambda: _print_backups(reports), failed=failed)


def _told(found: BackupReport | Snapshot) -> dict[str, Any]:
    """For --json, with times as they are elsewhere."""
    made_at = found.made_at and f"{found.made_at:{_FORM}}"
    return {**asdict(found), "made_at": made_at}


def _print_backups(reports: list[BackupReport]) -> None:
    for report in reports:
        name = report.backend
        if report.status == "made":
            sealed = ", encrypted" if report.encrypted else ""
            output.echo(
                f"{name}: snapshot made, {output.size(report.size_bytes or 0)} of"
                f" {output.size(report.catalog_bytes)}{sealed}: {report.key}"
            )
        elif report.status == "unchanged":
            output.echo(f"{name}: nothing has changed since {report.key}")
        elif report.status == "left out":
            output.message("warning", f"{name}: no snapshot: {report.reason}")
        else:
            output.message("failed", f"{name}: no snapshot: {report.reason}")
        if report.hint:
            output.message("hint", report.hint)
        if report.readable:
            output.message("warning", f"{name}: {report.of_readable}")
            output.message("hint", "`catalogsync catalog backup --remove-readable` deletes them")
        if report.warning:
            output.message("warning", f"{name}: {report.warning}")


@options.command(
    "catalogsync catalog snapshots",
    "catalogsync catalog snapshots --backend cloud --json",
    of=catalog,
)
@options.backend("Only on this backend. [default: all]")
def snapshots(backend_name: str | None) -> None:
    """List the snapshots on the backends, newest first, of whichever catalog they are."""
    from catalogsync_assets.core.backup.snapshots import list_snapshots
    from catalogsync_assets.core.catalog.backends import catalog_id

    opened = running.open_catalog()
    own = catalog_id(opened)
    told: list[dict[str, Any]] = []
    rows: list[tuple[object, ...]] = []
    failures: list[CatalogSyncError] = []
    for chosen in running.chosen_backends(opened, backend_name):
        try:
            found = _asked(chosen, lambda client, retry: list_snapshots(client, retry=retry))
        except CatalogSyncError as error:
            failures.append(error)
            continue
        for s in found:
            told.append({"backend": chosen.name, **_told(s), "ours": s.catalog_id == own})
            whose = "this one" if s.catalog_id == own else s.catalog_id
            size = "-" if s.size_bytes is None else output.size(s.size_bytes)
            sealed = "yes" if s.encrypted else "no"
            row = (whose, f"{s.made_at:{_FORM}}", size, sealed, s.schema or "-", s.key)
            rows.append((chosen.name, *row))
    columns = ("backend", "catalog", "made (UTC)", "size", "encrypted", "schema", "key")

    def show() -> None:
        if rows or not failures:
            output.print_table("snapshots", columns, rows, empty="there is no snapshot")
        for error in failures:
            output.message("failed", str(error))

    problems = [{"error": error.message, "hint": error.hint} for error in failures]
    running.end({"snapshots": told, "failures": problems}, show, failed=len(failures))


@options.command("catalogsync catalog confirm --backend cloud", of=catalog)
@options.backend("The backend.", required=True)
def confirm(backend_name: str) -> None:
    """Say that this catalog is the one that counts for a backend.

    For when an old copy of the catalog was put back, or the catalog was copied to another machine,
    and is to be used from now on. Its copies are refused from then on what this one was refused:
    to replace, move and prune objects of the backend, and to offload by its copies. This one may
    again once `verify` has compared all of the backend.
    """
    from catalogsync_assets.core.backends.generation import confirm as confirm_generation
    from catalogsync_assets.core.catalog.backends import backend_by_name

    opened = running.open_catalog()
    chosen = backend_by_name(opened, backend_name)
    done = _asked(chosen, lambda client, retry: confirm_generation(opened, client, retry=retry))

    def show() -> None:
        if not done:
            output.echo(f"{chosen.name}: nothing speaks against this catalog")
            return
        output.echo(f"{chosen.name}: this catalog is the one that counts")
        output.message("hint", f"run `catalogsync verify --backend {chosen.name}` now")

    running.end({"backend": chosen.name, "confirmed": done}, show)


def _asked(backend: ObjectBackend, question: Callable[[Any, Retry], Any]) -> Any:
    """What a backend answers, each request retried."""
    import threading

    from catalogsync_assets.core.runner.limiter import ConcurrencyLimiter
    from catalogsync_assets.core.stores.client import StoreClient
    from catalogsync_assets.core.stores.retry import Retries

    retry = Retries(attempts=3, pace=ConcurrencyLimiter(1), stop=threading.Event())
    client = StoreClient(backend)
    try:
        retry(client.probe)
        return question(client, retry)
    finally:
        client.close()
