"""Writes down what was found, and decides when an audit cannot go on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from catalogsync_assets.core.audit import queries
from catalogsync_assets.core.audit.listing import Seen
from catalogsync_assets.core.audit.queries import Audit, Outcome
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.errors import AccessRefusedError, StoreError, StoreUnavailableError
from catalogsync_assets.core.stores.backend import ObjectBackend

#: So many files gone, and none there: more likely the wrong bucket than a loss.
_IMPLAUSIBLE = 100


class Done(NamedTuple):
    """What became of one key, or of a page of a listing."""

    outcomes: list[Outcome]
    counts: Counter[str]  #: of what needs no rows
    position: str | None  #: where the audit goes on once this is written; None to leave it


@dataclass(eq=False)
class Recorder:
    """What one audit has found, on its way into the catalog."""

    catalog: Catalog
    backend: ObjectBackend
    audit: Audit
    silences: int  #: after so many in a row, the store is asked whether it is there
    allow_empty: bool  #: write down what is missing even if nothing else is there
    probe: Callable[[], object]  #: raises a StoreError if the store is gone
    seen: Seen | None  #: of a listing, what was met; what becomes of single objects is added

    def __post_init__(self) -> None:
        self.counts = self.audit.counts  #: as far as it is written
        self._position = self.audit.position
        self._held: list[Done] = []
        self._gone = 0
        #: What the store last said instead of an answer, and how many times in a row.
        self._doubt: StoreError | None = None
        self._doubts = 0
        self._has_answered = any(n for kind, n in self.counts.items() if kind != "unreadable")
        known = ("ok", "size", "content", "listed")
        self._any_there = self.allow_empty or any(self.counts[kind] for kind in known)

    def heed(self, outcomes: Sequence[Outcome]) -> None:
        """Notice whether the store still shows us objects.

        Raises:
            StoreError: it refuses, or is gone.
        """
        doubt = next((o.error for o in outcomes if o.error and _is_doubtful(o.error)), None)
        if doubt is None:
            self._doubts, self._has_answered = 0, True
            return
        if doubt.fatal and doubt.code != "AccessDenied":
            raise doubt
        self._doubt = doubt
        self._doubts += 1
        if self._doubts >= self.silences:
            self._resolve_doubts()

    def _resolve_doubts(self) -> None:
        """Find out whether it is the store that says nothing, or these keys.

        Raises:
            StoreError: it is the store.
        """
        if isinstance(self._doubt, AccessRefusedError) and not self._has_answered:
            raise self._doubt
        self.probe()
        self._doubts = 0

    def take(
        self,
        outcomes: list[Outcome],
        counts: Counter[str] | None = None,
        position: str | None = None,
    ) -> list[Done] | None:
        """What is to be recorded by now; None while all files of ours were found to be gone.

        For the arguments see `Done`.

        Raises:
            StoreError: so many are gone that this must be another store.
        """
        done = Done(outcomes, counts or Counter(), position)
        self._held.append(done)
        if self.seen is not None:
            self.seen.add(o.expected.location_id for o in outcomes if o.expected is not None)
        # A refusal or a silence is no sign that the store is the right one, either.
        ours = [o.kind for o in outcomes if o.expected is not None]
        self._any_there |= bool(done.counts["ok"]) or not {"missing", "unreadable"}.issuperset(ours)
        if not self._any_there:
            self._gone += ours.count("missing")
            if self._gone >= _IMPLAUSIBLE:
                raise self._implausible()
            return None
        held, self._held = self._held, []
        return held

    def record(self, results: Sequence[list[Done]]) -> None:
        """Write down what was found, what follows from it, and where the audit goes on."""
        done = [each for result in results for each in result]
        position = next((d.position for d in reversed(done) if d.position), self._position)
        self.counts = queries.record(
            self.catalog,
            self.audit,
            [outcome for each in done for outcome in each.outcomes],
            sum((each.counts for each in done), self.counts),
            position=position,
            seen=self.seen.kept() if self.seen is not None else None,
        )
        self._position = position

    def finish(self) -> None:
        """Write down what was held back: nothing more will come.

        Raises:
            StoreError: the store has not said anything of use in the end.
        """
        if self._doubts:
            self._resolve_doubts()
        if self._held:
            self.record([self._held])
            self._held = []

    def _implausible(self) -> StoreError:
        return StoreError(
            f"backend {self.backend.name!r}: bucket {self.backend.bucket!r} holds none of the"
            f" first {self._gone:,} files that the catalog has there; nothing was marked",
            code="NothingThere",
            hint="are endpoint, bucket and prefix right? If they are really gone: --allow-empty",
        )


def _is_doubtful(error: StoreError) -> bool:
    """Whether an error may be about the whole store, and not about one key."""
    return isinstance(error, StoreUnavailableError | AccessRefusedError) or error.fatal
