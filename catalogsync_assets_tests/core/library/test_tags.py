"""Reading tags, of files that are what they say and of files that are not."""

from __future__ import annotations

import shutil
import unicodedata
from pathlib import Path
from typing import Any

import mutagen
import pytest

from catalogsync_assets.core.library.formats import MEDIA_TYPES, extension, media_type
from catalogsync_assets.core.library.tags import Tags, read_tags


def retagged(source: Path, target: Path, **tags: str) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)
    audio: Any = mutagen.File(target)  # type: ignore[attr-defined, unused-ignore]
    audio.delete()
    audio.update(tags)
    audio.save()
    return target


@pytest.fixture(params=["flac", "ogg", "wav"])
def song(request: pytest.FixtureRequest, sample: Path) -> Path:
    return sorted(sample.rglob(f"*.{request.param}"))[0]


def test_the_tags_of_every_sample_are_those_its_path_tells(sample: Path) -> None:
    files = [path for path in sample.rglob("*") if path.is_file()]

    assert len(files) == 24
    for path in files:
        tags, trouble = read_tags(path)
        assert trouble is None
        assert (tags.artist, tags.album) == path.relative_to(sample).parts[:2]
        assert path.stem == f"{tags.track_number:02d} {tags.title}"
        assert tags.format == path.suffix[1:]
        assert tags.duration_seconds == pytest.approx(0.2, abs=0.05)


def test_a_file_that_is_no_audio_gets_its_name_for_a_title(tmp_path: Path) -> None:
    path = tmp_path / "03 - Große Fuge.ogg"
    path.write_bytes(b"this is not audio" * 50)

    tags, trouble = read_tags(path)

    assert (tags.title, tags.format, tags.artist, tags.match_key) == (
        "Große Fuge",
        "ogg",
        None,
        None,
    )
    assert trouble is not None


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("03 Title.mp3", "Title"),
        ("03. Title.mp3", "Title"),
        ("1-03 - Title.mp3", "Title"),
        ("99 Luftballons.mp3", "Luftballons"),
        ("1999.mp3", "1999"),
        ("7.mp3", "7"),
        ("Title.mp3", "Title"),
    ],
)
def test_a_name_for_a_title_goes_without_its_number(tmp_path: Path, name: str, title: str) -> None:
    (tmp_path / name).write_bytes(b"")

    assert read_tags(tmp_path / name)[0].title == title


@pytest.mark.parametrize("kind", sorted(MEDIA_TYPES))
@pytest.mark.parametrize("content", [b"", b"\0" * 4096, b"\xff" * 4096], ids=["empty", "0", "ff"])
def test_no_content_under_any_audio_name_is_fatal(
    tmp_path: Path, kind: str, content: bytes
) -> None:
    path = tmp_path / f"name.{kind}"
    path.write_bytes(content)

    tags, _ = read_tags(path)

    assert (tags.title, tags.format) == ("name", kind)


def test_a_song_that_is_cut_short_is_not_fatal(song: Path, tmp_path: Path) -> None:
    whole = song.read_bytes()
    for length in (10, 60, len(whole) // 3):
        path = tmp_path / f"{length}{song.suffix}"
        path.write_bytes(whole[:length])
        tags, _ = read_tags(path)
        assert tags.title


def test_a_file_that_is_gone_says_so(tmp_path: Path) -> None:
    tags, trouble = read_tags(tmp_path / "gone.mp3")

    assert tags.title == "gone"
    assert "No such file" in (trouble or "")


def test_tags_are_cleaned_of_what_a_line_cannot_hold(sample: Path, tmp_path: Path) -> None:
    source = next(sample.rglob("*.flac"))
    path = retagged(source, tmp_path / "x.flac", title="  two\nlines\0end ", artist="\n", album="a")

    tags, _ = read_tags(path)

    assert (tags.title, tags.artist, tags.album) == ("two lines end", None, "a")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3", 3),
        ("03", 3),
        ("3/12", 3),
        ("A3", None),
        ("", None),
        ("٣", None),
        ("9" * 30, None),
        ("0", None),
        ("-3", None),
        ("1 of 12", 1),
    ],
)
def test_track_numbers_come_in_many_spellings(
    sample: Path, tmp_path: Path, text: str, number: int | None
) -> None:
    source = next(sample.rglob("*.flac"))
    path = retagged(source, tmp_path / "x.flac", title="t", tracknumber=text)

    assert read_tags(path)[0].track_number == number


def test_one_recording_in_two_formats_has_one_match_key(sample: Path, tmp_path: Path) -> None:
    tags = {"title": "Öldur", "artist": "Ægir", "album": "Nótt", "tracknumber": "2"}
    flac = retagged(next(sample.rglob("*.flac")), tmp_path / "a.flac", **tags)
    louder = {name: value.upper() for name, value in tags.items()}
    ogg = retagged(next(sample.rglob("*.ogg")), tmp_path / "b.ogg", **louder)

    one, other = (read_tags(path)[0].match_key for path in (flac, ogg))

    assert one is not None
    assert one == other


def test_composed_and_decomposed_tags_are_one_recording(sample: Path, tmp_path: Path) -> None:
    tags = {"title": "Öldur", "artist": "Ægir", "album": "Nótt", "tracknumber": "2"}
    source = next(sample.rglob("*.flac"))
    other = {name: unicodedata.normalize("NFD", value) for name, value in tags.items()}
    paths = [
        retagged(source, tmp_path / "a.flac", **tags),
        retagged(source, tmp_path / "b.flac", **other),
    ]

    assert len({read_tags(path)[0].match_key for path in paths}) == 1


@pytest.mark.parametrize("lacking", ["title", "artist", "album", "tracknumber"])
def test_tags_that_say_too_little_match_nothing(sample: Path, tmp_path: Path, lacking: str) -> None:
    tags = {"title": "t", "artist": "a", "album": "b", "tracknumber": "2"}
    del tags[lacking]
    path = retagged(next(sample.rglob("*.flac")), tmp_path / "x.flac", **tags)

    assert read_tags(path)[0].match_key is None


def test_another_disc_is_another_recording() -> None:
    def key(disc: int | None) -> str | None:
        return Tags("t", "mp3", "a", "b", 1, disc, _has_title=True).match_key

    assert key(None) == key(1)
    assert key(1) != key(2)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.flac", "audio/flac"),
        ("a.FLAC", "audio/flac"),
        ("a.m4a", "audio/mp4"),
        ("a.opus", "audio/ogg"),
        ("a.mp3", "audio/mpeg"),
        ("a.b.ogg", "audio/ogg"),
        ("a", "application/octet-stream"),
        ("a.xyz", "application/octet-stream"),
    ],
)
def test_media_types_do_not_depend_on_the_machine(name: str, kind: str) -> None:
    assert media_type(name) == kind


def test_an_extension_is_what_follows_the_last_dot() -> None:
    assert [extension(name) for name in ("a.MP3", "a.b.c", "a", ".mp3")] == ["mp3", "c", "", "mp3"]
