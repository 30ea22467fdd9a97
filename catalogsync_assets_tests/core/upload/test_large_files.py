"""Files that go in parts: whole or not at all, and nothing left behind."""

import pytest

from catalogsync_assets.core.errors import RunAborted
from catalogsync_assets.core.stores.checksums import composite_md5, composite_sha256, digest_part
from catalogsync_assets_tests.support.database import change, rotten, rows
from catalogsync_assets_tests.support.files import flipped, sha256
from catalogsync_assets_tests.support.proxy import Answer, refusal
from catalogsync_assets_tests.support.uploads import SIZE

pytestmark = pytest.mark.usefixtures("small_parts")
MIB = 1024 * 1024
pytestmark = pytest.mark.usefixtures("small_parts")
PLACES = (
    "SELECT f.sha256, l.status, l.verified_by FROM file_locations l"
    " JOIN file_assets f ON f.id = l.file_asset_id WHERE l.backend_id = ? ORDER BY f.id"
)


def test_the_digest_of_parts_is_the_one_that_s3_makes(large, cloud, uploaded, remote):
    uploaded(cloud)

    parts = [digest_part(large[i : i + 5 * MIB], md5=True) for i in range(0, SIZE, 5 * MIB)]
    stored = remote(cloud).head("large.flac")
    assert stored["ChecksumSHA256"] == composite_sha256(parts)
    assert stored["ETag"] == f'"{composite_md5(parts)}"'


@pytest.mark.usefixtures("large")
def test_a_second_upload_of_a_large_file_makes_no_request(proxy, through_proxy, uploaded):
    uploaded(through_proxy)
    proxy.requests.clear()

    uploaded(through_proxy)

    assert proxy.requests == []


@pytest.mark.parametrize("digests", [True, False])
def test_an_identical_large_object_is_adopted(
    catalog, large, proxy, through_proxy, uploaded, remote, digests
):
    more = {"ChecksumAlgorithm": "SHA256"} if digests else {}
    remote(through_proxy).put("large.flac", large, **more)

    report = uploaded(through_proxy)

    assert (report.adopted, report.bytes) == (1, 0)
    assert [r for r in proxy.requests if r.method in ("PUT", "POST")] == []
    assert [row[:2] for row in rows(catalog, PLACES, through_proxy.id)] == [
        (sha256(large), "active")
    ]


def test_a_large_object_of_ours_without_a_row_is_adopted(catalog, large, cloud, uploaded, remote):
    """As after a kill between the upload and its record."""
    uploaded(cloud)
    change(catalog, "DELETE FROM file_locations WHERE backend_id = ?", cloud.id)

    assert uploaded(cloud).adopted == 1
    assert remote(cloud).get("large.flac") == large


@pytest.mark.parametrize("same_size", [True, False])
def test_another_large_object_is_a_conflict(
    large, proxy, through_proxy, uploaded, remote, same_size
):
    theirs = b"x" * len(large) if same_size else b"theirs"
    remote(through_proxy).put("large.flac", theirs)

    assert [failure.code for failure in uploaded(through_proxy).failures] == ["Conflict"]
    assert remote(through_proxy).get("large.flac") == theirs
    assert [r for r in proxy.requests if r.method in ("PUT", "POST")] == []


def test_a_stranger_who_comes_first_is_not_overwritten(
    large, proxy, through_proxy, uploaded, remote
):
    proxy.before.append(
        lambda r: remote(through_proxy).put("large.flac", b"theirs") if r.completes_parts else None
    )

    assert uploaded(through_proxy).failed == 1
    assert remote(through_proxy).get("large.flac") == b"theirs"
    assert remote(through_proxy).unfinished() == []
    assert len(large) == SIZE


@pytest.mark.usefixtures("large")
def test_a_changed_large_file_replaces_our_earlier_version(
    library, catalog, cloud, uploaded, synced, remote
):
    uploaded(cloud)
    content = library.add("large.flac", size=6 * MIB).read_bytes()

    report = synced(cloud)

    assert (report.succeeded, report.failures) == (1, [])
    assert remote(cloud).get("large.flac") == content
    there = [status for _, status, _ in rows(catalog, PLACES, cloud.id)]
    assert there == ["superseded", "superseded", "active"]  # the second is what was kept


@pytest.mark.usefixtures("large")
def test_a_large_file_that_changes_while_it_is_sent_leaves_nothing(
    library, catalog, proxy, through_proxy, uploaded, remote, statuses
):
    proxy.before.append(lambda r: library.add("large.flac", size=SIZE) and None if r.part else None)

    assert [failure.code for failure in uploaded(through_proxy).failures] == ["SourceChanged"]
    assert remote(through_proxy).keys() == remote(through_proxy).unfinished() == []
    assert rows(catalog, PLACES, through_proxy.id) == []
    assert statuses() == {"pending": 1}


