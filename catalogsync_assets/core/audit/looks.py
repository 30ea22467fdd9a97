"""Looks at many claims at a time, and says what became of each, in the order in which they came."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, wait
from functools import partial
from itertools import groupby
from operator import attrgetter

from catalogsync_assets.core.audit.expected import Claim
from catalogsync_assets.core.audit.queries import Outcome
from catalogsync_assets.core.errors import StoreError
from catalogsync_assets.core.runner.workers import Workers
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.retry import Retry
from catalogsync_assets.core.stores.verify import Expected, Level, Verdict, check

#: Keys in hand for each worker: one large object must not keep the others waiting.
_AHEAD = 8
#: Seconds after which the caller gets a chance to do something else.
_TICK = 0.25

#: What became of the claims of one key; an error where the store said nothing of use.
Looked = tuple[str, list[tuple[Claim, Verdict | StoreError]]]
_UnderWay = tuple[str, Future[list[tuple[Claim, Verdict | StoreError]]]]


def look_at(
    claims: Iterable[Claim], client: StoreClient, level: Level, *, workers: int, retry: Retry
) -> Generator[Looked | None, None, None]:
    """Check claims, several at a time; None where the next is not ready yet.

    Args:
        claims: those of the same key follow each other.
        retry: calls each request.
    """
    pool = Workers(workers, "verify")
    under_way: deque[_UnderWay] = deque()
    try:
        for key, group in groupby(claims, attrgetter("key")):
            job = partial(_look_at_all, list(group), client, level, retry)
            under_way.append((key, pool.submit(job)))
            if len(under_way) >= workers * _AHEAD:
                yield from _next_of(under_way)
        while under_way:
            yield from _next_of(under_way)
    finally:
        pool.close()


def _next_of(under_way: deque[_UnderWay]) -> Iterator[Looked | None]:
    key, coming = under_way.popleft()
    while True:
        wait([coming], timeout=_TICK)
        if coming.done():
            yield key, coming.result()
            return
        yield None


def _look_at_all(
    claims: list[Claim], client: StoreClient, level: Level, retry: Retry
) -> list[tuple[Claim, Verdict | StoreError]]:
    return [(claim, _look(claim, client, level, retry)) for claim in claims]


def _look(claim: Claim, client: StoreClient, level: Level, retry: Retry) -> Verdict | StoreError:
    # One that was missing or damaged is believed again only when it has been read.
    closely: Level = level if claim.status == "active" else "full"
    try:
        expected = Expected(claim.sha256, claim.size_bytes, claim.etag)
        return check(client, claim.key, expected, closely, retry=retry)
    except StoreError as error:
        return error


def outcome_of(claim: Claim, found: Verdict | StoreError) -> Outcome:
    """What follows from a look."""
    if isinstance(found, StoreError):
        return Outcome("unreadable", claim.key, claim, detail=found.message)
    if found.kind != "ok":
        return Outcome(found.kind, claim.key, claim, detail=found.detail, etag=found.etag)
    if claim.status == "active":
        how = None if found.proof == "size" else found.proof
        return Outcome("ok", claim.key, claim, verified_by=how, etag=_new_etag(claim, found))
    if found.verified or (claim.status == "missing" and found.proof == "etag"):
        return Outcome("ok", claim.key, claim, verified_by=found.proof, etag=found.etag)
    before = "missing" if claim.status == "missing" else "content"
    detail = f"found {claim.status} before; what is there now cannot be told from another object"
    return Outcome(before, claim.key, claim, detail=detail)


def _new_etag(claim: Claim, found: Verdict) -> str | None:
    """The ETag to keep, where the content is proven and the one that is kept is another."""
    same = (claim.etag or "").strip('"') == (found.etag or "").strip('"')
    return None if same or not found.verified else found.etag
