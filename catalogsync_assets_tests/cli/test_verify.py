"""`catalogsync verify`: what is printed, and how it ends."""

from __future__ import annotations

import signal
from datetime import datetime, timedelta, timezone

import pytest

from catalogsync_assets.cli import types
from catalogsync_assets_tests.support.database import change, rows
from catalogsync_assets_tests.support.proxy import Gate

#: In the order of the table.
COLUMNS = [
    *("checked", "ok", "missing", "size", "content"),
    *("unreadable", "foreign", "recovered", "repaired"),
]


@pytest.fixture
def ten(stored, cloud):
    """A backend with ten files."""
    stored(10)
    return cloud


@pytest.fixture
def verify(cli, catalog):
    """`verify("--level", "full")`, of the backend `cloud`."""
    return lambda *more: cli("verify", "--backend", "cloud", "--db", catalog.path, *more)


def figures(out):
    head, row = (line.split("\t") for line in out.splitlines())
    assert head == COLUMNS
    return dict(zip(COLUMNS, map(int, row), strict=True))


def test_a_sound_store_is_said_to_be_so(ten, verify):
    for level in ("listing", "head", "full"):
        done = verify("--level", level)

        assert (done.code, done.err) == (0, "")
        assert figures(done.out) == {**dict.fromkeys(COLUMNS, 0), "checked": 10, "ok": 10}


def test_findings_are_listed_with_what_to_do_and_the_exit_code_is_1(ten, verify, remote):
    remote(ten).delete("album/0003.mp3")
    remote(ten).put("album/0004.mp3", b"short")

    done = verify()

    assert done.code == 1
    assert figures(done.out) | {"checked": 10} == {
        **dict.fromkeys(COLUMNS, 0),
        **{"checked": 10, "ok": 8, "missing": 1, "size": 1},
    }
    assert f"{ten.key_prefix}album/0003.mp3" in done.err
    assert f"{ten.key_prefix}album/0004.mp3 (5 bytes, not 300)" in done.err
    assert "hint: run `catalogsync upload --backend cloud`" in done.err


def test_what_is_repaired_is_no_failure(ten, verify, remote, library):
    remote(ten).delete("album/0003.mp3")

    done = verify("--repair")

    assert done.code == 0
    assert figures(done.out)["repaired"] == 1
    assert "album/0003.mp3 (the store has no object under this key): repaired" in done.err
    assert remote(ten).contents() == library.contents()


def test_foreign_objects_are_listed_and_are_no_failure(ten, verify, remote):
    for i in range(7):
        remote(ten).put(f"foreign/{i}", b"x")

    done = verify()

    assert done.code == 0
    assert figures(done.out)["foreign"] == 7
    assert "foreign/4" in done.err
    assert "foreign/5" not in done.err
    assert "and 2 more; --json lists them" in done.err


def test_json_has_everything(ten, verify, remote):
    remote(ten).delete("album/0003.mp3")

    report = verify("--json", "--repair", "--level", "full").json

    key = f"{ten.key_prefix}album/0003.mp3"
    assert [(f["kind"], f["key"], f["repair"]) for f in report["findings"]] == [
        ("missing", key, "repaired")
    ]
    assert (report["backend"], report["level"], report["status"]) == ("cloud", "full", "complete")
    assert (report["missing"], report["repaired"], report["open"]) == (1, 1, 0)
    assert report["upload"]["succeeded"] == 1


def test_a_store_that_cannot_be_reached_is_one_error(ten, verify, backend, unused_endpoint):
    backend(endpoint=unused_endpoint, base_prefix=ten.base_prefix, workers=1)

    done = verify("--json", "--workers", 1)

    assert done.code == 1
    assert "no answer from" in done.json["error"]
    assert done.json["status"] == "interrupted"
    assert done.err.count("error:") == 1


def test_what_only_its_size_speaks_for_is_said_so(ten, verify, catalog):
    change(catalog, "UPDATE file_assets SET sha256 = NULL")
    change(catalog, "UPDATE file_locations SET etag = NULL")

    done = verify("--level", "head")

    assert done.code == 0
    assert "only the size of 10 files is proven" in done.err


def test_past_verifications_are_listed(ten, verify, cli, catalog, remote):
    assert "nothing has been verified yet" in verify("--history").out
    remote(ten).delete("album/0003.mp3")
    verify()
    verify("--level", "head", "--sample", "50%", "--since", "30d", "--song", 1)

    _, second, first = (line.split("\t") for line in verify("--history").out.splitlines())
    listed = cli("verify", "--history", "--json", "--db", catalog.path).json["audits"]

    assert first[:5] == ["1", "cloud", "listing", "-", "complete"]
    assert second[:3] == ["2", "cloud", "head"]
    assert second[3].startswith("50%, not since 20")
    assert second[3].endswith(", a selection")
    assert [a["id"] for a in listed] == [2, 1]
    assert listed[1]["counts"]["missing"] == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "no backend to verify"),
        (("--backend", "nowhere"), "no backend is called 'nowhere'"),
        (("--backend", "cloud", "--sample", "5%"), "a listing cannot be sampled"),
        (("--backend", "cloud", "--level", "head", "--sample", "0"), "a sample of 0%"),
        (("--backend", "cloud", "--sample", "many"), "write it like 5%"),
        (("--backend", "cloud", "--since", "yesterday"), "write it like 30d, 12h or 2026-11-01"),
        (("--backend", "cloud", "--playlist", "none"), "there is no playlist 'none'"),
    ],
)
def test_wrong_use_is_told_apart_from_findings(cloud, cli, catalog, arguments, reason):
    done = cli("verify", "--db", catalog.path, *arguments)

    assert done.code == 2
    assert reason in done.err
    assert "Traceback" not in done.err


def test_moments_and_shares_are_read():
    now = datetime.now(timezone.utc).replace(tzinfo=None)

    assert abs(now - timedelta(days=30) - types.moment("30d")) < timedelta(minutes=1)
    zoned = types.moment("2026-11-01T12:00:00+02:00")
    assert zoned == datetime(2026, 11, 1, 10)  # noqa: DTZ001
    assert [types.share(text) for text in ("5%", "0.5", "100")] == [5, 0.5, 100]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_verification_that_goes_on_later(
    library, catalog, scanned, uploaded, proxy, through_proxy, start_impatient, cli, number
):
    library.fill(20)
    scanned()
    uploaded(through_proxy)
    gate = Gate(proxy, lambda r: r.method == "HEAD" and "0009.mp3" in r.path)
    arguments = ("verify", "--backend", "cloud", "--level", "head", "--db", catalog.path)
    process = start_impatient(*arguments)
    gate.wait_for()
    process.send_signal(number)
    _, errors = process.communicate()
    gate.open()

    assert process.returncode == 130
    assert "stopped: what was done is recorded" in errors
    assert rows(catalog, "SELECT status FROM audits") == ["interrupted"]

    report = cli(*arguments, "--json").json

    assert (report["resumed"], report["checked"], report["ok"]) == (True, 20, 20)


def test_going_on_is_said(ten, verify, catalog):
    verify("--level", "head")
    change(catalog, "UPDATE audits SET status = 'interrupted', position = NULL, counts = '{}'")

    assert "cloud: resuming verification 1" in verify("--level", "head").err
    change(catalog, "UPDATE audits SET status = 'interrupted'")
    assert "going on" not in verify("--level", "head", "--restart").err
