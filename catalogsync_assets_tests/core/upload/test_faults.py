"""Stores and networks that fail: what is retried, what ends a run, what is said."""

import os
import signal
import threading
from collections.abc import Callable

import pytest
from botocore.exceptions import ClientError

from catalogsync_assets.core.errors import (
    AccessRefusedError,
    ConfigurationError,
    StoreUnavailableError,
)
from catalogsync_assets.core.upload.buffers import Buffers
from catalogsync_assets.core.upload.upload import UploadReport
from catalogsync_assets.local_s3.store import local_store, start_local_store
from catalogsync_assets_tests.support.database import bytes_of, rows
from catalogsync_assets_tests.support.proxy import refusal
from catalogsync_assets_tests.support.uploads import aborted

Upload = Callable[..., UploadReport]
SECRET = "a-secret-that-nobody-may-see"


# --- passing faults -----------------------------------------------------------------------------


@pytest.mark.parametrize("status", [500, 503, 429, 0])
def test_a_fault_that_passes_is_retried_and_counted(
    library, proxy, through_proxy, synced, remote, status
):
    """Status 0: the connection ends without an answer."""
    library.fill(3)
    proxy.refuse(2, refusal(status, "InternalError" if status == 500 else "SlowDown"))

    report = synced(through_proxy, attempts=4)

    assert (report.succeeded, report.failed, report.retries) == (3, 0, 2)
    assert remote(through_proxy).contents() == library.contents()


@pytest.mark.usefixtures("untestable")
@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_passing_fault_of_a_look_is_retried_too(library, proxy, backend, synced, method):
    library.fill(3)
    proxy.refuse(1, refusal(503), methods=method)

    # An unknown store: one that is known need not be looked at.
    report = synced(backend(endpoint=proxy.endpoint, provider="other"), attempts=4)

    assert (report.succeeded, report.retries) == (3, 1)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_an_answer_without_a_code_of_s3_is_judged_by_its_status(
    library, proxy, through_proxy, synced, status
):
    library.fill(2)
    answer = refusal(status)
    answer.body = b"<html>Bad Gateway</html>"
    proxy.refuse(1, answer)

    assert synced(through_proxy, attempts=3).succeeded == 2


@pytest.mark.parametrize("number", [0, 5], ids=["first", "last"])
def test_a_put_whose_answer_was_lost_is_not_sent_again_as_a_conflict(
    library, proxy, through_proxy, synced, remote, number
):
    files = library.fill(6)
    proxy.lose_answer(lambda r: r.method == "PUT" and r.key.endswith(files[number].name))

    report = synced(through_proxy, workers=1, attempts=4)

    assert (report.succeeded, report.adopted, report.failed) == (6, 0, 0)
    assert remote(through_proxy).contents() == library.contents()


def test_a_replacement_whose_answer_was_lost_is_no_conflict_either(
    library, proxy, through_proxy, synced, remote
):
    library.add("a.mp3", b"first")
    synced(through_proxy)
    library.add("a.mp3", b"second")
    proxy.lose_answer(lambda r: r.method == "PUT")

    assert synced(through_proxy, attempts=4).failures == []
    assert remote(through_proxy).get("a.mp3") == b"second"


def test_tries_are_limited_and_the_file_is_tried_again_by_the_next_run(
    library, proxy, through_proxy, uploaded, synced, statuses
):
    library.fill(3)
    unlucky = f"{through_proxy.base_prefix}/album/0001.mp3"
    proxy.answer(refusal(503), lambda r: r.method == "PUT" and r.key == unlucky)

    report = synced(through_proxy, attempts=3)

    assert (report.succeeded, report.failed, report.retries) == (2, 1, 2)
    assert [r.key for r in proxy.of("PUT")].count(unlucky) == 3
    assert "SlowDown" in report.failures[0].reason
    assert "later" in report.failures[0].reason
    assert statuses() == {"succeeded": 2, "failed": 1}
    proxy.before.clear()
    assert uploaded(through_proxy).succeeded == 1


def test_a_key_that_the_store_refuses_fails_at_once_and_alone(
    library, proxy, through_proxy, synced
):
    library.fill(3)
    proxy.answer(
        refusal(400, "KeyTooLongError", "Your key is too long"),
        lambda r: r.method == "PUT" and "0001" in r.key,
    )

    report = synced(through_proxy, attempts=5)

    assert (report.succeeded, report.failed, report.retries) == (2, 1, 0)
    assert report.failures[0].code == "KeyTooLongError"
    assert "Your key is too long" in report.failures[0].reason


# --- faults that end a run ----------------------------------------------------------------------


