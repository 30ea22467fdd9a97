"""The disk is dead: the commands that bring everything back, killed and not."""

import itertools
import shutil
import signal
import subprocess
from collections import Counter

import pytest

from catalogsync_assets.core.backup.backup import back_up
from catalogsync_assets.core.backup.snapshots import list_snapshots
from catalogsync_assets.core.catalog.backends import backend_by_name
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.demo.sample_library import make_sample_library
from catalogsync_assets_tests.support.database import rows
from catalogsync_assets_tests.support.kills import DYING

WHERE = ("--backend", "cloud")


@pytest.fixture
def registration(store, unregistered, request):
    """The options that name the bucket, as `register-object-backend` takes them."""

    def of(backend):
        return (
            *("--bucket", backend.bucket, "--endpoint", backend.endpoint),
            *("--base-prefix", backend.base_prefix, "--credential-env-prefix", "CLOUD"),
        )

    return of


def _disaster(cli, catalog, cloud, library, remote, tmp_path, *, with_snapshot):
    """Everything is uploaded, and gone but for the bucket; the original, and the new catalog."""
    assert cli("scan", "--library-root", library.root, "--db", catalog.path).code == 0
    assert cli("upload", *WHERE, "--db", catalog.path).code == 0
    if with_snapshot:
        (report,) = back_up(catalog, [backend_by_name(catalog, "cloud")])
        assert report.status in ("made", "unchanged")  # an upload of much has made one
    else:
        client = StoreClient(cloud)
        for snapshot in list_snapshots(client, look=False):
            remote(cloud).delete(snapshot.key.removeprefix(cloud.key_prefix))
        assert list_snapshots(client) == []
    catalog.close()
    original = tmp_path / "original"
    library.root.rename(original)
    shutil.rmtree(catalog.path.parent / "dagster", ignore_errors=True)
    catalog.path.unlink()
    return original, tmp_path / "new machine" / "catalog.db"


def test_a_catalog_that_holds_files_keeps_its_settings(
    cli, catalog, backend, library, registration
):
    cloud = backend(workers=3, public_base_url="https://example.org/music")
    library.fill(1)
    assert cli("scan", "--library-root", library.root, "--db", catalog.path).code == 0
    outcome = cli("rebuild", *WHERE, *registration(cloud), "--db", catalog.path)
    assert outcome.code == 2
    assert "holds files already" in outcome.err
    assert backend_by_name(catalog, "cloud") == cloud


def _playlists(path):
    """Each with its songs in their order, told by the keys of their files."""
    listed = (
        "SELECT p.name, COUNT(*) , GROUP_CONCAT(f.object_key, ' | ') FROM playlists p"
        " JOIN (SELECT * FROM playlist_entries ORDER BY position) e ON e.playlist_id = p.id"
        " JOIN file_assets f ON f.song_id = e.song_id GROUP BY p.name"
    )
    return rows(Catalog.open(path), listed)


def _identical(one, other):
    found = subprocess.run(
        ["diff", "-r", "-x", ".catalogsync", one, other], check=False, capture_output=True
    )
    return found.returncode == 0, found.stdout


def _all_comes_back(cli, library, original, new, files):
    restored = cli("restore", "--all", "--to", library.root, "--db", new)
    assert restored.code == 0, restored.err
    assert _identical(original, library.root) == (True, b"")
    scanned = cli("scan", "--library-root", library.root, "--db", new, "--json").json
    assert (scanned["unchanged"], scanned["new"], scanned["missing"]) == (files, 0, 0)
    uploaded = cli("upload", *WHERE, "--db", new, "--json").json
    assert uploaded["queued"] == 0


