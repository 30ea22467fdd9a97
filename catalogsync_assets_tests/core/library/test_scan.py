"""Scanning: the catalog follows the disk, and nothing is read or written without need."""

import os
import shutil
import threading
import unicodedata
from dataclasses import astuple
from pathlib import Path

import pytest

from catalogsync_assets.core.catalog import files as library_rows
from catalogsync_assets.core.catalog import known_paths
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.files import batch_keys
from catalogsync_assets.core.catalog.scope import EVERYTHING
from catalogsync_assets.core.catalog.upload_plan import enqueue
from catalogsync_assets.core.catalog.upload_queue import Uploaded, UploadLease, record
from catalogsync_assets.core.errors import CatalogSyncError, LibraryError
from catalogsync_assets.core.library import root_scan
from catalogsync_assets.core.library.scan import ScanReport, scan
from catalogsync_assets_tests.support.database import rows, rows_of_all
from catalogsync_assets_tests.support.files import sha256, unprivileged
from catalogsync_assets_tests.support.waiting import PATIENCE

PATHS = "SELECT locator, status FROM file_locations ORDER BY id"
KEYS = "SELECT object_key FROM file_assets WHERE superseded_by_id IS NULL ORDER BY object_key_fold"


def counts(report: ScanReport) -> dict[str, int]:
    """What was not zero."""
    names = ("new", "changed", "unchanged", "returned", "touched", "missing", "problem_count")
    return {name: count for name in names if (count := getattr(report, name))}


# --- what a scan sees ---------------------------------------------------------------------------


def test_new_files_are_recorded(library, scanned, catalog):
    library.add("b/two.mp3", b"22")
    path = library.add("a/one.mp3", b"1")

    report = scanned()

    assert counts(report) | {"files": report.files, "bytes": report.bytes} == {
        "new": 2,
        "problem_count": 2,  # bytes that are no audio
        "files": 2,
        "bytes": 3,
    }
    assert rows(
        catalog,
        "SELECT locator, container_name, absolute_path, status, is_primary, size_bytes, mtime_ns"
        " FROM file_locations WHERE locator = 'a/one.mp3'",
    ) == [("a/one.mp3", str(library.root), str(path), "active", 1, 1, path.stat().st_mtime_ns)]


def test_a_second_scan_finds_all_unchanged(library, scanned):
    library.fill(3)
    scanned()

    assert counts(scanned()) == {"unchanged": 3}


@pytest.mark.parametrize("same_size", [True, False])
def test_a_changed_file_is_a_new_content_of_the_same_song_and_key(
    library, scanned, catalog, same_size
):
    library.add("a.mp3", b"before")
    scanned()
    library.add("a.mp3", b"behind" if same_size else b"after")

    assert counts(scanned()) == {"changed": 1, "problem_count": 1}
    assert rows(
        catalog, "SELECT id, song_id, object_key, superseded_by_id FROM file_assets ORDER BY id"
    ) == [(1, 1, "a.mp3", 2), (2, 1, "a.mp3", None)]
    assert rows(catalog, PATHS) == [("a.mp3", "superseded"), ("a.mp3", "active")]
    assert rows(catalog, "SELECT COUNT(*) FROM songs") == [1]


def test_a_file_that_is_gone_is_marked_and_keeps_its_rows(library, scanned, catalog):
    gone, _ = library.fill(2)
    scanned()
    gone.unlink()

    report = scanned()

    assert counts(report) == {"missing": 1, "unchanged": 1}
    assert report.missing_paths == [str(gone)]
    assert rows(catalog, PATHS) == [("album/0000.mp3", "missing"), ("album/0001.mp3", "active")]
    assert counts(scanned()) == {"unchanged": 1}


def test_a_file_that_returns_is_the_same_file(library, scanned, catalog, tmp_path):
    gone, _ = library.fill(2)
    scanned()
    gone.rename(tmp_path / "aside")
    scanned()
    (tmp_path / "aside").rename(gone)

    assert counts(scanned()) == {"returned": 1, "unchanged": 1}
    assert rows(catalog, PATHS) == [("album/0000.mp3", "active"), ("album/0001.mp3", "active")]
    assert rows(catalog, "SELECT COUNT(*) FROM file_assets") == [2]


