"""Uploads in parts that were cut short: what arrived is not sent again, and nothing is left."""

import re
from typing import Any

import pytest

from catalogsync_assets.core.catalog.upload_plan import enqueue
from catalogsync_assets.core.errors import RunAborted
from catalogsync_assets.core.stores.profile import StoreProfile
from catalogsync_assets.core.upload import multipart
from catalogsync_assets_tests.support.database import change, rows
from catalogsync_assets_tests.support.files import flipped
from catalogsync_assets_tests.support.proxy import Gate, refusal
from catalogsync_assets_tests.support.uploads import SIZE
from catalogsync_assets_tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("small_parts")
MIB = 1024 * 1024
PARTS = {1: 5 * MIB, 2: 5 * MIB, 3: 2 * MIB + 345}
HOW = "SELECT verified_by FROM file_locations WHERE status = 'active' AND backend_id = ?"
JOURNAL = "SELECT * FROM multipart_uploads"
JOURNALLED_PARTS = "SELECT part_number FROM multipart_parts ORDER BY part_number"

pytestmark = pytest.mark.usefixtures("small_parts")

#: The same for a process of its own as `small_parts` is for this one.
_UPLOAD = f"""
import sys
from catalogsync_assets.core.catalog.backends import backend_by_name
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.upload.upload import Limits, upload
catalog = Catalog.open(sys.argv[1])
limits = Limits(single_put_bytes={MIB}, part_bytes={5 * MIB})
upload(catalog, backend_by_name(catalog, "cloud"), limits=limits)
"""


@pytest.fixture
def cut_short(catalog, large, proxy, uploaded):
    """`cut_short(backend)`: parts 1 and 3 have arrived, then the store was away; the upload id."""

    def cut(backend):
        proxy.answer(refusal(503), lambda r: r.part == 2)
        report = uploaded(backend)
        assert (report.failed, report.retryable, report.bytes) == (1, True, 0)
        assert rows(catalog, JOURNALLED_PARTS) == [1, 3]
        proxy.before.clear()
        proxy.requests.clear()
        (upload_id,) = rows(catalog, "SELECT upload_id FROM multipart_uploads")
        return str(upload_id)

    return cut


def sent(proxy: Any) -> dict[int, int]:
    """The parts that the proxy has seen, with their bytes."""
    return {n: len(r.body) for r in proxy.requests if (n := r.part)}


def is_listing(request: Any) -> bool:
    return request.method == "GET" and "uploadId" in request.parameters


def reads(proxy: Any) -> list[Any]:
    """The requests that read the object itself."""
    found = proxy.of("GET")
    return [r for r in found if r.key.endswith("large.flac") and not r.parameters]


# --- killed -------------------------------------------------------------------------------------


def test_a_killed_upload_goes_on_from_the_parts_that_arrived(
    library, catalog, scanned, proxy, through_proxy, start_command, command, remote, nothing_is_left
):
    """In its real sizes: ten parts of 8 MiB. The answer to the fifth was still on its way."""
    content = library.add("large.flac", size=72 * MIB + 5).read_bytes()
    scanned()
    gate = Gate(proxy, lambda r: (r.part or 0) > 5, answer=refusal(0))
    proxy.after.append(lambda r, _: gate.hold() if r.part == 5 else None)
    arguments = ("upload", "--backend", "cloud", "--db", catalog.path)
    process = start_command(*arguments)
    proxy.wait_until(lambda: len(proxy.of("PUT")) == 9)
    until(lambda: rows(catalog, JOURNALLED_PARTS) == [1, 2, 3, 4])
    (upload_id,) = rows(catalog, "SELECT upload_id FROM multipart_uploads")
    until(lambda: remote(through_proxy).parts("large.flac", upload_id) == [1, 2, 3, 4, 5])
    gate.open_after_the_end_of(process)

    outcome = command(*arguments, "--json")

    assert outcome.code == 0, outcome.err
    last = {6: 8 * MIB, 7: 8 * MIB, 8: 8 * MIB, 9: 8 * MIB, 10: 5}
    assert sent(proxy) == last
    assert outcome.json["bytes"] == sum(last.values())
    assert remote(through_proxy).get("large.flac") == content
    assert rows(catalog, HOW, through_proxy.id) == ["server-digest"]
    assert not any(r.begins_parts for r in proxy.requests)
    nothing_is_left(through_proxy)


