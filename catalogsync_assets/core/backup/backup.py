"""Keeps the catalog on the backends: a snapshot of it on each, where something has changed.

Order: object, then verification, then row. A kill in between costs a snapshot that the next backup
finds to be the same, and notes. Older ones go only once the newest is there and verified.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Literal

import sqlalchemy as sa

from catalogsync_assets.core.backends.capabilities import keep_learned, make_sure
from catalogsync_assets.core.backends.generation import look, require_undoubted
from catalogsync_assets.core.backup import retention
from catalogsync_assets.core.backup.concerns import why_left_out
from catalogsync_assets.core.backup.making import MadeCopy, copied
from catalogsync_assets.core.backup.sealing import seal
from catalogsync_assets.core.backup.sending import send
from catalogsync_assets.core.backup.snapshots import (
    PLAIN_SHA256,
    SCHEMA,
    Snapshot,
    list_snapshots,
    owner_tag,
    snapshot_name,
    with_metadata,
)
from catalogsync_assets.core.catalog.backends import catalog_id, with_kept_answers
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.schema import storage_backends
from catalogsync_assets.core.errors import CatalogError, CatalogSyncError, StoreError
from catalogsync_assets.core.files.digests import sha256_of
from catalogsync_assets.core.runner.limiter import ConcurrencyLimiter
from catalogsync_assets.core.settings import PASSPHRASE_VARIABLE, passphrase, snapshots_to_keep
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.objects import ObjectMetadata
from catalogsync_assets.core.stores.retry import Retries, Retry

_MEDIA_TYPE = "application/octet-stream"


def utc_now() -> datetime:
    """The second that a snapshot is called by."""
    return datetime.now(timezone.utc).replace(microsecond=0)


@dataclass
class BackupReport:
    """What became of the catalog's snapshot on one backend."""

    backend: str
    #: `made`; `unchanged`: the newest one there is of this very content; `left out`: it must not be
    #: there; `failed`.
    status: Literal["made", "unchanged", "left out", "failed"] = "failed"
    reason: str | None = None  #: why it was left out, or has failed
    hint: str | None = None  #: what to do about it
    key: str | None = None  #: the whole key of the newest snapshot
    made_at: datetime | None = None  #: in UTC: when it was found to be what the catalog is
    size_bytes: int | None = None  #: as stored
    encrypted: bool = False
    catalog_bytes: int = 0  #: the size of the SQLite file
    sha256: str | None = None  #: of that, in hex
    snapshots: int = 0  #: of this catalog there are now
    removed: int = 0  #: older ones that have gone
    #: Of those there are now, the ones that are not encrypted, where they would be if they were
    #: made today; 0 where that is not known.
    readable: int = 0
    warning: str | None = None  #: why older ones have not
    seconds: float = 0.0

    @property
    def of_readable(self) -> str:
        """A sentence about `readable`, where there are any."""
        count = f"{self.readable:,} snapshot{'' if self.readable == 1 else 's'}"
        return f"{count} there can be read by anybody who can read the bucket: not encrypted"


def back_up(
    catalog: Catalog,
    backends: Iterable[ObjectBackend],
    *,
    attempts: int = 5,
    remove_readable: bool = False,
    stop: threading.Event | None = None,
    connect: Callable[[ObjectBackend], StoreClient] = StoreClient,
) -> list[BackupReport]:
    """Put a snapshot of the catalog on each of these backends, unless the newest there is the same.

    One snapshot is made for all of them. It is encrypted where the environment has a passphrase;
    where it has none, a backend that is served publicly gets none. May be called again at any time.

    Args:
        attempts: tries of one request at most.
        remove_readable: delete this catalog's snapshots that anybody can read who reads the bucket,
            where they are to be encrypted, or not to be.
        stop: once set, nothing more is sent; what is missing then has failed.
        connect: makes the client of a store.

    Returns:
        What became of each. A backend that fails does not stop the others, and does not raise.

    Raises:
        CatalogError: no snapshot could be made.
        ConfigurationError: a setting is malformed.
    """
    secret, keep = passphrase(), snapshots_to_keep()
    chosen = list(backends)
    reports = [BackupReport(backend.name) for backend in chosen]
    for backend, report in zip(chosen, reports, strict=True):
        if (why := why_left_out(backend)) is not None:
            report.status, report.reason = "left out", why
            report.hint = f"set {PASSPHRASE_VARIABLE}; keep it: no snapshot is opened without it"
    owner, stop = catalog_id(catalog), stop or threading.Event()

    def connected(backend: ObjectBackend) -> tuple[StoreClient, ConcurrencyLimiter, Retries]:
        limiter = ConcurrencyLimiter(1, backend.bandwidth_limit)
        retry = Retries(attempts=attempts, pace=limiter, stop=stop)
        return connect(with_kept_answers(catalog, backend)), limiter, retry

    with ExitStack() as stack:
        if any(report.status != "left out" for report in reports):
            made = stack.enter_context(copied(catalog))
            sealed = stack.enter_context(closing(_Sealed(made, secret)))
        for backend, report in zip(chosen, reports, strict=True):
            started = time.monotonic()
            try:
                client, limiter, retry = connected(backend)
                if report.status == "left out":
                    there = list_snapshots(client, catalog_id=owner, retry=retry, look=False)
                else:
                    run = _Run(catalog, owner, made, sealed, keep, limiter, retry, stop)
                    there = run.execute(client, report)
                if secret is not None or report.status == "left out":
                    _note_readable(client, there, report, retry, remove=remove_readable)
            except CatalogSyncError as error:
                if report.status == "left out":
                    report.warning = f"whether there are older ones is not known: {error.message}"
                else:
                    report.status = "failed"
                    report.reason, report.hint = error.message, error.hint
            report.seconds = time.monotonic() - started
    return reports


