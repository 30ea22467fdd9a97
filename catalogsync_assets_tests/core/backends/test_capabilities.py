"""What an upload finds out about its store by itself, before it relies on it."""

import json
import threading
from dataclasses import replace
from typing import Any

import pytest

from catalogsync_assets.core.catalog.backends import keep_profile
from catalogsync_assets.core.catalog.upload_plan import enqueue
from catalogsync_assets.core.stores.probe.probe import probe
from catalogsync_assets.core.stores.probe.session import TEST_PREFIX
from catalogsync_assets.core.stores.profile import PRESETS
from catalogsync_assets_tests.support.database import rows
from catalogsync_assets_tests.support.proxy import Answer, Gate, refusal
from catalogsync_assets_tests.support.waiting import PATIENCE

MIB = 1024 * 1024
VERSIONS_ON = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"


@pytest.fixture
def unknown(proxy, backend):
    """A backend of a service of which nothing is known; the proxy sees its requests."""
    return backend(endpoint=proxy.endpoint, provider="other")


@pytest.fixture
def known(catalog):
    """`known(backend)`: what its row says of the store."""

    def read(backend):
        sql = "SELECT config FROM storage_backends WHERE id = ?"
        return dict(json.loads(rows(catalog, sql, backend.id)[0]).get("tested", {}))

    return read


@pytest.fixture(params=["in one put", "in parts"])
def size(request, small_parts):
    return 300 if request.param == "in one put" else 5 * MIB + 17


def is_test(request: Any) -> bool:
    return TEST_PREFIX in request.key


# --- the first upload asks ----------------------------------------------------------------------


def test_the_first_upload_asks_a_dozen_questions_once_and_looks_at_no_file(
    library, proxy, unknown, synced, remote, known
):
    library.fill(20)

    assert synced(unknown).succeeded == 20

    assert len([r for r in proxy.requests if not r.key.endswith(".mp3")]) <= 14
    assert [r.method for r in proxy.requests if r.key.endswith(".mp3")] == ["PUT"] * 20
    assert remote(unknown).contents() == library.contents()
    answers = known(unknown)
    assert (answers["put_checksum"], answers["conditional_put"]) == ("SHA256", True)
    assert "tested_at" not in answers  # `backend test` asks more
    asked = len([r for r in proxy.requests if is_test(r)])
    library.fill(2, folder="more")
    assert synced(unknown).succeeded == 2
    assert len([r for r in proxy.requests if is_test(r)]) == asked


def test_who_may_not_ask_about_versions_may_still_ask_the_rest(
    library, proxy, unknown, synced, known
):
    proxy.answer(
        refusal(403, "AccessDenied"), lambda r: {"versioning", "object-lock"} & r.parameters.keys()
    )
    library.fill(2)

    assert synced(unknown).succeeded == 2

    assert known(unknown)["put_checksum"] == "SHA256"


def test_what_an_upload_asks_weakens_no_full_test(catalog, library, unknown, synced, known):
    full = replace(PRESETS["seaweedfs"], tested_at="2026-11-01T00:00:00+00:00")
    keep_profile(catalog, unknown, replace(full, conditional_put=None))
    library.fill(1)

    synced(unknown)

    assert known(unknown) == full.known()


def test_a_kill_leaves_one_test_object_which_the_next_upload_removes(
    catalog, library, scanned, proxy, unknown, uploaded, uploading, remote
):
    library.fill(2)
    scanned()
    enqueue(catalog, unknown)
    gate = Gate(proxy, lambda r: is_test(r) and len(proxy.of("PUT")) > 3)
    process = uploading()
    gate.wait_for()
    gate.open_after_the_end_of(process)
    assert len(remote(unknown).keys()) == 1

    assert uploaded(unknown).succeeded == 2
    assert remote(unknown).contents() == library.contents()


def test_a_bucket_that_locks_what_is_put_gets_no_test_object_and_a_full_test_one(
    library, proxy, s3, backend, synced
):
    """None could be deleted for a day."""
    s3.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
    retention = {"Mode": "GOVERNANCE", "Days": 1}
    rule = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": retention}}
    s3.put_object_lock_configuration(Bucket="locked", ObjectLockConfiguration=rule)
    library.fill(2)

    locked = backend(endpoint=proxy.endpoint, provider="other", bucket="locked")

    report = synced(locked)

    assert (report.succeeded, report.failures) == (2, [])
    assert [r for r in proxy.requests if is_test(r)] == []
    assert probe(locked).usable
    assert len([r for r in proxy.requests if is_test(r) and r.method == "PUT"]) == 1


