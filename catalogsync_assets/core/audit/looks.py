"""Looks at many expected objects at a time, and says what became of each, in their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, wait
from functools import partial
from itertools import groupby
from operator import attrgetter

from catalogsync_assets.core.audit.queries import Outcome
from catalogsync_assets.core.errors import StoreError
from catalogsync_assets.core.runner.workers import Workers
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.copies import RemoteCopy
from catalogsync_assets.core.stores.retry import Retry
from catalogsync_assets.core.stores.verify import Expected, Level, Verdict, check

#: Keys in hand for each worker: one large object must not keep the others waiting.
_AHEAD = 8
#: Seconds after which the caller gets a chance to do something else.
_TICK = 0.25

#: What became of the expected objects of one key; an error where the store said nothing of use.
Looked = tuple[str, list[tuple[RemoteCopy, Verdict | StoreError]]]
_UnderWay = tuple[str, Future[list[tuple[RemoteCopy, Verdict | StoreError]]]]


def look_at(
    objects: Iterable[RemoteCopy], client: StoreClient, level: Level, *, workers: int, retry: Retry
) -> Generator[Looked | None, None, None]:
    """Check objects, several at a time; None where the next is not ready yet.

    Args:
        objects: those of the same key follow each other.
        retry: calls each request.
    """
    pool = Workers(workers, "verify")
    under_way: deque[_UnderWay] = deque()
    try:
        for key, group in groupby(objects, attrgetter("key")):
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
    objects: list[RemoteCopy], client: StoreClient, level: Level, retry: Retry
) -> list[tuple[RemoteCopy, Verdict | StoreError]]:
    return [(known, _look(known, client, level, retry)) for known in objects]


def _look(
    known: RemoteCopy, client: StoreClient, level: Level, retry: Retry
) -> Verdict | StoreError:
    # One that was missing or damaged is believed again only when it has been read.
    closely: Level = level if known.status == "active" else "full"
    try:
        expected = Expected(known.sha256, known.size_bytes, known.etag)
        return check(client, known.key, expected, closely, retry=retry)
    except StoreError as error:
        return error


def outcome_of(known: RemoteCopy, found: Verdict | StoreError) -> Outcome:
    """What follows from a look."""
    if isinstance(found, StoreError):
        return Outcome("unreadable", known.key, known, detail=found.message)
    if found.kind != "ok":
        return Outcome(found.kind, known.key, known, detail=found.detail, etag=found.etag)
    if known.status == "active":
        how = None if found.proof == "size" else found.proof
        return Outcome("ok", known.key, known, verified_by=how, etag=_new_etag(known, found))
    if found.verified or (known.status == "missing" and found.proof == "etag"):
        return Outcome("ok", known.key, known, verified_by=found.proof, etag=found.etag)
    before = "missing" if known.status == "missing" else "content"
    detail = f"found {known.status} before; what is there now cannot be told from another object"
    return Outcome(before, known.key, known, detail=detail)


def _new_etag(known: RemoteCopy, found: Verdict) -> str | None:
    """The ETag to keep, where the content is proven and the one that is kept is another."""
    same = (known.etag or "").strip('"') == (found.etag or "").strip('"')
    return None if same or not found.verified else found.etag
