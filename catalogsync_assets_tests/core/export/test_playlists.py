"""Playlists for players."""

from pathlib import Path

import pytest

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.download.importing import import_manifest
from catalogsync_assets.core.errors import CatalogSyncError, UsageError
from catalogsync_assets.core.export import contents
from catalogsync_assets.core.export.export import export_playlist
from catalogsync_assets.core.export.places import local, public
from catalogsync_assets_tests.support.database import rows


def test_songs_are_in_the_playlists_order_with_artist_title_and_duration(shelf, exported):
    one = shelf.song("Lilac Wine", artist="Nina", album="Wild", duration_seconds=257.6)
    two = shelf.song("雨", duration_seconds=None)
    shelf.file(one, "Nina/01.mp3")
    shelf.file(two, "b.mp3")
    shelf.playlist("Evening", two, one)

    text = exported(export_playlist, "evening", kind="m3u8", places=local()).decode()

    assert text == (
        "#EXTM3U\n#PLAYLIST:Evening\n"
        "#EXTINF:-1,雨\n/music/b.mp3\n"
        "#EXTINF:258,Nina - Lilac Wine\n#EXTALB:Wild\n/music/Nina/01.mp3\n"
    )


def test_the_duration_of_the_file_goes_before_that_of_the_song(shelf, exported):
    song = shelf.song("A", duration_seconds=10)
    shelf.file(song, "a.mp3", duration_seconds=12)
    shelf.playlist("P", song)

    assert b"#EXTINF:12,A\n" in exported(export_playlist, "P", kind="m3u8", places=local())


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("a.mp3", "a.mp3"),
        ("#1 hits/a.mp3", "./#1 hits/a.mp3"),
        ("Re: Stacks/a.mp3", "./Re: Stacks/a.mp3"),
        ("a/#b: c.mp3", "a/#b: c.mp3"),
        ("two\nlines.mp3", "file:///music/two%0Alines.mp3"),
        ("space .mp3 ", "file:///music/space%20.mp3%20"),
    ],
)
def test_a_path_cannot_be_taken_for_anything_else(shelf, exported, path, line):
    song = shelf.song("A\nB", artist="C\r\nD")
    shelf.file(song, path)
    shelf.playlist("P\nQ", song)

    places = local(relative_to=Path("/music"))
    lines = exported(export_playlist, "1", kind="m3u8", places=places).decode().split("\n")

    assert lines == ["#EXTM3U", "#PLAYLIST:P Q", "#EXTINF:-1,C D - A B", line, ""]


def test_paths_are_as_seen_from_a_folder(shelf, exported):
    song = shelf.song("A")
    shelf.file(song, "x/a.mp3")
    shelf.playlist("P", song)

    places = local(relative_to=Path("/music/lists"))

    assert exported(export_playlist, "P", kind="m3u8", places=places).endswith(b"\n../x/a.mp3\n")


def test_of_a_songs_files_the_best_is_taken_that_is_there(shelf, exported, backend):
    cloud = backend("cloud", public_base_url="https://cdn.example/m")
    songs = [shelf.song(f"S{n}") for n in range(3)]
    shelf.file(songs[0], "large.mp3", size=900, on={cloud.id: "large.mp3"})
    shelf.file(songs[0], "good.flac", size=800, format="flac")
    shelf.file(songs[1], "small.mp3", size=1)
    shelf.file(songs[1], "larger.mp3", size=2)
    shelf.file(songs[2], "gone.flac", format="flac", status="missing")
    old = shelf.file(songs[2], "old.wav", format="wav")
    newer = shelf.file(songs[2], "newer.mp3")
    shelf.sql("UPDATE file_assets SET superseded_by_id = ? WHERE id = ?", newer, old)
    shelf.playlist("P", *songs)

    def lines(places):
        text = exported(export_playlist, "P", kind="m3u8", places=places).decode()
        return [line for line in text.splitlines() if not line.startswith("#")]

    assert lines(local()) == ["/music/good.flac", "/music/larger.mp3", "/music/newer.mp3"]


