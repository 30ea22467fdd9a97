"""Reads what a file says of itself, with mutagen."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

from catalogsync_assets.core.catalog.files import UNREADABLE, FileFacts
from catalogsync_assets.core.catalog.songs import ARTIST_JOINER
from catalogsync_assets.core.files.formats import extension, format_of
from catalogsync_assets.core.files.opening import FileStat, open_regular
from catalogsync_assets.core.library.containers import Audio, read_audio

#: Of a file that says itself that its end is missing.
CUT_OFF = "its end is missing: it is shorter than its own header says"
#: Characters of a text that are kept; the longest title that was found has 865.
MAX_TEXT = 1_000
#: No song has more.
_MAX_ARTISTS = 100
# What tags call it, by container: ID3v2 (2.2 is translated by mutagen), Vorbis comments and APEv2,
# MP4, ASF, the INFO list of WAV. Without regard to case, and without the prefix of freely named
# ones (`TXXX:`, `----:com.apple.iTunes:`). The first that says something counts.
_NAMES = {
    "title": ("tit2", "title", "\xa9nam", "inam"),
    "artist": ("tpe1", "artist", "\xa9art", "author", "iart"),
    "artists": ("artists", "wm/artists"),
    "album artist": (
        *("tpe2", "albumartist", "album artist", "album_artist"),
        *("aart", "wm/albumartist"),
    ),
    "album": ("talb", "album", "\xa9alb", "wm/albumtitle", "iprd"),
    "track": (
        *("trck", "tracknumber", "track"),
        *("trkn", "wm/tracknumber", "itrk", "iprt"),
    ),
    "disc": ("tpos", "discnumber", "disc", "disk", "wm/partofset"),
    # MusicBrainz's ids, as its tagger writes them.
    "recording": (
        *("ufid:http://musicbrainz.org", "musicbrainz_trackid", "musicbrainz track id"),
        "musicbrainz/track id",
    ),
    "release track": (
        *("musicbrainz_releasetrackid", "musicbrainz release track id"),
        "musicbrainz/release track id",
    ),
}
# By name: what it says, and how many names for that come before it.
_MEANINGS = {
    name: (what, rank) for what, names in _NAMES.items() for rank, name in enumerate(names)
}
# A leading track number in a file name: "03 Title", "03. Title", "1-03 - Title".
_NUMBERED = re.compile(r"^(?:\d{1,2}-)?\d{1,3}[\s._-]+(?=\S)")
_BETWEEN_PEOPLE = re.compile(f"\0|{ARTIST_JOINER}")
_NUMBER = re.compile(r"0*(\d{1,4})(?![-.]?\d)", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Tags:
    """A file's tags. The title falls back to the file's name; all else may be None."""

    title: str
    format: str
    #: As it is shown: of several, all in one text with `ARTIST_JOINER` between them.
    artist: str | None = None
    album: str | None = None
    track_number: int | None = None
    disc_number: int | None = None
    duration_seconds: float | None = None
    artists: tuple[str, ...] = ()  #: each of them
    #: As in `FileFacts`.
    tags_digest: str | None = None
    audio_digest: str | None = None
    recording_id: str | None = None
    release_track_id: str | None = None

    @property
    def match_key(self) -> str | None:
        """Equal for two files of the same recording; None where the tags say too little."""
        if not (self.artist and self.album and self.track_number and self._has_title):
            return None
        # The first artist: one container holds all of them, another has room for one.
        artist = self.artist.split(ARTIST_JOINER)[0] or self.artist
        parts = (artist, self.album, self.disc_number or 1, self.track_number, self.title)
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
    """The tags of a file, and what is wrong with it, or None: why they, or some of them, could not
    be read, or that its end is missing.

    A file with unreadable tags is still music to keep: it gets its name for a title.
    """
    try:
        with BufferedReader(open_regular(path)) as file:
            return tags_in(file, path)
    except OSError as error:
        return _tags(Audio(None), path), f"{UNREADABLE}{error.strerror or error}"


def tags_in(file: BinaryIO, path: Path) -> tuple[Tags, str | None]:
    """The same of an open file; see `containers.read_audio`.

    Args:
        path: what it is called, or is to be called.

    Raises:
        OSError: it cannot be read.
    """
    audio = read_audio(file)
    why = clean(audio.troubles[0], 200) if audio.troubles else None
    if why and audio.tags:
        why = f"some of its tags cannot be read ({why})"
    elif why:
        why = f"its tags cannot be read ({why})"
    elif audio.is_cut_off:
        why = CUT_OFF
    return _tags(audio, path), why


def read_facts(
    root: Path, path: str, stat: FileStat, *, companion: str | None = None, **more: Any
) -> FileFacts:
    """What there is to record of a file, with its tags; see `read_tags`.

    Args:
        path: below the root.
        stat: what the file system says of it.
        companion: what kind of file it is beside music, which is not opened; None of music.
        more: other values of `FileFacts`.
    """
    if companion is not None:
        kind, place = extension(path), str(root / path)
        return FileFacts(
            path, place, format=kind, song={}, companion=companion, **stat._asdict(), **more
        )
    file = root / path
    return _facts(read_tags(file), str(file), path, stat, **more)


def facts_of(
    read: tuple[Tags, str | None], root: Path, path: str, stat: FileStat, **more: Any
) -> FileFacts:
    """The same, where the tags have been read already."""
    return _facts(read, str(root / path), path, stat, **more)


def _facts(
    read: tuple[Tags, str | None], place: str, path: str, stat: FileStat, **more: Any
) -> FileFacts:
    tags, trouble = read
    return FileFacts(
        path=path,
        absolute_path=place,
        **stat._asdict(),
        format=tags.format,
        song=tags.song,
        artists=tags.artists,
        tags_error=trouble,
        tags_digest=tags.tags_digest,
        audio_digest=tags.audio_digest,
        recording_id=tags.recording_id,
        release_track_id=tags.release_track_id,
        **more,
    )


def guessed_titles(path: Path) -> tuple[str, str]:
    """What a song is called whose file, of this name, has no title."""
    return _NUMBERED.sub("", path.stem) or path.stem, path.stem


def _tags(audio: Audio, path: Path) -> Tags:
    found: dict[str, list[str]] = {}
    for tags in audio.tags:
        for what, values in _texts(tags).items():
            found.setdefault(what, values)

    def text(what: str) -> str | None:
        return next((t for value in found.get(what, ()) if (t := clean(value))), None)

    title = text("title")
    shown, each = _people(found.get("artist", ())), _people(found.get("artists", ()))
    shown = shown or each or _people(found.get("album artist", ()))
    return Tags(
        title=title or guessed_titles(path)[0],
        format=format_of(path.name, audio.kind),
        artist=_joined(shown),
        album=text("album"),
        track_number=_number(text("track")),
        disc_number=_number(text("disc")),
        duration_seconds=audio.seconds,
        artists=tuple(dict.fromkeys([*shown, *each])),
        tags_digest=audio.tags_digest,
        audio_digest=audio.audio_digest,
        recording_id=_uuid(text("recording")),
        release_track_id=_uuid(text("release track")),
        _has_title=title is not None,
    )


def _texts(tags: Mapping[str, Any] | list[tuple[str, Any]]) -> dict[str, list[str]]:
    """The texts of those tags that we want, by what they say: a key of `_NAMES`."""
    texts: dict[str, list[str]] = {}
    # Vorbis comments and ASF attributes are lists of pairs, and slow as mappings.
    for key, value in tags if isinstance(tags, list) else tags.items():
        name = key.lower()
        if ":" in name and name.startswith(("txxx:", "----:")):
            name = name.rpartition(":")[2]
        if name in _MEANINGS and (values := [t for t in _values(value) if clean(t)]):
            texts.setdefault(name, []).extend(values)
    of: dict[str, tuple[int, list[str]]] = {}
    for name, values in texts.items():
        what, rank = _MEANINGS[name]
        if what not in of or rank < of[what][0]:
            of[what] = rank, values
    return {what: values for what, (_, values) in of.items()}


def _values(value: Any) -> Iterator[str]:
    """All texts of a value as one of mutagen's containers gives it."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, bytes):  # a free-form atom of MP4
        yield value.decode(errors="ignore")
    elif isinstance(value, tuple):  # number and count of MP4
        yield from map(str, value[:1])
    elif isinstance(value, int):
        yield str(value)
    else:
        # Of ID3; of ASF and APEv2; of an identifier in ID3.
        names = ("text", "value", "data")
        inner = next((getattr(value, n) for n in names if hasattr(value, n)), value)
        if isinstance(inner, str):
            inner = inner.split("\0")
        for item in inner if isinstance(inner, list) else [inner]:
            yield from _values(item) if item is not value else ()


