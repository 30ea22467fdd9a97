"""Walks a library root in the order in which the catalog sorts its paths.

Both sides in the same order make comparing them a merge: memory does not grow with the library.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from catalogsync_assets.core.errors import LibraryError
from catalogsync_assets.core.library.formats import MEDIA_TYPES, extension
from catalogsync_assets.core.plan.locators import unusable

# Folders of file managers, NAS systems and sync programs, with copies that are not the user's.
FOREIGN_FOLDERS = frozenset(
    (
        "@eaDir",
        "$RECYCLE.BIN",
        "System Volume Information",
        "lost+found",
        ".stfolder",
        ".stversions",
    )
)


class FoundFile(NamedTuple):
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
        top = _Folder(root, "")
    except OSError as error:
        raise LibraryError(
            f"library root {root} cannot be read: {error.strerror}",
            hint="check the path, its permissions, and that its disk is mounted",
        ) from error
    # A stack of folders, not generators within generators: a deep library stays as fast.
    stack = [top]
    yield from top.problems
    while stack:
        folder = stack[-1]
        if not folder.entries:
            stack.pop()
            continue
        name, entry = folder.entries.pop()
        path = folder.prefix + name
        if reason := unusable(path):
            yield Problem(printable(path), reason)
        elif not name.endswith("/"):
            yield _file(entry, path)
        else:
            try:
                inner = _Folder(entry, path)
            except OSError as error:
                yield Problem(printable(path), f"cannot be listed: {error.strerror}", hides=path)
            else:
                yield from inner.problems
                stack.append(inner)


class _Folder:
    """A folder that is being walked.

    Attributes:
        prefix: its path below the root with a slash at the end; empty for the root.
        entries: what is still to be visited, the next one last.
        problems: what was left out of it.
    """

    __slots__ = ("entries", "prefix", "problems")

    def __init__(self, folder: Path | os.DirEntry[str], prefix: str) -> None:
        self.prefix = prefix
        self.problems: list[Problem] = []
        self.entries: list[tuple[str, os.DirEntry[str]]] = []
        with os.scandir(folder) as found:
            for entry in found:
                name = entry.name
                # A folder sorts as its contents do: with the slash that follows its name.
                if entry.is_dir(follow_symlinks=False):
                    if name not in FOREIGN_FOLDERS and not name.startswith(".Trash"):
                        self.entries.append((name + "/", entry))
                elif extension(name) in MEDIA_TYPES and not name.startswith("._"):
                    self.entries.append((name, entry))
                elif entry.is_symlink() and _leads_to_a_folder(entry):
                    self.problems.append(Problem(printable(prefix + name), _LINKED_FOLDER))
        self.entries.sort(key=_name, reverse=True)


def _leads_to_a_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # it leads in a circle, or where we may not look
        return False


_LINKED_FOLDER = "a link to a folder is not followed; name its target as a root of its own"


def _name(item: tuple[str, os.DirEntry[str]]) -> str:
    return item[0]


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
