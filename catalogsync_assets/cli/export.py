"""Commands that write the catalog for other programs: export playlist, export catalog."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from catalogsync_assets.cli import options, output, running

if TYPE_CHECKING:
    from catalogsync_assets.core.catalog.database import Catalog
    from catalogsync_assets.core.export.export import ExportReport
    from catalogsync_assets.core.export.places import Places

# As in core.export, which is imported only by who needs it; a test holds them together.
_FORMATS = ("m3u8", "csv", "json", "jsonl", "parquet")
_LOCATIONS = ("local", "public", "presigned")
_STDOUT = Path("-")


#: The options of both commands but --locations.
_exporting = options.together(
    click.option(
        "--output",
        "target",
        metavar="FILE",
        type=click.Path(path_type=Path),
        default=_STDOUT,
        help="File to write, replaced once complete; - is stdout. [default: -]",
    ),
    click.option(
        "--backend",
        "backend_name",
        metavar="NAME",
        help="Only files on this backend. [default: the only one, if one is needed]",
    ),
    options.number(
        "--expires",
        "How long presigned URLs are valid, at most 604800 (a week). [default: 3600]",
        most=604_800,
        metavar="SECONDS",
    ),
    click.option(
        "--relative-to",
        metavar="FOLDER",
        type=click.Path(path_type=Path),
        help="Write local paths relative to this folder. [default: absolute]",
    ),
    options.flag("--strict", "Fail, and write no file, if a song has no such location."),
)


def _format_option(default: str) -> options.Option:
    return click.option(
        "--format",
        "kind",
        type=click.Choice(_FORMATS),
        help=f"[default: by FILE's extension, else {default}]",
    )


@options.group(
    "catalogsync export playlist Favourites --output favourites.m3u8",
    "catalogsync export catalog --output catalog.parquet",
)
def export() -> None:
    """Write playlists and tables with the addresses of files, for other programs."""


@options.command(
    "catalogsync export playlist Favourites --output ~/Music/favourites.m3u8 --relative-to ~/Music",
    "catalogsync export playlist Favourites --locations public > favourites.m3u8",
    "catalogsync export playlist 17 --locations presigned --expires 86400 --output party.m3u8",
    of=export,
)
@click.argument("name")
@_format_option("m3u8")
@click.option(
    "--locations",
    type=click.Choice(_LOCATIONS),
    default="local",
    show_default=True,
    help="Paths of local files, public URLs, or URLs that anybody can read for a while.",
)
@_exporting
def playlist(name: str, kind: str | None, target: Path, strict: bool, **asked: Any) -> None:
    """Write the songs of a playlist in its order.

    NAME is a playlist's name or id. A song with several files is listed with its best: lossless
    before lossy, then the larger.
    """
    from catalogsync_assets.core.export.export import export_playlist

    kind = _kind(kind, target, default="m3u8")
    catalog = running.open_catalog()
    work = partial(export_playlist, catalog, name, places=_places(catalog, **asked), strict=strict)
    _write(work, "song", kind, target)


@options.command(
    "catalogsync export catalog > catalog.csv",
    'catalogsync export catalog --format jsonl --backend cloud --artist "Nina Simone"',
    "catalogsync export catalog --locations public --output catalog.parquet",
    of=export,
)
@_format_option("csv")
@click.option(
    "--locations",
    type=click.Choice(_LOCATIONS),
    help="Only active files at these places. [default: all places, whatever their status]",
)
@_exporting
@options.selecting
def catalog(kind: str | None, target: Path, strict: bool, **asked: Any) -> None:
    """Write the current files of the songs, one row for each place of a file."""
    from catalogsync_assets.core.export.export import export_catalog

    kind = _kind(kind, target, default="csv")
    opened = running.open_catalog()
    places = _places(opened, **asked)
    scope = running.selected_scope(opened)
    work = partial(export_catalog, opened, places=places, scope=scope, strict=strict)
    _write(work, "row", kind, target)


def _kind(given: str | None, target: Path, *, default: str) -> str:
    from catalogsync_assets.core.errors import UsageError
    from catalogsync_assets.core.export.export import EXTENSIONS

    kind = given or EXTENSIONS.get(target.suffix[1:].lower(), default)
    if target == _STDOUT and kind == "parquet":
        raise UsageError("Parquet cannot go to stdout", hint="name a file with --output")
    if target == _STDOUT and options.wants_json():
        raise UsageError(
            "--json cannot be combined with an export to stdout",
            hint="name a file with --output; to export as JSON, use --format json",
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
            raise UsageError(f"{option} needs --locations {needed}", hint="leave one of them out")
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


def _write(work: Callable[..., ExportReport], unit: str, kind: str, target: Path) -> None:
    """Write, and say what was written.

    Args:
        work: of `core`, but for where to, the format and the progress.
        unit: what it counts as it goes: `song` or `row`.
    """
    opened = output.results_file() if target == _STDOUT else target.expanduser()

    def how_far(report: ExportReport) -> tuple[int, None, str]:
        count = report.songs if unit == "song" else report.rows
        return count, None, output.counted(count, unit)

    report, _ = running.watched(
        f"{unit}s", how_far, lambda progress: work(opened, kind=kind, progress=progress)
    )
    songs, rows = output.counted(report.songs, "song"), output.counted(report.rows, "row")
    if report.left_out:
        left_out, names = output.counted(report.left_out, "song"), report.left_out_names
        output.message("warning", f"{left_out} left out: no active file at such a location")
        output.listed(names, report.left_out, most=len(names), more="more")
    told = {"output": target, "format": kind, **dataclasses.asdict(report)}
    if target != _STDOUT:  # else the export is there
        running.end(told, lambda: output.echo(f"{target}: {songs}, {rows}"))
