"""The catalog on a backend: made when something has changed, verified, recorded; and read back."""

import datetime as dt
import errno
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from catalogsync_assets.core.backup import backup, making, sending
from catalogsync_assets.core.backup.backup import back_up
from catalogsync_assets.core.backup.snapshots import fetch_snapshot, list_snapshots
from catalogsync_assets.core.catalog.backends import catalog_id
from catalogsync_assets.core.errors import CatalogError, ConfigurationError, UsageError
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets_tests.support.database import change, rows
from catalogsync_assets_tests.support.proxy import refusal

PASSPHRASE = "correct horse battery staple"


@pytest.fixture
def encrypting(monkeypatch):
    """A passphrase is set."""
    monkeypatch.setenv("CATALOGSYNC_PASSPHRASE", PASSPHRASE)


@pytest.fixture
def backed_up(catalog):
    """`backed_up(backend)`: what became of it; two tries of a request."""

    def run(backend, **options):
        (report,) = back_up(catalog, [backend], attempts=2, **options)
        return report

    return run


@pytest.fixture
def fetched(tmp_path):
    """`fetched(backend)`: the newest snapshot's database, and its rows of backends and songs."""

    def run(backend, passphrase=None, name="back.db"):
        client = StoreClient(backend)
        snapshot = list_snapshots(client)[0]
        fetch_snapshot(client, snapshot, tmp_path / name, passphrase)
        return tmp_path / name

    return run


def songs(path):
    with closing(sqlite3.connect(path)) as database:
        return database.execute("SELECT id, title FROM songs ORDER BY id").fetchall()


def own_keys(s3, backend):
    prefix = f"{backend.key_prefix}.catalogsync/catalog/"
    found = s3.list_objects_v2(Bucket=backend.bucket, Prefix=prefix).get("Contents", [])
    return sorted(entry["Key"] for entry in found)


def row_of(catalog, backend):
    sql = "SELECT snapshot_at, snapshot_digest FROM storage_backends WHERE id = ?"
    return rows(catalog, sql, backend.id)[0]


def test_a_snapshot_is_the_catalog_as_it_was(catalog, library, scanned, cloud, backed_up, fetched):
    library.fill(3)
    scanned()
    before = rows(catalog, "SELECT id, title FROM songs ORDER BY id")
    report = backed_up(cloud)
    library.fill(2, folder="later")
    scanned()

    assert report.status == "made"
    path = fetched(cloud)
    assert songs(path) == before
    assert path.stat().st_mode & 0o777 == 0o600
    (snapshot,) = list_snapshots(StoreClient(cloud))
    assert snapshot.catalog_id == catalog_id(catalog)
    assert snapshot.key == report.key
    assert (snapshot.schema, snapshot.sha256) == ("0007", report.sha256)
    assert snapshot.size_bytes == report.size_bytes
    assert not snapshot.encrypted
    assert row_of(catalog, cloud)[1] == report.sha256


def test_nothing_is_sent_while_nothing_has_changed(catalog, cloud, backed_up, s3):
    first = backed_up(cloud)
    change(catalog, "UPDATE storage_backends SET snapshot_at = '2020-01-01 00:00:00'")
    second = backed_up(cloud)

    assert (first.status, second.status) == ("made", "unchanged")
    assert own_keys(s3, cloud) == [first.key]
    # It was true of the catalog once more.
    assert row_of(catalog, cloud)[0] > "2026"


def test_any_change_makes_another_one(catalog, cloud, backed_up, monkeypatch, s3):
    first = backed_up(cloud)
    change(catalog, "INSERT INTO playlists (name) VALUES ('A')")
    monkeypatch.setattr(backup, "utc_now", lambda: first.made_at + dt.timedelta(seconds=1))
    second = backed_up(cloud)

    assert second.status == "made"
    assert own_keys(s3, cloud) == [first.key, second.key]


def test_a_snapshot_that_is_gone_is_made_again(catalog, cloud, backed_up, s3, monkeypatch):
    first = backed_up(cloud)
    s3.delete_object(Bucket=cloud.bucket, Key=first.key)
    monkeypatch.setattr(backup, "utc_now", lambda: first.made_at + dt.timedelta(seconds=1))

    assert backed_up(cloud).status == "made"


def test_two_backends_get_one_snapshot(catalog, backend):
    one, two = backend("one"), backend("two")
    reports = back_up(catalog, [one, two])

    assert [r.status for r in reports] == ["made", "made"]
    assert reports[0].sha256 == reports[1].sha256


