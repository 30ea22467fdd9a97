"""Adopting a bucket that other tools have filled: nothing is sent, and nothing claimed unproven."""

import hashlib
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig

from catalogsync_assets.core.adopt import adopt as adopt_module
from catalogsync_assets.core.adopt.adopt import adopt
from catalogsync_assets.core.catalog.object_keys import MAX_KEY_BYTES
from catalogsync_assets.core.catalog.upload_plan import enqueue
from catalogsync_assets.core.catalog.upload_queue import count_pending
from catalogsync_assets.core.errors import RunAborted
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets_tests.support.database import bytes_of, change, rows
from catalogsync_assets_tests.support.files import s3_sha256, sha256
from catalogsync_assets_tests.support.proxy import Answer, refusal
from catalogsync_assets_tests.support.stores import rclone_copy

MIB = 1024 * 1024
PLACES = (
    "SELECT l.locator, l.status, l.verified_by FROM file_locations l JOIN storage_backends b"
    " ON b.id = l.backend_id WHERE b.backend_type = 'object_storage' ORDER BY l.locator"
)


@pytest.fixture
def cloud(backend, proxy):
    """A backend whose requests are seen."""
    return backend(endpoint=proxy.endpoint)


@pytest.fixture
def adopted(catalog, cloud, proxy):
    """`adopted()` adopts what is in `cloud`, and makes sure that nothing was sent."""

    def run(backend=cloud, **options):
        report = adopt(catalog, backend, **{"workers": 4, "attempts": 2, **options})
        assert {r.method for r in proxy.requests} <= {"GET", "HEAD"}
        return report

    return run


def send_in_parts(s3: Any, path: Path, backend: ObjectBackend, key: str, part: int) -> None:
    """As `aws s3 cp` does, with parts of this size."""
    settings = TransferConfig(multipart_threshold=MIB, multipart_chunksize=part)
    s3.upload_file(str(path), backend.bucket, backend.key_prefix + key, Config=settings)


@pytest.fixture
def copied_by_rclone(library, scanned, store, cloud):
    """`copied_by_rclone(3)`: so many files that rclone has copied to `cloud` and a scan knows."""

    def make(count):
        library.fill(count)
        rclone_copy(store, library.root, cloud)
        scanned()

    return make


@pytest.fixture
def gone(library, scanned, synced, backend):
    """`gone(name)`: a file that is known from another backend, and no longer here; its content."""

    def make(name):
        path = library.add(name)
        content = path.read_bytes()
        synced(backend("other"))
        path.unlink()
        scanned(allow_empty=True)
        return content

    return make


# --- what others have stored ----------------------------------------------------------------------


def test_what_rclone_stored_is_adopted_and_nothing_is_left_to_upload(
    library, scanned, adopted, cloud, store, catalog, uploaded, proxy
):
    library.fill(20)
    library.add("Björk/Jóga.flac", b"j" * 5_000)
    library.add("big.flac", size=11 * MIB)
    rclone_copy(store, library.root, cloud, "--s3-upload-cutoff", "6Mi", "--s3-chunk-size", "5Mi")
    scanned()
    enqueue(catalog, cloud)

    report = adopted()

    assert (report.listed, report.adopted, report.by) == (22, 22, {"etag": 22})
    assert (report.differ, report.undecided, report.foreign, report.lacking) == (0, 0, 0, 0)
    assert {(status, how) for _, status, how in rows(catalog, PLACES)} == {("active", "etag")}
    digests = set(rows(catalog, "SELECT sha256 FROM file_assets"))
    assert digests == {sha256(content) for content in library.contents().values()}
    assert count_pending(catalog, cloud) == (0, 0)
    proxy.requests.clear()
    assert uploaded(cloud).queued == 0
    assert proxy.requests == []
    assert adopted().known == 22


@pytest.mark.parametrize("part", [5 * MIB, 9 * MIB])
def test_what_was_sent_in_parts_is_known_by_its_etag(library, scanned, adopted, cloud, s3, part):
    path = library.add("big.flac", size=11 * MIB + 5)
    send_in_parts(s3, path, cloud, "big.flac", part)
    scanned()

    assert adopted().by == {"etag": 1}


def test_the_size_of_parts_is_guessed_where_the_store_does_not_tell_it(
    library, scanned, adopted, cloud, s3, proxy
):
    path = library.add("big.flac", size=11 * MIB + 5)
    send_in_parts(s3, path, cloud, "big.flac", 8 * MIB)
    scanned()
    proxy.answer(refusal(400, "InvalidArgument"), lambda r: "partNumber" in r.parameters)

    assert adopted().by == {"etag": 1}


