"""Files that a person wants no more leave every figure; nothing is lost, and they may return."""

import os
import shutil
from pathlib import Path

import pytest

import catalogsync_assets
from catalogsync_assets.core.adopt.queries import lacked
from catalogsync_assets.core.catalog import locations, presence
from catalogsync_assets.core.catalog.cells import cells
from catalogsync_assets.core.catalog.files import is_remembered, known_files
from catalogsync_assets.core.catalog.holdings import absence, formats, verification
from catalogsync_assets.core.catalog.replication import policy_status, set_policy
from catalogsync_assets.core.catalog.scope import Scope, Selection
from catalogsync_assets.core.catalog.search import whereis
from catalogsync_assets.core.catalog.status import backend_status
from catalogsync_assets.core.catalog.upload_plan import enqueue, missing_candidates
from catalogsync_assets.core.catalog.upload_queue import count_pending
from catalogsync_assets.core.errors import ConfigurationError, UsageError
from catalogsync_assets.core.export.contents import songs_with_files
from catalogsync_assets.core.library.forget import Request, forget, plan
from catalogsync_assets.core.restore.restore import restore
from catalogsync_assets.core.upload.upload import Limits, upload
from catalogsync_assets_tests.core.world import PRESENCE, truth
from catalogsync_assets_tests.support.database import bytes_of, change, rows

PLACES = "SELECT library_path, status FROM file_locations WHERE library_root IS NOT NULL"


def scans(catalog, days_gone, *, root=None, since="2026-01-01 12:00:00"):
    """As if what is missing had been found so since then, and the last scan so many days later."""
    change(catalog, "UPDATE file_locations SET missing_since = ? WHERE status = 'missing'", since)
    change(
        catalog,
        "INSERT INTO library_roots (path) SELECT DISTINCT library_root FROM file_locations"
        " WHERE library_root IS NOT NULL ON CONFLICT DO NOTHING",
    )
    change(
        catalog,
        "UPDATE library_roots SET last_complete_scan_at = datetime(?, ? || ' days')"
        " WHERE path = COALESCE(?, path)",
        *(since, days_gone, root and str(root)),
    )


def songs_of(catalog, *paths):
    sql = (
        "SELECT f.song_id FROM file_assets f JOIN file_locations l ON l.file_asset_id = f.id"
        " WHERE l.library_path = ?"
    )
    return Scope(
        selections=[Selection("song", tuple(rows(catalog, sql, path)[0] for path in paths))]
    )


@pytest.fixture
def forgotten(catalog):
    """`forgotten(path, …, gone=True)` forgets at once, and says what."""

    def run(*paths, count=None, **request):
        made = plan(catalog, Request(paths=[str(path) for path in paths], **request))
        given = made.report.files if count is None else count
        return forget(catalog, made, count=given)

    return run


@pytest.fixture
def two_gone(library, synced, cloud, scanned):
    """Of three files that are on `cloud` two are gone; one is on no backend, and gone, too."""
    for name in ("Album/a.mp3", "Album/b.mp3", "c.mp3"):
        library.add(name)
    synced(cloud)
    library.add("Album/new.mp3")
    scanned()
    for name in ("Album/a.mp3", "Album/b.mp3", "Album/new.mp3"):
        (library.root / name).unlink()
    scanned()
    return library


# --- which files --------------------------------------------------------------------------------


def test_a_plan_says_what_would_be_lost_and_changes_nothing(catalog, two_gone):
    before = bytes_of(catalog.path)

    report = plan(catalog, Request(paths=["Album"])).report

    assert bytes_of(catalog.path) == before
    assert report.dry_run
    assert (report.files, report.before, report.present) == (3, {"missing": 3}, 0)
    found = [(f.path, f.copies, f.backends) for f in report.listed]
    album = f"{two_gone.root}/Album"
    assert found == [
        (f"{album}/a.mp3", 1, ["cloud"]),
        (f"{album}/b.mp3", 1, ["cloud"]),
        (f"{album}/new.mp3", 0, []),
    ]
    assert (report.nowhere, report.nowhere_paths) == (1, [f"{album}/new.mp3"])


