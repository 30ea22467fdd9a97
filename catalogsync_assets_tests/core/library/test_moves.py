"""Files are followed when they move: by their inode where that tells, else by their digest."""

import os
import shutil
import unicodedata

import mutagen
import pytest

from catalogsync_assets.core.catalog import roots
from catalogsync_assets.core.errors import LibraryError
from catalogsync_assets.core.files import file_systems
from catalogsync_assets.core.library import follow, root_scan, scan
from catalogsync_assets_tests.support.audio_files import recorded, tagged
from catalogsync_assets_tests.support.database import change, rows

#: Where each file asset of the library is.
PLACES = """
SELECT file_asset_id, library_path FROM file_locations l JOIN storage_backends b
ON b.id = l.backend_id AND b.backend_type = 'local' WHERE status = 'active' ORDER BY file_asset_id
"""
STATUSES = "SELECT file_asset_id, status FROM file_locations ORDER BY id"
EVIDENCE = "SELECT verified_by FROM file_locations WHERE status = 'active' ORDER BY file_asset_id"
LASTING, WEAK = "ext4:1", "~nfs4"


class Disks:
    """What file systems the library is said to lie on; `at` names one for what is below a path."""

    def __init__(self, otherwise):
        self.otherwise = otherwise
        self.at = {}

    def of(self, path):
        below = [p for p in self.at if f"{path}/".startswith(f"{p}/")]
        return self.at[max(below, key=len)] if below else self.otherwise


@pytest.fixture(params=[LASTING, WEAK])
def disk(request, monkeypatch):
    """A disk on which inodes last, and another."""
    disks = Disks(request.param)
    for module in (scan, root_scan, file_systems, roots):
        monkeypatch.setattr(module, "file_system_of", disks.of)
    monkeypatch.setattr(file_systems.FileSystems, "of_device", lambda _, path, _n: disks.of(path))
    return disks


@pytest.fixture
def reads(monkeypatch):
    """The paths that were read whole by what follows."""
    paths = []

    def noted(path):
        paths.append(path.name)
        return real(path)

    real = follow.sha256_of
    monkeypatch.setattr(follow, "sha256_of", noted)
    monkeypatch.setattr(root_scan, "sha256_of", noted)
    return paths


@pytest.fixture
def known(library, scanned, disk, reads):
    """`known(path, ...)` puts files into the library, with digests, as their upload would leave."""

    def fill(*paths):
        for path in paths:
            library.add(path)
        scanned()
        scanned(rehash=True)
        reads.clear()

    return fill


def moved(report):
    """What was not zero."""
    names = ("new", "changed", "returned", "missing", "moved", "suspected")
    return {name: count for name in names if (count := getattr(report, name))}


def test_a_renamed_folder_is_followed(library, known, scanned, catalog, disk, reads):
    known("a/1.mp3", "a/2.mp3", "b/3.mp3")
    (library.root / "a").rename(library.root / "(1999) a")

    assert moved(scanned()) == {"moved": 2}
    assert rows(catalog, PLACES) == [(1, "(1999) a/1.mp3"), (2, "(1999) a/2.mp3"), (3, "b/3.mp3")]
    assert rows(catalog, "SELECT COUNT(*) FROM songs") == [3]
    assert reads == ([] if disk.otherwise == LASTING else ["1.mp3", "2.mp3"])
    assert moved(scanned()) == {}


def test_how_a_file_was_known_again_is_kept_and_an_inode_is_confirmed_later(
    library, known, scanned, catalog, disk, reads, monkeypatch
):
    known("a.mp3", "b.mp3")
    monkeypatch.setattr(follow, "_FEW", 0)
    (library.root / "a.mp3").rename(library.root / "c.mp3")
    scanned()

    by_inode = disk.otherwise == LASTING
    assert rows(catalog, EVIDENCE) == ["inode" if by_inode else "read", "read"]
    reads.clear()
    scanned()
    assert rows(catalog, EVIDENCE) == ["read", "read"]
    assert reads == (["c.mp3"] if by_inode else [])


def test_what_an_inode_has_told_is_read_at_a_bounded_rate(
    library, known, scanned, monkeypatch, disk, reads
):
    if disk.otherwise == WEAK:
        pytest.skip("inodes tell nothing there")
    known(*(f"{i}.mp3" for i in range(6)))
    monkeypatch.setattr(follow, "_FEW", 0)
    rename(library.root, *((f"{i}.mp3", f"new {i}.mp3") for i in range(6)))
    scanned()
    monkeypatch.setattr(root_scan, "UNREAD_AT_A_TIME", 500)  # bytes; a file has 300

    assert [scanned().read for _ in range(4)] == [2, 2, 2, 0]


