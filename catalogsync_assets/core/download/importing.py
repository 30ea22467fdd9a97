"""Takes a manifest into the catalog: its entries become songs, playlists and download tasks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from catalogsync_assets.core.catalog import wishes
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.downloads import DEFAULT_SOURCE
from catalogsync_assets.core.catalog.wishes import Wish
from catalogsync_assets.core.download.manifest import BadLine, Entry, read_manifest
from catalogsync_assets.core.files.names import guessed_title
from catalogsync_assets.core.library.tags import Tags, clean

#: Entries taken in by one transaction: short enough to leave others room to write.
_CHUNK = 2_000
_MAX_LISTED = 1_000
_MAX_NUMBER = 2**63 - 1


@dataclass
class ImportReport:
    """What an import did.

    Attributes:
        entries: acceptable entries of the manifest.
        tasks, songs, playlists, playlist_songs: rows that were made for them.
        known: entries whose address had a task already.
        updated: of those, the ones that got another size or digest.
        bad: lines that were left out; at most 1,000 of them are in `problems`.
    """

    entries: int = 0
    tasks: int = 0
    songs: int = 0
    playlists: int = 0
    playlist_songs: int = 0
    known: int = 0
    updated: int = 0
    bad: int = 0
    problems: list[BadLine] = field(default_factory=list)


Progress = Callable[[ImportReport], None]


def import_manifest(
    catalog: Catalog,
    path: Path,
    *,
    kind: str | None = None,
    playlist: str | None = None,
    source: str = DEFAULT_SOURCE,
    progress: Progress = lambda _: None,
) -> ImportReport:
    """Take a manifest into the catalog. The same one again adds nothing.

    Written a few thousand entries at a time: what is stopped in the middle is completed by another
    import.

    Args:
        kind: the manifest's format, if its name does not tell.
        playlist: one that all songs go into, in place of what the manifest says.
        source: of entries that name none.
        progress: called after each transaction.

    Raises:
        UsageError: the manifest cannot be read, or as a whole is none.
    """
    report = ImportReport()
    waiting: list[Wish] = []
    for found in read_manifest(path, kind=kind):
        wish = found if isinstance(found, BadLine) else _wish(found, playlist, source)
        if isinstance(wish, BadLine):
            report.bad += 1
            if len(report.problems) < _MAX_LISTED:
                report.problems.append(wish)
            continue
        report.entries += 1
        waiting.append(wish)
        if len(waiting) >= _CHUNK:
            _write(catalog, waiting, report)
            waiting = []
            progress(report)
    if waiting:
        _write(catalog, waiting, report)
    progress(report)
    return report


def _write(catalog: Catalog, waiting: list[Wish], report: ImportReport) -> None:
    added = wishes.add(catalog, waiting)
    report.tasks += added.tasks
    report.songs += added.songs
    report.playlists += added.playlists
    report.playlist_songs += added.playlist_songs
    report.known += added.known
    report.updated += added.updated


class _NotAcceptable(Exception):  # noqa: N818
    """Why an entry is left out."""


def _wish(entry: Entry, playlist: str | None, source: str) -> Wish | BadLine:
    values = entry.values
    try:
        source = clean(values.get("source", "")) or source
        url = _url(values.get("url", "").strip(), source)
        size = _number(values, "size", _MAX_NUMBER)
        return Wish(
            source=source,
            url=url,
            song=_song(values, url),
            playlist=clean(playlist or values.get("playlist", "")),
            sha256=_sha256(values.get("sha256", "").strip().lower()),
            size_bytes=size,
        )
    except _NotAcceptable as error:
        return BadLine(entry.line, str(error))


def _url(url: str, source: str) -> str:
    if not url:
        raise _NotAcceptable("no url")
    if not url.isprintable() or " " in url:
        raise _NotAcceptable("the url holds a space or a control character")
    if source != DEFAULT_SOURCE:
        return url  # its own business
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise _NotAcceptable("the url is malformed") from None
    if parts.scheme not in ("http", "https") or not host:
        raise _NotAcceptable("the url does not begin with http:// or https://")
    return url


def _sha256(text: str) -> str | None:
    if text and not re.fullmatch(r"[0-9a-f]{64}", text):
        raise _NotAcceptable("sha256 is not 64 hexadecimal digits")
    return text or None


def _number(values: Mapping[str, str], name: str, most: int = 999_999) -> int | None:
    text = values.get(name, "").strip()
    if not text:
        return None
    if not re.fullmatch(r"\d{1,19}", text, re.ASCII) or int(text) > most:
        raise _NotAcceptable(f"{name} is not a number")
    return int(text)


def _song(values: Mapping[str, str], url: str) -> dict[str, Any]:
    """As a scan would have it from tags, so that the file meets the same song."""
    title = clean(values.get("title", ""))
    return Tags(
        title=title or guessed_title(url),
        format="",
        artist=clean(values.get("artist", "")),
        album=clean(values.get("album", "")),
        track_number=_number(values, "track"),
        disc_number=_number(values, "disc"),
        _has_title=title is not None,
    ).song
