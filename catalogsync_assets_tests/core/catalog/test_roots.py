"""Library roots as rows: known again where they lie elsewhere, moved with all that is known."""

from __future__ import annotations

import dataclasses
import os
import shutil
import socket
from pathlib import Path

import pytest

from catalogsync_assets.core.catalog.replication import policies, set_policy
from catalogsync_assets.core.catalog.roots import (
    Contents,
    begin_rehash,
    compare,
    contents,
    end_rehash,
    find_moved_root,
    is_there,
    known_roots,
    library_roots,
    limits_of_links,
    move_root,
    name_root,
    note_complete_scan,
    note_root,
    root_called,
    state_of,
    take_back,
)
from catalogsync_assets.core.errors import ConfigurationError, UsageError
from catalogsync_assets.core.files import file_systems
from catalogsync_assets.core.files.file_systems import file_system_of
from catalogsync_assets.core.restore.restore import restore
from catalogsync_assets_tests.support.database import change, rows

HOST = socket.gethostname()
LOCAL = (
    "SELECT library_root, library_path, container_name, locator, absolute_path, status"
    " FROM file_locations WHERE library_root IS NOT NULL ORDER BY id"
)
EVIDENCE = "SELECT inode, ctime_ns, file_system FROM file_locations ORDER BY id"


@pytest.fixture(autouse=True)
def on_disk(monkeypatch):
    """`on_disk(name)`: what all file systems are called; at first they last, wherever tests run."""

    def call(name):
        monkeypatch.setattr(file_systems, "name_of", lambda *_: name)

    call("ext4:1fe")
    return call


@pytest.fixture
def known(catalog, library, scanned):
    """`known(files)`: so many are in the library, and in the catalog; the root as a row."""

    def fill(files=4):
        library.fill(files)
        scanned()
        return row(catalog, library.root)

    return fill


def row(catalog, path):
    return {root.path: root for root in library_roots(catalog)}[str(path)]


def moved(library, name="elsewhere"):
    return library.root.rename(library.root.with_name(name))


def look(catalog, new):
    return find_moved_root(catalog, new, file_system_of(new))


# --- rows ---------------------------------------------------------------------------------------


def test_a_scan_makes_a_root_known_with_what_it_lies_on(catalog, library, known):
    root = known()

    assert (root.host, root.file_system) == (HOST, "ext4:1fe")
    assert root.name is None
    assert root.last_complete_scan_at
    assert known_roots(catalog) == [str(library.root)]


def test_noting_a_root_again_says_where_it_is_now(catalog):
    note_root(catalog, "/music", "ext4:1")
    name_root(catalog, "/music", "disk1")
    note_complete_scan(catalog, "/music")
    before = row(catalog, "/music")

    note_root(catalog, "/music", "ext4:2")

    assert row(catalog, "/music") == dataclasses.replace(before, file_system="ext4:2")


def test_reading_anew_goes_on_from_when_it_began(catalog):
    note_root(catalog, "/music", "ext4:1")
    change(catalog, "UPDATE library_roots SET rehash_began_at = '2020-01-01 00:00:00'")

    assert begin_rehash(catalog, "/music") == "2020-01-01 00:00:00"
    end_rehash(catalog, "/music")
    assert row(catalog, "/music").rehash_began_at is None
    assert begin_rehash(catalog, "/music") > "2020-01-02"


def test_what_has_files_is_known_without_a_row(catalog, library, known):
    known()
    change(catalog, "DELETE FROM library_roots")

    assert known_roots(catalog) == [str(library.root)]
    assert row(catalog, library.root).id is None
    name_root(catalog, str(library.root), "disk1")
    assert row(catalog, library.root).name == "disk1"


def test_links_may_lead_to_every_root(catalog, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "music").symlink_to("real")
    note_root(catalog, str(tmp_path / "music"), "ext4:1")

    assert limits_of_links(catalog, ["/other"]) == ("/other", str(tmp_path / "real"))