def test_a_few_that_were_renamed_themselves_are_read_at_once(
    library, known, scanned, catalog, reads
):
    known("a/1.mp3", "a/2.mp3", "3.mp3")
    (library.root / "a").rename(library.root / "b")
    (library.root / "3.mp3").rename(library.root / "4.mp3")

    assert moved(scanned()) == {"moved": 3}
    assert "4.mp3" in reads
    assert rows(catalog, EVIDENCE) == ["read", "read", "read"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("song.mp3", "Song.MP3"),
        (unicodedata.normalize("NFC", "é.mp3"), unicodedata.normalize("NFD", "é.mp3")),
        ("deep/er/song.mp3", "song.mp3"),
        ("a.mp3", "a.mp3.mp3"),
    ],
)
def test_a_name_may_change_in_any_way(library, known, scanned, catalog, before, after):
    known(before, "other.mp3")
    (library.root / before).rename(library.root / after)

    assert moved(scanned()) == {"moved": 1}
    assert after in dict(rows(catalog, PLACES)).values()


def test_a_rename_over_an_existing_name_replaces_that_one(library, known, scanned, catalog):
    known("a.mp3", "b.mp3")
    (library.root / "a.mp3").replace(library.root / "b.mp3")

    assert moved(scanned()) == {"moved": 1}
    assert rows(catalog, PLACES) == [(1, "b.mp3")]
    assert rows(catalog, STATUSES) == [(1, "active"), (2, "superseded")]
    assert rows(catalog, "SELECT superseded_by_id FROM file_assets WHERE id = 2") == [1]
    assert rows(catalog, "SELECT object_key FROM file_assets WHERE id = 1") == ["b.mp3"]
    assert moved(scanned()) == {}


def test_a_file_that_is_retagged_under_its_old_time_and_renamed_over_another_is_met_at_once(
    library, scanned, catalog, disk
):
    song = {"title": ["One"], "artist": ["A"], "album": ["B"]}
    library.add("b.mp3")
    one = tagged(library.root / "a.flac", "flac vorbis", **song, tracknumber=["1"])
    scanned()
    scanned(rehash=True)
    before = one.stat()
    with one.open("r+b") as file:
        content = file.read().replace(b"=1", b"=2")
        file.seek(0)
        file.write(content)
    os.utime(one, ns=(before.st_atime_ns, before.st_mtime_ns))
    one.replace(library.root / "b.mp3")

    assert scanned().changed == 1
    assert rows(catalog, PLACES) == [(3, "b.mp3")]
    assert rows(catalog, "SELECT object_key FROM file_assets WHERE id = 3") == ["b.mp3"]
    assert moved(scanned()) == {}


def test_a_swap_is_two_moves(library, known, scanned, catalog):
    known("a.mp3", "b.mp3")
    rename(library.root, ("a.mp3", "x"), ("b.mp3", "a.mp3"), ("x", "b.mp3"))

    assert moved(scanned()) == {"moved": 2}
    assert rows(catalog, PLACES) == [(1, "b.mp3"), (2, "a.mp3")]
    assert moved(scanned()) == {}


def test_a_swap_of_files_of_one_size_and_time_is_seen_by_their_inodes(
    library, known, scanned, catalog
):
    for name in ("a.mp3", "b.mp3"):
        os.utime(library.add(name), ns=(1, 10**18))
    scanned()
    scanned(rehash=True)
    rename(library.root, ("a.mp3", "x"), ("b.mp3", "a.mp3"), ("x", "b.mp3"))

    assert moved(scanned()) == {"moved": 2}
    assert rows(catalog, PLACES) == [(1, "b.mp3"), (2, "a.mp3")]


def test_a_chain_is_followed(library, known, scanned, catalog):
    known("1.mp3", "2.mp3", "3.mp3")
    rename(library.root, ("3.mp3", "4.mp3"), ("2.mp3", "3.mp3"), ("1.mp3", "2.mp3"))

    assert moved(scanned()) == {"moved": 3}
    assert rows(catalog, PLACES) == [(1, "2.mp3"), (2, "3.mp3"), (3, "4.mp3")]


def test_a_new_file_at_the_old_path_is_another_file(library, known, scanned, catalog):
    known("a.mp3")
    (library.root / "a.mp3").rename(library.root / "b.mp3")
    library.add("a.mp3")

    assert moved(scanned()) == {"moved": 1, "new": 1}
    assert rows(catalog, PLACES) == [(1, "b.mp3"), (2, "a.mp3")]
    keys = rows(catalog, "SELECT object_key FROM file_assets ORDER BY id")
    assert len(set(keys)) == 2