def test_a_store_that_falls_silent_ends_the_run_and_nothing_stays_running(
    tmp_path, library, scanned, backend, proxy_to, uploaded, statuses, monkeypatch
):
    """A server of its own, killed in the middle of the run and started again."""
    monkeypatch.setenv("CLOUD_SECRET_ACCESS_KEY", "demo-secret")
    library.fill(60)
    scanned()
    with local_store(tmp_path / "store") as server:
        between = proxy_to(server.endpoint)
        cloud = backend(endpoint=between.endpoint)

        def kill_at_the_twentieth(request):
            if len(between.of("PUT")) == 20:
                os.kill(server.pid, signal.SIGKILL)

        between.before.append(kill_at_the_twentieth)
        error = aborted(uploaded, cloud)

        assert isinstance(error.cause, StoreUnavailableError)
        assert "is the server running" in (error.hint or "")
        assert error.exit_code == 1
        left = statuses()
        assert left["running"] == 0
        assert 0 < error.report.succeeded == left["succeeded"] < 60
        assert left["pending"] > 0
        between.before.clear()
        again = start_local_store(tmp_path / "store")
        report = uploaded(cloud)
        os.kill(again.pid, signal.SIGKILL)  # sooner over than a stop

        assert report.failures == []
        assert statuses() == {"succeeded": 60}
        assert report.succeeded + report.adopted == 60 - error.report.succeeded


def test_a_server_that_is_down_is_said_before_anything_is_claimed(
    library, backend, synced, unused_endpoint, statuses, catalog
):
    library.fill(3)

    error = aborted(synced, backend(endpoint=unused_endpoint))

    assert isinstance(error.cause, StoreUnavailableError)
    assert "connection refused" in error.message
    assert unused_endpoint in error.message
    assert "is the server running" in (error.hint or "")
    assert statuses() == {"pending": 3}
    assert rows(catalog, "SELECT DISTINCT attempts FROM upload_tasks") == [0]


def test_a_host_that_is_not_known_is_said(library, backend, synced):
    library.fill(1)

    error = aborted(synced, backend(endpoint="http://no-such-host.invalid"), attempts=1)

    assert isinstance(error.cause, StoreUnavailableError)
    assert "its name is not known" in error.message


def test_an_endpoint_with_the_wrong_scheme_is_explained(library, proxy, backend, synced):
    library.fill(1)
    cloud = backend(endpoint=proxy.endpoint.replace("http:", "https:"))

    error = aborted(synced, cloud, attempts=1)

    assert "does not speak TLS" in error.message


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("CLOUD_SECRET_ACCESS_KEY", "wrong-" + SECRET, "secret does not fit"),
        ("CLOUD_ACCESS_KEY_ID", "stranger", "does not know this access key"),
    ],
)
def test_wrong_credentials_end_the_run_and_are_not_repeated(
    library, catalog, cloud, synced, monkeypatch, statuses, remote, variable, value, said
):
    library.fill(3)
    monkeypatch.setenv(variable, value)

    error = aborted(synced, cloud)

    assert isinstance(error.cause, AccessRefusedError)
    assert said in error.message
    assert "CLOUD_ACCESS_KEY_ID and CLOUD_SECRET_ACCESS_KEY" in (error.hint or "")
    assert SECRET not in f"{error} {error.report} {error.cause!r}"
    assert SECRET.encode() not in bytes_of(catalog.path)
    assert statuses() == {"pending": 3}
    assert remote(cloud).keys() == []


def test_credentials_that_go_bad_in_the_middle_end_the_run(
    library, proxy, through_proxy, synced, statuses
):
    library.fill(40)
    proxy.answer(refusal(400, "ExpiredToken"), lambda r: len(proxy.of("PUT")) > 10)

    error = aborted(synced, through_proxy)

    assert isinstance(error.cause, AccessRefusedError)
    assert "expired" in error.message
    left = statuses()
    assert left["running"] == left["failed"] == 0
    assert left["succeeded"] == error.report.succeeded > 0


def test_a_denial_for_one_key_does_not_stop_the_others(library, proxy, through_proxy, synced):
    library.fill(8)
    synced(through_proxy, limit=1)
    library.add("zz.mp3")
    proxy.answer(refusal(403, "AccessDenied", "no"), lambda r: r.method == "PUT" and "zz" in r.key)

    report = synced(through_proxy, workers=1)

    assert (report.succeeded, [f.code for f in report.failures]) == (7, ["AccessDenied"])


