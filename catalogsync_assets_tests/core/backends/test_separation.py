"""Whether two backends are one store: found by objects that are seen through both."""

import itertools

import pytest

from catalogsync_assets.core.backends import separation as separation_module
from catalogsync_assets.core.backends.separation import prove_against_others, prove_pairs
from catalogsync_assets.core.catalog.backends import register
from catalogsync_assets.core.catalog.separation import separation
from catalogsync_assets_tests.servers.rclone import rclone
from catalogsync_assets_tests.support.proxy import refusal


def found(one, other):
    """What is found out about two backends, whichever is named first."""
    (finding,) = prove_pairs([(one, other)])
    (reverse,) = prove_pairs([(other, one)])
    assert finding.verdict == reverse.verdict
    return finding.verdict


# --- the same -----------------------------------------------------------------------------------


def test_one_bucket_is_the_same_by_whatever_host_proxy_or_prefix(unregistered, store, proxy):
    at = [
        unregistered("a"),
        unregistered("b", endpoint=store.endpoint.replace("127.0.0.1", "localhost")),
        unregistered("c", endpoint=proxy.endpoint),
        unregistered("d", base_prefix=""),
        unregistered("e", base_prefix="d/below"),
    ]

    for one, other in itertools.combinations(at, 2):
        assert found(one, other) == "same"


@pytest.mark.parametrize("inside", [False, True], ids=["the store", "one bucket's folders"])
def test_a_gateway_to_a_store_is_the_same_also_where_it_shows_other_keys(
    unregistered, store, buckets, s3, tmp_path, inside
):
    """rclone caches listings: what is put past it is not seen through it for five minutes."""
    bucket = buckets[1]
    s3.put_object(Bucket=bucket, Key="inside/of/it", Body=b"x")
    remote = (
        f":s3,provider=Other,endpoint='{store.endpoint}',access_key_id={store.access_key_id},"
        f"secret_access_key={store.secret_access_key}:{bucket if inside else ''}"
    )
    with rclone(tmp_path, remote) as gateway:
        place = {"endpoint": gateway.endpoint, "provider": "other"}
        through = unregistered("through", bucket="inside" if inside else bucket, **place)
        for _ in range(2):  # at the second time it knows the folders
            assert found(through, unregistered("itself", bucket=bucket)) == "same"


def test_what_the_nodes_of_a_store_know_late_is_seen_by_the_second_look(
    unregistered, store, proxy_to, monkeypatch
):
    waited = []
    monkeypatch.setattr(separation_module.time, "sleep", waited.append)

    def node(name):
        proxy = proxy_to(store.endpoint)
        backend = unregistered(name, endpoint=proxy.endpoint)

        def not_yet(request):
            own = request.key.startswith(backend.key_prefix)
            return None if own or waited else refusal(404, "NoSuchKey")

        proxy.before.append(not_yet)
        return backend

    assert [f.verdict for f in prove_pairs([(node("one"), node("other"))])] == ["same"]
    assert len(waited) == 1


# --- apart --------------------------------------------------------------------------------------


def test_two_buckets_of_one_service_are_apart_and_nothing_is_left_in_them(
    unregistered, buckets, remote
):
    one, other = unregistered("a", bucket=buckets[1]), unregistered("b", bucket=buckets[2])

    assert found(one, other) == "apart"

    assert remote(one).keys() == remote(other).keys() == []


# --- not known ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    ["may not write", "may not list", "has no answer", "cannot be read back", "is no store"],
)
def test_what_does_not_answer_properly_is_not_proven_to_be_another_store(
    unregistered, buckets, proxy, fault
):
    def faulty(request):
        ours = "catalogsync-test" in request.key
        if fault == "may not write" and request.method == "PUT":
            return refusal(403, "AccessDenied")
        if fault == "has no answer":
            return refusal(0)
        if fault == "is no store":
            return refusal(404, "")
        own = request.key.startswith(one.key_prefix)
        if request.method == "GET" and ours and own == (fault == "cannot be read back"):
            return {
                # As AWS answers those who may read, but not list.
                "may not list": refusal(403, "AccessDenied"),
                "cannot be read back": refusal(404, "NoSuchKey"),
            }.get(fault)
        return None

    one = unregistered("one", bucket=buckets[1], endpoint=proxy.endpoint)
    other = unregistered("other", bucket=buckets[2])
    proxy.before.append(faulty)

    for pair in ((one, other), (other, one)):
        (finding,) = prove_pairs([pair])
        assert finding.verdict is None
        assert "one" in finding.why


