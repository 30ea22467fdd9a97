"""Reads XSPF, the XML playlist format of Xiph.org, track by track.

defusedxml refuses document types and entities: neither a bomb of nested entities nor a reference to
a file of this machine is ever expanded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO
from urllib.parse import urljoin
from xml.sax import SAXParseException
from xml.sax.handler import ContentHandler

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

Track = tuple[int, Mapping[str, str], "str | None"]


def read_xspf(file: BinaryIO) -> Iterator[Track | str]:
    """The tracks: line, values, and None or what is wrong; and where it stands, the list's title.

    Tracks behind the title have it as `playlist`. XML that ends in the middle or
    is broken gives the tracks before that, then one with the reason.

    Raises:
        ValueError: it declares a document type or entities, or an encoding that cannot be read.
    """
    from defusedxml import DefusedXmlException
    from defusedxml.expatreader import DefusedExpatParser

    # forbid_dtd: without it an internal subset could still be of any size.
    parser: Any = DefusedExpatParser(forbid_dtd=True)
    handler = _Tracks(parser.getLineNumber)
    parser.setContentHandler(handler)
    try:
        while piece := file.read(_PIECE):
            parser.feed(piece)
            yield from handler.take()
        parser.close()
    except SAXParseException as error:
        yield from handler.take()
        yield error.getLineNumber() or 1, {}, f"not XML: {error.getMessage()}; the rest is not read"
    except DefusedXmlException as error:
        raise ValueError("it declares a document type or entities") from error
    except LookupError as error:
        raise ValueError(f"its encoding cannot be read ({error})") from error


class _Tracks(ContentHandler):
    """Collects the tracks that have ended."""

    def __init__(self, line: Callable[[], int]) -> None:
        super().__init__()
        self._now_at = line
        self._playlist: dict[str, str] = {}
        self._done: list[Track | str] = []
        self._track: dict[str, str] | None = None
        self._line = 0
        self._path: list[str] = []
        self._bases = [""]
        self._text: list[str] = []
        self._length = 0

    def take(self) -> Iterator[Track | str]:
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
            self._playlist = {"playlist": text}
            self._done.append(text)
        elif self._track is not None and self._path[-1] == "track":
            self._done.append((self._line, {**self._playlist, **self._track}, None))
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