def test_a_file_that_returns_with_another_content_is_changed(library, scanned, catalog):
    gone, _ = library.fill(2)
    scanned()
    gone.unlink()
    scanned()
    library.add("album/0000.mp3", b"another")

    assert counts(scanned()) == {"changed": 1, "unchanged": 1, "problem_count": 1}
    assert rows(catalog, "SELECT COUNT(*) FROM file_locations WHERE status = 'active'") == [2]


def test_a_touched_file_of_known_digest_is_read_and_found_unchanged(
    library, scanned, catalog, cloud
):
    path = library.add("a.mp3", b"same")
    scanned()
    enqueue(catalog, cloud)
    lease = UploadLease(catalog, cloud)
    done = [
        Uploaded(task, sha256(b"same"), None, "head", adopted=False)
        for task in lease.claim(EVERYTHING, 1)
    ]
    record(catalog, cloud, lease.owner, done)
    os.utime(path, ns=(1, 1))

    assert counts(scanned()) == {"touched": 1, "unchanged": 1}
    assert counts(scanned()) == {"unchanged": 1}
    assert rows(catalog, "SELECT COUNT(*) FROM file_assets") == [1]


def test_a_file_that_takes_the_place_of_a_folder_is_seen(library, scanned, catalog):
    library.add("a.mp3/inner.mp3")
    scanned()
    shutil.rmtree(library.root / "a.mp3")
    library.add("a.mp3")

    report = scanned()

    assert (report.new, report.missing) == (1, 1)
    assert rows(catalog, PATHS) == [("a.mp3/inner.mp3", "missing"), ("a.mp3", "active")]


def test_progress_is_told(library, scanned):
    library.fill(3)
    seen = []

    scanned(progress=lambda report: seen.append(report.files))

    assert seen[-1] == 3


# --- nothing without need -----------------------------------------------------------------------

SECOND_SCAN = """
import sys
from pathlib import Path
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.library.scan import scan
catalog, root = Catalog.open(sys.argv[1]), Path(sys.argv[2])
opened = []
sys.addaudithook(lambda event, arguments: event == "open" and opened.append(str(arguments[0])))
for _ in range(2):
    scan(catalog, [root])
    print(len({path for path in opened if path.startswith(str(root))}))
    opened.clear()
"""


def test_a_second_scan_opens_no_file(library, catalog, run_python):
    library.fill(5)

    outcome = run_python(SECOND_SCAN, catalog.path, library.root)

    assert outcome.out.split() == ["5", "0"], outcome.err


def test_a_second_scan_notes_that_it_was_there_and_nothing_else(library, scanned, catalog):
    gone, *_ = library.fill(5)
    scanned()
    gone.unlink()
    scanned()
    before = rows_of_all(catalog, but="library_roots")

    scanned()

    assert rows_of_all(catalog, but="library_roots") == before


def test_many_files_are_known_again(library, scanned):
    """More than what is recorded in one transaction, with names around the page's end."""
    library.fill(520, size=1)
    assert scanned().new == 520

    assert counts(scanned()) == {"unchanged": 520}


OF_OTHER_SONGS = """
SELECT l.library_path FROM file_locations l JOIN file_assets f ON f.id = l.file_asset_id
JOIN songs s ON s.id = f.song_id
WHERE l.library_path NOT LIKE '%' || s.title || '.mp3' OR f.object_key <> l.library_path
"""


def test_of_many_files_each_gets_its_own_song_and_key(library, scanned, catalog):
    """More than what goes into one statement, and what a statement gives back has no order."""
    paths = library.fill(520, size=1)
    scanned()

    assert rows(catalog, "SELECT COUNT(DISTINCT title) FROM songs") == [len(paths)]
    assert rows(catalog, OF_OTHER_SONGS) == []


