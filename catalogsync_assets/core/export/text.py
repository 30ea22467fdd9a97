"""Writes rows as CSV, JSON, JSON Lines and M3U8. All in UTF-8, row by row."""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from catalogsync_assets.core.export.rows import Row, Shape

_LINE_ENDS = re.compile("[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+")


def write_csv(file: BinaryIO, shape: Shape, rows: Iterable[Row]) -> None:
    """RFC 4180, with the names of the columns first. What is not known is empty.

    Values are as they are: a title that begins with `=` stays true, also where a spreadsheet would
    take it for a formula.
    """
    text = _text(file)
    writer = csv.writer(text)
    writer.writerow(shape.columns)
    writer.writerows(row.values for row in rows)


def write_json(file: BinaryIO, shape: Shape, rows: Iterable[Row]) -> None:
    """One array of objects, each on a line of its own."""
    text = _text(file)
    begin = "[\n"
    for row in rows:
        text.write(begin + _object(shape, row))
        begin = ",\n"
    text.write("[]\n" if begin == "[\n" else "\n]\n")


def write_jsonl(file: BinaryIO, shape: Shape, rows: Iterable[Row]) -> None:
    """An object on each line."""
    text = _text(file)
    for row in rows:
        text.write(_object(shape, row) + "\n")


def write_m3u8(file: BinaryIO, shape: Shape, rows: Iterable[Row]) -> None:
    """A playlist that players read, and `import` too: see `manifests.manifest`."""
    text = _text(file)
    text.write("#EXTM3U\n")
    if shape.playlist is not None:
        text.write(f"#PLAYLIST:{_one_line(shape.playlist)}\n")
    for row in rows:
        at = row.file
        artist, title = _one_line(at.artist or ""), _one_line(at.title)
        if " - " in artist:  # which part of the next line it is, would not be clear
            text.write(f"#EXTART:{artist}\n")
        seconds = -1 if at.duration_seconds is None else round(at.duration_seconds)
        shown = f"{artist} - {title}" if artist else title
        text.write(f"#EXTINF:{seconds},{shown}\n")
        if at.album:
            text.write(f"#EXTALB:{_one_line(at.album)}\n")
        text.write(_line_of(row) + "\n")


def _line_of(row: Row) -> str:
    """The address as it can stand on a line of an M3U."""
    address = row.address or ""
    if _LINE_ENDS.search(address) or address != address.strip():
        # No line can hold such a path as it is; the players know URIs of files.
        return Path(row.file.path or address).as_uri()
    first = address.partition("/")[0]
    if "://" not in address and (first.startswith("#") or ":" in first):
        return f"./{address}"  # or it would be a comment, or a URL of that scheme
    return address


def _one_line(text: str) -> str:
    return _LINE_ENDS.sub(" ", text).strip()


def _object(shape: Shape, row: Row) -> str:
    return json.dumps(dict(zip(shape.columns, row.values, strict=True)), ensure_ascii=False)


def _text(file: BinaryIO) -> codecs.StreamWriter:
    # Not a TextIOWrapper, which would close the file with itself.
    return codecs.getwriter("utf-8")(file)
