"""Walks a library root in the order in which the catalog sorts its paths.

Both sides in the same order make comparing them a merge: memory does not grow with the library.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from catalogsync_assets.core.errors import LibraryError
from catalogsync_assets.core.library.formats import MEDIA_TYPES, extension
from catalogsync_assets.core.plan.locators import unusable

# Folders of file managers, NAS systems and sync programs, with copies that are not the user's.
_FOREIGN_FOLDERS = frozenset(
    (
        "@eaDir",
        "$RECYCLE.BIN",
        "System Volume Information",
        "lost+found",
        ".stfolder",
        ".stversions",
    )
)


@dataclass(frozen=True, slots=True)
class FoundFile:
    """An audio file below a root: its `/`-separated path there, size in bytes, mtime in ns."""

    path: str
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Problem:
    """Something below a root that was left out.

    Attributes:
        path: printable, with bytes that are no UTF-8 escaped.
        reason: one phrase with what to do.
        hides: the paths below this prefix cannot be seen just now and must not be taken for
            deleted; None where nothing is hidden.
    """

    path: str
    reason: str
    hides: str | None = None


def walk(root: Path) -> Iterator[FoundFile | Problem]:
    """Every audio file below the root, sorted by path as UTF-8 bytes, and what was left out.

    Links to files are followed; links to folders are reported and not entered, for they may
    lead in a circle.

    Raises:
        LibraryError: the root itself is not a folder that can be read.
    """
    try:
        top = os.scandir(root)
    except OSError as error:
        raise LibraryError(
            f"library root {root} cannot be read: {error.strerror}",
            hint="check the path, its permissions, and that its disk is mounted",
        ) from error
    with top:
        yield from _folder(top, "")


def _folder(entries: os.ScandirIterator[str], prefix: str) -> Iterator[FoundFile | Problem]:  # type: ignore[name-defined]
    files: list[tuple[str, os.DirEntry[str]]] = []
    try:
        for entry in entries:
            name = entry.name
            # A folder sorts as its contents do: with the slash that follows its name.
            is_folder = entry.is_dir(follow_symlinks=False)
            if is_folder:
                if name not in _FOREIGN_FOLDERS and not name.startswith(".Trash"):
                    files.append((name + "/", entry))
            elif extension(name) in MEDIA_TYPES and not name.startswith("._"):
                files.append((name, entry))
            elif entry.is_symlink() and entry.is_dir():
                reason = "a link to a folder is not followed; name its target as a root of its own"
                yield Problem(printable(prefix + name), reason)
    except OSError as error:
        yield Problem(printable(prefix) or ".", f"cannot be listed: {error.strerror}", hides=prefix)
        return
    files.sort(key=_sort_key)
    for name, entry in files:
        path = prefix + name
        if unusable_because := unusable(path):
            yield Problem(printable(path), unusable_because)
        elif name.endswith("/"):
            yield from _subfolder(entry, path)
        else:
            yield _file(entry, path)


def _sort_key(item: tuple[str, os.DirEntry[str]]) -> str:
    return item[0]


def _subfolder(entry: os.DirEntry[str], path: str) -> Iterator[FoundFile | Problem]:
    try:
        entries = os.scandir(entry.path)
    except OSError as error:
        yield Problem(printable(path), f"cannot be listed: {error.strerror}", hides=path)
        return
    with entries:
        yield from _folder(entries, path)


def _file(entry: os.DirEntry[str], path: str) -> FoundFile | Problem:
    try:
        status = entry.stat()
    except OSError as error:
        return Problem(printable(path), f"cannot be read: {error.strerror}", hides=path)
    if not stat.S_ISREG(status.st_mode):
        return Problem(printable(path), "not a regular file")
    return FoundFile(path, status.st_size, status.st_mtime_ns)


def printable(path: str) -> str:
    """The path as it may be shown and stored: undecodable bytes and control characters escaped."""
    text = os.fsencode(path).decode("utf-8", errors="backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