def test_what_may_not_be_deleted_again_is_named(unregistered, buckets, proxy, remote):
    one = unregistered("one", bucket=buckets[1], endpoint=proxy.endpoint)
    proxy.answer(refusal(403, "AccessDenied"), lambda r: r.method == "DELETE")

    (finding,) = prove_pairs([(one, unregistered("other", bucket=buckets[2]))])

    assert finding.verdict == "apart"
    (left,) = remote(one).keys()
    assert finding.left_behind == (one.key_prefix + left,)


def test_without_credentials_nothing_is_proven(unregistered, buckets):
    one = unregistered("one", bucket=buckets[1])
    other = unregistered("other", bucket=buckets[2], credential_env_prefix="NOBODY")

    (finding,) = prove_pairs([(one, other)])

    assert finding.verdict is None
    assert "has no credentials" in finding.why


def test_a_backend_of_another_program_without_a_bucket_proves_nothing(unregistered, buckets):
    one = unregistered("one", bucket=buckets[1])

    (finding,) = prove_pairs([(one, unregistered("other", bucket=None))])

    assert finding.verdict is None
    assert "other" in finding.why


def test_who_may_only_read_still_shows_that_it_is_the_same(unregistered, proxy):
    reader = unregistered("reader", endpoint=proxy.endpoint)
    proxy.answer(refusal(403, "AccessDenied"), lambda r: r.method == "PUT")

    assert found(reader, unregistered("other")) == "same"


def test_a_bucket_that_is_missing_is_not_made(unregistered, buckets, s3):
    missing = unregistered("missing", bucket="no-such-bucket")

    (finding,) = prove_pairs([(missing, unregistered("other", bucket=buckets[1]))])

    assert finding.verdict is None
    assert "there is no bucket" in finding.why
    assert "no-such-bucket" not in [b["Name"] for b in s3.list_buckets()["Buckets"]]


# --- when it is found out -----------------------------------------------------------------------


def test_uploads_find_it_out_once_files_are_on_two_backends_and_never_again(
    catalog, library, uploaded, synced, backend, buckets, proxy
):
    library.fill(2)
    first = backend("first", endpoint=proxy.endpoint, bucket=buckets[1])
    second = backend("second", bucket=buckets[2])
    synced(first)
    assert separation(catalog).unproven == [("first", "second")]
    assert not [r for r in proxy.requests if "catalogsync-test" in r.key]

    uploaded(second)
    assert separation(catalog).unproven == []

    proxy.requests.clear()
    library.fill(3, folder="more")
    assert synced(second).succeeded == 3
    assert proxy.requests == []


def test_an_upload_goes_well_though_the_other_backend_is_down(
    catalog, library, uploaded, synced, backend, buckets, unused_endpoint, unregistered
):
    library.fill(2)
    first = backend("first", bucket=buckets[1])
    synced(first)
    place = {"bucket": buckets[1], "base_prefix": first.base_prefix}
    register(catalog, unregistered("first", endpoint=unused_endpoint, **place))

    assert uploaded(backend("second", bucket=buckets[2])).succeeded == 2

    assert separation(catalog).unproven == [("first", "second")]


def test_a_test_of_a_backend_corrects_what_is_no_longer_so(catalog, backend, buckets, unregistered):
    first = backend("first", bucket=buckets[1])
    second = backend("second", bucket=buckets[2])
    third = backend("third", bucket=buckets[2])
    prove_against_others(catalog, second)
    assert separation(catalog).same == [["second", "third"]]

    place = {"base_prefix": third.base_prefix, "bucket": buckets[1]}
    third, _ = register(catalog, unregistered("third", **place))
    assert separation(catalog).unproven == [("first", "third"), ("second", "third")]
    prove_against_others(catalog, third)

    assert separation(catalog).same == [["first", "third"]]
    assert separation(catalog).copies([first.id, second.id]) == 2
