"""Files beside music: they come along with it, and are no songs."""

import shutil

import pytest

from catalogsync_assets.core.catalog import presence
from catalogsync_assets.core.catalog.backend_changes import remove
from catalogsync_assets.core.catalog.cells import cells
from catalogsync_assets.core.catalog.replication import policy_status
from catalogsync_assets.core.catalog.scope import select
from catalogsync_assets.core.catalog.search import whereis
from catalogsync_assets.core.catalog.status import backend_status
from catalogsync_assets.core.errors import ConfigurationError, LibraryError, UsageError
from catalogsync_assets.core.export.contents import songs_with_files
from catalogsync_assets.core.export.places import everywhere
from catalogsync_assets.core.files import companions
from catalogsync_assets.core.files.companions import Companions
from catalogsync_assets.core.library import follow, tags
from catalogsync_assets.core.offload.offload import offload
from catalogsync_assets.core.restore.restore import restore
from catalogsync_assets_tests.support.database import rows

_VARIABLE = "CATALOGSYNC_COMPANIONS"
_BESIDE = ("cover.jpg", "album.cue", "rip.LOG", "01.lrc", "about.txt", "x.nfo", "Booklet/b.pdf")


@pytest.fixture
def album(library):
    """Two songs, and a file of each kind beside them."""
    library.fill(2)
    for name in _BESIDE:
        library.add(f"album/{name}")
    library.add("Playlists/best.m3u8", b"../album/0000.mp3\n")
    return library


def kinds(catalog):
    return dict(
        rows(
            catalog,
            "SELECT l.library_path, f.companion FROM file_assets f JOIN file_locations l"
            " ON l.file_asset_id = f.id WHERE f.companion IS NOT NULL AND l.status = 'active'"
            " AND l.library_path IS NOT NULL",
        )
    )


def by_status(catalog):
    return rows(catalog, "SELECT library_path, status FROM file_locations ORDER BY 1")


def test_they_go_the_whole_way_and_come_back(catalog, album, cloud, remote, scanned, uploaded):
    report = scanned()
    uploaded(cloud)

    assert (report.files, report.companions, report.new) == (10, 8, 10)
    assert remote(cloud).contents() == album.contents()
    assert [cell.whole for cell in cells(catalog)] == [True]
    before = album.contents()
    shutil.rmtree(album.root)
    restore(catalog, album.root, allow_empty=True)
    assert album.contents() == before
    assert scanned().unchanged == 10
    assert uploaded(cloud).queued == 0


def test_a_store_is_told_what_they_are(s3, album, cloud, scanned, uploaded):
    scanned()
    uploaded(cloud)

    def told(path):
        return s3.head_object(Bucket=cloud.bucket, Key=cloud.key_prefix + path)

    assert told("album/cover.jpg")["ContentType"] == "image/jpeg"
    assert told("album/Booklet/b.pdf")["ContentType"] == "application/pdf"
    assert "song-id" not in str(told("album/cover.jpg")["Metadata"])


def test_none_of_them_is_opened_by_a_scan(album, scanned, monkeypatch):
    read = []
    monkeypatch.setattr(follow, "sha256_of", read.append)
    monkeypatch.setattr(tags, "read_tags", lambda path: pytest.fail(f"{path} was read"))
    for path in (album.root / "album").glob("*.mp3"):
        path.unlink()

    assert scanned(allow_empty=True).new == 8
    album.add("album/back.png")
    assert (scanned(allow_empty=True).new, scanned(allow_empty=True).unchanged) == (1, 9)
    assert read == []


def test_no_count_of_songs_and_no_list_knows_them(catalog, album, cloud, scanned, uploaded):
    scanned()
    uploaded(cloud)

    with catalog.transaction() as connection:
        assert presence.refresh(connection) == 0
    for b in backend_status(catalog):
        assert (b.songs_total, b.songs, b.files) == (2, 2, 2)
        assert (b.companions, b.companions_total) == (8, 8)
    assert policy_status(catalog).songs == 2
    pages = list(songs_with_files(catalog, everywhere(catalog).where))
    assert [len(page.song_ids) for page in pages] == [2]
    (reserved,) = rows(
        catalog, "SELECT DISTINCT song_id FROM file_assets WHERE companion IS NOT NULL"
    )
    with pytest.raises(UsageError, match="no song"):
        select(catalog, songs=[reserved])
    assert whereis(catalog, "beside the music") == []
    assert reserved not in {place.song_id for place in whereis(catalog, str(reserved))}
    figures = "SELECT song_id FROM song_backend_presence WHERE song_id = ?"
    assert rows(catalog, figures, reserved) == []


def test_a_path_finds_them_without_a_song(catalog, album, scanned):
    scanned()

    (place,) = whereis(catalog, "cover.jpg")
    assert (place.song_id, place.title, place.status) == (None, "album/cover.jpg", "active")


def test_one_is_found_on_no_backend_that_was_taken_out(catalog, album, cloud, scanned, uploaded):
    scanned()
    uploaded(cloud)
    assert {place.backend for place in whereis(catalog, "cover.jpg")} == {"local", cloud.name}
    remove(catalog, cloud)
    assert {place.backend for place in whereis(catalog, "cover.jpg")} == {"local"}


def test_what_one_store_lacks_of_them_is_told(catalog, album, cloud, scanned, uploaded):
    scanned()
    uploaded(cloud)
    album.add("album/back.png")
    scanned()

    figures = {b.name: (b.companions, b.companions_total) for b in backend_status(catalog)}
    assert figures["cloud"] == (8, 9)
    assert policy_status(catalog).songs_under_policy == 0


