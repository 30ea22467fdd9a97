"""Files come back whole, under their names, over no other file, and are known to the next scan."""

import os
import shutil

import pytest

from catalogsync_assets.core.catalog.backends import catalog_id
from catalogsync_assets.core.catalog.scope import Scope
from catalogsync_assets.core.errors import ConfigurationError, LibraryError, RunAborted, StoreError
from catalogsync_assets.core.export.target import replacing
from catalogsync_assets.core.files.partial import FOLDER, Notes, PartialFile
from catalogsync_assets.core.restore.file import safe_path
from catalogsync_assets.core.restore.restore import restore as run_restore
from catalogsync_assets.core.runner.owners import new_owner
from catalogsync_assets_tests.support.database import bytes_of, change, move_backend, rows
from catalogsync_assets_tests.support.files import flipped, remains, sha256
from catalogsync_assets_tests.support.proxy import refusal
from catalogsync_assets_tests.support.uploads import codes

NAMES = ["a.mp3", "Ä/雨 (1).flac", "x/y/z.ogg", 'quo"te?.mp3', "empty.mp3"]


@pytest.fixture
def restore(catalog):
    """`restore(root)` restores everything there; two tries of each object."""

    def run(root, **options):
        options = {"workers": 4, "attempts": 2, "reserve_bytes": 0, **options}
        return run_restore(catalog, root, **options)

    return run


@pytest.fixture
def contents(library, cloud, synced):
    """The library's files, by path; they are on `cloud`, too."""
    for name in NAMES:
        library.add(name, size=0 if name.startswith("empty") else 3000)
    assert synced(cloud).succeeded == len(NAMES)
    return library.contents()


def files_below(root):
    found = (p for p in root.rglob("*") if p.is_file())
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in found}


def test_a_deleted_library_comes_back_and_is_unchanged_to_a_scan(
    library, catalog, scanned, contents, restore
):
    times = {p: p.stat().st_mtime_ns for p in library.root.rglob("*") if p.is_file()}
    shutil.rmtree(library.root)

    report = restore(library.root, allow_empty=True)

    assert (report.restored, report.failures) == (5, [])
    assert report.backends == {"cloud": 5}
    assert report.bytes == report.received == 12_000
    assert library.contents() == contents
    assert {p: p.stat().st_mtime_ns for p in times} == times
    assert remains(library.root) == []
    scan = scanned()
    assert (scan.unchanged, scan.new, scan.changed, scan.missing) == (5, 0, 0, 0)
    assert rows(catalog, "SELECT COUNT(*) FROM file_assets") == [5]


def test_files_that_a_scan_has_missed_are_restored_and_active_again(
    library, catalog, scanned, contents, restore
):
    (library.root / "a.mp3").unlink()
    (library.root / "x/y/z.ogg").unlink()
    assert scanned().missing == 2

    report = restore(library.root, missing=True)

    assert (report.files, report.restored) == (2, 2)
    assert library.contents() == contents
    assert rows(catalog, "SELECT DISTINCT status FROM file_locations") == ["active"]
    assert rows(catalog, "SELECT COUNT(*) FROM file_locations") == [10]
    presence = (
        "SELECT SUM(p.files_present) FROM song_backend_presence p JOIN storage_backends b"
        " ON b.id = p.backend_id WHERE b.backend_type = 'local'"
    )
    assert rows(catalog, presence) == [5]
    assert scanned().unchanged == 5


def test_offloaded_files_are_missing_files(library, catalog, scanned, contents, restore):
    (library.root / "a.mp3").unlink()
    change(catalog, "UPDATE file_locations SET status = 'offloaded' WHERE library_path = 'a.mp3'")

    assert restore(library.root, missing=True).restored == 1
    assert library.contents() == contents
    assert scanned().unchanged == 5


