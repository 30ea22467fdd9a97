"""What was done after the last snapshot, and sent: it comes back as it was left."""

import shutil

import pytest

from catalogsync_assets.core.audit.audit import audit
from catalogsync_assets.core.audit.report import AuditRequest
from catalogsync_assets.core.backends.generation import confirm
from catalogsync_assets.core.catalog.backends import backend_by_name, keep_profile
from catalogsync_assets.core.catalog.upload_plan import enqueue
from catalogsync_assets.core.library.scan import scan
from catalogsync_assets.core.rebuild.rebuild import Request, rebuild
from catalogsync_assets.core.restore.restore import restore
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.profile import StoreProfile
from catalogsync_assets.core.upload.upload import Limits, upload
from catalogsync_assets_tests.support.database import rows

#: Names that a key cannot be, or that share one with another's.
SUFFIXED = ("a/back\\slash.flac", "a/Song.mp3", "a/song.mp3", "a/e\u0301.mp3")


@pytest.fixture
def moving(catalog, backend):
    """A backend where keys follow paths, by copies that the store makes."""
    cloud = backend(layout="path")
    keep_profile(catalog, cloud, StoreProfile(copies=True, copy_checksum=True))
    return cloud


def _comes_back(new, there, root, before):
    """All is there again, as it was, and as nothing else; and there is nothing to send."""
    done = restore(new, root)
    assert (done.restored, done.failed, done.troubles) == (len(before), 0, [])
    found = {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*.*")}
    assert {p: c for p, c in found.items() if not p.startswith(".catalogsync")} == before
    scan(new, [root])
    enqueue(new, there)
    assert upload(new, there, limits=Limits(workers=4, attempts=2)).queued == 0


def test_what_was_edited_under_a_key_with_a_suffix_is_the_newest_content(
    library, cloud, synced, snapshot, lost, rebuilt
):
    for path in SUFFIXED:
        library.add(path)
    synced(cloud)
    snapshot(cloud)
    for path in SUFFIXED:
        library.add(path, size=500)
    synced(cloud)
    before = lost()
    new, there, report = rebuilt(cloud, take_over=True)
    assert (report.new, report.left, report.damaged, report.nowhere) == (4, 0, 0, 0)
    _comes_back(new, there, library.root, before)


def test_what_was_new_under_a_key_with_a_suffix_has_the_path_that_it_had(
    library, cloud, synced, snapshot, lost, rebuilt
):
    library.add("first.mp3")
    synced(cloud)
    snapshot(cloud)
    for path in (*SUFFIXED[:3], "a/b_c\\d_e.mp3"):
        library.add(path)
    synced(cloud)
    before = lost()
    new, there, _ = rebuilt(cloud, take_over=True)
    _comes_back(new, there, library.root, before)


@pytest.mark.parametrize("half_way", [True, False])
@pytest.mark.parametrize(
    "moves",
    [
        {"a.mp3": "b.mp3", "b.mp3": "a.mp3"},
        {"a.mp3": "b.mp3", "b.mp3": "c.mp3", "c.mp3": "a.mp3"},
        {"a.mp3": "b.mp3", "b.mp3": "d.mp3"},
        {"c.mp3": "d.mp3", "b.mp3": "c.mp3", "a.mp3": "b.mp3"},
        {"a.mp3": "x\\y.mp3", "b.mp3": "a.mp3"},
    ],
    ids=["swap", "three", "chain", "long chain", "suffix"],
)
def test_what_has_changed_places_lies_where_it_was_last(
    library, moving, synced, snapshot, lost, rebuilt, remote, moves, half_way
):
    for name in ("a.mp3", "b.mp3", "c.mp3", "stays.mp3"):
        library.add(name)
    synced(moving)
    snapshot(moving)
    for old in moves:
        (library.root / old).rename(library.root / f"{old}.tmp")
    for old, name in moves.items():
        (library.root / f"{old}.tmp").rename(library.root / name)
    synced(moving)
    if not half_way:
        for key in sorted(remote(moving).keys()):
            if key.startswith(".catalogsync/moves/"):
                remote(moving).delete(key)
    before = lost()
    new, there, report = rebuilt(moving, take_over=True)
    assert (report.left, report.damaged, report.missing) == (0, 0, 0)
    _comes_back(new, there, library.root, before)


def test_what_came_where_a_file_was_that_has_moved_is_another_file(
    library, moving, synced, snapshot, lost, rebuilt
):
    library.add("a.mp3")
    synced(moving)
    snapshot(moving)
    (library.root / "a.mp3").rename(library.root / "b.mp3")
    library.add("a.mp3", size=700)
    synced(moving)
    before = lost()
    new, there, _ = rebuilt(moving, take_over=True)
    assert rows(new, "SELECT COUNT(*) FROM file_assets WHERE superseded_by_id IS NULL") == [2]
    _comes_back(new, there, library.root, before)


def test_a_kill_between_the_records_and_the_moves_loses_no_move(
    library, moving, synced, snapshot, lost, bare_machine, monkeypatch
):
    library.add("a.mp3")
    library.add("b.mp3")
    synced(moving)
    snapshot(moving)
    shutil.move(library.root / "a.mp3", library.root / "t")
    shutil.move(library.root / "b.mp3", library.root / "a.mp3")
    shutil.move(library.root / "t", library.root / "b.mp3")
    synced(moving)
    before = lost()
    new, there = bare_machine(moving)

    class Killed(BaseException):
        pass

    def killed(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("catalogsync_assets.core.rebuild.staging.Staging.settle", killed)
        with pytest.raises(Killed):
            rebuild(new, there, Request(take_over=True), attempts=2)
    rebuild(new, there, Request(take_over=True), attempts=2)
    _comes_back(new, there, library.root, before)


@pytest.mark.parametrize("edited_again", [False, True])
def test_what_is_newer_on_another_backend_is_not_replaced(
    library, cloud, backend, synced, uploaded, snapshot, lost, rebuilt, remote, edited_again
):
    """The catalog is made of the one that is behind."""
    second = backend("second")
    library.add("song.mp3")
    library.add("other.mp3")
    synced(cloud)
    uploaded(second)
    snapshot(cloud)
    newest = library.add("song.mp3", size=500).read_bytes()
    synced(second)
    lost()
    new, _, _ = rebuilt(cloud, take_over=True)
    second = backend_by_name(new, "second")
    restore(new, library.root)
    if edited_again:
        library.add("song.mp3", size=600)
    scan(new, [library.root])
    if edited_again:  # its number is that of the lost one; it is younger than a clock may be wrong
        with new.transaction() as connection:
            later = "UPDATE file_assets SET created_at = datetime('now', '+1 hour') WHERE id = 3"
            assert connection.exec_driver_sql(later).rowcount == 1
    confirm(new, StoreClient(second))
    audit(new, second, AuditRequest(level="full"))
    enqueue(new, second)
    sent = upload(new, second, limits=Limits(workers=4, attempts=2))
    assert [f.code for f in sent.failures] == ["Conflict"]
    assert remote(second).get("song.mp3") == newest


@pytest.mark.parametrize("tagged", [True, False])
def test_what_another_has_put_under_a_key_since_the_snapshot_is_not_replaced(
    library, cloud, synced, snapshot, lost, rebuilt, remote, tagged
):
    library.add("song.mp3")
    synced(cloud)
    snapshot(cloud)
    kept = library.contents()
    tag = {"catalogsync-file": "0123456789abcdef/1", "sha256": "0" * 64} if tagged else {}
    remote(cloud).put("song.mp3", b"theirs", Metadata=tag)
    lost()
    new, there, report = rebuilt(cloud, take_over=True)
    assert report.damaged == 1
    for path, content in kept.items():
        library.add(path, content)
    scan(new, [library.root])
    enqueue(new, there)
    sent = upload(new, there, limits=Limits(workers=4, attempts=2))
    assert [f.code for f in sent.failures] == ["Conflict"]
    assert remote(cloud).get("song.mp3") == b"theirs"
