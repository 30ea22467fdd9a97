"""Lists what a store holds, page by page, and notices a listing that cannot be believed.

boto3 asks, so that signing, regions and addressing are those of every other request; the answer is
parsed here: its own parser takes 170 ms of CPU for a page of 1,000 objects, this one 6.

A listing ends when the store says so, and only then. One that goes in circles is an error, and so
is one that says that there is more but not how to ask for it: whoever took the beginning for all
would take every file behind it for missing.

The order is the store's own and means nothing here: S3 lists by the bytes of the keys, SeaweedFS as
a tree (`a/b` before `a!`), which a merge with an index of keys would take for missing objects.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote_plus
from xml.etree import ElementTree as ET

from catalogsync_assets.core.errors import StoreError, StoreUnavailableError
from catalogsync_assets.core.runner.workers import Workers
from catalogsync_assets.core.stores.backend import (
    MOVES,
    OWN_FOLDER,
    OWN_KEYS,
    REPLACED,
    ObjectBackend,
)
from catalogsync_assets.core.stores.classify import BadAnswerError, store_error
from catalogsync_assets.core.stores.objects import ListedObject
from catalogsync_assets.core.stores.retry import Retry

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

#: Under which `take_over` leaves a page in boto3's answer.
_PAGE = "CatalogsyncPage"
# Of all operations: so it comes before boto3's own look at the body, which parses it once more, and
# calls what is not UTF-8 an error 500.
_EVENT = "before-parse.*.*"
_OPERATION = "ListObjectsV2"
_ROOT = "ListBucketResult"
_EMPTY = b"<ListBucketResult/>"
_OK = 200
#: What no key has that was encoded for a URL.
_NOT_ENCODED = re.compile(r"[^!-~]|%(?![0-9A-Fa-f]{2})")
#: Pages in a row with nothing in them, though the store says that more will come. They are legal:
#: of a bucket with many deleted versions, for one.
_MAX_EMPTY = 1_000


class _Page(NamedTuple):
    objects: list[ListedObject]
    truncated: bool
    token: str | None


def take_over(s3: S3Client) -> None:
    """Have the client's answers to ListObjectsV2 parsed here."""
    # Once, also where two of ours share a client: the second would find what the first has left.
    s3.meta.events.register_first(_EVENT, _parse_instead, unique_id="catalogsync-listing")


def _parse_instead(
    operation_model: Any,
    response_dict: dict[str, Any],
    customized_response_dict: dict[str, Any],
    **_: Any,
) -> None:
    if operation_model.name == _OPERATION and response_dict["status_code"] == _OK:
        customized_response_dict[_PAGE] = _parsed(response_dict["body"])
        response_dict["body"] = _EMPTY


def list_pages(
    s3: S3Client, backend: ObjectBackend, *, after: str | None = None, below: str = ""
) -> Iterator[list[ListedObject]]:
    """What is stored below the backend's prefix, a page at a time, in the store's own order.

    Each key stands once in a page, and not in the next again. Keys that the prefix does not cover
    are left out: there are stores that do not look at it.

    Args:
        s3: one that `take_over` has been given.
        after: the last key of an earlier page; None to begin at the first.
        below: only keys that begin with this, after the backend's prefix.

    Raises:
        StoreError: the store refused or was silent, or its listing cannot be believed.
    """
    prefix = backend.key_prefix + below
    more: dict[str, str] = {} if after is None else {"StartAfter": after}
    seen: set[int] = set()  # of tokens and of pages, by their hashes
    empty = 0
    before: frozenset[str] = frozenset()
    while True:
        page = _ask(s3, backend, prefix, more)
        empty = 0 if page.objects else empty + 1
        ends = (page.objects[0].key, page.objects[-1].key) if page.objects else None
        hashes = {hash(sign) for sign in (page.token, ends) if sign}
        if page.truncated and (hashes & seen or empty > _MAX_EMPTY):
            raise StoreError(
                f"backend {backend.name!r}: the listing of bucket {backend.bucket!r} goes in"
                " circles: the store gives the same page or continuation token again",
                code="ListingLoops",
                hint="compare by `verify --level head`, which needs no listing; the store, or a"
                " proxy before it, has a fault",
            )
        seen |= hashes
        if page.truncated and page.token is None:
            # Not given out first: asked for again, the page may come whole.
            raise StoreUnavailableError(
                f"backend {backend.name!r}: the listing of bucket {backend.bucket!r} breaks off:"
                " the store says that there is more, but gives no continuation token",
                code="ListingBreaksOff",
                hint="compare by `verify --level head`, which needs no listing",
            )
        found = {o.key: o for o in page.objects if o.key.startswith(prefix) and o.key not in before}
        before = frozenset(o.key for o in page.objects)
        if found or not page.truncated:
            yield list(found.values())
        if not page.truncated:
            return
        more = {"ContinuationToken": str(page.token)}


