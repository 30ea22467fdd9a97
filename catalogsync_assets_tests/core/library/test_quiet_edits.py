"""What has changed though size and mtime have not: edits are told from damage."""

import os
import shutil

import pytest
from mutagen.easyid3 import EasyID3
from mutagen.flac import FLAC

from catalogsync_assets.core.errors import UsageError
from catalogsync_assets.core.library import root_scan
from catalogsync_assets.core.library.tags import CUT_OFF
from catalogsync_assets_tests.support.audio_files import recorded, tagged
from catalogsync_assets_tests.support.database import change, rows
from catalogsync_assets_tests.support.files import flipped

STATES = "SELECT file_asset_id, status FROM file_locations ORDER BY id"
TITLES = "SELECT title FROM songs ORDER BY id"


@pytest.fixture
def flac(library):
    """A FLAC file with room for other tags."""
    path = library.root / "a.flac"
    tagged(path, "flac vorbis", title=["Old"], artist=["A"], album=["Al"], tracknumber=["1"])
    return path


def under_its_old_time(path, edit):
    """Change a file, and give it back the mtime that it had."""
    before = path.stat()
    edit()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


def retitle(path, title):
    def edit():
        audio = FLAC(path)
        audio["title"] = title
        audio.save()

    return edit


def rot(path):
    return lambda: path.write_bytes(flipped(path.read_bytes()))


def seen(report):
    names = ("new", "changed", "unchanged", "returned", "missing", "suspected", "touched")
    return {name: count for name in names if (count := getattr(report, name))}


@pytest.mark.parametrize("read_before", [True, False])
def test_an_edit_of_tags_that_keeps_size_and_mtime_is_found(flac, scanned, catalog, read_before):
    scanned()
    if read_before:
        scanned(rehash=True)
    under_its_old_time(flac, retitle(flac, "New"))

    assert seen(scanned()) == {"changed": 1}
    assert rows(catalog, TITLES) == ["New"]
    assert seen(scanned()) == {"unchanged": 1}


def test_other_bytes_under_the_same_tags_are_damage_and_not_an_edit(
    flac, scanned, catalog, cloud, uploaded
):
    scanned()
    scanned(rehash=True)
    under_its_old_time(flac, rot(flac))

    report = scanned()
    assert (seen(report), report.suspected_paths) == ({"suspected": 1}, [str(flac)])
    assert rows(catalog, STATES) == [(1, "damaged")]
    assert uploaded(cloud).succeeded == 0
    assert seen(scanned()) == {"unchanged": 1, "suspected": 1}


def test_damage_that_touched_nothing_is_found_by_reading_all(flac, scanned, catalog):
    scanned()
    scanned(rehash=True)
    under_its_old_time(flac, retitle(flac, "New"))
    status = flac.stat()
    change(catalog, "UPDATE file_locations SET ctime_ns = ?", status.st_ctime_ns)
    assert seen(scanned()) == {"unchanged": 1}

    assert seen(scanned(rehash=True)) == {"suspected": 1}  # whatever its tags say


def test_a_file_that_cannot_be_read_as_audio_any_more_is_damage(flac, scanned, catalog):
    scanned()
    content = flac.read_bytes()
    flac.write_bytes(b"\0" * 100 + content[100:] + b"more")

    assert seen(scanned()) == {"suspected": 1}
    assert rows(catalog, TITLES) == ["Old"]


