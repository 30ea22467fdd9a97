"""A root that begins further up or down: its files stay, with other paths below it."""

from __future__ import annotations

import pytest

from catalogsync_assets.core.catalog.replication import policies, set_policy
from catalogsync_assets.core.catalog.root_extent import is_other_extent, set_extent
from catalogsync_assets.core.catalog.roots import known_roots
from catalogsync_assets.core.errors import ConfigurationError
from catalogsync_assets_tests.support.database import rows

PLACES = (
    "SELECT library_root, library_path, locator, absolute_path, status FROM file_locations"
    " WHERE container_name = library_root ORDER BY library_path"
)


def unchanged(report):
    return (report.unchanged, report.new, report.moved, report.missing, report.problem_count)


def test_a_root_may_begin_at_a_folder_above(catalog, library, scanned):
    for name in ("a/1.mp3", "music/a/1.mp3"):
        library.add(name)
    scanned()
    set_policy(catalog, str(library.root), 2)
    above = library.root.parent

    assert set_extent(catalog, str(library.root), str(above)) == 2

    name = library.root.name
    assert rows(catalog, PLACES) == [
        (str(above), f"{name}/{path}", f"{name}/{path}", f"{library.root}/{path}", "active")
        for path in ("a/1.mp3", "music/a/1.mp3")
    ]
    assert known_roots(catalog) == [str(above)]
    assert [(p.library_root, p.copies) for p in policies(catalog) if p.own] == [(str(above), 2)]
    assert unchanged(scanned(above)) == (2, 0, 0, 0, 0)
    assert set_extent(catalog, str(library.root), str(above)) == 0


def test_a_root_may_begin_at_the_folder_below_that_holds_all_of_it(catalog, library, scanned):
    for name in ("a/b/1.mp3", "a/b/c/2.mp3"):
        library.add(name)
    old = library.add("3.mp3")
    scanned()
    old.rename(library.root / "a/b/3.mp3")
    scanned()
    below = library.root / "a/b"

    assert set_extent(catalog, str(library.root), str(below)) == 3
    assert [path for _, path, *_ in rows(catalog, PLACES)] == ["1.mp3", "3.mp3", "c/2.mp3"]
    assert known_roots(catalog) == [str(below)]
    assert unchanged(scanned(below)) == (3, 0, 0, 0, 0)


def test_history_outside_of_a_folder_below_does_not_hold_it_back(catalog, library, scanned):
    library.add("a/1.mp3")
    library.add("2.mp3")
    scanned()
    sql = "UPDATE file_locations SET status = 'superseded' WHERE library_path = '2.mp3'"
    with catalog.transaction() as connection:
        connection.exec_driver_sql(sql)

    set_extent(catalog, str(library.root), str(library.root / "a"))
    assert known_roots(catalog) == [str(library.root / "a")]
    paths = "SELECT library_root, library_path FROM file_locations WHERE status = 'superseded'"
    assert rows(catalog, paths) == [(None, None)]


def test_a_folder_below_that_does_not_hold_all_of_it_is_refused(catalog, library, scanned):
    library.add("a/1.mp3")
    library.add("ab/2.mp3")
    scanned()
    before = rows(catalog, PLACES)

    with pytest.raises(ConfigurationError, match=r"1 files .* such as ab/2.mp3"):
        set_extent(catalog, str(library.root), str(library.root / "a"))
    assert rows(catalog, PLACES) == before


def test_a_folder_above_another_root_is_refused(catalog, library, another_library, scanned):
    library.add("1.mp3")
    other = another_library("other")
    other.add("2.mp3")
    scanned(library.root, other.root)

    with pytest.raises(ConfigurationError, match=str(other.root)):
        set_extent(catalog, str(library.root), str(library.root.parent))


def test_keys_follow_and_nothing_is_sent(catalog, library, scanned, uploaded, remote, backend):
    cloud = backend(layout="path")
    library.fill(2)
    scanned()
    uploaded(cloud)
    set_extent(catalog, str(library.root), str(library.root.parent))
    scanned(library.root.parent)

    report = uploaded(cloud)

    assert (report.copied, report.succeeded, report.bytes) == (2, 0, 0)
    new = [f"{library.root.name}/album/000{i}.mp3" for i in (0, 1)]
    assert set(remote(cloud).keys()) >= set(new)
    held = "SELECT locator FROM file_locations WHERE backend_id = ? AND status = 'active'"
    assert rows(catalog, f"{held} ORDER BY 1", cloud.id) == [cloud.key_prefix + key for key in new]


@pytest.mark.parametrize(
    ("old", "new", "is_one"),
    [
        *(("/a/b", "/a", True), ("/a", "/a/b", True), ("/a/b", "/", True)),
        *(("/a", "/a", False), ("/a/b", "/a/c", False), ("/ab", "/a", False)),
    ],
)
def test_what_is_above_and_below_is_told_by_whole_names(old, new, is_one):
    assert is_other_extent(old, new) is is_one
