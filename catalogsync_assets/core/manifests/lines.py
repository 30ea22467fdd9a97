"""The lines of a text file as text, whatever program wrote it: its encoding, its line ends.

Memory does not grow with the file: a line longer than `MAX_LINE` is a bad line.

The encoding is told by a byte order mark, by the NULs of UTF-16, else it is UTF-8. Where a line is
not, and all before it were ASCII, it is read as Windows-1252, which European Excel and old
playlists use; that is a guess, and reported. `charset-normalizer` would guess among more, but from
a whole file, and is often wrong of names.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from typing import BinaryIO, NamedTuple

#: Bytes of a line, above which it is not one of a manifest.
MAX_LINE = 128 * 1024
_PIECE = 64 * 1024
_GUESS = "windows-1252"
# UTF-32 first: its mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Line(NamedTuple):
    """A line without its end; its number, from 1."""

    number: int
    text: str


class BadLine(NamedTuple):
    """A line that could not be understood, and why. Nothing of the line itself is in the reason."""

    line: int
    reason: str


def is_text_encoding(name: str) -> bool:
    """Whether Python knows an encoding of this name in which ASCII stays what it is."""
    try:
        return "#EXTM3U".encode(name) == b"#EXTM3U"
    except (LookupError, ValueError):
        return False


class Lines:
    """Reads lines. CR, LF and CRLF end one, in any mixture.

    Attributes:
        guessed: the encoding that some lines were taken to be in, as nothing told theirs; or None.
    """

    def __init__(self, file: BinaryIO, *, encoding: str | None = None, may_guess: bool = True):
        """
        Args:
            encoding: of the file, where it is known; any that Python knows.
            may_guess: take lines that are not UTF-8 for Windows-1252, rather than for bad ones.
        """
        self.guessed: str | None = None
        head = file.read(_PIECE)
        self._pieces: Iterable[bytes] = chain([head], iter(partial(file.read, _PIECE), b""))
        told = next((name for mark, name in _MARKS if head.startswith(mark)), None)
        has_mark = head.startswith(codecs.BOM_UTF8)
        self._is_utf8 = has_mark or not may_guess
        self._declared: str | None = None
        self._encoding = None if has_mark else told or _utf16_without_mark(head) or encoding
        if self._encoding is not None:
            # Before the lines are told apart: their ends are two bytes in UTF-16.
            self._pieces = _recoded(self._pieces, self._encoding)

    def declare(self, encoding: str) -> None:
        """Take the following lines to be in this encoding, as the file says, if nothing else does.

        One that is not known, or in which the declaration itself could not be read, is not heeded.
        """
        if self._encoding is None and is_text_encoding(encoding):
            self._is_utf8 = codecs.lookup(encoding).name == "utf-8"
            self._declared = None if self._is_utf8 else encoding

    def __iter__(self) -> Iterator[Line | BadLine]:
        for number, raw in enumerate(_raw_lines(self._pieces), 1):
            if raw is None:
                yield BadLine(number, f"longer than {MAX_LINE:,} bytes")
                continue
            text = self._decoded(raw)
            if text is None:
                yield BadLine(number, f"not valid {self._declared or self._encoding or 'UTF-8'}")
            elif "\0" in text:
                yield BadLine(number, "holds a NUL character")
            else:
                # Ctrl-Z ends a text of DOS; a mark stands where files were joined.
                yield Line(number, text.lstrip("\ufeff").rstrip("\x1a"))

    def _decoded(self, raw: bytes) -> str | None:
        if raw.isascii():
            return raw.decode("ascii")
        try:
            text = raw.decode(self._declared or "utf-8")
        except UnicodeDecodeError:
            if self._is_utf8 or self._declared or any(mark in raw for mark in _UTF16_MARKS):
                return None
            try:
                text = raw.decode(_GUESS)
            except UnicodeDecodeError:
                return None
            self.guessed = _GUESS
            return text
        if self._encoding is not None:
            return None if "\ufffd" in text else text
        self._is_utf8 = self._is_utf8 or not (self._declared or self.guessed)
        return text


def _utf16_without_mark(head: bytes) -> str | None:
    """Whether it is UTF-16, as text of which a good part is ASCII shows."""
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if not even + odd or max(even, odd) * 4 < len(head) or min(even, odd) * 8 > len(head):
        return None
    return "utf-16-le" if odd > even else "utf-16-be"


def _recoded(pieces: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """As UTF-8; what is not valid becomes U+FFFD."""
    decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
    for piece in pieces:
        yield decoder.decode(piece).encode("utf-8", "replace")
    yield decoder.decode(b"", final=True).encode("utf-8", "replace")


def _raw_lines(pieces: Iterable[bytes]) -> Iterator[bytes | None]:
    """The lines without their ends; None for one that is too long."""
    rest, is_long = b"", False
    for piece in pieces:
        lines = (rest + piece).splitlines(keepends=True)
        # A CR at the end of a piece may be half of a CRLF.
        rest = lines.pop() if lines and not lines[-1].endswith(b"\n") else b""
        for line in lines:
            yield None if is_long or len(line) > MAX_LINE else line.rstrip(b"\r\n")
            is_long = False
        if len(rest) > MAX_LINE:
            rest, is_long = rest[-1:], True
    if rest or is_long:
        yield None if is_long else rest.rstrip(b"\r\n")