def test_another_root_gets_the_files_and_rows_of_its_own(
    library, catalog, scanned, contents, restore, tmp_path
):
    other = tmp_path / "another" / "disk"

    report = restore(other)
    again = restore(other)

    assert (report.restored, again.present, again.restored) == (5, 5, 0)
    assert files_below(other) == contents
    found = scanned(library.root, other)
    assert (found.unchanged, found.new, found.changed, found.missing) == (10, 0, 0, 0)
    sql = "SELECT COUNT(*) FROM file_locations WHERE library_root = ? AND status = 'active'"
    assert rows(catalog, sql, str(other)) == rows(catalog, sql, str(library.root)) == [5]


def test_what_is_there_with_the_very_content_is_adopted_and_not_fetched(
    contents, restore, scanned, library, tmp_path
):
    other = tmp_path / "other"
    shutil.copytree(library.root, other)

    report = restore(other)

    assert (report.adopted, report.restored, report.received) == (5, 0, 0)
    assert scanned(other).unchanged == 5


@pytest.mark.parametrize("theirs", [b"another", bytes(3000)])
def test_a_different_file_stays_and_is_a_conflict(contents, restore, tmp_path, theirs):
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.mp3").write_bytes(theirs)

    report = restore(other)

    assert (report.restored, codes(report)) == (4, ["Conflict"])
    assert "nothing was overwritten" in report.failures[0].reason
    assert (other / "a.mp3").read_bytes() == theirs


def test_a_file_that_comes_while_its_copy_is_fetched_stays(
    contents, restore, tmp_path, monkeypatch
):
    other = tmp_path / "other"
    sync = PartialFile.sync

    def then_come(part):
        (other / "a.mp3").write_bytes(b"came meanwhile")
        return sync(part)

    monkeypatch.setattr(PartialFile, "sync", then_come)

    assert codes(restore(other)) == ["Conflict"]
    assert (other / "a.mp3").read_bytes() == b"came meanwhile"


