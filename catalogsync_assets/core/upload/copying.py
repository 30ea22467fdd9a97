"""Copies of what a store holds, made by the store: for a file that has moved, and for a new file
whose content is there already. Nothing is sent.

What may be done with the key is said in `stores.place`, but that nothing found there is believed
unread: it may be a copy that a killed run has not proven.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from catalogsync_assets.core.catalog import locations, remote_copies
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.locations import KeptAside, Look
from catalogsync_assets.core.catalog.remote_copies import RemoteCopy
from catalogsync_assets.core.catalog.upload_queue import Uploaded, UploadTask
from catalogsync_assets.core.errors import ConflictError, KeyRefusedError, SourceError
from catalogsync_assets.core.stores import copying, verify
from catalogsync_assets.core.stores.backend import REPLACED
from catalogsync_assets.core.stores.classify import NO_SUCH_KEY, NOT_IMPLEMENTED
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.objects import ObjectMetadata
from catalogsync_assets.core.stores.place import Placer, Target
from catalogsync_assets.core.stores.retry import Retry
from catalogsync_assets.core.stores.verify import Expected, Proof
from catalogsync_assets.core.upload import journal

#: Of failed copies: why their sources are to be looked at.
_SOURCE_IN_DOUBT = {copying.SOURCE_CHANGED, NO_SUCH_KEY, "Corrupted"}


@dataclass(eq=False)
class Copier:
    """Has one store copy its objects. Thread-safe."""

    _catalog: Catalog
    _client: StoreClient
    _placer: Placer
    _retry: Retry

    def held(self, task: UploadTask, sha256: str) -> RemoteCopy | None:
        """A verified object on the backend that holds this content, if any.

        Args:
            sha256: of the task's file, in hex.
        """
        place = self._catalog, self._client.backend
        return remote_copies.copy_of_content(*place, task.size_bytes, sha256, but=task.locator)

    def move(self, task: UploadTask, target: Target) -> Uploaded:
        """Bring the task's object, which is its source, to its key, and make sure that it is whole.

        The old object stays. May be called again after any failure.

        Raises:
            ConflictError: another object is stored there; it is left as it is.
            SourceError: with the code `SourceMissing` or `SourceDamaged`: by two looks the source
                is not there, or is another object; its location says so now.
            StoreError: the store refused, or was silent.
        """
        source = task.source_copy
        assert source is not None
        assert source.sha256 is not None
        try:
            return self._move(task, source, target)
        except KeyRefusedError as error:
            if error.code not in _SOURCE_IN_DOUBT:
                raise
            etag = self._looked_at(source)
            if error.code != copying.SOURCE_CHANGED:
                raise
            return self._move(task, source._replace(etag=etag), target)

    def _looked_at(self, source: RemoteCopy) -> str | None:
        """The ETag of an object that is true after all; another one's location is marked.

        Raises:
            SourceError: it is missing or damaged.
            StoreError: that could not be found out.
        """
        client, expected = self._client, Expected(source.sha256, source.size_bytes)
        verdict = verify.check(client, source.key, expected, "full", retry=self._retry)
        if verdict.kind == "ok":
            look = Look(source, "verified", verdict.etag, "read")
        elif verdict.kind == "missing":
            look = Look(source, "lost")
        else:
            look = Look(source, "damaged", verdict.etag or "")
        with self._catalog.transaction() as connection:
            locations.record_looks(connection, [look])
        if look.event == "verified":
            return verdict.etag
        raise SourceError(
            f"backend {client.backend.name!r}: cannot copy {source.key!r} to the key of the file's"
            f" new path: {verdict.detail}",
            code="SourceMissing" if look.event == "lost" else "SourceDamaged",
            hint="upload again, which sends the file if it is here, or on another backend",
        )

    def _move(self, task: UploadTask, source: RemoteCopy, target: Target) -> Uploaded:
        wanted: Callable[[], str] = lambda: source.sha256 or ""  # noqa: E731
        target = unbelieved(target)
        found = self._retry(partial(self._client.head, task.locator))
        replacing: str | None = None
        if found is not None:
            judge = partial(self._placer.judge, target, found, wanted)
            proof, replacing = self._retry(judge)
            if proof is not None:
                return self._copied(task, source, found.etag or None, proof)
        return self.copy(task, source, target, replacing)

    def copy(
        self, task: UploadTask, source: RemoteCopy, target: Target, replacing: str | None = None
    ) -> Uploaded:
        """Have an object copied to a task's key, and make sure that the copy is whole.

        Args:
            source: an object with the content that the task's file has.
            replacing: the ETag of the object that may be replaced there; None to copy only where
                nothing is.

        Raises:
            As `move`.
        """
        client, key = self._client, task.locator
        if not client.profile.copies:
            raise KeyRefusedError(
                f"backend {client.backend.name!r} cannot copy objects", code=min(NOT_IMPLEMENTED)
            )
        begun: list[journal.UnfinishedUpload] = []
        copy = partial(
            copying.copy,
            client,
            source.key,
            key,
            source_etag=source.etag,
            replacing=replacing,
            size_bytes=task.size_bytes,
            metadata=replace(target.metadata, copied=True),
            begun=lambda upload_id: begun.append(self._note(task, upload_id)),
        )
        expected = self._expected(source)
        try:
            self._retry(copy)
        except ConflictError:
            # An answer may have been lost: then the copy itself is in the way.
            try:
                held = verify.after_copy(client, key, expected, retry=self._retry)
            except KeyRefusedError:
                held = None
            if held is None:
                raise
        else:
            held = verify.after_copy(client, key, expected, retry=self._retry)
        finally:
            for upload in begun:
                journal.abort(self._catalog, client, upload)
        if held is None:
            raise verify.not_stored(client, key)
        return self._copied(task, source, *held)

    def keep(self, source: RemoteCopy, metadata: ObjectMetadata) -> KeptAside | None:
        """Have an object that is about to be replaced copied to `.catalogsync/old/`, and proven.

        Retries nothing. May be called again after any failure.

        Args:
            metadata: of the copy.

        Returns:
            The copy; None if the object is not what the catalog says: there is nothing to keep.

        Raises:
            StoreError: the store refused, or was silent.
        """
        client, prefix = self._client, self._client.backend.key_prefix
        name = source.key.removeprefix(prefix).rpartition("/")[2]
        key = f"{prefix}{REPLACED}{source.file_asset_id}/{name}"
        expected = self._expected(source)
        try:
            with suppress(ConflictError):  # a run that was killed has made it already
                copying.copy(
                    client,
                    source.key,
                    key,
                    source_etag=source.etag,
                    replacing=None,
                    size_bytes=source.size_bytes,
                    metadata=replace(metadata, copied=True),
                )
            held = verify.after_copy(client, key, expected)
        except KeyRefusedError:
            if verify.check(client, source.key, expected, "full").kind == "ok":
                raise
            return None
        if held is None:
            raise verify.not_stored(client, key)
        return KeptAside(source, key, *held)

    def _expected(self, source: RemoteCopy) -> Expected:
        """What the copy must be; by its ETag where that of the verified source is an MD5."""
        etag = verify.bare(source.etag).lower()
        known = self._client.profile.etag_is_md5 and etag and "-" not in etag
        etags = frozenset({etag}) if known else frozenset[str]()
        return Expected(source.sha256, source.size_bytes, etags=etags)

    def _note(self, task: UploadTask, upload_id: str) -> journal.UnfinishedUpload:
        return journal.begin(
            self._catalog,
            self._client.backend,
            *(task.locator, task.file_asset_id, task.size_bytes),
            upload_id=upload_id,
            mtime_ns=-1,  # of no file: an upload does not go on with it
            part_bytes=copying.PART_BYTES,
            checksums=False,
        )

    @staticmethod
    def _copied(task: UploadTask, source: RemoteCopy, etag: str | None, proof: Proof) -> Uploaded:
        assert source.sha256 is not None
        return Uploaded(
            task,
            source.sha256,
            etag,
            proof,
            adopted=False,
            sent_bytes=0,
            copied_from=source.location_id,
        )


def unbelieved(target: Target) -> Target:
    """The same key under suspicion: what is there counts only once it was read."""
    return replace(target, damaged_etags=target.damaged_etags | {""})
