"""What one may rely on from the sample library."""

import hashlib
import unicodedata
from pathlib import Path
from typing import Any

import mutagen
import pytest
import soundfile

from catalogsync_assets.demo.sample_library import make_sample_library

VORBIS = ("title", "artist", "album", "albumartist", "tracknumber", "tracktotal", "date", "genre")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("library")


@pytest.fixture(scope="module")
def library(root):
    return make_sample_library(root)


def tags(path: Path) -> dict[str, Any]:
    audio = mutagen.File(path)  # type: ignore[no-untyped-call, attr-defined, unused-ignore]
    if path.suffix == ".wav":
        number, of = audio.tags["TRCK"].text[0].split("/")
        frames = {"title": "TIT2", "artist": "TPE1", "album": "TALB", "albumartist": "TPE2"}
        frames |= {"date": "TDRC", "genre": "TCON"}
        found = {name: str(audio.tags[frame].text[0]) for name, frame in frames.items()}
        return {**found, "tracknumber": number, "tracktotal": of}
    return {name: audio[name][0] for name in VORBIS}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_folder_holds_the_files_returned_and_nothing_else(root, library):
    assert len(library) == 48
    assert sorted(library) == sorted(path for path in root.rglob("*") if path.is_file())


def test_it_is_small(library):
    assert sum(path.stat().st_size for path in library) < 10_000_000


def test_paths_follow_the_tags(root, library):
    for path in library:
        song = tags(path)
        name = f"{int(song['tracknumber']):02d} {song['title']}{path.suffix}"
        assert path == root / song["artist"] / song["album"] / name
        assert 1 <= int(song["tracknumber"]) <= int(song["tracktotal"])


def test_files_are_what_their_names_say_and_audible(library):
    for path in library:
        sound, rate = soundfile.read(path)
        assert soundfile.info(path).format == path.suffix[1:].upper()
        assert len(sound) / rate == pytest.approx(2.0)
        assert 0.1 < abs(sound).max() < 1
        assert abs(sound[[0, -1]]).max() < 0.01
    assert {path.suffix for path in library} == {".flac", ".ogg", ".wav"}


def test_names_are_composed_and_cover_several_scripts(library):
    names = "".join(str(path) for path in library)
    words = {unicodedata.name(char, "").split()[0] for char in names if char.isalpha()}

    assert unicodedata.is_normalized("NFC", names)
    assert {"LATIN", "CJK", "HIRAGANA", "CYRILLIC", "ARABIC", "HEBREW"} <= words
    assert any(unicodedata.combining(char) for char in names)
    assert any(unicodedata.category(char) == "So" for char in names)
    assert set("\"'&#%+?=@;") <= set(names)


def test_one_song_is_there_in_two_formats(library):
    pairs = [
        [path, path.with_suffix(".ogg")] for path in library if path.with_suffix(".ogg") != path
    ]
    (twins,) = [pair for pair in pairs if pair[1].exists()]

    assert [path.suffix for path in twins] == [".flac", ".ogg"]
    assert tags(twins[0]) == tags(twins[1])


def test_every_file_is_different(library):
    assert len({digest(path) for path in library}) == len(library)


def test_a_second_call_leaves_the_files_alone(root, library):
    before = [path.stat().st_mtime_ns for path in library]

    assert make_sample_library(root) == library
    assert [path.stat().st_mtime_ns for path in library] == before


def test_a_file_that_is_gone_comes_back_the_same_and_edited_tags_stay(tmp_path):
    gone, edited, *_ = make_sample_library(tmp_path, songs=3, seconds=0.2)
    before = digest(gone)
    gone.unlink()
    audio = mutagen.File(edited)  # type: ignore[no-untyped-call, attr-defined, unused-ignore]
    audio["title"] = "Another Title"
    audio.save()

    make_sample_library(tmp_path, songs=3, seconds=0.2)

    assert digest(gone) == before
    assert tags(edited)["title"] == "Another Title"


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    def digests(folder, seed):
        # As many as it takes to have each format.
        return [
            digest(path)
            for path in make_sample_library(tmp_path / folder, songs=20, seconds=0.2, seed=seed)
        ]

    first = digests("one", 1)

    assert digests("another", 1) == first
    assert not set(digests("one", 2)) & set(first)


def test_more_songs_than_the_albums_have_are_further_volumes(tmp_path):
    library = make_sample_library(tmp_path, songs=60, seconds=0.05)

    assert len(set(library)) == len(library) == 60
    assert "(Vol. 2)" in str(library[-1])