def test_known_files_are_read_in_pages_without_gaps(library, scanned, monkeypatch):
    for module in (library_rows, known_paths):
        monkeypatch.setattr(module, "_PAGE", 3)
    monkeypatch.setattr(known_paths, "_FEW", 2)
    paths = library.fill(20)
    scanned()
    assert counts(scanned()) == {"unchanged": 20}

    for path in (*paths[3:11], paths[14], paths[19]):
        path.chmod(0o600)
    assert counts(scanned()) == {"unchanged": 20, "touched": 10}
    for path in paths[2:13]:
        path.unlink()
    assert counts(scanned()) == {"unchanged": 9, "missing": 11}


def test_tags_behind_a_network_are_read_many_at_a_time(library, scanned, monkeypatch):
    """There reading is waiting: four that wait for each other would wait for ever one by one."""
    four = threading.Barrier(4, timeout=PATIENCE)

    def together(*arguments, **more):
        four.wait()
        return read(*arguments, **more)

    read = root_scan.read_facts
    monkeypatch.setattr(root_scan, "read_facts", together)
    monkeypatch.setattr(root_scan, "file_system_of", lambda _: "~nfs4")
    library.fill(4)

    assert counts(scanned()) == {"new": 4, "problem_count": 4}


# --- names --------------------------------------------------------------------------------------


def test_hostile_names_are_cataloged_or_reported_and_never_fatal(library, scanned, catalog):
    usable = [
        " lead.mp3",
        "back\\slash.mp3",
        "x" * 251 + ".mp3",
        "ü" * 125 + ".mp3",
        "/".join(["d" * 200] * 10) + "/deep.mp3",
        "'; DROP TABLE songs; --.mp3",
        "%(x)s :y ?.mp3",
        "\u202egpj.mp3",
        "🎵.mp3",
    ]
    for name in usable:
        library.add(name)
    for raw in (b"\xff.mp3", b"new\nline.mp3", b"\x01.mp3", b"\xc3\x28/x.mp3"):
        path = Path(os.fsdecode(os.fsencode(library.root) + b"/" + raw))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")

    report = scanned()

    assert report.files == report.new == len(usable)
    assert sorted(path for path, _ in rows(catalog, PATHS)) == sorted(usable)
    left_out = [p.path for p in report.problems if "rename it" in p.reason]
    assert sorted(left_out) == [r"\x01.mp3", r"\xc3(/", r"\xff.mp3", r"new\nline.mp3"]
    assert counts(scanned()) == {"unchanged": len(usable), "problem_count": 4}


def test_a_root_whose_own_name_is_no_utf8_is_one_clear_error(catalog, tmp_path):
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/m\xff"))
    root.mkdir()
    (root / "a.mp3").touch()

    with pytest.raises(CatalogSyncError):
        scan(catalog, [root])


def test_names_that_are_one_on_other_systems_get_keys_of_their_own(library, scanned, catalog):
    pairs = [
        "Ä.mp3",
        unicodedata.normalize("NFD", "Ä.mp3"),
        "a/x.mp3",
        "A/X.mp3",
        "ß.mp3",
        "ss.mp3",
    ]
    for name in pairs:
        library.add(name)

    scanned()

    keys = rows(catalog, KEYS)
    assert len({unicodedata.normalize("NFC", key).casefold() for key in keys}) == len(pairs)
    assert all(unicodedata.is_normalized("NFC", key) for key in keys)


def test_a_key_that_later_scans_would_share_is_told_apart_too(library, scanned, catalog):
    for name in ("Song.mp3", "SONG.mp3", "song.mp3"):
        library.add(name)
        scanned()

    keys = rows(catalog, KEYS)
    assert "Song.mp3" in keys
    assert len({key.casefold() for key in keys}) == 3


def test_the_same_path_under_two_roots_has_two_keys(library, another_library, scanned, catalog):
    other = another_library("other")
    for root in (library, other):
        root.add("album/01.mp3")

    scanned(library.root)
    scanned(library.root, other.root)
    assert counts(scanned(other.root, library.root)) == {"unchanged": 2}
    first, second = rows(catalog, KEYS)
    assert first == "album/01.mp3"
    assert second.startswith("album/01~")


