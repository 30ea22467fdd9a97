"""Takes over a bucket that another tool has filled: what holds a file of ours is recorded as such.

Nothing is sent, and nothing in the bucket is changed. The bucket is listed; each key that is a
file's is compared with it (`evidence`), and recorded if it holds it.
"""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_left
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

from catalogsync_assets.core.adopt import queries
from catalogsync_assets.core.adopt.evidence import Evidence, compare
from catalogsync_assets.core.adopt.queries import Wanted
from catalogsync_assets.core.backends.pruning import no_pruning
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.upload_queue import Uploaded
from catalogsync_assets.core.errors import SourceError, StoreError
from catalogsync_assets.core.runner.limiter import ConcurrencyLimiter
from catalogsync_assets.core.runner.report import MOST_LISTED
from catalogsync_assets.core.runner.run import Run, reporting
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.objects import ListedObject
from catalogsync_assets.core.stores.retry import Retries
from catalogsync_assets.core.stores.sdk import DEFAULT_WORKERS

#: Objects in a row about which the store would not speak, before it counts as gone.
_SILENT = 3


@dataclass(frozen=True)
class Mismatch:
    """A key that is a file's, and could not be adopted."""

    key: str
    code: str  #: `size`, `content`, `undecided`, or why file or object could not be read
    reason: str


@dataclass
class AdoptReport:
    """What was found. While it runs, the same object is handed to `progress`."""

    backend: str
    dry_run: bool  #: nothing was recorded
    listed: int = 0  #: objects below the backend's prefix
    known: int = 0  #: of those, what the catalog had already
    compared: int = 0  #: those of which it is known what they are to a file
    #: Those that hold a file; recorded, unless it is a dry run.
    adopted: int = 0
    adopted_bytes: int = 0
    by: dict[str, int] = field(default_factory=dict)  #: of the adopted, how many by which proof
    differ: int = 0  #: objects under a file's key with another size or content
    undecided: int = 0  #: those of which it cannot be told without reading
    failed: int = 0  #: those where file or object could not be read
    foreign: int = 0  #: untracked objects: under no current file's key
    lacking: int = 0  #: files that exist and have no object under their key
    #: At most 1,000 of `differ`, `undecided` and `failed`, with reasons.
    mismatches: list[Mismatch] = field(default_factory=list)
    #: At most 1,000 of each.
    foreign_keys: list[str] = field(default_factory=list)
    lacking_keys: list[str] = field(default_factory=list)
    seconds: float = 0.0  #: wall time


Progress = Callable[[AdoptReport], None]
#: An object whose key is a file's, as far as names tell, and that file.
_Candidate = tuple[ListedObject, Wanted]


def adopt(
    catalog: Catalog,
    backend: ObjectBackend,
    *,
    dry_run: bool = False,
    may_read: bool = False,
    workers: int | None = None,
    attempts: int = 5,
    progress: Progress = lambda _: None,
    connect: Callable[[ObjectBackend], StoreClient] = StoreClient,
) -> AdoptReport:
    """Record what a bucket already holds of the library's files. Sends nothing.

    May be stopped at any moment and called again: what is recorded is not compared again.

    Args:
        dry_run: record nothing; files are read all the same.
        may_read: read objects where nothing else tells what they hold.
        workers: objects compared at a time; the backend's own number by default.
        attempts: tries of one request at most.
        progress: called with the report as it stands.
        connect: makes the client of the store.

    Returns:
        What was found. Objects that do not match are in it and do not raise.

    Raises:
        RunAborted: the store refuses everything or has fallen silent.
        CatalogError: something could not be recorded, and the next run finds it again; or another
            process deletes objects.
    """
    count = workers or backend.workers or DEFAULT_WORKERS
    report = AdoptReport(backend.name, dry_run)
    alone = nullcontext() if dry_run else no_pruning(catalog)
    with reporting(report, progress), alone:
        client = connect(replace(backend, workers=count))
        _Run(catalog, backend, client, report, may_read, count, attempts, progress).execute()
    return report


