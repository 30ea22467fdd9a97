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

# The name may be in quotes or, with blanks in it, not; the type behind it is one word.
_FILE = re.compile(r'\s*FILE\s+(?:"(?P<quoted>[^"]*)"|(?P<bare>.*?))(?:\s+\w+)?\s*', re.IGNORECASE)


def read_cue(path: Path, lines: Iterable[Line | BadLine]) -> Found:
    """Its files in their order, with the name of the sheet as their `playlist`."""
    met = set[str]()
    for line in lines:
        if isinstance(line, BadLine):
            yield line
        elif match := _FILE.fullmatch(line.text):
            name = match["quoted"] if match["bare"] is None else match["bare"]
            if name and name not in met:
                met.add(name)
                yield Entry(line.number, {"playlist": path.stem, "url": name})