def test_a_file_named_like_anothers_key_gets_a_key_of_its_own(library, scanned, catalog):
    """As happens when the contents of a bucket are copied back into the library."""
    first, second = library.add("Song.mp3"), library.add("song.mp3")
    scanned()
    suffixed = next(key for key in rows(catalog, KEYS) if "~" in key)
    first.unlink()
    second.unlink()
    fresh, _ = Catalog.initialise(catalog.path.parent / "fresh.db")

    library.add("Song.mp3")
    library.add(suffixed)
    scan(fresh, [library.root])
    library.add("song.mp3")
    scan(fresh, [library.root])

    keys = rows(fresh, KEYS)
    assert len(set(keys)) == len(keys) == 3


def test_a_key_is_kept_when_the_file_changes(library, scanned, catalog):
    for name in ("Song.mp3", "song.mp3"):
        library.add(name)
    scanned()
    before = rows(catalog, KEYS)
    for name in ("song.mp3", "Song.mp3"):
        library.add(name, b"another content of " + name.encode())
    scanned()

    assert rows(catalog, KEYS) == before


# --- what cannot be seen is not gone ------------------------------------------------------------


def test_what_lies_in_a_folder_that_cannot_be_read_is_not_taken_for_deleted(blank, public_folder):
    root = public_folder / "music"
    for name in ("a", "b", "b/inner", "b!", "c"):
        (root / name).mkdir(parents=True)
        (root / name / "song.mp3").touch()
    with unprivileged():
        (public_folder / "catalog.db").touch()
    shutil.copyfile(blank, public_folder / "catalog.db")

    with unprivileged():
        catalog = Catalog.open(public_folder / "catalog.db")
        scan(catalog, [root])
    (root / "a" / "song.mp3").unlink()
    (root / "b").chmod(0o000)
    with unprivileged():
        report = scan(catalog, [root])
    catalog.close()

    assert counts(report) == {"missing": 1, "unchanged": 2, "problem_count": 1}
    assert dict(rows(catalog, PATHS)) == {
        "a/song.mp3": "missing",
        "b!/song.mp3": "active",
        "b/song.mp3": "active",
        "b/inner/song.mp3": "active",
        "c/song.mp3": "active",
    }


def test_a_file_that_cannot_be_looked_at_is_not_taken_for_deleted(library, scanned, catalog):
    path, _ = library.fill(2)
    scanned()
    path.unlink()
    path.symlink_to(path.name)  # a link to itself: it is there, and nothing can be said of it

    assert scanned().missing == 0
    assert rows(catalog, PATHS)[0] == ("album/0000.mp3", "active")


def test_a_root_that_has_become_empty_is_refused_unless_that_is_said(library, scanned, catalog):
    files = library.fill(2)
    scanned()
    for path in files:
        path.unlink()

    with pytest.raises(LibraryError, match="the catalog knows some") as caught:
        scanned()
    assert "--allow-empty" in (caught.value.hint or "")
    assert "missing" not in dict(rows(catalog, PATHS)).values()

    assert counts(scanned(allow_empty=True)) == {"missing": 2}
    assert counts(scanned()) == {}


def test_an_empty_root_that_never_held_anything_is_fine(scanned):
    assert counts(scanned()) == {}


def test_a_root_that_is_not_there_does_not_make_its_files_missing(
    library, another_library, scanned, catalog
):
    other = another_library("other")
    library.add("a.mp3")
    other.add("b.mp3")
    scanned(library.root, other.root)
    library.root.rename(library.root.with_name("unmounted"))
    other.add("c.mp3")

    with pytest.raises(LibraryError, match="music"):
        scanned(library.root, other.root)

    assert dict(rows(catalog, PATHS))["a.mp3"] == "active"


def test_a_root_inside_one_that_the_catalog_knows_is_refused(library, scanned, catalog):
    """Its files would be cataloged, and uploaded, a second time."""
    library.add("jazz/a.mp3")
    scanned()

    with pytest.raises(CatalogSyncError):
        scanned(library.root / "jazz")

    assert rows(catalog, "SELECT COUNT(*) FROM file_assets") == [1]


# --- songs --------------------------------------------------------------------------------------


