"""Manifests as programs write them: encodings, line ends, names of columns, odd values."""

import json
from typing import Any

import pytest

from catalogsync_assets.core.errors import UsageError
from catalogsync_assets.core.manifests import lines
from catalogsync_assets.core.manifests.lines import BadLine
from catalogsync_assets.core.manifests.manifest import Entry, read_manifest

U = "http://a.example/"


@pytest.fixture
def read(tmp_path):
    """`read("x.csv", content)`: the entries' values without their URL's start, and bad lines."""

    def run(name, content, **options):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        found = list(read_manifest(path, **options))
        entries = [dict(e.values) for e in found if isinstance(e, Entry)]
        for values in entries:
            values.pop("playlist", None)
            values["url"] = values.get("url", "").removeprefix(U)
        return entries, {b.line: b.reason for b in found if isinstance(b, BadLine)}

    return run


TABLE = f"url,title\n{U}1,Sóley\n{U}2,Ö\n"
ROWS = [{"url": "1", "title": "Sóley"}, {"url": "2", "title": "Ö"}]


@pytest.mark.parametrize(
    "content",
    [
        TABLE.encode(),
        TABLE.replace("\n", "\r").encode(),
        TABLE.replace("\n", "\r\n").encode(),
        TABLE.replace("\n", "\r\n", 1).replace("Sóley\n", "Sóley\r").encode(),
        TABLE.encode("utf-8-sig"),
        TABLE.rstrip().encode() + b"\r\n\x1a",
        TABLE.rstrip().encode() + b"\x1a",
        TABLE.replace("\n", "\r\n").encode("utf-16"),
        b"\xfe\xff" + TABLE.encode("utf-16-be"),
        TABLE.replace("\n", "\r").encode("utf-16-le"),
        TABLE.encode("utf-16-be"),
        TABLE.encode("utf-32"),
        TABLE.encode("windows-1252"),
        b"\n\n" + TABLE.encode(),
        f"sep=;\r\n{TABLE}".replace(",", ";").encode(),
        TABLE.replace(",", "|").encode(),
        TABLE.replace(",", "\t").encode("utf-16"),
        TABLE.replace("url,title", '"URL" , "Track Name"').encode(),
        TABLE.replace("url,title", "Title, LINK")
        .replace(f"{U}1,Sóley", f"Sóley,{U}1")
        .replace(f"{U}2,Ö", f"Ö,{U}2")
        .encode(),
        TABLE.replace("\n", ",,\n").encode(),
        TABLE.replace("Ö\n", "Ö,, \n,,\n\n").encode(),
    ],
    ids=[
        *("plain", "cr", "crlf", "mixed", "bom", "ctrl-z", "ctrl-z-behind", "excel-unicode"),
        *("utf16-be", "utf16-no-bom-cr", "utf16-be-no-bom", "utf32", "windows-1252"),
        *("blank-lines-first", "sep", "bars", "tsv-utf16", "quoted-header", "synonyms"),
        *("commas-behind", "empty-cells-behind"),
    ],
)
def test_a_table_is_read_whatever_program_wrote_it(read, content):
    assert read("x.csv", content) == (ROWS, {})


def test_a_large_file_is_cut_into_lines_like_a_small_one(read, monkeypatch):
    """At any place: in the middle of CRLF, of a character, of a mark."""
    for encoding in ("utf-8-sig", "utf-16", "utf-16-le"):
        for size in (10, 11, 17, 64):
            monkeypatch.setattr(lines, "_PIECE", size)
            assert read("x.csv", TABLE.replace("\n", "\r\n").encode(encoding)) == (ROWS, {})


@pytest.mark.parametrize(
    ("text", "titles", "bad"),
    [
        ('url,title\n{0}1,"a\nb"\n{0}2,c\n', ["a\nb", "c"], []),
        ('url,title\r{0}1,"a\r""b"""\r{0}2,c\r', ['a\n"b"', "c"], []),
        ('url,title\n{0}1,"never\n{0}2,"c, d"\n{0}3,e\n', ["c, d", "e"], [2]),
        ('url,title\n{0}1,"never\n{0}2,c', ["c"], [2]),
        ('url,title\n{0}1,"odd" one\n{0}2,12" Mix\n', ['12" Mix'], [2]),
        (
            'url\ttitle\n{0}1\t"Weird Al" Yankovic\n{0}2\t"Heroes\n',
            ['"Weird Al" Yankovic', '"Heroes'],
            [],
        ),
        ('url\ttitle\n{0}1\t"a\n\tb"\n{0}2\tc\n', ["a\n\tb", "c"], []),
        ("url,title\n{0}1,a,b\n{0}2,c\n{0}3,a\0b\n", ["c"], [2, 4]),
    ],
)
def test_quotes_and_line_breaks_in_cells(read, text, titles, bad):
    entries, problems = read("x.csv", text.format(U))

    assert [entry["title"] for entry in entries] == titles
    assert list(problems) == bad


