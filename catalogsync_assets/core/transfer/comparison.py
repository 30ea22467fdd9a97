"""Compares a large file with the object that is stored under its key, if possible by a HEAD."""

from __future__ import annotations

import math
from typing import NamedTuple

from catalogsync_assets.core.catalog import multiparts
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.leases import UploadTask
from catalogsync_assets.core.transfer.composites import PartDigest, digest_part, part_count, proof
from catalogsync_assets.core.transfer.multipart import PART_BYTES, Retry, part_bytes
from catalogsync_assets.core.transfer.source import Source
from catalogsync_assets.core.transfer.stores import StoreClient, StoredObject


class Match(NamedTuple):
    """An object holds a file's content: its SHA-256 in hex, and by what that is known."""

    sha256: str
    how: str


def compare(
    catalog: Catalog, client: StoreClient, task: UploadTask, found: StoredObject, retry: Retry
) -> Match | None:
    """Whether an object holds the very content of the task's file; None if it does not.

    The file is read, the object only if its digests do not tell: `how` is `head` or `read`.

    Args:
        retry: calls a function again as the engine's policy has it.

    Raises:
        SourceError: the file changed or could not be read.
        StoreError: the object could not be read.
    """
    if found.size_bytes != task.size_bytes:
        with Source(task):  # a file that is gone, or has changed, is no conflict
            return None
    under_suspicion = bool(task.damaged_etags)  # then no digest of the store's is believed
    match = None if under_suspicion else _by_its_parts(catalog, client, task, found)
    if match is not None:
        return match
    known = task.sha256 or _measure(task, PART_BYTES, md5=False)[0]
    same = retry(
        lambda: client.holds(
            task.locator,
            found,
            sha256=known,
            size_bytes=task.size_bytes,
            read_whole=under_suspicion,
        )
    )
    kept = found.sha256 is not None and client.trusts_kept_digests and not under_suspicion
    return Match(known, "head" if kept else "read") if same else None


def _by_its_parts(
    catalog: Catalog, client: StoreClient, task: UploadTask, found: StoredObject
) -> Match | None:
    # The size of its parts is not told; it is ours if an upload of ours became this object.
    sizes = [part_bytes(task.size_bytes)]
    sizes += [u.part_bytes for u in multiparts.unfinished(catalog, client.backend, task.locator)]
    trusts = client.profile.part_checksum is True
    for size in dict.fromkeys(sizes):
        if math.ceil(task.size_bytes / size) == part_count(found):
            sha256, parts = _measure(task, size, md5=not (trusts and found.composite_sha256))
            if proof(found, parts, trusts_sha256=trusts):
                return Match(sha256, "head")
    return None


def _measure(task: UploadTask, size: int, *, md5: bool) -> tuple[str, list[PartDigest]]:
    with Source(task) as source:
        parts = [digest_part(content, md5=md5) for content in source.parts(size)]
        return source.finish(), parts
