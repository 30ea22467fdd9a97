"""Playlists and cue sheets that lie in the library become playlists, and follow their files."""

import os
import unicodedata

import pytest

from catalogsync_assets.core.catalog import playlists
from catalogsync_assets.core.download.importing import import_manifest
from catalogsync_assets.core.library import playlists as lists
from catalogsync_assets.core.library import scan as scanning
from catalogsync_assets_tests.support.database import change, rows


@pytest.fixture
def music(library):
    """`A/0.mp3` to `A/3.mp3`."""
    for number in range(4):
        library.add(f"A/{number}.mp3", size=300 + number)
    return library


@pytest.fixture
def listed(catalog):
    """`listed(name)`: the stems of the files that a playlist has, in its order."""

    def run(name):
        found = rows(catalog, "SELECT id FROM playlists WHERE name = ?", name)
        assert len(found) == 1, (name, rows(catalog, "SELECT name FROM playlists"))
        with catalog.read() as connection:
            songs = playlists.song_ids(connection, found[0])
        stems = dict(
            rows(
                catalog,
                "SELECT f.song_id, l.absolute_path FROM file_assets f JOIN file_locations l"
                " ON l.file_asset_id = f.id WHERE l.status = 'active'",
            )
        )
        return "".join(os.path.basename(stems[song]).partition(".")[0] for song in songs)  # noqa: PTH119

    return run


@pytest.fixture
def names(catalog):
    return lambda: rows(catalog, "SELECT name FROM playlists ORDER BY name")


def text(*lines):
    return ("\n".join(lines) + "\n").encode()


def test_a_playlist_keeps_order_and_repetitions(music, scanned, listed):
    music.add("mine.m3u8", text("#EXTM3U", "A/2.mp3", "#EXTINF:1,x", "A/0.mp3", "A/2.mp3"))

    report = scanned()

    assert listed("mine") == "202"
    assert (report.playlists.made, report.playlists.unresolved) == (1, 0)


@pytest.mark.parametrize(
    "entry",
    [
        "../A/1.mp3",
        "..\\A\\1.mp3",
        "../a/1.MP3",
        "{root}/A/1.mp3",
        "file://{root}/A/1.mp3",
        "../%41/1.mp3",
        "/A/1.mp3",
        "D:\\Music\\A\\1.mp3",
        "/Volumes/Disk/Music/A/1.mp3",
        "./../Lists/../A/1.mp3",
        "  ../A/1.mp3  ",
    ],
)
def test_an_entry_is_found_however_it_is_written(music, scanned, listed, entry):
    music.add("Lists/mine.m3u", text(entry.format(root=music.root)))

    assert scanned().playlists.unresolved == 0
    assert listed("mine") == "1"


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
def test_another_unicode_form_names_the_same_file(library, scanned, listed, on_disk):
    written = "NFD" if on_disk == "NFC" else "NFC"
    library.add(unicodedata.normalize(on_disk, "Björk/7.mp3"))
    library.add("mine.m3u8", text(unicodedata.normalize(written, "Björk/7.mp3")))
    scanned()

    assert listed("mine") == "7"


def test_what_is_written_goes_before_other_readings(library, scanned, listed):
    library.add("a%20b/1.mp3", size=301)
    library.add("a b/2.mp3", size=302)
    library.add("a%20b/2.mp3", size=303)
    library.add("mine.m3u8", text("a%20b/1.mp3", "a%20b/2.mp3"))
    scanned()

    assert listed("mine") == "12"


def test_an_entry_may_lead_into_another_root(music, another_library, scanned, listed):
    other = another_library("more")
    other.add("B/9.mp3")
    music.add("mine.m3u8", text("../more/B/9.mp3"))
    scanned(music.root, other.root)

    assert listed("mine") == "9"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("mine.pls", text("[playlist]", "File1=A/3.mp3", "Title1=x", "File2=A/1.mp3")),
        (
            "mine.xspf",
            b'<playlist version="1" xmlns="http://xspf.org/ns/0/"><trackList>'
            b"<track><location>A/3.mp3</location></track>"
            b"<track><location>A/1.mp3</location></track></trackList></playlist>",
        ),
    ],
)
def test_other_formats_are_read_too(music, scanned, listed, name, content):
    music.add(name, content)
    scanned()

    assert listed("mine") == "31"


