"""Compares the library on disk with the catalog, and records the difference.

Both come sorted by path, so the comparison is a merge and memory stays flat. Size, mtime, ctime and
inode decide: a file of which all are as they were is not opened. What is at a path that nobody
knew, or is not as it was, waits until every root has been walked: it may have come from elsewhere
(see `moves`, and `follow` for what becomes of it).
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import TypeVar

from catalogsync_assets.core.catalog import files as rows
from catalogsync_assets.core.catalog import locations
from catalogsync_assets.core.catalog import roots as roots_
from catalogsync_assets.core.catalog.backends import set_follows_links
from catalogsync_assets.core.catalog.batches import DEFAULT_MAX_BYTES, DEFAULT_MAX_FILES
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.file_tags import ReadAgain, record_tags
from catalogsync_assets.core.catalog.files import FileFacts, KnownFile, Seen
from catalogsync_assets.core.catalog.keys import drop_suffixes
from catalogsync_assets.core.catalog.roots import known_roots, limits_of_links, require_apart
from catalogsync_assets.core.catalog.status import UnreadTags, unread_tags
from catalogsync_assets.core.errors import LibraryError, UsageError
from catalogsync_assets.core.files.companions import Companions
from catalogsync_assets.core.files.digests import sha256_of
from catalogsync_assets.core.files.file_systems import FileSystems, file_system_of, is_another
from catalogsync_assets.core.files.ignore import Rules, leaves_out
from catalogsync_assets.core.files.opening import FileStat
from catalogsync_assets.core.library.follow import UNREAD_AT_A_TIME, follow
from catalogsync_assets.core.library.moves import Moves
from catalogsync_assets.core.library.playlists import ListsReport, bring_in_line
from catalogsync_assets.core.library.removal import recover_if_alone
from catalogsync_assets.core.library.tags import guessed_titles, read_facts
from catalogsync_assets.core.library.walk import FoundFile, LeftOut, Problem, printable, walk
from catalogsync_assets.core.runner.report import MOST_LISTED
from catalogsync_assets.core.settings import library_roots

#: Changes recorded in one transaction: short enough to leave others room to write.
_CHUNK = 500
#: So many may have other inodes without it looking as if the whole disk had.
_FEW_INODES = 20
_T = TypeVar("_T")


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


def scan(
    catalog: Catalog,
    roots: Sequence[Path],
    *,
    batch_max_files: int = DEFAULT_MAX_FILES,
    batch_max_bytes: int = DEFAULT_MAX_BYTES,
    allow_empty: bool = False,
    follow_links: bool | None = None,
    reread: bool = False,
    rehash: bool = False,
    ignore_ctime: bool = False,
    accept: Collection[Path] = (),
    new_root: bool = False,
    progress: Progress = lambda _: None,
) -> ScanReport:
    """Bring the catalog in line with the library roots, and batch what is new.

    May be stopped at any moment and called again: what is recorded stays, the rest is found again.
    A second scan of an unchanged library opens no file, and writes but when it was.

    A file that is at another path than before, below any of these roots, is the same file: it
    keeps its song, its batch and its copies on backends. So is a root that lies elsewhere, where
    the file system and inodes prove it.

    Args:
        roots: at least one; see `settings.library_roots`.
        batch_max_files: files in a batch at most.
        batch_max_bytes: bytes in a batch at most, unless a single file is larger.
        allow_empty: accept that a root with known files now holds none at all.
        follow_links: whether links to files may lead out of every root; remembered, for uploads
            and later scans. By default as it was last said, at first not.
        reread: read the tags of unchanged files, too, and mend what had been read wrongly.
        rehash: read every file whole, and compare it with what the catalog holds; goes on where an
            earlier one was stopped.
        ignore_ctime: do not read files of which nothing but ctime or inode has changed.
        accept: files that are damaged, by all that can be told, and shall be taken as they are; of
            a folder, all such files below it.
        new_root: take a folder for a root of its own that holds the same files as one that is gone.
        progress: called every few hundred files with the report as it stands.

    Raises:
        UsageError: what shall be accepted does not seem damaged.
        ConfigurationError: a root overlaps another or one scanned before, its name is not UTF-8,
            or `CATALOGSYNC_IGNORE` or `CATALOGSYNC_COMPANIONS` cannot be understood.
        LibraryError: a root cannot be read, or is empty though the catalog knows files there: a
            disk that is not mounted looks just so. Other roots are not affected.
    """
    report = ScanReport()
    folders = library_roots(roots)
    rules, companions = Rules.of_settings(), Companions.of_settings()
    if follow_links is not None:
        set_follows_links(catalog, follow_links)
    accepted = _accepted(catalog, accept)
    devices = FileSystems()
    in_line = roots_.lists_read(catalog)
    refused: LibraryError | None = None
    for folder in () if new_root else list(folders):
        try:
            _follow_root(catalog, folder, report)
        except LibraryError as error:
            refused = refused or error
            folders.remove(folder)
    require_apart(folders, known_roots(catalog), scanned=True)
    follows = bool(catalog.scalar("SELECT EXISTS (SELECT 1 FROM file_assets)"))
    within = limits_of_links(catalog, map(str, folders))
    with closing(Moves()) as moves:
        how = _How(reread, rehash, ignore_ctime, accepted)
        seen = list[_Scan]()
        for root in folders:
            one = _Scan(
                *(catalog, root, report, leaves_out(root, rules), how, progress),
                moves if follows else None,
                devices,
                companions,
            )
            walked = partial(walk, root, rules=rules, within=within, companions=companions)
            try:
                one.execute(walked, allow_empty=allow_empty)
            except LibraryError as error:  # what is known of the others holds
                refused = refused or error
            else:
                seen.append(one)
        if follows:
            _add_let_go(catalog, moves)
            away = set[int]().union(*(s.add_those_that_left_what_is_left_out() for s in seen))
            follow(catalog, moves, report, how.accept, progress, left_out=away)
            if report.moved or report.changed:  # nothing else gives up a key
                drop_suffixes(catalog)
    _bring_playlists_in_line(catalog, [one.root for one in seen], in_line, report)
    for one in seen:
        one.note_end()
    report.batches = rows.make_batches(
        catalog, max_files=batch_max_files, max_bytes=batch_max_bytes
    )
    report.unread_tag_count, report.unread_tags = unread_tags(catalog, MOST_LISTED)
    progress(report)
    if refused is not None:
        raise refused
    return report


def _bring_playlists_in_line(
    catalog: Catalog, seen: Sequence[Path], in_line: Collection[str], report: ScanReport
) -> None:
    """Only where something has changed, in this scan or since the last that got so far.

    Args:
        seen: the roots that were walked.
        in_line: the roots for which it need not be done; a restored one is not among them.
    """
    if report.has_changes or any(str(root) not in in_line for root in seen):
        report.playlists = bring_in_line(catalog)
        for problem in report.playlists.problems:
            report.note(problem)
    roots_.note_lists_read(catalog, map(str, seen))


def _add_let_go(catalog: Catalog, moves: Moves) -> None:
    """Files of roots that were let go may come back below another."""
    for root in roots_.let_go_roots(catalog):
        for known in rows.known_files(catalog, root):
            moves.add_lost(root, known)


def _accepted(catalog: Catalog, paths: Collection[Path]) -> frozenset[str]:
    """The absolute paths of files that shall be taken as they are.

    Args:
        paths: of such files, or of folders that hold some.

    Raises:
        UsageError: one of them is no file that seems damaged, nor a folder above one.
    """
    accepted: set[str] = set()
    for place in sorted({os.path.abspath(path) for path in paths}):  # noqa: PTH100
        below = f"{place.rstrip('/')}/"
        found = catalog.rows(_SUSPECTED, place=place, below=below, length=len(below))
        if not found:
            raise UsageError(
                f"no scan has found {place}, or a file below it, to be damaged",
                hint="a scan lists the files that seem damaged; name one of them, or its folder",
            )
        accepted.update(str(path) for (path,) in found)
    return frozenset(accepted)


_SUSPECTED = """
SELECT absolute_path FROM file_locations
WHERE status = 'damaged' AND library_path IS NOT NULL
  AND (absolute_path = :place OR substr(absolute_path, 1, :length) = :below)
