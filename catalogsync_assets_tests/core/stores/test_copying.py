"""Copies by stores that refuse, misread or ignore what a copy is asked with; what proves a copy.

That every real store copies right is in the suite of stores.
"""

from dataclasses import replace

import pytest

from catalogsync_assets.core.backends.capabilities import make_sure_of_copies
from catalogsync_assets.core.catalog.backends import backend_by_name
from catalogsync_assets.core.errors import (
    AccessRefusedError,
    ConflictError,
    KeyRefusedError,
    StoreUnavailableError,
)
from catalogsync_assets.core.stores import copying, verify
from catalogsync_assets.core.stores.client import ANY_VERSION, StoreClient
from catalogsync_assets.core.stores.copying import SOURCE_CHANGED, copy
from catalogsync_assets.core.stores.objects import ObjectMetadata
from catalogsync_assets.core.stores.profile import StoreProfile
from catalogsync_assets.core.stores.verify import Expected
from catalogsync_assets_tests.support.files import flipped, md5, sha256
from catalogsync_assets_tests.support.proxy import Answer, refusal

CONTENT = b"one of our files"
OURS = ObjectMetadata("audio/flac", "catalog/1", sha256=sha256(CONTENT))
EXPECTED = Expected(sha256(CONTENT), len(CONTENT), etags={md5(CONTENT)})
REFUSED = refusal(412, "PreconditionFailed")
UNKNOWN = refusal(501, "NotImplemented")
CONDITIONS = ("if-none-match", "if-match")
SOURCE = "x-amz-copy-source-if-match"


def copies(request):
    return request.method == "PUT" and request.header("x-amz-copy-source") is not None


def has(request, *headers):
    return copies(request) and any(request.header(name) is not None for name in headers)


@pytest.fixture
def store_of(proxy, unregistered, remote):
    """`store_of(copies=True)`: a client of a store that is known to do so, with an `a.flac`."""
    clients = []

    def make(provider="other", **known):
        tested = StoreProfile(**known)
        backend = unregistered(endpoint=proxy.endpoint, provider=provider, tested=tested)
        client = StoreClient(backend)
        clients.append(client)
        client.put(f"{backend.key_prefix}a.flac", CONTENT, OURS, replacing=None)
        return client

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def run(remote):
    """`run(client, replacing=…)` copies `a.flac` to `b.flac`."""

    def run(client, **more):
        prefix = client.backend.key_prefix
        given = {"source_etag": f'"{md5(CONTENT)}"', "replacing": None, "size_bytes": 16, **more}
        return copy(client, f"{prefix}a.flac", f"{prefix}b.flac", **given)

    return run


def proven(client):
    return verify.after_copy(client, f"{client.backend.key_prefix}b.flac", EXPECTED)


# --- answers


@pytest.mark.parametrize(
    ("code", "error"),
    [("InternalError", StoreUnavailableError), ("AccessDenied", AccessRefusedError)],
)
def test_an_error_with_the_status_of_a_success_is_an_error(store_of, run, proxy, code, error):
    """AWS begins to answer before it has copied."""
    client = store_of()
    said = b'<?xml version="1.0"?><Error><Code>%s</Code></Error>' % code.encode()
    proxy.answer(Answer(200, {"Content-Type": "application/xml"}, said), copies)

    with pytest.raises(error) as caught:
        run(client)

    assert caught.value.code == code


def test_an_answer_that_names_no_copy_proves_nothing(store_of, run, proxy):
    client = store_of()
    proxy.answer(Answer(200, {}, b""), copies)

    assert run(client) is None
    assert proven(client) is None


@pytest.mark.parametrize("answer", [refusal(503), refusal(0)])
def test_a_store_that_is_silent_may_be_asked_again(store_of, run, proxy, answer):
    client = store_of()
    proxy.refuse(1, answer, which=copies)

    with pytest.raises(StoreUnavailableError):
        run(client)

    assert run(client) == f'"{md5(CONTENT)}"'


# --- conditions


def test_a_store_that_knows_no_condition_on_the_target_is_looked_at(store_of, run, proxy, remote):
    """As Swift; what is said of the source is said all the same."""
    client = store_of()
    proxy.answer(UNKNOWN, lambda r: has(r, *CONDITIONS))

    assert run(client) is not None

    assert client.profile.conditional_copy is False
    assert [has(r, SOURCE) for r in proxy.requests if copies(r)] == [True, True]
    remote(client.backend).put("b.flac", b"theirs")
    with pytest.raises(ConflictError):
        run(client)
    assert remote(client.backend).get("b.flac") == b"theirs"


def test_a_store_that_knows_no_condition_at_all_copies_without(store_of, run, proxy):
    client = store_of()
    proxy.answer(UNKNOWN, lambda r: has(r, SOURCE, *CONDITIONS))

    assert run(client) is not None
    assert client.profile.copies is None