# --- ETags without quotes -----------------------------------------------------------------------


def knows_bare_etags_only(request: Any) -> Answer | None:
    """As Ceph 16."""
    if request.method in ("PUT", "POST") and (request.header("if-match") or "").startswith('"'):
        return Answer(412, {}, b"<Error><Code>PreconditionFailed</Code></Error>")
    return None


def test_a_changed_file_replaces_its_earlier_version_where_only_bare_etags_match(
    library, proxy, unknown, synced, remote, known, size
):
    proxy.before.append(knows_bare_etags_only)
    contents = [library.add("a.mp3", size=size).read_bytes() for _ in range(3)]
    refused = []
    for content in contents:
        library.add("a.mp3", content)
        assert synced(unknown).failures == []
        assert remote(unknown).get("a.mp3") == content
        refused.append(len([r for r in proxy.requests if r.status == 412 and not is_test(r)]))

    assert known(unknown)["bare_etags"] is True
    assert refused == [0, 1, 1]  # met once, and remembered


def test_a_store_that_denies_every_etag_overwrites_no_stranger(
    library, proxy, unknown, synced, remote, size
):
    library.add("a.mp3", size=size)
    synced(unknown)

    def stranger(request):
        if request.header("if-match") is None or request.method not in ("PUT", "POST"):
            return None
        remote(unknown).put("a.mp3", b"a stranger's")
        return Answer(412, {}, b"<Error><Code>PreconditionFailed</Code></Error>")

    proxy.before.append(stranger)
    library.add("a.mp3", size=size)

    assert synced(unknown).failed == 1
    assert remote(unknown).get("a.mp3") == b"a stranger's"


def test_a_changed_file_replaces_its_earlier_version_where_no_etag_matches(
    library, proxy, unknown, synced, remote, size
):
    """As Swift has it for objects in parts. A look has found the very version."""
    refusal = Answer(412, {}, b"<Error><Code>PreconditionFailed</Code></Error>")
    proxy.answer(refusal, lambda r: r.header("if-match") and r.method in ("PUT", "POST"))
    for _ in range(2):
        content = library.add("a.mp3", size=size).read_bytes()
        assert synced(unknown).failures == []

    assert remote(unknown).get("a.mp3") == content


# --- no conditions at all -----------------------------------------------------------------------


@pytest.mark.usefixtures("untestable")
def test_workers_that_learn_at_once_that_there_are_no_conditions_all_succeed(
    library, proxy, unknown, synced, known
):
    library.fill(8)
    together = threading.Barrier(4)

    def unsupported(request):
        if request.method != "PUT" or request.header("if-none-match") is None:
            return None
        together.wait(PATIENCE)
        return refusal(501, "NotImplemented")

    proxy.before.append(unsupported)

    report = synced(unknown, workers=4)

    assert (report.succeeded, report.failures) == (8, [])
    assert known(unknown)["conditional_put"] is False


def test_a_store_that_was_thought_to_have_conditions_overwrites_nothing(
    library, proxy, through_proxy, synced, remote
):
    """No look came before the put."""
    library.add("a.mp3", b"ours")
    remote(through_proxy).put("a.mp3", b"theirs")
    proxy.answer(refusal(501, "NotImplemented"), lambda r: r.header("if-none-match"))

    assert [f.code for f in synced(through_proxy).failures] == ["Conflict"]
    assert remote(through_proxy).get("a.mp3") == b"theirs"