def test_a_root_is_called_by_its_path_or_its_name(catalog, monkeypatch, tmp_path):
    for path, name in ((tmp_path / "a", "one"), (tmp_path / "b", "two"), (tmp_path / "c", "c")):
        note_root(catalog, str(path), "ext4:1")
        name_root(catalog, str(path), name)
    change(catalog, "UPDATE library_roots SET name = 'two' WHERE name = 'c'")  # as of before
    monkeypatch.chdir(tmp_path)

    assert root_called(catalog, "one").path == str(tmp_path / "a")
    assert root_called(catalog, "b").path == str(tmp_path / "b")
    with pytest.raises(UsageError, match="two is the name of 2 library roots") as error:
        root_called(catalog, "two")
    assert error.value.hint == f"{tmp_path / 'b'}, {tmp_path / 'c'}"
    with pytest.raises(UsageError, match="knows no library root") as error:
        root_called(catalog, "three")
    assert error.value.hint == f"known are: {tmp_path / 'a'}, {tmp_path / 'b'}, {tmp_path / 'c'}"


def test_no_two_roots_have_the_same_name(catalog):
    for path in ("/a", "/b", "/c"):
        note_root(catalog, path, "ext4:1")
    name_root(catalog, "/a", "one")
    name_root(catalog, "/a", "one")
    with pytest.raises(UsageError, match="/a is called one already") as error:
        name_root(catalog, "/b", "one")
    assert error.value.hint is not None
    assert "`catalogsync root name /a --none`" in error.value.hint

    name_root(catalog, "/a", None)
    name_root(catalog, "/b", "one")
    change(catalog, "UPDATE library_roots SET let_go_at = CURRENT_TIMESTAMP WHERE path = '/b'")
    name_root(catalog, "/c", "one")
    assert rows(catalog, "SELECT path, name FROM library_roots ORDER BY path") == [
        ("/a", None),
        ("/b", None),
        ("/c", "one"),
    ]


def test_what_is_in_a_root_is_counted(catalog, library, another_library, known, scanned):
    known(3)
    (library.root / "album/0000.mp3").unlink()
    other = another_library("other")
    other.add("a.mp3", size=50)
    scanned(library.root, other.root)

    assert contents(catalog) == {
        str(library.root): Contents(files=2, bytes=600, others=1),
        str(other.root): Contents(files=1, bytes=50, others=0),
    }
    assert list(contents(catalog, str(other.root))) == [str(other.root)]


# --- whether a root is there --------------------------------------------------------------------


def test_a_root_with_its_files_is_here(known):
    assert state_of(known()) == "here"


def test_a_root_whose_folder_is_not_there_is_gone(library, known):
    root = known()
    moved(library)

    assert state_of(root) == "gone"


def test_a_file_in_the_place_of_a_root_is_no_root(library, known):
    root = known()
    moved(library)
    library.root.write_bytes(b"")

    assert state_of(root) == "gone"


@pytest.mark.parametrize("left", [(), (".catalogsync", "lost+found", ".Trash-1000")])
def test_a_root_with_nothing_but_what_emptying_leaves_is_empty(library, known, left):
    root = known()
    moved(library)
    library.root.mkdir()
    for name in left:
        (library.root / name).mkdir()

    assert state_of(root) == "empty"


def test_a_root_on_another_file_system_is_exchanged(on_disk, known):
    root = known()
    on_disk("ext4:2fe")

    assert state_of(root) == "exchanged"


def test_a_root_that_may_not_be_listed_is_said_so_and_has_not_moved(catalog, known, monkeypatch):
    root = known()

    def refuse(_):
        raise PermissionError

    monkeypatch.setattr(os, "scandir", refuse)

    assert (state_of(root), is_there(root)) == ("unreadable", True)


def test_a_root_of_which_nobody_knows_what_it_lay_on_is_here(on_disk, known):
    root = dataclasses.replace(known(), file_system=None)
    on_disk("ext4:2fe")

    assert state_of(root) == "here"


