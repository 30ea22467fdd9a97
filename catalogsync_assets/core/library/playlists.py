"""Keeps playlists in line with the playlists and cue sheets that lie in the library.

Called by a scan once all else is recorded, and only where something may have changed. Read is a
file whose content is new, and one of which an entry named nothing when it was read: the file it
means may have come. Any other says what it said.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from io import BufferedReader
from itertools import islice
from pathlib import Path, PurePosixPath

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.file_playlists import (
    FileList,
    ListFile,
    drop_gone,
    follow_names,
    list_files,
    take_file_lists,
)
from catalogsync_assets.core.catalog.playlists import Changed
from catalogsync_assets.core.catalog.roots import known_roots, limits_of_links
from catalogsync_assets.core.errors import UsageError
from catalogsync_assets.core.files.opening import open_regular
from catalogsync_assets.core.library.entries import Named, is_web, readings, songs_of
from catalogsync_assets.core.library.walk import Problem, printable

#: Entries that are looked up at a time.
_CHUNK = 500
#: Lists that are written in one transaction, and their songs, unless a single one has more.
_LISTS, _SONGS = 200, 5_000


@dataclass
class ListsReport:
    """What became of the playlists of the library."""

    read: int = 0  #: files that were read
    made: int = 0  #: playlists that are new
    removed: int = 0  #: playlists whose files are gone
    unresolved: int = 0  #: entries that name nothing that the catalog knows
    problems: list[Problem] = field(default_factory=list)  #: files that could not be read


def bring_in_line(catalog: Catalog) -> ListsReport:
    """Make, change and remove playlists as the files of the library say. Idempotent.

    A file that cannot be read leaves its playlist as it is.
    """
    report, changed = ListsReport(), Changed()
    files = list_files(catalog)
    report.removed = drop_gone(catalog)
    follow_names(catalog, files)
    # Where a path lies below two, the inner one is meant.
    roots = sorted(known_roots(catalog), key=len, reverse=True)
    within = limits_of_links(catalog)
    waiting: list[FileList] = []
    for file in files:
        if file.unresolved == 0:
            continue
        try:
            waiting.append(_read(catalog, file, roots, within))
        except (OSError, UsageError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            report.problems.append(Problem(printable(file.path), f"is no playlist: {why}"))
            continue
        report.read += 1
        report.unresolved += waiting[-1].unresolved
        if len(waiting) >= _LISTS or sum(len(one.songs) for one in waiting) >= _SONGS:
            take_file_lists(catalog, waiting, changed)
            waiting.clear()
    take_file_lists(catalog, waiting, changed)
    report.made = changed.playlists
    return report


def _read(catalog: Catalog, file: ListFile, roots: list[str], within: tuple[str, ...]) -> FileList:
    """What a file names.

    Raises:
        OSError: it cannot be read.
        UsageError: it is not what its name says.
    """
    # Not for those who have no lists, or none that is new.
    from catalogsync_assets.core.manifests.columns import Entry
    from catalogsync_assets.core.manifests.lines import BadLine
    from catalogsync_assets.core.manifests.manifest import read_manifest

    path = Path(file.root, file.path)
    folder = str(PurePosixPath(file.path).parent)
    is_cue = file.kind == "cue"
    opened = BufferedReader(open_regular(path, within=within))
    entries = read_manifest(path, kind="cue" if is_cue else None, opened=opened)
    songs, unresolved = array("q"), 0
    while chunk := list(islice(entries, _CHUNK)):
        named = []
        for entry in chunk:
            if isinstance(entry, BadLine):
                unresolved += 1
            elif isinstance(entry, Entry):
                text = entry.values.get("url", "").strip()
                if text and not is_web(text):
                    named.append(_named(text, file.root, folder, roots, is_cue=is_cue))
        found = songs_of(catalog, named)
        unresolved += found.count(None)
        songs.extend(song for song in found if song is not None)
    if is_cue:  # one song may be in several files
        songs = array("q", dict.fromkeys(songs))
    return FileList(file, songs, unresolved)


def _named(text: str, root: str, folder: str, roots: list[str], *, is_cue: bool) -> Named:
    places = readings(text, root, folder, roots)
    stem = None
    if is_cue and places:
        in_root, path = places[0]
        stem = in_root, path.rpartition(".")[0] or path
    return Named(places, stem)
