"""The commands `backend show`, `rename`, `remove` and `make-bucket`."""

from __future__ import annotations

import pytest

from catalogsync_assets.core.catalog.backends import object_backends
from catalogsync_assets.core.catalog.replication import ALL_OTHERS, set_policy
from catalogsync_assets_tests.support.database import change
from catalogsync_assets_tests.support.proxy import refusal


def names(catalog):
    return [b.name for b in object_backends(catalog)]


# --- show ---------------------------------------------------------------------------------------


def test_a_backend_is_shown_with_what_it_holds(cli, stored, cloud):
    stored(2)

    shown = dict(line.split("\t") for line in cli("backend", "show", "cloud").out.splitlines())

    assert shown["bucket"] == cloud.bucket
    assert shown["credentials"] == "$CLOUD_*"
    assert shown["files"] == "2, 600 bytes"
    assert shown["songs complete"] == "2 of 2"
    told = cli("backend", "show", "cloud", "--json").json
    assert (told["name"], told["endpoint"]) == ("cloud", cloud.endpoint)
    assert told["status"]["files"] == 2
    assert told["status"]["failing_since"] is None


def test_since_when_it_fails_is_shown(cli, catalog, cloud):
    change(catalog, "UPDATE storage_backends SET failing_since = '2026-01-05 06:00:00'")

    said = "cloud has failed since 2026-01-05 06:00 UTC, and is tried once every 6 hours by itself"
    assert said in cli("backend", "show", "cloud").err
    assert f"failing: {said}" in cli("status").err
    told = cli("status", "--json").json["backends"]
    assert [b["failing_since"] for b in told] == ["2026-01-05 06:00:00"]


def test_an_unknown_backend_is_wrong_use(cli, cloud):
    for command in (("show",), ("rename", "x"), ("remove",), ("make-bucket",)):
        done = cli("backend", command[0], "clout", *command[1:])
        assert done.code == 2
        assert "no backend is called 'clout'" in done.err


# --- rename -------------------------------------------------------------------------------------


def test_a_backend_is_renamed(cli, catalog, cloud):
    done = cli("backend", "rename", "cloud", "attic")

    assert done.out == "cloud is called attic now\n"
    assert "without the history of cloud|…" in done.err
    assert names(catalog) == ["attic"]
    assert cli("backend", "rename", "attic", "sky", "--json").json == {
        "old": "attic",
        "name": "sky",
    }


# --- remove -------------------------------------------------------------------------------------


def test_nothing_is_removed_unless_it_is_said_so(cli, catalog, stored, cloud):
    stored(2)

    done = cli("backend", "remove", "cloud")

    assert done.code == 1
    held = f"cloud holds 2 files, 600 bytes of music; its objects stay in bucket {cloud.bucket}"
    assert held in done.err
    assert "nothing was changed; --yes removes it" in done.err
    assert "Dagster" not in done.err
    assert names(catalog) == ["cloud"]


def test_with_yes_it_is_removed(cli, catalog, stored, cloud, remote):
    stored(2)
    set_policy(catalog, ALL_OTHERS, 1)

    done = cli("backend", "remove", "cloud", "--yes")

    assert done.code == 0, done.err
    assert done.out == f"cloud was removed; bucket {cloud.bucket} is as it was\n"
    assert "2 files of 2 songs will have fewer copies than the policy asks for" in done.err
    assert names(catalog) == []
    assert len(remote(cloud).keys()) == 2
    assert cli("backends").out.splitlines()[1:] == []
    assert [b["name"] for b in cli("status", "--json").json["backends"]] == ["local"]


def test_what_would_be_nowhere_is_said(cli, stored, scanned, cloud):
    library = stored(2)
    (library.root / "album/0000.mp3").unlink()
    scanned()

    done = cli("backend", "remove", "cloud")

    nowhere = "on no other backend, and not in the library either"
    assert f"1 file of 1 song will be {nowhere}" in done.err
    assert f"{cloud.key_prefix}album/0000.mp3" in done.err
    assert "catalogsync restore --missing --from cloud" in done.err


