"""What every store gets: a row that says active is true, and nothing of others is overwritten.

One suite for two implementations, SeaweedFS, which checks digests and conditions, and rclone, which
ignores both; each while nothing is known of it, and by what a test of it found out.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from botocore.exceptions import ClientError

from catalogsync_assets.core.backends import ObjectBackend
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.uploads import enqueue
from catalogsync_assets.core.errors import AccessRefusedError, BucketMissingError, CatalogError
from catalogsync_assets.core.providers import StoreProfile
from catalogsync_assets.core.transfer import multipart, sender
from catalogsync_assets.core.transfer.engine import UploadAborted, UploadReport
from catalogsync_assets.core.transfer.probe import probe
from catalogsync_assets_tests.stores import s3_client

Rows = Callable[..., list[Any]]
Upload = Callable[..., UploadReport]
MIB = 1024 * 1024
ACTIVE = (
    "SELECT l.locator, f.sha256 FROM file_locations l JOIN file_assets f ON f.id = l.file_asset_id"
    " WHERE l.backend_id = ? AND l.status = 'active'"
)
HOSTILE = [
    *("a b", "100%", "a%20b", "a+b", "a#b", "a:b", "a&b=c?d", "'a' \"b\"", "a;b,c", "<a>|*", "~a"),
    *("Ä", "雨", "🎵", ".hidden", "a. b", "back\\slash", "[x]{y}", "a" * 200, "é" * 90),
]


@pytest.fixture(scope="module", params=["seaweedfs", "rclone"])
def store(request: pytest.FixtureRequest, store: Any, rclone: Any) -> Any:
    return {"seaweedfs": store, "rclone": rclone}[request.param]


@pytest.fixture(scope="module")
def s3(store: Any) -> Iterator[Any]:
    client = s3_client(store)
    yield client
    client.close()


@pytest.fixture(scope="module")
def found_out(store: Any) -> StoreProfile:
    """What a test of the store says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_ACCESS_KEY_ID", store.access_key_id)
        patch.setenv("TEST_SECRET_ACCESS_KEY", store.secret_access_key)
        tested = ObjectBackend(
            "test", store.bucket, endpoint=store.endpoint, credential_env_prefix="TEST"
        )
        result = probe(tested)
    assert result.failure is None
    return result.profile


@pytest.fixture(params=["unknown", "tested"])
def settings(request: pytest.FixtureRequest, found_out: StoreProfile) -> dict[str, Any]:
    """Settings of a backend on the store."""
    known = {} if request.param == "unknown" else {"tested": found_out}
    return {"provider": "other", **known}


@pytest.fixture
def cloud(backend: Callable[..., ObjectBackend], settings: dict[str, Any]) -> ObjectBackend:
    return backend(**settings)


@pytest.fixture
def through_proxy(
    proxy: Any, backend: Callable[..., ObjectBackend], settings: dict[str, Any]
) -> ObjectBackend:
    return backend(endpoint=proxy.endpoint, **settings)


