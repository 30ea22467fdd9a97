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
from catalogsync_assets.core.files.partial import Notes, PartialFile
from catalogsync_assets.core.stores import verify
from catalogsync_assets.core.stores.classify import BAD_ANSWER, NO_SUCH_KEY
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.objects import OpenObject, ReadObject
from catalogsync_assets.core.stores.verify import Expected


def is_gone(error: StoreError) -> bool:
    """Whether a store has said in so many words that there is no such object.

    A 404 alone does not: a missing bucket gives one, and so does a server that is no store.
    """
    return error.code == NO_SUCH_KEY


def fetch(
    client: StoreClient,
    key: str,
    part: PartialFile,
    *,
    size_bytes: int | None,
    sha256: str | None,
    stop: threading.Event,
    received: Callable[[int], None] = lambda _: None,
    durable: bool = True,
) -> ReadObject:
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

    Returns:
        What came; its ETag may be lost where an earlier run had brought it here whole.

    Raises:
        DamagedObjectError: it has another size or content: two reads agree on that.
        StoreError: the store refused, or was silent, or has no such object (`is_gone`); or no two
            reads agree.
        OSError: as the system says it of the part.
    """
    expected = Expected(sha256, size_bytes)
    fetching = _Fetching(client, key, part, expected, stop, received, durable)
    found = verify.agreed(client, key, fetching.once, expected.is_in)
    if found is None:
        raise KeyRefusedError(
            f"backend {client.backend.name!r}: cannot read {key!r}: the store has no such object",
            code=NO_SUCH_KEY,
        )
    if expected.is_in(found):
        return found
    how = "its content has not the digest that the catalog holds"
    if size_bytes not in (None, found.size_bytes):
        how = f"it has {found.size_bytes:,} bytes, not {size_bytes:,}"
    raise DamagedObjectError(
        f"backend {client.backend.name!r}: the object under {key!r} is damaged: {how}",
        etag=found.etag,
        hint="upload to that backend again while there is a good copy elsewhere",
    )


@dataclass(frozen=True)
class _Fetching:
    """One call of `fetch`."""

    client: StoreClient
    key: str
    part: PartialFile
    expected: Expected
    stop: threading.Event
    received: Callable[[int], None]
    durable: bool

    def once(self) -> ReadObject | None:
        """Make the part whole; what has come. Of what is not as expected, nothing stays there."""
        part, size = self.part, self.expected.size_bytes
        checked = self.expected.sha256 is not None
        if part.is_whole(checked=checked) and size is not None and part.notes.total == size:
            part.go_on()
            etag = part.notes.validator
        else:
            try:
                found = self._open(checked)
            except StoreError as error:
                if is_gone(error):
                    return None
                raise
            if None not in (size, found.size_bytes) and size != found.size_bytes:
                # It need not be larger than there is room for here.
                part.begin(Notes())
                if found.start:
                    raise self._broken_off("its length was spoilt on its way", "BadLine")
                return found.read_out()
            self._take_pieces(found)
            etag = found.etag
        digest = part.sync() if self.durable else part.sha256()
        come = ReadObject(part.size, etag, digest, part.read_at(0, 512))
        if not self.expected.is_in(come):
            part.begin(Notes())  # what went wrong on the way, or was left by an earlier try
        return come

    def _open(self, checked: bool) -> OpenObject:
        """The object, from where the part ends if that is still its beginning."""
        key, size = self.key, self.expected.size_bytes
        resume = self.part.resume(checked=checked)
        most = size or self.part.notes.total or 0
        if resume is not None and resume.validator is not None and resume.offset < most:
            try:
                return self.client.open(
                    key, start=resume.offset, etag=resume.validator, size_bytes=size
                )
            except (ConflictError, KeyRefusedError):  # another object by now
                pass
            except StoreUnavailableError as error:
                if error.code != BAD_ANSWER:  # a store that gives no ranges gives the whole
                    raise
        return self.client.open(key, size_bytes=size)

    def _take_pieces(self, found: OpenObject) -> None:
        part = self.part
        if found.start:
            part.go_on()
        else:
            part.begin(Notes(validator=found.etag, total=found.size_bytes))
        for piece in found.pieces:
            if self.stop.is_set():
                raise self._broken_off("stopped while it was read", "Stopped")
            part.append(piece)
            self.received(len(piece))
        if found.size_bytes not in (None, part.size):
            raise self._broken_off(f"it ended after {part.size:,} bytes", "EndedEarly")

    def _broken_off(self, how: str, code: str) -> StoreUnavailableError:
        return verify.cannot_read(self.client, self.key, how, code=code)
