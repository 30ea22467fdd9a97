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
from pathlib import Path

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
from catalogsync_assets.core.catalog.files import FileFacts, FoundStat, KnownFile
from catalogsync_assets.core.errors import ConfigurationError, LibraryError
from catalogsync_assets.core.files.digests import sha256_of
from catalogsync_assets.core.files.ignore import Rules, leaves_out
from catalogsync_assets.core.library.removal import recover_if_alone
from catalogsync_assets.core.library.tags import guessed_titles, read_tags
from catalogsync_assets.core.library.walk import FoundFile, LeftOut, Problem, printable, walk
from catalogsync_assets.core.settings import library_roots, lies_inside

#: Changes recorded in one transaction: short enough to leave others room to write.
_CHUNK = 500
#: Problems kept for the report; all are counted.
_MAX_LISTED = 1_000


@dataclass
class ScanReport:
    """What a scan found, in files.

    Attributes:
        files: audio files on disk that could be cataloged.
        bytes: their size.
        new, changed, unchanged: of those.
        returned: found again, unchanged, after having been missing or offloaded.
        touched: of the unchanged, those that got a new mtime and were read to tell.
        missing: known files that this scan found gone from the disk.
        excluded: known files that are left out from now on: a rule, or a link, says so.
        left_out: files, and folders with all that is in them, that rules leave out.
        left_out_paths: at most 1,000 of them.
        problems: what could not be taken as it is, or not be read whole, at most 1,000 of them.
        problem_count: all of them.
        reread: of the unchanged, those whose tags were read again.
        unread_tags: cataloged files, of this scan or an earlier one, whose tags could not be
            read; at most 1,000 of them.
        unread_tag_count: all of them.
        batches: keys of the batches made for the new files.
    """

    files: int = 0
    bytes: int = 0
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    returned: int = 0
    touched: int = 0
    missing: int = 0
    excluded: int = 0
    left_out: int = 0
    reread: int = 0
    problem_count: int = 0
    problems: list[Problem] = field(default_factory=list)
    left_out_paths: list[str] = field(default_factory=list)
    missing_paths: list[str] = field(default_factory=list)
    unread_tag_count: int = 0
    unread_tags: list[UnreadTags] = field(default_factory=list)
    batches: list[str] = field(default_factory=list)


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
    require_apart(folders, rows.known_roots(catalog))
    if follow_links is not None:
        set_follows_links(catalog, follow_links)
    within = rows.limits_of_links(catalog, map(str, folders))
    for root in folders:
        unseen = _Unseen()
        walked = _readable(walk(root, rules=rules, within=within), unseen, report)
        recorder = _Recorder(catalog, root, report, unseen, leaves_out(root, rules), reread)
        _scan_root(catalog, root, walked, recorder, report, allow_empty, progress)
    report.batches = rows.make_batches(
        catalog, max_files=batch_max_files, max_bytes=batch_max_bytes
    )
    report.unread_tag_count, report.unread_tags = unread_tags(catalog, _MAX_LISTED)
    progress(report)
    return report


def require_apart(roots: Sequence[Path], known: Sequence[str]) -> None:
    """Raise a ConfigurationError if a root overlaps another one that was scanned before."""
    for root in roots:
        for other in (Path(k) for k in known if Path(k) not in roots):
            if lies_inside(root, other) or lies_inside(other, root):
                raise ConfigurationError(
                    f"library root {root} overlaps {other}, which the catalog knows:"
                    " files in both would be cataloged and uploaded twice",
                    hint=f"scan {other} as before",
                )


def _scan_root(
    catalog: Catalog,
    root: Path,
    found_files: Iterator[FoundFile],
    recorder: _Recorder,
    report: ScanReport,
    allow_empty: bool,
    progress: Progress,
) -> None:
    rows.meet_rows_of_other_programs(catalog, str(root))
    for file, why in recover_if_alone(catalog, str(root)).problems.items():
        _note(report, Problem(file.absolute_path, why))
    first = next(found_files, None)
    if first is None and not allow_empty:
        require_never_filled(catalog, root, recorder.is_left_out)
    on_disk = chain([first] if first else [], found_files)
    for step, (found, known) in enumerate(_merge(on_disk, rows.known_files(catalog, str(root)))):
        if found is not None:
            report.files += 1
            report.bytes += found.size_bytes
        if found is None:
            assert known is not None
            recorder.gone(known)
        elif known is None:
            recorder.new(found)
        else:
            recorder.both(found, known)
        if step % 500 == 0:
            progress(report)
    recorder.flush()


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


def _readable(
    walked: Iterator[FoundFile | Problem | LeftOut], unseen: _Unseen, report: ScanReport
) -> Iterator[FoundFile]:
    """The files; everything else goes to the report, and what it hides to `unseen`."""
    for item in walked:
        if isinstance(item, FoundFile):
            yield item
        elif isinstance(item, LeftOut):
            report.left_out += 1
            if len(report.left_out_paths) < _MAX_LISTED:
                report.left_out_paths.append(printable(item.path))
            unseen.add(item.path, left_out=True)
        else:
            _note(report, item)
            if item.hides is not None:
                unseen.add(item.hides, left_out=item.left_out)


