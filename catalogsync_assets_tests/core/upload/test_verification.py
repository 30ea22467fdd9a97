"""Nothing is recorded as active that is not known to be whole."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.objects import StoredObject
from catalogsync_assets.core.stores.verify import Expected, by_head
from catalogsync_assets_tests.support.database import rows
from catalogsync_assets_tests.support.faults import flipped
from catalogsync_assets_tests.support.proxy import Answer, refusal

HOW = "SELECT verified_by FROM file_locations WHERE backend_id = ? AND status = 'active'"


def without(*names: str) -> Callable[[Any, Any], None]:
    """Takes headers out of every answer, by the beginnings of their names."""

    def strip(_request: Any, answer: Any) -> None:
        answer.headers = {
            name: value
            for name, value in answer.headers.items()
            if not name.lower().startswith(names)
        }

    return strip


def opaque_etag(_request: Any, answer: Any) -> None:
    """As stores have it that encrypt, or that store in pieces."""
    for name in answer.headers:
        if name.lower() == "etag":
            answer.headers[name] = '"opaque-1"'


@pytest.fixture
def through_proxy(proxy, backend, untestable):
    """A backend of a service of which nothing can be found out; the proxy sees its requests."""
    return backend(endpoint=proxy.endpoint, provider="other")


def test_a_store_that_is_known_to_check_digests_is_not_asked_again(
    library, catalog, scanned, proxy, backend, uploaded
):
    library.fill(20)
    scanned()
    known = backend("known", endpoint=proxy.endpoint, provider="seaweedfs")

    uploaded(known)

    assert rows(catalog, HOW, known.id) == ["server-digest"] * 20
    assert Counter(request.method for request in proxy.requests) == {"GET": 1, "PUT": 20}


def test_a_store_of_which_nothing_is_known_is_asked_twice_before_and_once_after_each_file(
    library, catalog, proxy, through_proxy, synced
):
    """It may give back a digest that it has never checked."""
    library.fill(5)

    synced(through_proxy)

    assert rows(catalog, HOW, through_proxy.id) == ["head"] * 5
    ours = [request.method for request in proxy.requests if request.key.endswith(".mp3")]
    assert Counter(ours) == {"PUT": 5, "HEAD": 15}


def test_a_store_that_keeps_no_digests_is_verified_by_a_look(
    library, catalog, proxy, through_proxy, synced
):
    library.fill(5)
    proxy.after.append(without("x-amz-checksum"))

    assert synced(through_proxy).succeeded == 5
    assert rows(catalog, HOW, through_proxy.id) == ["head"] * 5


def test_a_store_that_tells_nothing_is_verified_by_reading(
    library, catalog, proxy, through_proxy, synced
):
    library.fill(5)
    proxy.after += [without("x-amz-checksum"), opaque_etag]

    assert synced(through_proxy).succeeded == 5
    assert rows(catalog, HOW, through_proxy.id) == ["read"] * 5
    assert len(proxy.of("GET")) >= 5


def test_a_store_that_may_not_be_asked_for_digests_is_asked_without(
    library, proxy, through_proxy, synced
):
    """It answers 400 to the header, as Backblaze B2 has; that is met once, not for each file."""
    library.fill(5)

    asks = lambda r: r.header("x-amz-checksum-mode")  # noqa: E731
    proxy.answer(refusal(400), asks)

    assert synced(through_proxy, workers=1).succeeded == 5
    asked = [request for request in proxy.requests if asks(request)]
    assert len([request for request in asked if request.key.endswith(".mp3")]) == 1


def test_what_is_found_in_a_store_without_digests_is_compared_by_reading(
    library, proxy, through_proxy, synced, remote
):
    library.add("same.mp3", b"same")
    library.add("other.mp3", b"ours")
    remote(through_proxy).put("same.mp3", b"same")
    remote(through_proxy).put("other.mp3", b"them")
    proxy.after += [without("x-amz-checksum"), opaque_etag]

    report = synced(through_proxy)

    assert (report.adopted, [f.code for f in report.failures]) == (1, ["Conflict"])
    assert remote(through_proxy).get("other.mp3") == b"them"


def test_our_earlier_version_is_known_in_a_store_without_digests(
    library, proxy, through_proxy, synced, remote
):
    proxy.after.append(without("x-amz-checksum"))
    for content in (b"first", b"second"):
        library.add("a.mp3", content)
        assert synced(through_proxy).failures == []

    assert remote(through_proxy).get("a.mp3") == b"second"


def test_a_network_that_damages_what_is_sent_records_nothing(
    library, catalog, proxy, through_proxy, synced, remote
):
    library.fill(3)

    def damage(request):
        if request.method == "PUT" and "0001" in request.key:
            request.body = flipped(request.body)

    proxy.before.append(damage)

    report = synced(through_proxy, attempts=3)

    assert (report.succeeded, report.failed, report.retries) == (2, 1, 2)
    assert len(rows(catalog, HOW, through_proxy.id)) == 2
    assert remote(through_proxy).keys() == ["album/0000.mp3", "album/0002.mp3"]


def test_a_network_that_damages_once_is_overcome(library, proxy, through_proxy, synced, remote):
    library.fill(2)
    damaged = []

    def damage_once(request):
        if request.method == "PUT" and request.key not in damaged:
            damaged.append(request.key)
            request.body = flipped(request.body)

    proxy.before.append(damage_once)

    report = synced(through_proxy, attempts=4)

    assert (report.succeeded, report.retries) == (2, 2)
    assert remote(through_proxy).contents() == library.contents()


@pytest.mark.parametrize(
    "signs",
    [
        pytest.param([], id="with digests"),
        pytest.param([without("x-amz-checksum")], id="with etags"),
        pytest.param([without("x-amz-checksum"), opaque_etag], id="with nothing"),
    ],
)
def test_a_store_that_keeps_something_else_than_it_was_sent_records_nothing(
    library, catalog, proxy, through_proxy, synced, remote, statuses, signs
):
    """It accepts the put, and what it then holds has another byte."""
    library.add("a.mp3")

    def rot(request, answer):
        if request.method == "PUT" and answer.status == 200:
            remote(through_proxy).put("a.mp3", flipped(request.body), ChecksumAlgorithm="SHA256")

    proxy.after += [rot, *signs]

    assert [failure.code for failure in synced(through_proxy).failures] == ["Corrupted"]
    assert rows(catalog, HOW, through_proxy.id) == []
    assert statuses() == {"failed": 1}


def test_a_store_that_forgets_what_it_was_sent_records_nothing(
    library, catalog, proxy, through_proxy, synced, remote
):
    """There is no object that a person could look at, or delete."""
    library.add("a.mp3")
    proxy.after.append(
        lambda request, _: (
            remote(through_proxy).delete("a.mp3") if request.method == "PUT" else None
        )
    )

    assert [failure.code for failure in synced(through_proxy).failures] == ["BadAnswer"]
    assert rows(catalog, HOW, through_proxy.id) == []


def test_a_yes_that_was_not_the_stores_is_not_believed_and_the_file_sent_again(
    library, proxy, through_proxy, synced, remote
):
    """As the login page of a network gives it, with the status of a success."""
    library.add("a.mp3")
    proxy.refuse(1, Answer(200, {"Content-Type": "text/html"}, b"<html>log in</html>"))

    report = synced(through_proxy)

    assert (report.succeeded, report.failed) == (1, 0)
    assert remote(through_proxy).keys() == ["a.mp3"]


@pytest.mark.parametrize(
    ("etag", "matches"),
    [
        ('"900150983cd24fb0d6963f7d28e17f72"', True),
        ("900150983cd24fb0d6963f7d28e17f72", True),
        ('"900150983cd24fb0d6963f7d28e17f73"', False),
        ('"900150983cd24fb0d6963f7d28e17f72-1"', False),
        ('"opaque"', False),
        ("", False),
        (None, False),
    ],
)
def test_an_etag_counts_only_where_it_is_the_md5(cloud, etag, matches):
    found = StoredObject(3, etag or "", sha256=None, composite_sha256=None)
    expected = Expected(
        size_bytes=3, etags={hashlib.md5(b"abc", usedforsecurity=False).hexdigest()}
    )

    assert (by_head(StoreClient(cloud), found, expected) == "head") is matches
