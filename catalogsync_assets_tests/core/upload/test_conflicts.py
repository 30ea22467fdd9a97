"""What is stored under a key already: adopted, replaced, or left alone for a person to see."""

import hashlib
from typing import Any

import pytest

from catalogsync_assets.core.catalog import backend_changes
from catalogsync_assets.core.catalog.backends import catalog_id
from catalogsync_assets.core.stores.objects import OWNER_TAG
from catalogsync_assets_tests.support.database import change, rows
from catalogsync_assets_tests.support.files import flipped
from catalogsync_assets_tests.support.proxy import Answer, refusal

PLACES = (
    "SELECT f.id, l.status FROM file_locations l JOIN file_assets f ON f.id = l.file_asset_id"
    " WHERE l.backend_id = ? AND l.locator NOT LIKE '%/.catalogsync/old/%' ORDER BY f.id"
)


def puts(proxy: Any) -> list[str]:
    return [request.key.rpartition("/")[2] for request in proxy.of("PUT")]


def test_a_bucket_that_is_filled_already_is_adopted_without_sending_all_of_it(
    library, scanned, proxy, through_proxy, uploaded, remote
):
    """The first put is refused; from then on it looks first, until a key is free."""
    library.fill(9)
    scanned()
    for path, content in library.contents().items():
        if path < "album/0006":
            remote(through_proxy).put(path, content)

    report = uploaded(through_proxy, workers=1)

    assert (report.adopted, report.succeeded) == (6, 3)
    assert puts(proxy) == ["0000.mp3", "0006.mp3", "0007.mp3", "0008.mp3"]


def test_an_upload_of_ours_that_arrived_damaged_is_replaced(
    library, catalog, scanned, cloud, uploaded, remote
):
    """It carries our mark for this very file, as nothing else does."""
    content = library.add("a.mp3").read_bytes()
    scanned()
    remote(cloud).put("a.mp3", flipped(content), Metadata={OWNER_TAG: f"{catalog_id(catalog)}/1"})

    report = uploaded(cloud)

    assert (report.succeeded, report.failed) == (1, 0)
    assert remote(cloud).get("a.mp3") == content
    assert rows(catalog, PLACES, cloud.id) == [(1, "active")]


@pytest.mark.parametrize("path", ["0 first.mp3", "zz last.mp3"])
def test_a_conflict_reads_the_same_whenever_it_comes(
    library, scanned, cloud, uploaded, remote, path
):
    """Also once the store is known to honour conditions, and no look comes before the put."""
    library.fill(5)
    library.add(path)
    scanned()
    remote(cloud).put(path, b"theirs")

    report = uploaded(cloud, workers=1)

    (failure,) = report.failures
    assert failure.code == "Conflict"
    assert "nothing was overwritten" in failure.reason


def test_a_conflict_that_was_cleared_away_is_uploaded_by_the_next_run(
    library, cloud, uploaded, synced, remote
):
    library.add("a.mp3", b"ours")
    remote(cloud).put("a.mp3", b"theirs")
    synced(cloud)
    remote(cloud).delete("a.mp3")

    assert uploaded(cloud).succeeded == 1
    assert remote(cloud).get("a.mp3") == b"ours"


def test_a_version_whose_object_has_vanished_is_superseded_too(
    library, catalog, cloud, synced, remote
):
    """Somebody has deleted it: there is nothing to replace, and the old claim is untrue."""
    library.add("a.mp3", b"first")
    synced(cloud)
    remote(cloud).delete("a.mp3")
    library.add("a.mp3", b"second")

    assert synced(cloud).succeeded == 1
    assert rows(catalog, PLACES, cloud.id) == [(1, "superseded"), (2, "active")]


def test_a_file_that_changes_back_is_uploaded_again(library, cloud, synced, remote):
    for content in (b"first", b"second", b"first"):
        library.add("a.mp3", content)
        synced(cloud)

    assert remote(cloud).get("a.mp3") == b"first"


def test_a_file_that_changed_and_changed_back_between_uploads_is_adopted(
    library, scanned, cloud, uploaded, synced, remote
):
    library.add("a.mp3", b"first")
    synced(cloud)
    for content in (b"second", b"first"):
        library.add("a.mp3", content)
        scanned()

    report = uploaded(cloud)

    assert (report.adopted, report.succeeded, report.failed) == (1, 0, 0)
    assert remote(cloud).get("a.mp3") == b"first"


def test_an_object_that_a_stranger_has_replaced_is_a_conflict(
    library, cloud, synced, remote, statuses
):
    library.add("a.mp3", b"first")
    synced(cloud)
    remote(cloud).put("a.mp3", b"a stranger's")
    library.add("a.mp3", b"second")

    assert [failure.code for failure in synced(cloud).failures] == ["Conflict"]
    assert remote(cloud).get("a.mp3") == b"a stranger's"
    assert statuses()["failed"] == 1


