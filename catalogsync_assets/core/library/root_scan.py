"""Compares what lies below one library root with what the catalog knows there.

Both come sorted by path, so the comparison is a merge and memory stays flat. What is as it was, or
is new to a catalog that knows no file yet, is recorded here; the rest goes to `moves`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import TypeVar

from catalogsync_assets.core.catalog import files as rows
from catalogsync_assets.core.catalog import locations
from catalogsync_assets.core.catalog import roots as roots_
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.file_tags import ReadAgain, record_tags
from catalogsync_assets.core.catalog.files import FileFacts, KnownFile, Seen
from catalogsync_assets.core.catalog.known_paths import KnownFiles, known_paths
from catalogsync_assets.core.errors import LibraryError
from catalogsync_assets.core.files.companions import Companions
from catalogsync_assets.core.files.digests import sha256_of
from catalogsync_assets.core.files.file_systems import (
    FileSystems,
    file_system_of,
    is_another,
    is_far,
)
from catalogsync_assets.core.files.opening import FileStat
from catalogsync_assets.core.library.follow import UNREAD_AT_A_TIME
from catalogsync_assets.core.library.moves import Moves
from catalogsync_assets.core.library.removal import recover_if_alone
from catalogsync_assets.core.library.scan_report import Progress, ScanReport
from catalogsync_assets.core.library.tags import guessed_titles, read_facts
from catalogsync_assets.core.library.walk import (
    FoundFile,
    LeftOut,
    Problem,
    Run,
    one_by_one,
    printable,
)
from catalogsync_assets.core.runner.report import MOST_LISTED

#: Changes recorded in one transaction: short enough to leave others room to write.
_CHUNK = 500
#: So many may have other inodes without it looking as if the whole disk had.
_FEW_INODES = 20
#: Files whose tags are read at a time from a network, where reading is waiting. From a disk it is
#: work, which Python's threads do one at a time.
_READERS = 16
# Behind the last path that is known.
_NO_PATH = (None, 0, None, None, None, None, None)
_T = TypeVar("_T")


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


@dataclass(frozen=True)
class How:
    """How closely a scan looks; as the arguments of `scan`."""

    reread: bool
    rehash: bool
    ignore_ctime: bool
    accept: frozenset[str]  #: absolute paths


@dataclass
class RootScan:
    """The walk of one root: what is as it was is written in chunks, the rest goes to `moves`."""

    catalog: Catalog
    root: Path
    report: ScanReport
    leaves_out: Callable[[str], bool]
    how: How
    progress: Progress
    moves: Moves | None  #: None where the catalog knows no file that could have moved
    devices: FileSystems
    companions: Companions

    def __post_init__(self) -> None:
        # Where the walk could not look, or was not to: files, and folders with a slash at the end;
        # and whether that is not part of the library.
        self._unseen: list[tuple[str, bool]] = []
        self._all_mounted = True
        self._new: list[tuple[str, FileStat, str | None]] = []  # path, stat, kind of companion
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
        self, walked: Callable[[], Iterator[Run | Problem | LeftOut]], *, allow_empty: bool
    ) -> None:
        root = str(self.root)
        rows.meet_rows_of_other_programs(self.catalog, root)
        for file, why in recover_if_alone(self.catalog, root).problems.items():
            self._note(Problem(file.absolute_path, why))
        runs = self._runs(walked())
        first = next(runs, None)
        if not allow_empty and (first is None or first[0][2] is not None):
            require_filled(self.catalog, self.root, one_by_one(walked()), self._is_left_out)
        self._file_system = file_system_of(root)
        roots = {r.path: r for r in roots_.library_roots(self.catalog)}
        self._before = roots.get(root)
        if not allow_empty:
            self._require_same_disk()
        roots_.note_root(self.catalog, root, self._file_system)
        self._rehash_began = roots_.begin_rehash(self.catalog, root) if self.how.rehash else None
        self._compare_all(chain([first] if first else [], runs))
        self._flush()
        if self._other_inodes > max(_FEW_INODES, self._alike // 2):
            self._take_inodes_as_they_are()

    def _compare_all(self, runs: Iterable[Run]) -> None:
        """Both sides are sorted by path. This is asked of every file: nothing more than needs be is
        made for one that is as it was."""
        report, names, root = self.report, self._names, str(self.root)
        known = chain.from_iterable(known_paths(self.catalog, root))
        self._known = KnownFiles(self.catalog, root)
        closely, steps = self._looks_closely, 0
        place, id_, mtime, size, ctime, inode, file_system = next(known, _NO_PATH)
        for run in runs:
            alike = volume = companions = 0
            for found in run:
                path, status, kind = found
                length = status.st_size
                volume += length
                if kind is not None:
                    companions += 1
                while place is not None and place < path:
                    self._miss(place, id_)
                    place, id_, mtime, size, ctime, inode, file_system = next(known, _NO_PATH)
                if place != path:
                    self._meet(FoundFile._make(found))
                    continue
                if (
                    mtime == status.st_mtime_ns
                    and ctime == status.st_ctime_ns
                    and size == length
                    and inode == status.st_ino
                    and file_system == names.get(status.st_dev)
                    and not closely
                ):
                    alike += 1
                else:
                    self._look_closely(FoundFile._make(found), id_)
                place, id_, mtime, size, ctime, inode, file_system = next(known, _NO_PATH)
            report.files += len(run)
            report.bytes += volume
            report.companions += companions
            report.unchanged += alike
            self._alike += alike
            steps += len(run)
            if steps >= _CHUNK:
                steps = 0
                self.progress(report)
        while place is not None:
            self._miss(place, id_)
            place, id_, *_ = next(known, _NO_PATH)

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

    def _runs(self, walked: Iterator[Run | Problem | LeftOut]) -> Iterator[Run]:
        """The files; everything else goes to the report, and what it hides to `_unseen`."""
        for item in walked:
            if isinstance(item, list):
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

    def _look_closely(self, found: FoundFile, location_id: int) -> None:
        """Something differs, or is to be looked at: nearly all files never get here."""
        known = self._known.get(found.path, location_id)
        if known is not None:
            self._compare(found, known)

    def _compare(self, found: FoundFile, known: KnownFile) -> None:
        report = self.report
        if known.status == "offloading":
            report.unchanged += 1  # it is about to be removed: not ours to judge
        elif found.stat[:2] != (known.size_bytes, known.mtime_ns):
            self._differs(found, known)
        elif known.seems_damaged:
            place, is_back = self._place(found), known.status != "damaged"
            if is_back or place in self.how.accept or self._has_changed_quietly(found, known):
                self._differs(found, known, quiet=True)
            else:
                report.unchanged += 1
                report.suspect(place)
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
            self._keep(self._new, (found.path, self._stat(found), found.companion))

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

    def _miss(self, path: str, location_id: int) -> None:
        """A known file was not found: it is left out, cannot be seen, or is elsewhere, or gone."""
        known = self._known.get(path, location_id)
        if known is None or known.status == "offloading" or self.moves is None:
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

    def _read_new(self) -> list[FileFacts]:
        def read(new: tuple[str, FileStat, str | None]) -> FileFacts:
            path, stat, companion = new
            return read_facts(self.root, path, stat, companion=companion)

        if is_far(self._file_system) and len(self._new) > 1:
            with ThreadPoolExecutor(_READERS) as readers:
                found = list(readers.map(read, self._new))
        else:
            found = list(map(read, self._new))
        for facts in found:
            if facts.tags_error:
                self._note(Problem(facts.path, facts.tags_error))
        return found

    def _flush(self) -> None:
        if self._new:
            rows.record_files(self.catalog, str(self.root), self._read_new())
        if self._seen:
            rows.mark_seen(self.catalog, str(self.root), self._seen)
        if self._excluded:
            locations.mark(self.catalog, self._excluded, "excluded")
        if self._again:
            record_tags(self.catalog, str(self.root), self._again)
        for collected in (self._new, self._seen, self._excluded, self._again):
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
