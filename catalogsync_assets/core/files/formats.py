"""The formats: which extensions are music, which are of files beside it, what they are called.

Python's `mimetypes` knows neither FLAC nor Opus nor M4A, and asks the machine for the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

#: Extension (lower case, no dot) -> media type, as IANA registers it where it does.
MEDIA_TYPES = {
    "aac": "audio/aac",
    "ac3": "audio/ac3",
    "adts": "audio/aac",
    "aif": "audio/aiff",
    "aifc": "audio/aiff",
    "aiff": "audio/aiff",
    "ape": "audio/x-ape",
    "asf": "audio/x-ms-wma",
    "dff": "audio/x-dff",
    "dsf": "audio/x-dsf",
    "eac3": "audio/eac3",
    "flac": "audio/flac",
    "m4a": "audio/mp4",
    "m4b": "audio/mp4",
    "m4p": "audio/mp4",
    "m4r": "audio/mp4",
    "mka": "audio/matroska",
    "mp+": "audio/x-musepack",
    "mp1": "audio/mpeg",
    "mp2": "audio/mpeg",
    "mp3": "audio/mpeg",
    "mp4": "audio/mp4",
    "mpc": "audio/x-musepack",
    "ofr": "audio/x-optimfrog",
    "ofs": "audio/x-optimfrog",
    "oga": "audio/ogg",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",
    "spx": "audio/ogg",
    "tak": "audio/x-tak",
    "tta": "audio/x-tta",
    "wav": "audio/wav",
    "wave": "audio/wav",
    "weba": "audio/webm",
    "webm": "audio/webm",
    "wma": "audio/x-ms-wma",
    "wv": "audio/x-wavpack",
}
#: Of files beside music: extension -> the kind of file, and its media type.
COMPANION_TYPES = {
    "avif": ("image", "image/avif"),
    "bmp": ("image", "image/bmp"),
    "catalogsyncignore": ("rules", "text/plain"),  # a scan's own: `files.ignore`
    "cue": ("cue", "application/x-cue"),
    "gif": ("image", "image/gif"),
    "heic": ("image", "image/heic"),
    "jpeg": ("image", "image/jpeg"),
    "jpg": ("image", "image/jpeg"),
    "jxl": ("image", "image/jxl"),
    "log": ("log", "text/plain"),
    "lrc": ("lyrics", "text/plain"),
    "m3u": ("playlist", "audio/mpegurl"),
    "m3u8": ("playlist", "application/vnd.apple.mpegurl"),
    "md": ("text", "text/markdown"),
    "nfo": ("nfo", "text/plain"),
    "pdf": ("pdf", "application/pdf"),
    "pls": ("playlist", "audio/x-scpls"),
    "png": ("image", "image/png"),
    "rtf": ("text", "application/rtf"),
    "tif": ("image", "image/tiff"),
    "tiff": ("image", "image/tiff"),
    "txt": ("text", "text/plain"),
    "webp": ("image", "image/webp"),
    "xspf": ("playlist", "application/xspf+xml"),
}
_UNKNOWN_TYPE = "application/octet-stream"


def extension(name: str) -> str:
    """The extension in lower case without its dot; empty if there is none."""
    return name.rpartition(".")[2].lower() if "." in name else ""


def media_type(name: str) -> str:
    """What to call the content of a file of this name in a Content-Type header."""
    ending = extension(name)
    return MEDIA_TYPES.get(ending) or COMPANION_TYPES.get(ending, ("", _UNKNOWN_TYPE))[1]


#: Of extensions that have a media type in common, those that are meant.
_USUAL = ("jpg", "m4a", "mp3", "ogg", "txt", "wma")
_EXTENSIONS = {
    kind: ending
    for ending, kind in (
        *((e, kind) for e, (_, kind) in COMPANION_TYPES.items()),
        *MEDIA_TYPES.items(),
        *((e, media_type(f"x.{e}")) for e in _USUAL),
    )
}


def extension_for(kind: str) -> str:
    """The usual extension of a file of a media type; empty where there is none.

    Args:
        kind: as `media_type` gives it; what follows a semicolon does not count.
    """
    return _EXTENSIONS.get(kind.partition(";")[0].strip().lower(), "")


def format_of(name: str, kind: str | None) -> str:
    """What to call the format of a file: as its name does, unless its content is another.

    Args:
        kind: the extension that its content calls for; None if that is not known.
    """
    if kind is None or media_type(name) == MEDIA_TYPES[kind]:
        return extension(name)
    return kind


class Content(NamedTuple):
    """What the content of a file is."""

    kind: str | None  #: the extension that it calls for; None if it is not known
    #: Where it begins, in bytes: behind the ID3v2 and APEv2 tags in front of it, and the zeros that
    #: some programs leave there.
    offset: int
    id3: tuple[int, ...] = ()  #: where tags of ID3v2 begin
    ape: tuple[int, ...] = ()  #: where those of APEv2 do

    @property
    def is_audio(self) -> bool:
        """Whether it is a kind of audio, if only by a tag that nothing else has."""
        return self.kind is not None or bool(self.id3 or self.ape)


#: How many bytes `look` wants to see of content without a tag, where there are as many. In an Ogg
#: file the first page, of at most 108 bytes, may be that of a skeleton.
LOOKED_AT = 256
# More tags than anybody has put in front of a file, and more zeros behind them.
_MAX_TAGS = 32
_MAX_ZEROS = 1024 * 1024
_ID3_HEADER = 10
_APE_HEADER = 32
# Where a format's mark lies, the mark, the extension; from the formats' specifications.
_MARKS = (
    (0, b"fLaC", "flac"),
    (0, b"OggS", "ogg"),
    (4, b"ftyp", "m4a"),
    (0, b"wvpk", "wv"),
    (0, b"MAC ", "ape"),
    (0, b"MACF", "ape"),
    (0, b"MPCK", "mpc"),
    (0, b"MP+", "mpc"),
    (0, b"TTA1", "tta"),
    (0, b"TTA2", "tta"),
    (0, b"tBaK", "tak"),
    (0, b"OFR ", "ofr"),
    (0, b"DSD ", "dsf"),
    (0, b"FRM8", "dff"),
    (0, b"ADIF", "aac"),
    (0, b"\x1a\x45\xdf\xa3", "mka"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "wma"),
)
# Behind such a mark, what tells one extension from another.
_WITHIN = (
    ("ogg", b"OpusHead", "opus"),
    ("ogg", b"Speex   ", "spx"),
    ("mka", b"\x42\x82\x84webm", "webm"),
)
_CONTAINERS = {
    (b"RIFF", b"WAVE"): "wav",
    (b"RF64", b"WAVE"): "wav",
    (b"FORM", b"AIFF"): "aiff",
    (b"FORM", b"AIFC"): "aiff",
}


def look(read: Callable[[int, int], bytes]) -> Content:
    """What the content of a file is.

    Args:
        read: `read(offset, size)` gives these bytes of the file, fewer at its end.
    """
    offset, id3, ape = 0, list[int](), list[int]()
    head = read(0, LOOKED_AT)
    while len(id3) + len(ape) < _MAX_TAGS:
        if head.startswith(b"ID3") and len(head) >= _ID3_HEADER:
            id3.append(offset)
            offset += _ID3_HEADER + _id3_size(head[6:10])
            if read(offset, 3) == b"3DI":  # it may have a footer, which its size does not count
                offset += _ID3_HEADER
        elif head.startswith(b"APETAGEX") and len(head) >= _APE_HEADER:
            ape.append(offset)
            offset += _APE_HEADER + int.from_bytes(head[12:16], "little")
        else:
            break
        head = read(offset, LOOKED_AT)
    kind = _kind(head)
    if kind is None and head[:1] == b"\0":
        behind = _behind_zeros(read, offset)
        # An MP4 file itself begins with the zeros of a size.
        for at in (behind, max(behind - 3, offset)):
            if kind := _kind(read(at, LOOKED_AT)):
                offset = at
                break
    return Content(kind, offset, tuple(id3), tuple(ape))


def _behind_zeros(read: Callable[[int, int], bytes], offset: int) -> int:
    end = offset + _MAX_ZEROS
    while offset < end and (block := read(offset, 4096)):
        if rest := block.lstrip(b"\0"):
            return offset + len(block) - len(rest)
        offset += len(block)
    return offset


def _id3_size(digits: bytes) -> int:
    """Seven bits a byte; some programs write eight, which shows where the eighth is set."""
    bits = 8 if max(digits) & 0x80 else 7
    size = 0
    for digit in digits:
        size = size << bits | digit
    return size


def _kind(head: bytes) -> str | None:
    for at, mark, kind in _MARKS:
        if head[at : at + len(mark)] == mark:
            return next((k for of, mark, k in _WITHIN if of == kind and mark in head), kind)
    return _CONTAINERS.get((head[:4], head[8:12])) or _bare_frames(head)


def _bare_frames(head: bytes) -> str | None:
    """MPEG audio, AAC and AC-3 begin with a frame's header of which only some bits are fixed."""
    if head[:2] == b"\x0b\x77" and len(head) > 5:  # noqa: PLR2004
        return "ac3" if head[5] >> 3 <= 10 else "eac3"  # noqa: PLR2004
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:  # noqa: PLR2004
        return None
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    if layer == 0 and head[1] & 0xF0 == 0xF0:  # noqa: PLR2004
        return "aac"
    bit_rate, sample_rate = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 0 or bit_rate == 0xF or sample_rate == 3:  # noqa: PLR2004
        return None
    return {1: "mp3", 2: "mp2", 3: "mp1"}[layer]
