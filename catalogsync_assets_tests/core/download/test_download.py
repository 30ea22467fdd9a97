"""Downloads over a web that behaves: what comes where, and the rows that it leaves."""

from pathlib import Path

import pytest

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.download_queue import DownloadScope
from catalogsync_assets.core.catalog.scope import select
from catalogsync_assets_tests.support.audio_files import CONTENTS, id3, tagged
from catalogsync_assets_tests.support.database import change, rows
from catalogsync_assets_tests.support.files import remains, sha256


def test_a_file_comes_whole_under_the_name_of_its_song(web, queue_downloads, downloaded, library):
    url = web.add("/x/y.flac")
    queue_downloads(url, title="So What", artist="Miles Davis", album="Kind of Blue", track=1)

    report = downloaded()

    content = web.files["/x/y.flac"].content
    assert library.contents() == {"Miles Davis/Kind of Blue/01 So What.flac": content}
    assert (report.queued, report.succeeded, report.failed) == (1, 1, 0)
    assert report.bytes == report.received == len(content)
    assert remains(library.root) == []


def test_a_file_of_which_nothing_is_known_keeps_the_name_of_its_address(
    web, queue_downloads, downloaded, library
):
    queue_downloads(web.add("/a/Blue%20in%20Green.flac") + "?key=1")

    downloaded()

    assert list(library.contents()) == ["Blue in Green.flac"]


def test_the_name_that_the_server_gives_comes_first(web, queue_downloads, downloaded, library):
    headers = {"Content-Disposition": "attachment; filename*=UTF-8''na%C3%AFve.flac"}
    queue_downloads(web.add("/get", headers=headers))

    downloaded()

    assert list(library.contents()) == ["naïve.flac"]


@pytest.mark.parametrize(
    "name", ["../../evil.flac", "/etc/evil.flac", "..\\\\..\\\\evil.flac", "..%2Fevil.flac"]
)
def test_no_name_of_a_server_leads_out_of_the_library(
    web, queue_downloads, downloaded, library, name
):
    queue_downloads(
        web.add("/get", headers={"Content-Disposition": f'attachment; filename="{name}"'})
    )

    downloaded()

    (path,) = library.contents()
    assert "/" not in path
    assert path.endswith("evil.flac")
    assert [p.name for p in library.root.parent.rglob("*evil*")] == [path]


def test_two_files_of_one_name_get_different_ones_and_no_file_is_overwritten(
    web, queue_downloads, downloaded, library
):
    mine = library.add("x.flac", b"my own").read_bytes()
    for folder in "abc":
        queue_downloads(web.add(f"/{folder}/x.flac"))

    assert downloaded().succeeded == 3
    found = library.contents()
    assert sorted(found) == ["x (2).flac", "x (3).flac", "x (4).flac", "x.flac"]
    assert found.pop("x.flac") == mine
    assert sorted(found.values()) == sorted(f.content for f in web.files.values())


def test_the_rows_are_those_that_a_scan_would_have_made(
    web, queue_downloads, downloaded, scanned, catalog
):
    queue_downloads(web.add("/x.flac"))
    downloaded()

    report = scanned()

    assert (report.files, report.unchanged, report.new) == (1, 1, 0)
    content = web.files["/x.flac"].content
    assert rows(
        catalog,
        "SELECT t.status, t.song_id = f.song_id, t.sha256, f.sha256, f.size_bytes, l.library_path,"
        " t.absolute_path = l.absolute_path, t.lease_owner, t.attempts FROM download_tasks t"
        " JOIN file_assets f JOIN file_locations l ON l.file_asset_id = f.id",
    ) == [("succeeded", 1, sha256(content), sha256(content), len(content), "x.flac", 1, None, 1)]
    assert rows(catalog, "SELECT COUNT(*) FROM songs") == [1]
    assert rows(catalog, "SELECT files_present FROM song_backend_presence") == [1]


