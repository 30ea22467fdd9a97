"""Which objects of a backend are old weight, as the catalog says.

Old weight is an object of ours that no file has its content from any more:

- the file is active under another key there (`moved`; `detour` below `.catalogsync/moves/`);
- the file has newer content, which is there (`changed`; `expired` below `.catalogsync/old/`);
- the file, or whatever it has become, is forgotten (`forgotten`).

None is while another location that stands for something names its key, on any backend that may be
on the same bucket, nor while an upload to it, or from it, waits or goes on; nor while a file that
is wanted has the same content, and is known to be whole nowhere. The one statement here makes the
plan, and is asked once more in the transaction that marks what is about to be deleted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import count
from typing import Any, NamedTuple

import sqlalchemy as sa

from catalogsync_assets.core.catalog import keys, locations, presence, remote_copies
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.invalid_rows import GUARDS, checked
from catalogsync_assets.core.catalog.remote_copies import RemoteCopy
from catalogsync_assets.core.prune.report import Reason
from catalogsync_assets.core.stores.backend import MOVES, REPLACED, ObjectBackend

#: File assets that are looked through at a time.
_PAGE = 500


@dataclass(frozen=True)
class Rules:
    """What may go."""

    superseded: bool  #: what has moved or changed
    forgotten: bool  #: what is forgotten
    older_than: timedelta  #: since it came to be so
    keep_replaced: timedelta  #: how long copies of replaced contents are kept, whatever the others

    def grace(self, reason: Reason) -> timedelta | None:
        """How long it must have been so; None if it is not to go at all."""
        if reason in ("expired", "detour"):
            return self.keep_replaced
        chosen = self.forgotten if reason == "forgotten" else self.superseded
        return self.older_than if chosen else None


class Candidate(NamedTuple):
    """An object that may go."""

    copy: RemoteCopy
    size_bytes: int
    reason: Reason
    since: datetime  #: when it came to be so; UTC
    written_until: datetime  #: its object was written by then; UTC
    #: Objects on the same backend of which one must be proven before it goes; none where nothing
    #: need stand in for it.
    successors: tuple[RemoteCopy, ...]


class Verdict(NamedTuple):
    """What the catalog says of an object that stands for no current file."""

    size_bytes: int
    candidate: Candidate | None  #: None if it stays
    #: Why it stays: `Young`, `Needed`, `NoETag`; empty where it is not asked for.
    code: str = ""


class _Row(NamedTuple):
    """A location that may be old weight, as `_OLD` gives it; times as the database does."""

    id: int
    asset: int
    locator: str
    size: int | None
    sha256: str | None
    etag: str | None
    status: str
    since: Any  #: since when it has its status
    verified_at: Any
    updated_at: Any
    created_at: Any
    next_id: int | None  #: the newer content of the file
    is_current: bool  #: whether the file asset is more than what a path once held
    is_forgotten: bool
    forgotten_since: Any
    changed_since: Any  #: when the last path that held it came to hold something else
    is_last: bool  #: whether a wanted file has its content, and is known to be whole nowhere


_LOCAL = "(SELECT b.id FROM storage_backends b WHERE b.backend_type = 'local')"
_SINCE = "COALESCE({0}.status_since, {0}.updated_at, {0}.created_at)"
_LATEST = f"""
(SELECT MAX({_SINCE.format("g")}) FROM file_locations g
 WHERE g.file_asset_id = {{asset}} AND g.status = '{{status}}' AND g.backend_id IN {_LOCAL})
"""
# Whether a location `n` names the key of `l` in its own right. One that is superseded there does
# only as long as its file has nothing else; of several that are, the latest tells what is there.
_NAMED = f"""
(EXISTS (SELECT 1 FROM file_locations n
         WHERE n.backend_id IN :sharing AND n.container_name IN :buckets AND n.locator = l.locator
           AND n.id <> l.id AND (n.status NOT IN ('removed', 'superseded')
                OR (n.file_asset_id <> l.file_asset_id AND {keys.STANDS})))
 OR EXISTS (SELECT 1 FROM file_locations n
         WHERE n.backend_id IN :sharing AND n.container_name IS NULL AND n.locator = l.locator
           AND n.id <> l.id AND n.status <> 'removed')
 OR EXISTS (SELECT 1 FROM file_locations n
         WHERE n.backend_id = :backend AND n.container_name = :bucket AND n.locator = l.locator
           AND n.id <> l.id AND n.status = 'superseded' AND l.status = 'superseded'
           AND {_SINCE.format("n")} > {_SINCE.format("l")})
 OR l.locator IN (SELECT t.target_locator FROM upload_tasks t
                  WHERE t.target_backend_id IN :sharing
                    AND t.status IN ('pending', 'running', 'failed'))
 OR l.id IN (SELECT t.source_location_id FROM upload_tasks t
             WHERE t.target_backend_id IN (SELECT id FROM storage_backends)
               AND t.status IN ('pending', 'running') AND t.source_location_id IS NOT NULL)
 OR l.locator IN (SELECT m.locator FROM multipart_uploads m WHERE m.backend_id IN :sharing))
