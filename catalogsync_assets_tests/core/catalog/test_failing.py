"""Since when a backend cannot be worked with, and how often it is tried then."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from catalogsync_assets.core.adopt.adopt import adopt
from catalogsync_assets.core.audit.audit import AuditRequest, audit
from catalogsync_assets.core.catalog.backends import backend_by_name
from catalogsync_assets.core.catalog.failing import Failing, failing, resting
from catalogsync_assets.core.catalog.status import backend_status
from catalogsync_assets.core.errors import ConfigurationError, RunAborted
from catalogsync_assets.core.upload.limits import Limits
from catalogsync_assets_tests.support.database import change, move_backend, rows
from catalogsync_assets_tests.support.proxy import refusal

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=timezone.utc)
SINCE = "2026-01-05 03:00:00"


def hours(count):
    return timedelta(hours=count)


@pytest.fixture
def filled(library, scanned):
    library.fill(2)
    scanned()


@pytest.fixture
def cloud(backend, proxy):
    return backend(endpoint=proxy.endpoint)


def since(catalog):
    (found,) = rows(
        catalog, "SELECT failing_since FROM storage_backends WHERE backend_type <> 'local'"
    )
    return found


@pytest.mark.parametrize(
    "answer",
    [
        refusal(403, "InvalidAccessKeyId"),
        refusal(404, "NoSuchBucket"),
        refusal(503),
    ],
    ids=["credentials", "bucket", "silent"],
)
def test_a_run_that_fails_as_a_whole_is_noted_and_one_that_works_takes_it_back(
    catalog, cloud, proxy, filled, uploaded, answer
):
    proxy.answer(answer)
    with pytest.raises(RunAborted):
        uploaded(cloud, attempts=1, workers=1)
    (found,) = failing(catalog)
    assert found.backend == "cloud"
    assert abs(datetime.now(timezone.utc) - found.since) < timedelta(minutes=5)

    change(catalog, "UPDATE storage_backends SET failing_since = ?", SINCE)
    with pytest.raises(RunAborted):
        uploaded(cloud, attempts=1, workers=1)
    assert since(catalog) == SINCE
    assert backend_status(catalog)[-1].failing_since == SINCE

    proxy.before.clear()
    uploaded(cloud)
    assert failing(catalog) == []


def test_missing_credentials_are_noted(catalog, cloud, filled, uploaded, monkeypatch):
    monkeypatch.delenv("CLOUD_ACCESS_KEY_ID")
    monkeypatch.delenv("CLOUD_SECRET_ACCESS_KEY")

    with pytest.raises(ConfigurationError):
        uploaded(cloud)

    assert since(catalog)


def test_a_file_that_fails_says_nothing_of_its_backend(catalog, cloud, proxy, filled, uploaded):
    change(catalog, "UPDATE storage_backends SET failing_since = ?", SINCE)
    proxy.answer(refusal(400, "InvalidArgument"), lambda r: r.method == "PUT" and "album" in r.key)

    assert uploaded(cloud).failed == 2

    assert since(catalog) is None


def test_an_adoption_takes_it_back(catalog, backend, cloud, filled, uploaded):
    uploaded(cloud)
    again = backend("again", base_prefix=cloud.base_prefix)
    change(catalog, "UPDATE storage_backends SET failing_since = ?", SINCE)

    assert adopt(catalog, again).adopted == 2

    assert [b.backend for b in failing(catalog)] == ["cloud"]


def test_an_audit_tells_as_well(catalog, cloud, store, filled, uploaded, unused_endpoint):
    uploaded(cloud)
    move_backend(catalog, cloud, unused_endpoint)

    def audited():
        here = backend_by_name(catalog, "cloud")
        return audit(catalog, here, AuditRequest(), limits=Limits(workers=1, attempts=1))

    with pytest.raises(RunAborted):
        audited()
    assert since(catalog)

    move_backend(catalog, cloud, store.endpoint)
    audited()
    assert since(catalog) is None


@pytest.mark.parametrize(
    ("age", "pause", "words"),
    [
        (5.9, 0, "has failed since 2026-01-05 06:06 UTC"),
        (6, 1, "has failed since 2026-01-05 06:00 UTC, and is tried once every hour by itself"),
        (23.9, 1, None),
        (24, 6, "has failed since 2026-01-04 12:00 UTC, and is tried once every 6 hours by itself"),
    ],
)
def test_pauses_grow(age, pause, words):
    found = Failing("cloud", NOW - hours(age))

    assert found.pause(NOW) == hours(pause)
    assert words in (None, found.in_words(NOW))


def test_when_the_pauses_begin_is_a_setting(catalog, cloud, monkeypatch):
    change(catalog, "UPDATE storage_backends SET failing_since = ?", SINCE)
    assert [b.backend for b in resting(catalog, NOW)] == ["cloud"]

    monkeypatch.setenv("CATALOGSYNC_FAILING_HOURS", "10")
    assert resting(catalog, NOW) == []

    monkeypatch.setenv("CATALOGSYNC_FAILING_HOURS", "soon")
    with pytest.raises(ConfigurationError, match="'soon', which is not a number of hours"):
        resting(catalog, NOW)