def test_a_real_file_meets_the_song_of_the_manifest_and_fills_its_gaps(
    web, queue_downloads, downloaded, scanned, sample, catalog
):
    file = next(p for p in sorted(sample.rglob("*.flac")))
    queue_downloads(web.add("/any.flac", file.read_bytes()), title="As I call it", playlist="Mine")

    downloaded()
    scanned()

    ((title, artist, album, key),) = rows(
        catalog, "SELECT title, artist, album, match_key FROM songs"
    )
    assert title == "As I call it"
    assert artist and album and key
    assert rows(catalog, "SELECT song_id FROM file_assets") == rows(
        catalog, "SELECT song_id FROM playlist_songs"
    )


def test_a_title_that_was_only_guessed_gives_way_to_that_of_the_file(
    web, queue_downloads, downloaded, sample, catalog
):
    file = next(p for p in sorted(sample.rglob("*.flac")))
    queue_downloads(web.add("/17.flac", file.read_bytes()))
    assert rows(catalog, "SELECT title FROM songs") == ["17"]

    downloaded()

    (title,) = rows(catalog, "SELECT title FROM songs")
    assert title != "17"


def test_a_file_is_another_file_of_the_song_that_the_library_has(
    web, queue_downloads, downloaded, library, scanned, sample, catalog
):
    file = next(p for p in sorted(sample.rglob("*.flac")))
    library.add("mine.flac", file.read_bytes())
    scanned()
    tags = "SELECT title, artist, album, track_number, disc_number FROM songs"
    ((title, artist, album, track, disc),) = rows(catalog, tags)
    url = web.add("/theirs.flac", file.read_bytes())

    more = {} if disc is None else {"disc": disc}
    queue_downloads(url, title=title.upper(), artist=artist, album=album, track=track, **more)
    downloaded()

    assert len(rows(catalog, tags)) == 1
    assert rows(catalog, "SELECT COUNT(*), COUNT(DISTINCT song_id) FROM file_assets") == [(2, 1)]


def test_a_scan_that_came_first_does_not_keep_the_file_from_its_song(
    web, queue_downloads, downloaded, catalog
):
    """As after a kill between the file's name and its row."""
    queue_downloads(web.add("/x.flac"), title="Wanted", playlist="Mine")
    downloaded()
    (song,) = rows(catalog, "SELECT song_id FROM download_tasks")
    for sql in (
        "INSERT INTO songs (id, title) VALUES (99, 'x')",
        "UPDATE file_assets SET song_id = 99",
        "UPDATE download_tasks SET status = 'pending'",
    ):
        change(catalog, sql)
    _place_again(catalog)

    assert downloaded().received == 0
    assert rows(catalog, "SELECT song_id FROM file_assets") == [song]
    assert rows(catalog, "SELECT id FROM songs") == [song]


def _place_again(catalog: Catalog) -> None:
    """The notes as they were before the row."""
    import json

    from catalogsync_assets.core.catalog.backends import catalog_id

    ((task, path, digest),) = rows(catalog, "SELECT id, absolute_path, sha256 FROM download_tasks")
    folder = Path(path).parent / ".catalogsync"
    folder.mkdir()
    notes = folder / f"{catalog_id(catalog)}-{task}.json"
    notes.write_text(json.dumps({"target": Path(path).name, "sha256": digest}))


def test_downloads_can_be_limited_to_a_playlist_a_source_and_a_number(
    web, queue_downloads, downloaded, catalog
):
    queue_downloads(
        *({"url": web.add(f"/{i}.flac"), "playlist": "A" if i < 3 else "B"} for i in range(6))
    )

    one = DownloadScope(selections=select(catalog, playlists=["a"]))

    assert downloaded(scope=one).succeeded == 3
    assert downloaded(scope=DownloadScope(sources=["tape"])).queued == 0
    assert downloaded(limit=2).succeeded == 2
    assert downloaded(scope=DownloadScope(sources=["http"])).succeeded == 1


