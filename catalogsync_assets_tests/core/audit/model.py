"""What may happen in `test_model`; and its disk: what a person, a tagger or the world does to
files, in any order.
"""

import itertools
import os
import shutil
import struct
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine

from catalogsync_assets_tests.support.kills import STEPS

#: What there is at first, and a name that is free.
PLACES = ("a.flac", "b.flac", "in/a.flac", "in/b.flac")
PLACE = st.sampled_from(PLACES)
#: Which of the files or objects that there are.
ANY = st.integers(0, 9)
#: What may lie beside the music.
COVERS = ("cover.jpg", "in/cover.jpg")
COVER = st.sampled_from(COVERS)
MOMENT = 1_700_000_000_000_000_000


def flac(sound: int, genre: str) -> bytes:
    """A recording with tags, as short as one can be."""
    rate, channels, bits, samples = 44_100, 2, 16, 22_050
    packed = rate << 44 | channels - 1 << 41 | bits - 1 << 36 | samples
    info = struct.pack(">HH6xQQQ", 4096, 4096, packed, 0, sound)
    tags = [f"title=Song {sound}", "artist=Somebody", f"genre={genre}"]
    words = [struct.pack("<I", len(tag)) + tag.encode() for tag in tags]
    comments = struct.pack("<II", 0, len(words)) + b"".join(words)
    head = b"\0" + len(info).to_bytes(3, "big") + info
    return b"fLaC" + head + b"\x84" + len(comments).to_bytes(3, "big") + comments + b"sound"


def is_audio(name: str) -> bool:
    """Whether it is a song, by its name; else it is a companion."""
    return name.endswith(".flac")


def event(name: str, *arguments: Any) -> Any:
    """What draws one call of a method: its name and its arguments."""
    return st.tuples(st.just(name), *arguments)


#: What may happen to the disk.
DISK = (
    event("write", PLACE, st.sampled_from(["Jazz", "Folk", "Electronic"])),
    event("retag", ANY, st.none() | PLACE, st.booleans(), st.booleans()),
    event("move", ANY, PLACE),
    event("swap", ANY, ANY),
    event("copy", ANY, PLACE, st.booleans()),
    event("delete", ANY),
    event("cover", COVER, COVER),
    event("rot_on_disk", ANY),
)

BACKENDS = st.integers(0, 1)
ONE_OR_BOTH = st.sampled_from([(0,), (1,), (0, 1)])
LEVEL = st.sampled_from(["listing", "head", "full"])
YES_OR_NO = st.booleans()
DAMAGE = st.sampled_from(["corrupt", "truncate", "delete"])
COPIES = st.sampled_from([0, 0, 1])
WEIGHT = st.sampled_from(["both", "superseded", "forgotten"])
DEATH = st.sampled_from([None, None, None, "before the delete", "after the delete"])
#: What may happen. Were each a rule, hypothesis would spend its steps on few of them.
EVENTS = st.one_of(
    event("scan"),
    *DISK,
    event("leave_out", st.none() | ANY),
    *(event("damage", BACKENDS, ANY, DAMAGE, YES_OR_NO) for _ in range(2)),
    event("take_out", BACKENDS, YES_OR_NO),
    event("add_again"),
    event("upload", ONE_OR_BOTH),
    *(event("bring_up_to_date") for _ in range(3)),
    *(event("forget", PLACE) for _ in range(2)),
    event("verify", ONE_OR_BOTH, LEVEL),
    event("repair", ONE_OR_BOTH, LEVEL),
    event("restore"),
    event("offload", st.integers(1, 2)),
    event("offload_and_die", st.integers(1, 2), st.sampled_from(STEPS)),
    *(event("prune", ONE_OR_BOTH, WEIGHT, COPIES, DEATH) for _ in range(3)),
)


class Disk(RuleBasedStateMachine):
    """One library.

    Attributes:
        events: how often each has happened.
        root: the library's folder.
        stale: paths that no scan has seen since they were changed.
        destroying: whether contents may be gone from the disk since the last step.
    """

    events: Counter[str]

    def __init__(self, folder: Path) -> None:
        super().__init__()
        shutil.rmtree(folder, ignore_errors=True)
        self.root = folder / "music"
        self.root.mkdir(parents=True)
        self.clock = itertools.count(1)
        self.noise = itertools.count(1)
        self.stale: set[str] = set()
        self.destroying = False

    def on_disk(self) -> dict[str, bytes]:
        """By path below the root."""
        files = (p for p in self.root.rglob("*.*") if p.suffix in (".flac", ".jpg"))
        return {p.relative_to(self.root).as_posix(): p.read_bytes() for p in files}

    def any_file(self, which: int) -> str | None:
        there = sorted(self.on_disk())
        return there[which % len(there)] if there else None

    def put(self, name: str, content: bytes, *, mtime_ns: int | None = None) -> None:
        self.destroying = True
        self.stale.add(name)
        path = self.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        moment = mtime_ns or MOMENT + next(self.clock) * 1_000_000_000
        os.utime(path, ns=(moment, moment))

    def write(self, name: str, genre: str) -> None:
        """Another recording."""
        self.put(name, flac(next(self.noise), genre))

    def retag(self, which: int, to: str | None, keeps_mtime: bool, inode: bool) -> None:
        """In place, or renamed in one go, as taggers do; some write a new file."""
        name = self.any_file(which)
        content = (self.root / name).read_bytes() if name else b""
        if not name or not content.startswith(b"fLaC"):
            return
        sound = int.from_bytes(content[34:42], "big")
        before = (self.root / name).stat()
        if inode:
            (self.root / name).unlink()
        content = flac(sound, f"Genre {next(self.noise)}")
        self.put(name, content, mtime_ns=before.st_mtime_ns if keeps_mtime else None)
        if to:
            self.rename(name, to)

    def move(self, which: int, to: str) -> None:
        """To another name or folder, perhaps over another file."""
        if (name := self.any_file(which)) and is_audio(name):
            self.rename(name, to)

    def rename(self, name: str, to: str) -> None:
        self.destroying = True
        self.stale |= {name, to}
        (self.root / to).parent.mkdir(exist_ok=True)
        (self.root / name).rename(self.root / to)

    def swap(self, one: int, two: int) -> None:
        name, other = self.any_file(one), self.any_file(two)
        if name and other and name != other and is_audio(name) == is_audio(other):
            self.rename(name, "aside")
            self.rename(other, name)
            self.rename("aside", other)

    def copy(self, which: int, to: str, keeps_mtime: bool) -> None:
        if (name := self.any_file(which)) and name != to and is_audio(name):
            path = self.root / name
            mtime_ns = path.stat().st_mtime_ns if keeps_mtime else None
            self.put(to, path.read_bytes(), mtime_ns=mtime_ns)

    def delete(self, which: int) -> None:
        if name := self.any_file(which):
            self.destroying = True
            self.stale.add(name)
            (self.root / name).unlink()

    def cover(self, name: str, to: str) -> None:
        """A companion that was not there comes, one that is moves, or has another content."""
        if name == to or not (self.root / name).exists():
            self.put(name, b"\xff\xd8\xff" + f"{next(self.noise):~>40}".encode())
        else:
            self.rename(name, to)

    def rot_on_disk(self, which: int) -> None:
        """Other bytes, though size and time are the same."""
        if name := self.any_file(which):
            before = (self.root / name).stat()
            content = f"{next(self.noise):~>{before.st_size}}".encode()
            self.put(name, content, mtime_ns=before.st_mtime_ns)
