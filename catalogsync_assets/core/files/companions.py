"""Files beside music that are not music: which belong to a library, and of what kind they are.

A name decides, as nothing is read for that. Every such file below a library root belongs to it, as
far as the ignore rules allow, whatever else is in its folder: a cover must not be given up because
the last song has moved away, and a folder of playlists holds no music at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import translate
from typing import NamedTuple

from catalogsync_assets.core.errors import ConfigurationError
from catalogsync_assets.core.files.formats import COMPANION_TYPES, MEDIA_TYPES, extension
from catalogsync_assets.core.settings import COMPANIONS_VARIABLE, companions

#: Bytes of a companion at most; what is larger is no cover and no booklet, but somebody's film.
MAX_COMPANION_BYTES = 64 * 1024 * 1024
#: The kinds that are looked at once more: they become playlists.
LISTS = ("cue", "playlist")
#: What a file is that only a pattern has named.
OTHER = "other"
NONE = "none"
#: Every kind that has extensions of its own.
KINDS = tuple(dict.fromkeys(kind for kind, _ in COMPANION_TYPES.values()))
# A separator in a pattern would be one of folders, and only names are looked at.
_SEPARATORS = ("/", "\\")


class Companions(NamedTuple):
    """Which files beside music are wanted."""

    #: By extension: in lower case, without its dot.
    kinds: dict[str, str]
    matches: Callable[[str], object]  #: whether a pattern names a file, of its name

    @classmethod
    def of_settings(cls) -> Companions:
        """What `CATALOGSYNC_COMPANIONS` says: all kinds, unless it names some, or `none`; and what
        its patterns name besides.

        Raises:
            ConfigurationError: something in it is neither a kind nor a pattern.
        """
        given = companions()
        words = {word.lower() for word in given if word.lower() in (NONE, *KINDS)}
        patterns = [word for word in given if word.lower() not in words]
        for word in patterns:
            if not set(word) & set("*?[.") or any(sign in word for sign in _SEPARATORS):
                raise ConfigurationError(
                    f"{COMPANIONS_VARIABLE} names {word!r}, which is neither a kind of file nor a"
                    " pattern of names",
                    hint=f"kinds are {', '.join(KINDS)}, or none; a pattern is such as *.sfv",
                )
        wanted = words - {NONE} if words else set(KINDS)
        kinds = {e: kind for e, (kind, _) in COMPANION_TYPES.items() if kind in wanted}
        joined = "|".join(translate(pattern) for pattern in patterns)
        return cls(kinds, re.compile(joined, re.IGNORECASE).match if joined else _nothing)

    def kind_of(self, name: str) -> str | None:
        """The kind of a file of this name; None if it is music, or none that is wanted."""
        ending = extension(name)
        kind = self.kinds.get(ending)
        if kind is None and ending not in MEDIA_TYPES and self.matches(name):
            return COMPANION_TYPES.get(ending, (OTHER, ""))[0]
        return kind


def _nothing(_: str) -> None:
    return None
