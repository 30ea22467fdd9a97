"""Puts a content under a key: looked at, put, verified. What may be done with a key:

==========================================  =====================================
the store holds under it                    then
==========================================  =====================================
nothing                                     put, on condition that nothing is there
the very content                            leave it, send nothing
an earlier content of ours at this key      replace that very version
the object that was found damaged           replace that very version
anything else                               a conflict for a person to see
==========================================  =====================================

Whoever asks for the put has the last word on a version that may be replaced: it may hold what
nobody else has.

"Found damaged" means: a verification has read the object that was to be at this key, found other
content, and noted its ETag. At such a key no digest that the store has kept is believed: it is the
digest of what was sent once, and rot does not change it. So an object with that ETag is replaced
unseen, and one with another ETag is read whole before it counts as the very content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from catalogsync_assets.core.errors import ConflictError, StoreUnavailableError
from catalogsync_assets.core.files.digests import as_s3_header
from catalogsync_assets.core.stores import verify
from catalogsync_assets.core.stores.client import ANY_VERSION, StoreClient
from catalogsync_assets.core.stores.objects import Buffer, ObjectMetadata, StoredObject
from catalogsync_assets.core.stores.retry import Retry
from catalogsync_assets.core.stores.verify import Expected, Proof


@dataclass(frozen=True)
class Target:
    """A key that a content is to be put under."""

    key: str  #: the whole key
    size_bytes: int  #: of the content
    metadata: ObjectMetadata  #: of the object
    #: Of ours that may be replaced: put for this file or its earlier contents.
    owner_tags: frozenset[str]
    #: In hex, of contents that were at this very key; they may be replaced, too.
    known_sha256: frozenset[str] = frozenset()
    #: Of objects that were found damaged there, without quotes; empty text for one whose ETag is
    #: not known. Without any, the key is not under suspicion.
    damaged_etags: frozenset[str] = frozenset()
    #: Called with the object there, once it may be replaced; raises if it may not after all. A
    #: kill right after must find nobody who still counts on that object.
    before_replacing: Callable[[StoredObject], None] = lambda _: None


@dataclass(frozen=True)
class Placed:
    """The content is under its key, whole."""

    etag: str | None  #: of the object; None if the store gives none
    proof: Proof  #: how that is known
    adopted: bool  #: it was there already, and nothing was sent
    given_up: bool  #: a request was given up that may still be reading the content


@dataclass
class Placer:
    """Puts contents into one store. Thread-safe."""

    client: StoreClient
    retry: Retry  #: calls what is tried again
    #: Called with the number of bytes, before they are sent; may wait.
    before_put: Callable[[int], None]
    # Whether the last key that was looked at was taken: then the next may be, too, as in a bucket
    # that another tool has filled.
    _met_something: bool = field(default=False, init=False)

    def put(self, target: Target, content: Buffer, sha256: str) -> Placed:
        """Bring a content to its key in one request, and make sure that it is there, whole.

        May be called again after any failure: what is in place then is found.

        Args:
            sha256: of the content, in hex.

        Raises:
            ConflictError: another object is stored there; it is left as it is.
            StoreError: the store refused, was silent at every try, or holds something else now.
        """
        client, key = self.client, target.key
        sent = given_up = False

        def once() -> Placed:
            nonlocal sent, given_up
            found = None
            if self._must_look(target):
                found = client.look_before_put(key)
                self._met_something = found is not None
            while True:
                replacing: str | None = None
                if found is not None:
                    proof, replacing = self.judge(target, found, lambda: sha256)
                    if proof is not None:
                        return Placed(found.etag or None, proof, not sent, given_up)
                self.before_put(len(content))
                try:
                    etag = client.put(key, content, target.metadata, replacing=replacing)
                except ConflictError as error:
                    # Something is there: an object that nobody expected, or our own try before,
                    # whose answer was lost.
                    given_up = self._met_something = True
                    found = client.head(key)
                    if found is None or replacing is not None:
                        raise verify.unsettled(client, key) from error
                    continue
                except StoreUnavailableError:
                    sent = given_up = True
                    raise
                sent = True
                return Placed(etag, self._proof(key, etag, content, sha256), False, given_up)

        placed: Placed = self.retry(once)
        return placed

    def _must_look(self, target: Target) -> bool:
        """Whether to ask what is there before a put, which costs a request.

        Only where something is to be expected, or the store is not known to honour a condition: a
        put that is refused has sent its bytes for nothing.
        """
        expected = bool(target.known_sha256 or target.damaged_etags) or self._met_something
        return expected or self.client.look_first or not self.client.profile.conditional_put

    def _proof(self, key: str, etag: str | None, content: Buffer, sha256: str) -> Proof:
        """How it is known that the object just put is whole."""
        if self.client.checks_digests and etag is not None:
            return "server-digest"
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        held = verify.after_put(
            self.client, key, Expected(sha256, len(content), etags=frozenset({md5}))
        )
        if held is None:
            raise verify.not_stored(self.client, key)
        return held[1]

    def judge(
        self, target: Target, found: StoredObject, digest: Callable[[], str]
    ) -> tuple[Proof | None, str]:
        """What an object under the key is: the proof that it is the wanted content; or None, and
        the ETag of what is damaged or an earlier content of ours, and may be replaced.

        Args:
            digest: gives the wanted content's SHA-256 in hex.

        Raises:
            ConflictError: it is neither, and that rests on more than one look.
            StoreUnavailableError: two looks show different things.
        """
        client, key = self.client, target.key
        if verify.bare(found.etag) in target.damaged_etags - {""}:
            return None, self._released(target, found)
        # Its own tag on another content: it was damaged on its way, to a store without digests.
        ours = found.owner_tag in target.owner_tags
        # Were this look spoilt, our own object would be replaced by the wanted content: no harm.
        if ours and found.size_bytes not in (None, target.size_bytes):
            return None, self._released(target, found)
        sha256 = digest()
        kept = None if target.damaged_etags else verify.kept_sha256(client, found)
        if kept is not None:
            if proof := verify.by_head(client, found, Expected(sha256, target.size_bytes)):
                return proof, ""
            if ours or kept in {as_s3_header(known) for known in target.known_sha256}:
                return None, self._released(target, found)
        read = verify.read(client, key, {sha256, *target.known_sha256}, size_bytes=found.size_bytes)
        if read is not None and read.sha256 == sha256:
            return "read", ""
        if read is not None and (ours or read.sha256 in target.known_sha256):
            return None, self._released(target, found)
        # Its tag, if it has one, is told by a HEAD alone: that, too, is looked at once more.
        if read is None or client.head(key) != found:
            raise verify.unsettled(client, key)
        hint = "nothing was overwritten; move it away, or give the backend a --base-prefix"
        raise verify.conflict(client, key, hint)

    def _released(self, target: Target, found: StoredObject) -> str:
        target.before_replacing(found)
        if found.etag:
            return found.etag
        again = self.client.head(target.key)  # it may have been lost on its way
        return (again.etag if again else "") or ANY_VERSION