@pytest.mark.parametrize("how", ["absolute", "below the root", "from here", "with a slash"])
def test_a_path_is_found_as_a_person_writes_it(catalog, two_gone, monkeypatch, how):
    monkeypatch.chdir(two_gone.root / "Album" if how == "from here" else two_gone.root.parent)
    path = {
        "absolute": f"{two_gone.root}/Album/a.mp3",
        "below the root": "Album/a.mp3",
        "from here": "a.mp3",
        "with a slash": f"{two_gone.root}//Album/./a.mp3/",
    }[how]

    (found,) = plan(catalog, Request(paths=[path])).report.listed

    assert found.path == f"{two_gone.root}/Album/a.mp3"


def test_a_folder_is_no_other_one_that_begins_alike(catalog, library, scanned):
    for name in ("Album/1.mp3", "Album%/2.mp3", "Album 2/3.mp3", "Album.mp3"):
        library.add(name)
    scanned()
    for path in library.root.rglob("*.mp3"):
        path.unlink()
    scanned(allow_empty=True)

    report = plan(catalog, Request(paths=["Album", "Album/1.mp3", f"{library.root}/Album"])).report

    assert [f.path for f in report.listed] == [f"{library.root}/Album/1.mp3"]
    assert plan(catalog, Request(paths=[str(library.root)])).report.files == 4


def test_a_path_below_two_roots_must_be_told_apart(catalog, library, another_library, scanned):
    other = another_library("other")
    for root in (library, other):
        root.add("a.mp3")
        root.add("b.mp3")
    scanned(library.root, other.root)
    for root in (library, other):
        (root.root / "a.mp3").unlink()
    scanned(library.root, other.root)

    with pytest.raises(UsageError, match=r"is .*/music/a\.mp3 and .*/other/a\.mp3"):
        plan(catalog, Request(paths=["a.mp3"]))
    assert plan(catalog, Request(paths=[f"{other.root}/a.mp3"])).report.files == 1


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (Request(), "no files named"),
        (Request(paths=["nothing.mp3"]), "no file or folder nothing.mp3"),
        (Request(paths=["Alb"]), "no file or folder Alb"),
        (Request(paths=["a\udcff.mp3"]), "no file or folder"),
        (Request(paths=["Album"], scope=Scope(song_ids=[1])), "by path and by song"),
    ],
)
def test_wrong_requests_are_refused(catalog, two_gone, request_, said):
    with pytest.raises(UsageError, match=said):
        plan(catalog, request_)


@pytest.mark.parametrize("status", ["active", "damaged", "offloading"])
def test_a_file_that_is_there_is_refused(catalog, two_gone, status):
    change(catalog, "UPDATE file_locations SET status = ? WHERE library_path = 'c.mp3'", status)

    for request in (
        Request(paths=["c.mp3"]),
        Request(paths=["Album", "c.mp3"]),
        Request(scope=songs_of(catalog, "c.mp3")),
    ):
        with pytest.raises(UsageError, match=r"there, and (is|are) not forgotten") as refused:
            plan(catalog, request)
        assert "scan, and forget it then" in refused.value.hint


def test_in_a_folder_the_files_that_are_there_stay(catalog, two_gone, forgotten):
    report = forgotten(two_gone.root)

    assert (report.files, report.present) == (3, 1)
    assert dict(rows(catalog, PLACES))["c.mp3"] == "active"


def test_a_file_that_has_come_back_unscanned_is_there(catalog, two_gone):
    two_gone.add("Album/a.mp3")

    report = plan(catalog, Request(paths=["Album"])).report

    assert (report.files, report.present) == (2, 1)
    with pytest.raises(UsageError, match=r"a\.mp3 is there"):
        plan(catalog, Request(paths=["Album/a.mp3"]))


# --- gone for long ------------------------------------------------------------------------------


@pytest.mark.parametrize(("days", "files"), [(29, 0), (30, 2), (31, 2)])
def test_gone_takes_what_two_scans_a_month_apart_have_missed(catalog, two_gone, days, files):
    change(catalog, "UPDATE file_locations SET status = 'active' WHERE locator = 'Album/new.mp3'")
    scans(catalog, days)

    report = plan(catalog, Request(gone=True)).report

    assert (report.files, report.too_soon, report.days) == (files, 2 - files, 30)


