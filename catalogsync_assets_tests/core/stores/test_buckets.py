"""Making a bucket: private, in its region, and never over one that is there."""

from __future__ import annotations

import itertools
import urllib.error
import urllib.request

import pytest

from catalogsync_assets.core.errors import AccessRefusedError, ConflictError, StoreError
from catalogsync_assets.core.stores.buckets import make_bucket
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets_tests.support.proxy import refusal

_names = (f"made-{i}" for i in itertools.count())


@pytest.fixture
def missing(unregistered, proxy):
    """`missing(**settings)`: the client of a backend whose bucket is not there."""

    def make(**settings):
        place = {"bucket": next(_names), "endpoint": proxy.endpoint}
        return StoreClient(unregistered(**(place | settings)))

    return make


def sent(proxy):
    return [r for r in proxy.requests if r.method == "PUT"]


def test_a_bucket_is_made_once_and_nobody_else_may_read_it(missing, proxy, s3, store):
    client = missing()
    bucket = client.backend.bucket

    assert make_bucket(client)
    assert make_bucket(client) is False

    assert bucket in [b["Name"] for b in s3.list_buckets()["Buckets"]]
    (put,) = sent(proxy)
    assert put.body == b""
    assert put.header("x-amz-acl") is None
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{store.endpoint}/{bucket}/k")
    assert caught.value.code == 403
    caught.value.close()


def test_what_is_in_a_bucket_that_is_there_stays(missing, store, proxy):
    assert make_bucket(missing(bucket=store.bucket)) is False
    assert sent(proxy) == []


def test_the_region_is_named(missing, proxy):
    make_bucket(missing(region="eu-central-1"))

    assert b"<LocationConstraint>eu-central-1<" in sent(proxy)[0].body


def test_a_service_that_knows_no_such_place_decides_itself(missing, proxy):
    proxy.answer(refusal(400, "InvalidLocationConstraint"), lambda r: b"Constraint" in r.body)

    assert make_bucket(missing(region="garage"))
    assert [b"Constraint" in put.body for put in sent(proxy)] == [True, False]


@pytest.mark.parametrize(
    ("status", "code", "error", "words"),
    [
        (403, "AccessDenied", AccessRefusedError, "the credentials may not make bucket"),
        (409, "BucketAlreadyExists", ConflictError, "is another account's"),
        (403, "InvalidAccessKeyId", AccessRefusedError, "does not know this access key"),
        (400, "InvalidBucketName", StoreError, "InvalidBucketName"),
    ],
)
def test_a_refusal_is_one_clear_error(missing, proxy, status, code, error, words):
    proxy.answer(refusal(status, code), lambda r: r.method == "PUT")

    with pytest.raises(error, match=words):
        make_bucket(missing())


def test_one_that_was_made_meanwhile_is_there(missing, proxy):
    proxy.answer(refusal(409, "BucketAlreadyOwnedByYou"), lambda r: r.method == "PUT")

    assert make_bucket(missing()) is False
