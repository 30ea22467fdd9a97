"""Objects that a verification has found damaged or gone: replaced, and never believed by a HEAD.

On SeaweedFS, which keeps digests, and on rclone, which keeps none and knows no conditions.
"""

from typing import Any

import pytest

from catalogsync_assets.core.catalog.backends import catalog_id
from catalogsync_assets.core.stores.objects import OWNER_TAG
from catalogsync_assets_tests.support.database import change, rows
from catalogsync_assets_tests.support.files import flipped
from catalogsync_assets_tests.support.stores import s3_client

MIB = 1024 * 1024
PLACES = "SELECT file_asset_id, status, verified_by FROM file_locations WHERE backend_id = ?"


@pytest.fixture(scope="module", params=["seaweedfs", "rclone"])
def store(request, store, rclone):
    return {"seaweedfs": store, "rclone": rclone}[request.param]


@pytest.fixture(scope="module")
def s3(store):
    client = s3_client(store)
    yield client
    client.close()


@pytest.fixture
def through_proxy(proxy, backend, request):
    known = "seaweedfs" in request.node.name
    return backend(endpoint=proxy.endpoint, provider="seaweedfs" if known else "other")


@pytest.fixture
def damage(remote):
    """`damage(backend, key, etag=…)`: what a verification writes; the ETag that is there now."""

    def mark(catalog, backend, key, etag="now"):
        seen = remote(backend).head(key)["ETag"] if etag == "now" else etag
        change(
            catalog,
            "UPDATE file_locations SET status = 'damaged', etag = ?"
            " WHERE backend_id = ? AND locator = ?",
            seen,
            backend.id,
            backend.key_prefix + key,
        )

    return mark


@pytest.fixture(params=["in one put", "in parts"])
def size(request, small_parts):
    return 3000 if request.param == "in one put" else 5 * MIB + 17


@pytest.fixture
def content(library, synced, through_proxy, size):
    """The content of `a.mp3`, which is uploaded."""
    found = library.add("a.mp3", size=size).read_bytes()
    assert synced(through_proxy).succeeded == 1
    return found


def rot(proxy: Any) -> None:
    """Let every read give other bytes than were stored, until the object is stored anew."""
    stored = [False]

    def after(request: Any, answer: Any) -> None:
        if request.method in ("PUT", "POST"):
            stored[0] = True
        elif request.method == "GET" and request.key.endswith(".mp3") and not stored[0]:
            answer.body = flipped(answer.body)

    proxy.after.append(after)


def test_an_object_that_was_found_damaged_is_replaced(
    catalog, through_proxy, uploaded, remote, damage, content
):
    """Whatever it is: a verification has read it under a key that the catalog claims."""
    remote(through_proxy).put("a.mp3", flipped(content))
    damage(catalog, through_proxy, "a.mp3")

    report = uploaded(through_proxy)

    assert (report.succeeded, report.adopted, report.failures) == (1, 0, [])
    assert remote(through_proxy).get("a.mp3") == content
    assert [place[:2] for place in rows(catalog, PLACES, through_proxy.id)] == [(1, "active")]


def test_a_cut_off_object_that_was_found_damaged_is_replaced(
    catalog, through_proxy, uploaded, remote, damage, content
):
    remote(through_proxy).put("a.mp3", content[:100])
    damage(catalog, through_proxy, "a.mp3")

    assert uploaded(through_proxy).succeeded == 1
    assert remote(through_proxy).get("a.mp3") == content


def test_rot_that_no_head_shows_is_replaced(
    catalog, proxy, through_proxy, uploaded, damage, content
):
    """ETag, size and the digest that the store keeps are all those of what was sent once."""
    damage(catalog, through_proxy, "a.mp3")
    rot(proxy)
    sent = len(proxy.of("PUT"))

    report = uploaded(through_proxy)

    assert (report.succeeded, report.adopted) == (1, 0)
    assert len(proxy.of("PUT")) > sent


