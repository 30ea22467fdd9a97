"""Uploads to every store: a row that says active is true, and nothing of others is overwritten.

Each test while nothing is known of the store, and by what a test of it has found out.
"""

from __future__ import annotations

import threading
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from botocore.exceptions import ClientError

from catalogsync_assets.core.backends import ObjectBackend
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.uploads import enqueue
from catalogsync_assets.core.errors import AccessRefusedError, BucketMissingError, CatalogError
from catalogsync_assets.core.transfer.engine import UploadAborted, UploadReport

Rows = Callable[..., list[Any]]
Upload = Callable[..., UploadReport]
MIB = 1024 * 1024
#: Of a file or a folder; each is legal on a disk, and each has broken some program.
ODD_NAMES = [
    *("a b", " a", "a ", "a  b", "a\u00a0b", ".hidden", "..x", "...", "a. b", "b.", "~a", "-a"),
    *("100%", "a%20b", "%2e%2e", "a%2Fb", "%zz", "a+b", "a#b", "a?b", "a:b", "a@b", "a!b^c"),
    *("a&b=c?d", "&amp;", "'a' \"b\"", "a;b,c", "<a>|*", "[x]{y}", "$HOME", "`a`", "(c)"),
    *("back\\slash", "CON", "Ä", unicodedata.normalize("NFD", "Öl"), "雨", "🎵", "👩\u200d🎤"),
    *("\u202egnp", "\ufeffa", "a\u2028b", "a\u0085b", "\uff0f", "a" * 200, "é" * 90),
]


def spoil(body: bytes) -> bytes:
    return bytes([body[0] ^ 1]) + body[1:]


class Uploads:
    """What an upload does, on every store."""

    def test_new_files_arrive_and_are_verified(
        self,
        library: Any,
        scanned: Any,
        cloud: ObjectBackend,
        uploaded: Upload,
        remote: Any,
        claims: Any,
    ) -> None:
        library.fill(20)
        library.add("empty.mp3", b"")
        scanned()

        report = uploaded(cloud)

        assert (report.succeeded, report.failures) == (21, [])
        assert remote(cloud).contents() == library.contents()
        assert claims(cloud) == set(library.contents())

    def test_a_second_run_sends_nothing(
        self, library: Any, scanned: Any, proxy: Any, through_proxy: ObjectBackend, uploaded: Upload
    ) -> None:
        library.fill(3)
        scanned()
        uploaded(through_proxy)
        proxy.requests.clear()

        assert uploaded(through_proxy).queued == 0
        assert proxy.requests == []

    def test_an_identical_object_is_adopted(
        self,
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
        self,
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
        self,
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
        self,
        library: Any,
        scanned: Any,
        cloud: ObjectBackend,
        uploaded: Upload,
        remote: Any,
        claims: Any,
    ) -> None:
        for content in (b"first", b"second", b"third"):
            library.add("a.mp3", content)
            scanned()
            assert uploaded(cloud).failures == []
            assert remote(cloud).get("a.mp3") == content
            assert claims(cloud) == {"a.mp3"}

    def test_our_earlier_version_is_known_though_its_record_was_lost(
        self,
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

    def test_odd_names_arrive(
        self,
        library: Any,
        scanned: Any,
        cloud: ObjectBackend,
        uploaded: Upload,
        remote: Any,
        claims: Any,
    ) -> None:
        for name in ODD_NAMES:
            library.add(f"{name}/{name}.mp3", name.encode())
        scanned()

        report = uploaded(cloud)

        assert (report.succeeded, report.failures) == (len(ODD_NAMES), [])
        assert sorted(remote(cloud).contents().values()) == sorted(
            name.encode() for name in ODD_NAMES
        )
        assert len(claims(cloud)) == len(ODD_NAMES)

    @pytest.mark.usefixtures("in_parts")
    def test_a_large_file_arrives_in_parts_and_is_verified(
        self,
        library: Any,
        scanned: Any,
        cloud: ObjectBackend,
        uploaded: Upload,
        remote: Any,
        claims: Any,
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
        self,
        library: Any,
        scanned: Any,
        cloud: ObjectBackend,
        uploaded: Upload,
        remote: Any,
        claims: Any,
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
        self,
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
        self,
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
        self, library: Any, scanned: Any, backend: Any, settings: Any, uploaded: Upload, s3: Any
    ) -> None:
        library.fill(1)
        scanned()

        with pytest.raises(UploadAborted) as caught:
            uploaded(backend(bucket="no-such-bucket", **settings))

        assert isinstance(caught.value.cause, BucketMissingError)
        assert "no-such-bucket" not in [b["Name"] for b in s3.list_buckets()["Buckets"]]

    def test_a_run_that_was_killed_is_repeated_to_the_right_end(
        self,
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
            lambda r: (
                dead.wait(30) and None if r.method == "PUT" and len(proxy.of("PUT")) > 8 else None
            )
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