@pytest.mark.parametrize("with_snapshot", [True, False])
@pytest.mark.parametrize(
    "songs", [20, pytest.param(2_000, marks=pytest.mark.thorough)], ids=["few", "many"]
)
def test_from_a_bare_machine_everything_comes_back(
    cli, catalog, cloud, library, registration, remote, tmp_path, with_snapshot, songs
):
    make_sample_library(library.root, songs=songs, seconds=0.2)
    for number in range(songs // 2):
        library.add(f"Ünsorted/{number} ~ (live).mp3")
    music = [path for path in sorted(library.contents()) if path.endswith(".mp3")]
    library.add("Playlists/Mix.m3u8", "\n".join(f"../{p}" for p in music[::3] * 2).encode())
    library.add("Ünsorted/cover.jpg")
    library.add("Ünsorted/rip.log")
    files = len(library.contents())
    assert cli("scan", "--library-root", library.root, "--db", catalog.path).code == 0
    before = _playlists(catalog.path)
    original, new = _disaster(
        *(cli, catalog, cloud, library, remote, tmp_path), with_snapshot=with_snapshot
    )
    rebuild = ("rebuild", *WHERE, *registration(cloud), "--db", new)
    rehearsal = cli(*rebuild, "--dry-run")
    assert rehearsal.code == 0, rehearsal.err
    assert not new.exists()
    made = cli(*rebuild, "--take-over", "--json")
    assert made.code == 0, made.err
    assert made.json["taken_over"]
    assert (made.json["snapshot"] is not None) == with_snapshot
    assert made.json["new"] + made.json["known"] == files
    _all_comes_back(cli, library, original, new, files)
    assert _playlists(new) == before
    assert before[0][1] == 2 * len(music[::3])


@pytest.mark.parametrize(("with_snapshot", "moments"), [(True, (4, 7)), (False, (5, 17))])
def test_killed_again_and_again_it_comes_to_the_same_end(
    cli,
    catalog,
    cloud,
    library,
    registration,
    remote,
    tmp_path,
    with_snapshot,
    moments,
    proxy,
    start_command,
):
    library.fill(12)
    original, new = _disaster(
        *(cli, catalog, cloud, library, remote, tmp_path), with_snapshot=with_snapshot
    )
    rebuild = ("rebuild", *WHERE, *registration(cloud), "--endpoint", proxy.endpoint)
    rebuild += ("--db", new, "--take-over", "--workers", 2)
    for moment in moments:
        process = start_command(*rebuild)
        requests = 0

        def kill(_, process=process, moment=moment):
            nonlocal requests
            requests += 1
            if requests >= moment:
                process.kill()

        proxy.before.append(kill)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        proxy.before.clear()
    done = cli(*rebuild, "--json")
    assert done.code == 0, done.err
    assert not [p.name for p in new.parent.iterdir() if not p.name.startswith("catalog.db")]
    assert [p.name for p in new.parent.glob("catalog.db.*")] == []
    with Catalog.open(new).read() as connection:
        count = "SELECT COUNT(*) FROM file_assets"
        assert connection.exec_driver_sql(count).scalar() == 12
    assert cli(*rebuild).code == 2
    _all_comes_back(cli, library, original, new, 12)


@pytest.mark.thorough
@pytest.mark.parametrize("with_snapshot", [True, False])
def test_killed_at_any_request_and_any_commit_the_next_one_finishes_it(
    cli,
    catalog,
    cloud,
    library,
    registration,
    remote,
    tmp_path,
    with_snapshot,
    proxy,
    start_python,
):
    """Each moment on a machine of its own."""
    library.fill(11)
    library.add("album/cover.jpg")
    original, _ = _disaster(
        *(cli, catalog, cloud, library, remote, tmp_path), with_snapshot=with_snapshot
    )
    rebuild = ("rebuild", *WHERE, *registration(cloud), "--endpoint", proxy.endpoint)
    rebuild += ("--take-over", "--workers", 2)
    kills = Counter()
    for by in ("request", "commit"):
        for moment in itertools.count(1):
            new = tmp_path / f"{by} {moment}" / "catalog.db"
            commit = moment if by == "commit" else 0
            process = start_python(DYING, commit, *rebuild, "--db", new)
            requests = itertools.count(1)

            def kill(_, process=process, requests=requests, moment=moment, commit=commit):
                if next(requests) == moment and not commit:
                    process.kill()
                    process.wait()

            proxy.before[:] = [kill]
            _, errors = process.communicate()
            proxy.start_anew()
            assert process.returncode in (0, -signal.SIGKILL), errors
            if process.returncode == 0:
                break
            kills[by] += 1
            done = cli(*rebuild, "--db", new)
            assert done.code == 0, (by, moment, done.err)
            held = "SELECT COUNT(*) FROM file_locations WHERE status = 'active'"
            assert rows(Catalog.open(new), held) == [12], (by, moment)
            assert [p.name for p in new.parent.iterdir() if "rebuild" in p.name] == []

    assert sum(kills.values()) >= 20, kills
    _all_comes_back(cli, library, original, new, 12)


def test_a_machine_that_knows_no_backend_is_told_what_to_say(cli, tmp_path):
    outcome = cli("rebuild", *WHERE, "--db", tmp_path / "new.db")
    assert outcome.code == 2
    assert "--bucket" in outcome.err
    assert not (tmp_path / "new.db").exists()


def test_what_it_says_to_a_person(cli, catalog, cloud, library, registration, tmp_path, remote):
    library.fill(2)
    _, new = _disaster(*(cli, catalog, cloud, library, remote, tmp_path), with_snapshot=True)
    remote(cloud).put("x/.catalogsync/y.mp3", b"z")
    said = cli("rebuild", *WHERE, *registration(cloud), "--db", new)
    assert said.code == 0
    assert "snapshot of 20" in said.out
    assert "2 files, 2 songs" in said.out
    assert "1 keys lead to no place" in said.err
    assert "restore --all" in said.err
    assert rows(Catalog.open(new), "SELECT COUNT(*) FROM file_assets") == [2]


def test_a_dry_run_changes_no_catalog_that_is_there(cli, catalog, cloud, registration, remote):
    remote(cloud).put("a.mp3", b"a")
    before = rows(catalog, "SELECT * FROM storage_backends")
    by_name = cli("rebuild", *WHERE, "--dry-run")
    by_options = cli("rebuild", *WHERE, *registration(cloud), "--region", "else", "--dry-run")
    assert (by_name.code, by_options.code) == (0, 0)
    assert "1 objects listed" in by_name.out
    assert rows(catalog, "SELECT * FROM storage_backends") == before


@pytest.mark.parametrize("content", [None, "of others"])
@pytest.mark.parametrize("more", [(), ("--dry-run",), ("--take-over",)])
def test_of_nothing_no_catalog_is_made(
    cli, unregistered, registration, remote, tmp_path, content, more
):
    cloud = unregistered()
    if content:
        remote(cloud).put("notes.docx", b"not music")
    new = tmp_path / "new machine" / "catalog.db"
    outcome = cli("rebuild", *WHERE, *registration(cloud), "--db", new, *more)
    if content and more == ("--dry-run",):  # by its owner's word it may be a file
        assert outcome.code == 0
        return
    assert outcome.code == 1
    assert f"in bucket '{cloud.bucket}' below '{cloud.base_prefix}'" in outcome.err
    assert ("no file of a library among 1" if content else "there is nothing") in outcome.err
    assert "restore" not in outcome.err
    assert not list(new.parent.glob("*"))
    assert remote(cloud).keys() == (["notes.docx"] if content else [])


def test_a_store_that_refuses_leads_to_no_statement_of_what_it_holds(
    cli, catalog, backend, registration, monkeypatch, tmp_path
):
    cloud = backend()
    monkeypatch.setenv("CLOUD_SECRET_ACCESS_KEY", "wrong")
    outcome = cli("rebuild", *WHERE, *registration(cloud), "--db", tmp_path / "new.db")
    assert outcome.code == 1
    assert outcome.out == ""
    listed = cli("catalog", "snapshots", "--db", catalog.path)
    assert listed.code == 1
    assert "there is no snapshot" not in listed.out + listed.err
    assert "refused" in listed.err or "Signature" in listed.err
