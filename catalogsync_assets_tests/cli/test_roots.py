"""The commands `roots` and `root`: what a person or a program sees of them."""

from __future__ import annotations

import shutil
import socket

import pytest

from catalogsync_assets.core.files import file_systems
from catalogsync_assets_tests.support.database import change, rows
from catalogsync_assets_tests.support.processes import Terminal


@pytest.fixture(autouse=True)
def on_disk(monkeypatch):
    """`on_disk(name)`: what all file systems are called; at first they last, wherever tests run."""

    def call(name):
        monkeypatch.setattr(file_systems, "name_of", lambda *_: name)

    call("ext4:1fe")
    return call


@pytest.fixture
def three(library, scanned):
    """A library of three files that was scanned."""
    library.fill(3)
    scanned()
    return library


@pytest.fixture
def elsewhere(three):
    """Where the library lies now."""
    return three.root.rename(three.root.with_name("elsewhere"))


def roots_of(catalog):
    return rows(catalog, "SELECT DISTINCT library_root FROM file_locations")


# --- roots --------------------------------------------------------------------------------------


def listed(cli):
    """The lines of the table, without its head."""
    return [line.split("\t") for line in cli("roots").out.splitlines()[1:]]


def test_roots_are_listed(cli, catalog, three):
    (line,) = listed(cli)

    assert line[:5] == [str(three.root), "-", "3", "900 bytes", "ext4"]
    assert line[5].startswith("20")
    assert line[6] == "here"


def test_json_tells_more(cli, three):
    (root,) = cli("roots", "--json").json["roots"]

    assert root.pop("last_complete_scan_at")
    assert root == {
        **{"id": 1, "path": str(three.root), "name": None, "host": socket.gethostname()},
        **{"file_system": "ext4:1fe", "inodes_last": True, "rehash_began_at": None},
        **{"files": 3, "bytes": 900, "others": 0, "state": "here"},
    }


@pytest.mark.parametrize(
    ("now", "state", "words"),
    [
        ("gone", "gone", "not mounted"),
        ("empty", "empty", "empty"),
        ("exchanged", "exchanged", "another file system"),
    ],
)
def test_a_root_that_is_not_there_is_listed_so(cli, three, on_disk, now, state, words):
    if now == "exchanged":
        on_disk("xfs:1-2")
    else:
        shutil.rmtree(three.root)
    if now == "empty":
        three.root.mkdir()

    assert cli("roots", "--json").json["roots"][0]["state"] == state
    assert listed(cli)[0][6] == words


def test_a_root_of_another_host_is_said_to_be_there(cli, catalog, three, elsewhere):
    change(catalog, "UPDATE library_roots SET host = 'attic'")

    assert listed(cli)[0][6] == "on attic"


@pytest.mark.parametrize(
    ("name", "words"),
    [("~nfs4", "NFS"), ("~vfat", "FAT"), ("~fuse.mergerfs", "fuse.mergerfs"), ("~", "-")],
)
def test_file_systems_are_called_as_people_do(cli, library, scanned, on_disk, name, words):
    on_disk(name)
    library.fill(1)
    scanned()

    assert listed(cli)[0][4] == words
    assert cli("roots", "--json").json["roots"][0]["inodes_last"] is False


def test_without_roots_it_says_how_to_make_one(cli, catalog):
    assert "make one with `catalogsync scan --library-root`" in cli("roots").out


# --- root move ----------------------------------------------------------------------------------


def test_a_root_is_moved(cli, catalog, three, elsewhere):
    done = cli("root", "move", three.root, elsewhere)

    assert (done.code, done.out) == (0, f"{three.root} is {elsewhere} now: 3 files\n")
    assert (
        f"3 files of {three.root} looked for at {elsewhere}, 3 there, 3 with their size and time,"
        " 3 the very files, by inode and file system"
    ) in done.err
    assert roots_of(catalog) == [str(elsewhere)]
    assert cli("scan").out.startswith("3 files, 900 bytes: 0 new, 0 changed, 0 moved, 3 unchanged")


