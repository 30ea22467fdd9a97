"""What is said when a store, or something before it, refuses: the cause, and what to do."""

from datetime import datetime, timedelta, timezone

import pytest

from catalogsync_assets.core.errors import ConfigurationError, RunAborted
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.probe.probe import probe
from catalogsync_assets_tests.support.proxy import Answer, refusal
from catalogsync_assets_tests.support.uploads import aborted

EARLIER = (datetime.now(timezone.utc) - timedelta(hours=3)).strftime("%Y-%m-%dT%H:%M:%SZ")


def answer(status: int, code: str, more: str = "", said: str = "no", **headers: str) -> Answer:
    body = f"<Error><Code>{code}</Code><Message>{said}</Message>{more}</Error>"
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, given, body.encode())


HERE = "in region 'eu-west-1', not in 'us-east-1'"
ELSEWHERE = "in another region, not in 'us-east-1'"
SCOPED = "Credential should be scoped to a valid region"
BLOCKED = Answer(403, {"Content-Type": "text/html"}, b"<html><title>blocked</title></html>")
#: The answer, what is said of it, and the hint.
REFUSALS = {
    "redirected without a place": (
        answer(301, "PermanentRedirect", x_amz_bucket_region="eu-west-1"),
        HERE,
        "--region eu-west-1",
    ),
    "signed for another region": (
        answer(400, "AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>"),
        HERE,
        "--region eu-west-1",
    ),
    "a region that there is not": (
        answer(400, "InvalidRegionName", said="Must be one of: weur, auto"),
        ELSEWHERE,
        "--region REGION",
    ),
    "signed for no region": (
        answer(403, "SignatureDoesNotMatch", said=SCOPED),
        ELSEWHERE,
        "--region REGION",
    ),
    "wrong clock": (
        answer(403, "RequestTimeTooSkewed", f"<ServerTime>{EARLIER}</ServerTime>"),
        "clock is 3 hours ahead of the store's",
        "clock",
    ),
    "expired token": (
        answer(400, "ExpiredToken"),
        "session token has expired",
        "CLOUD_SESSION_TOKEN",
    ),
    "full": (answer(507, "XMinioStorageFull"), "no space left", "raise the quota"),
    "controls": (answer(200, "None", ETag='"a\x01b"'), "its header cannot be read", "later"),
    "an error of the server": (
        answer(500, "InternalError", "<Message>no space left on device</Message>"),
        "InternalError",
        "later",
    ),
    "a firewall": (BLOCKED, "a page for browsers", "firewall"),
}


@pytest.mark.parametrize(("given", "message", "hint"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_names_its_cause(library, proxy, through_proxy, synced, given, message, hint):
    library.fill(4)
    proxy.answer(given)

    error = aborted(synced, through_proxy)

    assert message in error.message
    assert hint in (error.hint or "")


@pytest.mark.parametrize("status", [301, 302, 307])
def test_a_redirection_is_named_at_once(library, proxy, through_proxy, synced, status):
    library.fill(1)
    proxy.answer(answer(status, "Moved", location=f"{proxy.endpoint}/again?a=b"))

    error = aborted(synced, through_proxy)

    assert "a=b" not in str(error)
    assert "--region" in (error.hint or "")
    assert len(proxy.requests) < 20  # obstore follows ten


def test_the_hint_for_another_region_repeats_all_settings(library, proxy, backend, synced):
    library.fill(1)
    proxy.answer(answer(301, "PermanentRedirect", x_amz_bucket_region="r2"))
    cloud = backend(endpoint=proxy.endpoint, base_prefix="my music", workers=3)

    error = aborted(synced, cloud, workers=3)

    assert error.hint == (
        f"catalogsync register-object-backend --name cloud --bucket {cloud.bucket}"
        f" --endpoint {proxy.endpoint} --region r2 --base-prefix 'my music'"
        " --credential-env-prefix CLOUD --provider seaweedfs --workers 3"
    )


def test_a_proxy_that_does_not_answer_is_named_without_its_credentials(
    library, scanned, through_proxy, uploaded, unused_endpoint, monkeypatch
):
    library.fill(1)
    scanned()
    place = unused_endpoint.removeprefix("http://")
    monkeypatch.setenv("HTTP_PROXY", f"http://user:hunter2@{place}")

    error = aborted(uploaded, through_proxy)

    assert f"the proxy {place} named by HTTP_PROXY did not answer" in error.message
    assert "hunter2" not in str(error)


@pytest.mark.parametrize(
    ("no_proxy", "goes_without"),
    [
        ("*", True),
        ("example.org, 127.0.0.1", True),
        ("127.0.0.0/8", True),
        ("127.0.0.1:1", False),
        ("10.0.0.0/8,.0.0.2", False),
    ],
)
def test_both_clients_read_no_proxy_alike(
    library, scanned, through_proxy, uploaded, unused_endpoint, monkeypatch, no_proxy, goes_without
):
    library.fill(1)
    scanned()
    monkeypatch.setenv("HTTP_PROXY", unused_endpoint)
    monkeypatch.setenv("NO_PROXY", no_proxy)

    if goes_without:
        assert uploaded(through_proxy).failures == []
        assert StoreClient(through_proxy).is_versioned() is False  # by the other client
    else:
        with pytest.raises(RunAborted, match="named by HTTP_PROXY did not answer"):
            uploaded(through_proxy)


def test_a_proxy_that_is_no_address_is_wrong_use_and_is_not_repeated(through_proxy, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "user:hunter2@ some where")

    with pytest.raises(ConfigurationError, match="HTTP_PROXY names no proxy") as caught:
        StoreClient(through_proxy)

    assert "hunter2" not in str(caught.value)


def test_a_server_that_answers_yes_to_everything_is_no_store(library, proxy, through_proxy, synced):
    library.fill(2)
    proxy.answer(Answer(200, {}, b""))

    with pytest.raises(RunAborted, match="no object store"):
        synced(through_proxy)


def test_a_bucket_in_a_host_name_that_nobody_knows_hints_at_the_addressing_style(
    library, backend, synced
):
    library.fill(1)

    error = aborted(synced, backend(endpoint="http://store.invalid", addressing_style="virtual"))

    assert "--addressing-style path" in (error.hint or "")


def test_a_test_warns_only_of_what_it_wrote(proxy, through_proxy):
    proxy.answer(refusal(403, "AccessDenied"), lambda r: r.method in ("PUT", "DELETE", "HEAD"))

    result = probe(through_proxy)

    assert not result.usable
    assert result.left_behind == []
