"""Addresses as they may be shown: without user, password, query and fragment.

A query may carry a signature that is as good as a password.
"""

from __future__ import annotations

import re

# The dots that stand for what was cut count as a part of it: cutting twice is cutting once.
_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>[^\s\"'<>`…]*)…?")


def redact(text: str) -> str:
    """The text with every address in it cut down to scheme, host, port and path."""
    return _ADDRESS.sub(_shown, text)


def _shown(match: re.Match[str]) -> str:
    rest = match["rest"]
    place, mark, _ = re.match(r"([^?#]*)([?#]?)(.*)", rest, re.S).groups()  # type: ignore[union-attr]
    host, slash, path = place.partition("/")
    # The last @ ends the user's part; a password may hold one itself, and even a slash.
    if "@" in place:
        host, slash, path = place.rpartition("@")[2].partition("/")
    return f"{match['scheme']}://{host}{slash}{path}" + (f"{mark}…" if mark else "")