def test_many_quotes_that_are_never_closed_cost_their_own_lines_only(read):
    odd = f'{U}x,"never\n' * 2_000

    entries, problems = read("x.csv", f"url,title\n{odd}{U}1,a\n")

    assert (len(entries), len(problems)) == (1, 2_000)


def test_columns_have_the_names_that_other_programs_give_them(read):
    head = "Track URI,Track Name,Artist Name(s),Album Name,Disc Number,Track Number,Link,size_bytes"

    entries, _ = read("x.csv", f"{head}\nspotify:1,T,A,B,1,2,{U}1,17\n")

    assert entries == [
        {
            "url": "1",
            "title": "T",
            "artist": "A",
            "album": "B",
            "disc": "1",
            "track": "2",
            "size": "17",
        }
    ]


def test_an_encoding_is_guessed_said_and_can_be_named(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(f"url,title\n{U}1,Ночь\n".encode("windows-1251"))
    guesses = []

    def title(**options):
        (entry,) = read_manifest(path, on_guess=guesses.append, **options)
        assert isinstance(entry, Entry)
        return entry.values["title"]

    assert (title(), guesses) == ("Íî÷ü", ["windows-1252"])
    assert (title(encoding="windows-1251"), len(guesses)) == ("Ночь", 1)
    for no_text in ("rot13", "idna"):
        with pytest.raises(UsageError, match="unknown encoding"):
            title(encoding=no_text)


@pytest.mark.parametrize(
    ("content", "bad"),
    [
        (f"url,title\n{U}1,雨\n{U}2,".encode() + b"\xe9\n", [3]),  # UTF-8 with one damaged line
        (b"\xef\xbb\xbf" + f"url,title\n{U}2,".encode() + b"\xe9\n", [2]),
        (f"url,title\n{U}1,".encode() + b"\x81\x8d\n", [2]),
        (f"url,title\n{U}1,x".encode("utf-16") + b"\n\0\0\xd8\n\0", [3]),
    ],
)
def test_what_is_in_no_encoding_is_a_bad_line(read, content, bad):
    assert list(read("x.csv", content)[1]) == bad


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "has no column url"),
        (b"\r\n\r\n", "has no column url"),
        (b"title;artist\nx;y\n", "has no column url"),
        (f"{U}1,a\n{U}2,b\n".encode(), "is an entry, not a header"),
        (b"PK\3\4...", "workbook"),
        (b"\0" * 100, "has no column url"),
        ("url,title\n".encode("utf-16")[:9], "has no column url"),
    ],
)
def test_what_is_no_table_is_refused_in_a_sentence(read, content, said):
    with pytest.raises(UsageError, match=said):
        read("x.csv", content)


def objects(*values: Any) -> str:
    return "\n".join(json.dumps(v) for v in values)


