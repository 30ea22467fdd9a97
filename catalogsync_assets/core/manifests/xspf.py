"""Reads XSPF, the XML playlist format of Xiph.org, track by track.

defusedxml refuses document types and entities: neither a bomb of nested entities nor a reference to
a file of this machine is ever expanded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urljoin
from xml.sax import SAXParseException
from xml.sax.handler import ContentHandler

from catalogsync_assets.core.errors import UsageError
from catalogsync_assets.core.manifests.columns import Entry, Found, Title
from catalogsync_assets.core.manifests.lines import BadLine

_PIECE = 64 * 1024
_MAX_TEXT = 64 * 1024
# Elements of a track -> our names. https://www.xspf.org/spec#41-the-track-element
_OF_TRACK = {
    "location": "url",
    "title": "title",
    "creator": "artist",
    "album": "album",
    "trackNum": "track",
}


def read_xspf(path: Path, file: BinaryIO) -> Found:
    """The tracks; and where it stands, the list's title, which tracks behind it have as `playlist`.

    XML that ends in the middle or is broken gives the tracks before that, then a bad line.

    Raises:
        UsageError: it declares a document type or entities, or an encoding that cannot be read.
    """
    from defusedxml import DefusedXmlException
    from defusedxml.expatreader import DefusedExpatParser

    # forbid_dtd: without it an internal subset could still be of any size.
    parser: Any = DefusedExpatParser(forbid_dtd=True)
    handler = _Tracks(parser.getLineNumber, path.stem)
    parser.setContentHandler(handler)
    try:
        while piece := file.read(_PIECE):
            parser.feed(piece)
            yield from handler.take()
        parser.close()
    except SAXParseException as error:
        yield from handler.take()
        reason = f"not XML: {error.getMessage()}; the rest is not read"
        yield BadLine(error.getLineNumber() or 1, reason)
    except (LookupError, ValueError) as error:
        why = str(error)
        if isinstance(error, DefusedXmlException):
            why = "it declares a document type or entities"
        elif isinstance(error, LookupError):
            why = f"its encoding cannot be read ({error})"
        raise UsageError(
            f"{path} cannot be read: {why}", hint="save it as UTF-8, without a document type"
        ) from error


class _Tracks(ContentHandler):
    """Collects the tracks that have ended."""

    def __init__(self, line: Callable[[], int], name: str) -> None:
        super().__init__()
        self._now_at = line
        self._name = name
        self._title: str | None = None
        self._done: list[Entry | Title] = []
        self._track: dict[str, str] | None = None
        self._line = 0
        self._path: list[str] = []
        self._bases = [""]
        self._text: list[str] = []
        self._length = 0

    def take(self) -> Iterator[Entry | Title]:
        done, self._done = self._done, []
        yield from done

    def startElement(self, name: str, attributes: Any) -> None:  # noqa: N802
        self._path.append(name.rpartition(":")[2])
        base = attributes.get("xml:base")
        self._bases.append(_joined(self._bases[-1], base) if base else self._bases[-1])
        self._text, self._length = [], 0
        if self._path[-2:] == ["trackList", "track"]:
            self._track = {}
            self._line = self._now_at()

    def characters(self, content: str) -> None:
        if self._length < _MAX_TEXT:
            self._text.append(content)
            self._length += len(content)

    def endElement(self, _name: str) -> None:  # noqa: N802
        text = "".join(self._text)[:_MAX_TEXT].strip()
        if self._path == ["playlist", "title"] and text:
            self._title = text
            self._done.append(Title(text, instead=self._name))
        elif self._track is not None and self._path[-1] == "track":
            values = {"playlist": self._title or self._name, **self._track}
            self._done.append(Entry(self._line, values, self._title is not None))
            self._track = None
        elif self._track is not None and self._path[-2] == "track":
            field = _OF_TRACK.get(self._path[-1])
            # Of several locations the first that can be used, says the specification.
            if field == "url" and text:
                text = _joined(self._bases[-1], text)
                if _is_web(text) and not _is_web(self._track.get("url", text)):
                    del self._track["url"]
            if field and text:
                self._track.setdefault(field, text)
        self._path.pop()
        self._bases.pop()
        self._text, self._length = [], 0


def _is_web(address: str) -> bool:
    return address[:8].lower().startswith(("http://", "https://"))


def _joined(base: str, address: str) -> str:
    """An address that may be relative, https://www.w3.org/TR/xmlbase/."""
    try:
        return urljoin(base, address)
    except ValueError:
        return address
