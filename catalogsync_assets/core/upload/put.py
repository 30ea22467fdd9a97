"""Brings one file to a store: read, put where nothing is, compared where something is, verified.

A small file goes from one buffer in one request, a large one in parts (`multipart`). What may be
done with what is there already is said in `stores.place`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

from catalogsync_assets.core.backends.capabilities import make_sure_of_copies
from catalogsync_assets.core.backends.generation import require_undoubted
from catalogsync_assets.core.catalog import remote_copies
from catalogsync_assets.core.catalog.backends import catalog_id
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.locations import KeptAside, to_be_replaced, withdraw_at
from catalogsync_assets.core.catalog.remote_copies import RemoteCopy
from catalogsync_assets.core.catalog.upload_queue import Uploaded, UploadTask
from catalogsync_assets.core.errors import KeyRefusedError, StoreError, StoreUnavailableError
from catalogsync_assets.core.files.formats import media_type
from catalogsync_assets.core.runner.limiter import ConcurrencyLimiter
from catalogsync_assets.core.settings import keep_replaced_days
from catalogsync_assets.core.stores import verify
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.objects import ObjectMetadata, StoredObject
from catalogsync_assets.core.stores.place import Placed, Placer, Target
from catalogsync_assets.core.stores.retry import Retries
from catalogsync_assets.core.stores.verify import Proof
from catalogsync_assets.core.upload import multipart
from catalogsync_assets.core.upload.buffers import POOLED_BYTES, Buffers
from catalogsync_assets.core.upload.copying import Copier, unbelieved
from catalogsync_assets.core.upload.journal import abort_unfinished
from catalogsync_assets.core.upload.limits import Limits
from catalogsync_assets.core.upload.source import Source, measured


@dataclass(eq=False)
class Sender:
    """Sends files to one backend. Thread-safe."""

    _catalog: Catalog
    _client: StoreClient  #: of the backend to send to
    _limits: Limits
    #: Is told of complaints of the store, and bounds the bytes per second.
    _limiter: ConcurrencyLimiter
    _stop: threading.Event  #: once set, no wait between tries goes on
    #: Whether a file may hold so many bytes more than `Limits.memory_needed` says, and what is
    #: called once it does not hold them any more.
    _borrow: Callable[[int], bool] = lambda _: False
    _give_back: Callable[[int], object] = lambda _: None

    def __post_init__(self) -> None:
        attempts = self._limits.attempts
        #: Calls each request.
        self.retry = self._retry = Retries(attempts=attempts, pace=self._limiter, stop=self._stop)
        self._placer = Placer(
            self._client,
            retry=self._retry,
            before_put=self._wait_for_bandwidth,
        )
        self._copier = Copier(self._catalog, self._client, self._placer, self._retry)
        self._buffers = Buffers(self._limits.max_in_flight_bytes)
        self._lock = threading.Lock()
        self._sent_of: dict[int, int] = {}
        self._asking, self._asked = threading.Lock(), False
        #: Earlier contents that were replaced without keeping a copy, as the store cannot copy.
        self.replaced_for_good = 0
        self._catalog_id = catalog_id(self._catalog)

    @property
    def retries(self) -> int:
        """Requests that had to be repeated so far."""
        return self._retry.count

    def probe(self) -> None:
        """Raise a StoreError if the store cannot be reached, or refuses us or the bucket."""
        self._retry(self._client.probe)

    def send(self, task: UploadTask) -> Uploaded:
        """Bring the task's file to its key, and make sure that it is there, whole.

        May be called again after any failure.

        Raises:
            SourceError: the file cannot be read, or is not what the catalog says.
            ConflictError: another object is stored there; it is left as it is.
            StoreError: the store refused, or was silent at every try.
        """
        if self._limits.in_parts(task.size_bytes):
            return self._send_large(task)
        if task.size_bytes < POOLED_BYTES:
            return self._send_small(task, memoryview(bytearray(task.size_bytes)))[0]
        buffer = self._buffers.take(task.size_bytes)
        unread = False
        try:
            sent, placed = self._send_small(task, memoryview(buffer)[: task.size_bytes])
            unread = placed is None or not placed.given_up
            return sent
        finally:
            # A request that was given up may still be reading it, also when a later one succeeded.
            (self._buffers.give_back if unread else self._buffers.forget)(buffer)

    def move(self, task: UploadTask) -> Uploaded:
        """Have the store copy the task's own object to its key; see `Copier.move`.

        Raises:
            SourceError: with the code `SourceMissing` or `SourceDamaged`: the object is no longer
                there, or is another; its location says so now.
            GenerationDoubtedError: this catalog may not be the one that has changed the backend
                last.
        """
        require_undoubted(self._catalog, self._client.backend)
        return self._copier.move(task, self._target(task, task.sha256))

    def _send_small(self, task: UploadTask, content: memoryview) -> tuple[Uploaded, Placed | None]:
        with Source(task) as source:
            sha256 = source.read_into(content)
        held = self._held(task, sha256)
        target = self._target(task, sha256)
        if held is not None:
            proof, replacing = self._judged(target, sha256) if task.known_sha256 else (None, None)
            if proof is None:
                copied, target = self._copied_instead(task, held, target, replacing)
                if copied is not None:
                    return copied, None
            else:
                target = unbelieved(target)  # it may be a copy that a killed run has not proven
        placed = self._placer.put(target, content, sha256)
        return Uploaded(task, sha256, placed.etag, placed.proof, adopted=placed.adopted), placed

    def _held(self, task: UploadTask, sha256: str) -> RemoteCopy | None:
        """A verified object that holds a file's new content, where the store can copy it."""
        if self._client.profile.copies is False or not task.may_be_there or task.damaged_etags:
            return None
        held = self._copier.held(task, sha256)
        return held if held is not None and self._can_copy() else None

    def _can_copy(self) -> bool:
        """Whether the store copies; it is asked once, when there is first something to copy."""
        with self._asking:
            if self._client.profile.copies is None and not self._asked:
                self._asked = True
                make_sure_of_copies(self._catalog, self._client)
        return self._client.profile.copies is True

    def _judged(self, target: Target, sha256: str) -> tuple[Proof | None, str | None]:
        """What is at a key, as of `Placer.judge`; twice None if nothing is."""
        found = self._retry(partial(self._client.head, target.key))
        if found is None:
            return None, None
        judged: tuple[Proof | None, str] = self._retry(
            partial(self._placer.judge, target, found, lambda: sha256)
        )
        return judged

    def _copied_instead(
        self, task: UploadTask, source: RemoteCopy, target: Target, replacing: str | None
    ) -> tuple[Uploaded | None, Target]:
        """Have the store copy a content that it holds already.

        Args:
            replacing: as of `Copier.copy`.

        Returns:
            What came of it, or None where the file is to be sent; and the key as it is to be
            looked at then.
        """
        try:
            return self._copier.copy(task, source, target, replacing), target
        except StoreError as error:
            if error.fatal or isinstance(error, StoreUnavailableError):
                raise
        return None, unbelieved(target)  # a copy that is not whole may be there

    def _target(self, task: UploadTask, sha256: str | None) -> Target:
        tags = [f"{self._catalog_id}/{i}" for i in (task.file_asset_id, *task.earlier_ids)]
        kind = media_type(task.path)
        return Target(
            task.locator,
            task.size_bytes,
            ObjectMetadata(kind, tags[0], song_id=task.song_id, sha256=sha256),
            owner_tags=frozenset(tags),
            known_sha256=task.known_sha256,
            damaged_etags=task.damaged_etags,
            before_replacing=partial(self._before_replacing, task),
        )

    def _before_replacing(self, task: UploadTask, found: StoredObject) -> None:
        """Keep a copy of the file's earlier content, and say of it that it is there no more."""
        require_undoubted(self._catalog, self._client.backend)
        self._require_no_loss(task, found)
        place = self._catalog, self._client.backend, task.locator, task.file_asset_id
        profile = self._client.profile
        kept: list[KeptAside] = []
        if keep_replaced_days() and not profile.versioned:
            known = [c for c in to_be_replaced(*place) if c.sha256 and c.size_bytes is not None]
            if verify.bare(found.etag) not in {verify.bare(copy.etag) for copy in known}:
                known += self._of_no_row(task, found)
            if known and profile.copies is None:
                make_sure_of_copies(self._catalog, self._client)
            if known and not self._client.profile.copies:
                with self._lock:
                    self.replaced_for_good += 1
            else:
                copies = (self._copier.keep(copy, self._metadata_of(copy)) for copy in known)
                kept = [copy for copy in copies if copy is not None]
        withdraw_at(*place, kept=kept)

    def _require_no_loss(self, task: UploadTask, found: StoredObject) -> None:
        """Raise a ConflictError if an object is whole, by its own word, and holds what the catalog
        does not know: as one that was put by a catalog that is lost, or from another machine."""
        said, client = found.said_sha256, self._client
        if said is None or said in (task.known_sha256 | {task.sha256}):
            return
        catalog, _, number = (found.owner_tag or "").partition("/")
        ours = {str(i) for i in (task.file_asset_id, *task.earlier_ids)}
        with self._catalog.read() as connection:
            if remote_copies.is_elsewhere(
                connection, client.backend, said, found.size_bytes, but=task.locator
            ):
                return
            if catalog == self._catalog_id and number in ours:
                put_at = found.modified_at
                if remote_copies.may_be_of(connection, int(number), said, put_at):
                    return
        if client.head(task.locator) != found:
            raise verify.unsettled(client, task.locator)
        raise verify.conflict(
            client,
            task.locator,
            "it says to hold a content that the catalog does not know; nothing was overwritten:"
            " fetch it if it is wanted, and move it away",
        )

    def _of_no_row(self, task: UploadTask, found: StoredObject) -> list[RemoteCopy]:
        """An earlier content that is there though the catalog does not say so: a run was killed
        before it did, or the backend was taken out and has come back."""
        client, backend = self._client, self._client.backend
        if verify.bare(found.etag) in task.damaged_etags:
            return []
        tags = {f"{self._catalog_id}/{asset}": asset for asset in task.earlier_ids}
        of_tag = tags.get(found.owner_tag or "")
        assets = task.earlier_ids if of_tag is None else {of_tag}
        with self._catalog.read() as connection:
            digests = remote_copies.digests_of(connection, assets)
        read = verify.read(client, task.locator, (), size_bytes=found.size_bytes)
        if read is None or verify.bare(read.etag) != verify.bare(found.etag):
            raise verify.unsettled(client, task.locator)
        place = backend.id, backend.bucket, task.locator
        return [
            RemoteCopy(0, asset, *place, read.size_bytes, read.sha256, found.etag)
            for asset, digest in digests.items()
            if digest == read.sha256 or (digest is None and asset == of_tag)
        ][:1]

    def _metadata_of(self, copy: RemoteCopy) -> ObjectMetadata:
        tag = f"{self._catalog_id}/{copy.file_asset_id}"
        return ObjectMetadata(media_type(copy.key), tag, sha256=copy.sha256)

    def _send_large(self, task: UploadTask) -> Uploaded:
        client = self._client
        if client.profile.multipart is False:
            raise KeyRefusedError(
                f"backend {client.backend.name!r} takes no uploads in parts, and {task.path} is"
                f" larger than {self._limits.single_put_bytes // 1024**2} MiB",
                code="TooLarge",
                hint="if the store can do it after all, `backend test` finds out",
            )
        target = self._target(task, task.sha256)
        part_size = multipart.part_bytes(task.size_bytes, self._limits.part_bytes)
        found = self._retry(partial(client.head, task.locator))
        replacing: str | None = None
        if found is not None:
            sha256, proof = None, None
            # No digest of the store's is believed at a key that is under suspicion.
            if found.size_bytes == task.size_bytes and not task.damaged_etags:
                sha256 = multipart.by_its_parts(self._catalog, client, task, found, part_size)
                proof = sha256 and "head"
            if sha256 is None:
                with Source(task):  # a file that is gone, or has changed, is no conflict
                    pass
                digest = cache(lambda: task.sha256 or measured(task)[0])
                proof, replacing = self._retry(partial(self._placer.judge, target, found, digest))
            if proof is not None:
                abort_unfinished(self._catalog, client, task.locator)
                return Uploaded(task, sha256 or digest(), found.etag or None, proof, adopted=True)
        held = self._held(task, task.sha256) if task.sha256 else None
        if held is not None:
            copied, target = self._copied_instead(task, held, target, replacing)
            if copied is not None:
                return copied
        of_part = self._limits.of_request(part_size)
        try:
            return multipart.LargeUpload(
                self._catalog,
                client,
                task,
                part_size,
                metadata=target.metadata,
                replacing=replacing,
                retry=self._retry,
                before_part=partial(self._before_part, task),
                stop=self._stop,
                one_more=lambda room: room < self._limiter.allowed and self._borrow(of_part),
                give_back=lambda parts: self._give_back(parts * of_part),
            ).carry_out()
        finally:
            with self._lock:
                self._sent_of.pop(task.id, None)

    def _before_part(self, task: UploadTask, size: int) -> None:
        self._wait_for_bandwidth(size)
        with self._lock:
            self._sent_of[task.id] = self._sent_of.get(task.id, 0) + size

    @property
    def bytes_in_parts(self) -> int:
        """Bytes of large files that have been sent, but whose file is not complete yet."""
        with self._lock:
            return sum(self._sent_of.values())

    def _wait_for_bandwidth(self, size: int) -> None:
        if (seconds := self._limiter.spend(size)) > 0:
            self._stop.wait(seconds)