def test_a_store_that_knows_no_copies_is_remembered(store_of, run, proxy):
    client = store_of(copies=True)
    proxy.answer(UNKNOWN, copies)

    with pytest.raises(KeyRefusedError):
        run(client)

    assert client.profile.copies is False


def test_etags_are_taken_without_their_quotes(store_of, run, proxy, remote):
    client = store_of(copies=True, conditional_copy=True)
    remote(client.backend).put("b.flac", b"ours")
    proxy.answer(
        REFUSED, lambda r: copies(r) and '"' in (r.header(SOURCE) or r.header("if-match") or "")
    )

    assert run(client, replacing=f'"{md5(b"ours")}"') is not None

    assert remote(client.backend).get("b.flac") == CONTENT


def test_a_store_that_denies_every_etag_copies_what_two_looks_have_shown(
    store_of, run, proxy, remote
):
    client = store_of(copies=True, conditional_copy=True)
    remote(client.backend).put("b.flac", b"ours")
    proxy.answer(REFUSED, lambda r: has(r, SOURCE, "if-match"))

    assert run(client, replacing=f'"{md5(b"ours")}"') is not None

    assert remote(client.backend).get("b.flac") == CONTENT
    assert client.profile.conditional_copy is False


def test_what_comes_after_the_looks_stays_though_the_store_denies_the_source(
    store_of, run, proxy, remote
):
    client = store_of(copies=True, conditional_copy=True)

    def come(request):
        if not copies(request):
            return None
        if has(request, SOURCE):
            return REFUSED
        remote(client.backend).put("b.flac", b"theirs")
        return None

    proxy.before.append(come)

    with pytest.raises(ConflictError):
        run(client)

    assert remote(client.backend).get("b.flac") == b"theirs"


def test_two_writers_at_once_are_for_another_try(store_of, run, proxy, remote):
    client = store_of(copies=True, conditional_copy=True)
    proxy.answer(refusal(409, "ConditionalRequestConflict"), copies)

    with pytest.raises(StoreUnavailableError):
        run(client)

    assert len([r for r in proxy.requests if copies(r)]) == 1


def test_any_version_is_replaced_where_the_store_gives_none(store_of, run, remote):
    client = store_of(copies=True, conditional_copy=True)
    remote(client.backend).put("b.flac", b"ours")

    run(client, replacing=ANY_VERSION)

    assert remote(client.backend).get("b.flac") == CONTENT


def test_a_boto3_that_names_no_conditions_has_both_keys_looked_at(
    store_of, run, proxy, remote, monkeypatch
):
    client = store_of(copies=True, conditional_copy=True)
    monkeypatch.setattr(StoreClient, "arguments_of", lambda *_: ("CopySourceIfMatch",))
    remote(client.backend).put("b.flac", b"theirs")

    with pytest.raises(ConflictError):
        run(client)

    assert not any(copies(r) for r in proxy.requests)
    remote(client.backend).delete("b.flac")
    assert run(client) is not None


def test_a_store_that_keeps_conditions_is_asked_once(store_of, run, proxy):
    client = store_of(copies=True, conditional_copy=True)
    proxy.requests.clear()

    run(client)

    assert [r.method for r in proxy.requests] == ["PUT"]


def test_one_look_that_was_spoilt_does_not_make_the_source_another(store_of, run, proxy):
    client = store_of()
    left = [1]

    def spoil(request, answer):
        if request.method == "HEAD" and request.key.endswith("a.flac") and left:
            left.pop()
            answer.replace_header("etag", '"another"')

    proxy.after.append(spoil)

    with pytest.raises(StoreUnavailableError):
        run(client)
    assert run(client) is not None


def test_a_bucket_that_keeps_versions_by_now_is_noticed(s3, unregistered, remote, run):
    s3.create_bucket(Bucket="versions-of-copies")
    known = StoreProfile(copies=True, conditional_copy=True)
    client = StoreClient(unregistered(bucket="versions-of-copies", tested=known))
    remote(client.backend).put("a.flac", CONTENT)
    s3.put_bucket_versioning(
        Bucket="versions-of-copies", VersioningConfiguration={"Status": "Enabled"}
    )

    run(client)

    assert client.profile.versioned is True
    assert client.backend.tested.conditional_copy is None


# --- what is said of a copy


def test_a_copy_is_kept_as_a_put_is(store_of, run, proxy):
    client = store_of()
    client.backend = replace(client.backend, storage_class="STANDARD", cache_control="max-age=5")

    run(client)
    run(client, metadata=OURS, replacing=f'"{md5(CONTENT)}"')

    kept, new = [r for r in proxy.requests if copies(r)]
    said = ("x-amz-metadata-directive", "x-amz-storage-class", "cache-control")
    assert [kept.header(name) for name in said] == ["COPY", "STANDARD", None]
    assert [new.header(name) for name in said] == ["REPLACE", "STANDARD", "max-age=5"]
    assert new.header("x-amz-meta-catalogsync-file") == "catalog/1"


