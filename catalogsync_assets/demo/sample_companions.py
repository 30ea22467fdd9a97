"""What lies beside the music of the sample library: covers, a cue sheet, a playlist.

Belongs here: how they are drawn and written. Does not: the songs, which are `sample_library`'s.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

#: Pixels of a cover's side.
_SIDE = 240
_PLAYLIST = "Round the World.m3u8"


def make_companions(root: Path, songs: Sequence[Path]) -> list[Path]:
    """Writes a cover for each album, a cue sheet for the first, and a playlist of one song of each.

    The same songs give the same files; those that are there already are left untouched.

    Args:
        root: the library's folder.
        songs: its files, in the order of the albums.

    Returns:
        The files.
    """
    albums = [(folder, list(files)) for folder, files in groupby(songs, lambda song: song.parent)]
    made = [(folder / "cover.png", _cover(number)) for number, (folder, _) in enumerate(albums)]
    folder, files = albums[0]
    made.append((folder / f"{folder.name}.cue", _cue_sheet(files).encode()))
    entries = [files[-1].relative_to(root).as_posix() for _, files in albums]
    made.append((root / _PLAYLIST, "\n".join(["#EXTM3U", *entries, ""]).encode()))
    for path, content in made:
        if not path.exists():
            path.write_bytes(content)
    return [path for path, _ in made]


def _cue_sheet(files: Sequence[Path]) -> str:
    """A sheet of one file a track, as rippers write it."""
    album = files[0].parent
    lines = [f'PERFORMER "{album.parent.name}"', f'TITLE "{album.name}"']
    tracks = [file for file in files if file.suffix == files[0].suffix]
    for number, file in enumerate(tracks, start=1):
        title = file.stem.partition(" ")[2]
        lines += [f'FILE "{file.name}" WAVE', f"  TRACK {number:02d} AUDIO", f'    TITLE "{title}"']
        lines.append("    INDEX 01 00:00:00")
    return "\r\n".join(["\ufeff" + lines[0], *lines[1:], ""])


def _cover(number: int) -> bytes:
    """A PNG: a disc on two colours."""
    one, other = _colour(5 * number), _colour(5 * number + 3)
    half = _SIDE // 2
    lines = []
    for y in range(_SIDE):
        line = bytearray(b"\0")  # no filter
        for x in range(_SIDE):
            distance = (x - half) ** 2 + (y - half) ** 2
            is_disc = (half // 8) ** 2 < distance < (half * 3 // 4) ** 2
            line += (other if x + y > _SIDE else one) if not is_disc else b"\x18\x18\x1c"
        lines.append(bytes(line))
    header = struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(b"".join(lines), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in parts
    )


def _colour(index: int) -> bytes:
    """One of sixteen that go together."""
    return bytes(96 + 32 * (index >> shift & 3) for shift in (0, 1, 2))