def test_gone_is_judged_by_the_last_complete_scan_of_its_own_root(
    catalog, library, another_library, scanned
):
    other = another_library("other")
    for root in (library, other):
        root.add("a.mp3")
        root.add("b.mp3")
    scanned(library.root, other.root)
    for root in (library, other):
        (root.root / "a.mp3").unlink()
    scanned(library.root, other.root)
    scans(catalog, 90)
    scans(catalog, 3, root=library.root)

    report = plan(catalog, Request(gone=True)).report

    assert [f.path for f in report.listed] == [f"{other.root}/a.mp3"]
    assert report.too_soon == 1
    change(catalog, "UPDATE library_roots SET last_complete_scan_at = NULL")
    assert plan(catalog, Request(gone=True, days=1)).report.files == 0


def test_gone_never_takes_what_was_offloaded_or_left_out_nor_what_nobody_has_dated(
    catalog, two_gone
):
    scans(catalog, 90)
    for name, change_ in (
        ("a", "status = 'offloaded'"),
        ("b", "status = 'excluded'"),
        ("new", "missing_since = NULL"),
    ):
        sql = f"UPDATE file_locations SET {change_} WHERE library_path = 'Album/{name}.mp3'"
        change(catalog, sql)

    report = plan(catalog, Request(gone=True)).report

    assert (report.files, report.too_soon) == (0, 1)


def test_gone_may_be_limited_to_paths_and_songs(catalog, two_gone):
    scans(catalog, 90)

    assert plan(catalog, Request(gone=True, paths=["Album/a.mp3"])).report.files == 1
    only = songs_of(catalog, "Album/a.mp3", "Album/b.mp3")
    assert plan(catalog, Request(gone=True, scope=only)).report.files == 2
    assert plan(catalog, Request(gone=True, paths=["c.mp3"])).report.files == 0


def test_a_scan_from_which_a_folder_was_hidden_does_not_make_files_gone_for_longer(
    catalog, two_gone, scanned, monkeypatch
):
    scans(catalog, -1)
    complete = "SELECT last_complete_scan_at FROM library_roots"
    before = rows(catalog, complete)
    real = os.scandir

    def scandir(folder):
        if Path(folder).name == "Album":
            raise PermissionError(13, "Permission denied")
        return real(folder)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", scandir)
        assert [p.reason for p in scanned().problems] == ["cannot be listed: Permission denied"]
        assert rows(catalog, complete) == before

    scanned()
    assert rows(catalog, complete) != before


def test_how_long_is_a_setting(catalog, two_gone, monkeypatch):
    scans(catalog, 7)
    monkeypatch.setenv("CATALOGSYNC_FORGET_DAYS", "7")
    assert plan(catalog, Request(gone=True)).report.files == 3
    assert plan(catalog, Request(gone=True, days=8)).report.files == 0

    for wrong in ("0", "-1", "soon", "1.5"):
        monkeypatch.setenv("CATALOGSYNC_FORGET_DAYS", wrong)
        with pytest.raises(ConfigurationError, match="CATALOGSYNC_FORGET_DAYS"):
            plan(catalog, Request(gone=True))


def test_a_file_that_was_found_between_plan_and_deed_stays(catalog, two_gone, scanned):
    scans(catalog, 90)
    made = plan(catalog, Request(gone=True))
    assert made.report.files == 3
    two_gone.add("Album/a.mp3")
    scanned()
    # Back, and gone again: but not for long.
    sql = "UPDATE file_locations SET missing_since = ? WHERE library_path = 'Album/b.mp3'"
    change(catalog, sql, "2026-03-30 00:00:00")

    report = forget(catalog, made, count=3)

    assert [f.path for f in report.listed] == [f"{two_gone.root}/Album/new.mp3"]
    found = dict(rows(catalog, PLACES))
    assert (found["Album/a.mp3"], found["Album/b.mp3"]) == ("active", "missing")


# --- how many -----------------------------------------------------------------------------------


def test_more_than_a_tenth_of_a_root_needs_its_number(catalog, library, scanned):
    files = library.fill(20)
    scanned()
    for path in files[:3]:
        path.unlink()
    scanned()

    made = plan(catalog, Request(paths=["album"]))

    assert made.report.needs_count
    assert [(s.files, s.of) for s in made.report.roots] == [(3, 20)]
    for count in (None, 2, 20):
        with pytest.raises(UsageError, match="3 would be forgotten") as refused:
            forget(catalog, made, count=count)
        assert "--count 3" in refused.value.hint
    assert set(dict(rows(catalog, PLACES)).values()) == {"active", "missing"}
    assert forget(catalog, made, count=3).files == 3


