"""Servers and connections that fail: what is retried, what is gone on from, what is refused."""

import email.utils
import hashlib
import logging
import time

import pytest

from catalogsync_assets.core.download import file as fetcher
from catalogsync_assets.core.runner import run
from catalogsync_assets_tests.support.database import rows
from catalogsync_assets_tests.support.files import remains, sha256
from catalogsync_assets_tests.support.web import Fault, flac_like

BIG = 300_000
MODIFIED = "Mon, 01 Jan 2024 00:00:00 GMT"


# --- passing faults -----------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 408])
def test_an_answer_that_asks_for_patience_is_retried_and_counted(
    web, queue_downloads, downloaded, library, status
):
    queue_downloads(web.add("/x.flac"))
    web.fail_once("/x.flac", Fault(status=status), Fault(status=status))

    report = downloaded()

    assert (report.succeeded, report.retries) == (1, 2)
    assert library.contents() == {"x.flac": web.files["/x.flac"].content}


def test_the_server_says_how_long_to_wait(web, queue_downloads, downloaded, monkeypatch):
    waits = []
    monkeypatch.setattr(fetcher.tenacity, "sleep_using_event", lambda _: waits.append)
    queue_downloads(web.add("/x.flac"))
    soon = email.utils.formatdate(time.time() + 50, usegmt=True)
    web.fail_once(
        "/x.flac",
        Fault(status=503, headers={"Retry-After": "7"}),
        Fault(status=429, headers={"Retry-After": soon}),
    )

    assert downloaded().succeeded == 1

    assert waits[0] == 7
    assert 40 < waits[1] <= 50


def test_who_asks_to_wait_for_long_is_left_to_the_next_run(web, queue_downloads, downloaded):
    queue_downloads(web.add("/x.flac"))
    web.fail_once("/x.flac", Fault(status=503, headers={"Retry-After": "86400"}))

    report = downloaded()

    assert (report.failed, report.retries) == (1, 0)
    assert downloaded().succeeded == 1


def test_tries_are_limited_and_the_next_run_tries_again(web, queue_downloads, downloaded, catalog):
    queue_downloads(web.add("/x.flac"), web.add("/y.flac"))
    web.faults.append(lambda r: Fault(status=503) if r.path == "/x.flac" else None)

    report = downloaded(attempts=3)

    assert (report.succeeded, report.failed, report.retries) == (1, 1, 2)
    assert len(web.of("/x.flac")) == 3
    assert report.failures[0].code == "Http503"
    assert rows(catalog, "SELECT status, error_code FROM download_tasks ORDER BY id") == [
        ("failed", "Http503"),
        ("succeeded", None),
    ]
    web.faults.clear()
    assert downloaded().succeeded == 1


@pytest.mark.parametrize("length", ["true", "chunked"])
def test_a_connection_that_breaks_is_gone_on_from_where_it_broke(
    web, queue_downloads, downloaded, library, length
):
    queue_downloads(web.add("/x.flac", flac_like("x", BIG), length=length))
    web.fail_once("/x.flac", Fault(cut=100_000), Fault(cut=100_000))

    report = downloaded(attempts=2)

    assert (report.succeeded, report.resumed) == (1, 2)
    assert [r.start for r in web.of("/x.flac")] == [0, 100_000, 200_000]
    assert web.of("/x.flac")[1].headers["If-Range"] == '"one"'
    assert library.contents() == {"x.flac": web.files["/x.flac"].content}
    assert report.received == BIG


def test_a_date_serves_where_there_is_no_etag(web, queue_downloads, downloaded):
    headers = {"Last-Modified": MODIFIED}
    queue_downloads(web.add("/x.flac", flac_like("x", BIG), etag=None, headers=headers))
    web.fail_once("/x.flac", Fault(cut=100_000))

    assert downloaded().resumed == 1
    assert web.of("/x.flac")[1].headers["If-Range"] == MODIFIED


@pytest.mark.parametrize("how", [{"etag": None}, {"etag": 'W/"weak"'}, {"ranges": False}], ids=str)
def test_without_a_way_to_tell_the_content_it_is_begun_anew(
    web, queue_downloads, downloaded, library, how
):
    queue_downloads(web.add("/x.flac", flac_like("x", BIG), **how))
    web.fail_once("/x.flac", Fault(cut=100_000))

    report = downloaded()

    assert (report.succeeded, report.resumed) == (1, 0)
    assert library.contents() == {"x.flac": web.files["/x.flac"].content}


