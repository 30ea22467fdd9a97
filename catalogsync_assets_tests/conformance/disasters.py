"""The catalog on every store: snapshots of it, who has changed the store last, and its recovery."""

import shutil

import pytest

from catalogsync_assets.core.backends.generation import begin_changes, confirm, is_doubted, look
from catalogsync_assets.core.backup import sending
from catalogsync_assets.core.backup.backup import back_up
from catalogsync_assets.core.backup.snapshots import fetch_snapshot, list_snapshots
from catalogsync_assets.core.catalog.backends import backend_by_name, catalog_id, register
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.upload_plan import enqueue
from catalogsync_assets.core.files.digests import sha256_of
from catalogsync_assets.core.library.scan import scan
from catalogsync_assets.core.rebuild.rebuild import Request, rebuild
from catalogsync_assets.core.restore.restore import restore
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.upload.upload import upload
from catalogsync_assets_tests.conformance.uploads import ODD_NAMES
from catalogsync_assets_tests.support.database import change

MIB = 1024 * 1024


class Disasters:
    """What is kept for the day when all but the store is gone."""

    @pytest.fixture
    def vault(self, backend):
        """A backend that is learned on the way."""
        return backend("vault", provider="other")

    @pytest.fixture
    def client(self, vault):
        client = StoreClient(vault)
        yield client
        client.close()

    @pytest.fixture
    def backed_up(self, catalog, vault):
        """`backed_up()`: what became of it."""

        def run():
            (report,) = back_up(catalog, [vault], attempts=2)
            return report

        return run

    @pytest.mark.parametrize("in_parts", [False, True], ids=["in one request", "in parts"])
    def test_a_snapshot_is_kept_found_read_and_replaced(
        self, catalog, vault, client, backed_up, remote, tmp_path, monkeypatch, in_parts
    ):
        monkeypatch.setenv("CATALOGSYNC_SNAPSHOTS", "1,0,0")
        if in_parts:
            monkeypatch.setattr(sending, "_SINGLE_BYTES", 5 * MIB)
            monkeypatch.setattr(sending, "part_bytes", lambda _: 5 * MIB)
            with catalog.transaction() as connection:
                connection.exec_driver_sql(
                    "CREATE TABLE of_another_tool AS WITH RECURSIVE n(i) AS"
                    " (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 6)"
                    " SELECT randomblob(1000000) AS content FROM n"
                )
        assert backed_up().status == "made"  # and what it has learned of the store is a change
        first = backed_up()
        assert (first.status, first.reason, first.snapshots) == ("made", None, 1)
        assert backed_up().status == "unchanged"
        name = first.key.rpartition("/")[2]
        theirs = first.key.replace(name, "20200101T000000Z.db.zst")
        remote(vault).put(theirs.removeprefix(vault.key_prefix), b"of somebody else")
        change(catalog, "INSERT INTO playlists (name) VALUES ('A')")

        second = backed_up()

        assert (second.status, second.removed, second.warning) == ("made", 1, None)
        newest, other = list_snapshots(client)
        assert (newest.key, newest.sha256) == (second.key, second.sha256)
        assert newest.catalog_id == catalog_id(catalog)
        assert newest.size_bytes == second.size_bytes
        assert (other.key, other.sha256) == (theirs, None)
        fetch_snapshot(client, newest, tmp_path / "back.db", None)
        assert sha256_of(tmp_path / "back.db") == second.sha256
        if in_parts:
            assert remote(vault).unfinished() == []

    def test_a_clone_is_noticed_until_it_is_the_one_that_counts(
        self, catalog, vault, client, tmp_path
    ):
        for _ in range(3):
            begin_changes(catalog, client)
        catalog.close()
        clone = Catalog.open(shutil.copy(catalog.path, tmp_path / "clone.db"))
        of_clone = backend_by_name(clone, "vault")

        begin_changes(clone, client)
        assert is_doubted(clone, of_clone)
        begin_changes(catalog, client)
        assert not is_doubted(catalog, vault)

        assert confirm(clone, client)
        begin_changes(catalog, client)
        assert is_doubted(catalog, vault)
        look(clone, client)
        clone.close()

    @pytest.mark.usefixtures("small_parts")
    @pytest.mark.parametrize("with_snapshot", [True, False])
    def test_of_the_store_alone_the_library_comes_back(
        self, catalog, library, vault, synced, backed_up, blank, remote, tmp_path, with_snapshot
    ):
        for name in ODD_NAMES[::4]:
            library.add(f"{name}/{name}.mp3", name.encode())
        library.add("empty.mp3", b"")
        library.add("cover.jpg")
        library.add("mine.m3u8", b"empty.mp3\n")
        library.add("large.flac", size=6 * MIB)
        assert synced(vault).failures == []
        if with_snapshot:
            assert backed_up().status == "made"
        # Without a snapshot a path is what its key says.
        before = library.contents() if with_snapshot else remote(vault).contents()
        library.root.rename(library.root.with_name("lost"))
        catalog.close()
        new = Catalog.open(shutil.copy(blank, tmp_path / "new.db"))
        again = register(new, vault)[0]

        request = Request(with_snapshot=with_snapshot, take_over=True)
        report = rebuild(new, again, request, attempts=2)

        assert (report.failed, report.missing, report.damaged, report.left) == (0, 0, 0, 0)
        assert report.taken_over
        done = restore(new, library.root, allow_empty=True, reserve_bytes=0)
        assert (done.restored, done.failures) == (len(before), [])
        assert library.contents() == before
        found = scan(new, [library.root])
        assert (found.unchanged, found.new, found.missing) == (len(before), 0, 0)
        enqueue(new, again)
        assert upload(new, again).queued == 0
        new.close()