# --- known again --------------------------------------------------------------------------------


def test_a_root_that_was_renamed_is_proven_by_its_inodes(catalog, library, known):
    root = known(4)
    new = moved(library)

    found = look(catalog, new)

    assert dataclasses.astuple(found)[1:] == (4, 4, 4, 4, True)
    assert found.root == root


def test_a_copy_with_its_times_proves_nothing(catalog, library, known):
    root = known(4)
    new = Path(shutil.copytree(library.root, library.root.with_name("copy")))
    shutil.rmtree(library.root)

    found = look(catalog, new)

    assert (found.root, found.there, found.by_inode, found.by_size_and_time) == (root, 4, 0, 4)
    assert not found.proven


def test_inodes_of_another_file_system_prove_nothing(catalog, library, on_disk, known):
    known()
    new = moved(library)
    on_disk("ext4:2fe")

    found = look(catalog, new)

    assert (found.by_inode, found.by_size_and_time, found.proven) == (0, 4, False)


def test_inodes_prove_nothing_where_they_do_not_last(catalog, library, on_disk, known):
    on_disk("~nfs4")
    known()

    found = look(catalog, moved(library))

    assert (found.by_inode, found.by_size_and_time, found.proven) == (0, 4, False)


def test_inodes_of_a_lasting_disk_within_one_that_does_not_last_prove_nothing(
    catalog, library, known
):
    known()
    change(catalog, "UPDATE library_roots SET file_system = '~overlay'")

    found = find_moved_root(catalog, moved(library), "~overlay")

    assert (found.by_inode, found.proven) == (4, False)


def test_files_seen_before_inodes_were_kept_prove_nothing(catalog, library, known):
    known()
    change(catalog, "UPDATE file_locations SET inode = NULL, file_system = NULL")

    found = look(catalog, moved(library))

    assert (found.by_inode, found.by_size_and_time, found.proven) == (0, 4, False)


def test_a_root_that_was_last_scanned_before_its_host_was_kept_proves_nothing(
    catalog, library, known
):
    known()
    change(catalog, "UPDATE library_roots SET host = NULL, file_system = NULL")

    found = look(catalog, moved(library))

    assert (found.by_inode, found.proven) == (4, False)


def test_a_root_of_another_host_is_not_asked(catalog, library, known):
    known()
    change(catalog, "UPDATE library_roots SET host = 'another'")

    assert look(catalog, moved(library)) is None


def test_a_root_that_is_where_it_was_has_not_moved(catalog, library, known):
    known()
    new = Path(shutil.copytree(library.root, library.root.with_name("copy")))

    assert look(catalog, new) is None


@pytest.mark.parametrize("there", ["empty", "another"])
def test_what_has_taken_the_place_of_a_root_does_not_hide_that_it_moved(
    catalog, library, known, on_disk, there
):
    known()
    new = moved(library)
    library.root.mkdir()
    if there == "another":
        (library.root / "other").mkdir()
        change(catalog, "UPDATE library_roots SET file_system = 'ext4:old'")

    assert look(catalog, new).by_inode == 4


def test_other_files_under_the_same_names_are_no_root(catalog, library, another_library, known):
    known(4)
    moved(library)
    other = another_library("other")
    other.fill(4, size=301)

    assert look(catalog, other.root) is None


def test_half_of_the_files_that_are_there_must_be_the_same(catalog, library, known):
    known(4)
    new = moved(library)
    for name in ("0000.mp3", "0001.mp3"):
        (new / "album" / name).write_bytes(b"edited")

    assert look(catalog, new).proven
    (new / "album/0002.mp3").write_bytes(b"edited")
    assert look(catalog, new) is None


def test_files_that_are_not_there_do_not_count_against_it(catalog, library, known):
    known(4)
    new = moved(library)
    for name in ("0000.mp3", "0001.mp3", "0002.mp3"):
        (new / "album" / name).unlink()

    found = look(catalog, new)

    assert (found.compared, found.there, found.by_inode, found.proven) == (4, 1, 1, True)


