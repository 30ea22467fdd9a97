"""Which files should go, in which order, and when it is enough. Nothing here asks a store."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.offloads import LocalFile
from catalogsync_assets.core.catalog.remote_copies import RemoteCopy
from catalogsync_assets.core.catalog.roots import known_roots
from catalogsync_assets.core.offload.queries import Candidates, with_copies
from catalogsync_assets.core.offload.report import Disk, OffloadReport

#: A page ends at so many files, or with the file that brings it over so many bytes.
_PAGE_FILES = 64
_PAGE_BYTES = 512 * 1024 * 1024
_READ = 512


class Planned(NamedTuple):
    """A file that should go, the objects that hold it as the catalog says, and how many copies it
    needs."""

    file: LocalFile
    copies: list[RemoteCopy]
    needed: int


class Disks:
    """How much is free where the library roots are: at first, and with what has gone since.

    Not asked again: where snapshots keep what is deleted, nothing would ever seem to become free,
    and everything would go.
    """

    def __init__(self, catalog: Catalog, report: OffloadReport) -> None:
        self._report = report
        self._by_root: dict[str, Disk] = {}
        by_device: dict[int, Disk] = {}
        for root in known_roots(catalog):
            try:
                device, free = Path(root).stat().st_dev, shutil.disk_usage(root).free
            except OSError:
                continue  # `removal.inspect` says it of each file
            if device not in by_device:
                by_device[device] = Disk(root, free, free)
                report.rooms.append(by_device[device])
            self._by_root[root] = by_device[device]

    def have_enough(self, file: LocalFile, others: Sequence[Planned] = ()) -> bool:
        """Whether as much as was asked for is free where the file lies, with these others gone."""
        goal, disk = self._report.goal, self._by_root.get(file.root)
        if goal is None or disk is None:
            return False
        coming = sum(o.file.size_bytes for o in others if self._by_root.get(o.file.root) is disk)
        return disk.free + coming >= goal

    @property
    def all_have_enough(self) -> bool:
        """Whether nothing needs to go any more."""
        return self._report.goal is not None and self._report.goal_reached

    def add(self, file: LocalFile) -> None:
        """The file is gone, or would be."""
        if file.root in self._by_root:
            self._by_root[file.root].free += file.size_bytes


def pages(
    catalog: Catalog,
    found: Candidates,
    backend_ids: Collection[int],
    disks: Disks,
    report: OffloadReport,
) -> Iterator[list[Planned]]:
    """The files that should go, in pages that free no more than is needed.

    What becomes of one page is to be told to `disks` before the next is asked for.

    Args:
        backend_ids: whose copies count.
        report: the files that need not go, or that others have removed, are counted as looked at.
    """
    page: list[Planned] = []
    for planned in _read(catalog, found, backend_ids, report):
        file = planned.file
        if page and not disks.have_enough(file) and disks.have_enough(file, page):
            # Whether it will do depends on whether all of these may go.
            yield page
            page = []
        if disks.have_enough(file):
            report.looked_at += 1
            if disks.all_have_enough:
                break
            continue
        page.append(planned)
        if len(page) >= _PAGE_FILES or sum(p.file.size_bytes for p in page) >= _PAGE_BYTES:
            yield page
            page = []
    if page:
        yield page


def _read(
    catalog: Catalog, found: Candidates, backend_ids: Collection[int], report: OffloadReport
) -> Iterator[Planned]:
    for at in range(0, len(found.ids), _READ):
        ids = found.ids[at : at + _READ]
        needed = dict(zip(ids, found.copies[at : at + _READ], strict=True))
        there = with_copies(catalog, ids, backend_ids)
        report.looked_at += len(ids) - len(there)  # others have removed them
        for file, copies in there:
            yield Planned(file, copies, needed[file.location_id])
