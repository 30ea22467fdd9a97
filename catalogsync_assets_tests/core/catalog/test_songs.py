"""Which song a file belongs to, and what a person decides about it."""

import uuid

import pytest
from mutagen.flac import FLAC
from mutagen.id3 import ID3, TXXX, UFID

from catalogsync_assets.core.catalog import song_changes
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.download_queue import (
    EVERY_DOWNLOAD,
    Downloaded,
    DownloadLease,
    record,
)
from catalogsync_assets.core.catalog.playlists import song_ids
from catalogsync_assets.core.catalog.song_changes import merge, split
from catalogsync_assets.core.download.importing import import_manifest
from catalogsync_assets.core.errors import CatalogError, UsageError
from catalogsync_assets.core.files.opening import FileStat
from catalogsync_assets.core.library.tags import read_facts, read_tags
from catalogsync_assets_tests.support.audio_files import CONTENTS, tagged
from catalogsync_assets_tests.support.database import bytes_of, change, rows

TRACK = {"title": "t", "artist": "a", "album": "l", "tracknumber": "1"}
#: By path, the song of each file that is there.
SONGS = (
    "SELECT l.library_path, f.song_id FROM file_assets f"
    " JOIN file_locations l ON l.file_asset_id = f.id"
    " WHERE f.superseded_by_id IS NULL AND l.status = 'active' ORDER BY 1"
)
COUNT = "SELECT COUNT(*) FROM songs"


