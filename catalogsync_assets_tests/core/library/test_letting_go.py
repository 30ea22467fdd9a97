"""Library roots that a person lets go, with their files, and those that come back."""

from __future__ import annotations

import shutil

import pytest

from catalogsync_assets.core.catalog.replication import set_policy
from catalogsync_assets.core.catalog.roots import contents, known_roots, move_root
from catalogsync_assets.core.catalog.upload_plan import enqueue
from catalogsync_assets.core.errors import LibraryError
from catalogsync_assets.core.library import letting_go
from catalogsync_assets.core.library.letting_go import let_root_go
from catalogsync_assets_tests.support.database import change, rows

LOCAL = (
    "SELECT library_root, library_path, container_name, locator, absolute_path, status"
    " FROM file_locations WHERE library_root IS NOT NULL ORDER BY id"
)


@pytest.fixture
def known(library, scanned):
    """`known(files)`: so many are in the library, and in the catalog; the path of the root."""

    def fill(files):
        library.fill(files)
        scanned()
        return str(library.root)

    return fill


def test_a_root_that_is_let_go_is_known_no_more(catalog, library, known):
    root = known(3)
    set_policy(catalog, root, 1)
    change(catalog, "INSERT INTO download_roots (path) VALUES (?)", root)

    assert let_root_go(catalog, root) == 3

    assert known_roots(catalog) == []
    assert contents(catalog) == {}
    assert {found[5] for found in rows(catalog, LOCAL)} == {"forgotten"}
    assert rows(catalog, "SELECT library_root FROM library_policies") == []
    assert rows(catalog, "SELECT path FROM download_roots") == []
    assert let_root_go(catalog, root) == 0


def test_a_scan_takes_a_root_up_again_with_all_that_was_known(catalog, library, known, scanned):
    root = known(3)
    before = rows(catalog, LOCAL)
    let_root_go(catalog, root)

    report = scanned()

    assert (report.new, report.files) == (0, 3)
    assert rows(catalog, LOCAL) == before
    assert known_roots(catalog) == [root]


def test_other_roots_stay_when_one_is_let_go(catalog, library, another_library, known, scanned):
    root = known(1)
    other = another_library("other")
    other.add("a.mp3")
    scanned(other.root)

    let_root_go(catalog, root)

    assert known_roots(catalog) == [str(other.root)]
    assert contents(catalog)[str(other.root)].files == 1


def test_what_is_gone_or_left_out_is_forgotten_too(catalog, library, known, scanned):
    root = known(3)
    (library.root / "album/0000.mp3").unlink()
    library.add(".catalogsyncignore", b"0001.mp3\n.catalogsyncignore")
    scanned()
    assert [found[5] for found in rows(catalog, LOCAL)] == ["missing", "excluded", "active"]

    assert let_root_go(catalog, root) == 3
    assert {found[5] for found in rows(catalog, LOCAL)} == {"forgotten"}


def test_what_waits_to_be_uploaded_waits_no_more(
    catalog, library, another_library, known, scanned, backend
):
    root = known(2)
    other = another_library("other")
    other.add("a.mp3")
    scanned(other.root)
    enqueue(catalog, backend())

    let_root_go(catalog, root)

    assert rows(catalog, "SELECT file_asset_id FROM upload_tasks") == [3]


def test_several_files_that_had_one_path_are_all_forgotten(catalog, known, monkeypatch):
    root = known(3)
    change(catalog, "UPDATE file_locations SET library_path = 'same.mp3'")
    monkeypatch.setattr(letting_go, "CHUNK", 1)

    assert let_root_go(catalog, root) == 3


def test_a_kill_in_between_leaves_a_root_that_can_be_let_go(catalog, known, monkeypatch):
    root = known(3)
    monkeypatch.setattr(letting_go, "CHUNK", 1)
    with monkeypatch.context() as patched:
        calls = []

        def stop_at_the_second(*_):
            calls.append(1)
            if len(calls) == 2:
                raise KeyboardInterrupt

        patched.setattr(letting_go, "drop_unwanted", stop_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            let_root_go(catalog, root)
    assert [found[5] for found in rows(catalog, LOCAL)] == ["forgotten", "active", "active"]
    assert known_roots(catalog) == [root]

    assert let_root_go(catalog, root) == 2
    assert known_roots(catalog) == []


def test_a_file_that_a_stopped_offload_was_about_to_remove_is_set_right_first(catalog, known):
    root = known(2)
    change(catalog, "UPDATE file_locations SET status = 'offloading' WHERE id = 1")

    assert let_root_go(catalog, root) == 2


def test_a_root_with_files_on_their_way_out_is_not_let_go(catalog, library, known):
    root = known(2)
    change(catalog, "UPDATE file_locations SET status = 'offloading' WHERE id = 1")
    shutil.rmtree(library.root)

    with pytest.raises(LibraryError, match="being offloaded"):
        let_root_go(catalog, root)
    assert [found[5] for found in rows(catalog, LOCAL)] == ["offloading", "active"]
    assert known_roots(catalog) == [root]


def test_a_root_may_move_to_where_one_was_let_go(catalog, library, another_library, known, scanned):
    root = known(2)
    new = library.root.with_name("elsewhere")
    other = another_library("elsewhere")
    other.add("x.mp3")
    scanned(other.root)
    let_root_go(catalog, str(new))
    shutil.rmtree(new)
    library.root.rename(new)

    assert move_root(catalog, root, str(new)) == 2
    assert known_roots(catalog) == [str(new)]