def test_a_copy_is_another_file(library, known, scanned, catalog):
    known("a.mp3")
    shutil.copy2(library.root / "a.mp3", library.root / "b.mp3")

    assert moved(scanned()) == {"new": 1}
    assert rows(catalog, PLACES) == [(1, "a.mp3"), (2, "b.mp3")]


def test_hard_links_are_two_files_and_each_is_followed(library, known, scanned, catalog):
    known("a.mp3")
    (library.root / "b.mp3").hardlink_to(library.root / "a.mp3")
    assert moved(scanned()) == {"new": 1}
    rename(library.root, ("a.mp3", "c.mp3"), ("b.mp3", "d.mp3"))

    scanned(rehash=True)
    assert [asset for asset, _ in rows(catalog, PLACES)] == [1, 2]
    assert {path for _, path in rows(catalog, PLACES)} == {"c.mp3", "d.mp3"}


def test_a_move_between_roots_is_followed(library, another_library, known, scanned, catalog):
    other = another_library("other")
    known("a.mp3", "b.mp3")
    other.add("c.mp3")
    scanned(library.root, other.root)
    (library.root / "a.mp3").rename(other.root / "a.mp3")

    assert moved(scanned(library.root, other.root)) == {"moved": 1}
    assert rows(catalog, "SELECT library_root FROM file_locations ORDER BY id") == [
        str(other.root),
        str(library.root),
        str(other.root),
    ]


def test_a_root_that_was_not_walked_has_lost_nothing(
    library, another_library, known, scanned, catalog
):
    other = another_library("other")
    known("a.mp3", "b.mp3")
    other.add("c.mp3")
    scanned(library.root, other.root)
    (library.root / "a.mp3").rename(other.root / "a.mp3")

    assert moved(scanned(other.root)) == {"new": 1}
    assert moved(scanned(library.root)) == {"missing": 1}


def test_a_file_that_was_missing_is_known_again_at_another_path(
    library, known, scanned, catalog, tmp_path
):
    known("a.mp3", "b.mp3")
    (library.root / "a.mp3").rename(tmp_path / "away.mp3")
    assert moved(scanned()) == {"missing": 1}
    (tmp_path / "away.mp3").rename(library.root / "back.mp3")

    assert moved(scanned()) == {"moved": 1}
    assert rows(catalog, PLACES) == [(1, "back.mp3"), (2, "b.mp3")]
    assert rows(catalog, "SELECT missing_since FROM file_locations") == [None, None]


def test_a_backup_put_back_with_its_old_times_is_the_same_file_by_its_digest(
    library, known, scanned, catalog, reads
):
    known("a/1.mp3")
    shutil.copytree(library.root / "a", library.root / "restored")
    shutil.rmtree(library.root / "a")

    assert moved(scanned()) == {"moved": 1}
    assert reads == ["1.mp3"]
    assert rows(catalog, EVIDENCE) == ["read"]


def test_a_copy_that_was_edited_under_its_old_time_is_not_the_same(
    library, known, scanned, catalog
):
    known("a/1.mp3", "a/2.mp3")
    shutil.copytree(library.root / "a", library.root / "b")
    library.rewrite("b/1.mp3", b"x" * 300)
    shutil.rmtree(library.root / "a")

    assert moved(scanned()) == {"moved": 1, "new": 1, "missing": 1}
    assert dict(rows(catalog, PLACES))[2] == "b/2.mp3"


def test_an_inode_that_was_used_again_is_another_file(library, known, scanned, catalog):
    known("a.mp3", "b.mp3")
    inode = (library.root / "a.mp3").stat().st_ino
    (library.root / "a.mp3").unlink()
    new = library.add("new.mp3")
    change(catalog, "UPDATE file_locations SET inode = ? WHERE inode = ?", new.stat().st_ino, inode)

    assert moved(scanned()) == {"new": 1, "missing": 1}


def test_an_inode_of_another_host_or_disk_proposes_nothing(library, scanned, catalog, disk):
    library.add("a.mp3")
    scanned()
    change(catalog, "UPDATE file_locations SET file_system = 'ext4:other'")
    (library.root / "a.mp3").rename(library.root / "b.mp3")
    disk.at[str(library.root)] = "ext4:third"

    assert moved(scanned(allow_empty=True)) == {"new": 1}  # nothing is said of the old one


