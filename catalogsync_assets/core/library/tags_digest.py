"""A digest of what tags say, by which an edit of them is told from damage to the file.

It depends on names and values alone: not on mutagen's version, nor on the order in which a
container has its names. What has several values under one name says something else once their order
is another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
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
    whole = hashlib.sha256()  # the fastest where the processor knows it; half of it is enough
    _feed(whole.update, value)
    return whole.hexdigest()[:32]


def _feed(update: Callable[[bytes], None], value: Any) -> None:
    """All of a value, each part with what it is and how long, so that no two look alike."""
    if isinstance(value, str):
        text = value.encode("utf-8", "surrogatepass")
        update(b"s%d:%b" % (len(text), text))
    elif isinstance(value, bytes):
        update(b"b%d:" % len(value))
        update(value)
        if about := getattr(value, "__dict__", None):  # a picture of MP4 has its format there
            _feed(update, about)
    elif value is None:
        update(b"-")
    elif isinstance(value, int):  # also of an enumeration, whose names are mutagen's
        update(b"i%d;" % value)
    elif isinstance(value, float):
        update(b"f%s;" % repr(value).encode())
    elif isinstance(value, list | tuple):
        update(b"l%d:" % len(value))
        for item in value:
            _feed(update, item)
    else:
        # A mapping, or an object of mutagen: a frame, an attribute, a time stamp.
        pairs = value.items() if hasattr(value, "items") else getattr(value, "__dict__", {}).items()
        public = {str(name): inner for name, inner in pairs if str(name)[:1] != "_"}
        update(b"d%d:" % len(public))
        for name in sorted(public):
            _feed(update, name)
            _feed(update, public[name])
