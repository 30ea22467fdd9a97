"""The files that are sent: made once from random bytes, the same on every machine.

Only audio extensions, as catalogsync scans nothing else: where a set stands for a library with
covers and lyrics, these have their sizes and an audio file's name. So every tool sends the same.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
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
        what: what it holds, in a few words.
        root: the folder; there is nothing else in it.
        files: how many.
        size_bytes: of all of them.
    """

    name: str
    what: str
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


def make(name: str, directory: Path, scale: float) -> DataSet:
    """The data set of that name; its files are made unless the directory has them.

    Args:
        directory: where sets are kept, each in a folder of its own.
        scale: multiplies the number of files (of `mixed`: of tracks); at least one is left.
    """
    what, sizes_of = SETS[name]
    return make_of(name, what, directory, dict(sizes_of(scale)))


def make_of(name: str, what: str, directory: Path, sizes: dict[str, int]) -> DataSet:
    """The same for a set that is given by the path and size of each file."""
    root, marker = directory / name, directory / f"{name}.json"
    if not marker.exists() or json.loads(marker.read_text()) != sizes:
        marker.unlink(missing_ok=True)
        shutil.rmtree(root, ignore_errors=True)
        for path, size in sizes.items():
            _write(root / path, size, random.Random(f"{name}/{path}"))  # noqa: S311
        marker.write_text(json.dumps(sizes))
    return DataSet(name, what, root, len(sizes), sum(sizes.values()))


def _write(path: Path, size: int, source: random.Random) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for start in range(0, size, _CHUNK):
            file.write(source.randbytes(min(_CHUNK, size - start)))


def uniform(files: int, size: int, extension: str = "mp3") -> Iterator[tuple[str, int]]:
    """Path and size of so many files, all of one size, twenty in an album."""
    for i in range(files):
        yield f"album {i // _TRACKS + 1:03d}/{i % _TRACKS + 1:02d} track.{extension}", size


def _scaled(files: int, size: int, extension: str) -> Callable[[float], Iterator[tuple[str, int]]]:
    return lambda scale: uniform(max(1, round(files * scale)), size, extension)


def _mixed(scale: float) -> Iterator[tuple[str, int]]:
    """Albums of mp3 (3 to 15 MB a track) and of flac (15 to 40 MB), each with a cover (50 to
    500 KB), two thirds of the tracks with lyrics (1 to 5 KB)."""
    source = random.Random("mixed")  # noqa: S311
    left = max(1, round(150 * scale))
    album = 0
    while left:
        album += 1
        folder = f"album {album:03d}"
        extension, low, high = source.choice((("mp3", 3, 15), ("flac", 15, 40)))
        yield f"{folder}/00 cover.ogg", source.randint(50_000, 500_000)
        tracks = min(left, source.randint(8, 14))
        for track in range(1, tracks + 1):
            size = int(source.triangular(low, high, low + (high - low) / 3) * 1_000_000)
            yield f"{folder}/{track:02d} track.{extension}", size
            if source.random() < 2 / 3:
                yield f"{folder}/{track:02d} lyrics.ogg", source.randint(1_000, 5_000)
        left -= tracks


#: What each holds, and the sizes of its files at a scale.
SETS: dict[str, tuple[str, Callable[[float], Iterator[tuple[str, int]]]]] = {
    "small": ("64 KiB each", _scaled(20_000, 64 * KIB, "mp3")),
    "medium": ("8 MiB each", _scaled(300, 8 * MIB, "mp3")),
    "large": ("2 GiB each", _scaled(2, 2048 * MIB, "flac")),
    "mixed": ("tracks of 3 to 40 MB, files as small as covers and lyrics", _mixed),
}
