"""From a path in the library to a key in a bucket.

A key is made when a file is first seen, and anew when it moves, so that planning stays one SQL
statement. It is the path below the library root in Unicode's NFC, except where two paths would
share a key, or a store would change it; then it carries a suffix from a digest of root and path.
(Not of the content: that is not read before the upload, and would move the object each time the
file is edited.) Whose a key is, `keys` knows.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import unicodedata
from collections.abc import Callable, Collection
from pathlib import PurePosixPath

#: With a prefix of at most `backends.MAX_PREFIX_BYTES` this stays below S3's 1,024.
MAX_KEY_BYTES = 899
#: Some stores keep a part of a key as a file name and refuse one that is longer.
MAX_SEGMENT_BYTES = 255
_SUFFIX_LENGTH = 10
# Control characters are refused by object_store's path parser; SeaweedFS turns `\` into `/`.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def unusable(path: str) -> str | None:
    """Why a path below a root cannot be cataloged at all, or None if it can.

    Args:
        path: as `os.scandir` gave it, with surrogates for bytes that are no UTF-8.
    """
    if path.isascii() and path.isprintable():
        return None  # nearly all, and this is asked of every file at every scan
    try:
        path.encode()
    except UnicodeEncodeError:
        return "the name is not valid UTF-8; rename it"
    if _CONTROL.search(path):
        return "the name has a control character; rename it"
    return None


def object_key(root: str, path: str, taken: Callable[[str], bool]) -> str:
    """The key for a file at a path.

    Args:
        root: the library root, for telling two roots apart.
        path: the path below it, `/`-separated, one that `unusable` has passed.
        taken: tells whether a key belongs to another file already; keys of one `fold` are one.

    Returns:
        At most `MAX_KEY_BYTES` bytes of UTF-8; each part at most `MAX_SEGMENT_BYTES`.
    """
    plain = unicodedata.normalize("NFC", path)
    key = _fit(plain.replace("\\", "_"))
    if key == plain and not taken(key):
        return key
    return _suffixed(plain.replace("\\", "_"), f"{root}\0{path}", taken)


def aside(key: str, file_asset_id: int, taken: Callable[[str], bool]) -> str:
    """The key for a file where its own is another's, on one backend; always the same.

    Args:
        key: its own.
        taken: as for `object_key`.
    """
    return _suffixed(key, f"{file_asset_id}\0{key}", taken)


def _suffixed(key: str, of: str, taken: Callable[[str], bool]) -> str:
    digest = _digest(of)
    for length in range(_SUFFIX_LENGTH, len(digest) + 1):
        candidate = _fit(key, suffix=f"~{digest[:length]}")
        if not taken(candidate):
            break
    return candidate


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


#: A key with a suffix: what stands before it, its digest, and the extension.
_WITH_SUFFIX = re.compile(r"(.+)~([0-9a-f]{10,64})((?:\.[^./]*)?)", re.DOTALL)
#: So many `_` of a key may have been `\` in the path, that all ways are tried.
_MOST_UNDERSCORES = 6


def original_path(key: str, roots: Collection[str]) -> str | None:
    """The path that a key with a suffix was made of; None for any other, or where none of these
    roots, and no spelling that is tried, gives that suffix."""
    found = _WITH_SUFFIX.fullmatch(key)
    if found is None:
        return None
    paths = _spellings(found[1] + found[3])
    for root, path in itertools.product(roots, paths):
        if _digest(f"{root}\0{path}").startswith(found[2]):
            return path
    return None


def beside(key: str, file_asset_id: int) -> str | None:
    """The file's own key, where this one is what `aside` has made of it; else None."""
    found = _WITH_SUFFIX.fullmatch(key)
    own = found and found[1] + found[3]
    if found and own and _digest(f"{file_asset_id}\0{own}").startswith(found[2]):
        return own
    return None


def _spellings(key: str) -> list[str]:
    parts = key.split("_")
    if len(parts) - 1 > _MOST_UNDERSCORES:
        ways = [key, key.replace("_", "\\")]
    else:
        between = itertools.product("_\\", repeat=len(parts) - 1)
        ways = ["".join(map("".join, zip(parts, (*marks, ""), strict=True))) for marks in between]
    return [unicodedata.normalize(form, way) for form in ("NFC", "NFD") for way in ways]


def fold(key: str) -> str:
    """What two keys share that a case-insensitive file system would take for one."""
    return unicodedata.normalize("NFC", key.casefold())


#: What rclone writes for characters that a service does not take: their full-width forms; `‛`
#: before one that was in the name itself. Which characters, is a setting of each remote.
_ENCODED = re.compile("‛(.)|[\uff01-\uff5e]|\u2420", re.DOTALL)


def as_on_disk(key: str) -> str:
    """A key with the characters that rclone has encoded as they were in the file's name.

    The very key where there are none. Names may have such characters of their own: a guess, for
    who compares contents afterwards.
    """
    return _ENCODED.sub(_decoded, key)


def _decoded(found: re.Match[str]) -> str:
    if found[1]:
        return found[1]
    return " " if found[0] == "\u2420" else chr(ord(found[0]) - 0xFEE0)


def _fit(key: str, suffix: str = "") -> str:
    """Put the suffix before the extension and cut parts, then the whole, to their limits."""
    if not suffix and len(key.encode()) <= MAX_SEGMENT_BYTES:
        return key  # nearly all
    *folders, name = key.split("/")
    path = PurePosixPath(name)
    extension = path.suffix
    stem = _cut(
        name.removesuffix(extension), MAX_SEGMENT_BYTES - len((suffix + extension).encode())
    )
    name = stem + suffix + extension
    room = MAX_KEY_BYTES - len(name.encode())
    parts = _cut("/".join(_cut(part, MAX_SEGMENT_BYTES) for part in folders), room - 1).split("/")
    while parts and parts[-1] in ("", ".", ".."):  # left by the cut
        parts.pop()
    parent = "/".join(parts)
    return f"{parent}/{name}" if parent else name


def _cut(text: str, size: int) -> str:
    """The longest beginning of the text that is at most `size` bytes of UTF-8."""
    return text.encode()[: max(size, 0)].decode(errors="ignore")