@pytest.mark.parametrize(
    ("content", "urls", "bad"),
    [
        (
            b"\xef\xbb\xbf"
            + objects({"url": U + "1"}, {"URL": U + "2"}).replace("\n", "\r\n\r\n").encode(),
            "12",
            [],
        ),
        (json.dumps([{"url": U + "1"}, {"url": U + "2"}]).encode(), "12", []),
        (json.dumps([{"url": U + "1"}, 7, {"url": U + "2"}], indent=1).encode(), "12", [5]),
        (f'[\n{{"url": "{U}1"}},\n{{"url": oops}},\n{{"url": "{U}2"}}\n]\n'.encode(), "12", [3]),
        (b'[{"url": ', "", [1]),
        (b"[]", "", []),
        (
            objects(
                {"url": U + "1", "title": 1999, "artists": ["A", "B"], "genres": ["x"]}
            ).encode(),
            "1",
            [],
        ),
        (
            objects({"url": U + "1", "title": {"a": 1}}, {"url": U + "2", "title": True}).encode(),
            "12",
            [],
        ),
        (objects({"url": U + "1", "sha256": 7.5, "size": [1]}).encode(), "", [1]),
        (
            f'{{"url": "{U}1", "size": NaN}}\n{{"url": "{U}2", "size": {"9" * 5000}}}'.encode(),
            "",
            [1, 2],
        ),
        (f'{{"url": "{U}0", "url": "{U}1"}}'.encode(), "1", []),
        (b"{" + b'"a":{' * 50_000, "", [1]),
        (b"[" * 100_000, "", [1]),
        (objects({"url": U + "1"}).encode("utf-16"), "1", []),
        (objects({"url": U + "1"}).encode() + b'\n{"title": "\xe9"}', "1", [2]),
    ],
    ids=[
        *("bom-crlf-case", "array", "indented-array", "array-with-oops", "cut-array"),
        *("empty-array", "types", "wrong-types", "wrong-types-of-guards", "not-numbers", "twice"),
        *("deep-objects", "deep-array", "utf16", "not-utf8"),
    ],
)
def test_json_is_read_with_all_that_can_be_odd_in_it(read, content, urls, bad):
    entries, problems = read("x.json", content)

    assert [entry["url"] for entry in entries] == list(urls)
    assert list(problems) == bad


THREE = [{"url": U + "1"}, {"url": U + "2"}, 7]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(
    ("value", "urls", "bad"),
    [
        (THREE[0], "1", []),
        ({"title": "P", "tags": [], "artists": [{"name": "A"}], "tracks": THREE}, "12", [(1, 16)]),
        ({"items": THREE[:2], "tracks": THREE[:2]}, [""], []),
        ({"items": [{"items": THREE}]}, [], []),
        ([{"items": THREE}], "12", [(1, 10)]),
    ],
    ids=["one", "list", "two-lists", "list-in-list", "list-in-array"],
)
def test_json_may_be_one_object_over_one_line_or_many(read, value, indent, urls, bad):
    entries, problems = read("x.json", json.dumps(value, indent=indent))

    assert [e["url"] for e in entries] == (list(urls) or [""])
    assert list(problems) == [lines[indent is not None] for lines in bad]


def test_objects_over_many_lines_may_follow_each_other(read):
    text = "".join(json.dumps(value, indent=1) + "\n" for value in THREE[:2])

    assert [e["url"] for e in read("x.json", text)[0]] == ["1", "2"]
    text = f'{{"url": "{U}0", "title": "cut,\n{text}'
    assert [e["url"] for e in read("x.json", text)[0]] == ["1", "2"]


def test_a_value_of_json_becomes_the_text_that_a_table_would_have(read):
    line = {"url": U + "1", "title": 1999, "artists": ["A", "B"], "track": 3, "album": None}

    assert read("x.jsonl", json.dumps(line))[0] == [
        {"url": "1", "title": "1999", "artist": "A, B", "track": "3"}
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("#EXTINF:123,A - T", {"artist": "A", "title": "T"}),
        ("#extinf:123 , A - T ", {"artist": "A", "title": "T"}),
        ('#EXTINF:-1 tvg-id="x" group-title="a, b - c",A - T', {"artist": "A", "title": "T"}),
        ('#EXTINF:-1 tvg-name="never closed,A - T', {"artist": "A", "title": "T"}),
        ('#EXTINF:7,A - "T", again', {"artist": "A", "title": '"T", again'}),
        ("#EXTINF:123,", {"title": ""}),
        ("#EXTINF:123", {}),
        ("#EXTART:A - B\n#EXTINF:1,A - B - T", {"artist": "A - B", "title": "T"}),
        ("#extalb:Al\n#EXTVLCOPT:x\n#KODIPROP:y=z\n#EXTGRP:g\n#EXTIMG:front", {"album": "Al"}),
    ],
)
def test_the_comments_of_an_m3u(read, text, expected):
    entries, problems = read("x.m3u", f"#EXTM3U\r{text}\r  {U}1  \r{U}2")

    assert entries == [{**expected, "url": "1"}, {"url": "2"}]
    assert problems == {}


