"""Manifests become songs, playlists and tasks; what is wrong in them is told and left out."""

import json
import tracemalloc
from typing import Any

import pytest

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.download import importing
from catalogsync_assets.core.download.importing import import_manifest
from catalogsync_assets.core.download.report import ImportReport
from catalogsync_assets.core.errors import UsageError
from catalogsync_assets_tests.support.database import change, rows

ALL = "SELECT s.title, s.artist, s.album, t.url, t.sha256, t.size_bytes, p.name{}"
JOINED = (
    " FROM download_tasks t JOIN songs s ON s.id = t.song_id"
    " LEFT JOIN playlist_songs x ON x.song_id = s.id"
    " LEFT JOIN playlists p ON p.id = x.playlist_id ORDER BY t.id"
)
DIGEST = "ab" * 32


@pytest.fixture
def imported(catalog, tmp_path):
    """`imported("name.csv", text)`."""

    def run(name, text, **options):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return import_manifest(catalog, path, **options)

    return run


def everything(catalog: Catalog) -> list[Any]:
    return rows(catalog, ALL.format("") + JOINED)


def problems(report: ImportReport) -> dict[int, str]:
    return {problem.line: problem.reason for problem in report.problems}


# --- the formats --------------------------------------------------------------------------------

CSV = f"""url,title,artist,album,playlist,sha256,size,track
http://a.example/1.flac,So What,Miles Davis,Kind of Blue,Late,{DIGEST.upper()},17,1
http://a.example/2.flac,"Blue, in Green",,,,,,
http://a.example/3%20x.flac
"""
JSONL = "\n".join(
    json.dumps(line)
    for line in (
        {
            "url": "http://a.example/1.flac",
            "title": "So What",
            "artist": "Miles Davis",
            "album": "Kind of Blue",
            "playlist": "Late",
            "sha256": DIGEST,
            "size": 17,
            "track": "01",
            "mood": "cool",
        },
        {"url": "http://a.example/2.flac", "title": "Blue, in Green", "artist": None},
        {"url": "http://a.example/3%20x.flac"},
    )
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.csv", CSV),
        ("m.csv", "\ufeff" + CSV.replace("\n", "\r\n")),
        ("m.tsv", CSV.replace('"Blue, in Green"', "Blue. in Green").replace(",", "\t")),
        ("m.jsonl", JSONL),
        ("m.ndjson", "\n\n" + JSONL + "\n"),
    ],
    ids=["csv", "csv-of-windows", "tsv", "jsonl", "jsonl-with-blank-lines"],
)
def test_a_table_says_all_that_can_be_said(imported, catalog, name, text):
    report = imported(name, text)

    assert (report.entries, report.tasks, report.songs, report.bad) == (3, 3, 3, 0)
    found = everything(catalog)
    url = "http://a.example/"
    assert found[0] == (
        *("So What", "Miles Davis", "Kind of Blue"),
        *(url + "1.flac", DIGEST, 17, "Late"),
    )
    assert found[1][0].replace(".", ",") == "Blue, in Green"
    assert found[1][1:] == (None, None, url + "2.flac", None, None, None)
    assert found[2][0] == "3 x"
    assert rows(catalog, "SELECT DISTINCT source FROM download_tasks") == ["http"]
    assert rows(catalog, "SELECT name FROM artists") == ["Miles Davis"]


def test_an_m3u_says_what_its_comments_say(imported, catalog):
    imported(
        "late night.m3u8",
        "#EXTM3U\n#EXTINF:123,Miles Davis - So What\n#EXTALB:Kind of Blue\nhttp://a.example/1.mp3\n"
        "# a remark\n#EXTINF:-1 tvg-id=1,Nobody knows\nhttp://a.example/2.mp3\n"
        "http://a.example/3.mp3\n",
    )

    assert [(row[0], row[1], row[2], row[6]) for row in everything(catalog)] == [
        ("So What", "Miles Davis", "Kind of Blue", "late night"),
        ("Nobody knows", None, None, "late night"),
        ("3", None, None, "late night"),
    ]
    assert rows(catalog, "SELECT position FROM playlist_songs ORDER BY song_id") == [1, 2, 3]


def test_an_m3u_may_name_its_playlist(imported, catalog):
    imported("x.m3u", "#EXTM3U\n#PLAYLIST:Ночь\nhttp://a.example/1.mp3\n")

    assert rows(catalog, "SELECT name FROM playlists") == ["Ночь"]


XSPF = """<?xml version="1.0" encoding="UTF-8"?>
<playlist version="1" xmlns="http://xspf.org/ns/0/">
  <title>Late</title>
  <trackList>
    <track><location>http://a.example/1.mp3?a=1&amp;b=2</location><title>So What</title>
      <creator>Miles Davis</creator><album>Kind of Blue</album><trackNum>1</trackNum>
      <extension application="x"><title>not this</title></extension></track>
    <track><title>without a place</title></track>
    <track><location>http://a.example/2.mp3</location><location>http://b.example/2</location></track>
  </trackList>
</playlist>
"""


