"""Reads manifests: CSV, JSON Lines, M3U8, PLS and XSPF, as a stream of entries and of bad lines.

Here is only what the formats say, as programs write them; which entries are acceptable, and what
they become, is in `core.download.importing`, and of playlists of the library in
`core.library.playlists`. Memory does not grow with the file, but for a PLS, and for JSON that is
not an object a line.

M3U is read here and not by PyPI's `m3u8`, which is made for HLS, keeps the whole list in memory and
gives no line numbers; PLS not by configparser, for the line numbers, and as half of them would be
refused.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from catalogsync_assets.core.errors import UsageError
from catalogsync_assets.core.manifests.columns import Entry, Found, Title, fields
from catalogsync_assets.core.manifests.cue import read_cue
from catalogsync_assets.core.manifests.lines import MAX_LINE, BadLine, Line, Lines
from catalogsync_assets.core.manifests.xspf import read_xspf

#: Extension -> format.
FORMATS = {
    "csv": "csv",
    "tsv": "csv",
    "json": "jsonl",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "m3u": "m3u8",
    "m3u8": "m3u8",
    "pls": "pls",
    "xspf": "xspf",
}
#: Bytes of a manifest that must be read as a whole.
_MAX_WHOLE = 64 * 1024 * 1024
#: Lines that a row of a table may have, with line breaks in its cells.
_MAX_LINES_OF_ROW = 100


def read_manifest(
    path: Path,
    *,
    kind: str | None = None,
    encoding: str | None = None,
    on_guess: Callable[[str], None] = lambda _: None,
    opened: io.BufferedReader[Any] | None = None,
) -> Found:
    """The entries of a manifest and the titles of its playlists, in its order.

    Args:
        kind: the format, one of the values of `FORMATS`, or `cue`; by default the name's
            extension tells.
        encoding: of the text; by default it is found out.
        on_guess: called in the end with the encoding, if it had to be guessed.
        opened: the file, where it is open; it is closed in the end.

    Raises:
        UsageError: the file cannot be read, or is not a manifest of that format.
    """
    kind = kind or FORMATS.get(path.suffix[1:].lower())
    if kind is None:
        raise UsageError(
            f"cannot tell the format of {path} from its name",
            hint=f"set it with --format: {', '.join(sorted(set(FORMATS.values())))}"
            " (m3u8 also for one URL per line)",
        )
    if encoding is not None and not _is_known(encoding):
        raise UsageError(
            f"unknown encoding {encoding!r}", hint="use one such as windows-1251 or utf-16"
        )
    try:
        with opened or path.open("rb") as file:
            if file.peek(4).startswith(b"PK\3\4"):
                raise UsageError(
                    f"{path} is a workbook or other archive, not text",
                    hint="save it as CSV",
                )
            if kind == "xspf":
                yield from read_xspf(path, file)
                return
            # JSON is UTF-8, says RFC 8259.
            lines = Lines(file, encoding=encoding, may_guess=kind != "jsonl")
            yield from _READERS[kind](path, lines)
            if lines.guessed:
                on_guess(lines.guessed)
    except OSError as error:
        raise UsageError(
            f"the manifest {path} cannot be read: {error.strerror}", hint="check the path"
        ) from error


def _is_known(encoding: str) -> bool:
    try:
        decoder = codecs.getincrementaldecoder(encoding)(errors="replace")  # as `Lines` does
        return decoder.decode("x".encode(encoding), final=True) == "x"
    except (LookupError, ValueError):
        return False


# --- tables -------------------------------------------------------------------------------------


def _read_csv(path: Path, lines: Iterable[Line | BadLine]) -> Found:
    todo = iter(lines)
    delimiter = None
    header = ""
    for line in todo:
        if isinstance(line, BadLine):
            break
        header = line.text
        # Excel's way to say how the rest is separated, whatever the country.
        if match := re.fullmatch(r'"?sep=(.)"?', header.strip("\r\n "), re.I):
            delimiter = match[1]
        elif header.strip(" ,;\t|"):
            break
    delimiter, names = _header(header, [delimiter] if delimiter else list(",;\t|"))
    known = fields(tuple(names))
    if "url" not in known.values():
        raise _no_column(path, names)
    for number, row in _rows(todo, delimiter):
        if isinstance(row, BadLine):
            yield row
        elif any(cell.strip() for cell in row[len(names) :]):
            yield BadLine(number, f"{len(row)} columns, but the first line has {len(names)}")
        elif any(cell.strip() for cell in row):
            yield Entry(number, {known[i]: cell for i, cell in enumerate(row) if i in known})


def _header(text: str, delimiters: Sequence[str]) -> tuple[str, list[str]]:
    """The delimiter, and the names of the columns: by what makes the most names known to us."""
    rows = {d: _row(text, d, strict=False) for d in delimiters}  # a line has no field too long
    delimiter = max(rows, key=lambda d: (len(fields(tuple(rows[d]))), len(rows[d])))
    return delimiter, rows[delimiter]


def _no_column(path: Path, names: Sequence[str]) -> UsageError:
    if any("://" in name for name in names):
        return UsageError(
            f"the first line of {path} is an entry, not a header with a column url",
            hint="put a header before it, such as: url,title,artist",
        )
    return UsageError(
        f"the first line of {path} has no column url",
        hint="begin with a header such as: url,title,artist,album,playlist",
    )


def _row(text: str, delimiter: str, *, strict: bool = True) -> list[str]:
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, strict=strict, skipinitialspace=True
    )
    return next(reader, [])


def _rows(
    lines: Iterator[Line | BadLine], delimiter: str
) -> Iterator[tuple[int, list[str] | BadLine]]:
    """The rows, each with its number. A line break may stand in quotes.

    A quote that is never closed spoils its own line only: those after it are read again.
    """
    again: deque[Line | BadLine] = deque()

    def following() -> Line | BadLine | None:
        return again.popleft() if again else next(lines, None)

    while (line := following()) is not None:
        if isinstance(line, BadLine):
            yield line.line, line
            continue
        try:
            yield line.number, _row(line.text, delimiter)
            continue
        except csv.Error as error:
            trouble = str(error)
        more: list[Line | BadLine] = []
        row = _over_more_lines(line.text, following, more, delimiter)
        if row is None:
            again.extendleft(reversed(more))
            # Many programs do not quote what they separate by tabs: `"Weird Al" Yankovic`.
            tabs = line.text.split("\t") if delimiter == "\t" else None
            yield line.number, tabs or BadLine(line.number, f"not CSV: {trouble}")
        else:
            yield line.number, row


def _over_more_lines(
    text: str,
    following: Callable[[], Line | BadLine | None],
    more: list[Line | BadLine],
    delimiter: str,
) -> list[str] | None:
    """A row whose quotes are closed on a later line; None if they are not. `more` has what was
    read."""
    is_open = text.count('"') % 2 == 1
    while is_open and len(more) < _MAX_LINES_OF_ROW and len(text) < MAX_LINE:
        line = following()
        if line is None:
            return None
        more.append(line)
        if isinstance(line, BadLine):
            return None
        text += "\n" + line.text
        is_open = line.text.count('"') % 2 == 0
    try:
        return None if is_open or not more else _row(text, delimiter)
    except csv.Error:
        return None


# --- JSON ---------------------------------------------------------------------------------------


def _read_jsonl(path: Path, lines: Iterable[Line | BadLine]) -> Found:
    todo = iter(lines)
    is_first = True
    for line in todo:
        if isinstance(line, BadLine):
            yield line
        elif not (text := line.text.strip()):
            continue
        # Whoever writes an object over several lines ends the first with one of these.
        elif is_first and (text[0] == "[" or (text[0] == "{" and text[-1] in "{[,")):
            yield from _read_whole(path, line, todo)
        else:
            found = _object(line.number, line.text, _DECODER.decode)
            yield from _opened(found, line.text, line.text.find("{"))
        is_first = False


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def _object(number: int, text: str, loads: Callable[[str], Any]) -> Entry | BadLine:
    try:
        found = loads(text)
    except json.JSONDecodeError as error:
        return BadLine(number, f"not JSON: {error.msg}")
    except ValueError as error:  # NaN, or an integer of thousands of digits
        return BadLine(number, f"not JSON: {str(error).partition(';')[0]}")
    except RecursionError:
        return BadLine(number, "not JSON: too deep")
    if not isinstance(found, dict):
        return BadLine(number, "not a JSON object")
    names = tuple(found)
    values = {}
    odd = []
    for index, field in fields(names).items():
        value = found[names[index]]
        if field == "artist" and isinstance(value, list):
            value = ", ".join(value) if all(isinstance(v, str) for v in value) else value
        if isinstance(value, bool | dict | list) and field in _OF_SONG:
            odd.append(field)
        elif isinstance(value, bool | dict | list):
            return BadLine(number, f"{field} is neither text nor a number")
        elif value is not None:
            values[field] = str(value)
    return Entry(number, values, odd=odd)


# What a song can do without.
_OF_SONG = frozenset(("title", "artist", "album", "track", "disc"))
_NEXT_VALUE = re.compile(r"[\s,]*([^\s,])")
_NEXT_OBJECT = re.compile(r"\n\s*\{")
_COLON = re.compile(r"\s*:\s*")


def _read_whole(path: Path, first: Line, rest: Iterator[Line | BadLine]) -> Found:
    """An array of objects, or objects over several lines, as an export in JSON is."""
    text = io.StringIO()
    text.write(first.text)
    for line in rest:
        # A bad line stays one in the array, and the number of those after it right.
        text.write("\n" + (line.text if isinstance(line, Line) else ""))
        if isinstance(line, BadLine):
            yield line
        if text.tell() > _MAX_WHOLE:
            raise UsageError(
                f"{path} is JSON of more than {_MAX_WHOLE // 1024 // 1024} MiB, as a whole",
                hint="write it as JSON Lines, one object per line",
            )
    whole = text.getvalue()
    is_array = first.text.lstrip().startswith("[")
    yield from _values(whole, whole.index("[") + 1 if is_array else 0, first.number)


def _values(whole: str, at: int, number: int, *, is_inner: bool = False) -> Found:
    """The objects from a place on, up to the end of their array.

    Args:
        number: of the line of that place.
        is_inner: they are in an object themselves.
    """
    counted = at
    while match := _NEXT_VALUE.match(whole, at):
        begin = match.start(1)
        if match[1] == "]":
            return
        number += whole.count("\n", counted, begin)
        counted = begin
        end = 0

        def loads(_: str, begin: int = begin) -> Any:
            nonlocal end
            found, end = _DECODER.raw_decode(whole, begin)
            return found

        found = _object(number, "", loads)
        if is_inner:
            yield found
        else:
            yield from _opened(found, whole, begin)
        if not end:  # it is not JSON: the next object on a line of its own may be
            following = _NEXT_OBJECT.search(whole, begin)
            if following is None:
                return
            end = following.end() - 1
        at = end


def _opened(found: Entry | BadLine, whole: str, begin: int) -> Found:
    """An entry; or the entries that it holds, as of `{"tracks": [...]}`."""
    if isinstance(found, Entry) and "url" not in found.values:
        inner = _only_list(whole, begin)
        if inner is not None:
            number = found.line + whole.count("\n", begin, inner)
            yield from _values(whole, inner + 1, number, is_inner=True)
            return
    yield found


def _only_list(whole: str, begin: int) -> int | None:
    """Where in an object its only list of objects with an address begins."""
    lists: list[int] = []
    at = begin + 1
    while (match := _NEXT_VALUE.match(whole, at)) and match[1] == '"':
        _, at = _DECODER.raw_decode(whole, match.start(1))
        at = _COLON.match(whole, at).end()  # type: ignore[union-attr]
        value, end = _DECODER.raw_decode(whole, at)
        members = value if isinstance(value, list) else []
        if any(isinstance(v, dict) and "url" in fields(tuple(v)).values() for v in members):
            lists.append(at)
        at = end
    return lists[0] if len(lists) == 1 else None


# --- playlists ----------------------------------------------------------------------------------

# Commas in quotes are of the attributes: `#EXTINF:-1 group-title="a,b",Artist - Title`.
_EXTINF = re.compile(r'#EXTINF:[^,"]*(?:"[^"]*"[^,"]*)*,(?P<text>.*)', re.I)
_EXTINF_ODD = re.compile(r"#EXTINF:[^,]*,(?P<text>.*)", re.I)  # a quote that is never closed
_TAGS = {"#PLAYLIST:": "playlist", "#EXTALB:": "album", "#EXTART:": "artist"}


def _read_m3u8(path: Path, lines: Lines) -> Found:
    lasting: dict[str, str] = {}
    passing: dict[str, str] = {}
    for line in lines:
        if isinstance(line, BadLine):
            yield line
            continue
        text = line.text.strip()
        upper = text[:16].upper()
        tag = next((t for t in _TAGS if upper.startswith(t)), None)
        if upper.startswith("#EXT-X-"):
            raise UsageError(
                f"{path} lists the pieces of one stream (HLS), not files of music",
                hint="a manifest lists whole files",
            )
        if upper.startswith("#EXTENC:"):
            lines.declare(text[8:].strip())
        elif tag:
            (lasting if tag == "#PLAYLIST:" else passing)[_TAGS[tag]] = text[len(tag) :].strip()
            if tag == "#PLAYLIST:" and lasting["playlist"]:
                yield Title(lasting["playlist"])
        elif match := _EXTINF.match(text) or _EXTINF_ODD.match(text):
            passing |= _artist_and_title(match["text"].strip(), passing.get("artist"))
        elif text and not text.startswith("#"):
            named = bool(lasting.get("playlist"))
            values = {"playlist": path.stem, **(lasting if named else {}), **passing, "url": text}
            yield Entry(line.number, values, is_playlist=named)
            passing = {}


def _artist_and_title(text: str, artist: str | None = None) -> dict[str, str]:
    """By convention `Artist - Title`.

    Args:
        artist: where it is known already (`#EXTART`), which says where it ends.
    """
    if artist is not None and text.startswith(f"{artist} - "):
        return {"title": text[len(artist) + 3 :]}
    first, dash, rest = text.partition(" - ")
    return {"artist": first, "title": rest} if dash else {"title": first}


_PLS = re.compile(r"(File|Title)(\d{1,9})\s*=(.*)", re.I | re.ASCII)


def _read_pls(path: Path, lines: Iterable[Line | BadLine]) -> Found:
    """The list of Winamp and of radio stations: `File1=`, `Title1=`, in any order."""
    found: dict[int, dict[str, str]] = {}
    numbers: dict[int, int] = {}
    size = 0
    for line in lines:
        if isinstance(line, BadLine):
            yield line
        elif match := _PLS.fullmatch(line.text.strip()):
            size += len(line.text)
            if size > _MAX_WHOLE:
                raise UsageError(f"{path} is too large for a PLS", hint="write it as M3U8")
            entry = found.setdefault(int(match[2]), {"playlist": path.stem})
            if match[1].lower() == "file":
                entry["url"] = match[3].strip()
                numbers[int(match[2])] = line.number
            else:
                entry |= _artist_and_title(match[3].strip())
    for number in sorted(numbers):
        yield Entry(numbers[number], found[number])


_READERS: Mapping[str, Callable[[Path, Lines], Found]] = {
    "csv": _read_csv,
    "cue": read_cue,
    "jsonl": _read_jsonl,
    "m3u8": _read_m3u8,
    "pls": _read_pls,
}
