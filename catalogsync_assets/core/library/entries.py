"""Which files of the library the entries of a playlist mean.

Programs write paths in many ways: below the playlist's own folder or absolute, with the
backslashes of Windows, as a `file:` address, with `%20` for a blank, in another Unicode form or
case than the disk has, or below a drive that is called otherwise here. What is written comes first;
of the other readings, in this order, the first that is a file that the catalog knows.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.object_keys import fold
from catalogsync_assets.core.catalog.schema import file_assets, file_locations

#: Below a root, `/`-separated.
Place = tuple[str, str]

_DRIVE = re.compile(r"[A-Za-z]:(?=[/\\])")
_WEB = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
# Of files that are there, or have been and may be again.
_STATUSES = ("missing", "damaged", "offloading", "offloaded", "active")
#: Folders of a path from elsewhere that are looked at, from the file upwards.
_DEEPEST = 8


class Named(NamedTuple):
    """An entry, and where the file may be that it means, the likeliest first."""

    places: list[Place]
    #: The path without its extension, where that may be another: of a cue sheet whose WAV has
    #: become a FLAC since.
    stem: Place | None = None


def is_web(text: str) -> bool:
    """Whether an entry is an address of the web, not a file."""
    return _WEB.match(text) is not None and text[:5].lower() != "file:"


def readings(text: str, root: str, folder: str, roots: Sequence[str]) -> list[Place]:
    """Where the file may be that an entry means.

    Args:
        root, folder: where the playlist lies: its root, and its folder below that.
        roots: all that the catalog knows.
    """
    found: dict[Place, None] = {}
    for path in _as_paths(text):
        if not path.startswith("/"):
            path = posixpath.join(root, folder, path)  # noqa: PLW2901
        whole = "/" + posixpath.normpath(path).lstrip("/")
        below = [(r, whole[len(r.rstrip("/")) + 1 :]) for r in roots if _lies_in(whole, r)]
        found |= dict.fromkeys(below)
        if not below:
            # A path of another machine, or of a player whose card is `/`: its end may be ours.
            parts = whole.strip("/").split("/")
            ends = ("/".join(parts[i:]) for i in range(max(len(parts) - _DEEPEST, 0), len(parts)))
            found |= dict.fromkeys((root, end) for end in ends if "/" in end or len(parts) == 1)
    return list(found)


def _lies_in(path: str, root: str) -> bool:
    return path.startswith(root.rstrip("/") + "/")


def _as_paths(text: str) -> Iterator[str]:
    if text[:5].lower() == "file:":
        try:
            # Two slashes and a host, or none; one that is meant is not this machine.
            path = unquote(urlsplit(text).path)
        except ValueError:
            return
        yield path[1:] if _DRIVE.match(path[1:]) else path
        return
    for written in dict.fromkeys((text, unquote(text))):
        yield written
        if "\\" in written:
            plain = written.replace("\\", "/")
            yield _DRIVE.sub("", plain) if _DRIVE.match(plain) else plain
        elif _DRIVE.match(written):
            yield _DRIVE.sub("", written)


def songs_of(catalog: Catalog, entries: Sequence[Named]) -> list[int | None]:
    """The song of the file that each entry means; None where the catalog knows no such file."""
    with catalog.read() as connection:
        exact = _at(connection, {place for entry in entries for place in entry.places})
        found = [_first(entry.places, exact) for entry in entries]
        lacking = [e for e, song in zip(entries, found, strict=True) if song is None]
        if lacking:
            alike = _alike(connection, {place for entry in lacking for place in entry.places})
            for i, entry in enumerate(entries):
                if found[i] is None:
                    folded = [(root, fold(path)) for root, path in entry.places]
                    found[i] = _first(folded, alike)
                if found[i] is None and entry.stem is not None:
                    found[i] = _by_stem(connection, *entry.stem)
    return found


def _first(places: Iterable[Place], known: dict[Place, int]) -> int | None:
    return next((known[place] for place in places if place in known), None)


_LOCATION, _FILE = file_locations.c, file_assets.c
_KNOWN = (
    sa.select(_LOCATION.library_root, _LOCATION.library_path, _FILE.song_id, _LOCATION.status)
    .join_from(file_locations, file_assets, _FILE.id == _LOCATION.file_asset_id)
    .where(_LOCATION.status.in_(_STATUSES), _FILE.song_id.is_not(None), _FILE.companion.is_(None))
)


def _at(connection: sa.Connection, places: set[Place]) -> dict[Place, int]:
    """The songs at these places; one that is there goes before one that was."""
    roots, paths = {root for root, _ in places}, {path for _, path in places}
    statement = _KNOWN.where(_LOCATION.library_root.in_(roots), _LOCATION.library_path.in_(paths))
    rows = sorted(connection.execute(statement).all(), key=lambda row: _STATUSES.index(row[3]))
    return {(root, path): song for root, path, song, _ in rows}


def _alike(connection: sa.Connection, places: set[Place]) -> dict[Place, int]:
    """The songs at places that differ from these in case or Unicode form, by the folded place."""
    folded = {fold(path) for _, path in places}
    # A key is made from the path of its file, and has an index of its own.
    statement = _KNOWN.where(_FILE.object_key_fold.in_(folded))
    rows = sorted(connection.execute(statement).all(), key=lambda row: _STATUSES.index(row[3]))
    return {(root, fold(path or "")): song for root, path, song, _ in rows}


def _by_stem(connection: sa.Connection, root: str, stem: str) -> int | None:
    """The song of the only file that is called so, but for its extension."""
    statement = _KNOWN.where(
        _LOCATION.library_root == root,
        _LOCATION.library_path > f"{stem}.",
        _LOCATION.library_path < f"{stem}/",  # which follows the dot
    )
    rows = connection.execute(statement).all()
    songs = {row[2] for row in rows if "." not in row[1][len(stem) + 1 :]}
    return int(songs.pop()) if len(songs) == 1 else None