@pytest.mark.parametrize("part_mib", [5, 6], ids=["same program", "other part size by now"])
@pytest.mark.parametrize("provider", ["seaweedfs", "b2"])
def test_a_kill_after_the_completion_costs_no_download(
    catalog, large, proxy, backend, start_python, uploaded, monkeypatch, provider, part_mib, arrived
):
    cloud = backend(endpoint=proxy.endpoint, provider=provider)
    enqueue(catalog, cloud)
    completed = []
    proxy.after.append(lambda r, _: completed.append(True) if r.completes_parts else None)
    gate = Gate(proxy, lambda r: r.method == "HEAD" and completed, answer=refusal(0))
    process = start_python(_UPLOAD, catalog.path)
    gate.wait_for()
    gate.open_after_the_end_of(process)
    assert len(rows(catalog, JOURNAL)) == 1

    report = uploaded(cloud, part_bytes=part_mib * MIB)

    assert (report.adopted, report.failures, report.bytes) == (1, [], 0)
    assert reads(proxy) == proxy.of("PUT") == proxy.of("POST") == []
    assert rows(catalog, HOW, cloud.id) == ["head"]
    arrived(cloud)


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("provider", ["seaweedfs", "b2"])
def test_a_kill_before_the_row_costs_no_download(
    catalog, proxy, backend, uploaded, nothing_is_left, provider
):
    cloud = backend(endpoint=proxy.endpoint, provider=provider)
    uploaded(cloud)
    nothing_is_left(cloud)
    change(catalog, "DELETE FROM file_locations WHERE backend_id = ?", cloud.id)
    change(catalog, "UPDATE file_assets SET sha256 = NULL")
    proxy.requests.clear()

    assert uploaded(cloud).adopted == 1
    assert reads(proxy) == proxy.of("PUT") == proxy.of("POST") == []
    assert rows(catalog, HOW, cloud.id) == ["head"]


# --- a store that was away ----------------------------------------------------------------------


@pytest.mark.parametrize("provider", ["seaweedfs", "b2", "other"])
def test_an_outage_leaves_what_arrived_and_the_next_run_sends_the_rest(
    proxy, backend, cut_short, uploaded, provider, arrived
):
    cloud = backend(endpoint=proxy.endpoint, provider=provider)
    cut_short(cloud)

    report = uploaded(cloud)

    assert (report.succeeded, report.failures, report.bytes) == (1, [], PARTS[2])
    assert sent(proxy) == {2: PARTS[2]}
    arrived(cloud)


def test_an_outage_at_the_completion_costs_no_part(large, proxy, through_proxy, uploaded, arrived):
    proxy.answer(refusal(503), lambda r: r.completes_parts)
    assert uploaded(through_proxy).failed == 1
    proxy.before.clear()
    proxy.requests.clear()

    report = uploaded(through_proxy)

    assert (report.succeeded, report.bytes, sent(proxy)) == (1, 0, {})
    arrived(through_proxy)


@pytest.mark.usefixtures("large")
def test_an_interrupt_leaves_the_file_queued_and_what_arrived(
    catalog, proxy, through_proxy, uploaded, statuses, arrived
):
    proxy.answer(refusal(503), lambda r: r.part == 2)

    def interrupt(_):
        if rows(catalog, JOURNALLED_PARTS) == [1, 3]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        uploaded(through_proxy, attempts=10_000, progress=interrupt)

    assert statuses() == {"pending": 1}
    proxy.before.clear()
    proxy.requests.clear()
    assert uploaded(through_proxy).bytes == PARTS[2]
    assert sent(proxy) == {2: PARTS[2]}
    arrived(through_proxy)


def test_a_run_that_is_stopped_begins_no_further_part(
    library, proxy, through_proxy, synced, statuses
):
    library.add("large.flac", size=60 * MIB)
    gate = Gate(proxy, lambda r: (r.part or 0) > 1)

    def interrupt(_):
        if len(sent(proxy)) >= multipart.PARTS_IN_FLIGHT:
            gate.open()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synced(through_proxy, progress=interrupt)

    assert statuses() == {"pending": 1}
    assert len(sent(proxy)) < 12
    assert not any(r.completes_parts for r in proxy.requests)


# --- what was begun is of no use any more -------------------------------------------------------