def test_an_xspf_says_what_its_elements_say(imported, catalog):
    assert problems(imported("x.xspf", XSPF)) == {8: "no url"}
    assert [(*row[:4], row[6]) for row in everything(catalog)] == [
        ("So What", "Miles Davis", "Kind of Blue", "http://a.example/1.mp3?a=1&b=2", "Late"),
        ("2", None, None, "http://a.example/2.mp3", "Late"),
    ]
    assert rows(catalog, "SELECT match_key IS NOT NULL, track_number FROM songs") == [
        (1, 1),
        (0, None),
    ]


BOMB = (
    '<!DOCTYPE playlist [<!ENTITY a "aaaaaaaaaa">'
    + "".join(
        f'<!ENTITY a{i} "{f"&a{i - 1 or chr(0)};".replace(chr(0), "") * 10}">' for i in range(1, 9)
    )
    + "]>"
)


@pytest.mark.parametrize(
    "head",
    [
        BOMB,
        '<!DOCTYPE playlist [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE playlist SYSTEM "http://127.0.0.1:1/evil.dtd">',
        '<!DOCTYPE playlist [<!ENTITY % p SYSTEM "file:///etc/passwd"> %p;]>',
    ],
    ids=["bomb", "file", "dtd", "parameter"],
)
def test_xml_with_entities_of_its_own_is_refused_as_a_whole(imported, catalog, head):
    text = XSPF.replace("<playlist v", f"{head}\n<playlist v").replace("So What", "&x;")

    with pytest.raises(UsageError, match="document type or entities"):
        imported("x.xspf", text)

    assert rows(catalog, "SELECT COUNT(*) FROM download_tasks") == [0]


def test_xml_that_breaks_off_gives_what_came_before(imported):
    report = imported("x.xspf", XSPF[: XSPF.index("<track><title>without")] + "<oops")

    assert report.tasks == 1
    assert list(problems(report)) == [8]
    assert "not XML" in report.problems[0].reason


def test_the_format_can_be_named(imported):
    assert imported("manifest", JSONL, kind="jsonl").tasks == 3
    with pytest.raises(UsageError, match="format"):
        imported("manifest", JSONL)


def test_a_manifest_that_is_not_there_is_said(catalog, tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        import_manifest(catalog, tmp_path / "none.csv")


# --- bad lines ----------------------------------------------------------------------------------


def test_bad_lines_are_told_by_number_and_the_rest_goes_in(imported):
    lines = {
        1: b"url,title,sha256,size",
        2: b"http://a.example/2,good",
        3: b",no address",
        4: b"file:///etc/passwd,local",
        5: b"relative/path.mp3,relative",
        6: b"http://a.example/6,x,abc",
        7: b"http://a.example/7,x,,many",
        8: b"http://a.example/8,\xff\xfe",
        9: b'http://a.example/9,"never closed',
        10: b"http://a.example/10,a,,1,too much",
        11: b"http://a.example/11,good",
        12: b"http://[::1/12,x",
        13: b"http://a.example/" + b"x" * 200_000,
        14: b"http://a b/14,x",
        15: b"javascript:alert(1),x",
        16: b'http://a.example/16,"good, too"',
        17: b"http://a.example:99999/17,x",
    }

    report = imported("x.csv", b"\n".join(lines.values()))

    assert sorted(problems(report)) == [3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 15, 17]
    assert (report.tasks, report.bad) == (3, 13)
    assert not any("a.example" in reason for reason in problems(report).values())


def test_a_value_that_a_song_can_do_without_costs_a_warning_and_no_song(imported, catalog):
    report = imported(
        "x.jsonl",
        '{"url": "http://a.example/1", "title": "T", "track": "A1", "disc": -1}\n'
        '{"url": "http://a.example/2", "title": {"a": 1}, "artist": [{"name": "A"}]}\n'
        '{"url": "http://a.example/3", "track": "3/12", "disc": ""}\n',
    )

    assert (report.bad, report.tasks, report.odd) == (0, 3, 4)
    assert [(w.line, w.reason.split()[0]) for w in report.warnings] == [
        *((1, "track"), (1, "disc")),
        *((2, "title"), (2, "artist")),
    ]
    assert rows(catalog, "SELECT title, track_number FROM songs ORDER BY id") == [
        *(("T", None), ("2", None), ("3", 3))
    ]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        *(("1,234", 1234), ("1 234 567", 1234567), ("1\u202f234", 1234), ("12,345.0", 12345)),
        *(("1,23", None), ("5/6", None), ("1,234 567", None), ("1.234", None), ("12 MB", None)),
        ("-1", None),
    ],
)
def test_a_size_is_read_without_doubt_or_refused(imported, catalog, text, size):
    report = imported("x.csv", f'url,size\nhttp://a.example/1,"{text}"\n')

    assert rows(catalog, "SELECT size_bytes FROM download_tasks") == ([size] if size else [])
    refused = {} if size else {2: "size is not a whole number of bytes"}
    assert problems(report) == refused


