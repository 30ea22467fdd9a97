"""Offload: a local file goes only when enough stores are proven to hold it, and nothing is lost."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from catalogsync_assets.core.adopt.adopt import adopt
from catalogsync_assets.core.catalog.backends import register
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.replication import ALL_OTHERS, EVERY_BACKEND, set_policy
from catalogsync_assets.core.catalog.scope import Scope, Selection
from catalogsync_assets.core.catalog.search import whereis
from catalogsync_assets.core.catalog.separation import keep_verdicts, separation
from catalogsync_assets.core.catalog.status import backend_status
from catalogsync_assets.core.catalog.upload_plan import enqueue
from catalogsync_assets.core.errors import CatalogError, RunAborted, UsageError
from catalogsync_assets.core.library import removal, root_scan
from catalogsync_assets.core.library import scan as scan_module
from catalogsync_assets.core.offload import offload as offload_module
from catalogsync_assets.core.offload.offload import offload
from catalogsync_assets.core.restore.restore import restore
from catalogsync_assets_tests.support.audio_files import tagged
from catalogsync_assets_tests.support.database import bytes_of, change, move_backend, rows
from catalogsync_assets_tests.support.files import unprivileged
from catalogsync_assets_tests.support.kills import STEPS, Killed, die_at
from catalogsync_assets_tests.support.proxy import refusal

PLACES = (
    "SELECT library_path, status FROM file_locations WHERE library_root IS NOT NULL"
    " AND status <> 'superseded' ORDER BY library_path"
)


@pytest.fixture
def stored(library, scanned, uploaded, backend, buckets):
    """`stored("cloud", "vault", files=3)`: fills the library, scans it, and uploads it to these new
    backends, each with a bucket of its own."""

    def run(*names, files=0, **settings):
        library.fill(files)
        scanned()
        backends = [
            backend(name, **{"bucket": bucket, **settings})
            for name, bucket in zip(names, buckets, strict=False)
        ]
        for each in backends:
            assert uploaded(each).failed == 0
        return backends

    return run


@pytest.fixture
def offloaded(catalog):
    """`offloaded(2)` removes what two backends hold."""

    def run(copies=1, **options):
        return offload(
            catalog, copies, **{"dry_run": False, "workers": 4, "attempts": 2, **options}
        )

    return run


def verified_at_once(catalog: Catalog) -> None:
    """All copies in the same second: that of the first backend is asked for first."""
    change(catalog, "UPDATE file_locations SET verified_at = '2001-01-01 00:00:00'")


def never(_):
    raise AssertionError("a store was asked")


def leftovers(library: Any) -> list[str]:
    return [p.name for p in library.root.rglob(".*")]


# --- what goes ----------------------------------------------------------------------------------


def test_files_that_enough_backends_hold_go_and_their_rows_say_so(
    library, stored, offloaded, catalog, remote
):
    library.fill(5)
    before = library.contents()
    cloud, vault = stored("cloud", "vault")

    report = offloaded(2)

    assert (report.removed, report.failed, report.too_few) == (5, 0, 0)
    assert report.removed_bytes == 5 * 300
    assert library.contents() == {}
    assert (library.root / "album").is_dir()
    assert rows(catalog, PLACES) == [(path, "offloaded") for path in sorted(before)]
    assert remote(cloud).contents() == remote(vault).contents() == before


def test_a_dry_run_is_the_default_and_changes_nothing(library, stored, catalog):
    stored("cloud", files=3)
    before = library.contents()
    catalog.close()
    database = bytes_of(catalog.path)

    for check in (False, True):
        report = offload(catalog, 1, check=check)
        assert (report.dry_run, report.removed, report.removed_bytes) == (True, 3, 900)
        assert report.files == [str(library.root / path) for path in sorted(before)]

    catalog.close()
    assert bytes_of(catalog.path) == database
    assert library.contents() == before


def test_a_dry_run_by_the_catalog_asks_no_store(stored, catalog):
    stored("cloud", files=2)

    assert offload(catalog, 1, check=False, connect=never).removed == 2


def test_files_on_too_few_backends_stay(library, stored, offloaded, backend):
    stored("cloud", files=3)
    backend("vault")

    report = offloaded(2)

    assert (report.removed, report.too_few, report.too_few_bytes) == (0, 3, 900)
    assert len(library.contents()) == 3


def test_more_copies_than_backends_is_wrong_use(catalog, cloud):
    for copies in (0, 2):
        with pytest.raises(UsageError, match=f"{copies} copies cannot be kept by 1 backends"):
            offload(catalog, copies, dry_run=False)


def test_only_named_backends_count(library, stored, offloaded, backend):
    stored("cloud", files=2)
    assert offloaded(1, backends=[backend("vault")]).too_few == 2
    assert len(library.contents()) == 2


# --- what counts as a copy ----------------------------------------------------------------------


@pytest.mark.parametrize("how", ["another host name", "a proxy", "a prefix below", "the same"])
def test_one_bucket_under_two_names_counts_once(
    library, stored, offloaded, uploaded, backend, proxy, how
):
    (cloud,) = stored("cloud", files=2)
    settings = {
        "another host name": {"endpoint": cloud.endpoint.replace("127.0.0.1", "localhost")},
        "a proxy": {"endpoint": proxy.endpoint},
        "a prefix below": {"base_prefix": f"{cloud.base_prefix}/below"},
        "the same": {},
    }[how]
    uploaded(backend("again", **{"base_prefix": cloud.base_prefix, **settings}))

    with pytest.raises(RunAborted, match="again, cloud are the same store"):
        offloaded(2)

    assert len(library.contents()) == 2


def test_of_three_backends_of_which_two_are_one_store_two_copies_remain(
    stored, offloaded, uploaded, backend, buckets
):
    (cloud,) = stored("cloud", files=2)
    uploaded(backend("again", endpoint=cloud.endpoint.replace("127.0.0.1", "localhost")))
    vault = backend("vault", bucket=buckets[1])
    uploaded(vault, limit=1)

    report = offloaded(2)

    assert (report.removed, report.too_few, report.same) == (1, 1, [["again", "cloud"]])
    uploaded(vault)
    with pytest.raises(RunAborted, match="too few different stores to prove 3 copies"):
        offloaded(3)
    assert offloaded(2).removed == 1


def test_a_verdict_that_is_no_longer_true_removes_nothing(
    library, stored, offloaded, uploaded, backend, catalog
):
    (cloud,) = stored("cloud", files=2)
    again = backend("again")
    uploaded(again)
    keep_verdicts(catalog, [(cloud, again, "apart")])

    assert offload(catalog, 2, check=False).removed == 2
    for dry_run in (True, False):
        with pytest.raises(RunAborted, match="again, cloud are the same store"):
            offloaded(2, dry_run=dry_run)

    assert len(library.contents()) == 2
    assert separation(catalog).same == [["again", "cloud"]]


def test_a_backend_that_was_pointed_elsewhere_is_proven_anew(
    stored, offloaded, catalog, unregistered
):
    vault = stored("cloud", "vault", files=2)[1]
    alias = vault.endpoint.replace("127.0.0.1", "localhost")
    place = {"bucket": vault.bucket, "base_prefix": vault.base_prefix, "endpoint": alias}
    register(catalog, unregistered("vault", **place))

    dry = offload(catalog, 2, check=False)
    assert (dry.removed, dry.too_few) == (0, 2)
    assert [(u.one, u.other, u.why) for u in dry.unproven] == [("cloud", "vault", None)]
    assert offloaded(2).removed == 2
    assert separation(catalog).unproven == []


def test_stores_that_cannot_be_told_apart_now_count_as_one(
    library, stored, offloaded, backend, uploaded, proxy
):
    """Read-only credentials: what is known of earlier is not enough for a deletion."""
    stored("cloud", files=2)
    vault = backend("vault", bucket="second-bucket", endpoint=proxy.endpoint)
    uploaded(vault)
    proxy.refuse(99, refusal(403, "AccessDenied"))

    with pytest.raises(RunAborted, match="cloud and vault are not proven to be two") as raised:
        offloaded(2)

    assert "access denied" in raised.value.report.unproven[0].why
    assert len(library.contents()) == 2
    assert offloaded(1).removed == 2


def test_for_a_single_copy_no_store_is_asked_which_it_is(
    stored, offloaded, backend, uploaded, proxy
):
    stored("cloud", files=1)
    uploaded(backend("vault", bucket="second-bucket", endpoint=proxy.endpoint))
    proxy.requests.clear()

    assert offloaded(1).removed == 1

    assert proxy.of("PUT") == []


def test_no_store_is_asked_where_nothing_needs_to_go(stored, offloaded):
    stored("cloud", "vault", files=1)

    assert offloaded(2, until_free=1, connect=never).removed == 0


def test_a_new_backend_without_files_is_not_spoken_of(stored, catalog, backend):
    stored("cloud", files=1)
    backend("vault", bucket="second-bucket")

    report = offload(catalog, check=False)

    assert (report.too_few, report.unproven) == (1, [])


# --- what the policy asks for -------------------------------------------------------------------


def test_without_a_number_the_policy_of_each_library_says_how_many_copies_stay(
    library, another_library, scanned, backend, buckets, uploaded, offloaded, catalog
):
    library.fill(2)
    archive = another_library("archive")
    archive.fill(3, folder="old")
    scanned(library.root, archive.root)
    uploaded(backend("cloud", bucket=buckets[0]))
    vault = backend("vault", bucket=buckets[1])
    set_policy(catalog, ALL_OTHERS, 1)
    set_policy(catalog, archive.root, EVERY_BACKEND)

    dry = offload(catalog, check=False)
    assert (dry.keep_copies, dry.removed, dry.too_few) == (None, 2, 3)
    report = offloaded(None)
    assert (report.removed, report.too_few) == (2, 3)
    assert (len(library.contents()), len(archive.contents())) == (0, 3)

    uploaded(vault)
    assert offloaded(None).removed == 3


def test_without_any_policy_every_backend_must_hold_a_file(
    library, stored, offloaded, backend, uploaded
):
    stored("cloud", files=2)
    vault = backend("vault", bucket="second-bucket")

    assert (offloaded(None).removed, len(library.contents())) == (0, 2)
    uploaded(vault)
    assert offloaded(None).removed == 2


def test_a_policy_of_no_copies_still_leaves_one(library, cloud, synced, offloaded, catalog):
    library.fill(2)
    synced(cloud, limit=1)
    set_policy(catalog, ALL_OTHERS, 0)

    report = offloaded(None)

    assert (report.removed, report.too_few) == (1, 1)


@pytest.mark.parametrize("of_root", [False, True])
def test_fewer_copies_than_the_policy_are_refused_unless_it_is_said(
    library, stored, offloaded, catalog, of_root
):
    stored("cloud", "vault", files=2)
    set_policy(catalog, library.root if of_root else ALL_OTHERS, 2)

    for dry_run in (True, False):
        with pytest.raises(
            UsageError, match=r"the policy asks for 2 copies of each file .*, not for 1"
        ):
            offloaded(1, dry_run=dry_run)
    assert len(library.contents()) == 2

    assert offloaded(1, below_policy=True).removed == 2


def test_another_librarys_policy_does_not_stand_in_the_way(
    library, another_library, scanned, stored, offloaded, catalog
):
    library.fill(1)
    archive = another_library("archive")
    archive.fill(1, folder="old")
    scanned(archive.root)
    stored("cloud", "vault")
    set_policy(catalog, archive.root, 2)
    set_policy(catalog, ALL_OTHERS, 1)
    (song,) = rows(
        catalog,
        "SELECT f.song_id FROM file_locations l JOIN file_assets f ON f.id = l.file_asset_id"
        " WHERE l.library_root = ?",
        str(library.root),
    )

    assert offloaded(1, scope=Scope(selections=(Selection("song", (song,)),))).removed == 1
    with pytest.raises(UsageError, match=f"below {archive.root}"):
        offloaded(1)


def test_a_scope_and_an_age_limit_what_goes(library, stored, offloaded, catalog):
    paths = library.fill(4)
    os.utime(paths[0])  # just now
    stored("cloud")
    songs = rows(
        catalog,
        "SELECT f.song_id FROM file_locations l JOIN file_assets f ON f.id = l.file_asset_id"
        " WHERE l.library_path IN ('album/0000.mp3', 'album/0001.mp3')",
    )

    scope = Scope(selections=(Selection("song", tuple(songs)),))
    report = offloaded(1, scope=scope, older_than_seconds=3600)

    assert (report.removed, report.younger) == (1, 1)
    assert sorted(library.contents()) == ["album/0000.mp3", "album/0002.mp3", "album/0003.mp3"]


def test_the_oldest_go_first_and_only_until_enough_is_free(stored, catalog, offloaded, monkeypatch):
    stored("cloud", files=6)
    usage = type("Usage", (), {"free": 10_000})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)

    dry = offload(catalog, 1, until_free=10_650, check=False)
    report = offloaded(1, until_free=10_650)

    assert dry.files == report.files
    assert [Path(f).name for f in report.files] == ["0000.mp3", "0001.mp3", "0002.mp3"]
    assert report.goal_reached
    assert [(r.free_before, r.free) for r in report.rooms] == [(10_000, 10_900)]
    assert offloaded(1, until_free=10_000).removed == 0


def test_what_may_not_go_is_made_up_for_by_the_next_until_enough_is_free(
    stored, offloaded, remote, monkeypatch
):
    (cloud,) = stored("cloud", files=6)
    usage = type("Usage", (), {"free": 10_000})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    remote(cloud).delete("album/0000.mp3")

    report = offloaded(1, until_free=10_600)

    assert [Path(f).name for f in report.files] == ["0001.mp3", "0002.mp3"]
    assert report.reasons == {"NotProven": 1}
    assert not offloaded(1, until_free=99_999).goal_reached


# --- proof --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["gone", "truncated", "other bytes"])
def test_a_file_whose_object_is_not_what_the_catalog_says_stays_and_the_row_tells(
    library, stored, offloaded, remote, catalog, fault
):
    (cloud,) = stored("cloud", files=3)
    store = remote(cloud)
    if fault == "gone":
        store.delete("album/0001.mp3")
    else:
        store.put("album/0001.mp3", b"x" * (300 if fault == "other bytes" else 20))

    report = offloaded(1)

    assert (report.removed, report.reasons) == (2, {"NotProven": 1})
    assert (report.missing, report.damaged) == ((1, 0) if fault == "gone" else (0, 1))
    assert list(library.contents()) == ["album/0001.mp3"]
    (place,) = rows(
        catalog,
        "SELECT status, etag FROM file_locations WHERE backend_id = ? AND locator LIKE ?",
        cloud.id,
        "%0001.mp3",
    )
    if fault == "gone":
        assert place[0] == "missing"
    else:  # the ETag tells an upload which object may be replaced
        assert place == ("damaged", store.head("album/0001.mp3")["ETag"])
    assert offloaded(1).too_few == 1


def test_a_bucket_without_anything_is_not_taken_for_the_loss_of_everything(
    stored, offloaded, remote, catalog
):
    (cloud,) = stored("cloud", files=3)
    for key in remote(cloud).contents():
        remote(cloud).delete(key)

    report = offloaded(1)

    assert (report.reasons, report.missing) == ({"NotProven": 3}, 0)
    assert rows(catalog, "SELECT COUNT(*) FROM file_locations WHERE status = 'missing'") == [0]


def test_another_backend_makes_up_for_one_that_has_lost_a_file(stored, offloaded, remote, catalog):
    first, *_ = stored("a", "b", "c", files=2)
    verified_at_once(catalog)
    remote(first).delete("album/0000.mp3")

    report = offloaded(2)

    assert (report.removed, report.failed, report.missing) == (2, 0, 1)


def test_no_more_stores_are_asked_than_copies_are_kept(
    stored, offloaded, proxy, backend, uploaded, catalog
):
    stored("a", files=3)
    second = backend("b", endpoint=proxy.endpoint)
    uploaded(second)
    verified_at_once(catalog)
    proxy.requests.clear()

    assert offloaded(1).removed == 3

    assert proxy.of("HEAD") == []


@pytest.mark.usefixtures("untestable")
def test_where_no_digest_is_kept_objects_are_read(library, offloaded, backend, synced, proxy):
    library.fill(2)
    unknown = backend(endpoint=proxy.endpoint, provider="other")
    synced(unknown)
    proxy.requests.clear()

    assert offloaded(1).removed == 2

    read = [r.key.rpartition("/")[2] for r in proxy.of("GET") if "album" in r.key]
    assert sorted(read) == ["0000.mp3", "0001.mp3"]


def test_an_object_whose_digest_the_store_does_not_have_is_read(
    library, offloaded, scanned, backend, remote, proxy, catalog
):
    """As one that another tool has stored: the ETag is the same as ever, and no proof."""
    path = library.fill(1)[0]
    scanned()
    cloud = backend(endpoint=proxy.endpoint)
    remote(cloud).put("album/0000.mp3", path.read_bytes())
    assert adopt(catalog, cloud).by == {"etag": 1}
    proxy.requests.clear()

    assert offloaded(1).removed == 1

    assert [r.key for r in proxy.of("GET") if "album" in r.key] == [
        f"{cloud.key_prefix}album/0000.mp3"
    ]


def test_a_store_that_is_down_is_made_up_for_by_the_others(
    stored, offloaded, catalog, unused_endpoint
):
    down, _ = stored("cloud", "vault", files=3)
    move_backend(catalog, down, unused_endpoint)

    report = offloaded(1)

    assert (report.removed, list(report.out)) == (3, ["cloud"])


def test_with_too_few_stores_nothing_goes_and_the_reason_is_said(
    library, stored, offloaded, catalog, unused_endpoint
):
    down, _ = stored("cloud", "vault", files=3)
    move_backend(catalog, down, unused_endpoint)

    with pytest.raises(RunAborted, match="too few of the backends"):
        offloaded(2)

    assert len(library.contents()) == 3


def test_a_store_that_falls_silent_is_soon_given_up(library, offloaded, backend, synced, proxy):
    library.fill(100)
    synced(backend(endpoint=proxy.endpoint))
    proxy.refuse(10_000, refusal(503), methods="HEAD")

    with pytest.raises(RunAborted):
        offloaded(1, workers=1)

    assert len(library.contents()) == 100
    assert len(proxy.of("HEAD")) < 20


# --- files that are not what the catalog says ---------------------------------------------------


def test_a_file_that_changed_since_the_scan_stays(library, stored, offloaded):
    stored("cloud", files=3)
    library.add("album/0001.mp3", b"new content")

    report = offloaded(1)

    assert (report.removed, report.reasons) == (2, {"Changed": 1})
    assert library.contents() == {"album/0001.mp3": b"new content"}


def test_a_file_that_was_changed_behind_its_size_and_time_stays(library, stored, offloaded):
    path = library.fill(1)[0]
    stored("cloud")
    library.rewrite("album/0000.mp3", b"y" * 300)

    report = offloaded(1)

    assert (report.removed, report.reasons) == (0, {"ContentDiffers": 1})
    assert path.read_bytes() == b"y" * 300


@pytest.mark.parametrize("when", ["after hashing", "after renaming"])
def test_a_file_that_changes_between_its_proof_and_its_deletion_stays(
    library, stored, offloaded, catalog, monkeypatch, when
):
    path = library.fill(1)[0]
    stored("cloud")
    move = removal.move_to_free_name

    def change_then_move(source, target):
        if when == "after renaming" and source == path:
            move(source, target)
            target.write_bytes(b"z" * 300)
        else:
            move(source, target)

    if when == "after hashing":
        begin = offload_module.queries.begin

        def change_then_begin(*arguments):
            marked = begin(*arguments)
            path.write_bytes(b"z" * 300)
            return marked

        monkeypatch.setattr(offload_module.queries, "begin", change_then_begin)
    else:
        monkeypatch.setattr(removal, "move_to_free_name", change_then_move)

    report = offloaded(1)

    assert (report.removed, report.reasons) == (0, {"Changed": 1})
    assert path.read_bytes() == b"z" * 300
    assert leftovers(library) == []
    assert rows(catalog, PLACES) == [("album/0000.mp3", "active")]


def test_a_file_that_was_replaced_by_name_stays(library, stored, offloaded, monkeypatch):
    """Another program saves as many do: it writes a new file and renames it over the old one."""
    path = library.fill(1)[0]
    stored("cloud")
    before = path.stat()
    begin = offload_module.queries.begin

    def replace_then_begin(*arguments):
        new = path.with_suffix(".new")
        new.write_bytes(b"n" * 300)
        os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
        new.replace(path)
        return begin(*arguments)

    monkeypatch.setattr(offload_module.queries, "begin", replace_then_begin)

    assert offloaded(1).reasons == {"Changed": 1}
    assert path.read_bytes() == b"n" * 300


def test_what_was_recorded_meanwhile_keeps_its_file(
    library, stored, offloaded, catalog, monkeypatch
):
    """An audit finds an object missing after offload has looked at it."""
    (cloud,) = stored("cloud", files=2)
    begin = offload_module.queries.begin

    def audit_then_begin(*arguments):
        change(
            catalog,
            "UPDATE file_locations SET status = 'missing' WHERE backend_id = ? AND locator LIKE ?",
            cloud.id,
            "%0000.mp3",
        )
        return begin(*arguments)

    monkeypatch.setattr(offload_module.queries, "begin", audit_then_begin)

    report = offloaded(1)

    assert (report.removed, report.reasons) == (1, {"Changed": 1})
    assert list(library.contents()) == ["album/0000.mp3"]
    assert rows(catalog, PLACES)[0] == ("album/0000.mp3", "active")


def test_links_and_files_with_other_links_stay_and_are_no_failure(library, stored, offloaded):
    target = library.add("target.bin", b"o" * 10)
    library.fill(1)
    (library.root / "link.mp3").symlink_to(target)
    one = library.add("one.mp3")
    (library.root / "two.mp3").hardlink_to(one)
    stored("cloud")

    report = offloaded(1)

    assert (report.removed, report.failed, report.left) == (1, 0, {"Link": 1, "HardLink": 2})
    assert sorted(library.contents()) == ["link.mp3", "one.mp3", "target.bin", "two.mp3"]
    assert target.read_bytes() == b"o" * 10


def test_a_folder_that_became_a_link_is_not_followed(library, stored, offloaded, tmp_path):
    stored("cloud", files=1)
    (library.root / "album").rename(tmp_path / "elsewhere")
    (library.root / "album").symlink_to(tmp_path / "elsewhere")

    assert offloaded(1).reasons == {"Outside": 1}
    assert (tmp_path / "elsewhere" / "0000.mp3").exists()


def test_a_row_that_leads_out_of_its_root_is_not_followed(
    library, stored, offloaded, catalog, tmp_path
):
    path = library.fill(1)[0]
    stored("cloud")
    outside = tmp_path / "0000.mp3"
    path.rename(outside)
    change(catalog, "UPDATE file_locations SET library_path = '../0000.mp3' WHERE backend_id = 1")

    assert offloaded(1).removed == 0
    assert outside.exists()


def test_a_root_that_is_not_there_is_reported_and_its_files_keep_their_rows(
    library, stored, offloaded, catalog, tmp_path
):
    stored("cloud", files=2)
    library.root.rename(tmp_path / "unmounted")

    assert offloaded(1).reasons == {"RootMissing": 2}
    assert {status for _, status in rows(catalog, PLACES)} == {"active"}
    library.root.mkdir()
    assert offloaded(1).reasons == {"Gone": 2}
    assert {status for _, status in rows(catalog, PLACES)} == {"active"}


def test_a_folder_without_permission_keeps_its_files_and_their_rows(
    backend, catalog, another_library, public_folder, scanned, uploaded, monkeypatch
):
    library = another_library(str(public_folder / "music"))
    path = library.fill(1)[0]
    path.chmod(0o666)
    scanned(library.root)
    uploaded(backend())
    path.parent.chmod(0o555)
    monkeypatch.setattr(os, "access", lambda *_: True)  # which is not told of every refusal
    remove = removal.remove

    def as_somebody(*arguments):
        with unprivileged():
            remove(*arguments)

    monkeypatch.setattr(removal, "remove", as_somebody)

    assert offload(catalog, 1, dry_run=False).reasons == {"Unwritable": 1}
    assert path.exists()
    assert rows(catalog, PLACES) == [("album/0000.mp3", "active")]


def test_rows_of_other_programs_that_no_scan_has_met_are_no_candidates(stored, offloaded, catalog):
    stored("cloud", files=1)
    change(catalog, "UPDATE file_locations SET library_root = NULL WHERE backend_id = 1")

    assert offloaded(1).candidates == 0


def test_a_file_whose_digest_the_catalog_does_not_know_stays(stored, offloaded, catalog):
    stored("cloud", files=1)
    change(catalog, "UPDATE file_assets SET sha256 = NULL")

    assert offloaded(1).reasons == {"NoDigest": 1}


# --- what others make of it ---------------------------------------------------------------------


def test_an_offloaded_file_is_neither_missing_nor_uploaded_again(
    stored, offloaded, scanned, catalog, backend
):
    (cloud,) = stored("cloud", files=2)
    offloaded(1)

    report = scanned()

    assert (report.missing, report.files, report.missing_paths) == (0, 0, [])
    assert {status for _, status in rows(catalog, PLACES)} == {"offloaded"}
    assert enqueue(catalog, cloud) == 0
    backend("vault")
    local = backend_status(catalog)[0]
    assert (local.backend_type, local.offloaded, local.missing) == ("local", 2, 0)
    assert {(p.backend, p.status) for p in whereis(catalog, "0001")} == {
        ("local", "offloaded"),
        ("cloud", "active"),
        ("vault", "absent"),
    }


def test_an_offloaded_file_still_counts_as_a_file_of_its_song(stored, offloaded, catalog):
    stored("cloud", files=1)
    offloaded(1)

    assert rows(
        catalog,
        "SELECT b.name, p.files_total, p.files_present FROM song_backend_presence p"
        " JOIN storage_backends b ON b.id = p.backend_id ORDER BY b.name",
    ) == [("cloud", 1, 1), ("local", 1, 0)]


@pytest.mark.parametrize("same_time", [True, False])
def test_a_file_that_is_put_back_is_there_again(
    library, stored, offloaded, scanned, catalog, same_time
):
    path = library.fill(1)[0]
    before, content = path.stat(), path.read_bytes()
    stored("cloud")
    offloaded(1)
    path.write_bytes(content)
    if same_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    report = scanned()

    assert (report.new, report.changed) == (0, 0)
    assert rows(catalog, PLACES) == [("album/0000.mp3", "active")]
    assert rows(catalog, "SELECT COUNT(*) FROM file_assets") == [1]
    assert offloaded(1).removed == 1


def test_an_edited_file_at_an_offloaded_path_is_a_new_content_of_the_same_file(
    library, stored, offloaded, scanned, uploaded, catalog, remote
):
    names = {"artist": ["Ann"], "album": ["First"], "title": ["One"], "tracknumber": ["1"]}
    tagged(library.root / "one.flac", "flac vorbis", **names)
    (cloud,) = stored("cloud", files=0)
    offloaded(1)
    edited = tagged(library.root / "one.flac", "flac vorbis", **names, comment=["remastered"])

    assert scanned().changed == 1
    assert uploaded(cloud).succeeded == 1

    assert remote(cloud).contents()["one.flac"] == edited.read_bytes()
    assert rows(catalog, PLACES) == [("one.flac", "active")]
    assert rows(catalog, "SELECT COUNT(DISTINCT song_id), COUNT(*) FROM file_assets") == [(1, 2)]


def test_another_file_at_an_offloaded_path_takes_nothing_from_the_one_that_was_there(
    library, stored, offloaded, scanned, uploaded, catalog, remote, monkeypatch
):
    monkeypatch.setenv("CATALOGSYNC_KEEP_REPLACED_DAYS", "0")
    (cloud,) = stored("cloud", files=1)
    ours = (library.root / "album/0000.mp3").read_bytes()
    offloaded(1)
    library.add("album/0000.mp3", b"of another record")

    assert scanned().new == 1
    assert uploaded(cloud).succeeded == 1

    assert set(remote(cloud).contents().values()) == {ours, b"of another record"}
    (there, _), (beside, status) = sorted(rows(catalog, PLACES))
    assert (there, status) == ("album/0000.mp3", "offloaded")
    assert scanned().new == 0
    assert restore(catalog, library.root, missing=True).restored == 1
    assert (library.root / beside).read_bytes() == ours
    assert (library.root / there).read_bytes() == b"of another record"


def test_a_file_that_is_moved_to_an_offloaded_path_takes_nothing_from_the_one_that_was_there(
    library, stored, offloaded, scanned, uploaded, catalog, remote
):
    (cloud,) = stored("cloud", files=1)
    ours = (library.root / "album/0000.mp3").read_bytes()
    offloaded(1)
    library.add("b.mp3", b"of another record")
    scanned()
    uploaded(cloud)
    (library.root / "b.mp3").rename(library.root / "album/0000.mp3")

    assert scanned().moved == 1
    uploaded(cloud)

    assert set(remote(cloud).contents().values()) == {ours, b"of another record"}
    assert [status for _, status in sorted(rows(catalog, PLACES))] == ["active", "offloaded"]


def test_a_scan_that_saw_a_file_before_it_was_offloaded_does_not_bring_it_back(
    library, stored, offloaded, scanned, catalog, monkeypatch
):
    """The walk finds the file, then it is removed, then the scan reads its row."""
    stored("cloud", files=2)
    known_paths = root_scan.known_paths

    def offload_then_know(*arguments):
        assert offloaded(1).removed == 2
        return known_paths(*arguments)

    walked = list(scan_module.walk_in_runs(library.root))
    monkeypatch.setattr(scan_module, "walk_in_runs", lambda *_, **__: iter(walked))
    monkeypatch.setattr(root_scan, "known_paths", offload_then_know)

    scanned()

    assert {status for _, status in rows(catalog, PLACES)} == {"offloaded"}


# --- kills, and two at once ---------------------------------------------------------------------


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("by", ["scan", "offload"])
def test_a_kill_at_any_step_loses_nothing_and_is_set_right(
    library, stored, offloaded, scanned, catalog, monkeypatch, step, by
):
    library.fill(3)
    before = library.contents()
    stored("cloud")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        die_at(step, patch)
        offloaded(1)
    deleted = step in ("deleted", "on disk")
    assert set(rows(catalog, PLACES)) == {(path, "offloading") for path in before}

    if by == "scan":
        report = scanned()
        assert (report.missing, report.new, report.changed, report.problem_count) == (0, 0, 0, 0)
        status = "offloaded" if deleted else "active"
        assert set(rows(catalog, PLACES)) == {(path, status) for path in before}
        assert library.contents() == ({} if deleted else before)
    done = offloaded(1)

    assert (done.failed, done.removed) == (0, 0 if deleted else 3)
    assert done.settled == (3 if by == "offload" else 0)
    assert list(library.root.rglob("*")) == [library.root / "album"]
    assert {status for _, status in rows(catalog, PLACES)} == {"offloaded"}


def test_what_a_kill_left_is_not_judged_while_the_disk_is_not_there(
    library, stored, offloaded, catalog, tmp_path, monkeypatch
):
    stored("cloud", files=1)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        die_at("renamed", patch)
        offloaded(1)
    library.root.rename(tmp_path / "unmounted")

    assert offloaded(1).reasons == {"Unsettled": 1}
    assert rows(catalog, PLACES) == [("album/0000.mp3", "offloading")]

    (tmp_path / "unmounted").rename(library.root)
    assert offloaded(1).removed == 1


@pytest.fixture
def half_removed(library, stored, offloaded, monkeypatch):
    """The content of a file that was half removed, and another file has its name."""
    path = library.fill(1)[0]
    content = path.read_bytes()
    stored("cloud")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        die_at("renamed", patch)
        offloaded(1)
    path.write_bytes(b"another")
    return content


def test_a_file_that_came_to_the_name_of_a_half_removed_one_stays_with_it(
    library, scanned, half_removed
):
    assert scanned().problem_count

    assert sorted(library.contents().values()) == sorted([b"another", half_removed])
    assert leftovers(library) == []


def test_a_half_removed_file_whose_return_was_killed_between_two_names_has_one_again(
    library, scanned, half_removed, monkeypatch
):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        die_at("linked", patch)
        scanned()
    assert len(leftovers(library)) == 1

    assert scanned().problem_count

    assert sorted(library.contents().values()) == sorted([b"another", half_removed])
    assert leftovers(library) == []


def test_ctrl_c_leaves_rows_that_are_true(library, stored, offloaded, catalog, monkeypatch):
    stored("cloud", files=4)
    count = 0
    unlink = Path.unlink

    def interrupted(self, *arguments, **more):
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        unlink(self, *arguments, **more)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "unlink", interrupted)
        offloaded(1)

    there = library.contents()
    assert 0 < len(there) < 4
    assert dict(rows(catalog, PLACES)) == {
        f"album/{i:04d}.mp3": "active" if f"album/{i:04d}.mp3" in there else "offloaded"
        for i in range(4)
    }
    assert leftovers(library) == []


def test_two_offloads_at_once_are_one_after_the_other(library, stored, catalog, monkeypatch):
    stored("cloud", files=1)
    monkeypatch.setattr(removal, "PATIENCE", 0)

    with removal.alone(catalog) as right:
        assert right
        offload(catalog, 1, check=False)  # a dry run does not mind
        with pytest.raises(RunAborted, match="another process removes files"):
            offload(catalog, 1, dry_run=False)

    assert len(library.contents()) == 1


@pytest.mark.parametrize("name", ["link.db", "folder/catalog.db", "elsewhere/link.db"])
def test_a_catalog_of_another_name_is_the_same_catalog(
    library, stored, catalog, tmp_path, monkeypatch, name
):
    stored("cloud", files=1)
    monkeypatch.setattr(removal, "PATIENCE", 0)
    (tmp_path / "link.db").symlink_to(catalog.path)
    (tmp_path / "folder").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/link.db").symlink_to("../link.db")
    monkeypatch.chdir(tmp_path)
    again = Catalog.open(name)

    with (
        removal.alone(catalog) as right,
        removal.no_removal(again) as other,
        pytest.raises(RunAborted, match="another process removes files"),
    ):
        assert (right, other) == (True, False)
        offload(again, 1, dry_run=False)

    again.close()
    assert len(library.contents()) == 1


def test_a_catalog_with_a_hard_link_removes_nothing(library, stored, offloaded, catalog, tmp_path):
    """There is no place beside both names where a lock would be found by both."""
    stored("cloud", files=1)
    (tmp_path / "elsewhere").mkdir()
    os.link(catalog.path, tmp_path / "elsewhere/catalog.db")

    with pytest.raises(CatalogError, match="has another name"):
        offloaded(1)

    assert len(library.contents()) == 1