"""
_LAST = f"""
EXISTS (SELECT 1 FROM file_assets w
        WHERE w.size_bytes = f.size_bytes AND w.sha256 = f.sha256 AND w.sha256 <> ''
          AND w.id <> f.id AND {presence.current_sql("w.id")}
          AND NOT EXISTS (SELECT 1 FROM file_locations a
                          WHERE a.file_asset_id = w.id AND a.status = 'active'))
"""
_OLD = f"""
SELECT l.id, f.id, l.locator, COALESCE(f.size_bytes, l.size_bytes),
       NULLIF(f.sha256, ''), NULLIF(l.etag, ''), l.status,
       {_SINCE.format("l")}, l.verified_at, l.updated_at, l.created_at,
       f.superseded_by_id,
       {presence.current_sql(or_forgotten=True)},
       NOT {presence.NOT_FORGOTTEN},
       {_LATEST.format(asset="f.id", status="forgotten")},
       {_LATEST.format(asset="f.id", status="superseded")},
       {_LAST}
       {GUARDS.format(location="l")}
FROM {{which}} JOIN file_assets f ON f.id = l.file_asset_id
WHERE l.backend_id = :backend AND COALESCE(l.container_name, '') = :bucket
  AND l.status IN ('active', 'superseded') AND {{condition}} AND NOT {_NAMED}
ORDER BY l.file_asset_id, l.id
"""
_PAST = f"""
SELECT DISTINCT x.file_asset_id AS id FROM file_locations x
WHERE x.status IN ('superseded', 'forgotten') AND x.file_asset_id > :after
ORDER BY x.file_asset_id LIMIT {_PAGE}
"""
_UPTO = sa.text(f"SELECT MAX(p.id) FROM ({_PAST}) p")
_LISTS = ("sharing", "buckets")


def _bound(which: str, condition: str, *lists: str) -> sa.TextClause:
    parameters: list[sa.BindParameter[Any]] = [
        sa.bindparam(name, expanding=True) for name in (*_LISTS, *lists)
    ]
    return sa.text(_OLD.format(which=which, condition=condition)).bindparams(*parameters)


# From the files to their places: SQLite alone would read all that the backend holds, for each page;
# the COALESCE keeps it from the index by place.
_OF_A_PAGE = _bound(f"({_PAST}) p CROSS JOIN file_locations l", "l.file_asset_id = p.id")
_BY_ID = _bound("file_locations l", "l.id IN :ids", "ids")
_NEXT = sa.text(f"""
SELECT f.id, f.superseded_by_id, NOT {presence.NOT_FORGOTTEN},
       {_LATEST.format(asset="f.id", status="forgotten")}