def test_they_are_followed_when_they_move(catalog, album, backend, remote, scanned, uploaded):
    cloud = backend(layout="path")
    scanned()
    uploaded(cloud)
    (album.root / "album").rename(album.root / "(1999) album")
    (album.root / "Playlists/best.m3u8").write_bytes(b"../(1999) album/0000.mp3\n")

    report = scanned()
    sent = uploaded(cloud)

    assert (report.moved, report.new, report.missing) == (9, 0, 0)
    assert sent.bytes == len(b"../(1999) album/0000.mp3\n")
    current = {k: v for k, v in remote(cloud).contents().items() if k in album.contents()}
    assert current == album.contents()


def test_music_is_never_taken_for_a_file_beside_it(catalog, album, scanned):
    scanned()
    (album.root / "album/0000.mp3").rename(album.root / "album/0000.txt")
    (album.root / "album/about.txt").rename(album.root / "album/about.mp3")

    report = scanned()

    assert (report.moved, report.new, report.missing) == (0, 2, 2)
    assert kinds(catalog)["album/0000.txt"] == "text"
    assert "album/about.mp3" not in kinds(catalog)


def test_a_new_cover_does_not_stand_in_for_another_that_is_gone(catalog, album, scanned):
    scanned()
    (album.root / "album/cover.jpg").unlink()
    album.add("other/front.jpg")

    report = scanned()

    assert (report.new, report.missing, report.changed) == (1, 1, 0)


def test_an_edited_one_replaces_what_was_there(catalog, album, cloud, remote, scanned, uploaded):
    scanned()
    uploaded(cloud)
    album.add("album/cover.jpg", b"a better scan")

    report = scanned()
    uploaded(cloud)

    assert report.changed == 1
    assert remote(cloud).contents()["album/cover.jpg"] == b"a better scan"
    assert kinds(catalog)["album/cover.jpg"] == "image"


def test_one_whose_bytes_change_under_its_mtime_seems_damaged(album, cloud, scanned, uploaded):
    scanned()
    uploaded(cloud)
    album.rewrite("album/cover.jpg", bytes(300))

    report = scanned()

    assert [p.rpartition("/")[2] for p in report.suspected_paths] == ["cover.jpg"]


def test_kinds_can_be_chosen_and_what_is_left_out_counts_no_more(
    catalog, album, cloud, scanned, uploaded, monkeypatch
):
    scanned()
    uploaded(cloud)
    monkeypatch.setenv(_VARIABLE, "image:*.sfv")
    album.add("album/check.sfv")

    report = scanned()

    assert (report.new, report.excluded, report.missing) == (1, 7, 0)
    assert kinds(catalog) == {"album/cover.jpg": "image", "album/check.sfv": "other"}
    assert {b.companions_total for b in backend_status(catalog)} == {2}
    monkeypatch.delenv(_VARIABLE)
    assert scanned().returned == 7


def test_none_means_music_alone(album, scanned, monkeypatch):
    monkeypatch.setenv(_VARIABLE, "none")

    assert scanned().files == 2


@pytest.mark.parametrize(
    ("given", "wanted", "unwanted"),
    [
        ("", ("a.JPG", "a.m3u", "a.pdf"), ("a.flac", "a.exe", "a", "jpg")),
        ("*.sfv", ("a.SFV", "a.jpg"), ("a.exe",)),
        ("none:*.sfv", ("a.sfv",), ("a.jpg",)),
        ("*", ("a.exe", "readme"), ("a.flac", "a.MP3")),
        ("cue\nlog", ("a.cue", "a.log"), ("a.jpg",)),
    ],
)
def test_the_settings_say_which(monkeypatch, given, wanted, unwanted):
    monkeypatch.setenv(_VARIABLE, given)
    chosen = Companions.of_settings()

    assert all(chosen.kind_of(name) for name in wanted)
    assert not any(chosen.kind_of(name) for name in unwanted)


@pytest.mark.parametrize("given", ["imges", "scans/*.jpg"])
def test_a_setting_that_is_no_kind_and_no_pattern_is_refused(monkeypatch, given):
    monkeypatch.setenv(_VARIABLE, given)

    with pytest.raises(ConfigurationError, match=_VARIABLE):
        Companions.of_settings()


def test_one_that_is_too_large_is_left_out(library, scanned, monkeypatch):
    monkeypatch.setattr("catalogsync_assets.core.library.walk.MAX_COMPANION_BYTES", 300)
    library.add("a.mp3", size=500)
    library.add("film.log", size=301)
    library.add("cover.jpg", size=300)
    assert companions.MAX_COMPANION_BYTES == 64 * 1024**2

    report = scanned()

    assert (report.files, report.left_out_paths) == (2, ["film.log"])


def test_a_note_in_the_folder_of_a_missing_disk_does_not_make_the_music_gone(
    catalog, album, scanned
):
    scanned()
    shutil.rmtree(album.root)
    album.add("NOT MOUNTED.txt")

    with pytest.raises(LibraryError, match="no readable audio file"):
        scanned()
    assert {status for _, status in by_status(catalog)} == {"active"}


def test_a_root_of_playlists_alone_is_scanned_again_and_again(library, scanned):
    library.add("a.m3u8", b"x.mp3\n")
    scanned()
    library.add("b.m3u8", b"x.mp3\n")

    assert (scanned().new, scanned().unchanged) == (1, 2)
    (library.root / "a.m3u8").unlink()
    (library.root / "b.m3u8").unlink()
    with pytest.raises(LibraryError):
        scanned()


def test_they_are_not_offloaded(catalog, album, cloud, scanned, uploaded):
    scanned()
    uploaded(cloud)

    offload(catalog, 1, dry_run=False)

    assert {path.rpartition(".")[2] for path in album.contents()}.isdisjoint({"mp3"})
    assert len(album.contents()) == 8