@pytest.mark.parametrize("status", [503, 0])
@pytest.mark.parametrize("kind", ["first look", "beginning", "part", "completion", "last look"])
def test_a_fault_that_passes_does_not_fail_a_large_file(
    large, proxy, through_proxy, uploaded, kind, status, arrived
):
    """One request of each kind is refused, or the connection ends instead of an answer."""
    failed = []

    def fail_once(request):
        if failed or kind_of(request) != kind:
            return None
        failed.append(request)
        return refusal(status)

    def kind_of(request):
        if request.method == "HEAD":
            return "last look" if any(r.completes_parts for r in proxy.requests) else "first look"
        if request.begins_parts:
            return "beginning"
        return "completion" if request.completes_parts else "part" if request.part else "other"

    proxy.before.append(fail_once)

    report = uploaded(through_proxy, attempts=4)

    assert len(failed) == 1
    assert report.failures == []
    assert report.retries == 1
    arrived(through_proxy)


def test_a_completion_that_something_else_has_answered_is_made_again(
    large, proxy, through_proxy, uploaded, arrived
):
    """As the login page of a network does, with the status of a success."""
    page = Answer(200, {"Content-Type": "text/html"}, b"<html>log in</html>")
    proxy.refuse(1, page, methods="POST", which=lambda r: r.completes_parts)

    report = uploaded(through_proxy, attempts=3)

    assert (report.succeeded, report.failures) == (1, [])
    arrived(through_proxy)


@pytest.mark.usefixtures("large")
def test_a_large_file_that_is_refused_leaves_no_parts_behind(
    catalog, proxy, through_proxy, uploaded, remote
):
    proxy.answer(refusal(400, "EntityTooSmall"), lambda r: r.part == 2)

    assert [failure.code for failure in uploaded(through_proxy).failures] == ["EntityTooSmall"]
    assert rows(catalog, "SELECT * FROM multipart_uploads") == []
    assert remote(through_proxy).keys() == remote(through_proxy).unfinished() == []
    assert rows(catalog, PLACES, through_proxy.id) == []


@pytest.mark.usefixtures("large")
def test_a_damaged_part_is_refused_and_sent_again(library, proxy, through_proxy, uploaded, remote):
    proxy.spoil_requests(lambda r: r.part, times=1)

    report = uploaded(through_proxy, attempts=3)

    assert (report.succeeded, report.retries) == (1, 1)
    assert remote(through_proxy).contents() == library.contents()


@pytest.mark.usefixtures("large")
def test_a_completed_object_that_is_not_what_was_sent_is_not_recorded(
    catalog, proxy, through_proxy, uploaded, remote
):
    proxy.after.append(
        lambda r, _: (
            remote(through_proxy).put("large.flac", b"x" * SIZE) if r.completes_parts else None
        )
    )

    assert [failure.code for failure in uploaded(through_proxy).failures] == ["Corrupted"]
    assert rows(catalog, PLACES, through_proxy.id) == []


def test_a_large_file_that_rots_is_not_pushed(
    library, catalog, large, backend, uploaded, synced, remote
):
    first, second = backend("first"), backend("second")
    uploaded(first)
    library.rewrite("large.flac", flipped(large))
    rotten(catalog, library.root / "large.flac")

    assert [failure.code for failure in synced(second).failures] == ["ContentDiffers"]
    assert remote(second).keys() == remote(second).unfinished() == []


@pytest.mark.usefixtures("large")
def test_a_store_that_falls_silent_during_a_large_file_ends_the_run(
    proxy, through_proxy, uploaded, statuses
):
    proxy.answer(refusal(0), lambda r: r.part)

    with pytest.raises(RunAborted):
        uploaded(through_proxy, workers=1)

    assert statuses() == {"pending": 1}


@pytest.mark.usefixtures("large")
def test_a_missing_large_file_fails_alone(library, scanned, cloud, uploaded, remote):
    library.add("other.flac", size=2 * MIB)
    scanned()
    (library.root / "large.flac").unlink()

    report = uploaded(cloud)

    assert (report.succeeded, [f.code for f in report.failures]) == (1, ["SourceMissing"])
    assert remote(cloud).unfinished() == []


@pytest.mark.usefixtures("large")
def test_a_missing_large_file_whose_object_is_there_fails_alone_too(
    library, cloud, uploaded, remote
):
    remote(cloud).put("large.flac", b"something")
    (library.root / "large.flac").unlink()

    assert [f.code for f in uploaded(cloud).failures] == ["SourceMissing"]