def test_a_source_that_changed_is_begun_anew(
    library, proxy, through_proxy, cut_short, synced, arrived
):
    upload_id = cut_short(through_proxy)
    library.add("large.flac", size=SIZE)

    report = synced(through_proxy)

    assert (report.succeeded, report.failures, report.bytes) == (1, [], SIZE)
    assert [r.parameters["uploadId"] for r in proxy.of("DELETE")] == [[upload_id]]
    assert sent(proxy) == PARTS
    arrived(through_proxy)


def test_a_file_that_no_scan_has_met_since_is_begun_anew_by_its_time(
    library, catalog, proxy, through_proxy, cut_short, uploaded, arrived
):
    """As in a database of another program: the catalog knows no mtime to compare."""
    cut_short(through_proxy)
    change(catalog, "UPDATE file_locations SET mtime_ns = NULL")
    library.add("large.flac", size=SIZE)

    assert uploaded(through_proxy).failures == []
    assert sent(proxy) == PARTS
    arrived(through_proxy)


def test_an_upload_that_the_store_let_expire_is_begun_anew(
    s3, proxy, through_proxy, cut_short, uploaded, arrived
):
    key = f"{through_proxy.key_prefix}large.flac"
    s3.abort_multipart_upload(
        Bucket=through_proxy.bucket, Key=key, UploadId=cut_short(through_proxy)
    )

    report = uploaded(through_proxy)

    assert (report.succeeded, report.failures) == (1, [])
    assert sent(proxy) == PARTS
    arrived(through_proxy)


def test_without_leave_to_list_parts_an_upload_is_begun_anew(
    proxy, through_proxy, cut_short, uploaded, arrived
):
    """Listing parts is a permission of its own on AWS."""
    cut_short(through_proxy)
    proxy.answer(refusal(403, "AccessDenied"), is_listing)

    assert uploaded(through_proxy).failures == []

    assert sent(proxy) == PARTS
    arrived(through_proxy)


def test_credentials_that_expire_leave_what_arrived(
    proxy, through_proxy, cut_short, uploaded, arrived
):
    cut_short(through_proxy)
    proxy.answer(refusal(400, "ExpiredToken"), lambda r: r.parameters and r.method != "HEAD")
    with pytest.raises(RunAborted):
        uploaded(through_proxy)
    proxy.before.clear()

    assert uploaded(through_proxy).bytes == PARTS[2]
    arrived(through_proxy)


@pytest.mark.parametrize("at", ["part", "completion"])
def test_an_upload_that_is_aborted_from_outside_is_begun_anew(
    large, catalog, s3, proxy, through_proxy, uploaded, at, arrived
):
    aborted = []

    def abort_once(request):
        hit = request.part == 2 if at == "part" else request.completes_parts
        if hit and not aborted:
            aborted.extend(rows(catalog, "SELECT upload_id FROM multipart_uploads"))
            s3.abort_multipart_upload(
                Bucket=through_proxy.bucket, Key=request.key, UploadId=aborted[0]
            )

    proxy.before.append(abort_once)

    report = uploaded(through_proxy)

    assert (report.succeeded, report.failures) == (1, [])
    assert len([r for r in proxy.requests if r.begins_parts]) == 2
    arrived(through_proxy)


@pytest.mark.parametrize("then", ["goes on", "changed", "refused"])
def test_an_upload_of_another_program_to_the_same_key_is_never_aborted(
    catalog, library, scanned, s3, proxy, through_proxy, cut_short, uploaded, remote, then
):
    place = {"Bucket": through_proxy.bucket, "Key": f"{through_proxy.key_prefix}large.flac"}
    theirs = s3.create_multipart_upload(**place)["UploadId"]
    s3.upload_part(**place, UploadId=theirs, PartNumber=1, Body=b"theirs")
    cut_short(through_proxy)
    if then == "changed":
        library.add("large.flac", size=SIZE)
        scanned()
    if then == "refused":
        proxy.answer(refusal(400, "InvalidPart"), lambda r: r.completes_parts)

    assert uploaded(through_proxy).failed == (then == "refused")

    assert remote(through_proxy).unfinished() == [place["Key"]]
    assert remote(through_proxy).parts("large.flac", theirs) == [1]
    assert rows(catalog, JOURNAL) == []
    s3.abort_multipart_upload(**place, UploadId=theirs)


# --- parts that are not what they should be -----------------------------------------------------


