"""Brings one object of a store to this machine: written to a part, compared with its digest.

Nothing that a store gives is believed: what has come is what it should be once its SHA-256 says so.
Where the file then belongs is the business of who asked for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from catalogsync_assets.core.errors import (
    ConflictError,
    DamagedObjectError,
    KeyRefusedError,
    StoreError,
    StoreUnavailableError,
)
from catalogsync_assets.core.files.partial import Notes, Part
from catalogsync_assets.core.stores import verify
from catalogsync_assets.core.stores.classify import BAD_ANSWER, NO_SUCH_KEY
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.objects import OpenObject, ReadObject


@dataclass(frozen=True)
class Fetched:
    """An object is here, whole.

    Attributes:
        sha256: of its content, in hex.
        etag: as the store gave it with the content; None for a part that an earlier run had
            brought here whole.
    """

    sha256: str
    size_bytes: int
    etag: str | None


def is_gone(error: StoreError) -> bool:
    """Whether a store has said in so many words that there is no such object.

    A 404 alone does not: a missing bucket gives one, and so does a server that is no store.
    """
    return error.code == NO_SUCH_KEY


def fetch(
    client: StoreClient,
    key: str,
    part: Part,
    *,
    size_bytes: int | None,
    sha256: str | None,
    stop: threading.Event,
    received: Callable[[int], None] = lambda _: None,
    durable: bool = True,
) -> Fetched:
    """One try to bring an object into a part.

    Goes on where an earlier try ended. Memory does not grow with the object. When it raises, what
    can be gone on from stays in the part; of an object that is not what it should be, nothing, and
    the part may take another copy.

    Args:
        key: the whole key.
        part: open.
        size_bytes, sha256: of the content, as far as they are known.
        stop: once set, no further piece is read.
        received: called with the size of each piece.
        durable: the content is on disk, not only with the system, when this returns.

    Raises:
        DamagedObjectError: it has another size or content: two reads agree on that.
        StoreError: the store refused, or was silent, or has no such object (`is_gone`); or no two
            reads agree.
        OSError: as the system says it of the part.
    """

    def is_expected(found: ReadObject) -> bool:
        return size_bytes in (None, found.size_bytes) and sha256 in (None, found.sha256)

    def look() -> ReadObject | None:
        come = _transfer(client, key, part, size_bytes, sha256, stop, received, durable=durable)
        if come is not None and not is_expected(come):
            verify.refuse_page(client, key, come)
        return come

    found = verify.agreed(client, key, look, is_expected)
    if found is None:
        raise KeyRefusedError(
            f"backend {client.backend.name!r}: cannot read {key!r}: the store has no such object",
            code=NO_SUCH_KEY,
        )
    if is_expected(found):
        return Fetched(found.sha256, found.size_bytes, found.etag)
    how = "its content has not the digest that the catalog holds"
    if size_bytes not in (None, found.size_bytes):
        how = f"it has {found.size_bytes:,} bytes, not {size_bytes:,}"
    raise _damaged(client, key, found.etag, how)


def _transfer(
    client: StoreClient,
    key: str,
    part: Part,
    size_bytes: int | None,
    sha256: str | None,
    stop: threading.Event,
    received: Callable[[int], None],
    *,
    durable: bool,
) -> ReadObject | None:
    """Make the part whole; what has come. Of what is not as it should be, nothing stays there."""
    checked = sha256 is not None
    whole = part.is_whole(checked=checked)
    etag: str | None
    if size_bytes is not None and part.notes.total == size_bytes and whole:
        part.go_on()
        etag = part.notes.validator
    else:
        try:
            found = _open(client, key, part, size_bytes, checked)
        except StoreError as error:
            if is_gone(error):
                return None
            raise
        if None not in (size_bytes, found.size_bytes) and size_bytes != found.size_bytes:
            # It need not be larger than there is room for here.
            part.begin(Notes())
            if found.start:
                raise _unavailable(client, key, "its length was spoilt on its way", "BadLine")
            return found.read_out()
        _take_pieces(client, key, part, found, stop, received)
        etag = found.etag
    digest = part.sync() if durable else part.sha256()
    come = ReadObject(part.size, etag, digest, part.read_at(0, 512))
    if size_bytes not in (None, part.size) or sha256 not in (None, digest):
        part.begin(Notes())  # what went wrong on the way, or was left by an earlier try
    return come


def _take_pieces(
    client: StoreClient,
    key: str,
    part: Part,
    found: OpenObject,
    stop: threading.Event,
    received: Callable[[int], None],
) -> None:
    if found.start:
        part.go_on()
    else:
        part.begin(Notes(validator=found.etag, total=found.size_bytes))
    for piece in found.pieces:
        if stop.is_set():
            raise _unavailable(client, key, "stopped while it was read", "Stopped")
        part.append(piece)
        received(len(piece))
    if found.size_bytes not in (None, part.size):
        raise _unavailable(client, key, f"it ended after {part.size:,} bytes", "EndedEarly")


def _open(
    client: StoreClient, key: str, part: Part, size_bytes: int | None, checked: bool
) -> OpenObject:
    """The object, from where the part ends if that is still its beginning."""
    resume = part.resume(checked=checked)
    expected = size_bytes or part.notes.total or 0
    if resume is not None and resume.validator is not None and resume.offset < expected:
        try:
            return client.open(
                key, start=resume.offset, etag=resume.validator, size_bytes=size_bytes
            )
        except (ConflictError, KeyRefusedError):  # another object by now
            pass
        except StoreUnavailableError as error:
            if error.code != BAD_ANSWER:  # a store that gives no ranges gives the whole
                raise
    return client.open(key, size_bytes=size_bytes)


def _damaged(client: StoreClient, key: str, etag: str | None, how: str) -> DamagedObjectError:
    return DamagedObjectError(
        f"backend {client.backend.name!r}: the object under {key!r} is damaged: {how}",
        etag=etag,
        hint="upload to that backend again while there is a good copy elsewhere",
    )


def _unavailable(client: StoreClient, key: str, how: str, code: str) -> StoreUnavailableError:
    return StoreUnavailableError(
        f"backend {client.backend.name!r}: cannot read {key!r}: {how}",
        code=code,
        hint="try again later",
    )
