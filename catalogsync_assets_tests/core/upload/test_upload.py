"""Uploading when nothing goes wrong: all there, verified, recorded, and never sent twice."""

import unicodedata

import pytest
from botocore.exceptions import ClientError

from catalogsync_assets.core.catalog.scope import Scope
from catalogsync_assets.core.catalog.upload_plan import enqueue
from catalogsync_assets.core.library.scan import scan
from catalogsync_assets.core.upload.upload import Limits, UploadReport, upload
from catalogsync_assets_tests.support.database import rows
from catalogsync_assets_tests.support.files import s3_sha256, sha256


def figures(report: UploadReport) -> tuple[int, int, int, int]:
    """Queued, succeeded, adopted, failed."""
    return report.queued, report.succeeded, report.adopted, report.failed


def test_every_file_arrives_byte_for_byte(library, cloud, synced, remote):
    library.fill(20)
    library.add("empty.mp3", b"")
    library.add("one byte.mp3", b"\0")
    library.add("larger.flac", size=3_000_000)

    report = synced(cloud)

    assert figures(report) == (23, 23, 0, 0)
    assert report.bytes == report.queued_bytes == sum(map(len, library.contents().values()))
    assert report.seconds > 0
    assert remote(cloud).contents() == library.contents()


def test_real_music_with_real_names_arrives(sample, catalog, cloud, uploaded, remote):
    scan(catalog, [sample])

    assert figures(uploaded(cloud)) == (24, 24, 0, 0)
    assert remote(cloud).contents() == {
        unicodedata.normalize("NFC", path.relative_to(sample).as_posix()): path.read_bytes()
        for path in sample.rglob("*")
        if path.is_file()
    }


NAMES = [
    " lead and trail /  x .mp3",
    "100% #1? a+b&c=d;e,f.mp3",
    "%2F%00%C3.mp3",
    "~tilde/$money/@at/!bang.mp3",
    "'single' \"double\" `back`.mp3",
    "[a]{b}(c)<d>|^*.mp3",
    "..dots/...mp3.mp3",
    ".hidden/x..mp3",
    "dot at end./a.mp3",
    "colon: semicolon;.mp3",
    "\u0085next line.mp3",
    "\u00a0\u2028\u2029\u200b\ufeff.mp3",
    "\u202egpj.mp3",
    "\ufffe\uffff.mp3",
    "🎵/👩🏽‍🚀.mp3",
    "雨/月影.mp3",
    "مطرٌ خفيف.mp3",
    "x" * 251 + ".mp3",
    "/".join(["d" * 100] * 8) + "/deep.mp3",
]


@pytest.mark.parametrize("large", [False, True])
def test_every_name_becomes_the_key_that_was_planned(
    library, cloud, synced, remote, upload_limits, large
):
    """Whichever client sends it: small files go by obstore, large ones by boto3."""
    if large:
        upload_limits["single_put_bytes"] = 10
    for name in NAMES:
        library.add(name)

    assert synced(cloud).failures == []
    assert remote(cloud).contents() == library.contents()


def test_names_that_need_another_key_arrive_too(library, cloud, synced, remote):
    for name in ("A.mp3", "a.mp3", "back\\slash.mp3", "A\u0308.mp3", "\u00c4.mp3"):
        library.add(name)
    library.add("/".join(["d" * 200] * 10) + "/too deep for a key.mp3")

    assert synced(cloud).failures == []
    assert sorted(remote(cloud).contents().values()) == sorted(library.contents().values())


def test_the_catalog_knows_digest_place_and_verification(library, catalog, cloud, synced, remote):
    library.fill(3)
    synced(cloud)

    contents = library.contents()
    assert dict(
        rows(
            catalog,
            "SELECT l.locator, f.sha256 FROM file_locations l"
            " JOIN file_assets f ON f.id = l.file_asset_id WHERE l.backend_id = ?",
            cloud.id,
        )
    ) == {f"{cloud.base_prefix}/{path}": sha256(content) for path, content in contents.items()}
    for locator, etag, size, how, when in rows(
        catalog,
        "SELECT locator, etag, size_bytes, verified_by, verified_at FROM file_locations"
        " WHERE backend_id = ? AND status = 'active'",
        cloud.id,
    ):
        head = remote(cloud).head(locator.removeprefix(cloud.key_prefix))
        assert (etag, size) == (head["ETag"], head["ContentLength"])
        assert how == "server-digest"
        assert when is not None


def test_objects_carry_their_media_type_and_digest(library, cloud, synced, remote):
    kinds = {
        "a.flac": "audio/flac",
        "a.m4a": "audio/mp4",
        "a.opus": "audio/ogg",
        "a.ogg": "audio/ogg",
        "a.MP3": "audio/mpeg",
        "a.wav": "audio/wav",
        "a.wma": "audio/x-ms-wma",
    }
    for name in kinds:
        library.add(name)
    synced(cloud)

    for name, kind in kinds.items():
        head, content = remote(cloud).head(name), (library.root / name).read_bytes()
        assert head["ContentType"] == kind
        assert head["Metadata"]["sha256"] == sha256(content)
        assert head["ChecksumSHA256"] == s3_sha256(content)


def test_only_what_is_new_is_sent(library, proxy, backend, synced):
    library.fill(5)
    cloud = backend(endpoint=proxy.endpoint)
    synced(cloud)
    proxy.requests.clear()
    library.add("new.mp3")

    synced(cloud)

    assert [request.key for request in proxy.of("PUT")] == [f"{cloud.base_prefix}/new.mp3"]


def test_two_backends_get_their_own_copies(library, backend, uploaded, synced, remote):
    library.fill(3, folder="at the root of the bucket")
    one, other = backend("one"), backend("other", base_prefix="")
    contents = library.contents()

    synced(one)
    assert remote(one).contents() == contents
    for key in contents:
        with pytest.raises(ClientError, match="404"):
            remote(other).head(key)
    uploaded(other)

    for key, content in contents.items():
        assert remote(other).get(key) == content
        remote(other).delete(key)


def test_a_limit_uploads_so_many_files(library, cloud, uploaded, synced, remote, statuses):
    library.fill(10)

    assert figures(synced(cloud, limit=4)) == (4, 4, 0, 0)
    assert len(remote(cloud).keys()) == 4
    assert statuses() == {"succeeded": 4, "pending": 6}
    assert figures(uploaded(cloud, limit=100)) == (6, 6, 0, 0)


def test_a_scope_uploads_its_files_and_no_others(library, catalog, scanned, cloud, remote):
    library.fill(6)
    _, second, _ = scanned(batch_max_files=2).batches
    enqueue(catalog, cloud)

    report = upload(catalog, cloud, scope=Scope(batch_key=second), limits=Limits(workers=2))

    assert figures(report) == (2, 2, 0, 0)
    assert remote(cloud).keys() == ["album/0002.mp3", "album/0003.mp3"]


def test_progress_counts_only_what_is_recorded(library, catalog, cloud, synced):
    library.fill(10)
    claims = []

    def compare(report):
        recorded = rows(catalog, "SELECT COUNT(*) FROM upload_tasks WHERE status = 'succeeded'")
        claims.append((report.succeeded, recorded[0]))

    synced(cloud, progress=compare)

    assert claims[-1] == (10, 10)
    assert all(said <= recorded for said, recorded in claims)