def test_a_folder_in_the_place_of_a_file_is_not_that_file(catalog, library, known):
    known(1)
    moved(library)
    new = library.root.with_name("other")
    (new / "album/0000.mp3").mkdir(parents=True)

    found = compare(catalog, row(catalog, library.root), new, file_system_of(new))

    assert (found.compared, found.there, found.proven) == (1, 0, False)
    assert look(catalog, new) is None


def test_a_path_with_known_files_is_no_other_root(
    catalog, library, another_library, known, scanned
):
    known()
    new = moved(library)
    change(catalog, "INSERT INTO file_assets (id) VALUES (99)")
    change(
        catalog,
        "INSERT INTO file_locations (file_asset_id, backend_id, locator, library_root,"
        " library_path) VALUES (99, 1, 'x', ?, 'x.mp3')",
        str(new),
    )

    assert look(catalog, new) is None


def test_of_several_roots_the_one_with_the_most_files_there_is_taken(
    catalog, library, another_library, known, scanned
):
    known(4)
    other = another_library("other")
    other.add("album/0000.mp3")
    scanned(other.root)
    shutil.rmtree(other.root)

    assert look(catalog, moved(library)).root.path == str(library.root)


def test_at_most_200_files_are_looked_for_from_all_of_the_root(catalog, library, known, scanned):
    library.fill(130, folder="a")
    library.fill(130, folder="b")
    library.fill(141, folder="c")
    scanned()
    new = moved(library)
    shutil.rmtree(new / "b")

    found = look(catalog, new)

    assert 100 <= found.compared <= 200
    assert abs(found.there / found.compared - 271 / 401) < 0.02


def test_where_all_is_missing_the_missing_files_are_looked_for(catalog, library, known, scanned):
    known(4)
    new = moved(library)
    library.root.mkdir()
    scanned(allow_empty=True)

    assert look(catalog, new).by_inode == 4


def test_a_root_without_files_is_not_known_again(catalog, library, scanned):
    scanned()

    assert look(catalog, moved(library)) is None


# --- moved --------------------------------------------------------------------------------------


def test_a_root_moves_with_its_files(catalog, library, known, scanned):
    root = known(2)
    new = moved(library)

    assert move_root(catalog, root.path, str(new)) == 2

    assert rows(catalog, LOCAL) == [
        (str(new), path, str(new), path, f"{new}/{path}", "active")
        for path in ("album/0000.mp3", "album/0001.mp3")
    ]
    assert row(catalog, new) == dataclasses.replace(root, path=str(new))
    assert known_roots(catalog) == [str(new)]


def test_a_scan_of_a_moved_root_finds_nothing_new(catalog, library, known, scanned):
    root = known(3)
    new = moved(library)
    move_root(catalog, root.path, str(new))

    report = scanned(new)

    assert (report.files, report.unchanged, report.new, report.missing) == (3, 3, 0, 0)


def test_moving_it_again_changes_nothing(catalog, library, known):
    root = known(2)
    new = str(moved(library))
    move_root(catalog, root.path, new)
    before = rows(catalog, LOCAL), rows(catalog, "SELECT * FROM library_roots")

    assert move_root(catalog, root.path, new) == 0
    assert move_root(catalog, new, new) == 0
    assert (rows(catalog, LOCAL), rows(catalog, "SELECT * FROM library_roots")) == before


def test_a_move_there_and_back_is_none(catalog, library, known):
    root = known(2)
    before = rows(catalog, LOCAL), row(catalog, root.path)
    new = str(moved(library))
    move_root(catalog, root.path, new)
    Path(new).rename(library.root)

    assert move_root(catalog, new, root.path) == 2
    assert (rows(catalog, LOCAL), row(catalog, root.path)) == before