def test_one_spoilt_look_overwrites_nothing_on_a_store_without_conditions(
    library, proxy, backend, synced, remote
):
    """As on Swift, where nothing but the look guards what is there."""
    library.add("a.mp3")
    swift = backend(endpoint=proxy.endpoint, provider="other")
    remote(swift).put("a.mp3", b"a stranger's")
    spoilt = []

    def spoil_first_look(request):
        if request.method == "PUT" and request.header("if-none-match"):
            return refusal(501, "NotImplemented")
        if request.method == "HEAD" and request.key.endswith("a.mp3") and not spoilt:
            spoilt.append(request)
            return Answer(404, {}, b"")
        return None

    proxy.before.append(spoil_first_look)

    assert [failure.code for failure in synced(swift).failures] == ["Conflict"]
    assert spoilt
    assert remote(swift).get("a.mp3") == b"a stranger's"


def test_a_stranger_who_comes_between_look_and_put_is_not_overwritten(
    library, proxy, through_proxy, synced, remote
):
    library.add("old.mp3", b"first")
    synced(through_proxy)
    library.add("old.mp3", b"second")
    library.add("new.mp3", b"ours")

    def stranger(request):
        if request.method == "PUT":
            remote(through_proxy).put(request.key.rpartition("/")[2], b"a stranger's")

    proxy.before.append(stranger)

    assert synced(through_proxy).failed == 2
    assert remote(through_proxy).get("new.mp3") == b"a stranger's"
    assert remote(through_proxy).get("old.mp3") == b"a stranger's"


def test_while_a_version_is_replaced_the_catalog_claims_nothing_for_its_key(
    library, catalog, scanned, proxy, through_proxy, uploaded, synced
):
    """A kill after the put must not leave a row for what the store no longer has."""
    library.add("a.mp3", b"first")
    synced(through_proxy)
    library.add("a.mp3", b"second")
    scanned()
    claims = []
    proxy.before.append(
        lambda request: (
            claims.append(rows(catalog, PLACES, through_proxy.id))
            if request.method == "PUT" and not request.header("x-amz-copy-source")
            else None
        )
    )

    uploaded(through_proxy)

    assert claims == [[(1, "superseded")]]
    assert rows(catalog, PLACES, through_proxy.id) == [(1, "superseded"), (2, "active")]


def test_a_replacement_that_fails_is_done_by_the_next_run(
    library, catalog, proxy, through_proxy, uploaded, synced, remote
):
    library.add("a.mp3", b"first")
    synced(through_proxy)
    library.add("a.mp3", b"second")
    proxy.refuse(1, refusal(400, "EntityTooLarge"))
    assert synced(through_proxy).failed == 1

    assert uploaded(through_proxy).succeeded == 1
    assert remote(through_proxy).get("a.mp3") == b"second"
    assert rows(catalog, PLACES, through_proxy.id) == [(1, "superseded"), (2, "active")]


def test_a_deleted_file_keeps_its_object(
    library, catalog, scanned, proxy, through_proxy, uploaded, synced, remote
):
    gone, kept = library.fill(2)
    synced(through_proxy)
    content = gone.read_bytes()
    gone.unlink()

    assert scanned().missing_paths == [str(gone)]
    uploaded(through_proxy)

    assert remote(through_proxy).get("album/0000.mp3") == content
    assert proxy.of("DELETE") == []
    assert rows(catalog, PLACES, through_proxy.id) == [(1, "active"), (2, "active")]
    assert kept.exists()


@pytest.mark.parametrize("kind", ["removed backend", "lost row", "lost row and digest"])
def test_an_earlier_content_of_ours_that_no_row_tells_of_is_kept_aside(
    library, catalog, backend, cloud, synced, remote, kind
):
    """It is on no other backend, and no longer on the disk."""
    first = library.add("a.mp3").read_bytes()
    synced(cloud)
    library.add("a.mp3")
    if kind == "removed backend":
        backend_changes.remove(catalog, cloud)
        cloud = backend("again", base_prefix=cloud.base_prefix)
    else:
        change(catalog, "DELETE FROM file_locations WHERE backend_id = ?", cloud.id)
    if kind == "lost row and digest":
        change(catalog, "UPDATE file_assets SET sha256 = NULL")

    report = synced(cloud)

    assert (report.succeeded, report.failed) == (1, 0)
    assert remote(cloud).get(".catalogsync/old/1/a.mp3") == first
    kept = (
        "SELECT l.status, f.sha256 FROM file_locations l"
        " JOIN file_assets f ON f.id = l.file_asset_id WHERE l.locator LIKE '%/old/1/a.mp3'"
    )
    assert rows(catalog, kept) == [("superseded", hashlib.sha256(first).hexdigest())]
    assert rows(catalog, PLACES, cloud.id) == [(2, "active")]
