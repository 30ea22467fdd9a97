"""Finds out whether two backends are one store: an object put through one, looked for through the
other.

Each backend gets a small object of random name and content below its prefix (`probe.session`),
which must be readable through that backend itself. Seen through another backend as well, the two
are one store, or one is a copy that follows the other at once: `same`. `apart` takes more: both
objects, and for each the other store's own word that there is no such key. One direction would not
do: a gateway that caches listings, such as rclone's, does not see for minutes what was put past it,
while what is put through it is in the bucket at once.

A gateway may show the inside of a bucket as a bucket, or an endpoint may name the bucket once more:
then the key is another one. So the object is also looked for under the ends of `bucket/key`.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations

from catalogsync_assets.core.backends.capabilities import noted_test
from catalogsync_assets.core.catalog.backends import object_backends
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.separation import (
    Verdict,
    backends_with_files,
    keep_verdicts,
    separation,
)
from catalogsync_assets.core.errors import (
    AccessRefusedError,
    CatalogSyncError,
    KeyRefusedError,
    StoreError,
)
from catalogsync_assets.core.runner.limiter import ConcurrencyLimiter
from catalogsync_assets.core.stores import verify
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.objects import ObjectMetadata
from catalogsync_assets.core.stores.probe.session import Session, new_prefix
from catalogsync_assets.core.stores.retry import Retries

#: Seconds after which an object that was not seen is looked for once more: what was put through
#: one node of a store need not be known to another at once.
SECOND_LOOK_SECONDS = 2.0
_OBJECT = ObjectMetadata("application/octet-stream", "test/separation")
_Prefixes = Callable[[StoreClient], AbstractContextManager[str]]


@dataclass(frozen=True)
class Finding:
    """What was found out about two backends."""

    one: ObjectBackend
    other: ObjectBackend
    verdict: Verdict | None  #: None if it could not be found out
    why: str = ""  #: why not, in a sentence; empty otherwise
    left_behind: tuple[str, ...] = ()  #: keys that could not be deleted again


def prove_pairs(
    pairs: Sequence[tuple[ObjectBackend, ObjectBackend]],
    *,
    prefixes: _Prefixes = lambda client: nullcontext(new_prefix(client.backend)),
    spare_locked: bool = False,
    attempts: int = 1,
    connect: Callable[[ObjectBackend], StoreClient] = StoreClient,
) -> list[Finding]:
    """Find out of pairs of backends whether they are one store. Keeps nothing.

    Writes one object through each backend and deletes it again, also on errors and Ctrl-C. Takes
    `SECOND_LOOK_SECONDS` where stores are apart. What goes wrong with a store is in the findings,
    and does not raise.

    Args:
        prefixes: gives a prefix for a store's test objects, and knows it as long as the block runs;
            see `capabilities.noted_test`.
        spare_locked: write nothing to a bucket that is known to keep it for a time (object lock).
        attempts: tries of one request at most.
        connect: makes the client of a store.
    """
    retry = Retries(attempts=attempts, pace=ConcurrencyLimiter(1), stop=threading.Event())
    with ExitStack() as cleaning:
        sides = {
            b.name: _Side(b, cleaning, connect, retry, prefixes, spare_locked)
            for b in {b.name: b for pair in pairs for b in pair}.values()
        }
        found = [_look(sides[one.name], sides[other.name]) for one, other in pairs]
        if any(finding.verdict == "apart" for finding in found):
            time.sleep(SECOND_LOOK_SECONDS)
            found = [
                _look(sides[f.one.name], sides[f.other.name]) if f.verdict == "apart" else f
                for f in found
            ]
    left = {name: tuple(side.left_behind) for name, side in sides.items()}
    return [replace(f, left_behind=left[f.one.name] + left[f.other.name]) for f in found]


def prove_all(
    catalog: Catalog,
    backends: Sequence[ObjectBackend],
    *,
    keep: bool = True,
    attempts: int = 1,
    connect: Callable[[ObjectBackend], StoreClient] = StoreClient,
) -> list[Finding]:
    """Find out of each two of these backends whether they are one store, whatever is known of them.

    Args:
        keep: remember the verdicts.
    """
    found = prove_pairs(
        list(combinations(backends, 2)),
        prefixes=partial(noted_test, catalog),
        attempts=attempts,
        connect=connect,
    )
    if keep:
        _keep(catalog, found)
    return found


def prove_against_others(
    catalog: Catalog,
    backend: ObjectBackend,
    *,
    only_needed: bool = False,
    connect: Callable[[ObjectBackend], StoreClient] = StoreClient,
) -> list[Finding]:
    """Find out whether a backend is one store with any of the others, and remember it.

    Args:
        only_needed: leave out the pairs of which it is known, and those of which one holds nothing,
            so that nothing is counted on it; and spare buckets with object lock, where the test's
            object would stay. Usually no store is asked then.
    """
    others = [other for other in object_backends(catalog) if other.id != backend.id]
    if only_needed and others:
        known, filled = separation(catalog), backends_with_files(catalog)
        others = [
            other
            for other in others
            if {backend.id, other.id} <= filled
            and frozenset((backend.id, other.id)) not in known.verdicts
        ]
    found = prove_pairs(
        [(backend, other) for other in others],
        prefixes=partial(noted_test, catalog),
        spare_locked=only_needed,
        connect=connect,
    )
    _keep(catalog, found)
    return found


def _keep(catalog: Catalog, found: Sequence[Finding]) -> None:
    keep_verdicts(catalog, [(f.one, f.other, f.verdict) for f in found if f.verdict is not None])


@dataclass(eq=False)
class _Side:
    """One backend with its object."""

    backend: ObjectBackend
    cleaning: ExitStack
    connect: Callable[[ObjectBackend], StoreClient]
    retry: Retries
    prefixes: _Prefixes
    spare_locked: bool

    def __post_init__(self) -> None:
        self.error: str | None = None  #: why there is no object
        self.key = self.sha256 = ""
        self._session: Session | None = None
        try:
            client = self.connect(self.backend)
            self.retry(client.probe)  # some stores make a bucket that is missing at the first put
            if self.spare_locked and client.locks():
                why = "its bucket would keep a test object for a time"
                self.error = f"backend {self.backend.name!r}: {why}"
                return
            prefix = self.cleaning.enter_context(self.prefixes(client))
            self._session = self.cleaning.enter_context(Session(client, prefix))
            self.key = self._session.key("separation")
            self._put(client, self._session)
        except CatalogSyncError as error:
            self.error = error.message
        except Exception as error:  # what a row of another program may bring, such as no bucket
            reason = str(error).partition("\n")[0] or type(error).__name__
            self.error = f"backend {self.backend.name!r} cannot be used: {reason}"

    def _put(self, client: StoreClient, session: Session) -> None:
        content = secrets.token_hex(32).encode()
        self.sha256 = hashlib.sha256(content).hexdigest()
        arguments = client.creation_arguments(_OBJECT)
        arguments.pop("StorageClass", None)  # what must be thawed cannot be read
        self.retry(partial(session.put, self.key, content, **arguments))
        if self.retry(partial(session.get, self.key)) != content:
            raise verify.corrupted(client, self.key)

    @property
    def left_behind(self) -> list[str]:
        """What could not be deleted; known once the session is over."""
        return self._session.left_behind if self._session else []

    def sees(self, other: _Side) -> bool | None:
        """Whether the other's object is seen through this backend; None if either cannot be used.

        Raises:
            StoreError: the store says neither that it is there nor that it is not.
        """
        if self._session is None or other.error is not None:
            return None
        look = partial(
            verify.read,
            self._session.client,
            sha256s={other.sha256},
            size_bytes=None,
            retry=self.retry,
        )
        if look(other.key) is not None:
            return True
        for key in _ends(f"{other.backend.bucket}/{other.key}"):
            try:
                if key != other.key and look(key) is not None:
                    return True
            except (AccessRefusedError, KeyRefusedError):
                continue  # outside what the credentials may see: it was a further chance only
        return False


def _ends(path: str) -> Iterator[str]:
    """The path, and what is left of it without its first folders; the last two parts stay."""
    parts = path.split("/")
    for at in range(len(parts) - 1):
        yield "/".join(parts[at:])


def _look(one: _Side, other: _Side) -> Finding:
    verdict: Verdict | None = "apart"
    why = ""
    for viewer, owner in ((one, other), (other, one)):
        try:
            seen = viewer.sees(owner)
        except StoreError as error:
            verdict, why = None, error.message
            continue
        if seen:
            return Finding(one.backend, other.backend, "same")
        if seen is None:
            verdict = None
    return Finding(one.backend, other.backend, verdict, one.error or other.error or why)