def test_a_copy_that_was_begun_in_parts_is_named_before_its_first_part(
    store_of, proxy, remote, run, monkeypatch
):
    """So that a kill leaves nothing that is not known."""
    client = store_of()
    monkeypatch.setattr(copying, "LARGEST", 1)
    begun = []

    def begin(upload_id):
        assert not any(r.part for r in proxy.requests)
        begun.append(upload_id)

    run(client, begun=begin)

    (completed,) = [r for r in proxy.requests if r.completes_parts]
    assert completed.parameters["uploadId"] == begun
    assert remote(client.backend).get("b.flac") == CONTENT


def test_a_source_that_changes_while_its_parts_are_copied_gives_no_copy(
    store_of, proxy, remote, run, monkeypatch
):
    """On a store that keeps no condition on the source of a part."""
    client = store_of(conditional_copy=False)
    monkeypatch.setattr(copying, "LARGEST", 1)

    def change(request, _answer):
        if copies(request):
            remote(client.backend).put("a.flac", flipped(CONTENT))

    proxy.after.append(change)

    with pytest.raises(KeyRefusedError) as caught:
        run(client)

    assert caught.value.code == SOURCE_CHANGED
    assert remote(client.backend).keys() == ["a.flac"]
    assert remote(client.backend).unfinished() == []


@pytest.mark.parametrize("answer", [REFUSED, UNKNOWN])
def test_a_store_that_takes_no_condition_on_the_source_of_a_part_copies_without(
    store_of, proxy, remote, run, monkeypatch, answer
):
    client = store_of()
    monkeypatch.setattr(copying, "LARGEST", 1)
    proxy.answer(answer, lambda r: r.part and has(r, SOURCE))

    run(client)

    assert remote(client.backend).get("b.flac") == CONTENT


# --- what proves a copy


@pytest.mark.parametrize(
    ("known", "proof"),
    [
        ({}, "read"),
        ({"copy_checksum": False, "copy_etag_is_md5": False}, "read"),
        ({"copy_checksum": True}, "head"),
        ({"copy_etag_is_md5": True}, "head"),
    ],
)
def test_a_look_proves_a_copy_where_the_store_computes_what_it_tells(
    store_of, run, proxy, known, proof
):
    """Whatever it was seen to check and to keep of what is put."""
    client = store_of("seaweedfs", **known)
    run(client)
    proxy.requests.clear()

    assert proven(client) == (f'"{md5(CONTENT)}"', proof)

    assert {r.method for r in proxy.requests} == {"HEAD"} | ({"GET"} if proof == "read" else set())


@pytest.mark.parametrize("known", [{"copy_checksum": True}, {"copy_etag_is_md5": True}])
@pytest.mark.parametrize("content", [flipped(CONTENT), CONTENT[:-1], b""])
def test_a_bad_copy_is_told_though_a_look_would_prove_a_good_one(
    store_of, run, remote, known, content
):
    client = store_of("seaweedfs", **known)
    run(client)
    remote(client.backend).put("b.flac", content)

    with pytest.raises(KeyRefusedError) as caught:
        proven(client)

    assert caught.value.code == "Corrupted"


def test_a_checksum_is_asked_for_where_the_store_computes_one(store_of, run, proxy):
    run(store_of(copy_checksum=True))

    (asked,) = [r for r in proxy.requests if copies(r)]
    assert asked.header("x-amz-checksum-algorithm") == "SHA256"


def test_no_checksum_is_asked_for_where_that_is_not_known(store_of, run, proxy):
    """Some stores refuse the header."""
    run(store_of())

    (asked,) = [r for r in proxy.requests if copies(r)]
    assert asked.header("x-amz-checksum-algorithm") is None


def test_a_read_that_was_spoilt_once_is_no_bad_copy(store_of, run, proxy):
    client = store_of()
    run(client)
    proxy.spoil_answers(lambda r: r.method == "GET", times=1)

    assert proven(client) == (f'"{md5(CONTENT)}"', "read")


# --- whether the store can


def test_whether_a_store_can_copy_is_asked_once_and_kept(catalog, backend, proxy, remote):
    client = StoreClient(backend(endpoint=proxy.endpoint, provider="other"))

    make_sure_of_copies(catalog, client)

    assert (client.profile.copies, client.profile.conditional_copy) == (True, True)
    kept = backend_by_name(catalog, "cloud").tested
    assert (kept.copies, kept.conditional_copy) == (True, True)
    assert remote(client.backend).keys() == []
    proxy.requests.clear()
    make_sure_of_copies(catalog, client)
    assert proxy.requests == []


@pytest.mark.parametrize("answer", [refusal(503), refusal(403, "AccessDenied")])
def test_what_a_store_does_not_answer_stays_unknown(catalog, backend, proxy, remote, answer):
    client = StoreClient(backend(endpoint=proxy.endpoint, provider="other"))
    proxy.answer(answer, copies)

    make_sure_of_copies(catalog, client)

    assert client.profile.copies is None
    assert remote(client.backend).keys() == []
