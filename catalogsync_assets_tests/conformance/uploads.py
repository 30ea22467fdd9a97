"""Uploads to every store: a row that says active is true, and nothing of others is overwritten.

Each test where the first upload asks the store by itself, where it may not, and where a test of the
store has been done before.
"""

import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from catalogsync_assets.core.errors import AccessRefusedError, BucketMissingError, CatalogError
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.objects import ObjectMetadata
from catalogsync_assets.core.upload.multipart import PARTS_IN_FLIGHT
from catalogsync_assets.core.upload.upload import UploadReport
from catalogsync_assets_tests.support.database import change, rows
from catalogsync_assets_tests.support.files import s3_sha256
from catalogsync_assets_tests.support.proxy import Gate, refusal
from catalogsync_assets_tests.support.uploads import aborted

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


def answered_parts(proxy: Any) -> list[int]:
    """The parts that the store has taken, as often as it has."""
    with proxy.lock:
        taken = [request for request in proxy.requests if request.status == 200]
    return [number for request in taken if (number := request.part)]


class Uploads:
    """What an upload does, on every store."""

    def test_new_files_arrive_and_are_verified(self, library, cloud, synced, remote, claims):
        library.fill(20)
        library.add("empty.mp3", b"")

        report = synced(cloud)

        assert (report.succeeded, report.failures) == (21, [])
        assert remote(cloud).contents() == library.contents()
        assert claims(cloud) == set(library.contents())

    def test_a_second_run_sends_nothing(self, library, proxy, through_proxy, uploaded, synced):
        library.fill(3)
        synced(through_proxy)
        proxy.requests.clear()

        assert uploaded(through_proxy).queued == 0
        assert proxy.requests == []

    def test_an_identical_object_is_adopted(self, library, through_proxy, synced, remote, claims):
        content = library.add("a.mp3").read_bytes()
        library.add("b.mp3", b"bytes")
        remote(through_proxy).put("a.mp3", content)

        report = synced(through_proxy, workers=1)

        assert (report.adopted, report.succeeded, report.failed) == (1, 1, 0)
        assert report.bytes == len(b"bytes")
        assert claims(through_proxy) == {"a.mp3", "b.mp3"}

    @pytest.mark.parametrize("theirs", [b"them", b"somebody else's"])
    def test_another_object_is_a_conflict_and_stays(
        self, library, cloud, synced, remote, claims, statuses, theirs
    ):
        library.add("a.mp3", b"ours")
        library.add("b.mp3")
        remote(cloud).put("a.mp3", theirs)

        report = synced(cloud)

        assert (report.succeeded, [f.code for f in report.failures]) == (1, ["Conflict"])
        assert "another object is stored" in report.failures[0].reason
        assert "nothing was overwritten" in report.failures[0].reason
        assert statuses() == {"succeeded": 1, "failed": 1}
        assert remote(cloud).get("a.mp3") == theirs
        assert claims(cloud) == {"b.mp3"}

    def test_a_digest_that_nobody_has_checked_is_no_proof(
        self, library, cloud, synced, remote, claims
    ):
        """Another object, put with the digest of our file; rclone takes it, and gives it back."""
        library.add("a.mp3", b"ours")
        with suppress(ClientError):
            remote(cloud).put("a.mp3", b"them", ChecksumSHA256=s3_sha256(b"ours"))

        synced(cloud)

        there = remote(cloud).get("a.mp3")
        assert claims(cloud) == ({"a.mp3"} if there == b"ours" else set())

    def test_a_changed_file_replaces_our_earlier_version(
        self, library, catalog, cloud, synced, remote, claims
    ):
        for content in (b"first", b"second", b"third"):
            library.add("a.mp3", content)
            assert synced(cloud).succeeded == 1
            assert remote(cloud).contents() == {"a.mp3": content}
            assert claims(cloud) == {"a.mp3"}
        sql = (
            "SELECT status FROM file_locations WHERE backend_id = ?"
            " AND locator NOT LIKE '%.catalogsync/%' ORDER BY file_asset_id"
        )
        assert rows(catalog, sql, cloud.id) == ["superseded", "superseded", "active"]

    def test_our_earlier_version_is_known_though_its_record_was_lost(
        self, library, catalog, scanned, cloud, uploaded, synced, remote, claims
    ):
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

        assert synced(cloud).failures == []
        assert remote(cloud).get("a.mp3") == b"second"
        assert claims(cloud) == {"a.mp3"}

    def test_odd_names_arrive(self, library, cloud, synced, remote, claims):
        for name in ODD_NAMES:
            library.add(f"{name}/{name}.mp3", name.encode())

        report = synced(cloud)

        assert (report.succeeded, report.failures) == (len(ODD_NAMES), [])
        assert sorted(remote(cloud).contents().values()) == sorted(
            name.encode() for name in ODD_NAMES
        )
        assert len(claims(cloud)) == len(ODD_NAMES)

    @pytest.mark.usefixtures("small_parts")
    def test_a_large_file_arrives_in_parts_and_is_verified(
        self, library, cloud, synced, remote, claims
    ):
        content = library.add("large.flac", size=12 * MIB + 345).read_bytes()

        report = synced(cloud)

        assert (report.succeeded, report.failures, report.bytes) == (1, [], len(content))
        assert remote(cloud).get("large.flac") == content
        assert remote(cloud).head("large.flac")["ContentType"] == "audio/flac"
        assert remote(cloud).unfinished() == []
        assert claims(cloud) == {"large.flac"}

    @pytest.mark.usefixtures("small_parts")
    def test_a_changed_large_file_replaces_our_earlier_version(
        self, library, cloud, synced, remote, claims
    ):
        for size in (6 * MIB, 300, 7 * MIB):
            content = library.add("large.flac", size=size).read_bytes()
            assert synced(cloud).failures == []
            assert remote(cloud).get("large.flac") == content
            assert claims(cloud) == {"large.flac"}

    @pytest.mark.usefixtures("small_parts")
    @pytest.mark.parametrize("size", [300, 6 * MIB])
    def test_what_a_network_damages_is_not_claimed(
        self, library, proxy, through_proxy, synced, claims, size
    ):
        library.add("bad.flac", size=size)
        library.add("good.flac")
        proxy.spoil_requests(lambda r: r.method == "PUT" and "bad" in r.key)

        report = synced(through_proxy)

        assert (report.succeeded, report.failed) == (1, 1)
        assert claims(through_proxy) == {"good.flac"}

    def test_wrong_credentials_are_refused(self, library, cloud, synced, remote, monkeypatch):
        library.fill(1)
        monkeypatch.setenv("CLOUD_SECRET_ACCESS_KEY", "wrong")

        assert isinstance(aborted(synced, cloud).cause, AccessRefusedError)
        assert remote(cloud).keys() == []

    def test_a_missing_bucket_is_named_and_not_made(
        self, library, backend, settings, synced, s3, statuses
    ):
        library.fill(3)

        error = aborted(synced, backend(bucket="no-such-bucket", **settings))

        assert isinstance(error.cause, BucketMissingError)
        assert "'no-such-bucket'" in error.message
        assert "make the bucket" in (error.hint or "")
        assert statuses() == {"pending": 3}
        assert "no-such-bucket" not in [b["Name"] for b in s3.list_buckets()["Buckets"]]

    def test_a_run_that_was_killed_is_repeated_to_the_right_end(
        self, library, scanned, proxy, through_proxy, uploaded, uploading, remote, claims
    ):
        """Killed while some objects are there, some under way, and most of the rows not written."""
        library.fill(30)
        scanned()
        gate = Gate(proxy, passing=8)
        process = uploading("--workers", 4)
        gate.wait_for()
        gate.open_after_the_end_of(process)
        claims(through_proxy)

        assert uploaded(through_proxy).failures == []
        assert remote(through_proxy).contents() == library.contents()
        assert claims(through_proxy) == set(library.contents())

    def test_a_foreign_object_stays_though_versioning_was_switched_on_after_the_test(
        self, library, backend, synced, ask, s3, remote, claims
    ):
        """Ceph 16, for one, ignores If-None-Match from then on."""
        bucket = "versioned"
        s3.create_bucket(Bucket=bucket)
        cloud = backend(bucket=bucket, provider="other", tested=ask(bucket).profile)
        try:
            s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        except ClientError as error:
            pytest.skip(f"the store keeps no versions ({error.response['Error']['Code']})")
        library.add("a.mp3", b"ours")
        library.add("b.mp3")
        remote(cloud).put("a.mp3", b"them")

        report = synced(cloud)

        assert (report.succeeded, [f.code for f in report.failures]) == (1, ["Conflict"])
        assert remote(cloud).get("a.mp3") == b"them"
        assert claims(cloud) == {"b.mp3"}
        library.add("b.mp3", b"edited")
        assert synced(cloud).succeeded == 1
        assert remote(cloud).get("b.mp3") == b"edited"
        assert claims(cloud) == {"b.mp3"}

    def test_an_object_that_comes_between_look_and_put_stays(
        self, library, proxy, through_proxy, synced, found_out, remote, claims
    ):
        if not found_out.conditional_put:
            pytest.skip("the store keeps no conditions: there the look is all there is")
        library.add("a.mp3", b"ours")

        def come_first(request):
            if request.method == "PUT" and request.key.endswith("/a.mp3"):
                remote(through_proxy).put("a.mp3", b"them")

        proxy.before.append(come_first)

        report = synced(through_proxy)

        assert (report.succeeded, [f.code for f in report.failures]) == (0, ["Conflict"])
        assert remote(through_proxy).get("a.mp3") == b"them"
        assert claims(through_proxy) == set()

    def test_many_files_at_once_all_arrive_while_the_store_is_being_learned(
        self, proxy, through_proxy, remote
    ):
        """All are on their way before the first refusal tells that there are no conditions."""
        # rclone answers 500 where many are the first of a folder at once.
        remote(through_proxy).put("there.mp3", b"there.mp3")
        client = StoreClient(replace(through_proxy, workers=61))

        def wait_for_all(request):
            if request.method == "PUT":
                proxy.wait_until(lambda: len(proxy.of("PUT")) >= 61)

        proxy.before.append(wait_for_all)
        labels = ObjectMetadata("audio/mpeg", "a/1")
        keys = [f"{i}.mp3" for i in range(61)]

        def put(key):
            client.put(through_proxy.key_prefix + key, key.encode(), labels, replacing=None)

        with ThreadPoolExecutor(61) as pool:
            list(pool.map(put, keys))

        there = {key: key.encode() for key in [*keys, "there.mp3"]}
        assert remote(through_proxy).contents() == there

    def test_a_killed_upload_in_parts_goes_on_with_exactly_the_missing_parts(
        self, library, catalog, scanned, proxy, through_proxy, uploaded, uploading, remote, claims
    ):
        """In its real sizes: nine parts of 8 MiB and a rest."""
        content = library.add("large.flac", size=72 * MIB + 5).read_bytes()
        scanned()
        gate = Gate(proxy, lambda r: (r.part or 0) > 3, answer=refusal(0))
        process = uploading()
        proxy.wait_until(lambda: len(answered_parts(proxy)) == 3)
        gate.wait_for(PARTS_IN_FLIGHT)  # one that came after the kill would pass
        gate.open_after_the_end_of(process)
        assert claims(through_proxy) == set()
        (upload_id,) = rows(catalog, "SELECT upload_id FROM multipart_uploads")
        assert remote(through_proxy).parts("large.flac", upload_id) == [1, 2, 3]

        report = uploaded(through_proxy)

        assert (report.succeeded, report.failures) == (1, [])
        assert sorted(answered_parts(proxy)) == [*range(4, 11)]
        assert remote(through_proxy).get("large.flac") == content
        assert remote(through_proxy).unfinished() == []
        assert claims(through_proxy) == {"large.flac"}

    @pytest.mark.usefixtures("small_parts")
    def test_of_unfinished_uploads_only_ours_are_aborted(
        self, library, catalog, proxy, through_proxy, synced, remote, s3, claims
    ):
        library.add("large.flac", size=12 * MIB)
        proxy.answer(refusal(503), lambda r: r.part == 2)
        assert synced(through_proxy).retryable
        (ours,) = rows(catalog, "SELECT upload_id FROM multipart_uploads")
        key = through_proxy.key_prefix + "large.flac"
        theirs = s3.create_multipart_upload(Bucket=through_proxy.bucket, Key=key)["UploadId"]
        where = {"Bucket": through_proxy.bucket, "Key": key, "UploadId": theirs}
        s3.upload_part(**where, PartNumber=1, Body=b"theirs")
        library.add("large.flac", size=11 * MIB)
        proxy.before.clear()

        report = synced(through_proxy)

        assert (report.succeeded, report.failures) == (1, [])
        assert remote(through_proxy).parts("large.flac", theirs) == [1]
        with pytest.raises(ClientError, match=r"NoSuch(Upload|Key)"):
            remote(through_proxy).parts("large.flac", ours)
        assert claims(through_proxy) == {"large.flac"}
        s3.abort_multipart_upload(**where)

    @pytest.mark.usefixtures("small_parts")
    def test_a_completion_whose_answer_was_lost_is_no_failure(
        self, library, proxy, through_proxy, synced, remote, claims
    ):
        """Of the second try, Ceph says that the first is still in progress."""
        content = library.add("large.flac", size=11 * MIB).read_bytes()
        lost = proxy.lose_answer(lambda r: r.completes_parts)

        report = synced(through_proxy)

        assert (len(lost), report.succeeded, report.failures) == (1, 1, [])
        assert remote(through_proxy).get("large.flac") == content
        assert remote(through_proxy).unfinished() == []
        assert claims(through_proxy) == {"large.flac"}