def test_a_tenth_of_a_root_or_files_named_one_by_one_need_none(catalog, library, scanned):
    files = library.fill(20)
    scanned()
    for path in files[:2]:
        path.unlink()
    scanned()

    assert not plan(catalog, Request(paths=["album"])).report.needs_count
    files[2].unlink()
    scanned()
    by_name = plan(catalog, Request(paths=[str(path) for path in files[:3]]))
    assert (by_name.report.files, by_name.report.needs_count) == (3, False)
    with pytest.raises(UsageError, match="3 would be forgotten, not 4"):
        forget(catalog, by_name, count=4)
    assert forget(catalog, by_name).files == 3


# --- what it means ------------------------------------------------------------------------------


def test_a_forgotten_file_leaves_every_figure_and_its_object_stays(
    catalog, two_gone, cloud, backend, forgotten, remote, uploaded, verified, tmp_path
):
    other = backend("other")
    # b.mp3 and c.mp3 are two files of one song.
    change(
        catalog,
        "UPDATE file_assets SET song_id = ? WHERE object_key = 'Album/b.mp3'",
        songs_of(catalog, "c.mp3").selections[0].ids[0],
    )
    with catalog.transaction() as connection:
        presence.refresh(connection)
    enqueue(catalog, other)  # all three wait, two of them for a copy from `cloud`
    assert policy_status(catalog).songs_under_policy == 2

    report = forgotten("Album")

    assert (report.files, report.before, report.dry_run) == (3, {"missing": 3}, False)
    found = dict(rows(catalog, PLACES))
    assert found == {
        "Album/a.mp3": "forgotten",
        "Album/b.mp3": "forgotten",
        "Album/new.mp3": "forgotten",
        "c.mp3": "active",
    }
    assert rows(catalog, PRESENCE) == truth(catalog, rows)
    # Figures.
    local, stored, empty = backend_status(catalog)
    assert (local.forgotten, local.missing, local.songs_total) == (3, 0, 1)
    assert (stored.songs, stored.songs_total, stored.files) == (1, 1, 1)
    assert (empty.songs_absent, empty.pending) == (1, 1)
    policy = policy_status(catalog)
    assert (policy.songs, policy.songs_under_policy) == (1, 1)  # c.mp3 lacks `other`
    (batch, _) = rows(catalog, "SELECT key FROM batches ORDER BY id")
    assert [c.files for c in cells(catalog, batches=[batch], backend=cloud)] == [1]
    assert absence(catalog, other, batch).files == 1
    assert verification(catalog, cloud).files == {"server-digest": 1}
    assert [f.files for f in formats(catalog)] == [1]
    assert len(list(lacked(catalog, other))) == 1
    # Nothing is sent, restored or exported.
    assert [f.path for f in missing_candidates(catalog, other)] == [f"{two_gone.root}/c.mp3"]
    assert uploaded(other).succeeded == 1
    for missing in (False, True):
        assert restore(catalog, tmp_path / "new", missing=missing, dry_run=True).files == (
            0 if missing else 1
        )
    for where in ("anywhere", "local", cloud.id):
        ((songs, files),) = songs_with_files(catalog, where)
        assert songs == list(songs_of(catalog, "c.mp3").selections[0].ids)
        assert {f.locator.rpartition("/")[2] for f in files} == {"c.mp3"}
    # It is still known where it was, and what is there is still verified, but not repaired.
    places = {(p.backend, p.status) for p in whereis(catalog, "Album/a")}
    assert places == {("local", "forgotten"), ("cloud", "active"), ("other", "absent")}
    assert is_remembered(catalog, str(two_gone.root), "Album/a.mp3", "0" * 64)
    assert sorted(remote(cloud).keys()) == ["Album/a.mp3", "Album/b.mp3", "c.mp3"]
    assert verified(cloud, "head").ok == 3
    remote(cloud).delete("Album/a.mp3")
    damage = verified(cloud, "head", repair=True)
    assert (damage.missing, damage.repaired) == (1, 0)
    (finding,) = damage.findings
    assert "or was forgotten" in finding.repair
    assert enqueue(catalog, cloud) == 0
    assert backend_status(catalog)[1].missing == 0


def test_forgetting_again_is_nothing_to_do(catalog, two_gone, forgotten):
    forgotten("Album")
    before = rows(catalog, "SELECT * FROM file_locations")

    assert forgotten("Album").files == 0
    assert rows(catalog, "SELECT * FROM file_locations") == before


