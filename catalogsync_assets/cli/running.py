"""How a command runs: it opens the catalog, resolves what it is about, works, and ends.

A long command shows how far it is (`watched`), and ends once (`end`): with its report, as text or
as JSON, with the error that broke it off, if one did, and with its exit code.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any, TypeVar

import click

from catalogsync_assets.cli import output
from catalogsync_assets.cli.options import given, wants_json
from catalogsync_assets.core.errors import CatalogSyncError, RunAborted
from catalogsync_assets.core.stores.backend import ObjectBackend

if TYPE_CHECKING:
    from catalogsync_assets.core.catalog.database import Catalog
    from catalogsync_assets.core.catalog.scope import Scope

_Report = TypeVar("_Report")
_SELECTING = ("songs", "playlists", "artists", "pools")


def open_catalog(*, create: bool = False) -> Catalog:
    """The catalog of --db, open until the command ends, however it ends.

    Args:
        create: make it where there is none.

    Raises:
        CatalogError: it cannot be opened; see `Catalog.open`.
    """
    from catalogsync_assets.core.catalog.database import Catalog

    context = click.get_current_context()
    catalog = Catalog.open_or_create(given("db")) if create else Catalog.open(given("db"))
    context.meta[output.CATALOG] = catalog
    return context.with_resource(closing(catalog))


def chosen_backend(catalog: Catalog, name: str | None) -> ObjectBackend | None:
    """The backend of this name; None without a name.

    Raises:
        UnknownBackendError: no backend has this name.
    """
    from catalogsync_assets.core.catalog.backends import backend_by_name

    return None if name is None else backend_by_name(catalog, name)


def chosen_backends(catalog: Catalog, *names: str | None) -> list[ObjectBackend]:
    """The backends of these names, each once; all where there is no name.

    Raises:
        UnknownBackendError: no backend has this name.
    """
    from catalogsync_assets.core.catalog.backends import backend_by_name, object_backends

    found = [backend_by_name(catalog, name) for name in dict.fromkeys(names) if name is not None]
    return found or object_backends(catalog)


def is_selecting() -> bool:
    """Whether an option of `selecting` was given."""
    return any(given(name) for name in _SELECTING)


def selected_scope(catalog: Catalog) -> Scope:
    """The songs that the options of `selecting` name; everything where none was given.

    Raises:
        UsageError: there is no such song, playlist, artist or pool.
    """
    from catalogsync_assets.core.catalog.scope import Scope, select

    return Scope(selections=select(catalog, **{name: given(name) for name in _SELECTING}))


def watched(
    unit: str,
    how_far: Callable[[_Report], tuple[int, int | None, str]],
    work: Callable[..., _Report],
) -> tuple[_Report, CatalogSyncError | None]:
    """Work, and show how far it is.

    Args:
        unit: as of `output.progress`.
        how_far: of a report: what is done, of how much (None while unknown), and a line.
        work: takes, as `progress`, what is to be called with the report as it stands.

    Returns:
        The report, and the error that broke the work off, if one did.

    Raises:
        CatalogSyncError: there is nothing to report.
    """
    with output.progress(unit) as line:
        return finished(lambda: work(progress=lambda report: line.update(*how_far(report))))


def finished(work: Callable[[], _Report]) -> tuple[_Report, CatalogSyncError | None]:
    """The report of some work, and the error that broke it off, if one did; see `watched`."""
    try:
        return work(), None
    except RunAborted as error:
        return error.report, error


def end(
    report: Any,
    show: Callable[[], None],
    stopped: CatalogSyncError | None = None,
    *,
    failed: int = 0,
    show_stopped: bool = False,
    **more: Any,
) -> None:
    """Print a command's result, and end with its exit code.

    Args:
        report: for --json; a dataclass or a mapping.
        show: prints it for a person.
        stopped: what broke the work off: raised, once the report is printed.
        failed: how much did: the exit code is 1 if any.
        show_stopped: whether a person is shown the report of what was broken off, too.
        more: further fields of the JSON object.
    """
    if wants_json():
        fields = report if isinstance(report, dict) else dataclasses.asdict(report)
        ending = {"error": stopped.message, "hint": stopped.hint} if stopped else {}
        output.print_json({**fields, **more, **ending})
    elif stopped is None or show_stopped:
        show()
    if stopped is not None:
        stopped.printed = wants_json()  # type: ignore[attr-defined]
        raise stopped
    _keep_catalog()
    if failed:
        click.get_current_context().exit(1)


def _keep_catalog() -> None:
    """A snapshot of the catalog, after a command that has changed much; at most once an hour.

    Whatever comes of it, the command has ended as it has.
    """
    from catalogsync_assets.core.backup import concerns

    catalog: Catalog | None = click.get_current_context().meta.get(output.CATALOG)
    if catalog is None or catalog.changed_rows < concerns.MUCH:
        return
    from catalogsync_assets.core.backup.due import back_up_if_due

    try:
        for report in back_up_if_due(catalog):
            if report.status == "made":
                output.note(f"{report.backend}: the catalog is kept there as {report.key}")
            elif report.reason:
                output.message(
                    "warning", f"{report.backend}: no snapshot of the catalog: {report.reason}"
                )
    except (CatalogSyncError, OSError) as error:
        output.message("warning", f"no snapshot of the catalog was made: {error}")


def print_failures(report: Any) -> None:
    """The reasons, the most frequent first, each with how often and some of its files."""
    for code, count in sorted(report.reasons.items(), key=lambda item: -item[1]):
        output.message("failed", f"{output.files(count)}: {code}")
        output.listed([f.reason for f in report.failures if f.code == code], count)