@pytest.fixture
def claims(catalog: Catalog, rows: Rows, remote: Any) -> Callable[[ObjectBackend], set[str]]:
    """`claims(backend)`: the keys that rows call active; each is checked against the store."""

    def check(backend: ObjectBackend) -> set[str]:
        found = rows(catalog, ACTIVE, backend.id)
        for key, digest in found:
            content = remote(backend).get(key.removeprefix(backend.key_prefix))
            assert hashlib.sha256(content).hexdigest() == digest, key
        return {key.removeprefix(backend.key_prefix) for key, _ in found}

    return check


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is large elsewhere begins at 1 MiB here."""
    monkeypatch.setattr(sender, "SINGLE_PUT_BYTES", MIB)
    monkeypatch.setattr(multipart, "PART_BYTES", 5 * MIB)


def spoil(body: bytes) -> bytes:
    return bytes([body[0] ^ 1]) + body[1:]


def test_new_files_arrive_and_are_verified(
    library: Any, scanned: Any, cloud: ObjectBackend, uploaded: Upload, remote: Any, claims: Any
) -> None:
    library.fill(20)
    library.add("empty.mp3", b"")
    scanned()

    report = uploaded(cloud)

    assert (report.succeeded, report.failures) == (21, [])
    assert remote(cloud).contents() == library.contents()
    assert claims(cloud) == set(library.contents())


def test_a_second_run_sends_nothing(
    library: Any, scanned: Any, proxy: Any, through_proxy: ObjectBackend, uploaded: Upload
) -> None:
    library.fill(3)
    scanned()
    uploaded(through_proxy)
    proxy.requests.clear()

    assert uploaded(through_proxy).queued == 0
    assert proxy.requests == []


def test_an_identical_object_is_adopted(
    library: Any,
    scanned: Any,
    proxy: Any,
    through_proxy: ObjectBackend,
    uploaded: Upload,
    remote: Any,
    claims: Any,
) -> None:
    content = library.add("a.mp3").read_bytes()
    library.add("b.mp3")
    scanned()
    remote(through_proxy).put("a.mp3", content)

    report = uploaded(through_proxy, workers=1)

    assert (report.adopted, report.succeeded, report.failed) == (1, 1, 0)
    assert claims(through_proxy) == {"a.mp3", "b.mp3"}


@pytest.mark.parametrize("theirs", [b"them", b"somebody else's"])
def test_another_object_is_a_conflict_and_stays(
    library: Any,
    scanned: Any,
    cloud: ObjectBackend,
    uploaded: Upload,
    remote: Any,
    claims: Any,
    theirs: bytes,
) -> None:
    library.add("a.mp3", b"ours")
    library.add("b.mp3")
    scanned()
    remote(cloud).put("a.mp3", theirs)

    report = uploaded(cloud)

    assert (report.succeeded, [f.code for f in report.failures]) == (1, ["Conflict"])
    assert remote(cloud).get("a.mp3") == theirs
    assert claims(cloud) == {"b.mp3"}


def test_a_digest_that_nobody_has_checked_is_no_proof(
    library: Any,
    scanned: Any,
    cloud: ObjectBackend,
    uploaded: Upload,
    remote: Any,
    claims: Any,
    s3_sha256: Any,
) -> None:
    """Another object, put with the digest of our file; rclone takes it, and gives it back."""
    library.add("a.mp3", b"ours")
    scanned()
    with suppress(ClientError):
        remote(cloud).put("a.mp3", b"them", ChecksumSHA256=s3_sha256(b"ours"))

    uploaded(cloud)

    there = remote(cloud).get("a.mp3")
    assert claims(cloud) == ({"a.mp3"} if there == b"ours" else set())


def test_a_changed_file_replaces_our_earlier_version(
    library: Any, scanned: Any, cloud: ObjectBackend, uploaded: Upload, remote: Any, claims: Any
) -> None:
    for content in (b"first", b"second", b"third"):
        library.add("a.mp3", content)
        scanned()
        assert uploaded(cloud).failures == []
        assert remote(cloud).get("a.mp3") == content
        assert claims(cloud) == {"a.mp3"}


def test_our_earlier_version_is_known_though_its_record_was_lost(
    library: Any,
    catalog: Catalog,
    scanned: Any,
    cloud: ObjectBackend,
    uploaded: Upload,
    remote: Any,
    change: Any,
    claims: Any,
) -> None:
    """By its metadata, whose names some stores give back in another case."""
    library.add("a.mp3", b"first")
    scanned()
    change(
        catalog,
        "CREATE TRIGGER fail BEFORE INSERT ON file_locations"
        " BEGIN SELECT RAISE(ABORT, 'out of luck'); END",
    )
    with pytest.raises(CatalogError):
        uploaded(cloud)
    change(catalog, "DROP TRIGGER fail")
    library.add("a.mp3", b"second")
    scanned()

    assert uploaded(cloud).failures == []
    assert remote(cloud).get("a.mp3") == b"second"
    assert claims(cloud) == {"a.mp3"}


def test_hostile_names_arrive(
    library: Any, scanned: Any, cloud: ObjectBackend, uploaded: Upload, remote: Any, claims: Any
) -> None:
    for name in HOSTILE:
        library.add(f"{name}/{name}.mp3", name.encode())
    scanned()

    report = uploaded(cloud)

    assert (report.succeeded, report.failures) == (len(HOSTILE), [])
    assert sorted(remote(cloud).contents().values()) == sorted(name.encode() for name in HOSTILE)
    assert len(claims(cloud)) == len(HOSTILE)


@pytest.mark.usefixtures("in_parts")
def test_a_large_file_arrives_in_parts_and_is_verified(
    library: Any, scanned: Any, cloud: ObjectBackend, uploaded: Upload, remote: Any, claims: Any
) -> None:
    content = library.add("large.flac", size=12 * MIB + 345).read_bytes()
    scanned()

    report = uploaded(cloud)

    assert (report.succeeded, report.failures) == (1, [])
    assert remote(cloud).get("large.flac") == content
    assert remote(cloud).head("large.flac")["ContentType"] == "audio/flac"
    assert claims(cloud) == {"large.flac"}


@pytest.mark.usefixtures("in_parts")
def test_a_changed_large_file_replaces_our_earlier_version(
    library: Any, scanned: Any, cloud: ObjectBackend, uploaded: Upload, remote: Any, claims: Any
) -> None:
    for size in (6 * MIB, 300, 7 * MIB):
        content = library.add("large.flac", size=size).read_bytes()
        scanned()
        assert uploaded(cloud).failures == []
        assert remote(cloud).get("large.flac") == content
        assert claims(cloud) == {"large.flac"}


@pytest.mark.usefixtures("in_parts")
@pytest.mark.parametrize("size", [300, 6 * MIB])
def test_what_a_network_damages_is_not_claimed(
    library: Any,
    scanned: Any,
    proxy: Any,
    through_proxy: ObjectBackend,
    uploaded: Upload,
    claims: Any,
    size: int,
) -> None:
    library.add("bad.flac", size=size)
    library.add("good.flac")
    scanned()

    def damage(request: Any) -> None:
        if request.method == "PUT" and "bad" in request.key:
            request.body = spoil(request.body)

    proxy.before.append(damage)

    report = uploaded(through_proxy)

    assert (report.succeeded, report.failed) == (1, 1)
    assert claims(through_proxy) == {"good.flac"}


def test_wrong_credentials_are_refused(
    library: Any,
    scanned: Any,
    cloud: ObjectBackend,
    uploaded: Upload,
    remote: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    library.fill(1)
    scanned()
    monkeypatch.setenv("CLOUD_SECRET_ACCESS_KEY", "wrong")

    with pytest.raises(UploadAborted) as caught:
        uploaded(cloud)

    assert isinstance(caught.value.cause, AccessRefusedError)
    assert remote(cloud).keys() == []


def test_a_missing_bucket_is_named_and_not_made(
    library: Any, scanned: Any, backend: Any, settings: Any, uploaded: Upload, s3: Any
) -> None:
    library.fill(1)
    scanned()

    with pytest.raises(UploadAborted) as caught:
        uploaded(backend(bucket="no-such-bucket", **settings))

    assert isinstance(caught.value.cause, BucketMissingError)
    assert "no-such-bucket" not in [b["Name"] for b in s3.list_buckets()["Buckets"]]


def test_a_run_that_was_killed_is_repeated_to_the_right_end(
    library: Any,
    catalog: Catalog,
    scanned: Any,
    proxy: Any,
    through_proxy: ObjectBackend,
    uploaded: Upload,
    start_command: Any,
    remote: Any,
    claims: Any,
) -> None:
    """Killed while some objects are there, some under way, and most of the rows not written."""
    library.fill(30)
    scanned()
    enqueue(catalog, through_proxy)
    dead = threading.Event()
    proxy.before.append(
        lambda r: dead.wait(30) and None if r.method == "PUT" and len(proxy.of("PUT")) > 8 else None
    )
    process = start_command(
        *("upload", "--backend", "cloud", "--workers", 4), CATALOGSYNC_DB=str(catalog.path)
    )
    proxy.wait_until(lambda: len(proxy.of("PUT")) > 8)
    process.kill()
    process.wait()
    dead.set()
    proxy.wait_until(lambda: all(request.status is not None for request in proxy.requests))
    claims(through_proxy)

    report = uploaded(through_proxy)

    assert report.failures == []
    assert remote(through_proxy).contents() == library.contents()
    assert claims(through_proxy) == set(library.contents())
