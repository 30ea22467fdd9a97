"""Opens a file with that reader of mutagen which its content calls for, and finds all its tags.

Not `mutagen.File`, which goes by the name as much as by the content, takes all that has an ID3v2
tag in front for MP3, and reads one kind of tag of a file that may have three.
"""

from __future__ import annotations

import errno
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any, BinaryIO, TypeVar

from catalogsync_assets.core.files.formats import LOOKED_AT, look
from catalogsync_assets.core.library.endings import is_cut_off
from catalogsync_assets.core.library.tags_digest import digest_of

# kind -> the class that reads it.
_READERS = {
    "aac": "aac:AAC",
    "ac3": "ac3:AC3",
    "aiff": "aiff:AIFF",
    "ape": "monkeysaudio:MonkeysAudio",
    "dff": "dsdiff:DSDIFF",
    "dsf": "dsf:DSF",
    "eac3": "ac3:AC3",
    "flac": "flac:FLAC",
    "m4a": "mp4:MP4",
    "mp1": "mp3:MP3",
    "mp2": "mp3:MP3",
    "mp3": "mp3:MP3",
    "mpc": "musepack:Musepack",
    "ofr": "optimfrog:OptimFROG",
    "opus": "oggopus:OggOpus",
    "spx": "oggspeex:OggSpeex",
    "tak": "tak:TAK",
    "tta": "trueaudio:TrueAudio",
    "wav": "wave:WAVE",
    "wma": "asf:ASF",
    "wv": "wavpack:WavPack",
}
# Of other Ogg files: mark and class. It stands in the first page, or behind that of a skeleton.
_OGG_READERS = {
    b"\x01vorbis": "oggvorbis:OggVorbis",
    b"\x7fFLAC": "oggflac:OggFLAC",
    b"\x80theora": "oggtheora:OggTheora",
}
# They have no place of their own for tags: those stand before and behind them.
_BARE = frozenset(("aac", "ac3", "eac3", "mp1", "mp2", "mp3", "tta"))
# Bytes at a file's end in which an APEv2 tag shows, with an ID3v1 tag behind it, or one of
# Lyrics3 that may stand between the two.
_END = 160
# Bounds for a file that is no more than a row of empty chunks.
_MAX_CHUNKS, _MAX_INFO = 1_000, 1024 * 1024
# Far more than any tag with its pictures, and than the pages of a day of Ogg.
_MAX_READ, _MAX_READS = 128 * 1024 * 1024, 1_000_000
# Bytes of a second at least: of MPEG audio 8 kbit/s; of others about what silence takes.
_LEAST_RATE, _LEAST_OF_OTHERS = dict.fromkeys(("mp1", "mp2", "mp3"), 1_000), 16
# Kinds whose header says how many bits a second has: what the file may have less of them, packed.
_UNPACKED = {"aiff": 8, "dff": 8, "dsf": 1, "wav": 1}
_T = TypeVar("_T")


@dataclass
class Audio:
    """What mutagen finds in a file."""

    kind: str | None  #: the extension that the content calls for; None if it is not known
    #: What mutagen has made of the file's tags, those that count more first.
    tags: list[Mapping[str, Any] | list[tuple[str, Any]]] = field(default_factory=list)
    seconds: float | None = None  #: its length, where it has one that can be true
    tags_digest: str | None = None  #: see `tags_digest`; None unless all tags were read
    audio_digest: str | None = None  #: of the sound, in hex, where the container keeps one
    is_cut_off: bool = False  #: whether it ends before the sound that its own header tells of
    #: Why something could not be read; empty if all could.
    troubles: list[str] = field(default_factory=list)


def read_audio(file: BinaryIO) -> Audio:
    """All tags of a file, and its length.

    Whatever mutagen raises becomes one of the `troubles`; the rest is read.

    Args:
        file: open for reading in binary, and with a `name`.

    Raises:
        OSError: the file cannot be read.
    """

    def read_at(offset: int, size: int) -> bytes:
        file.seek(offset)
        return file.read(size)

    content = look(read_at)
    audio = Audio(content.kind)
    behind = _From(file, content.offset)
    native = _attempt(audio, _native, behind, content.kind)
    own = getattr(native, "tags", None)
    other = [
        _attempt(audio, _load, "id3:ID3", _From(file, at), load_v1=False) for at in content.id3
    ]
    other += [_attempt(audio, _load, "apev2:APEv2", _From(file, at)) for at in content.ape]
    if content.kind == "wav":
        other.append(_attempt(audio, _riff_info, behind))
    if content.kind in _BARE or not (own or any(other)):
        end = read_at(max(file.seek(0, io.SEEK_END) - _END, 0), _END)
        if b"APETAGEX" in end or b"LYRICS200" in end:
            other.append(_attempt(audio, _load, "apev2:APEv2", behind))
        if own is None and end[-128:-125] == b"TAG":
            own = _attempt(audio, _load, "id3:ID3", behind)
    audio.tags = [
        tags for tags in ([*other, own] if content.kind in _BARE else [own, *other]) if tags
    ]
    if native is None and not audio.troubles:
        audio.troubles.append(
            f"{content.kind} files cannot be read"
            if content.kind
            else "its content is not of a known audio format"
        )
    info = getattr(native, "info", None)
    audio.seconds = _seconds(info, content.kind, file)
    # FLAC's, also in Ogg; zero where the encoder could not go back to write it.
    if md5 := getattr(info, "md5_signature", 0):
        audio.audio_digest = f"{md5:032x}"
    if not audio.troubles:
        pictures = getattr(native, "pictures", ())
        audio.tags_digest = _attempt(audio, digest_of, audio.tags, pictures)
        # What keeps us from a verdict is no trouble with its tags.
        audio.is_cut_off = bool(_attempt(Audio(None), is_cut_off, behind, content.kind, info))
    return audio