def test_what_names_the_root_elsewhere_follows(catalog, library, known):
    root = known(1)
    new = moved(library)
    set_policy(catalog, root.path, 2)
    change(catalog, "INSERT INTO download_roots (path) VALUES (?)", root.path)
    for path in (f"{root.path}/a.mp3", f"{root.path}-too/b.mp3", None):
        change(catalog, "INSERT INTO download_tasks (absolute_path) VALUES (?)", path)

    move_root(catalog, root.path, str(new))

    assert [(p.library_root, p.copies) for p in policies(catalog) if p.own] == [(str(new), 2)]
    assert rows(catalog, "SELECT path FROM download_roots") == [str(new)]
    assert rows(catalog, "SELECT absolute_path FROM download_tasks ORDER BY id") == [
        f"{new}/a.mp3",
        f"{root.path}-too/b.mp3",
        None,
    ]


def test_what_stood_for_the_new_path_before_gives_way(catalog, library, known):
    root = known(1)
    new = str(moved(library))
    note_root(catalog, new, "ext4:1fe")
    for path, copies in ((root.path, 3), (new, 1)):
        set_policy(catalog, path, copies)
        change(catalog, "INSERT INTO download_roots (path) VALUES (?)", path)

    move_root(catalog, root.path, new)

    assert [(p.library_root, p.copies) for p in policies(catalog) if p.own] == [(new, 3)]
    assert rows(catalog, "SELECT path FROM download_roots") == [new]
    assert known_roots(catalog) == [new]


def test_what_another_program_wrote_stays_but_for_the_path(catalog, library, known):
    root = known(4)
    values = (
        ("shelf 7", "a/17", f"{root.path}/album/0000.mp3"),
        (None, f"{root.path}/album/0001.mp3", f"{root.path}-too/album/0001.mp3"),
        (root.path, "b/18", None),
        ("/somewhere", f"{root.path}-too/x", f"{root.path}/album/0003.mp3"),
    )
    for number, (container, locator, path) in enumerate(values, 1):
        change(
            catalog,
            "UPDATE file_locations SET container_name = ?, locator = ?, absolute_path = ?"
            " WHERE id = ?",
            *(container, locator, path, number),
        )
    new = moved(library)

    move_root(catalog, root.path, str(new))

    assert [found[2:5] for found in rows(catalog, LOCAL)] == [
        ("shelf 7", "a/17", f"{new}/album/0000.mp3"),
        (None, f"{new}/album/0001.mp3", f"{root.path}-too/album/0001.mp3"),
        (str(new), "b/18", None),
        ("/somewhere", f"{root.path}-too/x", f"{new}/album/0003.mp3"),
    ]


def test_rows_that_another_program_has_added_since_the_last_scan_follow(catalog, library, known):
    root = known(1)
    change(catalog, "INSERT INTO file_assets (id) VALUES (99)")
    change(
        catalog,
        "INSERT INTO file_locations (file_asset_id, backend_id, container_name, locator,"
        " absolute_path) VALUES (99, 1, 'shelf', '99', ?)",
        f"{root.path}/album/new.mp3",
    )
    new = moved(library)

    assert move_root(catalog, root.path, str(new)) == 2
    assert rows(catalog, LOCAL)[1][:5] == (
        *(str(new), "album/new.mp3", "shelf", "99"),
        f"{new}/album/new.mp3",
    )


def test_a_locator_that_its_file_has_already_is_not_given_twice(catalog, library, known):
    root = known(1)
    new = moved(library)
    taken = f"{new}/album/0000.mp3"
    change(catalog, "UPDATE file_locations SET locator = ?", f"{root.path}/album/0000.mp3")
    change(
        catalog,
        "INSERT INTO file_locations (file_asset_id, backend_id, locator, status)"
        " VALUES (1, 1, ?, 'superseded')",
        taken,
    )

    move_root(catalog, root.path, str(new))

    assert rows(catalog, LOCAL)[0][3] == f"{root.path}/album/0000.mp3"


