"""Lists what a backend holds, and looks at each object of which it is not known what it is."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from catalogsync_assets.core.catalog import remote_copies
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.remote_copies import RemoteCopy
from catalogsync_assets.core.catalog.roots import let_go_roots
from catalogsync_assets.core.errors import StoreError
from catalogsync_assets.core.files.companions import Companions
from catalogsync_assets.core.files.formats import MEDIA_TYPES, extension
from catalogsync_assets.core.rebuild.names import UNNAMED, original_of, path_of
from catalogsync_assets.core.rebuild.objects import inspect
from catalogsync_assets.core.rebuild.record import that_count
from catalogsync_assets.core.rebuild.report import Progress, RebuildReport
from catalogsync_assets.core.rebuild.staging import Item, Staging
from catalogsync_assets.core.runner.report import Failure
from catalogsync_assets.core.runner.run import Run
from catalogsync_assets.core.stores.backend import REPLACED
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.objects import ListedObject
from catalogsync_assets.core.stores.retry import Retry
from catalogsync_assets.core.stores.verify import bare

#: Objects in a row about which the store would not speak, before it counts as gone.
_SILENT = 3
#: An object, and the path that its key stands for.
_Candidate = tuple[ListedObject, str]


@dataclass(eq=False)
class Looking:
    """One listing. In a dry run it counts what there is to look at, and looks at nothing."""

    catalog: Catalog
    client: StoreClient
    staging: Staging
    report: RebuildReport
    workers: int
    stop: threading.Event
    retry: Retry
    progress: Progress

    def execute(self) -> None:
        """Do it; what was learned is in the staging, and what could not be in the report.

        Raises:
            RunAborted: the store refuses everything or has fallen silent.
        """
        self._silent = 0
        self._companions = Companions.of_settings()
        self._roots = let_go_roots(self.catalog)
        pages = self.client.listed(self.retry)
        if self.report.dry_run:
            for page in pages:
                self._candidates(page)
                self.progress(self.report)
            return

        def claim() -> list[_Candidate] | None:
            page = next(pages, None)
            return None if page is None else self._candidates(page)

        self._run: Run[_Candidate, Item | None, Item] = Run(
            self.report,
            name="rebuild",
            workers=self.workers,
            stop=self.stop,
            claim=claim,
            work=self._look,
            take=self._take,
            record=self.staging.add,
            tick=lambda: self.progress(self.report),
        )
        self._run.execute()

    def _candidates(self, page: list[ListedObject]) -> list[_Candidate]:
        """The objects of a page that are not known, each with its path."""
        report = self.report
        keys = [found.key for found in page]
        at: dict[str, list[RemoteCopy]] = {}
        with self.catalog.read() as connection:
            for copy in remote_copies.copies_at(connection, self.client.backend, keys):
                at.setdefault(copy.key, []).append(copy)
        known = {
            key: [(bare(copy.etag), copy.size_bytes) for copy in that_count(copies)]
            for key, copies in at.items()
        }
        for key, seen in self.staging.known(keys).items():
            known.setdefault(key, []).append(seen)
        candidates = []
        for found in page:
            report.listed += 1
            name = found.key.removeprefix(self.client.backend.key_prefix)
            if name.startswith(REPLACED):
                report.kept += 1
            elif any(
                etag == bare(found.etag) and size in (None, found.size_bytes)
                for etag, size in known.get(found.key, ())
            ):
                report.known += 1
            elif name.endswith("/") and not found.size_bytes:
                pass  # what some programs leave in the stead of a folder
            elif (path := path_of(name)) is None:
                report.note_unsafe(found.key)
            elif report.dry_run and not self._is_wanted(path):
                report.foreign += 1
            else:
                report.to_look_at += 1
                report.to_look_at_bytes += found.size_bytes or 0
                candidates.append((found, path))
        return candidates

    def _is_wanted(self, path: str) -> bool:
        """Whether a name alone tells that an object is a file of a library."""
        is_music = extension(path) in MEDIA_TYPES or path.startswith(UNNAMED)
        return is_music or self._kind_of(path) is not None

    def _kind_of(self, path: str) -> str | None:
        return self._companions.kind_of(path.rpartition("/")[2])

    def _look(self, candidate: _Candidate) -> Item | None:
        found, path = candidate
        kind = self._kind_of(path)
        item = inspect(self.client, found.key, path, companion=kind, retry=self.retry)
        if item is None or item.path != path:
            return item
        return item._replace(path=original_of(path, item.owner, self._roots))

    def _take(self, candidate: _Candidate, outcome: Item | BaseException | None) -> Item | None:
        if isinstance(outcome, StoreError):
            self._note_silence(candidate[0].key, outcome)
            return None
        if isinstance(outcome, BaseException):
            raise outcome
        self._silent = 0
        self.report.looked_at += 1
        self.report.foreign += outcome is None
        return outcome

    def _note_silence(self, key: str, error: StoreError) -> None:
        if self._run.is_ending:  # it was stopped, and goes on another time
            return
        self.report.note_failure(Failure(key, error.code, str(error)))
        self._silent = self._silent + 1 if error.retryable else 0
        if error.fatal or self._silent >= _SILENT:
            self._run.end(error)
