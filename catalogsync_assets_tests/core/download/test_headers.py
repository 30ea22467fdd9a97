"""Header fields as servers write them, and what a download makes of them."""

import gzip

import httpx
import pytest

from catalogsync_assets.core.download import headers
from catalogsync_assets_tests.support.web import Fault, flac_like

DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
LATER = "Sun, 06 Nov 1994 08:49:38 GMT"


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ('attachment; filename="a;b.flac"; size=3', "a;b.flac"),
        ("inline;FILENAME=foo bar.flac", "foo bar.flac"),
        (r'attachment; filename="a \"b\".flac"', 'a "b".flac'),
        ("attachment; filename=\"a.flac\"; filename*=UTF-8''na%C3%AFve.flac", "naïve.flac"),
        ("attachment; filename*=iso-8859-1'en'%A3.flac; filename=a.flac", "£.flac"),
        ("attachment; filename*=x-none''%A3.flac; filename=a.flac", "a.flac"),
        ("attachment; filename*=UTF-8''%ff.flac; filename=a.flac", "a.flac"),
        ("attachment; filename*=UTF-8''雨.flac", "雨.flac"),
        ("attachment; filename*0*=UTF-8''na%C3; filename*1*=%AFve.flac", "naïve.flac"),
        ("attachment;filename*=\"utf-8' '100MB.flac\"", "100MB.flac"),
        ('attachment; filename="=?UTF-8?B?bmHDr3ZlLmZsYWM=?="', "naïve.flac"),
        ('attachment; filename="=?x-none?Q?x?="', "=?x-none?Q?x?="),
        ('attachment; filename="雨.flac"', "雨.flac"),
        ('attachment; filename="100%.flac"', "100%.flac"),
        ('attachment; filename="x.flac', "x.flac"),
        ('attachment; filename="a b.flac; size=3', "a b.flac"),
        ('attachment; filename=x.flac"', "x.flac"),
        ("attachment; filename*=\"UTF-8''na%C3%AFve.flac", "naïve.flac"),
        ('attachment; filename=""', None),
        ("attachment", None),
        ("; ; =", None),
        ("", None),
    ],
)
def test_the_name_that_content_disposition_gives(field, name):
    fields = [(b"Content-Type", b"audio/flac"), (b"CONTENT-disposition", field.encode())]

    assert headers.file_name(fields) == name


def test_a_name_in_latin_1_is_read_as_such():
    assert headers.file_name([(b"content-disposition", b'x; filename="\xe9.mp3"')]) == "é.mp3"


@pytest.mark.parametrize(
    ("field", "found"),
    [
        *(("bytes 5-9/10", (5, 9, 10)), ("Bytes  5 - 9 / 10", (5, 9, 10))),
        *(("bytes=5-9/10", (5, 9, 10)), ("bytes 5-9/*", (5, 9, None)), ("bytes */10", None)),
        *(("bytes 5-9/9", None), ("bytes 9-5/10", None), ("bytes 5-/10", None)),
        *(("items 5-9/10", None), ("", None)),
    ],
)
def test_which_part_comes(field, found):
    assert headers.content_range({"Content-Range": field}) == found


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"etag": '"a"', "Last-Modified": DATE, "Date": LATER}, '"a"'),
        ({"ETag": 'W/"a"', "Last-Modified": DATE, "Date": LATER}, DATE),
        ({"ETag": 'W/"a"'}, None),
        ({"ETag": "a"}, None),
        ({"Last-Modified": DATE, "Date": DATE}, None),
        ({"Last-Modified": DATE}, None),
        ({"Last-Modified": "yesterday", "Date": LATER}, None),
    ],
)
def test_only_what_is_strong_may_ask_for_the_rest(fields, found):
    assert headers.validator(httpx.Headers(fields)) == found


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
@pytest.mark.parametrize(
    "text", [DATE, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
)
def test_a_date_is_in_utc_wherever_we_are(text, zone, monkeypatch):
    import time

    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert headers.moment(text) == 784111777
        assert headers.retry_after({"Retry-After": text}, 784111770) == 7
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("text", "seconds"), [(" 7 ", 7), ("-7", None), ("soon", None), ("9" * 400, float("inf"))]
)
def test_how_long_a_server_asks_to_wait(text, seconds):
    assert headers.retry_after({"Retry-After": text}, 0) == seconds