def test_what_is_no_file_is_a_conflict_and_no_link_is_written_through(contents, restore, tmp_path):
    other, outside = tmp_path / "other", tmp_path / "outside"
    (other / "a.mp3").mkdir(parents=True)
    outside.mkdir()
    (other / "x").symlink_to(outside)
    (other / "Ä").write_bytes(b"a file in the place of a folder")
    (other / "empty.mp3").symlink_to(tmp_path / "nowhere")

    report = restore(other)

    assert codes(report) == ["Conflict", "Conflict", "LinkedFolder", "NameTaken"]
    assert report.restored == 1
    assert list(outside.iterdir()) == []
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.usefixtures("contents")
def test_a_link_in_a_circle_is_a_conflict(restore, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.mp3").symlink_to("a.mp3")

    assert codes(restore(other)) == ["Conflict"]


def test_a_damaged_copy_is_refused_and_the_next_backend_asked(
    catalog, contents, backend, uploaded, restore, remote, tmp_path
):
    second = backend("second")
    uploaded(second)
    change(catalog, "UPDATE file_locations SET verified_at = '2001-01-01' WHERE backend_id = ?", 1)
    remote(second).put("a.mp3", flipped(contents["a.mp3"]))
    remote(second).delete("x/y/z.ogg")

    report = restore(tmp_path / "other")

    assert (report.restored, report.failed) == (5, 0)
    assert report.backends == {"second": 3, "cloud": 2}
    assert files_below(tmp_path / "other") == contents
    assert len(report.troubles) == 2
    assert all("'second'" in trouble for trouble in report.troubles)
    sql = "SELECT locator, status FROM file_locations WHERE backend_id = ? AND status <> 'active'"
    found = {key.partition("/")[2]: status for key, status in rows(catalog, sql, second.id)}
    assert found == {"a.mp3": "damaged", "x/y/z.ogg": "missing"}


def test_the_object_that_was_read_counts_as_verified(catalog, cloud, contents, restore, tmp_path):
    change(catalog, "UPDATE file_locations SET verified_at = '2001-01-01', verified_by = 'head'")

    restore(tmp_path / "other")

    sql = "SELECT DISTINCT verified_by FROM file_locations WHERE backend_id = ?"
    assert rows(catalog, sql, cloud.id) == ["read"]


def test_without_a_good_copy_a_file_fails_alone(contents, cloud, restore, remote, tmp_path):
    remote(cloud).put("a.mp3", flipped(contents["a.mp3"]))
    other = tmp_path / "other"

    report = restore(other)
    again = restore(other)

    assert (report.restored, codes(report)) == (4, ["SourceDamaged"])
    assert (again.present, codes(again)) == (4, ["SourceDamaged"])  # asked for as the last resort
    assert not (other / "a.mp3").exists()
    assert remains(other) == []


def test_from_one_backend_only_that_one_is_read(
    contents, backend, uploaded, synced, restore, library, tmp_path
):
    second = backend("second")
    uploaded(second)
    library.add("later.mp3")
    synced(backend("third"))

    report = restore(tmp_path / "other", backend=second)

    assert report.backends == {"second": 5}
    assert codes(report) == ["NoCopy"]


def test_a_backend_that_refuses_ends_the_run_before_it_begins(
    contents, cloud, restore, tmp_path, monkeypatch
):
    monkeypatch.setenv("CLOUD_SECRET_ACCESS_KEY", "wrong")

    with pytest.raises(StoreError, match="CLOUD_ACCESS_KEY_ID"):
        restore(tmp_path / "other", backend=cloud)


def test_a_dry_run_writes_nothing_and_speaks_to_no_store(
    contents, catalog, restore, tmp_path, monkeypatch, library
):
    for name in ("CLOUD_ACCESS_KEY_ID", "CLOUD_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    (library.root / "a.mp3").unlink()
    before = bytes_of(catalog.path)

    report = restore(library.root, dry_run=True)
    elsewhere = restore(tmp_path / "other", dry_run=True)

    assert (report.restored, report.present, report.bytes) == (1, 4, 3000)
    assert (elsewhere.restored, elsewhere.backends) == (5, {"cloud": 5})
    assert not (tmp_path / "other").exists()
    assert bytes_of(catalog.path) == before


def test_a_root_that_looks_unmounted_is_refused(contents, library, restore):
    shutil.rmtree(library.root)

    with pytest.raises(LibraryError, match="the catalog knows some"):
        restore(library.root)

    assert library.contents() == {}


def test_a_root_within_another_is_refused(contents, library, restore):
    with pytest.raises(ConfigurationError, match="overlaps"):
        restore(library.root / "inner")


def test_a_full_disk_ends_the_run_and_leaves_what_has_come(
    contents, restore, tmp_path, monkeypatch
):
    append = PartialFile.append
    left = [2]

    def full(part, piece):
        if not left[0]:
            raise OSError(28, "No space left on device")
        left[0] -= 1
        append(part, piece)

    other = tmp_path / "other"
    with monkeypatch.context() as patch:
        patch.setattr(PartialFile, "append", full)
        with pytest.raises(RunAborted, match="no room") as caught:
            restore(other, workers=1)
    report = caught.value.report
    assert (report.restored + report.failed) == report.restored >= 1
    assert remains(other) == []

    assert restore(other).restored == 5 - report.restored
    assert files_below(other) == contents


def test_too_little_room_is_seen_before_a_byte_comes(contents, restore, tmp_path):
    with pytest.raises(RunAborted, match="no room"):
        restore(tmp_path / "other", reserve_bytes=1024**6)


def test_files_of_two_roots_with_one_path_both_come(
    library, another_library, cloud, scanned, uploaded, restore, tmp_path
):
    second = another_library("second")
    one = library.add("a.mp3").read_bytes()
    two = second.add("a.mp3").read_bytes()
    scanned(library.root, second.root)
    uploaded(cloud)

    report = restore(tmp_path / "other")

    assert (report.restored, report.failures) == (2, [])
    found = files_below(tmp_path / "other")
    assert found.pop("a.mp3") == one
    assert list(found.values()) == [two]
    assert scanned(tmp_path / "other").unchanged == 2


@pytest.mark.parametrize(
    "path",
    [
        *("../out.mp3", "/etc/out.mp3", "a/../../out.mp3", "a//b.mp3", "./a.mp3", "a/./b.mp3", ""),
        *("a\0b.mp3", "a\nb.mp3", "x" * 300 + ".mp3", "a/" + "é" * 200 + ".mp3", "..", "a/.."),
        *(".catalogsync/x.mp3", "\udcff.mp3"),
    ],
)
def test_a_path_of_the_catalog_never_leads_out_of_the_root(path):
    names = safe_path(path).split("/")

    assert names
    assert all(name not in ("", ".", "..") for name in names)
    assert all(len(name.encode()) <= 255 and "\0" not in name for name in names)
    assert names[0] != FOLDER


def test_a_hostile_row_is_restored_within_the_root(catalog, contents, restore, tmp_path):
    change(
        catalog,
        "UPDATE file_locations SET library_path = '../../out.mp3' WHERE library_path = 'a.mp3'",
    )

    assert restore(tmp_path / "deep" / "other").restored == 5
    assert len(files_below(tmp_path / "deep" / "other")) == 5
    assert not (tmp_path / "out.mp3").exists()
    assert not (tmp_path / "deep" / "out.mp3").exists()


def test_a_file_that_the_library_never_held_is_named_by_its_key(
    catalog, contents, restore, tmp_path
):
    change(catalog, "DELETE FROM upload_tasks")
    change(catalog, "DELETE FROM file_locations WHERE library_path IS NOT NULL")

    assert restore(tmp_path / "other").restored == 5
    assert files_below(tmp_path / "other") == contents


@pytest.mark.parametrize("vouched", [True, False])
def test_without_a_digest_in_the_catalog_the_stores_own_must_fit(
    catalog, cloud, contents, proxy, restore, tmp_path, vouched
):
    change(catalog, "UPDATE file_assets SET sha256 = NULL")
    move_backend(catalog, cloud, proxy.endpoint)

    def without_digests(request, answer):
        if request.method == "HEAD" and not vouched:
            answer.replace_header("etag", '"something"')
            answer.drop_headers("x-amz-checksum-sha256")

    proxy.after.append(without_digests)

    report = restore(tmp_path / "other")

    if vouched:
        assert report.restored == 5
        stored = rows(catalog, "SELECT sha256 FROM file_assets ORDER BY id")
        assert sorted(stored) == sorted(map(sha256, contents.values()))
    else:
        assert codes(report) == ["NoDigest"] * 5


def test_a_store_that_does_not_vouch_for_one_file_does_not_stop_the_others(
    catalog, cloud, contents, proxy, restore, tmp_path
):
    """Nothing is believed of that one; the next run asks again."""
    change(catalog, "UPDATE file_assets SET sha256 = NULL")
    move_backend(catalog, cloud, proxy.endpoint)
    silent = True

    def refuse_one(request):
        if silent and request.method == "HEAD" and request.key.endswith("z.ogg"):
            return refusal(503)
        return None

    proxy.before.append(refuse_one)

    report = restore(tmp_path / "other")

    assert (report.restored, codes(report)) == (4, ["SourceUnavailable"])
    silent = False
    assert restore(tmp_path / "other").restored == 1
    assert files_below(tmp_path / "other") == contents


def test_a_broken_line_is_gone_on_from(catalog, library, cloud, synced, proxy, restore, tmp_path):
    content = library.add("large.mp3", size=6 * 1024 * 1024).read_bytes()
    synced(cloud)
    move_backend(catalog, cloud, proxy.endpoint)

    def cut(request, answer):
        if request.method == "GET" and len(answer.body) > 2_100_000:
            answer.body = answer.body[:2_100_000]
            answer.headers["Connection"] = "close"

    proxy.after.append(cut)

    report = restore(tmp_path / "other")

    assert (report.restored, report.failures) == (1, [])
    assert (tmp_path / "other" / "large.mp3").read_bytes() == content
    assert report.received == len(content)
    assert report.retries >= 2


def test_a_folder_that_cannot_be_written_to_fails_its_files_and_no_others(
    contents, restore, tmp_path, monkeypatch
):
    place = PartialFile.place

    def refuse(part, names, sha256):
        (name,) = names
        if name == "x/y/z.ogg":
            raise PermissionError(13, "Permission denied")
        return place(part, iter([name]), sha256)

    monkeypatch.setattr(PartialFile, "place", refuse)

    report = restore(tmp_path / "other")

    assert (report.restored, codes(report)) == (4, ["EACCES"])
    assert "check the folder's permissions" in report.failures[0].reason


# --- what a killed run has left -----------------------------------------------------------------


def begun(catalog, root, path):
    """A part of a file, as a killed restore leaves it."""
    sql = "SELECT file_asset_id FROM file_locations WHERE library_path = ?"
    part = PartialFile(root, f"{catalog_id(catalog)}-restore-{rows(catalog, sql, path)[0]}")
    part.open()
    part.begin(Notes())
    part.append(b"the beginning")
    part.close()


@pytest.mark.parametrize("missing", [True, False])
@pytest.mark.parametrize("scanned_since", [True, False])
def test_a_part_goes_once_its_file_has_come_back_otherwise(
    contents, library, scanned, catalog, restore, missing, scanned_since
):
    path = library.root / "a.mp3"
    path.unlink()
    scanned()
    begun(catalog, library.root, "a.mp3")
    path.write_bytes(contents["a.mp3"])
    if scanned_since:
        scanned()

    restore(library.root, missing=missing)

    assert remains(library.root) == []
    assert library.contents() == contents


def test_the_part_of_a_file_that_is_still_to_come_stays(
    contents, library, scanned, catalog, restore
):
    for name in ("a.mp3", "x/y/z.ogg"):
        (library.root / name).unlink()
    scanned()
    begun(catalog, library.root, "a.mp3")
    begun(catalog, library.root, "x/y/z.ogg")
    library.add(".catalogsyncignore", b"x/\n")  # that one is no longer wanted
    scanned()
    a_file = rows(catalog, "SELECT f.song_id FROM file_assets f WHERE object_key = 'Ä/雨 (1).flac'")

    restore(library.root, scope=Scope(song_ids=a_file))

    sql = "SELECT id FROM file_assets WHERE object_key = 'a.mp3'"
    name = f"{catalog_id(catalog)}-restore-{rows(catalog, sql)[0]}"
    assert sorted(remains(library.root)) == [FOLDER, f"{name}.json", f"{name}.part"]


def test_files_that_a_killed_process_was_writing_go_with_the_next_of_their_kind(tmp_path):
    target = tmp_path / "songs.csv"
    owner = new_owner()
    host, _, *rest = owner.split("|")
    names = {
        who: f".catalogsync-export-{'~'.join((place, pid, *rest))}.part"
        for who, place, pid in (
            ("dead", host, "999999999"),
            ("living", host, str(os.getpid())),
            ("elsewhere", "another", "1"),
        )
    }
    for name in (*names.values(), ".catalogsync-export-mine.part", "other.part"):
        (tmp_path / name).touch()

    with replacing(target) as file:
        file.write(b"x")

    assert {path.name for path in tmp_path.iterdir()} == {
        *(names["living"], names["elsewhere"]),
        *(".catalogsync-export-mine.part", "other.part", "songs.csv"),
    }


def test_a_file_where_a_folder_is_leaves_nothing_half_done(
    library, another_library, cloud, scanned, uploaded, restore, tmp_path
):
    second = another_library("second")
    library.add("song.mp3")
    second.add("song.mp3/inner.mp3")
    scanned(library.root, second.root)
    uploaded(cloud)
    report = restore(tmp_path / "third")
    assert (report.restored, report.failed) == (1, 1)
    assert len(files_below(tmp_path / "third")) == 1