"""


def _follow_root(catalog: Catalog, folder: Path, report: ScanReport) -> None:
    """Take a root that lies at this folder now along to it.

    Raises:
        LibraryError: the folder is no root yet and holds the files of one that is gone, but they
            may be copies.
    """
    if str(folder) in known_roots(catalog):
        return
    file_system = file_system_of(folder)
    found = roots_.find_moved_root(catalog, folder, file_system)
    old = _rearranged(catalog, folder, file_system) if found is None else found.root.path
    if old is None:
        return
    if found is not None and not found.proven:
        raise LibraryError(
            f"library root {folder} holds the files of {old}, which is not there any more:"
            f" {found.by_size_and_time} of {found.compared} that were compared have the same"
            " names, sizes and times",
            hint=f"if it is the same library, run `catalogsync root move {old} {folder}`;"
            " if it is another one, scan with --new-root",
        )
    files = roots_.move_root(catalog, old, str(folder))
    report.moved_roots.append(MovedRoot(old, str(folder), files))


def _rearranged(catalog: Catalog, folder: Path, file_system: str) -> str | None:
    """The root that is gone and half of whose files, at least, lie here under other names."""
    gone = roots_.inodes_of_gone(catalog, file_system)
    if not any(some for _, some in gone):
        return None
    met = dict.fromkeys((path for path, _ in gone), 0)
    for item in walk(folder):
        if isinstance(item, FoundFile):
            stat = item.stat
            for path, some in gone:
                met[path] += (stat.inode, stat.size_bytes, stat.mtime_ns) in some
    path, some = max(gone, key=lambda root: met[root[0]])
    return path if met[path] and met[path] * 2 >= len(some) else None


def require_filled(
    catalog: Catalog,
    root: Path,
    found: Iterable[FoundFile | Problem | LeftOut],
    is_left_out: Callable[[str], bool] = lambda _: False,
    *,
    verb: str = "scan",
) -> None:
    """Raise a LibraryError if the catalog knows music below a root that holds none now.

    The folder where a disk is not mounted may have a note in it, or a picture; a root that never
    held anything but files beside music is as empty as ever without music.

    Args:
        found: by `walk`; read up to the first file of music.
        is_left_out: tells of a path below the root whether it is left out.
        verb: what is to be done with --allow-empty.
    """
    beside = False
    for item in found:
        if isinstance(item, FoundFile):
            if item.companion is None:
                return
            beside = True
    known = (k for k in rows.known_files(catalog, str(root)) if k.present)
    if any(not (is_left_out(k.path) or (beside and k.companion)) for k in known):
        raise LibraryError(
            f"library root {root} holds no readable audio file, but the catalog knows some",
            hint="check that its disk is mounted;"
            f" if they are really gone, {verb} with --allow-empty",
        )


def _is_gone(path: Path) -> bool:
    """Whether there is nothing at a path; a folder that may not be entered tells nothing."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _merge(
    found: Iterator[FoundFile], known: Iterator[KnownFile]
) -> Iterator[tuple[FoundFile | None, KnownFile | None]]:
    """Pair two streams that are sorted by path."""
    left, right = next(found, None), next(known, None)
    while left is not None or right is not None:
        if right is None or (left is not None and left.path < right.path):
            yield left, None
            left = next(found, None)
        elif left is None or right.path < left.path:
            yield None, right
            right = next(known, None)
        else:
            yield left, right
            left, right = next(found, None), next(known, None)