def test_inodes_are_dropped_with_the_file_system_that_they_were_of(
    catalog, library, known, on_disk
):
    root = known(2)
    change(catalog, "UPDATE file_locations SET file_system = 'xfs:nested' WHERE id = 2")
    nested = rows(catalog, EVIDENCE)[1]
    new = moved(library)
    on_disk("ext4:2fe")

    move_root(catalog, root.path, str(new))

    assert rows(catalog, EVIDENCE) == [(None, None, "ext4:2fe"), nested]
    assert row(catalog, new).file_system == "ext4:2fe"


def test_a_root_without_a_row_has_one_once_it_was_moved(catalog, library, known):
    root = known(1)
    change(catalog, "DELETE FROM library_roots")
    new = moved(library)

    move_root(catalog, root.path, str(new))

    assert (row(catalog, new).host, row(catalog, new).file_system) == (HOST, "ext4:1fe")


def test_inodes_stay_where_the_file_system_is_the_same(catalog, library, known):
    root = known(2)
    before = rows(catalog, EVIDENCE)

    move_root(catalog, root.path, str(moved(library)))

    assert rows(catalog, EVIDENCE) == before


def test_a_root_may_move_to_where_nothing_is_yet(catalog, library, known):
    root = known(2)
    before = rows(catalog, EVIDENCE)

    assert move_root(catalog, root.path, "/nowhere/music") == 2
    assert rows(catalog, EVIDENCE) == before
    assert row(catalog, "/nowhere/music").file_system is None


def test_a_root_may_move_into_itself_and_out_again(catalog, library, known):
    root = known(1)
    inner = f"{root.path}/inner"

    move_root(catalog, root.path, inner)
    assert rows(catalog, LOCAL)[0][4] == f"{inner}/album/0000.mp3"
    move_root(catalog, inner, root.path)
    assert rows(catalog, LOCAL)[0][4] == f"{root.path}/album/0000.mp3"


@pytest.mark.parametrize("where", ["other", "other/inner", "."])
def test_a_root_does_not_move_into_another(
    catalog, library, another_library, known, scanned, where
):
    root = known(1)
    other = another_library("other")
    other.add("a.mp3")
    scanned(other.root)
    before = rows(catalog, LOCAL)

    with pytest.raises(ConfigurationError):
        move_root(catalog, root.path, os.path.normpath(library.root.parent / where))
    assert rows(catalog, LOCAL) == before


def test_a_trailing_part_of_a_name_is_not_the_root(catalog, another_library, scanned):
    one, two = another_library("music"), another_library("music-too")
    one.add("a.mp3")
    two.add("a.mp3")
    scanned(one.root, two.root)
    new = str(moved(one))

    assert move_root(catalog, str(one.root), new) == 1
    assert [found[0] for found in rows(catalog, LOCAL)] == [new, str(two.root)]


def test_what_was_restored_beside_a_root_moves_by_its_own_path(
    catalog, library, scanned, uploaded, backend, tmp_path
):
    """Of one file the same path below two roots: the second has the whole path for a locator."""
    library.fill(1)
    scanned()
    uploaded(backend())
    restore(catalog, tmp_path / "back")
    assert f"{tmp_path}/back/album/0000.mp3" in [found[3] for found in rows(catalog, LOCAL)]
    (tmp_path / "back").rename(tmp_path / "moved")

    assert move_root(catalog, str(tmp_path / "back"), str(tmp_path / "moved")) == 1

    assert rows(catalog, LOCAL)[1][2:5] == (
        str(tmp_path / "moved"),
        f"{tmp_path}/moved/album/0000.mp3",
        f"{tmp_path}/moved/album/0000.mp3",
    )


# --- let go -------------------------------------------------------------------------------------


def test_files_that_come_by_other_ways_make_it_known_again(catalog):
    note_root(catalog, "/music", "ext4:1")
    change(catalog, "UPDATE library_roots SET let_go_at = CURRENT_TIMESTAMP")
    assert known_roots(catalog) == []

    take_back(catalog, "/music")

    assert known_roots(catalog) == ["/music"]
    take_back(catalog, "/other")
    assert known_roots(catalog) == ["/music"]