def test_a_backend_that_is_down_does_not_stop_the_others(catalog, backend, unused_endpoint):
    down, up = backend("down", endpoint=unused_endpoint), backend("up")
    reports = back_up(catalog, [down, up], attempts=1)

    assert [r.status for r in reports] == ["failed", "made"]
    assert "down" in reports[0].reason


# --- encrypted, or not at all


def test_with_a_passphrase_nothing_of_it_can_be_read(
    catalog, library, scanned, cloud, backed_up, fetched, remote, encrypting
):
    library.add("a secret title.mp3")
    scanned()
    report = backed_up(cloud)

    assert report.encrypted
    assert report.key.endswith(".db.zst.age")
    assert b"secret title" not in remote(cloud).get(report.key.removeprefix(cloud.key_prefix))
    assert songs(fetched(cloud, PASSPHRASE))
    for wrong in ("another", None):
        with pytest.raises(ConfigurationError, match="passphrase") as raised:
            fetched(cloud, wrong, "not.db")
        assert "CATALOGSYNC_PASSPHRASE" in str(raised.value)
        assert PASSPHRASE not in str(raised.value)


def test_a_passphrase_that_is_set_later_makes_another_one(
    cloud, backed_up, monkeypatch, s3, catalog
):
    assert not backed_up(cloud).encrypted
    monkeypatch.setenv("CATALOGSYNC_PASSPHRASE", PASSPHRASE)
    assert backed_up(cloud).status == "made"
    assert backed_up(cloud).status == "unchanged"
    assert PASSPHRASE.encode() not in catalog.path.read_bytes()


def test_a_public_bucket_gets_none_that_is_not_encrypted(backend, backed_up, monkeypatch, s3):
    public = backend(public_base_url="https://example.org/music")
    report = backed_up(public)

    assert report.status == "left out"
    assert "publicly" in report.reason
    assert own_keys(s3, public) == []
    monkeypatch.setenv("CATALOGSYNC_PASSPHRASE", PASSPHRASE)
    assert backed_up(public).encrypted


def test_what_anybody_could_read_is_told_and_goes_when_it_is_asked_for(
    catalog, backend, backed_up, monkeypatch, s3
):
    """It was put there before a passphrase, or before the bucket was served publicly."""
    cloud = backend()
    backed_up(cloud)
    public = replace(cloud, public_base_url="https://example.org/music")
    plain = own_keys(s3, cloud)
    left_out = backed_up(public)
    assert (left_out.status, left_out.readable, own_keys(s3, cloud)) == ("left out", 1, plain)

    monkeypatch.setenv("CATALOGSYNC_PASSPHRASE", PASSPHRASE)
    report = backed_up(cloud)
    assert (report.status, report.readable, report.snapshots) == ("made", 1, 2)
    report = backed_up(cloud, remove_readable=True)
    assert (report.status, report.readable, report.removed) == ("unchanged", 0, 1)
    (left,) = own_keys(s3, cloud)
    assert left.endswith(".age")


def test_a_public_backend_that_does_not_answer_is_left_out_all_the_same(
    backend, backed_up, unused_endpoint
):
    report = backed_up(backend(public_base_url="https://example.org", endpoint=unused_endpoint))
    assert (report.status, report.readable) == ("left out", 0)
    assert "not known" in report.warning


def test_a_folder_that_nobody_may_write_to_is_named(cloud, backed_up, monkeypatch):
    def refuse(path):
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(making, "private", refuse)
    with pytest.raises(CatalogError, match="Read-only file system"):
        backed_up(cloud)


# --- large ones


def test_a_large_snapshot_goes_in_parts(catalog, cloud, backed_up, fetched, remote, monkeypatch):
    monkeypatch.setattr(sending, "_SINGLE_BYTES", 1000)
    monkeypatch.setattr(sending, "part_bytes", lambda _: 5 * 1024 * 1024)
    with catalog.transaction() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE of_another_tool AS WITH RECURSIVE n(i) AS"
            " (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 6000)"
            " SELECT i, randomblob(1000) AS content FROM n"
        )
    report = backed_up(cloud)

    assert report.status == "made"
    assert report.size_bytes > 5 * 1024 * 1024
    head = remote(cloud).head(report.key.removeprefix(cloud.key_prefix))
    assert head["ETag"].endswith('-2"')
    with closing(sqlite3.connect(fetched(cloud))) as database:
        assert database.execute("SELECT COUNT(*) FROM of_another_tool").fetchone() == (6000,)
    assert rows(catalog, "SELECT COUNT(*) FROM multipart_uploads") == [0]
    assert remote(cloud).unfinished() == []