@pytest.mark.parametrize("etag", [None, '"another"'])
def test_what_has_the_right_digest_by_a_head_is_read_before_it_is_adopted(
    catalog, proxy, through_proxy, uploaded, damage, content, etag
):
    """Someone has mended it meanwhile, or it is not known which object was damaged."""
    damage(catalog, through_proxy, "a.mp3", etag)

    report = uploaded(through_proxy)

    assert (report.succeeded, report.adopted) == (0, 1)
    assert [r.key for r in proxy.of("GET") if r.key.endswith("a.mp3")]
    assert rows(catalog, PLACES, through_proxy.id) == [(1, "active", "read")]


def test_rot_in_an_object_of_ours_that_came_later_is_replaced(
    catalog, proxy, through_proxy, uploaded, damage, content
):
    """The ETag is another one, the digest by a HEAD the right one, the content is not."""
    damage(catalog, through_proxy, "a.mp3", '"another"')
    rot(proxy)

    report = uploaded(through_proxy)

    assert (report.succeeded, report.adopted, report.failures) == (1, 0, [])


def test_what_a_stranger_put_in_place_of_a_damaged_object_stays(
    catalog, through_proxy, uploaded, remote, damage, content
):
    remote(through_proxy).put("a.mp3", flipped(content))
    damage(catalog, through_proxy, "a.mp3")
    remote(through_proxy).put("a.mp3", b"a stranger's")

    assert [failure.code for failure in uploaded(through_proxy).failures] == ["Conflict"]
    assert remote(through_proxy).get("a.mp3") == b"a stranger's"
    assert [place[:2] for place in rows(catalog, PLACES, through_proxy.id)] == [(1, "damaged")]


def test_another_damaged_upload_of_ours_is_replaced(
    catalog, through_proxy, uploaded, remote, damage, content
):
    """It has another ETag than the damaged one, but our mark."""
    damage(catalog, through_proxy, "a.mp3", '"another"')
    mark = {OWNER_TAG: f"{catalog_id(catalog)}/1"}
    remote(through_proxy).put("a.mp3", flipped(content), Metadata=mark)

    assert uploaded(through_proxy).succeeded == 1
    assert remote(through_proxy).get("a.mp3") == content


def test_a_stranger_who_comes_between_look_and_replacement_is_not_overwritten(
    catalog, proxy, through_proxy, uploaded, remote, damage, content
):
    if not through_proxy.profile.conditional_replace:
        pytest.skip("this store keeps no condition")
    remote(through_proxy).put("a.mp3", flipped(content))
    damage(catalog, through_proxy, "a.mp3")

    def stranger(request):
        if request.completes_parts or (request.method == "PUT" and not request.part):
            remote(through_proxy).put("a.mp3", b"a stranger's")

    proxy.before.append(stranger)

    assert uploaded(through_proxy).failed == 1
    assert remote(through_proxy).get("a.mp3") == b"a stranger's"


def test_an_edited_file_replaces_the_damaged_object_of_its_earlier_content(
    library, catalog, through_proxy, synced, remote, damage, content, size
):
    remote(through_proxy).put("a.mp3", flipped(content))
    damage(catalog, through_proxy, "a.mp3")
    edited = library.add("a.mp3", size=size).read_bytes()

    assert synced(through_proxy).succeeded == 1
    assert remote(through_proxy).get("a.mp3") == edited
    places = rows(catalog, PLACES + " ORDER BY id", through_proxy.id)
    assert [(asset, status) for asset, status, _ in places] == [(1, "superseded"), (2, "active")]


def test_an_object_that_has_gone_is_put_anew(catalog, through_proxy, uploaded, remote, content):
    remote(through_proxy).delete("a.mp3")
    change(
        catalog,
        "UPDATE file_locations SET status = 'missing' WHERE backend_id = ?",
        through_proxy.id,
    )

    assert uploaded(through_proxy).succeeded == 1
    assert remote(through_proxy).get("a.mp3") == content
    sql = "SELECT status FROM file_locations WHERE backend_id = ?"
    assert rows(catalog, sql, through_proxy.id) == ["active"]