def _people(texts: Iterable[str]) -> list[str]:
    names = (clean(name) for text in texts for name in _BETWEEN_PEOPLE.split(text))
    return list(dict.fromkeys(name for name in names if name))[:_MAX_ARTISTS]


def _joined(names: list[str]) -> str | None:
    while len(shown := ARTIST_JOINER.join(names)) > MAX_TEXT:
        names = names[:-1]
    return shown or None


def clean(text: str, most: int = MAX_TEXT) -> str | None:
    """Without the NULs, line breaks and lone surrogates that tags come with; or None, if nothing is
    left that can be seen.

    Args:
        most: characters that are kept.
    """
    if text.isprintable() and 0 < len(text) <= most and "  " not in text and text == text.strip():
        return text  # nearly all
    usable = text.encode("utf-8", errors="ignore").decode().replace("\0", " ")
    # A UTF-16 text of several values may have a byte order mark before each.
    text = " ".join(usable.replace("\ufeff", "").split())[:most].rstrip()
    return text if any(c.isprintable() for c in text.replace(" ", "")) else None


def _uuid(text: str | None) -> str | None:
    """In lower case; None of what is no UUID."""
    lower = (text or "").lower()
    return lower if _UUID.fullmatch(lower) else None


def _number(text: str | None) -> int | None:
    """The 3 of `3`, `03` and `3/12`; none of `1-03` or of a number that no track has."""
    match = _NUMBER.match(text or "")
    return (int(match[1]) or None) if match else None
