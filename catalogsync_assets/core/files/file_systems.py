"""Names what lasts of a file system, so that its inodes can be believed at another time.

A file that has moved is known again by its inode; but an inode says something only on the file
system that it was seen on, and a device number (`st_dev`) is given out anew with each mount. What
lasts is the file system's UUID: `f_fsid` of statvfs, where the kernel makes it from that, else the
name that udev has for the block device. FAT makes up its inodes, and those of networks and FUSE are
as good as their servers: of such only the kind is told, after a `~`, and nothing follows from it.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

#: What a name begins with where nothing lasts.
WEAK = "~"
# Kernels make f_fsid of the UUID here: super.c of each, and zfs_vfsops.c. Btrfs mixes in the
# subvolume, ZFS takes the dataset: both have inodes of their own. Ext2 may become ext4 in place.
_BY_FSID = {"ext2": "ext4", "ext3": "ext4", "ext4": "ext4", "btrfs": "btrfs", "zfs": "zfs"}
# Here it is made of the device number; but inodes last, and udev knows the UUID. The drivers of
# NTFS, of which ntfs-3g shows as fuseblk, agree in what they call inodes.
_BY_UUID = {
    **dict.fromkeys(("ntfs", "ntfs3", "fuseblk"), "ntfs"),
    **{kind: kind for kind in ("xfs", "f2fs", "jfs", "reiserfs", "nilfs2", "hfsplus")},
}
# Other names of a kind, which come and go with versions.
_ALIKE = {"nfs4": "nfs", "smb3": "cifs", "smbfs": "cifs", "ntfs3": "ntfs", "fuseblk": "ntfs"}
# FAT's serial number, which a kind of FUSE may hide.
_SHORT_SERIAL = re.compile(r"[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}")
_ESCAPED = re.compile(r"\\([0-7]{3})")
#: What is mounted, as this process sees it; and links to block devices, called by their UUIDs.
MOUNTS = Path("/proc/self/mountinfo")
UUIDS = Path("/dev/disk/by-uuid")


class Mount(NamedTuple):
    """A line of /proc/self/mountinfo."""

    device: tuple[int, int]  #: major and minor; (0, 0) where that is not known
    point: str
    kind: str  #: such as `ext4`


def lasts(file_system: str | None) -> bool:
    """Whether inodes may be believed on what `file_system_of` has called so; None: not known."""
    return bool(file_system) and not str(file_system).startswith(WEAK)


#: What the kinds begin with whose files lie behind a network, or may: so do those of FUSE.
_FAR = ("9p", "afs", "ceph", "cifs", "fuse", "glusterfs", "lustre", "ncp", "nfs", "smb")


def is_far(file_system: str) -> bool:
    """Whether a look at a file may be a question to another machine."""
    return (kind_of(file_system) or "").startswith(_FAR)


def kind_of(file_system: str | None) -> str | None:
    """The kind alone, such as `ext4`; None where it is not known."""
    return (file_system or "").removeprefix(WEAK).partition(":")[0] or None


def is_another(file_system: str | None, before: str | None) -> bool:
    """Whether two names are certainly of different file systems; None and `~`: not known."""
    one, other = (_ALIKE.get(kind_of(n) or "", kind_of(n)) for n in (file_system, before))
    if one is None or other is None:
        return False
    return one != other or (lasts(file_system) and lasts(before) and file_system != before)


def file_system_of(path: str | os.PathLike[str]) -> str:
    """What lasts of the file system that a path lies on; links are followed.

    Returns:
        `ext4:` (also of ext2 and ext3), `btrfs:` or `zfs:` and the id in hex; `xfs:` and the like
        and the UUID; `~` and the kind where nothing lasts; `~` alone where not even the kind can
        be told, as of a path that is not there.
    """
    try:
        # Before the mounts are read: a look may be what mounts it.
        device = os.stat(path).st_dev  # noqa: PTH116
        real = os.path.realpath(path)
        fsid = os.statvfs(real).f_fsid
    except OSError:
        return WEAK
    mount = find_mount(real, device, mounts())
    return WEAK if mount is None else name_of(mount.kind, fsid, device)


def name_of(kind: str, fsid: int, device: int) -> str:
    """What `file_system_of` calls a file system.

    Args:
        kind: as the kernel calls it.
        fsid: `f_fsid` of statvfs; 0 where it has none.
        device: `st_dev` of what lies on it.
    """
    if kind in _BY_FSID and fsid:
        return f"{_BY_FSID[kind]}:{fsid:x}"
    if kind in _BY_UUID and (uuid := _uuid_of(device)):
        return f"{_BY_UUID[kind]}:{uuid}"
    return WEAK + kind


class FileSystems:
    """`file_system_of`, asked once for each device; for one run, as device numbers do not last."""

    def __init__(self) -> None:
        self._known: dict[int, str] = {}

    def of_device(self, path: str | os.PathLike[str], st_dev: int) -> str:
        """The file system of a path that was seen to lie on this device."""
        found = self._known.get(st_dev)
        return self._look(path, st_dev) if found is None else found

    def _look(self, path: str | os.PathLike[str], st_dev: int) -> str:
        found = file_system_of(path)
        with suppress(OSError):
            if os.stat(path).st_dev == st_dev:  # noqa: PTH116
                self._known[st_dev] = found
                return found
        return WEAK  # it is gone, or something was mounted meanwhile


def find_mount(real: str, device: int, known: Iterable[Mount]) -> Mount | None:
    """The mount that a path lies on.

    Args:
        real: the path, without links.
        device: its `st_dev`.
        known: in the order in which they were mounted.
    """
    number = (os.major(device), os.minor(device))
    above = [m for m in known if m.point == "/" or f"{real}/".startswith(f"{m.point}/")]
    # A mount may hide others below it, whose number then is not the path's; but subvolumes of btrfs
    # have numbers that no mount has. Of several at one point the last covers the others.
    above.sort(key=lambda m: (m.device == number, len(m.point)))
    return above[-1] if above else None


def mounts() -> list[Mount]:
    """What is mounted, in the order in which it was."""
    if sys.platform.startswith("linux"):
        with suppress(OSError):
            return parse_mounts(os.fsdecode(MOUNTS.read_bytes()))
    import psutil

    return [Mount((0, 0), p.mountpoint, p.fstype) for p in psutil.disk_partitions(all=True)]


def parse_mounts(text: str) -> list[Mount]:
    """The mounts of a text like /proc/self/mountinfo, see proc(5); of its lines, the sound ones."""
    found = []
    for line in text.split("\n"):
        with suppress(IndexError, ValueError):
            before, after = line.split(" - ")
            fields = before.split(" ")
            major, minor = map(int, fields[2].split(":"))
            point = _ESCAPED.sub(lambda m: chr(int(m[1], 8)), fields[4])
            found.append(Mount((major, minor), point, after.split(" ")[0]))
    return found


def _uuid_of(device: int) -> str | None:
    """What udev has found on a block device; None where it says nothing, or nothing that lasts."""
    with suppress(OSError):
        for entry in sorted(UUIDS.iterdir()):
            with suppress(OSError):
                if entry.stat().st_rdev == device and not _SHORT_SERIAL.fullmatch(entry.name):
                    return entry.name
    return None
