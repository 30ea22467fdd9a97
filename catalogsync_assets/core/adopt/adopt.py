"""Takes over a bucket that another tool has filled: what holds a file of ours is recorded as such.

Nothing is sent, and nothing in the bucket is changed. The bucket is listed; each key that is a
file's is compared with it by several threads (`evidence`); one thread records, in batches.
"""

from __future__ import annotations

import threading
import time
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial

from catalogsync_assets.core.adopt import queries
from catalogsync_assets.core.adopt.evidence import Evidence, compare
from catalogsync_assets.core.adopt.queries import Wanted
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.upload_queue import Uploaded
from catalogsync_assets.core.errors import RunAborted, SourceError, StoreError
from catalogsync_assets.core.runner.limiter import ConcurrencyLimiter
from catalogsync_assets.core.runner.workers import Workers
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.clients import DEFAULT_WORKERS
from catalogsync_assets.core.stores.listing import listed
from catalogsync_assets.core.stores.objects import ListedObject
from catalogsync_assets.core.stores.retry import Retries

_ATTEMPTS = 5
_FLUSH_ROWS = 500
_FLUSH_SECONDS = 1.0
#: Comparisons under way or waiting, at most.
_AHEAD = 2_000
_MAX_LISTED = 1_000
#: Objects in a row about which the store would not speak, before it counts as gone.
_SILENT = 3


@dataclass(frozen=True)
class Mismatch:
    """A key that is a file's, and could not be adopted.

    Attributes:
        code: `size`, `content`, `undecided`, or why file or object could not be read.
    """

    key: str
    code: str
    reason: str


@dataclass
class AdoptReport:
    """What was found. While it runs, the same object is handed to `progress`.

    Attributes:
        dry_run: nothing was recorded.
        listed: objects below the backend's prefix.
        known: of those, what the catalog had already.
        compared: those of which it is known what they are to a file.
        adopted, adopted_bytes: those that hold a file; recorded, unless it is a dry run.
        by: of the adopted, how many by which proof.
        differ: objects under a file's key with another size or content.
        undecided: those of which it cannot be told without reading.
        failed: those where file or object could not be read.
        foreign: objects under no current file's key.
        lacking: files that exist and have no object under their key.
        mismatches: at most 1,000 of `differ`, `undecided` and `failed`, with reasons.
        foreign_keys, lacking_keys: at most 1,000 of each.
        seconds: wall time.
    """

    backend: str
    dry_run: bool
    listed: int = 0
    known: int = 0
    compared: int = 0
    adopted: int = 0
    adopted_bytes: int = 0
    by: dict[str, int] = field(default_factory=dict)
    differ: int = 0
    undecided: int = 0
    failed: int = 0
    foreign: int = 0
    lacking: int = 0
    mismatches: list[Mismatch] = field(default_factory=list)
    foreign_keys: list[str] = field(default_factory=list)
    lacking_keys: list[str] = field(default_factory=list)
    seconds: float = 0.0


AdoptionAborted = RunAborted
Progress = Callable[[AdoptReport], None]


