"""Commands that write the catalog for other programs: export playlist, export catalog."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import click

from catalogsync_assets.cli import output
from catalogsync_assets.cli.selection import selected_scope, selecting

if TYPE_CHECKING:
    from catalogsync_assets.core.catalog.database import Catalog
    from catalogsync_assets.core.export.export import ExportReport
    from catalogsync_assets.core.export.places import Places

_Function = TypeVar("_Function", bound=Callable[..., Any])
# As in core.export, which is imported only by who needs it; a test holds them together.
_FORMATS = ("m3u8", "csv", "json", "jsonl", "parquet")
_LOCATIONS = ("local", "public", "presigned")
_STDOUT = Path("-")


def _exporting(function: _Function) -> _Function:
    """The options of both commands but --locations."""
    for option in (
        click.option(
            "--strict",
            is_flag=True,
            help="Fail, and write no file, if a song has no such location.",
        ),
        click.option(
            "--relative-to",
            metavar="FOLDER",
            type=click.Path(path_type=Path),
            help="Local paths as seen from there. [default: absolute]",
        ),
        click.option(
            "--expires",
            metavar="SECONDS",
            type=click.IntRange(1, 604_800),
            help="How long presigned URLs are good for, at most 604800: a week. [default: 3600]",
        ),
        click.option(
            "--backend",
            "backend_name",
            metavar="NAME",
            help="Files on this one. [default: the only one there is, if one is needed]",
        ),
        click.option(
            "--output",
            "target",
            metavar="FILE",
            type=click.Path(path_type=Path),
            default=_STDOUT,
            help="Replaced when all is written; - is stdout. [default: -]",
        ),
    ):
        function = option(function)
    return function


def _format_option(default: str) -> Callable[[_Function], _Function]:
    return click.option(
        "--format",
        "kind",
        type=click.Choice(_FORMATS),
        help=f"[default: told by FILE's name, else {default}]",
    )


@click.group(
    epilog="""\b
Examples:
  catalogsync export playlist Favourites --output favourites.m3u8
  catalogsync export catalog --output catalog.parquet"""
)
def export() -> None:
    """Write playlists and tables with the addresses of files, for other programs."""


@export.command(
    epilog="""\b
Examples:
  catalogsync export playlist Favourites --output ~/Music/favourites.m3u8 --relative-to ~/Music
  catalogsync export playlist Favourites --locations public > favourites.m3u8
  catalogsync export playlist 17 --locations presigned --expires 86400 --output party.m3u8"""
)
@output.db_option
@click.argument("name")
@_format_option("m3u8")
@click.option(
    "--locations",
    type=click.Choice(_LOCATIONS),
    default="local",
    show_default=True,
    help="Paths of local files, public URLs, or URLs that anybody may read for a while.",
)
@_exporting
@output.json_option
def playlist(
    db: str | None, name: str, kind: str | None, target: Path, strict: bool, **asked: Any
) -> None:
    """Write the songs of a playlist in its order.

    NAME is a playlist's name or id. Of a song with several files it has the best: one without
    loss before others, then the larger.
    """
    from catalogsync_assets.core.export.export import export_playlist

    kind = _kind(kind, target, default="m3u8")
    catalog = output.open_catalog(db)
    places = _places(catalog, **asked)
    with output.progress("songs") as line:
        report = export_playlist(
            catalog,
            name,
            _opened(target),
            kind=kind,
            places=places,
            strict=strict,
            progress=lambda r: line.update(r.songs, None, f"{r.songs:,} songs"),
        )
    _print(report, kind, target)


@export.command(
    epilog="""\b
Examples:
  catalogsync export catalog > catalog.csv
  catalogsync export catalog --format jsonl --backend cloud --artist "Nina Simone"
  catalogsync export catalog --locations public --output catalog.parquet"""
)
@output.db_option
@_format_option("csv")
@click.option(
    "--locations",
    type=click.Choice(_LOCATIONS),
    help="Only active files at such places. [default: all places, whatever their status]",
)
@_exporting
@selecting
@output.json_option
def catalog(
    db: str | None,
    kind: str | None,
    target: Path,
    strict: bool,
    locations: str | None,
    backend_name: str | None,
    expires: int | None,
    relative_to: Path | None,
    **selected: Any,
) -> None:
    """Write the current files of the songs, a row for each place where one is."""
    from catalogsync_assets.core.export.export import export_catalog

    kind = _kind(kind, target, default="csv")
    opened = output.open_catalog(db)
    places = _places(
        opened,
        locations=locations,
        backend_name=backend_name,
        expires=expires,
        relative_to=relative_to,
    )
    scope = selected_scope(opened, **selected)
    with output.progress("rows") as line:
        report = export_catalog(
            opened,
            _opened(target),
            kind=kind,
            places=places,
            scope=scope,
            strict=strict,
            progress=lambda r: line.update(r.rows, None, f"{r.rows:,} rows"),
        )
    _print(report, kind, target)


def _kind(given: str | None, target: Path, *, default: str) -> str:
    from catalogsync_assets.core.errors import UsageError
    from catalogsync_assets.core.export.export import EXTENSIONS

    kind = given or EXTENSIONS.get(target.suffix[1:].lower(), default)
    if target == _STDOUT and kind == "parquet":
        raise UsageError("Parquet is not text", hint="name a file with --output")
    if target == _STDOUT and output.wants_json():
        raise UsageError(
            "--json would stand in the middle of the export",
            hint="name a file with --output; for the export as JSON: --format json",
        )
    return kind


def _places(
    catalog: Catalog,
    *,
    locations: str | None,
    backend_name: str | None,
    expires: int | None,
    relative_to: Path | None,
) -> Places:
    from catalogsync_assets.core.errors import UsageError
    from catalogsync_assets.core.export import places

    for given, option, needed in (
        (expires, "--expires", "presigned"),
        (relative_to, "--relative-to", "local"),
    ):
        if given is not None and locations != needed:
            raise UsageError(f"{option} is for --locations {needed}", hint="leave one of them out")
    if locations == "local":
        if backend_name is not None:
            raise UsageError(
                "local files are not on a backend", hint="leave out --backend or --locations"
            )
        return places.local(relative_to=relative_to)
    if locations == "public":
        return places.public(catalog, backend=backend_name)
    if locations == "presigned":
        return places.presigned(
            catalog, backend=backend_name, expires=expires or places.DEFAULT_EXPIRES
        )
    return places.everywhere(catalog, backend=backend_name)


def _opened(target: Path) -> Path | BinaryIO:
    if target == _STDOUT:
        return output.results_file()
    return target.expanduser()


def _print(report: ExportReport, kind: str, target: Path) -> None:
    if report.left_out:
        output.message(
            "warning",
            f"{_count(report.left_out, 'song')} left out: no active file at such a location",
        )
        for name in report.left_out_names:
            output.note(f"  {name}")
        if report.left_out > len(report.left_out_names):
            output.note(f"  and {report.left_out - len(report.left_out_names):,} more")
    if output.wants_json():
        told = {"output": target, "format": kind, **dataclasses.asdict(report)}
        output.print_json(told)
    elif target != _STDOUT:
        output.echo(f"{target}: {_count(report.songs, 'song')}, {_count(report.rows, 'row')}")


def _count(count: int, word: str) -> str:
    return f"{count:,} {word}" + ("" if count == 1 else "s")
