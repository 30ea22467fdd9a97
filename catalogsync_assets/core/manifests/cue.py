"""Reads cue sheets: the files that one names, each once.

A cue sheet says where the tracks of a disc begin in its files. The catalog knows files, not parts
of them, so twelve tracks of one file are one entry.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from catalogsync_assets.core.manifests.columns import Entry, Found
from catalogsync_assets.core.manifests.lines import BadLine, Line

_WORD = re.compile(r"\w*")


def read_cue(path: Path, lines: Iterable[Line | BadLine]) -> Found:
    """Its files in their order, with the name of the sheet as their `playlist`."""
    met = set[str]()
    for line in lines:
        if isinstance(line, BadLine):
            yield line
        elif (name := _file_of(line.text)) and name not in met:
            met.add(name)
            yield Entry(line.number, {"playlist": path.stem, "url": name})


def _file_of(line: str) -> str:
    """The file that a line names; empty where it names none.

    The name may be in quotes or, with blanks in it, not; the type behind it is one word. (Not by
    one pattern: with many blanks that takes the cube of their number.)
    """
    text = line.strip()
    if text[:4].upper() != "FILE" or not text[4:5].isspace():
        return ""
    text = text[4:].lstrip()
    if text.startswith('"'):
        name, closed, kind = text[1:].partition('"')
        if closed and (not kind or kind[0].isspace()) and _WORD.fullmatch(kind.strip()):
            return name
    words = text.rsplit(maxsplit=1)
    return words[0] if len(words) > 1 and _WORD.fullmatch(words[1]) else text