@pytest.mark.parametrize(
    ("there", "lacking"),
    [
        ("CLOUD_ACCESS_KEY_ID", "CLOUD_SECRET_ACCESS_KEY"),
        ("CLOUD_SECRET_ACCESS_KEY", "CLOUD_ACCESS_KEY_ID"),
    ],
)
def test_one_variable_without_the_other_is_a_configuration_error(
    library, cloud, synced, monkeypatch, statuses, there, lacking
):
    library.fill(1)
    monkeypatch.delenv(lacking)

    with pytest.raises(ConfigurationError) as caught:
        synced(cloud)

    assert f"{there} is set, but {lacking} is not" in caught.value.message
    assert caught.value.hint == f"set {lacking}"
    assert caught.value.exit_code == 2
    assert SECRET not in str(caught.value)
    assert statuses() == {"pending": 1}


def test_no_credentials_anywhere_names_the_variables(library, cloud, synced, monkeypatch):
    library.fill(1)
    monkeypatch.delenv("CLOUD_ACCESS_KEY_ID")
    monkeypatch.delenv("CLOUD_SECRET_ACCESS_KEY")

    with pytest.raises(ConfigurationError, match="no credentials") as caught:
        synced(cloud)

    for name in ("CLOUD_ACCESS_KEY_ID", "CLOUD_SECRET_ACCESS_KEY"):
        assert name in (caught.value.hint or "")


def test_without_variables_the_default_chain_is_asked(
    library, cloud, synced, monkeypatch, tmp_path
):
    library.fill(2)
    monkeypatch.delenv("CLOUD_ACCESS_KEY_ID")
    monkeypatch.delenv("CLOUD_SECRET_ACCESS_KEY")
    shared = tmp_path / "credentials"
    shared.write_text(
        f"[default]\naws_access_key_id = demo\naws_secret_access_key = {SECRET}\n", encoding="utf-8"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(shared))

    assert synced(cloud).succeeded == 2


def test_a_session_token_is_sent(library, proxy, through_proxy, synced, monkeypatch):
    library.fill(1)
    monkeypatch.setenv("CLOUD_SESSION_TOKEN", "a-token")
    proxy.answer(refusal(400, "InvalidToken"))

    aborted(synced, through_proxy)

    assert proxy.requests
    assert {r.header("x-amz-security-token") for r in proxy.requests} == {"a-token"}


def test_the_secret_is_never_sent_or_written(library, catalog, proxy, through_proxy, synced):
    library.fill(2)
    synced(through_proxy)

    assert SECRET.encode() not in bytes_of(catalog.path)
    for request in proxy.requests:
        assert SECRET not in f"{request.path} {request.headers}"


# --- being told to stop -------------------------------------------------------------------------


def test_an_interrupt_records_what_is_done_and_frees_the_rest(
    library, proxy, through_proxy, uploaded, synced, statuses, remote
):
    library.fill(60)

    def interrupt(report):
        if len(proxy.of("PUT")) >= 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synced(through_proxy, progress=interrupt)

    left = statuses()
    assert left["running"] == left["failed"] == 0
    assert left["succeeded"] >= 10
    assert len(remote(through_proxy).keys()) == left["succeeded"]
    assert threading.active_count() < 20
    assert uploaded(through_proxy).succeeded == 60 - left["succeeded"]
    assert statuses() == {"succeeded": 60}


def test_an_interrupt_does_not_wait_for_retries(library, proxy, through_proxy, synced, statuses):
    library.fill(20)
    proxy.answer(refusal(503), lambda r: r.method == "PUT")

    def interrupt(report):
        if proxy.of("PUT"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synced(through_proxy, attempts=1_000, progress=interrupt)

    assert statuses()["running"] == 0


def test_the_store_tells_a_missing_key_from_a_missing_bucket(s3, store):
    """What tests above rely on."""
    with pytest.raises(ClientError, match="NoSuchKey"):
        s3.get_object(Bucket=store.bucket, Key="no such key")
    with pytest.raises(ClientError, match="NoSuchBucket"):
        s3.get_object(Bucket="no-such-bucket", Key="no such key")


@pytest.mark.parametrize("failed_tries", [0, 1])
def test_the_memory_of_a_request_that_was_given_up_is_not_used_again(
    library, proxy, through_proxy, synced, monkeypatch, failed_tries
):
    """It may still be reading it, and would send the bytes of another file."""
    library.add("a.mp3", size=1_100_000)
    proxy.refuse(failed_tries, refusal(0))
    dropped = []
    monkeypatch.setattr(Buffers, "forget", lambda _, buffer: dropped.append(len(buffer)))

    assert synced(through_proxy).succeeded == 1
    assert len(dropped) == failed_tries