def test_a_cue_sheet_names_each_file_once(music, scanned, listed):
    tracks = [f"  TRACK {n:02} AUDIO" for n in range(1, 13)]
    music.add("A/whole.cue", text('FILE "2.mp3" MP3', *tracks))
    music.add(
        "A/parts.cue", text("FILE 1.mp3 MP3", *tracks, 'FILE "0.mp3" MP3', 'FILE "1.mp3" MP3')
    )
    scanned()

    assert (listed("whole"), listed("parts")) == ("2", "10")


def test_a_cue_sheet_finds_the_file_that_its_wav_has_become(library, scanned, listed):
    library.add("A/disc.flac")
    library.add("A/disc.2.flac")
    library.add("A/disc.cue", text('FILE "disc.wav" WAVE'))
    scanned()

    assert listed("disc") == "disc"


def test_lists_of_one_name_are_told_apart_by_their_folders(music, scanned, names):
    for folder in ("", "x/", "y/z/"):
        music.add(f"{folder}mine.m3u8", text("/A/1.mp3"))
    scanned()

    assert names() == ["mine", "mine (x)", "mine (y/z)"]


def test_a_playlist_that_is_there_is_left_alone(catalog, music, scanned, names, listed):
    change(catalog, "INSERT INTO playlists (name) VALUES ('Mine')")
    music.add("mine.m3u8", text("A/1.mp3"))
    scanned()

    assert names() == ["Mine", "mine (music)"]
    assert listed("Mine") == ""


def test_an_edited_file_replaces_its_list(music, scanned, listed, names):
    music.add("mine.m3u8", text("A/1.mp3", "A/2.mp3"))
    scanned()
    music.add("mine.m3u8", text("A/3.mp3", "A/1.mp3"))
    scanned()

    assert listed("mine") == "31"
    assert names() == ["mine"]


def test_what_a_person_has_added_stays(catalog, music, scanned, listed, names):
    music.add("mine.m3u8", text("A/1.mp3"))
    scanned()
    change(
        catalog,
        "INSERT INTO playlist_songs (playlist_id, song_id) SELECT 1, song_id FROM file_assets f"
        " JOIN file_locations l ON l.file_asset_id = f.id WHERE l.library_path = 'A/3.mp3'",
    )
    music.add("mine.m3u8", text("A/2.mp3"))
    scanned()
    assert listed("mine") == "23"

    (music.root / "mine.m3u8").unlink()
    scanned()
    assert listed("mine") == "3"


def test_a_list_goes_with_its_file_and_comes_back_with_it(music, scanned, names, listed):
    content = text("A/1.mp3", "A/none.mp3")
    file = music.add("mine.m3u8", content)
    scanned()
    file.rename(music.root / "mine.away")

    report = scanned()
    assert (report.playlists.removed, names()) == (1, [])
    (music.root / "mine.away").rename(file)
    scanned()
    assert listed("mine") == "1"


def test_a_list_that_a_person_has_put_into_a_pool_stays(catalog, music, scanned, names, listed):
    file = music.add("mine.m3u8", text("A/1.mp3"))
    scanned()
    change(catalog, "INSERT INTO playlist_pools (name) VALUES ('party')")
    change(catalog, "INSERT INTO pool_playlists VALUES (1, 1)")
    file.rename(music.root / "mine.away")

    scanned()
    assert listed("mine") == ""
    (music.root / "mine.away").rename(file)
    scanned()
    assert (names(), listed("mine")) == (["mine"], "1")


def test_a_renamed_file_renames_its_list(music, scanned, names, listed):
    file = music.add("mine.m3u8", text("A/1.mp3"))
    scanned()
    file.rename(music.root / "yours.m3u8")
    scanned()

    assert names() == ["yours"]
    assert listed("yours") == "1"