def test_tags_make_songs_and_artists_in_any_script(sample, catalog):
    assert counts(scan(catalog, [sample])) == {"new": 24}
    songs = rows(catalog, "SELECT title, artist, album, track_number FROM songs")
    assert ("雨のち星", "月影オーケストラ", "硝子の庭", 1) in songs
    linked = rows(
        catalog,
        "SELECT a.name, COUNT(*) FROM artists a JOIN artist_songs s ON s.artist_id = a.id"
        " GROUP BY a.name ORDER BY 1",
    )
    artists = [artist for _, artist, *_ in songs]
    assert linked == [(name, artists.count(name)) for name in sorted(set(artists))]


def test_one_recording_in_two_formats_is_one_song_with_two_files(sample, catalog):
    scan(catalog, [sample])

    twins = rows(
        catalog,
        "SELECT GROUP_CONCAT(format), COUNT(DISTINCT object_key) FROM file_assets"
        " GROUP BY song_id HAVING COUNT(*) > 1",
    )
    assert [(set(formats.split(",")), keys) for formats, keys in twins] == [({"flac", "ogg"}, 2)]


def test_files_of_garbage_are_reported_and_kept_as_songs_of_their_own(library, scanned, catalog):
    library.add("a/01 Same.mp3", b"no music at all" * 100)
    library.add("b/01 Same.mp3")

    assert [problem.path for problem in scanned().problems] == ["a/01 Same.mp3", "b/01 Same.mp3"]
    assert rows(catalog, "SELECT title, artist FROM songs") == [("Same", None), ("Same", None)]


def test_a_tag_that_is_edited_changes_the_song(sample, library, scanned, catalog):
    import mutagen

    path = library.root / "a.flac"
    shutil.copy(sorted(sample.rglob("*.flac"))[0], path)
    scanned()
    audio = mutagen.File(path)  # type: ignore[attr-defined, unused-ignore]
    audio["title"], audio["artist"] = "A New Title", "A New Artist"
    audio.save()
    scanned()

    assert rows(catalog, "SELECT title, artist FROM songs") == [("A New Title", "A New Artist")]
    assert "A New Artist" in rows(catalog, "SELECT name FROM artists")


def test_a_file_that_is_given_the_tags_of_another_song_leaves_its_twin_alone(
    sample, library, scanned, catalog
):
    import mutagen

    flac = next(
        path for path in sorted(sample.rglob("*.flac")) if path.with_suffix(".ogg").exists()
    )
    for source in (flac, flac.with_suffix(".ogg")):
        shutil.copy(source, library.root / f"twin{source.suffix}")
    scanned()
    (title,) = rows(catalog, "SELECT title FROM songs")
    audio = mutagen.File(library.root / "twin.ogg")  # type: ignore[attr-defined, unused-ignore]
    audio["title"] = "Another Song Altogether"
    audio.save()
    scanned()

    titles = dict(
        rows(
            catalog,
            "SELECT f.format, s.title FROM file_assets f JOIN songs s ON s.id = f.song_id"
            " WHERE f.superseded_by_id IS NULL",
        )
    )
    assert titles == {"flac": title, "ogg": "Another Song Altogether"}


# --- batches ------------------------------------------------------------------------------------

BATCHES = "SELECT key, file_count, size_bytes FROM batches ORDER BY id"
MEMBERS = "SELECT batch_id, id FROM file_assets ORDER BY id"


def test_new_files_make_batches_within_both_limits(library, scanned, catalog):
    library.fill(5, size=10)
    library.fill(1, size=1_000, folder="large")
    library.fill(2, size=40, folder="middle")

    report = scanned(batch_max_files=3, batch_max_bytes=60)

    assert [(count, size) for _, count, size in rows(catalog, BATCHES)] == [
        (3, 30),
        (2, 20),
        (1, 1_000),
        (1, 40),
        (1, 40),
    ]
    assert report.batches == batch_keys(catalog)
    assert [batch for batch, _ in rows(catalog, MEMBERS)] == [1, 1, 1, 2, 2, 3, 4, 5]