@dataclass(frozen=True)
class _How:
    """How closely a scan looks; as the arguments of `scan`."""

    reread: bool
    rehash: bool
    ignore_ctime: bool
    accept: frozenset[str]  #: absolute paths


@dataclass
class _Scan:
    """The walk of one root: what is as it was is written in chunks, the rest goes to `moves`."""

    catalog: Catalog
    root: Path
    report: ScanReport
    leaves_out: Callable[[str], bool]
    how: _How
    progress: Progress
    moves: Moves | None  #: None where the catalog knows no file that could have moved
    devices: FileSystems
    companions: Companions

    def __post_init__(self) -> None:
        # Where the walk could not look, or was not to: files, and folders with a slash at the end;
        # and whether that is not part of the library.
        self._unseen: list[tuple[str, bool]] = []
        self._all_mounted = True
        self._facts: list[FileFacts] = []
        self._again: list[ReadAgain] = []
        self._seen: list[Seen] = []
        self._excluded: list[int] = []
        self._unread_left = UNREAD_AT_A_TIME
        self._knows_excluded = False
        self._alike = self._other_inodes = 0  # of the same size and mtime
        self._folders: dict[str, str] = {}
        self._names: dict[int, str] = {}  # of file systems, by device
        self._looks_closely = self.how.reread or self.how.rehash

    def execute(
        self, walked: Callable[[], Iterator[FoundFile | Problem | LeftOut]], *, allow_empty: bool
    ) -> None:
        root = str(self.root)
        rows.meet_rows_of_other_programs(self.catalog, root)
        for file, why in recover_if_alone(self.catalog, root).problems.items():
            self._note(Problem(file.absolute_path, why))
        files = self._files(walked())
        first = next(files, None)
        if not allow_empty and (first is None or first.companion):
            require_filled(self.catalog, self.root, walked(), self._is_left_out)
        self._file_system = file_system_of(root)
        roots = {r.path: r for r in roots_.library_roots(self.catalog)}
        self._before = roots.get(root)
        if not allow_empty:
            self._require_same_disk()
        roots_.note_root(self.catalog, root, self._file_system)
        self._rehash_began = roots_.begin_rehash(self.catalog, root) if self.how.rehash else None
        on_disk = chain([first] if first else [], files)
        in_catalog = rows.known_files(self.catalog, root)
        for step, (found, known) in enumerate(_merge(on_disk, in_catalog)):
            if found is not None:
                self.report.files += 1
                self.report.bytes += found.status.st_size
                self.report.companions += found.companion is not None
                if known is None or not self._is_as_it_was(found.status, known):
                    self._compare(found, known)
            elif known is not None:
                self._miss(known)
            if step % 500 == 0:
                self.progress(self.report)
        self._flush()
        if self._other_inodes > max(_FEW_INODES, self._alike // 2):
            self._take_inodes_as_they_are()

    def _require_same_disk(self) -> None:
        """Raise a LibraryError if another file system is where the root was, with other files."""
        before = self._before
        if before is None or not is_another(self._file_system, before.file_system):
            return
        found = roots_.compare(self.catalog, before, self.root, self._file_system)
        if found.by_size_and_time * 2 < found.compared:
            raise LibraryError(
                f"library root {self.root} is on another file system than before, which holds"
                f" {found.by_size_and_time} of {found.compared} files that were looked for",
                hint="check that the right disk is mounted;"
                " if the files are really gone, scan with --allow-empty",
            )

    def _files(self, walked: Iterator[FoundFile | Problem | LeftOut]) -> Iterator[FoundFile]:
        """The files; everything else goes to the report, and what it hides to `_unseen`."""
        for item in walked:
            if isinstance(item, FoundFile):
                yield item
            elif isinstance(item, LeftOut):
                self.report.left_out += 1
                if len(self.report.left_out_paths) < MOST_LISTED:
                    self.report.left_out_paths.append(printable(item.path))
                self._unseen.append((item.path, True))
            else:
                self._note(item)
                if item.hides is not None:
                    self._unseen.append((item.hides, item.left_out))

    def _note(self, problem: Problem) -> None:
        self.report.note(problem)

    def _is_as_it_was(self, status: os.stat_result, known: KnownFile) -> bool:
        """Whether there is nothing to say of a file, as of nearly all: this is asked of each."""
        if (
            known.status == "active"
            and known.size_bytes == status.st_size
            and known.mtime_ns == status.st_mtime_ns
            and known.ctime_ns == status.st_ctime_ns
            and known.inode == status.st_ino
            and known.file_system == self._names.get(status.st_dev)
            and known.verified_by != "inode"
            and not (known.unreadable or self._looks_closely)
        ):
            self.report.unchanged += 1
            self._alike += 1
            return True
        return False

    def _compare(self, found: FoundFile, known: KnownFile | None) -> None:
        report = self.report
        if known is None:
            self._meet(found)
        elif known.status == "offloading":
            report.unchanged += 1  # it is about to be removed: not ours to judge
        elif found.stat[:2] != (known.size_bytes, known.mtime_ns):
            self._differs(found, known)
        elif known.status == "damaged":
            if self._place(found) in self.how.accept or self._has_changed_quietly(found, known):
                self._differs(found, known, quiet=True)
            else:
                report.unchanged += 1
                report.suspect(self._place(found))
        elif not known.present and (
            self.how.ignore_ctime or not self._has_changed_quietly(found, known)
        ):
            report.returned += 1
            self._keep(self._seen, Seen(known, self._stat(found)))
        elif not known.present:
            self._differs(found, known, quiet=True)
        elif self._has_changed_quietly(found, known) and not (
            self.how.ignore_ctime or known.unreadable
        ):
            self._alike += 1
            self._other_inodes += found.stat.inode != known.inode
            self._differs(found, known, quiet=True)
        else:
            self._alike += 1
            self._find_unchanged(found, known)

    def _meet(self, found: FoundFile) -> None:
        if self.moves is not None:
            stat = self._stat(found)
            self.moves.add_arrived(str(self.root), found.path, stat, companion=found.companion)
        else:
            self.report.new += 1
            stat = self._stat(found)
            facts = read_facts(self.root, found.path, stat, companion=found.companion)
            if facts.tags_error:
                self._note(Problem(found.path, facts.tags_error))
            self._keep(self._facts, facts)

    def _differs(self, found: FoundFile, known: KnownFile, *, quiet: bool = False) -> None:
        """What lies at a known path is not as it was: it may have moved there."""
        assert self.moves is not None
        root, stat = str(self.root), self._stat(found)
        stayed = stat.inode == known.inode
        self.moves.add_arrived(
            *(root, found.path, stat, known.location_id),
            quiet=quiet,
            stayed=stayed,
            companion=found.companion,
        )
        self.moves.add_lost(root, known, stat)

    @staticmethod
    def _has_changed_quietly(found: FoundFile, known: KnownFile) -> bool:
        """Whether nothing but its ctime or its inode tells that something was done to a file."""
        if known.ctime_ns is None or known.inode is None:
            return False  # never noted so far
        return found.stat[2:4] != (known.ctime_ns, known.inode)

    def _find_unchanged(self, found: FoundFile, known: KnownFile) -> None:
        report, stat = self.report, found.stat
        report.unchanged += 1
        if self._is_to_be_read(known):
            self._read_whole(found, known)
            return
        if found.companion is None and (self.how.reread or known.unreadable):
            report.reread += 1
            titles = guessed_titles(Path(found.path))
            facts = read_facts(self.root, found.path, self._stat(found), replaces=known)
            if facts.tags_error:
                self._note(Problem(found.path, facts.tags_error))
            self._keep(self._again, ReadAgain(known, facts, titles))
        if (
            stat.inode != known.inode
            or stat.ctime_ns != known.ctime_ns
            or self._name(found) != known.file_system
        ):
            self._keep(self._seen, Seen(known, self._stat(found)))

    def _is_to_be_read(self, known: KnownFile) -> bool:
        if self._rehash_began is not None:
            # Whole seconds: what was read in the very one is read again.
            return (known.verified_at or "") <= self._rehash_began
        if known.verified_by == "inode" and self._unread_left > 0:
            self._unread_left -= known.size_bytes or 0
            return True
        return False

    def _read_whole(self, found: FoundFile, known: KnownFile) -> None:
        try:
            sha256 = sha256_of(self.root / found.path)
        except OSError as error:
            self._note(Problem(printable(found.path), f"cannot be read: {error.strerror}"))
            return
        if known.sha256 in (None, sha256):
            self.report.read += 1
            self._keep(self._seen, Seen(known, self._stat(found), sha256))
        else:
            self.report.unchanged -= 1
            self._differs(found, known, quiet=True)

    def _miss(self, known: KnownFile) -> None:
        """A known file was not found: it is left out, cannot be seen, or is elsewhere, or gone."""
        if known.status == "offloading" or self.moves is None:
            return
        if self._is_left_out(known.path) or self._is_wanted_no_more(known):
            self._knows_excluded = True
            if known.status in ("active", "missing", "damaged"):
                self.report.excluded += 1
                self._keep(self._excluded, known.location_id)
        elif self._left_out_by_walk(known.path) is None:
            if self._is_mounted(known):
                self.moves.add_lost(str(self.root), known)
            else:
                self._all_mounted = False
                self.report.unmounted += known.present

    def add_those_that_left_what_is_left_out(self) -> set[int]:
        """Files of folders that no walk enters may have come out of them. To be called once all
        roots have been walked.

        Looked for is only what has the size and mtime of a file that has come.

        Returns:
            The locations of those that are not there any more.
        """
        away: set[int] = set()
        if self.moves is None or not self._knows_excluded:
            return away
        for known in rows.known_files(self.catalog, str(self.root), excluded=True):
            if (
                self.moves.has_arrived(known.size_bytes, known.mtime_ns)
                and _is_gone(self.root / known.path)
                and self._is_mounted(known)
            ):
                self.moves.add_lost(str(self.root), known)
                away.add(known.location_id)
        return away

    def _is_wanted_no_more(self, known: KnownFile) -> bool:
        """Whether a file beside music is of a kind that the settings leave out by now."""
        if known.companion is None:
            return False
        return self.companions.kind_of(known.path.rpartition("/")[2]) is None

    def note_end(self) -> None:
        """All that was found is recorded."""
        # Nothing is known to be gone below a folder that was hidden.
        hidden = (place for place, is_left_out in self._unseen if not is_left_out)
        if self._all_mounted and not any(place.endswith("/") for place in hidden):
            roots_.note_complete_scan(self.catalog, str(self.root))
        if self.how.rehash:
            roots_.end_rehash(self.catalog, str(self.root))

    def _is_mounted(self, known: KnownFile) -> bool:
        """Whether the file system that a file was seen on is where it was.

        Told by the nearest folder above it that still exists.
        """
        if known.file_system in (None, self._file_system):
            return True
        if self._before is not None and known.file_system == self._before.file_system:
            return True  # another disk in the stead of that one, which holds most of its files
        folder = known.path.rpartition("/")[0]
        if folder not in self._folders:
            place = self.root / folder
            while not place.is_dir():
                place = place.parent
            self._folders[folder] = file_system_of(place)
            if is_another(self._folders[folder], known.file_system):
                why = "its file system is not mounted; nothing is said of its files"
                self._note(Problem(printable(folder or str(self.root)), why))
        return not is_another(self._folders[folder], known.file_system)

    def _is_left_out(self, path: str) -> bool:
        """Whether a path that was not found is not part of the library, there or not."""
        return self._left_out_by_walk(path) or self.leaves_out(path)

    def _left_out_by_walk(self, path: str) -> bool | None:
        """Whether the walk has left a path out, or could not look there; None if it did look.

        It is ahead of the merge and sorted, so all that matters for a path is already here, and
        the last entry before the path decides.
        """
        at = bisect_right(self._unseen, path, key=itemgetter(0)) - 1
        if at < 0:
            return None
        place, is_left_out = self._unseen[at]
        inside = path.startswith(place) if place.endswith("/") else path == place
        return is_left_out if inside else None

    def _take_inodes_as_they_are(self) -> None:
        """Most have other inodes than before: the disk was restored, or makes them up."""
        assert self.moves is not None
        root, count = str(self.root), 0
        for arrived, known in self.moves.quiet(root):
            count += 1
            self.report.unchanged += 1
            self._keep(self._seen, Seen(known, arrived.stat))
        self._flush()
        why = f"the inodes of {count:,} files are others than before; they were not read for that"
        self._note(Problem(root, why))

    def _keep(self, collected: list[_T], item: _T) -> None:
        """Collect something to be written, and write what there is once it is many."""
        collected.append(item)
        if len(collected) >= _CHUNK:
            self._flush()

    def _flush(self) -> None:
        if self._facts:
            rows.record_files(self.catalog, str(self.root), self._facts)
        if self._seen:
            rows.mark_seen(self.catalog, str(self.root), self._seen)
        if self._excluded:
            locations.mark(self.catalog, self._excluded, "excluded")
        if self._again:
            record_tags(self.catalog, str(self.root), self._again)
        for collected in (self._facts, self._seen, self._excluded, self._again):
            collected.clear()

    def _place(self, found: FoundFile) -> str:
        return f"{str(self.root).rstrip('/')}/{found.path}"

    def _stat(self, found: FoundFile) -> FileStat:
        return FileStat.of(found.status, self._name(found))

    def _name(self, found: FoundFile) -> str:
        name = self._names.get(found.status.st_dev)
        if name is None:
            name = self.devices.of_device(self._place(found), found.status.st_dev)
            self._names[found.status.st_dev] = name
        return name
