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
    StoreError,
    StoreUnavailableError,
)
from catalogsync_assets.core.files.parts import Notes, Part
from catalogsync_assets.core.transfer.stores import OpenObject, StoreClient


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
    return error.code == "NoSuchKey"


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
        DamagedObjectError: it has another size or content; read twice before this is said of its
            content.
        StoreError: the store refused, or was silent.
        OSError: as the system says it of the part.
    """
    for _ in range(2):  # what went wrong on the way, or was left by an earlier try, is read anew
        etag = _transfer(client, key, part, size_bytes, sha256 is not None, stop, received)
        found = part.sync() if durable else part.sha256()
        if sha256 in (None, found):
            return Fetched(found, part.size, etag)
        part.begin(Notes())
    raise _damaged(client, key, etag, "its content has not the digest that the catalog holds")


def _transfer(
    client: StoreClient,
    key: str,
    part: Part,
    size_bytes: int | None,
    checked: bool,
    stop: threading.Event,
    received: Callable[[int], None],
) -> str | None:
    """Make the part whole; the object's ETag."""
    if size_bytes is not None and part.notes.total == size_bytes and part.is_whole(checked=checked):
        part.go_on()
        return part.notes.validator
    found = _open(client, key, part, size_bytes, checked)
    if size_bytes not in (None, found.size_bytes):
        part.begin(Notes())
        raise _damaged(
            client, key, found.etag, f"it has {found.size_bytes:,} bytes, not {size_bytes:,}"
        )
    if found.start:
        part.go_on()
    else:
        part.begin(Notes(validator=found.etag, total=found.size_bytes))
    for piece in found.pieces:
        if stop.is_set():
            raise _unavailable(client, key, "stopped while it was read", "Stopped")
        part.append(piece)
        received(len(piece))
    if part.size != found.size_bytes:
        raise _unavailable(client, key, f"it ended after {part.size:,} bytes", "EndedEarly")
    return found.etag


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
        except ConflictError:  # another object by now
            pass
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