@pytest.mark.parametrize("left", [0, 1000])
def test_a_file_that_has_lost_its_end_is_damage_and_its_object_stays(
    flac, scanned, catalog, cloud, uploaded, remote, left
):
    flac.write_bytes(recorded("FLAC", "PCM_16", 96_000))
    retitle(flac, "Old")()
    scanned()
    uploaded(cloud)
    content = flac.read_bytes()
    flac.write_bytes(content[: left and len(content) // 2])

    report = scanned()
    assert (seen(report), report.suspected_paths) == ({"suspected": 1}, [str(flac)])
    assert uploaded(cloud).succeeded == 0
    assert (remote(cloud).keys(), remote(cloud).keys(kept=True)) == (["a.flac"], [])
    assert seen(scanned()) == {"unchanged": 1, "suspected": 1}
    flac.write_bytes(content)
    assert seen(scanned()) == {"unchanged": 1, "touched": 1}


def test_an_empty_file_is_damage_though_nobody_knew_the_tags_of_what_it_held(
    library, scanned, catalog
):
    path = library.add("a.mp3")  # noise: no reader makes anything of it
    scanned()
    path.write_bytes(b"")

    assert seen(scanned()) == {"suspected": 1}


def test_what_was_cut_off_when_it_came_is_taken_and_told_of(flac, scanned, catalog):
    content = recorded("FLAC", "PCM_16", 96_000)
    flac.write_bytes(content[: len(content) // 2])

    report = scanned()
    assert (seen(report), report.problems[0].reason) == ({"new": 1}, CUT_OFF)
    flac.write_bytes(content)
    assert seen(scanned()) == {"changed": 1}


@pytest.mark.parametrize("copied", [False, True])
def test_a_file_that_was_cut_off_and_renamed_in_one_go_supersedes_nothing(
    library, scanned, catalog, copied
):
    path = library.root / "1.mp3"
    path.write_bytes(recorded("MP3", "MPEG_LAYER_III", 96_000))
    tags = EasyID3()
    tags.update(title="t", artist="a", album="b", tracknumber="1")
    tags.save(path)
    scanned()
    new = library.root / "2.mp3"
    if copied:
        shutil.copy(path, new)
        path.unlink()
    else:
        path.rename(new)
    os.truncate(new, path_size := new.stat().st_size // 2)

    report = scanned()
    place = "SELECT library_path, status, size_bytes FROM file_locations ORDER BY id"
    if copied:  # nothing but the song tells that they belong together
        assert seen(report) == {"new": 1, "missing": 1}
        assert [s for _, s, _ in rows(catalog, place)] == ["missing", "active"]
    else:
        assert (seen(report), report.moved) == ({"suspected": 1}, 1)
        assert rows(catalog, place) == [("2.mp3", "damaged", path_size)]
        assert seen(scanned()) == {"unchanged": 1, "suspected": 1}
    assert rows(catalog, "SELECT COUNT(*) FROM file_assets WHERE superseded_by_id IS NOT NULL") == [
        0
    ]


def test_damage_that_was_mended_is_no_damage(flac, scanned, catalog):
    scanned()
    scanned(rehash=True)
    content = flac.read_bytes()
    under_its_old_time(flac, rot(flac))
    scanned()
    under_its_old_time(flac, lambda: flac.write_bytes(content))

    assert scanned().suspected == 0
    assert rows(catalog, STATES) == [(1, "active")]


def test_files_that_change_places_and_are_edited_keep_their_songs(library, scanned, catalog):
    for track, title in (("1", "First"), ("2", "Second")):
        path = library.root / f"0{track}.mp3"
        tagged(path, "mp3 id3", title=[title], artist=["A"], album=["Al"], tracknumber=[track])
    scanned()
    one, two, aside = (library.root / name for name in ("01.mp3", "02.mp3", "aside"))
    one.rename(aside), two.rename(one), aside.rename(two)
    for path in (one, two):
        audio = EasyID3(path)
        audio["genre"] = "Jazz"
        audio.save(path)

    assert seen(scanned()) == {"changed": 2}
    assert rows(
        catalog,
        "SELECT l.library_path, s.id, s.title FROM file_locations l JOIN file_assets f"
        " ON f.id = l.file_asset_id JOIN songs s ON s.id = f.song_id WHERE l.status = 'active'"
        " ORDER BY 1",
    ) == [("01.mp3", 2, "Second"), ("02.mp3", 1, "First")]


def test_what_was_renamed_and_given_another_title_in_one_go_keeps_its_song(
    library, scanned, catalog
):
    path = library.root / "01.mp3"
    tagged(path, "mp3 id3", title=["Frist"], artist=["A"], album=["Al"], tracknumber=["1"])
    scanned()
    path = path.rename(library.root / "01 First.mp3")
    audio = EasyID3(path)
    audio["title"] = "First"
    audio.save(path)

    assert seen(scanned()) == {"changed": 1}
    assert rows(catalog, "SELECT id, title FROM songs") == [(1, "First")]


def test_a_person_may_take_a_file_as_it_is(flac, scanned, catalog):
    scanned()
    scanned(rehash=True)
    under_its_old_time(flac, rot(flac))
    with pytest.raises(UsageError, match="damaged"):
        scanned(accept=[flac])
    scanned()

    assert seen(scanned(accept=[flac])) == {"changed": 1}
    assert rows(catalog, STATES) == [(1, "superseded"), (2, "active")]
    assert seen(scanned()) == {"unchanged": 1}


def test_a_person_may_take_all_files_below_a_folder_as_they_are(library, scanned, catalog):
    paths = [library.add(f"{folder}/{i}.mp3") for folder in ("a", "a b") for i in (1, 2)]
    scanned()
    for path in paths:
        path.write_bytes(b"")
    scanned()
    with pytest.raises(UsageError, match="below"):
        scanned(accept=[library.root / "c"])

    assert seen(scanned(accept=[library.root / "a"])) == {
        "changed": 2,
        "unchanged": 2,
        "suspected": 2,
    }
    assert seen(scanned(accept=[library.root / "a b" / "1.mp3", library.root])) == {
        "changed": 2,
        "unchanged": 2,
    }


def test_it_is_said_why_a_file_seems_damaged(flac, scanned):
    scanned()
    scanned(rehash=True)
    content = flac.read_bytes()
    under_its_old_time(flac, lambda: flac.write_bytes(content[:-9] + bytes(9)))
    (first,) = scanned().problems
    retitle(flac, "New")()
    (second,) = scanned().problems

    assert "nor what its tags say" in first.reason
    assert "found damaged before" in second.reason
    assert "`catalogsync scan --accept`" in second.reason


def test_what_nobody_knew_of_older_rows_is_filled_in_without_reading(library, scanned, catalog):
    library.fill(3)
    scanned()
    change(catalog, "UPDATE file_locations SET ctime_ns = NULL, inode = NULL, file_system = NULL")

    report = scanned()
    assert (seen(report), report.read) == ({"unchanged": 3}, 0)
    assert rows(
        catalog, "SELECT COUNT(ctime_ns), COUNT(inode), COUNT(file_system) FROM file_locations"
    ) == [(3, 3, 3)]


def test_a_new_ctime_of_the_same_content_is_noted(library, scanned, catalog):
    path = library.add("a.mp3")
    scanned()
    scanned(rehash=True)
    path.chmod(0o600)

    assert seen(scanned()) == {"unchanged": 1, "touched": 1}
    assert seen(scanned()) == {"unchanged": 1}


def test_a_new_ctime_may_be_ignored(library, scanned, monkeypatch):
    path = library.add("a.mp3")
    scanned()
    path.chmod(0o600)
    monkeypatch.setattr(root_scan, "sha256_of", None)

    assert seen(scanned(ignore_ctime=True)) == {"unchanged": 1}
    assert seen(scanned()) == {"unchanged": 1}


def test_inodes_that_change_in_bulk_are_ignored_and_it_is_said(library, scanned, catalog):
    library.fill(30)
    scanned()
    change(catalog, "UPDATE file_locations SET inode = inode + 1000000")

    report = scanned()
    assert (seen(report), report.problem_count) == ({"unchanged": 30}, 1)
    assert "inodes of 30 files" in report.problems[0].reason
    assert scanned().problem_count == 0


def test_a_few_other_inodes_are_read(library, scanned, catalog):
    library.fill(30)
    scanned()
    change(catalog, "UPDATE file_locations SET inode = inode + 1000000 WHERE id < 4")

    assert seen(scanned()) == {"unchanged": 30, "touched": 3}


def test_reading_all_goes_on_where_it_was_stopped(library, scanned, catalog, monkeypatch):
    paths = library.fill(6)
    scanned()
    read = []
    real = root_scan.sha256_of

    def stopping(path):
        read.append(path)
        if len(read) == 4:
            raise KeyboardInterrupt
        return real(path)

    monkeypatch.setattr(root_scan, "_CHUNK", 1)
    monkeypatch.setattr(root_scan, "sha256_of", stopping)
    with pytest.raises(KeyboardInterrupt):
        scanned(rehash=True)
    change(catalog, "UPDATE library_roots SET rehash_began_at = datetime('now', '-1 hour')")

    assert scanned(rehash=True).read == 3
    assert sorted(set(read)) == paths
    assert rows(catalog, "SELECT rehash_began_at FROM library_roots") == [None]


@pytest.mark.parametrize("way", ["left out", "gone", "left out, and elsewhere"])
@pytest.mark.parametrize("kind", ["rot", "cut"])
def test_damage_is_not_forgotten_while_nobody_sees_the_file(
    flac, library, scanned, catalog, monkeypatch, way, kind
):
    """Only its content tells that it is as it was, once it is seen again."""
    whole = flac.read_bytes()
    scanned()
    scanned(rehash=True)
    if kind == "rot":
        under_its_old_time(flac, rot(flac))
    else:
        flac.write_bytes(whole[: len(whole) // 2])
    assert scanned().suspected == 1

    if way == "gone":
        away = flac.rename(library.root.parent / "a.flac")
        scanned(allow_empty=True)
        away.rename(flac)
    else:
        monkeypatch.setenv("CATALOGSYNC_IGNORE", "*.flac")
        scanned()
        monkeypatch.delenv("CATALOGSYNC_IGNORE")
        if "elsewhere" in way:
            flac = flac.rename(library.root / "b.flac")
    assert rows(catalog, STATES) == [(1, "missing" if way == "gone" else "excluded")]

    scanned()
    scanned()
    assert rows(catalog, STATES) == [(1, "damaged")]
    flac.write_bytes(whole)
    assert scanned().suspected == 0
    assert rows(catalog, STATES) == [(1, "active")]