def test_json_tells_what_was_compared(cli, three, elsewhere):
    assert cli("root", "move", three.root, elsewhere, "--json").json == {
        **{"old": str(three.root), "new": str(elsewhere), "files": 3},
        **{"compared": 3, "there": 3, "by_inode": 3, "by_size_and_time": 3, "proven": True},
    }


def test_a_root_can_be_named_and_moved_by_its_name(cli, catalog, three, elsewhere):
    named = cli("root", "name", three.root, "disk1")
    assert (named.code, named.out) == (0, f"{three.root} is called disk1\n")

    assert cli("root", "move", "disk1", elsewhere).code == 0
    assert listed(cli)[0][:2] == [str(elsewhere), "disk1"]

    assert cli("root", "name", "disk1", "--none").out == f"{elsewhere} has no name\n"
    assert listed(cli)[0][1] == "-"
    assert cli("root", "name", elsewhere).code == 2


def test_a_copy_is_moved_to_though_nothing_proves_it(cli, catalog, three):
    copy = shutil.copytree(three.root, three.root.with_name("copy"))

    done = cli("root", "move", three.root, copy)

    assert done.code == 0
    assert "3 with their size and time\n" in done.err
    assert f"warning: {three.root} is still there" in done.err
    assert roots_of(catalog) == [str(copy)]


@pytest.mark.parametrize("there", [True, False])
def test_where_nothing_looks_like_it_the_move_is_refused(cli, catalog, three, tmp_path, there):
    new = tmp_path / "other"
    if there:
        (new / "album").mkdir(parents=True)
        (new / "album/0000.mp3").write_bytes(b"another")

    done = cli("root", "move", three.root, new)

    assert done.code == 1
    assert (
        f"error: none of 3 files of {three.root} that were looked for is at {new} with its size"
        " and time"
    ) in done.err
    assert "--force moves the root anyway" in done.err
    assert roots_of(catalog) == [str(three.root)]

    assert cli("root", "move", three.root, new, "--force").code == 0
    assert roots_of(catalog) == [str(new)]


def test_a_root_that_is_not_known_is_wrong_use(cli, three, elsewhere):
    done = cli("root", "move", "nowhere", elsewhere)

    assert done.code == 2
    assert "the catalog knows no library root" in done.err
    assert f"hint: known are: {three.root}" in done.err


def test_a_move_to_the_same_place_is_wrong_use(cli, three):
    done = cli("root", "move", three.root, three.root)

    assert done.code == 2
    assert f"library root {three.root} is there already" in done.err


def test_a_move_into_another_root_is_wrong_use(cli, catalog, three, another_library, scanned):
    other = another_library("other")
    other.add("a.mp3")
    scanned(other.root)

    done = cli("root", "move", three.root, other.root / "inner", "--force")

    assert done.code == 2
    assert f"overlaps {other.root}" in done.err
    assert set(roots_of(catalog)) == {str(three.root), str(other.root)}


def test_a_root_may_begin_at_a_folder_above_it_with_its_files_where_they_are(cli, catalog, three):
    above = three.root.parent
    refused = cli("scan", "--library-root", above)
    assert refused.code == 2
    command = f"catalogsync root move {three.root} {above}"
    assert f"is to be the library root in its stead, run `{command}`" in refused.err

    done = cli("root", "move", three.root, above)

    assert (done.code, done.out) == (0, f"{three.root} is {above} now: 3 files\n")
    assert f"3 files of {three.root} looked for at {three.root}, 3 there" in done.err
    assert "warning" not in done.err
    assert cli("scan").out.startswith("3 files, 900 bytes: 0 new, 0 changed, 0 moved, 3 unchanged")
    assert cli("root", "move", above, three.root).code == 0
    assert roots_of(catalog) == [str(three.root)]


