"""What a file system is called, so that its inodes can be believed later, and when they cannot."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from catalogsync_assets.core.files import file_systems
from catalogsync_assets.core.files.file_systems import (
    FileSystems,
    Mount,
    file_system_of,
    find_mount,
    is_another,
    kind_of,
    lasts,
    name_of,
    parse_mounts,
)

MOUNTINFO = r"""
22 27 0:21 / /proc rw,nosuid,relatime shared:5 - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
40 27 253:3 / /srv/music rw,relatime shared:20 - xfs /dev/mapper/vg-music rw,attr2
41 27 0:50 / /srv/music/nas rw,relatime - nfs4 nas:/export/music rw,vers=4.2
42 27 0:51 / /srv/ssh rw,nosuid,nodev - fuse.sshfs me@there: rw,user_id=0
43 27 0:52 / /srv/layers rw,relatime - overlay overlay rw,lowerdir=/a,upperdir=/b
44 27 8:17 / /media/me/My\040Disk\0111\134 rw shared:7 master:2 - vfat /dev/sdb1 rw
45 27 0:60 /@home /home rw,relatime - btrfs /dev/sdc rw,subvolid=256
46 27 8:33 / /stacked rw - ext4 /dev/sdc1 rw
47 46 8:49 / /stacked rw - xfs /dev/sdd1 rw
48 27 8:65 / /covered/below rw - xfs /dev/sde1 rw
49 27 8:81 / /covered rw - ext4 /dev/sdf1 rw
this line is not one of them
50 27 8:97 / /no-dash rw ext4 /dev/sdg1 rw
"""
MOUNTED = parse_mounts(MOUNTINFO)


def test_each_sound_line_is_a_mount():
    assert MOUNTED[:3] == [
        Mount((0, 21), "/proc", "proc"),
        Mount((254, 0), "/", "ext4"),
        Mount((253, 3), "/srv/music", "xfs"),
    ]
    assert len(MOUNTED) == 12


def test_what_the_kernel_escapes_in_a_mount_point_is_read():
    assert Mount((8, 17), "/media/me/My Disk\t1\\", "vfat") in MOUNTED


def test_a_mount_point_may_hold_what_python_takes_for_the_end_of_a_line():
    (mount,) = parse_mounts("44 27 8:17 / /media/a\x1cb\u2028c rw - vfat /dev/sdb1 rw\n")

    assert mount.point == "/media/a\x1cb\u2028c"


@pytest.mark.parametrize(
    ("path", "device", "kind"),
    [
        ("/etc/hosts", (254, 0), "ext4"),
        ("/srv/music/a.flac", (253, 3), "xfs"),
        ("/srv/music", (253, 3), "xfs"),
        ("/srv/music-too/a.flac", (254, 0), "ext4"),
        ("/srv/music/nas/a.flac", (0, 50), "nfs4"),
        ("/srv/ssh/a.flac", (0, 51), "fuse.sshfs"),
        ("/srv/layers/a.flac", (0, 52), "overlay"),
        ("/media/me/My Disk\t1\\/a.flac", (8, 17), "vfat"),
    ],
)
def test_a_path_lies_on_the_innermost_mount_above_it(path, device, kind):
    assert find_mount(path, os.makedev(*device), MOUNTED).kind == kind


def test_a_subvolume_has_a_number_that_no_mount_has():
    assert find_mount("/home/me/a.flac", os.makedev(0, 99), MOUNTED).kind == "btrfs"


def test_a_mount_is_not_above_what_only_begins_with_its_name():
    assert find_mount("/srv/music-too/a.flac", os.makedev(0, 99), MOUNTED).kind == "ext4"


@pytest.mark.parametrize(("device", "kind"), [((8, 33), "ext4"), ((8, 49), "xfs")])
def test_of_two_mounts_at_one_point_the_number_decides(device, kind):
    assert find_mount("/stacked/a.flac", os.makedev(*device), MOUNTED).kind == kind


def test_of_two_mounts_at_one_point_the_later_covers_the_other():
    assert find_mount("/stacked/a.flac", os.makedev(0, 99), MOUNTED).kind == "xfs"


def test_a_mount_that_another_has_covered_is_not_taken():
    assert find_mount("/covered/below/a.flac", os.makedev(8, 81), MOUNTED).kind == "ext4"


def test_where_nothing_is_known_to_be_mounted_there_is_no_mount():
    assert find_mount("/a", 0, []) is None


@pytest.fixture
def uuids(tmp_path, monkeypatch):
    """`uuids(name)`: udev has found this on /dev/null, whose number is the result."""
    folder = tmp_path / "by-uuid"
    folder.mkdir()
    monkeypatch.setattr(file_systems, "UUIDS", folder)
    (folder / "0-broken").symlink_to(tmp_path / "nothing")
    (folder / "1-other").symlink_to("/dev/zero")

    def found(name):
        (folder / name).symlink_to("/dev/null")
        return Path("/dev/null").stat().st_rdev

    return found


UUID = "0b5b6e1c-65ad-4b0c-9a4f-3f3a3c0c2f11"


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("ext4", "ext4:1fe"),
        ("ext3", "ext4:1fe"),  # becomes ext4 in place, and keeps its inodes
        ("btrfs", "btrfs:1fe"),
        ("zfs", "zfs:1fe"),
        ("xfs", f"xfs:{UUID}"),  # its f_fsid is a device number
        ("f2fs", f"f2fs:{UUID}"),
        ("ntfs3", f"ntfs:{UUID}"),
        ("fuseblk", f"ntfs:{UUID}"),
        ("vfat", "~vfat"),
        ("exfat", "~exfat"),
        ("nfs4", "~nfs4"),
        ("fuse.sshfs", "~fuse.sshfs"),
        ("overlay", "~overlay"),
        ("tmpfs", "~tmpfs"),
        ("apfs", "~apfs"),
    ],
)
def test_a_file_system_is_called_by_what_lasts_of_it(uuids, kind, name):
    assert name_of(kind, 0x1FE, uuids(UUID)) == name
    assert lasts(name) is not name.startswith("~")


def test_the_short_serial_of_a_fat_behind_fuse_is_no_name(uuids):
    assert name_of("fuseblk", 1, uuids("4A3B-11F0")) == "~fuseblk"


def test_without_udev_xfs_has_no_name(uuids):
    assert name_of("xfs", 1, 0) == "~xfs"


def test_a_file_system_without_an_id_has_no_name():
    assert name_of("ext4", 0, 0) == "~ext4"


@pytest.mark.parametrize(
    ("name", "kind"), [("ext4:1", "ext4"), ("~nfs4", "nfs4"), ("~", None), (None, None)]
)
def test_the_kind_can_be_told_from_the_name(name, kind):
    assert kind_of(name) == kind


def test_nothing_lasts_of_what_is_not_known():
    assert not lasts(None)
    assert not lasts("~")
    assert not lasts("")


@pytest.mark.parametrize(
    ("now", "before", "other"),
    [
        ("ext4:1", "ext4:1", False),
        ("ext4:1", "ext4:2", True),
        ("ext4:1", "~nfs4", True),
        ("~nfs", "~nfs4", False),
        ("~xfs", f"xfs:{UUID}", False),  # udev says nothing now
        ("~ntfs3", f"ntfs:{UUID}", False),
        ("~", "ext4:1", False),
        ("ext4:1", None, False),
    ],
)
def test_only_what_is_certainly_another_file_system_is_called_so(now, before, other):
    assert is_another(now, before) is other


def test_here_a_file_system_has_the_same_name_by_whatever_path(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")

    name = file_system_of(tmp_path)

    assert kind_of(name)
    assert file_system_of(tmp_path / "folder") == file_system_of(tmp_path / "link") == name


def test_of_a_path_that_is_not_there_nothing_is_known(tmp_path):
    assert file_system_of(tmp_path / "nothing") == "~"


def test_a_link_is_on_what_it_leads_to(tmp_path):
    (tmp_path / "proc").symlink_to("/proc")

    assert file_system_of(tmp_path / "proc") == "~proc"


def test_where_the_kernel_has_no_list_another_is_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(file_systems, "MOUNTS", tmp_path / "nothing")

    assert kind_of(file_system_of("/proc")) == "proc"


def test_a_device_is_looked_at_once(tmp_path, monkeypatch):
    systems, device = FileSystems(), tmp_path.stat().st_dev
    name = systems.of_device(tmp_path, device)
    monkeypatch.setattr(file_systems, "MOUNTS", "not to be read")

    assert systems.of_device(tmp_path / "gone", device) == name


def test_what_has_gone_since_it_was_seen_teaches_nothing(tmp_path):
    systems, device = FileSystems(), tmp_path.stat().st_dev

    assert systems.of_device(tmp_path / "gone", device) == "~"
    assert systems.of_device("/proc", device) == "~"  # another was mounted there meanwhile
    assert systems.of_device(tmp_path, device) == file_system_of(tmp_path)