def adopt(
    catalog: Catalog,
    backend: ObjectBackend,
    *,
    dry_run: bool = False,
    may_read: bool = False,
    workers: int | None = None,
    attempts: int = _ATTEMPTS,
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
        AdoptionAborted: the store refuses everything or has fallen silent.
        CatalogError: something could not be recorded; the next run finds it again.
    """
    count = workers or backend.workers or DEFAULT_WORKERS
    report = AdoptReport(backend.name, dry_run)
    run = _Run(
        catalog, replace(backend, workers=count), may_read, count, attempts, progress, report
    )
    started = time.monotonic()
    try:
        run.execute(connect)
    except StoreError as error:
        raise RunAborted(report, error) from error
    finally:
        report.seconds = time.monotonic() - started
    return report


_Comparison = tuple[ListedObject, Wanted, "Future[Evidence]"]


class _Run:
    """One call of `adopt`."""

    def __init__(
        self,
        catalog: Catalog,
        backend: ObjectBackend,
        may_read: bool,
        workers: int,
        attempts: int,
        progress: Progress,
        report: AdoptReport,
    ) -> None:
        self._catalog = catalog
        self._backend = backend
        self._may_read = may_read
        self._workers = workers
        self._progress = progress
        self._report = report
        self._stop = threading.Event()
        self._retry = Retries(attempts=attempts, pace=ConcurrencyLimiter(workers), stop=self._stop)
        self._under_way: deque[_Comparison] = deque()
        self._found: list[Uploaded] = []
        self._last_flush = time.monotonic()
        self._met = array("q")  # files with an object under their key: 8 bytes each
        self._silent = 0
        self._others: dict[str, int] = {}

    def execute(self, connect: Callable[[ObjectBackend], StoreClient]) -> None:
        client = connect(self._backend)
        self._retry(client.probe)
        self._others = queries.other_names(self._catalog)
        pool = Workers(self._workers, "adopt")
        try:
            for page in listed(client, self._retry):
                self._begin(client, pool, page)
                while len(self._under_way) > _AHEAD:
                    self._take_one()
                self._progress(self._report)
            while self._under_way:
                self._take_one()
        finally:
            # Also on Ctrl-C: what has been proven is recorded.
            self._stop.set()
            pool.close()
            self._flush()
        self._list_lacking()
        self._progress(self._report)

    def _begin(self, client: StoreClient, pool: Workers, page: list[ListedObject]) -> None:
        known, wanted = queries.find(
            self._catalog, self._backend, [o.key for o in page], self._others
        )
        report = self._report
        report.listed += len(page)
        report.known += len(known)
        for found in page:
            file = wanted.get(found.key)
            if file is not None:
                if self._is_usual(found, file):
                    self._met.append(file.file_asset_id)
                look = partial(
                    compare, client, file, found, retry=self._retry, may_read=self._may_read
                )
                self._under_way.append((found, file, pool.submit(look)))
            elif found.key not in known:
                self._note_foreign(found.key)

    def _is_usual(self, found: ListedObject, file: Wanted) -> bool:
        """Whether the key is the very one that an upload of the file would take."""
        return found.key == self._backend.key_prefix + file.object_key

    def _note_foreign(self, key: str) -> None:
        self._report.foreign += 1
        if len(self._report.foreign_keys) < _MAX_LISTED:
            self._report.foreign_keys.append(key)

    def _take_one(self) -> None:
        found, file, comparison = self._under_way.popleft()
        report = self._report
        try:
            evidence = comparison.result()
        except SourceError as error:
            report.failed += 1
            self._note(found.key, error.code, error.message)
        except StoreError as error:
            report.failed += 1
            self._note(found.key, error.code, error.message)
            self._silent = self._silent + 1 if error.retryable else 0
            if error.fatal or self._silent >= _SILENT:
                raise
        else:
            self._silent = 0
            self._judge(found, file, evidence)
        report.compared += 1
        if report.compared % 200 == 0:
            self._progress(report)
        late = time.monotonic() - self._last_flush > _FLUSH_SECONDS
        if len(self._found) >= _FLUSH_ROWS or (self._found and late):
            self._flush()

    def _judge(self, found: ListedObject, file: Wanted, evidence: Evidence) -> None:
        if evidence.kind == "same":
            assert evidence.sha256 is not None
            assert evidence.found is not None
            self._met.append(file.file_asset_id)
            seen = evidence.found
            task = file.task(found.key, seen.size_bytes or 0)
            self._found.append(
                Uploaded(task, evidence.sha256, seen.etag or None, evidence.how, adopted=True)
            )
            return
        if not self._is_usual(found, file):
            self._note_foreign(found.key)  # a name that is only alike
            return
        if evidence.kind == "undecided":
            self._report.undecided += 1
        else:
            self._report.differ += 1
        self._note(found.key, evidence.kind, evidence.detail)

    def _note(self, key: str, code: str, reason: str) -> None:
        if len(self._report.mismatches) < _MAX_LISTED:
            self._report.mismatches.append(Mismatch(key, code, reason))

    def _flush(self) -> None:
        found, self._found = self._found, []
        if found and not self._report.dry_run:
            found = queries.record(self._catalog, self._backend, found)
        self._last_flush = time.monotonic()
        report = self._report
        for item in found:
            report.adopted += 1
            report.adopted_bytes += item.task.size_bytes
            report.by[item.verified_by] = report.by.get(item.verified_by, 0) + 1

    def _list_lacking(self) -> None:
        met = array("q", sorted(self._met))
        for file_asset_id, key in queries.lacked(self._catalog, self._backend):
            at = bisect_left(met, file_asset_id)
            if at < len(met) and met[at] == file_asset_id:
                continue
            self._report.lacking += 1
            if len(self._report.lacking_keys) < _MAX_LISTED:
                self._report.lacking_keys.append(key)
