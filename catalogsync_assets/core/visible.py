"""Text from outside, made fit to be shown: titles, names, keys, arguments, answers of servers.

What a terminal, a log or a mail program would obey and not show is written out: escape sequences,
line breaks, marks of direction. Only for people: in JSON and in files a value stays what it is.
"""

from __future__ import annotations

import re

# C0, DEL and C1; marks and overrides of direction, and what else of formatting is invisible and
# deprecated; separators of lines; tags, which are letters that nobody sees; bytes that were no
# UTF-8, which no stream takes. The joiners U+200C and U+200D stay: scripts and emoji need them.
UNSAFE = (
    "\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f\ud800-\udfff"
)
_UNSAFE = re.compile(f"[{UNSAFE}]")
#: How Python carries a byte of a file's name that is not UTF-8.
_BYTE = range(0xDC80, 0xDD00)


def visible(text: object) -> str:
    r"""The text on one line, with what could do anything but stand there written out.

    Returns:
        The text with `\n`, `\x1b`, `\u202e` and the like in place of such characters; a byte of a
        name that is not UTF-8 as `\xe9`. It can be encoded.
    """
    return _UNSAFE.sub(_written_out, str(text))


def visible_lines(text: str) -> str:
    """The same of a text that may have several lines; it keeps them."""
    return "\n".join(visible(line) for line in text.replace("\r\n", "\n").split("\n"))


def _written_out(match: re.Match[str]) -> str:
    if (code := ord(match[0])) in _BYTE:
        return f"\\x{code - 0xDC00:02x}"
    return match[0].encode("unicode_escape").decode()
