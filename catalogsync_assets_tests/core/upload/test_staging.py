"""Files that are no longer here go from one backend to another."""

from collections import Counter
from pathlib import Path

import pytest

from catalogsync_assets.core.catalog.backends import catalog_id
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.upload_plan import enqueue, missing_candidates
from catalogsync_assets.core.catalog.upload_queue import count_pending
from catalogsync_assets.core.files.partial import FOLDER, Notes, PartialFile
from catalogsync_assets_tests.support.database import change, move_backend, rows
from catalogsync_assets_tests.support.files import flipped
from catalogsync_assets_tests.support.proxy import Gate, refusal
from catalogsync_assets_tests.support.uploads import codes

MIB = 1024 * 1024
PLACES = "SELECT status FROM file_locations WHERE backend_id = ? ORDER BY file_asset_id"


@pytest.fixture
def gone(library, scanned, cloud, synced):
    """`gone(count)`: files that are on `cloud` and nowhere else any more; their contents."""

    def make(count, *, size=300):
        files = library.fill(count, size=size)
        library.add("stays.mp3")
        assert synced(cloud).succeeded == count + 1
        contents = library.contents()
        for file in files:
            file.unlink()
        assert scanned().missing == count
        return contents

    return make


def leftovers(catalog: Catalog) -> list[str]:
    folder = catalog.path.parent / FOLDER
    return [p.name for p in folder.iterdir()] if folder.exists() else []


def test_a_new_backend_gets_from_another_what_is_no_longer_here(
    catalog, gone, backend, uploaded, remote
):
    contents = gone(5)
    other = backend("other")

    report = uploaded(other)

    assert (report.succeeded, report.failures) == (6, [])
    assert remote(other).contents() == contents
    assert rows(catalog, PLACES, other.id) == ["active"] * 6
    assert leftovers(catalog) == []


def test_what_is_planned_from_another_backend_is_counted_and_listed(catalog, gone, backend):
    gone(2)
    other = backend("other")

    listed = [file.locator for file in missing_candidates(catalog, other)]
    assert enqueue(catalog, other) == 3
    assert count_pending(catalog, other) == (3, 900)
    assert listed == [f"{other.base_prefix}/{p}" for p in FILES]
    assert enqueue(catalog, other) == 0


FILES = ["album/0000.mp3", "album/0001.mp3", "stays.mp3"]


def test_a_local_file_goes_before_an_object(
    gone, library, scanned, proxy, backend, uploaded, cloud, catalog
):
    """Also if it has come back after it was planned."""
    contents = gone(1)
    other = backend("other")
    enqueue(catalog, other)
    library.add("album/0000.mp3", contents["album/0000.mp3"])
    change(catalog, "UPDATE file_assets SET sha256 = sha256")
    scanned()
    move_backend(catalog, cloud, "http://127.0.0.1:1")

    report = uploaded(other)

    assert (report.succeeded, report.failures) == (2, [])


def test_a_lost_object_is_mended_from_another_backend(
    catalog, gone, cloud, backend, uploaded, remote
):
    contents = gone(2)
    other = backend("other")
    uploaded(other)
    remote(cloud).delete("album/0000.mp3")
    change(
        catalog,
        "UPDATE file_locations SET status = 'missing' WHERE backend_id = ? AND locator LIKE ?",
        cloud.id,
        "%0000.mp3",
    )

    assert uploaded(cloud).succeeded == 1
    assert remote(cloud).contents() == contents
    assert rows(catalog, PLACES, cloud.id) == ["active"] * 3


def test_a_large_file_goes_from_store_to_store_in_parts(
    catalog, gone, backend, uploaded, remote, small_parts
):
    contents = gone(1, size=7 * MIB)
    other = backend("other")

    assert uploaded(other).succeeded == 2
    assert remote(other).contents() == contents
    assert leftovers(catalog) == []


@pytest.mark.usefixtures("small_parts")
def test_a_large_copy_that_was_cut_short_goes_on_from_its_parts(
    gone, proxy, backend, uploaded, remote, small_parts
):
    """It is fetched anew, into another file, and known by its content."""
    contents = gone(1, size=11 * MIB)
    other = backend("other", endpoint=proxy.endpoint)
    proxy.answer(refusal(503), lambda r: r.part == 3)
    assert codes(uploaded(other)) == ["SlowDown"]
    proxy.before.clear()

    assert uploaded(other).succeeded == 1
    assert remote(other).contents() == contents
    sent = Counter(r.part for r in proxy.of("PUT"))
    assert (sent[1], sent[2]) == (1, 1)


@pytest.mark.parametrize("damaged", [True, False])
def test_a_source_that_proves_to_be_damaged_or_gone_fails_alone_and_is_marked(
    catalog, gone, cloud, backend, uploaded, remote, damaged
):
    contents = gone(3)
    if damaged:
        remote(cloud).put("album/0001.mp3", flipped(contents["album/0001.mp3"]))
    else:
        remote(cloud).delete("album/0001.mp3")
    other = backend("other")

    report = uploaded(other)

    assert report.succeeded == 3
    assert codes(report) == ["SourceDamaged" if damaged else "SourceMissing"]
    assert "'cloud'" in report.failures[0].reason
    assert "0001.mp3" not in str(remote(other).keys())
    found = rows(catalog, PLACES, cloud.id)
    assert found == ["active", "damaged" if damaged else "missing", "active", "active"]
    presence = "SELECT SUM(files_present) FROM song_backend_presence WHERE backend_id = ?"
    assert rows(catalog, presence, cloud.id) == [3]
    if damaged:
        etag = "SELECT etag FROM file_locations WHERE status = 'damaged'"
        assert rows(catalog, etag) == [remote(cloud).head("album/0001.mp3")["ETag"]]


