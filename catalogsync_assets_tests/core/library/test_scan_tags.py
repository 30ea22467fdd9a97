"""What tags become in the catalog: artists, files whose tags cannot be read, reading them again."""

import pytest
from mutagen.flac import FLAC

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.scope import select
from catalogsync_assets.core.catalog.search import whereis
from catalogsync_assets.core.catalog.status import unread_tags
from catalogsync_assets.core.library.scan import scan
from catalogsync_assets_tests.support.audio_files import tagged, untagged
from catalogsync_assets_tests.support.database import change, rows, rows_of_all
from catalogsync_assets_tests.support.files import unprivileged

ARTISTS = (
    "SELECT s.title, a.name FROM artist_songs x JOIN artists a ON a.id = x.artist_id"
    " JOIN songs s ON s.id = x.song_id ORDER BY s.title, a.name"
)
SONG = "SELECT title, artist, album, track_number, duration_seconds FROM songs ORDER BY id"
DUET = {"title": ["Duet"], "artist": ["First", "Second"], "album": ["L"], "tracknumber": ["1"]}


# --- artists ------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["flac vorbis", "mp3 id3", "m4a mp4", "wv ape", "wma asf"])
def test_each_artist_of_a_song_is_linked_to_it_and_finds_it(library, scanned, catalog, way):
    tagged(library.root / f"a.{way.split(maxsplit=1)[0]}", way, **DUET)

    scanned()

    assert rows(catalog, ARTISTS) == [("Duet", "First"), ("Duet", "Second")]
    assert rows(catalog, "SELECT artist FROM songs") == ["First; Second"]
    assert select(catalog, artists=["second"])[0].kind == "artist"
    assert whereis(catalog, "second duet")


def test_an_artist_that_is_linked_but_not_shown_is_found(library, scanned, catalog):
    path = tagged(library.root / "a.flac", "flac vorbis", title=["t"], artist=["One feat. 2nd"])
    audio = FLAC(path)
    audio["artists"] = ["One", "Second Singer"]
    audio.save()
    scanned()

    assert [place.title for place in whereis(catalog, "second singer")] == ["t"]


def test_one_song_in_a_container_of_one_artist_and_in_one_of_several(library, scanned, catalog):
    tagged(library.root / "a.mp3", "mp3 id3", **{**DUET, "artist": ["First"]})
    tagged(library.root / "b.flac", "flac vorbis", **DUET)

    scanned()

    assert rows(catalog, "SELECT COUNT(*) FROM songs") == [1]
    assert rows(catalog, ARTISTS) == [("Duet", "First"), ("Duet", "Second")]


# --- tags that cannot be read -------------------------------------------------------------------


def test_a_file_without_readable_tags_is_told_of_by_every_scan_until_it_is_mended(
    library, scanned, catalog
):
    path = library.add("a.mp3", b"no audio" * 50)

    first, again = scanned(), scanned()

    for report in (first, again):
        assert report.unread_tag_count == 1
        (unread,) = report.unread_tags
        assert unread.path == str(path)
        assert unread.reason.startswith("its tags cannot be read (")
    assert (first.problem_count, again.problem_count) == (1, 0)

    tagged(path, "mp3 id3", title=["mended"])
    scanned()

    assert unread_tags(catalog) == (0, [])


def test_a_file_that_could_not_be_opened_is_tried_again_by_the_next_scan(public_folder):
    path = tagged(public_folder / "music" / "a.flac", "flac vorbis", title=["Real Title"])
    path.chmod(0)
    with unprivileged():
        catalog, _ = Catalog.initialise(public_folder / "catalog.db")
        assert scan(catalog, [path.parent]).unread_tag_count == 1
    path.chmod(0o644)

    with unprivileged():
        report = scan(catalog, [path.parent])
    catalog.close()

    assert (report.unread_tag_count, report.unchanged) == (0, 1)
    assert rows(catalog, "SELECT title FROM songs") == ["Real Title"]


def test_a_gone_file_is_no_longer_told_of(library, scanned):
    library.add("keep.mp3", b"no audio")
    gone = library.add("gone.mp3", b"no audio")
    scanned()
    gone.unlink()

    assert [u.path for u in scanned().unread_tags] == [str(library.root / "keep.mp3")]


# --- reading tags again -------------------------------------------------------------------------


def test_reading_again_mends_what_an_older_version_read(library, scanned, catalog):
    """It knew one artist of several, no APEv2 in an MP3, and took FLAC behind ID3v2 for MP3."""
    tagged(library.root / "1 duet.flac", "flac vorbis", **DUET)
    tagged(library.root / "02 gain.mp3", "mp3 ape", title=["Gain"], artist=["A"], album=["L"])
    scanned()
    wanted = [rows(catalog, sql) for sql in (SONG, ARTISTS)]
    change(catalog, "DELETE FROM artist_songs")
    change(catalog, "UPDATE songs SET artist = 'First' WHERE title = 'Duet'")
    change(
        catalog, "UPDATE songs SET title = 'gain', artist = NULL, album = '' WHERE title = 'Gain'"
    )
    change(
        catalog, "UPDATE file_assets SET duration_seconds = 1e9, tags_error = 'old', format = 'x'"
    )
    change(catalog, "UPDATE songs SET duration_seconds = 1e9")

    assert scanned().reread == 0
    report = scanned(reread=True)

    assert (report.reread, report.unchanged, report.unread_tag_count) == (2, 2, 0)
    assert [rows(catalog, sql) for sql in (SONG, ARTISTS)] == wanted
    assert rows(catalog, "SELECT format FROM file_assets ORDER BY format") == ["flac", "mp3"]


def test_reading_again_leaves_what_a_song_is_called_and_whose_file_it_is(library, scanned, catalog):
    tagged(library.root / "a.flac", "flac vorbis", **DUET)
    tagged(library.root / "b.ogg", "ogg vorbis", title=["b"], artist=["First"], album=["M"])
    scanned()
    change(catalog, "UPDATE songs SET title = 'as a manifest calls it', artist = 'Somebody'")
    change(catalog, "UPDATE songs SET album = 'M', track_number = NULL WHERE id = 1")
    before = rows(catalog, "SELECT id, song_id, size_bytes FROM file_assets")

    scanned(reread=True)
    settled = rows(catalog, "SELECT * FROM songs")
    scanned(reread=True)

    called = [("as a manifest calls it", "Somebody", "M", number, 0.5) for number in (1, None)]
    assert rows(catalog, SONG) == called
    assert rows(catalog, "SELECT id, song_id, size_bytes FROM file_assets") == before
    assert rows(catalog, "SELECT * FROM songs") == settled


def test_a_second_reading_of_the_same_tags_writes_nothing(library, scanned, catalog):
    tagged(library.root / "a.flac", "flac vorbis", **DUET)
    untagged(library.root / "b.mp3")
    library.add("c.mp3", b"no audio")
    scanned()
    before = rows_of_all(catalog, but="library_roots")

    assert scanned(reread=True).reread == 3
    assert rows_of_all(catalog, but="library_roots") == before
