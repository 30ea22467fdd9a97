"""Walks a library root in the order in which the catalog sorts its paths.

Both sides in the same order make comparing them a merge: memory does not grow with the library.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from catalogsync_assets.core.catalog.object_keys import unusable
from catalogsync_assets.core.errors import LibraryError
from catalogsync_assets.core.files.companions import MAX_COMPANION_BYTES, Companions
from catalogsync_assets.core.files.formats import MEDIA_TYPES, extension
from catalogsync_assets.core.files.ignore import (
    IGNORE_FILE,
    OURS,
    Rules,
    read_ignore_file,
)
from catalogsync_assets.core.files.opening import FileStat, lies_below

#: Files in one `Run` at most.
_RUN = 500
# Of an entry that is no file, instead of its kind; no kind of file is called so.
_NO_FILE = "/"
#: More than any store takes for an object, and than a sum of 64 bits bears: not a real size.
MAX_FILE_BYTES = 2**47


class FoundFile(NamedTuple):
    """An audio file below a root, or a file beside music."""

    path: str  #: below the root, `/`-separated
    status: os.stat_result  #: as the system gave it; see `stat`
    companion: str | None = None  #: what kind of file it is beside music; None of music

    @property
    def stat(self) -> FileStat:
        """What the file system says of it, but for what lasts of that."""
        return FileStat.of(self.status)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something below a root that could not be taken as it is."""

    path: str  #: printable, with bytes that are not UTF-8 escaped
    reason: str  #: one phrase with what to do
    #: The path of a file, or of a folder with a slash at the end, that cannot be seen just now:
    #: what is there, or below it, must not be taken for deleted. None where nothing is hidden.
    hides: str | None = None
    #: It is there, but not part of the library, as a link that leads out of it.
    left_out: bool = False


class LeftOut(NamedTuple):
    """A file, or a folder with all that is in it, that a rule leaves out."""

    path: str  #: below the root; of a folder with a slash at the end


#: The files of a folder that follow each other, at most `_RUN`: what a `FoundFile` is made of.
Run = list[tuple[str, os.stat_result, str | None]]


def walk(
    root: Path,
    *,
    rules: Rules | None = None,
    within: Collection[str] = (),
    companions: Companions | None = None,
) -> Iterator[FoundFile | Problem | LeftOut]:
    """Every audio file below the root, and every file beside music that is wanted, sorted by path
    as UTF-8 bytes; and what was left out.

    Links to folders are reported and not entered, for they may lead in a circle. What a rule
    leaves out comes in the order of the files, what is found out about a folder before its files.

    Args:
        rules: what is left out; by default what `Rules.of_settings` says. Ignore files add to it.
        within: real paths of the folders that links to files may lead to, others are reported;
            empty: anywhere.
        companions: the files beside music that are wanted; by default as the settings say.

    Raises:
        LibraryError: the root itself is not a folder that can be read.
    """
    return one_by_one(walk_in_runs(root, rules=rules, within=within, companions=companions))


def one_by_one(runs: Iterable[Run | Problem | LeftOut]) -> Iterator[FoundFile | Problem | LeftOut]:
    """What `walk_in_runs` gives, as `walk` gives it."""
    for item in runs:
        if isinstance(item, list):
            yield from map(FoundFile._make, item)
        else:
            yield item


def walk_in_runs(
    root: Path,
    *,
    rules: Rules | None = None,
    within: Collection[str] = (),
    companions: Companions | None = None,
) -> Iterator[Run | Problem | LeftOut]:
    """`walk` for a million files of which nearly all are as they were: files come in lists, of
    what costs least, as an object for each takes longer than to compare it."""
    rules = Rules.of_settings() if rules is None else rules
    companions = Companions.of_settings() if companions is None else companions
    wanted = _Wanted(companions)
    try:
        top = _Folder(root, "", rules, wanted)
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
        yield from folder.files(within)
        if not folder.entries:
            stack.pop()
            continue
        name, entry, _ = folder.entries.pop()
        path = folder.prefix + name
        if isinstance(entry, Problem | LeftOut):
            yield entry
        elif reason := unusable(path):
            yield Problem(printable(path), reason)
        else:
            try:
                inner = _Folder(entry, path, folder.rules, wanted)
            except OSError as error:
                yield Problem(printable(path), f"cannot be listed: {error.strerror}", hides=path)
            else:
                yield from inner.problems
                stack.append(inner)