@pytest.mark.parametrize("provider", ["seaweedfs", "b2"])
@pytest.mark.parametrize("what", ["ETag", "Size"])
def test_a_part_that_is_not_what_was_sent_is_sent_again(
    large, proxy, backend, cut_short, uploaded, remote, provider, what
):
    """The first of the parts that the store lists has another digest, or another size."""
    cloud = backend(endpoint=proxy.endpoint, provider=provider)
    cut_short(cloud)

    def alter(request, answer):
        if is_listing(request):
            # The last digits; an ETag is in quotes, however they are written.
            pattern = rb"[0-9a-f]{3}([^0-9a-f]*\d*;?</%s>)" % what.encode()
            answer.body = re.sub(pattern, rb"444\1", answer.body, count=1)

    proxy.after.append(alter)

    assert uploaded(cloud).failures == []

    assert sent(proxy) == {1: PARTS[1], 2: PARTS[2]}
    assert remote(cloud).get("large.flac") == large


def test_a_part_that_another_hand_replaced_does_not_get_into_the_object(
    large, s3, through_proxy, cut_short, uploaded, remote
):
    s3.upload_part(
        Bucket=through_proxy.bucket,
        Key=f"{through_proxy.key_prefix}large.flac",
        UploadId=cut_short(through_proxy),
        PartNumber=1,
        Body=b"x" * PARTS[1],
        ChecksumAlgorithm="SHA256",
    )

    assert uploaded(through_proxy).failures == []
    assert remote(through_proxy).get("large.flac") == large


def test_a_part_that_the_store_does_not_list_is_sent_again(
    large, proxy, through_proxy, cut_short, uploaded, remote
):
    cut_short(through_proxy)

    def hide_the_first(request, answer):
        if is_listing(request):
            answer.body = answer.body.replace(b"<PartNumber>1<", b"<PartNumber>9<")

    proxy.after.append(hide_the_first)

    assert uploaded(through_proxy).failures == []
    assert sent(proxy) == {1: PARTS[1], 2: PARTS[2]}
    assert remote(through_proxy).get("large.flac") == large


def test_parts_of_a_file_that_changed_unseen_are_sent_again(
    library, large, proxy, through_proxy, cut_short, uploaded, remote
):
    """Size and mtime are the same: only the digest that was noted tells."""
    cut_short(through_proxy)
    library.rewrite("large.flac", flipped(large))

    assert uploaded(through_proxy).failures == []

    assert sent(proxy) == {1: PARTS[1], 2: PARTS[2]}
    assert remote(through_proxy).contents() == library.contents()


@pytest.mark.usefixtures("large")
def test_a_list_of_parts_is_read_to_its_end(proxy, through_proxy, cut_short, uploaded):
    cut_short(through_proxy)

    def end_after_the_first(request, answer):
        if is_listing(request) and not listings():
            head, _, rest = answer.body.partition(b"<Part>")
            first, _, rest = rest.partition(b"</Part>")
            more = b"<IsTruncated>true</IsTruncated><NextPartNumberMarker>1</NextPartNumberMarker>"
            head = head.replace(b"<IsTruncated>false</IsTruncated>", b"")
            tail = b"</ListPartsResult>"
            answer.body = head + b"<Part>" + first + b"</Part>" + more + tail
            answer.headers["Content-Length"] = str(len(answer.body))

    def listings():
        return [r for r in proxy.of("GET") if "part-number-marker" in r.parameters]

    proxy.after.append(end_after_the_first)

    assert uploaded(through_proxy).failures == []

    assert [r.parameters["part-number-marker"] for r in listings()] == [["1"]]
    assert sent(proxy) == {2: PARTS[2]}


# --- stores that can do less --------------------------------------------------------------------


def test_a_store_without_checksums_is_sent_none_and_verified_by_its_etag(
    catalog, large, proxy, backend, uploaded, remote
):
    cloud = backend(endpoint=proxy.endpoint, provider="b2")

    assert uploaded(cloud).succeeded == 1

    assert remote(cloud).get("large.flac") == large
    assert rows(catalog, HOW, cloud.id) == ["head"]
    assert reads(proxy) == []
    for request in proxy.requests:
        names = " ".join(request.headers).lower()
        assert request.method == "HEAD" or "checksum" not in names
        assert b"Checksum" not in request.body[:10_000]
        assert "if-none-match" not in names


def test_an_object_that_no_digest_tells_of_is_read_back(catalog, large, proxy, backend, uploaded):
    cloud = backend(endpoint=proxy.endpoint, provider="b2")

    proxy.after.append(
        lambda r, a: a.replace_header("etag", '"opaque-3"') if r.method == "HEAD" else None
    )

    assert uploaded(cloud).succeeded == 1
    assert rows(catalog, HOW, cloud.id) == ["read"]
    assert len(reads(proxy)) == 1
    assert len(large) == SIZE