def test_a_digest_that_the_store_keeps_is_enough_without_a_local_file(gone, adopted, cloud, remote):
    content = gone("a.flac")
    remote(cloud).put("a.flac", content, ChecksumSHA256=s3_sha256(content))

    assert adopted().by == {"head": 1}


def test_without_a_local_file_and_without_a_digest_it_is_read_only_on_request(
    gone, adopted, cloud, remote, catalog
):
    content = gone("a.flac")
    remote(cloud).put("a.flac", content)

    undecided = adopted()
    assert (undecided.adopted, undecided.undecided) == (0, 1)
    assert undecided.mismatches[0].code == "undecided"
    assert len(rows(catalog, PLACES)) == 1

    assert adopted(may_read=True).by == {"read": 1}


def test_an_etag_that_is_no_md5_proves_nothing(library, scanned, backend, adopted, proxy, remote):
    """As on AWS with keys of KMS: it looks like an MD5, but is none."""
    path = library.add("a.flac")
    aws = backend("aws", endpoint=proxy.endpoint, provider="other")
    remote(aws).put("a.flac", path.read_bytes())
    scanned()
    right = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest().encode()

    def disguise(_, answer):
        answer.body = answer.body.replace(right, b"0" * 32)

    proxy.after.append(disguise)

    assert adopted(aws).undecided == 1
    assert adopted(aws, may_read=True).by == {"read": 1}


def test_what_rclone_notes_of_a_file_is_no_proof(library, scanned, backend, adopted, proxy, remote):
    path = library.add("a.flac")
    unknown = backend("unknown", endpoint=proxy.endpoint, provider="other")
    md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).digest()
    remote(unknown).put("a.flac", b"x" * 300, Metadata={"md5chksum": md5.hex()})
    scanned()

    assert adopted(unknown).adopted == 0


def test_names_in_another_normal_form_are_the_same_names(
    library, scanned, adopted, cloud, remote, catalog
):
    path = library.add("Jóga.flac")
    decomposed = unicodedata.normalize("NFD", "Jóga.flac")
    remote(cloud).put(decomposed, path.read_bytes())
    scanned()

    assert adopted().adopted == 1
    assert rows(catalog, PLACES) == [(cloud.key_prefix + decomposed, "active", "etag")]
    assert adopted().known == 1


# --- what does not match ------------------------------------------------------------------------


def test_what_does_not_match_is_listed_and_left_alone(
    library, scanned, adopted, cloud, remote, catalog
):
    paths = library.fill(5)
    store = remote(cloud)
    store.put("album/0000.mp3", paths[0].read_bytes())
    store.put("album/0001.mp3", b"short")
    store.put("album/0002.mp3", b"x" * 300)
    store.put("ALBUM/0003.mp3", b"a name that is only alike")
    store.put("cover.jpg", b"a picture")
    scanned()
    before = store.contents()

    report = adopted()

    assert (report.adopted, report.differ, report.foreign, report.lacking) == (1, 2, 2, 2)
    prefix = cloud.key_prefix
    assert [(m.key, m.code) for m in report.mismatches] == [
        (prefix + "album/0001.mp3", "size"),
        (prefix + "album/0002.mp3", "content"),
    ]
    assert sorted(report.foreign_keys) == [prefix + "ALBUM/0003.mp3", prefix + "cover.jpg"]
    assert report.lacking_keys == [prefix + "album/0003.mp3", prefix + "album/0004.mp3"]
    assert rows(catalog, PLACES) == [(prefix + "album/0000.mp3", "active", "etag")]
    assert store.contents() == before


def test_a_dry_run_records_nothing(library, scanned, adopted, cloud, store, catalog):
    library.fill(3)
    rclone_copy(store, library.root, cloud)
    library.add("more.mp3")
    scanned()
    catalog.close()
    before = bytes_of(catalog.path)

    report = adopted(dry_run=True)

    assert (report.adopted, report.lacking) == (3, 1)
    catalog.close()
    assert bytes_of(catalog.path) == before


def test_a_file_that_changed_since_the_scan_is_not_adopted(library, scanned, adopted, cloud, store):
    library.fill(2)
    scanned()
    library.add("album/0000.mp3", b"n" * 300)
    rclone_copy(store, library.root, cloud)

    report = adopted()

    assert (report.adopted, report.failed) == (1, 1)
    assert report.mismatches[0].code == "SourceChanged"


def test_a_damaged_file_does_not_become_the_truth(library, scanned, adopted, cloud, store, catalog):
    """The catalog knows another digest, though size and time are the same."""
    library.fill(1)
    scanned()
    change(catalog, "UPDATE file_assets SET sha256 = ?", "0" * 64)
    rclone_copy(store, library.root, cloud)

    report = adopted()

    assert (report.adopted, [m.code for m in report.mismatches]) == (0, ["ContentDiffers"])