FROM file_assets f WHERE f.id IN :ids
""").bindparams(sa.bindparam("ids", expanding=True))


class _End(NamedTuple):
    """What a file has become."""

    id: int
    is_forgotten: bool
    forgotten_since: Any


@dataclass(frozen=True)
class OldWeight:
    """The old weight of a backend, by some rules."""

    backend: ObjectBackend
    rules: Rules
    sharing: Collection[ObjectBackend]  #: the backends that may be on the same bucket, this one too

    def verdicts(self, catalog: Catalog, *, pages: int | None = None) -> Iterator[Verdict | None]:
        """All of it, in order of file asset; read in pages, each a short transaction.

        Args:
            pages: at most so many, each of some hundred files with a past; None at the end of them
                says that there are more.
        """
        after: int | None = 0
        for page in count():
            if page == pages:
                yield None
                return
            with catalog.read() as connection:
                values = {**self._place(), "after": after}
                rows = checked(catalog, connection.execute(_OF_A_PAGE, values))
                found = self._judge(connection, list(map(_Row._make, rows)))
                after = connection.scalar(_UPTO, {"after": after})
            yield from found
            if after is None:
                return

    def begin(self, catalog: Catalog, location_ids: Sequence[int]) -> list[Candidate]:
        """Mark those of these that still may go as about to be deleted, in one transaction.

        From now on nobody puts anything at their keys.
        """
        with catalog.transaction() as connection:
            values = {**self._place(), "ids": list(location_ids)}
            rows = checked(catalog, connection.execute(_BY_ID, values))
            found = self._judge(connection, list(map(_Row._make, rows)))
            chosen = [v.candidate for v in found if v.candidate is not None]
            locations.apply(connection, "prune", [c.copy.location_id for c in chosen])
        return chosen

    def _place(self) -> dict[str, Any]:
        return {
            "backend": self.backend.id,
            "bucket": self.backend.bucket,
            "sharing": [b.id for b in self.sharing],
            "buckets": sorted({b.bucket for b in self.sharing}),
        }

    def _judge(self, connection: sa.Connection, rows: Sequence[_Row]) -> list[Verdict]:
        if not rows:
            return []
        ends = _ends(connection, {row.next_id for row in rows if row.next_id is not None})
        assets = {row.asset for row in rows} | {end.id for end in ends.values()}
        there = remote_copies.copies_of(connection, assets, backend_ids=[self.backend.id])
        now = datetime.now(timezone.utc).replace(tzinfo=None)
        judged = (self._verdict(row, ends.get(row.next_id or 0), there, now) for row in rows)
        return [verdict for verdict in judged if verdict is not None]

    def _verdict(
        self,
        row: _Row,
        end: _End | None,
        there: dict[int, list[RemoteCopy]],
        now: datetime,
    ) -> Verdict | None:
        location_id, asset, key = row[:3]
        size = row.size or 0
        name = key.removeprefix(self.backend.key_prefix)
        others = [c for c in there.get(asset, ()) if c.location_id != location_id]
        may: list[tuple[Reason, Any, Sequence[RemoteCopy]]] = []
        if row.status == "superseded" and others:
            if name.startswith(REPLACED):
                return None  # the file has this content again, and may be about to lose it again
            may.append(("detour" if name.startswith(MOVES) else "moved", row.since, others))
        if not row.is_current and end is not None and end.id != asset:
            since = row.since if row.status == "superseded" else row.changed_since
            newer = [c for c in there.get(end.id, ()) if c.key != key]
            if newer:
                may.append(("expired" if name.startswith(REPLACED) else "changed", since, newer))
            if end.is_forgotten:
                may.append(("forgotten", end.forgotten_since, ()))
        if row.is_forgotten:
            may.append(("forgotten", row.forgotten_since, ()))
        if not may:
            is_live = row.status == "active" and (row.is_current or row.next_id is None)
            return None if is_live else Verdict(size, None, "Needed")
        copy = RemoteCopy(
            *(location_id, asset, self.backend.id, self.backend.bucket, key),
            *(row.size, row.sha256, row.etag, row.status),
        )
        due: list[tuple[Reason, datetime, Sequence[RemoteCopy]]] = []
        chosen = False
        for reason, text, successors in may:
            since, grace = _moment(text), self.rules.grace(reason)
            chosen = chosen or grace is not None
            if since is not None and grace is not None and since + grace <= now:
                due.append((reason, since, successors))
        if not due:
            return Verdict(size, None, "Young") if chosen else None
        return _chosen(row, copy, size, due)


def _chosen(
    row: _Row,
    copy: RemoteCopy,
    size: int,
    due: Sequence[tuple[Reason, datetime, Sequence[RemoteCopy]]],
) -> Verdict:
    """The verdict on what may go, as far as its age is concerned, for one or more reasons."""
    if row.is_last:
        return Verdict(size, None, "Needed")
    known = [_moment(t) for t in (row.verified_at, row.updated_at, row.created_at)]
    until = max((moment for moment in known if moment), default=None)
    if not row.etag or until is None:
        return Verdict(size, None, "NoETag")
    # Any reason will do. What stands in by one of them may be old weight by another, and go in this
    # very run.
    reason, since, proofs = next((d for d in due if not d[2]), due[0])
    if proofs:
        proofs = [copy for _, _, successors in due for copy in successors]
    return Verdict(size, Candidate(copy, size, reason, since, until, tuple(proofs)))


def _ends(connection: sa.Connection, assets: Collection[int]) -> dict[int, _End]:
    """What these file assets have become by now, by the asset; without what goes in a circle."""
    known: dict[int, tuple[int | None, bool, Any]] = {}
    wanted = set(assets)
    while wanted:
        found = connection.execute(_NEXT, {"ids": sorted(wanted)}).all()
        known |= {row[0]: (row[1], bool(row[2]), row[3]) for row in found}
        following = {next_id for next_id, *_ in known.values() if next_id is not None}
        wanted = following - known.keys() - wanted
    ends = {}
    for asset in assets & known.keys():
        at, met = asset, set[int]()
        while at not in met and (next_id := known[at][0]) in known:
            met.add(at)
            assert next_id is not None
            at = next_id
        if at not in met:
            ends[asset] = _End(at, *known[at][1:])
    return ends


def _moment(text: Any) -> datetime | None:
    """A time of the catalog; None where another program has left something else there."""
    if isinstance(text, datetime):
        return text
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo is None else found.astimezone(timezone.utc).replace(tzinfo=None)