# --- versions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("may_ask", [True, False])
def test_a_bucket_that_begins_to_keep_versions_and_ignores_conditions_overwrites_nothing(
    library, proxy, unknown, synced, remote, known, may_ask
):
    """As Ceph 16, which keeps conditions while it keeps no versions."""
    library.fill(1)
    synced(unknown)
    assert known(unknown)["conditional_put"] is True

    def with_versions(request):
        if "versioning" in request.parameters:
            return Answer(200, {}, VERSIONS_ON) if may_ask else refusal(403, "AccessDenied")
        if request.method == "PUT" and request.header("if-none-match"):
            remote(unknown).put(request.key.removeprefix(unknown.key_prefix), request.body)
            return Answer(200, {"ETag": '"1"', "x-amz-version-id": "v1"}, b"")
        return None

    proxy.before.append(with_versions)
    for name in ("a.mp3", "b.mp3"):
        library.add(name, b"ours")
    remote(unknown).put("b.mp3", b"theirs")

    report = synced(unknown, workers=1)

    assert "Conflict" in [f.code for f in report.failures]
    assert remote(unknown).get("b.mp3") == b"theirs"
    assert known(unknown).get("conditional_put") is not True
    assert known(unknown)["versioned"] is True


# --- digests ------------------------------------------------------------------------------------


def refuses_digests_of_parts(request: Any) -> Answer | None:
    """As Swift: a completion that names any is malformed."""
    if request.method == "POST" and b"ChecksumSHA256" in request.body:
        return Answer(400, {}, b"<Error><Code>MalformedXML</Code></Error>")
    return None


def gives_no_digest_back(_request: Any, answer: Answer) -> None:
    answer.drop_headers("x-amz-checksum")


def test_a_store_that_refuses_digests_in_a_completion_takes_large_files(
    library, proxy, s3, unknown, synced, remote, size
):
    def begins_without_digests(request):
        if not request.begins_parts:
            return None
        marks = {
            n[11:]: v for n, v in request.headers.items() if n.lower().startswith("x-amz-meta-")
        }
        place = {"Bucket": unknown.bucket, "Key": request.key}
        begun = s3.create_multipart_upload(**place, Metadata=marks)["UploadId"]
        return Answer(200, {}, f"<R><UploadId>{begun}</UploadId></R>".encode())

    proxy.before += [begins_without_digests, refuses_digests_of_parts]
    proxy.after.append(gives_no_digest_back)
    content = library.add("a.mp3", size=size).read_bytes()

    assert synced(unknown).failures == []
    assert remote(unknown).get("a.mp3") == content
    assert probe(unknown).profile.multipart is True


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("code", ["InvalidArgument", "NotImplemented"])
def test_a_store_that_takes_an_upload_with_digests_and_refuses_them_with_parts_takes_large_files(
    library, proxy, s3, unknown, synced, remote, known, small_parts, code
):
    def refuses(request):
        if request.header("x-amz-checksum-sha256") is not None:
            return refusal(400, code)
        if request.begins_parts:
            begun = s3.create_multipart_upload(Bucket=unknown.bucket, Key=request.key)
            return Answer(200, {}, f"<R><UploadId>{begun['UploadId']}</UploadId></R>".encode())
        return None

    proxy.before.append(refuses)
    content = library.add("a.mp3", size=17 * MIB).read_bytes()

    assert synced(unknown).failures == []
    assert remote(unknown).get("a.mp3") == content
    assert known(unknown)["part_checksum"] is False


def test_a_store_that_wants_signatures_over_all_bytes_gets_them(
    library, proxy, unknown, synced, remote, known, size
):
    proxy.answer(
        refusal(400, "InvalidRequest", "UNSIGNED-PAYLOAD is not supported"),
        lambda r: "UNSIGNED" in (r.header("x-amz-content-sha256") or ""),
    )
    content = library.add("a.mp3", size=size).read_bytes()
    library.add("b.mp3")

    assert synced(unknown).failures == []
    assert remote(unknown).get("a.mp3") == content
    assert known(unknown)["signed_payload"] is True
    result = probe(unknown)
    assert (result.usable, result.profile.signed_payload) == (True, True)


def test_a_bucket_with_object_lock_gets_the_digest_that_it_asks_for(
    library, proxy, unknown, synced, remote, known, size
):
    text = "Content-MD5 HTTP header is required for Put Part requests with Object Lock parameters"
    proxy.answer(
        refusal(400, "InvalidRequest", text),
        lambda r: r.method == "PUT" and r.header("content-md5") is None,
    )
    content = library.add("a.mp3", size=size).read_bytes()

    assert synced(unknown).failures == []
    assert remote(unknown).get("a.mp3") == content
    assert known(unknown)["needs_md5"] is True
    result = probe(unknown)
    assert (result.usable, result.profile.multipart) == (True, True)