def test_without_a_digest_only_an_inode_tells(library, scanned, catalog, disk):
    library.add("a.mp3")
    scanned()
    (library.root / "a.mp3").rename(library.root / "b.mp3")

    lasting = disk.otherwise == LASTING
    assert moved(scanned()) == ({"moved": 1} if lasting else {"new": 1, "missing": 1})


def test_a_file_is_read_once_and_only_if_a_lost_one_has_its_size(library, known, scanned, reads):
    known("a.mp3", "b.mp3", "c.mp3")
    for name in ("a", "b", "c"):
        shutil.copy(library.root / f"{name}.mp3", library.root / f"new {name}.mp3")
        (library.root / f"{name}.mp3").unlink()
    library.add("a.mp3", size=301)

    scanned()
    assert sorted(reads) == sorted(set(reads))
    assert "a.mp3" not in reads


def test_what_is_left_out_has_not_moved(library, known, scanned, catalog):
    known("a/1.mp3", "b/2.mp3")
    shutil.copytree(library.root / "a", library.root / "c")
    (library.root / ".catalogsyncignore").write_text("a/\n.catalogsyncignore\n")

    assert moved(scanned()) == {"new": 1}
    assert rows(catalog, STATUSES)[0] == (1, "excluded")


def test_a_disk_inside_the_root_that_is_not_mounted_has_lost_nothing(
    library, scanned, catalog, disk
):
    library.add("a.mp3")
    library.add("disk/inner/b.mp3")
    scanned()
    change(catalog, "UPDATE file_locations SET file_system = 'ext4:2' WHERE file_asset_id = 2")
    shutil.rmtree(library.root / "disk" / "inner")

    report = scanned()
    assert (moved(report), report.unmounted) == ({}, 1)
    assert [p.reason for p in report.problems if "not mounted" in p.reason]
    assert rows(catalog, STATUSES) == [(1, "active"), (2, "active")]


def test_another_disk_in_the_place_of_the_root_is_refused(library, known, scanned, catalog, disk):
    known("a.mp3", "b.mp3")
    before = rows(catalog, STATUSES)
    for name in ("a", "b"):
        (library.root / f"{name}.mp3").unlink()
    library.add("other.mp3")
    disk.at[str(library.root)] = "ext4:other"

    with pytest.raises(LibraryError, match="another file system"):
        scanned()
    assert rows(catalog, STATUSES) == before
    assert moved(scanned(allow_empty=True))["missing"] == 2


def test_a_disk_that_was_copied_to_another_one_is_taken(library, known, scanned, catalog, disk):
    known("a.mp3", "b.mp3", "c.mp3")
    disk.at[str(library.root)] = "ext4:other"
    (library.root / "c.mp3").unlink()

    assert moved(scanned()) == {"missing": 1}
    assert moved(scanned()) == {}


def test_a_file_that_was_removed_on_purpose_is_known_again_by_its_digest_alone(
    library, known, scanned, catalog
):
    known("a.mp3", "b.mp3")
    content = (library.root / "a.mp3").read_bytes()
    (library.root / "a.mp3").unlink()
    change(catalog, "UPDATE file_locations SET status = 'offloaded' WHERE library_path = 'a.mp3'")
    shutil.copystat(library.add("x/a.mp3", content), library.root / "x" / "a.mp3")

    assert moved(scanned()) == {"moved": 1}
    assert rows(catalog, PLACES) == [(1, "x/a.mp3"), (2, "b.mp3")]


def test_one_refused_root_leaves_the_others_scanned(
    library, another_library, known, scanned, catalog
):
    known("a.mp3")
    other = another_library("other")
    other.add("b.mp3")
    scanned(library.root, other.root)
    (other.root / "b.mp3").unlink()
    (library.root / "a.mp3").rename(library.root / "c.mp3")

    with pytest.raises(LibraryError):
        scanned(other.root, library.root)
    assert rows(catalog, PLACES) == [(1, "c.mp3"), (2, "b.mp3")]


@pytest.mark.parametrize("removed", ["a.mp3", "z.mp3"])
def test_removing_one_of_two_hard_links_leaves_the_other_the_file_that_it_was(
    library, known, scanned, catalog, removed
):
    known("a.mp3")
    (library.root / "z.mp3").hardlink_to(library.root / "a.mp3")
    scanned(rehash=True)
    kept, asset = {"a.mp3": ("z.mp3", 2), "z.mp3": ("a.mp3", 1)}[removed]
    (library.root / removed).unlink()

    assert moved(scanned()) == {"missing": 1}
    assert rows(catalog, PLACES) == [(asset, kept)]