def test_newer_content_that_is_recorded_meanwhile_is_not_overtaken(
    copied_by_rclone, library, scanned, cloud, catalog, uploaded, monkeypatch
):
    """The file is edited, scanned and uploaded between the comparison and its record."""
    copied_by_rclone(1)
    record = adopt_module.queries.record

    def edit_then_record(*arguments):
        uploaded_before = adopt(catalog, cloud, dry_run=True).adopted
        assert uploaded_before == 1
        record(*arguments)
        library.add("album/0000.mp3", b"edited")
        scanned()
        enqueue(catalog, cloud)
        assert uploaded(cloud).succeeded == 1
        return record(*arguments)

    monkeypatch.setattr(adopt_module.queries, "record", edit_then_record)
    adopt(catalog, cloud)

    active = rows(
        catalog,
        "SELECT f.size_bytes FROM file_locations l JOIN file_assets f ON f.id = l.file_asset_id"
        " WHERE l.backend_id = ? AND l.status = 'active'",
        cloud.id,
    )
    assert active == [len(b"edited")]


def test_an_object_that_was_found_damaged_and_replaced_by_hand_is_adopted_again(
    copied_by_rclone, adopted, cloud, catalog
):
    copied_by_rclone(1)
    adopted()
    change(catalog, "UPDATE file_locations SET status = 'damaged' WHERE backend_id = ?", cloud.id)

    assert adopted().adopted == 1
    assert [status for _, status, _ in rows(catalog, PLACES)] == ["active"]


# --- how it goes --------------------------------------------------------------------------------


def test_one_object_that_cannot_be_looked_at_does_not_stop_the_others(
    library, scanned, backend, adopted, proxy, store
):
    library.fill(5)
    unknown = backend("unknown", endpoint=proxy.endpoint, provider="other")
    rclone_copy(store, library.root, unknown)
    scanned()
    (library.root / "album/0001.mp3").unlink()

    report = adopted(unknown)

    assert (report.adopted, report.failed) == (4, 1)
    assert report.mismatches[0].code == "SourceMissing"


def test_a_store_that_does_not_answer_is_an_error_with_what_was_done(
    library, scanned, catalog, backend, unused_endpoint
):
    library.fill(1)
    scanned()

    with pytest.raises(RunAborted) as caught:
        adopt(catalog, backend("gone", endpoint=unused_endpoint), attempts=1)

    assert caught.value.hint


def test_few_requests_for_many_objects(copied_by_rclone, adopted, proxy):
    copied_by_rclone(50)

    assert adopted().adopted == 50
    assert len(proxy.requests) <= 3


# --- names that differ from our keys --------------------------------------------------------------

LONG = "/".join(["ü" * 100] * 4 + ["x" * 150 + ".mp3"])
ODD = ["AC\\DC/Back.mp3", "what: is it?.mp3", "Ｆull.mp3", LONG]


def test_a_long_path_is_known_by_the_name_that_rclone_gives_it(
    library, scanned, adopted, cloud, store, catalog
):
    for name in ODD:
        library.add(name)
    rclone_copy(store, library.root, cloud)
    scanned()
    assert len(LONG.encode()) > MAX_KEY_BYTES

    report = adopted()

    assert (report.adopted, report.foreign, report.lacking) == (len(ODD), 0, 0)
    assert cloud.key_prefix + LONG in {key for key, _, _ in rows(catalog, PLACES)}
    enqueue(catalog, cloud)
    assert count_pending(catalog, cloud) == (0, 0)


@pytest.mark.parametrize("encoded", [False, True], ids=["raw", "encoded"])
def test_a_backslash_is_known_raw_and_as_rclone_encodes_it(
    library, scanned, adopted, cloud, proxy, catalog, encoded
):
    """The store of the tests would keep a backslash as a slash, so the proxy lists it."""
    content = library.add("AC\\DC/a.mp3").read_bytes()
    library.add("AC_DC/a.mp3")
    scanned()
    key = cloud.key_prefix + ("AC＼DC/a.mp3" if encoded else "AC\\DC/a.mp3")
    etag = hashlib.md5(content, usedforsecurity=False).hexdigest()
    listing = (
        "<ListBucketResult><IsTruncated>false</IsTruncated><Contents>"
        f"<Key>{key}</Key><ETag>{etag}</ETag><Size>{len(content)}</Size></Contents>"
        "</ListBucketResult>"
    )
    proxy.answer(Answer(200, {}, listing.encode()), lambda r: "list-type" in r.parameters)

    report = adopted()

    assert (report.adopted, report.foreign, report.lacking) == (1, 0, 1)
    assert rows(catalog, PLACES) == [(key, "active", "etag")]