def ahead(
    list_pages: Callable[[str | None], Iterator[list[ListedObject]]],
    key_prefix: str,
    retry: Retry,
    after: str | None,
) -> Iterator[list[ListedObject]]:
    """The objects below a backend's prefix, some hundreds at a time, but for this program's own.

    The next page is asked for while the caller works on the last. Memory does not grow with their
    number.

    Args:
        list_pages: begins a listing behind a key; ends with its first error.
        retry: calls each request for a page.
        after: the last key of an earlier listing, to go on behind it.

    Raises:
        StoreError: the store refused, or was silent at every try.
    """
    pages: Iterator[list[ListedObject]] | None = None

    def page() -> list[ListedObject] | None:
        nonlocal pages, after
        pages = pages or list_pages(after)
        try:
            found = next(pages, None)
        except StoreError:
            pages = None  # it ends with its first error
            raise
        if found:
            after = found[-1].key
        return found

    own = key_prefix + OWN_KEYS, key_prefix + OWN_FOLDER
    files = key_prefix + MOVES, key_prefix + REPLACED
    reader = Workers(1, "list")
    try:
        coming = reader.submit(lambda: retry(page))
        while (found := coming.result()) is not None:
            coming = reader.submit(lambda: retry(page))
            yield [o for o in found if not o.key.startswith(own) or o.key.startswith(files)]
    finally:
        reader.close()


def listed_of(answer: Mapping[str, Any]) -> list[ListedObject]:
    """The objects in an answer of such a client to ListObjectsV2."""
    page: _Page = answer[_PAGE]
    return page.objects


def _ask(s3: S3Client, backend: ObjectBackend, prefix: str, more: dict[str, str]) -> _Page:
    try:
        call: Callable[..., Any] = s3.list_objects_v2
        answer = call(Bucket=backend.bucket, Prefix=prefix, **more)
        page: _Page = answer[_PAGE]
    except Exception as error:
        raise store_error(error, backend, "list", prefix) from error
    else:
        return page


def _parsed(body: bytes) -> _Page:
    """
    Raises:
        BadAnswerError: it is no listing, or not the whole of one.
    """
    try:
        root = ET.fromstring(body)  # noqa: S314  (expat bounds what entities expand to)
    except (ET.ParseError, ValueError, LookupError) as error:
        raise BadAnswerError(f"it is no XML, or not all of it: {error}") from error
    space, _, name = root.tag.rpartition("}")
    if name != _ROOT:
        raise BadAnswerError(f"it is a <{name[:40]}>, and no listing")
    of = space + "}" if space else ""
    key, size, etag = f"{of}Key", f"{of}Size", f"{of}ETag"
    named = [entry.findtext(key) or "" for entry in root.iterfind(f"{of}Contents")]
    encoded = root.findtext(f"{of}EncodingType") == "url"
    # There are stores that say so, and do not do it.
    decode = unquote_plus if encoded and not any(map(_NOT_ENCODED.search, named)) else str
    objects = [
        ListedObject(decode(listed), _size(entry.findtext(size)), entry.findtext(etag) or None)
        for listed, entry in zip(named, root.iterfind(f"{of}Contents"), strict=True)
        if listed
    ]
    token = root.findtext(f"{of}NextContinuationToken") or None
    truncated = (root.findtext(f"{of}IsTruncated") or "").strip().lower()
    # Where it is not said, a token says that there is more.
    return _Page(objects, truncated == "true" or (not truncated and token is not None), token)


def _size(text: str | None) -> int | None:
    digits = (text or "").strip()
    return int(digits) if digits.isascii() and digits.isdigit() else None
