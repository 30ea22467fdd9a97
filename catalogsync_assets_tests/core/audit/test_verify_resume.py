"""Audits that were cut short: they go on, redo nothing that is recorded, and find the same."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from catalogsync_assets.core.audit.audit import AuditReport, history
from catalogsync_assets.core.errors import RunAborted, StoreUnavailableError
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets_tests.support.database import change, rows
from catalogsync_assets_tests.support.faults import Faults
from catalogsync_assets_tests.support.proxy import Answer, Gate, refusal
from catalogsync_assets_tests.support.waiting import until

Verify = Callable[..., AuditReport]
LEVELS = ("listing", "head", "full")


@pytest.fixture
def forty(library, through_proxy, synced):
    """A backend with forty files."""
    library.fill(40, size=30)
    synced(through_proxy)
    return through_proxy


@pytest.fixture
def faults(forty, remote):
    return Faults(remote(forty), 4)


class Silence:
    """Lets so many looks at objects pass; afterwards the store is silent."""

    def __init__(self, proxy: Any, passing: int) -> None:
        self._proxy = proxy
        self._passing: int | None = passing
        proxy.before.append(self._rule)

    def _rule(self, request: Any) -> Any:
        with self._proxy.lock:
            if self._passing is None:
                return None
            self._passing -= request.key.endswith(".mp3")
            silent = self._passing < 0
        return Answer(0, {}, b"") if silent else None

    def end(self) -> None:
        with self._proxy.lock:
            self._passing = None


def kinds(report: AuditReport) -> Counter[str]:
    return Counter(f.kind for f in report.findings)


def asked(proxy: Any, since: int) -> list[str]:
    """The keys of all requests since there were so many."""
    return [r.key for r in proxy.requests[since:] if r.key.endswith(".mp3")]


@pytest.mark.parametrize("level", LEVELS)
def test_an_audit_whose_store_fell_silent_goes_on_and_finds_the_same(
    forty, faults, catalog, proxy, verified, level
):
    silence = Silence(proxy, passing=4 if level == "listing" else 20)
    with pytest.raises(RunAborted, match="no answer") as stopped:
        verified(forty, level)
    assert history(catalog)[0].status == "interrupted"
    half = stopped.value.report
    assert 0 < half.checked < 40
    (position,) = rows(catalog, "SELECT position FROM audits")
    silence.end()
    before = len(proxy.requests)

    report = verified(forty, level)

    assert (report.resumed, report.audit_id) == (True, half.audit_id)
    expected = {"missing": 4, "size": 4}
    expected |= {} if level == "listing" else {"content": 4}
    expected |= {"foreign": 4} if level == "listing" else {}
    assert kinds(report) == expected
    assert report.checked == 40
    if level == "listing":
        listings = [r for r in proxy.requests[before:] if "list-type" in r.parameters]
        assert [r.parameters["start-after"] for r in listings] == [[position]]
        # What was looked at before is not looked at again.
        assert len({*asked(proxy, before)}) == 8 - (half.missing + half.size)
    else:
        # Beside the rest, only what could not be looked at while the store went away.
        again = {key for key in asked(proxy, before) if key <= position}
        assert again == {f.key for f in half.findings if f.kind == "unreadable"}


def test_what_comes_behind_an_error_is_not_recorded_without_it(forty, proxy, verified):
    left = [1]

    def once(request):
        with proxy.lock:
            left[0] -= request.key.endswith("0003.mp3")
            hit = request.key.endswith("0003.mp3") and left[0] == 0
            return refusal(403, "InvalidAccessKeyId") if hit else None

    proxy.before.append(once)
    with pytest.raises(RunAborted, match="access key"):
        verified(forty, "full")
    left[0] = -1
    before = len(proxy.requests)

    report = verified(forty, "full")

    assert (report.resumed, report.checked, report.ok) == (True, 40, 40)
    assert f"{forty.key_prefix}album/0003.mp3" in asked(proxy, before)


def test_a_listing_that_broke_off_goes_on_behind_its_last_page(
    forty, faults, verified, monkeypatch, catalog
):
    """With pages of five, as 40 objects are one page."""
    whole = StoreClient.list_pages
    asked_after = []
    left = [4]

    def pages(client, after=None):
        asked_after.append(after)
        found = [o for page in whole(client, after=after) for o in page]
        for start in range(0, len(found), 5):
            left[0] -= 1
            if left[0] < 0:
                raise StoreUnavailableError("gone", code="NoAnswer")
            yield found[start : start + 5]

    monkeypatch.setattr(StoreClient, "list_pages", pages)
    with pytest.raises(RunAborted, match="gone"):
        verified(forty)
    first = history(catalog)[0]
    left[0] = 1_000
    asked_after.clear()

    report = verified(forty)

    assert (report.resumed, report.audit_id) == (True, first.id)
    assert first.counts["listed"] == 19  # and an object of our own, which does not count
    assert asked_after[0] is not None
    assert kinds(report) == {"missing": 4, "size": 4, "foreign": 4}
    assert (report.ok, report.listed) == (32, 40)


@pytest.mark.parametrize("level", LEVELS)
def test_an_audit_that_was_killed_goes_on_and_finds_the_same(
    forty, faults, catalog, proxy, start_command, command, level
):
    passing = 6 if level == "listing" else 24
    gate = Gate(proxy, lambda r: r.key.endswith(".mp3"), passing=passing)
    # One at a time: what is recorded goes in the order of the keys, and of two workers the one with
    # the first key could be the one that is held.
    arguments = ("verify", "--backend", "cloud", "--level", level, "--workers", 1)
    arguments += ("--db", catalog.path)
    process = start_command(*arguments)
    gate.wait_for()
    until(lambda: rows(catalog, "SELECT 1 FROM audit_findings WHERE kind <> 'foreign'"))
    process.end()
    (position,) = rows(catalog, "SELECT position FROM audits")
    (status,) = rows(catalog, "SELECT status FROM audits")
    recorded = rows(catalog, "SELECT locator FROM audit_findings WHERE kind <> 'foreign'")
    assert recorded
    assert status == "running"
    gate.open()
    before = len(proxy.requests)

    outcome = command(*arguments, "--json")

    assert outcome.code == 1
    report = outcome.json
    assert report["resumed"] is True
    found = Counter(f["kind"] for f in report["findings"])
    if level == "listing":
        assert found == {"missing": 4, "size": 4, "foreign": 4}
    else:
        assert found == {"missing": 4, "size": 4, "content": 4}
        assert min(asked(proxy, before)) > position
    assert (report["checked"], report["ok"]) == (40, 32 if level == "listing" else 28)
    assert not {*recorded} & {*asked(proxy, before)}
    assert rows(catalog, "SELECT status FROM audits") == ["complete"]


def test_a_sample_is_the_same_after_an_interruption(forty, proxy, verified):
    """Else some would be left out, and others looked at for nothing."""
    silence = Silence(proxy, passing=8)
    with pytest.raises(RunAborted):
        verified(forty, "head", sample_percent=50.0)
    silence.end()
    half = verified(forty, "head", sample_percent=50.0)
    assert half.resumed
    start = len(proxy.requests)

    verified(forty, "head", sample_percent=50.0, anew=True)

    from catalogsync_assets.core.audit.audit import draw

    keys = [f"{forty.key_prefix}album/{i:04d}.mp3" for i in range(40)]
    assert half.checked == sum(draw(half.audit_id, key) < 50 for key in keys)
    assert {*asked(proxy, start)} != {k for k in keys if draw(half.audit_id, k) < 50}


def interrupted(backend: ObjectBackend, proxy: Any, verified: Verify, **options: Any) -> int:
    silence = Silence(proxy, passing=20)
    with pytest.raises(RunAborted) as stopped:
        verified(backend, "head", **options)
    silence.end()
    return stopped.value.report.audit_id


@pytest.mark.parametrize(
    "other",
    [{"anew": True}, {"sample_percent": 50.0}, {"since": datetime(2030, 1, 1)}],  # noqa: DTZ001
)
def test_other_terms_begin_anew(forty, proxy, verified, other):
    first = interrupted(forty, proxy, verified)

    report = verified(forty, "head", **other)

    assert not report.resumed
    assert report.audit_id != first


def test_an_age_that_is_counted_from_now_goes_on(forty, proxy, verified, catalog):
    """`--since 30d`, an hour later, is another moment and the same request."""
    change(catalog, "UPDATE file_locations SET verified_at = NULL")
    now = datetime.now(timezone.utc).replace(tzinfo=None)
    first = interrupted(forty, proxy, verified, since=now - timedelta(days=30))
    change(catalog, "UPDATE audits SET started_at = ?, since = ?",
           (now - timedelta(hours=1)).strftime("%Y-%m-%d %H:%M:%S"),
           (now - timedelta(days=30, hours=1)).strftime("%Y-%m-%d %H:%M:%S.%f"))  # fmt: skip

    report = verified(forty, "head", since=now - timedelta(days=30))

    assert (report.resumed, report.audit_id, report.checked) == (True, first, 40)


def test_one_that_was_interrupted_long_ago_is_begun_anew(forty, proxy, verified, catalog):
    interrupted(forty, proxy, verified)
    change(catalog, "UPDATE audits SET started_at = '2020-01-01 00:00:00'")

    assert not verified(forty, "head").resumed


def test_one_that_another_process_works_on_is_left_alone(forty, proxy, verified, catalog):
    from catalogsync_assets.core.runner.owners import new_owner

    first = interrupted(forty, proxy, verified)
    change(catalog, "UPDATE audits SET status = 'running', owner = ?", new_owner())

    report = verified(forty, "head")

    assert (report.resumed, report.checked) == (False, 40)
    assert report.audit_id != first


def test_a_repair_that_was_cut_short_goes_on(forty, faults, proxy, verified):
    left = [3]

    def rule(request):
        with proxy.lock:
            if request.method != "PUT":
                return None
            left[0] -= 1
            return refusal(403, "InvalidAccessKeyId") if left[0] < 0 else None

    proxy.before.append(rule)
    with pytest.raises(RunAborted, match="access key"):
        verified(forty, "full", repair=True)
    left[0] = 10_000
    before = len(proxy.requests)

    report = verified(forty, "full", repair=True)

    assert (report.resumed, report.lost, report.repaired, report.open) == (True, 12, 12, 0)
    touched = {r.key for r in proxy.requests[before:] if r.key.endswith(".mp3")}
    assert len(touched) <= 12  # nothing was looked at again
