"""The commands about the catalog itself: its snapshots, the copy that counts, and the hook."""

import shutil

import pytest

from catalogsync_assets.core.backup import concerns, due
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets_tests.support.database import change, rows

PASSPHRASE = "a passphrase that nobody may see"


@pytest.fixture
def much(monkeypatch):
    """Little counts as much."""
    monkeypatch.setattr(concerns, "MUCH", 20)


def snapshots_of(s3, backend):
    prefix = f"{backend.key_prefix}.catalogsync/catalog/"
    found = s3.list_objects_v2(Bucket=backend.bucket, Prefix=prefix).get("Contents", [])
    return [entry["Key"] for entry in found]


def test_backup_says_what_it_has_done_and_snapshots_lists_it(cli, register):
    cli("init")
    register()
    made = cli("catalog", "backup")
    again = cli("catalog", "backup", "--backend", "cloud", "--json").json
    listed = cli("catalog", "snapshots", "--json").json
    table = cli("catalog", "snapshots")

    assert made.code == 0
    assert "cloud: snapshot made" in made.out
    (report,) = again["backends"]
    assert report["status"] == "unchanged"
    (snapshot,) = listed["snapshots"]
    assert snapshot["key"] == report["key"]
    assert snapshot["ours"] is True
    assert snapshot["sha256"] == report["sha256"]
    assert "this one" in table.out


def test_a_backend_that_does_not_answer_fails_the_command(cli, register, unused_endpoint):
    cli("init")
    register("up")
    register("down", endpoint=unused_endpoint)
    listed = cli("catalog", "snapshots")
    done = cli("catalog", "backup")

    assert (listed.code, done.code) == (1, 1)
    assert "down" in listed.err
    assert "up: snapshot made" in done.out
    assert "down: no snapshot" in done.err


def test_a_public_bucket_is_left_out_in_one_sentence(cli, register, monkeypatch, tmp_path):
    cli("init")
    register()
    config = "json_set(config, '$.public_base_url', 'https://example.org')"
    sql = f"UPDATE storage_backends SET config = {config} WHERE name = 'cloud'"
    change(tmp_path / "catalog.db", sql)
    left_out = cli("catalog", "backup")
    status = cli("status")
    monkeypatch.setenv("CATALOGSYNC_PASSPHRASE", PASSPHRASE)
    encrypted = cli("catalog", "backup")

    assert left_out.code == 0
    assert "no snapshot: the bucket is served publicly" in left_out.err
    assert "CATALOGSYNC_PASSPHRASE" in left_out.err
    assert "warning: cloud: no snapshot of the catalog is kept there" in status.err
    assert "encrypted" in encrypted.out
    assert PASSPHRASE not in encrypted.out + encrypted.err


def test_without_a_backend_there_is_nothing_to_do(cli):
    cli("init")
    assert cli("catalog", "backup").code == 2


def test_malformed_numbers_are_wrong_use(cli, register, monkeypatch):
    cli("init")
    register()
    for wrong in ("7", "7,4", "0,4,6", "a,b,c", "7,4,-6", "7,4,6,8"):
        monkeypatch.setenv("CATALOGSYNC_SNAPSHOTS", wrong)
        refused = cli("catalog", "backup")
        assert refused.code == 2
        assert "CATALOGSYNC_SNAPSHOTS" in refused.err


def test_a_copy_that_was_put_back_is_confirmed_and_audited(
    cli, register, library, tmp_path, remote, unregistered
):
    library.add("a.mp3", b"one")
    cli("scan", "--library-root", library.root)
    cloud = register()
    assert cli("upload", "--backend", "cloud").code == 0
    shutil.copy(tmp_path / "catalog.db", tmp_path / "old.db")
    library.add("a.mp3", b"two")
    cli("scan")
    assert cli("upload", "--backend", "cloud").code == 0
    old = ["--db", tmp_path / "old.db"]
    library.add("a.mp3", b"three")
    cli("scan", *old)
    refused = cli("upload", "--backend", "cloud", *old)
    (concern,) = cli("status", "--json", *old).json["concerns"]
    confirmed = cli("catalog", "confirm", "--backend", "cloud", *old)
    not_yet = cli("upload", "--backend", "cloud", *old)
    cli("verify", "--backend", "cloud", *old)

    assert refused.code == 1
    assert "catalogsync catalog confirm --backend cloud" in refused.err + refused.out
    assert "catalogsync catalog confirm --backend cloud" in concern["hint"]
    assert cli("status", "--json").json["concerns"] == []
    assert confirmed.code == 0
    assert "catalogsync verify --backend cloud" in confirmed.err
    assert not_yet.code == 1
    assert cli("upload", "--backend", "cloud", *old).code == 0
    assert remote(cloud).contents() == {"a.mp3": b"three"}
    assert "nothing speaks against" in cli("catalog", "confirm", "--backend", "cloud", *old).out


# --- after a command that has changed much


def test_a_command_that_has_changed_much_keeps_the_catalog(
    cli, register, library, much, s3, tmp_path
):
    library.fill(10)
    cloud = register()
    first = cli("upload", "--backend", "cloud", "--library-root", library.root)
    library.fill(10, folder="more")
    second = cli("upload", "--backend", "cloud", "--library-root", library.root)
    change(
        tmp_path / "catalog.db",
        "UPDATE storage_backends SET snapshot_at = '2020-01-01 00:00:00' WHERE name = 'cloud'",
    )
    library.fill(10, folder="and more")
    third = cli("upload", "--backend", "cloud", "--library-root", library.root, "--json")

    assert "the catalog is kept there" in first.err
    assert "the catalog is kept there" not in second.err  # within the hour
    assert third.json["succeeded"] == 10
    assert "the catalog is kept there" in third.err
    assert len(snapshots_of(s3, cloud)) == 2


def test_little_is_no_reason(cli, register, library, s3):
    library.fill(3)
    cloud = register()
    cli("upload", "--backend", "cloud", "--library-root", library.root)
    assert snapshots_of(s3, cloud) == []


def test_a_large_catalog_waits_for_the_night(cli, register, library, s3, much, monkeypatch):
    monkeypatch.setattr(due, "_MOST_BYTES", 1000)
    library.fill(10)
    cloud = register()
    cli("upload", "--backend", "cloud", "--library-root", library.root)
    assert snapshots_of(s3, cloud) == []


def test_a_backend_that_is_down_is_a_warning_and_fails_nothing(
    cli, register, library, much, tmp_path, unused_endpoint
):
    library.fill(10)
    register()
    cli("upload", "--backend", "cloud", "--library-root", library.root)
    config = "json_set(config, '$.endpoint', ?)"
    change(
        tmp_path / "catalog.db",
        f"UPDATE storage_backends SET snapshot_at = NULL, config = {config} WHERE name = 'cloud'",
        unused_endpoint,
    )
    library.fill(30, folder="more")
    done = cli("scan")

    assert done.code == 0
    assert "warning: cloud: no snapshot of the catalog" in done.err


def test_what_is_rolled_back_has_changed_nothing(catalog):
    with pytest.raises(ZeroDivisionError), catalog.transaction() as connection:
        connection.exec_driver_sql("INSERT INTO playlists (name) VALUES ('A')")
        _ = 1 / 0
    assert catalog.changed_rows == 0
    with catalog.transaction() as connection:
        connection.exec_driver_sql("INSERT INTO playlists (name) VALUES ('A'), ('B')")
    assert catalog.changed_rows == 2
    assert isinstance(catalog, Catalog)
    assert rows(catalog, "SELECT COUNT(*) FROM playlists") == [2]
