"""A digest of what tags say, by which an edit of them is told from damage to the file.

It depends on names and values alone: not on mutagen's version, nor on the order in which a
container has its names. What has several values under one name says something else once their order
is another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any


def digest_of(containers: Iterable[Any], pictures: Iterable[object]) -> str:
    """The digest in hex, of 128 bits.

    Args:
        containers: the tags of a file as mutagen gives them, each kind of container as its own
            object.
        pictures: those that are not among the tags, as FLAC has them.
    """
    return _digest([*map(_by_name, containers), sorted(map(_digest, pictures))])


def _by_name(tags: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    # Vorbis comments and ASF attributes are lists of pairs, and slow as mappings.
    for name, value in tags if isinstance(tags, list) else tags.items():
        found.setdefault(name, []).append(value)
    if unknown := getattr(tags, "unknown_frames", None):  # of ID3, as they came
        found[""] = sorted(unknown)
    return found


def _digest(value: object) -> str:
    return _sha256(_JSON.encode(value).encode())[:32]


def _plain(value: Any) -> object:
    """What JSON has no word for: bytes, and a frame, an attribute or a time stamp of mutagen."""
    pairs = value.items() if hasattr(value, "items") else getattr(value, "__dict__", {}).items()
    public = {str(name): inner for name, inner in pairs if str(name)[:1] != "_"}
    if isinstance(value, bytes):  # a picture of MP4 says besides what format it has
        return [_sha256(value), public]
    return public


# Two values never look alike there, and nothing else writes them out as fast.
_JSON = json.JSONEncoder(sort_keys=True, default=_plain)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
