"""Exports: the songs of a playlist, one file of each, or the files of the catalog, each place.

A playlist has of each song the best file that is at such a place: one without loss before others,
then the larger. Addresses of the secret kind go into what is exported and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.scope import EVERYTHING, Scope
from catalogsync_assets.core.errors import CatalogSyncError
from catalogsync_assets.core.export.contents import (
    FileAt,
    Page,
    playlist_name,
    song_names,
    songs_of_playlist,
    songs_with_files,
)
from catalogsync_assets.core.export.parquet import require_parquet, write_parquet
from catalogsync_assets.core.export.places import Places
from catalogsync_assets.core.export.rows import Row, Shape
from catalogsync_assets.core.export.target import replacing
from catalogsync_assets.core.export.text import write_csv, write_json, write_jsonl, write_m3u8

_WRITERS: dict[str, Callable[[BinaryIO, Shape, Iterable[Row]], None]] = {
    "m3u8": write_m3u8,
    "csv": write_csv,
    "json": write_json,
    "jsonl": write_jsonl,
    "parquet": write_parquet,
}
FORMATS = tuple(_WRITERS)
#: Extension -> format, where it is not its name.
EXTENSIONS = {"m3u": "m3u8", "ndjson": "jsonl"} | {name: name for name in FORMATS}
#: m4a is not among them: it holds either.
_LOSSLESS = frozenset(("aif", "aiff", "ape", "dff", "dsf", "flac", "tta", "wav", "wv"))
_LISTED = 20


@dataclass
class ExportReport:
    """What was exported."""

    #: Of the songs, and how many rows they became.
    songs: int = 0
    rows: int = 0
    left_out: int = 0  #: songs that have no file at such a place
    #: `Artist - Title` of the first of them.
    left_out_names: list[str] = field(default_factory=list)


Progress = Callable[[ExportReport], None]


def export_playlist(
    catalog: Catalog,
    playlist: str,
    target: Path | BinaryIO,
    *,
    kind: str,
    places: Places,
    strict: bool = False,
    progress: Progress = lambda _: None,
) -> ExportReport:
    """Write a playlist in its order, one file of each song.

    Args:
        playlist: its name or id.
        target: a file, replaced when all is written, or a stream.
        kind: one of `FORMATS`.
        strict: see Raises.
        progress: called now and then.

    Raises:
        UsageError: there is no such playlist; the target cannot be written.
        CatalogSyncError: with `strict`, songs had to be left out; the file is then not written.
    """
    number, name = playlist_name(catalog, playlist)
    pages = songs_of_playlist(catalog, number, places.where)
    return _export(
        catalog, pages, Shape(name), target, kind, places, strict=strict, progress=progress
    )


def export_catalog(
    catalog: Catalog,
    target: Path | BinaryIO,
    *,
    kind: str,
    places: Places,
    scope: Scope = EVERYTHING,
    strict: bool = False,
    progress: Progress = lambda _: None,
) -> ExportReport:
    """Write the current files of the catalog's songs, a row for each place, by song.

    Arguments and errors as of `export_playlist`.
    """
    pages = songs_with_files(catalog, places.where, scope)
    return _export(catalog, pages, Shape(), target, kind, places, strict=strict, progress=progress)


def _export(
    catalog: Catalog,
    pages: Iterator[Page],
    shape: Shape,
    target: Path | BinaryIO,
    kind: str,
    places: Places,
    *,
    strict: bool,
    progress: Progress,
) -> ExportReport:
    if kind == "parquet":
        require_parquet()
    report = ExportReport()
    left_out: list[int] = []

    def write(file: BinaryIO) -> None:
        rows = _rows(pages, shape, places, report, left_out, progress)
        _WRITERS[kind](file, shape, rows)
        report.left_out_names = song_names(catalog, left_out)
        if strict and report.left_out:
            raise CatalogSyncError(
                f"{report.left_out:,} songs have no such location, the first is"
                f" {report.left_out_names[0]!r}",
                hint="leave out --strict to export the others",
            )

    if isinstance(target, Path):
        with replacing(target, private=places.secret) as file:
            write(file)
    else:
        write(target)
    return report


def _rows(
    pages: Iterator[Page],
    shape: Shape,
    places: Places,
    report: ExportReport,
    left_out: list[int],
    progress: Progress,
) -> Iterator[Row]:
    position = 0
    for page in pages:
        files = {song: list(group) for song, group in groupby(page.files, lambda f: f.song_id)}
        for song in page.song_ids:
            position += 1
            found = files.get(song)
            if not found:
                report.left_out += 1
                if len(left_out) < _LISTED:
                    left_out.append(song)
                continue
            report.songs += 1
            for file in [min(found, key=_worth)] if shape.playlist is not None else found:
                report.rows += 1
                yield shape.row(file, places.address(file), position)
        progress(report)


def _worth(file: FileAt) -> tuple[bool, int, int]:
    """The best file is the smallest of these; the older one where nothing else decides."""
    return file.format not in _LOSSLESS, -(file.size_bytes or 0), file.file_asset_id