def test_songs_that_move_stay_where_they_are_listed(music, scanned, listed):
    music.add("mine.m3u8", text("A/1.mp3", "A/gone.mp3", "A/2.mp3"))
    music.add("whole.m3u8", text("A/1.mp3", "A/2.mp3"))
    scanned()
    (music.root / "A").rename(music.root / "B")
    scanned()

    assert sorted(listed("mine")) == ["1", "2"]
    assert listed("whole") == "12"


def test_an_entry_whose_file_comes_later_finds_its_place(music, scanned, listed):
    music.add("mine.m3u8", text("A/1.mp3", "A/8.mp3", "A/2.mp3"))
    assert scanned().playlists.unresolved == 1
    music.add("A/8.mp3")

    assert scanned().playlists.unresolved == 0
    assert listed("mine") == "182"


def test_a_list_of_nothing_that_is_known_makes_no_playlist(music, scanned, names):
    music.add("radio.m3u8", text("http://radio.example/stream"))
    music.add("old.m3u8", text("Z/1.mp3", "Z/2.mp3"))

    report = scanned()

    assert (names(), report.playlists.unresolved, report.playlists.problems) == ([], 2, [])


def test_what_is_no_playlist_is_told_and_leaves_the_list(music, scanned, listed):
    music.add("mine.m3u8", text("A/1.mp3"))
    scanned()
    music.add("mine.m3u8", text("#EXTM3U", "#EXT-X-VERSION:3", "a.ts"))

    report = scanned()

    assert [p.path for p in report.problems] == ["mine.m3u8"]
    assert listed("mine") == "1"


def test_an_unchanged_library_reads_no_list(music, scanned, monkeypatch):
    music.add("mine.m3u8", text("A/1.mp3", "A/none.mp3"))
    scanned()
    monkeypatch.setattr(scanning, "bring_in_line", lambda _: pytest.fail("lists were read"))

    scanned()


def test_only_new_and_unfinished_lists_are_read(music, scanned):
    music.add("whole.m3u8", text("A/1.mp3"))
    music.add("part.m3u8", text("A/1.mp3", "A/none.mp3"))
    scanned()
    music.add("A/9.mp3")

    assert scanned().playlists.read == 1


def test_a_scan_that_was_killed_before_its_lists_is_made_up_for(
    music, scanned, monkeypatch, listed
):
    music.add("mine.m3u8", text("A/1.mp3"))

    def killed(_):
        raise KeyboardInterrupt

    with monkeypatch.context() as during:
        during.setattr(scanning, "bring_in_line", killed)
        with pytest.raises(KeyboardInterrupt):
            scanned()
    scanned()

    assert listed("mine") == "1"


def test_many_lists_are_written_a_few_at_a_time(music, scanned, names, monkeypatch):
    monkeypatch.setattr(lists, "_LISTS", 2)
    for number in range(5):
        music.add(f"{number}.m3u8", text("A/1.mp3"))
    scanned()

    assert names() == list("01234")


def test_importing_a_list_of_the_library_again_changes_nothing(catalog, music, scanned, listed):
    file = music.add("mine.m3u8", text("A/2.mp3", "A/1.mp3"))
    scanned()
    import_manifest(catalog, file)

    assert listed("mine") == "21"


def test_an_imported_list_may_name_files_of_the_library(catalog, music, tmp_path, scanned, listed):
    scanned()
    manifest = tmp_path / "party.m3u8"
    web = "https://music.example/9.mp3"
    manifest.write_bytes(text("music/A/2.mp3", web, str(music.root / "A/1.mp3"), "A/none.mp3"))

    report = import_manifest(catalog, manifest)

    assert (report.entries, report.local, report.tasks, report.bad) == (3, 2, 1, 1)
    assert report.problems[0].line == 4
    songs = rows(catalog, "SELECT song_id FROM playlist_entries ORDER BY position")
    new = rows(catalog, "SELECT song_id FROM download_tasks")
    assert [song in new for song in songs] == [False, True, False]
