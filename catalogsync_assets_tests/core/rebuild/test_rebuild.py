"""The disk is dead: what is made of what a backend holds."""

import dataclasses
import shutil

import pytest

from catalogsync_assets.core.catalog.upload_plan import enqueue
from catalogsync_assets.core.library.scan import scan
from catalogsync_assets.core.restore.restore import restore
from catalogsync_assets.core.upload.upload import Limits, upload
from catalogsync_assets_tests.support.database import rows


def _contents(root):
    return {
        p.relative_to(root).as_posix(): p.read_bytes()
        for p in root.rglob("*")
        if p.is_file() and ".catalogsync" not in p.parts
    }


def _uploads(catalog, backend):
    enqueue(catalog, backend)
    report = upload(catalog, backend, limits=Limits(workers=4, attempts=2))
    return report.queued, report.bytes


@pytest.fixture
def sampled(library, sample):
    """The library holds real audio files with tags."""
    shutil.copytree(sample, library.root, dirs_exist_ok=True)
    return library


@pytest.mark.parametrize("with_snapshot", [True, False])
def test_after_the_loss_of_all_but_a_bucket_every_file_comes_back(
    sampled, cloud, synced, snapshot, lost, rebuilt, with_snapshot
):
    for number in range(40):
        sampled.add(f"Ä folder/{number} sóng.mp3")
    synced(cloud)
    if with_snapshot:
        snapshot(cloud)
    before = lost()
    new, there, report = rebuilt(cloud, take_over=True)
    assert (report.snapshot is not None) == with_snapshot
    assert report.new == (0 if with_snapshot else len(before))
    assert report.failed == report.missing == report.damaged == report.left == 0
    done = restore(new, sampled.root)
    assert (done.restored, done.failed) == (len(before), 0)
    assert _contents(sampled.root) == before
    again = scan(new, [sampled.root])
    assert (again.unchanged, again.new, again.moved, again.missing) == (len(before), 0, 0, 0)
    assert _uploads(new, there) == (0, 0)


@pytest.mark.parametrize("with_snapshot", [True, False])
@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_library_that_is_still_there_is_joined_by_content(
    sampled, cloud, synced, snapshot, catalog, rebuilt, tmp_path, with_snapshot, elsewhere
):
    synced(cloud)
    if with_snapshot:
        snapshot(cloud)
    new, there, _ = rebuilt(cloud)
    root = sampled.root
    if elsewhere:
        root = tmp_path / "another disk"
        shutil.copytree(sampled.root, root)
    files = len(sampled.contents())
    found = scan(new, [root])
    assert (found.new, found.changed, found.suspected) == (0, 0, 0)
    assert found.moved + found.returned == files
    assert _uploads(new, there) == (0, 0)
    assert restore(new, root).present == files
    verified = "SELECT COUNT(*) FROM file_locations WHERE verified_by = 'read' AND status = 'active'"
    assert rows(new, verified) == [files]


def test_what_tags_and_names_tell_is_as_a_scan_has_it(sampled, cloud, synced, catalog, rebuilt):
    synced(cloud)
    new, _, report = rebuilt(cloud, take_over=True)
    for what in (
        "SELECT title, artist, album, track_number, duration_seconds, match_key FROM songs"
        " ORDER BY match_key, title",
        "SELECT id, size_bytes, sha256, format, object_key, tags_digest, audio_digest, tags_error"
        " FROM file_assets ORDER BY object_key",
        "SELECT name FROM artists ORDER BY name",
    ):
        assert rows(new, what) == rows(catalog, what)


@pytest.mark.parametrize(("provider", "how"), [("seaweedfs", "head"), ("other", None)])
def test_a_digest_counts_as_verified_only_where_the_store_has_checked_it(
    library, cloud, synced, rebuilt, provider, how
):
    library.fill(2)
    synced(cloud)
    new, _, _ = rebuilt(dataclasses.replace(cloud, provider=provider))
    said = "SELECT DISTINCT verified_by, verified_at IS NULL FROM file_locations WHERE etag <> ''"
    assert rows(new, said) == [(how, how is None)]