def test_a_digest_allows_to_go_on_without_a_validator(web, queue_downloads, downloaded, library):
    content = flac_like("x", BIG)
    queue_downloads(web.add("/x.flac", content, etag=None), sha256=sha256(content))
    web.fail_once("/x.flac", Fault(cut=100_000))

    report = downloaded()

    assert (report.resumed, report.received) == (1, BIG)
    assert library.contents() == {"x.flac": content}


def test_two_halves_of_different_contents_are_found_out_and_fetched_anew(
    web, queue_downloads, downloaded, library
):
    new = flac_like("new", BIG)
    queue_downloads(web.add("/x.flac", flac_like("old", BIG), etag=None), sha256=sha256(new))
    web.fail_once("/x.flac", Fault(cut=100_000))
    web.pace = lambda r: len(web.requests) > 1 and web.add("/x.flac", new, etag=None)

    assert downloaded(attempts=4).succeeded == 1
    assert library.contents() == {"x.flac": new}


@pytest.mark.parametrize("if_range", [True, False])
def test_content_that_has_changed_meanwhile_is_fetched_anew(
    web, queue_downloads, downloaded, library, if_range
):
    """Also from a server that knows ranges but not If-Range."""
    queue_downloads(web.add("/x.flac", flac_like("old", BIG)))
    new = flac_like("new", BIG)

    def change(request):
        if len(web.requests) == 1:
            return Fault(cut=100_000)
        web.add("/x.flac", new, etag='"two"', if_range=if_range)
        return None

    web.faults.append(change)

    assert downloaded().succeeded == 1
    assert library.contents() == {"x.flac": new}


def test_a_part_longer_than_the_content_is_begun_anew(web, queue_downloads, downloaded, library):
    """The server answers 416."""
    new = flac_like("new", 50_000)
    queue_downloads(web.add("/x.flac", flac_like("old", BIG), etag=None), sha256=sha256(new))
    web.fail_once("/x.flac", Fault(cut=100_000))
    web.pace = lambda _: None

    def shrink(request):
        if len(web.requests) == 2:
            web.add("/x.flac", new, etag=None)

    web.faults.append(shrink)

    assert downloaded(attempts=4).succeeded == 1
    assert library.contents() == {"x.flac": new}


def test_a_large_file_over_a_bad_line_comes_in_the_end(web, queue_downloads, downloaded, library):
    """A try that brings something counts as none."""
    queue_downloads(web.add("/x.flac", flac_like("x", BIG)))
    web.faults.append(lambda _: Fault(cut=30_000))

    report = downloaded(attempts=2)

    assert (report.succeeded, report.retries) == (1, 9)
    assert library.contents() == {"x.flac": web.files["/x.flac"].content}


def test_a_length_that_is_a_lie_never_becomes_a_file(web, queue_downloads, downloaded, library):
    url = web.add("/x.flac")
    content = web.files["/x.flac"].content
    lie = Fault(status=200, headers={"Content-Length": str(len(content) + 10)}, body=content)
    queue_downloads(url)
    web.faults.append(lambda _: lie)

    report = downloaded()

    assert (report.failed, report.failures[0].code) == (1, "ConnectionBroken")
    assert [p for p in library.contents() if not p.startswith(".catalogsync")] == []


def test_an_end_that_cannot_be_told_from_a_break_is_refused_but_with_a_size(
    web, queue_downloads, downloaded, library
):
    queue_downloads(web.add("/x.flac", length="none"))
    assert downloaded().failures[0].code == "LengthUnknown"

    assert queue_downloads(web.url + "/x.flac", size=len(web.files["/x.flac"].content)).updated == 1
    assert downloaded().succeeded == 1
    assert library.contents() == {"x.flac": web.files["/x.flac"].content}


