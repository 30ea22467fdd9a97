"""Takes a manifest into the catalog: its entries become songs, playlists and download tasks.

An entry that is the path of a file which a scan has found is that file's song: nothing is fetched.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from catalogsync_assets.core.catalog import playlists
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.download_queue import DEFAULT_SOURCE
from catalogsync_assets.core.catalog.playlists import Listed
from catalogsync_assets.core.catalog.roots import known_roots
from catalogsync_assets.core.download import requests
from catalogsync_assets.core.download.report import ImportReport
from catalogsync_assets.core.download.requests import DownloadRequest
from catalogsync_assets.core.files.formats import MEDIA_TYPES, extension
from catalogsync_assets.core.files.names import guessed_title
from catalogsync_assets.core.library.entries import Named, readings, songs_of
from catalogsync_assets.core.library.tags import Tags, clean
from catalogsync_assets.core.manifests.columns import Entry, Title
from catalogsync_assets.core.manifests.lines import BadLine
from catalogsync_assets.core.manifests.manifest import read_manifest
from catalogsync_assets.core.runner.report import MOST_LISTED

#: Entries taken in by one transaction: short enough to leave others room to write.
_CHUNK = 2_000
_MAX_NUMBER = 2**63 - 1
_MAX_TRACK = 999_999
# Thousands may be set apart, all in the same way.
_SIZE = re.compile(
    r"(\d{1,3}(?:([,' _\u2019\u00a0\u2009\u202f])\d{3}(?:\2\d{3})*)?|\d{1,19})(?:\.0+)?", re.ASCII
)
# Those that stand in names; a tab or a line break in an address is a mistake.
_BLANKS = re.compile("[ \u00a0\u2000-\u200a\u202f\u205f\u3000]")


Progress = Callable[[ImportReport], None]


def import_manifest(
    catalog: Catalog,
    path: Path,
    *,
    kind: str | None = None,
    encoding: str | None = None,
    playlist: str | None = None,
    source: str = DEFAULT_SOURCE,
    progress: Progress = lambda _: None,
) -> ImportReport:
    """Take a manifest into the catalog. The same one again adds nothing.

    Written a few thousand entries at a time, and the playlists in the end: what is stopped in the
    middle is completed by another import. An edited manifest gives its playlists their new order
    and takes out what it no longer lists, unless some of it could not be read.

    Args:
        kind: the manifest's format, if its name does not tell.
        encoding: of its text, if that cannot be found out.
        playlist: one that all songs go into, in place of what the manifest says.
        source: of entries that name none.
        progress: called after each transaction.

    Raises:
        UsageError: the file cannot be read, or is not a manifest.
    """
    report = ImportReport()
    waiting: list[_Waiting] = []
    lists: dict[str, Listed] = {}
    identity = _identity(path)
    here = _Here(
        _identity(path).rpartition("/")[0], sorted(known_roots(catalog), key=len, reverse=True)
    )

    def guessed(encoding: str) -> None:
        report.guessed_encoding = encoding

    for found in read_manifest(path, kind=kind, encoding=encoding, on_guess=guessed):
        if isinstance(found, Title):
            _write(catalog, here, waiting, lists, report)
            waiting = []
            _entitle(lists, found, playlist)
            continue
        wanted = found if isinstance(found, BadLine) else _wanted(found, playlist, source)
        waiting.append(wanted)
        if len(waiting) >= _CHUNK:
            _write(catalog, here, waiting, lists, report)
            waiting = []
            progress(report)
    if waiting:
        _write(catalog, here, waiting, lists, report)
    for listed in lists.values():
        listed.keep = report.bad > 0
    changed = playlists.take_lists(catalog, lists.values(), identity)
    report.playlists, report.playlist_songs = changed.playlists, changed.added
    report.removed = changed.removed
    progress(report)
    return report


def _identity(path: Path) -> str:
    """What identifies a manifest: its path, and of a pipe the pipe itself, as /proc has it.

    A name that is not UTF-8 can be stored, too.
    """
    return os.fsencode(path.resolve()).decode("utf-8", "backslashreplace")


@dataclass
class _Wanted:
    """A file that is wanted, and in which playlist; see `Listed.is_whole`."""

    request: DownloadRequest
    playlist: str | None
    is_whole: bool
    warnings: list[BadLine]


@dataclass
class _Local:
    """A path, which is wanted in a playlist if it is one of a file that the catalog knows."""

    bad: BadLine  #: what is said if it is not
    path: str  #: as it is written
    playlist: str | None
    is_whole: bool


_Waiting = _Wanted | _Local | BadLine


@dataclass(frozen=True)
class _Here:
    """What paths are taken from."""

    folder: str  #: of the manifest, absolute
    roots: list[str]


def _leave_out(report: ImportReport, line: BadLine) -> None:
    report.bad += 1
    if len(report.problems) < MOST_LISTED:
        report.problems.append(line)


def _write(
    catalog: Catalog,
    here: _Here,
    waiting: list[_Waiting],
    lists: dict[str, Listed],
    report: ImportReport,
) -> None:
    wanted_files = [wanted for wanted in waiting if isinstance(wanted, _Wanted)]
    for file in wanted_files:
        report.odd += len(file.warnings)
        report.warnings += file.warnings[: MOST_LISTED - len(report.warnings)]
    report.entries += len(wanted_files)
    added = iter(requests.add(catalog, [file.request for file in wanted_files], report))
    paths = [wanted.path for wanted in waiting if isinstance(wanted, _Local)]
    named = [Named(readings(path, here.folder, ".", here.roots)) for path in paths]
    local = iter(songs_of(catalog, named) if named else ())
    for wanted in waiting:
        if isinstance(wanted, BadLine):
            _leave_out(report, wanted)
            continue
        song_id = next(local if isinstance(wanted, _Local) else added)
        if isinstance(wanted, _Local):
            if song_id is None:
                _leave_out(report, wanted.bad)
                continue
            report.entries += 1
            report.local += 1
        if wanted.playlist and song_id is not None:
            listed = lists.setdefault(
                playlists.fold(wanted.playlist), Listed(wanted.playlist, wanted.is_whole)
            )
            listed.songs.append(song_id)


def _entitle(lists: dict[str, Listed], title: Title, playlist: str | None) -> None:
    """Have a list of this name, as it may have no entries."""
    if name := clean(playlist or title.name):
        # All entries that have come so far are of this playlist.
        before = None if playlist else lists.pop(playlists.fold(title.instead or ""), None)
        listed = lists.setdefault(playlists.fold(name), Listed(name, is_whole=not playlist))
        if before is not None:
            listed.songs.extend(before.songs)


class _NotAcceptable(Exception):  # noqa: N818
    """Why an entry is left out."""


class _IsPath(_NotAcceptable):
    """It is a path, not an address."""


def _wanted(entry: Entry, playlist: str | None, source: str) -> _Wanted | _Local | BadLine:
    values = entry.values
    numbers = [name for name in ("track", "disc") if values.get(name, "").strip()]
    odd = [*entry.odd, *(name for name in numbers if _number(values[name]) is None)]
    warnings = [BadLine(entry.line, f"{name} cannot be read, imported without it") for name in odd]
    try:
        source = clean(values.get("source", "")) or source
        url = _url(values.get("url", "").strip(), source)
        request = DownloadRequest(
            source=source,
            url=url,
            song=_song(values, url),
            sha256=_sha256(values.get("sha256", "").strip().lower()),
            size_bytes=_size(values.get("size", "").strip()),
        )
        name = clean(playlist or values.get("playlist", ""))
        return _Wanted(request, name, entry.is_playlist and not playlist, warnings)
    except _IsPath as error:
        name = clean(playlist or values.get("playlist", ""))
        bad, path = BadLine(entry.line, str(error)), values["url"].strip()
        return _Local(bad, path, name, entry.is_playlist and not playlist)
    except _NotAcceptable as error:
        return BadLine(entry.line, str(error))


def _url(url: str, source: str) -> str:
    if not url:
        raise _NotAcceptable("no url")
    # A blank that a program has left as it is, of any width, is written as browsers do.
    web = _BLANKS.sub(lambda blank: quote(blank[0]), url)
    if not web.isprintable():
        raise _NotAcceptable("the url holds a control character")
    if source != DEFAULT_SOURCE:
        if web != url:
            raise _NotAcceptable("the url holds a space")
        return url  # its own business
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise _NotAcceptable("the url is malformed") from None
    if _is_path(url, parts.scheme):
        raise _IsPath(
            "the url does not begin with http:// or https://, but looks like a path, and no scan"
            " has found such a file (`scan` adds local files)"
        )
    if parts.scheme not in ("http", "https") or not host:
        raise _NotAcceptable("the url does not begin with http:// or https://")
    if _BLANKS.search(parts.netloc) or "\\" in parts.netloc:
        raise _NotAcceptable("the url is malformed")
    return web


def _is_path(text: str, scheme: str) -> bool:
    if scheme:
        return scheme == "file" or len(scheme) == 1  # a drive of Windows
    return "/" in text or "\\" in text or extension(text) in MEDIA_TYPES


def _sha256(text: str) -> str | None:
    if text and not re.fullmatch(r"[0-9a-f]{64}", text):
        raise _NotAcceptable("sha256 is not 64 hexadecimal digits")
    return text or None


def _size(text: str) -> int | None:
    """Unlike the number of a track it guards the content: nothing is guessed."""
    if not text:
        return None
    match = _SIZE.fullmatch(text)
    size = int(re.sub(r"\D", "", match[1])) if match else None
    if size is None or size > _MAX_NUMBER:
        raise _NotAcceptable("size is not a whole number of bytes")
    return size


def _number(text: str) -> int | None:
    # 3.0: tables of numbers of which some are missing; 3/12: as tags have it.
    match = re.fullmatch(r"(\d{1,19})(\.0+)?(\s*/\s*\d*)?", text.strip(), re.ASCII)
    return int(match[1]) if match and int(match[1]) <= _MAX_TRACK else None


def _song(values: Mapping[str, str], url: str) -> dict[str, Any]:
    """As a scan would have it from tags, so that the file meets the same song."""
    title = clean(values.get("title", ""))
    return Tags(
        title=title or guessed_title(url),
        format="",
        artist=clean(values.get("artist", "")),
        album=clean(values.get("album", "")),
        track_number=_number(values.get("track", "")),
        disc_number=_number(values.get("disc", "")),
        _has_title=title is not None,
    ).song
