"""Where files come from: the interface of a source, and the sources that are installed.

A source is a plug-in: a package names it in the entry point group `catalogsync.sources`, and the
`source` of a download task chooses it. Retrying, resuming, checking and placing are not its
business; see `file`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Protocol, cast

from catalogsync_assets.core import plugins
from catalogsync_assets.core.catalog.download_queue import DEFAULT_SOURCE
from catalogsync_assets.core.errors import DownloadError
from catalogsync_assets.core.files.partial import Resume

GROUP = "catalogsync.sources"


@dataclass(frozen=True)
class Item:
    """What is to be fetched."""

    url: str  #: as the manifest gave it; what it means is the source's business
    #: Of the whole content, where they are known beforehand.
    sha256: str | None = None
    size_bytes: int | None = None


@dataclass(frozen=True)
class Content:
    """The content of an item, open for reading."""

    #: The bytes from `start` on, in pieces of at most some hundred KiB. It must raise, not end,
    #: when not all of them come.
    pieces: Iterator[bytes]
    start: int = 0  #: `Resume.offset`, or 0 where the source starts over
    total: int | None = None  #: size of the whole in bytes, or None if that is unknown
    #: Equal for equal content only, such as a strong ETag; None if there is no such thing. Kept,
    #: and handed in when the rest is asked for, perhaps by another process.
    validator: str | None = None
    name: str | None = None  #: what to call the file, or None; any text, it is made safe


class Source(Protocol):
    """Fetches items. One is made for a run: what the entry point names is called without arguments.

    Used by several threads at once, never by two for the same item.
    """

    def open(self, item: Item, resume: Resume | None) -> AbstractContextManager[Content]:
        """Begin to fetch an item; leaving the context ends it, whether all was read or not.

        Args:
            resume: give the rest only, if the content is still the one of the validator; else, or
                where that cannot be told, give the whole with `start` 0.

        Raises (here, and while the pieces are read):
            SourceUnavailableError: trying again may help; it is tried again, resuming.
            DownloadError: it cannot be fetched. Anything else that is raised counts as such.
        """
        ...

    def close(self) -> None:
        """Let go of what the source holds. Called once, when nothing is open any more, though not
        if the run is killed."""
        ...


_BUILT_IN = {DEFAULT_SOURCE: "catalogsync_assets.core.download.http:HttpSource"}


class Sources:
    """The installed sources, each made when it is first asked for. Thread-safe.

    What a broken one raises as it is loaded becomes a DownloadError, a SystemExit too.
    """

    def __init__(self) -> None:
        self._made: dict[str, Source] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> Source:
        """The source of this name.

        Raises:
            DownloadError: none of that name is installed, or it cannot be loaded.
        """
        with self._lock:
            if name not in self._made:
                self._made[name] = self._make(name)
            return self._made[name]

    def close(self) -> None:
        """Close what was made. What a plug-in raises then no longer matters."""
        with self._lock:
            made, self._made = self._made, {}
        for source in made.values():
            with suppress(Exception):
                source.close()

    @staticmethod
    def _make(name: str) -> Source:
        try:
            return cast("Source", plugins.make(GROUP, name, _BUILT_IN))
        except plugins.UnknownPluginError as error:
            raise DownloadError(
                f"no source {name!r} is installed",
                code="UnknownSource",
                hint=f"install the package with the entry point {name!r} of the group"
                f" {GROUP} in catalogsync's environment; installed:"
                f" {', '.join(installed())}",
            ) from error
        except (Exception, SystemExit) as error:
            raise DownloadError(
                f"the source {name!r} cannot be loaded: {error or type(error).__name__}",
                code="BrokenSource",
                hint="reinstall or update the package that provides it",
            ) from error


def installed() -> list[str]:
    """The names of all sources."""
    return plugins.installed(GROUP, _BUILT_IN)
