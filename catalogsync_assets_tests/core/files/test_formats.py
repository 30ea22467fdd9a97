"""What a file is, by its content: of every kind of audio, and behind ID3v2 tags."""

import pytest

from catalogsync_assets.core.files.formats import MEDIA_TYPES, Content, format_of, look
from catalogsync_assets_tests.support.audio_files import CONTENTS, id3


def looked_at(content: bytes) -> Content:
    return look(lambda offset, size: content[offset : offset + size])


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"fLaC\0\0", "flac"),
        (b"\xff\xfb\x90\x64", "mp3"),
        (b"\0\0\0\0\xff\xfb\x90\x64", "mp3"),
        (b"\xff\xfd\x90\x64", "mp2"),
        (b"\xff\xf1\x50\x80", "aac"),
        (b"\x0b\x77\0\0\0\x80", "eac3"),
        (b"OggS" + b"\0" * 24 + b"OpusHead", "opus"),
        (b"OggS" + b"\0" * 24 + b"\x01vorbis", "ogg"),
        (b"\x1a\x45\xdf\xa3" + b"\0" * 27 + b"\x42\x82\x84webm", "webm"),
        (b"\0\0\0\x20ftypM4A ", "m4a"),
        (b"RIFF\0\0\0\0WAVE", "wav"),
        (b"RIFF\0\0\0\0AVI ", None),
        (b"FORM\0\0\0\0AIFC", "aiff"),
        (b"<!DOCTYPE html>", None),
        (b"\xff\xd8\xff\xe0", None),
        (b"", None),
        (b"\0" * 64, None),
        (b"\xff\xff\xff\xff", None),
    ],
)
def test_audio_is_told_by_how_it_begins(head, kind):
    found = looked_at(head)

    assert (found.kind, found.is_audio) == (kind, kind is not None)


def test_every_file_of_a_real_library_is_told_as_what_it_is(sample):
    files = [p for p in sample.rglob("*") if p.is_file()]

    assert {p.suffix for p in files} >= {".flac", ".wav", ".ogg"}
    for file in files:
        assert f".{looked_at(file.read_bytes()).kind}" == file.suffix


_TAG = id3(title=["x"])
_FOOTED = _TAG[:5] + b"\x10" + _TAG[6:] + b"3DI" + _TAG[3:10]
_COVER = b"ID3\x04\0\0" + bytes((0, 0x40, 0, 0)) + bytes(1024 * 1024)  # seven bits a byte
_EIGHT_BITS = b"ID3\x03\0\0" + (1000).to_bytes(4, "big") + bytes(1000)
FRONTS = {
    "one tag": _TAG,
    "a tag of ID3v2.3": id3(3, title=["x"]),
    "two tags": _TAG + _TAG,
    "a tag with a footer": _FOOTED,
    "zeros behind a tag": _TAG + bytes(5000),
    "a tag with a large cover": _COVER,
    "a tag whose size has eight bits a byte": _EIGHT_BITS,
}


@pytest.mark.parametrize("front", FRONTS.values(), ids=list(FRONTS))
@pytest.mark.parametrize("kind", sorted(CONTENTS))
def test_what_stands_behind_an_id3_tag_is_what_it_is(kind, front):
    content = CONTENTS[kind]()

    found = looked_at(front + content)

    assert MEDIA_TYPES[found.kind or ""] == MEDIA_TYPES[kind]
    assert (front + content)[found.offset :] == content


def test_a_tag_alone_is_audio_of_no_known_kind():
    found = looked_at(_TAG + b"something")

    assert (found.kind, found.is_audio) == (None, True)


def test_tags_without_end_are_given_up():
    found = looked_at(b"ID3\x04\0\0\0\0\0\0" * 100_000)

    assert found.kind is None
    assert len(found.id3) < 100


@pytest.mark.parametrize(
    ("name", "kind", "format_"),
    [
        *(("a.MP3", "mp3", "mp3"), ("a.mp3", "flac", "flac"), ("a.mp3", "m4a", "m4a")),
        *(("a.m4b", "m4a", "m4b"), ("a.ogg", "opus", "ogg"), ("a.mp+", "mpc", "mp+")),
        ("a.mp3", None, "mp3"),
    ],
)
def test_a_format_is_called_as_the_name_says_unless_the_content_is_another(name, kind, format_):
    assert format_of(name, kind) == format_