def test_a_root_whose_files_have_gone_up_moves_there(cli, catalog, three):
    above = three.root.parent
    (three.root / "album").rename(above / "album")

    assert cli("root", "move", three.root, above).code == 0
    assert rows(catalog, "SELECT library_path FROM file_locations ORDER BY id")[0] == (
        "album/0000.mp3"
    )


def test_a_variable_that_still_names_the_old_path_is_warned_about(
    cli, three, elsewhere, monkeypatch
):
    monkeypatch.setenv("CATALOGSYNC_LIBRARY_ROOTS", f"/other:{three.root}/")

    done = cli("root", "move", three.root, elsewhere)

    assert f"warning: CATALOGSYNC_LIBRARY_ROOTS still names {three.root}" in done.err


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("", 1), ("no", 1)])
def test_on_a_terminal_a_person_is_asked(cli, catalog, three, elsewhere, answer, code):
    session = Terminal("root", "move", three.root, elsewhere, CATALOGSYNC_DB=str(catalog.path))
    try:
        session.read_until(f"to {elsewhere}? [y/N]")
        session.say(answer)
        session.read_all()

        assert session.process.wait() == code, session.plain
    finally:
        session.close()
    assert roots_of(catalog) == [str(elsewhere if code == 0 else three.root)]
    assert ("nothing was changed" in session.plain) is (code == 1)


def test_on_a_terminal_nobody_is_asked_who_has_said_yes(cli, catalog, three, elsewhere):
    arguments = ("root", "move", three.root, elsewhere, "--yes")
    session = Terminal(*arguments, CATALOGSYNC_DB=str(catalog.path))
    try:
        session.read_all()

        assert session.process.wait() == 0, session.plain
    finally:
        session.close()
    assert "[y/N]" not in session.plain


# --- root forget --------------------------------------------------------------------------------


def test_to_forget_a_root_is_only_shown_at_first(cli, catalog, three):
    (three.root / "album/0000.mp3").unlink()
    cli("scan")

    done = cli("root", "forget", three.root)

    assert done.code == 0
    assert done.out == (
        f"{three.root} would be let go: 2 files, 600 bytes, and 1 that are not there\n"
    )
    assert "nothing was changed; --yes lets it go" in done.err
    assert listed(cli)[0][0] == str(three.root)


def test_a_root_is_let_go_and_its_objects_stay(cli, catalog, stored, remote, cloud):
    library = stored(3)
    before = rows(catalog, "SELECT * FROM file_locations WHERE library_root IS NULL")

    done = cli("root", "forget", library.root, "--yes")

    assert (done.code, done.out) == (
        0,
        f"{library.root} was let go: 3 files, 900 bytes, and 0 that are not there\n",
    )
    assert listed(cli) == []
    assert rows(catalog, "SELECT * FROM file_locations WHERE library_root IS NULL") == before
    assert len(library.contents()) == 3
    assert cli("scan").code == 2  # there is no root any more


def test_a_root_that_was_let_go_is_taken_up_by_a_scan(cli, catalog, three):
    cli("root", "name", three.root, "disk1")
    cli("root", "forget", "disk1", "--yes")

    done = cli("scan", "--library-root", three.root)

    assert done.out.startswith("3 files, 900 bytes: 0 new")
    assert listed(cli)[0][:3] == [str(three.root), "disk1", "3"]
    assert rows(catalog, "SELECT COUNT(*) FROM songs") == [3]


def test_json_tells_what_was_let_go(cli, three):
    assert cli("root", "forget", three.root, "--yes", "--json").json == {
        **{"root": str(three.root), "dry_run": False, "name": None},
        **{"files": 3, "bytes": 900, "others": 0, "forgotten": 3},
    }


def test_a_root_that_is_not_known_cannot_be_forgotten_or_named(cli, three):
    assert cli("root", "forget", "nowhere", "--yes").code == 2
    assert cli("root", "name", "nowhere", "x").code == 2