def test_parts_that_cannot_be_sent_are_aborted(
    catalog, through_proxy, proxy, backed_up, remote, monkeypatch, s3
):
    monkeypatch.setattr(sending, "_SINGLE_BYTES", 1000)
    proxy.answer(refusal(403, "AccessDenied"), lambda r: "partNumber" in r.path)
    report = backed_up(through_proxy)

    assert report.status == "failed"
    assert remote(through_proxy).unfinished() == []
    assert rows(catalog, "SELECT COUNT(*) FROM multipart_uploads") == [0]
    assert row_of(catalog, through_proxy) == (None, None)


# --- what other programs left in the database


def test_a_database_whose_order_only_its_own_program_knows_is_kept_too(
    catalog, cloud, backed_up, fetched
):
    with closing(sqlite3.connect(catalog.path)) as database:
        database.create_collation("theirs", lambda a, b: (a > b) - (a < b))
        database.execute("CREATE TABLE other (name TEXT COLLATE theirs)")
        database.execute("CREATE INDEX ix_other ON other (name)")
        database.execute("INSERT INTO other VALUES ('a'), ('b')")
        database.commit()
    assert backed_up(cloud).status == "made"
    with closing(sqlite3.connect(fetched(cloud))) as database:
        assert database.execute("SELECT COUNT(*) FROM other").fetchone() == (2,)


def test_a_full_disk_leaves_nothing_behind(catalog, cloud, backed_up, monkeypatch):
    monkeypatch.setattr(
        making.shutil, "disk_usage", lambda _: making.shutil._ntuple_diskusage(1, 1, 0)
    )
    with pytest.raises(CatalogError, match="no room"):
        backed_up(cloud)
    assert [p.name for p in catalog.path.parent.glob("*.snapshot-*")] == []


# --- reading what a bucket gives


def test_nothing_is_written_over_a_file(cloud, backed_up, tmp_path):
    backed_up(cloud)
    client = StoreClient(cloud)
    (tmp_path / "mine.db").write_text("mine")
    with pytest.raises(UsageError, match="there already"):
        fetch_snapshot(client, list_snapshots(client)[0], tmp_path / "mine.db", None)
    assert (tmp_path / "mine.db").read_text() == "mine"


@pytest.mark.parametrize(
    "key",
    [
        "..x/20260101T000000Z.db.zst",
        "0123456789abcdef/20260101T000000Z.db.zst/x",
        "0123456789abcdef/20260231T000000Z.db.zst",
        "0123456789abcdef/latest.db.zst",
        "0123456789abcdef/20260101T000000Z.db",
    ],
)
def test_what_is_called_otherwise_is_no_snapshot(cloud, s3, key):
    whole = f"{cloud.key_prefix}.catalogsync/catalog/{key}"
    s3.put_object(Bucket=cloud.bucket, Key=whole, Body=b"x")
    assert list_snapshots(StoreClient(cloud)) == []


def test_a_snapshot_of_another_content_is_not_taken(cloud, backed_up, s3, tmp_path):
    report = backed_up(cloud)
    head = s3.head_object(Bucket=cloud.bucket, Key=report.key)
    s3.put_object(
        Bucket=cloud.bucket,
        Key=report.key,
        Body=s3.get_object(Bucket=cloud.bucket, Key=report.key)["Body"].read(),
        Metadata=head["Metadata"] | {"catalogsync-plain-sha256": "0" * 64},
    )
    client = StoreClient(cloud)
    with pytest.raises(CatalogError, match="damaged"):
        fetch_snapshot(client, list_snapshots(client)[0], tmp_path / "back.db", None)
    assert not (tmp_path / "back.db").exists()


def test_a_read_that_was_spoilt_is_made_again(through_proxy, proxy, backed_up, tmp_path):
    backed_up(through_proxy)
    client = StoreClient(through_proxy)
    (snapshot,) = list_snapshots(client)
    proxy.spoil_answers(lambda r: r.method == "GET" and r.key.endswith(".zst"), times=1)
    fetch_snapshot(client, snapshot, tmp_path / "back.db", None)
    assert songs(tmp_path / "back.db") == []


@pytest.mark.parametrize("stamp", ["99991231T235959Z", "20260631T000000Z", "00010101T000000Z"])
def test_a_name_that_no_clock_gives_is_no_snapshot(
    catalog, library, scanned, cloud, backed_up, remote, stamp
):
    remote(cloud).put(f".catalogsync/catalog/{catalog_id(catalog)}/{stamp}.db.zst", b"x")
    library.fill(1)
    scanned()
    assert backed_up(cloud).status == "made"
    assert len(list_snapshots(StoreClient(cloud))) == 1
