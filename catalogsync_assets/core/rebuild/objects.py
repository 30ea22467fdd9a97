"""What one object tells of the file that it holds: by a HEAD, and by its tags.

Of its bytes only those are brought in which tags stand, its head and, where the container asks for
it, its tail. It is read whole where nobody has said which digest it has, or two say different ones.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, BinaryIO, cast

from catalogsync_assets.core.files.companions import OTHER
from catalogsync_assets.core.files.formats import (
    COMPANION_TYPES,
    MEDIA_TYPES,
    extension,
    extension_for,
)
from catalogsync_assets.core.library.tags import Tags, tags_in
from catalogsync_assets.core.rebuild.names import UNNAMED, owner_of
from catalogsync_assets.core.rebuild.staging import Item
from catalogsync_assets.core.stores import verify
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.objects import StoredObject
from catalogsync_assets.core.stores.ranged import RangedObject
from catalogsync_assets.core.stores.retry import Retry


def inspect(
    client: StoreClient, key: str, path: str, *, companion: str | None, retry: Retry
) -> Item | None:
    """Look at an object. May be called from several threads.

    Args:
        path: of the file that it is to be.
        companion: the kind of a file beside music that is wanted, as its name tells; None of music,
            and of any other, which is a file's only if its owner tag says so.
        retry: calls each request.

    Returns:
        What it is; None where it is no file, or is gone.

    Raises:
        StoreError: the store refused, or was silent at every try.
    """
    found: StoredObject | None = retry(lambda: client.head(key))
    if found is None:
        return None
    owner = owner_of(found.owner_tag)
    is_unnamed = path.startswith(UNNAMED) and not extension(path)
    if is_unnamed and extension_for(found.media_type) in COMPANION_TYPES:
        path = f"{path}.{extension_for(found.media_type)}"
        companion, is_unnamed = COMPANION_TYPES[extension(path)][0], False
    is_music = extension(path) in MEDIA_TYPES
    if owner is None and not is_music and companion is None:
        return None
    size, etag = found.size_bytes, found.etag or None
    sha256, how = _digest(client, found)
    if sha256 is None or size is None:
        come = verify.read(client, key, set(), size_bytes=size, retry=retry)
        if come is None:
            return None
        sha256, how, size = come.sha256, "read", come.size_bytes
        # Of what was read: it may have been replaced since the HEAD.
        etag = come.etag or None
    facts: dict[str, Any] = {}
    if is_music or is_unnamed:
        facts = _facts(client, key, path, size, retry)
    if is_unnamed:
        # What it is called has come along; what it is, is told by its content before that.
        facts["format"] = facts["format"] or extension_for(found.media_type)
        path = f"{path}.{facts['format']}" if facts["format"] else path
    if not (is_music or facts.get("format")):
        facts = {"song": {}, "artists": (), "format": extension(path)}
        facts["companion"] = companion or OTHER
    modified = found.modified_at.timestamp() if found.modified_at else None
    return Item(key, path, size, etag, sha256, how, owner, modified, facts)


def _digest(client: StoreClient, found: StoredObject) -> tuple[str | None, str | None]:
    """The SHA-256 in hex, and how it is known; None for what is only said, or not at all."""
    kept = verify.kept_sha256(client, found)
    if kept is not None and (proven := _hex(kept)):
        return proven, "head"
    said = {found.claimed_sha256, _hex(found.sha256)} - {None}
    return (said.pop() if len(said) == 1 else None), None


def _hex(in_base64: str | None) -> str | None:
    try:
        digest = base64.b64decode(in_base64 or "", validate=True)
    except ValueError:
        return None
    return digest.hex() if len(digest) == 32 else None  # noqa: PLR2004


def _facts(client: StoreClient, key: str, path: str, size: int, retry: Retry) -> dict[str, Any]:
    with RangedObject(client, key, size, retry=retry) as file:
        tags, trouble = tags_in(cast("BinaryIO", file), Path(path))
        if file.failure is not None:
            raise file.failure
    return {**_plain(tags), "tags_error": trouble}


def _plain(tags: Tags) -> dict[str, Any]:
    of_files = ("format", "tags_digest", "audio_digest", "recording_id", "release_track_id")
    return {
        "song": tags.song,
        "artists": tags.artists,
        **{name: getattr(tags, name) for name in of_files},
    }
