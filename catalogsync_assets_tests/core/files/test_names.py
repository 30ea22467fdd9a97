"""Names from songs, servers and addresses become safe paths."""

import itertools
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalogsync_assets.core.catalog.object_keys import unusable
from catalogsync_assets.core.files.names import (
    MAX_NAME_BYTES,
    alternatives,
    guessed_title,
    safe_name,
    target_path,
)
from catalogsync_assets.core.library.walk import FoundFile, walk
from catalogsync_assets.core.redaction import redact


@given(st.text(max_size=400))
def test_any_text_becomes_one_name_that_every_file_system_takes(text):
    name = safe_name(text + ".flac")

    assert 0 < len(name.encode()) <= MAX_NAME_BYTES
    assert not set('/\\:*?"<>|') & set(name)
    assert not name.startswith((".", " "))
    assert not name.endswith((".", " "))
    assert unicodedata.is_normalized("NFC", name)
    assert unusable(name) is None
    assert safe_name(name) == name


@given(st.text(max_size=300), st.text(max_size=300), st.text(max_size=300))
def test_any_song_becomes_a_path_of_three_safe_names(title, artist, album):
    path = target_path(
        title=title or "t",
        artist=artist or "a",
        album=album or "b",
        track_number=7,
        offered="x",
        kind="flac",
    )

    parts = path.split("/")
    assert len(parts) == 3
    assert not {"", ".", ".."} & set(parts)
    assert parts[-1].endswith(".flac")
    assert all(len(part.encode()) <= MAX_NAME_BYTES for part in parts)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        *(("AC/DC", "AC_DC"), ("...And Justice for All", "_And Justice for All")),
        *(("..", "untitled"), ("....flac", "untitled.flac"), ("CON.mp3", "_CON.mp3")),
        *(("con", "_con"), ("Console", "Console"), ("lost+found", "_lost+found")),
        *(("Cafe\u0301", "Caf\u00e9"), ("a\u202egpj.mp3", "agpj.mp3")),
        *(("tab\there\x00", "tabhere"), ("What?", "What_"), ("end. . ", "end"), ("", "untitled")),
    ],
)
def test_names_that_would_do_harm_are_changed(text, name):
    assert safe_name(text) == name


def test_a_name_that_is_too_long_is_cut_before_its_extension_and_within_no_character():
    name = safe_name("é" * 200 + ".flac")

    assert name == "é" * 125 + ".flac"
    assert len(name.encode()) == MAX_NAME_BYTES


def test_a_suffix_finds_room_in_a_long_name():
    names = list(itertools.islice(alternatives("A/" + "x" * 250 + ".flac", "ab" * 32), 12))

    assert len(set(names)) == 12
    assert all(len(n.rpartition("/")[2].encode()) <= MAX_NAME_BYTES for n in names)
    assert all(n.startswith("A/x") and n.endswith(".flac") for n in names)


@pytest.mark.parametrize(
    ("offered", "kind", "path"),
    [
        ("x.flac", "flac", "x.flac"),
        ("x.mp3", "flac", "x.flac"),
        ("x.oga", "ogg", "x.oga"),
        ("x", "mp3", "x.mp3"),
        ("download.php", "mp3", "download.php.mp3"),
        (".flac", "flac", "untitled.flac"),
        ("a/b\\c.flac", "flac", "c.flac"),
        ("", "wav", "untitled.wav"),
    ],
)
def test_the_content_decides_about_the_extension(offered, kind, path):
    song = dict.fromkeys(("title", "artist", "album"))

    assert target_path(**song, track_number=1, offered=offered, kind=kind) == path


def test_a_scan_sees_what_has_been_given_a_name(tmp_path):
    for text in (
        "@eaDir",
        ".Trash-1000",
        "System Volume Information",
        "._x",
        "...",
        "$RECYCLE.BIN",
    ):
        file = tmp_path / target_path(
            title=text, artist=text, album=text, track_number=None, offered="", kind="flac"
        )
        file.parent.mkdir(parents=True)
        file.touch()

    assert len([found for found in walk(tmp_path) if isinstance(found, FoundFile)]) == 6


def test_a_title_is_guessed_from_an_address():
    assert guessed_title("http://a.example/Blue%20in%20Green.mp3?x=1") == "Blue in Green"
    assert guessed_title("http://a.example/") == "untitled"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://a.example/x", "http://a.example/x"),
        ("https://me:pw@a.example:8/x?sig=1#y", "https://a.example:8/x?…"),
        ("see http://u:p@h/x, and https://h/y?k=v.", "see http://h/x, and https://h/y?…"),
        ("http://u:p/w@h/x", "http://h/x"),
        ("http://u:p%40@h", "http://h"),
    ],
)
def test_no_secret_of_an_address_is_shown(text, shown):
    assert redact(text) == shown
    assert redact(f"{redact(text)}: x") == f"{shown}: x"