@pytest.mark.parametrize("page", [1, 2, 1_000])
def test_a_song_may_stand_twice_on_one_page_or_on_two(shelf, exported, monkeypatch, page):
    monkeypatch.setattr(contents, "_PAGE", page)
    a, b = shelf.song("a"), shelf.song("b")
    shelf.file(a, "a.mp3")
    shelf.file(a, "a.flac", format="flac")
    shelf.file(b, "b.mp3")
    number = shelf.playlist("P", a, b)
    for position, song in enumerate((a, a, b, a), 1):
        shelf.sql("INSERT INTO playlist_entries VALUES (?, ?, ?, 'm')", number, position, song)

    text = exported(export_playlist, "P", kind="m3u8", places=local()).decode()
    table = exported(export_playlist, "P", kind="csv", places=local()).decode()

    paths = [line for line in text.splitlines() if not line.startswith("#")]
    assert paths == ["/music/a.flac", "/music/a.flac", "/music/b.mp3", "/music/a.flac"]
    assert [line.split(",")[1] for line in table.splitlines()[1:]] == ["1", "2", "3", "4"]


def test_what_is_nowhere_is_left_out_and_counted(shelf, catalog, tmp_path):
    there, gone, wanted = shelf.song("There"), shelf.song("Gone", artist="X"), shelf.song("Wanted")
    shelf.file(there, "a.mp3")
    shelf.file(gone, "b.mp3", status="missing")
    shelf.playlist("P", wanted, there, gone)
    target = tmp_path / "p.m3u8"

    report = export_playlist(catalog, "P", target, kind="m3u8", places=local())

    assert (report.songs, report.rows, report.left_out) == (1, 1, 2)
    assert report.left_out_names == ["Wanted", "X - Gone"]
    before = target.read_bytes()
    with pytest.raises(CatalogSyncError, match="2 songs have no such location"):
        export_playlist(catalog, "P", target, kind="csv", places=local(), strict=True)
    assert target.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir() if "catalogsync-" in p.name] == []


def test_two_playlists_of_one_name_are_told_apart_by_their_ids(shelf, exported):
    shelf.playlist("P")
    shelf.playlist("p")

    with pytest.raises(UsageError, match="2 playlists") as raised:
        exported(export_playlist, "P", kind="m3u8", places=local())
    assert "1, 2" in str(raised.value.hint)


@pytest.mark.parametrize("kind", ["m3u8", "csv", "jsonl"])
def test_an_exported_playlist_can_be_imported(shelf, backend, catalog, tmp_path, blank, kind):
    """Into another catalog: the same songs in the same order, from the public addresses."""
    cloud = backend("cloud", public_base_url="https://cdn.example/m")
    songs = [
        shelf.song("Two - Parts, and a comma", artist="Some - Body", album="One: Two"),
        shelf.song("雨 #1", artist='The "Quoted"', album=None),
        shelf.song("Plain", artist="Nina", album="Wild", track_number=3, disc_number=2),
    ]
    for number, song in enumerate(songs):
        shelf.file(song, on={cloud.id: f"ä b/#{number}?.mp3"}, sha256=f"{number:064x}")
    shelf.playlist("Evening", *reversed(songs))
    target = tmp_path / f"other-name.{kind}"
    export_playlist(catalog, "Evening", target, kind=kind, places=public(catalog))

    other, _ = Catalog.initialise(tmp_path / "other.db")
    report = import_manifest(other, target)
    other.close()

    assert (report.bad, report.tasks, report.playlists) == (0, 3, 1)
    columns = "s.title, s.artist, s.album" + ("" if kind == "m3u8" else ", s.track_number")
    order = (
        f"SELECT {columns}, p.name FROM playlist_songs x JOIN songs s ON s.id = x.song_id"
        " JOIN playlists p ON p.id = x.playlist_id ORDER BY x.position"
    )
    assert rows(other, order) == rows(catalog, order)
    if kind != "m3u8":
        digests = "SELECT sha256 FROM download_tasks ORDER BY id"
        assert rows(other, digests) == [f"{number:064x}" for number in (2, 1, 0)]