class _Wanted:
    """Which names are of files that belong to a library.

    Attributes:
        endings: those that decide by themselves, with their dot and as nearly all have them; and
            what kind of file each tells, None of music.
        kind_of: the kind of a file beside music; None of any other.
    """

    def __init__(self, companions: Companions) -> None:
        self.kind_of = companions.kind_of
        decided = {**companions.kinds, **dict.fromkeys(MEDIA_TYPES)}
        self.endings = {
            f".{written}": kind
            for ending, kind in decided.items()
            for written in (ending, ending.upper())
        }

    def __contains__(self, name: str) -> bool:
        return extension(name) in MEDIA_TYPES or self.kind_of(name) is not None


_Entry = tuple[str, Any, "str | None"]


class _Folder:
    """A folder that is being walked.

    Attributes:
        prefix: its path below the root with a slash at the end; empty for the root.
        entries: what is still to be visited, or told, the next one last: its name, what it is, and
            of a file its kind; `_NO_FILE` of anything else.
        problems: what is wrong with its ignore file.
        rules: what is left out below it.
    """

    __slots__ = ("entries", "prefix", "problems", "rules", "wanted")

    def __init__(
        self, folder: Path | os.DirEntry[str], prefix: str, rules: Rules, wanted: _Wanted
    ) -> None:
        self.prefix = prefix
        self.wanted = wanted
        self.problems: list[Problem] = []
        self.entries: list[_Entry] = []
        with os.scandir(folder) as found:
            listed = list(found)
        names, self.rules = [entry.name for entry in listed], rules
        if IGNORE_FILE in names:
            self.rules = self._with(rules, listed[names.index(IGNORE_FILE)])
        endings, plain = self.wanted.endings, not self.rules.has_patterns
        for name, entry in zip(names, listed, strict=True):
            # This is asked of every file at every scan, and nearly none needs a closer look: what
            # is left out is called otherwise; see `ignore.is_of_other_programs`.
            kind = endings.get(name[name.rfind(".") :], _NO_FILE)
            if kind is not _NO_FILE and plain and name[0] != "." and "-s" not in name:
                try:
                    is_folder = entry.is_dir(follow_symlinks=False)
                except OSError:
                    is_folder = True
                if not is_folder:
                    self.entries.append((name, entry, kind))
                    continue
            self._add(entry)
        self.entries.sort(key=itemgetter(0), reverse=True)

    def files(self, within: Collection[str]) -> Iterator[Run | Problem | LeftOut]:
        """Visit the files that come next, up to what is none.

        Args:
            within: as of `walk`.
        """
        entries, prefix, run = self.entries, self.prefix, Run()
        while entries and entries[-1][2] is not _NO_FILE:
            name, entry, kind = entries.pop()
            if name.isascii() and name.isprintable() and not (within and entry.is_symlink()):
                try:
                    status = entry.stat()
                except OSError:
                    pass
                else:
                    # What is all right with nearly every file; `_file` tells what is wrong.
                    most = MAX_FILE_BYTES if kind is None else MAX_COMPANION_BYTES
                    if stat.S_ISREG(status.st_mode) and 0 <= status.st_size <= most:
                        run.append((prefix + name, status, kind))
                        if len(run) == _RUN:
                            yield run
                            run = Run()
                        continue
            found = _file(entry, name, prefix + name, within, kind)
            if not isinstance(found, (Problem, LeftOut)):
                run.append(found)
                continue
            if run:
                yield run
                run = Run()
            yield found
        if run:
            yield run

    def _with(self, rules: Rules, ignore_file: os.DirEntry[str]) -> Rules:
        path = printable(self.prefix + IGNORE_FILE)
        try:
            lines = read_ignore_file(ignore_file.path)
        except OSError as error:
            reason = "it is a link" if error.errno == errno.ELOOP else error.strerror
            self.problems.append(Problem(path, f"its patterns are ignored: {reason}"))
            return rules
        except ValueError as error:
            self.problems.append(Problem(path, f"its patterns are ignored: it {error}"))
            return rules
        rules, bad = rules.with_patterns(self.prefix, lines)
        for line, text in bad:
            self.problems.append(Problem(path, f"line {line} is not a pattern: {printable(text)}"))
        return rules

    def _add(self, entry: os.DirEntry[str]) -> None:
        name = entry.name
        if name[0] == "." and name.startswith(OURS) and not _has_rules(entry):
            return
        try:
            is_folder = entry.is_dir(follow_symlinks=False)
        except OSError as error:  # where a listing does not tell, this is a look at the disk
            name += "" if name in self.wanted else "/"  # as far as a name can tell
            path = self.prefix + name
            reason = f"cannot be read: {error.strerror}"
            self._add_other(name, Problem(printable(path), reason, hides=path))
            return
        # A folder sorts as its contents do: with the slash that follows its name.
        if is_folder:
            name += "/"
        elif name not in self.wanted:
            if not (entry.is_symlink() and _leads_to_a_folder(entry)):
                return
            name += "/"
        if self.rules.leave_out(self.prefix, entry.name, is_folder=name[-1] == "/"):
            self._add_other(name, LeftOut(self.prefix + name))
        elif is_folder:
            self._add_other(name, entry)
        elif name[-1] != "/":
            self.entries.append((name, entry, self.wanted.kind_of(name)))
        else:
            path = self.prefix + name
            link = Problem(printable(path[:-1]), _LINKED_FOLDER, hides=path, left_out=True)
            self._add_other(name, link)

    def _add_other(self, name: str, what: os.DirEntry[str] | Problem | LeftOut) -> None:
        self.entries.append((name, what, _NO_FILE))


