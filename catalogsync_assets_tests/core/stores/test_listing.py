"""Listings end when the store says so, or with one clear error; what is optional may be missing."""

import itertools
from collections.abc import Iterator

import pytest

from catalogsync_assets.core.audit.audit import AuditRequest, audit
from catalogsync_assets.core.backup.snapshots import list_snapshots
from catalogsync_assets.core.errors import RunAborted, StoreError
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.objects import ListedObject
from catalogsync_assets.core.stores.retry import once
from catalogsync_assets.core.upload.upload import Limits
from catalogsync_assets_tests.support.database import rows
from catalogsync_assets_tests.support.proxy import Answer

NS = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


def entry(key: str, more: str = "<ETag>&quot;e&quot;</ETag><Size>1</Size>") -> str:
    return f"<Contents><Key>{key}</Key>{more}</Contents>"


def page(*entries: str, more: str | None = "false", token: str | None = None) -> bytes:
    truncated = "" if more is None else f"<IsTruncated>{more}</IsTruncated>"
    tokens = "" if token is None else f"<NextContinuationToken>{token}</NextContinuationToken>"
    return (
        f"<ListBucketResult {NS}>{truncated}{tokens}{''.join(entries)}</ListBucketResult>".encode()
    )


@pytest.fixture
def pages(proxy):
    """`pages(a, b, …)`: what the store answers to one request for a listing after another."""

    def give(*bodies):
        coming = itertools.chain.from_iterable([b] if isinstance(b, bytes) else b for b in bodies)

        def rule(request):
            if "list-type" not in request.parameters:
                return None
            return Answer(200, {"Content-Type": "application/xml"}, next(coming))

        proxy.before.append(rule)

    return give


@pytest.fixture
def cloud(backend, proxy):
    """A backend without a prefix whose requests the proxy sees."""
    return backend(endpoint=proxy.endpoint, base_prefix="")


@pytest.fixture
def keys(cloud):
    def read():
        return [o.key for found in StoreClient(cloud).listed(once) for o in found]

    return read


def forever(*tokens: str) -> Iterator[bytes]:
    for number in itertools.count():
        key = entry(f"{number % 3}.mp3")
        yield page(key, more="true", token=tokens[number % len(tokens)])


@pytest.mark.parametrize(
    "endless",
    [
        pytest.param(lambda: forever("same"), id="the same token"),
        pytest.param(lambda: forever("A", "B"), id="tokens in turn"),
        pytest.param(
            lambda: (page(entry("a"), more="true", token=str(n)) for n in itertools.count()),
            id="new tokens, the same page",
        ),
        pytest.param(
            lambda: (page(more="true", token=str(n)) for n in itertools.count()),
            id="new tokens, nothing",
        ),
    ],
)
def test_a_listing_that_goes_in_circles_is_an_error(pages, keys, proxy, endless):
    pages(endless())

    with pytest.raises(StoreError, match="goes in circles") as caught:
        keys()

    assert not caught.value.retryable
    assert "--level head" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(page(entry("0.mp3"), more="true"), id="no token"),
        pytest.param(page(entry("0.mp3"), more="true", token=""), id="an empty token"),
        pytest.param(page(entry("0.mp3"), entry("1.mp3"))[:-40], id="cut short"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"<html><body>log in<br></body></html>", id="a page"),
        pytest.param(b"<html><body>log in</body></html>", id="a page that is XML"),
        pytest.param(b"<Error><Code>InternalError</Code></Error>", id="an error"),
    ],
)
def test_a_listing_that_is_not_whole_marks_nothing_and_a_spoilt_answer_is_overcome(
    library, synced, catalog, cloud, pages, body
):
    library.add("0.mp3")
    library.add("1.mp3")
    synced(cloud)
    size = "<Size>300</Size>"
    whole = page(entry("0.mp3", size), entry("1.mp3", ""))
    pages(body, whole, itertools.repeat(body))

    def run():
        limits = Limits(workers=2, attempts=2)
        return audit(catalog, cloud, AuditRequest("listing", anew=True), limits=limits)

    assert run().ok == 2
    with pytest.raises(RunAborted) as caught:
        run()

    assert caught.value.hint
    assert rows(catalog, "SELECT DISTINCT status FROM file_locations") == ["active"]


def test_what_is_optional_may_be_missing(pages, cloud):
    pages(
        page(more="true", token="1"),
        page(entry("a", ""), entry("b", "<LastModified>20</LastModified><Size>x</Size>"),
             entry("b"), "<Contents/>", more=None, token="2"),
        page(entry("c"), more=None),
    )  # fmt: skip

    found = [o for page in StoreClient(cloud).list_pages() for o in page]

    assert found == [
        ListedObject("a", None, None),
        ListedObject("b", 1, '"e"'),
        ListedObject("c", 1, '"e"'),
    ]


def test_keys_outside_the_prefix_are_not_ours(pages, backend, proxy):
    pages(page(entry("other/a"), entry("mine/b")))
    mine = backend("mine", endpoint=proxy.endpoint, base_prefix="mine")

    assert [[o.key for o in p] for p in StoreClient(mine).list_pages()] == [["mine/b"]]


def test_encoded_keys_are_decoded_only_where_the_store_says_so(pages, keys):
    text = "<EncodingType>url</EncodingType>" + entry("a%20b%01+%C3%A9%2B")
    pages(page(text), page(entry("a%20b+")))

    assert keys() == ["a b\x01 é+"]
    assert keys() == ["a%20b+"]


def test_another_encoding_of_the_answer_is_read(pages, keys):
    text = '<?xml version="1.0" encoding="ISO-8859-1"?>' + page(entry("é.mp3")).decode()
    pages(text.encode("latin-1"))

    assert keys() == ["é.mp3"]


def test_keys_that_are_said_to_be_encoded_and_are_not_stay_as_they_are(pages, keys):
    said = page(entry("a+b c.mp3"), entry("100%.mp3"), entry("x%20y.mp3"))
    pages(said.replace(b"<Contents>", b"<EncodingType>url</EncodingType><Contents>", 1))

    assert keys() == ["a+b c.mp3", "100%.mp3", "x%20y.mp3"]


def test_a_key_that_two_pages_have_comes_once(pages, keys):
    pages(
        page(entry("a.mp3"), entry("b.mp3"), more="true", token="1"),
        page(entry("b.mp3"), entry("c.mp3")),
    )

    assert keys() == ["a.mp3", "b.mp3", "c.mp3"]


def test_a_snapshot_among_many_other_keys_is_found(pages, cloud):
    def name(day):
        stamp = f"202601{day:02d}T000000Z"
        return f".catalogsync/catalog/0123456789abcdef/{stamp}.db.zst"

    def many(first):
        return [entry(f"{first}{i:04d}.mp3") for i in range(1001)]

    pages(
        page(*many("!"), more="true", token="1"),
        page(*many("!x"), entry(name(1)), more="true", token="2"),
        page(entry(name(2)), *many("z"), more="true", token="3"),
        page(*many("zz"), entry(name(3))),
    )
    found = list_snapshots(StoreClient(cloud), look=False)
    assert [s.key for s in found] == [name(3), name(2), name(1)]
