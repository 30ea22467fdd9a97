"""What a scan says of what it has found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from catalogsync_assets.core.catalog.status import UnreadTags
from catalogsync_assets.core.library.playlists import ListsReport
from catalogsync_assets.core.library.walk import Problem
from catalogsync_assets.core.runner.report import MOST_LISTED


@dataclass(frozen=True)
class MovedRoot:
    """A library root that was recognised at another path."""

    old: str
    new: str
    files: int  #: known files below it


@dataclass
class ScanReport:
    """What a scan found, in files."""

    files: int = 0  #: files on disk that could be cataloged
    bytes: int = 0  #: their size
    companions: int = 0  #: of `files`, those beside the music
    #: Of `files`.
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    returned: int = 0  #: found again, unchanged, after having been missing or offloaded
    moved: int = 0  #: known files that are at another path now
    #: Of these, those that an inode has told, and that were touched since; later scans read them.
    moved_unread: int = 0
    touched: int = (
        0  #: of the unchanged, those that were read to tell, as something about them is new
    )
    missing: int = 0  #: known files that this scan found gone from the disk
    #: Files that are damaged, by all that can be told: their bytes have changed, and nothing says
    #: that they were edited. They are not uploaded until they are accepted.
    suspected: int = 0
    #: Known files that nobody can tell anything of, as their file system is not mounted.
    unmounted: int = 0
    excluded: int = 0  #: known files that are left out from now on: a rule, or a link, says so
    left_out: int = 0  #: files, and folders with all that is in them, that rules leave out
    read: int = 0  #: of the unchanged, those that were read whole, as a move had left them unread
    reread: int = 0  #: of the unchanged, those whose tags were read again
    #: What became of playlists that are made from files of the library.
    playlists: ListsReport = field(default_factory=ListsReport)
    problem_count: int = 0  #: all problems
    #: What could not be taken as it is, or not be read whole, at most 1,000 of them.
    problems: list[Problem] = field(default_factory=list)
    left_out_paths: list[str] = field(default_factory=list)  #: at most 1,000 of `left_out`
    missing_paths: list[str] = field(default_factory=list)
    suspected_paths: list[str] = field(default_factory=list)  #: at most 1,000 of `suspected`
    moved_roots: list[MovedRoot] = field(default_factory=list)  #: roots that lie elsewhere now
    unread_tag_count: int = 0  #: all whose tags could not be read
    #: Cataloged files, of this scan or an earlier one, whose tags could not be read; at most 1,000
    #: of them.
    unread_tags: list[UnreadTags] = field(default_factory=list)
    batches: list[str] = field(default_factory=list)  #: keys of the batches made for the new files

    @property
    def has_changes(self) -> bool:
        """Whether any file has come, gone, moved or become another."""
        some = self.new, self.changed, self.returned, self.moved, self.missing, self.excluded
        return any(some) or bool(self.moved_roots)

    def note(self, problem: Problem) -> None:
        """Count a problem, and list it if there is room."""
        self.problem_count += 1
        if len(self.problems) < MOST_LISTED:
            self.problems.append(problem)

    def miss(self, place: str) -> None:
        """Count a file that is gone, and list it if there is room."""
        self.missing += 1
        if len(self.missing_paths) < MOST_LISTED:
            self.missing_paths.append(place)

    def suspect(self, place: str) -> None:
        """Count a file that is damaged by all that can be told, and list it if there is room."""
        self.suspected += 1
        if len(self.suspected_paths) < MOST_LISTED:
            self.suspected_paths.append(place)


Progress = Callable[[ScanReport], None]
