"""The files: random bytes to be sent, and tagged songs to be scanned; the same on every machine.

Only audio extensions, as catalogsync sends nothing else: so every program sends the same.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

KIB, MIB = 1024, 1024 * 1024
_TRACKS = 20  # files in an album
_CHUNK = 4 * MIB


@dataclass(frozen=True)
class DataSet:
    """A folder of files.

    Attributes:
        name: short, for tables.
        root: the folder; there is nothing else in it.
        files: how many.
        size_bytes: of all of them.
    """

    name: str
    root: Path
    files: int
    size_bytes: int

    def read(self) -> None:
        """Read everything once, so that the system's page cache holds it."""
        buffer = bytearray(_CHUNK)
        for path in self.root.rglob("*.*"):
            with path.open("rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass


def make(name: str, directory: Path, files: Iterable[tuple[str, int]]) -> DataSet:
    """A data set of random bytes; its files are made unless the directory has them.

    Args:
        directory: where sets are kept, each in a folder of its own.
        files: path and size of each.
    """
    sizes = dict(files)
    root, marker = directory / name, directory / f"{name}.json"
    if not marker.exists() or json.loads(marker.read_text()) != sizes:
        marker.unlink(missing_ok=True)
        shutil.rmtree(root, ignore_errors=True)
        for path, size in sizes.items():
            _write(root / path, size, random.Random(f"{name}/{path}"))  # noqa: S311
        marker.write_text(json.dumps(sizes))
    return DataSet(name, root, len(sizes), sum(sizes.values()))


def _write(path: Path, size: int, source: random.Random) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for start in range(0, size, _CHUNK):
            file.write(source.randbytes(min(_CHUNK, size - start)))


def uniform(files: int, size: int, extension: str = "mp3") -> Iterator[tuple[str, int]]:
    """Path and size of so many files, all of one size, twenty in an album."""
    for i in range(files):
        yield f"album {i // _TRACKS + 1:03d}/{i % _TRACKS + 1:02d} track.{extension}", size


# --- tagged songs -------------------------------------------------------------------------------

_PATH = 60  # characters
_SONGS = 12  # in an album
#: Frames of silence, MPEG-1 layer III, 128 kbit/s, 44.1 kHz; the first tells, as encoders write it,
#: of 10,000 frames and their bytes, so that a reader need not count.
_FRAME = b"\xff\xfb\x90\x64".ljust(417, b"\0")
_COUNTS = struct.pack(">4sIII", b"Info", 3, 10_000, 4_170_000)
_MP3_FRAMES = _FRAME[:36] + _COUNTS + _FRAME[36 + len(_COUNTS) :] + _FRAME * 3
#: What a FLAC file says of its stream: 4,096 samples a block, 44.1 kHz, stereo, 16 bits.
_STREAM = struct.pack(">HH6xQ", 4096, 4096, 44_100 << 44 | 1 << 41 | 15 << 36 | 441_000)


def tagged(name: str, directory: Path, files: int) -> DataSet:
    """A library of so many songs, each with tags of its own: two thirds MP3, a third FLAC.

    Paths have 60 characters. A folder is an album of twelve songs; all songs differ. They are as
    short as their containers allow, since a scan reads nothing but the tags.

    Args:
        directory: where it is kept; made unless it is there with as many files.
    """
    root, marker = directory / name, directory / f"{name}.json"
    if not marker.exists() or json.loads(marker.read_text())[0] != files:
        marker.unlink(missing_ok=True)
        shutil.rmtree(root, ignore_errors=True)
        size_bytes = 0
        for i in range(files):
            album, track = divmod(i, _SONGS)
            tags = {
                "title": f"Title {i}",
                "artist": f"Artist {album // 10}",
                "album": f"Album {album}",
                "tracknumber": str(track + 1),
            }
            folder = f"Artist {album // 10:07d}/An album, number {album:08d}"
            make_file, extension = (_flac, "flac") if album % 3 == 2 else (_mp3, "mp3")
            digits = _PATH - len(f"{folder}/00 No .{extension}")
            if not track:
                (root / folder).mkdir(parents=True)
            content = make_file(tags)
            name_of_it = f"{track + 1:02d} No {i:0{digits}d}.{extension}"
            (root / folder / name_of_it).write_bytes(content)
            size_bytes += len(content)
        marker.write_text(json.dumps([files, size_bytes]))
    return DataSet(name, root, *json.loads(marker.read_text()))


def _mp3(tags: dict[str, str]) -> bytes:
    """ID3v2.3 and a few frames."""
    frames = b""
    names = {"title": b"TIT2", "artist": b"TPE1", "album": b"TALB", "tracknumber": b"TRCK"}
    for key, value in tags.items():
        text = b"\x00" + value.encode("latin-1")
        frames += names[key] + struct.pack(">IH", len(text), 0) + text
    size = bytes(len(frames) >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x03\x00\x00" + size + frames + _MP3_FRAMES


def _flac(tags: dict[str, str]) -> bytes:
    """The description of a stream, and comments."""
    comments = [f"{key}={value}".encode() for key, value in tags.items()]
    body = struct.pack("<I", 5) + b"bench" + struct.pack("<I", len(comments))
    body += b"".join(struct.pack("<I", len(comment)) + comment for comment in comments)
    digest = hashlib.md5(body, usedforsecurity=False).digest()
    stream = _STREAM + digest
    head = b"fLaC" + struct.pack(">I", len(stream)) + stream
    return head + struct.pack(">I", 0x84 << 24 | len(body)) + body
