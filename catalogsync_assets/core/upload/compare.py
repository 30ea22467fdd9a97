"""Compares a large file with the object under its key, by the digests of its parts."""

from __future__ import annotations

import math
from typing import NamedTuple

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.upload_queue import UploadTask
from catalogsync_assets.core.stores.checksums import PartDigest, digest_part, part_count, proof
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.objects import StoredObject
from catalogsync_assets.core.upload import journal
from catalogsync_assets.core.upload.multipart import PART_BYTES
from catalogsync_assets.core.upload.source import Source


class Match(NamedTuple):
    """An object holds a file's content: its SHA-256 in hex, and by what that is known."""

    sha256: str
    how: str


def digest_of(task: UploadTask) -> str:
    """The SHA-256 in hex of the task's file, which is read where the catalog has none.

    Raises:
        SourceError: the file changed or could not be read.
    """
    return task.sha256 or _measure(task, PART_BYTES, md5=False)[0]


def by_its_parts(
    catalog: Catalog,
    client: StoreClient,
    task: UploadTask,
    found: StoredObject,
    part_size: int,
) -> Match | None:
    """Whether a HEAD proves that an object holds the very content of the task's file.

    None if it does not: then nothing is known.

    Args:
        part_size: in which the file would be sent now.

    Raises:
        SourceError: the file changed or could not be read.
    """
    # The size of its parts is not told; it is ours if an upload of ours became this object.
    sizes = [part_size]
    sizes += [u.part_bytes for u in journal.unfinished(catalog, client.backend, task.locator)]
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