def _attempt(audio: Audio, function: Callable[..., _T], *of: Any, **more: Any) -> _T | None:
    try:
        return function(*of, **more)
    except Exception as error:  # mutagen's parsers let IndexError, struct.error and others through
        if not isinstance(
            error, (_class("id3:ID3NoHeaderError"), _class("apev2:APENoHeaderError"))
        ):
            audio.troubles.append(str(error) or type(error).__name__)
        return None


def _native(file: _From, kind: str | None) -> Any:
    """What the content's own reader says; None if there is none."""
    if kind is None:
        import mutagen

        file.seek(0)
        return mutagen.File(file)
    reader = _READERS.get(kind)
    if kind == "ogg":
        file.seek(0)
        head = file.read(LOOKED_AT)
        reader = next((name for mark, name in _OGG_READERS.items() if mark in head), None)
    return _load(reader, file) if reader else None


def _riff_info(file: _From) -> list[tuple[str, str]]:
    """The INFO list of a WAV, which many programs write instead of ID3 and mutagen leaves alone."""
    found, at = list[tuple[str, str]](), 12
    for _ in range(_MAX_CHUNKS):
        file.seek(at)
        name, size = _chunk(file.read(8))
        if name == b"LIST":
            content, inner = file.read(min(size, _MAX_INFO)), 4
            while content.startswith(b"INFO") and inner + 8 <= len(content):
                name, length = _chunk(content[inner : inner + 8])
                text = content[inner + 8 : inner + 8 + length].split(b"\0")[0]
                try:
                    found.append((name.decode("latin-1"), text.decode()))
                except UnicodeDecodeError:  # it says nowhere how it is encoded
                    found.append((name.decode("latin-1"), text.decode("cp1252", "replace")))
                inner += 8 + length + length % 2
        if not name:
            break
        at += 8 + size + size % 2
    return found


def _chunk(header: bytes) -> tuple[bytes, int]:
    return header[:4], int.from_bytes(header[4:8], "little")


def _load(name: str, file: _From, **more: Any) -> Any:
    file.seek(0)
    return _class(name)(file, **more)


@cache
def _class(name: str) -> Any:
    # Imported here: a scan that finds nothing new must not pay for it.
    module, _, attribute = name.partition(":")
    return getattr(import_module(f"mutagen.{module}"), attribute)


def _seconds(info: object, kind: str | None, file: BinaryIO) -> float | None:
    """The length, if the file is large enough for it: headers are cut, or written too early."""
    length = getattr(info, "length", None)
    if not isinstance(length, int | float):
        return None
    size = file.seek(0, io.SEEK_END)
    least: float = _LEAST_RATE.get(kind or "", _LEAST_OF_OTHERS)
    if kind in _UNPACKED:
        least = max(getattr(info, "bitrate", 0) / 8 / _UNPACKED[kind], least)
    return (round(float(length), 3) or None) if 0 < length * least <= size else None


class _From:
    """A file from some offset on, as if there were nothing before; no reader gets lost in it.

    A spoilt header may ask for all of a large file at once, and garbage be a million empty parts.
    """

    def __init__(self, file: BinaryIO, start: int) -> None:
        self._file = file
        self._start = start
        self._reads = 0
        self.name = file.name
        if not start:  # nearly all, and it is asked for often
            self.tell, self.seek = file.tell, file.seek  # type: ignore

    def read(self, size: int = -1) -> bytes:
        self._reads += 1
        if self._reads > _MAX_READS:
            raise ValueError("it has too many parts")
        if size > _MAX_READ:
            raise ValueError(f"a part of it claims {size:,} bytes")
        return self._file.read(size if size >= 0 else _MAX_READ)

    def tell(self) -> int:
        return self._file.tell() - self._start

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET:
            offset += self.tell() if whence == io.SEEK_CUR else self._size()
        if offset < 0:
            raise OSError(errno.EINVAL, "seek to before the beginning")
        return self._file.seek(self._start + offset) - self._start

    def _size(self) -> int:
        return max(self._file.seek(0, io.SEEK_END) - self._start, 0)
