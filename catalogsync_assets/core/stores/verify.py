"""What an object of a store is, where something follows from it: one look is no proof.

An answer may be cut short on its way, or spoilt, or come from something that is no object store. So
what speaks *for* an object may rest on one look: a SHA-256 does not come out right by accident.
What speaks against it - other content, another length, nothing there - is believed once two reads
agree on it, and never because of a HEAD alone: nothing is marked damaged or missing before, no
object is called another one, and nobody is asked to act. Reads that do not agree are a bad line,
which says nothing of the object.

Everything that compares an object with a content asks here. Nothing here changes anything.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from catalogsync_assets.core.errors import KeyRefusedError, StoreUnavailableError
from catalogsync_assets.core.files.digests import as_s3_header
from catalogsync_assets.core.stores.classify import BAD_ANSWER
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.objects import ReadObject, StoredObject
from catalogsync_assets.core.stores.retry import Retry, once

#: Of these, two must agree.
_LOOKS = 3


def proven_by_head(
    client: StoreClient, found: StoredObject, sha256: str, size_bytes: int | None
) -> bool:
    """Whether a HEAD alone proves that an object is the content with this digest.

    It does where the store gives back a SHA-256 of the whole that it is known to have checked. If
    not, nothing is known yet.
    """
    if size_bytes is not None and found.size_bytes not in (None, size_bytes):
        return False
    return client.trusts_kept_digests and found.sha256 == as_s3_header(sha256)


def read(
    client: StoreClient,
    key: str,
    sha256s: Collection[str],
    *,
    size_bytes: int | None,
    retry: Retry = once,
) -> ReadObject | None:
    """What an object is, by reading it; None if there is none.

    Args:
        sha256s: digests in hex of contents that it may have; one read that shows one of them is
            enough. Where none is known, one of the right size is.
        size_bytes: of the expected content, as far as known.
        retry: calls each request.

    Raises:
        StoreError: the store refused, or was silent; or no two reads agree.
    """

    def is_expected(found: ReadObject) -> bool:
        return found.sha256 in sha256s if sha256s else size_bytes in (None, found.size_bytes)

    def look() -> ReadObject | None:
        found = client.read(key, size_bytes=size_bytes)
        if found is not None and not is_expected(found):
            refuse_page(client, key, found)
        return found

    return agreed(client, key, lambda: retry(look), is_expected)


def agreed(
    client: StoreClient,
    key: str,
    look: Callable[[], ReadObject | None],
    is_expected: Callable[[ReadObject], bool],
) -> ReadObject | None:
    """The first look that shows what is expected; else what two of them agree on.

    Args:
        look: reads the object, once; None if the store says in so many words that there is none.

    Raises:
        StoreUnavailableError: no two agree.
    """
    seen: list[tuple[int, str] | None] = []
    for _ in range(_LOOKS):
        found = look()
        if found is not None and is_expected(found):
            return found
        this = None if found is None else (found.size_bytes, found.sha256)
        if this in seen:
            return found
        seen.append(this)
    raise StoreUnavailableError(
        f"backend {client.backend.name!r}: cannot read {key!r}: each read gives something else",
        code="BadLine",
        hint="something on the way to the store spoils what comes; try again, or over another line",
    )


def refuse_page(client: StoreClient, key: str, found: ReadObject) -> None:
    """
    Raises:
        StoreUnavailableError: what came is not the object, but what a proxy gives in its place.
    """
    if found.is_a_page:
        raise StoreUnavailableError(
            f"backend {client.backend.name!r}: cannot read {key!r}: a web page or an error comes"
            " in its place",
            code="NotTheObject",
            hint="is there a proxy, or a login page of a network, between here and the store?",
        )


def unsettled(client: StoreClient, key: str) -> StoreUnavailableError:
    """The error of an object that two looks show differently."""
    return StoreUnavailableError(
        f"backend {client.backend.name!r}: what is stored under {key!r} keeps changing",
        code="Unsettled",
        hint="is another program writing there, or the line bad?",
    )


def not_stored(client: StoreClient, key: str) -> StoreUnavailableError:
    """The error of an object that was accepted, and is not there."""
    return StoreUnavailableError(
        f"backend {client.backend.name!r}: cannot put {key!r}: it was answered that it is stored,"
        " but the store has no such object",
        code=BAD_ANSWER,
        hint="try again later; if it stays so, is there a proxy or a login page in between?",
    )


def corrupted(client: StoreClient, key: str) -> KeyRefusedError:
    """The error of an object that two reads show to be something else than was put there."""
    return KeyRefusedError(
        f"backend {client.backend.name!r}: what it holds under {key!r} is not what was sent",
        code="Corrupted",
        hint="upload again, which replaces it; or is what is sent spoilt on its way?",
    )