def test_a_file_whose_end_only_the_connection_tells_must_have_its_size(
    web, queue_downloads, downloaded, library
):
    queue_downloads(web.add("/x.flac", length="none"), size=3_000)
    web.fail_once("/x.flac", Fault(cut=1_000))

    assert downloaded().retries == 1
    assert library.contents() == {"x.flac": web.files["/x.flac"].content}


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code"),
    [(404, "NotFound"), (410, "NotFound"), (401, "AccessRefused"), (403, "AccessRefused")],
)
def test_what_is_not_there_fails_at_once_and_alone(web, queue_downloads, downloaded, status, code):
    queue_downloads(web.add("/x.flac"), web.add("/y.flac"))
    web.faults.append(lambda r: Fault(status=status) if r.path == "/x.flac" else None)

    report = downloaded()

    assert (report.succeeded, report.failed, report.retries) == (1, 1, 0)
    assert report.failures[0].code == code


@pytest.mark.parametrize(
    "body", [b"<!DOCTYPE html><title>Log in</title>", b"", b"PK\x03\x04" + b"x" * 200]
)
def test_an_answer_that_is_no_music_is_refused_and_leaves_nothing(
    web, queue_downloads, downloaded, library, body
):
    queue_downloads(web.add("/x.mp3", body))

    report = downloaded()

    assert (report.failed, report.failures[0].code) == (1, "NotAudio")
    assert list(library.root.iterdir()) == []


def test_an_endless_page_is_given_up_after_a_look(web, queue_downloads, downloaded):
    """Not read to its end first: the server waits for the client to hang up."""
    queue_downloads(web.add("/x.mp3", b"<html>" + b"x" * 50_000_000, length="chunked"))

    assert downloaded().failures[0].code == "NotAudio"
    assert web.of("/x.mp3")[0].sent < 50_000_000


@pytest.mark.parametrize("known", [{"size": 2_999}, {"size": 3_001}, {"sha256": "0" * 64}])
def test_content_that_is_not_what_the_manifest_says_is_refused(
    web, queue_downloads, downloaded, library, known
):
    queue_downloads(web.add("/x.flac"), **known)

    assert downloaded().failures[0].code == ("SizeDiffers" if "size" in known else "DigestDiffers")
    assert list(library.root.iterdir()) == []


def test_a_manifest_that_is_corrected_is_believed(web, queue_downloads, downloaded):
    queue_downloads(web.add("/x.flac"), sha256="0" * 64)
    assert downloaded().failed == 1

    right = hashlib.sha256(web.files["/x.flac"].content).hexdigest()
    assert queue_downloads(web.url + "/x.flac", sha256=right).updated == 1

    assert downloaded().succeeded == 1


@pytest.mark.parametrize("length", ["true", "chunked"])
def test_a_file_larger_than_allowed_is_refused(web, queue_downloads, downloaded, library, length):
    queue_downloads(web.add("/x.flac", length=length))

    assert downloaded(max_file_bytes=2_000).failures[0].code == "TooLarge"
    assert list(library.root.iterdir()) == []


def test_a_redirect_is_followed_to_another_name(web, queue_downloads, downloaded, library):
    target = web.add("/deep/x.flac")
    web.fail_once("/get", Fault(status=302, headers={"Location": target}))
    queue_downloads(web.url + "/get")

    assert downloaded().succeeded == 1
    assert list(library.contents()) == ["x.flac"]


def test_a_circle_of_redirects_is_left(web, queue_downloads, downloaded):
    queue_downloads(web.url + "/a")
    web.faults.append(lambda r: Fault(status=302, headers={"Location": "/a"}))

    assert downloaded().failures[0].code == "TooManyRedirects"
    assert len(web.requests) == 11


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://x/y"])
def test_a_redirect_to_anything_but_http_is_refused(web, queue_downloads, downloaded, target):
    queue_downloads(web.url + "/a")
    web.faults.append(lambda r: Fault(status=302, headers={"Location": target}))

    assert downloaded().failures[0].code == "RedirectRefused"