class _Unseen:
    """Where the walk could not look, or was not to.

    It is ahead of the merge and sorted, so all that matters for a path is already here, and the
    last entry before the path decides.
    """

    def __init__(self) -> None:
        self._places: list[str] = []
        self._left_out: list[bool] = []

    def add(self, place: str, *, left_out: bool) -> None:
        """Note a file, or a folder, which ends with a slash."""
        self._places.append(place)
        self._left_out.append(left_out)

    def covers(self, path: str) -> bool:
        """Whether the path is one of them, or lies in one."""
        return self._at(path) is not None

    def is_left_out(self, path: str) -> bool:
        """Whether, besides, it is not part of the library."""
        at = self._at(path)
        return at is not None and self._left_out[at]

    def _at(self, path: str) -> int | None:
        at = bisect_right(self._places, path) - 1
        if at < 0:
            return None
        place = self._places[at]
        inside = path.startswith(place) if place.endswith("/") else path == place
        return at if inside else None


def _note(report: ScanReport, problem: Problem) -> None:
    report.problem_count += 1
    if len(report.problems) < _MAX_LISTED:
        report.problems.append(problem)


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


class _Recorder:
    """Collects the differences of one root and writes them in chunks."""

    def __init__(
        self,
        catalog: Catalog,
        root: Path,
        report: ScanReport,
        unseen: _Unseen,
        leaves_out: Callable[[str], bool],
        reread: bool,
    ) -> None:
        self._catalog = catalog
        self._root = root
        self._report = report
        self._unseen = unseen
        self._leaves_out = leaves_out
        self._reread = reread
        self._facts: list[FileFacts] = []
        self._again: list[ReadAgain] = []
        self._seen: list[tuple[KnownFile, FoundStat]] = []
        self._gone: list[KnownFile] = []
        self._excluded: list[KnownFile] = []

    def new(self, found: FoundFile) -> None:
        self._report.new += 1
        self._record(self._read(found, None))

    def both(self, found: FoundFile, known: KnownFile) -> None:
        if known.status == "offloading":
            self._report.unchanged += 1  # it is about to be removed: not ours to judge
        elif found.size_bytes == known.size_bytes and found.mtime_ns == known.mtime_ns:
            if known.present:
                self._report.unchanged += 1
                if self._reread or known.unreadable:
                    self._read_again(found, known)
            else:
                self._report.returned += 1
                self._see(known, found)
        elif self._is_first_met(found, known):
            self._report.unchanged += 1
            self._see(known, found)
        elif found.size_bytes == known.size_bytes and self._same_content(found, known):
            self._report.unchanged += 1
            self._report.touched += 1
            self._see(known, found)
        else:
            self._report.changed += 1
            self._record(self._read(found, known))

    def gone(self, known: KnownFile) -> None:
        """A known file was not found: it is left out, cannot be seen, or is gone."""
        if known.status not in ("active", "missing", "excluded"):
            return
        if self.is_left_out(known.path):
            if known.status != "excluded":
                self._report.excluded += 1
                self._excluded.append(known)
                if len(self._excluded) >= _CHUNK:
                    self.flush()
            return
        if known.status == "missing" or self._unseen.covers(known.path):
            return
        self._report.missing += 1
        if len(self._report.missing_paths) < _MAX_LISTED:
            self._report.missing_paths.append(str(self._root / known.path))
        self._gone.append(known)
        if len(self._gone) >= _CHUNK:
            self.flush()

    def is_left_out(self, path: str) -> bool:
        """Whether a path that was not found is not part of the library, there or not."""
        return self._unseen.is_left_out(path) or self._leaves_out(path)

    def flush(self) -> None:
        """Write what has been collected."""
        if self._facts:
            rows.record_files(self._catalog, str(self._root), self._facts)
        if self._seen:
            rows.mark_seen(self._catalog, str(self._root), self._seen)
        if self._gone:
            locations.mark(self._catalog, [k.location_id for k in self._gone], "gone")
        if self._excluded:
            left_out = [k.location_id for k in self._excluded]
            locations.mark(self._catalog, left_out, "excluded")
        if self._again:
            record_tags(self._catalog, str(self._root), self._again)
        self._facts, self._seen, self._again = [], [], []
        self._gone, self._excluded = [], []

    def _same_content(self, found: FoundFile, known: KnownFile) -> bool:
        """Whether a file with a new mtime still has the content that the catalog knows."""
        if known.sha256 is None:
            return False
        try:
            return sha256_of(self._root / found.path) == known.sha256
        except OSError:
            return False  # reading its tags will report it

    @staticmethod
    def _is_first_met(found: FoundFile, known: KnownFile) -> bool:
        """Whether this is a row of another program that says nothing against the file on disk."""
        if known.mtime_ns is not None or known.has_key:
            return False
        return known.sha256 is None and known.size_bytes in (None, found.size_bytes)

    def _see(self, known: KnownFile, found: FoundFile) -> None:
        self._seen.append((known, FoundStat(found.size_bytes, found.mtime_ns)))
        if len(self._seen) >= _CHUNK:
            self.flush()

    def _record(self, facts: FileFacts) -> None:
        self._facts.append(facts)
        if len(self._facts) >= _CHUNK:
            self.flush()

    def _read_again(self, found: FoundFile, known: KnownFile) -> None:
        self._report.reread += 1
        facts = self._read(found, known)
        self._again.append(ReadAgain(known, facts, guessed_titles(Path(found.path))))
        if len(self._again) >= _CHUNK:
            self.flush()

    def _read(self, found: FoundFile, known: KnownFile | None) -> FileFacts:
        path = self._root / found.path
        tags, trouble = read_tags(path)
        if trouble:
            _note(self._report, Problem(found.path, trouble))
        return FileFacts(
            path=found.path,
            absolute_path=str(path),
            size_bytes=found.size_bytes,
            mtime_ns=found.mtime_ns,
            format=tags.format,
            replaces=known,
            song=tags.song,
            artists=tags.artists,
            tags_error=trouble,
        )
