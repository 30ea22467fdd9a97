"""What a new file is called: from a song, a key or a server's suggestion to a safe path.

Nothing that a server or a manifest says leads out of the library root, hides a file from a scan or
is refused by a common file system, so that a library can be moved to another disk.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from catalogsync_assets.core.files.formats import MEDIA_TYPES, extension, media_type
from catalogsync_assets.core.files.ignore import is_of_other_programs

#: What file systems allow in bytes for one name.
MAX_NAME_BYTES = 255
_FALLBACK = "untitled"
# Refused by Windows and by exFAT, the file system of most portable disks.
_REFUSED = re.compile(r'[/\\:*?"<>|]')
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]) *(?:\.|$)", re.I)
# They turn the rest of a line around: `\u202egpj.mp3` would be shown as something else.
_DIRECTIONS = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def safe_name(text: str) -> str:
    """One name, not a path, at most `MAX_NAME_BYTES` bytes with its extension kept; NFC."""
    plain = unicodedata.normalize("NFC", text)
    plain = "".join(c for c in plain if _is_kept(c))
    stem, ending = _split(_REFUSED.sub("_", plain).strip().rstrip(". "))
    stem = stem.rstrip(". ") or _FALLBACK
    if stem.startswith("."):  # hidden, or a way out
        stem = "_" + stem.lstrip(".")
    if _RESERVED.match(stem) or is_of_other_programs(stem, folder=True):
        stem = "_" + stem
    return _fit(stem + ending, "")


def _is_kept(character: str) -> bool:
    kind = unicodedata.category(character)
    return kind not in ("Cc", "Cs", "Zl", "Zp") and character not in _DIRECTIONS


def _split(name: str) -> tuple[str, str]:
    """The name, and its extension with the dot if it is one of music."""
    kind = extension(name)
    ending = name[-len(kind) - 1 :] if kind in MEDIA_TYPES else ""
    return name.removesuffix(ending), ending


def _fit(name: str, suffix: str) -> str:
    """Put the suffix before the extension, and cut what is before it."""
    stem, ending = _split(name)
    room = MAX_NAME_BYTES - len((suffix + ending).encode())
    return stem.encode()[:room].decode(errors="ignore").rstrip(" .") + suffix + ending


def name_in_url(url: str) -> str:
    """The last part of an address's path, decoded; empty if there is none."""
    try:
        path = urlsplit(url).path
    except ValueError:
        path = url
    name = path.rstrip("/").rpartition("/")[2]
    try:
        return unquote(name, errors="strict")
    except UnicodeDecodeError:
        return unquote(name, "windows-1252", errors="replace")  # %E9, of before RFC 3986


def guessed_title(url: str) -> str:
    """A title for a song that is known only by its address."""
    stem, _ = _split(unicodedata.normalize("NFC", name_in_url(url)))
    text = "".join(c if _is_kept(c) else " " for c in stem)
    return " ".join(text.split()) or _FALLBACK


def target_path(
    *,
    title: str | None,
    artist: str | None,
    album: str | None,
    track_number: int | None,
    offered: str,
    kind: str,
) -> str:
    """Where a file belongs below its root: `Artist/Album/NN Title.ext`, else the name offered.

    Args:
        title, artist, album: of the song; with one of them unknown, `offered` is taken.
        offered: the name that the server or the address gives it.
        kind: the extension that its content calls for; one of `offered` that means the same stays.
    """
    if title and artist and album:
        number = f"{track_number:02d} " if track_number else ""
        name = f"{number}{title}.{kind}"
        return "/".join((safe_name(artist), safe_name(album), safe_name(name)))
    name = offered.replace("\\", "/").rpartition("/")[2]
    if media_type(name) != media_type(f"x.{kind}"):
        name = f"{_split(name)[0]}.{kind}"
    return safe_name(name)


def alternatives(path: str, digest: str) -> Iterator[str]:
    """The path, and what to call the file where another one has that name: ` (2)` and on.

    Args:
        digest: of the content, in hex; tells files apart where very many share a name.
    """
    folder, slash, name = path.rpartition("/")
    yield path
    for number in range(2, 10):
        yield folder + slash + _fit(name, f" ({number})")
    for length in range(10, len(digest) + 1):
        yield folder + slash + _fit(name, f"~{digest[:length]}")
