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