def test_a_root_that_was_renamed_and_rearranged_is_known_by_its_inodes(
    library, known, scanned, catalog, disk, tmp_path
):
    known("Al/1.mp3", "Al/2.mp3", "Be/3.mp3")
    library.root.rename(tmp_path / "new")
    (tmp_path / "new" / "Al").rename(tmp_path / "new" / "Album")
    (tmp_path / "new" / "Be").rename(tmp_path / "new" / "Bee")

    report = scanned(tmp_path / "new")
    if disk.otherwise == LASTING:
        assert moved(report) == {"moved": 3}
        assert [root.old for root in report.moved_roots] == [str(library.root)]
    else:
        assert moved(report) == {"new": 3}


def test_files_of_a_root_that_was_let_go_are_known_again_below_another(
    library, known, scanned, catalog
):
    known("Music/1.mp3", "Music/2.mp3")
    change(catalog, "UPDATE file_locations SET library_root = ?", str(library.root / "Music"))
    change(catalog, "UPDATE file_locations SET library_path = substr(library_path, 7)")
    change(
        catalog,
        "UPDATE library_roots SET path = ?, let_go_at = CURRENT_TIMESTAMP",
        str(library.root / "Music"),
    )
    change(catalog, "UPDATE file_locations SET status = 'forgotten'")

    assert moved(scanned()) == {"moved": 2}


def rename(root, *pairs):
    for before, after in pairs:
        (root / before).rename(root / after)


def test_a_row_that_an_older_tool_adds_for_a_moved_file_does_not_hide_the_move(
    library, known, scanned, catalog
):
    known("a.mp3", "b.mp3")
    (library.root / "a.mp3").rename(library.root / "c.mp3")
    change(catalog, "INSERT INTO file_assets (id) VALUES (9)")
    change(
        catalog,
        "INSERT INTO file_locations (file_asset_id, backend_id, locator, absolute_path, status)"
        " SELECT 9, MIN(backend_id), 'c', ?, 'active' FROM file_locations",
        str(library.root / "c.mp3"),
    )

    assert moved(scanned()) == {"moved": 1}
    assert rows(catalog, PLACES) == [(1, "c.mp3"), (2, "b.mp3")]
    assert rows(catalog, "SELECT superseded_by_id FROM file_assets WHERE id = 9") == [1]


@pytest.mark.parametrize("read", [True, False])
def test_a_file_that_is_damaged_and_renamed_is_suspected_and_followed(
    library, scanned, catalog, disk, read
):
    """Its inode tells that it is the same; that it is no audio any more, is no edit."""
    if disk.otherwise != LASTING:
        pytest.skip("inodes tell nothing there")
    one = tagged(library.root / "a.flac", "flac vorbis", title=["One"])
    scanned()
    if read:
        scanned(rehash=True)
    library.rewrite("a.flac", b"#" * one.stat().st_size)
    one.rename(library.root / "b.flac")

    assert scanned().suspected == 1
    assert rows(catalog, "SELECT library_path, status FROM file_locations") == [
        ("b.flac", "damaged")
    ]


def retag(path, **tags):
    """As a tagger that writes in place: the inode stays."""
    file = mutagen.File(path)
    file.update(tags)
    file.save()


ONE = {"artist": ["Ann"], "album": ["First"], "title": ["One"], "tracknumber": ["1"]}
TWO = {"artist": ["Bob"], "album": ["Second"], "title": ["Two"], "tracknumber": ["2"]}


@pytest.mark.parametrize("kind", ["ogg", "flac"])
def test_a_file_that_is_renamed_over_another_and_retagged_keeps_its_song(
    library, scanned, disk, catalog, kind
):
    if disk.otherwise == WEAK and kind == "ogg":
        pytest.skip("neither inodes nor sound tell anything there")
    one = tagged(library.root / f"one.{kind}", f"{kind} vorbis", **ONE)
    two = tagged(library.root / f"two.{kind}", f"{kind} vorbis", **TWO)
    if kind == "flac":
        one.write_bytes(recorded("FLAC", "PCM_16", 30_000))
        retag(one, **ONE)
    scanned()
    before = dict(rows(catalog, "SELECT title, id FROM songs"))
    one.rename(two)
    retag(two, comment=["new"])

    report = scanned()

    assert report.new == 0
    assert dict(rows(catalog, "SELECT title, id FROM songs")) == before
    current = "SELECT song_id FROM file_assets WHERE superseded_by_id IS NULL"
    assert rows(catalog, current) == [before["One"]]
    assert moved(scanned()) == {}