def test_json_tells_what_was_lost(cli, stored, cloud):
    stored(2)

    assert cli("backend", "remove", "cloud", "--yes", "--json").json == {
        **{"backend": "cloud", "bucket": cloud.bucket, "files": 2, "bytes": 600},
        **{"short_files": 0, "short_songs": 0, "nowhere_files": 0, "nowhere_songs": 0},
        **{"companions": 0, "short_companions": 0, "nowhere_companions": 0},
        **{"nowhere_keys": [], "pending": 0, "unfinished": 0, "removed": True, "aborted": 0},
    }


def test_what_is_beside_the_music_is_said_apart(cli, catalog, library, scanned, uploaded, cloud):
    library.add("a.mp3")
    library.add("cover.jpg")
    scanned()
    uploaded(cloud)
    set_policy(catalog, ALL_OTHERS, 2)

    assert "copies: 1 file beside the music has fewer than required" in cli("status").err
    assert cli("status", "--json").json["policy"]["companions_under_policy"] == 1
    said = cli("backend", "remove", "cloud").err
    assert "1 file of 1 song and 1 file beside the music will have fewer copies" in said


@pytest.fixture
def begun(catalog, library, scanned, cloud, s3):
    """A large file whose upload in parts has begun; the parts' key."""
    library.add("large.flac")
    scanned()
    key = f"{cloud.key_prefix}large.flac"
    upload_id = s3.create_multipart_upload(Bucket=cloud.bucket, Key=key)["UploadId"]
    change(
        catalog,
        "INSERT INTO multipart_uploads (backend_id, container_name, locator, upload_id,"
        " file_asset_id, size_bytes, mtime_ns, part_bytes, checksums)"
        " SELECT ?, ?, ?, ?, id, 1, 1, 1, 0 FROM file_assets",
        *(cloud.id, cloud.bucket, key, upload_id),
    )
    return key


def unfinished(s3, backend):
    found = s3.list_multipart_uploads(Bucket=backend.bucket, Prefix=backend.key_prefix)
    return [upload["Key"] for upload in found.get("Uploads", ())]


def test_parts_of_large_files_stay_unless_it_is_said_otherwise(cli, s3, cloud, begun):
    done = cli("backend", "remove", "cloud", "--yes")

    assert "1 upload of large files to it that were begun stay in the bucket as parts" in done.err
    assert "--abort-uploads" in done.err
    assert unfinished(s3, cloud) == [begun]


def test_the_store_drops_them_where_it_is_told_to(cli, catalog, s3, cloud, begun):
    done = cli("backend", "remove", "cloud", "--yes", "--abort-uploads", "--json")

    assert (done.json["removed"], done.json["aborted"]) == (True, 1)
    assert unfinished(s3, cloud) == []
    assert names(catalog) == []


def test_where_the_store_does_not_drop_them_nothing_is_removed(cli, catalog, backend, proxy, begun):
    backend(endpoint=proxy.endpoint)
    proxy.answer(refusal(403, "AccessDenied"))

    done = cli("backend", "remove", "cloud", "--yes", "--abort-uploads")

    assert done.code == 1
    assert names(catalog) == ["cloud"]


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1)])
def test_on_a_terminal_a_person_is_asked(terminal, catalog, cloud, answer, code):
    session = terminal("backend", "remove", "cloud", "--db", catalog.path)

    session.read_until("Take backend cloud out of the catalog? [y/N]")
    session.say(answer)
    session.read_all()

    assert session.process.wait() == code
    assert names(catalog) == ([] if code == 0 else ["cloud"])


# --- make-bucket --------------------------------------------------------------------------------


def test_a_bucket_is_made(cli, catalog, backend, store):
    backend(bucket="made-by-command", base_prefix="")

    done = cli("backend", "make-bucket", "cloud")
    assert (done.code, done.out) == (0, f"made bucket made-by-command at {store.endpoint}\n")

    done = cli("backend", "make-bucket", "cloud", "--json")
    assert done.json == {"backend": "cloud", "bucket": "made-by-command", "made": False}


def test_where_the_credentials_may_not_one_error_says_so(cli, through_proxy, proxy):
    proxy.answer(refusal(403, "AccessDenied"))

    done = cli("backend", "make-bucket", "cloud")

    assert done.code == 1
    error, hint = done.err.splitlines()
    assert f"the credentials may not make bucket {through_proxy.bucket!r}" in error
    assert "console" in hint