def test_what_was_offloaded_or_left_out_is_forgotten_when_it_is_named(catalog, two_gone, forgotten):
    for name, status in (("a", "offloaded"), ("b", "excluded")):
        sql = "UPDATE file_locations SET status = ? WHERE library_path = ?"
        change(catalog, sql, status, f"Album/{name}.mp3")

    report = forgotten("Album")

    assert report.before == {"offloaded": 1, "excluded": 1, "missing": 1}
    assert rows(catalog, PRESENCE) == truth(catalog, rows)


def test_a_kill_between_two_chunks_costs_what_was_not_done(
    catalog, library, scanned, monkeypatch, forgotten
):
    files = library.fill(8)
    scanned()
    for path in files:
        path.unlink()
    scanned(allow_empty=True)
    monkeypatch.setattr("catalogsync_assets.core.library.forget._CHUNK", 3)
    made = plan(catalog, Request(paths=["album"]))

    def killed(report):
        if report.files == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        forget(catalog, made, count=8, progress=killed)
    assert rows(catalog, PRESENCE) == truth(catalog, rows)
    assert sorted(dict(rows(catalog, PLACES)).values()) == ["forgotten"] * 6 + ["missing"] * 2
    assert forgotten("album").files == 2


# --- and back -----------------------------------------------------------------------------------


def test_other_files_at_the_paths_of_forgotten_ones_are_files_of_their_own(
    catalog, two_gone, cloud, forgotten, scanned, uploaded
):
    path = two_gone.root / "Album/a.mp3"
    known = rows(catalog, "SELECT id, song_id, sha256 FROM file_assets ORDER BY id")
    forgotten("Album")
    assert scanned().missing == 0  # asked no more
    shutil.copy2(two_gone.root / "c.mp3", path)
    two_gone.add("Album/b.mp3", b"an edition of its own")

    report = scanned()

    assert (report.changed, report.new) == (0, 2)
    assert (
        rows(catalog, "SELECT id, song_id, sha256 FROM file_assets ORDER BY id")[: len(known)]
        == known
    )
    assert backend_status(catalog)[0].forgotten == 3
    assert rows(catalog, PRESENCE) == truth(catalog, rows)


def test_a_forgotten_file_that_is_seen_unchanged_is_active_again(
    catalog, library, synced, cloud, forgotten, scanned, tmp_path
):
    aside = library.add("a.mp3")
    library.add("b.mp3")
    synced(cloud)
    shutil.move(aside, tmp_path / "aside")
    scanned()
    forgotten("a.mp3")
    shutil.move(tmp_path / "aside", aside)

    report = scanned()

    assert (report.returned, report.new, report.changed) == (1, 0, 0)
    assert dict(rows(catalog, PLACES)) == {"a.mp3": "active", "b.mp3": "active"}
    assert enqueue(catalog, cloud) == 0


@pytest.mark.parametrize("status", ["excluded", "missing", "offloaded"])
def test_named_by_its_song_even_a_file_that_is_not_wanted_is_restored(
    catalog, two_gone, forgotten, status, tmp_path
):
    song = songs_of(catalog, "Album/a.mp3")
    change(
        catalog,
        "UPDATE file_locations SET status = ? WHERE library_path = 'Album/a.mp3'",
        status,
    )
    if status != "excluded":
        forgotten("Album/a.mp3")
    # Unnamed, it stays where it is; b.mp3 is missing, and comes.
    assert restore(catalog, two_gone.root, missing=True, dry_run=True).files == 1

    report = restore(catalog, two_gone.root, missing=True, scope=song)

    assert (report.restored, report.failed) == (1, 0)
    assert (two_gone.root / "Album/a.mp3").exists()
    assert dict(rows(catalog, PLACES))["Album/a.mp3"] == "active"


# --- of several places --------------------------------------------------------------------------


