"""Audits of every store: what is missing or damaged is found and mended, nothing else changed."""

from contextlib import suppress

import pytest
from botocore.exceptions import ClientError

from catalogsync_assets.core.adopt.adopt import adopt
from catalogsync_assets.core.catalog.upload_plan import enqueue
from catalogsync_assets.core.catalog.upload_queue import count_pending
from catalogsync_assets.core.restore.restore import restore
from catalogsync_assets_tests.conformance.uploads import ODD_NAMES
from catalogsync_assets_tests.support.database import change, rows
from catalogsync_assets_tests.support.faults import Faults, found
from catalogsync_assets_tests.support.files import flipped
from catalogsync_assets_tests.support.stores import rclone_copy

MIB = 1024 * 1024


class Audits:
    """What an audit does, on every store."""

    @pytest.fixture
    def forty(self, library, cloud, synced):
        """A backend that holds the forty files of the library."""
        library.fill(40, size=30)
        assert synced(cloud).succeeded == 40
        return cloud

    def test_every_fault_is_found_and_mended_and_nothing_else_is_touched(
        self, forty, library, verified, remote
    ):
        faults = Faults(remote(forty), 3)

        listing = verified(forty)

        assert (found(listing, "missing"), found(listing, "size")) == (faults.deleted, faults.cut)
        assert found(listing, "foreign") == faults.foreign

        full = verified(forty, "full", repair=True)

        assert (found(full, "missing"), found(full, "size")) == (faults.deleted, faults.cut)
        assert found(full, "content") == faults.changed
        assert (full.lost, full.repaired, full.open) == (9, 9, 0)
        held = remote(forty).contents()
        assert {key: held.pop(key) for key in faults.foreign} == dict.fromkeys(
            faults.foreign, b"of somebody else"
        )
        assert held == library.contents()
        for level in ("listing", "head", "full"):
            assert (verified(forty, level).ok, verified(forty, level).lost) == (40, 0)

    def test_a_head_reads_what_it_leaves_in_doubt(self, forty, verified, remote, catalog):
        """A digest that nobody has checked proves nothing; another ETag is a reason to read."""
        remote(forty).put("album/0004.mp3", flipped(remote(forty).get("album/0004.mp3")))

        report = verified(forty, "head")

        assert (report.ok, found(report, "content")) == (39, {"album/0004.mp3"})
        active = "SELECT COUNT(*) FROM file_locations WHERE status = 'active' AND backend_id = ?"
        assert rows(catalog, active, forty.id) == [39]

    def test_a_missing_bucket_is_an_error_and_marks_nothing(
        self, forty, backend, catalog, verified
    ):
        change(catalog, "UPDATE storage_backends SET container_name = 'nobody-has-it' WHERE id = ?",
               forty.id)  # fmt: skip
        change(catalog, "UPDATE file_locations SET container_name = 'nobody-has-it' WHERE"
               " backend_id = ?", forty.id)  # fmt: skip
        other = backend(bucket="nobody-has-it", base_prefix=forty.base_prefix, provider="other")

        for level in ("listing", "head", "full"):
            with pytest.raises(Exception, match="there is no bucket"):
                verified(other, level)

        statuses = "SELECT DISTINCT status FROM file_locations WHERE backend_id = ?"
        assert rows(catalog, statuses, forty.id) == ["active"]

    def test_odd_keys_of_others_do_not_stop_an_audit(self, forty, verified, remote):
        for key in ("a//b", "c/", "d/../e", "./f", "/g", "h\\i", " ", "j\u2028k", "\ufffe"):
            with suppress(ClientError):  # some stores take no such key
                remote(forty).put(key, b"theirs")
        keys = remote(forty).keys()
        theirs = {key for key in keys if not key.startswith("album/")}
        assert theirs

        report = verified(forty)

        assert (report.ok, report.lost) == (40, 0)
        assert {f.key.removeprefix(forty.key_prefix) for f in report.findings} == theirs
        assert set(remote(forty).keys()) >= theirs

    @pytest.mark.usefixtures("small_parts")
    def test_everything_comes_back_byte_for_byte_under_its_own_name(
        self, library, catalog, cloud, synced, verified, another_library
    ):
        for name in ODD_NAMES:
            library.add(f"{name}/{name}.mp3", name.encode())
        library.add("empty.mp3", b"")
        library.add("large.flac", size=11 * MIB)
        assert synced(cloud).failures == []
        files = len(library.contents())
        for level in ("listing", "head", "full"):
            assert (verified(cloud, level).ok, verified(cloud, level).findings) == (files, [])
        elsewhere = another_library("elsewhere")

        report = restore(catalog, elsewhere.root, workers=4, attempts=2, reserve_bytes=0)

        assert (report.restored, report.failures) == (files, [])
        assert elsewhere.contents() == library.contents()

    def test_a_listing_of_more_than_a_page_is_read_to_its_end(
        self, library, backend, synced, verified, found_out, remote
    ):
        cloud = backend(provider="other", tested=found_out)
        library.fill(1_005, size=20)
        assert synced(cloud, workers=16).succeeded == 1_005
        remote(cloud).delete("album/1004.mp3")

        report = verified(cloud)

        assert (report.ok, found(report, "missing")) == (1_004, {"album/1004.mp3"})

    def test_what_rclone_put_there_is_adopted_and_nothing_is_left_to_send(
        self, library, catalog, scanned, cloud, store, remote, claims
    ):
        library.fill(5)
        for name in ODD_NAMES:
            library.add(f"{name}/{name}.mp3", name.encode())
        rclone_copy(store, library.root, cloud)
        stored = len(remote(cloud).keys())
        scanned()
        enqueue(catalog, cloud)

        report = adopt(catalog, cloud, workers=4, attempts=2)

        assert (report.differ, report.undecided, report.failed) == (0, 0, 0)
        assert (report.adopted, report.foreign_keys, report.lacking_keys) == (stored, [], [])
        assert count_pending(catalog, cloud) == (0, 0)
        assert len(claims(cloud)) == stored