def test_an_unknown_store_that_refuses_checksums_is_sent_none(
    large, proxy, backend, cut_short, uploaded, remote
):
    """Also by the run that goes on, which does not know what the first one learned."""
    cloud = backend(endpoint=proxy.endpoint, provider="other")

    def sends_checksums(request):
        return request.header("x-amz-checksum-algorithm") or request.header("x-amz-checksum-sha256")

    proxy.answer(refusal(400, "InvalidArgument", "Unsupported header"), sends_checksums)
    cut_short(cloud)
    proxy.answer(refusal(400, "InvalidArgument", "Unsupported header"), sends_checksums)

    report = uploaded(cloud)

    assert (report.succeeded, report.failures) == (1, [])
    assert sent(proxy) == {2: PARTS[2]}
    assert remote(cloud).get("large.flac") == large


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("provider", ["other", "b2"])
def test_a_store_without_conditions_is_looked_at_before_the_completion(
    library, proxy, backend, uploaded, synced, remote, provider
):
    cloud = backend(endpoint=proxy.endpoint, provider=provider)
    proxy.answer(
        refusal(501, "NotImplemented"), lambda r: r.header("if-none-match") or r.header("if-match")
    )
    assert uploaded(cloud).failures == []
    library.add("large.flac", size=7 * MIB)

    assert synced(cloud).failures == []
    assert remote(cloud).contents() == library.contents()


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("provider", ["other", "b2"])
def test_a_stranger_who_comes_first_is_not_overwritten_without_conditions_either(
    proxy, backend, uploaded, remote, nothing_is_left, provider
):
    """Nor where nobody knows whether the store keeps them."""
    cloud = backend(endpoint=proxy.endpoint, provider=provider)
    proxy.before.append(
        lambda r: remote(cloud).put("large.flac", b"theirs") if r.part == 3 else None
    )

    assert [failure.code for failure in uploaded(cloud).failures] == ["Conflict"]
    assert not any(r.completes_parts for r in proxy.requests)
    assert remote(cloud).get("large.flac") == b"theirs"
    nothing_is_left(cloud)


@pytest.mark.usefixtures("large")
def test_a_store_that_takes_no_parts_is_said_before_anything_is_sent(
    library, proxy, backend, synced
):
    library.add("small.flac")

    report = synced(backend(endpoint=proxy.endpoint, tested=StoreProfile(multipart=False)))

    assert (report.succeeded, [f.code for f in report.failures]) == (1, ["TooLarge"])
    assert "backend test" in report.failures[0].reason
    assert not any(r.begins_parts for r in proxy.requests)


# --- nothing is left in the end -----------------------------------------------------------------


@pytest.mark.parametrize("fate", ["deleted", "small now", "planned away"])
def test_what_no_task_will_complete_is_aborted_by_the_next_run(
    catalog, library, scanned, through_proxy, cut_short, uploaded, nothing_is_left, fate
):
    cut_short(through_proxy)
    if fate == "deleted":
        library.add("another.flac")
        (library.root / "large.flac").unlink()
        scanned()
    elif fate == "small now":
        library.add("large.flac", size=300)
        scanned()
    else:
        change(catalog, "DELETE FROM upload_tasks")
        change(catalog, "UPDATE file_assets SET superseded_by_id = id")

    assert uploaded(through_proxy).failures == []
    nothing_is_left(through_proxy)


@pytest.mark.usefixtures("large")
def test_what_cannot_be_aborted_now_is_left_to_another_run(
    catalog, library, proxy, through_proxy, cut_short, uploaded, synced, nothing_is_left
):
    cut_short(through_proxy)
    library.add("large.flac", size=300)
    proxy.answer(refusal(503), lambda r: r.method == "DELETE")
    assert synced(through_proxy).succeeded == 1
    assert len(rows(catalog, JOURNAL)) == 1
    proxy.before.clear()

    uploaded(through_proxy)

    nothing_is_left(through_proxy)


def test_an_object_that_came_from_elsewhere_ends_what_was_begun(
    large, through_proxy, cut_short, uploaded, remote, nothing_is_left
):
    cut_short(through_proxy)
    remote(through_proxy).put("large.flac", large)

    assert uploaded(through_proxy).adopted == 1
    nothing_is_left(through_proxy)