def _note_readable(
    client: StoreClient,
    there: Sequence[Snapshot],
    report: BackupReport,
    retry: Retry,
    *,
    remove: bool,
) -> None:
    """Count, or delete, the snapshots that are not encrypted."""
    readable = [snapshot for snapshot in there if not snapshot.encrypted]
    if remove:
        gone = sum(retention.remove(client, snapshot, retry=retry) for snapshot in readable)
        report.removed += gone
        report.readable = len(readable) - gone
    else:
        report.readable = len(readable)
    report.snapshots = len(there) - len(readable) + report.readable


class _Sealed:
    """The file as it is stored; made when it is first needed."""

    def __init__(self, made: MadeCopy, secret: str | None) -> None:
        self._made, self._secret = made, secret
        self.encrypted = secret is not None
        self.path = made.path.with_name(f"{made.path.name}.sealed.part")
        self._sha256: str | None = None

    @property
    def sha256(self) -> str:
        """Its digest, in hex."""
        if self._sha256 is None:
            try:
                seal(self._made.path, self.path, self._secret)
            except OSError as error:
                self.close()
                raise CatalogError(
                    f"the snapshot cannot be written to {self.path}: {error.strerror}",
                    hint="free some disk space",
                ) from error
            self._sha256 = sha256_of(self.path)
        return self._sha256

    def close(self) -> None:
        """Remove it."""
        self.path.unlink(missing_ok=True)


@dataclass
class _Run:
    """The backup to one backend."""

    catalog: Catalog
    owner: str  #: the id of the catalog
    made: MadeCopy
    sealed: _Sealed
    keep: tuple[int, int, int]
    limiter: ConcurrencyLimiter
    retry: Retries
    stop: threading.Event

    def execute(self, client: StoreClient, report: BackupReport) -> list[Snapshot]:
        """Fill the report in; raises a CatalogSyncError where that is why it has failed.

        Returns:
            The snapshots of this catalog that are there now.
        """
        backend, made = client.backend, self.made
        report.encrypted, report.sha256 = self.sealed.encrypted, made.sha256
        report.catalog_bytes = made.size_bytes
        self.retry(client.probe)
        make_sure(self.catalog, client)
        # Snapshots of an old copy would take the place of better ones.
        look(self.catalog, client, retry=self.retry)
        require_undoubted(self.catalog, backend)
        there = list_snapshots(client, catalog_id=self.owner, retry=self.retry, look=False)
        newest = with_metadata(client, there[0], retry=self.retry) if there else None
        report.made_at = now = utc_now()
        if newest is not None and self._is_the_same(newest):
            report.status, report.key, report.size_bytes = (
                "unchanged",
                newest.key,
                newest.size_bytes,
            )
        else:
            called = now
            if newest is not None:  # its name tells seconds, and clocks go back
                called = max(now, newest.made_at + timedelta(seconds=1))
            newest = self._put(client, called)
            there.append(newest)
            report.status, report.key, report.size_bytes = "made", newest.key, newest.size_bytes
        self._record(backend, now)
        keep_learned(self.catalog, client)
        return self._remove_old(client, there, newest, report)

    def _is_the_same(self, newest: Snapshot) -> bool:
        return newest.sha256 == self.made.sha256 and newest.encrypted >= self.sealed.encrypted

    def _put(self, client: StoreClient, now: datetime) -> Snapshot:
        name = snapshot_name(self.owner, now, encrypted=self.sealed.encrypted)
        metadata = ObjectMetadata(
            _MEDIA_TYPE,
            owner_tag(self.owner),
            sha256=self.sealed.sha256,
            more={SCHEMA: self.made.schema, PLAIN_SHA256: self.made.sha256},
        )
        key = client.backend.key_prefix + name
        send(
            *(self.catalog, client, key, self.sealed.path, metadata),
            retry=self.retry,
            limiter=self.limiter,
            stop=self.stop,
        )
        size = self.sealed.path.stat().st_size
        return Snapshot(self.owner, now, key, size, self.sealed.encrypted, self.made.schema)

    def _record(self, backend: ObjectBackend, now: datetime) -> None:
        row = sa.update(storage_backends).where(storage_backends.c.id == backend.id)
        values = {"snapshot_at": now.replace(tzinfo=None), "snapshot_digest": self.made.sha256}
        with self.catalog.transaction() as connection:
            connection.execute(row.values(values))

    def _remove_old(
        self, client: StoreClient, there: list[Snapshot], newest: Snapshot, report: BackupReport
    ) -> list[Snapshot]:
        stay = {snapshot.key for snapshot in [newest, *retention.kept(there, *self.keep)]}
        gone = set()
        try:
            for snapshot in there:
                if snapshot.key not in stay and retention.remove(
                    client, snapshot, retry=self.retry
                ):
                    gone.add(snapshot.key)
        except StoreError as error:
            report.warning = f"older snapshots have not been removed: {error.message}"
        report.removed, report.snapshots = len(gone), len(there) - len(gone)
        return [snapshot for snapshot in there if snapshot.key not in gone]
