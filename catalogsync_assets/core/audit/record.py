"""Collects what was found until it is written, and decides when an audit cannot go on."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from catalogsync_assets.core.audit import queries
from catalogsync_assets.core.audit.listing import Seen
from catalogsync_assets.core.audit.looks import Looked, outcome_of
from catalogsync_assets.core.audit.queries import Audit, Outcome
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.errors import (
    AccessRefusedError,
    CatalogSyncError,
    StoreError,
    StoreUnavailableError,
)
from catalogsync_assets.core.stores.backend import ObjectBackend

_FLUSH_ROWS = 256
_FLUSH_SECONDS = 1.0
#: The same while there are only pages of a listing: some more are soon listed again.
_FLUSH_PAGES_SECONDS = 5.0
#: So many files gone, and none there: more likely the wrong bucket than a loss.
_IMPLAUSIBLE = 100


class Recorder:
    """What one run of an audit has found, on its way into the catalog.

    Attributes:
        counts: of the audit so far, as far as it is written.
    """

    def __init__(
        self,
        catalog: Catalog,
        backend: ObjectBackend,
        audit: Audit,
        *,
        workers: int,
        allow_empty: bool,
        probe: Callable[[], object],
        seen: Seen | None,
    ) -> None:
        """
        Args:
            workers: after so many silences in a row, the store is asked whether it is there.
            allow_empty: write down what is missing even if nothing else is there.
            probe: raises a StoreError if the store is gone.
            seen: of a listing, what was met; what becomes of single objects is added.
        """
        self._catalog = catalog
        self._backend = backend
        self._audit = audit
        self._workers = workers
        self._probe = probe
        self._seen = seen
        self.counts = audit.counts
        self._position = audit.position
        self._done: list[Outcome] = []
        #: Keys of which the store has said nothing since it last said something.
        self._doubtful: list[tuple[str | None, list[Outcome]]] = []
        self._last_doubt: StoreError | None = None
        known = ("ok", "size", "content", "listed")
        self._any_there = allow_empty or any(self.counts[kind] for kind in known)
        self._last_flush = time.monotonic()
        self._closed = False

    def add(self, looked: Looked, *, position: str | None) -> None:
        """Take what became of one key.

        Args:
            position: where the audit goes on once this is written; None to leave it.

        Raises:
            StoreError: the store refuses, or is gone.
        """
        _, found = looked
        outcomes = [outcome_of(known, verdict) for known, verdict in found]
        doubts = [v for _, v in found if isinstance(v, StoreError) and _is_doubtful(v)]
        if doubts:
            self._doubt(doubts[-1], position, outcomes)
            return
        self._settle_doubts()
        self._take(outcomes, position)
        if any(outcome.kind not in ("missing", "unreadable") for outcome in outcomes):
            self._any_there = True
        self.flush_if_due()

    def note(self, outcomes: list[Outcome], counts: Counter[str], *, position: str | None) -> None:
        """Take what a page of a listing told: foreign objects, and what needs no rows."""
        self._any_there |= bool(counts["ok"])
        self._take(outcomes, position)
        self.counts = self.counts + counts
        self.flush_if_due(_FLUSH_PAGES_SECONDS)

    def _doubt(self, error: StoreError, position: str | None, outcomes: list[Outcome]) -> None:
        if error.fatal and error.code != "AccessDenied":
            raise error
        self._last_doubt = error
        self._doubtful.append((position, outcomes))
        if len(self._doubtful) >= self._workers:
            self._resolve_doubts()

    def _resolve_doubts(self) -> None:
        """Find out whether it is the store that says nothing, or these keys.

        Raises:
            StoreError: it is the store.
        """
        answered = bool(self._done) or any(self.counts.values())
        if isinstance(self._last_doubt, AccessRefusedError) and not answered:
            raise self._last_doubt
        self._probe()
        self._settle_doubts()

    def _settle_doubts(self) -> None:
        """What the store would not say was about those keys alone."""
        for position, outcomes in self._doubtful:
            self._take(outcomes, position)
        self._doubtful = []

    def _take(self, outcomes: list[Outcome], position: str | None) -> None:
        self._done += outcomes
        self._position = position or self._position
        if self._seen is not None:
            self._seen.add(o.expected.location_id for o in outcomes if o.expected is not None)

    def flush_if_due(self, seconds: float = _FLUSH_SECONDS) -> None:
        """Write down what there is, if it has waited for so long, or is much."""
        late = time.monotonic() - self._last_flush >= seconds
        if late or len(self._done) >= _FLUSH_ROWS:
            self.flush()

    def flush(self, *, last: bool = False) -> None:
        """Write down what there is; what a silent store leaves open is not part of it.

        Args:
            last: nothing more will come.

        Raises:
            StoreError: at the end, and the store has not said anything of use.
        """
        if self._closed:
            return
        if last and self._doubtful:
            self._resolve_doubts()
        if not self._any_there:
            # A refusal or a silence is no sign that the store is the right one, either.
            gone = sum(outcome.kind == "missing" for outcome in self._done)
            if gone >= _IMPLAUSIBLE:
                raise self._implausible(gone)
            if not last:
                return
        self._last_flush = time.monotonic()
        self.counts = queries.record(
            self._catalog,
            self._audit,
            self._done,
            self.counts,
            position=self._position,
            seen=self._seen.kept() if self._seen is not None else None,
        )
        self._done = []

    def _implausible(self, gone: int) -> CatalogSyncError:
        self._closed = True
        return StoreError(
            f"backend {self._backend.name!r}: bucket {self._backend.bucket!r} holds none of the"
            f" first {gone:,} files that the catalog has there; nothing was marked",
            code="NothingThere",
            hint="are endpoint, bucket and prefix right? If they are really gone: --allow-empty",
        )


def _is_doubtful(error: StoreError) -> bool:
    """Whether an error may be about the whole store, and not about one key."""
    return isinstance(error, StoreUnavailableError | AccessRefusedError) or error.fatal