def _has_rules(entry: os.DirEntry[str]) -> bool:
    """Whether it is a file of rules; anything else so called is told of where it is read."""
    try:
        return entry.name == IGNORE_FILE and entry.is_file(follow_symlinks=False)
    except OSError:
        return False


def _leads_to_a_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # it leads in a circle, or where we may not look
        return False


_LINKED_FOLDER = "a link to a folder is not followed; add its target as a library root"
_LINK_OUT = (
    "a link that leads out of every library root is not followed; add the folder of its target"
    " as a library root, or scan with --follow-links"
)


def _file(
    entry: os.DirEntry[str], name: str, path: str, within: Collection[str], companion: str | None
) -> tuple[str, os.stat_result, str | None] | Problem | LeftOut:
    if reason := unusable(name):  # the folder's own path was passed before it was entered
        return Problem(printable(path), reason)
    return _regular(entry, path, within, companion)


def _regular(
    entry: os.DirEntry[str], path: str, within: Collection[str], companion: str | None
) -> tuple[str, os.stat_result, str | None] | Problem | LeftOut:
    if within and entry.is_symlink() and not lies_below(os.path.realpath(entry.path), within):
        return Problem(printable(path), _LINK_OUT, hides=path, left_out=True)
    try:
        status = entry.stat()
    except OSError as error:
        return Problem(printable(path), f"cannot be read: {error.strerror}", hides=path)
    if not stat.S_ISREG(status.st_mode):
        return Problem(printable(path), "not a regular file")
    if not 0 <= status.st_size <= MAX_FILE_BYTES:
        return Problem(printable(path), f"impossible size: {status.st_size:,} bytes", hides=path)
    if companion is not None and status.st_size > MAX_COMPANION_BYTES:
        return LeftOut(path)
    return path, status, companion


def printable(path: str) -> str:
    """The path as it may be shown and stored: undecodable bytes and control characters escaped."""
    text = os.fsencode(path).decode("utf-8", errors="backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