def test_after_a_damaged_source_the_next_plan_takes_another(gone, cloud, backend, uploaded, remote):
    """And then the damaged object itself is replaced by a good copy."""
    contents = gone(1)
    second, third = backend("second"), backend("third")
    uploaded(second)
    remote(cloud).put("album/0000.mp3", b"x" * 300)

    assert codes(uploaded(third)) == ["SourceDamaged"]
    assert uploaded(third).succeeded == 1
    assert uploaded(cloud).succeeded == 1
    assert remote(third).contents() == remote(cloud).contents() == contents


def test_a_source_without_credentials_fails_its_files_and_no_others(
    gone, backend, uploaded, monkeypatch
):
    gone(2)
    monkeypatch.setenv("OTHER_ACCESS_KEY_ID", "demo")
    monkeypatch.setenv("OTHER_SECRET_ACCESS_KEY", "a-secret-that-nobody-may-see")
    other = backend("other", credential_env_prefix="OTHER")
    monkeypatch.delenv("CLOUD_ACCESS_KEY_ID")
    monkeypatch.delenv("CLOUD_SECRET_ACCESS_KEY")

    report = uploaded(other)

    assert report.succeeded == 1
    assert codes(report) == ["SourceRefused"] * 2
    assert "backend 'cloud' has no credentials" in report.failures[0].reason
    assert "CLOUD_ACCESS_KEY_ID" in report.failures[0].reason


def test_a_source_that_is_silent_is_given_up_and_the_others_go_on(
    catalog, gone, cloud, backend, uploaded, unused_endpoint
):
    gone(12)
    other = backend("other")
    move_backend(catalog, cloud, unused_endpoint)

    report = uploaded(other, workers=2)

    assert report.succeeded == 1
    assert codes(report) == ["SourceUnavailable"] * 12
    assert report.retryable
    assert rows(catalog, PLACES, cloud.id) == ["active"] * 13  # silence proves nothing


def test_a_file_whose_digest_nobody_knows_is_not_taken_from_another_backend(catalog, gone, backend):
    gone(2)
    change(catalog, "UPDATE file_assets SET sha256 = NULL WHERE id = 1")

    assert enqueue(catalog, backend("other")) == 2


def test_an_object_in_another_bucket_than_the_backend_has_is_no_source(catalog, gone, backend):
    gone(2)
    change(
        catalog,
        "UPDATE file_locations SET container_name = 'elsewhere' WHERE container_name <> ? AND id ="
        " (SELECT MIN(id) FROM file_locations WHERE locator LIKE '%0000.mp3' AND etag IS NOT NULL)",
        "",
    )

    assert enqueue(catalog, backend("other")) == 2


def test_the_next_run_removes_what_a_killed_one_has_left(catalog, gone, backend, uploaded):
    gone(1)
    for name in ("dead", "alive"):
        left = PartialFile(catalog.path.parent, f"{catalog_id(catalog)}-copy-{name}-0")
        left.open()
        left.begin(Notes())
        left.append(b"half of it")
        if name == "dead":
            left.close()

    uploaded(backend("other"))

    assert [n for n in leftovers(catalog) if "dead" in n] == []
    assert [n for n in leftovers(catalog) if "alive" in n] != []
    left.discard()
    left.close()


def test_no_room_for_a_copy_fails_its_file_and_no_others(gone, backend, uploaded, monkeypatch):
    gone(2)

    def full(self, piece):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PartialFile, "append", full)

    report = uploaded(backend("other"))

    assert (report.succeeded, codes(report)) == (1, ["NoRoom", "NoRoom"])


def test_copies_on_disk_keep_to_the_bytes_in_flight(catalog, gone, backend, uploaded, proxy):
    gone(12, size=MIB)
    most = [0]

    def look(_):
        folder = Path(catalog.path.parent, FOLDER)
        sizes = []
        for path in folder.glob("*.part"):
            try:
                sizes.append(path.stat().st_size)
            except FileNotFoundError:
                continue
        most[0] = max(most[0], sum(sizes))

    proxy.before.append(look)

    report = uploaded(
        backend("other", endpoint=proxy.endpoint), workers=8, max_in_flight_bytes=3 * MIB
    )

    assert report.succeeded == 13
    assert 0 < most[0] <= 3 * MIB


def test_what_a_killed_process_was_copying_is_removed_and_copied_anew(
    catalog, gone, backend, proxy, start_command, command, remote
):
    contents = gone(8)
    other = backend("other", endpoint=proxy.endpoint)
    gate = Gate(proxy)
    arguments = ("upload", "--backend", "other", "--workers", 4, "--db", catalog.path)
    process = start_command(*arguments)
    gate.wait_for(4)
    process.end()
    assert len([name for name in leftovers(catalog) if name.endswith(".part")]) >= 3
    gate.open()

    outcome = command(*arguments)

    assert outcome.code == 0, outcome.err
    assert remote(other).contents() == contents
    assert leftovers(catalog) == []