@pytest.mark.parametrize(
    "place",
    ["[::1", "a:abc", "me:hunter2@[zz]", "a..b", f"{'a' * 70}.example", "xn--", "\u20ac\x80"],
)
def test_a_redirect_to_what_is_no_address_is_final_and_said(
    web, queue_downloads, downloaded, place
):
    queue_downloads(web.url + "/a")
    target = f"http://{place}/x?sig=hunter2".encode().decode("latin-1")
    web.faults.append(lambda r: Fault(status=302, headers={"Location": target}))

    (failure,) = downloaded().failures

    assert failure.code == "BadAddress"
    assert "/a redirects to 'http://" in failure.reason
    assert "hunter2" not in failure.reason
    assert len(web.requests) == 1


def test_no_secret_of_an_address_is_shown_or_logged(
    web, queue_downloads, downloaded, catalog, unused_endpoint, caplog
):
    caplog.set_level(logging.DEBUG)
    place = web.url.removeprefix("http://")
    secret = "hunter2"
    addresses = [
        f"http://me:{secret}@{place}{path}?token={secret}" for path in ("/404", "/html", "/loop")
    ]
    addresses += [f"{unused_endpoint}/x?sig={secret}", f"http://me:p{secret}%40x@{place}/503"]
    web.add("/html", b"<html>")
    web.faults.append(lambda r: Fault(status=503) if r.path == "/503" else None)
    web.faults.append(
        lambda r: (
            Fault(status=302, headers={"Location": f"/loop?token={secret}"})
            if r.path == "/loop"
            else None
        )
    )
    queue_downloads(*addresses)

    report = downloaded(attempts=1)

    assert report.failed == 5
    assert "Authorization" in web.of("/404")[0].headers
    assert secret not in repr(report)
    assert secret not in caplog.text
    assert secret not in str(rows(catalog, "SELECT last_error FROM download_tasks"))
    assert all(failure.url.startswith("http://127.0.0.1") for failure in report.failures)


def test_credentials_are_not_sent_to_the_host_that_a_redirect_leads_to(
    web, queue_downloads, downloaded
):
    place = web.url.removeprefix("http://")
    web.add("/x.flac")
    other = web.url.replace("127.0.0.1", "localhost") + "/x.flac"
    web.fail_once("/get", Fault(status=302, headers={"Location": other}))
    queue_downloads(f"http://me:secret@{place}/get")

    assert downloaded().succeeded == 1
    assert "Authorization" not in web.of("/x.flac")[0].headers


# --- many ---------------------------------------------------------------------------------------


def test_five_hundred_files_over_a_bad_line_all_come_once_and_whole(
    web, queue_downloads, downloaded, library, catalog, monkeypatch
):
    """Every fifth file meets a fault, each kind as often, some of them two in a row."""
    monkeypatch.setattr(run, "_BATCH", 50)
    kinds = [
        lambda c: [Fault(status=503)],
        lambda c: [Fault(status=429, headers={"Retry-After": "0"})],
        lambda c: [Fault(cut=len(c) // 2)],
        lambda c: [Fault(cut=0), Fault(cut=len(c) - 1)],
        lambda c: [Fault(status=200, headers={"Content-Length": str(len(c) + 5)}, body=c)],
    ]
    expected, faults = {}, 0
    entries = []
    for number in range(500):
        path = f"/{number % 7}/{number:03d}.flac"
        content = flac_like(number, 2_000 + number * 97 % 60_000)
        how = [{}, {"ranges": False}, {"etag": None}, {"length": "chunked"}][number % 4]
        entries.append({"url": web.add(path, content, **how), "playlist": f"P{number % 3}"})
        expected[f"{number:03d}.flac"] = content
        if number % 5 == 0:
            planned = kinds[number // 5 % len(kinds)](content)
            web.fail_once(path, *planned)
            faults += len(planned)
    queue_downloads(*entries)

    report = downloaded(workers=8, attempts=4)

    assert report.failures == []
    assert (report.succeeded, report.retries) == (500, faults)
    assert library.contents() == expected
    assert remains(library.root) == []
    assert web.most_at_once <= 8
    assert len(web.requests) == 500 + faults
    assert rows(
        catalog, "SELECT COUNT(*), COUNT(DISTINCT song_id), COUNT(DISTINCT sha256) FROM file_assets"
    ) == [(500, 500, 500)]
    assert rows(catalog, "SELECT status, COUNT(*) FROM download_tasks GROUP BY 1") == [
        ("succeeded", 500)
    ]