# --- in a download ------------------------------------------------------------------------------


def test_a_part_that_nobody_asked_for_is_taken_if_it_is_all(
    web, queue_downloads, downloaded, library
):
    content = flac_like("x", 3_000)
    queue_downloads(web.url + "/all.flac", web.url + "/half.flac", web.url + "/unsaid.flac")
    for name, given in (("all", "0-2999/3000"), ("half", "0-2999/6000"), ("unsaid", "")):
        field = {"Content-Range": f"bytes {given}"} if given else {}
        web.fail_once(f"/{name}.flac", Fault(status=206, headers=field, body=content))

    report = downloaded()

    assert library.contents() == {"all.flac": content}
    assert (report.succeeded, report.failed) == (1, 2)


def test_a_rest_that_may_be_cut_is_not_taken_for_the_end(web, queue_downloads, downloaded, library):
    """A server that gives ranges of at most so many bytes, and does not say how many there are."""
    content = flac_like("x", 60_000)
    queue_downloads(web.add("/x.flac", content, length="chunked"))
    part = {"Content-Range": "bytes 40000-49999/*", "ETag": '"one"'}
    web.fail_once(
        "/x.flac", Fault(cut=40_000), Fault(status=206, headers=part, body=content[:10_000])
    )

    assert (downloaded().succeeded, library.contents()) == (1, {"x.flac": content})


def test_a_rest_comes_in_as_many_parts_as_the_server_likes(
    web, queue_downloads, downloaded, library
):
    content = flac_like("x", 60_000)
    queue_downloads(web.add("/x.flac", content))

    def at_most_ten_thousand(request):
        if "Range" not in request.headers:
            return Fault(cut=20_000)
        end = min(request.start + 10_000, len(content))
        field = {"Content-Range": f"BYTES {request.start}-{end - 1}/60000", "ETag": '"one"'}
        return Fault(status=206, headers=field, body=content[request.start : end])

    web.faults.append(at_most_ten_thousand)

    report = downloaded(attempts=2)

    assert (report.succeeded, library.contents()) == (1, {"x.flac": content})
    assert report.received == len(content)


@pytest.mark.parametrize("coding", ["aws-chunked", "identity", "binary", "UTF-8", "none", ""])
def test_what_is_no_coding_is_taken_as_it_comes(web, queue_downloads, downloaded, library, coding):
    queue_downloads(web.add("/x.flac", headers={"Content-Encoding": coding}))

    assert downloaded().succeeded == 1
    assert library.contents() == {"x.flac": web.files["/x.flac"].content}


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "x-gzip", "identity, gzip", "br"])
def test_what_comes_compressed_is_refused_and_said(web, queue_downloads, downloaded, coding):
    content = gzip.compress(flac_like("x", 3_000))
    queue_downloads(web.add("/x.flac", content, headers={"Content-Encoding": coding}))

    assert [failure.code for failure in downloaded().failures] == ["Compressed"]


def test_addresses_as_people_write_them_are_fetched(web, queue_downloads, downloaded, library):
    for path in ("/My%20Song.flac", "/%E9t%E9.flac", "/%E9%9B%A8.flac", "/up.flac"):
        web.add(path)
    base = web.url
    queue_downloads(
        f"{base}/My Song.flac",
        f"{base}/%E9t%E9.flac",
        f"{base}/雨.flac",
        f"{base.replace('http', 'HTTP')}/up.flac#t=10",
    )

    assert downloaded().failed == 0
    assert sorted(library.contents()) == ["My Song.flac", "up.flac", "été.flac", "雨.flac"]