def test_a_queue_that_is_empty_makes_no_request_and_no_client(
    downloaded, run_python, catalog, library
):
    assert downloaded().queued == 0

    outcome = run_python(
        "import sys, pathlib\n"
        "from catalogsync_assets.core.catalog.database import Catalog\n"
        "from catalogsync_assets.core.download.download import download\n"
        "from catalogsync_assets.core.download.disks import Disks\n"
        "catalog = Catalog.open(sys.argv[1])\n"
        "download(catalog, Disks(catalog, [pathlib.Path(sys.argv[2])]))\n"
        "print('httpx' in sys.modules)",
        catalog.path,
        library.root,
    )
    assert outcome.out == "False\n", outcome.err


def test_no_more_requests_are_under_way_than_there_are_workers(web, queue_downloads, downloaded):
    """The first three are held while the run takes three more turns: a fourth would come."""
    queue_downloads(*(web.add(f"/{i}.flac") for i in range(40)))
    turns = []
    web.pace = lambda _: web.wait_until(lambda: len(turns) >= 3)

    def take_a_turn(_report):
        with web.lock:
            if web.most_at_once >= 3:
                turns.append(web.most_at_once)
                web.lock.notify_all()

    assert downloaded(workers=3, progress=take_a_turn).succeeded == 40
    assert web.most_at_once == 3


def test_what_other_programs_have_in_the_queue_is_left_as_it_is(
    web, queue_downloads, downloaded, catalog
):
    queue_downloads(web.add("/x.flac"))
    table = "SELECT id, song_id, source, url, status, last_error FROM download_tasks WHERE id > 9"
    for number, values in enumerate(
        (
            "'tape', 'a', 'queued', NULL",
            "'tape', 'b', 'running', 'since May'",
            "'http', 'http://127.0.0.1:1/x', 'failed', 'no'",
            "'http', NULL, 'pending', NULL",
            "'http', 'http://127.0.0.1:1/y', 'done', NULL",
        )
    ):
        change(
            catalog,
            "INSERT INTO download_tasks (id, source, url, status, last_error)"
            f" VALUES ({number + 10}, {values})",
        )
    before = rows(catalog, table)

    report = downloaded()

    assert (report.queued, report.succeeded) == (1, 1)
    assert rows(catalog, table) == before


@pytest.mark.parametrize(
    ("name", "kind", "kept"),
    [
        *(("a.flac", "flac", "a.flac"), ("a.aac", "aac", "a.aac"), ("a.ape", "ape", "a.ape")),
        *(("a.oga", "ogg", "a.oga"), ("a.m4b", "m4a", "a.m4b"), ("a.mp3", "flac", "a.flac")),
        *(("a.mp3", "", "a.mp3"), ("a.tak", "", "a.tak"), ("a", "", "a.mp3")),
        ("a.php", "wv", "a.php.wv"),
    ],
)
def test_a_name_keeps_its_extension_where_that_is_what_stands_behind_a_tag(
    web, queue_downloads, downloaded, library, name, kind, kept
):
    content = CONTENTS[kind]() if kind else b"something that nobody knows"
    queue_downloads(web.add(f"/{name}", id3(title=["t"]) + content))

    downloaded()

    assert list(library.contents()) == [kept]


def test_tags_of_a_download_tell_its_artists_and_that_they_could_not_be_read(
    web, queue_downloads, downloaded, catalog, tmp_path
):
    duet = tagged(tmp_path / "d.flac", "flac vorbis", title=["Duet"], artist=["One", "Two"])
    queue_downloads(web.add("/d.flac", duet.read_bytes()))
    queue_downloads(web.add("/broken.mp3", id3(title=["t"]) + b"something that nobody knows"))

    downloaded()

    assert rows(catalog, "SELECT name FROM artists ORDER BY name") == ["One", "Two"]
    assert rows(catalog, "SELECT format FROM file_assets WHERE tags_error IS NOT NULL") == ["mp3"]