def test_bad_lines_of_json_are_told_by_number(imported):
    report = imported(
        "x.jsonl",
        '{"url": "http://a.example/1"}\n{"url": \n[1]\n{"url": {"a": 1}}\n17\n'
        + "[" * 100_000
        + '\n{"url": "http://a.example/7"}',
    )

    assert sorted(problems(report)) == [2, 3, 4, 5, 6]
    assert report.tasks == 2


# --- identity -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "text"), [("m.csv", CSV), ("m.jsonl", JSONL), ("m.xspf", XSPF)])
def test_importing_twice_adds_nothing(imported, catalog, name, text):
    first = imported(name, text)
    tables = ("songs", "artists", "artist_songs", "playlists", "playlist_songs", "download_tasks")
    before = [rows(catalog, f"SELECT * FROM {table}") for table in tables]

    again = imported(name, text)

    assert [rows(catalog, f"SELECT * FROM {table}") for table in tables] == before
    assert (again.tasks, again.songs, again.playlists, again.playlist_songs) == (0, 0, 0, 0)
    assert again.known == first.tasks


def test_an_address_that_is_listed_twice_is_one_task(imported, catalog):
    report = imported(
        "x.csv", "url,title,playlist\nhttp://a.example/1,A,P\nhttp://a.example/1,B,Q\n"
    )

    assert (report.entries, report.tasks, report.known) == (2, 1, 1)
    assert rows(catalog, "SELECT title FROM songs") == ["A"]
    assert rows(catalog, "SELECT COUNT(*) FROM playlist_songs") == [2]


def test_two_addresses_of_one_recording_are_one_song(imported):
    report = imported(
        "x.csv",
        "url,title,artist,album,track\nhttp://a.example/1.mp3,T,A,B,1\n"
        "http://a.example/1.flac, t ,a,b,01\nhttp://a.example/2.flac,T,A,B,2\n",
    )

    assert (report.tasks, report.songs) == (3, 2)


def test_the_song_that_a_scan_has_made_is_met(imported, scanned, sample, catalog):
    scanned(sample)
    songs = rows(catalog, "SELECT id, title, artist, album, track_number, disc_number FROM songs")
    lines = [
        {"url": f"http://a.example/{i}", "title": t, "artist": a, "album": b, "track": n, "disc": d}
        for i, t, a, b, n, d in songs
    ]

    report = imported("x.jsonl", "\n".join(map(json.dumps, lines)))

    assert (report.tasks, report.songs) == (len(songs), 0)


def test_a_playlist_is_told_by_its_name_in_any_case(imported, catalog):
    change(catalog, "INSERT INTO playlists (id, name) VALUES (7, 'НОЧЬ')")

    imported("x.csv", "url,playlist\nhttp://a.example/1,ночь\n")
    imported("y.csv", "url\nhttp://a.example/2\n", playlist="Ночь")

    assert rows(catalog, "SELECT playlist_id, position FROM playlist_songs ORDER BY 2") == [
        (7, 1),
        (7, 2),
    ]


def test_an_entry_may_name_its_source_and_then_any_address(imported, catalog):
    imported("x.csv", "url,source\ntape:17,tape\nhttp://a.example/1,\n")
    imported("y.csv", "url\nreel-9\n", source="tape")

    assert rows(catalog, "SELECT source, url FROM download_tasks ORDER BY id") == [
        ("tape", "tape:17"),
        ("http", "http://a.example/1"),
        ("tape", "reel-9"),
    ]


# --- size ---------------------------------------------------------------------------------------


def test_memory_does_not_grow_with_the_manifest(catalog, tmp_path, monkeypatch):
    monkeypatch.setattr(importing, "_CHUNK", 200)

    def peak(count, name=""):
        path = tmp_path / f"{name}{count}.csv"
        with path.open("w") as file:
            file.write("url,title,artist\n")
            file.writelines(f"http://a.example/{path.name}/{i},T{i},A\n" for i in range(count))
        tracemalloc.start()
        try:
            assert import_manifest(catalog, path).tasks == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(400, "first")  # what is loaded once

    assert peak(2_500) < 2 * peak(500)


def test_what_is_stopped_in_the_middle_is_completed_by_another_import(
    catalog, tmp_path, monkeypatch
):
    monkeypatch.setattr(importing, "_CHUNK", 10)
    path = tmp_path / "x.csv"
    path.write_text("url\n" + "".join(f"http://a.example/{i}\n" for i in range(25)))

    def stop(report):
        if report.tasks >= 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_manifest(catalog, path, progress=stop)
    assert rows(catalog, "SELECT COUNT(*) FROM download_tasks") == [20]

    assert import_manifest(catalog, path).tasks == 5