def an_id(name):
    """A UUID for a name."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


def tags_of(path):
    tags, trouble = read_tags(path)
    return None if trouble else (tags.song, tags.artists)


class Shelf:
    """A library whose files' tags, sound and length are as a test says."""

    def __init__(self, library, scanned, catalog):
        self.root, self.scan, self.catalog = library.root, scanned, catalog

    def flac(self, path, *, sound=None, seconds=60.0, **tags):
        """A FLAC file.

        Args:
            sound: what its MD5 is made of; None for one without.
            tags: as FLAC names them, over those of `TRACK`; None leaves one out.
        """
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        md5 = b"" if sound is None else uuid.uuid5(uuid.NAMESPACE_URL, str(sound)).bytes
        samples = int(44100 * seconds).to_bytes(5, "big")
        head = bytearray(b"fLaC\x80\0\0\x22" + bytes.fromhex("10001000") + bytes(6))
        head += (44100 << 44 | 1 << 41 | 15 << 36).to_bytes(8, "big") + md5.ljust(16, b"\0")
        head[21:26] = bytes([head[21] | samples[0], *samples[1:]])
        file.write_bytes(bytes(head) + b"\xff\xf8\xc9\x18" + bytes(2000))
        audio = FLAC(file)
        audio.update({k: [v] for k, v in (TRACK | tags).items() if v is not None})
        audio.save()
        return file

    def mp3(self, path, *, frames=20, recording=None, track=None, **tags):
        """An MP3 file of a fortieth of a second for each frame, with MusicBrainz's ids."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(CONTENTS["mp3"]()[:417] * frames)
        wanted = {k: [v] for k, v in (TRACK | tags).items() if v is not None}
        source = tagged(self.root / ".tags.mp3", "mp3 id3", **wanted)
        made = ID3(source)
        source.unlink()
        if recording:
            made.add(UFID(owner="http://musicbrainz.org", data=recording.encode()))
        if track:
            made.add(TXXX(encoding=3, desc="MusicBrainz Release Track Id", text=[track]))
        made.save(file)
        return file

    def songs(self):
        return dict(rows(self.catalog, SONGS))

    def count(self):
        return rows(self.catalog, COUNT)[0]

    def play(self, song_id, name="P"):
        """Put a song into a playlist."""
        with self.catalog.transaction() as connection:
            run = connection.exec_driver_sql
            found = run("SELECT id FROM playlists WHERE name = ?", (name,)).scalar()
            if found is None:
                found = run(
                    "INSERT INTO playlists (name) VALUES (?) RETURNING id", (name,)
                ).scalar()
            place = run(
                "SELECT COUNT(*) + 1 FROM playlist_songs WHERE playlist_id = ?", (found,)
            ).scalar()
            for table in ("playlist_songs", "playlist_entries"):
                run(
                    f"INSERT INTO {table} (playlist_id, position, song_id) VALUES (?, ?, ?)",
                    (found, place, song_id),
                )

    def playlist(self, name="P"):
        (number,) = rows(self.catalog, "SELECT id FROM playlists WHERE name = ?", name)
        with self.catalog.read() as connection:
            return list(song_ids(connection, number))


@pytest.fixture
def shelf(library, scanned, catalog):
    return Shelf(library, scanned, catalog)


# The rules hold whether two files come in one scan or in two.
@pytest.fixture(params=["one scan", "two scans"])
def between(request, shelf):
    """Called between the first file and the second."""
    return shelf.scan if request.param == "two scans" else lambda: None


# --- new files ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "songs"),
    [
        ({"seconds": 60}, {"seconds": 62.9}, 1),
        ({"seconds": 60}, {"seconds": 63.1}, 2),
        ({"seconds": 60}, {"seconds": 60, "title": "T"}, 1),
        ({"seconds": 60}, {"seconds": 60, "album": "other"}, 2),
        # Far more than the file can hold: its length is not known.
        ({"seconds": 60}, {"seconds": 20_000}, 2),
        ({"seconds": 20_000}, {"seconds": 20_000}, 1),
        # The sound is the same.
        ({"sound": 1}, {"sound": 1, "title": "other", "album": "other"}, 1),
        ({"sound": 1}, {"sound": 2, "title": "other"}, 2),
        ({"sound": 1, "seconds": 60}, {"sound": 1, "seconds": 70}, 2),
        ({"sound": None}, {"sound": None, "title": "other"}, 2),
    ],
)
def test_two_files_are_of_one_song_by_their_sound_or_by_names_and_length(
    shelf, between, one, other, songs
):
    shelf.flac("1.flac", **one)
    between()
    shelf.flac("2.flac", **other)
    shelf.scan()

    assert shelf.count() == songs
    assert len(set(shelf.songs().values())) == songs


@pytest.mark.parametrize(
    ("one", "other", "songs"),
    [
        ({"track": "A"}, {"track": "A", "title": "other", "album": "other", "frames": 400}, 1),
        ({"track": "A"}, {"track": "B"}, 2),
        ({"track": "A"}, {}, 1),
        ({"recording": "A"}, {"recording": "A", "title": "other"}, 1),
        ({"recording": "A"}, {"recording": "A", "title": "other", "album": "L"}, 1),
        ({"recording": "A"}, {"recording": "A", "album": "other"}, 2),
        ({"recording": "A", "album": None}, {"recording": "A", "album": None}, 2),
        ({"recording": "A"}, {"recording": "B"}, 2),
        ({"recording": "A", "track": "A"}, {"recording": "A", "track": "B"}, 1),
    ],
)
def test_two_files_are_of_one_song_by_the_ids_of_musicbrainz(shelf, between, one, other, songs):
    ids = [
        {k: an_id(v) if k in ("track", "recording") else v for k, v in x.items()}
        for x in (one, other)
    ]
    shelf.mp3("1.mp3", **ids[0])
    between()
    shelf.mp3("2.mp3", **ids[1])
    shelf.scan()

    assert shelf.count() == songs


def test_of_several_songs_that_are_called_alike_the_one_of_that_length_is_found(shelf):
    for number, seconds in enumerate((60, 160, 260)):
        shelf.flac(f"{number}.flac", seconds=seconds)
    shelf.scan()
    shelf.flac("3.flac", seconds=161)
    shelf.scan()

    songs = shelf.songs()
    assert shelf.count() == 3
    assert songs["3.flac"] == songs["1.flac"]


def test_the_song_that_an_import_has_made_takes_a_file_of_any_length(shelf, catalog, tmp_path):
    manifest = tmp_path / "m.csv"
    manifest.write_text("url,title,artist,album,track_number\nhttp://a.example/x,t,a,l,1\n")
    import_manifest(catalog, manifest)

    shelf.flac("1.flac", seconds=60)
    shelf.flac("2.flac", seconds=160)
    shelf.scan()

    assert shelf.count() == 2
    assert shelf.songs()["1.flac"] == 1


def test_an_entry_of_a_manifest_joins_the_oldest_song_that_is_called_so(shelf, catalog, tmp_path):
    for number, seconds in enumerate((60, 160)):
        shelf.flac(f"{number}.flac", seconds=seconds)
    shelf.scan()
    manifest = tmp_path / "m.csv"
    manifest.write_text("url,title,artist,album,track_number\nhttp://a.example/x,t,a,l,1\n")

    assert import_manifest(catalog, manifest).songs == 0
    assert rows(catalog, "SELECT song_id FROM download_tasks") == [1]


# --- edited files -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "kept"),
    [
        ({"sound": 1}, {"sound": 1, "title": "other", "seconds": 90}, True),
        ({"sound": 1}, {"sound": 2}, True),
        ({"sound": 1}, {"sound": 2, "title": "other"}, False),
        ({"sound": 1}, {"sound": 2, "seconds": 64}, False),
        ({"sound": 1}, {"title": "other"}, True),
        ({}, {"title": "other", "album": "other"}, True),
        ({}, {"title": "other", "album": "other", "seconds": 90}, False),
        ({"musicbrainz_releasetrackid": "A"}, {"musicbrainz_releasetrackid": "B"}, False),
        ({"musicbrainz_releasetrackid": "A"}, {"title": "other"}, True),
        (
            {"musicbrainz_releasetrackid": "A", "musicbrainz_trackid": "R"},
            {"musicbrainz_releasetrackid": "B", "musicbrainz_trackid": "R"},
            True,
        ),
        (
            {"musicbrainz_releasetrackid": "A", "sound": 1},
            {"musicbrainz_releasetrackid": "B", "sound": 1},
            True,
        ),
    ],
)
def test_an_edited_file_keeps_its_song_unless_sound_or_ids_speak_against_it(
    shelf, one, other, kept
):
    one, other = (
        {k: an_id(v) if k.startswith("music") else v for k, v in x.items()} for x in (one, other)
    )
    shelf.flac("1.flac", **one)
    shelf.scan()
    shelf.play(1)
    shelf.flac("1.flac", **other, comment="x" * 99)
    shelf.scan()

    assert shelf.songs() == {"1.flac": 1 if kept else 2}
    assert shelf.playlist() == [1]
    title = other.get("title", "t")
    assert rows(shelf.catalog, "SELECT title FROM songs ORDER BY id")[-1] == title


def test_a_song_of_two_files_follows_both_when_they_are_edited_at_once(shelf):
    shelf.flac("1.flac")
    shelf.flac("2.flac")
    shelf.scan()
    shelf.flac("1.flac", title="better")
    shelf.flac("2.flac", title="better")
    shelf.scan()

    assert shelf.songs() == {"1.flac": 1, "2.flac": 1}
    assert rows(shelf.catalog, "SELECT title FROM songs") == ["better"]


@pytest.mark.parametrize(
    ("other", "song"), [({"title": "other"}, 2), ({"seconds": 90}, 2), ({"comment": "c"}, 1)]
)
def test_an_edited_file_leaves_a_song_of_others_that_it_is_no_longer_like(shelf, other, song):
    shelf.flac("1.flac")
    shelf.flac("2.flac")
    shelf.scan()
    shelf.flac("2.flac", **other)
    shelf.scan()

    assert shelf.songs() == {"1.flac": 1, "2.flac": song}
    assert rows(shelf.catalog, "SELECT title FROM songs WHERE id = 1") == ["t"]


def test_two_edited_files_that_changed_places_take_their_songs_along(shelf):
    shelf.flac("1.flac", sound=1, title="one")
    shelf.flac("2.flac", sound=2, title="two")
    shelf.scan()
    shelf.flac("1.flac", sound=2, title="two", comment="x")
    shelf.flac("2.flac", sound=1, title="one", comment="x")
    shelf.scan()

    assert shelf.songs() == {"1.flac": 2, "2.flac": 1}
    assert shelf.count() == 2


@pytest.mark.parametrize("ids", [{"sound": 1}, {"musicbrainz_releasetrackid": an_id("A")}])
def test_what_was_overwritten_by_another_song_is_known_when_it_comes_back(shelf, ids):
    other = {"sound": 2, "musicbrainz_releasetrackid": an_id("B")}
    shelf.flac("1.flac", **ids)
    shelf.scan()
    shelf.flac("1.flac", **{k: other[k] for k in ids}, title="other")
    shelf.scan()
    shelf.flac("2.flac", **ids, title="back", comment="x")
    shelf.scan()

    assert shelf.songs() == {"1.flac": 2, "2.flac": 1}


def test_an_id_that_was_corrected_no_longer_speaks_for_the_song(shelf):
    right, wrong = an_id("A"), an_id("B")
    shelf.flac("1.flac", sound=1, musicbrainz_releasetrackid=wrong)
    shelf.scan()
    shelf.flac("1.flac", sound=1, musicbrainz_releasetrackid=right)
    shelf.scan()
    shelf.flac("2.flac", sound=2, musicbrainz_releasetrackid=wrong, title="other")
    shelf.scan()

    assert shelf.songs() == {"1.flac": 1, "2.flac": 2}


def test_what_is_there_speaks_before_what_was(shelf, catalog):
    """One scan meets the overwriting of one file, and a further one of the same sound."""
    shelf.flac("1.flac", sound=1)
    shelf.flac("2.flac", sound=1, comment="x")
    shelf.scan()
    split(catalog, 1, ["2.flac"], tags_of)
    shelf.flac("1.flac", sound=2, title="other")
    shelf.flac("0.flac", sound=1, comment="xx")
    shelf.scan()

    assert shelf.songs() == {"0.flac": 2, "1.flac": 3, "2.flac": 2}


@pytest.mark.parametrize("files", [1, 2])
def test_a_file_that_is_written_anew_with_other_tags_and_another_name_is_still_its_song(
    shelf, files
):
    """What some taggers do: nothing is left but the sound."""
    old = [shelf.flac(f"old/{n}.flac", sound=n, title=f"t{n}") for n in range(files)]
    kept = shelf.flac("kept.flac", seconds=99)
    shelf.scan()
    shelf.play(2)
    before = shelf.songs()
    for n, path in enumerate(old):
        shelf.flac(f"new/{n}.flac", sound=n, title="better", artist="b", comment="x")
        path.unlink()
    report = shelf.scan()

    assert (report.new, report.changed, report.missing) == (0, files, 0)
    assert shelf.songs() == {
        kept.name: before[kept.name],
        **{f"new/{n}.flac": before[f"old/{n}.flac"] for n in range(files)},
    }
    assert shelf.playlist() == [2]
    titles = dict(rows(shelf.catalog, "SELECT id, title FROM songs"))
    assert titles[before[kept.name]] == "t"
    assert {titles[before[f"old/{n}.flac"]] for n in range(files)} == {"better"}
    assert "b" in rows(shelf.catalog, "SELECT name FROM artists")


def test_a_song_with_another_file_is_still_called_what_that_one_says(shelf):
    old = shelf.flac("old.flac", sound=1)
    shelf.flac("kept.flac")
    shelf.scan()
    shelf.flac("new.flac", sound=1, title="other", comment="x")
    old.unlink()
    shelf.scan()

    assert shelf.songs() == {"kept.flac": 1, "new.flac": 1}
    assert rows(shelf.catalog, "SELECT title FROM songs") == ["t"]


def test_reading_again_fills_what_tells_songs_apart_and_moves_no_file(shelf, catalog):
    track = an_id("A")
    shelf.flac("1.flac", sound=1, musicbrainz_releasetrackid=track)
    shelf.flac("2.flac", sound=2, title="other")
    shelf.scan()
    columns = "tags_digest, audio_digest, recording_id, release_track_id"
    wanted = rows(catalog, f"SELECT {columns} FROM file_assets ORDER BY id")
    assert None not in wanted[0][:2]
    assert wanted[0][3] == track
    change(catalog, f"UPDATE file_assets SET ({columns}) = (NULL, NULL, 'x', NULL)")
    before = shelf.songs()

    shelf.scan(reread=True)

    assert rows(catalog, f"SELECT {columns} FROM file_assets ORDER BY id") == wanted
    assert shelf.songs() == before


# --- what a person decides ----------------------------------------------------------------------


@pytest.fixture
def three(shelf, catalog, tmp_path):
    """Three songs of a file each; the third has a second artist and a download."""
    for number, title in enumerate(("one", "two", "three"), 1):
        shelf.flac(f"{number}.flac", title=title, artist="a" if number < 3 else "b", seconds=60)
    shelf.scan()
    change(
        catalog, "INSERT INTO download_tasks (song_id, url, status) VALUES (3, 'u', 'succeeded')"
    )
    return shelf


def test_merged_songs_are_one_with_all_files_artists_and_downloads(three, catalog):
    change(catalog, "UPDATE songs SET album = NULL WHERE id = 1")

    done = merge(catalog, [1, 3, 2])

    assert (done.song, done.title, done.merged) == (1, "one", [3, 2])
    assert (done.files, done.downloads, done.kept) == (2, 1, [])
    assert rows(catalog, "SELECT id, title, artist, album FROM songs") == [(1, "one", "a", "l")]
    assert set(three.songs().values()) == {1}
    assert rows(catalog, "SELECT song_id FROM download_tasks") == [1]
    assert rows(catalog, "SELECT a.name FROM artist_songs JOIN artists a ON a.id = artist_id"
                " ORDER BY 1") == ["a", "b"]  # fmt: skip
    presence = "SELECT song_id, files_total, files_present FROM song_backend_presence"
    assert rows(catalog, presence) == [(1, 3, 3)]


def test_merged_songs_stand_in_playlists_where_each_stood(three, catalog):
    for song in (2, 1, 3, 2):
        three.play(song)
    three.play(3, "Q")

    assert sorted(merge(catalog, [1, 2]).playlists) == ["P"]
    assert three.playlist() == [1, 1, 3, 1]
    assert merge(catalog, [1, 3]).playlists == ["P", "Q"]
    assert three.playlist() == [1, 1, 1, 1]
    assert three.playlist("Q") == [1]
    assert rows(catalog, "SELECT COUNT(*) FROM playlist_songs") == [5]


@pytest.mark.parametrize("key", [", PRIMARY KEY (playlist_id, song_id)", ""])
def test_a_playlist_of_another_program_stays_a_set_with_its_own_columns(
    tmp_path, library, scanned, key
):
    path = tmp_path / "old.db"
    change(
        path,
        "CREATE TABLE playlist_songs (playlist_id INTEGER NOT NULL, song_id INTEGER NOT NULL,"
        f" added_by TEXT NOT NULL{key})",
    )
    catalog, _ = Catalog.initialise(path)
    change(path, "INSERT INTO playlists (id, name) VALUES (1, 'P'), (2, 'Q')")
    change(path, "INSERT INTO songs (id, title) VALUES (1, 'a'), (2, 'b'), (3, 'c')")
    change(
        path,
        "INSERT INTO playlist_songs (playlist_id, song_id, added_by)"
        " VALUES (1, 1, 'me'), (1, 2, 'you'), (1, 3, 'them'), (2, 2, 'you')",
    )

    merge(catalog, [1, 2])
    catalog.close()

    order = "SELECT playlist_id, song_id, added_by FROM playlist_songs ORDER BY 1, 2"
    assert rows(path, order) == [(1, 1, "me"), (1, 3, "them"), (2, 1, "you")]
    assert rows(path, "SELECT song_id FROM playlist_entries WHERE playlist_id = 1"
                " ORDER BY position") == [1, 1, 3]  # fmt: skip


def test_an_emptied_song_that_another_programs_table_refers_to_stays(three, catalog):
    change(catalog, "CREATE TABLE ratings (song INTEGER NOT NULL REFERENCES songs (id))")
    change(catalog, "INSERT INTO ratings VALUES (2)")

    assert merge(catalog, [1, 2, 3]).kept == [2]
    assert rows(catalog, "SELECT id FROM songs") == [1, 2]


def test_a_scan_keeps_merged_songs_merged_also_when_their_tags_change(three, catalog):
    merge(catalog, [1, 2])
    three.flac("2.flac", title="else", sound=5, seconds=90, musicbrainz_releasetrackid=an_id("B"))
    three.scan()
    three.flac("1.flac", title="even else")
    three.scan()
    three.flac("2.flac", title="another again")
    three.scan()

    assert three.songs() == {"1.flac": 1, "2.flac": 1, "3.flac": 3}
    assert rows(catalog, "SELECT title FROM songs WHERE id = 1") == ["one"]


def test_a_file_that_was_being_downloaded_for_a_merged_song_comes_to_the_one_that_stays(
    three, catalog
):
    change(catalog, "INSERT INTO songs (id, title) VALUES (9, 'nine')")
    change(catalog, "INSERT INTO download_tasks (song_id, url, status) VALUES (9, 'v', 'pending')")
    lease = DownloadLease(catalog)
    (task,) = lease.claim(EVERY_DOWNLOAD, 1)
    path = three.flac("9.flac", title="nine")
    facts = read_facts(three.root, "9.flac", FileStat.of(path.stat()), song_id=9, sha256="0" * 64)

    assert merge(catalog, [1, 9]).downloads == 1
    record(catalog, lease.owner, [Downloaded(task, str(three.root), facts)])

    assert three.songs()["9.flac"] == 1
    assert rows(catalog, "SELECT song_id, status FROM download_tasks WHERE url = 'v'") == [
        (1, "succeeded")
    ]


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ([1], "nothing to merge"),
        ([1, 2, 1], "song 1 is named twice"),
        ([1, 9], "there is no song 9"),
        ([9, 1], "there is no song 9"),
    ],
)
def test_what_cannot_be_merged_is_said_and_nothing_is_written(three, catalog, ids, said):
    before = bytes_of(catalog.path)

    with pytest.raises(UsageError, match=said):
        merge(catalog, ids)
    assert bytes_of(catalog.path) == before


def test_a_merge_that_fails_leaves_everything_as_it_was(three, catalog, monkeypatch):
    three.play(2)
    before = rows(catalog, "SELECT * FROM file_assets")

    def broken(*_, **__):
        raise CatalogError("full")

    monkeypatch.setattr(song_changes.presence, "refresh", broken)
    with pytest.raises(CatalogError):
        merge(catalog, [1, 2])

    assert rows(catalog, "SELECT * FROM file_assets") == before
    assert three.playlist() == [2]


@pytest.fixture
def together(shelf):
    """One song of three files, of which the last two are called otherwise by now."""
    for number in (1, 2, 3):
        shelf.flac(f"d/{number}.flac")
    shelf.scan()
    assert shelf.count() == 1
    return shelf


@pytest.mark.parametrize("name", ["absolute", "below", "relative"])
def test_split_files_make_a_song_of_their_own(together, catalog, name, monkeypatch):
    monkeypatch.chdir(together.root / "d")
    names = {
        "absolute": [str(together.root / "d" / "2.flac"), str(together.root / "d" / "3.flac")],
        "below": ["d/2.flac", "d/3.flac"],
        "relative": ["2.flac", "./3.flac"],
    }
    together.play(1)
    together.flac("d/2.flac", comment="an earlier content")
    together.scan()
    together.flac("d/2.flac", title="live", artist="c")

    done = split(catalog, 1, names[name], tags_of)

    assert (done.song, done.new_song, done.title) == (1, 2, "live")
    assert done.files == [str(together.root / "d" / f"{n}.flac") for n in (2, 3)]
    assert together.songs() == {"d/1.flac": 1, "d/2.flac": 2, "d/3.flac": 2}
    assert rows(catalog, "SELECT song_id, COUNT(*) FROM file_assets GROUP BY 1") == [(1, 1), (2, 3)]
    assert together.playlist() == [1]
    assert rows(catalog, "SELECT a.name FROM artist_songs x JOIN artists a ON a.id = x.artist_id"
                " WHERE x.song_id = 2") == ["c"]  # fmt: skip
    presence = "SELECT song_id, files_total FROM song_backend_presence ORDER BY 1"
    assert rows(catalog, presence) == [(1, 1), (2, 2)]


def test_a_scan_keeps_split_songs_apart_also_when_their_tags_change(together, catalog):
    split(catalog, 1, ["d/2.flac"], tags_of)
    together.flac("d/2.flac", comment="x")
    together.scan()
    together.flac("d/2.flac", comment="xx")
    together.scan(reread=True)

    assert together.songs() == {"d/1.flac": 1, "d/2.flac": 2, "d/3.flac": 1}


def test_a_split_file_without_tags_is_called_what_the_song_is_called(together, catalog):
    done = split(catalog, 1, ["d/2.flac"], lambda _: None)

    assert done.title == "t"
    assert rows(catalog, "SELECT artist, album FROM songs") == [("a", "l"), ("a", "l")]
    assert rows(catalog, "SELECT song_id FROM artist_songs ORDER BY 1") == [1, 2]


@pytest.mark.parametrize(
    ("song", "names", "said"),
    [
        (1, ["d/1.flac", "d/2.flac", "d/3.flac"], "would have no file left"),
        (1, ["d/9.flac"], "song 1 has no file 'd/9.flac'"),
        (9, ["d/1.flac"], "there is no song 9"),
    ],
)
def test_what_cannot_be_split_is_said_and_nothing_is_written(together, catalog, song, names, said):
    before = bytes_of(catalog.path)

    with pytest.raises(UsageError, match=said):
        split(catalog, song, names, tags_of)
    assert bytes_of(catalog.path) == before


def test_a_name_that_two_files_have_is_asked_back(shelf, another_library, catalog):
    other = Shelf(another_library("other"), shelf.scan, catalog)
    shelf.flac("1.flac")
    other.flac("1.flac")
    shelf.scan(shelf.root, other.root)

    with pytest.raises(UsageError, match=r"2 files '1\.flac'") as caught:
        split(catalog, 1, ["1.flac"], tags_of)
    assert str(other.root / "1.flac") in (caught.value.hint or "")
    assert split(catalog, 1, [str(other.root / "1.flac")], tags_of).new_song == 2
