"""What a manifest says, and which column of a table, or member of an object, says it."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from catalogsync_assets.core.manifests.lines import BadLine


class Entry(NamedTuple):
    """What a manifest says of one file, as text."""

    line: int
    values: Mapping[str, str]  #: by the names of `_NAMES`
    #: The manifest is a playlist, with a name of its own in it, not one of the file.
    is_playlist: bool = False
    #: Names of what is neither a text nor a number, and can be done without.
    odd: Sequence[str] = ()


class Title(NamedTuple):
    """The manifest is a playlist of this name, though it may have no entries any more."""

    name: str
    #: The name that entries before it were given, if they are of this playlist, too.
    instead: str | None = None


Found = Iterator[Entry | Title | BadLine]


# What a manifest can say -> the names for it, the best first, as `_plain` makes them. Seen in the
# exports of iTunes, Exportify, TuneMyMusic, Soundiiz and in tables of our own.
_NAMES = {
    "url": (
        *("url", "download url", "file url", "track url", "song url", "link", "download link"),
        *("href", "uri", "address", "location"),
    ),
    "title": ("title", "track name", "track title", "song name", "song title", "song", "name"),
    "artist": (
        *("artist", "artist name", "artist names", "artists", "track artist", "creator"),
        *("performer",),
    ),
    "album": ("album", "album name", "album title"),
    "track": ("track", "track number", "track no", "tracknumber", "track num", "tracknum"),
    "disc": ("disc", "disc number", "disc no", "discnumber", "disk", "disk number"),
    "playlist": ("playlist", "playlist name", "playlist title"),
    "sha256": ("sha256", "sha 256"),
    "size": ("size", "size bytes", "file size", "filesize", "bytes"),
    "source": ("source",),
}
_RANKS = {name: (field, rank) for field, all_ in _NAMES.items() for rank, name in enumerate(all_)}


@functools.lru_cache(maxsize=64)
def fields(names: tuple[str, ...]) -> Mapping[int, str]:
    """Index -> what the column of that name says; others are left out.

    Where several could say the same, the one with the better name does.
    """
    best: dict[str, tuple[int, int]] = {}
    for index, name in enumerate(names):
        if (known := _RANKS.get(_plain(name))) is not None:
            field, rank = known
            best[field] = min(best.get(field, (rank, index)), (rank, index))
    return {index: field for field, (_, index) in best.items()}


def _plain(name: str) -> str:
    """`Artist Name(s)`, `artist_names` and `ARTIST-NAMES ` are the same."""
    return re.sub(r"[\s_-]+", " ", name.casefold().replace("(s)", "s")).strip(" \"'")
