"""Compares the library on disk with the catalog, and records the difference.

Both come sorted by path, so the comparison is a merge and memory stays flat. Size and mtime
decide: a file whose two have not changed is not opened. What is new or changed has its tags read
before, never inside, the transaction that records it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import TypeVar

from catalogsync_assets.core.catalog import files as rows
from catalogsync_assets.core.catalog import locations
from catalogsync_assets.core.catalog.backends import set_follows_links
from catalogsync_assets.core.catalog.batches import DEFAULT_MAX_BYTES, DEFAULT_MAX_FILES
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.file_tags import (
    ReadAgain,
    UnreadTags,
    record_tags,
    unread_tags,
)
from catalogsync_assets.core.catalog.files import FileFacts, KnownFile
from catalogsync_assets.core.catalog.roots import known_roots, limits_of_links, require_apart
from catalogsync_assets.core.errors import LibraryError
from catalogsync_assets.core.files.digests import sha256_of
from catalogsync_assets.core.files.ignore import Rules, leaves_out
from catalogsync_assets.core.files.opening import FileStat
from catalogsync_assets.core.library.removal import recover_if_alone
from catalogsync_assets.core.library.tags import guessed_titles, read_facts
from catalogsync_assets.core.library.walk import FoundFile, LeftOut, Problem, printable, walk
from catalogsync_assets.core.runner.report import MOST_LISTED
from catalogsync_assets.core.settings import library_roots

#: Changes recorded in one transaction: short enough to leave others room to write.
_CHUNK = 500
_T = TypeVar("_T")


@dataclass
class ScanReport:
    """What a scan found, in files."""

    files: int = 0  #: audio files on disk that could be cataloged
    bytes: int = 0  #: their size
    #: Of `files`.
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    returned: int = 0  #: found again, unchanged, after having been missing or offloaded
    touched: int = 0  #: of the unchanged, those that got a new mtime and were read to tell
    missing: int = 0  #: known files that this scan found gone from the disk
    excluded: int = 0  #: known files that are left out from now on: a rule, or a link, says so
    left_out: int = 0  #: files, and folders with all that is in them, that rules leave out
    reread: int = 0  #: of the unchanged, those whose tags were read again
    problem_count: int = 0  #: all problems
    #: What could not be taken as it is, or not be read whole, at most 1,000 of them.
    problems: list[Problem] = field(default_factory=list)
    left_out_paths: list[str] = field(default_factory=list)  #: at most 1,000 of `left_out`
    missing_paths: list[str] = field(default_factory=list)
    unread_tag_count: int = 0  #: all whose tags could not be read
    #: Cataloged files, of this scan or an earlier one, whose tags could not be read; at most 1,000
    #: of them.
    unread_tags: list[UnreadTags] = field(default_factory=list)
    batches: list[str] = field(default_factory=list)  #: keys of the batches made for the new files


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
    progress: Progress = lambda _: None,
) -> ScanReport:
    """Bring the catalog in line with the library roots, and batch what is new.

    May be stopped at any moment and called again: what is recorded stays, the rest is found again.
    A second scan of an unchanged library opens no file and writes nothing.

    Args:
        roots: at least one; see `settings.library_roots`.
        batch_max_files: files in a batch at most.
        batch_max_bytes: bytes in a batch at most, unless a single file is larger.
        allow_empty: accept that a root with known files now holds none at all.
        follow_links: whether links to files may lead out of every root; remembered, for uploads
            and later scans. By default as it was last said, at first not.
        reread: read the tags of unchanged files, too, and mend what had been read wrongly.
        progress: called every few hundred files with the report as it stands.

    Raises:
        ConfigurationError: a root overlaps another or one scanned before, its name is not UTF-8,
            or `CATALOGSYNC_IGNORE` cannot be understood.
        LibraryError: a root cannot be read, or is empty though the catalog knows files there: a
            disk that is not mounted looks just so. Other roots are not affected.
    """
    report = ScanReport()
    folders = library_roots(roots)
    rules = Rules.of_settings()
    require_apart(folders, known_roots(catalog))
    if follow_links is not None:
        set_follows_links(catalog, follow_links)
    within = limits_of_links(catalog, map(str, folders))
    for root in folders:
        one = _Scan(catalog, root, report, leaves_out(root, rules), reread, progress)
        one.execute(walk(root, rules=rules, within=within), allow_empty=allow_empty)
    report.batches = rows.make_batches(
        catalog, max_files=batch_max_files, max_bytes=batch_max_bytes
    )
    report.unread_tag_count, report.unread_tags = unread_tags(catalog, MOST_LISTED)
    progress(report)
    return report


def require_never_filled(
    catalog: Catalog,
    root: Path,
    is_left_out: Callable[[str], bool] = lambda _: False,
    *,
    verb: str = "scan",
) -> None:
    """Raise a LibraryError if the catalog knows files below a root that was found empty.

    Args:
        is_left_out: tells of a path below the root whether it is left out.
        verb: what is to be done with --allow-empty.
    """
    known = (k for k in rows.known_files(catalog, str(root)) if k.present)
    if any(not is_left_out(k.path) for k in known):
        raise LibraryError(
            f"library root {root} holds no readable audio file, but the catalog knows some",
            hint="check that its disk is mounted;"
            f" if they are really gone, {verb} with --allow-empty",
        )


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


@dataclass
class _Scan:
    """The scan of one root: collects the differences, and writes them in chunks."""

    catalog: Catalog
    root: Path
    report: ScanReport
    leaves_out: Callable[[str], bool]
    reread: bool
    progress: Progress

    def __post_init__(self) -> None:
        # Where the walk could not look, or was not to: files, and folders with a slash at the end;
        # and whether that is not part of the library.
        self._unseen: list[tuple[str, bool]] = []
        self._facts: list[FileFacts] = []
        self._again: list[ReadAgain] = []
        self._seen: list[tuple[KnownFile, FileStat]] = []
        self._gone: list[int] = []
        self._excluded: list[int] = []

    def execute(
        self, walked: Iterator[FoundFile | Problem | LeftOut], *, allow_empty: bool
    ) -> None:
        rows.meet_rows_of_other_programs(self.catalog, str(self.root))
        for file, why in recover_if_alone(self.catalog, str(self.root)).problems.items():
            self._note(Problem(file.absolute_path, why))
        files = self._files(walked)
        first = next(files, None)
        if first is None and not allow_empty:
            require_never_filled(self.catalog, self.root, self._is_left_out)
        on_disk = chain([first] if first else [], files)
        in_catalog = rows.known_files(self.catalog, str(self.root))
        for step, (found, known) in enumerate(_merge(on_disk, in_catalog)):
            if found is not None:
                self.report.files += 1
                self.report.bytes += found.size_bytes
                self._compare(found, known)
            elif known is not None:
                self._miss(known)
            if step % 500 == 0:
                self.progress(self.report)
        self._flush()

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
        self.report.problem_count += 1
        if len(self.report.problems) < MOST_LISTED:
            self.report.problems.append(problem)

    def _compare(self, found: FoundFile, known: KnownFile | None) -> None:
        report = self.report
        seen = FileStat(found.size_bytes, found.mtime_ns)
        if known is None:
            report.new += 1
            self._keep(self._facts, self._read(found, None))
        elif known.status == "offloading":
            report.unchanged += 1  # it is about to be removed: not ours to judge
        elif seen[:2] == (known.size_bytes, known.mtime_ns):
            if not known.present:
                report.returned += 1
                self._keep(self._seen, (known, seen))
                return
            report.unchanged += 1
            if self.reread or known.unreadable:
                report.reread += 1
                titles = guessed_titles(Path(found.path))
                self._keep(self._again, ReadAgain(known, self._read(found, known), titles))
        elif self._is_first_met(found, known):
            report.unchanged += 1
            self._keep(self._seen, (known, seen))
        elif found.size_bytes == known.size_bytes and self._same_content(found, known):
            report.unchanged += 1
            report.touched += 1
            self._keep(self._seen, (known, seen))
        else:
            report.changed += 1
            self._keep(self._facts, self._read(found, known))

    def _miss(self, known: KnownFile) -> None:
        """A known file was not found: it is left out, cannot be seen, or is gone."""
        if known.status not in ("active", "missing", "excluded"):
            return
        if self._is_left_out(known.path):
            if known.status != "excluded":
                self.report.excluded += 1
                self._keep(self._excluded, known.location_id)
        elif known.status != "missing" and self._left_out_by_walk(known.path) is None:
            self.report.missing += 1
            if len(self.report.missing_paths) < MOST_LISTED:
                self.report.missing_paths.append(str(self.root / known.path))
            self._keep(self._gone, known.location_id)

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
        if self._gone:
            locations.mark(self.catalog, self._gone, "gone")
        if self._excluded:
            locations.mark(self.catalog, self._excluded, "excluded")
        if self._again:
            record_tags(self.catalog, str(self.root), self._again)
        for collected in (self._facts, self._seen, self._gone, self._excluded, self._again):
            collected.clear()

    def _same_content(self, found: FoundFile, known: KnownFile) -> bool:
        """Whether a file with a new mtime still has the content that the catalog knows."""
        if known.sha256 is None:
            return False
        try:
            return sha256_of(self.root / found.path) == known.sha256
        except OSError:
            return False  # reading its tags will report it

    @staticmethod
    def _is_first_met(found: FoundFile, known: KnownFile) -> bool:
        """Whether this is a row of another program that says nothing against the file on disk."""
        if known.mtime_ns is not None or known.has_key:
            return False
        return known.sha256 is None and known.size_bytes in (None, found.size_bytes)

    def _read(self, found: FoundFile, known: KnownFile | None) -> FileFacts:
        facts = read_facts(self.root, *found, replaces=known)
        if facts.tags_error:
            self._note(Problem(found.path, facts.tags_error))
        return facts
