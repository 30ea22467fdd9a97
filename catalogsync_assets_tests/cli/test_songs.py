"""What `songs merge` and `songs split` print, and how they end."""

import pytest

from catalogsync_assets_tests.support.audio_files import tagged
from catalogsync_assets_tests.support.database import change, rows


@pytest.fixture
def music(catalog, library, scanned):
    """Song 1 of two files, song 2 of one, which is in a playlist."""
    tags = {"artist": ["a"], "album": ["l"], "tracknumber": ["1"]}
    tagged(library.root / "1.mp3", "mp3 id3", title=["one"], **tags)
    tagged(library.root / "1.ogg", "ogg vorbis", title=["one"], **tags)
    tagged(library.root / "2.mp3", "mp3 id3", title=["two"], **tags)
    scanned()
    change(catalog, "INSERT INTO playlists (id, name) VALUES (1, 'P')")
    change(catalog, "INSERT INTO playlist_songs (playlist_id, song_id) VALUES (1, 2)")
    return library


def test_songs_are_merged_and_it_is_told_what_was_done(cli, music, catalog):
    result = cli("songs", "merge", 1, 2)

    assert result.code == 0
    assert result.out.splitlines() == [
        "song 1 (one) has 1 file more, 1 playlist changed, 0 downloads moved",
        "gone: song 2",
    ]
    assert rows(catalog, "SELECT id FROM songs") == [1]


def test_a_merge_is_told_in_json(cli, music):
    assert cli("songs", "merge", 2, 1, "--json").json == {
        "song": 2,
        "title": "two",
        "merged": [1],
        "files": 2,
        "downloads": 0,
        "playlists": [],
        "kept": [],
    }


def test_a_song_that_stays_for_another_program_is_warned_about(cli, music, catalog):
    change(catalog, "CREATE TABLE ratings (song INTEGER REFERENCES songs (id))")
    change(catalog, "INSERT INTO ratings VALUES (2)")

    result = cli("songs", "merge", 1, 2)

    assert (result.code, result.out.splitlines()[1]) == (0, "gone: none")
    assert "warning: song 2: empty, but another program's table refers to it" in result.err


def test_a_file_is_split_off(cli, music, catalog):
    path = music.root / "1.ogg"
    result = cli("songs", "split", 1, path)

    assert result.code == 0
    assert result.out.splitlines() == ["song 3 (one) has 1 file:", f"  {path}"]
    assert cli("songs", "merge", 1, 3).code == 0
    assert cli("songs", "split", 1, "1.ogg", "--json").json["files"] == [str(path)]
    assert rows(catalog, "SELECT COUNT(*) FROM songs") == [3]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("merge", 1), "there is nothing to merge"),
        (("merge", 1, 1), "song 1 is named twice"),
        (("merge", 1, 7), "there is no song 7"),
        (("merge", 1, "two"), "'two' is not a valid integer"),
        (("split", 7, "1.ogg"), "there is no song 7"),
        (("split", 1, "2.mp3"), "song 1 has no file '2.mp3'"),
        (("split", 2, "2.mp3"), "song 2 would have no file left"),
        (("split", 1), "Missing argument"),
    ],
)
def test_wrong_use_is_one_clear_error(cli, music, arguments, said):
    result = cli("songs", *arguments)

    assert (result.code, result.out) == (2, "")
    assert said in result.err
