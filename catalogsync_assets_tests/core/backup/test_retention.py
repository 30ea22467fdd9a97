"""Which snapshots stay, and that only ours go."""

import dataclasses
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalogsync_assets.core.backup.backup import back_up
from catalogsync_assets.core.backup.retention import kept, remove
from catalogsync_assets.core.backup.snapshots import Snapshot, list_snapshots, snapshot_name
from catalogsync_assets.core.catalog.backends import catalog_id
from catalogsync_assets.core.errors import StoreUnavailableError
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.profile import StoreProfile
from catalogsync_assets_tests.support.proxy import refusal

NOW = datetime(2026, 11, 27, 3, tzinfo=timezone.utc)


def night(days_ago):
    made_at = NOW - timedelta(days=days_ago)
    return Snapshot("0" * 16, made_at, made_at.isoformat(), 1, encrypted=False)


def test_a_year_of_nights_leaves_days_weeks_and_months():
    there = []
    for day in range(365, -1, -1):  # each night, as it was
        there = kept([*there, night(day)], 7, 4, 6)
    ages = [(NOW - s.made_at).days for s in there]

    assert ages[:7] == [0, 1, 2, 3, 4, 5, 6]
    assert len(ages) == 17
    weeks, months = ages[7:11], ages[11:]
    assert all(5 <= later - sooner <= 8 for sooner, later in pairwise(weeks))
    assert len({(NOW - timedelta(days=a)).month for a in months}) == 6
    assert max(ages) >= 150


@given(st.sets(st.integers(0, 800), min_size=1), st.integers(1, 9), st.integers(0, 5))
def test_the_newest_stays_and_what_stays_would_stay_again(days, last, weeks):
    there = [night(day) for day in days]
    stay = kept(there, last, weeks, 2)
    assert night(min(days)) in stay
    assert len(stay) <= last + weeks + 2
    assert {s.key for s in kept(stay, last, weeks, 2)} == {s.key for s in stay}


@pytest.fixture
def old_ones(catalog, cloud, s3):
    """Nine snapshots of nights before; their keys, oldest first."""
    owner = catalog_id(catalog)
    keys = []
    for day in range(9, 0, -1):
        name = snapshot_name(owner, NOW - timedelta(days=day), encrypted=False)
        keys.append(cloud.key_prefix + name)
        s3.put_object(
            Bucket=cloud.bucket,
            Key=keys[-1],
            Body=b"x",
            Metadata={"catalogsync-file": f"{owner}/snapshot"},
        )
    return keys


def listed(s3, backend):
    found = s3.list_objects_v2(
        Bucket=backend.bucket, Prefix=f"{backend.key_prefix}.catalogsync/catalog/"
    )
    return {entry["Key"] for entry in found["Contents"]}


def test_only_ours_go(catalog, cloud, s3, old_ones, monkeypatch):
    monkeypatch.setenv("CATALOGSYNC_SNAPSHOTS", "3,0,0")
    s3.put_object(Bucket=cloud.bucket, Key=old_ones[0], Body=b"of somebody else")
    stranger = cloud.key_prefix + snapshot_name("f" * 16, NOW, encrypted=False)
    s3.put_object(Bucket=cloud.bucket, Key=stranger, Body=b"of another catalog")
    (report,) = back_up(catalog, [cloud])

    assert report.status == "made"
    assert report.removed == 6
    assert listed(s3, cloud) == {old_ones[0], *old_ones[-2:], report.key, stranger}
    assert report.snapshots == 4


def test_what_comes_between_the_look_and_the_delete_stays(cloud, old_ones, s3, catalog):
    class Late(StoreClient):
        def call(self, what, key, operation, **arguments):
            if operation == "delete_object":
                s3.put_object(Bucket=cloud.bucket, Key=key, Body=b"of somebody else")
            return super().call(what, key, operation, **arguments)

    tested = dataclasses.replace(cloud, tested=StoreProfile(conditional_delete=True))
    client = Late(tested)
    snapshot = next(s for s in list_snapshots(client, look=False) if s.key == old_ones[0])
    assert not remove(client, snapshot, retry=_three_times)
    assert old_ones[0] in listed(s3, cloud)


def _three_times(request):
    for _ in range(2):
        with suppress(StoreUnavailableError):
            return request()
    return request()


def test_what_cannot_be_removed_is_said_and_fails_nothing(
    catalog, cloud, backend, proxy, old_ones, monkeypatch
):
    monkeypatch.setenv("CATALOGSYNC_SNAPSHOTS", "1,0,0")
    through = backend(endpoint=proxy.endpoint, base_prefix=cloud.base_prefix)
    proxy.answer(refusal(403, "AccessDenied"), lambda r: r.method == "DELETE")
    (report,) = back_up(catalog, [through], attempts=1)

    assert report.status == "made"
    assert "have not been removed" in report.warning
    assert report.removed == 0