@pytest.mark.parametrize("other", ["active", "missing", "damaged", "offloaded"])
def test_a_file_counts_on_by_its_other_place(catalog, two_gone, cloud, forgotten, tmp_path, other):
    """Restored to another root, it has two; one of them is forgotten."""
    restore(catalog, tmp_path / "second", scope=songs_of(catalog, "Album/a.mp3"))
    place = "WHERE library_root = ?"
    change(
        catalog,
        f"UPDATE file_locations SET status = ? {place}",
        *(other, str(tmp_path / "second")),
    )

    report = forgotten(f"{two_gone.root}/Album/a.mp3")

    assert (report.files, report.nowhere) == (1, 0)
    assert sum(c.files for c in cells(catalog, backend=cloud)) == 3
    with catalog.transaction() as connection:
        presence.refresh(connection)
    assert rows(catalog, PRESENCE) == truth(catalog, rows)
    assert backend_status(catalog)[1].songs_total == 3


def test_a_path_of_a_forgotten_file_is_free_for_another_and_brings_nothing_back(
    catalog, two_gone, cloud, another_library, forgotten, synced, scanned
):
    other = another_library("other")
    other.add("Album/a.mp3", b"of the same name")
    scanned(other.root)
    synced(cloud)
    forgotten(f"{two_gone.root}/Album")

    report = restore(catalog, two_gone.root, scope=Scope(selections=[_song_below(catalog, other)]))

    assert report.restored == 1
    assert two_gone.contents()["Album/a.mp3"] == b"of the same name"
    assert rows(catalog, PRESENCE) == truth(catalog, rows)
    assert backend_status(catalog)[0].forgotten == 3
    assert restore(catalog, two_gone.root, missing=True, dry_run=True).files == 0
    assert (scanned().changed, scanned().new, scanned().missing) == (0, 0, 0)


def _song_below(catalog, library):
    sql = (
        "SELECT f.song_id FROM file_assets f JOIN file_locations l ON l.file_asset_id = f.id"
        " WHERE l.library_root = ?"
    )
    return Selection("song", tuple(rows(catalog, sql, str(library.root))))


# --- a local file that looks damaged, or is left out ----------------------------------------------


@pytest.mark.parametrize("status", ["damaged", "excluded"])
def test_a_local_file_that_is_damaged_or_left_out_is_no_copy_and_no_source(
    catalog, library, cloud, backend, scanned, synced, status, tmp_path
):
    library.add("safe.mp3")
    synced(cloud)
    library.add("only-here.mp3")
    scanned()
    other = backend("other")
    assert enqueue(catalog, other) == 2
    change(catalog, "UPDATE file_locations SET status = ? WHERE library_root IS NOT NULL", status)
    with catalog.transaction() as connection:
        presence.refresh(connection)
    damaged = status == "damaged"

    # No source, not even of what waits: what is sent comes from the copy that is proven.
    assert count_pending(catalog, other) == (0, 0)
    queued = [f.path for f in missing_candidates(catalog, other)]
    assert queued == ([f"{cloud.key_prefix}safe.mp3"] if damaged else [])
    enqueue(catalog, cloud)
    assert upload(catalog, cloud, limits=Limits(workers=1)).queued == 0
    # No copy.
    assert rows(catalog, PRESENCE) == truth(catalog, rows)
    local, stored, _ = backend_status(catalog)
    assert (local.files, local.songs, local.damaged) == (0, 0, 2 if damaged else 0)
    assert local.excluded == (0 if damaged else 2)
    assert stored.songs_total == (2 if damaged else 0)
    (_, batch) = rows(catalog, "SELECT key FROM batches ORDER BY id")
    lacking = absence(catalog, cloud, batch)
    assert (lacking.files, lacking.nowhere) == ((1, 1) if damaged else (0, 0))
    set_policy(catalog, "", 1)
    assert policy_status(catalog).songs_under_policy == (1 if damaged else 0)
    # What is damaged is brought back from a copy, elsewhere: no file is overwritten.
    report = restore(catalog, tmp_path / "new", missing=True)
    assert (report.restored, report.files) == ((1, 2) if damaged else (0, 0))


# --- never unasked --------------------------------------------------------------------------------


def test_nothing_that_is_scheduled_can_forget():
    product = Path(catalogsync_assets.__file__).parent
    names = {
        path.relative_to(product).as_posix()
        for path in product.rglob("*.py")
        if "library.forget" in path.read_text() or "library import forget" in path.read_text()
    }

    assert names == {"cli/forget.py"}


def test_what_is_being_removed_is_not_forgotten(catalog, library, scanned):
    library.add("a.mp3")
    scanned()
    (known,) = known_files(catalog, str(library.root))
    locations.mark(catalog, [known.location_id], "offload")

    assert locations.mark(catalog, [known.location_id], "forgotten") == 0
