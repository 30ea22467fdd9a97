"""Compares the library on disk with the catalog, and records the difference.

Both come sorted by path, so the comparison is a merge and memory stays flat. Size, mtime, ctime and
inode decide: a file of which all are as they were is not opened. What is at a path that nobody
knew, or is not as it was, waits until every root has been walked: it may have come from elsewhere
(see `moves`, and `follow` for what becomes of it).
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from catalogsync_assets.core.catalog import files as rows
from catalogsync_assets.core.catalog import roots as roots_
from catalogsync_assets.core.catalog.backends import set_follows_links
from catalogsync_assets.core.catalog.batches import DEFAULT_MAX_BYTES, DEFAULT_MAX_FILES
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.keys import drop_suffixes
from catalogsync_assets.core.catalog.roots import known_roots, limits_of_links, require_apart
from catalogsync_assets.core.catalog.status import unread_tags
from catalogsync_assets.core.errors import LibraryError, UsageError
from catalogsync_assets.core.files.companions import Companions
from catalogsync_assets.core.files.file_systems import FileSystems, file_system_of
from catalogsync_assets.core.files.ignore import Rules, leaves_out
from catalogsync_assets.core.library.follow import follow
from catalogsync_assets.core.library.moves import Moves
from catalogsync_assets.core.library.playlists import bring_in_line
from catalogsync_assets.core.library.root_scan import How, RootScan
from catalogsync_assets.core.library.scan_report import MovedRoot, Progress, ScanReport
from catalogsync_assets.core.library.walk import FoundFile, walk, walk_in_runs
from catalogsync_assets.core.runner.garbage import seldom_collected
from catalogsync_assets.core.runner.report import MOST_LISTED
from catalogsync_assets.core.settings import library_roots


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
    with closing(Moves()) as moves, seldom_collected():
        how = How(reread, rehash, ignore_ctime, accepted)
        seen = list[RootScan]()
        for root in folders:
            one = RootScan(
                *(catalog, root, report, leaves_out(root, rules), how, progress),
                moves if follows else None,
                devices,
                companions,
            )
            walked = partial(walk_in_runs, root, rules=rules, within=within, companions=companions)
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
