"""Reads what a file says of itself, with mutagen."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

from catalogsync_assets.core.files.opening import open_regular
from catalogsync_assets.core.library.formats import extension

# A leading track number in a file name: "03 Title", "03. Title", "1-03 - Title".
_NUMBERED = re.compile(r"^(?:\d{1,2}-)?\d{1,3}[\s._-]+(?=\S)")


@dataclass(frozen=True)
class Tags:
    """A file's tags. The title falls back to the file's name; all else may be None."""

    title: str
    format: str
    artist: str | None = None
    album: str | None = None
    track_number: int | None = None
    disc_number: int | None = None
    duration_seconds: float | None = None

    @property
    def match_key(self) -> str | None:
        """Equal for two files of the same recording; None where the tags say too little."""
        if not (self.artist and self.album and self.track_number and self._has_title):
            return None
        parts = (self.artist, self.album, self.disc_number or 1, self.track_number, self.title)
        return "\x1f".join(
            unicodedata.normalize("NFC", str(part).casefold().strip()) for part in parts
        )

    @property
    def song(self) -> dict[str, Any]:
        """Column values of `songs`, by name."""
        return {
            "title": self.title,
            "artist": self.artist,
            "album": self.album,
            "track_number": self.track_number,
            "disc_number": self.disc_number,
            "duration_seconds": self.duration_seconds,
            "match_key": self.match_key,
        }

    _has_title: bool = False


def read_tags(path: Path) -> tuple[Tags, str | None]:
    """The tags of a file, and why they could not be read, or None.

    A file with unreadable tags is still music to keep: it gets its name for a title.
    """
    # Imported here: a scan that finds nothing new must not pay for it.
    import mutagen

    kind = extension(path.name)
    fallback = Tags(title=_NUMBERED.sub("", path.stem) or path.stem, format=kind)
    try:
        with BufferedReader(open_regular(path)) as content:
            file = mutagen.File(content, easy=True)
    except OSError as error:
        return fallback, f"cannot be read: {error.strerror or error}"
    except Exception as error:  # mutagen's parsers let IndexError, struct.error and others through
        # It wraps an OSError of the disk in its own type.
        return fallback, f"its tags cannot be read ({error or type(error).__name__})"
    if file is None:
        return fallback, "its content is not of a known audio format"
    return _from(file, fallback), None


def _from(file: object, fallback: Tags) -> Tags:
    tags = getattr(file, "tags", None)
    # WAV and AIFF hold plain ID3 frames, which have no easy names.
    named = {"title": "TIT2", "artist": "TPE1", "album": "TALB", "tracknumber": "TRCK"}
    named["discnumber"] = "TPOS"

    def first(name: str) -> str | None:
        for key in (name, named[name]):
            try:
                value = tags[key] if tags is not None else None
            except (KeyError, ValueError):
                continue
            text = getattr(value, "text", value)
            if text:
                return clean(str(text[0] if isinstance(text, list) else text))
        return None

    title = first("title")
    length = getattr(getattr(file, "info", None), "length", None)
    return Tags(
        title=title or fallback.title,
        format=fallback.format,
        artist=first("artist"),
        album=first("album"),
        track_number=_number(first("tracknumber")),
        disc_number=_number(first("discnumber")),
        duration_seconds=round(float(length), 3) if length else None,
        _has_title=title is not None,
    )


def clean(text: str) -> str | None:
    """Without the NULs, line breaks and lone surrogates that tags come with; or None."""
    usable = text.encode("utf-8", errors="ignore").decode().replace("\0", " ")
    return " ".join(usable.split()) or None


def _number(text: str | None) -> int | None:
    """The 3 of `3`, `03` and `3/12`."""
    match = re.match(r"\d{1,6}", text or "", re.ASCII)
    return int(match[0]) if match else None