@pytest.mark.parametrize(
    ("declared", "encoding"),
    [
        *(("", "utf-8-sig"), ("", "windows-1252"), ("#EXTENC: ISO-8859-1\n", "latin-1")),
        *(("#extenc:UTF8\n", "utf-8"), ("#EXTENC:no-such-thing\n", "utf-8")),
        *(("#EXTENC:zlib\n", "utf-8"), ("", "utf-16")),
    ],
)
def test_the_encoding_of_an_m3u(read, declared, encoding):
    text = f"#EXTM3U\n{declared}#EXTINF:1,Björk - Jóga\n{U}1\n"

    assert read("x.m3u", text.encode(encoding)) == (
        [{"artist": "Björk", "title": "Jóga", "url": "1"}],
        {},
    )


def test_an_m3u_in_a_multi_byte_encoding_that_it_names(read):
    """The second bytes of Shift-JIS may be those of ASCII letters and of a backslash."""
    text = f"#EXTENC:Shift_JIS\n#EXTINF:1,ソ - 表\n{U}1\n".encode("shift_jis")

    assert read("x.m3u", text) == ([{"artist": "ソ", "title": "表", "url": "1"}], {})


@pytest.mark.parametrize("tag", ["#EXT-X-TARGETDURATION:10", "#ext-x-stream-inf:BANDWIDTH=1"])
def test_a_stream_in_any_case_is_no_list(read, tag):
    with pytest.raises(UsageError, match="HLS"):
        read("x.m3u", f"#EXTM3U\n{tag}\n{U}1.ts")


def test_a_pls_is_read_in_the_order_of_its_numbers(read):
    text = (
        f"[playlist]\nfile2={U}2\nTITLE1=A - T\nLength1=-1\nFile1={U}1\nTitle3=no file\n"
        "NumberOfEntries=2\nVersion=2\n"
    )

    assert read("x.pls", text.replace("\n", "\r\n")) == (
        [{"url": "1", "artist": "A", "title": "T"}, {"url": "2"}],
        {},
    )


def xspf(tracks: str, head: str = "", attributes: str = "") -> str:
    return f"{head}<playlist {attributes}><trackList>{tracks}</trackList></playlist>"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (xspf(f"<track><location> \n{U}1\n</location></track>"), {"url": "1"}),
        (
            xspf(f"<x:track><x:location>{U}1</x:location></x:track>", attributes='xmlns:x="y"'),
            {"url": "1"},
        ),
        (
            xspf(f"<track><location>file:///x</location><location>{U}1</location></track>"),
            {"url": "1"},
        ),
        (
            xspf("<track><location>../1</location></track>", attributes=f'xml:base="{U}b/c"'),
            {"url": "1"},
        ),
        (
            xspf(
                f"<track><location>{U}1</location><title><![CDATA[a <&> b]]>&#246;</title></track>"
            ),
            {"url": "1", "title": "a <&> bö"},
        ),
    ],
    ids=["blanks", "prefix", "several", "base", "cdata"],
)
def test_the_elements_of_an_xspf(read, content, expected):
    assert read("x.xspf", content) == ([expected], {})


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "windows-1252", "latin-1"])
def test_an_xspf_says_its_encoding(read, encoding):
    name = {"utf-8-sig": "utf-8"}.get(encoding, encoding)
    track = f"<track><location>{U}1</location><title>Jóga</title></track>"
    text = xspf(track, f'<?xml version="1.0" encoding="{name}"?>')

    assert read("x.xspf", text.encode(encoding)) == ([{"url": "1", "title": "Jóga"}], {})


@pytest.mark.parametrize("name", ["shift_jis", "no-such-thing"])
def test_an_encoding_that_the_xml_parser_does_not_know_is_said(read, name):
    with pytest.raises(UsageError, match="encoding"):
        read("x.xspf", xspf("", f'<?xml version="1.0" encoding="{name}"?>'))


def test_a_line_of_a_cue_sheet_with_many_blanks_takes_no_time(tmp_path):
    """A pattern took minutes for a thousand."""
    sheet = tmp_path / "a.cue"
    sheet.write_text(f'FILE{" " * 50_000}!{" " * 50_000}!\nFILE "b.wav" WAVE\n')
    found = [e.values["url"] for e in read_manifest(sheet, kind="cue") if isinstance(e, Entry)]
    assert [len(url) for url in found] == [50_002, 5]