def test_the_keys_of_batches_are_partition_keys(library, scanned):
    library.fill(3)
    keys = scanned(batch_max_files=1).batches

    assert len(set(keys)) == 3
    assert all(set(key) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-") for key in keys)


def test_a_batch_never_changes_and_new_files_make_new_ones(library, scanned, catalog):
    library.fill(3)
    scanned(batch_max_files=10)
    batches, members = rows(catalog, BATCHES), rows(catalog, MEMBERS)
    library.add("album/0001.mp3", b"changed")
    library.add("album/0002.mp3").unlink()
    library.add("album/9999.mp3", b"new")

    assert len(scanned(batch_max_files=10).batches) == 1
    assert rows(catalog, BATCHES)[:1] == batches
    assert rows(catalog, MEMBERS) == [*members, (2, 4), (2, 5)]


def _stopped(*_given, **_named):
    raise KeyboardInterrupt


def test_a_content_that_was_superseded_before_it_was_batched_is_in_no_batch(
    library, scanned, catalog, monkeypatch
):
    """A scan that ends early leaves files that are in no batch yet; some change before the next."""
    library.fill(3)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(library_rows, "make_batches", _stopped)
        scanned()
    library.add("album/0001.mp3", b"changed")

    scanned()

    assert [batch for batch, _ in rows(catalog, MEMBERS)] == [1, None, 1, 1]
    assert rows(catalog, "SELECT file_count FROM batches") == [3]


def test_a_scan_without_new_files_makes_no_batch(library, scanned):
    library.fill(2)
    scanned()

    assert scanned().batches == []


# --- two at once, and a sudden end --------------------------------------------------------------

SCAN = """
import os, signal, sys
from pathlib import Path
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.library.scan import scan
catalog = Catalog.open(sys.argv[1])
last = int(sys.argv[3])
def stop_at_last(report):
    if last and report.new > last:
        os.kill(os.getpid(), signal.SIGKILL)
print("ready", flush=True)
sys.stdin.readline()
scan(catalog, [Path(sys.argv[2])], progress=stop_at_last)
"""


def test_two_scans_at_once_record_each_path_once(library, catalog, start_python):
    library.fill(700, size=1)
    processes = [start_python(SCAN, catalog.path, library.root, 0) for _ in range(2)]
    for process in processes:
        assert process.line() == "ready\n"
    for process in processes:
        process.go_on()
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors

    assert rows(catalog, "SELECT COUNT(*), COUNT(DISTINCT locator) FROM file_locations") == [
        (700, 700)
    ]
    assert rows(catalog, "SELECT COUNT(*) FROM file_assets WHERE batch_id IS NULL") == [0]
    assert rows(catalog, "SELECT SUM(file_count) FROM batches") == [700]
    assert rows(catalog, "SELECT COUNT(*) FROM songs") == [700]


def test_a_scan_that_was_killed_is_completed_by_the_next(library, catalog, scanned, start_python):
    library.fill(700, size=1)
    process = start_python(SCAN, catalog.path, library.root, 400)
    process.communicate("go\n")
    assert process.returncode == -9
    recorded = rows(catalog, "SELECT COUNT(*) FROM file_locations")[0]
    assert 0 < recorded < 700

    report = scanned()

    assert (report.new, report.unchanged) == (700 - recorded, recorded)
    assert rows(
        catalog,
        "SELECT COUNT(*), COUNT(DISTINCT locator), COUNT(DISTINCT file_asset_id)"
        " FROM file_locations WHERE status = 'active'",
    ) == [(700, 700, 700)]
    assert rows(catalog, "SELECT COUNT(*) FROM file_assets WHERE batch_id IS NULL") == [0]
    assert rows(catalog, "SELECT SUM(file_count) FROM batches") == [700]


def test_a_path_that_another_scan_has_recorded_meanwhile_is_left_as_it_is(library, catalog):
    """The other scan comes in between this one's look at the disk and its record."""
    library.fill(2)
    came_between = []

    def other(report):
        if not came_between:
            came_between.append(report)
            scan(catalog, [library.root])

    scan(catalog, [library.root], progress=other)

    assert rows(catalog, PATHS) == [("album/0000.mp3", "active"), ("album/0001.mp3", "active")]
    assert astuple(came_between[0])[0] == 2