@dataclass(eq=False)
class _Run:
    """One call of `adopt`."""

    catalog: Catalog
    backend: ObjectBackend
    client: StoreClient
    report: AdoptReport
    may_read: bool
    workers: int
    attempts: int
    progress: Progress

    def execute(self) -> None:
        stop = threading.Event()
        limiter = ConcurrencyLimiter(self.workers)
        self._retry = Retries(attempts=self.attempts, pace=limiter, stop=stop)
        self._retry(self.client.probe)
        self._met = array("q")  # files with an object under their key: 8 bytes each
        self._silent = 0
        self._others = queries.other_names(self.catalog)
        pages = self.client.listed(self._retry)
        self._run: Run[_Candidate, Evidence, Uploaded] = Run(
            self.report,
            name="adopt",
            workers=self.workers,
            stop=stop,
            claim=lambda: self._candidates(next(pages, None)),
            work=self._compare,
            take=self._take,
            record=self._record,
            tick=lambda: self.progress(self.report),
            in_order=True,
        )
        self._run.execute()
        self._list_lacking()

    def _candidates(self, page: list[ListedObject] | None) -> list[_Candidate] | None:
        """The objects of a page that may be files; None at the end of the listing."""
        if page is None:
            return None
        keys = [found.key for found in page]
        known, wanted = queries.find(self.catalog, self.backend, keys, self._others)
        self.report.listed += len(page)
        self.report.known += len(known)
        for key in keys:
            if key not in wanted and key not in known:
                self._note_untracked(key)
        candidates = [(found, wanted[found.key]) for found in page if found.key in wanted]
        self._met.extend(
            file.file_asset_id for found, file in candidates if self._is_usual(found, file)
        )
        return candidates

    def _is_usual(self, found: ListedObject, file: Wanted) -> bool:
        """Whether the key is the very one that an upload of the file would take."""
        return found.key == self.backend.key_prefix + file.object_key

    def _note_untracked(self, key: str) -> None:
        self.report.foreign += 1
        if len(self.report.foreign_keys) < MOST_LISTED:
            self.report.foreign_keys.append(key)

    def _compare(self, candidate: _Candidate) -> Evidence:
        found, file = candidate
        return compare(self.client, file, found, retry=self._retry, may_read=self.may_read)

    def _take(self, candidate: _Candidate, outcome: Evidence | BaseException) -> Uploaded | None:
        found, file = candidate
        report = self.report
        if isinstance(outcome, SourceError | StoreError):
            if self._run.is_ending:  # it was stopped, and goes on another time
                return None
            report.compared += 1
            report.failed += 1
            self._note(found.key, outcome.code, outcome.message)
            if isinstance(outcome, StoreError):
                self._silent = self._silent + 1 if outcome.retryable else 0
                if outcome.fatal or self._silent >= _SILENT:
                    self._run.end(outcome)
            return None
        if isinstance(outcome, BaseException):
            raise outcome
        self._silent = 0
        report.compared += 1
        if outcome.kind == "same":
            assert outcome.sha256 is not None
            assert outcome.found is not None
            self._met.append(file.file_asset_id)
            etag, size = outcome.found.etag or None, outcome.found.size_bytes or 0
            task = file.task(found.key, size)
            return Uploaded(task, outcome.sha256, etag, outcome.how, adopted=True)
        if not self._is_usual(found, file):
            self._note_untracked(found.key)  # a name that is only alike
            return None
        if outcome.kind == "undecided":
            report.undecided += 1
        else:
            report.differ += 1
        self._note(found.key, outcome.kind, outcome.detail)
        return None

    def _note(self, key: str, code: str, reason: str) -> None:
        if len(self.report.mismatches) < MOST_LISTED:
            self.report.mismatches.append(Mismatch(key, code, reason))

    def _record(self, found: list[Uploaded]) -> None:
        report = self.report
        if not report.dry_run:
            found = queries.record(self.catalog, self.backend, found)
        for item in found:
            report.adopted += 1
            report.adopted_bytes += item.task.size_bytes
            report.by[item.verified_by] = report.by.get(item.verified_by, 0) + 1

    def _list_lacking(self) -> None:
        met = array("q", sorted(self._met))
        for file_asset_id, key in queries.lacked(self.catalog, self.backend):
            at = bisect_left(met, file_asset_id)
            if at < len(met) and met[at] == file_asset_id:
                continue
            self.report.lacking += 1
            if len(self.report.lacking_keys) < MOST_LISTED:
                self.report.lacking_keys.append(key)
