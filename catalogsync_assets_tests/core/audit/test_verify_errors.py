"""A store that refuses, is silent, or is another one: nothing is marked, the audit can go on."""

import pytest

from catalogsync_assets.core.audit import record
from catalogsync_assets.core.audit.audit import history
from catalogsync_assets.core.errors import RunAborted
from catalogsync_assets_tests.support.database import rows
from catalogsync_assets_tests.support.proxy import refusal

LEVELS = ("listing", "head", "full")


@pytest.fixture
def twenty(library, through_proxy, synced):
    """A backend with twenty files."""
    library.fill(20)
    synced(through_proxy)
    return through_proxy


@pytest.fixture
def nothing_is_marked(catalog):
    sql = "SELECT DISTINCT status FROM file_locations WHERE backend_id = ?"
    return lambda backend: rows(catalog, sql, backend.id) == ["active"]


@pytest.fixture
def stops(verified, nothing_is_marked):
    """`stops(backend, level, "no answer")`: an audit ends with this error, and marks nothing."""

    def check(backend, level, match):
        with pytest.raises(RunAborted, match=match) as error:
            verified(backend, level)
        assert nothing_is_marked(backend)
        return error.value

    return check


@pytest.mark.parametrize("level", LEVELS)
def test_a_wrong_secret_marks_nothing(twenty, catalog, stops, monkeypatch, level):
    monkeypatch.setenv("CLOUD_SECRET_ACCESS_KEY", "wrong")

    stops(twenty, level, "the secret does not fit")
    assert history(catalog)[0].status == "interrupted"


@pytest.mark.parametrize("level", LEVELS)
def test_a_store_that_is_not_there_marks_nothing(twenty, backend, stops, unused_endpoint, level):
    away = backend(endpoint=unused_endpoint, base_prefix=twenty.base_prefix)

    stops(away, level, "no answer")


@pytest.mark.parametrize("level", ["head", "full"])
def test_a_refusal_of_everything_is_one_error_and_never_missing(twenty, proxy, stops, level):
    """As from credentials that may list, but not read."""
    proxy.answer(refusal(403, "AccessDenied"))

    stops(twenty, level, "access denied")


@pytest.mark.parametrize("level", ["head", "full"])
def test_a_refusal_of_one_key_is_a_finding_that_marks_nothing(
    twenty, proxy, verified, nothing_is_marked, level
):
    proxy.answer(refusal(403, "AccessDenied"), lambda r: r.key.endswith("0000.mp3"))

    report = verified(twenty, level)

    assert (report.ok, report.unreadable, report.lost, report.open) == (19, 1, 0, 1)
    assert [f.kind for f in report.findings] == ["unreadable"]
    assert nothing_is_marked(twenty)


@pytest.mark.parametrize("level", ["head", "full"])
def test_a_bare_404_is_not_missing(twenty, proxy, verified, nothing_is_marked, level):
    """As from a server that is no object store."""

    def not_found(request, answer):
        answer.status, answer.body = 404, b"<html>not here</html>"
        answer.headers = {"Content-Length": str(len(answer.body))}

    proxy.after.append(not_found)

    report = verified(twenty, level)

    assert (report.unreadable, report.missing) == (20, 0)
    assert nothing_is_marked(twenty)


@pytest.mark.parametrize("level", LEVELS)
def test_a_bucket_that_is_deleted_meanwhile_is_not_missing_objects(
    twenty, proxy, remote, stops, level
):
    """A HEAD answers 404 for a missing bucket as for a missing object."""
    remote(twenty).delete("album/0000.mp3")
    proxy.answer(refusal(404, "NoSuchBucket"), lambda r: r.key.endswith(".mp3"))

    stops(twenty, level, "there is no bucket")


@pytest.mark.parametrize("level", LEVELS)
def test_a_store_without_any_of_many_files_looks_like_another_one(
    library, catalog, cloud, synced, verified, remote, stops, monkeypatch, level
):
    monkeypatch.setattr(record, "_IMPLAUSIBLE", 10)
    library.fill(15, size=5)
    synced(cloud)
    for key in remote(cloud).keys():  # noqa: SIM118
        remote(cloud).delete(key)

    error = stops(cloud, level, r"holds none of the first 1\d files")
    assert "--allow-empty" in (error.hint or "")
    assert error.report.missing == 0

    report = verified(cloud, level, allow_empty=True)

    assert (report.resumed, report.missing) == (True, 15)
    assert rows(
        catalog, "SELECT DISTINCT status FROM file_locations WHERE backend_id = ?", cloud.id
    ) == ["missing"]


@pytest.mark.parametrize("level", LEVELS)
def test_a_complaint_that_passes_is_tried_again(twenty, proxy, verified, level):
    key = "" if level == "listing" else "0003.mp3"
    left = [1]

    def once(request):
        with proxy.lock:
            hit = request.key.endswith(key) if key else "list-type" in request.parameters
            if not hit or not left[0]:
                return None
            left[0] -= 1
        return refusal(503)

    proxy.before.append(once)

    report = verified(twenty, level)

    assert (report.ok, report.retries, report.open) == (20, 1, 0)


def test_another_object_that_cannot_be_read_to_its_end_is_unreadable_and_not_damaged(
    twenty, proxy, verified, nothing_is_marked
):
    """A connection that ends in the middle of a body, each time."""

    def cut(request, answer):
        if request.key.endswith("0003.mp3") and request.method == "GET":
            answer.body = answer.body[:-10]
            answer.headers["Content-Length"] = str(len(answer.body) + 10)
            answer.headers["Connection"] = "close"

    proxy.after.append(cut)

    report = verified(twenty, "full")

    assert (report.ok, report.unreadable, report.lost) == (19, 1, 0)
    assert nothing_is_marked(twenty)
