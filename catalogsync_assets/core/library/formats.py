"""The audio formats: which extensions are music, and what they are called.

Python's `mimetypes` knows neither FLAC nor Opus nor M4A, and asks the machine for the rest.
"""

from __future__ import annotations

#: Extension (lower case, no dot) -> media type, as IANA registers it where it does.
MEDIA_TYPES = {
    "aac": "audio/aac",
    "aif": "audio/aiff",
    "aiff": "audio/aiff",
    "ape": "audio/x-ape",
    "dff": "audio/x-dff",
    "dsf": "audio/x-dsf",
    "flac": "audio/flac",
    "m4a": "audio/mp4",
    "m4b": "audio/mp4",
    "mka": "audio/matroska",
    "mp2": "audio/mpeg",
    "mp3": "audio/mpeg",
    "mpc": "audio/x-musepack",
    "oga": "audio/ogg",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",
    "spx": "audio/ogg",
    "tta": "audio/x-tta",
    "wav": "audio/wav",
    "wma": "audio/x-ms-wma",
    "wv": "audio/x-wavpack",
}


def extension(name: str) -> str:
    """The extension in lower case without its dot; empty if there is none."""
    return name.rpartition(".")[2].lower() if "." in name else ""


def media_type(name: str) -> str:
    """What to call the content of a file of this name in a Content-Type header."""
    return MEDIA_TYPES.get(extension(name), "application/octet-stream")


#: How many bytes `sniff` wants to see, where there are as many.
SNIFFED = 64
# Where a format's mark lies, the mark, the extension; from the formats' specifications.
_MARKS = (
    (0, b"fLaC", "flac"),
    (0, b"ID3", "mp3"),
    (0, b"OggS", "ogg"),
    (4, b"ftyp", "m4a"),
    (0, b"wvpk", "wv"),
    (0, b"MAC ", "ape"),
    (0, b"MPCK", "mpc"),
    (0, b"MP+", "mpc"),
    (0, b"TTA1", "tta"),
    (0, b"TTA2", "tta"),
    (0, b"DSD ", "dsf"),
    (0, b"FRM8", "dff"),
    (0, b"ADIF", "aac"),
    (0, b"\x1a\x45\xdf\xa3", "mka"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "wma"),
)
_CONTAINERS = {
    (b"RIFF", b"WAVE"): "wav",
    (b"RF64", b"WAVE"): "wav",
    (b"FORM", b"AIFF"): "aiff",
    (b"FORM", b"AIFC"): "aiff",
}


def sniff(head: bytes) -> str | None:
    """The extension that content calls for which begins like this; None if it is not audio."""
    for at, mark, kind in _MARKS:
        if head[at : at + len(mark)] == mark:
            return "opus" if kind == "ogg" and head[28:36] == b"OpusHead" else kind
    return _CONTAINERS.get((head[:4], head[8:12])) or _bare_frames(head.lstrip(b"\0"))


def _bare_frames(head: bytes) -> str | None:
    """MPEG audio and AAC begin with a frame's header of which only some bits are fixed."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:  # noqa: PLR2004
        return None
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    if layer == 0 and head[1] & 0xF0 == 0xF0:  # noqa: PLR2004
        return "aac"
    bit_rate, sample_rate = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 0 or bit_rate == 0xF or sample_rate == 3:  # noqa: PLR2004
        return None
    return "mp2" if layer == 2 else "mp3"  # noqa: PLR2004
