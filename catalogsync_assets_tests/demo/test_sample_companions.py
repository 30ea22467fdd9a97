"""What lies beside the sample's music is what a library's companions are."""

from catalogsync_assets.core.catalog import playlists
from catalogsync_assets.demo.sample_companions import make_companions
from catalogsync_assets.demo.sample_library import make_sample_library
from catalogsync_assets_tests.support.database import rows


def test_a_scan_knows_them_and_finds_every_song_of_its_playlists(catalog, library, scanned):
    songs = make_sample_library(library.root, songs=9, seconds=0.05)
    made = make_companions(library.root, songs)

    report = scanned()

    kinds = "SELECT companion, COUNT(*) FROM file_assets WHERE companion IS NOT NULL GROUP BY 1"
    assert dict(rows(catalog, kinds)) == {"cue": 1, "image": 2, "playlist": 1}
    assert (report.playlists.made, report.playlists.unresolved) == (2, 0)
    with catalog.read() as connection:
        found = dict(rows(catalog, "SELECT name, id FROM playlists"))
        counts = {name: len(playlists.song_ids(connection, id_)) for name, id_ in found.items()}
    assert counts == {"Hvít Nótt": 4, "Round the World": 2}
    assert all(cover.read_bytes().startswith(b"\x89PNG") for cover in made[:2])


def test_what_is_there_is_left_untouched(tmp_path):
    songs = make_sample_library(tmp_path, songs=5, seconds=0.05)
    cover, *_ = made = make_companions(tmp_path, songs)
    cover.write_bytes(b"mine")

    assert make_companions(tmp_path, songs) == made
    assert cover.read_bytes() == b"mine"
