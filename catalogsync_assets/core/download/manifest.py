"""Reads manifests: CSV, JSON Lines, M3U8 and XSPF, as a stream of entries and of bad lines.

Here is only what the formats say; which entries are acceptable, and what they become, is in
`importing`. Memory does not grow with the file: a line or an element may have so many bytes, and
what is longer is a bad line.

M3U is read here and not by PyPI's `m3u8`, which is made for HLS, keeps the whole list in memory and
gives no line numbers.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

from catalogsync_assets.core.download.xspf import read_xspf
from catalogsync_assets.core.errors import UsageError

#: Extension -> format.
FORMATS = {
    "csv": "csv",
    "tsv": "csv",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "m3u": "m3u8",
    "m3u8": "m3u8",
    "xspf": "xspf",
}
#: Bytes of a line, above which it is none of a manifest.
_MAX_LINE = 128 * 1024


class Entry(NamedTuple):
    """What a manifest says of one file, as text: column or tag -> value."""

    line: int
    values: Mapping[str, str]


class BadLine(NamedTuple):
    """A line that could not be understood, and why. Nothing of the line itself is in the reason."""

    line: int
    reason: str


def read_manifest(path: Path, *, kind: str | None = None) -> Iterator[Entry | BadLine]:
    """The entries of a manifest, in its order.

    Args:
        kind: the format, one of the values of `FORMATS`; by default the name's extension tells.

    Raises:
        UsageError: the file cannot be read, or as a whole is no manifest of that format.
    """
    kind = kind or FORMATS.get(path.suffix[1:].lower())
    if kind is None:
        raise UsageError(
            f"the format of {path} is not known from its name",
            hint=f"name it with --format: {', '.join(sorted(set(FORMATS.values())))}",
        )
    try:
        with path.open("rb") as file:
            yield from _READERS[kind](path, file)
    except OSError as error:
        raise UsageError(
            f"the manifest {path} cannot be read: {error.strerror}", hint="check the path"
        ) from error


class _Lines:
    """The lines of a file as text, without their ends; those that are none go to `bad`.

    Attributes:
        number: of the line given last, from 1.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.number = 0
        self.bad: list[BadLine] = []

    def __iter__(self) -> Iterator[str]:
        while raw := self._file.readline(_MAX_LINE):
            self.number += 1
            if not raw.endswith(b"\n") and len(raw) == _MAX_LINE:
                self._skip_rest()
                self.bad.append(BadLine(self.number, f"longer than {_MAX_LINE:,} bytes"))
                continue
            try:
                text = raw.decode("utf-8-sig" if self.number == 1 else "utf-8")
            except UnicodeDecodeError:
                self.bad.append(BadLine(self.number, "not valid UTF-8"))
                continue
            yield text.rstrip("\r\n")

    def _skip_rest(self) -> None:
        while (raw := self._file.readline(_MAX_LINE)) and not raw.endswith(b"\n"):
            pass

    def take_bad(self) -> Iterator[BadLine]:
        while self.bad:
            yield self.bad.pop(0)


def _read_csv(path: Path, file: BinaryIO) -> Iterator[Entry | BadLine]:
    lines = _Lines(file)
    header = next(iter(lines), "")
    delimiter = max(",;\t", key=header.count)
    names = [name.strip().lower() for name in next(csv.reader([header], delimiter=delimiter), [])]
    if "url" not in names:
        raise UsageError(
            f"the first line of {path} names no column url",
            hint="begin with a line such as: url,title,artist,album,playlist",
        )
    for line in lines:
        yield from lines.take_bad()
        try:
            # Each line by itself: a quote that is never closed must not swallow those after it.
            row = next(csv.reader([line], delimiter=delimiter, strict=True), [])
        except csv.Error as error:
            yield BadLine(lines.number, f"not CSV: {error}")
            continue
        if len(row) > len(names):
            yield BadLine(lines.number, f"{len(row)} columns, but the first line has {len(names)}")
        elif any(cell.strip() for cell in row):
            yield Entry(lines.number, dict(zip(names, row, strict=False)))
    yield from lines.take_bad()


def _read_jsonl(_path: Path, file: BinaryIO) -> Iterator[Entry | BadLine]:
    lines = _Lines(file)
    for line in lines:
        yield from lines.take_bad()
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else "too deep"
            yield BadLine(lines.number, f"not JSON: {reason}")
            continue
        if not isinstance(found, dict):
            yield BadLine(lines.number, "not a JSON object")
        elif odd := [k for k, v in found.items() if isinstance(v, dict | list)]:
            yield BadLine(lines.number, f"{odd[0]!r} is not a text or a number")
        else:
            values = {k.lower(): str(v) for k, v in found.items() if v is not None}
            yield Entry(lines.number, values)
    yield from lines.take_bad()


_EXTINF = re.compile(r"#EXTINF:\s*-?[\d.]*[^,]*,(?P<text>.*)")
_TAGS = {"#PLAYLIST:": "playlist", "#EXTALB:": "album", "#EXTART:": "artist"}


def _read_m3u8(path: Path, file: BinaryIO) -> Iterator[Entry | BadLine]:
    lines = _Lines(file)
    lasting = {"playlist": path.stem}
    passing: dict[str, str] = {}
    for line in lines:
        yield from lines.take_bad()
        text = line.strip()
        tag = next((t for t in _TAGS if text.upper().startswith(t)), None)
        if text.startswith("#EXT-X-"):
            raise UsageError(
                f"{path} lists the pieces of one stream (HLS), not files of music",
                hint="a manifest names whole files",
            )
        if tag:
            (lasting if tag == "#PLAYLIST:" else passing)[_TAGS[tag]] = text[len(tag) :].strip()
        elif match := _EXTINF.match(text):
            # By convention `Artist - Title`; an #EXTART before it says where the artist ends.
            artist = passing.get("artist")
            known = artist is not None and match["text"].startswith(f"{artist} - ")
            first, dash, rest = match["text"].partition(f"{artist} - " if known else " - ")
            first = artist if artist is not None and known else first
            passing |= {"title": rest if dash else first} | ({"artist": first} if dash else {})
        elif text and not text.startswith("#"):
            yield Entry(lines.number, {**lasting, **passing, "url": text})
            passing = {}
    yield from lines.take_bad()


def _read_xspf(path: Path, file: BinaryIO) -> Iterator[Entry | BadLine]:
    try:
        for line, values, trouble in read_xspf(file, default_playlist=path.stem):
            yield BadLine(line, trouble) if trouble else Entry(line, values)
    except ValueError as error:
        raise UsageError(
            f"{path} is refused: {error}", hint="a manifest has no need of it"
        ) from error


_READERS = {"csv": _read_csv, "jsonl": _read_jsonl, "m3u8": _read_m3u8, "xspf": _read_xspf}
