"""Whether an object holds a content, and by what proof: the one answer to that.

One look is no proof. An answer may be cut short on its way, or spoilt, or come from something that
is no object store. So what speaks *for* an object may rest on one look: a digest does not come out
right by accident. What speaks against it - other content, another length, nothing there - is
believed once two reads agree on it, and never because of a HEAD alone: nothing is marked damaged or
missing before, no object is called another one, and nobody is asked to act. Reads that do not agree
are a bad line, which says nothing of the object.

What `check` asks at each level, and what an answer proves:

=======  ========================  =============================================================
level    asks                      `ok` is proven by
=======  ========================  =============================================================
`head`   one HEAD                  `head`: the SHA-256 that the store checked when it took the
                                   object, and keeps; else `etag`: the one that the object had
                                   when it was last verified; else `size`: no verification
`full`   the object, to its end    `read`: its bytes have the expected digest; where none is
                                   known, as for `head`
`proof`  one HEAD                  `head`; whatever else it tells, as for `full`
=======  ========================  =============================================================

A HEAD tells what the store remembers of an object, not what its disks hold: bytes that have rotted
below a store are found by reading alone. What it leaves in doubt - another size or ETag, a digest
that nobody has checked, nothing there - is read.

Nothing here changes the store.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Literal

from catalogsync_assets.core.errors import ConflictError, KeyRefusedError, StoreUnavailableError
from catalogsync_assets.core.files.digests import as_s3_header
from catalogsync_assets.core.stores.classify import BAD_ANSWER
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.objects import ReadObject, StoredObject, looks_like_a_page
from catalogsync_assets.core.stores.retry import Retry, once

#: How closely an object is looked at.
Level = Literal["head", "full", "proof"]
Kind = Literal["ok", "missing", "size", "content"]
#: By what it is known: the store has refused everything else; it keeps a digest; the bytes were
#: read; the ETag or the size is the same as it was.
Proof = Literal["server-digest", "head", "read", "etag", "size"]
#: Of these, two must agree.
_LOOKS = 3


@dataclass(frozen=True)
class Expected:
    """A content, as far as it is known, that an object should hold."""

    sha256: str | None = None  #: in hex
    size_bytes: int | None = None  #: its length
    last_etag: str | None = None  #: of the object when it was last verified
    #: Those that the content gives an object, made of MD5s; without quotes.
    etags: Collection[str | None] = ()
    #: The SHA-256s that it gives an object in parts, as a store writes them.
    composites: Collection[str] = ()

    def is_in(self, found: ReadObject) -> bool:
        """Whether what was read is this, as far as it is known."""
        right_size = self.size_bytes in (None, found.size_bytes)
        return right_size and self.sha256 in (None, found.sha256)


@dataclass(frozen=True)
class Verdict:
    """What became of a look at an object."""

    #: `ok`, `missing`, `size` (another length), or `content` (other bytes of that length).
    kind: Kind
    proof: Proof | None = None  #: what `ok` rests on; see the module. None for the others
    detail: str = ""  #: what differs, in a few words; empty for `ok`
    #: Of the object as it is now, as the store wrote it; None if it is missing.
    etag: str | None = None

    @property
    def verified(self) -> bool:
        """Whether the object is known to be, byte for byte, the content with that digest: by one
        that the store keeps, or by reading it."""
        return self.proof in ("server-digest", "head", "read")


# --- questions


def by_head(client: StoreClient, found: StoredObject, expected: Expected) -> Proof | None:
    """How a HEAD alone proves that an object is a content, byte for byte; None if it does not.

    Then nothing is known yet: the object may have been sent in parts of another size, or the store
    keeps nothing. A SHA-256 counts where the store is known to have checked it, and of a copy that
    it has made itself, what it is known to compute of copies.
    """
    size = expected.size_bytes
    if size is not None and found.size_bytes not in (None, size):
        return None
    checked = kept_sha256(client, found)
    if checked and expected.sha256 and checked == as_s3_header(expected.sha256):
        return "head"
    if found.size_bytes is None:
        return None
    if client.trusts_part_digests and found.composite_sha256 in expected.composites:
        return "server-digest"
    if found.copied and not client.profile.copy_etag_is_md5:
        return None
    return "head" if bare(found.etag).lower() in expected.etags else None


def kept_sha256(client: StoreClient, found: StoredObject) -> str | None:
    """The SHA-256 of an object that the store has made sure of, in Base64; None if it has not."""
    if not client.trusts_kept_digests or (found.copied and not client.profile.copy_checksum):
        return None
    return found.sha256


def check(
    client: StoreClient, key: str, expected: Expected, level: Level, *, retry: Retry = once
) -> Verdict:
    """Look at an object. May be called from several threads.

    `missing` rests on the store's own word that there is no such key, said to two reads, never on a
    bare 404, a refusal or silence.

    Args:
        retry: calls each request.

    Raises:
        StoreError: the store refused, or was silent at every try, or no two reads agree: nothing is
            known then.
    """
    skip = level == "full" or (level == "proof" and not client.profile.proves_by_head)
    if not skip or not expected.sha256:
        found = retry(lambda: client.head(key))
        verdict = None if found is None else _told_by_head(client, expected, found)
        if verdict and (level != "proof" or verdict.verified or not expected.sha256):
            return verdict
    digests = {expected.sha256} if expected.sha256 else frozenset[str]()
    come = read(client, key, digests, size_bytes=expected.size_bytes, retry=retry)
    if come is None:
        return Verdict("missing", detail="the store has no object under this key")
    if expected.sha256 and come.sha256 == expected.sha256:
        return Verdict("ok", "read", etag=come.etag)
    if expected.size_bytes not in (None, come.size_bytes):
        detail = f"{come.size_bytes:,} bytes, not {expected.size_bytes:,}"
        return Verdict("size", detail=detail, etag=come.etag)
    if not expected.sha256:
        return Verdict("ok", "size", etag=come.etag)
    detail = f"its content has the SHA-256 {come.sha256}, not {expected.sha256}"
    return Verdict("content", detail=detail, etag=come.etag)


def _told_by_head(client: StoreClient, expected: Expected, found: StoredObject) -> Verdict | None:
    """The verdict where nothing of what a HEAD told speaks against the object; else None."""
    if expected.size_bytes is not None and found.size_bytes not in (None, expected.size_bytes):
        return None
    etag = found.etag or None
    if proof := by_head(client, found, expected):
        return Verdict("ok", proof, etag=etag)
    if expected.sha256 and found.sha256 not in (None, as_s3_header(expected.sha256)):
        return None
    if expected.last_etag and bare(expected.last_etag) == bare(etag):
        return Verdict("ok", "etag", etag=etag)
    if found.size_bytes is None or (expected.last_etag and expected.sha256):
        return None
    return Verdict("ok", "size", etag=etag)


def after_put(client: StoreClient, key: str, expected: Expected) -> tuple[str | None, Proof] | None:
    """The ETag of an object that was just put, and what proves it to be whole; None if there is
    none: what said that it was stored was not the store (see `not_stored`).

    Raises:
        KeyRefusedError: it holds something else: two reads agree on that.
        StoreError: the store refused, or was silent; or no two reads agree.
    """
    found = client.head(key)
    if found is not None and (proof := by_head(client, found, expected)):
        return found.etag, proof
    hint = "upload again, which replaces it; or is what is sent spoilt on its way?"
    return _proven_by_reading(client, key, expected, once, hint)


def after_copy(
    client: StoreClient, key: str, expected: Expected, *, retry: Retry = once
) -> tuple[str | None, Proof] | None:
    """The ETag of an object that the store has copied, and what proves it to be whole; None if
    there is none, by the store's own word to two reads.

    To be asked as well of what lies under a key to which a copy may have been made that nobody has
    proven, where `by_head` and `place` would believe a digest that came along. What counts is what
    a test saw the store compute of a copy: a SHA-256, or an ETag that is the MD5 of the content;
    else the object is read. It changes nothing: a bad copy stays where it is.

    Args:
        expected: its SHA-256 must be known; `etags` may hold the MD5 of the content, so that the
            object need not be read where the ETag tells.
        retry: calls each request.

    Raises:
        KeyRefusedError: with the code `Corrupted`: it holds something else; two reads agree on it.
        StoreError: the store refused, or was silent; or no two reads agree.
    """
    found = retry(lambda: client.head(key))
    if found is not None and _was_computed(client, found, expected):
        return found.etag or None, "head"
    hint = "the copy is bad: leave it, or remove it; the source is as it was"
    return _proven_by_reading(client, key, expected, retry, hint)


def _was_computed(client: StoreClient, found: StoredObject, expected: Expected) -> bool:
    """Whether a HEAD of a copy gives what the store has made of the right content in copying it."""
    if expected.sha256 is None or found.size_bytes != expected.size_bytes:
        return False
    if client.profile.copy_checksum and found.sha256 == as_s3_header(expected.sha256):
        return True
    is_md5 = client.profile.copy_etag_is_md5 is True
    return is_md5 and bare(found.etag).lower() in expected.etags


def _proven_by_reading(
    client: StoreClient, key: str, expected: Expected, retry: Retry, hint: str
) -> tuple[str | None, Proof] | None:
    assert expected.sha256 is not None
    come = read(client, key, {expected.sha256}, size_bytes=expected.size_bytes, retry=retry)
    if come is None:
        return None
    if come.sha256 == expected.sha256:
        return come.etag, "read"
    raise corrupted(client, key, hint)


def is_vouched_for(
    look: Callable[[], StoredObject | None], sha256: str, size_bytes: int, md5: Callable[[], str]
) -> bool:
    """Whether a store has a digest of its own for content that was read from it, and the same.

    For content of which no digest is known. Two looks: a person is asked to act on what one may
    have spoilt.

    Args:
        look: a HEAD of the object.
        md5: gives the MD5 of what was read, in hex.
    """
    for _ in range(2):
        found = look()
        if found is None or found.size_bytes not in (None, size_bytes):
            continue
        if found.sha256 is not None:
            if found.sha256 == as_s3_header(sha256):
                return True
        elif bare(found.etag) == md5():
            return True
    return False


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

    look = partial(client.read, key, size_bytes=size_bytes)
    return agreed(client, key, look, is_expected, retry=retry)


def agreed(
    client: StoreClient,
    key: str,
    look: Callable[[], ReadObject | None],
    is_expected: Callable[[ReadObject], bool],
    *,
    retry: Retry = once,
) -> ReadObject | None:
    """The first look that shows what is expected; else what two of them agree on.

    Args:
        look: reads the object, once; None if the store says in so many words that there is none.
        retry: calls each look.

    Raises:
        StoreUnavailableError: no two agree, or what came is what a proxy gives in its place.
    """

    def look_at_no_page() -> ReadObject | None:
        found = look()
        if found and looks_like_a_page(found.beginning) and not is_expected(found):
            raise cannot_read(
                client,
                key,
                "a web page or an error comes in its place",
                code="NotTheObject",
                hint="is there a proxy, or a login page of a network, between here and the store?",
            )
        return found

    seen: list[tuple[int, str] | None] = []
    for _ in range(_LOOKS):
        found: ReadObject | None = retry(look_at_no_page)
        if found is not None and is_expected(found):
            return found
        this = None if found is None else (found.size_bytes, found.sha256)
        if this in seen:
            return found
        seen.append(this)
    raise cannot_read(
        client,
        key,
        "each read gives something else",
        code="BadLine",
        hint="something on the way to the store spoils what comes; try again, or over another line",
    )


def bare(etag: str | None) -> str:
    """An ETag without the quotes that some stores leave out."""
    return (etag or "").strip('"')


# --- errors


def cannot_read(
    client: StoreClient, key: str, how: str, *, code: str, hint: str = "try again later"
) -> StoreUnavailableError:
    """The error of an object of which nothing is known after it was read."""
    message = f"backend {client.backend.name!r}: cannot read {key!r}: {how}"
    return StoreUnavailableError(message, code=code, hint=hint)


def conflict(client: StoreClient, key: str, hint: str) -> ConflictError:
    """The error of an object that is in the way, by more than one look."""
    message = f"backend {client.backend.name!r}: another object is stored under {key!r}"
    return ConflictError(message, code="Conflict", hint=hint)


def corrupted(client: StoreClient, key: str, hint: str | None = None) -> KeyRefusedError:
    """The error of an object that is something else than what was just put."""
    return KeyRefusedError(
        f"backend {client.backend.name!r}: what it holds under {key!r} is not what was sent",
        code="Corrupted",
        hint=hint,
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
