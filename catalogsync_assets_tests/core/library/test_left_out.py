"""Files that were cataloged and are left out from now on: excluded, never missing, never wanted."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from catalogsync_assets.core.catalog.cells import cells
from catalogsync_assets.core.catalog.files import is_remembered
from catalogsync_assets.core.catalog.replication import policy_status
from catalogsync_assets.core.catalog.search import whereis
from catalogsync_assets.core.catalog.status import backend_status
from catalogsync_assets.core.catalog.upload_plan import enqueue, missing_candidates
from catalogsync_assets.core.restore.restore import restore
from catalogsync_assets.core.upload.upload import Limits, upload
from catalogsync_assets_tests.support.database import change, rows
from catalogsync_assets_tests.support.files import sha256

PLACES = (
    "SELECT l.library_path, l.status FROM file_locations l WHERE library_root IS NOT NULL"
    " ORDER BY l.library_path"
)


@pytest.fixture(autouse=True)
def music_alone(monkeypatch):
    """Files of rules are kept as well: here, only what they are about is counted."""
    monkeypatch.setenv("CATALOGSYNC_COMPANIONS", "none")


def lacks(catalog, backend):
    prefix = backend.key_prefix
    return [file.locator.removeprefix(prefix) for file in missing_candidates(catalog, backend)]


def ignoring(library, text):
    library.add(".catalogsyncignore", text.encode())


def test_a_file_that_a_rule_leaves_out_is_excluded_until_the_rule_goes(library, scanned, catalog):
    library.add("Podcasts/1.mp3")
    library.add("music/2.mp3")
    scanned()
    ignoring(library, "Podcasts/\n")

    report = scanned()

    assert (report.excluded, report.missing, report.left_out) == (1, 0, 1)
    assert report.left_out_paths == ["Podcasts/"]
    assert dict(rows(catalog, PLACES)) == {"Podcasts/1.mp3": "excluded", "music/2.mp3": "active"}
    assert (scanned().excluded, scanned().missing) == (0, 0)

    (library.root / ".catalogsyncignore").unlink()
    assert (scanned().returned, scanned().unchanged) == (1, 2)
    assert set(dict(rows(catalog, PLACES)).values()) == {"active"}


def test_a_file_that_went_while_it_was_left_out_is_missing_once_it_is_looked_for(
    library, scanned, catalog
):
    path = library.add("Podcasts/1.mp3")
    library.add("2.mp3")
    scanned()
    ignoring(library, "Podcasts/\n")
    scanned()
    path.unlink()
    scanned()
    assert dict(rows(catalog, PLACES))["Podcasts/1.mp3"] == "excluded"
    ignoring(library, "")

    assert scanned().missing == 1
    assert dict(rows(catalog, PLACES))["Podcasts/1.mp3"] == "missing"


@pytest.mark.parametrize("rule", ["", "inner", "setting"])
def test_a_folder_that_is_emptied_and_removed_while_it_is_left_out_is_no_loss(
    library, scanned, catalog, monkeypatch, rule
):
    """As recycle bins and `.stversions` are, by their own programs."""
    folder = "Podcasts" if rule else "x-recycle"
    library.add(f"a/{folder}/b/1.mp3")
    library.add(f"a/{folder}/b/2.mp3")
    library.add("a/3.mp3")
    library.add("4.mp3")
    scanned()
    if not rule:  # cataloged by a version that did not leave it out
        change(
            catalog, "UPDATE file_locations SET library_path = REPLACE(library_path, 'x-re', '#re')"
        )
    elif rule == "inner":
        library.add("a/.catalogsyncignore", b"/Podcasts/\n")
    else:
        monkeypatch.setenv("CATALOGSYNC_IGNORE", "Podcasts/")
    change(catalog, "UPDATE file_locations SET status = 'missing' WHERE locator LIKE '%1.mp3'")
    shutil.rmtree(library.root / "a" / folder)
    (library.root / "4.mp3").unlink()

    report = scanned()

    assert (report.excluded, report.missing) == (2, 1)
    found = dict(rows(catalog, PLACES))
    assert sorted(found.values()) == ["active", "excluded", "excluded", "missing"]
    assert (found["a/3.mp3"], found["4.mp3"]) == ("active", "missing")
    assert (scanned().excluded, scanned().missing) == (0, 0)


def test_a_file_that_is_moved_out_of_a_folder_that_is_left_out_is_followed(
    library, scanned, catalog
):
    path = library.add("Podcasts/1.mp3")
    library.add("Podcasts/2.mp3")
    scanned()
    ignoring(library, "Podcasts/\n")
    scanned()
    path.rename(library.root / "one.mp3")

    report = scanned()
    assert (report.moved, report.new, report.missing) == (1, 0, 0)
    assert dict(rows(catalog, PLACES)) == {"Podcasts/2.mp3": "excluded", "one.mp3": "active"}
    assert (scanned().moved, scanned().unchanged) == (0, 1)


def test_it_may_come_out_in_the_scan_that_leaves_the_folder_out_first(library, scanned, catalog):
    path = library.add("Podcasts/1.mp3")
    scanned()
    ignoring(library, "Podcasts/\n")
    path.rename(library.root / "one.mp3")

    assert (scanned().moved, dict(rows(catalog, PLACES))) == (1, {"one.mp3": "active"})


def test_a_copy_of_a_file_that_is_left_out_is_another_file(library, scanned, catalog):
    path = library.add("Podcasts/1.mp3")
    scanned()
    scanned(rehash=True)
    ignoring(library, "Podcasts/\n")
    scanned()
    shutil.copy2(path, library.root / "one.mp3")

    report = scanned()
    assert (report.moved, report.new) == (0, 1)
    assert dict(rows(catalog, PLACES)) == {"Podcasts/1.mp3": "excluded", "one.mp3": "active"}


def test_what_only_looks_like_a_file_that_is_left_out_and_gone_does_not_make_it_missing(
    library, scanned, catalog
):
    path = library.add("Podcasts/1.mp3")
    scanned()
    ignoring(library, "Podcasts/\n")
    scanned()
    status = path.stat()
    path.rename(library.root.parent / "kept")  # or its inode would be free
    other = library.add("one.mp3", bytes(status.st_size))
    os.utime(other, ns=(0, status.st_mtime_ns))

    report = scanned()
    assert (report.new, report.moved, report.missing) == (1, 0, 0)
    assert dict(rows(catalog, PLACES)) == {"Podcasts/1.mp3": "excluded", "one.mp3": "active"}


def test_a_file_that_is_moved_into_a_folder_that_is_left_out_is_gone_and_known_again_outside(
    library, scanned, catalog
):
    path = library.add("1.mp3")
    library.add("2.mp3")
    ignoring(library, "Podcasts/\n")
    scanned()
    (library.root / "Podcasts").mkdir()
    path = path.rename(library.root / "Podcasts" / "1.mp3")
    assert (scanned().missing, dict(rows(catalog, PLACES))["1.mp3"]) == (1, "missing")
    path.rename(library.root / "one.mp3")

    report = scanned()
    assert (report.moved, report.new) == (1, 0)
    assert dict(rows(catalog, PLACES)) == {"2.mp3": "active", "one.mp3": "active"}


def test_a_library_that_is_left_out_as_a_whole_is_not_an_unmounted_disk(library, scanned):
    library.add("a/1.mp3")
    scanned()
    ignoring(library, "*\n")

    assert (scanned().excluded, scanned().missing) == (1, 0)


def test_only_the_very_file_is_left_out_not_one_whose_name_begins_alike(library, scanned, catalog):
    for name in ("1.mp3", "1.mp3.mp3"):
        library.add(name)
    gone = library.root / "1.mp3.mp3"
    scanned()
    ignoring(library, "/1.mp3\n")
    gone.unlink()
    library.add("2.mp3")

    scanned()

    assert dict(rows(catalog, PLACES)) == {
        "1.mp3": "excluded",
        "1.mp3.mp3": "missing",
        "2.mp3": "active",
    }


def test_copies_of_what_is_left_out_stay_and_nothing_more_is_wanted_of_it(
    library, scanned, catalog, cloud, backend, uploaded, synced, remote, tmp_path
):
    library.add("a.mp3")
    library.add("Podcasts/b.mp3")
    synced(cloud)
    library.add("Podcasts/c.mp3")
    scanned()
    other = backend("other")
    enqueue(catalog, cloud)  # c.mp3 waits
    ignoring(library, "Podcasts/\n")
    scanned()

    # Not sent, not even what waits already; not from the copy on the other backend either.
    assert upload(catalog, cloud, limits=Limits(workers=1)).queued == 0
    assert lacks(catalog, other) == ["a.mp3"]
    uploaded(other)
    uploaded(cloud)
    assert remote(cloud).keys() == ["Podcasts/b.mp3", "a.mp3"]
    assert remote(other).keys() == ["a.mp3"]
    assert set(rows(catalog, "SELECT status FROM upload_tasks")) == {"succeeded"}
    # Not counted as lacking anywhere.
    assert policy_status(catalog).songs_under_policy == 0
    assert all(cell.whole for cell in cells(catalog))
    figures = {b.name: (b.songs, b.songs_total, b.excluded) for b in backend_status(catalog)}
    assert figures == {"local": (1, 1, 2), "cloud": (1, 1, 0), "other": (1, 1, 0)}
    # Not brought back; its place is not given to another; and it can be found.
    assert restore(catalog, tmp_path / "new", missing=False).files == 1
    assert is_remembered(catalog, str(library.root), "Podcasts/b.mp3", "0" * 64)
    places = {(p.backend, p.status) for p in whereis(catalog, "Podcasts/b") if p.song_id}
    assert places >= {("local", "excluded"), ("cloud", "active")}

    ignoring(library, "")
    scanned()
    assert lacks(catalog, other) == ["Podcasts/b.mp3", "Podcasts/c.mp3"]
    assert lacks(catalog, cloud) == ["Podcasts/c.mp3"]


# --- links --------------------------------------------------------------------------------------


@pytest.fixture
def outside(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / "elsewhere" / "secret.mp3"
    path.write_bytes(b"no song")
    return path


def test_a_link_that_leads_out_of_every_root_is_reported_and_not_followed(
    library, another_library, scanned, catalog, outside
):
    other = another_library("other")
    other.add("real.mp3")
    library.add("a.mp3")
    for name, target in (
        ("passwd.mp3", outside),
        ("gone.mp3", outside.parent / "no such file"),
        ("in.mp3", "a.mp3"),
        ("to other.mp3", other.root / "real.mp3"),
        ("up.mp3", "../elsewhere/secret.mp3"),
    ):
        (library.root / name).symlink_to(target)

    report = scanned(library.root, other.root)

    assert {p.path for p in report.problems if "leads out" in p.reason} == {
        *("gone.mp3", "passwd.mp3", "up.mp3")
    }
    assert [path for path, _ in rows(catalog, PLACES)] == [
        *("a.mp3", "in.mp3", "real.mp3", "to other.mp3")
    ]


def test_following_links_is_remembered_by_later_scans_and_uploads(
    library, scanned, catalog, cloud, uploaded, remote, outside
):
    library.add("a.mp3")
    (library.root / "link.mp3").symlink_to(outside)

    assert scanned(follow_links=True).new == 2
    assert scanned().unchanged == 2
    assert uploaded(cloud).succeeded == 2

    assert scanned(follow_links=False).excluded == 1
    assert scanned().problem_count == 1
    assert dict(rows(catalog, PLACES)) == {"a.mp3": "active", "link.mp3": "excluded"}
    assert remote(cloud).keys() == ["a.mp3", "link.mp3"]


def test_what_lies_behind_a_folder_that_has_become_a_link_is_excluded(
    library, scanned, catalog, tmp_path
):
    library.add("Album/a.mp3")
    library.add("Album!/b.mp3")
    scanned()
    (library.root / "Album").rename(tmp_path / "moved")
    (library.root / "Album").symlink_to(tmp_path / "moved")

    scanned()

    assert dict(rows(catalog, PLACES)) == {"Album/a.mp3": "excluded", "Album!/b.mp3": "active"}


@pytest.mark.parametrize("of_the_folder", [False, True])
def test_a_link_that_is_put_there_after_the_scan_is_not_followed_by_an_upload(
    library, scanned, cloud, uploaded, remote, outside, of_the_folder
):
    path = library.add("x/secret.mp3", outside.read_bytes())
    status = path.stat()
    scanned()
    os.utime(outside, ns=(status.st_mtime_ns, status.st_mtime_ns))  # it looks the same
    path.unlink()
    if of_the_folder:
        path.parent.rmdir()
        path.parent.symlink_to(outside.parent)
    else:
        path.symlink_to(outside)

    assert [failure.code for failure in uploaded(cloud).failures] == ["SourceOutside"]
    assert remote(cloud).keys() == []


def test_a_fifo_in_place_of_a_file_does_not_hold_up_an_upload(
    library, scanned, cloud, uploaded, synced
):
    path, *_ = library.fill(3)
    scanned()
    path.unlink()
    os.mkfifo(path)

    report = uploaded(cloud)

    assert (report.succeeded, [f.code for f in report.failures]) == (2, ["SourceUnreadable"])
    assert synced(cloud).queued == 0


# --- odd values ---------------------------------------------------------------------------------


def test_a_time_that_no_column_holds_does_not_end_a_scan_and_tells_changes(
    library, scanned, catalog, cloud, uploaded, remote
):
    names = {"a.mp3": 13_569_465_600, "b.mp3": -11_000_000_000, "c.mp3": -1, "d.mp3": 0}
    for name, seconds in names.items():
        path = library.add(name)
        os.utime(path, ns=(seconds * 10**9, seconds * 10**9))
    if (library.root / "a.mp3").stat().st_mtime < 13e9:
        pytest.skip("this file system knows no such time")

    assert scanned().new == 4
    assert scanned().unchanged == 4
    assert uploaded(cloud).succeeded == 4
    assert restore(catalog, library.root).present == 4
    path = library.add("a.mp3", b"y" * 300)
    os.utime(path, ns=((13_569_465_600 + 1) * 10**9,) * 2)
    assert scanned().changed == 1
    assert uploaded(cloud).succeeded == 1
    assert remote(cloud).get("a.mp3") == b"y" * 300


def test_a_size_that_cannot_be_is_reported_and_the_rest_recorded(scanned, catalog):
    """Sums of such sizes overflow. (tmpfs has them; ext4 does not.)"""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        for name in ("a.mp3", "b.mp3", "c.mp3"):
            Path(folder, name).touch()
        for name in ("b.mp3", "c.mp3"):
            os.truncate(Path(folder, name), 2**63 - 4096)

        report = scanned(Path(folder))

    assert [p.path for p in report.problems if "impossible size" in p.reason] == [
        *("b.mp3", "c.mp3")
    ]
    assert rows(catalog, PLACES) == [("a.mp3", "active")]


def test_a_file_that_was_edited_under_its_old_time_while_it_was_left_out_is_not_what_it_was(
    library, scanned, catalog
):
    content = library.add("a.mp3").read_bytes()
    scanned()
    scanned(rehash=True)
    rules = library.root / ".catalogsyncignore"
    rules.write_text("a.mp3\n")
    scanned()
    library.rewrite("a.mp3", content[::-1])
    rules.unlink()

    assert scanned().returned == 0
    claims = (
        "SELECT f.sha256 FROM file_assets f JOIN file_locations l ON l.file_asset_id = f.id"
        " WHERE l.status = 'active' AND f.sha256 IS NOT NULL"
    )
    assert sha256(content) not in rows(catalog, claims)
