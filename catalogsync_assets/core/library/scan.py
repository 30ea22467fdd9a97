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

from catalogsync_assets.core.catalog import library as rows
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.library import FileFacts, FoundStat, KnownFile
from catalogsync_assets.core.digests import sha256_of
from catalogsync_assets.core.errors import ConfigurationError, LibraryError
from catalogsync_assets.core.library.removal import settle_if_alone
from catalogsync_assets.core.library.tags import read_tags
from catalogsync_assets.core.library.walk import FoundFile, Problem, walk
from catalogsync_assets.core.plan.batches import DEFAULT_MAX_BYTES, DEFAULT_MAX_FILES
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
        problems: what was left out or could not be read whole, at most 1,000 of them.
        problem_count: all of them.
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
    problem_count: int = 0
    problems: list[Problem] = field(default_factory=list)
    missing_paths: list[str] = field(default_factory=list)
    batches: list[str] = field(default_factory=list)


Progress = Callable[[ScanReport], None]


def scan(
    catalog: Catalog,
    roots: Sequence[Path],
    *,
    batch_max_files: int = DEFAULT_MAX_FILES,
    batch_max_bytes: int = DEFAULT_MAX_BYTES,
    allow_empty: bool = False,
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
        progress: called every few hundred files with the report as it stands.

    Raises:
        ConfigurationError: a root overlaps another or one scanned before, or its name is not
            UTF-8.
        LibraryError: a root cannot be read, or is empty though the catalog knows files there: a
            disk that is not mounted looks just so. Other roots are not affected.
    """
    report = ScanReport()
    folders = library_roots(roots)
    require_apart(folders, rows.known_roots(catalog))
    for root in folders:
        _scan_root(catalog, root, report, allow_empty, progress)
    report.batches = rows.make_batches(
        catalog, max_files=batch_max_files, max_bytes=batch_max_bytes
    )
    progress(report)
    return report


def require_apart(roots: Sequence[Path], known: Sequence[str]) -> None:
    """Raise a ConfigurationError if a root overlaps another one that was scanned before."""
    for root in roots:
        for other in (Path(k) for k in known if Path(k) not in roots):
            if lies_inside(root, other) or lies_inside(other, root):
                raise ConfigurationError(
                    f"library root {root} overlaps {other}, which the catalog knows:"
                    " the files in both would be cataloged, and uploaded, a second time",
                    hint=f"scan {other} as before",
                )


def _scan_root(
    catalog: Catalog, root: Path, report: ScanReport, allow_empty: bool, progress: Progress
) -> None:
    rows.meet_rows_of_other_programs(catalog, str(root))
    for path, why in settle_if_alone(catalog, str(root)).problems:
        _note(report, Problem(path, why))
    hidden: list[str] = []
    found_files = _readable(walk(root), hidden, report)
    first = next(found_files, None)
    if first is None and not allow_empty:
        require_never_filled(catalog, root)
    recorder = _Recorder(catalog, root, report, hidden)
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


def require_never_filled(catalog: Catalog, root: Path) -> None:
    """Raise a LibraryError if the catalog knows files below a root that was found empty."""
    if any(known.present for known in rows.known_files(catalog, str(root))):
        raise LibraryError(
            f"library root {root} holds no audio file that can be read, but the catalog knows some",
            hint="is its disk mounted? If they are really gone, scan with --allow-empty",
        )


def _readable(
    walked: Iterator[FoundFile | Problem], hidden: list[str], report: ScanReport
) -> Iterator[FoundFile]:
    """The files; what is no file goes to the report, and what it hides to `hidden`."""
    for item in walked:
        if isinstance(item, FoundFile):
            yield item
            continue
        _note(report, item)
        if item.hides is not None:
            hidden.append(item.hides)


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
        self, catalog: Catalog, root: Path, report: ScanReport, hidden: Sequence[str]
    ) -> None:
        self._catalog = catalog
        self._root = root
        self._report = report
        self._hidden = hidden
        self._facts: list[FileFacts] = []
        self._seen: list[tuple[KnownFile, FoundStat]] = []
        self._gone: list[KnownFile] = []

    def new(self, found: FoundFile) -> None:
        self._report.new += 1
        self._read(found, None)

    def both(self, found: FoundFile, known: KnownFile) -> None:
        if known.status == "offloading":
            self._report.unchanged += 1  # it is about to be removed: not ours to judge
        elif found.size_bytes == known.size_bytes and found.mtime_ns == known.mtime_ns:
            if known.present:
                self._report.unchanged += 1
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
            self._read(found, known)

    def gone(self, known: KnownFile) -> None:
        if not known.present or self._is_hidden(known.path):
            return
        self._report.missing += 1
        if len(self._report.missing_paths) < _MAX_LISTED:
            self._report.missing_paths.append(str(self._root / known.path))
        self._gone.append(known)
        if len(self._gone) >= _CHUNK:
            self.flush()

    def flush(self) -> None:
        """Write what has been collected."""
        if self._facts:
            rows.record_files(self._catalog, str(self._root), self._facts)
        if self._seen:
            rows.mark_seen(self._catalog, str(self._root), self._seen)
        if self._gone:
            rows.mark_missing(self._catalog, self._gone)
        self._facts, self._seen, self._gone = [], [], []

    def _is_hidden(self, path: str) -> bool:
        """Whether the path lies where the walk could not look.

        The walk is ahead of the merge and sorted, so all that matters here is already in
        `hidden`, and its last entry before the path decides.
        """
        at = bisect_right(self._hidden, path)
        return at > 0 and path.startswith(self._hidden[at - 1])

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

    def _read(self, found: FoundFile, known: KnownFile | None) -> None:
        path = self._root / found.path
        tags, trouble = read_tags(path)
        if trouble:
            _note(self._report, Problem(found.path, trouble))
        self._facts.append(
            FileFacts(
                path=found.path,
                absolute_path=str(path),
                size_bytes=found.size_bytes,
                mtime_ns=found.mtime_ns,
                format=tags.format,
                replaces=known,
                song=tags.song,
            )
        )
        if len(self._facts) >= _CHUNK:
            self.flush()
