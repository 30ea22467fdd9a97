"""What a test of a store finds out, and that it leaves nothing behind."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from catalogsync_assets.core.errors import (
    AccessRefusedError,
    BucketMissingError,
    KeyRefusedError,
    StoreUnavailableError,
)
from catalogsync_assets.core.stores.probe.capabilities import QUESTIONS
from catalogsync_assets.core.stores.probe.probe import ProbeResult, probe
from catalogsync_assets.core.stores.probe.session import TEST_PREFIX
from catalogsync_assets.core.stores.profile import NO_CHECKSUM, PRESETS, StoreProfile
from catalogsync_assets_tests.support.files import md5, s3_sha256
from catalogsync_assets_tests.support.proxy import Answer, refusal

SECRET = "a-secret-that-nobody-may-see"
MIB = 1024 * 1024
CAME_ALONG = {"copy_checksum", "copy_etag_is_md5"}


@pytest.fixture
def through_proxy(proxy, unregistered):
    """A backend of a service of which nothing is known."""
    return unregistered(endpoint=proxy.endpoint, provider="other")


def told(result: ProbeResult) -> dict[str, bool | None]:
    return {answer.name: answer.answer for answer in result.answers}


def detail(result: ProbeResult, name: str) -> str:
    return next(answer.detail for answer in result.answers if answer.name == name)


def has(request: Any, *headers: str) -> bool:
    """Whether a request has a header whose name begins like one of these."""
    return any(name.lower().startswith(headers) for name in request.headers)


# --- two real stores ----------------------------------------------------------------------------


def test_seaweedfs_does_everything_and_its_preset_is_right(through_proxy, remote):
    result = probe(through_proxy)

    assert result.usable
    # What it tells of a copy is what it told of the source.
    assert {name for name, answer in told(result).items() if answer is not True} == CAME_ALONG
    assert [told(result)[name] for name in CAME_ALONG] == [False, False]
    assert list(told(result)) == list(QUESTIONS)
    assert replace(result.profile, tested_at=None) == PRESETS["seaweedfs"]
    assert result.profile.tested_at
    assert remote(through_proxy).keys() == remote(through_proxy).unfinished() == []


def test_rclone_checks_neither_digests_nor_conditions(rclone, unregistered, proxy_to):
    """It gives a SHA-256 back, but has never looked at it."""
    result = probe(unregistered(endpoint=proxy_to(rclone.endpoint).endpoint, bucket=rclone.bucket))

    assert result.usable
    assert result.left_behind == []
    noes = {name for name, answer in told(result).items() if answer is False}
    assert noes == {
        *("put_sha256", "put_crc64nvme", "part_checksum", "composite"),
        *("conditional_put", "conditional_replace", "conditional_complete", "conditional_copy"),
        "conditional_delete",
        *CAME_ALONG,
    }
    assert None not in told(result).values()
    assert "not checked" in detail(result, "keeps_sha256")
    assert replace(result.profile, tested_at=None) == StoreProfile(
        put_checksum=NO_CHECKSUM,
        keeps_sha256=True,
        etag_is_md5=True,
        conditional_put=False,
        conditional_replace=False,
        multipart=True,
        part_checksum=False,
        conditional_complete=False,
        copies=True,
        conditional_copy=False,
        conditional_delete=False,
        copy_checksum=False,
        copy_etag_is_md5=False,
    )


# --- stores that are worse ----------------------------------------------------------------------


def test_a_store_that_refuses_headers_is_usable_without_them(proxy, through_proxy):
    """As Backblaze B2 has it."""

    def refuse(request):
        if has(request, "x-amz-checksum", "x-amz-sdk-checksum"):
            return refusal(400, "InvalidArgument", "Unsupported header 'x-amz-checksum-sha256'")
        if request.method != "GET" and has(request, "if-none-match", "if-match"):
            return refusal(501, "NotImplemented", "A header implies functionality")
        return None

    proxy.before.append(refuse)

    result = probe(through_proxy)

    assert result.usable
    found = replace(result.profile, tested_at=None, etag_is_md5=None, copy_etag_is_md5=None)
    assert found == PRESETS["b2"]
    assert detail(result, "put_sha256") == "refused (InvalidArgument)"
    assert detail(result, "conditional_put") == "refused (NotImplemented)"
    assert told(result)["upload"] and told(result)["names"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (204, "ignored: it is deleted"),
        (412, "it is refused, and done all the same"),
        (501, "refused (NotImplemented)"),
    ],
)
def test_a_store_that_deletes_whatever_the_condition_is_found_out(
    proxy, through_proxy, remote, answer, said
):
    def delete_anyway(request):
        if request.method != "DELETE" or not has(request, "if-match"):
            return None
        if answer == 501:
            return refusal(501, "NotImplemented")
        remote(through_proxy).delete(request.key.removeprefix(through_proxy.key_prefix))
        return refusal(412, "PreconditionFailed") if answer == 412 else Answer(204, {}, b"")

    proxy.before.append(delete_anyway)

    result = probe(through_proxy)

    assert told(result)["conditional_delete"] is False
    assert detail(result, "conditional_delete") == said


@pytest.mark.parametrize(
    ("header", "question"),
    [("if-none-match", "conditional_put"), ("if-match", "conditional_replace")],
)
def test_a_store_that_refuses_and_overwrites_all_the_same_is_found_out(
    proxy, through_proxy, remote, header, question
):
    def refuse_and_do(request):
        if request.method != "PUT" or not has(request, header) or b"must not" not in request.body:
            return None
        remote(through_proxy).put(request.key.removeprefix(through_proxy.key_prefix), request.body)
        return refusal(412, "PreconditionFailed")

    proxy.before.append(refuse_and_do)

    result = probe(through_proxy)

    assert told(result)[question] is False
    assert detail(result, question) == "it is refused, and done all the same"
    assert getattr(result.profile, question) is False


def test_a_store_that_takes_a_conditional_put_and_does_nothing_is_found_out(proxy, through_proxy):
    done = replace(refusal(200), headers={"ETag": '"1"'}, body=b"")
    proxy.answer(done, lambda r: r.method == "PUT" and b"must not" in r.body)

    result = probe(through_proxy)

    assert detail(result, "conditional_put") == "ignored: nothing is stored"
    assert result.profile.conditional_put is False


def test_a_store_that_refuses_every_conditional_put_keeps_no_conditions(proxy, through_proxy):
    proxy.answer(
        refusal(412, "PreconditionFailed"), lambda r: r.method == "PUT" and has(r, "if-none-match")
    )

    result = probe(through_proxy)

    assert result.profile.conditional_put is False
    assert told(result)["upload"]


def test_a_store_that_refuses_a_wrong_digest_and_keeps_the_object_does_not_check(
    proxy, through_proxy, remote
):
    def refuse_and_keep(request):
        if not request.key.endswith("sha256-wrong") or request.method != "PUT":
            return None
        remote(through_proxy).put(request.key.removeprefix(through_proxy.key_prefix), request.body)
        return refusal(400, "BadDigest")

    proxy.before.append(refuse_and_keep)

    result = probe(through_proxy)

    assert detail(result, "put_sha256") == "it is refused, and stored all the same"
    assert result.profile.put_checksum == "CRC64NVME"


def test_what_is_lost_of_an_object_is_named(proxy, through_proxy):
    def lose(_request, answer):
        answer.headers = {
            name: {"content-type": "binary/octet-stream", "etag": '"opaque"'}.get(
                name.lower(), value
            )
            for name, value in answer.headers.items()
            if name.lower() != "x-amz-meta-catalogsync-file"
        }

    proxy.after.append(lose)

    result = probe(through_proxy)

    assert detail(result, "metadata") == "lost: catalogsync-file"
    assert detail(result, "content_type") == "it is binary/octet-stream"
    assert result.profile.etag_is_md5 is False


def test_a_store_that_refuses_to_complete_and_does_so_all_the_same_is_found_out(
    s3, proxy, through_proxy
):
    def complete(request, answer):
        if request.completes_parts and answer.status == 412:
            upload = {
                "Bucket": through_proxy.bucket,
                "Key": request.key,
                "UploadId": request.parameters["uploadId"][0],
            }
            digests = re.findall(r"<ChecksumSHA256>(.*?)<", request.body.decode())
            chosen = [
                {"PartNumber": part["PartNumber"], "ETag": part["ETag"], "ChecksumSHA256": digest}
                for part, digest in zip(s3.list_parts(**upload)["Parts"], digests, strict=True)
            ]
            s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": chosen})

    proxy.after.append(complete)

    result = probe(through_proxy)

    assert detail(result, "conditional_complete") == "it is refused, and done all the same"
    assert result.profile.conditional_complete is False
    assert result.profile.multipart is True


def test_a_store_that_gives_up_the_parts_with_the_condition_can_still_do_parts(
    s3, proxy, through_proxy
):
    def give_up(request, answer):
        if request.completes_parts and answer.status == 412:
            s3.abort_multipart_upload(
                Bucket=through_proxy.bucket,
                Key=request.key,
                UploadId=request.parameters["uploadId"][0],
            )

    proxy.after.append(give_up)

    result = probe(through_proxy)

    assert result.profile.conditional_complete is True
    assert result.profile.multipart is True


def test_a_store_that_does_not_tell_lengths_can_still_do_parts(proxy, through_proxy):
    def hide(request, answer):
        if request.method == "HEAD":
            answer.drop_headers("content-length")
            answer.headers["Transfer-Encoding"] = "chunked"

    proxy.after.append(hide)

    assert probe(through_proxy).profile.multipart is True


def test_a_composite_that_is_another_is_no_proof(proxy, through_proxy):
    def change(request, answer):
        if request.method == "HEAD" and request.key.endswith("parts"):
            answer.replace_header("x-amz-checksum-sha256", "AAAA-2")

    proxy.after.append(change)

    assert detail(probe(through_proxy), "composite") == "it gives another digest"


# --- copies -------------------------------------------------------------------------------------


def copies(request: Any) -> bool:
    """Whether a request asks for a copy."""
    return has(request, "x-amz-copy-source")


def test_a_store_that_computes_what_it_tells_of_a_copy_is_found_out(s3, proxy, through_proxy):
    """As AWS does of an object in parts: its copy has the digests of the whole."""

    def compute(request, answer):
        if request.method == "HEAD" and request.key.endswith("/copy-of-parts"):
            content = s3.get_object(Bucket=through_proxy.bucket, Key=request.key)["Body"].read()
            answer.replace_header("etag", f'"{md5(content)}"')
            answer.drop_headers("x-amz-checksum-sha256")
            answer.headers["x-amz-checksum-sha256"] = s3_sha256(content)

    proxy.after.append(compute)

    result = probe(through_proxy)

    assert [told(result)[name] for name in CAME_ALONG] == [True, True]
    assert (result.profile.copy_checksum, result.profile.copy_etag_is_md5) == (True, True)


def test_what_was_told_of_the_source_already_is_not_taken_for_computed(s3, proxy, through_proxy):
    def know(request, answer):
        if request.method == "HEAD" and request.key.endswith(("/copy-of-parts", "/parts")):
            content = s3.get_object(Bucket=through_proxy.bucket, Key=request.key)["Body"].read()
            answer.replace_header("etag", f'"{md5(content)}"')
            answer.drop_headers("x-amz-checksum-sha256")
            answer.headers["x-amz-checksum-sha256"] = s3_sha256(content)

    proxy.after.append(know)

    result = probe(through_proxy)

    assert {detail(result, name) for name in CAME_ALONG} == {"it came along, and proves nothing"}
    assert (result.profile.copy_checksum, result.profile.copy_etag_is_md5) == (False, False)


@pytest.mark.parametrize(
    ("header", "what"),
    [
        ("x-amz-copy-source-if-match", "of the source"),
        ("if-none-match", "that nothing is there"),
        ("if-match", "of what is there"),
    ],
)
@pytest.mark.parametrize("how", ["ignored", "refused, and done all the same"])
def test_a_store_that_copies_on_a_false_condition_is_found_out(
    s3, proxy, through_proxy, header, what, how
):
    def copy_all_the_same(request, answer):
        if copies(request) and has(request, header) and answer.status == 412:
            source = {"Bucket": through_proxy.bucket, "Key": f"{request.key[:-16]}copied"}
            s3.copy_object(Bucket=through_proxy.bucket, Key=request.key, CopySource=source)
            if how == "ignored":
                answer.status, answer.body = 200, b"<CopyObjectResult/>"
                answer.replace_header("content-length", str(len(answer.body)))

    proxy.after.append(copy_all_the_same)

    result = probe(through_proxy)

    assert detail(result, "conditional_copy") == f"the condition {what} is {how}"
    assert result.profile.conditional_copy is False


@pytest.mark.parametrize(
    "answer",
    [refusal(501, "NotImplemented"), refusal(405, "MethodNotAllowed"), refusal(400, "Whatever")],
)
def test_a_store_that_cannot_copy_is_usable(proxy, through_proxy, answer):
    proxy.answer(answer, copies)

    result = probe(through_proxy)

    assert result.usable
    assert result.profile.copies is False
    assert (result.profile.conditional_copy, result.profile.copy_checksum) == (None, None)


def test_a_store_that_misreads_signs_in_a_copy_source_cannot_copy(proxy, through_proxy):
    proxy.answer(
        refusal(404, "NoSuchKey"), lambda r: "%23" in (r.header("x-amz-copy-source") or "")
    )

    result = probe(through_proxy)

    assert result.profile.copies is False
    assert "a%20b" in detail(result, "copies")


def test_a_copy_that_is_something_else_is_none(proxy, through_proxy, remote):
    def copy_another(request):
        if not copies(request):
            return None
        remote(through_proxy).put(request.key.removeprefix(through_proxy.key_prefix), b"else")
        return replace(refusal(200), body=b"<CopyObjectResult/>")

    proxy.before.append(copy_another)

    result = probe(through_proxy)

    assert detail(result, "copies") == "the copy holds something else"
    assert result.profile.copies is False


# --- answers that are not clear -----------------------------------------------------------------

ASKING: dict[str, Callable[[Any], bool]] = {
    "list": lambda r: r.method == "GET" and "list-type" in r.parameters,
    "put_sha256": lambda r: r.method == "PUT" and "/sha256-" in r.key,
    "put_crc64nvme": lambda r: r.method == "PUT" and "/crc-" in r.key,
    "keeps_sha256": lambda r: r.method == "HEAD" and r.key.endswith("/kept"),
    "conditional_put": lambda r: r.method == "PUT" and b"must not" in r.body,
    "conditional_replace": lambda r: r.method == "PUT" and r.key.endswith("/replaced"),
    "part_checksum": lambda r: r.part,
    "conditional_complete": lambda r: r.completes_parts and has(r, "if-none-match"),
    "multipart": lambda r: r.begins_parts,
    "abort": lambda r: r.method == "PUT" and r.key.endswith("/aborted"),
    "copies": copies,
    "conditional_copy": lambda r: copies(r) and "/conditional-" in r.key,
    "copy_checksum": lambda r: copies(r) and "/copy-of-" in r.key,
    "copy_etag_is_md5": lambda r: copies(r) and "/copy-of-" in r.key,
    "presigned": lambda r: "X-Amz-Signature" in r.parameters,
}


@pytest.mark.parametrize("name", ASKING)
@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (403, "AccessDenied"), (0, "")])
def test_what_is_not_answered_clearly_stays_unknown(
    proxy, through_proxy, remote, name, status, code
):
    proxy.answer(refusal(status, code), ASKING[name])

    result = probe(through_proxy)

    if (name, status) == ("presigned", 403):
        assert told(result)[name] is False  # nothing but the signature was in question
    else:
        assert told(result)[name] is None
        assert code in detail(result, name) or str(status) in detail(result, name)
    assert getattr(result.profile, name, None) is None
    assert result.usable
    assert remote(through_proxy).keys() == remote(through_proxy).unfinished() == []


def test_an_unknown_answer_leaves_the_preset_in_force(proxy, through_proxy):
    proxy.answer(refusal(503), ASKING["conditional_put"])

    found = probe(through_proxy).profile

    assert replace(through_proxy, provider="aws", tested=found).profile.conditional_put is True
    assert replace(through_proxy, provider="b2", tested=found).profile.conditional_put is False


# --- stores that cannot be used -----------------------------------------------------------------


def test_a_wrong_secret_ends_the_test_with_the_reason(through_proxy, monkeypatch):
    monkeypatch.setenv("CLOUD_SECRET_ACCESS_KEY", "wrong-" + SECRET)

    result = probe(through_proxy)

    assert isinstance(result.failure, AccessRefusedError)
    assert "CLOUD_SECRET_ACCESS_KEY" in (result.failure.hint or "")
    assert list(told(result)) == ["access"]
    assert SECRET not in str(result)


def test_a_missing_bucket_is_named(through_proxy, bucket_is_missing):
    result = probe(replace(through_proxy, bucket="no-such-bucket"))

    assert isinstance(result.failure, BucketMissingError)
    assert bucket_is_missing("no-such-bucket")


def test_no_answer_at_all_is_a_failure(through_proxy, unused_endpoint):
    result = probe(replace(through_proxy, endpoint=unused_endpoint))

    assert isinstance(result.failure, StoreUnavailableError)
    assert told(result) == {"access": None}


def test_a_key_that_may_not_read_is_of_no_use(proxy, through_proxy, remote):
    proxy.answer(refusal(403, "AccessDenied"), lambda r: r.method in ("GET", "HEAD"))

    result = probe(through_proxy)

    assert isinstance(result.failure, AccessRefusedError)
    assert list(told(result)) == ["access", "put", "read"]
    assert remote(through_proxy).keys() == []


def test_a_setting_that_the_store_refuses_is_its_reason(proxy, through_proxy):
    proxy.answer(refusal(400, "InvalidStorageClass"), lambda r: has(r, "x-amz-storage-class"))

    result = probe(replace(through_proxy, storage_class="ICE"))

    assert isinstance(result.failure, KeyRefusedError)
    assert result.failure.code == "InvalidStorageClass"


def test_a_store_that_changes_what_it_is_given_is_of_no_use(proxy, through_proxy):
    def change(request, answer):
        if request.method == "GET" and answer.status == 200:
            answer.body = answer.body.replace(b"1", b"2")

    proxy.after.append(change)

    result = probe(through_proxy)

    assert result.failure is not None
    assert result.failure.code == "Corrupted"


# --- tidying up ---------------------------------------------------------------------------------


def test_nothing_is_touched_but_what_the_test_has_written(proxy, through_proxy, remote):
    theirs = {"a.mp3": b"theirs", f"{TEST_PREFIX}of-another/plain": b"theirs too"}
    for key, content in theirs.items():
        remote(through_proxy).put(key, content)

    probe(through_proxy)

    assert remote(through_proxy).contents() == theirs
    written = {r.key for r in proxy.requests if r.method in ("PUT", "POST", "DELETE")}
    (prefix,) = {"/".join(key.split("/")[:2]) for key in written}
    assert prefix.startswith(f"{through_proxy.base_prefix}/{TEST_PREFIX}")
    assert written


@pytest.mark.parametrize(
    "name", ["read", "conditional_put", "conditional_complete", "copies", "names"]
)
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_test_that_is_stopped_cleans_up(through_proxy, remote, name, error):
    def stop(what):
        if what == QUESTIONS[name].what:
            assert remote(through_proxy).keys()
            raise error

    with pytest.raises(error):
        probe(through_proxy, progress=stop)

    assert remote(through_proxy).keys() == remote(through_proxy).unfinished() == []


def test_a_key_that_may_not_delete_is_usable_and_what_is_left_is_told(proxy, through_proxy, remote):
    proxy.answer(
        refusal(403, "AccessDenied"),
        lambda r: r.method == "DELETE" and "uploadId" not in r.parameters,
    )

    result = probe(through_proxy)

    assert result.usable
    assert told(result)["delete"] is None
    left = {through_proxy.key_prefix + key for key in remote(through_proxy).contents()}
    assert left
    assert left <= set(result.left_behind)


def test_a_deletion_that_fails_once_is_repeated(proxy, through_proxy, remote):
    failed = set()

    def fail_once(request):
        if request.method != "DELETE" or request.path in failed:
            return None
        failed.add(request.path)
        return refusal(503)

    proxy.before.append(fail_once)

    assert probe(through_proxy).left_behind == []
    assert remote(through_proxy).keys() == remote(through_proxy).unfinished() == []


def test_a_bucket_that_keeps_versions_keeps_none_of_the_test(s3, through_proxy):
    s3.create_bucket(Bucket="versions")
    s3.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket="versions", Key="theirs", Body=b"1")

    result = probe(replace(through_proxy, bucket="versions"))

    assert result.usable
    assert result.left_behind == []
    found = s3.list_object_versions(Bucket="versions")
    assert [entry["Key"] for entry in found["Versions"]] == ["theirs"]
    assert found.get("DeleteMarkers", []) == []


def test_a_test_sends_little(proxy, through_proxy):
    probe(through_proxy)

    assert len(proxy.requests) < 130
    assert sum(len(request.body) for request in proxy.requests) < 6 * MIB
